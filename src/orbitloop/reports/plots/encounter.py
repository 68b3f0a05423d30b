"""Picture of an encounter plane: both objects' uncertainty together, the miss vector, and the disc that means a collision.

Seen along the relative velocity. Left in the principal axes of the covariance, each axis with a scale of its own, since one
sigma is often a hundred times the other: the ellipses of one, two and three sigmas around the secondary's expected place, the
disc of the hard-body radius around the primary. Right the disc true to scale, with the density in and around it, x along the
miss vector. Takes plain arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orbitloop.orbit.frames import FloatArray
from orbitloop.reports.plots.canvas import BAD, INK, MUTED, RULE, SERIES, WARN, figure, render, style

_TURN = np.linspace(0.0, 2.0 * np.pi, 361)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)])


def encounter_picture(
    *,
    title: str,
    subtitle: str,
    miss_m: FloatArray,
    covariance_m2: FloatArray,
    radius_m: float,
    kind: str,
    facts: tuple[tuple[str, str], ...] = (),
    warning: str = "",
) -> bytes:
    """Draw an encounter plane.

    Args:
        title, subtitle: who, and when.
        miss_m: (2,) of the secondary from the primary.
        covariance_m2: (2, 2) of the relative position.
        radius_m: sum of both radii.
        kind: `png` or `svg`.
        facts: names and values, written beside.
        warning: what is wrong with the plane, empty when nothing is.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(10.5, 5.8)
    with style():
        drawn.get_layout_engine().set(rect=(0.0, 0.045 if warning else 0.0, 1.0, 0.955 if warning else 1.0))  # type: ignore[union-attr, call-arg]
        drawn.suptitle(f"{title}\n\n", x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
        drawn.text(0.01, 0.918, subtitle, fontsize=9.5, color=MUTED)
        if warning:
            drawn.text(0.01, 0.014, warning, fontsize=9, color=BAD, fontweight="bold")
        grid = drawn.add_gridspec(2, 2, width_ratios=(1.9, 1.0), height_ratios=(1.25, 1.0))
        _principal(drawn.add_subplot(grid[:, 0]), miss_m, covariance_m2, radius_m)
        _disc(drawn.add_subplot(grid[0, 1]), miss_m, covariance_m2, radius_m)
        told = drawn.add_subplot(grid[1, 1])
        told.set_axis_off()
        for n, (name, value) in enumerate(facts):
            told.text(0.0, 0.95 - 0.15 * n, name, fontsize=9, color=MUTED, va="top")
            told.text(0.55, 0.95 - 0.15 * n, value, fontsize=9, color=INK, va="top")
        return render(drawn, kind)


def _principal(axes: Any, miss_m: FloatArray, covariance_m2: FloatArray, radius_m: float) -> None:
    """Draw in the principal axes, the wider one to the right."""
    values, vectors = np.linalg.eigh(covariance_m2)
    sigmas = np.sqrt(np.maximum(values[::-1], 0.0))
    place = vectors[:, ::-1].T @ miss_m
    place = place * np.where(place < 0, -1.0, 1.0)  # an axis has no sign of its own
    reach = np.maximum(np.abs(place) + 3.3 * sigmas, 1.6 * radius_m)
    units = [(1e-3, "km") if one >= 2000.0 else (1.0, "m") for one in reach]
    scale = np.array([one for one, _ in units])[:, None]
    for count, dash in ((1, "-"), (2, "--"), (3, ":")):
        ring = scale * (place[:, None] + count * sigmas[:, None] * _CIRCLE)
        axes.plot(*ring, color=SERIES[0], linewidth=1.3, linestyle=dash, label=f"{count} sigma", zorder=2)
    disc = scale * radius_m * _CIRCLE
    axes.fill(*disc, facecolor=BAD, edgecolor=BAD, alpha=0.35, linewidth=1.2, zorder=3)
    axes.plot(*disc, color=BAD, linewidth=1.2, label=f"hard-body radius {radius_m:g} m", zorder=3)
    x, y = (scale[:, 0] * place).tolist()
    miss = float(np.hypot(*miss_m))
    axes.plot([0.0, x], [0.0, y], color=WARN, linewidth=1.4, label=f"miss {_length(miss)}", zorder=4, marker="o", markersize=4)
    axes.plot([0.0], [0.0], marker="+", color=INK, markersize=9, markeredgewidth=1.4, zorder=5)
    low = np.minimum(place - 3.3 * sigmas, -1.6 * radius_m) * scale[:, 0]
    high = np.maximum(place + 3.3 * sigmas, 1.6 * radius_m) * scale[:, 0]
    axes.set_xlim(low[0], high[0] + 0.02 * (high[0] - low[0]))
    axes.set_ylim(low[1], high[1] + 0.28 * (high[1] - low[1]))  # room for the legend
    axes.set_xlabel(f"along the wider axis, {units[0][1]} (sigma {_length(float(sigmas[0]))})")
    axes.set_ylabel(f"along the narrower axis, {units[1][1]} (sigma {_length(float(sigmas[1]))})")
    axes.legend(loc="upper center", fontsize=8.5, ncols=3)


def _disc(axes: Any, miss_m: FloatArray, covariance_m2: FloatArray, radius_m: float) -> None:
    """Draw the disc true to scale, and the density relative to its own highest in view."""
    half = 2.2 * radius_m
    side = np.linspace(-half, half, 121)
    offset = np.stack(np.meshgrid(side, side), -1) - miss_m
    values, vectors = np.linalg.eigh(covariance_m2)
    exponent = -0.5 * ((offset @ vectors) ** 2 / np.maximum(values, 1e-12 * values[-1])).sum(-1)
    axes.grid(False)
    view = (-half, half, -half, half)
    shade = np.exp(exponent - exponent.max())
    axes.imshow(shade, extent=view, origin="lower", cmap="Blues", vmin=0.0, vmax=1.3, zorder=0, interpolation="bilinear")
    axes.plot(*(radius_m * _CIRCLE), color=BAD, linewidth=1.6)
    axes.plot([0.0, miss_m[0]], [0.0, miss_m[1]], color=WARN, linewidth=1.4, marker="o", markersize=4)
    axes.plot([0.0], [0.0], marker="+", color=INK, markersize=9, markeredgewidth=1.4)
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_title("the disc and the density, to scale", fontsize=9, fontweight="normal", color=MUTED)
    axes.set_xlabel("along the miss vector, m")
    axes.set_ylabel("across, m")
    for spine in axes.spines.values():
        spine.set_color(RULE)


def _length(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.3g} m"
