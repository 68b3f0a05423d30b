"""How probable a collision could be if the covariance were wrong in size: what a modelled covariance must be told with.

A covariance that is too small puts a miss far out in its tail; one that is too large spreads it thin. In between lies a
greatest probability (Alfano 2005, "Relating position uncertainty to maximum conjunction probability", J. Astronaut. Sci. 53,
193). Where covariances are measured their size is known well enough; where they are a model, a small probability is no
assurance, and the greatest one over the sizes that the model could have missed by says how little.
"""

from __future__ import annotations

import numpy as np

from orbitloop.orbit.conjunction.covariance import remedy_position
from orbitloop.orbit.conjunction.encounter import Encounter, encounter_plane
from orbitloop.orbit.conjunction.pc2d import disc_probability

LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0
_STEPS = 65


def greatest_probability(
    encounter: Encounter, least_factor: float = LEAST_FACTOR, most_factor: float = MOST_FACTOR
) -> tuple[float, float]:
    """Return the greatest 2-D probability with all sigmas scaled between two factors, and the factor that gives it.

    Raises:
        ConjunctionError: an object has no covariance, or the objects do not move against each other.
    """
    plane = encounter_plane(encounter)
    sound = remedy_position(plane.covariance_km, encounter.hard_body_radius_km).matrix
    factors = np.geomspace(least_factor, most_factor, _STEPS)
    miss = np.tile(plane.miss_km, (_STEPS, 1))
    values = disc_probability(miss, sound[None] * factors[:, None, None] ** 2, encounter.hard_body_radius_km)
    best = int(np.argmax(values))
    return float(values[best]), float(factors[best])
