"""The best plan there is, for small problems, with proof: OR-Tools CP-SAT.

Every contact that an opportunity allows, from each tick to each later one, is a column with its bytes, its end and what it
occupies. At any tick the columns of a satellite exclude each other, and those of a station, set-up included, are no more than
its antennas: cliques, whose linear relaxation is far tighter than that of free starts and ends. Stores and batteries are linear
along each satellite's ends of contacts. Bytes are counted in whole units of some 1e-5 of a pass.

Columns grow with the square of a pass's ticks: coarse ticks (20 to 60 s) and some hundred passes are what it is for. One
worker, a fixed seed and a limit in deterministic time: the same problem gives the same plan and the same bound.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule.board import tables_of
from orbitloop.orbit.schedule.kernels import Tables
from orbitloop.orbit.schedule.problem import Plan, Problem
from orbitloop.orbit.schedule.value import evaluate

MAX_COLUMNS = 60_000
_FINE = 50_000
"""Units of bytes in the largest pass, and steps of value in the largest value of a byte."""


@dataclass(frozen=True, slots=True)
class ExactPlan:
    """`gain` is the plan's, `bound` what no plan exceeds (up to rounding, 1e-4), value-weighted bytes."""

    plan: Plan
    gain: float
    bound: float
    optimal: bool

    @property
    def gap(self) -> float:
        return (self.bound - self.gain) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Column:
    opportunity: int
    start: int
    end: int
    units: int
    chosen: Any


def solve_exact(problem: Problem, hint: Plan | None = None, limit_s: float = 60.0, seed: int = 0) -> ExactPlan:
    """Return the best plan found in `limit_s` deterministic seconds (about a second of one core each), with its bound.

    Raises:
        PlanningError: OR-Tools is not installed, or the problem is too large or has endless supply with finite patience.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise PlanningError("exact plans need OR-Tools", remedy="pip install 'orbitloop[space]'") from error
    t = tables_of(problem)
    model = cp_model.CpModel()
    largest = float(problem.capacity_bytes.max(initial=0.0))
    if largest <= 0:
        return ExactPlan(Plan.empty(), 0.0, 0.0, True)
    unit = largest / _FINE
    columns = _columns(problem, t, model, unit)
    _exclusions(problem, columns, model)
    top = _top_value(problem, t)
    terms = []
    for j in range(len(problem.satellites)):
        own = [c for c in columns if problem.satellite[c.opportunity] == j]
        if own:
            terms += _store(problem, t, j, own, model, unit, top)
            _battery(t, j, own, model)
    model.maximize(sum(terms))
    if hint is not None:
        held = set(zip(hint.opportunity.tolist(), hint.start_tick.tolist(), hint.end_tick.tolist(), strict=True))
        for c in columns:
            model.add_hint(c.chosen, (c.opportunity, c.start, c.end) in held)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = limit_s
    solver.parameters.linearization_level = 2
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        if hint is None:
            raise PlanningError(
                f"no plan found within {limit_s:g} s ({solver.status_name(status)})", remedy="raise the limit, or give a hint"
            )
        return ExactPlan(hint, evaluate(problem, hint).gain, math.inf, False)
    chosen = [c for c in columns if solver.value(c.chosen)]
    plan = Plan.of(problem, [c.opportunity for c in chosen], [c.start for c in chosen], [c.end for c in chosen])
    gain = evaluate(problem, plan).gain
    bound = max(gain, solver.best_objective_bound * unit * top / _FINE)
    return ExactPlan(plan, gain, bound, status == cp_model.OPTIMAL)


def _top_value(problem: Problem, t: Tables) -> float:
    values = [float((t.worth + t.slope * t.horizon).max(initial=0.0)), *(r.value for r in problem.requests)]
    return max(values) or 1.0


def _columns(problem: Problem, t: Tables, model: Any, unit: float) -> list[_Column]:
    """Return every contact that carries anything."""
    lengths = problem.close_tick - problem.open_tick - t.shortest + 1
    count = int(np.sum(np.maximum(lengths, 0).astype(np.int64) * (np.maximum(lengths, 0) + 1) // 2))
    if count > MAX_COLUMNS:
        raise PlanningError(
            f"the problem is too large to be solved exactly: {count} possible contacts, over {MAX_COLUMNS}",
            remedy="plan a shorter time or fewer satellites, or take a coarser tick",
        )
    out = []
    for i in range(problem.size):
        opened, closed = int(problem.open_tick[i]), int(problem.close_tick[i])
        pairs = [(a, b) for a in range(opened, closed) for b in range(a + t.shortest, closed + 1)]
        if not pairs or not problem.antennas[problem.station[i]]:
            continue
        start, end = np.array(pairs).T
        units = np.floor(problem.bytes_between(np.full(start.size, i), start, end) / unit + 0.5).astype(int)
        mine = [
            _Column(i, a, b, u, model.new_bool_var(f"{i}:{a}-{b}"))
            for a, b, u in zip(start.tolist(), end.tolist(), units.tolist(), strict=True)
            if u > 0
        ]
        if mine:
            model.add_at_most_one([c.chosen for c in mine])
        out += mine
    return out


def _exclusions(problem: Problem, columns: list[_Column], model: Any) -> None:
    """At any tick a satellite is in one contact, and a station has no more contacts and set-ups than antennas."""
    on_board, on_ground = defaultdict(list), defaultdict(list)
    for c in columns:
        j, s = int(problem.satellite[c.opportunity]), int(problem.station[c.opportunity])
        for tick in range(c.start, c.end + int(problem.setup_ticks[s])):
            on_ground[s, tick].append(c.chosen)
            if tick < c.end:
                on_board[j, tick].append(c.chosen)
    for clique in on_board.values():
        model.add_at_most_one(clique)
    for (s, _), clique in on_ground.items():
        if problem.antennas[s] == 1:
            model.add_at_most_one(clique)
        else:
            model.add(sum(clique) <= int(problem.antennas[s]))


def _store(problem: Problem, t: Tables, j: int, own: list[_Column], model: Any, unit: float, top: float) -> list[Any]:
    """Add what waits on board at each end of a contact; return the objective's terms."""
    classes = range(t.rate.shape[1])
    first = [float(x) / unit for x in t.initial[j]]
    rate = [float(x) / unit for x in t.rate[j]]
    room_units = float(t.storage[j]) / unit
    by_end: dict[int, list[_Column]] = defaultdict(list)
    for column in own:
        by_end[column.end].append(column)
    level: list[Any] = [_units(x) for x in first]
    told = [_units(x) for x in first]
    asked = range(int(t.req_ptr[j]), int(t.req_ptr[j + 1]))
    served: dict[int, list[Any]] = {r: [] for r in asked}
    terms: list[Any] = []
    for end in sorted(by_end):
        capacity = sum(column.units * column.chosen for column in by_end[end])
        most = max(column.units for column in by_end[end])
        down, up = _requests(t, asked, end, unit, top, served, terms, model)
        before: list[Any] = []
        for c in classes:
            if math.isinf(first[c]):
                continue
            due = _units(first[c] + rate[c] * end)
            lost = model.new_int_var(0, due, "") if math.isfinite(room_units) else 0
            level[c] = level[c] + (due - told[c]) - lost
            told[c] = due
            before.append(level[c])
            model.add(level[c] >= 0)
        if math.isfinite(room_units) and before:
            model.add(sum(before) <= _units(room_units))
        for c in classes:
            sent = model.new_int_var(0, most, "")
            down.append(sent)
            value = float(t.worth[j, c] + t.slope[j, c] * (t.horizon - end))
            terms.append(round(value / top * _FINE) * sent)
            if not math.isinf(first[c]):
                after = model.new_int_var(0, told[c], "")
                model.add(after == level[c] - sent)
                level[c] = after
        model.add(sum(down) <= capacity)
        if up:
            model.add(sum(up) * 10_000 <= round(t.up_share * 10_000) * capacity)
    for r in asked:
        if served[r]:
            model.add(sum(served[r]) <= _units(float(t.req_bytes[r]) / unit))
    return terms


def _requests(
    t: Tables, asked: range, end: int, unit: float, top: float, served: dict[int, list[Any]], terms: list[Any], model: Any
) -> tuple[list[Any], list[Any]]:
    """Add what a contact that ends then may send of each open request; return (down, up)."""
    down: list[Any] = []
    up: list[Any] = []
    for r in asked:
        if t.req_release[r] <= end <= t.req_deadline[r]:
            sent = model.new_int_var(0, _units(float(t.req_bytes[r]) / unit), "")
            served[r].append(sent)
            (up if t.req_up[r] else down).append(sent)
            terms.append(round(float(t.req_value[r]) / top * _FINE) * sent)
    return down, up


def _units(amount: float) -> int:
    return 2**40 if math.isinf(amount) else math.floor(amount + 0.5)


def _battery(t: Tables, j: int, own: list[_Column], model: Any) -> None:
    """Keep the charge, in units of 1e-9 of the battery, at or above the floor where it is judged."""
    if t.battery[j] <= 0:
        return
    part = slice(int(t.seg_ptr[j]), int(t.seg_ptr[j + 1]))
    steps, net, floors = t.seg_edge[part], t.seg_net[part], t.seg_floor[part]
    scale = 1e9 / float(t.battery[j])
    edges = sorted({0, *steps.tolist(), *(c.start for c in own), *(c.end for c in own)})
    floor = math.floor(float(t.floor[j]) * scale) - len(edges)  # each step is rounded by half a unit
    judged = {int(e): f for e, f in zip(steps.tolist(), floors.tolist(), strict=True)}
    charge: Any = round(float(t.charge[j]) * scale)
    for before, now in itertools.pairwise(edges):
        power = float(net[min(int(np.searchsorted(steps, (before + now) / 2)), net.size - 1)])
        covering = [c.chosen for c in own if c.start <= before and c.end >= now]
        drain = round(float(t.transmit[j]) * (now - before) * scale)
        after = model.new_int_var(-(10**11), 10**9, "")
        model.add(after <= charge + round(power * (now - before) * scale) - drain * sum(covering))
        if math.isfinite(judged.get(now, -math.inf)):
            model.add(after >= floor)
        ending = [c.chosen for c in own if c.end == now]
        if ending:
            model.add(after >= floor - 2 * 10**11 * (1 - sum(ending)))
        charge = after
