"""Commands on conjunction events: messages in, what they say together, what must be told, what may be done."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.conjunction_avoid import DEFAULT_STORE, EventName, Now, Picture, Store, as_of_s, avoid, known_by, utc_text
from orbitloop.cli.options import Json, Quiet
from orbitloop.cli.terminal import add_row, note, print_json, show, table
from orbitloop.errors import ConjunctionError

if TYPE_CHECKING:
    from orbitloop.apps.conjunctions import FileImport
    from orbitloop.orbit.conjunction.alerts import Thresholds
    from orbitloop.orbit.conjunction.events import Event, EventUpdate

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Conjunction events: history, alerts, avoidance options.")

Radius = Annotated[
    float | None,
    typer.Option("--hbr", metavar="METRES", min=0.01, max=10_000, help="Hard-body radius, both objects together."),
]
Red = Annotated[float, typer.Option("--red", metavar="P", help="Probability at which an alert is red.")]
Yellow = Annotated[float, typer.Option("--yellow", metavar="P", help="Probability at which an alert is yellow.")]
RED, YELLOW = 1e-4, 1e-5


@app.callback()
def conjunctions() -> None:
    """Follow conjunction events: import messages, see how they develop, tell alerts, find avoidance options."""


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Conjunction data messages (KVN, XML), folders of them, or `screen --out` files."
        ),
    ],
    store: Store = DEFAULT_STORE,
    hbr: Radius = None,
    catalog: Annotated[
        list[Path] | None,
        typer.Option("--catalog", metavar="FILE", help="The element sets that were screened. Repeatable."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Judge known messages anew and replace what was kept.")] = False,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take messages and screening results into the store of events. The same one twice changes nothing; bad ones are left out.

    Messages of one pair whose times of closest approach lie within a quarter of a revolution are one event. Each is judged
    anew: collision probability in 2-D and 3-D, with a flag where 2-D does not hold. Where neither the message nor --hbr gives
    the hard-body radius it is left out.

    What `orbitloop screen --out` wrote has no covariance. A model by class of object and age stands in, and is told with every
    number; it takes the element sets (--catalog), and a hard-body radius of 20 m where --hbr gives no other.

    \b
    Examples:
      orbitloop conjunctions import inbox/*.cdm
      orbitloop conjunctions import inbox --hbr 12 --store ops/conjunctions.db
      orbitloop conjunctions import terra.jsonl --catalog active.tle --catalog debris.tle

    \b
    Exit codes: 0 done; 17 element sets; 23 the store; 26 a file was left out (the
    others are in).
    """
    from orbitloop.apps import conjunctions as work
    from orbitloop.apps.conjunction_files import is_screening, message_files, read_elements
    from orbitloop.apps.conjunction_store import opened
    from orbitloop.cli.progress import watching

    found = message_files(files)
    messages, screenings = [f for f in found if not is_screening(f)], [f for f in found if is_screening(f)]
    elements = read_elements(catalog or []) if screenings else []
    results = []
    with opened(store, write=True) as kept, watching(quiet or not (screenings or len(found) >= 20)) as watcher:
        for result in work.import_messages(kept, messages, hard_body_radius_m=hbr, again=again):
            results.append(result)
            watcher.stage("messages", len(results), len(messages), result.path.name)
        for path in screenings:
            told = functools.partial(watcher.stage, path.name)
            results.append(work.import_screening(kept, path, elements, hard_body_radius_m=hbr, again=again, progress=told))
    _tell_import(store, results, json_output)


def _tell_import(store: Path, results: list[FileImport], json_output: bool) -> None:
    stored = [r.stored for r in results if r.stored is not None]
    bad = [r for r in results if r.error is not None]
    new, known, begun = (sum(getattr(one, name) for one in stored) for name in ("new", "known", "begun"))
    if json_output:
        events = list(dict.fromkeys(name for one in stored for name in one.events))
        left_out = [{"file": str(r.path), "error": str(r.error)} for r in bad]
        counts = {"new": new, "known": known, "events_begun": begun}
        print_json({"store": str(store), **counts, "events": events, "left_out": left_out})
    else:
        for one in bad:
            note(f"left out: {one.error}")
        show(f"{len(results)} files: {new} new updates, {known} known, {len(bad)} files left out; {begun} events began")
        if stored:
            show("see them: orbitloop conjunctions list" + (f" --store {store}" if store != DEFAULT_STORE else ""))
    if bad:
        raise typer.Exit(ConjunctionError.exit_code)


@app.command("list")
def list_(
    store: Store = DEFAULT_STORE,
    by: Annotated[str, typer.Option("--by", metavar="ORDER", help="risk, tca, age or miss.")] = "risk",
    open_only: Annotated[bool, typer.Option("--open", help="Only those whose closest approach is still to come.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="The first N.")] = None,
    red: Red = RED,
    yellow: Yellow = YELLOW,
    now: Now = None,
    json_output: Json = False,
) -> None:
    """List events: the newest probability and miss distance, how they change, and at which level they stand.

    `*` marks a probability whose covariance is only a model, `!` one where the 2-D formula does not hold and another was taken.

    \b
    Examples:
      orbitloop conjunctions list --open
      orbitloop conjunctions list --by tca --now 2021-03-15T00:00:00Z

    \b
    Exit codes: 0 done; 23 the store; 26 a wrong order or threshold.
    """
    from orbitloop.apps.conjunction_store import opened
    from orbitloop.apps.conjunctions import ORDERS
    from orbitloop.orbit.conjunction.events import Status

    if by not in ORDERS:
        raise ConjunctionError(f"there is no order {by!r}", where="--by", remedy=f"one of {', '.join(ORDERS)}")
    now_s, limits = as_of_s(now), _thresholds(red, yellow)
    with opened(store) as kept:
        events = sorted(_known(kept.events(), now), key=ORDERS[by])
    if open_only:
        events = [one for one in events if one.status(now_s) is not Status.CLOSED]
    events = events[:limit]
    if json_output:
        print_json({"store": str(store), "events": [_event_json(one, now_s, limits) for one in events]})
        return
    _tell_list(events, now_s, limits)


@app.command("show")
def show_(
    event: EventName,
    store: Store = DEFAULT_STORE,
    plot: Picture = None,
    red: Red = RED,
    yellow: Yellow = YELLOW,
    now: Now = None,
    json_output: Json = False,
) -> None:
    """Show one event: every message, what its numbers rest on, and the alerts that it raised.

    \b
    Examples:
      orbitloop conjunctions show 20580-22015
      orbitloop conjunctions show 20580-22015-20210315-212955 --plot event.svg

    \b
    Exit codes: 0 done; 21 the picture; 23 the store, or no such event.
    """
    from orbitloop.apps.conjunction_store import opened
    from orbitloop.orbit.conjunction.alerts import alerts_of, remarks, staleness

    now_s, limits = as_of_s(now), _thresholds(red, yellow)
    with opened(store) as kept:
        found = known_by(kept.event(event), now)
    if plot is not None:
        _write_history(found, limits, plot)
    alerts = alerts_of(found, limits)
    if json_output:
        raised = [{"id": a.id, "level": a.level.word, "raised_s": a.raised_s} for a in alerts]
        updates = [_update_json(u) for u in found.updates]
        print_json(_event_json(found, now_s, limits) | {"updates": updates, "alerts": raised})
        return
    latest = found.latest
    show(f"{found.id}: {latest.primary.label} and {latest.secondary.label}, {found.status(now_s).value}")
    listed = table("message (UTC)", "TCA", ">before", ">miss km", ">R", ">T", ">N", ">Pc", "method", ">Pc given", "from")
    for update in found.updates:
        add_row(listed, *_update_cells(update))
    show(listed, *(f"note: {text}" for text in remarks(latest)))
    show(*(f"alert: {a.level.word}, raised {utc_text(a.raised_s)}{', urgent' if a.urgent else ''}" for a in alerts))
    stale = staleness(found, now_s, limits)
    show(*([f"note: {stale}"] if stale else []), *([f"picture: {plot}"] if plot else []))


@app.command("alerts")
def alerts(
    store: Store = DEFAULT_STORE,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write those not yet told as ConjunctionAlert resources (YAML).")
    ] = None,
    red: Red = RED,
    yellow: Yellow = YELLOW,
    every: Annotated[bool, typer.Option("--all", help="Also of events that are over, and those told before.")] = False,
    now: Now = None,
    json_output: Json = False,
) -> None:
    """Tell which events have reached a level: each level of an event once, and again only after it had eased.

    Red at 1e-4, where NASA and ESA act; yellow at 1e-5, where one looks closer. With --out alerts are written as resources that
    `orbitloop validate` reads, and are kept as told.

    \b
    Examples:
      orbitloop conjunctions alerts
      orbitloop conjunctions alerts --out alerts --red 1e-4 --yellow 1e-6

    \b
    Exit codes: 0 done; 23 the store or --out; 26 thresholds out of order.
    """
    from orbitloop.apps.conjunction_files import write_resources
    from orbitloop.apps.conjunction_store import opened
    from orbitloop.apps.conjunctions import alert_resource, alerts_for
    from orbitloop.orbit.conjunction.alerts import staleness

    now_s, limits = as_of_s(now), _thresholds(red, yellow)
    with opened(store, write=out is not None) as kept:
        events = {one.id: one for one in _known(kept.events(), now)}
        told = set() if every else kept.told()
        found = alerts_for(events.values(), limits, -1e18 if every else now_s)
        fresh = [one for one in found if one.id not in told]
        resources = []
        for one in fresh:
            stale = staleness(events[one.event_id], now_s, limits)
            resources.append(alert_resource(one, (stale,) if stale else ()))
        if out is not None:
            write_resources(out, resources)
            kept.tell([one.id for one in fresh], now_s)
    if json_output:
        print_json({"alerts": [one.to_json() for one in resources], "told_before": len(found) - len(fresh)})
        return
    listed = table("alert", "level", "TCA (UTC)", ">Pc", ">miss km", "objects", "covariance", wrap=("objects",))
    for one in fresh:
        u = one.update
        level = one.level.word + (" urgent" if one.urgent else "")
        objects = f"{u.primary.label} / {u.secondary.label}"
        add_row(listed, one.id, level, utc_text(u.tca_s), _probability(u), f"{u.miss_km:.3f}", objects, u.knowledge.value)
    show(*([listed] if fresh else ["no alert" + (" that was not told before" if found else "")]))
    if out is not None and fresh:
        show(f"written: {len(fresh)} in {out}")


app.command("avoid")(avoid)


@app.command("fit-uncertainty")
def fit_uncertainty(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Daily snapshots of element sets (TLE or OMM, gzip or not).")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the table with the new classes (JSON).")
    ] = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Derive the model of how wrong element sets are, and test it on objects that it has not seen.

    Every older set of an object is held against its newer ones; the growth of the difference with age is fitted by class, on
    70 % of the objects, and its coverage told for the rest: a normal distribution has 68.3, 95.4 and 99.7 % within one, two and
    three sigma.

    \b
    Example:
      orbitloop conjunctions fit-uncertainty ../data/orbits/history_starlink --out table.json

    \b
    Exit codes: 0 done; 17 element sets; 23 --out; 26 too few days.
    """
    from orbitloop.apps.conjunction_files import read_snapshots, write_text
    from orbitloop.apps.conjunctions import fit_table
    from orbitloop.cli.progress import watching

    with watching(quiet) as watcher:
        snapshots = read_snapshots(folder, lambda done, total: watcher.stage("reading", done, total))
        document, fits, pairs = fit_table(snapshots, lambda done, total: watcher.stage("comparing", done, total))
    if out is not None:
        write_text(out, document)
    if json_output:
        print_json({"differences": pairs, "classes": [fit.to_json() for fit in fits]})
        return
    columns = (">sigma at 1 d", ">3 d, km", ">1 sigma", ">2", ">3, held out")
    listed = table("class", "axis", *columns, ">differences", title=f"{pairs:,} differences of {len(snapshots)} days")
    for fit in fits:
        for axis, curve, within in zip("RTN", fit.curves, fit.coverage, strict=True):
            sizes = (f"{float(curve.at(1.0)):.3f}", f"{float(curve.at(3.0)):.3f}")
            shares = (f"{share:.1%}" for share in within)
            add_row(listed, fit.label if axis == "R" else "", axis, *sizes, *shares, f"{fit.pairs + fit.held_out_pairs:,}")
    show(listed, *([f"written: {out}"] if out else []))


def _thresholds(red: float, yellow: float) -> Thresholds:
    from orbitloop.orbit.conjunction.alerts import Thresholds

    return Thresholds(red_probability=red, yellow_probability=yellow)


def _probability(update: EventUpdate) -> str:
    """Return a probability as lists show it, with the marks of what it rests on."""
    if update.probability is None:
        return "unknown"
    marks = ("*" if update.knowledge.value == "model" else "") + ("!" if update.two_d_holds is False else "")
    return f"{update.probability:.2e}{marks}"


def _known(events: list[Event], now: str | None) -> list[Event]:
    """Leave out what was not known by --now; all is known where it is not given."""
    if now is None:
        return events
    return [then for one in events if (then := one.as_of(as_of_s(now))) is not None]


def _tell_list(events: list[Event], now_s: float, limits: Thresholds) -> None:
    from orbitloop.orbit.conjunction.alerts import standing

    listed = table("event", "status", "level", "TCA (UTC)", ">Pc", ">miss km", ">km/s", ">msgs", "objects", wrap=("objects",))
    for one in events:
        latest = one.latest
        pair = f"{latest.primary.name or latest.primary.key} / {latest.secondary.name or latest.secondary.key}"
        numbers = (_probability(latest), f"{latest.miss_km:.3f}", f"{latest.speed_km_s:.2f}", len(one.updates))
        level = standing(one, limits).word
        add_row(listed, one.id, one.status(now_s).value, level, utc_text(one.tca_s), *numbers, pair)
    marked = any(mark in _probability(one.latest) for one in events for mark in "*!")
    foot = "*: the covariance is only a model   !: 2-D does not hold, another method was taken"
    show(*([listed] if events else ["no events"]), *([foot] if marked else []))


def _update_cells(update: EventUpdate) -> tuple[object, ...]:
    given = "" if update.given_probability is None else f"{update.given_probability:.2e}"
    before = f"{(update.tca_s - update.created_s) / 3600:.1f} h"
    place = (f"{value:.3f}" for value in (update.miss_km, *update.rtn_km))
    tca = utc_text(update.tca_s)[5:]
    return (utc_text(update.created_s), tca, before, *place, _probability(update), update.method, given, update.source.value)


def _event_json(event: Event, now_s: float, limits: Thresholds) -> dict[str, Any]:
    from orbitloop.orbit.conjunction.alerts import staleness, standing

    latest = event.latest
    return {
        "id": event.id,
        "status": event.status(now_s).value,
        "level": standing(event, limits).word,
        "tca_s": event.tca_s,
        "highest_probability": event.highest,
        "messages": len(event.updates),
        "stale": staleness(event, now_s, limits),
        "latest": _update_json(latest),
    }


def _update_json(update: EventUpdate) -> dict[str, Any]:
    plain = update.to_json()
    del plain["encounter"]  # states and covariances: hundreds of numbers, which the message itself has
    return plain


def _write_history(event: Event, limits: Thresholds, path: Path) -> None:
    from orbitloop.apps.files import write_whole
    from orbitloop.reports.plots.canvas import kind_of
    from orbitloop.reports.plots.conjunction import HistoryPoint, history_picture

    points = [
        HistoryPoint(
            (u.tca_s - u.created_s) / 3600.0,
            u.probability,
            u.miss_km,
            None if u.sigma_rtn_km is None else max(u.sigma_rtn_km),
            u.knowledge.value == "model",
        )
        for u in event.updates
    ]
    title = f"{event.latest.primary.label} and {event.latest.secondary.label}, {utc_text(event.tca_s)}"
    write_whole(path, history_picture(title, points, limits.red_probability, limits.yellow_probability, kind_of(path)))
