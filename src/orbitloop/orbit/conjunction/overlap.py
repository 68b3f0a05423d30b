"""Where two clouds of orbits overlap at a time: the most probable way to collide then, and both clouds as seen from there.

Each cloud is normal in equinoctial elements, so it is bent in space. A tangent at its mean is wrong where it is bent; but a
collision asks for one place only. The peak of overlap is the pair of element sets, the most probable of all, that puts both
objects within the hard-body radius of each other at time t. It is a least-squares problem with one constraint, solved by
linearising again until it stands still; the tangent taken there gives each cloud's effective mean and covariance (Hall 2021,
"Expected rates and numbers of conjunctions and collisions", AAS 21, who takes both centres in one place: the same where the
radius is small against the sigmas; where it is large, a touch is many sigmas more probable than that, and elsewhere).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitloop.orbit.conjunction.cloud import ElementCloud
from orbitloop.orbit.conjunction.covariance import CLIP_FRACTION
from orbitloop.orbit.conjunction.equinoctial import advanced, states_and_slopes, transition
from orbitloop.orbit.frames import FloatArray

_ROUNDS = 24
_STILL = 1e-5
"""Change of the squared Mahalanobis distance, relative to 1 + itself, below which a solution stands."""
_MOST_ECCENTRIC = 0.995
_HALVINGS = 12
_HALVINGS_OF_M = 30
_ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Effective relative states at T times, secondary less primary, inertial.

    `mean` (T, 6) km and km/s, `covariance` (T, 6, 6), `log_peak` (T,) the logarithm of the relative position's density where it
    is highest in the sphere, in 1/km^3; `converged` (T,) says where the search stood still.
    """

    mean: FloatArray
    covariance: FloatArray
    log_peak: FloatArray
    converged: FloatArray


def overlap(first: ElementCloud, second: ElementCloud, seconds: FloatArray, radius_km: float) -> Overlap:
    """Find the peaks of overlap at `seconds` (T,) after closest approach, of two objects of one hard-body radius together.

    The relative position has no sigma below `CLIP_FRACTION` of the radius in any direction.
    """
    floor_km = CLIP_FRACTION * radius_km
    count = len(seconds)
    step = transition(seconds)
    guesses = [np.repeat(cloud.mean[None], count, 0) for cloud in (first, second)]
    clouds = (first, second)
    distance2 = np.full(count, np.inf)
    still = np.zeros(count, bool)
    mean, covariance, position = np.empty((count, 6)), np.empty((count, 6, 6)), np.empty((count, 3, 3))
    open_ = np.arange(count)
    for _ in range(_ROUNDS):
        local_mean, local_covariance, gains = np.zeros((len(open_), 6)), np.zeros((len(open_), 6, 6)), []
        for cloud, guess, sign in zip(clouds, guesses, (-1.0, 1.0), strict=True):
            state, slopes = states_and_slopes(advanced(guess[open_], seconds[open_]), cloud.sign)
            slopes = slopes @ step[open_]
            local_mean += sign * (state + np.einsum("tij,tj->ti", slopes, cloud.mean - guess[open_]))
            gain = cloud.covariance @ np.swapaxes(slopes, -1, -2)
            local_covariance += slopes @ gain
            gains.append(gain[..., :3])
        # Clouds wider than an orbit can lead to no orbit at all: such a time is given up, and told.
        lost = ~(np.isfinite(local_mean).all(axis=1) & np.isfinite(local_covariance).all(axis=(1, 2)))
        local_mean[lost], local_covariance[lost] = 1e9, np.eye(6)
        local_position = floored(local_covariance[:, :3, :3], floor_km)
        beyond = local_mean[:, :3] - _touching(local_mean[:, :3], local_position, radius_km)
        multiplier = np.linalg.solve(local_position, beyond[..., None])
        squared = np.einsum("ti,ti->t", beyond, multiplier[..., 0])
        mean[open_], covariance[open_], position[open_] = local_mean, local_covariance, local_position
        settled = np.abs(squared - distance2[open_]) <= _STILL * (1 + squared)
        distance2[open_] = squared
        still[open_] = settled & ~lost
        settled |= lost
        for index, sign in ((0, 1.0), (1, -1.0)):
            wanted = clouds[index].mean + sign * (gains[index] @ multiplier)[..., 0]
            guesses[index][open_] = _bound(wanted, guesses[index][open_])
        open_ = open_[~settled]
        if not open_.size:
            break
    log_peak = -0.5 * distance2 - 0.5 * np.linalg.slogdet(position)[1] - 1.5 * np.log(2 * np.pi)
    return Overlap(mean, covariance, log_peak, still)


def _touching(mean: FloatArray, covariance: FloatArray, radius_km: float) -> FloatArray:
    """Return the places (T, 3) inside the sphere where normal densities (T, 3) and (T, 3, 3) are highest.

    It is the mean where that lies inside; else (1 + m A)^-1 mean, in the axes of the covariance A, with the m > 0 that puts it
    on the surface: found between its bounds by halving their logarithms, which is more than a place for a tangent asks for.
    """
    values, vectors = np.linalg.eigh(covariance)
    along = np.einsum("tji,tj->ti", vectors, mean)
    distance = np.linalg.norm(mean, axis=1)
    excess = np.maximum(distance / radius_km - 1.0, 1e-12)
    low, high = np.log(excess / values[:, 2]), np.log((excess + 1.0) / values[:, 0])
    for _ in range(_HALVINGS_OF_M):
        middle = (low + high) / 2
        far = np.linalg.norm(along / (1.0 + np.exp(middle)[:, None] * values), axis=1) > radius_km
        low, high = np.where(far, middle, low), np.where(far, high, middle)
    place = np.einsum("tij,tj->ti", vectors, along / (1.0 + np.exp(high)[:, None] * values))
    return np.where((distance <= radius_km)[:, None], mean, place)


def floored(covariance: FloatArray, floor_km: float) -> FloatArray:
    """Return position covariances (T, 3, 3) with no sigma below `floor_km`, nor one that rounding beside the largest eats."""
    values, vectors = np.linalg.eigh(covariance)
    floor = np.maximum(floor_km**2, _ROUNDING * values[:, 2:])
    if (values[:, :1] >= floor).all():
        return covariance
    return np.asarray((vectors * np.maximum(values, floor)[:, None]) @ np.swapaxes(vectors, -1, -2))


def _bound(wanted: FloatArray, now: FloatArray) -> FloatArray:
    """Return `wanted`, or as much of the way there as keeps an orbit bound."""
    share = np.ones(len(wanted))
    for _ in range(_HALVINGS):
        tried = now + share[:, None] * (wanted - now)
        fine = (np.hypot(tried[:, 1], tried[:, 2]) <= _MOST_ECCENTRIC) & (tried[:, 0] >= 0.2 * now[:, 0])
        fine &= np.isfinite(tried).all(axis=1)
        if fine.all():
            break
        share = np.where(fine, share, share / 2)
    return np.where(fine[:, None], tried, now)
