"""Whether a plan is one: every rule of the problem, held against the contacts alone.

Shares nothing with the solvers but the records, and is written for plainness: antennas one by one, satellites one by one, and
the battery along every edge there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orbitloop.orbit.schedule.problem import Energy, Plan, Problem
from orbitloop.orbit.schedule.value import evaluate

_SLACK_J = 1e-3


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a plan breaks, and where (contacts by their row in the plan)."""

    rule: str
    where: str


def check_plan(problem: Problem, plan: Plan) -> list[Violation]:
    """Return all violations; none means that the plan holds.

    Rules: `window` (inside its opportunity), `length` (not under the shortest contact), `antenna` (one satellite at a time at
    an antenna that there is, set-up kept), `satellite` (one station at a time), `twice` (an opportunity used once), `charge`,
    `bytes` (delivered, lost and waiting bytes add up to those captured).
    """
    found: list[Violation] = []
    i = plan.opportunity
    if plan.size and not (i.min() >= 0 and i.max() < problem.size):
        return [Violation("window", "a contact names no opportunity")]
    for row in np.flatnonzero((plan.start_tick < problem.open_tick[i]) | (plan.end_tick > problem.close_tick[i])):
        found.append(Violation("window", f"contact {row}"))
    for row in np.flatnonzero(plan.end_tick - plan.start_tick < problem.min_ticks):
        found.append(Violation("length", f"contact {row}"))
    if np.unique(i).size != plan.size:
        found.append(Violation("twice", "opportunities are used more than once"))
    found += _antennas(problem, plan)
    found += _one_station_each(problem, plan)
    if problem.energy is not None:
        found += _charge(problem, problem.energy, plan)
    outcome = evaluate(problem, plan)
    for c, klass in enumerate(problem.supply.classes):
        captured = float(outcome.captured_bytes[c])
        told = float(outcome.delivered_bytes[c] + outcome.lost_bytes[c] + outcome.waiting_bytes[c])
        if math.isfinite(captured) and abs(told - captured) > 1e-6 * max(captured, 1.0):
            found.append(Violation("bytes", f"class {klass.name}: {told:.0f} of {captured:.0f}"))
    return found


def _antennas(problem: Problem, plan: Plan) -> list[Violation]:
    found: list[Violation] = []
    last: dict[tuple[int, int], tuple[int, int]] = {}
    station = problem.station[plan.opportunity] if plan.size else np.zeros(0, np.int32)
    for row in np.argsort(plan.start_tick, kind="stable").tolist():
        s, antenna = int(station[row]), int(plan.antenna[row])
        if not 0 <= antenna < int(problem.antennas[s]):
            found.append(Violation("antenna", f"contact {row}: {problem.stations[s]} has no antenna {antenna}"))
        before = last.get((s, antenna))
        if before is not None and int(plan.start_tick[row]) < before[0] + int(problem.setup_ticks[s]):
            found.append(Violation("antenna", f"contacts {before[1]} and {row} at {problem.stations[s]}"))
        if before is None or int(plan.end_tick[row]) > before[0]:
            last[s, antenna] = (int(plan.end_tick[row]), row)
    return found


def _one_station_each(problem: Problem, plan: Plan) -> list[Violation]:
    found: list[Violation] = []
    last: dict[int, tuple[int, int]] = {}
    for row in np.argsort(plan.start_tick, kind="stable").tolist():
        j = int(problem.satellite[plan.opportunity[row]])
        if j in last and int(plan.start_tick[row]) < last[j][0]:
            found.append(Violation("satellite", f"contacts {last[j][1]} and {row} of {problem.satellites[j]}"))
        if j not in last or int(plan.end_tick[row]) > last[j][0]:
            last[j] = (int(plan.end_tick[row]), row)
    return found


def _charge(problem: Problem, energy: Energy, plan: Plan) -> list[Violation]:
    """Return satellites whose battery falls below the floor, at a contact's end or at an edge where idling would not."""
    found: list[Violation] = []
    owner = problem.satellite[plan.opportunity] if plan.size else np.zeros(0, np.int32)
    for j in np.unique(owner).tolist():
        if energy.battery_j[j] <= 0:
            continue
        part = slice(int(energy.pointer[j]), int(energy.pointer[j + 1]))
        steps, net = energy.edge_tick[part], energy.net_w[part]
        begin, until = plan.start_tick[owner == j], plan.end_tick[owner == j]
        edges = np.unique(np.concatenate([[0], steps, begin, until]))
        middle = (edges[1:] + edges[:-1]) / 2
        idle_w = net[np.minimum(np.searchsorted(steps, middle), net.size - 1)]
        sending = ((middle[:, None] > begin) & (middle[:, None] < until)).any(axis=1)
        length_s = np.diff(edges) * problem.tick_s
        full, floor = float(energy.battery_j[j]), float(energy.floor_j[j])
        with_contacts = idle = float(energy.initial_j[j])
        is_step, is_end = np.isin(edges, steps), np.isin(edges, until)
        for k in range(middle.size):
            idle = min(full, idle + float(idle_w[k]) * float(length_s[k]))
            power = float(idle_w[k]) - (float(energy.transmit_w[j]) if sending[k] else 0.0)
            with_contacts = min(full, with_contacts + power * float(length_s[k]))
            judged = is_end[k + 1] or (is_step[k + 1] and idle >= floor)
            if judged and with_contacts < floor - _SLACK_J:
                found.append(Violation("charge", f"{problem.satellites[j]} at tick {edges[k + 1]}"))
                break
    return found
