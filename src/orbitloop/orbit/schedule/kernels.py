"""The scheduler's loops, compiled: free time, what a contact is worth, insertion, removal, local search.

`Tables` is the problem, `State` the plan as it is being made; both are columns only. A satellite's contacts and a station's
stand in rows, sorted by start; a row is as long as the opportunities that could stand in it. Beside each contact stand its
gain and what waits on board after it, so that a change is followed forwards only until the store is as it was.
Without numba the same code runs uncompiled: right, and fast enough for a mission of some hundred passes.

Long because compiled code of one kind should be compiled, and read, together.
"""

# mypy: disable-error-code="no-any-return"
# What numba compiles is untyped to mypy.
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule.jit import njit

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_SAME_BYTES = 1e-3


class Tables(NamedTuple):
    """The problem; M opportunities, N satellites, S stations, C classes, R requests."""

    sat: Ints  # (M,)
    sta: Ints
    open: Ints
    close: Ints
    bytes: Floats
    profile: npt.NDArray[np.int16]
    profiles: Floats  # (P, K + 1)
    sat_ptr: Longs  # (N + 1,)
    sat_opps: Ints  # opportunities of each satellite, by opening
    sta_ptr: Longs  # (S + 1,)
    sta_opps: Ints
    sta_longest: Ints  # (S,) longest window and set-up: how far back a contact can still be in the way
    antennas: Ints
    setup: Ints
    guard: int
    shortest: int
    horizon: int
    rate: Floats  # (N, C) bytes per tick
    initial: Floats
    storage: Floats  # (N,)
    worth: Floats  # (N, C) value of a byte at the horizon's end
    slope: Floats  # (N, C) and what it gains for each tick that it comes earlier
    req_ptr: Longs  # (N + 1,)
    req_release: Ints
    req_deadline: Ints
    req_bytes: Floats
    req_value: Floats
    req_up: npt.NDArray[np.bool_]
    up_share: float
    battery: Floats  # (N,) 0: no limit
    floor: Floats
    charge: Floats
    transmit: Floats  # J per tick
    seg_ptr: Longs
    seg_edge: Ints
    seg_net: Floats  # J per tick
    seg_floor: Floats


class State(NamedTuple):
    """The plan as it is. `end[i]` is 0 where opportunity i has no contact."""

    start: Ints  # (M,)
    end: Ints
    cap: Floats
    gain: Floats
    left: Floats  # (M, C) what waits on board after the contact, bytes
    sat_row: Ints
    sat_count: Ints
    sta_row: Ints
    sta_count: Ints
    barred: npt.NDArray[np.bool_]  # (M,) opportunities that may not be used
    queue: Floats  # (C,) scratch
    low: Longs  # scratch of stretches that are taken
    high: Longs
    ends: Longs
    log: Longs  # (L, 3) scratch: what a move has changed
    random: npt.NDArray[np.uint64]  # (1,)


@njit(cache=True)
def draw(s: State) -> float:
    """Return a number in [0, 1): xorshift64*, seeded by the caller."""
    x = s.random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    s.random[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True)
def share_at(t: Tables, row: int, place: float) -> float:
    """Return the share of a window's bytes that has passed at a place 0 to 1 in it."""
    knots = t.profiles.shape[1] - 1
    if place <= 0.0:
        return 0.0
    x = place * knots
    k = int(x)
    if k >= knots:
        return float(t.profiles[row, knots])
    return float(t.profiles[row, k] + (x - k) * (t.profiles[row, k + 1] - t.profiles[row, k]))


@njit(cache=True)
def carried(t: Tables, i: int, start: int, end: int) -> float:
    """Return the bytes that a contact of opportunity i carries, guards taken off."""
    first = t.open[i] + t.guard
    length = t.close[i] - t.guard - first
    if length <= 0 or end - start <= 2 * t.guard:
        return 0.0
    row = t.profile[i]
    a = share_at(t, row, (start + t.guard - first) / length)
    b = share_at(t, row, (end - t.guard - first) / length)
    return float(t.bytes[i] * (b - a))


@njit(cache=True)
def place_in(row: Ints, base: int, count: int, start: Ints, tick: int) -> int:
    """Return how many contacts of a row begin before a tick."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if start[row[base + middle]] < tick:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def pass_time(t: Tables, s: State, j: int, ticks: int) -> None:
    """Let the store of satellite j, in `queue`, fill for some ticks; what does not fit is lost, the last class first."""
    total = 0.0
    classes = s.queue.size
    for c in range(classes):
        s.queue[c] += t.rate[j, c] * ticks
        total += s.queue[c]
    if t.storage[j] == np.inf:
        return
    over = total - t.storage[j]
    for back in range(classes):
        if over <= 0.0:
            return
        c = classes - 1 - back
        lost = min(s.queue[c], over)
        s.queue[c] -= lost
        over -= lost


@njit(cache=True)
def send(t: Tables, s: State, j: int, end: int, cap: float) -> float:
    """Send from the store in `queue`, first class first; return the gain."""
    gain = 0.0
    for c in range(s.queue.size):
        sent = min(s.queue[c], cap)
        s.queue[c] -= sent
        cap -= sent
        gain += sent * (t.worth[j, c] + t.slope[j, c] * (t.horizon - end))
    return gain


@njit(cache=True)
def serve(t: Tables, j: int, todo: Floats, end: int, cap: float) -> tuple[float, float]:
    """Serve the requests of satellite j that are due, by what they are worth; return (gain, capacity down that is left)."""
    gain, up = 0.0, cap * t.up_share
    first = t.req_ptr[j]
    for n in range(todo.size):  # requests stand by falling value
        r = first + n
        if todo[n] > 0.0 and t.req_release[r] <= end and end <= t.req_deadline[r]:
            room = up if t.req_up[r] else cap
            sent = min(todo[n], room)
            todo[n] -= sent
            gain += sent * t.req_value[r]
            if t.req_up[r]:
                up -= sent
            else:
                cap -= sent
    return gain, cap


@njit(cache=True)
def follow(t: Tables, s: State, j: int, at: int, new: int, start: int, end: int, cap: float, commit: bool) -> float:
    """Follow satellite j from place `at` in its row, a contact of opportunity `new` (or -1) before it; return what it gains.

    With `commit` gains and stores beside the contacts are written.
    """
    base, count = t.sat_ptr[j], s.sat_count[j]
    requests = t.req_ptr[j + 1] - t.req_ptr[j]
    todo = t.req_bytes[t.req_ptr[j] : t.req_ptr[j + 1]].copy()
    first = 0 if requests > 0 else at
    now = 0
    if first > 0:
        before = s.sat_row[base + first - 1]
        now = s.end[before]
        for c in range(s.queue.size):
            s.queue[c] = s.left[before, c]
    else:
        for c in range(s.queue.size):
            s.queue[c] = t.initial[j, c]
    change, k, pending = 0.0, first, new >= 0
    while k < count or pending:
        fresh = pending and k == at
        i = new if fresh else s.sat_row[base + k]
        until = end if fresh else s.end[i]
        room = cap if fresh else s.cap[i]
        pass_time(t, s, j, until - now)
        now = until
        gain = 0.0
        if requests > 0:
            gain, room = serve(t, j, todo, until, room)
        gain += send(t, s, j, until, room)
        same = False
        if fresh:
            pending = False
            change += gain
        else:
            change += gain - s.gain[i]
            same = requests == 0
            for c in range(s.queue.size):
                gap = s.queue[c] - s.left[i, c]
                same = same and (s.queue[c] == s.left[i, c] or abs(gap) <= _SAME_BYTES + 1e-6 * s.queue[c])
            k += 1
        if commit:
            s.gain[i] = gain
            for c in range(s.queue.size):
                s.left[i, c] = s.queue[c]
        if same and not pending:
            break
    return change


@njit(cache=True)
def enough_charge(t: Tables, s: State, j: int, at: int, start: int, end: int) -> bool:
    """Return whether satellite j keeps its charge with one more contact at place `at` of its row."""
    if t.battery[j] <= 0.0:
        return True
    base, count = t.sat_ptr[j], s.sat_count[j]
    charge, now, k, placed = t.charge[j], 0, 0, False
    seg, last = t.seg_ptr[j], t.seg_ptr[j + 1]
    while seg < last:
        if not placed and k == at:
            begin, until = start, end
        elif k < count:
            begin, until = s.start[s.sat_row[base + k]], s.end[s.sat_row[base + k]]
        else:
            begin, until = t.horizon + 1, t.horizon + 1
        sending = now >= begin
        stop = min(t.seg_edge[seg], until if sending else begin)
        net = t.seg_net[seg] - (t.transmit[j] if sending else 0.0)
        charge = min(t.battery[j], charge + net * (stop - now))
        now = stop
        if sending and now == until:
            if charge < t.floor[j] - 1e-6:
                return False
            if not placed and k == at:
                placed = True
            else:
                k += 1
        if now == t.seg_edge[seg]:
            if charge < t.seg_floor[seg] - 1e-6:
                return False
            seg += 1
    return True


@njit(cache=True)
def _take(s: State, n: int, low: int, high: int) -> int:
    """Add a stretch to the scratch, kept by rising begin."""
    k = n
    while k > 0 and s.low[k - 1] > low:
        s.low[k], s.high[k] = s.low[k - 1], s.high[k - 1]
        k -= 1
    s.low[k], s.high[k] = low, high
    return n + 1


@njit(cache=True)
def taken_at_station(t: Tables, s: State, i: int) -> int:
    """Write the stretches that a contact of opportunity i may not overlap because all antennas are busy; return how many."""
    station, opened, closed = t.sta[i], t.open[i], t.close[i]
    base, count, setup, antennas = t.sta_ptr[station], s.sta_count[station], t.setup[station], t.antennas[station]
    if antennas == 0:
        return _take(s, 0, 0, t.horizon + 1)
    n, active = 0, 0
    k = place_in(s.sta_row, base, count, s.start, opened - t.sta_longest[station])
    while k < count:
        other = s.sta_row[base + k]
        k += 1
        begin, free = s.start[other], s.end[other] + setup
        if begin - setup >= closed:
            break
        if free <= opened or other == i:
            continue
        if antennas == 1:
            n = _take(s, n, begin - setup, free)
            continue
        kept = 0
        for a in range(active):
            if s.ends[a] > begin:
                s.ends[kept] = s.ends[a]
                kept += 1
        s.ends[kept] = free
        active = kept + 1
        if active >= antennas:
            soonest = s.ends[0]
            for a in range(1, active):
                soonest = min(soonest, s.ends[a])
            n = _take(s, n, begin - setup, soonest)
    return n


@njit(cache=True)
def taken_on_board(t: Tables, s: State, i: int, n: int) -> int:
    """Add to n stretches those in which the satellite of opportunity i is in contact; return how many there are then."""
    j, opened, closed = t.sat[i], t.open[i], t.close[i]
    base, count = t.sat_ptr[j], s.sat_count[j]
    k = place_in(s.sat_row, base, count, s.start, opened)
    while k > 0 and s.end[s.sat_row[base + k - 1]] > opened:
        k -= 1
    while k < count:
        other = s.sat_row[base + k]
        k += 1
        if s.start[other] >= closed:
            break
        if other != i:
            n = _take(s, n, s.start[other], s.end[other])
    return n


@njit(cache=True)
def best_stretch(t: Tables, s: State, i: int, n: int, from_tick: int) -> tuple[int, int]:
    """Return the free stretch of opportunity i that carries most, not before `from_tick`; (0, 0) if none is long enough."""
    best, a, b = 0.0, 0, 0
    free, closed = max(t.open[i], from_tick), t.close[i]
    for k in range(n + 1):
        until = min(s.low[k], closed) if k < n else closed
        if until - free >= t.shortest:
            cap = carried(t, i, free, until)
            if cap > best:
                best, a, b = cap, free, until
        if k < n:
            free = max(free, s.high[k])
    return a, b


@njit(cache=True)
def waiting(t: Tables, s: State, j: int, at: int, end: int) -> float:
    """Return the bytes that wait on board at a tick, if the next contact is at place `at`; endless where requests are open."""
    if t.req_ptr[j + 1] > t.req_ptr[j]:
        return np.inf
    base, now = t.sat_ptr[j], 0
    if at > 0:
        before = s.sat_row[base + at - 1]
        now = s.end[before]
        for c in range(s.queue.size):
            s.queue[c] = s.left[before, c]
    else:
        for c in range(s.queue.size):
            s.queue[c] = t.initial[j, c]
    pass_time(t, s, j, end - now)
    total = 0.0
    for c in range(s.queue.size):
        total += s.queue[c]
    return total


@njit(cache=True)
def trimmed(t: Tables, i: int, a: int, b: int, need: float) -> tuple[int, int]:
    """Shorten a contact, from the end that carries less, as long as it still carries what is needed."""
    cap = carried(t, i, a, b)
    if cap <= need or cap <= 0.0:
        return a, b
    step = max(1, (b - a) // 16)
    while step >= 1:
        while b - a - step >= max(t.shortest, 2 * t.guard + 1):
            early, late = carried(t, i, a + step, b), carried(t, i, a, b - step)
            if max(early, late) < need:
                break
            if early > late:
                a += step
            else:
                b -= step
        step //= 2
    return a, b


@njit(cache=True)
def offer(t: Tables, s: State, i: int, trim: bool, from_tick: int) -> tuple[float, int, int, int]:
    """Return what the best contact of opportunity i would gain as things are: (gain, start, end, place); gain -1 if none."""
    if s.end[i] > 0 or s.barred[i] or t.close[i] - max(t.open[i], from_tick) < t.shortest:
        return -1.0, 0, 0, 0
    n = taken_at_station(t, s, i)
    n = taken_on_board(t, s, i, n)
    a, b = best_stretch(t, s, i, n, from_tick)
    if b == 0:
        return -1.0, 0, 0, 0
    return worth_of(t, s, i, a, b, trim)


@njit(cache=True)
def worth_of(t: Tables, s: State, i: int, a: int, b: int, trim: bool) -> tuple[float, int, int, int]:
    """Return what a contact in a free stretch would gain, trimmed to what waits on board if asked for."""
    j = t.sat[i]
    at = place_in(s.sat_row, t.sat_ptr[j], s.sat_count[j], s.start, a)
    if trim:
        a, b = trimmed(t, i, a, b, waiting(t, s, j, at, b))
    while not enough_charge(t, s, j, at, a, b):  # as long as the battery allows
        x, y = trimmed(t, i, a, b, 0.75 * carried(t, i, a, b))
        if x == a and y == b:
            return -1.0, 0, 0, 0
        a, b = x, y
    gain = follow(t, s, j, at, i, a, b, carried(t, i, a, b), False)
    if gain <= 0.0:
        return -1.0, 0, 0, 0
    return gain, a, b, at


@njit(cache=True)
def insert(t: Tables, s: State, i: int, a: int, b: int) -> float:
    """Make a contact of opportunity i; return the change of gain."""
    j, station = t.sat[i], t.sta[i]
    cap = carried(t, i, a, b)
    base, count = t.sat_ptr[j], s.sat_count[j]
    at = place_in(s.sat_row, base, count, s.start, a)
    change = follow(t, s, j, at, i, a, b, cap, True)
    for k in range(base + count, base + at, -1):
        s.sat_row[k] = s.sat_row[k - 1]
    s.sat_row[base + at] = i
    s.sat_count[j] = count + 1
    base, count = t.sta_ptr[station], s.sta_count[station]
    at = place_in(s.sta_row, base, count, s.start, a)
    for k in range(base + count, base + at, -1):
        s.sta_row[k] = s.sta_row[k - 1]
    s.sta_row[base + at] = i
    s.sta_count[station] = count + 1
    s.start[i], s.end[i], s.cap[i] = a, b, cap
    return change


@njit(cache=True)
def _drop(row: Ints, base: int, count: int, start: Ints, i: int) -> int:
    """Take i out of a row; return its place."""
    k = place_in(row, base, count, start, start[i])
    while row[base + k] != i:
        k += 1
    for m in range(base + k, base + count - 1):
        row[m] = row[m + 1]
    return k


@njit(cache=True)
def remove(t: Tables, s: State, i: int) -> float:
    """Take the contact of opportunity i out; return the change of gain (negative or zero)."""
    j, station = t.sat[i], t.sta[i]
    _drop(s.sta_row, t.sta_ptr[station], s.sta_count[station], s.start, i)
    s.sta_count[station] -= 1
    at = _drop(s.sat_row, t.sat_ptr[j], s.sat_count[j], s.start, i)
    s.sat_count[j] -= 1
    change = -float(s.gain[i])
    s.end[i], s.gain[i] = 0, 0.0
    return change + follow(t, s, j, at, -1, 0, 0, 0.0, True)


@njit(cache=True)
def in_order(t: Tables, s: State, rows: Longs, trim: bool) -> int:
    """Offer opportunities once, in the order given; take each that gains. Return how many."""
    made = 0
    for n in range(rows.size):
        gain, a, b, _ = offer(t, s, rows[n], trim, 0)
        if gain > 0.0:
            insert(t, s, rows[n], a, b)
            made += 1
    return made


@njit(cache=True)
def by_worth(t: Tables, s: State, rows: Longs, trim: bool, by_time: bool, step: float, from_tick: int) -> int:
    """Take opportunities by falling gain (a tick of antenna with `by_time`), looked at anew as the plan grows.

    Lazy: what gained less than the threshold when last looked at is not looked at again before the threshold has fallen to it,
    by factors of `step`; gains only fall as a plan grows. Return how many were taken.
    """
    known = np.empty(rows.size)
    left = np.empty(rows.size, np.int64)
    count, made, top = 0, 0, 0.0
    for n in range(rows.size):
        i = rows[n]
        gain, a, b, _ = offer(t, s, i, trim, from_tick)
        if gain > 0.0:
            score = gain / (b - a + t.setup[t.sta[i]]) if by_time else gain
            known[count], left[count] = score, i
            top = max(top, score)
            count += 1
    bar = top * step
    while count > 0:
        if bar < top * 1e-4:
            bar = 0.0
        kept = 0
        for n in range(count):
            i = left[n]
            if known[n] >= bar:
                gain, a, b, _ = offer(t, s, i, trim, from_tick)
                if gain <= 0.0:
                    continue
                score = gain / (b - a + t.setup[t.sta[i]]) if by_time else gain
                if score >= bar:
                    insert(t, s, i, a, b)
                    made += 1
                    continue
                known[kept] = score
            else:
                known[kept] = known[n]
            left[kept] = i
            kept += 1
        count = kept
        bar *= step
    return made


@njit(cache=True)
def _note(s: State, n: int, i: int) -> int:
    """Log a contact as it is, before it is changed (end 0: there is none)."""
    s.log[n, 0], s.log[n, 1], s.log[n, 2] = i, s.start[i], s.end[i]
    return n + 1


@njit(cache=True)
def undo(t: Tables, s: State, n: int) -> None:
    """Bring back what the first n entries of the log say, the last first."""
    for back in range(n):
        k = n - 1 - back
        i = s.log[k, 0]
        if s.end[i] > 0:
            remove(t, s, i)
        if s.log[k, 2] > 0:
            insert(t, s, i, s.log[k, 1], s.log[k, 2])


@njit(cache=True)
def stretch_all(t: Tables, s: State, trim: bool) -> float:
    """Make each contact anew in the time that is now free around it; return the change of gain, never negative."""
    total = 0.0
    for i in range(s.end.size):
        if s.end[i] == 0:
            continue
        a, b = s.start[i], s.end[i]
        change = remove(t, s, i)
        gain, x, y, _ = offer(t, s, i, trim, 0)
        if gain > -change:
            total += change + insert(t, s, i, x, y)
        else:
            insert(t, s, i, a, b)
    return total


@njit(cache=True)
def load(t: Tables, s: State, opportunities: Ints, start: Ints, end: Ints) -> None:
    """Make the contacts of a plan, one after the other by start."""
    for k in range(opportunities.size):
        insert(t, s, opportunities[k], start[k], end[k])
