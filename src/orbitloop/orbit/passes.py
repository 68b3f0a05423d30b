"""When a satellite stands above a station's horizon mask.

Elevation is geometric: no refraction, no light time, WGS84 normal as the vertical. The search itself is in `search`; who
gets which pass is decided in `plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import EARTH_RATE_RAD_S, FloatArray, geodetic_to_ecef, teme_to_ecef, topocentric, up_vector
from orbitloop.orbit.horizon import check_profile, lowest_deg, seen_parts
from orbitloop.orbit.propagate import states
from orbitloop.orbit.search import IntArray, Interval, positive_intervals

STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Station:
    """A ground station: WGS84 place and the elevation below which it does not see.

    `horizon` holds (azimuth_deg, elevation_deg) by rising azimuth, where the skyline is above the mask. `antennas` serve one
    satellite each, with `setup_s` from one to the next; `bands` are those that it has, empty for any.

    Raises:
        ValueError: a number is out of range.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float = 0.0
    min_elevation_deg: float = 10.0
    horizon: tuple[tuple[float, float], ...] = ()
    antennas: int = 1
    setup_s: float = 0.0
    bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not -90 <= self.latitude_deg <= 90:
            raise ValueError(f"latitude of {self.name!r} is {self.latitude_deg}, outside -90 to 90")
        if not -360 <= self.longitude_deg <= 360:
            raise ValueError(f"longitude of {self.name!r} is {self.longitude_deg}, outside -360 to 360")
        if not -1000 <= self.altitude_m <= 20_000:
            raise ValueError(f"altitude of {self.name!r} is {self.altitude_m} m, outside -1000 to 20000")
        if not -5 <= self.min_elevation_deg < 90:
            raise ValueError(f"elevation mask of {self.name!r} is {self.min_elevation_deg}, outside -5 to below 90")
        check_profile(self.horizon)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: acquisition (AOS), culmination (TCA), loss (LOS), UTC seconds; clipped to the searched time."""

    satellite: str
    station: str
    aos_s: float
    tca_s: float
    los_s: float
    max_elevation_deg: float
    aos_azimuth_deg: float
    los_azimuth_deg: float

    @property
    def duration_s(self) -> float:
        return self.los_s - self.aos_s


def look_angles(elements: Elements, station: Station, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (elevation_deg, azimuth_deg, range_km), each (T,), of the satellite as the station sees it.

    Raises:
        ElementsError: the elements cannot be propagated to one of the times.
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    r_km, _ = states(elements, times)
    return topocentric(teme_to_ecef(r_km, times), station.latitude_deg, station.longitude_deg, station.altitude_m)


def find_passes(elements: Elements, stations: Sequence[Station], start_s: float, end_s: float) -> list[Pass]:
    """Return all passes of one satellite over the stations in [start_s, end_s], in order of AOS.

    AOS and LOS are solved to 0.1 ms of the model, passes that only graze the mask between two samples are found, and a pass
    that is under way at an end is clipped there. To expect: 500 km sun-synchronous over Beijing, Sanya and Kashi, mask 10
    degrees, gives 8.8 to 9.4 passes a day in all (the orbit nearly repeats after 5 days, so it depends on the phase),
    median 375 to 387 s, longest 444 s.

    Raises:
        ElementsError: the elements cannot be propagated over that time (or one step of 60 s around it).
    """
    if not stations:
        return []
    sight = _Sight(elements, stations)
    intervals = positive_intervals(sight.sample, sight.value, start_s, end_s, step_s=STEP_S)
    intervals = [part for i in intervals for part in _over_skyline(elements, stations[i.channel], i)]
    if not intervals:
        return []
    which = [stations[i.channel] for i in intervals]
    times = np.array([[i.start_s, i.peak_s, i.end_s] for i in intervals])
    r_km, _ = states(elements, times.ravel())
    place = [np.repeat([getattr(s, f) for s in which], 3) for f in ("latitude_deg", "longitude_deg", "altitude_m")]
    elevation_deg, azimuth_deg, _ = (a.reshape(times.shape) for a in topocentric(teme_to_ecef(r_km, times.ravel()), *place))
    passes = [
        Pass(
            satellite=elements.name,
            station=station.name,
            aos_s=interval.start_s,
            tca_s=interval.peak_s,
            los_s=interval.end_s,
            max_elevation_deg=float(elevation_deg[n, 1]),
            aos_azimuth_deg=float(azimuth_deg[n, 0]),
            los_azimuth_deg=float(azimuth_deg[n, 2]),
        )
        for n, (interval, station) in enumerate(zip(intervals, which, strict=True))
    ]
    return sorted(passes, key=lambda p: (p.aos_s, p.station))


def _over_skyline(elements: Elements, station: Station, whole: Interval) -> list[Interval]:
    """Cut a pass over the lowest point of a skyline into what is seen over it."""
    if not station.horizon:
        return [whole]

    def look(_: IntArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        return look_angles(elements, station, times_s)[:2] if times_s.size else (times_s, times_s)

    ends = np.array([whole.start_s]), np.array([whole.end_s])
    _, begins_s, ends_s = seen_parts(look, station.horizon, station.min_elevation_deg, *ends)
    # The elevation falls on both sides of the culmination.
    return [
        replace(whole, start_s=a, end_s=b, peak_s=min(max(whole.peak_s, a), b))
        for a, b in zip(begins_s.tolist(), ends_s.tolist(), strict=True)
    ]


class _Sight:
    """Sine of the elevation less sine of the mask, of one satellite from many stations; the sine saves a search its arcs."""

    def __init__(self, elements: Elements, stations: Sequence[Station]) -> None:
        self._elements = elements
        lat, lon = [s.latitude_deg for s in stations], [s.longitude_deg for s in stations]
        self._place_km = geodetic_to_ecef(lat, lon, [s.altitude_m for s in stations])
        self._up = up_vector(lat, lon)
        self._mask = np.sin(np.radians([lowest_deg(s.horizon, s.min_elevation_deg) for s in stations]))

    def sample(self, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """All stations on a grid (S, T), and how far the sine may rise within a step: the angle that the direction can turn.

        Within a step the satellite moves at most d = speed x step, so its direction turns by at most d / (range - d).
        """
        r_km, v_km_s = states(self._elements, times_s)
        ecef = teme_to_ecef(r_km, times_s)
        height = self._up @ ecef.T - np.sum(self._up * self._place_km, axis=1)[:, None]
        squared = np.sum(ecef**2, axis=1)[None, :] + np.sum(self._place_km**2, axis=1)[:, None]
        range_km = np.sqrt(np.maximum(squared - 2 * self._place_km @ ecef.T, 1e-6))
        speed = np.linalg.norm(v_km_s, axis=1) + EARTH_RATE_RAD_S * np.linalg.norm(r_km, axis=1)
        moved_km = 1.1 * STEP_S * speed[None, :]  # a tenth more: the speed on an eccentric orbit changes within the step
        turn = np.where(range_km > 1.5 * moved_km, moved_km / np.maximum(range_km - moved_km, 1e-6), 2.0)
        return height / range_km - self._mask[:, None], turn

    def value(self, channels: IntArray, times_s: FloatArray) -> FloatArray:
        r_km, _ = states(self._elements, times_s)
        offset = teme_to_ecef(r_km, times_s) - self._place_km[channels]
        sine = np.sum(offset * self._up[channels], axis=1) / np.linalg.norm(offset, axis=1)
        return np.asarray(sine - self._mask[channels], np.float64)
