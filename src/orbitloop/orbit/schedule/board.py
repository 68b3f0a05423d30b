"""A plan in the making: a problem's columns laid out for the compiled loops, and the contacts that stand so far.

Made once for a problem and kept for as long as it may have to be repaired: laying out millions of opportunities takes longer
than a repair. Leaves to others: which contacts to make (`heuristic`, `replan`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule import kernels
from orbitloop.orbit.schedule.kernels import State, Tables
from orbitloop.orbit.schedule.problem import Energy, Plan, Problem

_LOG = 128


class Board:
    """The state that solvers work on. `tables` never changes; `state` is the plan."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.problem = problem
        self.tables = tables_of(problem)
        self.state = _empty_state(self.tables, problem, rng)

    @property
    def gain(self) -> float:
        """What the plan gains over silence, value-weighted bytes."""
        return float(self.state.gain.sum())

    @property
    def size(self) -> int:
        return int(self.state.sat_count.sum())

    def plan(self) -> Plan:
        """Return the plan as it is now."""
        rows = np.flatnonzero(self.state.end > 0)
        return Plan.of(self.problem, rows, self.state.start[rows], self.state.end[rows])

    def load(self, plan: Plan) -> None:
        """Make the contacts of a plan; the board must be empty.

        Raises:
            PlanningError: a contact names no opportunity of the problem, or one twice.
        """
        if self.size:
            raise PlanningError("the board holds a plan already")
        if plan.size and not (plan.opportunity.min() >= 0 and plan.opportunity.max() < self.problem.size):
            raise PlanningError("the plan names opportunities that the problem does not have")
        if np.unique(plan.opportunity).size != plan.size:
            raise PlanningError("the plan uses an opportunity twice", remedy="split opportunities with Problem.with_pieces")
        kernels.load(self.tables, self.state, plan.opportunity, plan.start_tick, plan.end_tick)

    def contacts(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return copies of all starts and ends (M,), to come back to with `restore`."""
        return self.state.start.copy(), self.state.end.copy()

    def restore(self, start: npt.NDArray[np.int32], end: npt.NDArray[np.int32]) -> None:
        """Bring back the contacts that `contacts` returned."""
        s = self.state
        changed = np.flatnonzero((s.end != end) | ((end > 0) & (s.start != start)))
        for i in changed[s.end[changed] > 0].tolist():
            kernels.remove(self.tables, s, i)
        for i in changed[end[changed] > 0].tolist():
            kernels.insert(self.tables, s, i, int(start[i]), int(end[i]))


def _rows_by(owner: npt.NDArray[np.int32], owners: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return (pointer (owners + 1,), rows) of opportunities grouped by owner, in their order."""
    pointer = np.zeros(owners + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=owners), out=pointer[1:])
    return pointer, np.argsort(owner, kind="stable").astype(np.int32)


def tables_of(problem: Problem) -> Tables:
    """Lay a problem out for the compiled loops."""
    p, n = problem, len(problem.satellites)
    sat_ptr, sat_opps = _rows_by(p.satellite, n)
    sta_ptr, sta_opps = _rows_by(p.station, len(p.stations))
    longest = np.zeros(len(p.stations), np.int64)
    np.maximum.at(longest, p.station, p.close_tick - p.open_tick)
    weights = np.array([c.weight for c in p.supply.classes])
    worth = p.supply.weight[:, None] * weights[None, :]
    slope = worth * np.array([p.tick_s / c.patience_s for c in p.supply.classes])[None, :]
    asked = sorted(p.requests, key=lambda r: (r.satellite, -r.value, r.deadline_s, r.name))
    req_ptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount([r.satellite for r in asked], minlength=n) if asked else np.zeros(n, np.int64), out=req_ptr[1:])
    return Tables(
        p.satellite.astype(np.int32),
        p.station.astype(np.int32),
        p.open_tick.astype(np.int32),
        p.close_tick.astype(np.int32),
        p.capacity_bytes.astype(np.float64),
        p.profile.astype(np.int16),
        p.profiles,
        sat_ptr,
        sat_opps,
        sta_ptr,
        sta_opps,
        (longest + p.setup_ticks).astype(np.int32),
        p.antennas.astype(np.int32),
        p.setup_ticks.astype(np.int32),
        p.guard_ticks,
        max(p.min_ticks, 2 * p.guard_ticks + 1),
        p.horizon_ticks,
        p.supply.rate_bytes_s * p.tick_s,
        p.supply.initial_bytes.astype(np.float64),
        p.supply.storage_bytes.astype(np.float64),
        worth,
        slope,
        req_ptr,
        np.array([max(0, p.tick_of(r.release_s)) for r in asked], np.int32),
        np.array([np.floor((min(r.deadline_s, p.end_s) - p.start_s) / p.tick_s + 1e-9) for r in asked]).astype(np.int32),
        np.array([r.size_bytes for r in asked], np.float64),
        np.array([r.value for r in asked], np.float64),
        np.array([r.up for r in asked], np.bool_),
        p.uplink_share,
        *_energy_columns(p.energy, p),
    )


def _energy_columns(energy: Energy | None, problem: Problem) -> Any:
    """Return battery, floor, charge, transmit, and the steps of power with the floor that holds at each edge."""
    n = len(problem.satellites)
    if energy is None:
        none = np.zeros(n)
        return none, none, none, none, np.zeros(n + 1, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(0)
    net = energy.net_w * problem.tick_s
    floor = np.full(energy.edge_tick.size, -np.inf)
    for j in range(n):  # what idling alone leaves at each edge: below the floor there the planner is not to blame
        charge, now = float(energy.initial_j[j]), 0
        for k in range(int(energy.pointer[j]), int(energy.pointer[j + 1])):
            edge = int(energy.edge_tick[k])
            charge = min(float(energy.battery_j[j]), charge + float(net[k]) * (edge - now))
            floor[k] = energy.floor_j[j] if charge >= energy.floor_j[j] else -np.inf
            now = edge
    return (
        energy.battery_j.astype(np.float64),
        energy.floor_j.astype(np.float64),
        energy.initial_j.astype(np.float64),
        energy.transmit_w * problem.tick_s,
        energy.pointer.astype(np.int64),
        energy.edge_tick.astype(np.int32),
        net,
        floor,
    )


def _empty_state(t: Tables, problem: Problem, rng: np.random.Generator) -> State:
    m, classes = problem.size, len(problem.supply.classes)
    scratch = int(2 * np.diff(t.sta_ptr).max(initial=0) + np.diff(t.sat_ptr).max(initial=0)) + 8
    return State(
        np.zeros(m, np.int32),
        np.zeros(m, np.int32),
        np.zeros(m),
        np.zeros(m),
        np.zeros((m, classes)),
        np.zeros(m, np.int32),
        np.zeros(len(problem.satellites), np.int32),
        np.zeros(m, np.int32),
        np.zeros(len(problem.stations), np.int32),
        np.zeros(m, np.bool_),
        np.zeros(classes),
        np.zeros(scratch, np.int64),
        np.zeros(scratch, np.int64),
        np.zeros(scratch, np.int64),
        np.zeros((_LOG, 3), np.int64),
        rng.integers(1, 2**63, 1, np.uint64),
    )
