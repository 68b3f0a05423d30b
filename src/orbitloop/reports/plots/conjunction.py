"""Pictures of a conjunction: how probability and distance came to be over its messages, and what each avoidance burn buys.

Takes plain points, so that nothing of orbits is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orbitloop.reports.plots.canvas import BAD, GOOD, INK, MUTED, SERIES, WARN, figure, render, style

LEAST_PROBABILITY = 1e-12
"""Below this nothing is drawn apart: it stands at the foot of the picture."""
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One message of an event. `sigma_km` is of the combined position along its widest axis; None where it is not known."""

    hours_before_tca: float
    probability: float | None
    miss_km: float
    sigma_km: float | None
    model: bool


@dataclass(frozen=True, slots=True)
class OptionPoint:
    """One avoidance option: `hours_before_tca` None is doing nothing."""

    hours_before_tca: float | None
    along_m_s: float
    probability: float
    passes_lost: int | None
    pareto: bool
    rank: int


def history_picture(
    title: str, points: Sequence[HistoryPoint], red_probability: float, yellow_probability: float, kind: str
) -> bytes:
    """Draw probability (above) and miss distance with its sigma (below) over the hours that were left to the TCA.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(9.0, 6.0)
    with style():
        above, below = drawn.subplots(2, 1, sharex=True)
        above.set_title(title)
        hours = [p.hours_before_tca for p in points]
        known = [(p.hours_before_tca, max(p.probability, LEAST_PROBABILITY)) for p in points if p.probability is not None]
        if known:
            above.plot(*zip(*known, strict=True), color=SERIES[0], marker="o", label="collision probability")
        given = [p for p in points if p.probability is not None and p.model]
        if given:
            above.plot(
                [p.hours_before_tca for p in given],
                [max(p.probability or 0.0, LEAST_PROBABILITY) for p in given],
                linestyle="none",
                marker="o",
                markerfacecolor="white",
                markeredgecolor=SERIES[0],
                markersize=9,
                label="with a modelled covariance",
            )
        above.axhline(red_probability, color=BAD, linewidth=1.2, linestyle="--", label=f"red, {red_probability:g}")
        above.axhline(yellow_probability, color=WARN, linewidth=1.2, linestyle="--", label=f"yellow, {yellow_probability:g}")
        above.set_yscale("log")
        lowest = min([p for _, p in known] + [yellow_probability])
        above.set_ylim(max(lowest / 10, LEAST_PROBABILITY / 2), max([p for _, p in known] + [red_probability]) * 10)
        above.set_ylabel("probability")
        above.legend(loc="best", fontsize=8)
        below.plot(hours, [p.miss_km for p in points], color=INK, marker="o", label="miss distance")
        wide = [(p.hours_before_tca, p.sigma_km) for p in points if p.sigma_km is not None]
        if wide:
            below.plot(*zip(*wide, strict=True), color=SERIES[1], marker="s", linestyle=":", label="widest sigma, both objects")
        below.set_yscale("log")
        _plain_ticks(below)
        below.margins(y=0.25)
        below.set_ylabel("km")
        below.set_xlabel("hours before the closest approach")
        below.legend(loc="best", fontsize=8)
        below.set_xlim(max(*hours, 1.0) * 1.05, min(0.0, *hours))  # time runs to the right, to the closest approach
        return render(drawn, kind)


def tradeoff_picture(title: str, points: Sequence[OptionPoint], goal_probability: float, kind: str) -> bytes:
    """Draw what burns buy: probability over size, by how early they are; those on the Pareto front stand out.

    Beside it, for each burn time, the smallest burn that reaches the goal and the passes that it costs.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(11.0, 5.0)
    with style():
        left, right = drawn.subplots(1, 2, width_ratios=(3, 2))
        left.set_title(title)
        burns = [p for p in points if p.hours_before_tca is not None]
        times = sorted({p.hours_before_tca for p in burns if p.hours_before_tca is not None})
        for n, hours in enumerate(times):
            shade = _shade(n, len(times))
            for sign in (1, -1):
                line = sorted(
                    (abs(p.along_m_s) * 1000, max(p.probability, LEAST_PROBABILITY))
                    for p in burns
                    if p.hours_before_tca == hours and p.along_m_s * sign > 0
                )
                label = f"{hours:.1f} h before" if sign > 0 else None
                left.plot(*zip(*line, strict=True), color=shade, linewidth=1.2, linestyle="-" if sign > 0 else ":", label=label)
        front = [p for p in burns if p.pareto]
        left.scatter(
            [abs(p.along_m_s) * 1000 for p in front],
            [max(p.probability, LEAST_PROBABILITY) for p in front],
            s=42,
            facecolor="white",
            edgecolor=INK,
            zorder=3,
            label="no other is better in all",
        )
        nothing = next((p for p in points if p.hours_before_tca is None), None)
        if nothing is not None:
            left.axhline(max(nothing.probability, LEAST_PROBABILITY), color=BAD, linestyle="--", label="doing nothing")
        left.axhline(goal_probability, color=GOOD, linestyle="--", label=f"goal, {goal_probability:g}")
        if burns:
            left.set_xscale("log")
        left.set_yscale("log")
        left.set_xlabel("burn along the track, mm/s (solid: faster, dotted: slower)")
        left.set_ylabel("collision probability")
        left.legend(loc="lower left", fontsize=7, ncols=2)
        _goal_by_time(right, burns, times, goal_probability)
        return render(drawn, kind)


def _goal_by_time(axes: Any, burns: Sequence[OptionPoint], times: Sequence[float], goal: float) -> None:
    axes.set_title("smallest burn that reaches the goal")
    shown = []
    for hours in times:
        enough = [p for p in burns if p.hours_before_tca == hours and p.probability <= goal]
        if enough:
            best = min(enough, key=lambda p: (abs(p.along_m_s), p.passes_lost or 0))
            shown.append((hours, abs(best.along_m_s) * 1000, best.passes_lost))
    if not shown:
        axes.text(0.5, 0.5, "none does", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.plot([s[0] for s in shown], [s[1] for s in shown], color=MUTED, linewidth=1.0, zorder=1)
    kinds = ((None, MUTED, "passes not counted"), (0, GOOD, "no pass lost"), (1, WARN, "one pass lost"), (2, BAD, "more lost"))
    for count, colour, label in kinds:
        of_kind = [s for s in shown if s[2] == count or (count == 2 and s[2] is not None and s[2] > 2)]
        if of_kind:
            axes.scatter([s[0] for s in of_kind], [s[1] for s in of_kind], s=60, color=colour, zorder=2, label=label)
    axes.legend(loc="upper center", fontsize=8, ncols=2)
    sizes = [s[1] for s in shown]
    axes.set_yscale("log")
    axes.set_ylim(min(sizes) / 1.5, max(sizes) * 2.0)
    axes.set_xlim(max(times) * 1.08, 0.0)
    _plain_ticks(axes)
    axes.set_ylabel("mm/s")
    axes.set_xlabel("hours before the closest approach")


def _plain_ticks(axes: Any) -> None:
    """Write a short logarithmic axis with plain numbers, not powers."""
    from matplotlib.ticker import LogLocator

    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=7)


def _shade(n: int, count: int) -> str:
    """Return from light to dark blue: the last (earliest burn) is the darkest."""
    share = 0.25 + 0.75 * (n + 1) / max(count, 1)
    light, dark = (208, 222, 245), (20, 60, 140)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(light, dark, strict=True))
