"""Local search over a plan in the making: push a contact in, give those in its way others, keep what gains.

Every change is logged, so that a move that does not gain is undone exactly. Theory and use:
`orbitloop.orbit.schedule.heuristic`.
"""

# mypy: disable-error-code="no-any-return"
# What numba compiles is untyped to mypy.
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule.jit import njit
from orbitloop.orbit.schedule.kernels import (
    State,
    Tables,
    draw,
    insert,
    offer,
    place_in,
    remove,
    taken_at_station,
    trimmed,
    undo,
    waiting,
    worth_of,
)

Longs = npt.NDArray[np.int64]


@njit(cache=True)
def _note(s: State, n: int, i: int) -> int:
    """Log a contact as it is, before it is changed (end 0: there is none)."""
    s.log[n, 0], s.log[n, 1], s.log[n, 2] = i, s.start[i], s.end[i]
    return n + 1


@njit(cache=True)
def _full(s: State, n: int) -> bool:
    """Return whether the log has no room for another step."""
    return bool(n > s.log.shape[0] - 4)


@njit(cache=True)
def opened_before(t: Tables, opps: npt.NDArray[np.int32], base: int, count: int, tick: int) -> int:
    """Return how many of an owner's opportunities open before a tick."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if t.open[opps[base + middle]] < tick:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def refill_satellite(t: Tables, s: State, i: int, n: int, reach: int, trim: bool, from_tick: int) -> tuple[float, int]:
    """Give the satellite of opportunity i the best contact it can have within `reach` opportunities of it; (change, log)."""
    j = t.sat[i]
    base, count = t.sat_ptr[j], t.sat_ptr[j + 1] - t.sat_ptr[j]
    low = opened_before(t, t.sat_opps, base, count, t.open[i])
    best, chosen, a, b = 0.0, -1, 0, 0
    for k in range(max(0, low - reach), min(count, low + reach + 1)):
        other = t.sat_opps[base + k]
        if s.end[other] > 0 or s.barred[other]:
            continue
        gain, x, y, _ = offer(t, s, other, trim, from_tick)
        if gain > best:
            best, chosen, a, b = gain, other, x, y
    if chosen < 0 or _full(s, n):
        return 0.0, n
    n = _note(s, n, chosen)
    return insert(t, s, chosen, a, b), n


@njit(cache=True)
def refill_station(
    t: Tables, s: State, station: int, low: int, high: int, n: int, most: int, trim: bool, from_tick: int
) -> tuple[float, int]:
    """Fill what is free at a station in ticks [low, high): make its contacts there longer, then make the best new one."""
    change = 0.0
    base, count = t.sta_ptr[station], t.sta_ptr[station + 1] - t.sta_ptr[station]
    for side in range(2):
        k = place_in(s.sta_row, base, s.sta_count[station], s.start, low if side == 0 else high) - (1 - side)
        if 0 <= k < s.sta_count[station] and not _full(s, n):
            other = s.sta_row[base + k]
            if s.start[other] >= from_tick:
                more, n = remake(t, s, other, n, trim, from_tick)
                change += more
    k = opened_before(t, t.sta_opps, base, count, high)
    best, chosen, a, b = 0.0, -1, 0, 0
    for _ in range(most):
        k -= 1
        if k < 0 or t.open[t.sta_opps[base + k]] < low - t.sta_longest[station]:
            break
        other = t.sta_opps[base + k]
        if t.close[other] <= low or s.end[other] > 0 or s.barred[other]:
            continue
        gain, x, y, _ = offer(t, s, other, trim, from_tick)
        if gain > best:
            best, chosen, a, b = gain, other, x, y
    if chosen >= 0 and not _full(s, n):
        n = _note(s, n, chosen)
        change += insert(t, s, chosen, a, b)
    return change, n


@njit(cache=True)
def remake(t: Tables, s: State, i: int, n: int, trim: bool, from_tick: int) -> tuple[float, int]:
    """Make a contact anew in the time that is free around it, if that gains; (change, log)."""
    a, b = s.start[i], s.end[i]
    n = _note(s, n, i)
    change = remove(t, s, i)
    gain, x, y, _ = offer(t, s, i, trim, from_tick)
    if gain > -change:
        return change + insert(t, s, i, x, y), n
    insert(t, s, i, a, b)
    return 0.0, n - 1


@njit(cache=True)
def push_in(
    t: Tables, s: State, i: int, a: int, b: int, reach: int, trim: bool, from_tick: int, most: int, n: int = 0
) -> tuple[float, int]:
    """Make a contact of opportunity i within [a, b) whatever is in its way, and give what was in its way other contacts.

    Contacts that began before `from_tick` stay, and at most `most` others are moved. The log holds n entries already. Returns
    (change of gain, entries in the log); (0, 0), and all in the log undone, if it cannot be.
    """
    j, station = t.sat[i], t.sta[i]
    a = max(a, from_tick)
    if s.barred[i] or s.end[i] > 0 or b - a < t.shortest or t.antennas[station] == 0:
        undo(t, s, n)
        return 0.0, 0
    base, change = t.sat_ptr[j], 0.0
    at = place_in(s.sat_row, base, s.sat_count[j], s.start, a)
    while at > 0 and s.end[s.sat_row[base + at - 1]] > a:
        at -= 1
    while at < s.sat_count[j] and s.start[s.sat_row[base + at]] < b:
        other = s.sat_row[base + at]
        if s.start[other] < from_tick or n >= most:
            undo(t, s, n)
            return 0.0, 0
        n = _note(s, n, other)
        change += remove(t, s, other)
    if trim:
        a, b = trimmed(t, i, a, b, waiting(t, s, j, at, b))
    change, n = _clear(t, s, i, a, b, n, change, from_tick, most)
    if n < 0:
        return 0.0, 0
    gain, x, y, _ = worth_of(t, s, i, a, b, trim)
    while t.battery[j] > 0.0 and n < most and (gain <= 0.0 or (y - x < b - a and draw(s) < 0.5)):
        other = _least_near(t, s, j, a, from_tick)  # the charge that it needs is another contact's
        if other < 0:
            break
        n = _note(s, n, other)
        change += remove(t, s, other)
        gain, x, y, _ = worth_of(t, s, i, a, b, trim)
    if gain <= 0.0:
        undo(t, s, n)
        return 0.0, 0
    moved = n
    n = _note(s, n, i)
    change += insert(t, s, i, x, y)
    for k in range(moved):
        other = s.log[k, 0]
        gain, x, y, _ = offer(t, s, other, trim, from_tick)
        if gain > 0.0 and not _full(s, n):
            n = _note(s, n, other)
            change += insert(t, s, other, x, y)
        elif reach > 0:
            more, n = refill_satellite(t, s, other, n, reach, trim, from_tick)
            change += more
    return change, n


@njit(cache=True)
def _least_near(t: Tables, s: State, j: int, tick: int, from_tick: int) -> int:
    """Return the contact that gains least among a satellite's four before and four after a tick; -1 if there is none."""
    base, count = t.sat_ptr[j], s.sat_count[j]
    at = place_in(s.sat_row, base, count, s.start, tick)
    chosen, least = -1, np.inf
    for k in range(max(0, at - 4), min(count, at + 4)):
        other = s.sat_row[base + k]
        if s.start[other] >= from_tick and s.gain[other] < least:
            chosen, least = other, s.gain[other]
    return chosen


@njit(cache=True)
def _clear(t: Tables, s: State, i: int, a: int, b: int, n: int, change: float, from_tick: int, most: int) -> tuple[float, int]:
    """Take out contacts at the station until opportunity i has [a, b); log length -1 (all undone) if it cannot be."""
    station = t.sta[i]
    base, setup = t.sta_ptr[station], t.setup[station]
    while True:
        taken = taken_at_station(t, s, i)
        blocked = False
        for k in range(taken):
            blocked = blocked or (s.low[k] < b and s.high[k] > a)
        if not blocked:
            return change, n
        chosen, least = -1, np.inf
        k = place_in(s.sta_row, base, s.sta_count[station], s.start, a - t.sta_longest[station])
        while k < s.sta_count[station] and s.start[s.sta_row[base + k]] < b + setup:
            other = s.sta_row[base + k]
            k += 1
            if s.end[other] + setup > a and s.start[other] >= from_tick and s.gain[other] < least:
                chosen, least = other, s.gain[other]
        if chosen < 0 or n >= most:
            undo(t, s, n)
            return 0.0, -1
        n = _note(s, n, chosen)
        change += remove(t, s, chosen)


@njit(cache=True)
def _part(t: Tables, s: State, i: int) -> tuple[int, int]:
    """Return a random part of a window that is long enough for a contact."""
    spare = t.close[i] - t.open[i] - t.shortest
    if spare <= 0:
        return t.open[i], t.close[i]
    length = t.shortest + int(draw(s) * (spare + 1))
    a = t.open[i] + int(draw(s) * (t.close[i] - t.open[i] - length + 1))
    return a, a + length


@njit(cache=True)
def _shift(t: Tables, s: State, i: int, reach: int, trim: bool) -> tuple[float, int]:
    """Take a contact out, or leave it a random part of its pass, and let others have what that frees."""
    low, high, station = s.start[i], s.end[i], t.sta[i]
    n = _note(s, 0, i)
    change = remove(t, s, i)
    if draw(s) < 0.5:
        a, b = _part(t, s, i)
        a, b = max(a, low), min(b, high)
        if b - a >= t.shortest:
            gain, x, y, _ = worth_of(t, s, i, a, b, trim)
            if gain > 0.0:
                n = _note(s, n, i)
                change += insert(t, s, i, x, y)
    more, n = refill_station(t, s, station, low, high, n, 60, trim, 0)
    change += more
    more, n = refill_satellite(t, s, i, n, reach, trim, 0)
    return change + more, n


@njit(cache=True)
def anneal(t: Tables, s: State, rows: Longs, moves: int, heat: float, cold: float, reach: int, trim: bool) -> float:
    """Try random moves; keep what gains, and, while it is warm, some of what loses. Return the change.

    `heat` and `cold` are temperatures at begin and end, value-weighted bytes, falling geometrically.
    """
    total = 0.0
    if rows.size == 0:
        return total
    for move in range(moves):
        i = rows[int(draw(s) * rows.size)]
        cut = trim and draw(s) < 0.75
        warmth = heat * (cold / heat) ** (move / moves) if heat > 0.0 else 0.0
        if s.end[i] > 0 and draw(s) < 0.5:
            n = _note(s, 0, i)
            gone = remove(t, s, i)
            a, b = _part(t, s, i)
            change, n = push_in(t, s, i, a, b, reach, cut, 0, 6, n)
            change += gone
        elif s.end[i] > 0:
            change, n = _shift(t, s, i, reach, cut)
        elif draw(s) < 0.5:
            change, n = push_in(t, s, i, t.open[i], t.close[i], reach, cut, 0, 6)
        else:
            a, b = _part(t, s, i)
            change, n = push_in(t, s, i, a, b, reach, cut, 0, 6)
        if n == 0:
            continue
        if change >= 0.0 or (warmth > 0.0 and draw(s) < np.exp(change / warmth)):
            total += change
        else:
            undo(t, s, n)
    return total
