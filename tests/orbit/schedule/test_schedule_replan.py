from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import random_problem

from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule.check import check_plan
from orbitloop.orbit.schedule.heuristic import Effort, solve
from orbitloop.orbit.schedule.policies import POLICIES
from orbitloop.orbit.schedule.problem import Request
from orbitloop.orbit.schedule.replan import Failure, push_request, repair
from orbitloop.orbit.schedule.value import evaluate

LITTLE = Effort(10, 0, 200)
FREEZE_S = 600.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 200), st.booleans(), st.booleans(), st.sampled_from([1, 2]))
def test_repaired_plans_hold(seed: int, tick: int, station: bool, energy: bool, antennas: int) -> None:
    problem = random_problem(seed, stations=3, windows=50, energy=energy, antennas=antennas, storage=seed % 2 == 0)
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), LITTLE)
    before = board.plan()
    now_s = float(problem.time_of(tick))
    failure = Failure(now_s, station=1) if station else Failure(now_s, satellite=2)
    done = repair(board, failure, now_s, FREEZE_S)
    after = board.plan()
    assert check_plan(problem, after) == []
    assert evaluate(problem, after).gain == pytest.approx(done.gain_after, rel=1e-9, abs=1e-3)
    assert done.gain_broken <= done.gain_before + 1e-3
    assert done.gain_after >= done.gain_broken - 1e-3
    owner = problem.station if station else problem.satellite
    used = after.opportunity[owner[after.opportunity] == (1 if station else 2)]
    rows = np.isin(after.opportunity, used)
    assert (after.end_tick[rows] <= tick).all()
    # What began before the freeze ends is as it was, but for what failed.
    frozen = tick + int(FREEZE_S / problem.tick_s)
    kept = {(i, a, b) for i, a, b in zip(after.opportunity, after.start_tick, after.end_tick, strict=True)}
    for i, a, b in zip(before.opportunity, before.start_tick, before.end_tick, strict=True):
        if a < frozen and owner[i] != (1 if station else 2):
            assert (i, a, b) in kept


def test_changes_are_told_in_full() -> None:
    problem = random_problem(3, stations=3, windows=60)
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), LITTLE)
    was = {i: (a, b) for i, a, b in zip(*(c.tolist() for c in _columns(board)), strict=True)}
    done = repair(board, Failure(problem.start_s + 3600.0, station=0), problem.start_s + 3600.0)
    now = {i: (a, b) for i, a, b in zip(*(c.tolist() for c in _columns(board)), strict=True)}
    for change in done.changes:
        assert was.pop(change.opportunity, None) == change.before
        assert now.pop(change.opportunity, None) == change.after
    assert was == now
    assert done.lost
    assert 0 <= done.recovered <= 1.5


def _columns(board):  # type: ignore[no-untyped-def]
    plan = board.plan()
    return plan.opportunity, plan.start_tick, plan.end_tick


def test_request_gets_the_first_pass_it_can_have() -> None:
    problem = random_problem(6, stations=3, windows=60)
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), LITTLE)
    now_s = problem.start_s + 1800.0
    asked = Request(0, now_s, now_s + 10_000.0, 1e8, 100.0, name="flood")
    done = push_request(board, asked, now_s, FREEZE_S)
    assert check_plan(board.problem, board.plan()) == []
    outcome = evaluate(board.problem, board.plan())
    assert done.served == (outcome.requests_done == 1)
    assert outcome.gain == pytest.approx(done.gain_after, rel=1e-9)
    could = [
        i
        for i in np.flatnonzero(problem.satellite == 0)
        if problem.open_tick[i] * 60 > 1800 + FREEZE_S and problem.close_tick[i] * 60 < 11_000
    ]
    assert done.served or not could
    if could:
        last = int(problem.close_tick[could[0]]) * 60 - 1800
        assert outcome.request_latency_s[0] <= last


def test_failures_must_name_one_thing() -> None:
    board = solve(random_problem(1), POLICIES["greedy"], np.random.default_rng(0))
    with pytest.raises(PlanningError, match="of a station or of a satellite"):
        repair(board, Failure(1.8e9), 1.8e9)
    with pytest.raises(PlanningError, match="no station or satellite number"):
        repair(board, Failure(1.8e9, station=9), 1.8e9)
