"""Where a constellation's satellites stand: each by its orbit's node and its place along the orbit, planes as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbitloop.reports.plots.canvas import INK, MUTED, SERIES, figure, render, style

MAX_NAMES = 24
_MARKERS = "os^Dv*PX"


@dataclass(frozen=True, slots=True)
class Place:
    """One satellite: `group` is what shares a colour, such as its shell; `phase_deg` counts from the ascending node."""

    name: str
    group: str
    raan_deg: float
    phase_deg: float


def draw_places(title: str, places: Sequence[Place], kind: str) -> bytes:
    """Return the picture's bytes.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(9.0, 6.0)
    with style():
        axes = drawn.subplots()
        groups = list(dict.fromkeys(one.group for one in places))
        size = max(6.0, min(60.0, 3000.0 / max(len(places), 1)))
        for number, group in enumerate(groups):
            mine = [one for one in places if one.group == group]
            colour, marker = SERIES[number % len(SERIES)], _MARKERS[number % len(_MARKERS)]
            axes.scatter(
                [p.raan_deg for p in mine], [p.phase_deg for p in mine], s=size, color=colour, marker=marker, label=group
            )
        if len(places) <= MAX_NAMES:
            for one in places:
                spot = (one.raan_deg, one.phase_deg)
                axes.annotate(one.name, spot, xytext=(6, 4), textcoords="offset points", fontsize=8, color=INK)
        axes.set_xlim(-5, 365)
        axes.set_ylim(-10, 370)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(0, 361, 60))
        axes.set_xlabel("right ascension of the ascending node, degrees")
        axes.set_ylabel("place along the orbit, degrees from the node")
        axes.set_title(title)
        if len(groups) <= 12:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, fontsize=8.5, labelcolor=MUTED)
        return render(drawn, kind)
