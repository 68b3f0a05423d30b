"""Observed less predicted positions in R, T and N, with their bounds, before and after a correction of the elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.clock import iso_utc
from orbitloop.reports.plots.canvas import BAD, GOOD, MUTED, SERIES, figure, render, style

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PositionResiduals:
    """What is drawn: (N,) hours since `start_s`, (N, 3) residuals and bounds, and what is left after a correction."""

    title: str
    start_s: float
    hours: Array
    before_rtn_km: Array
    bound_rtn_km: Array
    after_rtn_km: Array | None = None
    used: npt.NDArray[np.bool_] | None = None


def draw_residuals(residuals: PositionResiduals, kind: str) -> bytes:
    """Return the picture's bytes.

    Raises:
        DataError: matplotlib is not installed.
    """
    after = residuals.after_rtn_km
    drawn = figure(9.0 if after is None else 11.0, 7.0)
    with style():
        grid = drawn.subplots(3, 1 if after is None else 2, sharex=True, squeeze=False)
        for row, name in enumerate(("radial", "transverse", "normal")):
            axes = grid[row][0]
            axes.plot(residuals.hours, residuals.before_rtn_km[:, row], ".", color=SERIES[0], markersize=3)
            for sign in (-1, 1):
                axes.plot(residuals.hours, sign * residuals.bound_rtn_km[:, row], color=BAD, linewidth=1, linestyle="--")
            reach = 1.2 * max(residuals.bound_rtn_km[:, row].max(), np.percentile(np.abs(residuals.before_rtn_km[:, row]), 99))
            axes.set_ylim(-reach, reach)  # a single wild fix must not hide the others
            outside = int((np.abs(residuals.before_rtn_km[:, row]) > reach).sum())
            axes.set_ylabel(f"{name}, km")
            if outside:
                axes.annotate(f"{outside} outside", (0.99, 0.92), xycoords="axes fraction", color=MUTED, fontsize=8, ha="right")
            if after is not None:
                used = residuals.used if residuals.used is not None else np.ones(len(after), bool)
                axes = grid[row][1]
                axes.plot(residuals.hours[used], 1000 * after[used, row], ".", color=GOOD, markersize=3)
                axes.set_ylabel(f"{name}, m")
        grid[0][0].set_title(f"{residuals.title}; dashed: bound", fontsize=10)
        for column in grid[2]:
            column.set_xlabel(f"hours since {iso_utc(residuals.start_s)}")
        if after is not None and residuals.used is not None:
            left_out = int((~residuals.used).sum())
            grid[0][1].set_title(f"after the correction; {left_out} left out", fontsize=10)
        return render(drawn, kind)
