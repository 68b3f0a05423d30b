"""Collision probability of any encounter: the expected number of times that one object enters the other's sphere.

The rate at which the relative path crosses the sphere of the hard-body radius R inwards is a surface integral (Coppola 2012,
AAS 12-248, after Rice's formula):

    dN/dt = R^2 int_{|u| = 1} p(R u; t) E[max(0, -u . v) | r = R u] dS(u)

with p the density of the relative position, and v the relative velocity, normal as well once the position is given. Density
and velocity come from the peak of overlap at each time (`overlap`; Hall 2021), so bent paths, slow meetings and several
meetings in a row are in. Its integral over the encounter is the expected number of collisions Nc; the probability Pc is at
most that, and is that where a second entry is rare. What begins inside the sphere is added.

The sphere is integrated in a frame of its own at each time, its pole against the relative velocity: Gauss-Legendre in each
hemisphere (the integrand has a kink where paths graze, near the equator), even steps around; the number of nodes grows with R
over the smallest sigma. (Lebedev's rules, which the papers use, end at degree 131 and know no kink.) Time is integrated
by adaptive Gauss-Kronrod panels around every peak of the overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from orbitloop.orbit.conjunction.cloud import ElementCloud, cloud_of, half_revolution_s, risk_window_s
from orbitloop.orbit.conjunction.covariance import CLIP_FRACTION
from orbitloop.orbit.conjunction.encounter import Encounter
from orbitloop.orbit.conjunction.overlap import Overlap, floored, overlap
from orbitloop.orbit.frames import FloatArray

_SCAN = 241
_DEPTH = 40.0
"""Peaks of overlap e^-40 below the highest are left out; so is the rate below 1e-9 of its highest."""
_TAIL = 1e-9
_TOLERANCE = 1e-4
_LONG = 0.01
"""Of the shorter period: a meeting that lasts longer may bend back on itself."""
_COUNTED_TWICE = 1e-3
_ROUNDS = 12
_MOST_NODES = 96
"""Polar nodes of a hemisphere: enough to R = 30 sigma; `reasons` says where it was not."""

Rate = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class SphereProbability:
    """What the sphere says.

    `expected` is the expected number of collisions Nc, `value` = min(1, Nc). `times_s` (T,) after closest approach in ascending
    order and `rates_per_s` (T,) are where the rate was taken; `peak_s` is when it is highest, `begin_s` and `end_s` between
    which the middle 1 - 1e-6 of it falls. `window_s` is what was searched. `error` is the estimated relative error of the
    integration, not of the model; `reasons` says why the number may be wrong, empty when nothing speaks against it.
    """

    value: float
    expected: float
    peak_s: float
    begin_s: float
    end_s: float
    window_s: tuple[float, float]
    times_s: FloatArray
    rates_per_s: FloatArray
    error: float
    reasons: tuple[str, ...]


def pc3d(encounter: Encounter, *, half_window_s: float | None = None) -> SphereProbability:
    """Return the expected number of collisions of an encounter.

    Args:
        half_window_s: how long before and after closest approach to look; half of the shorter period by default. More sums
            over repeated encounters.

    Raises:
        ConjunctionError: an object has no covariance, or is not on an orbit around the Earth.
    """
    first, second = cloud_of(encounter.primary), cloud_of(encounter.secondary)
    half_s = half_revolution_s(first, second) if half_window_s is None else half_window_s
    window = risk_window_s(encounter, first, second, half_s)
    radius_km = encounter.hard_body_radius_km

    def rate(seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
        seen = overlap(first, second, seconds, radius_km)
        return entry_rates(seen, radius_km), seen.converged

    peaks = _peaks(first, second, window, radius_km)
    edges = _edges(lambda t: rate(t)[0], peaks, window, first, second, radius_km)
    times, rates, converged, integral, error = _integrated(rate, edges)
    inside = _inside(first, second, window[0], radius_km) if rates.size and rates[0] > 1e-6 * rates.max() else 0.0
    expected = integral + inside
    order = np.argsort(times)
    times, rates, converged = times[order], rates[order], converged[order]
    begin, peak, end = _when(times, rates)
    long = end - begin > _LONG * min(first.period_s, second.period_s)
    reasons = _reasons(times, rates, converged, error, expected, window, half_s, long)
    if _nodes_needed(radius_km, overlap(first, second, peaks, radius_km).covariance[:, :3, :3]) > _MOST_NODES:
        reasons += ("the covariance is too narrow against the hard-body radius for the sphere's nodes",)
    return SphereProbability(min(1.0, expected), expected, peak, begin, end, window, times, rates, error, reasons)


def entry_rates(seen: Overlap, radius_km: float) -> FloatArray:
    """Return the rate (T,), 1/s, at which relative paths enter the sphere."""
    out = np.empty(len(seen.mean))
    for start in range(0, len(out), 64):
        part = slice(start, start + 64)
        out[part] = _entry_rates(seen.mean[part], seen.covariance[part], radius_km)
    return out


def _entry_rates(mean: FloatArray, covariance: FloatArray, radius_km: float) -> FloatArray:
    from scipy.special import erfc

    position = floored(covariance[:, :3, :3], CLIP_FRACTION * radius_km)
    mixed = covariance[:, 3:, :3]
    inverse = np.linalg.inv(position)
    gain = mixed @ inverse  # velocity from position
    spread = covariance[:, 3:, 3:] - gain @ np.swapaxes(mixed, -1, -2)
    at_zero = mean[:, 3:] - np.einsum("tij,tj->ti", gain, mean[:, :3])
    node, weight = _sphere(_nodes_for(radius_km, position))
    outward = node @ _frames(-at_zero)
    offset = radius_km * outward - mean[:, None, :3]
    exponent = -0.5 * ((offset @ inverse) * offset).sum(-1)
    scale = np.exp(-0.5 * np.linalg.slogdet(position)[1] - 1.5 * np.log(2 * np.pi))
    speed = (outward * (mean[:, None, 3:] + offset @ np.swapaxes(gain, -1, -2))).sum(-1)
    variance = ((outward @ spread) * outward).sum(-1)
    sigma = np.sqrt(np.maximum(variance, 0.0)) + 1e-15
    ratio = np.clip(speed / sigma, -1e6, 1e6)
    inward = sigma * np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi) - speed * 0.5 * erfc(ratio / np.sqrt(2))
    return np.asarray(radius_km**2 * scale * ((np.exp(exponent) * np.maximum(inward, 0.0)) @ weight))


def _nodes_needed(radius_km: float, position: FloatArray) -> float:
    """Return the polar nodes of a hemisphere that resolve the narrowest of the densities (T, 3, 3)."""
    narrowest = float(np.sqrt(max(np.linalg.eigvalsh(position)[:, 0].min(), 0.0)))
    return float(6 + 3 * radius_km / max(narrowest, 1e-9 * radius_km))


def _nodes_for(radius_km: float, position: FloatArray) -> int:
    # In eights, so that few different rules are made.
    return int(np.clip(8 * np.ceil(_nodes_needed(radius_km, position) / 8), 8, _MOST_NODES))


@cache
def _sphere(polar: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes (K, 3) and weights (K,) of the unit sphere, apart for the hemispheres z > 0 and z < 0."""
    height, weight = np.polynomial.legendre.leggauss(polar)
    height, weight = (height + 1) / 2, weight / 2
    around = np.arange(2 * polar) * (np.pi / polar)
    ring = np.sqrt(1 - height**2)
    x, y = np.outer(ring, np.cos(around)), np.outer(ring, np.sin(around))
    z = np.repeat(height[:, None], 2 * polar, 1)
    upper = np.stack([x, y, z], -1).reshape(-1, 3)
    each = np.repeat(weight * (np.pi / polar), 2 * polar)
    return np.concatenate([upper, upper * [1, 1, -1]]), np.concatenate([each, each])


def _frames(pole: FloatArray) -> FloatArray:
    """Return rotations (T, 3, 3) whose third row is along `pole` (T, 3)."""
    length = np.linalg.norm(pole, axis=1, keepdims=True)
    z = np.where(length > 0, pole / np.where(length > 0, length, 1.0), [0.0, 0.0, 1.0])
    least = np.eye(3)[np.argmin(np.abs(z), axis=1)]
    x = np.cross(least, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _peaks(first: ElementCloud, second: ElementCloud, window: tuple[float, float], radius_km: float) -> FloatArray:
    """Return the times (P,) at which the overlap peaks, each to a small part of how long it lasts."""
    times = np.linspace(*window, _SCAN)
    height = _height(overlap(first, second, times, radius_km))
    left, right = np.r_[-np.inf, height[:-1]], np.r_[height[1:], -np.inf]
    found = np.nonzero((height >= left) & (height >= right) & (height > -np.inf))[0]
    # A scan this coarse may see a short meeting from afar only: none is dropped before it is refined.
    centre, reach = times[found], np.full(len(found), times[1] - times[0])
    best = height[found]
    for _ in range(_ROUNDS):
        grid = np.clip(centre[:, None] + reach[:, None] * np.linspace(-1, 1, 9), *window)
        seen = overlap(first, second, grid.ravel(), radius_km)
        height = _height(seen).reshape(grid.shape)
        top = np.argmax(height, axis=1)
        centre, best = (a[np.arange(len(top)), top] for a in (grid, height))
        passing = _passing_s(seen).reshape(grid.shape)[np.arange(len(top)), top]
        reach = reach / 3
        if (reach < 0.3 * passing).all():
            break
    if not len(best):
        return np.array([0.0])
    return np.unique(centre[best >= best.max() - _DEPTH])


def _solved(seen: Overlap, floor_km: float, vectors: FloatArray) -> FloatArray:
    """Return the inverse position covariances times `vectors`, (T, 3)."""
    return np.asarray(np.linalg.solve(floored(seen.covariance[:, :3, :3], floor_km), vectors[..., None])[..., 0])


def _height(seen: Overlap) -> FloatArray:
    return np.where(np.isfinite(seen.log_peak), seen.log_peak, -np.inf)


def _passing_s(seen: Overlap) -> FloatArray:
    """Return how long (T,) the relative motion takes to cross one sigma of the density along itself."""
    velocity = seen.mean[:, 3:]
    crossed = np.einsum("ti,ti->t", velocity, _solved(seen, 1e-9, velocity))
    return np.asarray(1 / np.sqrt(np.maximum(crossed, 1e-30)))


def _edges(
    rate: Rate,
    peaks: FloatArray,
    window: tuple[float, float],
    first: ElementCloud,
    second: ElementCloud,
    radius_km: float,
) -> FloatArray:
    """Return panels (M, 2) of time that cover what is not negligible, finest at the peaks."""
    seen = overlap(first, second, peaks, radius_km)
    whole = window[1] - window[0]
    scale = np.minimum(np.maximum(_passing_s(seen), radius_km / np.linalg.norm(seen.mean[:, 3:], axis=1)), whole / 8)
    steps = np.r_[0, 1.5 ** np.arange(60)]
    steps = np.r_[-steps[:0:-1], steps]
    times = np.unique(np.clip(peaks[:, None] + scale[:, None] * steps, *window))
    live = rate(times)
    live = live > _TAIL * live.max()
    near = live | np.r_[live[1:], False] | np.r_[False, live[:-1]]
    if not live.any():
        near[:] = True
    panels = np.stack([times[:-1], times[1:]], 1)
    return np.asarray(panels[near[:-1] & near[1:]])


# Gauss-Kronrod 7/15 (QUADPACK, Piessens et al. 1983): half of the symmetric nodes, their weights, and the Gauss weights.
_KRONROD = np.array(
    [
        [0.991455371120812639206854697526329, 0.022935322010529224963732008058970, 0.0],
        [0.949107912342758524526189684047851, 0.063092092629978553290700663189204, 0.129484966168869693270611432679082],
        [0.864864423359769072789712788640926, 0.104790010322250183839876322541518, 0.0],
        [0.741531185599394439863864773280788, 0.140653259715525918745189590510238, 0.279705391489276667901467771423780],
        [0.586087235467691130294144838258730, 0.169004726639267902826583426598550, 0.0],
        [0.405845151377397166906606412076961, 0.190350578064785409913256402421014, 0.381830050505118944950369775488975],
        [0.207784955007898467600689403773245, 0.204432940075298892414161999234649, 0.0],
        [0.0, 0.209482141084727828012999174891714, 0.417959183673469387755102040816327],
    ]
)
_NODE = np.r_[-_KRONROD[:, 0], _KRONROD[-2::-1, 0]]
_WEIGHT = np.r_[_KRONROD[:, 1], _KRONROD[-2::-1, 1]]
_GAUSS = np.r_[_KRONROD[:, 2], _KRONROD[-2::-1, 2]]


def _integrated(
    rate: Callable[[FloatArray], tuple[FloatArray, FloatArray]], panels: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, float, float]:
    """Integrate over panels (M, 2), halving those that are not fine enough.

    Returns:
        times, rates and convergence of the final panels, the integral, and its estimated relative error.
    """
    done: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    total, slack = 0.0, 0.0
    for round_ in range(_ROUNDS):
        half = (panels[:, 1] - panels[:, 0])[:, None] / 2
        times = panels.mean(axis=1)[:, None] + half * _NODE
        rates, converged = (a.reshape(times.shape) for a in rate(times.ravel()))
        value = (rates @ _WEIGHT) * half[:, 0]
        doubt = np.abs(value - (rates @ _GAUSS) * half[:, 0])
        whole = total + float(value.sum())
        fine = doubt <= _TOLERANCE * whole / max(8, len(panels))
        if round_ == _ROUNDS - 1:
            fine[:] = True
        total += float(value[fine].sum())
        slack += float(doubt[fine].sum())
        done.append((times[fine].ravel(), rates[fine].ravel(), converged[fine].ravel()))
        if fine.all():
            break
        coarse = panels[~fine]
        middle = coarse.mean(axis=1)
        panels = np.concatenate([np.stack([coarse[:, 0], middle], 1), np.stack([middle, coarse[:, 1]], 1)])
    times, rates, converged = (np.concatenate(column) for column in zip(*done, strict=True))
    return times, rates, converged, total, slack / total if total > 0 else 0.0


def _inside(first: ElementCloud, second: ElementCloud, when_s: float, radius_km: float) -> float:
    """Return the probability that the objects are within the sphere already at a time."""
    floor_km = CLIP_FRACTION * radius_km
    seen = overlap(first, second, np.array([when_s]), radius_km)
    position = floored(seen.covariance[:, :3, :3], floor_km)
    node, weight = _sphere(_nodes_for(radius_km, position))
    depth, share = np.polynomial.legendre.leggauss(24)
    depth, share = (depth + 1) / 2, share / 2
    offset = radius_km * depth[:, None, None] * node - seen.mean[0, :3]
    exponent = -0.5 * np.einsum("dki,ij,dkj->dk", offset, np.linalg.inv(position[0]), offset)
    scale = np.exp(-0.5 * np.linalg.slogdet(position[0])[1] - 1.5 * np.log(2 * np.pi))
    return float(radius_km**3 * scale * ((np.exp(exponent) @ weight) @ (share * depth**2)))


def _when(times: FloatArray, rates: FloatArray) -> tuple[float, float, float]:
    """Return when the rate begins, peaks and ends (the middle 1 - 1e-6 of its sum)."""
    mass = np.r_[0.0, np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(times))]
    if not mass[-1] > 0:
        return float(times[0]), float(times[len(times) // 2]), float(times[-1])
    begin, end = np.interp([0.5e-6, 1 - 0.5e-6], mass / mass[-1], times)
    return float(begin), float(times[int(np.argmax(rates))]), float(end)


def _meetings(times: FloatArray, rates: FloatArray) -> int:
    """Return how many separate meetings make up a hundredth of the sum each."""
    mass = np.r_[0.0, (rates[1:] + rates[:-1]) / 2 * np.diff(times)]
    live = rates > 1e-3 * rates.max()
    begins = np.flatnonzero(live & ~np.r_[False, live[:-1]])
    return int((np.add.reduceat(np.where(live, mass, 0.0), begins) > 1e-2 * mass.sum()).sum()) if begins.size else 0


def _reasons(
    times: FloatArray,
    rates: FloatArray,
    converged: FloatArray,
    error: float,
    expected: float,
    window: tuple[float, float],
    half_s: float,
    long: bool,
) -> tuple[str, ...]:
    """Say what speaks against the number."""
    found = []
    top = float(rates.max()) if rates.size else 0.0
    if top > 0 and (rates[~converged.astype(bool)] > 1e-3 * top).any():
        found.append("the peak of overlap was not found at a time that counts")
    elif not converged.all() and not top > 0:
        found.append("the clouds are wider than orbits: no peak of overlap was found at all")
    if error > 1e-2:
        found.append(f"the integration is good to {error:.0%} only")
    if top > 0 and max(rates[0], rates[-1]) > 1e-3 * top and max(-window[0], window[1]) > 0.99 * half_s:
        found.append("the encounter goes on past half a revolution: what is beyond belongs to the next")
    if expected > _COUNTED_TWICE and (long or _meetings(times, rates) > 1):
        found.append("a pair may meet more than once: it is an upper bound")
    return tuple(found)
