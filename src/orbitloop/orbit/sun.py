"""The sun, and when the Earth hides it.

Sun: the Astronomical Almanac's low-precision series as in Vallado, Fundamentals of Astrodynamics and Applications, 4th ed.,
algorithm 29: 0.01 degrees from 1950 to 2050. It is in the mean equator of date; the nutation that separates that from TEME
(0.005 degrees) is left out. Shadow: a cone (apparent discs, Montenbruck & Gill, Satellite Orbits, section 3.4.2) behind a
spherical Earth of equatorial radius, without atmosphere: entry and exit are good to a few seconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import EARTH_RADIUS_KM, FloatArray, teme_to_ecef, up_vector
from orbitloop.orbit.propagate import states
from orbitloop.orbit.search import IntArray, positive_intervals

AU_KM = 149_597_870.7
SUN_RADIUS_KM = 695_700.0
_J2000_S = 946_728_000.0


def sun_position_km(times_s: npt.ArrayLike) -> FloatArray:
    """Return the geocentric position of the sun, (T, 3) km, mean equator and equinox of date."""
    centuries = (np.atleast_1d(np.asarray(times_s, np.float64)) - _J2000_S) / (86_400.0 * 36_525.0)
    mean_longitude = 280.460 + 36_000.771 * centuries
    anomaly = np.radians(357.529_109_2 + 35_999.050_34 * centuries)
    longitude = np.radians(mean_longitude + 1.914_666_471 * np.sin(anomaly) + 0.019_994_643 * np.sin(2 * anomaly))
    distance_km = AU_KM * (1.000_140_612 - 0.016_708_617 * np.cos(anomaly) - 0.000_139_589 * np.cos(2 * anomaly))
    obliquity = np.radians(23.439_291 - 0.013_004_2 * centuries)
    direction = np.stack(
        [np.cos(longitude), np.cos(obliquity) * np.sin(longitude), np.sin(obliquity) * np.sin(longitude)], axis=-1
    )
    return np.asarray(distance_km[:, None] * direction, np.float64)


def shadow_depth_rad(r_km: npt.ArrayLike, times_s: npt.ArrayLike, *, penumbra: bool = False) -> FloatArray:
    """Return how deep positions (T, 3) TEME stand in the shadow: an angle (T,) that is above zero inside.

    With apparent radii a of the sun and b of the Earth and c between their centres: the umbra is c < b - a (the whole disc is
    hidden), the penumbra c < b + a (a part of it).
    """
    position = np.asarray(r_km, np.float64)
    to_sun = sun_position_km(times_s) - position
    sun_km, earth_km = np.linalg.norm(to_sun, axis=-1), np.linalg.norm(position, axis=-1)
    sun_rad = np.arcsin(SUN_RADIUS_KM / sun_km)
    earth_rad = np.arcsin(np.minimum(EARTH_RADIUS_KM / earth_km, 1.0))
    cosine = -np.sum(to_sun * position, axis=-1) / (sun_km * earth_km)
    apart = np.arccos(np.clip(cosine, -1.0, 1.0))
    return np.asarray(earth_rad - apart + (sun_rad if penumbra else -sun_rad), np.float64)


def eclipse_intervals(elements: Elements, start_s: float, end_s: float, *, penumbra: bool = False) -> list[tuple[float, float]]:
    """Return the satellite's times in the Earth's umbra (or penumbra and umbra), [(from_s, to_s), ...], clipped and in order.

    Raises:
        ElementsError: the elements cannot be propagated over that time.
    """

    def depth(times_s: FloatArray) -> FloatArray:
        return shadow_depth_rad(states(elements, times_s)[0], times_s, penumbra=penumbra)

    def sample(times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        values = depth(times_s)[None, :]
        return values, np.full_like(values, np.inf)  # one maximum a revolution: all are worth a look

    def value(channels: IntArray, times_s: FloatArray) -> FloatArray:
        return depth(times_s) if times_s.size else np.empty(0)

    return [(i.start_s, i.end_s) for i in positive_intervals(sample, value, start_s, end_s)]


def sun_elevation_deg(latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, times_s: npt.ArrayLike) -> FloatArray:
    """Return how high the sun stands, without refraction, at places (...) and times (...) that broadcast; degrees.

    Above zero it is day, below -18 night in the astronomers' sense. Good to 0.02 degrees.
    """
    times = np.asarray(times_s, np.float64)
    sun = sun_position_km(times.ravel()).reshape(*times.shape, 3)
    direction = teme_to_ecef(sun, times)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    sine = np.sum(up_vector(latitude_deg, longitude_deg) * direction, axis=-1)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))), np.float64)


def beta_angle_deg(elements: Elements, times_s: npt.ArrayLike) -> FloatArray:
    """Return the angle of the sun over the orbit's plane, (T,) degrees, positive on the side of the angular momentum.

    Raises:
        ElementsError: the elements cannot be propagated to one of the times.
    """
    r_km, v_km_s = states(elements, times_s)
    normal = np.cross(r_km, v_km_s)
    sun = sun_position_km(times_s)
    sine = np.sum(normal * sun, axis=1) / (np.linalg.norm(normal, axis=1) * np.linalg.norm(sun, axis=1))
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))), np.float64)
