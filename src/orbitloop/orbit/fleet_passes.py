"""All passes of many satellites over many stations, as one table of columns.

`passes.find_passes` asks SGP4 for every look; here SGP4 is asked on a coarse grid only (a 25th of the fastest revolution,
3 minutes in low orbit), and between its nodes a polynomial of fifth degree stands for it (`kernels`). What is found is then
moved onto SGP4's own states: each edge by a Newton step, each grazing pass by a search of its own, so that AOS and LOS are the
model's to 10 microseconds and no pass hangs on the polynomial.

What is not missed. Let h be the height over the station's horizon plane less sin(mask) times the range: above zero the
satellite is seen. Its curvature is at least -M, M = (1 + |sin mask|) a + max(0, sin mask) v^2 / range, with the largest
acceleration a and speed v of the orbit in the Earth's frame and the least range; so within a step T it rises at most M T^2 / 8
over the higher of its ends, and every step in which it could be above zero is looked into. Looked into means: where the
elevation rises at one end and falls at the other, its culmination is solved for. That finds every pass if the elevation
culminates at most once within a step, which holds in low orbits (elevation falls strictly with the central angle, and this has
its extremes within 9 degrees of culmination and anti-culmination, since the Earth turns a tenth as fast as the satellite at
most). Elsewhere (period over 150 minutes, eccentricity over 0.05) a step is cut into 8 pieces of 0.032 rad, 2 minutes, at most,
and what a second culmination could hide in one is less than 0.001 degrees above the mask.

Memory is bounded by `max_bytes` for each worker, besides the table itself (45 bytes a pass). Workers are threads: the loops
run without Python's lock, the propagation with it.

Needs numba (extra `space`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import (
    EARTH_RATE_RAD_S,
    UTC_EARTH,
    EarthOrientation,
    FloatArray,
    geodetic_to_ecef,
    gmst_rad,
    up_vector,
)
from orbitloop.orbit.horizon import lowest_deg, seen_parts
from orbitloop.orbit.passes import Pass, Station, find_passes
from orbitloop.orbit.propagate import Engine, FleetPropagator
from orbitloop.orbit.search import IntArray, crossings, maxima

MAX_BYTES = 64 << 20
_PHASE_RAD = 0.25
"""Largest angle that the fastest part of an orbit may turn within a step."""
_STEPS_S = tuple(30.0 * 2 ** (n / 4) for n in range(21))
_NODE_BYTES = 144 + 98  # its polynomial; and what the propagator takes
_PIECES = 8
_LOW_PERIOD_S, _LOW_ECCENTRICITY = 9_000.0, 0.05
_MU_KM3_S2 = 398_600.8
_AGAIN_S = 1e-3
_SLACK_KM, _ROUGH_SLACK_KM = 2e-3, 0.2
"""How far h by the polynomials may be from the true one: their 5 cm and the fast engine's 0.4 m, for both of its terms."""
_SKYLINE_BATCH = 1_000
_PERIGEE_MARGIN_KM = 40.0
"""By how much the osculating perigee may be below the mean one (J2: 10 km in low orbit)."""


@dataclass(frozen=True, slots=True, eq=False)
class PassTable:
    """Passes as columns (K,), by rising AOS; clipped to the searched time.

    `satellite_index` and `station_index` count in the lists that were asked for; times are UTC seconds; `clipped` is 1 where
    the pass was under way at the start, 2 at the end, 3 at both. `lost` holds (satellite index, time) of those that cannot be
    propagated from that time on (decayed, refused): their passes end there.
    """

    satellite_index: npt.NDArray[np.int32]
    station_index: npt.NDArray[np.int32]
    aos_s: FloatArray
    tca_s: FloatArray
    los_s: FloatArray
    max_elevation_deg: npt.NDArray[np.float32]
    aos_azimuth_deg: npt.NDArray[np.float32]
    los_azimuth_deg: npt.NDArray[np.float32]
    clipped: npt.NDArray[np.uint8]
    lost: tuple[tuple[int, float], ...] = ()

    def __len__(self) -> int:
        return int(self.aos_s.size)

    @property
    def duration_s(self) -> FloatArray:
        return self.los_s - self.aos_s

    def take(self, which: npt.ArrayLike) -> PassTable:
        """Return some rows: indices or a mask."""
        chosen = np.asarray(which)
        return _table([getattr(self, name)[chosen] for name in _COLUMNS], self.lost)

    def passes(self, satellites: Sequence[str], stations: Sequence[str]) -> list[Pass]:
        """Return the rows as records, under the names given."""
        columns = (getattr(self, name).tolist() for name in _COLUMNS[:-1])
        return [
            Pass(satellites[a], stations[b], aos, tca, los, top, rise, fall)
            for a, b, aos, tca, los, top, rise, fall in zip(*columns, strict=True)
        ]


_COLUMNS = tuple(field.name for field in fields(PassTable) if field.name != "lost")
_TYPES = ("i4", "i4", "f8", "f8", "f8", "f4", "f4", "f4", "u1")


def _table(columns: Sequence[npt.NDArray[Any]], lost: tuple[tuple[int, float], ...]) -> PassTable:
    a, b, aos, tca, los, top, rise, fall, clipped = columns
    return PassTable(a, b, aos, tca, los, top, rise, fall, clipped, lost)


def merge(tables: Sequence[PassTable]) -> PassTable:
    """Put tables together, by rising AOS (then satellite, then station)."""
    if not tables:
        return _table([np.empty(0, t) for t in _TYPES], ())
    order = np.lexsort([np.concatenate([getattr(t, n) for t in tables]) for n in ("station_index", "satellite_index", "aos_s")])
    lost = tuple(sorted(one for t in tables for one in t.lost))
    # Column by column: a table of millions of rows is held twice at most, not three times.
    return _table([np.concatenate([getattr(t, name) for t in tables])[order] for name in _COLUMNS], lost)


def fleet_passes(
    elements: Sequence[Elements],
    stations: Sequence[Station],
    start_s: float,
    end_s: float,
    *,
    engine: Engine = "auto",
    earth: EarthOrientation = UTC_EARTH,
    workers: int = 1,
    max_bytes: int = MAX_BYTES,
) -> PassTable:
    """Return all passes of all satellites over all stations in [start_s, end_s], by rising AOS.

    Same passes as `find_passes`, satellite by satellite; AOS and LOS to 10 microseconds of the model, TCA to a millisecond.

    Args:
        elements: N satellites.
        stations: S stations, with their masks and skylines.
        start_s: first time; a pass that is under way is clipped there.
        end_s: last time, likewise.
        engine: as for `FleetPropagator`; edges are SGP4's own whatever it is.
        earth: UT1 - UTC and pole.
        workers: threads.
        max_bytes: of scratch for each worker; a satellite alone may need more (242 bytes for each of its nodes).

    Raises:
        ElementsError: numba is not installed.
    """
    blocks = pass_blocks(elements, stations, start_s, end_s, engine=engine, earth=earth, workers=workers, max_bytes=max_bytes)
    return merge(list(blocks))


def passes_one_by_one(elements: Sequence[Elements], stations: Sequence[Station], start_s: float, end_s: float) -> PassTable:
    """Return what `fleet_passes` returns, by `find_passes` for each satellite: without numba, for a few.

    Raises:
        ElementsError: a satellite cannot be propagated over that time.
    """
    numbered = [replace(station, name=str(m)) for m, station in enumerate(stations)]
    rows = []
    for n, one in enumerate(elements):
        for p in find_passes(one, numbered, start_s, end_s):
            clipped = (p.aos_s <= start_s) + 2 * (p.los_s >= end_s)
            angles = (p.max_elevation_deg, p.aos_azimuth_deg, p.los_azimuth_deg)
            rows.append((n, int(p.station), p.aos_s, p.tca_s, p.los_s, *angles, clipped))
    columns = zip(*rows, strict=True) if rows else ((),) * len(_TYPES)
    return merge([_table([np.array(c, t) for c, t in zip(columns, _TYPES, strict=True)], ())])


def pass_blocks(
    elements: Sequence[Elements],
    stations: Sequence[Station],
    start_s: float,
    end_s: float,
    *,
    engine: Engine = "auto",
    earth: EarthOrientation = UTC_EARTH,
    workers: int = 1,
    max_bytes: int = MAX_BYTES,
) -> Iterator[PassTable]:
    """Yield what `fleet_passes` returns, some satellites at a time, so that a table of any size need not be held.

    Raises:
        ElementsError: numba is not installed.
    """
    kernels = _kernels()
    if not stations or not elements or not end_s > start_s:
        return
    sight = _Sight(stations, earth)
    jobs = [
        _Job(elements, members, start_s, end_s, step_s, engine, sight)
        for step_s, members in _blocks(elements, end_s - start_s, max_bytes)
    ]
    if workers <= 1:
        for job in jobs:
            yield job.run(kernels)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda job: job.run(kernels), jobs)


def _kernels() -> Any:
    try:
        from orbitloop.orbit import kernels
    except ImportError as error:
        raise ElementsError("passes of a fleet need numba", remedy="pip install 'orbitloop[space]'") from error
    return kernels


def _blocks(elements: Sequence[Elements], span_s: float, max_bytes: int) -> Iterator[tuple[float, list[int]]]:
    """Share the satellites out by step, and by how many fit."""
    groups: dict[float, list[int]] = {}
    for n, one in enumerate(elements):
        groups.setdefault(grid_step_s(one), []).append(n)
    for step_s, members in sorted(groups.items()):
        size = max(1, int(max_bytes / (_NODE_BYTES * (span_s / step_s + 10))))
        # Equal shares: a rest of three satellites would be left without the fast engine.
        share = math.ceil(len(members) / math.ceil(len(members) / size))
        for first in range(0, len(members), share):
            yield step_s, members[first : first + share]


def grid_step_s(elements: Elements) -> float:
    """Return the step of the grid: so that the satellite turns at most 0.25 rad within it at perigee, up to 15 minutes."""
    e = min(max(elements.eccentricity, 0.0), 0.99)
    rate_rad_s = 2 * math.pi / DAY_S * max(elements.mean_motion_rev_day, 1e-3) * math.sqrt(1 + e) / (1 - e) ** 1.5
    wanted_s = _PHASE_RAD / rate_rad_s
    return max((step for step in _STEPS_S if step <= wanted_s), default=_STEPS_S[0])


class _Sight:
    """The stations as the kernels take them, and how fast what they see can bend."""

    def __init__(self, stations: Sequence[Station], earth: EarthOrientation) -> None:
        self.stations, self.earth = stations, earth
        lat, lon = [s.latitude_deg for s in stations], [s.longitude_deg for s in stations]
        place_km = geodetic_to_ecef(lat, lon, [s.altitude_m for s in stations])
        mask_deg = [lowest_deg(s.horizon, s.min_elevation_deg) for s in stations]
        east = np.stack([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), np.zeros(len(stations))], axis=-1)
        self.east, up = earth.place(east), earth.place(up_vector(lat, lon))
        self.rows = np.ascontiguousarray(np.column_stack([up, earth.place(place_km), np.sin(np.radians(mask_deg))]))
        self.radius_km = np.linalg.norm(place_km, axis=1)

    def reach_km(self, elements: Elements, step_s: float) -> FloatArray:
        """How far h can rise above the higher end of a step, for each station (S,); see the module's text."""
        axis_km = (_MU_KM3_S2 / (max(elements.mean_motion_rev_day, 1e-3) * 2 * math.pi / DAY_S) ** 2) ** (1 / 3)
        low_km = max(axis_km * (1 - elements.eccentricity) - _PERIGEE_MARGIN_KM, 6_400.0)
        high_km = axis_km * (1 + elements.eccentricity) + _PERIGEE_MARGIN_KM
        speed = math.sqrt(_MU_KM3_S2 * max(2 / low_km - 1 / axis_km, 1 / low_km)) + EARTH_RATE_RAD_S * high_km
        pull = 1.01 * _MU_KM3_S2 / low_km**2 + 2 * EARTH_RATE_RAD_S * speed + EARTH_RATE_RAD_S**2 * high_km
        sine = self.rows[:, 6]
        range_km = np.maximum(low_km - self.radius_km, 50.0)
        bend = (1 + np.abs(sine)) * pull + np.maximum(sine, 0.0) * speed**2 / range_km
        return np.asarray(bend * step_s**2 / 8, np.float64)


class _Job:
    """One block of satellites with a common grid: propagate, fit, scan, put right."""

    def __init__(
        self,
        elements: Sequence[Elements],
        members: Sequence[int],
        start_s: float,
        end_s: float,
        step_s: float,
        engine: Engine,
        sight: _Sight,
    ) -> None:
        self._members, self._sight = np.asarray(members, np.int32), sight
        self._elements = [elements[n] for n in members]
        self._start_s, self._end_s = start_s, end_s
        self._steps = max(1, math.ceil((end_s - start_s) / step_s))
        self._step_s = (end_s - start_s) / self._steps
        self._engine: Engine = engine

    def run(self, kernels: Any) -> PassTable:
        """Return the block's passes."""
        fleet = FleetPropagator(self._elements, engine=self._engine)
        rows, numbers, good = self._scan(kernels, fleet)
        numbers[:, :3] += self._start_s
        truth = _Truth(kernels, fleet, self._sight)
        grazing = (rows[:, 3] > 0) & (rows[:, 2] == 0)
        found, found_numbers = truth.grazing(rows[grazing], numbers[grazing], self._start_s, self._end_s)
        rows, numbers = np.concatenate([rows[~grazing], found]), np.concatenate([numbers[~grazing], found_numbers])
        order = np.lexsort((numbers[:, 0], rows[:, 1], rows[:, 0]))
        rows, numbers = rows[order], numbers[order]
        azimuth_deg = truth.edges(rows, numbers)
        lost = [
            (int(self._members[b]), self._start_s + self._step_s * int(good[b])) for b in np.flatnonzero(good <= self._steps)
        ]
        table = PassTable(
            rows[:, 0],  # in the block, for now
            rows[:, 1],
            numbers[:, 0],
            numbers[:, 1],
            numbers[:, 2],
            np.degrees(np.arcsin(np.clip(numbers[:, 3], -1.0, 1.0))).astype(np.float32),
            azimuth_deg[0].astype(np.float32),
            azimuth_deg[1].astype(np.float32),
            rows[:, 2].astype(np.uint8),
            tuple(lost),
        )
        table = truth.over_skylines(table)
        return replace(table, satellite_index=self._members[table.satellite_index])

    def _scan(self, kernels: Any, fleet: FleetPropagator) -> tuple[npt.NDArray[np.int32], FloatArray, IntArray]:
        """Return the rows and numbers of `kernels.scan`, and how many leading nodes of each satellite are good."""
        ghosts = kernels.GHOSTS
        times_s = self._start_s + self._step_s * np.arange(-ghosts, self._steps + 1 + ghosts)
        r_km, v_km_s, ok = fleet.states(times_s)
        own = ok[:, ghosts:-ghosts]
        good = np.where(own.all(axis=1), self._steps + 1, np.argmin(own, axis=1))
        angle = gmst_rad(times_s + self._sight.earth.dut1_s)
        fits = np.empty((len(self._elements), self._steps + 1, 3, 6))
        rough = kernels.polynomials(r_km, v_km_s, ok, np.cos(angle), np.sin(angle), self._step_s, good, fits)
        del r_km, v_km_s
        slack_km = np.where(rough, _ROUGH_SLACK_KM, _SLACK_KM)
        reach_km = np.stack([self._sight.reach_km(one, self._step_s) for one in self._elements]) + slack_km[:, None]
        parts = np.array([1 if _is_low(one) else _PIECES for one in self._elements])
        room = 1024 + int(len(self._elements) * len(self._sight.stations) * (self._end_s - self._start_s) / 14_400)
        while True:
            rows, numbers = np.empty((room, 4), np.int32), np.empty((room, 4))
            count = kernels.scan(fits, good, self._sight.rows, reach_km, slack_km, parts, self._step_s, rows, numbers)
            if count <= room:
                return rows[:count], numbers[:count], good
            room = count


def _is_low(elements: Elements) -> bool:
    return elements.period_s <= _LOW_PERIOD_S and elements.eccentricity <= _LOW_ECCENTRICITY


class _Truth:
    """What SGP4 itself says at single times, by which the polynomials' findings are put right."""

    def __init__(self, kernels: Any, fleet: FleetPropagator, sight: _Sight) -> None:
        self._kernels, self._fleet, self._sight = kernels, fleet, sight

    def states(self, satellites: IntArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return Earth-fixed positions and velocities (K, 3)."""
        r_km, v_km_s, _ = self._fleet.states_at(satellites, times_s)
        self._kernels.earth_fixed(r_km, v_km_s, times_s + self._sight.earth.dut1_s)
        return r_km, v_km_s

    def angles(self, satellites: IntArray, stations: IntArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return sine of the elevation and azimuth, degrees, (K,) each."""
        sine, azimuth_deg = np.empty(times_s.size), np.empty(times_s.size)
        r_km, _ = self.states(satellites, times_s)
        self._kernels.angles(r_km, self._sight.rows, self._sight.east, stations, sine, azimuth_deg)
        return sine, azimuth_deg

    def edges(self, rows: npt.NDArray[np.int32], numbers: FloatArray) -> FloatArray:
        """Move AOS and LOS (K, 4; first and third column) onto the true states, in place; return both azimuths (2, K), degrees.

        Where the searched time cuts a pass, its edge stays.
        """
        azimuth_deg, unused = np.empty((2, len(rows))), np.empty(len(rows))
        satellites, stations = rows[:, 0].astype(np.intp), rows[:, 1].astype(np.intp)
        for edge, cut in ((0, 1), (1, 2)):
            times_s = numbers[:, 2 * edge].copy()
            todo = np.arange(times_s.size)
            movable = (rows[:, 2] & cut) == 0
            for round_ in range(5):
                r_km, v_km_s = self.states(satellites[todo], times_s[todo])
                if round_ == 0:
                    self._kernels.angles(r_km, self._sight.rows, self._sight.east, stations, unused, azimuth_deg[edge])
                moved_s = self._kernels.newton(r_km, v_km_s, self._sight.rows, stations[todo])
                times_s[todo] += np.where(movable[todo], moved_s, 0.0)
                # A step of a millisecond leaves a microsecond: the error of Newton's step goes with its square.
                todo = todo[movable[todo] & (np.abs(moved_s) > _AGAIN_S)]
                if not todo.size:
                    break
            numbers[:, 2 * edge] = times_s
        return azimuth_deg

    def grazing(
        self, rows: npt.NDArray[np.int32], numbers: FloatArray, start_s: float, end_s: float
    ) -> tuple[npt.NDArray[np.int32], FloatArray]:
        """Search again, with true states, around culminations metres from the mask; what stays below is left out."""
        if not len(rows):
            return rows, numbers
        satellites, stations = rows[:, 0].astype(np.intp), rows[:, 1].astype(np.intp)
        mask = self._sight.rows[:, 6]

        def value(which: IntArray, times_s: FloatArray) -> FloatArray:
            sine, _ = self.angles(satellites[which], stations[which], times_s)
            return np.asarray(sine - mask[stations[which]], np.float64)

        every = np.arange(len(rows))
        wide_s = np.full(len(rows), 15.0)
        for _ in range(10):
            inside = np.maximum(value(every, numbers[:, 1] - wide_s), value(every, numbers[:, 1] + wide_s)) > 0
            if not inside.any():
                break
            wide_s[inside] *= 2
        low_s, high_s = numbers[:, 1] - wide_s, numbers[:, 1] + wide_s
        tca_s, peak = maxima(value, every, low_s, high_s, 1e-4)
        real = np.flatnonzero(peak > 0)
        tca_s, peak, low_s, high_s = tca_s[real], peak[real], low_s[real], high_s[real]
        below = np.zeros(real.size)
        aos_s = crossings(value, real, low_s, tca_s, np.minimum(value(real, low_s), below), peak, 1e-5)
        los_s = crossings(value, real, tca_s, high_s, peak, np.minimum(value(real, high_s), below), 1e-5)
        kept = (los_s > start_s) & (aos_s < end_s)
        chosen = rows[real][kept].copy()
        chosen[:, 2] = (aos_s < start_s)[kept] + 2 * (los_s > end_s)[kept]
        aos_s, los_s = np.clip(aos_s, start_s, end_s), np.clip(los_s, start_s, end_s)
        found = np.column_stack([aos_s, np.clip(tca_s, aos_s, los_s), los_s, peak + mask[stations[real]]])[kept]
        chosen[:, 3] = 1
        return chosen, found

    def over_skylines(self, table: PassTable) -> PassTable:
        """Cut the passes of stations with a skyline into what is seen over it."""
        stations = self._sight.stations
        jagged = [n for n, station in enumerate(stations) if station.horizon]
        if not jagged or not len(table):
            return table
        parts = [table.take(~np.isin(table.station_index, jagged))]
        for n in jagged:
            mine = np.flatnonzero(table.station_index == n)
            for first in range(0, mine.size, _SKYLINE_BATCH):
                parts.append(self._over_skyline(table.take(mine[first : first + _SKYLINE_BATCH]), n))
        return replace(merge(parts), lost=table.lost)

    def _over_skyline(self, table: PassTable, n: int) -> PassTable:
        station = self._sight.stations[n]
        satellites = table.satellite_index.astype(np.intp)

        def look(which: IntArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
            sine, azimuth_deg = self.angles(satellites[which], np.full(which.size, n), times_s)
            return np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))), azimuth_deg

        which, begin_s, end_s = seen_parts(look, station.horizon, station.min_elevation_deg, table.aos_s, table.los_s)
        whole = table.take(which)
        tca_s = np.clip(whole.tca_s, begin_s, end_s)  # the elevation falls on both sides of the culmination
        return replace(
            whole,
            aos_s=begin_s,
            los_s=end_s,
            tca_s=tca_s,
            max_elevation_deg=look(which, tca_s)[0].astype(np.float32),
            aos_azimuth_deg=look(which, begin_s)[1].astype(np.float32),
            los_azimuth_deg=look(which, end_s)[1].astype(np.float32),
            clipped=(whole.clipped & ((begin_s <= whole.aos_s) + 2 * (end_s >= whole.los_s))).astype(np.uint8),
        )
