"""The RTN frame of an object (radial, transverse, normal), and vectors and covariances turned into and out of it.

R is along the position, N along the orbital angular momentum, T completes the right-handed set (along the velocity on a
circular orbit). CCSDS 508.0-B-1, annex E, and CCSDS 502.0-B-3, annex B, call it RTN; elsewhere it is RSW, UVW or RIC. A
covariance is turned as the frame stands at that instant: the frame's own rotation is not part of it (508.0-B-1, 6.2.2), so
position and velocity blocks turn by the same matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.frames import FloatArray, rtn_axes


def rtn_rotation(r_km: npt.ArrayLike, v_km_s: npt.ArrayLike) -> FloatArray:
    """Return the matrix (3, 3) whose rows are R, T and N of a state: it takes inertial components to RTN ones.

    Raises:
        ConjunctionError: position and velocity are parallel, zero or not finite: such a state has no orbital plane.
    """
    position, velocity = np.asarray(r_km, np.float64), np.asarray(v_km_s, np.float64)
    normal = np.cross(position, velocity)
    radius, momentum = float(np.linalg.norm(position)), float(np.linalg.norm(normal))
    if not momentum > 1e-12 * radius * float(np.linalg.norm(velocity)) or not np.isfinite(momentum):
        raise ConjunctionError("a state without an orbital plane: position and velocity are parallel, zero or not finite")
    return np.asarray(rtn_axes(position[None], velocity[None])[0])


def to_rtn(vector: npt.ArrayLike, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike) -> FloatArray:
    """Return inertial vectors (..., 3) in the RTN frame of a state.

    Raises:
        ConjunctionError: the state has no orbital plane.
    """
    return np.asarray(np.asarray(vector, np.float64) @ rtn_rotation(r_km, v_km_s).T)


def from_rtn(vector: npt.ArrayLike, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike) -> FloatArray:
    """Return vectors (..., 3) in the RTN frame of a state as inertial ones.

    Raises:
        ConjunctionError: the state has no orbital plane.
    """
    return np.asarray(np.asarray(vector, np.float64) @ rtn_rotation(r_km, v_km_s))


def covariance_to_rtn(covariance: npt.ArrayLike, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike) -> FloatArray:
    """Return an inertial covariance (3, 3) of position, or (6, 6) of position and velocity, in the RTN frame of a state.

    Raises:
        ConjunctionError: the state has no orbital plane.
    """
    return rotated(covariance, rtn_rotation(r_km, v_km_s))


def covariance_from_rtn(covariance: npt.ArrayLike, r_km: npt.ArrayLike, v_km_s: npt.ArrayLike) -> FloatArray:
    """Return an RTN covariance (3, 3) or (6, 6) in the inertial frame that the state is given in.

    Raises:
        ConjunctionError: the state has no orbital plane.
    """
    return rotated(covariance, rtn_rotation(r_km, v_km_s).T)


def rotated(covariance: npt.ArrayLike, rotation: FloatArray) -> FloatArray:
    """Turn every 3 x 3 block of a covariance (3n, 3n) by `rotation` (3, 3); the result is exactly symmetric.

    Raises:
        ValueError: the covariance is not square in threes.
    """
    given = np.asarray(covariance, np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] % 3:
        raise ValueError(f"a covariance is (3, 3) or (6, 6), not {given.shape}")
    blocks = np.kron(np.eye(given.shape[0] // 3), rotation)
    turned = blocks @ given @ blocks.T
    return np.asarray((turned + turned.T) / 2)
