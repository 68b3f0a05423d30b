"""Picture of telemetry: each channel over time with its limits, what was taken for nominal, and the events; its score below.

Takes plain arrays. At most `MOST` channels are drawn: those with events first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.reports.plots.canvas import BAD, GOOD, INK, MUTED, SERIES, WARN, figure, render, style

MOST = 8
POINTS = 4000
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One channel: nominal values (N,), judged values and scores (M,), events, and limits where it has some."""

    name: str
    nominal: FloatArray
    judged: FloatArray
    scores: FloatArray
    events: tuple[tuple[int, int], ...]
    soft: tuple[float, float] | None = None
    hard: tuple[float, float] | None = None
    labelled: tuple[tuple[int, int], ...] = ()


def telemetry_picture(
    *, title: str, subtitle: str, rows: Sequence[Row], times: FloatArray, axis: str, bar: float, kind: str
) -> bytes:
    """Draw channels.

    Args:
        title, subtitle: whose telemetry, and what was found.
        rows: the channels; those with events come first.
        times: (N + M,) of nominal and judged samples, in the unit that `axis` names.
        axis: what stands below.
        bar: score at which an event begins.
        kind: `png` or `svg`.

    Raises:
        DataError: matplotlib is not installed.
    """
    chosen = sorted(rows, key=lambda row: (not row.events, -float(row.scores.max(initial=0.0))))[:MOST]
    height = 1.1 + 1.75 * len(chosen)
    drawn = figure(11.0, height)
    with style():
        left_out = f"; {len(rows) - len(chosen)} more channels" if len(rows) > len(chosen) else ""
        drawn.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
        grid = drawn.add_gridspec(2 * len(chosen), 1, height_ratios=[3, 1] * len(chosen))
        first: Any = None
        for n, row in enumerate(chosen):
            values = drawn.add_subplot(grid[2 * n], sharex=first)
            first = first or values
            scores = drawn.add_subplot(grid[2 * n + 1], sharex=first)
            _values(values, row, times)
            _scores(scores, row, times, bar)
            values.tick_params(labelbottom=False)
            scores.tick_params(labelbottom=n == len(chosen) - 1)
            if n == 0:
                values.set_title(subtitle + left_out, fontsize=9.5, fontweight="normal", color=MUTED)
        scores.set_xlabel(axis)
        return render(drawn, kind)


def _values(axes: Any, row: Row, times: FloatArray) -> None:
    cut = len(row.nominal)
    for values, at, colour in ((row.nominal, times[:cut], GOOD), (row.judged, times[cut:], SERIES[0])):
        thin_at, thin = _thinned(at, values)
        axes.plot(thin_at, thin, color=colour, linewidth=0.7)
    for limits, colour in ((row.soft, WARN), (row.hard, BAD)):
        for level in limits or ():
            axes.axhline(level, color=colour, linewidth=0.8, linestyle="--")
    _spans(axes, row, times[cut:])
    axes.set_ylabel(row.name, color=INK, rotation=0, ha="right", va="center")


def _scores(axes: Any, row: Row, times: FloatArray, bar: float) -> None:
    thin_at, thin = _thinned(times[len(row.nominal) :], row.scores)
    axes.fill_between(thin_at, thin, color=MUTED, alpha=0.45, linewidth=0)
    axes.axhline(bar, color=BAD, linewidth=0.8)
    axes.set_ylim(0, max(2.0 * bar, min(float(row.scores.max(initial=0.0)) * 1.05, 10 * bar)))
    axes.set_ylabel("score", rotation=0, ha="right", va="center", fontsize=8)
    axes.tick_params(labelsize=8)


def _spans(axes: Any, row: Row, times: FloatArray) -> None:
    for spans, colour, alpha in ((row.labelled, WARN, 0.15), (row.events, BAD, 0.25)):
        for first, last in spans:
            axes.axvspan(times[first], times[min(last, len(times) - 1)], color=colour, alpha=alpha, linewidth=1.5)


def _thinned(times: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep lowest and highest value of each of `POINTS` / 2 pieces: no peak is lost, no file grows with the samples."""
    if len(values) <= POINTS:
        return times, values
    piece = -(-len(values) // (POINTS // 2))
    starts = np.arange(0, len(values), piece)
    picked = [
        begin + place
        for begin in starts.tolist()
        for part in (np.nan_to_num(values[begin : begin + piece]),)
        for place in sorted({int(part.argmin()), int(part.argmax())})
    ]
    return times[picked], values[picked]


def silence_picture(
    *,
    title: str,
    histories: Mapping[str, tuple[FloatArray, FloatArray]],
    suspected: float,
    failed: float,
    kind: str,
) -> bytes:
    """Draw the suspicion of satellites over time.

    Args:
        title: whose.
        histories: satellite -> (times in days (P,), phi (P,)).
        suspected, failed: thresholds.
        kind: `png` or `svg`.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(11.0, 4.2)
    with style():
        axes = drawn.add_subplot()
        for n, (name, (at, phi)) in enumerate(histories.items()):
            axes.step(at, phi, where="post", color=SERIES[n % len(SERIES)], linewidth=1.0, label=name if n < 12 else None)
        for level, colour, word in ((suspected, WARN, "suspected"), (failed, BAD, "failed")):
            axes.axhline(level, color=colour, linewidth=1.0, linestyle="--")
            axes.annotate(
                word, (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9, color=colour
            )
        axes.set_title(title)
        axes.set_xlabel("days")
        axes.set_ylabel("suspicion phi")
        highest = max(float(phi.max(initial=0.0)) for _, phi in histories.values())
        axes.set_ylim(0, 1.25 * max(failed, min(highest, 4 * failed)))
        axes.legend(loc="upper left", ncols=4, fontsize=8)
        return render(drawn, kind)
