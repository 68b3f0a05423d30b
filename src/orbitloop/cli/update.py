"""Commands on an update as it goes up: build it from two models, look into it. What a satellite makes of it: `update_apply`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, Overrides, load_plan
from orbitloop.cli.terminal import add_row, print_json, show, table
from orbitloop.cli.update_apply import BundleFile, apply, verify
from orbitloop.errors import UpdateError

if TYPE_CHECKING:
    from orbitloop.records.update import UpdateManifest

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, inspect, verify and apply updates.")

Rate = Annotated[float, typer.Option(metavar="BPS", min=1, help="Uplink rate, bit/s.")]
PassSeconds = Annotated[float | None, typer.Option(metavar="S", min=1, help="Seconds that one pass lasts; counts passes.")]
Mission = Annotated[
    Path | None, typer.Option("--mission", metavar="MISSION.yaml", help="Count the real passes of this mission's satellites.")
]


@app.callback()
def update() -> None:
    """Build, inspect, verify and apply updates: what changes a model that flies, and what it costs to send."""


@app.command("build")
def build(
    base: Annotated[Path, typer.Argument(metavar="BASE_MODEL_DIR", help="Folder of the model that flies.")],
    new: Annotated[Path, typer.Argument(metavar="NEW_MODEL_DIR", help="Folder of the model that shall fly, of the same form.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the bundle goes.")],
    satellites: Annotated[
        list[str] | None, typer.Option("--satellite", metavar="NAME", help="A satellite that it is for. Repeatable.")
    ] = None,
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose model it is.")] = "mission",
    hardware: Annotated[str, typer.Option(metavar="NAME", help="What the satellites are built of.")] = "simulated",
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Its version.  [default: after the tenant's newest]")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the TUF repository; gets the new metadata.")
    ] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="Signing key, PEM: the tenant's, and the online one. Repeatable."),
    ] = None,
    dev_authority: Annotated[
        str,
        typer.Option(metavar="WORD", help="All keys follow from this word: to try things out. Founds an empty --repository."),
    ] = "",
    gate: Annotated[
        Path | None, typer.Option("--gate", metavar="FILE", help="JSON of the gate's verdict, which is signed with it.")
    ] = None,
    vouch: Annotated[str, typer.Option(metavar="WORDS", help="Instead of --gate: why it may fly. Signed with it.")] = "",
    seal_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Encrypt what changes: file with 64 hexadecimal digits.")
    ] = None,
    budget_bytes: Annotated[
        int | None, typer.Option(metavar="N", min=256, help="Most bytes of the bundle; the change is coded as finely as fits.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With --budget-bytes: pictures where it shall be good; seeks the most accurate that fits."
        ),
    ] = None,
    contacts: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", help="Contacts last heard of a satellite. Repeatable.")
    ] = None,
    root_held: Annotated[int, typer.Option(metavar="N", min=1, help="Root version that the satellites believe.")] = 1,
    targets_held: Annotated[
        int, typer.Option(metavar="N", min=0, help="Targets version that they believe; those need not go up again.")
    ] = 0,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Write the bundle without signatures, for `orbitloop trust release`.")
    ] = False,
    payload_only: Annotated[
        bool, typer.Option("--payload-only", help="Write the coded change alone: no manifest, nothing signed.")
    ] = False,
    rate: Rate = 256e3,
    pass_seconds: PassSeconds = None,
    mission: Mission = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Build an update from two model folders: code the change, sign it, and say what it takes to send.

    Both models must be of one form and one graph; `orbitloop quantise` makes the form that flies. The satellites take only what
    has the gate's evidence in it: the verdict of a run (`gate` of a round in report.json), or your own word by --vouch.

    The repository's metadata grows with each update, also with one that is never sent. Where the keys are not on this machine,
    build --unsigned and carry the release through a ceremony (`orbitloop trust release`).

    \b
    Examples:
      orbitloop update build models/flying models/new -o update.bundle \\
        --satellite sat-1 --hardware jetson --tenant farm --gate verdict.json \\
        --repository trust --key farm-1.pem --key farm-2.pem --key online.pem
      orbitloop update build models/flying models/new -o update.bundle \\
        --satellite sat-1 --repository trust --dev-authority try --vouch "bench test"
      orbitloop update build models/flying models/new -o update.bundle --unsigned \\
        --satellite sat-1 --tenant farm --repository trust --gate verdict.json
      orbitloop update build models/flying models/new -o change.payload \\
        --payload-only --budget-bytes 40000 --pictures scenes

    \b
    Exit codes: 0 done; 10 --mission; 13 not a model; 15 no update leads from one to the
    other, or none fits; 16 keys or repository; 17 orbit; 23 --out cannot be written.
    """
    from orbitloop.apps import update_costs, updates
    from orbitloop.apps.trust_files import save_folder
    from orbitloop.ground.repository import Repository

    plan = load_plan(mission, overrides) if mission else None
    if not payload_only:
        signers = bool(keys or dev_authority) != unsigned
        _complete(satellites, repository is not None or (unsigned and version is not None), signers, bool(gate or vouch))
    pair = updates.open_pair(base, new)
    seen, said = updates.read_pictures(pictures) if pictures else [], list[str]()
    about: dict[str, Any] = {"out": str(out), "base": pair.base.digest}
    if payload_only:
        coded = updates.code_pair(pair, budget_bytes, pictures=seen, tell=said.append)
        data = coded.payload
    else:
        to = updates.Addressees(tenant, tuple(satellites or ()), hardware, _counts(contacts), root_held, targets_held)
        held, dev_keys = updates.open_repository(repository, dev_authority, tenant) if repository else (Repository(), [])
        model = pair.base.engine.metadata.name
        coded, built = updates.build(
            pair,
            to,
            budget_bytes,
            version=version or updates.next_version(held, tenant, model),
            verdict=updates.read_verdict(gate) if gate else updates.vouched(vouch),
            repository=held,
            keys=None if unsigned else [*dev_keys, *updates.read_keys(keys or ())],
            now_s=time.time(),
            seal_key=updates.read_seal_key(seal_key) if seal_key else None,
            pictures=seen,
            tell=said.append,
        )
        # Before the bundle: what is signed under a version must be known, or the next one would be signed under it again.
        if repository and not unsigned:
            save_folder(repository, built.repository)
        data = built.bundle
        about |= {"version": built.manifest.version, "signed": not unsigned, "sealed": built.manifest.sealed}
    updates.write_file(out, data)
    kinds = update_costs.costs_by_kind(coded.payload, pair.base.weights)
    about |= {
        "planned": said[-1] if said else None,
        "result": coded.result_digest,
        "bytes": len(data),
        "payload_bytes": len(coded.payload),
        "bytes_by_kind": kinds,
    }
    cost = _cost(len(data), rate, pass_seconds, plan, satellites or ())
    if json_output:
        print_json(about | cost)
        return
    from orbitloop.reports.units import human_bytes

    parts = ", ".join(f"{kind} {human_bytes(size)}" for kind, size in kinds.items())
    words = "not signed yet, " if unsigned else ""
    what = "payload, not signed" if payload_only else f"{words}update {about['version']} for {', '.join(satellites or ())}"
    show(f"{what}: {out}", f"base   {about['base']}\nresult {about['result']}")
    show(f"{human_bytes(len(data))} in all, {human_bytes(len(coded.payload))} of it the change ({parts})", *said, *_told(cost))


@app.command("inspect")
def inspect_bundle(
    bundle: BundleFile,
    rate: Rate = 256e3,
    base: Annotated[
        Path | None, typer.Option("--base", metavar="MODEL_DIR", help="Folder of the model that it changes; lists its tensors.")
    ] = None,
    pass_seconds: PassSeconds = None,
    mission: Mission = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Show what an update would change: its tensors, their codecs and bytes, and the seconds and passes that it takes to send.

    Nothing is applied and no signature is checked: that the figures are true is for the satellite's keys to say, see
    `orbitloop update verify`. What is checked is that the payload is the one that the manifest names. Of a sealed payload the
    tensors are not shown.

    An update names no tensor: without the model that it is for, only its size can be told.

    \b
    Examples:
      orbitloop update inspect update-3.bundle --rate 64000 --base models/flying
      orbitloop update inspect update-3.bundle --mission missions/aircraft.yaml

    \b
    Exit codes: 0 done; 10 --mission; 13 --base is no model; 15 not an update, or not for
    --base; 16 its metadata is malformed; 17 orbit.
    """
    from orbitloop.apps import update_costs, updates
    from orbitloop.delta.apply import inspect_delta
    from orbitloop.delta.bundle import check_payload, open_bundle, read_manifest
    from orbitloop.records.wire import MAX_RECORD_BYTES
    from orbitloop.trust.carried import unpack_metadata
    from orbitloop.trust.form import read_metadata

    plan = load_plan(mission, overrides) if mission else None
    data = updates.read_file(bundle, MAX_RECORD_BYTES)
    opened = open_bundle(data)
    metadata = unpack_metadata(opened.trust)
    manifest = read_manifest(opened.manifest)
    check_payload(manifest, opened.payload)
    held = _held(base, manifest.base) if base else None
    entries = () if manifest.sealed or held is None else inspect_delta(opened.payload, held)
    by_tenant = [content for name, content in metadata.items() if name.endswith(f".{manifest.tenant}.json")]
    signed_by = [key for content in by_tenant for key in read_metadata(content, manifest.tenant).signatures]
    tensors: list[dict[str, Any]] = [
        {"name": e.name, "codec": e.codec, "shape": list(e.shape), "elements": e.elements, "bytes": e.length} for e in entries
    ]
    kinds = update_costs.costs_by_kind(opened.payload, held) if entries and held is not None else {}
    cost = _cost(len(data), rate, pass_seconds, plan, manifest.satellites)
    if json_output:
        plain = {name: value for name, value in manifest.to_json().items() if name not in ("schema", "canary")}
        parts = {"bundle": data, "trust": opened.trust, "manifest": opened.manifest}
        sizes: dict[str, Any] = {f"{name}_bytes": len(part) for name, part in parts.items()}
        sizes |= {"canary_cases": len(manifest.canary), "bytes_by_kind": kinds, **cost}
        print_json({**plain, **sizes, "signed_by": signed_by, "tensors": tensors})
        return
    _show_inspected(manifest, tensors, kinds, (len(data), len(opened.trust), len(opened.manifest)), signed_by, cost)


app.command("verify")(verify)
app.command("apply")(apply)

# -- what the commands share ---------------------------------------------------------------------------------------------


def _complete(satellites: list[str] | None, versioned: bool, signers: bool, evidence: bool) -> None:
    """See that a bundle was asked for with all that it needs."""
    needs = {
        "--satellite NAME": bool(satellites),
        "--repository DIR (or --unsigned --version N)": versioned,
        "either --key FILE, --dev-authority WORD or --unsigned": signers,
        "--gate FILE, or --vouch WORDS": evidence,
    }
    missing = [words for words, given in needs.items() if not given]
    if missing:
        raise typer.BadParameter(f"an update needs {'; '.join(missing)} (or --payload-only)")


def _counts(rows: list[str] | None) -> dict[str, int]:
    found = {}
    for row in rows or ():
        name, _, number = row.partition("=")
        if not (name and number.isdecimal() and len(number) < 10):
            raise typer.BadParameter(f"--contacts {row}: write NAME=N, such as sat-1=120")
        found[name] = int(number)
    return found


def _cost(size: int, rate: float, pass_seconds: float | None, plan: Any, satellites: Any) -> dict[str, Any]:
    """Return seconds at a rate, and passes: of a given length, and those of a mission."""
    from orbitloop.apps.update_costs import uplinks

    seconds = 8 * size / rate
    passes = math.ceil(seconds / pass_seconds) if pass_seconds else None
    links = uplinks(plan, size, tuple(satellites)) if plan else []
    rows = [{"satellite": one.satellite, "passes": one.passes, "done_at_s": one.done_at_s} for one in links]
    return {"rate_bps": rate, "seconds": seconds, "passes": passes, "uplinks": rows}


def _told(cost: dict[str, Any]) -> list[str]:
    from orbitloop.reports.units import utc

    passes = f", {cost['passes']} pass{'es' if cost['passes'] > 1 else ''}" if cost["passes"] else ""
    lines = [f"{cost['seconds']:.1f} s at {cost['rate_bps']:g} bit/s{passes}"]
    for row in cost["uplinks"]:
        when = f"in {row['passes']} of its passes, by {utc(row['done_at_s'])}" if row["passes"] else "not within the mission"
        lines.append(f"{row['satellite']}: {when}")
    return lines


def _show_inspected(
    manifest: UpdateManifest,
    tensors: list[dict[str, Any]],
    kinds: dict[str, int],
    sizes: tuple[int, int, int],
    signed_by: list[str],
    cost: dict[str, Any],
) -> None:
    from orbitloop.reports.units import human_bytes, human_count

    listed = table("tensor", "codec", "shape", ">elements", ">bytes", ">bit/weight")
    for t in tensors:
        bits = f"{8 * t['bytes'] / t['elements']:.2f}" if t["elements"] else ""
        shape = " x ".join(map(str, t["shape"])) or "scalar"
        add_row(listed, t["name"], t["codec"], shape, human_count(t["elements"]), human_bytes(t["bytes"]), bits)
    hidden = "sealed" if manifest.sealed else "--base lists them"
    parts = f": {', '.join(f'{kind} {human_bytes(size)}' for kind, size in kinds.items())}" if kinds else ""
    count = f"{len(tensors)} tensors{parts}" if tensors else f"coded tensors ({hidden})"
    whole, trust, signed = sizes
    show(
        listed,
        f"update {manifest.version} of {manifest.model} for {', '.join(manifest.satellites) or 'every satellite'}",
        f"base   {manifest.base}\nresult {manifest.result}",
        f"{count}; {len(manifest.canary)} canary cases",
        f"{human_bytes(whole)} in all: metadata {human_bytes(trust)}, manifest {human_bytes(signed)}",
        *_told(cost),
        f"signed for {manifest.tenant} by {', '.join(signed_by) or 'nobody'} (not verified here)",
    )


def _held(folder: Path, digest: str) -> dict[str, Any]:
    """Return the tensors of the model that an update is for."""
    from orbitloop.apps.updates import read_file
    from orbitloop.onboard.weights import MAX_WEIGHTS_BYTES, load_weights
    from orbitloop.records.ids import digest_tensors
    from orbitloop.records.model import WEIGHTS_FILE

    held = load_weights(read_file(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES))
    if digest_tensors(held) != digest:
        raise UpdateError("the update is for another model", where=str(folder), remedy=f"give the one with the digest {digest}")
    return held
