"""A satellite's energy: what its panels bring, what its battery holds, what idling, computing, sending and heating take.

One model for everything: the simulator moves its batteries with `advance_battery`, and a forecast is the same step by step.

Harvest. Each panel is flat: its power is the solar constant (1361 W/m2 at 1 AU: Kopp & Lean 2011, Geophys. Res. Lett. 38,
L01706) by the square of the sun's distance, times area, efficiency, the cosine of the sun's angle off its normal and the
share of the sun's disc that is to be seen, times what harvesting and age leave. The share falls straight from one to nothing
through the penumbra (8 to 11 s in low orbit); by symmetry that has the integral of the true curve. Attitude is either the
frame of the orbit (nadir-pointing) or fronts to the sun. A satellite without panels has `panel_w` wherever the sun shines.

Battery. Watt hours in a store with an efficiency each way, a ceiling (end of charge), and if wanted a limit to the power that
it takes. What neither load nor battery takes is spilled; what an empty battery cannot give is unmet.

Left out: the panels' temperature (`thermal` tells it; some 0.3 % of power a degree), shadows of one part on another, the
fall of voltage with charge, the battery's own temperature. Forecasts are made in `forecast`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.propagate import states
from orbitloop.orbit.sun import AU_KM, eclipse_intervals, sun_position_km

SOLAR_CONSTANT_W_M2 = 1361.0
YEAR_S = 365.25 * 86_400.0
J_PER_WH = 3600.0
HARVEST_STEP_S, STEADY_STEP_S = 60.0, 3600.0
MAX_KNOTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat panel. `normal` is where its front looks in the orbit's frame: x along the flight, y against the angular momentum,
    z to the Earth's centre; `tracks_sun` = a drive turns it to the sun in any attitude.
    """

    area_m2: float
    efficiency: float = 0.28
    normal: tuple[float, float, float] = (0.0, 0.0, -1.0)
    tracks_sun: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.area_m2 < float("inf") and 0 < self.efficiency <= 1):
            raise ValueError(f"no panel of {self.area_m2} m2 and efficiency {self.efficiency}")
        if not 0 < sum(value * value for value in self.normal) < float("inf"):
            raise ValueError(f"a panel's normal {self.normal} has no direction")


@dataclass(frozen=True, slots=True)
class PowerModel:
    """A satellite's power. All loads come on top of `idle_w`, which always flows; `aocs_w` does too, `heater_w` in shadow.

    `min_soc` is the state of charge (0 to 1) under which a guard should stop working; the battery itself ends at zero.
    `compute_duty` is the share of the time in which a forecast takes the payload to compute.

    Raises:
        ValueError: a number is negative, or a share is outside 0 to 1.
    """

    battery_wh: float
    panel_w: float
    idle_w: float
    compute_w: float
    transmit_w: float
    initial_soc: float = 1.0
    min_soc: float = 0.2
    panels: tuple[Panel, ...] = ()
    attitude: str = "nadir"
    harvest_efficiency: float = 1.0
    degradation_per_year: float = 0.0
    age_years: float = 0.0
    charge_efficiency: float = 1.0
    discharge_efficiency: float = 1.0
    max_soc: float = 1.0
    max_charge_w: float | None = None
    max_depth: float | None = None
    aocs_w: float = 0.0
    heater_w: float = 0.0
    compute_duty: float = 0.0

    def __post_init__(self) -> None:
        for name in ("panel_w", "idle_w", "compute_w", "transmit_w", "aocs_w", "heater_w", "age_years"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, not a power" if name != "age_years" else "no such age")
        if not 0 < self.battery_wh < float("inf"):
            raise ValueError(f"battery_wh is {self.battery_wh}, not a capacity")
        if not (0 <= self.initial_soc <= 1 and 0 <= self.min_soc <= 1 and 0 < self.max_soc <= 1):
            raise ValueError("a state of charge is outside 0 to 1")
        for name in ("harvest_efficiency", "charge_efficiency", "discharge_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, outside 0 to 1")
        if not (0 <= self.degradation_per_year < 1 and 0 <= self.compute_duty <= 1):
            raise ValueError("degradation_per_year or compute_duty is outside 0 to 1")
        if self.attitude not in ("nadir", "sun"):
            raise ValueError(f"attitude is {self.attitude!r}, neither nadir nor sun")

    @property
    def initial_wh(self) -> float:
        return self.battery_wh * self.initial_soc

    @property
    def full_wh(self) -> float:
        """The charge at which charging ends."""
        return self.battery_wh * self.max_soc

    @property
    def base_w(self) -> float:
        """What is drawn all the time."""
        return self.idle_w + self.aocs_w

    def spare_j(self, battery_wh: float) -> float:
        """Return the energy above the floor `min_soc`, joules, never negative."""
        return max(0.0, battery_wh - self.min_soc * self.battery_wh) * J_PER_WH


@dataclass(frozen=True, slots=True)
class Load:
    """A power drawn from `start_s` to `end_s`, on top of idling."""

    start_s: float
    end_s: float
    power_w: float


@dataclass(frozen=True, slots=True, eq=False)
class Harvest:
    """Power at the bus over time: straight between knots `times_s` (K,), which include every edge of a shadow.

    `power_w` (K,) is what the panels could bring, `light` (K,) the share of the sun's disc that is seen.
    """

    times_s: FloatArray
    power_w: FloatArray
    light: FloatArray
    _knots: list[float] = field(init=False, repr=False)
    _rows: list[tuple[float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Lists: the walk from knot to knot is Python's, and floats of numpy would slow it fivefold.
        object.__setattr__(self, "_knots", self.times_s.tolist())
        object.__setattr__(self, "_rows", list(zip(self.power_w.tolist(), self.light.tolist(), strict=True)))

    def pieces(self, from_s: float, to_s: float) -> list[tuple[float, float, float]]:
        """Return (seconds, mean power W, mean light) of each stretch between knots in [from_s, to_s]; flat beyond the ends."""
        if to_s <= from_s:
            return []
        first, last = bisect_right(self._knots, from_s), bisect_left(self._knots, to_s)
        inner = list(zip(self._knots[first:last], self._rows[first:last], strict=True))
        points = [(from_s, self._at(from_s)), *inner, (to_s, self._at(to_s))]
        out = []
        for (a, (power_a, light_a)), (b, (power_b, light_b)) in pairwise(points):
            out.append((b - a, (power_a + power_b) / 2, (light_a + light_b) / 2))
        return out

    def energy_wh(self, from_s: float, to_s: float) -> float:
        """Return what the panels could bring in [from_s, to_s]."""
        return sum(seconds * watts for seconds, watts, _ in self.pieces(from_s, to_s)) / J_PER_WH

    def sunlit_s(self, from_s: float, to_s: float) -> float:
        """Return the seconds of full sun that [from_s, to_s] comes to."""
        return sum(seconds * light for seconds, _, light in self.pieces(from_s, to_s))

    def _at(self, when_s: float) -> tuple[float, float]:
        after = bisect_right(self._knots, when_s)
        if after == 0 or after == len(self._knots):
            return self._rows[min(after, len(self._knots) - 1)]
        a, b = self._knots[after - 1], self._knots[after]
        share = (when_s - a) / (b - a)
        (power_a, light_a), (power_b, light_b) = self._rows[after - 1], self._rows[after]
        return power_a + share * (power_b - power_a), light_a + share * (light_b - light_a)


def panel_power_w(
    power: PowerModel, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike, times_s: npt.ArrayLike, start_s: float
) -> FloatArray:
    """Return the power (T,) W that the panels bring at the bus in full sunlight, at states (T, 3) TEME.

    `start_s` is when the satellite is `age_years` old.
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    left = (1.0 - power.degradation_per_year) ** (power.age_years + (times - start_s) / YEAR_S)
    if not power.panels:
        return power.panel_w * left
    sun = sun_position_km(times)
    flux_w_m2 = SOLAR_CONSTANT_W_M2 * (AU_KM / np.linalg.norm(sun, axis=1)) ** 2
    toward = sun_in_orbit_frame(r_km, v_km_s, sun)
    seen_m2 = sum(one.area_m2 * one.efficiency * _cosine(power, one, toward) for one in power.panels)
    return np.asarray(flux_w_m2 * seen_m2 * power.harvest_efficiency * left, np.float64)


def _cosine(power: PowerModel, panel: Panel, toward: FloatArray) -> FloatArray:
    if panel.tracks_sun or power.attitude == "sun":
        return np.ones(toward.shape[0])
    normal = np.asarray(panel.normal, np.float64)
    return np.asarray(np.maximum(toward @ (normal / np.linalg.norm(normal)), 0.0), np.float64)


def sunward(power: PowerModel, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike, times_s: npt.ArrayLike) -> FloatArray:
    """Return the mean cosine (T,) of the sun at the fronts of the panels, by area; 1 for a satellite without panels."""
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    if not power.panels:
        return np.ones(times.size)
    toward = sun_in_orbit_frame(r_km, v_km_s, sun_position_km(times))
    area_m2 = sum(one.area_m2 for one in power.panels)
    return np.asarray(sum(one.area_m2 * _cosine(power, one, toward) for one in power.panels) / area_m2, np.float64)


def sun_in_orbit_frame(r_km: npt.ArrayLike, v_km_s: npt.ArrayLike, sun_km: FloatArray) -> FloatArray:
    """Return the unit vector to the sun (T, 3) in the orbit's frame: x along the flight, y against the angular momentum,
    z to the Earth's centre (parallax of the orbit's radius left out, 10 arc seconds).
    """
    position, velocity = np.asarray(r_km, np.float64), np.asarray(v_km_s, np.float64)
    down = -position / np.linalg.norm(position, axis=1, keepdims=True)
    left = -np.cross(position, velocity)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    forward = np.cross(left, down)
    sun = sun_km / np.linalg.norm(sun_km, axis=1, keepdims=True)
    return np.stack([np.sum(sun * axis, axis=1) for axis in (forward, left, down)], axis=1)


def harvest(power: PowerModel, elements: Elements, start_s: float, end_s: float, step_s: float | None = None) -> Harvest:
    """Return what a satellite's panels could bring over [start_s, end_s], with a knot every `step_s` and at each shadow's edge.

    By default knots are as dense as the power asks for: a minute where the sun wanders over fixed panels, an hour where only
    its distance changes, and never more than a million.

    Raises:
        ElementsError: the elements cannot be propagated over that time.
        ValueError: the step is not positive, or the end is not after the start.
    """
    if step_s is None:
        steady = power.attitude == "sun" or all(one.tracks_sun for one in power.panels)
        step_s = max(STEADY_STEP_S if steady else HARVEST_STEP_S, (end_s - start_s) / MAX_KNOTS)
    if not step_s > 0 or not end_s > start_s:
        raise ValueError(f"no time to harvest: from {start_s} to {end_s} by {step_s}")
    umbras = eclipse_intervals(elements, start_s, end_s)
    penumbras = eclipse_intervals(elements, start_s, end_s, penumbra=True)
    edges = [edge for pair in (*umbras, *penumbras) for edge in pair]
    times = np.unique(np.concatenate([np.arange(start_s, end_s, step_s), [end_s], edges]))
    light = light_share(times, umbras, penumbras)
    r_km, v_km_s = states(elements, times)
    return Harvest(times, light * panel_power_w(power, r_km, v_km_s, times, start_s), light)


def light_share(
    times_s: FloatArray, umbras: Sequence[tuple[float, float]], penumbras: Sequence[tuple[float, float]]
) -> FloatArray:
    """Return the share (T,) of the sun's disc that is seen, from shadows clipped to the time asked for.

    A penumbra without an umbra within it (the satellite only grazes the shadow) dims to a half in its middle.
    """
    knots: list[tuple[float, float]] = []
    for start_s, end_s in penumbras:
        inner = [pair for pair in umbras if start_s <= pair[0] and pair[1] <= end_s]
        knots.append((start_s, 1.0))
        knots += [(edge, 0.0) for pair in inner for edge in pair] if inner else [((start_s + end_s) / 2, 0.5)]
        knots.append((end_s, 1.0))
    if not knots:
        return np.ones(times_s.size)
    # A shadow that is under way at an end was clipped there: penumbra and umbra begin together, and the umbra's zero holds.
    at = dict(knots) | {edge: 0.0 for pair in umbras for edge in pair}
    ordered = sorted(at)
    return np.interp(times_s, ordered, [at[one] for one in ordered], left=1.0, right=1.0)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where energy went, Wh. In: `harvested` (what was taken of the panels' power). Out: `drawn` by the loads, `lost` in the
    battery, and `stored`, the change of the battery's charge. `spilled` was not harvested, `unmet` was asked for and not given:

        harvested = drawn + lost + stored
    """

    harvested_wh: float = 0.0
    drawn_wh: float = 0.0
    lost_wh: float = 0.0
    stored_wh: float = 0.0
    spilled_wh: float = 0.0
    unmet_wh: float = 0.0


Row = tuple[float, float, float, float, float, float]
"""A ledger's six numbers, in its order."""


def settle(power: PowerModel, battery_wh: float, offered_wh: float, wanted_wh: float, seconds: float) -> tuple[float, Row]:
    """Return (charge, a ledger's row) after a stretch in which the panels offer and the loads want so much."""
    net = offered_wh - wanted_wh
    if net >= 0:
        taken = min(net, max(0.0, power.full_wh - battery_wh) / power.charge_efficiency)
        if power.max_charge_w is not None:
            taken = min(taken, power.max_charge_w * seconds / J_PER_WH)
        stored = taken * power.charge_efficiency
        return battery_wh + stored, (wanted_wh + taken, wanted_wh, taken - stored, stored, net - taken, 0.0)
    given = min(-net, battery_wh * power.discharge_efficiency)
    stored = -given / power.discharge_efficiency
    row = (offered_wh, offered_wh + given, -stored - given, stored, 0.0, -net - given)
    return max(0.0, battery_wh + stored), row


def advance_battery(
    power: PowerModel,
    battery_wh: float,
    sun: Harvest,
    from_s: float,
    to_s: float,
    extra_j: float = 0.0,
) -> tuple[float, Ledger]:
    """Return (charge at `to_s`, where the energy went), given the charge at `from_s`.

    `extra_j` is what computing and sending took; it falls into the last stretch. Without time passing it is taken at once.
    """
    rows: list[Row] = []
    pieces = sun.pieces(from_s, to_s) or [(0.0, 0.0, 1.0)]
    for number, (seconds, watts, light) in enumerate(pieces, 1):
        wanted_j = seconds * (power.base_w + power.heater_w * (1.0 - light)) + (extra_j if number == len(pieces) else 0.0)
        battery_wh, row = settle(power, battery_wh, seconds * watts / J_PER_WH, wanted_j / J_PER_WH, seconds)
        rows.append(row)
    return battery_wh, total(rows)


def total(rows: Iterable[Row]) -> Ledger:
    """Add up rows to a ledger."""
    return Ledger(*(sum(column) for column in zip(*rows, strict=True)))
