"""Frames: TEME, the rotating Earth (ECEF), WGS84 latitude and longitude, a station's horizon.

Positions are kilometres in the last axis of an array (..., 3); everything broadcasts. UT1 is taken as UTC and polar motion
is left out: together at most 0.9 s of rotation (420 m at the equator) and 15 m, so crossings move by tens of milliseconds.
Who needs these gives an `EarthOrientation` with the numbers of the day (IERS Bulletin A).

Sources: GMST is IAU-82 (Aoki et al. 1982; Vallado, Fundamentals of Astrodynamics and Applications, 4th ed., eq. 3-47),
which is the angle that TEME is defined with (Vallado et al., AIAA 2006-6753, appendix C). Geodetic latitude is Bowring's
iteration on the parametric latitude (Bowring 1976, Survey Review 23, 323), three rounds: below 1e-9 degrees in any orbit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

EARTH_RADIUS_KM = 6_378.137
"""WGS84 equatorial radius."""
_FLATTENING = 1 / 298.257_223_563
_E2 = _FLATTENING * (2 - _FLATTENING)
EARTH_POLAR_RADIUS_KM = EARTH_RADIUS_KM * (1 - _FLATTENING)
EARTH_RATE_RAD_S = 7.292_115_146_706_98e-5
_J2000_S = 946_728_000.0
_CENTURY_DAYS = 36_525.0


def gmst_rad(times_s: npt.ArrayLike) -> FloatArray:
    """Return Greenwich mean sidereal time, radians in [0, 2 pi), of the shape of `times_s`."""
    days = (np.asarray(times_s, np.float64) - _J2000_S) / 86_400.0
    centuries = days / _CENTURY_DAYS
    # 876600 h a century are exactly the whole turns of UT: taking them as the fraction of a day keeps the digits.
    seconds = 67_310.548_41 + 86_400.0 * np.mod(days, 1.0)
    seconds = seconds + centuries * (8_640_184.812_866 + centuries * (0.093_104 - 6.2e-6 * centuries))
    return np.asarray(np.mod(seconds, 86_400.0) * (2 * np.pi / 86_400.0), np.float64)


@dataclass(frozen=True, slots=True)
class EarthOrientation:
    """How the Earth really stands: what its turning is ahead of UTC, and where the pole is. IERS Bulletin A gives all three.

    Raises:
        ValueError: a number is far outside what the Earth does.
    """

    dut1_s: float = 0.0
    pole_x_arcsec: float = 0.0
    pole_y_arcsec: float = 0.0

    def __post_init__(self) -> None:
        if not abs(self.dut1_s) <= 1.0:
            raise ValueError(f"UT1 - UTC is {self.dut1_s} s, beyond 1 s")
        if not max(abs(self.pole_x_arcsec), abs(self.pole_y_arcsec)) <= 2.0:
            raise ValueError(f"the pole is at {self.pole_x_arcsec}, {self.pole_y_arcsec} arc seconds, beyond 2")

    def place(self, fixed_km: npt.ArrayLike) -> FloatArray:
        """Turn vectors (..., 3) fixed to the crust into the frame of the true pole, where TEME and sidereal time meet.

        The rotation is R1(y) R2(x) (Vallado, 4th ed., section 3.7.3, IAU-76/FK5).
        """
        x, y = math.radians(self.pole_x_arcsec / 3600), math.radians(self.pole_y_arcsec / 3600)
        about_y = np.array([[math.cos(x), 0.0, -math.sin(x)], [0.0, 1.0, 0.0], [math.sin(x), 0.0, math.cos(x)]])
        about_x = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(y), math.sin(y)], [0.0, -math.sin(y), math.cos(y)]])
        return np.asarray(np.asarray(fixed_km, np.float64) @ (about_x @ about_y).T, np.float64)


UTC_EARTH = EarthOrientation()
"""The Earth as most of this package takes it: UT1 is UTC, the pole is fixed."""


def teme_to_ecef(r_km: npt.ArrayLike, times_s: npt.ArrayLike, dut1_s: float = 0.0) -> FloatArray:
    """Turn TEME positions (..., 3) at `times_s` (...) UTC into the Earth-fixed frame; `dut1_s` is UT1 - UTC."""
    position = np.asarray(r_km, np.float64)
    angle = gmst_rad(np.asarray(times_s, np.float64) + dut1_s)
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    return np.stack(np.broadcast_arrays(cosine * x + sine * y, cosine * y - sine * x, z), axis=-1)


def teme_to_ecef_velocity(
    r_km: npt.ArrayLike, v_km_s: npt.ArrayLike, times_s: npt.ArrayLike, dut1_s: float = 0.0
) -> FloatArray:
    """Turn TEME velocities (..., 3) at positions (..., 3) into those that the turning Earth sees, km/s."""
    fixed_km = teme_to_ecef(r_km, times_s, dut1_s)
    turned = teme_to_ecef(v_km_s, times_s, dut1_s)
    turned[..., 0] += EARTH_RATE_RAD_S * fixed_km[..., 1]
    turned[..., 1] -= EARTH_RATE_RAD_S * fixed_km[..., 0]
    return turned


def geodetic_to_ecef(latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, altitude_m: npt.ArrayLike) -> FloatArray:
    """Return WGS84 positions, (..., 3) km."""
    lat, lon = np.radians(latitude_deg), np.radians(longitude_deg)
    altitude_km = np.asarray(altitude_m, np.float64) / 1000.0
    normal_km = EARTH_RADIUS_KM / np.sqrt(1 - _E2 * np.sin(lat) ** 2)
    across = (normal_km + altitude_km) * np.cos(lat)
    up = (normal_km * (1 - _E2) + altitude_km) * np.sin(lat)
    return np.stack(np.broadcast_arrays(across * np.cos(lon), across * np.sin(lon), up), axis=-1)


def ecef_to_geodetic(r_km: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (latitude_deg, longitude_deg in (-180, 180], altitude_km) on WGS84 of positions (..., 3) away from the centre."""
    position = np.asarray(r_km, np.float64)
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    across = np.hypot(x, y)
    e2_second = _E2 / (1 - _E2)
    parametric = np.arctan2(z * EARTH_RADIUS_KM, across * EARTH_POLAR_RADIUS_KM)
    lat = parametric
    for _ in range(3):
        lat = np.arctan2(
            z + e2_second * EARTH_POLAR_RADIUS_KM * np.sin(parametric) ** 3,
            across - _E2 * EARTH_RADIUS_KM * np.cos(parametric) ** 3,
        )
        parametric = np.arctan2((1 - _FLATTENING) * np.sin(lat), np.cos(lat))
    # Along the normal: well conditioned at the pole and at the equator alike.
    altitude_km = across * np.cos(lat) + z * np.sin(lat) - EARTH_RADIUS_KM * np.sqrt(1 - _E2 * np.sin(lat) ** 2)
    return np.asarray(np.degrees(lat)), np.asarray(np.degrees(np.arctan2(y, x))), np.asarray(altitude_km)


def up_vector(latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> FloatArray:
    """Return the unit normal of the ellipsoid in ECEF, (..., 3)."""
    lat, lon = np.radians(latitude_deg), np.radians(longitude_deg)
    parts = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def topocentric(
    r_ecef_km: npt.ArrayLike, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, altitude_m: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Look from places on the Earth at positions (..., 3).

    Returns:
        (elevation_deg above the ellipsoid's horizon without refraction, azimuth_deg from north over east in [0, 360),
        range_km), each of the broadcast shape.
    """
    offset = np.asarray(r_ecef_km, np.float64) - geodetic_to_ecef(latitude_deg, longitude_deg, altitude_m)
    lat, lon = np.radians(latitude_deg), np.radians(longitude_deg)
    x, y, z = offset[..., 0], offset[..., 1], offset[..., 2]
    outward = np.cos(lon) * x + np.sin(lon) * y
    east = np.cos(lon) * y - np.sin(lon) * x
    north = np.cos(lat) * z - np.sin(lat) * outward
    up = np.cos(lat) * outward + np.sin(lat) * z
    level = np.hypot(east, north)
    elevation_deg = np.degrees(np.arctan2(up, level))
    azimuth_deg = np.mod(np.degrees(np.arctan2(east, north)), 360.0)
    return np.asarray(elevation_deg), np.asarray(azimuth_deg), np.asarray(np.hypot(level, up))


def subpoint(r_teme_km: npt.ArrayLike, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (latitude_deg, longitude_deg, altitude_km) of the WGS84 points straight below TEME positions (..., 3)."""
    return ecef_to_geodetic(teme_to_ecef(r_teme_km, times_s))


def metres_per_degree(latitude_deg: float) -> tuple[float, float]:
    """Return the lengths of one degree of latitude and of one degree of longitude on WGS84, metres."""
    lat = np.radians(latitude_deg)
    w2 = 1 - _E2 * np.sin(lat) ** 2
    meridian_km = EARTH_RADIUS_KM * (1 - _E2) / w2**1.5
    parallel_km = EARTH_RADIUS_KM / np.sqrt(w2) * np.cos(lat)
    return float(np.radians(1.0) * meridian_km * 1000.0), float(np.radians(1.0) * parallel_km * 1000.0)


def rtn_axes(r_km: FloatArray, v_km_s: FloatArray) -> FloatArray:
    """Return matrices (N, 3, 3) whose rows are R, T and N of inertial states (N, 3); NaN where one has no orbital plane.

    R is along the position, N along the angular momentum, T completes them (CCSDS 502.0-B-3, annex B).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        radial = r_km / np.linalg.norm(r_km, axis=1, keepdims=True)
        normal = np.cross(r_km, v_km_s)
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([radial, np.cross(normal, radial), normal], axis=1)


def rtn_components(vectors: FloatArray, r_km: FloatArray, v_km_s: FloatArray) -> FloatArray:
    """Return inertial vectors (N, 3) along the RTN axes of as many states (N, 3); NaN where a state has no orbital plane."""
    return np.asarray(np.einsum("nij,nj->ni", rtn_axes(r_km, v_km_s), vectors))
