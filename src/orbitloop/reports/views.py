"""From a mission's report to the pictures and rows that its page shows: which data goes into which chart, in which colour.

Left to others: how a chart is drawn (`charts`, `worldmap`, `overlay`), the page's words and order (`templates/report.html.j2`).
Every function is pure, and takes an empty or partial report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orbitloop.reports.charts import Bar, Level, Mark, Series, Span, bars, gantt, line_chart, share_bar, span_tip, sparkline
from orbitloop.reports.mission import MissionReport
from orbitloop.reports.observed import GalleryItem
from orbitloop.reports.overlay import boxes_over_picture, found, usable
from orbitloop.reports.rounds import UpdateSummary
from orbitloop.reports.units import gain, human_bytes, human_count, percent, plain_text, points, round_points, times
from orbitloop.reports.worldmap import Site, Track, world_map

MAX_CARDS = 48
MAX_TENSORS = 12
DAY_S = 86400.0
COLOURS = 6


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline figure."""

    name: str
    value: str
    before: str
    note: str
    meter: Markup


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One domain's accuracy over the mission."""

    name: str
    kind: str
    before: str
    after: str
    gained: str
    spark: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """One hard sample with its picture."""

    item: GalleryItem
    photo: Markup
    labels: int
    found_before: int
    found_after: int


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor of an update, with its share of the payload."""

    name: str
    parameters: str
    size: str
    meter: Markup


def span_s(report: MissionReport) -> tuple[float, float]:
    """Return the mission's time axis."""
    return report.started_at_s, max(report.finished_at_s, report.started_at_s)


def satellite_colours(report: MissionReport) -> dict[str, str]:
    """Give each satellite a colour class, the same in every chart."""
    return {name: f"s{i % COLOURS + 1}" for i, name in enumerate(report.satellites)}


def tiles(report: MissionReport) -> list[Tile]:
    """Return the four headline figures."""
    accuracy, sizes = report.accuracy, report.bytes
    recovered = accuracy.gap_recovered
    new_note = f"{gain(accuracy.new_gain)} points" if accuracy.new_gain is not None else "not measured yet"
    old_note = f"{gain(accuracy.old_gain)} points" if accuracy.old_gain is not None else "not measured yet"
    if recovered is not None:
        new_note += f", {percent(recovered)} of the gap to full fine-tuning ({points(accuracy.new_ceiling)})"
    sent = "" if sizes.downlinked <= 0 else f", {times(sizes.captured / sizes.downlinked)} less"
    full = times(1 / report.update_share) if report.update_share else ""
    count = sum(r.update is not None for r in report.rounds)
    mean = report.update_share * report.model.bytes if report.update_share is not None else None
    return [
        Tile(
            f"New domains, {accuracy.metric}",
            points(accuracy.new_after),
            _was(accuracy.new_before),
            new_note,
            _meter(recovered, "new"),
        ),
        Tile(
            f"Old domains, {accuracy.metric}",
            points(accuracy.old_after),
            _was(accuracy.old_before),
            old_note + ", on what the base model knew",
            Markup(""),
        ),
        Tile(
            "Captured bytes not sent",
            percent(sizes.not_sent),
            "",
            f"{human_bytes(sizes.downlinked)} down of {human_bytes(sizes.captured)} captured{sent}",
            _meter(sizes.not_sent, "down"),
        ),
        Tile(
            "Size of an update",
            percent(report.update_share),
            "",
            f"{human_bytes(mean)} instead of {human_bytes(report.model.bytes)}, {full} less (mean of {count})"
            if count
            else "no update yet",
            _meter(report.update_share, "up"),
        ),
    ]


def _was(value: float | None) -> str:
    return points(value) if value is not None else ""


def _meter(share: float | None, css: str) -> Markup:
    return Markup(share_bar(share, css)) if share is not None else Markup("")


def accuracy_chart(report: MissionReport) -> Markup:
    """Draw accuracy on new and old domains over time, with swaps, updates that did not come to fly, and the ceiling."""
    new = tuple((p.at_s, p.new_ap50) for p in report.timeline if p.new_ap50 is not None)
    old = tuple((p.at_s, p.old_ap50) for p in report.timeline if p.old_ap50 is not None)
    ceiling = report.accuracy.new_ceiling
    label = (
        f"{report.accuracy.metric} over time. New domains from {points(report.accuracy.new_before)} to "
        f"{points(report.accuracy.new_after)}, old domains from {points(report.accuracy.old_before)} to "
        f"{points(report.accuracy.old_after)}, ceiling {points(ceiling)}."
    )
    return Markup(
        line_chart(
            [Series("old domains", old, "old"), Series("new domains", new, "new")],
            label=label,
            show=points,
            show_tick=round_points,
            marks=_swaps(report),
            levels=[Level("ceiling", ceiling, "ceiling")] if ceiling is not None else [],
            span_s=span_s(report),
            limits=(0.0, 1.0),
        )
    )


def _swaps(report: MissionReport) -> list[Mark]:
    marks = [Mark(p.at_s, p.label or f"v{p.version}") for p in report.timeline if p.swap]
    for r in report.rounds:
        if r.gate is not None and not r.gate.passed:
            marks.append(Mark(r.finished_at_s if r.finished_at_s is not None else r.started_at_s, "held", "held"))
        for a in r.applied:
            if a.report.outcome.value != "confirmed":
                marks.append(Mark(a.report.at_s, a.report.outcome.value.replace("_", " "), "held"))
    return marks


def domain_rows(report: MissionReport) -> list[DomainRow]:
    """Return the domains that the timeline names, the new ones first."""
    names = list(dict.fromkeys([*report.new_domains, *report.old_domains, *(d for p in report.timeline for d in p.domains)]))
    curves = {name: [(p.at_s, v) for p in report.timeline if (v := p.domains.get(name)) is not None] for name in names}
    values = [v for curve in curves.values() for _, v in curve if math.isfinite(v)]
    if not values:
        return []
    limits = (min(values) - 0.02, max(values) + 0.02)
    rows = []
    for name in names:
        if curves[name]:
            kind = "new" if name in report.new_domains else "old" if name in report.old_domains else ""
            before, after = curves[name][0][1], curves[name][-1][1]
            spark = Markup(sparkline(curves[name], span_s(report), limits, kind or "old"))
            rows.append(DomainRow(name, kind, points(before), points(after), gain(after - before), spark))
    return rows


def bytes_chart(report: MissionReport) -> Markup:
    """Draw what was captured and sent, against the raw images and the full model."""
    sizes = report.bytes
    updates = sum(r.update is not None for r in report.rounds)
    flying = max(len(report.satellites), 1)
    whole = sizes.full_model * updates * flying
    down = f"{percent(sizes.downlinked / sizes.captured)} of it" if sizes.captured > 0 else ""
    rows = [Bar("captured (raw images)", sizes.captured, "plain"), Bar("sent down", sizes.downlinked, "down", down)]
    rows += [Bar(f"· {kind}", n, "down faint") for kind, n in _largest(sizes.downlinked_by_kind)]
    if updates:
        name = f"full model, {updates * flying} time{'s' if updates * flying > 1 else ''}"
        note = f"if sent whole, {updates} to each of {flying}" if flying > 1 else "if sent whole"
        rows.append(Bar(name, whole, "plain", note, True))
    else:
        rows.append(Bar("full model", sizes.full_model, "plain", apart=True))
    share = f"{percent(sizes.uplinked / whole)} of it" if whole > 0 else ""
    rows.append(Bar("sent up", sizes.uplinked, "up", share))
    rows += [Bar(f"· {kind}", n, "up faint") for kind, n in _largest(sizes.uplinked_by_kind)]
    label = (
        f"Bytes, logarithmic scale: captured {human_bytes(sizes.captured)}, sent down {human_bytes(sizes.downlinked)}, sent up "
        f"{human_bytes(sizes.uplinked)}, one full model {human_bytes(sizes.full_model)}."
    )
    return Markup(bars(rows, label=label))


def _largest(kinds: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(((k, n) for k, n in kinds.items() if n > 0), key=lambda pair: (-pair[1], pair[0]))[:5]


def funnel_chart(report: MissionReport) -> Markup:
    """Draw how many tiles came how far."""
    c = report.counts
    dropped = [("dropped unseen", c.tiles_dropped)] if c.tiles_dropped else []
    steps = [*dropped, ("tiles seen", c.tiles_seen), ("hard", c.hard), ("sent down", c.sent), ("labelled", c.labelled)]
    rows = []
    for name, n in steps:
        note = f"{percent(n / c.tiles_seen)} of tiles" if c.tiles_seen > 0 and name in ("hard", "sent down", "labelled") else ""
        rows.append(Bar(name, n, "down" if note else "plain", note))
    return Markup(
        bars(
            rows,
            label="Tiles: " + ", ".join(f"{n} {name}" for name, n in steps),
            show=human_count,
            show_tick=human_count,
            floor=1.0,
        )
    )


def passes_chart(report: MissionReport) -> Markup:
    """Draw contact windows per station; height is the highest elevation, filled where bytes moved."""
    colours = satellite_colours(report)
    spans = [
        Span(
            p.station,
            p.aos_s,
            p.los_s,
            p.max_elevation_deg / 90,
            p.bytes_down + p.bytes_up > 0,
            colours.get(p.satellite, "s1"),
            span_tip(
                f"{p.satellite} over {p.station}",
                p.aos_s,
                p.los_s,
                f"up to {p.max_elevation_deg:.0f}°",
                f"{human_bytes(p.bytes_down)} down",
                f"{human_bytes(p.bytes_up)} up",
            ),
        )
        for p in report.passes
    ]
    used = sum(s.filled for s in spans)
    label = f"{len(spans)} contact windows over {len({s.row for s in spans})} stations; {used} carried bytes."
    return Markup(gantt(spans, label=label, span_s=span_s(report)))


def track_span_s(report: MissionReport) -> float:
    """Return how much of the tracks the map shows: a day, shared by the satellites so that it stays legible; at least 2 h.

    A shorter mission shows all that it has.
    """
    times = [p.at_s for p in report.ground_track if math.isfinite(p.at_s)]
    return min(max(DAY_S / max(len(report.satellites), 1), 7200.0), max(times, default=0.0) - min(times, default=0.0))


def map_chart(report: MissionReport) -> Markup:
    """Draw the last hours of each satellite's ground track, its contacts bold, and the stations."""
    colours = satellite_colours(report)
    last = max((p.at_s for p in report.ground_track if math.isfinite(p.at_s)), default=0.0)
    first = last - track_span_s(report)
    tracks = []
    for name in report.satellites:
        way = sorted((p.at_s, p.lat_deg, p.lon_deg) for p in report.ground_track if p.satellite == name and p.at_s >= first)
        contacts = tuple((p.aos_s, p.los_s) for p in report.passes if p.satellite == name)
        tracks.append(Track(name, tuple(way), colours[name], contacts))
    sites = [Site(s.name, s.lat_deg, s.lon_deg) for s in report.stations]
    label = f"World map with the ground track of {len(tracks)} satellites and {len(sites)} ground stations."
    return Markup(world_map(tracks, sites, label=label))


def battery_chart(report: MissionReport) -> Markup:
    """Draw the charge of each satellite's battery, and its capacity where it is known."""
    colours = satellite_colours(report)
    names = [n for n in report.satellites if any(b.satellite == n for b in report.battery)]
    sizes = {n: c for n, c in report.battery_capacity_wh.items() if n in names and math.isfinite(c) and c > 0}
    shares = len(set(sizes.values())) > 1 and set(sizes) == set(names)
    unit = sizes if shares else dict.fromkeys(names, 1.0)
    series = [Series(n, tuple((b.at_s, b.wh / unit[n]) for b in report.battery if b.satellite == n), colours[n]) for n in names]
    levels = [] if shares else [Level("capacity", c, "capacity") for c in sorted(set(sizes.values()))]
    lowest = min((v for one in series for _, v in one.points if math.isfinite(v)), default=math.nan)

    def show(value: float) -> str:
        if shares:
            return f"{100 * value:.0f} %"
        return f"{value:.0f} Wh" if abs(value) >= 10 else f"{value:.2g} Wh"

    what = "Battery charge as a share of each capacity" if shares else "Battery charge in watt hours"
    label = f"{what} over time; lowest {show(lowest)}." if math.isfinite(lowest) else "Battery charge."
    return Markup(
        line_chart(
            series,
            label=label,
            show=show,
            levels=levels,
            span_s=span_s(report),
            limits=(0.0, 1.0 if shares else math.inf),
            step=False,
            height_px=240,
        )
    )


def cards(report: MissionReport, pictures: Mapping[str, bytes]) -> list[Card]:
    """Return the gallery."""
    return [_card(item, pictures.get(item.sample_id), report.model.report_score) for item in report.gallery[:MAX_CARDS]]


def _card(item: GalleryItem, webp: bytes | None, least: float) -> Card:
    labels = usable(item.label_boxes, 5)
    before = [r for r in usable(item.onboard_boxes, 6) if r[4] >= least]
    after = [r for r in usable(item.updated_boxes, 6) if r[4] >= least]
    label = (
        f"Tile of {plain_text(item.domain, 60)}: {len(labels)} labelled objects, {len(before)} boxes by the model on board, "
        f"{len(after)} by the new model"
    )
    photo = boxes_over_picture(
        webp, (item.width_px, item.height_px), label=label, onboard=before, labels=labels, updated=after, report_score=least
    )
    return Card(item, Markup(photo), len(labels), found(labels, before), found(labels, after))


def tensor_rows(update: UpdateSummary) -> list[TensorRow]:
    """Return the largest tensors of an update, by bytes where they are known, else by parameters."""
    size = [t.bytes if t.bytes is not None else t.parameters for t in update.tensors]
    whole = max(sum(size), 1)
    order: Sequence[int] = sorted(range(len(size)), key=lambda i: (-size[i], update.tensors[i].name))[:MAX_TENSORS]
    return [
        TensorRow(t.name, human_count(t.parameters), human_bytes(t.bytes), Markup(share_bar(size[i] / whole, "up")))
        for i in order
        for t in [update.tensors[i]]
    ]
