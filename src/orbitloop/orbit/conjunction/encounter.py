"""An encounter: two objects at their time of closest approach, what is uncertain about each, and how large they are together.

Everything stands in one inertial frame (EME2000 in a conjunction data message, TEME from SGP4; the Earth's orientation
enters nowhere, so either serves), in kilometres and seconds. How probable a collision is, is left to `pc2d`, `pc3d` and
`monte_carlo`; which of them to believe, to `assess`.

The encounter plane is normal to the relative velocity (Foster & Estes 1992, JSC-25898; Akella & Alfriend 2000, J. Guidance 23,
769): there the whole passage projects to one point, the miss vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.rtn import to_rtn
from orbitloop.orbit.earth import EGM96_MU_KM3_S2
from orbitloop.orbit.frames import FloatArray

MU_KM3_S2 = EGM96_MU_KM3_S2
"""The Earth's gravitational parameter (WGS84, EGM96)."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectState:
    """One object at the time of closest approach.

    `r_km` (3,) and `v_km_s` (3,) are inertial; `covariance_km` (6, 6) is of position and velocity in the same frame (km^2,
    km^2/s, km^2/s^2), or None when nobody knows. `designator` is its catalogue number, as text. Arrays are copied, and frozen.

    Raises:
        ConjunctionError: a shape is wrong, a number is not finite, or the covariance is not symmetric.
    """

    name: str
    designator: str
    r_km: FloatArray
    v_km_s: FloatArray
    covariance_km: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "r_km", _frozen(self.r_km, (3,), "position", self.label))
        object.__setattr__(self, "v_km_s", _frozen(self.v_km_s, (3,), "velocity", self.label))
        if self.covariance_km is None:
            return
        covariance = _frozen(self.covariance_km, (6, 6), "covariance", self.label)
        scale = np.sqrt(np.abs(np.diag(covariance)))
        # In units of each element's own sigma: velocities are a thousandfold smaller than positions.
        if (np.abs(covariance - covariance.T) > 1e-8 * np.outer(scale, scale) + 1e-30).any():
            raise ConjunctionError("the covariance is not symmetric", where=self.label)
        object.__setattr__(self, "covariance_km", covariance)

    @property
    def label(self) -> str:
        """Its name and number as people are told."""
        return " ".join(part for part in (self.name, f"({self.designator})" if self.designator else "") if part) or "an object"

    @property
    def known_covariance_km(self) -> FloatArray:
        """The covariance (6, 6) where one is needed.

        Raises:
            ConjunctionError: there is none.
        """
        if self.covariance_km is None:
            raise ConjunctionError(
                "the object has no covariance", where=self.label, remedy="give one, or a model of it by class and age"
            )
        return self.covariance_km


@dataclass(frozen=True, slots=True, eq=False)
class Encounter:
    """Two objects at `tca_s` (UTC seconds), and the sum of their radii, `hard_body_radius_m`.

    Relative means secondary less primary.

    Raises:
        ConjunctionError: the hard-body radius is not a positive number, or the time is not finite.
    """

    tca_s: float
    primary: ObjectState
    secondary: ObjectState
    hard_body_radius_m: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.hard_body_radius_m) and self.hard_body_radius_m > 0):
            raise ConjunctionError(
                f"the hard-body radius is {self.hard_body_radius_m} m", remedy="give the sum of both radii, in metres"
            )
        if not np.isfinite(self.tca_s):
            raise ConjunctionError("the time of closest approach is not a number")

    @property
    def hard_body_radius_km(self) -> float:
        return self.hard_body_radius_m / 1000.0

    @property
    def relative_r_km(self) -> FloatArray:
        """Relative position (3,), km, inertial."""
        return np.asarray(self.secondary.r_km - self.primary.r_km)

    @property
    def relative_v_km_s(self) -> FloatArray:
        """Relative velocity (3,), km/s, inertial."""
        return np.asarray(self.secondary.v_km_s - self.primary.v_km_s)

    @property
    def miss_km(self) -> float:
        return float(np.linalg.norm(self.relative_r_km))

    @property
    def speed_km_s(self) -> float:
        return float(np.linalg.norm(self.relative_v_km_s))

    @property
    def approach_angle_deg(self) -> float:
        """Angle between the two velocities: 0 side by side, 180 head on."""
        first, second = self.primary.v_km_s, self.secondary.v_km_s
        across, along = float(np.linalg.norm(np.cross(first, second))), float(first @ second)
        return float(np.degrees(np.arctan2(across, along)))

    @property
    def relative_rtn_km(self) -> FloatArray:
        """Relative position (3,) in the primary's RTN frame, km.

        Raises:
            ConjunctionError: the primary's state has no orbital plane.
        """
        return to_rtn(self.relative_r_km, self.primary.r_km, self.primary.v_km_s)

    @property
    def relative_rtn_km_s(self) -> FloatArray:
        """Relative velocity (3,) in the primary's RTN axes (their rotation not taken off), km/s.

        Raises:
            ConjunctionError: the primary's state has no orbital plane.
        """
        return to_rtn(self.relative_v_km_s, self.primary.r_km, self.primary.v_km_s)

    @property
    def relative_covariance_km(self) -> FloatArray:
        """Sum of both covariances (6, 6): the objects' errors are taken as independent.

        Raises:
            ConjunctionError: an object has no covariance.
        """
        return np.asarray(self.primary.known_covariance_km + self.secondary.known_covariance_km)


@dataclass(frozen=True, slots=True, eq=False)
class EncounterPlane:
    """What a passage looks like along the relative velocity.

    `axes` (2, 3) are inertial unit vectors: x along the miss vector as given, y completing them with the relative velocity.
    `miss_km` (2,) and `covariance_km` (2, 2) stand in them. `shift_s` is how far the true linear closest approach lies after
    the given one; the projection is the same at either, for it is along the straight path.
    """

    axes: FloatArray
    miss_km: FloatArray
    covariance_km: FloatArray
    shift_s: float


def encounter_plane(encounter: Encounter) -> EncounterPlane:
    """Project an encounter and its position covariance into the plane normal to its relative velocity.

    Raises:
        ConjunctionError: the objects do not move against each other, or one has no covariance.
    """
    position, velocity = encounter.relative_r_km, encounter.relative_v_km_s
    speed = float(np.linalg.norm(velocity))
    if not speed > 0:
        raise ConjunctionError(
            "the objects do not move against each other, so there is no encounter plane", remedy="use method 3d or mc"
        )
    along = velocity / speed
    miss = position - (position @ along) * along
    length = float(np.linalg.norm(miss))
    if length > 1e-12 * max(1.0, float(np.linalg.norm(position))):
        x_axis = miss / length
    else:  # a central hit: any direction across serves
        across = np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])
        x_axis = across / np.linalg.norm(across)
    axes = np.stack([x_axis, np.cross(along, x_axis)])
    covariance = axes @ encounter.relative_covariance_km[:3, :3] @ axes.T
    return EncounterPlane(
        axes=axes,
        miss_km=np.asarray(axes @ position),
        covariance_km=np.asarray((covariance + covariance.T) / 2),
        shift_s=float(-(position @ velocity) / speed**2),
    )


def _frozen(values: FloatArray, shape: tuple[int, ...], what: str, where: str) -> FloatArray:
    copy = np.array(values, np.float64)
    if copy.shape != shape:
        raise ConjunctionError(f"its {what} has shape {copy.shape}, not {shape}", where=where)
    if not np.isfinite(copy).all():
        raise ConjunctionError(f"its {what} holds a number that is not finite", where=where)
    copy.setflags(write=False)
    return copy
