"""Commands on an update: what is in a bundle, before anybody believes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import add_row, print_json, show, table
from orbitloop.errors import UpdateError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look into updates.")


@app.callback()
def update() -> None:
    """Look into updates: what a bundle would change, and what it costs to send."""


@app.command("inspect")
def inspect_bundle(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="File with an update as it goes up.")],
    rate: Annotated[float, typer.Option(metavar="BPS", min=1, help="Uplink rate, bit/s.")] = 256e3,
    base: Annotated[
        Path | None, typer.Option("--base", metavar="MODEL_DIR", help="Folder of the model that it changes; lists its tensors.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Show what an update would change: its tensors, their codecs and bytes, and the seconds that it takes to send.

    Nothing is applied and no signature is checked: that the figures are true is for the satellite's keys to say. What is
    checked is that the payload is the one that the manifest names. Of a sealed payload the tensors are not shown.

    An update names no tensor: without the model that it is for, only its size can be told.

    \b
    Example:
      orbitloop update inspect update-3.bundle --rate 64000 --base models/flying

    \b
    Exit codes: 0 done; 13 --base is no model; 15 not an update, or not for --base;
    16 its metadata is malformed.
    """
    from orbitloop.delta.apply import inspect_delta
    from orbitloop.delta.bundle import check_payload, open_bundle, read_manifest
    from orbitloop.records.wire import MAX_RECORD_BYTES
    from orbitloop.trust.carried import unpack_metadata
    from orbitloop.trust.form import read_metadata

    data = _read(bundle, MAX_RECORD_BYTES)
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
    seconds = 8 * len(data) / rate
    if json_output:
        plain = {name: value for name, value in manifest.to_json().items() if name not in ("schema", "canary")}
        parts = {"bundle": data, "trust": opened.trust, "manifest": opened.manifest}
        sizes: dict[str, float] = {f"{name}_bytes": len(part) for name, part in parts.items()}
        sizes |= {"canary_cases": len(manifest.canary), "rate_bps": rate, "seconds": seconds}
        print_json({**plain, **sizes, "signed_by": signed_by, "tensors": tensors})
        return
    from orbitloop.reports.units import human_bytes, human_count

    listed = table("tensor", "codec", "shape", ">elements", ">bytes", ">bit/weight")
    for t in tensors:
        bits = f"{8 * t['bytes'] / t['elements']:.2f}" if t["elements"] else ""
        shape = " x ".join(map(str, t["shape"])) or "scalar"
        add_row(listed, t["name"], t["codec"], shape, human_count(t["elements"]), human_bytes(t["bytes"]), bits)
    count = "coded tensors (--base lists them)" if held is None else f"{len(tensors)} tensors"
    show(
        listed,
        f"update {manifest.version} of {manifest.model} for {', '.join(manifest.satellites) or 'every satellite'}",
        f"base   {manifest.base}\nresult {manifest.result}",
        f"{count}, {len(manifest.canary)} canary cases",
        f"{human_bytes(len(data))} in all: {seconds:.1f} s at {rate:g} bit/s",
        f"trust {human_bytes(len(opened.trust))}, manifest {human_bytes(len(opened.manifest))}",
        f"signed for {manifest.tenant} by {', '.join(signed_by) or 'nobody'} (not verified here)",
    )


def _held(folder: Path, digest: str) -> dict[str, Any]:
    """Return the tensors of the model that an update is for."""
    from orbitloop.onboard.weights import MAX_WEIGHTS_BYTES, load_weights
    from orbitloop.records.ids import digest_tensors
    from orbitloop.records.model import WEIGHTS_FILE

    held = load_weights(_read(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES))
    if digest_tensors(held) != digest:
        raise UpdateError("the update is for another model", where=str(folder), remedy=f"give the one with the digest {digest}")
    return held


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UpdateError(f"cannot be read ({error.strerror})", where=str(path), remedy="name an existing file") from error
    if len(data) > most_bytes:
        raise UpdateError(f"larger than {most_bytes} bytes", where=str(path))
    return data
