"""Objects that meet, made on purpose; and the truth about them, by sampling SGP4 densely."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sgp4.api import Satrec, SatrecArray

from orbitloop.orbit.elements import Elements, from_orbit

FloatArray = npt.NDArray[np.float64]

START_S = 1_780_272_000.0
MU = 398_600.8

IRIDIUM_COSMOS = """IRIDIUM 33
1 24946U 97051C   09040.78448243 +.00000153 +00000-0 +47668-4 0  9994
2 24946 086.3994 121.7028 0002288 085.1644 274.9812 14.34219863597336
COSMOS 2251
1 22675U 93036A   09040.49834364 -.00000001  00000-0  95251-5 0  9996
2 22675 074.0355 019.4646 0016027 098.7014 261.5952 14.31135643817415
"""


def sampled(elements: list[Elements], times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return positions (N, T, 3), NaN where SGP4 fails, and velocities."""
    days = np.floor(times_s / 86_400.0)
    errors, r, v = SatrecArray([_record(one) for one in elements]).sgp4(2_440_587.5 + days, times_s / 86_400.0 - days)
    r[errors != 0] = np.nan
    return r, v


def _record(one: Elements) -> Satrec:
    record = one.satrec()
    days = math.floor(one.epoch_s / 86_400.0)
    # In one double a Julian date is good to 20 microseconds: 15 cm.
    record.jdsatepoch, record.jdsatepochF = 2_440_587.5 + days, one.epoch_s / 86_400.0 - days
    return record


def lowest(first: Elements, second: Elements, begin_s: float, end_s: float, step_s: float = 0.1) -> tuple[float, float]:
    """Return time and range of the lowest sample between two times, sharpened by a parabola through the squares."""
    times = np.linspace(begin_s, end_s, round((end_s - begin_s) / step_s) + 1)
    step_s = float(times[1] - times[0])
    r, _ = sampled([first, second], times)
    square = ((r[1] - r[0]) ** 2).sum(axis=1)
    n = int(np.nanargmin(square))
    if n in (0, len(times) - 1):
        return float(times[n]), float(np.sqrt(square[n]))
    a, b, c = square[n - 1 : n + 2]
    slope, bend = (c - a) / 2, c - 2 * b + a
    return float(times[n] - step_s * slope / bend), float(np.sqrt(max(0.0, b - slope**2 / (2 * bend))))


def crowd(count: int, seed: int, altitude_km: float = 550.0, spread_km: float = 4.0) -> list[Elements]:
    """Return circular orbits of random planes in one thin shell."""
    rng = np.random.default_rng(seed)
    return [
        from_orbit(
            f"crowd {n}",
            START_S - 40_000.0,
            altitude_km + rng.uniform(-spread_km, spread_km),
            rng.uniform(20.0, 160.0),
            raan_deg=rng.uniform(0, 360),
            mean_anomaly_deg=rng.uniform(0, 360),
            eccentricity=rng.uniform(0, 5e-4),
            norad_id=n + 1,
        )
        for n in range(count)
    ]


def partner(one: Elements, when_s: float, offset_km: FloatArray, direction: FloatArray, speed: float) -> Elements | None:
    """Return elements of an object that stands `offset_km` from another at a time and moves as is asked.

    Mean elements are found by fixed-point iteration on SGP4's own osculating ones. None where there are none: the orbit is not
    closed, would hit the Earth, or the iteration does not settle.

    Args:
        one: the other object.
        when_s: the time.
        offset_km: (3,) TEME.
        direction: (3,) of the velocity.
        speed: of the speed of the other object.
    """
    r, v = sampled([one], np.array([when_s]))
    if not np.isfinite(r).all():
        return None
    place = r[0, 0] + offset_km
    velocity = direction / np.linalg.norm(direction) * speed * np.linalg.norm(v[0, 0])
    wanted = _equinoctial(place, velocity)
    if wanted is None or _perigee_km(wanted) < 6_500.0 or wanted[0] > 60_000.0:
        return None
    mean = wanted.copy()
    for _ in range(40):
        made = _elements(mean, when_s)
        if made is None:
            return None
        r, v = sampled([made], np.array([when_s]))
        now = _equinoctial(r[0, 0], v[0, 0]) if np.isfinite(r).all() else None
        if now is None:
            return None
        if np.linalg.norm(r[0, 0] - place) < 1e-3:
            return made
        change = wanted - now
        change[5] = math.remainder(change[5], 2 * math.pi)
        mean += change
    return None


def _perigee_km(q: FloatArray) -> float:
    return float(q[0] * (1 - math.hypot(q[1], q[2])))


def _equinoctial(r: FloatArray, v: FloatArray) -> FloatArray | None:
    """a, e cos(w + W), e sin(w + W), tan(i/2) cos W, tan(i/2) sin W, mean longitude."""
    radius = float(np.linalg.norm(r))
    axis = 1.0 / (2.0 / radius - float(v @ v) / MU)
    normal = np.cross(r, v)
    normal = normal / np.linalg.norm(normal)
    if axis <= 0 or normal[2] < -0.999:
        return None
    p, q = normal[0] / (1 + normal[2]), -normal[1] / (1 + normal[2])
    scale = 1.0 / (1 + p * p + q * q)
    f = scale * np.array([1 - p * p + q * q, 2 * p * q, -2 * p])
    g = scale * np.array([2 * p * q, 1 + p * p - q * q, 2 * q])
    e = np.cross(v, np.cross(r, v)) / MU - r / radius
    h, k = float(e @ g), float(e @ f)
    x, y = float(r @ f), float(r @ g)
    root = math.sqrt(1 - h * h - k * k)
    b = 1.0 / (1 + root)
    cosine = k + ((1 - k * k * b) * x - h * k * b * y) / (axis * root)
    sine = h + ((1 - h * h * b) * y - h * k * b * x) / (axis * root)
    longitude = math.atan2(sine, cosine)
    return np.array([axis, k, h, q, p, longitude + h * cosine - k * sine])


def _elements(q: FloatArray, epoch_s: float) -> Elements | None:
    axis, k, h, c, s, longitude = q.tolist()
    eccentricity, inclination = math.hypot(k, h), 2 * math.atan(math.hypot(c, s))
    if not eccentricity < 0.95 or not axis > 6_400:
        return None
    node, apsis = math.atan2(s, c), math.atan2(h, k)
    return replace(
        from_orbit("", epoch_s, 500.0, 0.0, norad_id=2),
        name="partner",
        mean_motion_rev_day=math.sqrt(MU / axis**3) * 86_400 / (2 * math.pi),
        eccentricity=eccentricity,
        inclination_deg=math.degrees(inclination),
        raan_deg=math.degrees(node) % 360,
        arg_perigee_deg=math.degrees(apsis - node) % 360,
        mean_anomaly_deg=math.degrees(longitude - apsis) % 360,
    )
