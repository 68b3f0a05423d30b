"""An object's element sets over time: heights of perigee and apogee, step of the axis against prediction, drag term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orbitloop.reports.plots.canvas import BAD, MUTED, RULE, SERIES, figure, render, style


@dataclass(frozen=True, slots=True)
class ElementHistory:
    """What is drawn, a value for each set, oldest first; `step_km` is None where nothing could be predicted."""

    title: str
    epochs_s: Sequence[float]
    perigee_km: Sequence[float]
    apogee_km: Sequence[float]
    bstar_per_er: Sequence[float]
    step_km: Sequence[float | None]
    flagged: Sequence[bool]


def draw_history(history: ElementHistory, kind: str) -> bytes:
    """Return the picture's bytes.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(9.0, 7.0)
    with style():
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        heights, steps, drag = drawn.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
        times = [datetime.fromtimestamp(t, UTC) for t in history.epochs_s]
        heights.plot(times, history.apogee_km, color=SERIES[1], marker="^", markersize=4, label="apogee")
        heights.plot(times, history.perigee_km, color=SERIES[0], marker="v", markersize=4, label="perigee")
        heights.set_ylabel("mean height, km")
        heights.legend(loc="best", ncols=2)
        heights.set_title(history.title)
        for time, hit in zip(times, history.flagged, strict=True):
            if hit:
                for axes in (heights, steps, drag):
                    axes.axvline(time, color=BAD, alpha=0.25, linewidth=3)
        known = [(t, s, f) for t, s, f in zip(times, history.step_km, history.flagged, strict=True) if s is not None]
        if known:
            colours = [BAD if hit else SERIES[0] for _, _, hit in known]
            steps.vlines([t for t, _, _ in known], 0, [s for _, s, _ in known], colors=RULE, linewidth=2)
            steps.scatter([t for t, _, _ in known], [s for _, s, _ in known], c=colours, s=22, zorder=3)
        steps.axhline(0, color=MUTED, linewidth=0.8)
        steps.set_ylabel("axis less\nprediction, km")
        steps.set_title("step from the older set's prediction; red: beyond noise and drag", fontsize=9, fontweight="normal")
        drag.plot(times, history.bstar_per_er, color=SERIES[2], marker="o", markersize=3)
        drag.axhline(0, color=MUTED, linewidth=0.8)
        drag.set_ylabel("BSTAR, 1/ER")
        drag.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        drag.xaxis.set_major_locator(locator)
        drag.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        drag.set_xlabel("epoch, UTC")
        return render(drawn, kind)
