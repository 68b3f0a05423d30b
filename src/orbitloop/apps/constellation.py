"""Constellations at work: expanded to satellites, told as a table, written as element sets, their energy forecast.

The composition root of what `orbitloop constellation` and `orbitloop energy` do; geometry, physics and forms are elsewhere.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from orbitloop.apps.files import read_bounded, write_whole
from orbitloop.clock import iso_utc
from orbitloop.errors import DataError, ElementsError
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.omm import Form, omm_values, write_omm
from orbitloop.orbit.formats.sets import parse_sets
from orbitloop.orbit.formats.tle import write_tle_file
from orbitloop.orbit.frames import EARTH_RADIUS_KM, gmst_rad
from orbitloop.orbit.walker import WalkerPattern, WalkerSlot
from orbitloop.reports.plots.canvas import kind_of
from orbitloop.reports.plots.constellation import Place, draw_places
from orbitloop.resources.constellation import Constellation, ImportedSets
from orbitloop.resources.fleet import ElementsOrbit, OmmOrbit, Satellite, SatelliteSpec
from orbitloop.resources.meta import Metadata
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import elements_of

MAX_SETS_BYTES = 200_000_000
_SGP4_RADIUS_KM = 6_378.135  # WGS-72


def expand(constellation: Constellation, data_dir: Path) -> list[Satellite]:
    """Return the satellites that a constellation stands for, in the order of its planes or of its file.

    Raises:
        ElementsError: there is no such pattern, or the file holds no sound set of such a name.
        DataError: the file cannot be read.
    """
    spec = constellation.spec
    if spec.walker is None:
        assert spec.import_ is not None
        return [_satellite(name, spec.satellite, orbit) for name, orbit in _imported(spec.import_, data_dir)]
    walker = spec.walker
    pattern = WalkerPattern(walker.inclination_deg, walker.total, walker.planes, walker.phasing, walker.pattern == "star")
    prefix = spec.prefix or constellation.name[:40].rstrip("-")
    out = []
    for slot in pattern.slots(walker.raan0_deg, walker.anomaly0_deg):
        orbit = ElementsOrbit(
            altitude_km=walker.altitude_km,
            inclination_deg=walker.inclination_deg,
            raan_deg=slot.raan_deg,
            mean_anomaly_deg=slot.anomaly_deg,
            epoch=walker.epoch,
        )
        out.append(_satellite(_slot_name(prefix, pattern, slot), spec.satellite, orbit))
    return out


def _slot_name(prefix: str, pattern: WalkerPattern, slot: WalkerSlot) -> str:
    """Return `shell-1-01`: as many digits as the pattern needs, so that names sort as planes and places do."""
    planes, places = len(str(pattern.planes)), len(str(pattern.per_plane))
    return f"{prefix}-{slot.plane + 1:0{planes}d}-{slot.number + 1:0{places}d}"


def _satellite(name: str, template: SatelliteSpec, orbit: ElementsOrbit | OmmOrbit) -> Satellite:
    return Satellite(metadata=Metadata(name=name), spec=template.model_copy(update={"orbit": orbit}))


def _imported(wanted: ImportedSets, data_dir: Path) -> list[tuple[str, OmmOrbit]]:
    path = data_dir / wanted.file
    sets, _ = parse_sets(_read(path), wanted.file)
    pattern = wanted.match.lower()
    chosen = [one for one in sets if fnmatch.fnmatchcase(one.name.lower(), pattern)]
    if not chosen:
        raise ElementsError(f"no satellite's name is like {wanted.match!r}", where=wanted.file, remedy="match: '*' takes all")
    out: dict[str, OmmOrbit] = {}
    for one in chosen[: wanted.limit]:
        plain = re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-")[:50].rstrip("-") or "satellite"
        name = plain if plain not in out else f"{plain}-{one.norad_id}"
        if name in out:
            raise ElementsError(f"{one.name!r} stands twice with the number {one.norad_id}", where=wanted.file)
        out[name] = OmmOrbit(omm=omm_values(one))
    return list(out.items())


def _read(path: Path) -> str:
    remedy = "give the folder that holds it by --data or ORBITLOOP_DATA"
    return read_bounded(path, MAX_SETS_BYTES, DataError, remedy).decode("utf-8", errors="replace")


# --- patterns as element sets --------------------------------------------------------------------------------------------


def walker_elements(
    pattern: WalkerPattern,
    altitude_km: float,
    epoch_s: float,
    *,
    prefix: str = "walker",
    raan_deg: float = 0.0,
    anomaly_deg: float = 0.0,
    first_number: int = 90_001,
) -> list[Elements]:
    """Return a pattern as element sets, with catalogue numbers from `first_number` on (those of 9xxxx are nobody's for long).

    Raises:
        ElementsError: there is no such orbit, or there are more satellites than numbers that a TLE can write.
    """
    return [
        from_orbit(
            _slot_name(prefix, pattern, slot),
            epoch_s,
            altitude_km,
            pattern.inclination_deg,
            raan_deg=slot.raan_deg,
            mean_anomaly_deg=slot.anomaly_deg,
            norad_id=first_number + index,
        )
        for index, slot in enumerate(pattern.slots(raan_deg, anomaly_deg))
    ]


def walker_manifest(pattern: WalkerPattern, altitude_km: float, name: str, raan_deg: float, anomaly_deg: float) -> str:
    """Return a pattern as a document of a mission file."""
    extra = f", raan0Deg: {raan_deg:g}" if raan_deg else ""
    extra += f", anomaly0Deg: {anomaly_deg:g}" if anomaly_deg else ""
    return (
        f"kind: Constellation\nname: {name}\nspec:\n  walker:\n    {{pattern: {'star' if pattern.star else 'delta'}, "
        f"inclinationDeg: {pattern.inclination_deg:g}, total: {pattern.total}, planes: {pattern.planes},\n"
        f"     phasing: {pattern.phasing}, altitudeKm: {altitude_km:g}{extra}}}\n  satellite: {{}}\n"
    )


# --- who flies -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One satellite in figures. `ltan_h` is the local mean time of its ascending node at the mission's start."""

    name: str
    satellite: Satellite | None
    elements: Elements
    altitude_km: float
    ltan_h: float
    raan_deg: float
    phase_deg: float
    age_days: float

    def to_json(self) -> dict[str, Any]:
        orbit = {
            "name": self.name,
            "altitude_km": round(self.altitude_km, 3),
            "inclination_deg": round(self.elements.inclination_deg, 4),
            "eccentricity": self.elements.eccentricity,
            "period_min": round(self.elements.period_s / 60, 4),
            "ltan_h": round(self.ltan_h, 4),
            "raan_deg": round(self.raan_deg, 4),
            "phase_deg": round(self.phase_deg, 4),
            "epoch": iso_utc(self.elements.epoch_s),
            "age_days": round(self.age_days, 3),
        }
        if self.satellite is None:
            return orbit
        spec = self.satellite.spec
        return orbit | {
            "form": spec.form,
            "mass_kg": spec.mass_kg,
            "battery_wh": spec.power.battery_wh,
            "bands": [one.model_dump(by_alias=True) for one in spec.bands],
            "uplink_bps": spec.best_uplink_bps,
            "downlink_bps": spec.best_downlink_bps,
            "crosslinks": spec.crosslinks.model_dump(by_alias=True) if spec.crosslinks else None,
            "processors": [one.model_dump(by_alias=True) for one in spec.processors],
        }


def members(plan: MissionPlan) -> list[Member]:
    """Return a mission's satellites as they stand at its start, by SGP4's mean elements.

    Raises:
        ElementsError: an orbit is malformed, or cannot be propagated to the start.
    """
    return [
        _member(name, satellite, elements_of(name, satellite, plan.start_s), plan.start_s)
        for name, satellite in plan.satellites.items()
    ]


def elements_members(sets: Sequence[Elements], start_s: float) -> list[Member]:
    """Return bare element sets as they stand at a time.

    Raises:
        ElementsError: one cannot be propagated to it.
    """
    return [_member(one.name, None, one, start_s) for one in sets]


def _member(name: str, satellite: Satellite | None, elements: Elements, start_s: float) -> Member:
    record = elements.satrec()
    day = start_s / DAY_S + 2_440_587.5
    code, _, _ = record.sgp4(float(np.floor(day)), float(day - np.floor(day)))
    if code:
        raise ElementsError(f"cannot be propagated to {iso_utc(start_s)}", where=name, remedy="take newer elements")
    # After a call the record holds the mean elements at that time: the node drifted by J2, argument and anomaly moved on.
    raan = float(np.degrees(record.Om)) % 360.0
    phase = float(np.degrees(record.om + record.mm)) % 360.0
    altitude_km = record.a * _SGP4_RADIUS_KM - EARTH_RADIUS_KM
    ltan_h = ((raan - float(np.degrees(gmst_rad(start_s)))) / 15.0 + start_s % DAY_S / 3600.0) % 24.0
    age_days = (start_s - elements.epoch_s) / DAY_S
    return Member(name, satellite, elements, altitude_km, ltan_h, raan, phase, age_days)


def draw(plan_name: str, found: Sequence[Member], path: Path) -> None:
    """Draw where satellites stand, to a .png or .svg.

    Raises:
        DataError: it is another kind of file, cannot be written, or matplotlib is not installed.
    """
    kind = kind_of(path)
    step_km, digits = (1.0, 1) if len(found) <= 24 else (25.0, 0)  # of many, shells are told apart, not satellites
    shells = [(round(one.altitude_km / step_km), f"{one.elements.inclination_deg:.{digits}f}°") for one in found]
    heights_km: dict[tuple[int, str], list[float]] = {}
    for one, shell in zip(found, shells, strict=True):
        heights_km.setdefault(shell, []).append(one.altitude_km)
    labels = {shell: f"{np.mean(heights):.0f} km, {shell[1]}" for shell, heights in heights_km.items()}
    places = [Place(one.name, labels[shell], one.raan_deg, one.phase_deg) for one, shell in zip(found, shells, strict=True)]
    write_whole(path, draw_places(f"{plan_name}: {len(found)} satellites", places, kind))


def sets_text(found: Sequence[Elements], form: str, created_s: float) -> str:
    """Return element sets as a text: `tle` with names, or an OMM as `json`, `xml`, `kvn` or `csv`."""
    return write_tle_file(found) if form == "tle" else write_omm(found, cast(Form, form), created_s=created_s)
