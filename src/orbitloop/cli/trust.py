"""Commands on trust: keys, the ceremonies in which they sign, the repository that comes of it, and what a satellite is sent.

A ceremony is files that people carry: a draft is made, each holder signs it on his own machine, the repository takes it in when
enough have. Every command reads and writes named files; none opens a network.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import add_row, print_json, show, table
from orbitloop.cli.trust_drafts import Folder, Out, Passphrase, drafted, key_app, open_repository, root_app, tenant_app
from orbitloop.errors import TrustError, UpdateError

if TYPE_CHECKING:
    from orbitloop.ground.repository import Repository

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key_app, name="key")
app.add_typer(root_app, name="root")
app.add_typer(tenant_app, name="tenant")


@app.callback()
def trust() -> None:
    """Hold key ceremonies and keep the repository of what is signed.

    \b
    A first ceremony: three people for root, three for targets, one online key,
    the tenant farm with three keys, two of three each.
      orbitloop trust key new keys/root-1        (and root-2, root-3, targets-1 ...)
      orbitloop trust root draft --root keys/root-1.pub --root keys/root-2.pub \\
          --root keys/root-3.pub --targets keys/targets-1.pub \\
          --targets keys/targets-2.pub --targets keys/targets-3.pub \\
          --online keys/online.pub --out root.json
      orbitloop trust sign root.json --key keys/root-1
      orbitloop trust sign root.json --key keys/root-3
      orbitloop trust accept repository root.json
      orbitloop trust tenant add repository farm --key keys/farm-1.pub \\
          --key keys/farm-2.pub --key keys/farm-3.pub --threshold 2 --out targets.json
      orbitloop trust sign targets.json --key keys/targets-1
      orbitloop trust sign targets.json --key keys/targets-2
      orbitloop trust accept repository targets.json
      orbitloop trust publish repository --key keys/online
      orbitloop trust show repository

    Satellites are launched with repository/1.root.json.

    docs/trust.md has the ceremonies step by step, and what to do when a key is lost.
    """


@app.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A draft, or what others have signed already.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Your private key.")],
    passphrase: Passphrase = None,
    json_output: Json = False,
) -> None:
    """Add your signature to a file. The order of signers does not matter; who signs twice counts once.

    Look at what you sign first: `orbitloop trust show FILE`.

    \b
    Example:
      orbitloop trust sign root.json --key keys/root-1

    \b
    Exit codes: 0 done; 16 not metadata, or not a key.
    """
    from orbitloop.apps.trust_files import read_file, read_key, read_passphrase, replace_file
    from orbitloop.ground.ceremony import add_signature
    from orbitloop.trust.form import MAX_METADATA_BYTES, read_metadata

    signer = read_key(key, read_passphrase(passphrase))
    signed = add_signature(read_file(file, MAX_METADATA_BYTES), signer)
    replace_file(file, signed)
    held = read_metadata(signed, str(file))
    about: dict[str, Any] = {"type": held.signed.type, "version": held.signed.version, "signed_by": sorted(held.signatures)}
    if json_output:
        print_json({"file": str(file), **about})
        return
    show(f"{file}: {held.signed.type} {held.signed.version}, signed by {', '.join(n[:12] for n in about['signed_by'])}")


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file on its way between signers.")],
    repository: Annotated[Path | None, typer.Option("--in", metavar="FOLDER", help="The repository that it is for.")] = None,
    json_output: Json = False,
) -> None:
    """Say how many of the signatures that a file needs are there, and whose are missing.

    \b
    Example:
      orbitloop trust check root.json --in repository

    \b
    Exit codes: 0 enough; 1 more must sign; 16 malformed.
    """
    from orbitloop.apps.trust_files import open_folder, read_file
    from orbitloop.ground.standing import gathered
    from orbitloop.trust.form import MAX_METADATA_BYTES

    held = open_folder(repository) if repository else None
    found = gathered(read_file(file, MAX_METADATA_BYTES), held)
    if json_output:
        asked = {who: {"signed": s.names, "missing": s.missing, "threshold": s.threshold} for who, s in found.items()}
        print_json({"enough": all(s.enough for s in found.values()), "asked": asked})
    for who, state in found.items() if not json_output else ():
        missing = f"; not yet: {', '.join(name[:12] for name in state.missing)}" if state.missing else ""
        show(f"{who}: {len(state.names)} of {state.threshold} needed{missing}")
    if not all(state.enough for state in found.values()):
        raise typer.Exit(1)


@app.command("accept")
def accept(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Root, targets or a tenant's release, signed by enough.")],
    json_output: Json = False,
) -> None:
    """Take signed metadata into the repository, on the terms on which a satellite would: keys, threshold, version.

    \b
    Example:
      orbitloop trust accept repository root.json

    \b
    Exit codes: 0 done; 16 too few signatures, or not the next version.
    """
    from orbitloop.apps.trust_files import open_folder, read_file
    from orbitloop.ground.repository import accept as take_in
    from orbitloop.ground.standing import role_of_metadata
    from orbitloop.trust.form import MAX_METADATA_BYTES

    data = read_file(file, MAX_METADATA_BYTES)
    role = role_of_metadata(data)
    _stored(folder, take_in(open_folder(folder), data, role), role, json_output)


@app.command("release")
def release(
    folder: Folder,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A built update; only its manifest counts here.")],
    out: Out,
    days: Annotated[float, typer.Option(metavar="D", min=0.01, help="For how long the tenant's word counts.")] = 365,
    json_output: Json = False,
) -> None:
    """Draft a tenant's word for an update, unsigned: for tenants whose keys are not on the machine that builds it.

    Have it signed, accept and publish it, then `orbitloop trust pack FOLDER --update BUNDLE` makes the bundle that flies.

    \b
    Example:
      orbitloop trust release repository update-3.bundle --out farm.json

    \b
    Exit codes: 0 done; 15 not an update; 16 the repository does not know its tenant.
    """
    from orbitloop.delta.bundle import read_manifest, target_path
    from orbitloop.ground.ceremony import tenants_of
    from orbitloop.ground.repository import draft_release

    repository = open_repository(folder)
    manifest = read_manifest(_opened(bundle).manifest)
    if manifest.tenant not in (tenants_of(repository.roles["targets"]) if "targets" in repository.roles else {}):
        remedy = "add it with `orbitloop trust tenant add`"
        raise TrustError(f"there is no tenant {manifest.tenant!r}", where=str(folder), remedy=remedy)
    now_s = time.time()
    content = {target_path(manifest): _opened(bundle).manifest}
    draft = draft_release(repository, manifest.tenant, content, now_s=now_s, expires_s=now_s + days * 86_400)
    drafted(out, draft, repository, json_output)


@app.command("publish")
def publish(
    folder: Folder,
    key: Annotated[list[Path], typer.Option("--key", metavar="FILE", help="An online private key. Repeatable.")],
    contacts: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", help="Contacts last heard of a satellite, by its beacon. Repeatable.")
    ] = None,
    passphrase: Passphrase = None,
    json_output: Json = False,
) -> None:
    """Sign snapshot and timestamp anew with the online keys: what was accepted counts from now on.

    Do so before each uplink, and now and then without: a satellite refuses a timestamp that lies too many contacts back.

    \b
    Example:
      orbitloop trust publish repository --key keys/online --contacts sat-1=212

    \b
    Exit codes: 0 done; 2 not NAME=N; 16 not the online keys, nothing to publish, or time went back.
    """
    from orbitloop.apps.trust_files import read_key, read_passphrase
    from orbitloop.ground.repository import publish as sign_online

    secret = read_passphrase(passphrase)
    online = [read_key(file, secret) for file in key]
    published = sign_online(open_repository(folder), online, now_s=time.time(), contacts=_counts(contacts))
    _stored(folder, published, "timestamp", json_output)


@app.command("show")
def show_trust(
    what: Annotated[Path, typer.Argument(metavar="FOLDER|FILE", help="A repository, or one metadata file.")],
    json_output: Json = False,
) -> None:
    """Show who may sign what, m of n, who has, versions and expiry; of a file what it says, before you sign it.

    \b
    Examples:
      orbitloop trust show repository
      orbitloop trust show root.json

    \b
    Exit codes: 0 done; 16 malformed.
    """
    from orbitloop.apps.trust_files import read_file
    from orbitloop.ground.standing import describe
    from orbitloop.trust.form import MAX_METADATA_BYTES, read_metadata

    if not what.is_dir():
        held = read_metadata(read_file(what, MAX_METADATA_BYTES), what.name)
        print_json({"signed": held.signed.to_dict(), "signatures": sorted(held.signatures)})
        return
    repository = open_repository(what)
    rows, now_s = describe(repository), time.time()
    if json_output:
        print_json({"roots": len(repository.roots), "roles": [row.to_json() for row in rows]})
        return
    listed = table("role", ">version", "may sign", "signed by", "expires", "", "targets", wrap=("targets",))
    for row in rows:
        names = ", ".join(name[:8] for name in row.keys)
        cells = [
            row.role,
            row.version or "",
            f"{row.threshold} of {len(row.keys)}: {names}",
            ", ".join(n[:8] for n in row.signed),
        ]
        left = "not signed yet" if not row.version else "EXPIRED" if row.expires_s < now_s else ""
        add_row(listed, *cells, _day(row.expires_s) if row.version else "", left, ", ".join(row.targets))
    show(listed, f"launched with 1.root.json; roots since: {len(repository.roots) - 1}")


@app.command("pack")
def pack(
    folder: Folder,
    out: Out,
    update: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Pack this update with the repository's metadata.")
    ] = None,
    root_held: Annotated[int, typer.Option(metavar="N", min=1, help="Root version that the satellites believe.")] = 1,
    targets_held: Annotated[int, typer.Option(metavar="N", min=0, help="Targets version that they believe.")] = 0,
    json_output: Json = False,
) -> None:
    """Write what a satellite is sent: metadata alone (the link's kind `trust`), or with --update a bundle that flies.

    Metadata alone rotates keys, adds or revokes tenants and refreshes the timestamp without an update. The versions held are in
    the satellites' beacons; what they have is not sent again.

    \b
    Examples:
      orbitloop trust pack repository --root-held 1 --out trust.bin
      orbitloop trust pack repository --update update-3.bundle --out signed.bundle

    \b
    Exit codes: 0 done; 15 not an update; 16 not published, or the tenant has not signed for the update.
    """
    from orbitloop.apps.trust_files import replace_file
    from orbitloop.delta.bundle import check_payload, read_manifest, target_path
    from orbitloop.ground.release import pack_release
    from orbitloop.ground.repository import carried
    from orbitloop.ground.standing import describe
    from orbitloop.trust.carried import pack_metadata

    repository = open_repository(folder)
    if update is None:
        data = pack_metadata(carried(repository, None, root_held=root_held, targets_held=targets_held))
    else:
        opened = _opened(update)
        manifest = read_manifest(opened.manifest)
        check_payload(manifest, opened.payload)
        if not any(row.role == manifest.tenant and target_path(manifest) in row.targets for row in describe(repository)):
            remedy = "draft it with `orbitloop trust release`, have it signed, accept and publish it"
            raise TrustError(f"{manifest.tenant} has not signed for it", where=str(update), remedy=remedy)
        data = pack_release(repository, manifest, opened.payload, root_held=root_held, targets_held=targets_held)
    replace_file(out, data)
    kind = "trust" if update is None else "update"
    if json_output:
        print_json({"out": str(out), "bytes": len(data), "kind": kind})
        return
    show(f"{out}: {len(data)} bytes, to go up as {kind}")


def _stored(folder: Path, repository: Repository, role: str, json_output: bool) -> None:
    from orbitloop.apps.trust_files import save_folder

    written = save_folder(folder, repository)
    if json_output:
        print_json({"folder": str(folder), "role": role, "written": written})
        return
    show(f"{folder}: {role} taken in", f"written: {', '.join(written) or 'nothing new'}")


def _opened(bundle: Path) -> Any:
    from orbitloop.apps.trust_files import read_file
    from orbitloop.delta.bundle import open_bundle
    from orbitloop.records.wire import MAX_RECORD_BYTES

    try:
        return open_bundle(read_file(bundle, MAX_RECORD_BYTES))
    except UpdateError as error:
        raise type(error)(error.what, where=str(bundle), remedy=error.remedy) from error


def _counts(rows: list[str] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows or ():
        name, _, count = row.rpartition("=")
        if not name or not count.isdecimal() or len(count) > 12:
            raise typer.BadParameter(f"{row!r} is not NAME=N", param_hint="--contacts")
        found[name] = int(count)
    return found


def _day(at_s: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))
