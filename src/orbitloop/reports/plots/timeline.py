"""The plan as a picture: stations as rows, an antenna each; contacts in their satellite's colour, what was left, set-up.

Takes plain times; who is planned when is the scheduler's work. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orbitloop.reports.plots.canvas import INK, MUTED, RULE, SERIES, figure, render, style

MAX_ROWS = 60
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A contact: from, to, UTC seconds, and whose it is."""

    start_s: float
    end_s: float
    satellite: str


@dataclass(frozen=True, slots=True)
class Row:
    """One antenna of a station: its contacts, and, at the station's first, the passes that nobody serves."""

    label: str
    bars: Sequence[Bar]
    unserved: Sequence[tuple[float, float]] = ()
    setup_s: float = 0.0
    out: Sequence[tuple[float, float]] = ()
    """When it has failed."""


def draw_timeline(title: str, rows: Sequence[Row], start_s: float, end_s: float, kind: str = "png") -> bytes:
    """Return the picture's bytes. Of more than `MAX_ROWS` rows the busiest are shown, and the title says so.

    Raises:
        DataError: matplotlib is not installed.
    """
    import matplotlib.dates
    from matplotlib.patches import Patch

    dates: Any = matplotlib.dates  # carries no types

    shown = list(rows)
    if len(shown) > MAX_ROWS:
        busiest = sorted(range(len(shown)), key=lambda n: -sum(b.end_s - b.start_s for b in shown[n].bars))[:MAX_ROWS]
        title = f"{title} (the {MAX_ROWS} busiest of {len(shown)} antennas)"
        shown = [shown[n] for n in sorted(busiest)]
    names = sorted({bar.satellite for row in shown for bar in row.bars})
    colour = {name: SERIES[n % len(SERIES)] for n, name in enumerate(names)}

    def day(time_s: float) -> float:
        return float(dates.date2num(datetime.fromtimestamp(time_s, UTC)))

    with style():
        drawn = figure(11.0, 1.8 + 0.26 * max(len(shown), 4))
        axes = drawn.add_subplot()
        for y, row in enumerate(shown):
            spans = [(day(a), (b - a) / _DAY_S) for a, b in row.unserved]
            axes.broken_barh(spans, (y - 0.42, 0.84), facecolors=RULE, linewidth=0)
            spans = [(day(a), (b - a) / _DAY_S) for a, b in row.out]
            axes.broken_barh(spans, (y - 0.5, 1.0), facecolors="none", edgecolors=MUTED, hatch="////", linewidth=0)
            spans = [(day(bar.end_s), row.setup_s / _DAY_S) for bar in row.bars if row.setup_s > 0]
            axes.broken_barh(spans, (y - 0.06, 0.12), facecolors=INK, linewidth=0)
            spans = [(day(bar.start_s), (bar.end_s - bar.start_s) / _DAY_S) for bar in row.bars]
            faces = [colour[bar.satellite] for bar in row.bars]
            axes.broken_barh(spans, (y - 0.34, 0.68), facecolors=faces, linewidth=0)
        axes.set_yticks(range(len(shown)), [row.label for row in shown], fontsize=8)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(day(start_s), day(end_s))
        locator = dates.AutoDateLocator(maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
        axes.set_xlabel("UTC")
        keys = [Patch(facecolor=colour[name], label=name) for name in names[: len(SERIES)]] if len(names) <= len(SERIES) else []
        keys.append(Patch(facecolor=RULE, label="pass that nobody serves"))
        if any(row.setup_s > 0 for row in shown):
            keys.append(Patch(facecolor=INK, label="set-up"))
        if any(row.out for row in shown):
            keys.append(Patch(facecolor="none", edgecolor=MUTED, hatch="////", label="failed"))
        if len(names) > len(SERIES):
            keys.insert(0, Patch(facecolor=SERIES[0], label=f"contact ({len(names)} satellites, colours repeat)"))
        drawn.legend(handles=keys, loc="outside lower center", ncols=5, fontsize=8)
        return render(drawn, kind)
