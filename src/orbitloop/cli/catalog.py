"""Commands on a catalogue of element sets: take files in, list, compare, look at one object, check what does not fit, write."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.catalog_keep import DEFAULT_CATALOG, Catalog, Files, brief, ephemeris, keep
from orbitloop.cli.options import Json, parse_time
from orbitloop.cli.terminal import add_row, note, print_json, printable, show, table
from orbitloop.clock import iso_utc

if TYPE_CHECKING:
    from orbitloop.apps.catalogue import ObjectHistory
    from orbitloop.orbit.catalogue.regimes import Selection
    from orbitloop.orbit.catalogue.snapshots import Skipped
    from orbitloop.orbit.elements import Elements

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keep a catalogue of element sets, and see what changed.")

DAY_S = 86_400.0

At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="Time that ages are counted to, UTC, ISO 8601.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Rows shown; 0 shows all. --json has all.")]
Names = Annotated[list[str] | None, typer.Option("--name", metavar="PART", help="Part of the name, or a pattern. Repeatable.")]
Numbers = Annotated[list[int] | None, typer.Option("--number", metavar="N", help="Catalogue number. Repeatable.")]
Regimes = Annotated[
    list[str] | None, typer.Option("--regime", metavar="NAME", help="LEO, MEO, GEO, IGO, GTO, HEO, LMO or other. Repeatable.")
]
ObjectKinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="NAME", help="payload, debris, 'rocket body' or unknown. Repeatable.")
]
Older = Annotated[float | None, typer.Option("--older", metavar="DAYS", help="Only sets at least so old.")]
Younger = Annotated[float | None, typer.Option("--younger", metavar="DAYS", help="Only sets at most so old.")]
Sigmas = Annotated[float, typer.Option("--sigmas", metavar="K", min=1, help="How many robust sigmas are beyond noise.")]


@app.callback()
def catalog() -> None:
    """Keep a catalogue of element sets with its history: TLE and OMM (JSON, XML, KVN, CSV), gzip or not."""


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="TLE or OMM in any form, gzip or not.")],
    catalogue: Catalog = DEFAULT_CATALOG,
    taken: Annotated[
        str | None,
        typer.Option("--taken", metavar="TIME", help="When the sets were taken.  [default: by name, or newest epoch]"),
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option("--keep-days", metavar="N", min=0, help="Drop snapshots so much older than the newest.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Take files of element sets into the catalogue, each as one snapshot.

    A set that cannot be read is named with its line and left out; the others go in. The same file again changes nothing.
    Each file is one transaction: Ctrl-C leaves those before it in, and no part of another.

    \b
    Examples:
      orbitloop catalog import starlink_2026-05-24T22.tle.gz starlink_2026-05-25T22.tle.gz
      orbitloop catalog import active.json --catalog fleet.db --taken 2026-08-22T12:00:00Z --keep-days 90

    \b
    Exit codes: 0 done, some sets may have been left out; 17 a file is no file of
    element sets; 23 the catalogue cannot be written; 130 interrupted.
    """
    from orbitloop.apps.catalogue import drop_older, import_files

    done = []
    for one in import_files(catalogue, files, time.time(), None if taken is None else parse_time(taken, "--taken")):
        _tell_skipped(one.skipped)
        done.append(one)
        if not json_output:
            known = "known already" if one.known else f"{one.new_sets} new"
            times = f"{iso_utc(one.taken_s)} (by {one.dated_by})"
            show(f"{printable(one.path.name)}: snapshot {one.snapshot}, {one.sets} sets, {known}, {times}")
    dropped = drop_older(catalogue, keep_days) if keep_days is not None else 0
    if json_output:
        rows = [
            {
                "file": str(one.path), "snapshot": one.snapshot, "taken_s": one.taken_s, "dated_by": one.dated_by,
                "sets": one.sets, "new_sets": one.new_sets, "known": one.known, "skipped": _skipped_json(one.skipped),
            }
            for one in done
        ]  # fmt: skip
        print_json({"catalog": str(catalogue), "files": rows, "dropped_sets": dropped})


@app.command("list")
def list_(
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    name: Names = None,
    number: Numbers = None,
    regime: Regimes = None,
    kind: ObjectKinds = None,
    older: Older = None,
    younger: Younger = None,
    at: At = None,
    limit: Limit = 40,
    snapshots: Annotated[bool, typer.Option("--snapshots", help="List the snapshots instead.")] = False,
    json_output: Json = False,
) -> None:
    """List objects by their newest sets, with age, regime, and a warning where a set is too old or has decayed.

    \b
    Examples:
      orbitloop catalog list --regime LEO --kind payload --older 3
      orbitloop catalog list active.tle --name 'STARLINK-1*' --at 2026-08-23T00:00:00Z
      orbitloop catalog list --snapshots

    \b
    Exit codes: 0 done; 2 a wrong option; 17 a file is no file of element sets; 23 there is no catalogue.
    """
    from orbitloop.apps.catalogue import list_snapshots, newest_sets

    if snapshots:
        _list_snapshots(list_snapshots(catalogue), json_output)
        return
    wanted = _selection(name, number, regime, kind, older, younger)
    when_s = None if at is None else parse_time(at, "--at")
    sets, _ = newest_sets(catalogue, files or [])
    _list_objects(sets, wanted, time.time() if when_s is None else when_s, limit, json_output)


def _list_snapshots(found: Sequence[Any], json_output: bool) -> None:
    if json_output:
        keys = ("number", "label", "taken_s", "sets", "skipped")
        print_json({"snapshots": [{key: getattr(one, key) for key in keys} for one in found]})
        return
    rows = table(">no.", "label", "taken (UTC)", ">sets", ">left out")
    for one in found:
        add_row(rows, one.number, one.label, iso_utc(one.taken_s), one.sets, one.skipped)
    show(rows)


def _list_objects(sets: Sequence[Elements], wanted: Selection, at_s: float, limit: int, json_output: bool) -> None:
    from orbitloop.orbit.catalogue.crosstags import states_at
    from orbitloop.orbit.catalogue.regimes import age_warning, heights_km, kind_of

    chosen = list(wanted.apply(sets, at_s))
    only = [one for one, _ in chosen]
    gone = [bool(r[0] != r[0]) for r in states_at(only, at_s)[0]]
    heights = zip(*heights_km(only), strict=True) if only else iter(())
    rows: list[dict[str, Any]] = []
    for (one, regime), down, (perigee, apogee) in zip(chosen, gone, heights, strict=True):
        warning = "has decayed, or cannot be propagated to that time" if down else age_warning(at_s - one.epoch_s, regime)
        rows.append(
            {
                "norad_id": one.norad_id, "name": one.name, "designator": one.designator, "kind": kind_of(one.name),
                "regime": regime, "perigee_km": round(float(perigee), 1), "apogee_km": round(float(apogee), 1),
                "inclination_deg": one.inclination_deg, "epoch_s": one.epoch_s,
                "age_d": round((at_s - one.epoch_s) / DAY_S, 3), "warning": warning,
            }
        )  # fmt: skip
    if json_output:
        print_json({"at_s": at_s, "objects": rows})
        return
    listed = table(">number", "name", "regime", ">perigee", ">apogee", ">incl", "epoch (UTC)", ">age d", "", wrap=("",))
    for row in rows[: limit or None]:
        shape = (f"{row['perigee_km']:.0f}", f"{row['apogee_km']:.0f}", f"{row['inclination_deg']:.2f}")
        when = _utc(row["epoch_s"])
        add_row(listed, row["norad_id"], row["name"], row["regime"], *shape, when, f"{row['age_d']:.2f}", row["warning"])
    warned = sum(1 for row in rows if row["warning"])
    show(listed, f"{len(rows)} objects, {_more(len(rows), limit)}{warned} with a warning, ages at {iso_utc(at_s)}")


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Snapshot (number, label, date) or file.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Snapshot (number, label, date, newest) or file.")],
    catalogue: Catalog = DEFAULT_CATALOG,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Common time of comparison.  [default: when AFTER was taken]")
    ] = None,
    limit: Limit = 15,
    json_output: Json = False,
) -> None:
    """Compare two snapshots or files: what came, what went, and how far each new set moves its object.

    Both sets of an object are brought to one common time by SGP4; the distance is given, and its parts in the older one's
    radial, transverse and normal directions.

    \b
    Examples:
      orbitloop catalog diff 1 newest
      orbitloop catalog diff 2026-05-24 2026-05-25
      orbitloop catalog diff yesterday.tle today.json --json

    \b
    Exit codes: 0 done; 17 a file is no file of element sets; 23 no such snapshot.
    """
    from orbitloop.apps.catalogue import open_snapshot
    from orbitloop.orbit.catalogue.changes import difference

    when_s = None if at is None else parse_time(at, "--at")
    older, newer = open_snapshot(catalogue, before), open_snapshot(catalogue, after)
    _tell_skipped([*older.skipped, *newer.skipped])
    found = difference(older, newer, when_s)
    if json_output:
        ends = {"before": older.label, "after": newer.label, "at_s": found.at_s, "same": found.same}
        lists = {"new": [brief(e) for e in found.came], "gone": [brief(e) for e in found.went]}
        print_json({**ends, **lists, "changed": [c.to_json() for c in found.changed]})
        return
    for title, sets in (("new", found.came), ("gone", found.went)):
        names = ", ".join(f"{one.name} ({one.norad_id})" for one in sets[: limit or None])
        show(f"{title}: {len(sets)}{': ' + names if names else ''}{' ...' if limit and len(sets) > limit else ''}")
    rows = table(">number", "name", ">moved km", ">radial", ">transverse", ">normal", ">axis km", "new epoch (UTC)")
    for change in found.changed[: limit or None]:
        one = change.newer
        parts = [f"{v:+.2f}" if math.isfinite(v) else "-" for v in change.rtn_km]
        moved = f"{change.moved_km:.2f}" if math.isfinite(change.moved_km) else "decayed"
        add_row(rows, one.norad_id, one.name, moved, *parts, f"{change.axis_km:+.3f}", _utc(one.epoch_s))
    show(
        rows,
        f"{len(found.changed)} changed, {_more(len(found.changed), limit)}{found.same} as before; at {iso_utc(found.at_s)}",
    )


@app.command("history")
def history(
    name: Annotated[str, typer.Argument(metavar="OBJECT", help="Catalogue number or name.")],
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it, .png or .svg.")] = None,
    sigmas: Sigmas = 6.0,
    limit: Limit = 40,
    json_output: Json = False,
) -> None:
    """Show an object's sets over time, each against what the older one predicted.

    The step is that of the mean semi-major axis from the prediction, drag included; `burn` marks those beyond noise and drag.

    \b
    Examples:
      orbitloop catalog history 44714 --plot history.png
      orbitloop catalog history STARLINK-1008 day1.tle day2.tle day3.tle --json

    \b
    Exit codes: 0 done; 17 no such object, or a file is no file of element sets;
    21 the picture cannot be made; 23 no catalogue.
    """
    from orbitloop.apps.catalogue import object_history, write_history_plot

    found = object_history(catalogue, files or [], name, sigmas)
    if plot is not None:
        write_history_plot(found, plot)
    rows = _history_rows(found)
    last = found.sets[-1]
    if json_output:
        print_json({**brief(last), "sets": rows, "peers": found.peers, "plot": str(plot) if plot else None})
        return
    listed = table(
        "epoch (UTC)", ">perigee km", ">apogee km", ">incl", ">BSTAR", ">step km", "", title=f"{last.name} ({last.norad_id})"
    )
    for row in rows[-limit:] if limit else rows:
        step = "" if row["step_km"] is None else f"{row['step_km']:+.3f}"
        cells = (
            f"{row['perigee_km']:.2f}",
            f"{row['apogee_km']:.2f}",
            f"{row['inclination_deg']:.4f}",
            f"{row['bstar_per_er']:.3e}",
        )
        add_row(listed, _utc(row["epoch_s"]), *cells, step, "burn" if row["manoeuvre"] else "")
    show(listed, *([f"picture: {plot}"] if plot else []))


def _history_rows(found: ObjectHistory) -> list[dict[str, Any]]:
    from orbitloop.orbit.catalogue.regimes import heights_km

    shapes = zip(*heights_km(found.sets), strict=True)
    return [
        {
            "epoch_s": one.epoch_s, "perigee_km": round(float(low), 3), "apogee_km": round(float(high), 3),
            "inclination_deg": one.inclination_deg, "mean_motion_rev_day": one.mean_motion_rev_day,
            "bstar_per_er": one.bstar_per_er, "step_km": round(step, 4) if math.isfinite(step) else None, "manoeuvre": hit,
        }
        for one, (low, high), step, hit in zip(found.sets, shapes, found.steps_km, found.flagged, strict=True)
    ]  # fmt: skip


@app.command("check")
def check(
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="NAME", help="decaying, cross-tagged, manoeuvred, lost, found or stale. Repeatable."),
    ] = None,
    at: At = None,
    sigmas: Sigmas = 6.0,
    stale_intervals: Annotated[
        float, typer.Option("--stale", metavar="N", min=1, help="Usual intervals without a new set that make an object stale.")
    ] = 3.0,
    limit: Limit = 10,
    json_output: Json = False,
) -> None:
    """Say which objects are decaying, cross-tagged, manoeuvred, lost, found again or stale.

    Each set is held against what its older one predicts, and against the noise of objects on like orbits. Two snapshots at
    least are needed for all but decay; docs/catalogue.md says how each is found, and how often it is wrong.

    \b
    Examples:
      orbitloop catalog check
      orbitloop catalog check starlink_2026-05-*.tle.gz --kind manoeuvred --limit 30
      orbitloop catalog check --at 2026-06-02T00:00:00Z --json

    \b
    Exit codes: 0 done, whatever was found; 17 a file is no file of element sets; 23 no catalogue.
    """
    from orbitloop.apps.catalogue import load_snapshots
    from orbitloop.orbit.catalogue.detections import CheckLimits
    from orbitloop.orbit.catalogue.detections import check as run_check
    from orbitloop.orbit.catalogue.findings import KINDS

    unknown = sorted(set(kind or ()) - set(KINDS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(KINDS)}", param_hint="--kind")
    when_s = None if at is None else parse_time(at, "--at")
    snapshots = load_snapshots(catalogue, files or [])
    if files:
        _tell_skipped([one for snapshot in snapshots for one in snapshot.skipped])
    found = [f for f in run_check(snapshots, when_s, CheckLimits(sigmas, stale_intervals)) if not kind or f.kind in kind]
    counts = {name: sum(f.kind == name for f in found) for name in KINDS if not kind or name in kind}
    if json_output:
        labels = [snapshot.label for snapshot in snapshots]
        at_s = snapshots[-1].taken_s if when_s is None else when_s
        print_json({"at_s": at_s, "snapshots": labels, "counts": counts, "findings": [f.to_json() for f in found]})
        return
    for name, count in counts.items():
        if not count:
            continue
        rows = table(">number", "name", "what", wrap=("what",), title=f"{name}: {count}")
        for finding in [f for f in found if f.kind == name][: limit or None]:
            add_row(rows, finding.norad_id, finding.name, finding.what)
        show(rows)
    show(f"{len(snapshots)} snapshots; " + ", ".join(f"{count} {name}" for name, count in counts.items()))


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its ending is the form.")],
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    name: Names = None,
    number: Numbers = None,
    regime: Regimes = None,
    kind: ObjectKinds = None,
    older: Older = None,
    younger: Younger = None,
    at: At = None,
    json_output: Json = False,
) -> None:
    """Write the newest set of each object as TLE (.tle, .3le) or OMM (.json, .xml, .kvn, .csv).

    Catalogue numbers above 339999 have no TLE: they are named and left out there. A TLE comes out byte for byte as it came in.

    \b
    Examples:
      orbitloop catalog export geo.xml --regime GEO
      orbitloop catalog export active.json active.tle

    \b
    Exit codes: 0 done; 17 no such form, or nothing fits it; 23 no catalogue, or OUT cannot be written.
    """
    from orbitloop.apps.catalogue import newest_sets, write_sets

    wanted = _selection(name, number, regime, kind, older, younger)
    when_s = None if at is None else parse_time(at, "--at")
    now_s = time.time()
    sets, _ = newest_sets(catalogue, files or [])
    chosen = [one for one, _ in wanted.apply(sets, now_s if when_s is None else when_s)]
    skipped = write_sets(out, chosen, now_s)
    for text in skipped:
        note(f"left out: {text}")
    if json_output:
        print_json({"file": str(out), "sets": len(chosen) - len(skipped), "skipped": skipped})
    else:
        show(f"{printable(str(out))}: {len(chosen) - len(skipped)} sets")


app.command("keep")(keep)
app.command("ephemeris")(ephemeris)


def _selection(
    names: list[str] | None,
    numbers: list[int] | None,
    regimes: list[str] | None,
    kinds: list[str] | None,
    older: float | None,
    younger: float | None,
) -> Selection:
    from orbitloop.orbit.catalogue.regimes import KINDS, REGIMES, Selection

    for asked, known, hint in ((regimes, REGIMES, "--regime"), (kinds, KINDS, "--kind")):
        unknown = sorted(set(asked or ()) - set(known))
        if unknown:
            raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}", param_hint=hint)
    return Selection(tuple(names or ()), tuple(numbers or ()), tuple(regimes or ()), tuple(kinds or ()), older, younger)


def _utc(when_s: float) -> str:
    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%d %H:%M")


def _more(count: int, limit: int) -> str:
    return f"{limit} shown, " if limit and count > limit else ""


def _skipped_json(skipped: Sequence[Skipped]) -> list[dict[str, Any]]:
    return [{"where": one.where, "what": one.what, "norad_id": one.norad_id} for one in skipped]


def _tell_skipped(skipped: Sequence[Skipped], most: int = 5) -> None:
    for one in skipped[:most]:
        number = f" (object {one.norad_id})" if one.norad_id is not None else ""
        note(f"left out: {one.where}: {one.what}{number}")
    if len(skipped) > most:
        note(f"left out: {len(skipped) - most} more")
