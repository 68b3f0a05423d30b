"""What screening finds: close approaches as records and as columns, and the volume that they are looked for in.

An approach is one stretch of time in which the range stays within the reach, told by its lowest point. Two objects that cross
at some km/s have one minimum in it; two that fly side by side may have many, or be within reach all day: `kind` says so.

RTN is the primary's frame at the time of closest approach, as in `rtn`; relative is secondary less primary; velocities are
inertial ones along these axes (the frame's rotation not taken off), as a conjunction data message has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.frames import FloatArray

IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

KINDS = ("crossing", "slow", "co-located")
"""`crossing`: one minimum, passed in seconds. `slow`: the objects drift by each other, perhaps with several minima.
`co-located`: within reach for a revolution or more, or all through the window: docked, of one launch, or in formation."""

Shape = Literal["sphere", "box", "ellipsoid"]


@dataclass(frozen=True, slots=True)
class Volume:
    """What is screened around the primary: half-axes in its RTN frame, km. A sphere has three equal ones.

    Raises:
        ConjunctionError: a half-axis is not a positive number up to 500 km, or a sphere's differ.
    """

    shape: Shape
    radial_km: float
    intrack_km: float
    crosstrack_km: float

    def __post_init__(self) -> None:
        axes = (self.radial_km, self.intrack_km, self.crosstrack_km)
        if not all(math.isfinite(one) and 1e-3 <= one <= 500.0 for one in axes):
            raise ConjunctionError(f"a screening volume of {axes} km", remedy="give each half-axis from 0.001 to 500 km")
        if self.shape == "sphere" and len(set(axes)) != 1:
            raise ConjunctionError("a sphere has one radius", remedy="take an ellipsoid")

    @classmethod
    def sphere(cls, radius_km: float) -> Volume:
        return cls("sphere", radius_km, radius_km, radius_km)

    @property
    def reach_km(self) -> float:
        """Radius of the smallest sphere around it: what the sieve looks for."""
        axes = (self.radial_km, self.intrack_km, self.crosstrack_km)
        return math.hypot(*axes) if self.shape == "box" else max(axes)

    def depth(self, rtn_km: FloatArray) -> FloatArray:
        """Return how deep positions (..., 3) lie: 0 at the centre, 1 on the surface, more outside."""
        scaled = np.abs(rtn_km) / np.array([self.radial_km, self.intrack_km, self.crosstrack_km])
        return np.asarray(scaled.max(axis=-1) if self.shape == "box" else np.sqrt((scaled**2).sum(axis=-1)))


@dataclass(frozen=True, slots=True)
class Approach:
    """One close approach of two objects, given by their places in the list that was screened.

    Times are UTC seconds. `enter_s` and `leave_s` bound the stretch in which the range is within the reach (to the window's
    edge where it goes beyond: `clipped`); `minima` counts the minima of the range in it, of which this is the lowest.
    `primary_age_s` and `secondary_age_s` are how long before TCA the element sets' epochs lie (negative: after it).
    """

    primary: int
    secondary: int
    tca_s: float
    miss_km: float
    speed_km_s: float
    rtn_km: tuple[float, float, float]
    rtn_km_s: tuple[float, float, float]
    enter_s: float = math.nan
    leave_s: float = math.nan
    minima: int = 1
    kind: str = "crossing"
    clipped: bool = False
    primary_age_s: float = math.nan
    secondary_age_s: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class ApproachTable:
    """M approaches as columns in the order of their times: the fields of `Approach`, `kind` as a place in `KINDS`."""

    primary: IntArray
    secondary: IntArray
    tca_s: FloatArray
    miss_km: FloatArray
    speed_km_s: FloatArray
    rtn_km: FloatArray
    rtn_km_s: FloatArray
    enter_s: FloatArray
    leave_s: FloatArray
    minima: IntArray
    kind: IntArray
    clipped: BoolArray
    primary_age_s: FloatArray
    secondary_age_s: FloatArray

    def __len__(self) -> int:
        return int(self.tca_s.size)

    def __iter__(self) -> Iterator[Approach]:
        return (self.record(n) for n in range(len(self)))

    def record(self, n: int) -> Approach:
        """Return row `n`."""
        r, v = self.rtn_km[n].tolist(), self.rtn_km_s[n].tolist()
        return Approach(
            primary=int(self.primary[n]),
            secondary=int(self.secondary[n]),
            tca_s=float(self.tca_s[n]),
            miss_km=float(self.miss_km[n]),
            speed_km_s=float(self.speed_km_s[n]),
            rtn_km=(r[0], r[1], r[2]),
            rtn_km_s=(v[0], v[1], v[2]),
            enter_s=float(self.enter_s[n]),
            leave_s=float(self.leave_s[n]),
            minima=int(self.minima[n]),
            kind=KINDS[int(self.kind[n])],
            clipped=bool(self.clipped[n]),
            primary_age_s=float(self.primary_age_s[n]),
            secondary_age_s=float(self.secondary_age_s[n]),
        )

    def take(self, rows: npt.NDArray[np.intp] | BoolArray) -> ApproachTable:
        """Return the rows named by places or by a mask."""
        return ApproachTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def join(cls, parts: list[ApproachTable]) -> ApproachTable:
        """Put tables together, in the order of time."""
        if not parts:
            return cls.empty()

        def column(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts])

        # Column by column: a week of a whole catalogue is a hundred megabytes, and is not held three times.
        order = np.lexsort((column("secondary"), column("primary"), column("tca_s")))
        return cls(**{field.name: column(field.name)[order] for field in fields(cls)})

    @classmethod
    def empty(cls) -> ApproachTable:
        number, whole = np.empty(0), np.empty(0, np.int32)
        return cls(
            *(whole, whole, number, number, number, np.empty((0, 3)), np.empty((0, 3)), number, number, whole, whole),
            *(np.empty(0, np.bool_), number, number),
        )
