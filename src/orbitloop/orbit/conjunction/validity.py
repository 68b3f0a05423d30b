"""Whether the encounter plane may be believed: its assumptions asked one by one, before anything is integrated over time.

The plane takes paths as straight, covariances as still and both objects' clouds as flat while they pass. What it costs to ask:

- the passing must be short: ten times the time in which the relative motion crosses one sigma of the density along itself, plus
  the sphere, at most 1 % of the shorter period (in which an orbit turns by 3.6 degrees);
- its peak must be near: within 1 % of the period from the time of closest approach, or the states projected are not those of
  the meeting;
- clouds must be flat: the plane is set up again with the effective states at the peak of overlap (`overlap`), where bent
  clouds and bent paths are in; the probability there must be the same within 5 %. (This is the two-dimensional Nc of Hall
  2021, and the sharpest of these questions.)
- the covariances must be covariances.

The thresholds are round numbers from what they mean; on the real messages that they are tested on, 0.2 to 1.7 % of a period and
2 to 50 % between the planes flag the same ones. Hall, Baars & Casali 2023 (AAS 23-398) ask the same kind of questions before
they take the next, dearer method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.cloud import cloud_of, half_revolution_s
from orbitloop.orbit.conjunction.covariance import CLIP_FRACTION, remedy_position
from orbitloop.orbit.conjunction.encounter import Encounter, encounter_plane
from orbitloop.orbit.conjunction.overlap import Overlap, floored, overlap
from orbitloop.orbit.conjunction.pc2d import PlaneProbability, axis_probability
from orbitloop.orbit.frames import FloatArray

LONGEST_SHARE = 0.01
"""Of the shorter period: the longest passing, and the farthest peak."""
MOST_DIFFERENT = 0.05
"""Between the plane at closest approach and the plane at the peak of overlap."""
_NEGLIGIBLE = 1e-30
"""Two probabilities below this are both nothing, whatever their ratio."""
_SIGMAS = 10.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """What was asked of the encounter plane: `reasons` is empty when it holds.

    `passing_s` is how long the passing takes, `peak_s` when its overlap is highest (after closest approach), `at_peak` the
    probability in the plane set up there (None when it could not be).
    """

    passing_s: float
    peak_s: float
    at_peak: float | None
    reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.reasons


def validity(encounter: Encounter, plane: PlaneProbability) -> Validity:
    """Ask whether `plane` may be believed.

    Raises:
        ConjunctionError: an object has no covariance.
    """
    reasons = []
    if plane.covariance.clipped:
        reasons.append(f"the projected covariance is not positive definite ({plane.covariance.lowest:.2g} km^2)")
    try:
        first, second = cloud_of(encounter.primary), cloud_of(encounter.secondary)
    except ConjunctionError as problem:
        if encounter.primary.covariance_km is None or encounter.secondary.covariance_km is None:
            raise
        return Validity(np.nan, np.nan, None, (*reasons, f"paths could not be followed: {problem.what}"))
    radius_km, half_s = encounter.hard_body_radius_km, half_revolution_s(first, second)
    peak_s, state = encounter_plane(encounter).shift_s, None
    for _ in range(_ROUNDS):
        state = _At(overlap(first, second, np.array([peak_s]), radius_km), CLIP_FRACTION * radius_km)
        step = float(np.clip(peak_s + state.until_peak_s, -half_s, half_s)) - peak_s
        peak_s += step
        if abs(step) < 1e-3 * state.crossing_s:
            break
    assert state is not None
    passing_s = _SIGMAS * state.crossing_s + 2 * radius_km / state.speed_km_s
    if passing_s > LONGEST_SHARE * 2 * half_s:
        reasons.append(f"the passing is slow: it lasts {passing_s:.3g} s of a period of {2 * half_s:.0f} s")
    if abs(peak_s) > LONGEST_SHARE * 2 * half_s:
        reasons.append(f"the clouds overlap most {peak_s:+.3g} s from closest approach")
    if not state.converged:
        reasons.append("no peak of overlap was found: the clouds are wider than orbits")
        return Validity(passing_s, peak_s, None, tuple(reasons))
    at_peak = state.probability(radius_km)
    if max(at_peak, plane.value) > _NEGLIGIBLE and not abs(at_peak - plane.value) <= MOST_DIFFERENT * plane.value:
        reasons.append(
            f"clouds or paths are bent: {at_peak:.3g} where they overlap most, {plane.value:.3g} at closest approach"
        )
    return Validity(passing_s, peak_s, at_peak, tuple(reasons))


class _At:
    """Effective relative states at one time."""

    def __init__(self, seen: Overlap, floor_km: float) -> None:
        self.converged = bool(seen.converged[0])
        self._miss: FloatArray = seen.mean[0, :3]
        self._covariance: FloatArray = floored(seen.covariance[:, :3, :3], floor_km)[0]
        gain = seen.covariance[0, 3:, :3] @ np.linalg.inv(self._covariance)
        self._velocity: FloatArray = seen.mean[0, 3:] - gain @ self._miss
        self.speed_km_s = max(float(np.linalg.norm(self._velocity)), 1e-12)
        solved = np.linalg.solve(self._covariance, np.stack([self._miss, self._velocity], 1))
        crossing = float(self._velocity @ solved[:, 1])
        self.crossing_s = 1 / np.sqrt(max(crossing, 1e-24))
        self.until_peak_s = -float(self._velocity @ solved[:, 0]) / max(crossing, 1e-24)

    def probability(self, radius_km: float) -> float:
        """Return the probability in the plane normal to the velocity here."""
        along = self._velocity / self.speed_km_s
        across = np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(along, across)])
        mended = remedy_position(axes @ self._covariance @ axes.T, radius_km)
        miss = mended.axes.T @ axes @ self._miss
        return float(axis_probability(miss[None], mended.variances[None], np.array([radius_km]))[0])
