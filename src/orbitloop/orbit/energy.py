"""The battery: what the sun puts in, what idling, computing and sending take out.

The model is a bucket: a panel of constant power in the sun (no attitude, no temperature), constant loads, no losses, a
charge between empty and full. Joules in equal joules out plus the change of charge, but for what spills over a full battery
and what an empty one could not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitloop.orbit.frames import FloatArray


@dataclass(frozen=True, slots=True)
class PowerModel:
    """A satellite's power. `compute_w` and `transmit_w` come on top of `idle_w`, which always flows.

    `min_soc` is the state of charge (0 to 1) under which a guard should stop working; the battery itself ends at zero.

    Raises:
        ValueError: a number is negative, or a state of charge is outside 0 to 1.
    """

    battery_wh: float
    panel_w: float
    idle_w: float
    compute_w: float
    transmit_w: float
    initial_soc: float = 1.0
    min_soc: float = 0.2

    def __post_init__(self) -> None:
        for name in ("panel_w", "idle_w", "compute_w", "transmit_w"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, not a power")
        if not 0 < self.battery_wh < float("inf"):
            raise ValueError(f"battery_wh is {self.battery_wh}, not a capacity")
        if not (0 <= self.initial_soc <= 1 and 0 <= self.min_soc <= 1):
            raise ValueError("a state of charge is outside 0 to 1")

    @property
    def initial_wh(self) -> float:
        return self.battery_wh * self.initial_soc

    def spare_j(self, battery_wh: float) -> float:
        """Return the energy above the floor `min_soc`, joules, never negative."""
        return max(0.0, battery_wh - self.min_soc * self.battery_wh) * 3600.0


@dataclass(frozen=True, slots=True)
class Load:
    """A power drawn from `start_s` to `end_s`, on top of idling."""

    start_s: float
    end_s: float
    power_w: float


def advance_battery(
    power: PowerModel,
    battery_wh: float,
    from_s: float,
    to_s: float,
    sunlit_s: float,
    compute_s: float = 0.0,
    transmit_s: float = 0.0,
) -> float:
    """Return the charge at `to_s`, given that at `from_s` and the seconds of sun, computing and sending in between.

    Clipping to empty and full happens once, at the end: keep a step below the time that fills or drains the battery.
    """
    net_j = (
        power.panel_w * sunlit_s
        - power.idle_w * max(0.0, to_s - from_s)
        - power.compute_w * compute_s
        - power.transmit_w * transmit_s
    )
    return min(max(battery_wh + net_j / 3600.0, 0.0), power.battery_wh)


def overlap_s(intervals: Sequence[tuple[float, float]], from_s: float, to_s: float) -> float:
    """Return the seconds of [from_s, to_s] that lie in the intervals, which must not overlap each other."""
    return sum(max(0.0, min(end, to_s) - max(start, from_s)) for start, end in intervals)


def battery_forecast(
    power: PowerModel,
    eclipses: Sequence[tuple[float, float]],
    loads: Sequence[Load],
    start_s: float,
    end_s: float,
    step_s: float = 60.0,
) -> tuple[FloatArray, FloatArray]:
    """Return (times_s, battery_wh), each (T,), from `start_s` by `step_s` to `end_s`, which is always the last.

    The battery starts at `initial_soc`. Between the times it is advanced from one edge of an eclipse or load to the next, in
    which its power is constant, so that clipping is exact whatever the step.

    Raises:
        ValueError: the step is not positive, or the end is before the start.
    """
    if not step_s > 0 or not end_s >= start_s:
        raise ValueError(f"no time to forecast: from {start_s} to {end_s} by {step_s}")
    grid = np.unique(np.append(np.arange(start_s, end_s, step_s, dtype=np.float64), end_s))
    inner = [e for pair in eclipses for e in pair] + [e for load in loads for e in (load.start_s, load.end_s)]
    edges = np.unique(np.concatenate([grid, [e for e in inner if start_s < e < end_s]]))
    middle = (edges[1:] + edges[:-1]) / 2
    net_w = np.full(middle.size, power.panel_w - power.idle_w)
    dark = np.zeros(middle.size, np.bool_)
    for begin_s, until_s in eclipses:
        dark[np.searchsorted(middle, begin_s) : np.searchsorted(middle, until_s)] = True
    net_w[dark] -= power.panel_w
    for load in loads:
        net_w[np.searchsorted(middle, load.start_s) : np.searchsorted(middle, load.end_s)] -= load.power_w
    charge = np.empty(edges.size)
    charge[0] = power.initial_wh
    for n, gain_wh in enumerate((net_w * np.diff(edges) / 3600.0).tolist()):
        charge[n + 1] = min(max(float(charge[n]) + gain_wh, 0.0), power.battery_wh)
    return grid, charge[np.searchsorted(edges, grid)]
