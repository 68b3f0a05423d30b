"""First collisions of pairs of two-body orbits, one pair after the other, compiled.

No time step decides what is found. From a state at t the relative path is straight but for the difference of two pulls, and
that is bounded: over the next tau it leaves the straight line by at most

    dev = 1/2 L Dmax tau^2,   L = 2 mu / (0.99 rp)^3,   Dmax = D + V tau + 1/2 A tau^2,   A = mu / rp1^2 + mu / rp2^2

(L the steepest gradient of the pull between two places not far apart, rp the perigees; where Dmax is not small against rp,
1/2 A tau^2 serves). If the straight line keeps further than R + dev away, nothing happens within tau, and the pair is looked at
again there; else tau is halved, until dev is below a tolerance (1e-5 R) and the straight line itself decides. So a pair
that is far apart moves on in minutes, one that grazes in fractions of a second.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from orbitloop.orbit.conjunction.encounter import MU_KM3_S2

NO_ORBIT = -math.inf
"""Instead of a time: the draw is on no bound orbit."""


@njit(cache=True, error_model="numpy")
def _prepare(elements, sign, orbit):  # type: ignore[no-untyped-def]
    """Fill `orbit` (16,) with what a state at any time needs; False when there is no bound orbit."""
    n, af, ag, chi, psi = elements[0], elements[1], elements[2], elements[3], elements[4]
    square = af * af + ag * ag
    if not (n > 0.0 and square < 1.0):
        return False
    axis = (MU_KM3_S2 / (n * n)) ** (1.0 / 3.0)
    beta = 1.0 / (1.0 + math.sqrt(1.0 - square))
    scale = axis / (1.0 + chi * chi + psi * psi)
    orbit[0], orbit[1], orbit[2], orbit[3] = n, af, ag, elements[5]
    orbit[4], orbit[5], orbit[6] = 1.0 - ag * ag * beta, 1.0 - af * af * beta, af * ag * beta
    orbit[7] = (1.0 - chi * chi + psi * psi) * scale
    orbit[8] = 2.0 * chi * psi * scale
    orbit[9] = -2.0 * sign * chi * scale
    orbit[10] = 2.0 * sign * chi * psi * scale
    orbit[11] = sign * (1.0 + chi * chi - psi * psi) * scale
    orbit[12] = 2.0 * psi * scale
    orbit[13] = axis * (1.0 - math.sqrt(square))
    orbit[14] = math.nan  # the last eccentric longitude less the mean one
    return True


@njit(cache=True, error_model="numpy")
def _fly(orbit, seconds, state):  # type: ignore[no-untyped-def]
    """Put the state (6,) of an orbit at a time."""
    n, af, ag = orbit[0], orbit[1], orbit[2]
    mean = orbit[3] + n * seconds
    mean -= 2.0 * math.pi * math.floor(mean / (2.0 * math.pi))
    reach = math.sqrt(af * af + ag * ag)
    low, high = mean - reach, mean + reach
    f = mean + af * math.sin(mean) - ag * math.cos(mean)
    c, s = math.cos(f), math.sin(f)
    for _ in range(40):
        value = f + ag * c - af * s - mean
        if value < 0.0:
            low = f
        else:
            high = f
        new = f - value / (1.0 - af * c - ag * s)
        if new < low or new > high:
            new = 0.5 * (low + high)
        moved = abs(new - f)
        f = new
        c, s = math.cos(f), math.sin(f)
        if moved < 1e-8:  # the next Newton step would be its square
            break
    value = f + ag * c - af * s - mean
    step = -value / (1.0 - af * c - ag * s)
    c, s = c - step * s, s + step * c
    x, y = orbit[4] * c + orbit[6] * s - af, orbit[5] * s + orbit[6] * c - ag
    rate = n / (1.0 - af * c - ag * s)
    vx, vy = (orbit[6] * c - orbit[4] * s) * rate, (orbit[5] * c - orbit[6] * s) * rate
    for k in range(3):
        state[k] = x * orbit[7 + k] + y * orbit[10 + k]
        state[3 + k] = vx * orbit[7 + k] + vy * orbit[10 + k]


@njit(cache=True, error_model="numpy")
def _first_hit(first, second, begin, end, radius, state1, state2):  # type: ignore[no-untyped-def]
    """Return when two prepared orbits first are within `radius`, NaN if never between the times."""
    rp1, rp2 = first[13], second[13]
    nearest = min(rp1, rp2)
    pull = MU_KM3_S2 / (rp1 * rp1) + MU_KM3_S2 / (rp2 * rp2)
    gradient = 2.0 * MU_KM3_S2 / (0.99 * nearest) ** 3
    tolerance = 1e-5 * radius
    t, tau = begin, end - begin
    while t <= end:
        _fly(first, t, state1)
        _fly(second, t, state2)
        dx, dy, dz = state2[0] - state1[0], state2[1] - state1[1], state2[2] - state1[2]
        ux, uy, uz = state2[3] - state1[3], state2[4] - state1[4], state2[5] - state1[5]
        square, speed2, along = dx * dx + dy * dy + dz * dz, ux * ux + uy * uy + uz * uz, dx * ux + dy * uy + dz * uz
        distance, speed = math.sqrt(square), math.sqrt(speed2)
        if distance <= radius:
            return t
        if t == end:
            break
        tau = min(tau, end - t)
        while True:
            furthest = distance + speed * tau + 0.5 * pull * tau * tau
            bend = 0.5 * (gradient * furthest if furthest < 0.2 * nearest else pull) * tau * tau
            when = min(max(-along / speed2, 0.0), tau) if speed2 > 0.0 else 0.0
            least = math.sqrt(max(square + when * (2.0 * along + when * speed2), 0.0))
            if least > radius + bend:
                break
            if bend <= tolerance:
                if least > radius:
                    break
                root = math.sqrt(max(along * along - speed2 * (square - radius * radius), 0.0))
                return t + max((-along - root) / speed2, 0.0)
            tau *= 0.5
        t = end if tau >= end - t else t + tau
        tau *= 4.0
    return math.nan


@njit(cache=True, error_model="numpy")
def first_hits(draws, mean1, root1, sign1, mean2, root2, sign2, begin, end, radius, times):  # type: ignore[no-untyped-def]
    """Fill `times` (N,) with when each pair first collides: NaN never, `NO_ORBIT` where a draw is on none.

    Args:
        draws: standard normal numbers (N, 12), six for each object.
        mean1, root1, sign1: elements of the first object, root of their covariance, and their sign; likewise the second's.
        begin, end: seconds after closest approach, between which is looked.
        radius: of the sphere, km.
        times: result.
    """
    orbit1, orbit2 = np.empty(16), np.empty(16)
    state1, state2 = np.empty(6), np.empty(6)
    elements1, elements2 = np.empty(6), np.empty(6)
    for i in range(len(draws)):
        for j in range(6):
            one, two = mean1[j], mean2[j]
            for k in range(6):
                one += root1[j, k] * draws[i, k]
                two += root2[j, k] * draws[i, 6 + k]
            elements1[j], elements2[j] = one, two
        if _prepare(elements1, sign1, orbit1) and _prepare(elements2, sign2, orbit2):
            times[i] = _first_hit(orbit1, orbit2, begin, end, radius, state1, state2)
        else:
            times[i] = NO_ORBIT


@njit(cache=True, error_model="numpy")
def flown(elements, sign, seconds, states):  # type: ignore[no-untyped-def]
    """Fill `states` (T, 6) of one orbit at `seconds` (T,); False when there is no bound orbit."""
    orbit = np.empty(16)
    if not _prepare(elements, sign, orbit):
        return False
    for i in range(len(seconds)):
        _fly(orbit, seconds[i], states[i])
    return True
