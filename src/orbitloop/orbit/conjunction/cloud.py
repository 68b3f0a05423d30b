"""What is uncertain about an object, as a normal distribution of its equinoctial elements, and for how long a meeting lasts.

Conjunction messages give a Cartesian covariance at closest approach; it is carried over into elements by the derivative at the
mean. From there two-body motion keeps it normal, over the whole time that an encounter lasts, which is at most half a
revolution to either side: past that the objects meet again at the other node, or at the next revolution, and that is another
encounter with a message of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitloop.orbit.conjunction.covariance import Remedied, remedy_state
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.equinoctial import (
    advanced,
    elements_of,
    states_and_slopes,
    transition,
)
from orbitloop.orbit.frames import FloatArray

_GRID = 721
_SIGMAS = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class ElementCloud:
    """An object's equinoctial elements at closest approach: mean (6,), covariance (6, 6), and the sign f they are written with.

    `remedied` is the Cartesian covariance that it came from, and what had to be mended in it.
    """

    mean: FloatArray
    covariance: FloatArray
    sign: int
    remedied: Remedied

    @property
    def period_s(self) -> float:
        return float(2 * np.pi / self.mean[0])


def cloud_of(state: ObjectState) -> ElementCloud:
    """Return the elements of a state and their covariance.

    Raises:
        ConjunctionError: the state is not on an orbit around the Earth, or has no covariance.
    """
    remedied = remedy_state(state.known_covariance_km)
    mean, sign = elements_of(state.r_km, state.v_km_s)
    slopes = states_and_slopes(mean, sign)[1]
    # Rows are lengths and speeds, columns rad/s and pure numbers: each is brought near one, so that the inverse keeps digits.
    rows = np.repeat([np.linalg.norm(state.r_km), np.linalg.norm(state.v_km_s)], 3)
    columns = np.array([mean[0], 1, 1, 1, 1, 1])
    inverse = np.linalg.inv(slopes * columns / rows[:, None]) * columns[:, None] / rows
    covariance = inverse @ remedied.matrix @ inverse.T
    return ElementCloud(mean, np.asarray((covariance + covariance.T) / 2), sign, remedied)


def half_revolution_s(first: ElementCloud, second: ElementCloud) -> float:
    """Return half of the shorter period: an encounter lasts at most so long to either side."""
    return min(first.period_s, second.period_s) / 2


def cartesian_cloud(cloud: ElementCloud, seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return states (T, 6) of the mean elements after `seconds` (T,), and the covariances (T, 6, 6) by their tangent."""
    state, slopes = states_and_slopes(advanced(cloud.mean, seconds), cloud.sign)
    slopes = slopes @ transition(seconds)
    return state, np.asarray(slopes @ cloud.covariance @ np.swapaxes(slopes, -1, -2))


def risk_window_s(encounter: Encounter, first: ElementCloud, second: ElementCloud, half_s: float) -> tuple[float, float]:
    """Return from when until when (seconds after closest approach) a collision is thinkable at all, within +- `half_s`.

    It is where the mean distance is below ten sigmas of the widest direction, plus the hard-body radius; outside, no draw of a
    distribution that is anything near normal comes close. The times are the grid's before and after (`half_s` / 360 apart).
    """
    times = np.linspace(-half_s, half_s, _GRID)
    (state1, spread1), (state2, spread2) = cartesian_cloud(first, times), cartesian_cloud(second, times)
    apart = np.linalg.norm((state2 - state1)[:, :3], axis=1)
    widest = np.sqrt(np.linalg.eigvalsh((spread1 + spread2)[:, :3, :3])[:, -1])
    near = np.nonzero(apart <= _SIGMAS * widest + encounter.hard_body_radius_km)[0]
    if not near.size:
        near = np.array([int(np.argmin(apart))])
    return float(times[max(near[0] - 1, 0)]), float(times[min(near[-1] + 1, _GRID - 1)])
