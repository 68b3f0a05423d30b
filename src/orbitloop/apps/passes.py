"""Passes, accesses and crosslinks for people: files of element sets, stations and areas in, rows and pictures out.

What may be given in two ways (a mission, or files) becomes one `Scene` here. Nothing is written by this module.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.apps.catalogue import read_bounded
from orbitloop.clock import iso_utc_ms
from orbitloop.errors import DataError, ElementsError
from orbitloop.orbit.access import Access, Area, Revisit, Sensor, accesses, revisit
from orbitloop.orbit.catalogue.regimes import age_warning, regimes
from orbitloop.orbit.doppler import Looks, fleet_looks
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.fleet_passes import PassTable, merge, pass_blocks, passes_one_by_one
from orbitloop.orbit.formats.geojson import MAX_CHARACTERS, parse_areas, parse_stations
from orbitloop.orbit.formats.sets import parse_sets
from orbitloop.orbit.frames import UTC_EARTH, EarthOrientation
from orbitloop.orbit.passes import Station
from orbitloop.orbit.propagate import FleetPropagator
from orbitloop.orbit.visibility import Crosslink, crosslinks
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import elements_of, station_of

Tell = Callable[[str, int, int], None]
"""stage, done, total."""

_BATCH = 2_048
_ROWS = 50_000
MAX_JSON_ROWS = 500_000
"""Passes that one JSON object holds at most; CSV has no limit."""
_FEW_D = 20.0
"""Satellites times days that are searched one by one, in a tenth of a second."""
_SKY_STEP_S, _TRACK_STEP_S = 5.0, 20.0
MAX_TRACKS = 6


@dataclass(frozen=True, slots=True)
class Scene:
    """Who flies, who listens, and when. `skipped` tells of element sets that could not be read."""

    elements: tuple[Elements, ...]
    stations: tuple[Station, ...]
    start_s: float
    end_s: float
    skipped: tuple[str, ...] = ()

    def ages_d(self) -> list[float]:
        """Return how old each element set is at the end of the time that is further from its epoch, days; below zero: ahead."""
        return [max((self.start_s - e.epoch_s, self.end_s - e.epoch_s), key=abs) / DAY_S for e in self.elements]

    def age_warnings(self) -> list[str]:
        """Return one line for each satellite whose elements are too old for what is asked."""
        lines = zip(self.elements, self.ages_d(), regimes(self.elements), strict=True)
        return [f"{e.name}: {text}" for e, age_d, regime in lines if (text := age_warning(age_d * DAY_S, regime))]


def read_sets(path: Path) -> tuple[tuple[Elements, ...], tuple[str, ...]]:
    """Read a file of element sets: TLE, or OMM as JSON, XML, KVN, CSV; gzip or not.

    Returns:
        The sets, and one line for each that was skipped.

    Raises:
        ElementsError: the file cannot be read, or no set in it.
    """
    good, bad = parse_sets(read_bounded(path).decode("utf-8", "replace"), path.name)
    skipped = tuple(str(error).replace("\n", " ") for error in bad)
    if not good:
        first = f": {skipped[0]}" if skipped else ""
        raise ElementsError(f"holds no element set that can be read{first}", where=str(path))
    return tuple(good), skipped


def read_stations(paths: Sequence[Path], min_elevation_deg: float) -> tuple[Station, ...]:
    """Read ground stations from GeoJSON files; what is called the same in several gets the file's name in brackets.

    Raises:
        DataError: a file cannot be read, is malformed, or is given twice.
    """
    found = [
        (one, path.stem)
        for path in paths
        for one in parse_stations(_text(path), path.name, min_elevation_deg=min_elevation_deg)
    ]
    count = Counter(one.name for one, _ in found)
    named = [f"{one.name} ({stem})" if count[one.name] > 1 else one.name for one, stem in found]
    if len(set(named)) < len(named):
        raise DataError("a file of stations is given twice", remedy="give each once")
    return tuple(replace(one, name=name) for (one, _), name in zip(found, named, strict=True))


def read_areas(path: Path) -> list[Area]:
    """Read areas of interest from a GeoJSON file.

    Raises:
        DataError: it cannot be read, or is malformed.
    """
    return parse_areas(_text(path), path.name)


def _text(path: Path) -> str:
    try:
        return read_bounded(path, 4 * MAX_CHARACTERS).decode("utf-8", "replace")
    except ElementsError as error:
        raise DataError(error.what, where=error.where, remedy=error.remedy) from error


def of_mission(plan: MissionPlan) -> tuple[tuple[Elements, ...], tuple[Station, ...]]:
    """Return the satellites, under the mission's names, and the stations of a mission.

    Raises:
        ElementsError: an orbit is malformed.
    """
    elements = (replace(elements_of(name, one, plan.start_s), name=name) for name, one in plan.satellites.items())
    return tuple(elements), tuple(station_of(name, one) for name, one in plan.stations.items())


def choose_satellites(elements: Sequence[Elements], wanted: Sequence[str]) -> tuple[Elements, ...]:
    """Return those of the names (in any case, `*` and `?` stand for anything) or catalogue numbers; all when none is named.

    Raises:
        ElementsError: a name fits nobody.
    """
    if not wanted:
        return tuple(elements)
    chosen: dict[int, Elements] = {}
    for word in wanted:
        mine = [n for n, one in enumerate(elements) if word == str(one.norad_id) or _fits(one.name, word)]
        if not mine:
            remedy = "look with `orbitloop catalog list FILE`; * and ? stand for anything"
            raise ElementsError(f"no satellite is called {word!r}", remedy=remedy)
        chosen.update((n, elements[n]) for n in mine)
    return tuple(chosen[n] for n in sorted(chosen))


def choose_stations(stations: Sequence[Station], wanted: Sequence[str]) -> tuple[Station, ...]:
    """Return the stations of the names, likewise.

    Raises:
        DataError: a name fits none.
    """
    for word in wanted:
        if not any(_fits(one.name, word) for one in stations):
            names = ", ".join(one.name for one in stations[:12])
            raise DataError(f"no station is called {word!r}", remedy=f"there are {names}{' ...' if len(stations) > 12 else ''}")
    return tuple(one for one in stations if not wanted or any(_fits(one.name, word) for word in wanted))


def _fits(name: str, word: str) -> bool:
    return fnmatchcase(name.strip().casefold(), word.strip().casefold())


# --- what is found -------------------------------------------------------------------------------------------------------


def find(scene: Scene, *, earth: EarthOrientation, workers: int, tell: Tell) -> PassTable:
    """Return all passes of the scene, by rising AOS.

    Raises:
        ElementsError: numba is not installed, and there is too much to do without.
    """
    if len(scene.elements) * (scene.end_s - scene.start_s) <= _FEW_D * DAY_S and earth == UTC_EARTH:
        # A mission's few satellites: done before numba is loaded.
        with contextlib.suppress(ElementsError):
            return passes_one_by_one(scene.elements, scene.stations, scene.start_s, scene.end_s)
    tables = []
    for first in range(0, len(scene.elements), _BATCH):
        tell("passes", first, len(scene.elements))
        batch = scene.elements[first : first + _BATCH]
        for table in pass_blocks(batch, scene.stations, scene.start_s, scene.end_s, earth=earth, workers=workers):
            lost = tuple((n + first, when_s) for n, when_s in table.lost)
            tables.append(replace(table, satellite_index=table.satellite_index + np.int32(first), lost=lost))
    tell("passes", len(scene.elements), len(scene.elements))
    return merge(tables)


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What a table of passes leaves out: looks at AOS, TCA and LOS, and how fast the range rate turns at TCA, km/s2."""

    aos: Looks
    tca: Looks
    los: Looks
    turn_km_s2: np.ndarray[Any, np.dtype[np.float64]]


def details(scene: Scene, table: PassTable, earth: EarthOrientation) -> Details:
    """Look at each pass of a table (K,)."""
    fleet = FleetPropagator(scene.elements, engine="sgp4")

    def at(times_s: Any) -> Looks:
        return fleet_looks(fleet, scene.stations, table.satellite_index, table.station_index, times_s, earth)

    turn = at(table.tca_s + 0.5).range_rate_km_s - at(table.tca_s - 0.5).range_rate_km_s
    return Details(at(table.aos_s), at(table.tca_s), at(table.los_s), turn)


def pass_rows(scene: Scene, table: PassTable, carrier_hz: float | None, earth: EarthOrientation) -> Iterator[dict[str, Any]]:
    """Yield the passes as plain values; with Doppler where a carrier is given."""
    for first in range(0, len(table), _ROWS):
        part = table.take(range(first, min(first + _ROWS, len(table))))
        yield from _rows(scene, part, carrier_hz, earth)


def _rows(scene: Scene, table: PassTable, carrier_hz: float | None, earth: EarthOrientation) -> Iterator[dict[str, Any]]:
    ages = scene.ages_d()
    more = details(scene, table, earth)
    shifts = [one.shift_hz(carrier_hz) for one in (more.aos, more.los)] if carrier_hz else []
    per_s = -carrier_hz / 299_792.458 * more.turn_km_s2 if carrier_hz else None
    for n in range(len(table)):
        satellite = scene.elements[table.satellite_index[n]]
        row = {
            "satellite": satellite.name,
            "norad_id": satellite.norad_id,
            "station": scene.stations[table.station_index[n]].name,
            "aos": iso_utc_ms(table.aos_s[n]),
            "tca": iso_utc_ms(table.tca_s[n]),
            "los": iso_utc_ms(table.los_s[n]),
            "duration_s": round(float(table.los_s[n] - table.aos_s[n]), 3),
            "max_elevation_deg": round(float(table.max_elevation_deg[n]), 4),
            "aos_azimuth_deg": round(float(table.aos_azimuth_deg[n]), 3),
            "los_azimuth_deg": round(float(table.los_azimuth_deg[n]), 3),
            "range_km": round(float(more.tca.range_km[n]), 3),
            "sunlit": bool(more.tca.sunlit[n]),
            "station_sun_deg": round(float(more.tca.station_sun_deg[n]), 2),
            "clipped": ("", "start", "end", "both")[int(table.clipped[n])],
            "age_d": round(ages[table.satellite_index[n]], 2),
        }
        if per_s is not None:
            row |= {
                "aos_doppler_hz": round(float(shifts[0][n]), 1),
                "los_doppler_hz": round(float(shifts[1][n]), 1),
                "tca_doppler_hz_s": round(float(per_s[n]), 2),
            }
        yield row


def find_accesses(scene: Scene, sensor: Sensor, areas: Sequence[Area], tell: Tell) -> list[Access]:
    """Return all accesses of all satellites, in order of start.

    Raises:
        ElementsError: a satellite cannot be propagated over that time.
    """
    found = []
    for n, one in enumerate(scene.elements):
        tell("accesses", n, len(scene.elements))
        found += accesses(one, sensor, areas, scene.start_s, scene.end_s)
    return sorted(found, key=lambda a: (a.start_s, a.satellite, a.area))


def access_rows(found: Iterable[Access]) -> Iterator[dict[str, Any]]:
    """Yield accesses as plain values."""
    for one in found:
        yield {
            "satellite": one.satellite,
            "area": one.area,
            "start": iso_utc_ms(one.start_s),
            "end": iso_utc_ms(one.end_s),
            "duration_s": round(one.duration_s, 3),
            "closest": iso_utc_ms(one.closest_s),
            "distance_km": round(one.distance_km, 2),
            "sun_elevation_deg": round(one.sun_elevation_deg, 2),
        }


def revisits(scene: Scene, areas: Sequence[Area], found: Sequence[Access]) -> dict[str, Revisit]:
    """Return how often each area is reached by any of the satellites."""
    return {
        area.name: revisit([(a.start_s, a.end_s) for a in found if a.area == area.name], scene.start_s, scene.end_s)
        for area in areas
    }


def revisit_row(one: Revisit) -> dict[str, float | int | None]:
    """Return statistics as plain values; None where there is no gap."""
    values = {name: getattr(one, name) for name in one.__slots__}
    return {name: None if isinstance(v, float) and math.isnan(v) else round(v, 3) for name, v in values.items()}


def find_crosslinks(scene: Scene, max_range_km: float, min_altitude_km: float) -> list[Crosslink]:
    """Return when pairs of the scene's satellites see each other.

    Raises:
        ElementsError: a satellite cannot be propagated over that time, or there are too many pairs.
    """
    return crosslinks(scene.elements, scene.start_s, scene.end_s, max_range_km=max_range_km, min_altitude_km=min_altitude_km)


def crosslink_rows(scene: Scene, found: Iterable[Crosslink]) -> Iterator[dict[str, Any]]:
    """Yield crosslinks as plain values."""
    for one in found:
        yield {
            "satellite": scene.elements[one.first].name,
            "other": scene.elements[one.second].name,
            "start": iso_utc_ms(one.start_s),
            "end": iso_utc_ms(one.end_s),
            "duration_s": round(one.duration_s, 3),
        }


def csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield rows as CSV with a head; nothing where there are none. Texts that a spreadsheet would run are made harmless."""
    for n, row in enumerate(rows):
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if n == 0:
            writer.writerow(row)
        writer.writerow([f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@") else v for v in row.values()])
        yield out.getvalue()
