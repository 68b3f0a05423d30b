"""The command on collision probability: messages in, a judged probability each, or the messages in another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.cli.options import Json, Quiet
from orbitloop.cli.terminal import add_row, note, print_json, show, table
from orbitloop.errors import ConjunctionError

if TYPE_CHECKING:
    from orbitloop.apps.collision import Judged

_SAMPLES = 400_000


def pc(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Conjunction data messages (KVN or XML), or folders of them.")
    ],
    hbr: Annotated[
        float | None,
        typer.Option("--hbr", metavar="METRES", min=0.01, max=10_000, help="Sum of both radii, instead of the message's own."),
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="auto, 2d, 3d or mc.")] = "auto",
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=1, max=10**10, help="Pairs of orbits drawn at most, each message.")
    ] = _SAMPLES,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of what is drawn.")] = 0,
    window: Annotated[
        float | None,
        typer.Option("--window", metavar="SECONDS", min=0.0, help="Look so long before and after.  [default: half a period]"),
    ] = None,
    sensitive: Annotated[
        bool, typer.Option("--sensitivity", help="How the probability changes with the radius and with each object's sigmas.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the encounter plane (.png, .svg); of several, the most probable."),
    ] = None,
    convert: Annotated[
        str | None, typer.Option("--convert", metavar="FORM", help="Only write each message as kvn or xml.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for --convert; else beside each file.")
    ] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say how probable a collision is, by a method that holds, and why that one.

    2-D (Foster) where the passing is short and straight; 3-D (expected collisions on bent orbits) where it is not; Monte
    Carlo where 3-D has doubts that can be counted away. The column 2-D keeps its number with a ! where it must not be used, and
    the reason stands below. The hard-body radius comes from the message's `COMMENT HBR = 20 [m]`, or from --hbr.

    Covariances that are none are mended and told. The highest column is what 2-D would say if both sigmas were scaled at
    will: much above the first, the covariance says little, and a small number is no all-clear.

    \b
    Examples:
      orbitloop pc inbox/*.cdm
      orbitloop pc warning.cdm --hbr 12 --plot encounter.png
      orbitloop pc warning.cdm --method mc --samples 20000000 --seed 1
      orbitloop pc warning.cdm --sensitivity --json
      orbitloop pc inbox --convert xml --out xml

    \b
    Exit codes: 0 done; 21 picture; 23 a file cannot be written; 26 a message was
    refused (the others are told).
    """
    from orbitloop.apps import collision
    from orbitloop.apps.conjunction_files import message_files
    from orbitloop.cli.progress import watching
    from orbitloop.orbit.conjunction.assess import METHODS
    from orbitloop.reports.plots.canvas import kind_of

    if method not in METHODS:
        raise typer.BadParameter(f"{method!r} is none of {', '.join(METHODS)}", param_hint="--method")
    if convert is not None and convert not in collision.FORMS:
        raise typer.BadParameter(f"{convert!r} is none of {', '.join(collision.FORMS)}", param_hint="--convert")
    if plot is not None:
        kind_of(plot)
    paths = message_files(files)
    if convert is not None:
        written = [{"file": str(a), "written": str(b)} for a, b in collision.convert(paths, convert, out)]
        if json_output:
            print_json({"written": written})
        else:
            show(*(f"{row['file']} -> {row['written']}" for row in written))
        return
    with watching(quiet or (len(paths) < 10 and samples <= _SAMPLES)) as watcher:
        rows = collision.judge(paths, hard_body_radius_m=hbr, method=method, samples=samples, seed=seed, half_window_s=window)
        judged = list(collision.watch(rows, len(paths), lambda done, total, name: watcher.stage("messages", done, total, name)))
    changes = _changes(judged) if sensitive else {}
    if json_output:
        told = [one.to_json() | ({"sensitivity": changes[n]} if n in changes else {}) for n, one in enumerate(judged)]
        print_json({"messages": told})
    else:
        _tell(judged)
        for n, found in changes.items():
            _tell_changes(judged[n], found)
    if plot is not None:
        _draw(judged, plot, json_output)
    if any(one.error is not None for one in judged):
        raise typer.Exit(ConjunctionError.exit_code)


def _tell(judged: list[Judged]) -> None:
    columns = ("primary", "secondary", "closest approach", ">miss m", ">speed m/s", ">Pc", "by", ">2-D", ">3-D", ">highest")
    shown = table(*columns, wrap=("primary", "secondary"))
    reasons: list[str] = []
    for one in judged:
        if one.assessment is None or one.message is None:
            continue
        found, plain = one.assessment, one.to_json()
        mark = " !" if found.plane_violated else "  "
        plane = f"{found.plane.value:.2e}" + mark if found.plane is not None else "none !"
        sphere = f"{found.sphere.value:.2e}" if found.sphere is not None else ""
        highest = f"{found.highest.value:.1e}" if found.highest is not None and not found.plane_violated else ""
        add_row(
            shown,
            plain["primary"], plain["secondary"], plain["tca"], f"{plain['miss_m']:.0f}", f"{plain['speed_m_s']:.4g}",
            f"{found.value:.2e}", found.method, plane, sphere, highest,
        )  # fmt: skip
        told = [*one.message.notes, *found.flags]
        if found.counted is not None:
            counted = found.counted
            told.append(f"mc: {counted.hits} of {counted.samples} collided, 95 % [{counted.low:.3g}, {counted.high:.3g}]")
        if told:
            reasons += [one.path.name, *(f"  {text}" for text in told)]
    if shown.row_count:
        show(shown)
    if reasons:
        show(*reasons)
    for one in judged:
        if one.error is not None:
            note(f"refused: {one.error}")


def _changes(judged: list[Judged]) -> dict[int, list[dict[str, str | float]]]:
    from orbitloop.orbit.conjunction.assess import sensitivity

    found: dict[int, list[dict[str, str | float]]] = {}
    for n, one in enumerate(judged):
        if one.assessment is not None:
            method = "3d" if one.assessment.plane_violated else "2d"
            rows = sensitivity(one.assessment.encounter, method=method)
            found[n] = [{"what": row.what, "factor": row.factor, "probability": row.value} for row in rows]
    return found


def _tell_changes(one: Judged, rows: list[dict[str, str | float]]) -> None:
    factors = sorted({float(row["factor"]) for row in rows})
    shown = table("scaled", *(f">x {factor:g}" for factor in factors), title=one.path.name)
    names = {"radius": "hard-body radius", "primary": "sigmas of the primary", "secondary": "sigmas of the secondary"}
    for what in dict.fromkeys(str(row["what"]) for row in rows):
        values = {float(row["factor"]): float(row["probability"]) for row in rows if row["what"] == what}
        add_row(shown, names.get(what, "sigmas of both"), *(f"{values[factor]:.2e}" for factor in factors))
    show(shown)


def _draw(judged: list[Judged], plot: Path, json_output: bool) -> None:
    from orbitloop.apps.collision import picture

    best = max((one for one in judged if one.assessment is not None), key=lambda one: _value(one), default=None)
    if best is None:
        note("nothing to draw: every message was refused")
        return
    picture(best, plot)
    if not json_output:
        show(f"picture: {plot}" + (f" ({best.path.name})" if len(judged) > 1 else ""))


def _value(one: Judged) -> float:
    return one.assessment.value if one.assessment is not None else -1.0
