"""Passes as a station's operator sees them: the sky from below, north up, zenith in the middle, east on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orbitloop.reports.plots.canvas import INK, MUTED, RULE, SERIES, figure, render, style
from orbitloop.reports.units import plain_text, utc

MAX_ARCS = 12
"""More than that nobody tells apart; the caller chooses."""


@dataclass(frozen=True, slots=True)
class SkyArc:
    """One pass: points are (UTC seconds, azimuth_deg, elevation_deg, sunlit), by time."""

    label: str
    points: tuple[tuple[float, float, float, bool], ...]


def draw_sky(
    title: str, arcs: Sequence[SkyArc], kind: str, *, horizon: Sequence[tuple[float, float]] = (), mask_deg: float = 0.0
) -> bytes:
    """Return the picture's bytes; `horizon` is pairs (azimuth_deg, elevation_deg) all around, what is below it is shaded.

    A pass is drawn bold while the sun shines on the satellite, thin and dotted in the Earth's shadow.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(8.2, 7.0)
    with style():
        axes = drawn.add_subplot(projection="polar")
        axes.set_theta_zero_location("N")  # type: ignore[attr-defined]
        axes.set_theta_direction(-1)  # type: ignore[attr-defined]
        axes.set_ylim(0, 90)
        axes.set_yticks([0, 30, 60, 90])
        axes.set_yticklabels(["90°", "60°", "30°", ""], fontsize=8.5)
        axes.set_xticks([math.radians(a) for a in range(0, 360, 45)])
        axes.set_xticklabels(["N", "NE", "E", "SE", "S", "SW", "W", "NW"])
        axes.tick_params(axis="x", colors=INK, pad=4)
        _shade(axes, horizon, mask_deg)
        for number, arc in enumerate(arcs):
            _draw(axes, arc, SERIES[number % len(SERIES)])
        axes.set_title(plain_text(title, 100), loc="left", pad=18)
        if arcs:
            axes.plot([], [], color=MUTED, linewidth=1.1, linestyle=":", label="in the Earth's shadow; a dot each minute")
            columns = 2 if len(arcs) > 4 else 1
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.07), fontsize=8.5, labelcolor=MUTED, ncols=columns, frameon=False
            )
        return render(drawn, kind)


def _shade(axes: object, horizon: Sequence[tuple[float, float]], mask_deg: float) -> None:
    around = sorted(horizon) or [(0.0, mask_deg)]
    at = [math.radians(a) for a, _ in around] + [math.radians(around[0][0]) + 2 * math.pi]
    height = [max(mask_deg, e) for _, e in around] + [max(mask_deg, around[0][1])]
    fine_at, fine = [], []
    for (a, x), (b, y) in zip(zip(at, height, strict=True), zip(at[1:], height[1:], strict=True), strict=False):
        count = max(2, math.ceil((b - a) / 0.02))
        fine_at += [a + (b - a) * n / count for n in range(count + 1)]
        fine += [90 - (x + (y - x) * n / count) for n in range(count + 1)]
    axes.fill_between(fine_at, fine, 90, color=RULE, alpha=0.55, linewidth=0, zorder=0)  # type: ignore[attr-defined]


def _draw(axes: object, arc: SkyArc, colour: str) -> None:
    points = [p for p in arc.points if all(map(math.isfinite, p[:3]))]
    if not points:
        return
    theta = [math.radians(p[1]) for p in points]
    radius = [90 - p[2] for p in points]
    lit_radius = [r if p[3] else math.nan for r, p in zip(radius, points, strict=True)]
    axes.plot(theta, radius, color=colour, linewidth=1.1, linestyle=":")  # type: ignore[attr-defined]
    axes.plot(theta, lit_radius, color=colour, linewidth=2.2, label=plain_text(arc.label, 60))  # type: ignore[attr-defined]
    # A dot every minute, the first and last with their times.
    begin = points[0][0]
    minutes = [n for n in range(1, len(points)) if math.floor(points[n][0] / 60) > math.floor(points[n - 1][0] / 60)]
    axes.plot([theta[n] for n in minutes], [radius[n] for n in minutes], ".", color=colour, markersize=4)  # type: ignore[attr-defined]
    axes.annotate(  # type: ignore[attr-defined]
        utc(begin, "%H:%M"), (theta[0], radius[0]), xytext=(4, 4), textcoords="offset points", fontsize=8, color=colour
    )
    axes.plot(theta[-1:], radius[-1:], "o", color=colour, markersize=4.5)  # type: ignore[attr-defined]
