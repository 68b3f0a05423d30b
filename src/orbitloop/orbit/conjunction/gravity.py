"""The motion that screening assumes between SGP4's states: the Earth's point mass and J2, with the constants of SGP4 (WGS-72).

`kernels` has the same formula compiled, for one object at a time.
"""

from __future__ import annotations

import numpy as np

from orbitloop.orbit.earth import WGS72_J2, WGS72_MU_KM3_S2, WGS72_RADIUS_KM
from orbitloop.orbit.frames import FloatArray

GRADIENT_PER_S2 = 3.2e-6
"""Bound on the gradient of gravity above 6,340 km: 2 mu / r^3 = 3.13e-6, and 5e-8 for J2. SGP4 goes no lower than 6,378."""


def gravity(r_km: FloatArray) -> FloatArray:
    """Return the acceleration (M, 3), km/s^2, at positions (M, 3), km, TEME."""
    r2 = (r_km * r_km).sum(axis=1)
    point, bulge = WGS72_MU_KM3_S2 / (r2 * np.sqrt(r2)), 1.5 * WGS72_J2 * WGS72_RADIUS_KM**2 / r2
    height = 5.0 * r_km[:, 2] ** 2 / r2
    scale = np.stack([1.0 + bulge * (1.0 - height), 1.0 + bulge * (1.0 - height), 1.0 + bulge * (3.0 - height)], axis=1)
    return np.asarray(-point[:, None] * scale * r_km)
