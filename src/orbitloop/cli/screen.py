"""`orbitloop screen`: who comes close to whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, Quiet, parse_time
from orbitloop.cli.terminal import INTERRUPTED, add_row, note, print_json, show, table
from orbitloop.clock import iso_utc, iso_utc_ms

if TYPE_CHECKING:
    from orbitloop.apps.screening import Objects
    from orbitloop.orbit.conjunction.approach import ApproachTable, Volume
    from orbitloop.orbit.conjunction.screening import Screening

_TOP = 20
_TOLD_FAILURES = 5


def screen(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Element sets: TLE, or OMM as JSON, XML, KVN, CSV; gzip or not.")
    ],
    primary: Annotated[
        list[str] | None,
        typer.Option(
            "--primary", metavar="NAME|NORAD", help="Compare only this object with all; * and ? in names. Repeatable."
        ),
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="FILE", help="Compare the objects of this file with all; its sets come first."),
    ] = None,
    threshold_km: Annotated[
        float, typer.Option("--threshold-km", metavar="KM", min=0.001, max=500.0, help="Radius that counts as close.")
    ] = 5.0,
    box_km: Annotated[
        str | None, typer.Option("--box-km", metavar="R,T,N", help="Instead: half-sides of a box in the primary's RTN frame.")
    ] = None,
    ellipsoid_km: Annotated[
        str | None, typer.Option("--ellipsoid-km", metavar="R,T,N", help="Instead: half-axes of an ellipsoid there.")
    ] = None,
    days: Annotated[float, typer.Option("--days", metavar="N", min=0.001, max=31.0, help="Length of the window.")] = 1.0,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="ISO 8601, UTC.  [default: newest epoch, up to a minute]")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Only the N nearest.  [default: 20 in the table, else all]")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List pairs that stay together, too.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all approaches, .jsonl or .csv, in the order of time.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the nearest approach in RTN, .png or .svg.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="Propagation of the search: auto, sgp4 or astroz.")
    ] = "auto",
    csv_output: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout, SOCRATES' columns first.")] = False,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find close approaches: of all objects with all, or of some with all.

    Every time at which two objects, as SGP4 moves them, are within the threshold lies in an approach that is listed;
    docs/screening.md says what that rests on. What SGP4 itself is off, a kilometre and more with the age of the sets, is
    another matter: collision probability is for `orbitloop pc`.

    Pairs that stay together for a revolution or more (docked, of one launch, in formation) are counted, and listed with --all.
    An object that SGP4 cannot place is told, and screened as long as it can be. Ctrl-C keeps what was found, and says until
    when it is complete. The first run compiles for some ten seconds.

    \b
    Examples:
      orbitloop screen active.tle debris.tle
      orbitloop screen active.tle debris.tle --days 7 --out week.jsonl
      orbitloop screen active.tle debris.tle --primary 25544 --box-km 2,25,25 --days 3
      orbitloop screen catalogue.json --fleet mine.tle --csv > mine.csv
      orbitloop screen active.tle --primary 'ONEWEB-*' --top 5 --plot nearest.png

    \b
    Exit codes: 0 done; 2 command line; 17 element sets; 21 matplotlib is missing;
    23 --out; 26 no such object, empty window, or numba is missing; 130 interrupted.
    """
    if json_output and csv_output:
        raise typer.BadParameter("--json and --csv exclude each other")
    if engine not in ("auto", "sgp4", "astroz"):
        raise typer.BadParameter("--engine is auto, sgp4 or astroz")
    volume = _volume(threshold_km, box_km, ellipsoid_km)
    from orbitloop.apps import screening as app
    from orbitloop.apps.files import write_whole
    from orbitloop.orbit.elements import start_after_s
    from orbitloop.reports.plots.canvas import kind_of

    kind = kind_of(plot) if plot is not None else ""
    if out is not None:
        app.check_events_file(out)
    objects = app.read_objects(files, primary or (), fleet)
    start_s = parse_time(start, "--start") if start else start_after_s(objects.elements)
    found = _watched(objects, start_s, days, volume, engine, quiet)
    every = found.approaches
    if out is not None:
        app.write_events(out, found, objects, every)
    chosen = app.closest(every, top, everything or out is None) if top is not None else every
    if plot is not None:
        nearest = app.closest(every, 1, everything)
        if len(nearest):
            write_whole(plot, app.picture(found, objects, nearest.record(0), kind))
        else:
            note(f"nothing to draw: {plot} is not written")
    if json_output:
        rows = [app.approach_json(one, objects.elements) for one in chosen]
        print_json({**app.screening_json(found, objects), "kinds": _kinds(every), "approaches": rows})
    elif csv_output:
        sys.stdout.writelines(app.csv_lines(objects, chosen))
    else:
        _tell(found, objects, app.closest(every, top or _TOP, everything))
    if not found.complete:
        note(f"interrupted: complete until {iso_utc_ms(found.end_s)}, go on with --start {iso_utc_ms(found.end_s)}")
        raise typer.Exit(INTERRUPTED)


def _volume(threshold_km: float, box_km: str | None, ellipsoid_km: str | None) -> Volume:
    from orbitloop.orbit.conjunction.approach import Volume

    if box_km is not None and ellipsoid_km is not None:
        raise typer.BadParameter("--box-km and --ellipsoid-km exclude each other")
    text = box_km or ellipsoid_km
    if text is None:
        return Volume.sphere(threshold_km)
    try:
        radial, intrack, crosstrack = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not three numbers like 2,25,25") from None
    return Volume("box" if box_km is not None else "ellipsoid", radial, intrack, crosstrack)


def _watched(objects: Objects, start_s: float, days: float, volume: Volume, engine: Any, quiet: bool) -> Screening:
    from orbitloop.apps.screening import run_screening
    from orbitloop.cli.progress import watching

    with watching(quiet) as watcher:
        watcher.stage("screening", 0, 1000, f"{len(objects.elements)} objects")

        def tell(until_s: float) -> None:
            watcher.stage("screening", round((until_s - start_s) / (days * 86.4)), 1000, f"until {iso_utc(until_s)}")

        return run_screening(objects, start_s, days, volume=volume, engine=engine, tell=tell)


def _kinds(found: ApproachTable) -> dict[str, int]:
    from orbitloop.orbit.conjunction.approach import KINDS

    return {name: int((found.kind == n).sum()) for n, name in enumerate(KINDS)}


def _tell(found: Screening, objects: Objects, listed: ApproachTable) -> None:
    from orbitloop.apps.screening import STALE_D

    kinds, volume = _kinds(found.approaches), found.volume
    shape = (
        f"{volume.radial_km:g} km"
        if volume.shape == "sphere"
        else f"{volume.shape} {volume.radial_km:g} x {volume.intrack_km:g} x {volume.crosstrack_km:g} km"
    )
    who = "all with all" if objects.primaries is None else f"{len(objects.primaries)} with all"
    rows = table(
        *("TCA (UTC)", ">miss km", ">km/s", "primary", "secondary", ">R", ">T", ">N", ">ages d", "kind"),
        title=f"{len(objects.elements)} objects, {who}, {shape}: the {len(listed)} nearest",
        wrap=("primary", "secondary"),
    )
    for one in listed:
        names = [f"{objects.elements[n].name} ({objects.elements[n].norad_id})" for n in (one.primary, one.secondary)]
        ages = f"{one.primary_age_s / 86400:.1f}, {one.secondary_age_s / 86400:.1f}"
        kind = one.kind if one.minima == 1 else f"{one.kind}, {one.minima} minima"
        where = [f"{x:.3f}" for x in one.rtn_km]
        add_row(rows, iso_utc_ms(one.tca_s)[:-1], f"{one.miss_km:.3f}", f"{one.speed_km_s:.3f}", *names, *where, ages, kind)
    lines = [
        f"{iso_utc_ms(found.start_s)} to {iso_utc_ms(found.end_s)}: {kinds['crossing']} crossings, {kinds['slow']} slow, "
        f"{kinds['co-located']} of pairs that stay together"
    ]
    if objects.skipped:
        lines.append(
            f"skipped: {len(objects.skipped)} element sets, the first {objects.skipped[0].where}: {objects.skipped[0].what}"
        )
    stale = objects.stale(found.start_s)
    if stale:
        lines.append(f"stale: {stale} element sets are older than {STALE_D:g} days")
    for failure in found.failures[:_TOLD_FAILURES]:
        element = objects.elements[failure.index]
        whole = failure.lost_nodes == failure.nodes
        share = "not screened at all" if whole else f"not screened from {iso_utc_ms(failure.from_s)}"
        lines.append(f"{element.name} ({element.norad_id}): {share}: {failure.why}")
    if len(found.failures) > _TOLD_FAILURES:
        lines.append(f"and {len(found.failures) - _TOLD_FAILURES} more; --json lists them")
    show(rows if len(listed) else "no approach", *lines)
