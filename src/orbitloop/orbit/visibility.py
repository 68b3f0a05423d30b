"""When two satellites see each other: the line between them clears the Earth, and they are near enough.

The Earth is made a sphere by stretching the polar axis by a / b; the line's least distance from its centre, less the equatorial
radius, is then its grazing altitude over the ellipsoid to 0.4 % of that altitude. Refraction and the atmosphere's own loss are
left to `min_altitude_km`: optical links want 50 km or more, radio is content with 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import EARTH_POLAR_RADIUS_KM, EARTH_RADIUS_KM, FloatArray
from orbitloop.orbit.propagate import Engine, FleetPropagator
from orbitloop.orbit.search import IntArray, positive_intervals

STEP_S = 60.0
MAX_PAIRS = 20_000
_BATCH, _TIMES = 256, 512


@dataclass(frozen=True, slots=True)
class Crosslink:
    """Two satellites (indices in the list that was asked for) see each other in [start_s, end_s], clipped to the search."""

    first: int
    second: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def grazing_altitude_km(one_km: npt.ArrayLike, other_km: npt.ArrayLike) -> FloatArray:
    """Return the least altitude of the line between positions (..., 3), over the ellipsoid; inertial or Earth-fixed."""
    stretch = np.array([1.0, 1.0, EARTH_RADIUS_KM / EARTH_POLAR_RADIUS_KM])
    a, b = np.asarray(one_km, np.float64) * stretch, np.asarray(other_km, np.float64) * stretch
    along = b - a
    share = -np.sum(a * along, axis=-1) / np.maximum(np.sum(along**2, axis=-1), 1e-12)
    nearest = a + np.clip(share, 0.0, 1.0)[..., None] * along
    return np.asarray(np.linalg.norm(nearest, axis=-1) - EARTH_RADIUS_KM, np.float64)


def crosslinks(
    elements: Sequence[Elements],
    start_s: float,
    end_s: float,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    max_range_km: float = 5_000.0,
    min_altitude_km: float = 20.0,
    engine: Engine = "auto",
) -> list[Crosslink]:
    """Return when pairs of satellites see each other in [start_s, end_s], in order of start.

    Both conditions are followed as one number of kilometres: how far the line is above the least altitude, or the pair within
    the range, whichever is less. It changes by at most the sum of both speeds, so no stretch between two samples (60 s) is
    missed but the lesser of two within two minutes. Edges to 0.1 ms.

    Args:
        elements: N satellites.
        start_s: first time, UTC seconds.
        end_s: last time.
        pairs: indices; all pairs when None.
        max_range_km: of the link.
        min_altitude_km: over the ellipsoid, below which the line may not come.
        engine: as for `FleetPropagator`.

    Raises:
        ElementsError: a satellite cannot be propagated over that time (it is named), or there are too many pairs.
    """
    wanted = [(i, j) for j in range(len(elements)) for i in range(j)] if pairs is None else list(pairs)
    if len(wanted) > MAX_PAIRS:
        raise ElementsError(f"{len(wanted)} pairs of satellites are more than {MAX_PAIRS}", remedy="name fewer satellites")
    if not end_s > start_s:
        return []
    out: list[Crosslink] = []
    for first in range(0, len(wanted), _BATCH):
        batch = wanted[first : first + _BATCH]
        members = sorted({n for pair in batch for n in pair})
        sight = _Sight([elements[n] for n in members], engine, max_range_km, min_altitude_km)
        sight.aim([(members.index(i), members.index(j)) for i, j in batch])
        found = positive_intervals(sight.sample, sight.value, start_s, end_s, step_s=STEP_S)
        out.extend(Crosslink(*batch[i.channel], i.start_s, i.end_s) for i in found)
    return sorted(out, key=lambda link: (link.start_s, link.first, link.second))


class _Sight:
    """How much room is left between pairs, km, as `search` asks for it."""

    def __init__(self, elements: Sequence[Elements], engine: Engine, max_range_km: float, min_altitude_km: float) -> None:
        self._fleet = FleetPropagator(elements, engine=engine)
        self._max_range_km, self._min_altitude_km = max_range_km, min_altitude_km
        self._one = self._other = np.empty(0, np.intp)

    def aim(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._one, self._other = (np.array(side, np.intp) for side in zip(*pairs, strict=True))

    def room(self, a_km: FloatArray, b_km: FloatArray) -> FloatArray:
        within = self._max_range_km - np.linalg.norm(a_km - b_km, axis=-1)
        return np.asarray(np.minimum(grazing_altitude_km(a_km, b_km) - self._min_altitude_km, within), np.float64)

    def sample(self, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        shape = (self._one.size, times_s.size)
        values, rise = np.empty(shape), np.empty(shape)
        for first in range(0, times_s.size, _TIMES):
            part = slice(first, first + _TIMES)
            r_km, v_km_s, ok = self._fleet.states(times_s[part])
            if not ok.all():
                name = self._fleet.elements[int(np.argmin(ok.all(axis=1)))].name
                raise ElementsError(f"cannot propagate {name!r} over that time", remedy="use newer elements, or leave it out")
            values[:, part] = self.room(r_km[self._one], r_km[self._other])
            speed = np.linalg.norm(v_km_s, axis=-1)
            rise[:, part] = 1.1 * STEP_S * (speed[self._one] + speed[self._other])
        return values, rise

    def value(self, channels: IntArray, times_s: FloatArray) -> FloatArray:
        a_km, b_km = (self._fleet.states_at(side[channels], times_s)[0] for side in (self._one, self._other))
        return self.room(a_km, b_km)
