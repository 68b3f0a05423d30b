"""When a sensor reaches a place or an area on the ground, how often, and in what light.

A sensor reaches what is within its half-angle from nadir (its field of view, and how far the satellite may roll), or within
half its swath on the ground. Either way that is a circle around the point below the satellite, of an angle l at the centre of
the Earth: half the swath over the mean radius, or l = asin(r / R sin h) - h for a half-angle h at the distance r (Wertz, Space
Mission Analysis and Design, 3rd ed., section 5.2; up to the horizon). An area is reached while it and the circle overlap. For a
line scanner at nadir these are the same accesses; the moment that a place is scanned is `closest_s`.

Distances are between geocentric directions, and R is the ellipsoid's radius at the place looked at, so that a half-angle over
points is exact; swaths and polygons are good to 0.3 % of the circle. Sides of a polygon are straight in longitude and latitude
(RFC 7946), followed in pieces of at most a degree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import (
    EARTH_POLAR_RADIUS_KM,
    EARTH_RADIUS_KM,
    EARTH_RATE_RAD_S,
    FloatArray,
    ecef_to_geodetic,
    geodetic_to_ecef,
    teme_to_ecef,
)
from orbitloop.orbit.propagate import states
from orbitloop.orbit.search import IntArray, positive_intervals
from orbitloop.orbit.sun import sun_elevation_deg

STEP_S = 20.0
_MEAN_RADIUS_KM = 6_371.0088
_PIECE_DEG = 1.0

Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Sensor:
    """What a satellite reaches on the ground: give one of the two.

    Raises:
        ValueError: both or none are given, or a number is out of range.
    """

    half_angle_deg: float | None = None
    swath_km: float | None = None

    def __post_init__(self) -> None:
        if (self.half_angle_deg is None) == (self.swath_km is None):
            raise ValueError("a sensor has a half-angle or a swath, one of them")
        if self.half_angle_deg is not None and not 0 < self.half_angle_deg <= 90:
            raise ValueError(f"half-angle is {self.half_angle_deg}, outside 0 to 90 degrees")
        if self.swath_km is not None and not 0 < self.swath_km <= 20_000:
            raise ValueError(f"swath is {self.swath_km} km, outside 0 to 20000")

    def reach_rad(self, distance_km: npt.ArrayLike, radius_km: npt.ArrayLike = _MEAN_RADIUS_KM) -> FloatArray:
        """Return the circle's angle at the Earth's centre, for a satellite at `distance_km` from it."""
        distance, radius = np.asarray(distance_km, np.float64), np.asarray(radius_km, np.float64)
        if self.swath_km is not None:
            return np.full(np.broadcast_shapes(distance.shape, radius.shape), self.swath_km / 2 / _MEAN_RADIUS_KM)
        assert self.half_angle_deg is not None
        half = math.radians(self.half_angle_deg)
        sine = distance / radius * math.sin(half)
        horizon = np.arccos(np.clip(radius / distance, -1.0, 1.0))
        return np.asarray(np.where(sine >= 1.0, horizon, np.arcsin(np.clip(sine, -1.0, 1.0)) - half), np.float64)


@dataclass(frozen=True, slots=True)
class Area:
    """What shall be seen: points, and polygons of rings (longitude, latitude), degrees; the first ring is the outside.

    Raises:
        ValueError: it is empty, or a ring has fewer than three places.
    """

    name: str
    points: tuple[tuple[float, float], ...] = ()
    polygons: tuple[tuple[Ring, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.points and not self.polygons:
            raise ValueError(f"area {self.name!r} is empty")
        if any(len(ring) < 3 for rings in self.polygons for ring in rings) or not all(self.polygons):
            raise ValueError(f"a ring of area {self.name!r} has fewer than three places")


@dataclass(frozen=True, slots=True)
class Access:
    """One stretch in which a satellite's sensor reaches an area, clipped to the searched time.

    `distance_km` is from the point below the satellite to the area's nearest at `closest_s`, below zero inside; the sun's
    elevation is that at the area's middle then.
    """

    satellite: str
    area: str
    start_s: float
    end_s: float
    closest_s: float
    distance_km: float
    sun_elevation_deg: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, eq=False)
class _Below:
    """Geocentric directions (T, 3) of the satellite, Earth-fixed, and its distances (T,) from the centre."""

    direction: FloatArray
    distance_km: FloatArray

    def take(self, which: npt.NDArray[np.bool_]) -> _Below:
        return _Below(self.direction[which], self.distance_km[which])


class _Shape:
    """An area as directions: distances to it, below zero inside."""

    def __init__(self, area: Area) -> None:
        self._rings = [np.array(ring, np.float64) for rings in area.polygons for ring in rings]
        nodes = [np.array(area.points, np.float64).reshape(-1, 2)]
        starts, ends = [np.empty((0, 3))], [np.empty((0, 3))]
        for ring in self._rings:
            line = _in_pieces(ring)
            nodes.append(line)
            way = _directions(line)
            starts.append(way)
            ends.append(np.roll(way, -1, axis=0))
        self._points = _directions(nodes[0])
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)
        self._normals = np.cross(self._starts, self._ends)
        length = np.linalg.norm(self._normals, axis=1)
        keep = length > 1e-12
        self._starts, self._ends, self._normals = self._starts[keep], self._ends[keep], self._normals[keep] / length[keep, None]
        self._point_radius_km = _radius_km(self._points[:, 2])
        self._sines = tuple(np.array([self._starts[:, 2].min(), self._starts[:, 2].max()])) if len(self._starts) else (0.0, 0.0)
        every = _directions(np.concatenate(nodes))
        middle = every.mean(axis=0)
        self._middle = middle / np.linalg.norm(middle)
        self._cap_rad = float(np.arccos(np.clip(every @ self._middle, -1.0, 1.0)).max())
        lat, lon, _ = ecef_to_geodetic(self._middle * EARTH_RADIUS_KM)
        self.middle_deg = float(lat), float(lon)

    def margin_rad(self, sensor: Sensor, at: _Below, near_rad: float) -> FloatArray:
        """Return how far the circle reaches over the area's nearest place, (T,); where that is below -near_rad, an upper bound.

        The circle depends on the Earth's radius at the place that is looked at: with that, a half-angle is exact for points.
        """
        away = np.arccos(np.clip(at.direction @ self._middle, -1.0, 1.0)) - self._cap_rad
        margin = sensor.reach_rad(at.distance_km, EARTH_POLAR_RADIUS_KM) - away
        close = np.flatnonzero(margin >= -near_rad)
        for part in np.array_split(close, 1 + close.size // 512) if close.size else ():
            best = np.full(part.size, -np.inf)
            direction, distance_km = at.direction[part], at.distance_km[part]
            if len(self._points):
                reach = sensor.reach_rad(distance_km[:, None], self._point_radius_km)
                best = (reach - self._to_points_rad(direction)).max(axis=1)
            if len(self._starts):
                # The nearest place has the latitude of the point below, if the area reaches there.
                latitude_sine = np.clip(direction[:, 2], *self._sines)
                reach = sensor.reach_rad(distance_km, _radius_km(latitude_sine))
                best = np.maximum(best, reach - self._to_polygons_rad(direction))
            margin[part] = best
        return np.asarray(margin, np.float64)

    def distance_rad(self, direction: FloatArray) -> FloatArray:
        """Return the distance of directions (T, 3) from the area."""
        best = np.full(len(direction), np.inf)
        if len(self._points):
            best = self._to_points_rad(direction).min(axis=1)
        if len(self._starts):
            best = np.minimum(best, self._to_polygons_rad(direction))
        return np.asarray(best, np.float64)

    def _to_points_rad(self, direction: FloatArray) -> FloatArray:
        return np.asarray(np.arccos(np.clip(direction @ self._points.T, -1.0, 1.0)), np.float64)

    def _to_polygons_rad(self, direction: FloatArray) -> FloatArray:
        across = direction @ self._normals.T
        # The foot of the perpendicular lies on the side if it is ahead of the start and behind the end.
        ahead = direction @ np.cross(self._normals, self._starts).T
        behind = direction @ np.cross(self._ends, self._normals).T
        to_side = np.arcsin(np.clip(np.abs(across), 0.0, 1.0))
        to_corner = np.arccos(np.clip(direction @ self._starts.T, -1.0, 1.0))
        to_corner = np.minimum(to_corner, np.arccos(np.clip(direction @ self._ends.T, -1.0, 1.0)))
        edge = np.where((ahead > 0) & (behind > 0), to_side, to_corner).min(axis=1)
        return np.asarray(np.where(self._inside(direction), -edge, edge), np.float64)

    def _inside(self, direction: FloatArray) -> npt.NDArray[np.bool_]:
        """Even-odd rule in longitude and latitude: holes are rings like any other."""
        lat, lon, _ = ecef_to_geodetic(direction * _radius_km(direction[:, 2])[:, None])
        inside = np.zeros(len(direction), np.bool_)
        for ring in self._rings:
            # A ring that runs beyond 180 degrees is met by the same place a turn further on.
            shifted = lon + 360.0 * np.round((ring[:, 0].mean() - lon) / 360.0)
            for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                crosses = (ya > lat) != (yb > lat)
                with np.errstate(divide="ignore", invalid="ignore"):
                    inside ^= crosses & (shifted < (xb - xa) * (lat - ya) / (yb - ya) + xa)
        return inside


def _in_pieces(ring: FloatArray) -> FloatArray:
    parts = []
    for a, b in pairwise([*ring, ring[0]]):
        count = max(1, math.ceil(float(np.abs(b - a).max()) / _PIECE_DEG))
        parts.append(a + (b - a) * (np.arange(count) / count)[:, None])
    return np.concatenate(parts)


def _directions(lon_lat_deg: FloatArray) -> FloatArray:
    if not len(lon_lat_deg):
        return np.empty((0, 3))
    place = geodetic_to_ecef(lon_lat_deg[:, 1], lon_lat_deg[:, 0], np.zeros(len(lon_lat_deg)))
    return np.asarray(place / np.linalg.norm(place, axis=1, keepdims=True), np.float64)


def accesses(elements: Elements, sensor: Sensor, areas: Sequence[Area], start_s: float, end_s: float) -> list[Access]:
    """Return when the satellite's sensor reaches the areas in [start_s, end_s], in order of start; edges to 0.1 ms.

    Raises:
        ElementsError: the elements cannot be propagated over that time.
    """
    shapes = [_Shape(area) for area in areas]
    # How far the point below can go in a step, at perigee, and a half more for the change of the circle.
    fastest = 2 * math.pi / elements.period_s * math.sqrt(1 + elements.eccentricity) / (1 - elements.eccentricity) ** 1.5
    turn_rad = 1.5 * STEP_S * (fastest + EARTH_RATE_RAD_S)

    def below(times_s: FloatArray) -> _Below:
        r_km = teme_to_ecef(states(elements, times_s)[0], times_s)
        distance_km = np.linalg.norm(r_km, axis=1)
        return _Below(r_km / distance_km[:, None], distance_km)

    def sample(times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = below(times_s)
        values = np.stack([shape.margin_rad(sensor, at, 4 * turn_rad) for shape in shapes])
        return values, np.full(values.shape, turn_rad)

    def value(channels: IntArray, times_s: FloatArray) -> FloatArray:
        out = np.empty(times_s.size)
        if times_s.size:
            at = below(times_s)
            for n in np.unique(channels):
                out[channels == n] = shapes[n].margin_rad(sensor, at.take(channels == n), np.inf)
        return out

    if not shapes:
        return []
    out = []
    for one in positive_intervals(sample, value, start_s, end_s, step_s=STEP_S):
        shape = shapes[one.channel]
        distance_km = float(shape.distance_rad(below(np.array([one.peak_s])).direction)[0]) * _MEAN_RADIUS_KM
        sun = float(sun_elevation_deg(*shape.middle_deg, one.peak_s))
        out.append(Access(elements.name, areas[one.channel].name, one.start_s, one.end_s, one.peak_s, distance_km, sun))
    return out


def _radius_km(latitude_sine: FloatArray) -> FloatArray:
    """Return the ellipsoid's radius at sines of geocentric latitudes, same shape."""
    squared = latitude_sine**2
    return np.asarray(1 / np.sqrt((1 - squared) / EARTH_RADIUS_KM**2 + squared / EARTH_POLAR_RADIUS_KM**2), np.float64)


@dataclass(frozen=True, slots=True)
class Revisit:
    """How often an area is reached in a stretch of time.

    Gaps are the times without access between two accesses (overlapping ones count as one); those at the ends are not, for
    nobody knows when they began. `mean_response_s` is how long one waits for the next access from a random moment of the
    whole time, with the last wait cut at its end: sum of gap^2 / 2 over the whole time.
    """

    count: int
    covered_s: float
    mean_gap_s: float
    max_gap_s: float
    mean_response_s: float


def revisit(times: Iterable[tuple[float, float]], start_s: float, end_s: float) -> Revisit:
    """Return the statistics of accesses [(from_s, to_s), ...] in [start_s, end_s]; NaN where there is no gap to speak of."""
    joined: list[list[float]] = []
    for begin, end in sorted(times):
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, end])
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(joined)]
    outer = [joined[0][0] - start_s, end_s - joined[-1][1]] if joined else [end_s - start_s]
    return Revisit(
        count=len(joined),
        covered_s=sum(end - begin for begin, end in joined),
        mean_gap_s=sum(gaps) / len(gaps) if gaps else math.nan,
        max_gap_s=max(gaps, default=math.nan),
        mean_response_s=sum(gap**2 for gap in [*gaps, *outer]) / 2 / (end_s - start_s),
    )
