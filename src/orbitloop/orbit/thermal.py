"""What temperatures a satellite comes to: a lumped model of three nodes, panels, bus and payload.

Each node has one temperature T and a heat capacity C:

    C dT/dt = sunlight + albedo + Earth's infrared + dissipation - eps sigma A T^4 + sum of G (T_other - T)

Sunlight: 1361 W/m2 at 1 AU by the sun's distance, on the panels by the cosine at their front less what leaves them as electric
power, on the body by a quarter of its surface (the mean of a convex body over all attitudes). Earth: 237 W/m2 infrared and an
albedo of 0.30, global means; by place and season they go from about 220 to 260 and 0.2 to 0.4 (Gilmore, Spacecraft Thermal
Control Handbook, vol. 1, 2nd ed., ch. 2; ECSS-E-ST-10-04C has the like). The view factor is that of a sphere,
(1 - sqrt(1 - (R/r)^2)) / 2, for the body and for both sides of a panel; the albedo goes by the cosine of the sun's zenith angle
below the satellite, and there is none beyond the terminator.

The step is ROS2, a Rosenbrock method of second order that is stable at any length (Verwer et al., SIAM J. Sci. Comput. 20,
1999, 1456), on heat that is constant over each step.

This is a budget, not a thermal design. The lumps hide every gradient, surfaces are means, and but for one number it is not
calibrated: the body's default surface was chosen so that BUPT-1's payload at rest comes to the 0 to 2 degrees C of its
telemetry; its bus then stays in the -10 to 30 that are published. It says whether a load runs into trouble on the scale of ten
kelvins, and which way a change goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.energy import SOLAR_CONSTANT_W_M2
from orbitloop.orbit.frames import EARTH_RADIUS_KM, FloatArray
from orbitloop.orbit.sun import AU_KM, sun_position_km

STEFAN_BOLTZMANN_W_M2_K4 = 5.670_374_419e-8
EARTH_INFRARED_W_M2 = 237.0
ALBEDO = 0.30
ZERO_C_K = 273.15
NODES = ("panels", "bus", "payload")
_GAMMA = 1 + 1 / 2**0.5  # makes ROS2 stable for any step
_STIFFEST = 2.0
"""Steps in units of a node's own time: one that is faster is slowed to this, since T^4 makes larger steps overshoot."""
WARM_UP = 12
"""Revolutions of warm-up: the first one, again and again, so that the start is no guess of ours."""


@dataclass(frozen=True, slots=True)
class ThermalModel:
    """Lumps and surfaces. `panel_area_m2` is one side. Limits are (lowest, highest) degrees C, in the order of `NODES`.

    Raises:
        ValueError: a size is not above zero, or a share is outside 0 to 1.
    """

    mass_kg: float
    body_area_m2: float
    panel_area_m2: float
    body_absorptivity: float = 0.45
    body_emissivity: float = 0.55
    panel_absorptivity: float = 0.88
    panel_emissivity: float = 0.82
    panel_mass_kg_m2: float = 2.5
    specific_heat_j_kg_k: float = 900.0
    payload_share: float = 0.15
    payload_bus_w_k: float = 1.0
    panel_bus_w_k: float = 0.1
    limits_c: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = ((-100, 110), (-10, 45), (-20, 60))

    def __post_init__(self) -> None:
        for name in ("mass_kg", "body_area_m2", "panel_area_m2", "panel_mass_kg_m2", "specific_heat_j_kg_k"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, not above zero")
        for name in ("body_absorptivity", "body_emissivity", "panel_absorptivity", "panel_emissivity", "payload_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, outside 0 to 1")

    @property
    def capacity_j_k(self) -> FloatArray:
        """Heat capacity of each node (3,), J/K."""
        mass = np.array([self.panel_area_m2 * self.panel_mass_kg_m2, 1 - self.payload_share, self.payload_share])
        mass[1:] *= self.mass_kg
        return mass * self.specific_heat_j_kg_k

    @property
    def radiating_m2(self) -> FloatArray:
        """Emissivity times surface of each node (3,); the payload sits inside."""
        return np.array([2 * self.panel_area_m2 * self.panel_emissivity, self.body_area_m2 * self.body_emissivity, 0.0])

    @property
    def conductance_w_k(self) -> FloatArray:
        """Conductances as a matrix (3, 3) that makes heat flows of temperatures."""
        out = np.zeros((3, 3))
        for a, b, value in ((0, 1, self.panel_bus_w_k), (1, 2, self.payload_bus_w_k)):
            out[[a, b], [b, a]] += value
            out[[a, b], [a, b]] -= value
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """What comes from outside, at each of (T,) times: on the panels' front and on the rest, W per m2 of area.

    `front_w_m2` is sunlight times the cosine at the panels' front, `sun_w_m2` that of a face turned to the sun; `infrared_w_m2`
    and `albedo_w_m2` are what a face of a sphere gets on average.
    """

    front_w_m2: FloatArray
    sun_w_m2: FloatArray
    infrared_w_m2: FloatArray
    albedo_w_m2: FloatArray


def heat(times_s: npt.ArrayLike, r_km: npt.ArrayLike, light: npt.ArrayLike, cosine: npt.ArrayLike) -> Heat:
    """Return the heat from outside at positions (T, 3) TEME with that share of sunlight and that cosine at the panels (T,)."""
    times, position = np.asarray(times_s, np.float64), np.asarray(r_km, np.float64)
    sun = sun_position_km(times)
    sun_km, radius_km = np.linalg.norm(sun, axis=1), np.linalg.norm(position, axis=1)
    flux = SOLAR_CONSTANT_W_M2 * (AU_KM / sun_km) ** 2
    view = (1 - np.sqrt(1 - np.minimum(EARTH_RADIUS_KM / radius_km, 1.0) ** 2)) / 2
    below = np.maximum(np.sum(sun * position, axis=1) / (sun_km * radius_km), 0.0)
    lit = flux * np.asarray(light, np.float64)
    return Heat(lit * np.asarray(cosine, np.float64), lit, EARTH_INFRARED_W_M2 * view, ALBEDO * flux * view * below)


@dataclass(frozen=True, slots=True, eq=False)
class Temperatures:
    """Temperatures (T, 3) degrees C at `times_s` (T,), in the order of `NODES`."""

    model: ThermalModel
    times_s: FloatArray
    celsius: FloatArray

    def extremes(self, from_s: float, to_s: float) -> FloatArray:
        """Return the lowest and highest temperature of each node (3, 2) within [from_s, to_s]."""
        inside = (self.times_s >= from_s) & (self.times_s <= to_s)
        part = self.celsius[inside] if inside.any() else self.celsius
        return np.stack([part.min(axis=0), part.max(axis=0)], axis=1)

    def outside_s(self) -> FloatArray:
        """Return for how long each node is below and above its limits (3, 2), seconds."""
        low, high = np.array(self.model.limits_c).T
        step = np.diff(self.times_s, append=self.times_s[-1])[:, None]
        return np.stack([np.sum(step * (self.celsius < low), axis=0), np.sum(step * (self.celsius > high), axis=0)], axis=1)


def absorbed_w(
    model: ThermalModel, outside: Heat, extracted_w: npt.ArrayLike, bus_w: npt.ArrayLike, payload_w: npt.ArrayLike
) -> FloatArray:
    """Return the heat that each node takes up (T, 3), W; `extracted_w` leaves the panels as electric power."""
    diffuse = outside.infrared_w_m2 * model.panel_emissivity + outside.albedo_w_m2 * model.panel_absorptivity
    panels = model.panel_area_m2 * (outside.front_w_m2 * model.panel_absorptivity + 2 * diffuse) - np.asarray(extracted_w)
    of_sun = (outside.sun_w_m2 / 4 + outside.albedo_w_m2) * model.body_absorptivity
    body = model.body_area_m2 * (of_sun + outside.infrared_w_m2 * model.body_emissivity)
    return np.stack([panels, body + np.asarray(bus_w), np.broadcast_to(payload_w, panels.shape)], axis=1)


def steady_k(model: ThermalModel, absorbed: npt.ArrayLike) -> FloatArray:
    """Return the temperatures (3,), K, at which nodes that take up (3,) W stay, by Newton's method."""
    flow, radiating, conduct = np.asarray(absorbed, np.float64), model.radiating_m2, model.conductance_w_k
    kelvin = np.full(3, 280.0)
    for _ in range(100):
        wrong = flow - STEFAN_BOLTZMANN_W_M2_K4 * radiating * kelvin**4 + conduct @ kelvin
        slope = conduct - np.diag(4 * STEFAN_BOLTZMANN_W_M2_K4 * radiating * kelvin**3)
        # A payload without any conductance, or a panel alone in the dark, has no place to go: it keeps its temperature.
        change = np.linalg.lstsq(slope, -wrong, rcond=None)[0]
        kelvin = np.maximum(kelvin + np.clip(change, -50, 50), 3.0)
        if np.abs(change).max() < 1e-9:
            break
    return kelvin


def temperatures(model: ThermalModel, times_s: FloatArray, absorbed: FloatArray, warm_up_s: float = 0.0) -> Temperatures:
    """Return the course of the temperatures at `times_s` (T,) under heat (T - 1, 3) W that each step takes up on average.

    It starts from the steady state of the mean over the first `warm_up_s` (all of the time when 0), after `WARM_UP` repetitions
    of that stretch.
    """
    steps = np.diff(times_s)
    warm = int(np.searchsorted(times_s, times_s[0] + warm_up_s)) if warm_up_s > 0 else steps.size
    kelvin = steady_k(model, np.average(absorbed[:warm], axis=0, weights=steps[:warm]))
    if warm_up_s > 0:
        for _ in range(WARM_UP):
            kelvin = _course(model, steps[:warm], absorbed[:warm], kelvin)[-1]
    return Temperatures(model, times_s, _course(model, steps, absorbed, kelvin) - ZERO_C_K)


def _course(model: ThermalModel, steps_s: FloatArray, absorbed: FloatArray, kelvin: FloatArray) -> FloatArray:
    radiating, conduct = STEFAN_BOLTZMANN_W_M2_K4 * model.radiating_m2, model.conductance_w_k
    hottest = max(float(kelvin.max()), float(steady_k(model, absorbed.max(axis=0)).max()))
    fastest = (4 * radiating * hottest**3 - np.diag(conduct)) / _STIFFEST  # W/K
    out = np.empty((steps_s.size + 1, 3))
    out[0] = kelvin
    for n, (step_s, flow) in enumerate(zip(steps_s.tolist(), absorbed, strict=True)):
        capacity = np.maximum(model.capacity_j_k, step_s * fastest)
        slope = conduct - np.diag(4 * radiating * kelvin**3)
        implicit = np.linalg.inv(np.diag(capacity) - _GAMMA * step_s * slope)
        first = implicit @ (flow - radiating * kelvin**4 + conduct @ kelvin)
        ahead = kelvin + step_s * first
        second = implicit @ (flow - radiating * ahead**4 + conduct @ ahead - 2 * capacity * first)
        kelvin = kelvin + step_s * (1.5 * first + 0.5 * second)
        out[n + 1] = kelvin
    return out


def limits_broken(found: Temperatures) -> list[tuple[str, str, float]]:
    """Return (node, what, seconds) for each limit that is passed."""
    out = []
    sides: Sequence[tuple[int, str]] = ((0, "below"), (1, "above"))
    for node, name in enumerate(NODES):
        for side, word in sides:
            seconds = float(found.outside_s()[node, side])
            if seconds > 0:
                extreme = float(found.celsius[:, node].min() if side == 0 else found.celsius[:, node].max())
                limit = found.model.limits_c[node][side]
                out.append((name, f"{name} {word} {limit:g} C, at worst {extreme:.0f} C", seconds))
    return out
