"""Collision probability of a short encounter, in its plane (Foster & Estes 1992, JSC-25898; Akella & Alfriend 2000).

Where both objects fly straight and their covariance stands still while they pass, the probability is the integral of the
relative position's density, projected along the relative velocity, over a disc of the hard-body radius R:

    Pc = 1/(2 pi sx sy) int_{x^2 + y^2 <= R^2} exp(-(x - mx)^2 / (2 sx^2) - (y - my)^2 / (2 sy^2)) dx dy

in the principal axes of the covariance. The inner integral is a difference of complementary error functions, which keeps its
digits in the far tail; the outer one, after x = R sin(a), is a smooth function of the angle (Gauss-Chebyshev in x). Where a
sigma is small against R fixed nodes would step over the peak. But the integrand is logarithmically concave (a marginal of a
log-concave function over a convex set, Prékopa 1973): it has one peak, which is found, and Gauss-Legendre nodes are laid
where it is within e^-50 of it. Whether the assumption holds is not asked here; see `validity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.conjunction.covariance import Remedied, remedy_position
from orbitloop.orbit.conjunction.encounter import Encounter, encounter_plane
from orbitloop.orbit.frames import FloatArray

_NODES = 48
_FINE_NODES = 160
_WIDE_SIGMA = 0.5
"""Of R: with both sigmas above it the fixed nodes give 1e-12; below, the peak is sought."""
_NEGLIGIBLE = 50.0
_NOTHING = -800.0
"""Logarithm of what no double holds."""


@dataclass(frozen=True, slots=True, eq=False)
class PlaneProbability:
    """What the encounter plane says.

    `mahalanobis` is the miss distance in sigmas of its own direction; `covariance` what was used, and whether it had to be
    mended.
    """

    value: float
    mahalanobis: float
    miss_km: FloatArray
    covariance: Remedied


def pc2d(encounter: Encounter) -> PlaneProbability:
    """Return the two-dimensional collision probability, the projected covariance mended where it has to be.

    Raises:
        ConjunctionError: an object has no covariance, or the objects do not move against each other.
    """
    plane = encounter_plane(encounter)
    radius_km = encounter.hard_body_radius_km
    mended = remedy_position(plane.covariance_km, radius_km)
    along = mended.axes.T @ plane.miss_km
    value = axis_probability(along[None], mended.variances[None], np.array([radius_km]))[0]
    distance = float(np.sqrt((along**2 / mended.variances).sum()))
    return PlaneProbability(float(value), distance, plane.miss_km, mended)


def disc_probability(miss_km: npt.ArrayLike, covariance_km: npt.ArrayLike, radius_km: npt.ArrayLike) -> FloatArray:
    """Return the mass (N,) of normal densities inside discs around the origin.

    Args:
        miss_km: their means, (N, 2), km.
        covariance_km: (N, 2, 2), km^2, positive definite.
        radius_km: of the discs, a number or (N,), km.

    Raises:
        ValueError: a covariance is not positive definite.
    """
    miss, covariance = np.asarray(miss_km, np.float64), np.asarray(covariance_km, np.float64)
    variances, axes = np.linalg.eigh(covariance)
    if not (variances > 0).all():
        raise ValueError("a covariance is not positive definite: mend it first (covariance.remedy_position)")
    radius = np.broadcast_to(np.asarray(radius_km, np.float64), miss.shape[:1])
    return axis_probability(np.einsum("nij,ni->nj", axes, miss), variances, radius)


def axis_probability(miss_km: FloatArray, variances: FloatArray, radius_km: FloatArray) -> FloatArray:
    """Return what `disc_probability` returns, where principal axes are known.

    Args:
        miss_km: means, (N, 2), along the axes.
        variances: along them, (N, 2), km^2, the smaller one first.
        radius_km: of the discs, (N,).
    """
    sigma = np.sqrt(variances) / radius_km[:, None]
    # x along the smaller sigma: the strips across it then have smooth masses, and what is narrow is where nodes are laid.
    mean = np.abs(miss_km) / radius_km[:, None]
    mx, my, sx, sy = mean[:, 0], mean[:, 1], sigma[:, 0], sigma[:, 1]
    wide = sx >= _WIDE_SIGMA
    found = np.empty(len(miss_km))
    found[wide] = _fixed(mx[wide], my[wide], sx[wide], sy[wide])
    for index in np.nonzero(~wide)[0].tolist():
        found[index] = _sought(float(mx[index]), float(my[index]), float(sx[index]), float(sy[index]))
    return np.clip(found, 0.0, 1.0)


def _fixed(mx: FloatArray, my: FloatArray, sx: FloatArray, sy: FloatArray) -> FloatArray:
    """Integrate over the unit disc on nodes that are the same for all (N,)."""
    from scipy.special import erfc

    node, weight = _legendre(_NODES)
    angle = node * (np.pi / 2)
    x, h = np.sin(angle), np.cos(angle)
    scale = np.sqrt(2.0) * sy[:, None]
    # my >= 0: of both sides this takes the smaller tail, which keeps its digits.
    mass = erfc((my[:, None] - h) / scale) - erfc((my[:, None] + h) / scale)
    density = np.exp(-0.5 * ((x - mx[:, None]) / sx[:, None]) ** 2) * mass
    return np.asarray(density @ (weight * h) * (np.pi / 2) / (2 * np.sqrt(2 * np.pi) * sx))


def _sought(mx: float, my: float, sx: float, sy: float) -> float:
    """Integrate over the unit disc where the integrand is not negligible, of sigmas however small."""

    def log_density(angle: FloatArray) -> FloatArray:
        x, h = np.sin(angle), np.cos(angle)
        return np.asarray(-0.5 * ((x - mx) / sx) ** 2 + _log_strip(h, my, sy))

    low, high = -np.pi / 2, np.pi / 2
    for _ in range(40):
        grid = np.linspace(low, high, 65)
        values = log_density(grid)
        peak = int(np.argmax(values))
        if not values[peak] > _NOTHING:
            return 0.0
        kept = np.nonzero(values > values[peak] - _NEGLIGIBLE)[0]
        first, last = max(int(kept[0]) - 1, 0), min(int(kept[-1]) + 1, 64)
        low, high = float(grid[first]), float(grid[last])
        if last - first > 48:
            break
    node, weight = _legendre(_FINE_NODES)
    half = (high - low) / 2
    angle = (low + high) / 2 + half * node
    density = np.exp(log_density(angle)) * np.cos(angle)
    return float(density @ weight * half / (sx * np.sqrt(2 * np.pi)))


def _log_strip(h: FloatArray, my: float, sy: float) -> FloatArray:
    """Return the logarithm of the mass between -h and h in y; nothing underflows in it."""
    from scipy.special import erfc, erfcx

    scale = np.sqrt(2.0) * sy
    near, far = (my - h) / scale, (my + h) / scale
    tail = np.maximum(near, 0.0)
    with np.errstate(divide="ignore"):
        outside = np.log(erfcx(tail) - erfcx(far) * np.exp(tail**2 - far**2)) - tail**2
        inside = np.log(erfc(np.minimum(near, 0.0)) - erfc(far))
    return np.asarray(np.where(near > 0, outside, inside) - np.log(2.0))


@cache
def _legendre(count: int) -> tuple[FloatArray, FloatArray]:
    node, weight = np.polynomial.legendre.leggauss(count)
    return np.asarray(node), np.asarray(weight)
