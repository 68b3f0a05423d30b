"""Between TEME, SGP4's frame, and EME2000 or GCRF, the frames of everybody else's states.

IAU-76 precession (Lieske et al. 1977) and the 24 largest terms of IAU-80 nutation (Seidelmann 1982), as TEME is defined
with: within 0.06 arc seconds, 2 m in low orbit, of what the newer models give from 1990 to 2030 (their precession is
another). TEME is the true equator with the mean equinox's direction, off the true one by the equation of the equinoxes, as
Vallado et al. 2006 (AIAA 2006-6753, appendix C) have it. Terrestrial time is taken as UTC + 69.2 s at all times (true since
2017; a leap second moves precession by 1e-7 arc seconds). Polar motion and UT1 belong to the Earth-fixed frame and are not
needed here. GCRF differs from EME2000 by the frame bias (IERS Conventions 2010, 5.32), 0.8 m in low orbit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.frames import FloatArray

_J2000_TT_S = 946_728_000.0  # 2000-01-01 12:00, read as if it were UTC
_TT_LESS_UTC_S = 69.184
_CENTURY_S = 36_525.0 * 86_400.0
_ARCSEC = np.pi / 648_000.0

# Multiples of l, l', F, D, Omega; sine of longitude and its rate, cosine of obliquity and its rate, 0.0001 arc seconds.
_NUTATION = np.array(
    [
        (0, 0, 0, 0, 1, -171996, -174.2, 92025, 8.9), (0, 0, 2, -2, 2, -13187, -1.6, 5736, -3.1),
        (0, 0, 2, 0, 2, -2274, -0.2, 977, -0.5), (0, 0, 0, 0, 2, 2062, 0.2, -895, 0.5),
        (0, 1, 0, 0, 0, 1426, -3.4, 54, -0.1), (1, 0, 0, 0, 0, 712, 0.1, -7, 0),
        (0, 1, 2, -2, 2, -517, 1.2, 224, -0.6), (0, 0, 2, 0, 1, -386, -0.4, 200, 0),
        (1, 0, 2, 0, 2, -301, 0, 129, -0.1), (0, -1, 2, -2, 2, 217, -0.5, -95, 0.3),
        (1, 0, 0, -2, 0, -158, 0, -1, 0), (0, 0, 2, -2, 1, 129, 0.1, -70, 0),
        (-1, 0, 2, 0, 2, 123, 0, -53, 0), (1, 0, 0, 0, 1, 63, 0.1, -33, 0),
        (0, 0, 0, 2, 0, 63, 0, -2, 0), (-1, 0, 2, 2, 2, -59, 0, 26, 0),
        (-1, 0, 0, 0, 1, -58, -0.1, 32, 0), (1, 0, 2, 0, 1, -51, 0, 27, 0),
        (2, 0, 0, -2, 0, 48, 0, 1, 0), (-2, 0, 2, 0, 1, 46, 0, -24, 0),
        (0, 0, 2, 2, 2, -38, 0, 16, 0), (2, 0, 2, 0, 2, -31, 0, 13, 0),
        (2, 0, 0, 0, 0, 29, 0, -1, 0), (1, 0, 2, -2, 2, 29, 0, -12, 0),
    ]
)  # fmt: skip
_ARGUMENTS = (
    (134.962_981_39, 477_198.867_398_1, 0.008_697_2),
    (357.527_723_33, 35_999.050_34, -0.000_160_3),
    (93.271_910_28, 483_202.017_538_1, -0.003_682_5),
    (297.850_363_06, 445_267.111_48, -0.001_914_2),
    (125.044_522_22, -1_934.136_260_8, 0.002_070_8),
)
"""Delaunay's arguments, degrees: at J2000, a century, a century squared."""
_BIAS = (-0.0146 * _ARCSEC, -0.016_617 * _ARCSEC, -0.006_819_2 * _ARCSEC)  # alpha0, xi0, eta0


def eme2000_to_teme(times_s: npt.ArrayLike) -> FloatArray:
    """Return the matrices (T, 3, 3) that turn EME2000 vectors into TEME of date at `times_s` (T,), UTC seconds."""
    centuries = (np.atleast_1d(np.asarray(times_s, np.float64)) + _TT_LESS_UTC_S - _J2000_TT_S) / _CENTURY_S
    longitude, obliquity_change, mean_obliquity = _nutation(centuries)
    nutated = _x(-(mean_obliquity + obliquity_change)) @ _z(-longitude) @ _x(mean_obliquity)
    return np.asarray(_z(longitude * np.cos(mean_obliquity)) @ nutated @ _precession(centuries))


def gcrf_to_teme(times_s: npt.ArrayLike) -> FloatArray:
    """Return the matrices (T, 3, 3) that turn GCRF (or ICRF) vectors into TEME of date."""
    alpha, xi, eta = _BIAS
    bias = np.array([[1.0, alpha, -xi], [-alpha, 1.0, -eta], [xi, eta, 1.0]])
    return np.asarray(eme2000_to_teme(times_s) @ bias)


def _precession(t: FloatArray) -> FloatArray:
    zeta = (2306.2181 * t + 0.301_88 * t**2 + 0.017_998 * t**3) * _ARCSEC
    theta = (2004.3109 * t - 0.426_65 * t**2 - 0.041_833 * t**3) * _ARCSEC
    z = (2306.2181 * t + 1.094_68 * t**2 + 0.018_203 * t**3) * _ARCSEC
    return np.asarray(_z(-z) @ _y(theta) @ _z(-zeta))


def _nutation(t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return nutation in longitude and in obliquity, and the mean obliquity, radians."""
    arguments = np.radians(np.array([c0 + c1 * t + c2 * t**2 for c0, c1, c2 in _ARGUMENTS]))
    phase = _NUTATION[:, :5] @ arguments
    sines = (_NUTATION[:, 5, None] + _NUTATION[:, 6, None] * t) * np.sin(phase)
    cosines = (_NUTATION[:, 7, None] + _NUTATION[:, 8, None] * t) * np.cos(phase)
    obliquity = (84_381.448 - 46.8150 * t - 0.000_59 * t**2 + 0.001_813 * t**3) * _ARCSEC
    return sines.sum(axis=0) * 1e-4 * _ARCSEC, cosines.sum(axis=0) * 1e-4 * _ARCSEC, obliquity


def _turn(angle: FloatArray, axis: int) -> FloatArray:
    one, two = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((*angle.shape, 3, 3))
    out[..., axis, axis] = 1.0
    out[..., one, one] = out[..., two, two] = np.cos(angle)
    out[..., one, two] = np.sin(angle)
    out[..., two, one] = -np.sin(angle)
    return out


def _x(angle: FloatArray) -> FloatArray:
    return _turn(angle, 0)


def _y(angle: FloatArray) -> FloatArray:
    return _turn(angle, 1)


def _z(angle: FloatArray) -> FloatArray:
    return _turn(angle, 2)
