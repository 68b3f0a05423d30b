"""Commands that make keys and draft ceremonies: who holds what (root), and who may release what (tenants)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import add_row, print_json, show, table
from orbitloop.errors import TrustError

if TYPE_CHECKING:
    from orbitloop.ground.repository import Repository
    from orbitloop.trust.keys import TrustedKeys

key_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and show keys.")
root_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Draft who holds what: the root.")
tenant_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Draft who may release what: the tenants.")

YEAR_S = 365 * 86_400
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The repository.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where it is written.")]
Passphrase = Annotated[
    Path | None, typer.Option("--passphrase", metavar="FILE", help="File whose first line is the key's passphrase.")
]
Keys = Annotated[list[Path], typer.Option("--key", metavar="FILE.pub", help="A public key. Repeatable.")]
Years = Annotated[float, typer.Option(metavar="Y", min=0.01, max=100, help="For how long it counts.")]
Publics = Annotated[list[Path] | None, typer.Option(metavar="FILE.pub", help="A public key. Repeatable.")]
Threshold = Annotated[int | None, typer.Option(metavar="M", min=1, help="How many of the keys must sign.")]


@key_app.callback()
def key() -> None:
    """Make and show keys."""


@root_app.callback()
def root() -> None:
    """Draft who holds what: m of n keys for root and for targets, and the online keys."""


@tenant_app.callback()
def tenant() -> None:
    """Draft who may release what: a tenant has keys, a threshold and a path of its own."""


@key_app.command("new")
def new_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key; FILE.pub gets the public one.")],
    passphrase: Passphrase = None,
    json_output: Json = False,
) -> None:
    """Make an Ed25519 key: FILE, which only you may read, and FILE.pub, which anybody may.

    Make it on the machine on which it will sign, and carry only FILE.pub away. The private key is never shown. With
    --passphrase it is encrypted (PKCS #8, as OpenSSL reads it).

    \b
    Examples:
      orbitloop trust key new keys/root-1
      orbitloop trust key new keys/root-2 --passphrase words.txt

    \b
    Exit codes: 0 done; 16 FILE exists or cannot be written.
    """
    from orbitloop.apps.trust_files import read_passphrase, write_key
    from orbitloop.trust.keys import generate_key

    made = generate_key()
    public = write_key(file, made, read_passphrase(passphrase))
    if json_output:
        print_json({"key_id": made.key_id, "public": str(public), "private": str(file), "encrypted": passphrase is not None})
        return
    show(f"key {made.key_id}", f"private: {file} (keep it here)", f"public:  {public} (carry this one)")


@key_app.command("show")
def show_key(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.pub ...", help="Public keys.")], json_output: Json = False
) -> None:
    """Show the names of public keys: 64 hexadecimal digits each, to be read out and compared.

    \b
    Example:
      orbitloop trust key show keys/*.pub

    \b
    Exit codes: 0 done; 16 a file is no public key.
    """
    from orbitloop.apps.trust_files import read_public

    found = {str(file): list(read_public([file], 1).keys) for file in files}
    if json_output:
        print_json(found)
        return
    show(*(f"{name}  {file}" for file, names in found.items() for name in names))


@root_app.command("draft")
def draft_first_root(
    out: Out,
    root: Publics = None,
    targets: Publics = None,
    online: Publics = None,
    root_threshold: Threshold = None,
    targets_threshold: Threshold = None,
    online_threshold: Threshold = None,
    years: Years = 20,
    json_output: Json = False,
) -> None:
    """Draft the first root, unsigned. Thresholds: 2 where there are keys enough (online: 1).

    \b
    Example:
      orbitloop trust root draft --root a.pub --root b.pub --root c.pub \\
          --targets d.pub --targets e.pub --targets f.pub --online o.pub --out root.json

    \b
    Exit codes: 0 done; 16 keys that do not go together.
    """
    from orbitloop.apps.trust_files import read_public
    from orbitloop.ground.ceremony import Custody, draft_root

    given = {"root": root, "targets": targets, "online": online}
    missing = [name for name, files in given.items() if not files]
    if missing:
        raise TrustError(f"no key for {missing[0]}", remedy=f"name public keys with --{missing[0]} FILE.pub")
    custody = Custody(
        read_public(root or [], root_threshold or min(2, len(root or []))),
        read_public(targets or [], targets_threshold or min(2, len(targets or []))),
        read_public(online or [], online_threshold or 1),
    )
    now_s = time.time()
    drafted(out, draft_root(custody, now_s=now_s, expires_s=now_s + years * YEAR_S), None, json_output)


@root_app.command("rotate")
def rotate(
    folder: Folder,
    out: Out,
    root: Publics = None,
    targets: Publics = None,
    online: Publics = None,
    root_threshold: Threshold = None,
    targets_threshold: Threshold = None,
    online_threshold: Threshold = None,
    years: Years = 20,
    json_output: Json = False,
) -> None:
    """Draft the root that follows: name all keys of each role that changes; the others stay.

    The old root's threshold must sign it, and the new one's. New online keys make void what the old ones said, versions and
    time included: the way back after it was stolen. Satellites take it with the next bundle, or by `trust pack`.

    \b
    Example:
      orbitloop trust root rotate repository --online keys/online-2.pub --out root.json

    \b
    Exit codes: 0 done; 16 there is no root yet, or keys that do not go together.
    """
    from orbitloop.ground.ceremony import Custody, custody_of, rotate_root

    repository = open_repository(folder)
    held = custody_of(repository.root)
    custody = Custody(
        _rotated(held.root, root, root_threshold),
        _rotated(held.targets, targets, targets_threshold),
        _rotated(held.online, online, online_threshold),
    )
    now_s = time.time()
    draft = rotate_root(repository.root, custody, now_s=now_s, expires_s=now_s + years * YEAR_S)
    drafted(out, draft, repository, json_output)


@tenant_app.command("add")
def add(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, inner hyphens.")],
    key: Keys,
    out: Out,
    threshold: Threshold = None,
    years: Years = 5,
    json_output: Json = False,
) -> None:
    """Draft targets with one tenant more; one that is there gets these keys instead of its old ones.

    \b
    Example:
      orbitloop trust tenant add repository farm --key a.pub --key b.pub --key c.pub --threshold 2 --out targets.json

    \b
    Exit codes: 0 done; 16 not a name, a key that another tenant has, or no root yet.
    """
    from orbitloop.apps.trust_files import read_public
    from orbitloop.ground.ceremony import add_tenant, draft_targets

    repository = open_repository(folder)
    keys = read_public(key, threshold or min(2, len(key)))
    now_s = time.time()
    until_s = now_s + years * YEAR_S
    held = repository.roles.get("targets")
    if held:
        draft = add_tenant(held, name, keys, now_s=now_s, expires_s=until_s)
    else:
        draft = draft_targets({name: keys}, now_s=now_s, expires_s=until_s)
    drafted(out, draft, repository, json_output)


@tenant_app.command("revoke")
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant.")],
    out: Out,
    years: Years = 5,
    json_output: Json = False,
) -> None:
    """Draft targets without a tenant: once satellites have them, nothing of that tenant is taken.

    \b
    Example:
      orbitloop trust tenant revoke repository ships --out targets.json

    \b
    Exit codes: 0 done; 16 there is no such tenant.
    """
    from orbitloop.ground.ceremony import revoke_tenant

    repository = open_repository(folder)
    held = repository.roles.get("targets")
    if held is None:
        raise TrustError("the repository has no tenants yet", where=str(folder))
    now_s = time.time()
    drafted(out, revoke_tenant(held, name, now_s=now_s, expires_s=now_s + years * YEAR_S), repository, json_output)


@tenant_app.command("list")
def list_tenants(folder: Folder, json_output: Json = False) -> None:
    """List the tenants, their keys and what they have released.

    \b
    Example:
      orbitloop trust tenant list repository

    \b
    Exit codes: 0 done; 16 a file is malformed.
    """
    from orbitloop.ground.ceremony import tenants_of
    from orbitloop.ground.standing import describe

    repository = open_repository(folder)
    held = repository.roles.get("targets")
    names = tenants_of(held) if held else {}
    rows = [row for row in describe(repository) if row.role in names]
    if json_output:
        print_json({"tenants": [row.to_json() for row in rows]})
        return
    listed = table("tenant", "keys", ">version", "released")
    for row in rows:
        keys = f"{row.threshold} of {len(row.keys)}: {', '.join(k[:12] for k in row.keys)}"
        add_row(listed, row.role, keys, row.version or "", ", ".join(row.targets))
    show(listed)


def open_repository(folder: Path) -> Repository:
    """Read a repository that has a root.

    Raises:
        TrustError: it has none, or a file is malformed.
    """
    from orbitloop.apps.trust_files import open_folder

    repository = open_folder(folder)
    if not repository.roots:
        raise TrustError(
            "holds no root", where=str(folder), remedy="draft one with `orbitloop trust root draft`, sign and accept it"
        )
    return repository


def _rotated(held: TrustedKeys, files: list[Path] | None, threshold: int | None) -> TrustedKeys:
    from orbitloop.apps.trust_files import read_public
    from orbitloop.trust.keys import TrustedKeys as Trusted

    if files:
        return read_public(files, threshold or min(held.threshold, len(files)))
    return Trusted(held.keys, threshold or held.threshold)


def drafted(out: Path, draft: bytes, repository: Repository | None, json_output: bool) -> None:
    """Write a draft and say who must sign it."""
    from orbitloop.apps.trust_files import replace_file
    from orbitloop.ground.standing import gathered, role_of_metadata

    replace_file(out, draft)
    asked = gathered(draft, repository)
    if json_output:
        needed: dict[str, Any] = {who: {"threshold": s.threshold, "keys": s.missing} for who, s in asked.items()}
        print_json({"out": str(out), "role": role_of_metadata(draft), "needed": needed})
        return
    show(f"{out}: {role_of_metadata(draft)}, not signed yet")
    for who, state in asked.items():
        show(f"needs {state.threshold} of {len(state.missing)} by {who}: {', '.join(name[:12] for name in state.missing)}")
