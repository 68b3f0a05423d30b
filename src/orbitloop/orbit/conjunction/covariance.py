"""Covariances that are none: found, mended, and told.

A covariance has no negative eigenvalue. Those in messages sometimes do, by rounding, by a truncated element, by propagation of
an ill-conditioned solution. The remedy is to lift eigenvalues to a floor (Hall, Hejduk & Johnson 2017, "Remediating
non-positive definite state covariances for collision probability estimation", AAS 17-567): in the encounter plane the floor
is (1e-4 hard-body radius)^2, too small to change a probability that was sound. A covariance (6, 6) mixes km and km/s, and its
eigenvalues would hang on those units; so it is clipped as a correlation matrix, in units of its own sigmas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.frames import FloatArray

CLIP_FRACTION = 1e-4
"""Of the hard-body radius: the smallest sigma that a position covariance may have (AAS 17-567)."""
_ROUNDING = 1e-13
"""Eigenvalues of a correlation matrix are summed from numbers near one: below this they are rounding of our own."""


@dataclass(frozen=True, slots=True, eq=False)
class Remedied:
    """A covariance fit for use, and what it took.

    `lowest` is the smallest eigenvalue as given (km^2, or a fraction where a (6, 6) was clipped as a correlation matrix),
    `clipped` how many were lifted to the floor; 0 says that `matrix` is the one given. `variances` (n,) and `axes` (n, n), in
    columns, are its eigenvalues and vectors: what was lifted to a floor far below the others is exact there, and lost by
    rounding in the matrix (for a (6, 6) they are those of the correlation matrix).
    """

    matrix: FloatArray
    clipped: int
    lowest: float
    variances: FloatArray
    axes: FloatArray


def remedy_position(covariance_km: npt.ArrayLike, hard_body_radius_km: float) -> Remedied:
    """Lift the eigenvalues of a position covariance (n, n), km^2, to (1e-4 hard-body radius)^2.

    Raises:
        ConjunctionError: it holds a number that is not finite.
    """
    given = _checked(covariance_km)
    values, vectors = np.linalg.eigh(given)
    lifted = np.maximum(values, (CLIP_FRACTION * hard_body_radius_km) ** 2)
    clipped = int((lifted > values).sum())
    mended = (vectors * lifted) @ vectors.T if clipped else given
    return Remedied(np.asarray((mended + mended.T) / 2), clipped, float(values[0]), lifted, vectors)


def remedy_state(covariance: npt.ArrayLike) -> Remedied:
    """Make a covariance of mixed units (n, n) positive semi-definite.

    Negative eigenvalues of its correlation matrix go to zero. A negative variance, which has no sigma to count in, goes to
    zero with its whole row.

    Raises:
        ConjunctionError: it holds a number that is not finite.
    """
    given = _checked(covariance)
    variances = np.diag(given)
    sound = variances > 0
    sigma = np.sqrt(np.where(sound, variances, 0.0))
    inverse = np.where(sound, 1.0 / np.where(sound, sigma, 1.0), 0.0)
    correlation = given * np.outer(inverse, inverse)
    values, vectors = np.linalg.eigh(correlation)
    broken = int((variances < 0).sum())
    # A row that is zero gives an eigenvalue of zero, which is fine; so is one that is zero within rounding.
    low = values < -_ROUNDING * len(values)
    loose = bool((~sound).any() and np.abs(given[~sound]).max() > 0)
    if not low.any() and not loose:
        return Remedied(given, 0, float(values[0]), values, vectors)
    lifted = np.maximum(values, 0.0)
    mended = (vectors * lifted) @ vectors.T * np.outer(sigma, sigma)
    lowest = min(float(values[0]), -1.0 if broken else 0.0)
    return Remedied(np.asarray((mended + mended.T) / 2), max(1, int(low.sum()) + broken), lowest, lifted, vectors)


def root_of(covariance: npt.ArrayLike) -> FloatArray:
    """Return a matrix L (n, n) with L @ L.T the covariance, for drawing from it; it need not be of full rank.

    The covariance is scaled by its own sigmas first, so that kilometres and radians keep their digits; negative eigenvalues
    are taken as zero.

    Raises:
        ConjunctionError: it holds a number that is not finite.
    """
    given = _checked(covariance)
    sigma = np.sqrt(np.maximum(np.diag(given), 0.0))
    inverse = np.where(sigma > 0, 1.0 / np.where(sigma > 0, sigma, 1.0), 0.0)
    values, vectors = np.linalg.eigh(given * np.outer(inverse, inverse))
    return np.asarray(sigma[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def _checked(covariance: npt.ArrayLike) -> FloatArray:
    given = np.asarray(covariance, np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(f"a covariance is square, not of shape {given.shape}")
    if not np.isfinite(given).all():
        raise ConjunctionError("a covariance holds a number that is not finite")
    return np.asarray((given + given.T) / 2)
