"""Picture of a close approach: where the secondary stands in the primary's RTN frame about the time of closest approach.

Left the components and the range over time; right the same path in two planes, radial over along-track and radial over
cross-track, with the ellipse of one sigma where a covariance is known. Takes plain arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orbitloop.orbit.frames import FloatArray
from orbitloop.reports.plots.canvas import BAD, INK, MUTED, SERIES, WARN, figure, render, style

_NAMES = ("R, radial", "T, along-track", "N, cross-track")


def rtn_picture(
    *,
    title: str,
    subtitle: str,
    since_s: FloatArray,
    rtn_km: FloatArray,
    reach_km: float,
    kind: str,
    covariance_km2: FloatArray | None = None,
    said: str = "",
) -> bytes:
    """Draw an approach.

    Args:
        title, subtitle: who, and when.
        since_s: (T,) seconds after TCA.
        rtn_km: (T, 3) the secondary in the primary's RTN frame.
        reach_km: radius that was screened.
        kind: `png` or `svg`.
        covariance_km2: (3, 3) of the relative position in RTN at TCA, or None.
        said: what the ellipse is.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(11.0, 6.4)
    with style():
        drawn.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
        drawn.text(0.01, 0.925, subtitle, fontsize=9.5, color=MUTED)
        if covariance_km2 is not None:
            drawn.text(0.99, 0.925, f"dashed: {said}", fontsize=8.5, color=SERIES[4], ha="right")
        grid = drawn.add_gridspec(2, 2, width_ratios=(1.6, 1.0))
        over_time = drawn.add_subplot(grid[:, 0])
        _over_time(over_time, since_s, rtn_km, reach_km)
        nearest = int(np.argmin(np.linalg.norm(rtn_km, axis=1)))
        for row, across in ((0, 1), (1, 2)):
            plane = drawn.add_subplot(grid[row, 1])
            _plane(plane, rtn_km, across, nearest, reach_km, covariance_km2)
        return render(drawn, kind)


def _over_time(axes: Any, since_s: FloatArray, rtn_km: FloatArray, reach_km: float) -> None:
    minutes = float(np.abs(since_s).max(initial=0.0)) > 600.0
    times = since_s / 60.0 if minutes else since_s
    for n, name in enumerate(_NAMES):
        axes.plot(times, rtn_km[:, n], color=SERIES[n], linewidth=1.6, linestyle=("-", "--", "-.")[n], label=name)
    axes.plot(times, np.linalg.norm(rtn_km, axis=1), color=INK, linewidth=2.0, label="range")
    axes.axhline(reach_km, color=WARN, linewidth=1.0, linestyle=":", label=f"screened, {reach_km:g} km")
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    axes.set_xlabel(f"{'minutes' if minutes else 'seconds'} after closest approach")
    axes.set_ylabel("km")
    axes.margins(x=0.0)
    axes.legend(loc="upper center", fontsize=8.5, ncols=2)


def _plane(
    axes: Any,
    rtn_km: FloatArray,
    across: int,
    nearest: int,
    reach_km: float,
    covariance_km2: FloatArray | None,
) -> None:
    """Draw radial (up) over another component (right)."""
    axes.plot(rtn_km[:, across], rtn_km[:, 0], color=SERIES[0], linewidth=1.2)
    turn = np.linspace(0.0, 2.0 * np.pi, 181)
    axes.plot(reach_km * np.cos(turn), reach_km * np.sin(turn), color=WARN, linewidth=1.0, linestyle=":")
    x, y = float(rtn_km[nearest, across]), float(rtn_km[nearest, 0])
    axes.plot([0.0], [0.0], marker="+", color=INK, markersize=10, markeredgewidth=1.6)
    axes.plot([x], [y], marker="o", color=BAD, markersize=5)
    axes.annotate("TCA", (x, y), xytext=(6, 6), textcoords="offset points", fontsize=8, color=BAD)
    if covariance_km2 is not None:
        values, vectors = np.linalg.eigh(covariance_km2[np.ix_([across, 0], [across, 0])])
        ring = vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * np.stack([np.cos(turn), np.sin(turn)]))
        axes.plot(x + ring[0], y + ring[1], color=SERIES[4], linewidth=1.2, linestyle="--")
    half = 1.15 * reach_km
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel(f"{'TN'[across - 1]}, km")
    axes.set_ylabel("R, km")
