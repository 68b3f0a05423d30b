"""Repair of a plan when something fails or something urgent comes: quickly, and with as few changes as it takes.

Only what is touched is planned anew. What is lost takes its satellites to other passes near, where nothing else has to move;
what became free goes to whom it helps most; and only then may a contact push others aside, if that is worth more than a fair
share of what it disturbs (`DISTURBANCE`). Contacts that begin before `now` plus the freeze are out of reach: their commands are
on board already. A request takes the satellite's first pass that it can have, with the least disturbance (Serval, NSDI 2024:
urgent samples go by the next pass).

Works in place on a board that is kept warm; see `board`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule import kernels
from orbitloop.orbit.schedule.board import Board, tables_of
from orbitloop.orbit.schedule.problem import Request
from orbitloop.orbit.schedule.search import kernels as search

FREEZE_S = 600.0
NEAR_S = 5400.0
DISTURBANCE = 0.1
"""What moving a contact costs, share of the mean gain of a contact."""
_MOST_MOVED = 2
_STEP = 0.7
_TRIES = 2_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A station (all its antennas) or a satellite that is out from `from_s` to `until_s`; exactly one of the two is named."""

    from_s: float
    until_s: float = float("inf")
    station: int | None = None
    satellite: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One opportunity's contact before and after, ticks; None where there is none."""

    opportunity: int
    before: tuple[int, int] | None
    after: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did: contacts lost, made and moved; the plan's gain before, with what failed taken out, and after."""

    changes: tuple[Change, ...]
    gain_before: float
    gain_broken: float
    gain_after: float
    served: bool = True
    """Whether a request has a pass (True without one)."""

    @property
    def lost(self) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.after is None)

    @property
    def made(self) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.before is None)

    @property
    def moved(self) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.before is not None and c.after is not None)

    @property
    def recovered(self) -> float:
        """Share of the gain that the failure took which the repair brings back."""
        taken = self.gain_before - self.gain_broken
        return (self.gain_after - self.gain_broken) / taken if taken > 0 else 1.0

    def to_json(self) -> dict[str, Any]:
        counts = {name: len(getattr(self, name)) for name in ("lost", "made", "moved")}
        gains = {name: getattr(self, name) for name in ("gain_before", "gain_broken", "gain_after", "recovered", "served")}
        return counts | gains


def repair(board: Board, failure: Failure, now_s: float, freeze_s: float = FREEZE_S) -> Repair:
    """Take out what failed and mend the plan around it.

    A contact that is under way when its side fails keeps what it has had by then, if that is long enough.

    Raises:
        PlanningError: the failure names no station or satellite, or both.
    """
    p, t, s = board.problem, board.tables, board.state
    if (failure.station is None) == (failure.satellite is None):
        raise PlanningError("a failure is of a station or of a satellite", remedy="name one of the two")
    owner = p.station if failure.station is not None else p.satellite
    which = failure.station if failure.station is not None else failure.satellite
    count = len(p.stations) if failure.station is not None else len(p.satellites)
    if which is None or not 0 <= which < count:
        raise PlanningError(f"there is no station or satellite number {which}")
    before, gain_before = board.contacts(), board.gain
    begin, until = max(0, p.tick_of(failure.from_s)), _last_tick(board, failure.until_s)
    out = np.flatnonzero((owner == which) & (p.close_tick > begin) & (p.open_tick < until))
    s.barred[out] = True
    lost = out[(s.end[out] > begin) & (s.start[out] < until)]
    for i in lost.tolist():
        start, end = int(s.start[i]), int(s.end[i])
        kernels.remove(t, s, i)
        if begin - start >= t.shortest and end > begin:
            kernels.insert(t, s, i, start, begin)
    gain_broken = board.gain
    fixed = p.tick_of(now_s + freeze_s)
    _mend(board, lost, before, fixed)
    return _told(board, before, gain_before, gain_broken)


def _last_tick(board: Board, time_s: float) -> int:
    return board.problem.horizon_ticks if np.isinf(time_s) else board.problem.tick_of(time_s)


def _mend(board: Board, lost: npt.NDArray[np.int64], before: tuple[Any, Any], fixed: int) -> None:
    """Give satellites that lost contacts others near, and stations that came free others to serve."""
    p, t, s = board.problem, board.tables, board.state
    near = max(1, round(NEAR_S / p.tick_s))
    found: list[npt.NDArray[np.int64]] = []
    for i in lost.tolist():
        start, end = int(before[0][i]), int(before[1][i])
        found.append(_opened(t.sat_ptr, t.sat_opps, t.open, int(t.sat[i]), start - near, end + near))
        reach = int(t.sta_longest[t.sta[i]])
        found.append(_opened(t.sta_ptr, t.sta_opps, t.open, int(t.sta[i]), start - reach, end))
    if not found:
        return
    rows = np.unique(np.concatenate(found)).astype(np.int64)
    rows = rows[(s.end[rows] == 0) & ~s.barred[rows] & (t.close[rows] > fixed)]
    kernels.by_worth(t, s, rows, True, True, _STEP, fixed)
    price = DISTURBANCE * board.gain / max(1, board.size)
    tries = rows[s.end[rows] == 0]
    if tries.size > _TRIES:
        tries = tries[:: tries.size // _TRIES + 1]
    for i in tries.tolist():
        change, n = search.push_in(t, s, i, int(t.open[i]), int(t.close[i]), 0, True, fixed, _MOST_MOVED)
        if n and change <= price * (n - 1):
            kernels.undo(t, s, n)


def _opened(pointer: Any, opps: Any, opened: Any, owner: int, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return an owner's opportunities that open in ticks [low, high)."""
    rows = opps[pointer[owner] : pointer[owner + 1]]
    ticks = opened[rows]
    return np.asarray(rows[np.searchsorted(ticks, low) : np.searchsorted(ticks, high)], np.int64)


def push_request(board: Board, request: Request, now_s: float, freeze_s: float = FREEZE_S) -> Repair:
    """Add an urgent request to the problem, and give it its satellite's first pass that it can have.

    The request stands in `board.problem` afterwards. Where a contact that is planned already brings all of it as early as any
    other could, nothing changes.
    """
    before, gain_before = board.contacts(), board.gain
    _add(board, request)
    p, t, s = board.problem, board.tables, board.state
    j = request.satellite
    fixed = p.tick_of(max(now_s + freeze_s, request.release_s))
    held = kernels.follow(t, s, j, 0, -1, 0, 0, 0.0, True)
    price = DISTURBANCE * gain_before / max(1, board.size)
    need = request.size_bytes / (p.uplink_share if request.up else 1.0)
    last = min(p.horizon_ticks, int((min(request.deadline_s, p.end_s) - p.start_s) / p.tick_s))
    served = held >= 0.999 * request.value * request.size_bytes
    earliest = _served_at(board, j, request) if served else last + 1
    for i in _opened(t.sat_ptr, t.sat_opps, t.open, j, fixed - int(t.sta_longest.max()), last).tolist():
        opened = max(int(t.open[i]), fixed)
        if s.end[i] > 0 or opened + t.shortest >= earliest:
            continue
        a, b = kernels.trimmed(t, i, opened, int(t.close[i]), need)
        if b > last or b >= earliest or b - a < t.shortest:
            continue
        change, n = search.push_in(t, s, i, a, b, 0, False, fixed, _MOST_MOVED)
        if not n:
            continue
        if (served and change < -price * n) or (not served and change <= price * (n - 1)):
            kernels.undo(t, s, n)
            continue
        served = True
        break
    return _told(board, before, gain_before, gain_before, served)


def _served_at(board: Board, j: int, request: Request) -> int:
    """Return the end of the satellite's first contact in which a request can be served."""
    p, t, s = board.problem, board.tables, board.state
    row = s.sat_row[t.sat_ptr[j] : t.sat_ptr[j] + s.sat_count[j]]
    ends = s.end[row]
    return int(ends[ends >= p.tick_of(request.release_s)].min(initial=p.horizon_ticks + 1))


def _add(board: Board, request: Request) -> None:
    """Put a request into the board's problem and tables; only their columns of requests are laid out anew."""
    p = board.problem
    board.problem = replace(p, requests=(*p.requests, request))
    small = board.problem.select(np.zeros(0, np.int64))
    fresh = tables_of(small)
    names = ("req_ptr", "req_release", "req_deadline", "req_bytes", "req_value", "req_up")
    board.tables = board.tables._replace(**{name: getattr(fresh, name) for name in names})


def _told(board: Board, before: tuple[Any, Any], gain_before: float, gain_broken: float, served: bool = True) -> Repair:
    start, end = board.state.start, board.state.end
    was, now = before[1] > 0, end > 0
    rows = np.flatnonzero((was != now) | (was & now & ((before[0] != start) | (before[1] != end))))
    changes = tuple(
        Change(
            i,
            (int(before[0][i]), int(before[1][i])) if before[1][i] > 0 else None,
            (int(start[i]), int(end[i])) if end[i] > 0 else None,
        )
        for i in rows.tolist()
    )
    return Repair(changes, gain_before, gain_broken, board.gain, served)
