"""Where the polynomials of `fleet_passes` end and SGP4 itself begins: stations as compiled loops take them, and single looks.

`Sight` is the stations' side: places, verticals, masks, and how much what they see can bend in a step. `Truth` puts right what
the search found: edges by Newton's step, grazing passes by a search of their own, skylines by looking along the pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.earth import WGS72_MU_KM3_S2
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import EARTH_RATE_RAD_S, EarthOrientation, FloatArray, geodetic_to_ecef, up_vector
from orbitloop.orbit.horizon import lowest_deg, seen_parts
from orbitloop.orbit.pass_table import PassTable, merge
from orbitloop.orbit.passes import Station
from orbitloop.orbit.propagate import FleetPropagator
from orbitloop.orbit.search import IntArray, crossings, maxima

_AGAIN_S = 1e-3
_SKYLINE_BATCH = 1_000
_PERIGEE_MARGIN_KM = 40.0
"""By how much the osculating perigee may be below the mean one (J2: 10 km in low orbit)."""


class Sight:
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
        axis_km = (WGS72_MU_KM3_S2 / (max(elements.mean_motion_rev_day, 1e-3) * 2 * math.pi / DAY_S) ** 2) ** (1 / 3)
        low_km = max(axis_km * (1 - elements.eccentricity) - _PERIGEE_MARGIN_KM, 6_400.0)
        high_km = axis_km * (1 + elements.eccentricity) + _PERIGEE_MARGIN_KM
        speed = math.sqrt(WGS72_MU_KM3_S2 * max(2 / low_km - 1 / axis_km, 1 / low_km)) + EARTH_RATE_RAD_S * high_km
        pull = 1.01 * WGS72_MU_KM3_S2 / low_km**2 + 2 * EARTH_RATE_RAD_S * speed + EARTH_RATE_RAD_S**2 * high_km
        sine = self.rows[:, 6]
        range_km = np.maximum(low_km - self.radius_km, 50.0)
        bend = (1 + np.abs(sine)) * pull + np.maximum(sine, 0.0) * speed**2 / range_km
        return np.asarray(bend * step_s**2 / 8, np.float64)


class Truth:
    """What SGP4 itself says at single times, by which the polynomials' findings are put right."""

    def __init__(self, kernels: Any, fleet: FleetPropagator, sight: Sight) -> None:
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
