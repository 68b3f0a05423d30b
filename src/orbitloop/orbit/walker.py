"""Walker patterns: where the planes and satellites of a symmetric constellation stand. Geometry only; elements come of it.

Notation i:t/p/f: t satellites at inclination i in p planes, f the phasing, 0 to p - 1. Planes are spread evenly in right
ascension of the node, over 360 degrees (delta) or over 180 (star, near-polar planes that go up on one half of the Earth and
down on the other); the t/p satellites of a plane evenly along it; and the satellite after one in the next plane to the east
stands f x 360/t degrees ahead. (J. G. Walker, Satellite constellations, JBIS 37, 1984, 559.)

In a star the last plane and the first fly against one another; real ones widen the others for that seam. Here they are even.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orbitloop.errors import ElementsError

MAX_SATELLITES = 100_000
_NOTATION = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*:\s*(\d{1,6})\s*/\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", re.ASCII)
_REMEDY = "write i:t/p/f, such as 53:72/6/1: inclination in degrees, satellites in all, planes, phasing"


@dataclass(frozen=True, slots=True)
class WalkerSlot:
    """One satellite's place: its plane and its number in it, both from 0, the node and the angle from it along the orbit."""

    plane: int
    number: int
    raan_deg: float
    anomaly_deg: float


@dataclass(frozen=True, slots=True)
class WalkerPattern:
    """A pattern i:t/p/f.

    Raises:
        ElementsError: the satellites do not share out over the planes, or a number is out of range.
    """

    inclination_deg: float
    total: int
    planes: int
    phasing: int
    star: bool = False

    def __post_init__(self) -> None:
        where = f"Walker {self}"
        if not 0 <= self.inclination_deg <= 180:
            raise ElementsError(
                f"an inclination of {self.inclination_deg:g} degrees", where=where, remedy="stay within 0 to 180"
            )
        if not 1 <= self.total <= MAX_SATELLITES or not 1 <= self.planes <= self.total:
            raise ElementsError(f"{self.total} satellites in {self.planes} planes", where=where, remedy=_REMEDY)
        if self.total % self.planes:
            raise ElementsError(
                f"{self.total} satellites do not share out over {self.planes} planes",
                where=where,
                remedy=f"take {self.total - self.total % self.planes} or {self.total + self.planes - self.total % self.planes}",
            )
        if not 0 <= self.phasing < self.planes:
            raise ElementsError(f"a phasing of {self.phasing}", where=where, remedy=f"stay within 0 to {self.planes - 1}")

    def __str__(self) -> str:
        return f"{self.inclination_deg:g}:{self.total}/{self.planes}/{self.phasing}"

    @property
    def per_plane(self) -> int:
        return self.total // self.planes

    def slots(self, raan_deg: float = 0.0, anomaly_deg: float = 0.0) -> tuple[WalkerSlot, ...]:
        """Return every satellite's place, plane by plane; the first stands at the node and angle that are given."""
        apart_deg = (180.0 if self.star else 360.0) / self.planes
        return tuple(
            WalkerSlot(
                plane,
                number,
                (raan_deg + plane * apart_deg) % 360.0,
                (anomaly_deg + 360.0 * number / self.per_plane + 360.0 * self.phasing * plane / self.total) % 360.0,
            )
            for plane in range(self.planes)
            for number in range(self.per_plane)
        )


def parse_walker(text: str, *, star: bool = False) -> WalkerPattern:
    """Read the notation i:t/p/f.

    Raises:
        ElementsError: it is not of that form, or there is no such pattern. Never anything else.
    """
    match = _NOTATION.fullmatch(text)
    if match is None:
        raise ElementsError(f"{text[:40]!r} is no Walker pattern", remedy=_REMEDY)
    inclination, total, planes, phasing = match.groups()
    return WalkerPattern(float(inclination), int(total), int(planes), int(phasing), star)
