"""Commands on what a satellite makes of an update: hold it against all that is checked on board, apply it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import add_row, note, print_json, show, table
from orbitloop.errors import UpdateError

if TYPE_CHECKING:
    from orbitloop.apps.update_checks import Board, Examined

BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", help="File with an update as it goes up.")]
BaseModel = Annotated[Path, typer.Option("--base", metavar="MODEL_DIR", help="Folder of the model that the satellite holds.")]
Satellite = Annotated[str, typer.Option("--satellite", metavar="NAME", help="Name of the satellite.  [default: the addressee]")]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose updates it takes.  [default: as it says]")]
HardwareName = Annotated[str, typer.Option("--hardware", metavar="NAME", help="What it is built of.  [default: as it says]")]
HeldVersion = Annotated[int, typer.Option(metavar="N", min=0, help="Highest version that the satellite has had.")]
Contacts = Annotated[int, typer.Option(metavar="N", min=0, help="Contacts that the satellite has counted.")]
SealKeys = Annotated[
    list[Path] | None, typer.Option("--seal-key", metavar="FILE", help="Encryption key that the satellite holds. Repeatable.")
]


def verify(
    bundle: BundleFile,
    root: Annotated[Path, typer.Option("--root", metavar="FILE", help="Root metadata that the satellite was launched with.")],
    base: BaseModel,
    satellite: Satellite = "",
    tenant: TenantName = "",
    hardware: HardwareName = "",
    held_version: HeldVersion = 0,
    contacts: Contacts = 0,
    seal_keys: SealKeys = None,
    json_output: Json = False,
) -> None:
    """Hold an update against everything that a satellite checks, in its order, without a satellite.

    Each check is shown by itself, up to the first that fails; then the on-board code takes the bundle in over a flash in
    memory. What you do not name (satellite, tenant, hardware) is taken from the manifest, and so not checked.

    \b
    Example:
      orbitloop update verify update-3.bundle --root trust/1.root.json \\
        --base models/flying --satellite sat-1 --hardware jetson --held-version 2

    \b
    Exit codes: 0 a satellite takes it; 13 --base is no model; 15 it is refused; 16 it is
    refused because of signatures, keys or metadata.
    """
    found = _examined(bundle, _board(base, root, satellite, tenant, hardware, held_version, contacts, seal_keys))
    if json_output:
        print_json(_plain(found))
    else:
        _show_checks(found)
    if found.error is not None:
        note(f"refused: {found.error.what}")
        raise typer.Exit(found.error.exit_code)


def apply(
    bundle: BundleFile,
    base: BaseModel,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="MODEL_DIR", help="Folder of the model that comes of it.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FILE", help="Root metadata: checks all that a satellite checks.")
    ] = None,
    flash: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that is a satellite's flash: one pass of the on-board code over it."),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="With --flash: also live through the update's probation.")] = False,
    payload_only: Annotated[bool, typer.Option("--payload-only", help="BUNDLE is a coded change alone.")] = False,
    satellite: Satellite = "",
    tenant: TenantName = "",
    hardware: HardwareName = "",
    held_version: HeldVersion = 0,
    contacts: Contacts = 0,
    seal_keys: SealKeys = None,
    json_output: Json = False,
) -> None:
    """Apply an update to a model's folder, or to a satellite's flash.

    The new folder appears whole or not at all, and only when the result has the digest that was signed for. Without --root no
    signature is checked, and you are told so. With --flash the on-board code itself takes the update in: an empty flash gets
    --base as its factory model, the trial (which has no tiles here) shows that the new model loads and answers, and it then
    flies on probation.

    \b
    Examples:
      orbitloop update apply update-3.bundle --base models/flying --out models/updated \\
        --root trust/1.root.json
      orbitloop update apply update-3.bundle --base models/flying --flash flash \\
        --root trust/1.root.json --confirm
      orbitloop update apply change.payload --base models/flying --out models/updated \\
        --payload-only

    \b
    Exit codes: 0 done; 13 --base is no model; 15 refused; 16 refused because of
    signatures, keys or metadata; 23 the folder or the flash cannot be written.
    """
    if (out is None) == (flash is None) or (flash is not None and (root is None or payload_only)):
        raise typer.BadParameter("give --out, or --flash with --root")
    board = _board(base, root, satellite, tenant, hardware, held_version, contacts, seal_keys)
    if flash is not None:
        _fly(bundle, board, flash, confirm, json_output)
        return
    from orbitloop.apps.models import check_folder, store_model
    from orbitloop.records.ids import digest_tensors

    assert out is not None
    check_folder(out)
    if payload_only:
        weights, checked = _applied_payload(bundle, board), False
    else:
        found = _examined(bundle, board)
        if found.error is not None:
            raise found.error
        assert found.weights is not None
        weights, checked = found.weights, root is not None
    store_model(out, board.base.graph, weights)
    digest = digest_tensors(weights)
    if not checked:
        note("note: no signature was checked" + ("" if payload_only else "; give --root to check all that a satellite checks"))
    if json_output:
        print_json({"out": str(out), "base": board.base.digest, "digest": digest, "verified": checked})
    else:
        show(f"model: {out}", f"digest: {digest}")


def _board(
    base: Path,
    root: Path | None,
    satellite: str,
    tenant: str,
    hardware: str,
    version: int,
    contacts: int,
    seal_keys: list[Path] | None,
) -> Board:
    from orbitloop.apps.models import open_model
    from orbitloop.apps.update_checks import Board
    from orbitloop.apps.updates import read_file, read_seal_key
    from orbitloop.trust.form import MAX_METADATA_BYTES, read_metadata

    anchor = read_file(root, MAX_METADATA_BYTES) if root else b""
    if root:
        read_metadata(anchor, str(root))
    keys = tuple(read_seal_key(file) for file in seal_keys or ())
    return Board(open_model(base), anchor, satellite, tenant, hardware, version, contacts, keys)


def _examined(bundle: Path, board: Board) -> Examined:
    from orbitloop.apps.update_checks import examine
    from orbitloop.apps.updates import read_file
    from orbitloop.records.wire import MAX_RECORD_BYTES

    return examine(read_file(bundle, MAX_RECORD_BYTES), board, time.time())


def _plain(found: Examined) -> dict[str, Any]:
    checks = [{"check": c.name, "passed": c.passed, "found": c.found} for c in found.checks]
    version = found.manifest.version if found.manifest else None
    return {"accepted": found.error is None, "version": version, "checks": checks}


def _show_checks(found: Examined) -> None:
    listed = table("check", "", "found", wrap=("found",))
    for c in found.checks:
        add_row(listed, c.name, {True: "ok", False: "FAILS", None: "-"}[c.passed], c.found)
    show(listed, "a satellite takes it" if found.error is None else "a satellite refuses it")


def _applied_payload(file: Path, board: Board) -> dict[str, Any]:
    from orbitloop.apps.updates import read_file
    from orbitloop.delta.apply import apply_delta
    from orbitloop.delta.bounds import check_change
    from orbitloop.records.wire import MAX_RECORD_BYTES

    weights = apply_delta(board.base.weights, read_file(file, MAX_RECORD_BYTES))
    check_change(board.base.weights, weights)
    return weights


def _fly(bundle: Path, board: Board, folder: Path, confirm: bool, json_output: bool) -> None:
    from orbitloop.apps.update_checks import fly
    from orbitloop.apps.updates import read_file
    from orbitloop.records.update import ApplyOutcome
    from orbitloop.records.wire import MAX_RECORD_BYTES

    reports = fly(read_file(bundle, MAX_RECORD_BYTES), board, folder, time.time(), confirm=confirm)
    last = reports[-1]
    if json_output:
        print_json({"flash": str(folder), "digest": last.active_digest, "reports": [r.to_json() for r in reports]})
    else:
        show(*(f"update {r.version}: {r.outcome.value.replace('_', ' ')} ({r.reason})" for r in reports))
        show(f"flies: {last.active_digest}")
    if last.outcome not in (ApplyOutcome.ACCEPTED, ApplyOutcome.CONFIRMED):
        raise typer.Exit(UpdateError.exit_code)
