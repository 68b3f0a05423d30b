"""Equinoctial elements: Cartesian states to them and back, and how states move with them.

Under two-body motion five of six stand still and the mean longitude grows evenly, so a normal distribution of elements stays
one: errors along the orbit bend with it, while a normal distribution of Cartesian states leaves it along the tangent (Junkins,
Akella & Alfriend 1996; Vallado 2003, AAS 03-526). Columns are, in this order,

    n (rad/s), af = e cos(w + f W), ag = e sin(w + f W), chi = tan^f(i/2) sin W, psi = tan^f(i/2) cos W, L = M + w + f W

with f = -1 for retrograde orbits (i > 90 degrees), whose chi and psi would else grow without bound at 180; elements are
regular for every bound orbit then (Broucke & Cefola 1972, Celestial Mechanics 5, 303). Arrays broadcast over leading axes.
"""

from __future__ import annotations

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2
from orbitloop.orbit.frames import FloatArray

_ROUNDS = 40


def elements_of(r_km: FloatArray, v_km_s: FloatArray) -> tuple[FloatArray, int]:
    """Return the elements (6,) of a state (3,) and (3,), and the sign f that they are written with.

    Raises:
        ConjunctionError: the state is not on a bound orbit, or on none.
    """
    radius = float(np.linalg.norm(r_km))
    momentum = np.cross(r_km, v_km_s)
    size = float(np.linalg.norm(momentum))
    energy = float(v_km_s @ v_km_s) / 2 - MU_KM3_S2 / radius
    if not size > 0 or not energy < 0:
        raise ConjunctionError(
            "a state that is not on an orbit around the Earth", remedy="method 2d needs none; 3d and mc follow orbits"
        )
    axis = -MU_KM3_S2 / (2 * energy)
    normal = momentum / size
    sign = 1 if normal[2] >= 0 else -1
    chi = normal[0] / (1 + sign * normal[2])
    psi = -normal[1] / (1 + sign * normal[2])
    f, g = _plane(np.array([chi]), np.array([psi]), sign)[:2]
    eccentricity = np.cross(v_km_s, momentum) / MU_KM3_S2 - r_km / radius
    af, ag = float(eccentricity @ f[0]), float(eccentricity @ g[0])
    x, y = float(r_km @ f[0]), float(r_km @ g[0])
    shape = np.sqrt(1 - af**2 - ag**2)
    beta = 1 / (1 + shape)
    cosine = af + ((1 - af**2 * beta) * x - af * ag * beta * y) / (axis * shape)
    sine = ag + ((1 - ag**2 * beta) * y - af * ag * beta * x) / (axis * shape)
    anomaly = np.arctan2(sine, cosine)
    longitude = anomaly + ag * np.cos(anomaly) - af * np.sin(anomaly)
    return np.array([np.sqrt(MU_KM3_S2 / axis**3), af, ag, chi, psi, longitude]), sign


def advanced(elements: FloatArray, seconds: FloatArray) -> FloatArray:
    """Return elements (..., 6) after `seconds` (...) of two-body motion."""
    moved = np.array(np.broadcast_to(elements, (*np.broadcast_shapes(elements.shape[:-1], seconds.shape), 6)))
    moved[..., 5] += moved[..., 0] * seconds
    return moved


def states_of(elements: FloatArray, sign: int) -> FloatArray:
    """Return the states (..., 6), km and km/s, of elements (..., 6)."""
    return _map(elements, sign, False)[0]


def states_and_slopes(elements: FloatArray, sign: int) -> tuple[FloatArray, FloatArray]:
    """Return states (..., 6) of elements (..., 6), and their derivatives (..., 6, 6): rows of the state, columns of elements.

    The column of n holds the other five fixed, the mean longitude too: multiply by `transition` for elements at another epoch.
    """
    return _map(elements, sign, True)


def transition(seconds: FloatArray) -> FloatArray:
    """Return how elements after `seconds` (...) move with elements now, (..., 6, 6)."""
    matrix = np.zeros((*seconds.shape, 6, 6)) + np.eye(6)
    matrix[..., 5, 0] = seconds
    return matrix


def eccentric_longitude(longitude: FloatArray, af: FloatArray, ag: FloatArray) -> FloatArray:
    """Solve Kepler's equation L = F + ag cos F - af sin F for F, by Newton steps kept inside the bracket L +- e."""
    turn = np.floor(longitude / (2 * np.pi)) * 2 * np.pi
    mean = longitude - turn
    reach = np.hypot(af, ag)
    low, high = mean - reach, mean + reach
    found = mean + af * np.sin(mean) - ag * np.cos(mean)
    for _ in range(_ROUNDS):
        sine, cosine = np.sin(found), np.cos(found)
        value = found + ag * cosine - af * sine - mean
        low, high = np.where(value < 0, found, low), np.where(value > 0, found, high)
        step = found - value / (1 - af * cosine - ag * sine)
        inside = (step > low) & (step < high)
        new = np.where(inside | (value == 0), step, (low + high) / 2)
        moved = np.abs(new - found)
        found = new
        if not (moved > 4e-15).any():
            break
    return np.asarray(found + turn)


def _plane(chi: FloatArray, psi: FloatArray, sign: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the frame's unit vectors f, g, w, each (..., 3)."""
    scale = 1 / (1 + chi**2 + psi**2)
    f = np.stack([1 - chi**2 + psi**2, 2 * chi * psi, -2 * sign * chi], -1) * scale[..., None]
    g = np.stack([2 * sign * chi * psi, sign * (1 + chi**2 - psi**2), 2 * psi], -1) * scale[..., None]
    w = np.stack([2 * chi, -2 * psi, sign * (1 - chi**2 - psi**2)], -1) * scale[..., None]
    return f, g, w


def _map(elements: FloatArray, sign: int, slopes: bool) -> tuple[FloatArray, FloatArray]:
    n, af, ag, chi, psi, longitude = np.moveaxis(elements, -1, 0)
    axis = np.cbrt(MU_KM3_S2 / n**2)
    shape = np.sqrt(1 - af**2 - ag**2)
    beta = 1 / (1 + shape)
    anomaly = eccentric_longitude(longitude, af, ag)
    c, s = np.cos(anomaly), np.sin(anomaly)
    ratio = 1 / (1 - af * c - ag * s)  # a / r
    rate = n * ratio  # dF/dt
    kx, ky, kxy = 1 - ag**2 * beta, 1 - af**2 * beta, af * ag * beta
    x, y = kx * c + kxy * s - af, ky * s + kxy * c - ag
    x_f, y_f = -kx * s + kxy * c, ky * c - kxy * s  # by F
    f, g, _ = _plane(chi, psi, sign)

    def placed(along_f: FloatArray, along_g: FloatArray) -> FloatArray:
        return np.asarray((axis * along_f)[..., None] * f + (axis * along_g)[..., None] * g)

    states = np.concatenate([placed(x, y), placed(x_f * rate, y_f * rate)], -1)
    if not slopes:
        return states, states
    out = np.empty((*states.shape, 6))
    r, v = states[..., :3], states[..., 3:]
    x_ff, y_ff = -kx * c - kxy * s, -ky * s - kxy * c
    out[..., :3, 0] = r * (-2 / (3 * n))[..., None]
    out[..., 3:, 0] = v / (3 * n)[..., None]
    out[..., :3, 5] = v / n[..., None]
    out[..., 3:, 5] = r * (-n * ratio**3)[..., None]
    b_af, b_ag = beta**2 * af / shape, beta**2 * ag / shape
    # By af, then ag, at fixed L: F moves by (a/r) sin F, and by -(a/r) cos F.
    parts = (
        (1, ratio * s, -(ag**2) * b_af, -2 * af * beta - af**2 * b_af, ag * beta + af * ag * b_af, -1.0, 0.0, c),
        (2, -ratio * c, -2 * ag * beta - ag**2 * b_ag, -(af**2) * b_ag, af * beta + af * ag * b_ag, 0.0, -1.0, s),
    )
    for column, f_by, kx_by, ky_by, kxy_by, x_by, y_by, trig in parts:
        dx = kx_by * c + kxy_by * s + x_by + x_f * f_by
        dy = ky_by * s + kxy_by * c + y_by + y_f * f_by
        # r/a = 1 - af c - ag s, so its own slope, F's part included:
        d_rate = rate * ratio * (trig - (af * s - ag * c) * f_by)
        dvx = (-kx_by * s + kxy_by * c + x_ff * f_by) * rate + x_f * d_rate
        dvy = (ky_by * c - kxy_by * s + y_ff * f_by) * rate + y_f * d_rate
        out[..., :3, column], out[..., 3:, column] = placed(dx, dy), placed(dvx, dvy)
    scale = 1 / (1 + chi**2 + psi**2)
    zero = np.zeros_like(chi)
    f_chi = (np.stack([-2 * chi, 2 * psi, zero - 2 * sign], -1) - 2 * chi[..., None] * f) * scale[..., None]
    f_psi = (np.stack([2 * psi, 2 * chi, zero], -1) - 2 * psi[..., None] * f) * scale[..., None]
    g_chi = (np.stack([2 * sign * psi, 2 * sign * chi, zero], -1) - 2 * chi[..., None] * g) * scale[..., None]
    g_psi = (np.stack([2 * sign * chi, -2 * sign * psi, zero + 2], -1) - 2 * psi[..., None] * g) * scale[..., None]
    for column, f_by, g_by in ((3, f_chi, g_chi), (4, f_psi, g_psi)):
        out[..., :3, column] = (axis * x)[..., None] * f_by + (axis * y)[..., None] * g_by
        out[..., 3:, column] = (axis * x_f * rate)[..., None] * f_by + (axis * y_f * rate)[..., None] * g_by
    return states, out
