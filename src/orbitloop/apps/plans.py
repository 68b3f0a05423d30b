"""Contact plans for people: satellites and stations in, a plan, its comparison, its picture out.

A composition root: what flies and who listens comes from `passes`, the passes from the orbit package, the plan from the
scheduler. What befalls a plan later is `plan_events`. Writes only the files it is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.apps.files import write_whole
from orbitloop.clock import iso_utc
from orbitloop.errors import LinkError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.energy import PowerModel
from orbitloop.orbit.fleet_passes import fleet_passes
from orbitloop.orbit.link_budget import LinkRates
from orbitloop.orbit.passes import Station
from orbitloop.orbit.schedule.board import Board
from orbitloop.orbit.schedule.bounds import Bound, upper_bound
from orbitloop.orbit.schedule.check import check_plan
from orbitloop.orbit.schedule.exact import solve_exact
from orbitloop.orbit.schedule.heuristic import Effort, solve
from orbitloop.orbit.schedule.opportunities import energy_of, problem_of
from orbitloop.orbit.schedule.policies import POLICIES, policy_named
from orbitloop.orbit.schedule.problem import DataClass, Plan, Problem, Supply
from orbitloop.orbit.schedule.replan import Failure
from orbitloop.orbit.schedule.value import Outcome, evaluate
from orbitloop.orbit.sun import eclipse_intervals
from orbitloop.reports.plots.canvas import kind_of
from orbitloop.reports.plots.timeline import Bar, Row, draw_timeline
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import link_rates

Tell = Callable[[str, int, int], None]
GB = 1e9
DEFAULT_RATES = LinkRates(100e6, 1e6)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan is asked to be. Without `gb_per_day` every satellite always has something to send: a plan for bytes."""

    policy: str = "balanced"
    tick_s: float = 1.0
    guard_s: float = 5.0
    min_contact_s: float = 0.0
    pieces: int = 1
    seed: int = 0
    gb_per_day: float | None = None
    storage_gb: float | None = None
    patience_h: float = 6.0
    antennas: int | None = None
    setup_s: float | None = None
    bound_rounds: int = 0


@dataclass(slots=True)
class Planned:
    """A plan, what it is worth, and the most that any could be worth (None: not asked for)."""

    board: Board
    plan: Plan
    outcome: Outcome
    bound: float | None = None
    proven: bool = False

    @property
    def problem(self) -> Problem:
        return self.board.problem

    @property
    def gap(self) -> float | None:
        """How far the plan is below the bound, share of the bound."""
        return None if self.bound is None or self.bound <= 0 else (self.bound - self.outcome.gain) / self.bound


def posed(
    elements: Sequence[Elements],
    stations: Sequence[Station],
    start_s: float,
    end_s: float,
    asked: Asked,
    mission: MissionPlan | None = None,
    tell: Tell = lambda stage, done, total: None,
) -> Problem:
    """Return the planning problem of satellites over stations, with a mission's links, stores and batteries if one is given.

    Raises:
        ElementsError: an orbit cannot be propagated, or numba is not installed.
        PlanningError: there is nothing to plan.
        LinkError: two stations have one name.
    """
    from dataclasses import replace

    chosen = [
        replace(
            one,
            antennas=one.antennas if asked.antennas is None else asked.antennas,
            setup_s=one.setup_s if asked.setup_s is None else asked.setup_s,
        )
        for one in stations
    ]
    if len({one.name for one in chosen}) != len(chosen):
        raise LinkError("two stations have the same name", remedy="name each station once")
    tell("passes", 0, 1)
    table = fleet_passes(elements, chosen, start_s, end_s)
    tell("passes", 1, 1)
    names = [e.name for e in elements]
    rates: Any = [DEFAULT_RATES] * len(names)
    guard_s, energy = asked.guard_s, None
    ticks = math.floor((end_s - start_s) / asked.tick_s + 1e-6)
    if mission is not None:
        pairs = ((n, s) for n in names for s in chosen)
        rates = {(n, s.name): link_rates(mission.satellites[n], mission.stations[s.name]) for n, s in pairs}
        guard_s = max((mission.satellites[n].spec.link.guard_s for n in names), default=guard_s)
        if asked.gb_per_day is not None:
            models = [_power(mission, n) for n in names]
            dark = [eclipse_intervals(e, start_s, end_s) for e in elements]
            energy = energy_of(models, dark, start_s, ticks, asked.tick_s)
    return problem_of(
        table,
        elements,
        chosen,
        rates,
        _supply(names, asked, mission),
        start_s,
        end_s,
        names=names,
        tick_s=asked.tick_s,
        guard_s=guard_s,
        min_contact_s=asked.min_contact_s,
        energy=energy,
    ).with_pieces(asked.pieces)


def _power(mission: MissionPlan, name: str) -> PowerModel:
    power = mission.satellites[name].spec.power
    fields = ("battery_wh", "panel_w", "idle_w", "compute_w", "transmit_w", "initial_soc", "min_soc")
    return PowerModel(**{field: getattr(power, field) for field in fields})


def _supply(names: Sequence[str], asked: Asked, mission: MissionPlan | None) -> Supply:
    if asked.gb_per_day is None:
        return Supply.endless(len(names))
    storage = np.full(len(names), math.inf if asked.storage_gb is None else asked.storage_gb * GB)
    if mission is not None and asked.storage_gb is None:
        storage = np.array([mission.satellites[n].spec.storage_mb * 1e6 for n in names])
    klass = DataClass("bulk", 1.0, asked.patience_h * 3600.0)
    even = Supply.even(len(names), asked.gb_per_day * GB / 86_400.0, klass=klass)
    return Supply(even.rate_bytes_s, even.initial_bytes, storage, even.weight, even.tenant, even.classes)


def planned(problem: Problem, asked: Asked, tell: Tell = lambda stage, done, total: None) -> Planned:
    """Plan by the policy asked for, with a bound if one is.

    Raises:
        PlanningError: there is no such policy.
    """
    rng = np.random.default_rng(asked.seed)
    board = solve(problem, policy_named(asked.policy), rng, Effort(), lambda done, total: tell("planning", done, total))
    found = judged(board)
    if asked.bound_rounds:
        bound: Bound = upper_bound(
            problem, board.tables, asked.bound_rounds, board.gain, progress=lambda done, total: tell("bound", done, total)
        )
        found.bound = bound.gain
    return found


def planned_exactly(problem: Problem, asked: Asked, limit_s: float) -> Planned:
    """Plan with proof, from the heuristic's plan on.

    Raises:
        PlanningError: OR-Tools is not installed, or the problem is too large.
    """
    first = planned(problem, asked)
    found = solve_exact(problem, first.plan, limit_s, asked.seed)
    board = Board(problem, np.random.default_rng(asked.seed))
    board.load(found.plan)
    best = judged(board)
    best.bound, best.proven = found.bound, found.optimal
    return best


def judged(board: Board) -> Planned:
    """Return the plan on a board with what it is worth."""
    plan = board.plan()
    return Planned(board, plan, evaluate(board.problem, plan))


def compared(problem: Problem, asked: Asked, tell: Tell = lambda stage, done, total: None) -> dict[str, Planned]:
    """Plan by every policy that plans from nothing; the others are repairs."""
    from dataclasses import replace

    names = [name for name, policy in POLICIES.items() if not policy.urgent]
    out = {}
    for done, name in enumerate(names):
        tell("policies", done, len(names))
        out[name] = planned(problem, replace(asked, policy=name, bound_rounds=0))
    tell("policies", len(names), len(names))
    return out


def rows_of(found: Planned) -> list[dict[str, Any]]:
    """Return the plan's contacts as plain rows, by start."""
    problem, plan = found.problem, found.plan
    begin, end = problem.time_of(plan.start_tick).tolist(), problem.time_of(plan.end_tick).tolist()
    size = problem.bytes_between(plan.opportunity, plan.start_tick, plan.end_tick).tolist()
    rows = []
    for n, i in enumerate(plan.opportunity.tolist()):
        whole = problem.open_tick[i] == plan.start_tick[n] and problem.close_tick[i] == plan.end_tick[n]
        rows.append(
            {
                "satellite": problem.satellites[problem.satellite[i]],
                "station": problem.stations[problem.station[i]],
                "antenna": int(plan.antenna[n]) + 1,
                "start": iso_utc(begin[n]),
                "start_s": begin[n],
                "end_s": end[n],
                "max_elevation_deg": round(float(problem.max_elevation_deg[i]), 2),
                "capacity_bytes": round(size[n]),
                "whole_pass": bool(whole),
            }
        )
    return rows


def summary(found: Planned) -> dict[str, Any]:
    """Return a plan's figures as plain values."""
    problem, outcome = found.problem, found.outcome
    return {
        "passes": problem.size,
        **outcome.to_json(),
        "bound": found.bound,
        "gap": found.gap,
        "proven_optimal": found.proven,
        "valid": not check_plan(problem, found.plan),
    }


def write_plan(path: Path, found: Planned, policy: str) -> None:
    """Write a plan as JSON.

    Raises:
        StateError: the file cannot be written.
    """
    problem = found.problem
    value = {
        "start": iso_utc(problem.start_s),
        "end": iso_utc(problem.end_s),
        "policy": policy,
        "stations": list(problem.stations),
        "satellites": list(problem.satellites),
        "summary": summary(found),
        "contacts": rows_of(found),
    }
    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def draw(path: Path, found: Planned, title: str, failure: Failure | None = None) -> None:
    """Draw the plan's timeline.

    Raises:
        DataError: the ending is not .png or .svg, or matplotlib is not installed.
        StateError: the file cannot be written.
    """
    kind = kind_of(path)
    problem, plan = found.problem, found.plan
    bars: dict[tuple[int, int], list[Bar]] = {}
    begin, end = problem.time_of(plan.start_tick).tolist(), problem.time_of(plan.end_tick).tolist()
    for n, i in enumerate(plan.opportunity.tolist()):
        key = int(problem.station[i]), int(plan.antenna[n])
        bars.setdefault(key, []).append(Bar(begin[n], end[n], problem.satellites[problem.satellite[i]]))
    served = np.zeros(problem.size, np.bool_)
    served[plan.opportunity] = True
    rows = []
    for s, name in enumerate(problem.stations):
        left = np.flatnonzero((problem.station == s) & ~served)
        spans = list(
            zip(
                problem.time_of(problem.open_tick[left]).tolist(),
                problem.time_of(problem.close_tick[left]).tolist(),
                strict=True,
            )
        )
        out = [(failure.from_s, min(failure.until_s, problem.end_s))] if failure and failure.station == s else []
        for antenna in range(int(problem.antennas[s])):
            label = name if problem.antennas[s] == 1 else f"{name} {antenna + 1}"
            setup_s = float(problem.setup_ticks[s]) * problem.tick_s
            rows.append(Row(label, bars.get((s, antenna), []), spans if antenna == 0 else (), setup_s, out))
    used = [row for row in rows if row.bars or row.unserved]
    write_whole(path, draw_timeline(title, used, problem.start_s, problem.end_s, kind))
