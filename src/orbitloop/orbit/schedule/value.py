"""What a plan is worth, told byte by byte: what comes down and when, what is lost, and how evenly it is shared.

Plain queues, one satellite after the other, apart from the compiled loops of the solvers, so that one can be held against the
other. Within a class the oldest go first, as in the link's queue; what a full store cannot hold is overwritten, the last class
first, its oldest first. The objective stands in the package's charter.

Fairness is Jain's index over tenants of the share of their bytes that comes down, per weight: (sum x)^2 / (n sum x^2), 1 where
all are served alike, 1/n where one has all (Jain, Chiu, Hawe 1984).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule.problem import FloatArray, Plan, Problem, Request

_SLICES = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a plan. Latency is from capture to the end of the contact that brings a byte down, seconds."""

    contacts: int
    contact_s: float
    antenna_share: float
    """Share of the antennas' time that contacts take, set-up not counted."""
    gain: float
    """Value-weighted bytes over silence: what solvers maximise."""
    value: float
    """The objective V: value-weighted bytes less what waiting costs; may be negative."""
    captured_bytes: FloatArray
    """(C,) within the horizon, the initial ones included; endless where the supply is."""
    delivered_bytes: FloatArray
    """(C,)"""
    lost_bytes: FloatArray
    waiting_bytes: FloatArray
    latency_s: FloatArray
    """(3,) of delivered bytes of all classes: median, 90th and 99th percentile; NaN without any."""
    all_latency_s: FloatArray
    """(3,) of all captured bytes: those that have not come down count with their age at the end, or from capture if lost."""
    tenant_share: FloatArray
    """(T,) share of each tenant's bytes that comes down."""
    fairness: float
    requests_done: int
    request_latency_s: FloatArray
    """(R,) from release to delivered, NaN where the deadline passed."""

    @property
    def throughput_bytes(self) -> float:
        return float(self.delivered_bytes.sum())

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return [plain(v) for v in value.tolist()]
            return value if not isinstance(value, float) or math.isfinite(value) else None

        return {name: plain(getattr(self, name)) for name in self.__slots__} | {"throughput_bytes": self.throughput_bytes}


@dataclass(slots=True)
class _Account:
    """What is added up over satellites."""

    gain: float
    delivered: FloatArray
    lost: FloatArray
    waiting: FloatArray
    came: list[tuple[float, float, float]]
    stayed: list[tuple[float, float, float]]
    """(youngest, oldest latency in ticks, bytes) of bytes that came down, and of those that did not."""


class _Store:
    """One satellite's data on board: for each class stretches [captured from, to, bytes], ticks, oldest first."""

    def __init__(self, problem: Problem, satellite: int) -> None:
        supply = problem.supply
        self._rate = (supply.rate_bytes_s[satellite] * problem.tick_s).tolist()
        self._room = float(supply.storage_bytes[satellite])
        self.held: list[deque[list[float]]] = [deque() for _ in self._rate]
        for c, size in enumerate(supply.initial_bytes[satellite].tolist()):
            if size > 0:
                self.held[c].append([0.0, 0.0, size])
        self._now = 0
        self.dropped: list[tuple[int, float, float, float]] = []

    def until(self, tick: int) -> None:
        """Capture up to a tick, and overwrite what there is no room for."""
        for c, rate in enumerate(self._rate):
            if rate > 0 and tick > self._now:
                self.held[c].append([float(self._now), float(tick), rate * (tick - self._now)])
        self._now = tick
        if math.isinf(self._room):
            return
        over = sum(piece[2] for queue in self.held for piece in queue) - self._room
        for c in range(len(self.held) - 1, -1, -1):
            if over <= 0:
                break
            for first, last, size in self.take(c, over):
                self.dropped.append((c, first, last, size))
                over -= size

    def take(self, c: int, size: float) -> list[tuple[float, float, float]]:
        """Take the oldest bytes of a class, at most `size`: stretches (captured from, to, bytes)."""
        out, queue = [], self.held[c]
        while queue and size > 0:
            first, last, there = queue[0]
            if there <= size:
                queue.popleft()
                out.append((first, last, there))
                size -= there
                continue
            if math.isinf(there):
                out.append((first, first, size))
                break
            middle = first + (last - first) * size / there
            out.append((first, middle, size))
            queue[0] = [middle, last, there - size]
            break
        return out


def evaluate(problem: Problem, plan: Plan) -> Outcome:
    """Follow every byte of a plan."""
    supply = problem.supply
    n, classes = len(problem.satellites), len(supply.classes)
    total = _Account(0.0, np.zeros(classes), np.zeros(classes), np.zeros(classes), [], [])
    captured = supply.initial_bytes + supply.rate_bytes_s * problem.tick_s * problem.horizon_ticks
    capacity = problem.bytes_between(plan.opportunity, plan.start_tick, plan.end_tick)
    owner = problem.satellite[plan.opportunity] if plan.size else np.zeros(0, np.int32)
    by_satellite = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[by_satellite], np.arange(n + 1))
    asked: dict[int, list[int]] = {}
    for r, one in enumerate(problem.requests):
        asked.setdefault(one.satellite, []).append(r)
    latency = np.full(len(problem.requests), np.nan)
    down = np.zeros(n)
    for j in range(n):
        rows = by_satellite[edges[j] : edges[j + 1]]
        contacts = list(zip(plan.end_tick[rows].tolist(), capacity[rows].tolist(), strict=True))
        down[j] = _follow(problem, j, contacts, asked.get(j, []), total, latency)
    offered = captured.sum(axis=1)
    share = _tenant_shares(problem, down, offered)
    length_s = float(np.sum(plan.end_tick - plan.start_tick)) * problem.tick_s
    have_s = float(problem.antennas.sum()) * problem.horizon_ticks * problem.tick_s
    return Outcome(
        plan.size,
        length_s,
        length_s / have_s if have_s > 0 else 0.0,
        total.gain,
        total.gain - _silence(problem),
        captured.sum(axis=0),
        total.delivered,
        total.lost,
        total.waiting,
        _percentiles(total.came, problem.tick_s),
        _percentiles(total.came + total.stayed, problem.tick_s),
        share,
        jain(share),
        int(np.isfinite(latency).sum()),
        latency,
    )


def _follow(
    problem: Problem,
    j: int,
    contacts: list[tuple[int, float]],
    asked: list[int],
    total: _Account,
    latency: FloatArray,
) -> float:
    """Follow one satellite's bytes through its contacts; return how many came down."""
    store, horizon = _Store(problem, j), problem.horizon_ticks
    todo = {r: problem.requests[r].size_bytes for r in asked}
    order = sorted(asked, key=lambda r: (-problem.requests[r].value, problem.requests[r].deadline_s, problem.requests[r].name))
    weight, down = float(problem.supply.weight[j]), 0.0
    for end, capacity in contacts:
        store.until(end)
        down_room, up_room = capacity, capacity * problem.uplink_share
        for r in order:
            one = problem.requests[r]
            sent = min(todo[r], up_room if one.up else down_room) if _open(problem, one, end) else 0.0
            todo[r] -= sent
            total.gain += sent * one.value
            if one.up:
                up_room -= sent
            else:
                down_room -= sent
            if todo[r] <= 0 and math.isnan(latency[r]):
                latency[r] = float(problem.time_of(end)) - one.release_s
        for c, klass in enumerate(problem.supply.classes):
            for first, last, size in store.take(c, down_room):
                down_room -= size
                down += size
                total.delivered[c] += size
                total.gain += weight * klass.weight * size * (1 + (horizon - end) * problem.tick_s / klass.patience_s)
                total.came.append((end - last, end - first, size))
    store.until(horizon)
    for c, first, last, size in store.dropped:
        total.lost[c] += size
        total.stayed.append((horizon - last, horizon - first, size))
    for c, queue in enumerate(store.held):
        for first, last, size in queue:
            total.waiting[c] += size
            if math.isfinite(size):
                total.stayed.append((horizon - last, horizon - first, size))
    return down


def _open(problem: Problem, one: Request, end: int) -> bool:
    """Return whether a contact that ends then can serve a request."""
    time_s = float(problem.time_of(end))
    return one.release_s <= time_s + 1e-6 and time_s <= one.deadline_s + 1e-6


def _silence(problem: Problem) -> float:
    """Return what it costs to send nothing: w/D times the integral of what is captured."""
    supply, length_s = problem.supply, problem.horizon_ticks * problem.tick_s
    cost = 0.0
    for c, klass in enumerate(supply.classes):
        if math.isfinite(klass.patience_s):
            held = supply.initial_bytes[:, c] * length_s + supply.rate_bytes_s[:, c] * length_s**2 / 2
            cost += float(np.sum(supply.weight * klass.weight * held)) / klass.patience_s
    return cost


def _tenant_shares(problem: Problem, down: FloatArray, offered: FloatArray) -> FloatArray:
    """Return the share of each tenant's bytes that came down; of endless supplies, in units of the mean satellite's."""
    tenants, owner = len(problem.tenants), problem.supply.tenant
    if not np.isfinite(offered).all():
        offered = np.full(down.size, max(float(down.mean()), 1.0) if down.size else 1.0)
    got, had = np.bincount(owner, down, tenants), np.bincount(owner, offered, tenants)
    return np.divide(got, had, out=np.ones(tenants), where=had > 0)


def jain(x: npt.ArrayLike) -> float:
    """Return Jain's index of shares, 1/n to 1; 1 where nobody gets anything."""
    share = np.asarray(x, np.float64)
    square = float(np.sum(share**2)) * share.size
    return float(np.sum(share)) ** 2 / square if square > 0 else 1.0


def _percentiles(pieces: list[tuple[float, float, float]], tick_s: float) -> FloatArray:
    """Return the 50th, 90th and 99th percentile of latency by bytes, seconds; stretches are cut in equal slices."""
    if not pieces:
        return np.full(3, np.nan)
    low, high, size = np.array(pieces).T
    places = (np.arange(_SLICES) + 0.5) / _SLICES
    at = (low[:, None] + (high - low)[:, None] * places).ravel()
    weight = np.repeat(size / _SLICES, _SLICES)
    order = np.argsort(at)
    passed = np.cumsum(weight[order])
    where = np.searchsorted(passed, passed[-1] * np.array([0.5, 0.9, 0.99]))
    return np.asarray(at[order][np.minimum(where, at.size - 1)] * tick_s, np.float64)
