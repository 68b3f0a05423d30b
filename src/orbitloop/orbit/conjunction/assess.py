"""An encounter judged: which method to believe and why, how much worse it might be, and on what the number hangs.

In two dimensions where that holds (`validity`, and the sphere's agreement), on the sphere where it does not, counted where the
sphere's own doubts are about something that can be counted. Nothing is hidden: each number that was computed stands in the
assessment, and each doubt in words.

Dilution: a large covariance makes a small probability without saying that it is safe. Scaled by k^2, the probability has its
highest value at some k; where that is below one, better tracking may well raise it (Alfano 2005, J. Spacecraft and Rockets 42,
729; Frisbee 2009, AAS 09-372).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.covariance import CLIP_FRACTION, remedy_state
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.monte_carlo import CountedProbability, pc_monte_carlo
from orbitloop.orbit.conjunction.pc2d import PlaneProbability, axis_probability, pc2d
from orbitloop.orbit.conjunction.pc3d import SphereProbability, pc3d
from orbitloop.orbit.conjunction.validity import MOST_DIFFERENT, Validity, validity

METHODS: Final = ("auto", "2d", "3d", "mc")
_COUNTABLE = 1e-4
"""Auto counts only what some hundred thousand draws can count."""
_AUTO_ERROR = 0.05
_DILUTED = 2.0
"""Dilution is told from here on: how many times higher the probability could be."""


@dataclass(frozen=True, slots=True)
class MaxProbability:
    """The highest probability in the plane over all scalings of both sigmas by k.

    `scale` is the k of it (0: the miss distance is inside the radius, so that perfect knowledge means a collision); `diluted`
    says that it is below one.
    """

    value: float
    scale: float
    diluted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What was found out about an encounter.

    `value` is the probability to act on, by `method` (2d, 3d, mc) for the reason `why`. `plane`, `sphere` and `counted` are
    what the methods said, None where one was not asked or could not answer; `valid` whether the plane may be believed.
    `flags` are all doubts and remedies in words.
    """

    encounter: Encounter
    value: float
    method: str
    why: str
    plane: PlaneProbability | None
    valid: Validity | None
    sphere: SphereProbability | None
    counted: CountedProbability | None
    highest: MaxProbability | None
    flags: tuple[str, ...]

    @property
    def plane_violated(self) -> bool:
        """Whether the two-dimensional probability must not be used."""
        return self.plane is None or (self.valid is not None and not self.valid.holds) or self._sphere_differs

    @property
    def _sphere_differs(self) -> bool:
        return self.plane is not None and self.sphere is not None and _differs(self.plane.value, self.sphere.value)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        encounter = self.encounter
        out: dict[str, Any] = {
            "probability": self.value,
            "method": self.method,
            "why": self.why,
            "flags": list(self.flags),
            "hard_body_radius_m": encounter.hard_body_radius_m,
            "miss_m": 1e3 * encounter.miss_km,
            "speed_m_s": 1e3 * encounter.speed_km_s,
            "approach_angle_deg": encounter.approach_angle_deg,
            "plane": None,
            "sphere": None,
            "counted": None,
            "highest": None,
        }
        if self.plane is not None:
            holds = not self.plane_violated
            out["plane"] = {"value": self.plane.value, "mahalanobis": self.plane.mahalanobis, "holds": holds}
            out["plane"] |= {"covariance_clipped": self.plane.covariance.clipped}
        if self.valid is not None and self.plane is not None:
            out["plane"] |= {"at_peak": self.valid.at_peak, "reasons": list(self.valid.reasons)}
        if self.sphere is not None:
            sphere = self.sphere
            out["sphere"] = {"value": sphere.value, "expected": sphere.expected, "peak_s": sphere.peak_s}
            out["sphere"] |= {"begin_s": sphere.begin_s, "end_s": sphere.end_s, "reasons": list(sphere.reasons)}
        if self.counted is not None:
            counted = self.counted
            out["counted"] = {"value": counted.value, "low": counted.low, "high": counted.high}
            out["counted"] |= {"hits": counted.hits, "samples": counted.samples, "unbound": counted.unbound}
        if self.highest is not None:
            highest = self.highest
            out["highest"] = {"value": highest.value, "scale": highest.scale, "diluted": highest.diluted}
        return out


def assess(
    encounter: Encounter,
    *,
    method: str = "auto",
    rng: np.random.Generator | None = None,
    samples: int = 400_000,
    half_window_s: float | None = None,
) -> Assessment:
    """Judge an encounter.

    Args:
        encounter: with both covariances.
        method: `auto` (two dimensions if they hold, else the sphere, counted where the sphere has doubts and `rng` is given),
            or the one whose number is wanted; the plane and its validity are told in any case.
        rng: where chance comes from; needed for `mc`.
        samples: pairs drawn at most.
        half_window_s: how long before and after closest approach the sphere and the count look (`pc3d`).

    Raises:
        ConjunctionError: an object has no covariance; the method wanted cannot answer; or the method is unknown.
    """
    if method not in METHODS:
        raise ConjunctionError(f"method {method!r} is unknown", remedy=f"one of {', '.join(METHODS)}")
    plane, valid, flags = _plane(encounter, required=method == "2d")
    sphere = None
    if method in ("auto", "3d"):
        try:
            sphere = pc3d(encounter, half_window_s=half_window_s)
            flags += [f"3d: {reason}" for reason in sphere.reasons]
        except ConjunctionError as problem:
            if method == "3d" or plane is None:
                raise
            flags.append(f"3d: {problem.what}")
    counted = None
    if method == "mc" or (method == "auto" and rng is not None and _wants_count(plane, valid, sphere)):
        if rng is None:
            raise ConjunctionError("method mc needs a source of chance", remedy="give rng=numpy.random.default_rng(seed)")
        error = _AUTO_ERROR if method == "auto" else None
        counted = pc_monte_carlo(encounter, rng, samples=samples, relative_error=error, half_window_s=half_window_s)
        if counted.unbound:
            flags.append(f"mc: {counted.unbound} of {counted.samples} draws were on no orbit")
    found = Assessment(encounter, 0.0, method, "as asked for", plane, valid, sphere, counted, _highest(encounter), tuple(flags))
    if method == "auto":
        method, why = _chosen(found)
        found = replace(found, method=method, why=why)
    found = replace(found, value=_value(found))
    highest = found.highest
    if highest is not None and highest.diluted and highest.value > _DILUTED * found.value and not found.plane_violated:
        told = f"with sigmas scaled by {highest.scale:.2g} it would be {highest.value:.2g}"
        if not highest.scale:
            told = "the miss distance lies inside the radius, so better tracking may raise it to 1"
        found = replace(found, flags=(*found.flags, f"diluted: {told}"))
    return found


def _plane(encounter: Encounter, *, required: bool) -> tuple[PlaneProbability | None, Validity | None, list[str]]:
    flags = []
    for state in (encounter.primary, encounter.secondary):
        remedied = remedy_state(state.known_covariance_km)
        if remedied.clipped:
            flags.append(
                f"the covariance of {state.label} is not positive semi-definite (lowest {remedied.lowest:.2g}): mended"
            )
    try:
        plane = pc2d(encounter)
    except ConjunctionError as problem:
        if required:
            raise
        return None, None, [*flags, f"2d: {problem.what}"]
    if plane.covariance.clipped:
        flags.append(f"the projected covariance is not positive definite ({plane.covariance.lowest:.2g} km^2): mended")
    valid = validity(encounter, plane)
    return plane, valid, flags + [f"2d does not hold: {reason}" for reason in valid.reasons]


def _wants_count(plane: PlaneProbability | None, valid: Validity | None, sphere: SphereProbability | None) -> bool:
    """Say whether the sphere has doubts, at a probability that can be counted, where the plane cannot help."""
    if sphere is None or not sphere.reasons or sphere.expected < _COUNTABLE:
        return False
    return plane is None or valid is None or not valid.holds or _differs(plane.value, sphere.value)


def _differs(plane: float, sphere: float) -> bool:
    return max(plane, sphere) > 1e-30 and not abs(sphere - plane) <= MOST_DIFFERENT * max(plane, sphere)


def _chosen(found: Assessment) -> tuple[str, str]:
    if found.counted is not None and found.counted.hits:
        assert found.sphere is not None
        return "mc", found.sphere.reasons[0]
    if found.sphere is None:
        return "2d", "the sphere could not answer"
    if found.plane is None:
        return "3d", "there is no encounter plane"
    if found.valid is not None and not found.valid.holds:
        return "3d", found.valid.reasons[0]
    if found.plane_violated:
        return "3d", f"the sphere says {found.sphere.value:.3g}, the plane {found.plane.value:.3g}"
    return "2d", "short passing, and the sphere says the same"


def _value(found: Assessment) -> float:
    if found.method == "mc" and found.counted is not None:
        return found.counted.value
    if found.method == "3d" and found.sphere is not None:
        return found.sphere.value
    assert found.plane is not None
    return found.plane.value


def _highest(encounter: Encounter) -> MaxProbability | None:
    try:
        return max_probability(encounter)
    except ConjunctionError:
        return None


def max_probability(encounter: Encounter) -> MaxProbability:
    """Return the highest probability in the encounter plane over all scalings of both covariances.

    Raises:
        ConjunctionError: as for `pc2d`.
    """
    plane = pc2d(encounter)
    radius_km = encounter.hard_body_radius_km
    if float(np.linalg.norm(plane.miss_km)) <= radius_km:
        return MaxProbability(1.0, 0.0, True)
    along = plane.covariance.axes.T @ plane.miss_km
    # One peak in k (Alfano 2005); found to a thousandth by laying the grid closer around the best.
    low, high = np.log(CLIP_FRACTION), np.log(1e4)
    for _ in range(5):
        scales = np.exp(np.linspace(low, high, 65))
        values = axis_probability(
            np.repeat(along[None], 65, 0), plane.covariance.variances * scales[:, None] ** 2, np.full(65, radius_km)
        )
        best = int(np.argmax(values))
        low, high = np.log(scales[max(best - 1, 0)]), np.log(scales[min(best + 1, 64)])
    return MaxProbability(float(values[best]), float(scales[best]), bool(scales[best] < 1.0))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The probability with one thing scaled: `what` is radius, primary, secondary or both (sigmas), by `factor`."""

    what: str
    factor: float
    value: float


def sensitivity(
    encounter: Encounter, *, method: str = "2d", factors: Sequence[float] = (0.25, 0.5, 2.0, 4.0)
) -> tuple[Sensitivity, ...]:
    """Return how the probability changes with the radius and with each object's sigmas.

    Args:
        encounter: with both covariances.
        method: `2d` or `3d`.
        factors: what each is scaled with.

    Raises:
        ConjunctionError: as for `pc2d` or `pc3d`.
    """
    found = []
    for what in ("radius", "primary", "secondary", "both"):
        for factor in factors:
            changed = scaled(
                encounter,
                radius=factor if what == "radius" else 1.0,
                primary=factor if what in ("primary", "both") else 1.0,
                secondary=factor if what in ("secondary", "both") else 1.0,
            )
            value = pc3d(changed).value if method == "3d" else pc2d(changed).value
            found.append(Sensitivity(what, factor, value))
    return tuple(found)


def scaled(encounter: Encounter, *, radius: float = 1.0, primary: float = 1.0, secondary: float = 1.0) -> Encounter:
    """Return an encounter with its radius, and each object's sigmas, scaled.

    Raises:
        ConjunctionError: an object has no covariance, or the radius is no longer positive.
    """

    def wider(state: ObjectState, factor: float) -> ObjectState:
        return replace(state, covariance_km=state.known_covariance_km * factor**2)

    return replace(
        encounter,
        primary=wider(encounter.primary, primary),
        secondary=wider(encounter.secondary, secondary),
        hard_body_radius_m=encounter.hard_body_radius_m * radius,
    )
