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
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import UTC_EARTH, EarthOrientation, FloatArray, gmst_rad
from orbitloop.orbit.pass_edges import Sight, Truth
from orbitloop.orbit.pass_table import TYPES, PassTable, merge, table_of_columns
from orbitloop.orbit.passes import Station, find_passes
from orbitloop.orbit.propagate import Engine, FleetPropagator
from orbitloop.orbit.search import IntArray

__all__ = ["PassTable", "fleet_passes", "grid_step_s", "merge", "pass_blocks", "passes_one_by_one"]

MAX_BYTES = 64 << 20
_PHASE_RAD = 0.25
"""Largest angle that the fastest part of an orbit may turn within a step."""
_STEPS_S = tuple(30.0 * 2 ** (n / 4) for n in range(21))
_NODE_BYTES = 144 + 98  # its polynomial; and what the propagator takes
_PIECES = 8
_LOW_PERIOD_S, _LOW_ECCENTRICITY = 9_000.0, 0.05
_SLACK_KM, _ROUGH_SLACK_KM = 2e-3, 0.2
"""How far h by the polynomials may be from the true one: their 5 cm and the fast engine's 0.4 m, for both of its terms."""


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
    columns = zip(*rows, strict=True) if rows else ((),) * len(TYPES)
    return merge([table_of_columns([np.array(c, t) for c, t in zip(columns, TYPES, strict=True)])])


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
    sight = Sight(stations, earth)
    jobs = [
        _Job(elements, members, start_s, end_s, step_s, engine, sight)
        for step_s, members in _blocks(elements, end_s - start_s, max_bytes)
    ]
    if workers <= 1:
        for job in jobs:
            yield job.run(kernels)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[PassTable]] = deque()
        for job in jobs:
            waiting.append(pool.submit(job.run, kernels))
            if len(waiting) > workers:  # so that results do not pile up before one who takes them slowly
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
        sight: Sight,
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
        truth = Truth(kernels, fleet, self._sight)
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
