"""A satellite's energy and temperature: charge over shadows and contacts, power, temperatures, the year. Or many, in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.reports.plots.canvas import BAD, GOOD, INK, MUTED, SERIES, WARN, figure, render, style

FloatArray = npt.NDArray[np.float64]
_SHADE = "#e6e9ef"
MAX_ROWS = 12


@dataclass(frozen=True, slots=True, eq=False)
class EnergyCurves:
    """What is drawn of one satellite. Times are UTC seconds, (T,) for `soc` and `celsius`, means between them for powers.

    `celsius` (T, N) are of the nodes in `nodes`, with (lowest, highest) `limits_c` each. `year_*` are by revolution.
    """

    name: str
    times_s: FloatArray
    soc: FloatArray
    min_soc: float
    max_depth: float | None
    offered_w: FloatArray
    wanted_w: FloatArray
    spilled_w: FloatArray
    light: FloatArray
    contacts: Sequence[tuple[float, float]]
    nodes: Sequence[str]
    celsius: FloatArray
    limits_c: Sequence[tuple[float, float]]
    year_times_s: FloatArray
    year_offered_wh: FloatArray
    year_wanted_wh: FloatArray
    year_beta_deg: FloatArray


def draw_energy(curves: EnergyCurves, kind: str) -> bytes:
    """Return one satellite's picture: charge, power, temperature, year.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(10.0, 10.5)
    with style():
        charge, power, heat, year = drawn.subplots(4, 1, height_ratios=(3, 3, 3, 2.6))
        _charge(charge, curves)
        charge.set_title(f"{curves.name}: state of charge")
        charge.text(
            0.995, 1.02, "grey: shadow   green: contact", transform=charge.transAxes, ha="right", color=MUTED, fontsize=9
        )
        _power(power, curves)
        _heat(heat, curves)
        for axes in (power, heat):
            axes.sharex(charge)
        for axes in (charge, power, heat):
            _dates(axes)
        _year(year, curves)
        return render(drawn, kind)


def draw_fleet_energy(fleet: Sequence[EnergyCurves], kind: str) -> bytes:
    """Return one picture of many satellites, a row each: charge to the left, temperatures to the right.

    Raises:
        DataError: matplotlib is not installed.
    """
    shown = fleet[:MAX_ROWS]
    drawn = figure(12.0, 1.2 + 1.7 * len(shown))
    with style():
        rows = drawn.subplots(len(shown), 2, sharex=True, squeeze=False, width_ratios=(3, 2))
        for (charge, heat), one in zip(rows, shown, strict=True):
            _charge(charge, one)
            charge.set_title(one.name, fontsize=10)
            charge.set_ylabel("charge")
            _heat(heat, one, legend=one is shown[0])
            heat.set_title("")
        _dates(rows[-1][0])
        _dates(rows[-1][1])
        if len(fleet) > len(shown):
            drawn.supxlabel(f"the first {len(shown)} of {len(fleet)} satellites", color=MUTED, fontsize=9)
        return render(drawn, kind)


def _when(times_s: Any) -> list[datetime]:
    return [datetime.fromtimestamp(float(t), UTC) for t in times_s]


def _charge(axes: Any, curves: EnergyCurves) -> None:
    when = _when(curves.times_s)
    for first, last in shadows(curves.times_s, curves.light):
        axes.axvspan(*_when((first, last)), color=_SHADE, linewidth=0)
    for first, last in curves.contacts:
        axes.axvspan(*_when((first, last)), ymax=0.045, color=GOOD, linewidth=0)
    axes.plot(when, 100 * curves.soc, color=SERIES[0], linewidth=1.6)
    axes.axhline(100 * curves.min_soc, color=BAD, linewidth=1)
    axes.annotate(
        "minSoc",
        (1.0, 100 * curves.min_soc),
        xycoords=("axes fraction", "data"),
        fontsize=8,
        color=BAD,
        va="bottom",
        ha="right",
    )
    if curves.max_depth is not None:
        level = 100 * (1 - curves.max_depth)
        axes.axhline(level, color=WARN, linewidth=1, linestyle="--")
        axes.annotate(
            "maxDepth", (1.0, level), xycoords=("axes fraction", "data"), fontsize=8, color=WARN, va="bottom", ha="right"
        )
    axes.set_ylim(min(100 * float(curves.soc.min()) - 5, 100 * curves.min_soc - 5, 60.0), 102)
    axes.set_ylabel("charge, %")
    axes.set_xlim(when[0], when[-1])


def _power(axes: Any, curves: EnergyCurves) -> None:
    when = _when(curves.times_s)
    taken = curves.offered_w - curves.spilled_w
    axes.stairs(curves.offered_w, _numbers(when), color=SERIES[1], linewidth=0.9, alpha=0.5)
    axes.stairs(taken, _numbers(when), fill=True, color=SERIES[1], alpha=0.28, linewidth=0, label="taken from the panels")
    axes.stairs(curves.wanted_w, _numbers(when), color=INK, linewidth=1.1, label="drawn by the loads")
    axes.plot([], [], color=SERIES[1], alpha=0.5, label="panels could bring")
    axes.set_ylabel("power, W")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", ncols=3, fontsize=8.5, bbox_to_anchor=(1.0, 1.17))
    axes.set_title("power")


def _heat(axes: Any, curves: EnergyCurves, legend: bool = True) -> None:
    when = _when(curves.times_s)
    for index, name in enumerate(curves.nodes):
        colour = SERIES[(0, 2, 3)[index % 3]] if name != "panels" else MUTED
        width = 0.8 if name == "panels" else 1.4
        axes.plot(when, curves.celsius[:, index], color=colour, linewidth=width, label=name)
        if name != "panels":
            for limit in curves.limits_c[index]:
                axes.axhline(limit, color=colour, linewidth=0.9, linestyle=":")
    axes.set_ylabel("degrees C")
    axes.set_title("temperatures (lumped model; dotted: limits)")
    if legend:
        axes.legend(loc="upper right", ncols=3, fontsize=8.5, bbox_to_anchor=(1.0, 1.17))


def _year(axes: Any, curves: EnergyCurves) -> None:
    when = _when(curves.year_times_s)
    axes.fill_between(
        when,
        curves.year_wanted_wh,
        curves.year_offered_wh,
        where=curves.year_offered_wh >= curves.year_wanted_wh,
        color=GOOD,
        alpha=0.18,
        linewidth=0,
        interpolate=True,
    )
    axes.fill_between(
        when,
        curves.year_wanted_wh,
        curves.year_offered_wh,
        where=curves.year_offered_wh < curves.year_wanted_wh,
        color=BAD,
        alpha=0.35,
        linewidth=0,
        interpolate=True,
    )
    axes.plot(when, curves.year_offered_wh, color=SERIES[1], label="panels could bring")
    axes.plot(when, curves.year_wanted_wh, color=INK, linewidth=1.1, label="loads want")
    axes.set_ylabel("Wh a revolution")
    axes.set_ylim(bottom=0)
    beta = axes.twinx()
    beta.plot(when, curves.year_beta_deg, color=SERIES[4], linewidth=1, linestyle="--", label="beta")
    beta.set_ylabel("beta, degrees")
    beta.grid(False)
    lines = [*axes.get_lines(), *beta.get_lines()]
    axes.legend(lines, [one.get_label() for one in lines], loc="upper right", ncols=3, fontsize=8.5, bbox_to_anchor=(1.0, 1.2))
    axes.set_title("the year")
    axes.set_xlim(when[0], when[-1])
    _dates(axes)


def _numbers(when: list[datetime]) -> Any:
    from matplotlib.dates import date2num

    return date2num(when)  # type: ignore[no-untyped-call]


def _dates(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def shadows(times_s: FloatArray, light: FloatArray) -> list[tuple[float, float]]:
    """Return the stretches in which less than half of the sun is seen, from means between times."""
    dark = np.concatenate([[False], light < 0.5, [False]])
    edges = np.flatnonzero(dark[1:] != dark[:-1])
    return [(float(times_s[a]), float(times_s[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
