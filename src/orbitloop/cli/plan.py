"""`orbitloop plan`: who talks to whom, when; of a mission, or of files of element sets and stations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, Overrides, Quiet, load_plan, parse_time
from orbitloop.cli.terminal import add_row, note, print_json, show, table

if TYPE_CHECKING:
    from orbitloop.apps.passes import Scene
    from orbitloop.apps.plan_events import Pushed
    from orbitloop.apps.plans import Asked, Planned
    from orbitloop.orbit.schedule.replan import Repair
    from orbitloop.resources.mission import MissionPlan


def plan(
    mission: Annotated[
        Path | None, typer.Argument(metavar="[MISSION.yaml]", help="A mission: its satellites, stations and time.")
    ] = None,
    elements: Annotated[
        Path | None,
        typer.Option("--elements", metavar="FILE", help="Element sets instead: TLE, or OMM as JSON, XML, KVN, CSV."),
    ] = None,
    stations: Annotated[
        list[Path] | None, typer.Option("--stations", metavar="FILE", help="Stations, GeoJSON points. Repeatable.")
    ] = None,
    satellite: Annotated[
        list[str] | None, typer.Option("--satellite", metavar="NAME", help="Only this one; * and ? in names. Repeatable.")
    ] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help="ISO 8601 UTC.  [default: newest epoch]")] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", metavar="H", help="Length.  [default: 24, or the mission's]")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="balanced, first-come, greedy, withhold.")
    ] = None,
    gb_per_day: Annotated[
        float | None,
        typer.Option(
            "--data", metavar="GB", help="GB that each satellite captures a day.  [default: endless; a plan for bytes]"
        ),
    ] = None,
    storage_gb: Annotated[float | None, typer.Option("--storage", metavar="GB", help="Room on board.")] = None,
    patience_h: Annotated[
        float, typer.Option("--patience", metavar="H", min=0.01, help="Hours of waiting that take all of a byte's worth.")
    ] = 6.0,
    antennas: Annotated[int | None, typer.Option("--antennas", metavar="N", min=1, help="Of every station.")] = None,
    setup_s: Annotated[
        float | None, typer.Option("--setup", metavar="S", min=0, help="Between two contacts of an antenna, s.")
    ] = None,
    min_contact_s: Annotated[
        float | None, typer.Option("--min-contact", metavar="S", min=0, help="Shortest contact, s.")
    ] = None,
    pieces: Annotated[
        int | None, typer.Option("--pieces", metavar="N", min=1, max=8, help="Contacts that a pass may be split into.")
    ] = None,
    bound: Annotated[
        int, typer.Option("--bound", metavar="N", min=0, max=2000, help="Rounds of an upper bound; says the gap.")
    ] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Seek the best plan, with proof. Small cases.")] = False,
    tick_s: Annotated[
        float | None, typer.Option("--tick", metavar="S", min=1, max=600, help="Grain.  [default: 1, with --exact 30]")
    ] = None,
    limit_s: Annotated[
        float, typer.Option("--effort", metavar="S", min=1, help="Time of --exact, deterministic seconds.")
    ] = 60.0,
    compare: Annotated[bool, typer.Option("--compare", help="All policies, side by side.")] = False,
    fail: Annotated[
        str | None, typer.Option("--fail", metavar="NAME@TIME", help="Repair the plan after a station or satellite fails.")
    ] = None,
    urgent: Annotated[
        list[str] | None,
        typer.Option("--urgent", metavar="SATELLITE@TIME[:BYTES]", help="Push in what must come down soonest. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the local search.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the plan as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the timeline, .png or .svg.")] = None,
    rows: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Contacts shown; 0 shows all.")] = 30,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan contacts: which satellite talks to which antenna, from when to when.

    With --data a byte is worth most when it comes down at once, and nothing after --patience; the plan maximises what all
    bytes are worth. Without it every satellite always has something to send, and the plan maximises bytes. Batteries and
    stores of a mission count with --data. --bound says how far from the best the plan is at most; --exact finds the best of a
    small case. docs/planning.md has the formulas.

    \b
    Examples:
      orbitloop plan missions/tiansuan.yaml --hours 24
      orbitloop plan --elements resource.tle --stations ksat.geojson --data 60 --setup 60 --compare
      orbitloop plan --elements resource.tle --stations ksat.geojson --data 60 --bound 100 \\
        --fail 'Svalbard*@+6' --plot timeline.png --out plan.json
      orbitloop plan missions/tiansuan.yaml --hours 24 --urgent 'tiansuan-1@+3:2e6'
      orbitloop plan --elements resource.tle --satellite 'SENTINEL*' --stations ssc.geojson \\
        --hours 6 --data 200 --exact

    \b
    Exit codes: 0 done; 2 command line; 10 mission; 17 element sets, orbit, or numba is
    missing; 21 stations or a picture that cannot be; 23 a file cannot be written; 27 no such
    plan; 130 interrupted.
    """
    if mission is None and (elements is None or not stations):
        raise typer.BadParameter("name a mission, or --elements and --stations")
    if compare and (exact or fail or urgent):
        raise typer.BadParameter("--compare goes with neither --exact nor --fail nor --urgent")
    if hours is not None and not 0 < hours <= 24 * 31:
        raise typer.BadParameter("--hours is above 0 and at most 31 days")
    from orbitloop.apps import plan_events as events
    from orbitloop.apps import plans as app
    from orbitloop.cli.progress import watching
    from orbitloop.reports.plots.canvas import kind_of

    if plot is not None:
        kind_of(plot)
    opened = load_plan(mission, overrides) if mission is not None else None
    scene = _scene(opened, elements, stations or [], satellite or [], start, hours)
    failed = events.failure_of(scene, fail) if fail is not None else None
    asked_for = [events.urgent_of(scene, text) for text in urgent or ()]
    told = opened.mission.spec.planning if opened is not None else None
    asked = app.Asked(
        policy=policy or (told.policy if told else "balanced"),
        tick_s=tick_s or (30.0 if exact else 1.0),
        min_contact_s=min_contact_s if min_contact_s is not None else told.min_contact_s if told else 60.0,
        pieces=pieces or (told.pieces if told else 1),
        seed=seed,
        gb_per_day=gb_per_day,
        storage_gb=storage_gb,
        patience_h=patience_h,
        antennas=antennas,
        setup_s=setup_s,
        bound_rounds=0 if exact else bound,
    )
    with watching(quiet or len(scene.elements) < 30) as watcher:
        problem = app.posed(scene.elements, scene.stations, scene.start_s, scene.end_s, asked, opened, watcher.stage)
        if compare:
            _tell_compared(app.compared(problem, asked, watcher.stage), json_output)
            return
        found = app.planned_exactly(problem, asked, limit_s) if exact else app.planned(problem, asked, watcher.stage)
    repaired: Repair | None = None
    pushed: list[Pushed] = []
    if failed is not None:
        found, repaired = events.mended(found, failed[0])
        note(f"failed: {failed[1]}")
    if asked_for:
        found, pushed = events.pushed(found, asked_for)
    if out is not None:
        app.write_plan(out, found, asked.policy)
    if plot is not None:
        app.draw(plot, found, f"Contacts, {asked.policy}", failed[0] if failed else None)
    files = [str(path) for path in (out, plot) if path is not None]
    _tell(found, repaired, pushed, asked, rows, files, json_output)


def _scene(
    opened: MissionPlan | None,
    elements: Path | None,
    stations: list[Path],
    satellite: list[str],
    start: str | None,
    hours: float | None,
) -> Scene:
    """Bring together what the mission and the files say."""
    from orbitloop.apps import passes as app
    from orbitloop.orbit.elements import start_after_s

    flying, places = app.of_mission(opened) if opened else ((), ())
    skipped: tuple[str, ...] = ()
    if elements is not None:
        flying, skipped = app.read_sets(elements)
        for line in skipped[:5]:
            note(f"skipped: {line}")
    if stations:
        places = app.read_stations(stations, 10.0)
    chosen = tuple(app.choose_satellites(flying, satellite))
    start_s = parse_time(start, "--start") if start else None
    if start_s is None:
        start_s = opened.start_s if opened else start_after_s(chosen)
    length_s = hours * 3600.0 if hours is not None else opened.duration_s if opened else 86_400.0
    return app.Scene(chosen, tuple(places), start_s, start_s + length_s, skipped)


def _tell(
    found: Planned,
    repaired: Repair | None,
    pushed: list[Pushed],
    asked: Asked,
    rows: int,
    files: list[str],
    json_output: bool,
) -> None:
    from orbitloop.apps import plans as app
    from orbitloop.clock import iso_utc
    from orbitloop.reports.units import human_bytes, utc

    listed, problem = app.rows_of(found), found.problem
    if json_output:
        value: dict[str, Any] = {
            "start": iso_utc(problem.start_s),
            "end": iso_utc(problem.end_s),
            "policy": asked.policy,
            "summary": app.summary(found),
            "contacts": listed,
            "files": files,
        }
        if repaired is not None:
            value["repair"] = repaired.to_json()
        if pushed:
            value["urgent"] = [one.to_json(problem) for one in pushed]
        print_json(value)
        return
    title = f"{len(listed)} contacts of {problem.size} passes, {asked.policy}"
    shown = table("satellite", "station", ">ant", "from (UTC)", "to", ">min", ">max el", ">carries", "pass", title=title)
    for row in listed[: rows or None]:
        times = (utc(row["start_s"], "%m-%d %H:%M:%S"), utc(row["end_s"], "%H:%M:%S"))
        length = f"{(row['end_s'] - row['start_s']) / 60:.1f}"
        height, size = f"{row['max_elevation_deg']:.0f}°", human_bytes(row["capacity_bytes"])
        whole = "whole" if row["whole_pass"] else "part"
        add_row(shown, row["satellite"], row["station"], row["antenna"], *times, length, height, size, whole)
    more = [f"... {len(listed) - rows} more; --limit 0 shows all"] if rows and len(listed) > rows else []
    changed = [*_repair_lines(repaired), *(_urgent_line(one) for one in pushed)]
    show(shown, *more, _figures({asked.policy: found}), *changed, *(f"written: {path}" for path in files))


def _repair_lines(done: Repair | None) -> list[str]:
    if done is None:
        return []
    return [
        f"repair: {len(done.lost)} contacts lost, {len(done.made)} made, {len(done.moved)} moved; "
        f"{100 * done.recovered:.0f} % of what the failure took is back"
    ]


def _urgent_line(one: Pushed) -> str:
    from orbitloop.reports.units import human_bytes, utc

    def when(time_s: float | None) -> str:
        return "not within the plan" if time_s is None else f"{utc(time_s, '%m-%d %H:%M:%S')} UTC"

    done = one.repair
    return (
        f"urgent: {human_bytes(int(one.request.size_bytes))} of {one.satellite} asked {when(one.request.release_s)}, "
        f"down {when(one.now_s)} (without: {when(one.without_s)}); "
        f"{len(done.lost)} contacts lost, {len(done.made)} made, {len(done.moved)} moved; {one.cpu_ms:.1f} ms of CPU"
    )


def _figures(by_policy: dict[str, Planned]) -> Any:
    """Return the table of what plans are worth."""
    from orbitloop.reports.units import human_bytes

    made = table(
        "policy", ">contacts", ">down", ">share", ">median", ">P90", ">P99", ">antennas", ">worth", ">gap", title="worth"
    )
    best = max((p.outcome.gain for p in by_policy.values()), default=0.0)
    for name, found in by_policy.items():
        o = found.outcome
        captured = float(o.captured_bytes.sum())
        share = f"{100 * o.throughput_bytes / captured:.1f} %" if math.isfinite(captured) and captured > 0 else ""
        late = [f"{v / 60:.0f} min" if math.isfinite(captured) and math.isfinite(v) else "" for v in o.latency_s.tolist()]
        worth = f"{100 * o.gain / best:.1f} %" if best > 0 else ""
        gap = "" if found.gap is None else "proven best" if found.proven else f"<= {100 * found.gap:.1f} %"
        down = human_bytes(int(o.throughput_bytes))
        add_row(made, name, o.contacts, down, share, *late, f"{100 * o.antenna_share:.1f} %", worth, gap)
    return made


def _tell_compared(by_policy: dict[str, Planned], json_output: bool) -> None:
    from orbitloop.apps import plans as app

    if json_output:
        print_json({"policies": {name: app.summary(found) for name, found in by_policy.items()}})
    else:
        show(_figures(by_policy))
