"""How a small burn moves a satellite: linear relative motion, two-body motion, and the element set that follows from it.

Hill's equations (Clohessy & Wiltshire 1960, J. Aerosp. Sci. 27, 653; Vallado, 4th ed., 6.8) for an impulse dv along the track
on a circular orbit of rate n, a time t later, in the unperturbed satellite's RTN:

    R = (2/n) (1 - cos nt) dv        T = (4/n sin nt - 3 t) dv        N = 0

It is the check; what is used is two-body motion of the states themselves (Lagrange's coefficients in the difference of
eccentric anomaly, Battin 1999, 4.5), which holds on an eccentric orbit as well. Both leave the Earth's oblateness out: it moves
the satellite with and without the burn alike, and their difference by parts in a thousand (tests state how many).
"""

from __future__ import annotations

import math

import numpy as np

from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2
from orbitloop.orbit.conjunction.rtn import rtn_rotation
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.propagate import states

_NEWTON_STEPS = 50
_FIT_STEPS = 12
_FIT_KM = 1e-6


def hill_displacement(rate_rad_s: float, elapsed_s: FloatArray, along_km_s: FloatArray) -> FloatArray:
    """Return the displacement (..., 3) in R, T, N, km, at `elapsed_s` after an impulse along the track."""
    elapsed, along = np.broadcast_arrays(np.asarray(elapsed_s, np.float64), np.asarray(along_km_s, np.float64))
    angle = rate_rad_s * elapsed
    radial = 2 / rate_rad_s * (1 - np.cos(angle)) * along
    transverse = (4 / rate_rad_s * np.sin(angle) - 3 * elapsed) * along
    return np.stack([radial, transverse, np.zeros_like(radial)], axis=-1)


def two_body(r_km: FloatArray, v_km_s: FloatArray, elapsed_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return positions and velocities (M, 3) that elliptic two-body motion reaches from (M, 3) states in `elapsed_s` (M,).

    Shapes broadcast; the times may be negative.

    Raises:
        ConjunctionError: an orbit is not elliptic, or Kepler's equation does not close.
    """
    elapsed = np.atleast_1d(np.asarray(elapsed_s, np.float64))
    r, v = np.broadcast_arrays(np.atleast_2d(r_km), np.atleast_2d(v_km_s))
    r, v = (np.broadcast_to(x, (max(len(x), elapsed.size), 3)) for x in (r, v))
    radius = np.linalg.norm(r, axis=1)
    inverse = 2 / radius - np.sum(v * v, axis=1) / MU_KM3_S2
    if not (inverse > 1e-9).all():
        raise ConjunctionError("an orbit is not elliptic, so nothing can be said of a burn on it")
    axis = 1 / inverse
    rate = np.sqrt(MU_KM3_S2 / axis**3)
    sigma = np.sum(r * v, axis=1) / np.sqrt(MU_KM3_S2)
    anomaly = _anomaly_change(rate * elapsed, 1 - radius / axis, sigma / np.sqrt(axis))
    sine, versine = np.sin(anomaly), 1 - np.cos(anomaly)
    reached = radius + (axis - radius) * versine + sigma * np.sqrt(axis) * sine
    f, g = 1 - axis / radius * versine, elapsed - (anomaly - sine) / rate
    f_rate, g_rate = -np.sqrt(MU_KM3_S2 * axis) / (reached * radius) * sine, 1 - axis / reached * versine
    return f[:, None] * r + g[:, None] * v, f_rate[:, None] * r + g_rate[:, None] * v


def _anomaly_change(mean: FloatArray, ecos: FloatArray, esin: FloatArray) -> FloatArray:
    """Solve M = E - ecos sin E + esin (1 - cos E) for E, the change of eccentric anomaly, by Newton's method."""
    anomaly = mean.copy()
    for _ in range(_NEWTON_STEPS):
        sine, cosine = np.sin(anomaly), np.cos(anomaly)
        wrong = anomaly - ecos * sine + esin * (1 - cosine) - mean
        slope = 1 - ecos * cosine + esin * sine  # r / a, never zero on an ellipse
        anomaly = anomaly - np.clip(wrong / slope, -1.0, 1.0)
        if np.abs(wrong).max(initial=0.0) < 1e-13 * (1 + np.abs(mean).max(initial=0.0)):
            return np.asarray(anomaly)
    raise ConjunctionError("Kepler's equation does not close: the orbit is too nearly parabolic")


def after_burn(
    r_km: FloatArray, v_km_s: FloatArray, elapsed_s: FloatArray, burn_rtn_km_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the states (M, 3), (M, 3) of a satellite that burned `elapsed_s` (M,) before it would have had the given state.

    `burn_rtn_km_s` (M, 3) is the impulse, in the satellite's RTN when it burns.

    Raises:
        ConjunctionError: the orbit is not elliptic, before the burn or after it.
    """
    r0, v0 = two_body(r_km, v_km_s, -np.asarray(elapsed_s, np.float64))
    turned = np.stack([rtn_rotation(r, v).T @ dv for r, v, dv in zip(r0, v0, burn_rtn_km_s, strict=True)])
    return two_body(r0, v0 + turned, elapsed_s)


def manoeuvred(elements: Elements, burn_s: float, burn_rtn_km_s: FloatArray) -> Elements:
    """Return the element set of a satellite after an impulse (3,) in its RTN at `burn_s`, with that epoch.

    SGP4's mean elements are sought whose state at the burn is the state after it (Newton, in elements that hold on circular
    orbits); drag stays as it was.

    Raises:
        ElementsError: the elements cannot be propagated to the burn, or no set reproduces the state to a millimetre.
    """
    r, v = states(elements, [burn_s])
    v_after = v[0] + rtn_rotation(r[0], v[0]).T @ np.asarray(burn_rtn_km_s, np.float64)
    return elements_from_state(elements, burn_s, r[0], v_after)


def elements_from_state(like: Elements, epoch_s: float, r_km: FloatArray, v_km_s: FloatArray) -> Elements:
    """Return the element set whose SGP4 state at `epoch_s` is (3,), (3,), TEME; name, number and drag are those of `like`.

    Raises:
        ElementsError: the state is of no elliptic orbit that SGP4 takes, or the search does not close.
    """
    goal = np.concatenate([r_km, v_km_s])
    x = _equinoctial(r_km, v_km_s, like.name)
    weight = np.array([1.0, 1.0, 1.0, 1e3, 1e3, 1e3])
    best = math.inf
    for _ in range(_FIT_STEPS):
        miss = goal - _state(like, epoch_s, x)
        best = float(np.linalg.norm(miss[:3])) + 1e3 * float(np.linalg.norm(miss[3:]))
        if best < _FIT_KM:
            return _elements(like, epoch_s, x)
        steps = np.array([1e-7 * x[0], 1e-7, 1e-7, 1e-7, 1e-7, 1e-7])
        columns = [
            (_state(like, epoch_s, x + d) - _state(like, epoch_s, x - d)) / (2 * step)
            for d, step in zip(np.diag(steps), steps, strict=True)
        ]
        jacobian = np.stack(columns, axis=1)
        x = x + np.linalg.lstsq(jacobian * weight[:, None], miss * weight, rcond=None)[0]
    raise ElementsError(f"no element set reproduces the state: {best:.2e} km remain", where=like.name)


def _equinoctial(r_km: FloatArray, v_km_s: FloatArray, name: str) -> FloatArray:
    """Return (mean motion rad/s, e cos w, e sin w, node, inclination, w + M) of a state; singular in the equator's plane."""
    momentum, radius = np.cross(r_km, v_km_s), float(np.linalg.norm(r_km))
    axis = 1 / (2 / radius - float(v_km_s @ v_km_s) / MU_KM3_S2)
    if not 0 < axis < 1e6:
        raise ElementsError("the state is not of an elliptic orbit about the Earth", where=name)
    inclination = math.acos(float(np.clip(momentum[2] / np.linalg.norm(momentum), -1, 1)))
    node = math.atan2(momentum[0], -momentum[1]) if math.hypot(momentum[0], momentum[1]) > 0 else 0.0
    along = np.array([math.cos(node), math.sin(node), 0.0])
    across = np.cross(momentum / np.linalg.norm(momentum), along)
    shape = np.cross(v_km_s, momentum) / MU_KM3_S2 - r_km / radius
    ec, es = float(shape @ along), float(shape @ across)
    eccentricity, perigee = math.hypot(ec, es), math.atan2(es, ec)
    true = math.atan2(float(r_km @ across), float(r_km @ along)) - perigee
    eccentric = math.atan2(math.sqrt(max(0.0, 1 - eccentricity**2)) * math.sin(true), eccentricity + math.cos(true))
    mean = eccentric - eccentricity * math.sin(eccentric)
    return np.array([math.sqrt(MU_KM3_S2 / axis**3), ec, es, node, inclination, perigee + mean])


def _elements(like: Elements, epoch_s: float, x: FloatArray) -> Elements:
    perigee = math.atan2(x[2], x[1])
    return Elements(
        name=like.name,
        norad_id=like.norad_id,
        epoch_s=epoch_s,
        mean_motion_rev_day=float(x[0]) * DAY_S / (2 * math.pi),
        eccentricity=math.hypot(x[1], x[2]),
        inclination_deg=math.degrees(x[4]),
        raan_deg=math.degrees(x[3]) % 360,
        arg_perigee_deg=math.degrees(perigee) % 360,
        mean_anomaly_deg=math.degrees(float(x[5]) - perigee) % 360,
        bstar_per_er=like.bstar_per_er,
    )


def _state(like: Elements, epoch_s: float, x: FloatArray) -> FloatArray:
    r, v = states(_elements(like, epoch_s, x), [epoch_s])
    return np.concatenate([r[0], v[0]])
