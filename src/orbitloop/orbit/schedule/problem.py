"""The planning problem as columns: opportunities, satellites, stations, classes of data, requests.

Time is whole ticks from `start_s`; a contact begins and ends on a tick, so that the exact solver and the heuristic speak of the
same set of plans. Windows are rounded inwards. Capacity within a window follows a profile: the share of its bytes that has
passed at equal steps through it, by elevation where the link says so.

A contact [start, end) occupies its satellite, and one antenna of its station until `setup` ticks after its end. `guard` ticks
at either end carry nothing. Bytes of a contact count as delivered at its end, when its last report is in; bytes captured by
then may be among them. Leaves to others: value (`value`), validity (`check`), solving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import PlanningError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

FOREVER_S = math.inf
MAX_TICKS = 2**30


@dataclass(frozen=True, slots=True)
class DataClass:
    """A class of data: what a delivered byte is worth, and the seconds of waiting that take all of it (inf: never)."""

    name: str
    weight: float = 1.0
    patience_s: float = 6 * 3600.0


BULK = DataClass("bulk")


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes that one satellite must send (or, `up`, receive) between two times; worth `value` a byte until the deadline."""

    satellite: int
    release_s: float
    deadline_s: float
    size_bytes: float
    value: float = 100.0
    up: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Supply:
    """What satellites have to send: columns over satellites (N,) and classes (C,).

    `rate_bytes_s` (N, C) is captured all the time, `initial_bytes` (N, C) waits at the start, `storage_bytes` (N,) is the room;
    what does not fit is lost, the last class first. `weight` (N,) is the tenant's, `tenant` (N,) its index.
    """

    rate_bytes_s: FloatArray
    initial_bytes: FloatArray
    storage_bytes: FloatArray
    weight: FloatArray
    tenant: IntArray
    classes: tuple[DataClass, ...] = (BULK,)

    @classmethod
    def even(cls, satellites: int, rate_bytes_s: float, storage_bytes: float = math.inf, klass: DataClass = BULK) -> Supply:
        """Return a supply of one class, the same for all satellites and one tenant."""
        n = satellites
        one = np.ones(n)
        return cls(np.full((n, 1), rate_bytes_s), np.zeros((n, 1)), storage_bytes * one, one, np.zeros(n, np.int32), (klass,))

    @classmethod
    def endless(cls, satellites: int) -> Supply:
        """Return satellites that always have more to send than any pass takes: a plan is then worth its bytes."""
        n, one = satellites, np.ones(satellites)
        classes = (DataClass("bytes", 1.0, FOREVER_S),)
        return cls(np.zeros((n, 1)), np.full((n, 1), np.inf), np.inf * one, one, np.zeros(n, np.int32), classes)


@dataclass(frozen=True, slots=True)
class Energy:
    """Batteries: columns over satellites, and their net power without sending as steps.

    `edge_tick` and `net_w` hold, satellite after satellite (`pointer` (N + 1,)), the tick at which a stretch ends and the power
    in it: panels less loads, from the start or the edge before. Sending takes `transmit_w` on top. The charge stays at or above
    `floor_j` at the end of each contact and at each edge (where idling alone would be below, at contacts only).
    """

    battery_j: FloatArray
    floor_j: FloatArray
    initial_j: FloatArray
    transmit_w: FloatArray
    pointer: npt.NDArray[np.int64]
    edge_tick: IntArray
    net_w: FloatArray


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a plan depends on; see the module. Opportunities are columns (M,), by rising `open_tick`."""

    start_s: float
    tick_s: float
    horizon_ticks: int
    satellites: tuple[str, ...]
    stations: tuple[str, ...]
    antennas: IntArray
    setup_ticks: IntArray
    satellite: IntArray
    station: IntArray
    open_tick: IntArray
    close_tick: IntArray
    capacity_bytes: FloatArray
    """What the whole window carries, guards taken off."""
    profile: npt.NDArray[np.int16]
    profiles: FloatArray
    """(P, K + 1) shares from 0 to 1, rising."""
    supply: Supply
    guard_ticks: int = 0
    min_ticks: int = 1
    """Shortest contact, guards included."""
    energy: Energy | None = None
    requests: tuple[Request, ...] = ()
    tenants: tuple[str, ...] = ("all",)
    uplink_share: float = 0.01
    """Bytes up for each byte of capacity down; both at once."""
    max_elevation_deg: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        n, s, m = len(self.satellites), len(self.stations), self.satellite.size
        columns = (self.station, self.open_tick, self.close_tick, self.capacity_bytes, self.profile)
        if any(c.shape != (m,) for c in columns) or self.antennas.shape != (s,) or self.setup_ticks.shape != (s,):
            raise PlanningError("columns of the planning problem differ in length", remedy="give one entry an opportunity")
        if not (self.tick_s > 0 and 0 < self.horizon_ticks <= MAX_TICKS and math.isfinite(self.start_s)):
            raise PlanningError(f"no time to plan: {self.horizon_ticks} ticks of {self.tick_s} s")
        if m and not (self.satellite.min() >= 0 and self.satellite.max() < n and 0 <= self.station.min() < s):
            raise PlanningError("an opportunity names a satellite or station that there is not")
        if m and (self.station.max() >= s or self.open_tick.min() < 0 or self.close_tick.max() > self.horizon_ticks):
            raise PlanningError("an opportunity lies outside the horizon or at no station")
        if m and (np.diff(self.open_tick) < 0).any():
            raise PlanningError("opportunities are not in order of time", remedy="sort them by open_tick")
        if not np.isfinite(self.capacity_bytes).all() or (self.capacity_bytes < 0).any():
            raise PlanningError("an opportunity's capacity is not a number of bytes")
        if (self.antennas < 0).any() or (self.setup_ticks < 0).any() or self.guard_ticks < 0 or self.min_ticks < 1:
            raise PlanningError("antennas, set-up and guard times are not negative, and a contact lasts a tick at least")
        shape = (n, len(self.supply.classes))
        if self.supply.rate_bytes_s.shape != shape or self.supply.initial_bytes.shape != shape:
            raise PlanningError(f"the supply is not of shape {shape} (satellites, classes)")
        if self.profiles.ndim != 2 or self.profiles.shape[1] < 2 or (np.diff(self.profiles, axis=1) < -1e-12).any():
            raise PlanningError("a profile of capacity does not rise")
        for one in self.requests:
            if not 0 <= one.satellite < n or not one.release_s < one.deadline_s or not one.size_bytes > 0:
                raise PlanningError(f"request {one.name!r} names no satellite, has no time or no bytes")

    @property
    def size(self) -> int:
        return int(self.satellite.size)

    @property
    def end_s(self) -> float:
        return self.start_s + self.horizon_ticks * self.tick_s

    def tick_of(self, time_s: float) -> int:
        """Return the first tick at or after a time."""
        return math.ceil((time_s - self.start_s) / self.tick_s - 1e-9)

    def time_of(self, tick: npt.ArrayLike) -> FloatArray:
        """Return the time of ticks, UTC seconds, same shape."""
        return np.asarray(self.start_s + np.asarray(tick, np.float64) * self.tick_s, np.float64)

    def bytes_between(self, opportunity: npt.ArrayLike, start: npt.ArrayLike, end: npt.ArrayLike) -> FloatArray:
        """Return what contacts [start, end) carry, guards taken off; arrays of one shape."""
        i = np.asarray(opportunity, np.int64)
        first = self.open_tick[i] + self.guard_ticks
        length = self.close_tick[i] - self.guard_ticks - first
        out = np.zeros(i.shape)
        fine = length > 0
        knots = self.profiles.shape[1] - 1
        shares = []
        for tick in (np.asarray(start) + self.guard_ticks, np.asarray(end) - self.guard_ticks):
            place = np.clip((tick - first) / np.where(fine, length, 1), 0.0, 1.0) * knots
            k = np.minimum(place.astype(np.int64), knots - 1)
            low, high = self.profiles[self.profile[i], k], self.profiles[self.profile[i], k + 1]
            shares.append(low + (place - k) * (high - low))
        longer = np.asarray(end) - np.asarray(start) > 2 * self.guard_ticks
        return np.asarray(np.where(fine & longer, self.capacity_bytes[i] * (shares[1] - shares[0]), out), np.float64)

    def with_pieces(self, pieces: int) -> Problem:
        """Return the problem in which a pass may be split into so many contacts: each opportunity stands there so often."""
        if pieces == 1:
            return self
        rows = np.repeat(np.arange(self.size), pieces)
        return self.select(rows)

    def select(self, rows: npt.NDArray[Any]) -> Problem:
        """Return the problem with these rows of opportunities, in this order."""
        names = ("satellite", "station", "open_tick", "close_tick", "capacity_bytes", "profile")
        picked = {name: getattr(self, name)[rows] for name in names}
        if self.max_elevation_deg.size:
            picked["max_elevation_deg"] = self.max_elevation_deg[rows]
        return replace(self, **picked)


@dataclass(frozen=True, slots=True)
class Plan:
    """Contacts as columns (K,), by start: which opportunity, from which tick to which, at which of the station's antennas."""

    opportunity: IntArray
    start_tick: IntArray
    end_tick: IntArray
    antenna: IntArray

    @property
    def size(self) -> int:
        return int(self.opportunity.size)

    @classmethod
    def empty(cls) -> Plan:
        return cls(*(np.empty(0, np.int32) for _ in fields(cls)))

    @classmethod
    def of(cls, problem: Problem, opportunity: npt.ArrayLike, start: npt.ArrayLike, end: npt.ArrayLike) -> Plan:
        """Order contacts by start and give them antennas.

        With one set-up time a station, contacts that never need more antennas at once than there are can be given them in
        order of start, each the one that has been free for the shortest time (colouring of an interval graph).

        Raises:
            PlanningError: more antennas are needed than there are.
        """
        i, a, b = (np.atleast_1d(np.asarray(x, np.int32)) for x in (opportunity, start, end))
        order = np.lexsort((i, a))
        i, a, b = i[order], a[order], b[order]
        antenna = np.zeros(i.size, np.int32)
        station = problem.station[i]
        free_at = np.asarray(b, np.int64) + problem.setup_ticks[station]
        by_station = np.argsort(station, kind="stable")
        edges = np.searchsorted(station[by_station], np.arange(len(problem.stations) + 1))
        for s in range(len(problem.stations)):
            rows = by_station[edges[s] : edges[s + 1]]
            if problem.antennas[s] == 1 and (a[rows[1:]] >= free_at[rows[:-1]]).all():
                continue
            antenna[rows] = _colours(problem, s, a[rows].tolist(), free_at[rows].tolist())
        return cls(i, a, b, antenna)


def _colours(problem: Problem, station: int, start: list[int], free_at: list[int]) -> list[int]:
    """Give a station's contacts, in order of start, antennas."""
    free, out = [0] * int(problem.antennas[station]), []
    for begin, until in zip(start, free_at, strict=True):
        fits = [(tick, -n) for n, tick in enumerate(free) if tick <= begin]
        if not fits:
            name = problem.stations[station]
            raise PlanningError(f"station {name!r} has no antenna free at tick {begin}", where="plan")
        chosen = -max(fits)[1]
        free[chosen] = until
        out.append(chosen)
    return out
