"""Command that proposes burns against a conjunction, and the options that it shares with the other commands on events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.cli.options import Json, Overrides, Quiet, load_plan, parse_time
from orbitloop.cli.terminal import INTERRUPTED, add_row, note, print_json, show, table
from orbitloop.errors import ConjunctionError, StateError

if TYPE_CHECKING:
    from orbitloop.apps.conjunction_avoidance import AvoidanceReport
    from orbitloop.orbit.conjunction.events import Event

DEFAULT_STORE = Path("conjunctions.db")
Store = Annotated[
    Path, typer.Option("--store", metavar="DB", envvar="ORBITLOOP_CONJUNCTIONS", help="The file that holds the events.")
]
Now = Annotated[
    str | None,
    typer.Option("--now", metavar="TIME", help="Judge by what was known at this time, ISO 8601 UTC.  [default: now]"),
]
EventName = Annotated[str, typer.Argument(metavar="EVENT", help="Name of the event, or how it begins (`list` names them).")]
Picture = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write a picture, .png or .svg.")]


def avoid(
    event: EventName,
    store: Store = DEFAULT_STORE,
    satellite: Annotated[
        str, typer.Option("--satellite", metavar="NAME", help="Which of the two may burn, number or name.  [default: primary]")
    ] = "",
    mission: Annotated[
        Path | None, typer.Option("--mission", metavar="MISSION.yaml", help="Its stations: passes that a burn costs.")
    ] = None,
    catalog: Annotated[
        list[Path] | None,
        typer.Option("--catalog", metavar="FILE", help="Element sets of others: what a burn brings near. Repeatable."),
    ] = None,
    goal: Annotated[float, typer.Option("--goal", metavar="P", help="Probability that a burn shall reach.")] = 1e-6,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="MM/S,...", help="Sizes of burns, mm/s, both ways.")
    ] = "1,2,3,5,7.5,10,15,20,30,50",
    revolutions: Annotated[
        str, typer.Option("--revolutions", metavar="N,...", help="When, revolutions before the closest approach.")
    ] = "0.5,1.5,2.5,3.5,5.5,7.5,10.5,15.5,22.5,30.5",
    lead: Annotated[float, typer.Option("--lead", metavar="HOURS", min=0, help="Earliest burn after now.")] = 1.0,
    mass: Annotated[float | None, typer.Option("--mass-kg", metavar="KG", help="Mass, for the share of propellant.")] = None,
    isp: Annotated[float | None, typer.Option("--isp-s", metavar="S", help="Specific impulse.")] = None,
    propellant: Annotated[float | None, typer.Option("--propellant-kg", metavar="KG", help="Propellant left.")] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many options to show and write.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write them as AvoidanceOption resources.")] = None,
    plot: Picture = None,
    now: Now = None,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Propose burns that make a conjunction less dangerous, ranked by probability, passes lost and size. Nothing is commanded.

    Burns are impulses along the track, faster or slower. Of each: closest approach and probability after it, propellant, ground
    passes that it costs, and other objects that it comes near (for the first few). Doing nothing is among them. For an event
    that is over, options are those of the time of its newest message (or of --now).

    \b
    Examples:
      orbitloop conjunctions avoid 20580-22015 --plot options.png
      orbitloop conjunctions avoid 20580-22015 --mission missions/farmland-demo.yaml \\
        --catalog active.tle --mass-kg 22 --isp-s 220 --propellant-kg 0.4 --out options

    \b
    Exit codes: 0 done; 10 --mission; 17 element sets; 21 the picture; 23 the store, --out,
    or no such event; 26 the event gives no states; 130 interrupted.
    """
    from orbitloop.apps import conjunction_avoidance as avoidance
    from orbitloop.apps.conjunction_files import read_elements, write_resources
    from orbitloop.apps.conjunction_store import opened
    from orbitloop.cli.progress import watching
    from orbitloop.orbit.conjunction.avoidance import AvoidanceSettings

    settings = AvoidanceSettings(
        revolutions=_numbers(revolutions, "--revolutions"),
        sizes_m_s=tuple(one / 1000.0 for one in _numbers(sizes, "--sizes")),
        goal_probability=goal,
        lead_s=lead * 3600.0,
        mass_kg=mass,
        specific_impulse_s=isp,
        propellant_kg=propellant,
    )
    plan = load_plan(mission, overrides) if mission is not None else None
    with opened(store) as kept:
        found = known_by(kept.event(event), now)
    update = avoidance.seen_from(found, satellite)
    now_s = as_of_s(now)
    if now is None and now_s > update.tca_s:
        now_s = update.created_s
        note(f"the event is over: options as of its newest message, {utc_text(now_s)}")
    try:
        with watching(quiet) as watcher:
            around = avoidance.surroundings(plan, read_elements(catalog or []), now_s)
            report = avoidance.avoid(found, update, around, now_s, settings, progress=watcher.stage)
    except KeyboardInterrupt:
        note("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    resources = [avoidance.option_resource(report, n) for n in range(1, min(top, len(report.options)) + 1)]
    if out is not None:
        write_resources(out, resources)
    if plot is not None:
        _write_tradeoff(report, plot)
    if json_output:
        options = [one.to_json() for one in resources]
        print_json({"event": found.id, "now_s": now_s, "options": options, "tried": len(report.options)})
        return
    _tell_options(report, top)
    show(*([f"written: {len(resources)} in {out}"] if out else []), *([f"picture: {plot}"] if plot else []))


def known_by(event: Event, now: str | None) -> Event:
    """Return an event as it was known at --now.

    Raises:
        StateError: no message of it had been written by then.
    """
    then = event if now is None else event.as_of(as_of_s(now))
    if then is None:
        first = utc_text(event.updates[0].created_s)
        raise StateError(f"nothing was known of {event.id} by then", where="--now", remedy=f"its first message is of {first}")
    return then


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConjunctionError(f"{text[:60]!r} is not numbers with commas", where=option) from error


def _write_tradeoff(report: AvoidanceReport, path: Path) -> None:
    from orbitloop.apps.files import write_whole
    from orbitloop.reports.plots.canvas import kind_of
    from orbitloop.reports.plots.conjunction import OptionPoint, tradeoff_picture

    points = [
        OptionPoint(
            None if o.burn_s is None else (report.update.tca_s - o.burn_s) / 3600.0,
            o.along_m_s,
            o.probability,
            None if o.passes is None else o.passes.lost,
            o.pareto,
            rank,
        )
        for rank, o in enumerate(report.options, 1)
    ]
    title = f"{report.update.primary.label} avoids {report.update.secondary.label}"
    write_whole(path, tradeoff_picture(title, points, report.settings.goal_probability, kind_of(path)))


def _tell_options(report: AvoidanceReport, top: int) -> None:
    update = report.update
    show(f"{report.event.id}: options for {update.primary.label}, {utc_text(report.now_s)}; proposals, nothing is commanded")
    columns = ("burn (UTC)", ">rev", ">mm/s", ">Pc", ">miss km", ">passes lost", ">cut", ">propellant", "command by", "near")
    listed = table(">", "", *columns)
    rows = list(enumerate(report.options, 1))
    nothing = next(n for n, o in rows if o.burn_s is None)
    for rank, option in rows[:top] + ([rows[nothing - 1]] if nothing > top else []):
        mark = ("P" if option.pareto else "") + ("+" if option.meets_goal else "")
        burn = (
            ("nothing", "", "")
            if option.burn_s is None
            else (utc_text(option.burn_s)[5:], f"{option.revolutions:g}", f"{option.along_m_s * 1000:+g}")
        )
        lost, cut = ("?", "?") if option.passes is None else (option.passes.lost, option.passes.cut)
        share = "" if option.propellant_share is None else f"{option.propellant_share:.2%}"
        by_s = report.command_by_s(option)
        by = "" if by_s is None else utc_text(by_s)[5:-3]
        near = "" if option.new_approaches is None else str(len(option.new_approaches)) if option.new_approaches else "none"
        numbers = (f"{option.probability:.2e}", f"{option.miss_km:.3f}", lost, cut, share)
        add_row(listed, rank, mark, *burn, *numbers, by, near)
    show(listed, "P: no other option is better in all   +: reaches the goal", *(f"note: {text}" for text in report.notes))


def as_of_s(text: str | None) -> float:
    """Return the time of `--now`, or that of the clock."""
    return time.time() if text is None else parse_time(text, "--now")


def utc_text(when_s: float) -> str:
    """Return a time as lists show it."""
    from orbitloop.reports.units import utc

    return utc(when_s, "%Y-%m-%d %H:%M:%S")
