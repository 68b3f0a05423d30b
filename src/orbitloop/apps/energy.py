"""Energy and temperature of a mission's satellites, forecast from its file: orbit, panels, loads, contacts, seasons.

What a run will really draw depends on what it finds to compute and to send. Here the payload computes `computeDuty` of the
time, and the transmitter sends in every contact from acquisition to loss: the most that the plan can ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.apps.files import write_whole
from orbitloop.clock import iso_utc
from orbitloop.errors import ManifestError
from orbitloop.orbit.energy import SOLAR_CONSTANT_W_M2, Load, PowerModel, harvest, sunward
from orbitloop.orbit.forecast import Forecast, Season, Shortfall, forecast, season, shortfalls
from orbitloop.orbit.propagate import states
from orbitloop.orbit.thermal import NODES, Temperatures, ThermalModel, absorbed_w, heat, limits_broken, temperatures
from orbitloop.records.contact import ContactWindow
from orbitloop.reports.plots.canvas import kind_of
from orbitloop.reports.plots.energy import EnergyCurves, draw_energy, draw_fleet_energy, shadows
from orbitloop.resources.fleet import Satellite
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import contacts, elements_of, power_of

DEFAULT_MASS_KG = 12.0
BODY_DENSITY_KG_M3 = 400.0
"""Of a body whose surface is not given: a cube of that density, as small satellites come near to."""
RADIATED_SHARE = 0.3
"""Share of a transmitter's power that leaves as radio waves."""
TYPICAL_EFFICIENCY = 0.28
STEP_S = 60.0
"""Of a forecast: panels follow their sunlight within minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class EnergyForecast:
    """What one satellite's battery and temperatures will do, and what stands against it."""

    satellite: str
    battery: Forecast
    temperatures: Temperatures
    season: Season
    contacts: tuple[ContactWindow, ...]
    shortfalls: tuple[Shortfall, ...]
    limits: tuple[tuple[str, str, float], ...]

    def to_json(self) -> dict[str, Any]:
        found, worst, poorest = self.battery, self.battery.worst, self.battery.poorest
        lowest = self.season.worst
        span = (float(found.times_s[0]), float(found.times_s[-1]))
        extremes = self.temperatures.extremes(*span)
        return {
            "satellite": self.satellite,
            "start": iso_utc(span[0]),
            "end": iso_utc(span[1]),
            "shadows": [[iso_utc(a), iso_utc(b)] for a, b in shadows(found.times_s, found.light)],
            "contacts": len(self.contacts),
            "contact_s": round(sum(w.duration_s for w in self.contacts), 1),
            "min_soc": round(float(found.soc.min()), 4),
            "max_depth": round(1.0 - float(found.soc.min()), 4),
            "end_soc": round(float(found.soc[-1]), 4),
            "ledger_wh": {name: round(getattr(found.ledger, name), 4) for name in found.ledger.__dataclass_fields__},
            "revolutions": [
                {
                    "start": iso_utc(one.start_s),
                    "beta_deg": round(one.beta_deg, 2),
                    "sunlit_s": round(one.sunlit_s, 1),
                    "harvest_wh": round(one.ledger.harvested_wh + one.ledger.spilled_wh, 3),
                    "drawn_wh": round(one.ledger.drawn_wh, 3),
                    "balance_wh": round(one.balance_wh, 3),
                    "min_soc": round(one.min_soc, 4),
                }
                for one in found.revolutions
            ],
            "worst_revolution": {"number": worst.number, "start": iso_utc(worst.start_s), "min_soc": round(worst.min_soc, 4)},
            "poorest_revolution": {"number": poorest.number, "balance_wh": round(poorest.balance_wh, 3)},
            "temperatures_c": {
                name: {"min": round(float(low), 1), "max": round(float(high), 1)}
                for name, (low, high) in zip(NODES, extremes, strict=True)
            },
            "season": {
                "worst": iso_utc(float(self.season.times_s[lowest])),
                "worst_balance_wh": round(float(self.season.balance_wh[lowest]), 3),
                "beta_deg": [round(float(v), 2) for v in self.season.beta_deg],
                "balance_wh": [round(float(v), 3) for v in self.season.balance_wh],
                "times": [iso_utc(float(t)) for t in self.season.times_s],
            },
            "warnings": [
                {"kind": one.kind, "since": iso_utc(one.at_s), "what": one.what, "remedy": one.remedy}
                for one in self.shortfalls
            ]
            + [{"kind": "temperature", "since": None, "what": what, "seconds": round(s, 1)} for _, what, s in self.limits],
        }


def energy_forecasts(
    plan: MissionPlan,
    names: Sequence[str] = (),
    days: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[EnergyForecast]:
    """Forecast the satellites of a mission from its start.

    Args:
        plan: the mission.
        names: satellites; none = all.
        days: length of the forecast; None = the mission's.
        progress: told how many are done, of how many.

    Raises:
        ManifestError: there is no satellite of such a name.
        ElementsError: an orbit cannot be propagated over that time.
    """
    for name in names:
        if name not in plan.satellites:
            known = ", ".join(list(plan.satellites)[:20])
            raise ManifestError(f"there is no Satellite {name!r}", where=plan.name, remedy=f"known: {known}")
    if days is not None:
        spec = plan.mission.spec.model_copy(update={"duration_days": days})
        plan = replace(plan, mission=plan.mission.model_copy(update={"spec": spec}))
    windows: dict[str, list[ContactWindow]] = {}
    for window in contacts(plan).windows:
        windows.setdefault(window.satellite, []).append(window)
    chosen, out = list(names) or list(plan.satellites), []
    for done, name in enumerate(chosen):
        progress(done, len(chosen))
        out.append(_one(plan, name, tuple(windows.get(name, ()))))
    progress(len(chosen), len(chosen))
    return out


def _one(plan: MissionPlan, name: str, windows: tuple[ContactWindow, ...]) -> EnergyForecast:
    satellite = plan.satellites[name]
    power, elements = power_of(satellite), elements_of(name, satellite, plan.start_s)
    sun = harvest(power, elements, plan.start_s, plan.end_s, STEP_S)
    loads = [Load(w.aos_s, w.los_s, power.transmit_w) for w in windows]
    found = forecast(power, elements, sun, loads, plan.start_s, plan.end_s)
    middle = (found.times_s[1:] + found.times_s[:-1]) / 2
    r_km, v_km_s = states(elements, middle)
    outside = heat(middle, r_km, found.light, sunward(power, r_km, v_km_s, middle))
    model = thermal_of(satellite, power)
    taken_w = found.offered_w - found.spilled_w
    sending = np.zeros(middle.size)
    for load in loads:
        sending[(middle > load.start_s) & (middle < load.end_s)] = load.power_w
    payload_w = power.compute_duty * power.compute_w
    bus_w = found.wanted_w - payload_w - RADIATED_SHARE * sending + found.lost_w
    bus_w = bus_w + taken_w * (1 / power.harvest_efficiency - 1)
    absorbed = absorbed_w(model, outside, taken_w / power.harvest_efficiency, bus_w, payload_w)
    course = temperatures(model, found.times_s, absorbed, warm_up_s=min(elements.period_s, plan.end_s - plan.start_s))
    sent_w = power.transmit_w * sum(w.duration_s for w in windows) / (plan.end_s - plan.start_s)
    year = season(power, elements, plan.start_s, sent_w)
    return EnergyForecast(name, found, course, year, windows, tuple(shortfalls(found)), tuple(limits_broken(course)))


def thermal_of(satellite: Satellite, power: PowerModel) -> ThermalModel:
    """Return a satellite's lumps, what is not given by typical values."""
    given = satellite.spec.thermal
    mass_kg = satellite.spec.mass_kg or DEFAULT_MASS_KG
    panel_m2 = given.panel_area_m2 or sum(one.area_m2 for one in power.panels)
    return ThermalModel(
        mass_kg,
        given.body_area_m2 or 6 * (mass_kg / BODY_DENSITY_KG_M3) ** (2 / 3),
        panel_m2 or max(power.panel_w, 1.0) / (SOLAR_CONSTANT_W_M2 * TYPICAL_EFFICIENCY),
        given.body_absorptivity,
        given.body_emissivity,
        given.panel_absorptivity,
        given.panel_emissivity,
        given.panel_mass_kg_m2,
        given.specific_heat_j_kg_k,
        given.payload_share,
        given.payload_bus_w_k,
        given.panel_bus_w_k,
        (given.panel_limits_c, given.bus_limits_c, given.payload_limits_c),
    )


def draw(found: Sequence[EnergyForecast], path: Path) -> None:
    """Draw one satellite in full, or several in rows, to a .png or .svg.

    Raises:
        DataError: it is another kind of file, or matplotlib is not installed.
        StateError: it cannot be written.
    """
    kind = kind_of(path)
    curves = [_curves(one) for one in found]
    data = draw_energy(curves[0], kind) if len(curves) == 1 else draw_fleet_energy(curves, kind)
    write_whole(path, data)


def _curves(one: EnergyForecast) -> EnergyCurves:
    battery, year = one.battery, one.season
    return EnergyCurves(
        one.satellite,
        battery.times_s,
        battery.soc,
        battery.power.min_soc,
        battery.power.max_depth,
        battery.offered_w,
        battery.wanted_w,
        battery.spilled_w,
        battery.light,
        [(w.aos_s, w.los_s) for w in one.contacts],
        NODES,
        one.temperatures.celsius,
        one.temperatures.model.limits_c,
        year.times_s,
        year.offered_wh,
        year.wanted_wh,
        year.beta_deg,
    )
