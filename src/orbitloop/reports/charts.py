"""The report's charts over time and size: data in, an SVG string out. Pure; values that are not finite are left out.

A line that `step`s holds its value until the next point: a flying model's accuracy does not drift between two swaps. Bars of
bytes are on a logarithmic scale, because raw images and an update lie five orders of magnitude apart; each bar says its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import escape

from orbitloop.reports.svg import Frame, Scale, line, log_ticks, num, path, picture, spread, tag, text, ticks, tip
from orbitloop.reports.units import duration, human_bytes, plain_text, round_bytes, utc

WIDTH_PX = 1040.0
_LEFT_PX, _RIGHT_PX = 56.0, 190.0
_BAR_LEFT_PX, _BAR_PITCH_PX = 200.0, 36.0


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: points are (UTC seconds, value), `css` its colour class."""

    label: str
    points: tuple[tuple[float, float], ...]
    css: str


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with a name: a ceiling, a capacity."""

    label: str
    value: float
    css: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: `kind` is `swap` (a new model flies) or `held` (an update did not come to fly)."""

    at_s: float
    label: str
    kind: str = "swap"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `note` stands behind its number; `apart` leaves room above it, where a new group begins."""

    label: str
    value: float
    css: str
    note: str = ""
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """One stay in a row of a Gantt chart; `level` in 0..1 is its height, `filled` whether something went through."""

    row: str
    start_s: float
    end_s: float
    level: float
    filled: bool
    css: str
    tip: str


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _note(words: str, height: float, label: str) -> str:
    return picture(WIDTH_PX, height, text(WIDTH_PX / 2, height / 2, words, "empty", "middle"), label=label)


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    show: Callable[[float], str],
    show_tick: Callable[[float], str] | None = None,
    marks: Sequence[Mark] = (),
    levels: Sequence[Level] = (),
    span_s: tuple[float, float] | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    step: bool = True,
    height_px: float = 340.0,
) -> str:
    """Draw lines over time, named at their right ends.

    Args:
        series: the lines.
        label: what a screen reader says.
        show: a value as a person reads it.
        show_tick: a round value on the axis; `show` if absent.
        marks: moments, as vertical lines named at the top.
        levels: horizontal dashed lines.
        span_s: first and last time of the axis; of the points if absent.
        limits: values that the axis never goes beyond.
        step: hold each value until the next point.
        height_px: of the picture.
    """
    lines = [(s, _finite(s.points)) for s in series]
    lines = [(s, points) for s, points in lines if points]
    if not lines:
        return _note("nothing measured yet", 120, label)
    times = [x for _, points in lines for x, _ in points]
    values = [y for _, points in lines for _, y in points] + [v.value for v in levels if math.isfinite(v.value)]
    first, last = span_s if span_s is not None and all(map(math.isfinite, span_s)) else (min(times), max(times))
    frame = _frame(first, max(last, max(times)), values, limits, height_px)
    end = frame.x.high
    body = [frame.grid(ticks(frame.y.low, frame.y.high), show_tick or show), frame.time_axis(), _marks(frame, marks)]
    names: list[tuple[float, str, str]] = []
    for lv in (v for v in levels if math.isfinite(v.value)):
        y = frame.y(lv.value)
        body.append(line(frame.x.start_px, y, frame.x.end_px, y, f"level {lv.css}"))
        names.append((y, f"{lv.label} {show(lv.value)}", lv.css))
    for s, points in lines:
        held = [*points, (end, points[-1][1])] if step else points
        body.append(tag("path", d=path([(frame.x(x), frame.y(y)) for x, y in held], step=step), class_=f"line {s.css}"))
        for x, y in points if len(points) <= 80 else []:
            words = f"{plain_text(s.label)}: {show(y)} at {utc(x)}"
            body.append(tag("circle", tip(words), cx=frame.x(x), cy=frame.y(y), r=3.5, class_=f"dot {s.css}"))
        names.append((frame.y(points[-1][1]), f"{plain_text(s.label, 24)} {show(points[-1][1])}", s.css))
    for y, (_, words, css) in zip(spread([n[0] for n in names], 17, 30, frame.y.start_px), names, strict=True):
        body.append(text(frame.x.end_px + 10, y + 4, words, f"name {css}"))
    return picture(WIDTH_PX, height_px, "".join(body), label=label)


def _frame(first: float, last: float, values: Sequence[float], limits: tuple[float, float], height_px: float) -> Frame:
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, abs(high) * 0.02, 1e-6)
    low, high = max(low - room, limits[0]), min(high + room, limits[1])
    return Frame(Scale(first, last, _LEFT_PX, WIDTH_PX - _RIGHT_PX), Scale(low, high, height_px - 34, 34))


def _marks(frame: Frame, marks: Sequence[Mark]) -> str:
    parts = []
    free_px = -math.inf
    for mark in sorted((m for m in marks if math.isfinite(m.at_s)), key=lambda m: m.at_s):
        x = frame.x(mark.at_s)
        words = plain_text(mark.label, 16)
        half = 4.0 + 3.6 * len(words)
        body = tip(f"{words}, {utc(mark.at_s)}") + line(x, 24, x, frame.y.start_px, f"mark {mark.kind}")
        if x - half > free_px:  # a name that would cover its neighbour is left to the pointer
            body += tag("rect", x=x - half, y=6, width=2 * half, height=18, rx=9, class_=f"flag {mark.kind}")
            body += text(x, 19, words, f"flagword {mark.kind}", "middle")
            free_px = x + half + 2
        parts.append(tag("g", body))
    return "".join(parts)


def sparkline(points: Sequence[tuple[float, float]], span_s: tuple[float, float], limits: tuple[float, float], css: str) -> str:
    """Draw a line of 160 x 30 px without axes, for a row of a table (hidden from screen readers: the row has the numbers)."""
    finite = _finite(points)
    x, y = Scale(*span_s, 3, 157), Scale(*limits, 26, 4)
    body = ""
    if finite:
        held = [*finite, (max(span_s[1], finite[-1][0]), finite[-1][1])]
        body = tag("path", d=path([(x(t), y(v)) for t, v in held], step=True), class_=f"line {css}")
        body += tag("circle", cx=x(held[-1][0]), cy=y(held[-1][1]), r=2.6, class_=f"dot {css}")
    return tag("svg", body or tag("g"), viewBox="0 0 160 30", class_="spark", aria_hidden="true")


def bars(
    rows: Sequence[Bar],
    *,
    label: str,
    show: Callable[[float], str] = human_bytes,
    show_tick: Callable[[float], str] = round_bytes,
    floor: float = 100.0,
) -> str:
    """Draw horizontal bars on a logarithmic scale from `floor` (or below the least value) up; zero has no bar."""
    rows = [row for row in rows if math.isfinite(row.value) and row.value >= 0]
    positive = [row.value for row in rows if row.value > 0]
    if not positive:
        return _note("nothing yet", 80, label)
    low = 10.0 ** math.floor(math.log10(max(min(min(positive) / 2, floor), 1e-3)))
    high = max(*positive, low * 10)
    scale = Scale(math.log10(low), math.log10(high), _BAR_LEFT_PX, WIDTH_PX - 230)
    tops = list(accumulate(_BAR_PITCH_PX + (14 if row.apart else 0) for row in rows))
    height = tops[-1] + 40
    body = []
    for value in log_ticks(low, high):
        x = scale(math.log10(value))
        body.append(line(x, 4, x, height - 28, "grid") + text(x, height - 10, show_tick(value), "tick", "middle"))
    for row, bottom in zip(rows, tops, strict=True):
        width = max(scale(math.log10(max(row.value, low))) - _BAR_LEFT_PX, 1.5) if row.value > 0 else 0.0
        body.append(_bar(row, bottom + 8 - _BAR_PITCH_PX, width, show))
    return picture(WIDTH_PX, height, "".join(body), label=label)


def _bar(row: Bar, y: float, width: float, show: Callable[[float], str]) -> str:
    name = text(_BAR_LEFT_PX - 12, y + 17, plain_text(row.label, 34), "rowname", "end")
    hint = tip(f"{plain_text(row.label)}: {show(row.value)}")
    shape = tag("rect", hint, x=_BAR_LEFT_PX, y=y, width=width, height=24, rx=3, class_=f"bar {row.css}")
    number = tag("tspan", str(escape(show(row.value))), class_="value")
    note = tag("tspan", str(escape(plain_text(row.note))), class_="muted", dx=8) if row.note else ""
    return name + shape + tag("text", number + note, x=_BAR_LEFT_PX + width + 8, y=y + 17)


def gantt(spans: Sequence[Span], *, label: str, span_s: tuple[float, float]) -> str:
    """Draw stays over time, one row per name in order of first appearance; a stay is at least 3 px wide so that it is seen."""
    spans = [s for s in spans if math.isfinite(s.start_s) and math.isfinite(s.end_s) and s.end_s >= s.start_s]
    if not spans or not all(map(math.isfinite, span_s)):
        return _note("no contact windows", 80, label)
    rows = list(dict.fromkeys(s.row for s in spans))
    pitch = 46.0
    height = pitch * len(rows) + 40
    x = Scale(min(span_s[0], *(s.start_s for s in spans)), max(span_s[1], *(s.end_s for s in spans)), 170, WIDTH_PX - 20)
    frame = Frame(x, Scale(0, 1, height - 32, 4))
    body = []
    for i, row in enumerate(rows):
        base = 4 + (i + 1) * pitch
        body.append(text(158, base - 12, plain_text(row, 22), "rowname", "end") + line(170, base, WIDTH_PX - 20, base, "grid"))
    for s in spans:
        base = 4 + (rows.index(s.row) + 1) * pitch
        tall = 5 + (pitch - 12) * min(max(s.level if math.isfinite(s.level) else 0.0, 0.0), 1.0)
        wide = max(x(s.end_s) - x(s.start_s), 3.0)
        kind = f"span {s.css}" + ("" if s.filled else " unused")
        body.append(tag("rect", tip(s.tip), x=x(s.start_s), y=base - tall, width=wide, height=tall, rx=1.5, class_=kind))
    return picture(WIDTH_PX, height, "".join(body) + frame.time_axis(9), label=label)


def span_tip(name: str, start_s: float, end_s: float, *facts: str) -> str:
    """Word the pointer's note on a stay: who, when, how long, and what else."""
    return ", ".join([plain_text(name), f"{utc(start_s)} for {duration(end_s - start_s)}", *facts])


def share_bar(share: float, css: str) -> str:
    """Draw a bar of 120 x 10 px filled by `share` (0..1), for a row of a table."""
    width = 120 * min(max(share if math.isfinite(share) else 0.0, 0.0), 1.0)
    body = tag("rect", x=0, y=0, width=120, height=10, rx=2, class_="trough") + tag(
        "rect", x=0, y=0, width=width, height=10, rx=2, class_=f"bar {css}"
    )
    return tag(
        "svg",
        body,
        viewBox="0 0 120 10",
        preserveAspectRatio="none",
        class_="share",
        aria_hidden="true",
        data_share=num(share * 100),
    )
