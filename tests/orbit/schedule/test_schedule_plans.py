"""Plans against an independent judge, an independent account, and the proven optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import random_problem

from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule.board import Board
from orbitloop.orbit.schedule.bounds import upper_bound
from orbitloop.orbit.schedule.check import check_plan
from orbitloop.orbit.schedule.exact import solve_exact
from orbitloop.orbit.schedule.heuristic import Effort, solve
from orbitloop.orbit.schedule.policies import POLICIES, policy_named
from orbitloop.orbit.schedule.problem import Plan, Supply
from orbitloop.orbit.schedule.value import evaluate, jain

LITTLE = Effort(10, 0, 300)

_kinds = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "antennas": st.sampled_from([1, 1, 2, 3]),
        "storage": st.booleans(),
        "energy": st.booleans(),
        "requests": st.booleans(),
        "two_classes": st.booleans(),
        "guard": st.sampled_from([0, 1]),
        "windows": st.sampled_from([0, 1, 12, 40]),
    }
)


@settings(max_examples=40, deadline=None)
@given(_kinds, st.sampled_from(list(POLICIES)))
def test_every_policy_makes_a_plan_that_holds(kinds: dict[str, int], name: str) -> None:
    problem = random_problem(**kinds)  # type: ignore[arg-type]
    board = solve(problem, POLICIES[name], np.random.default_rng(1), LITTLE)
    plan = board.plan()
    assert check_plan(problem, plan) == []
    outcome = evaluate(problem, plan)
    assert outcome.gain == pytest.approx(board.gain, rel=1e-9, abs=1e-3)
    assert outcome.gain <= upper_bound(problem, board.tables, 8, board.gain).gain * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(
    ("seed", "kinds"),
    [
        (1, {}),
        (2, {"storage": True}),
        (3, {"energy": True}),
        (4, {"two_classes": True, "storage": True}),
        (5, {"requests": True}),
        (6, {"antennas": 2}),
    ],
)
def test_heuristic_is_near_the_proven_optimum(seed: int, kinds: dict[str, bool]) -> None:
    problem = random_problem(seed, windows=14, **kinds)  # type: ignore[arg-type]
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), Effort(400, 6000))
    best = solve_exact(problem, board.plan(), 20.0)
    assert check_plan(problem, best.plan) == []
    assert best.optimal
    assert best.gain >= board.gain * (1 - 1e-4)  # bytes are counted in whole units there
    assert board.gain >= 0.97 * best.gain
    assert best.gain <= upper_bound(problem, board.tables, 30, board.gain).gain * (1 + 1e-9)


def test_exact_finds_what_trying_everything_finds() -> None:
    problem = random_problem(7, satellites=3, stations=1, windows=5)
    best = 0.0

    def extend(i: int, chosen: list[tuple[int, int, int]]) -> None:
        nonlocal best
        if i == problem.size:
            try:
                plan = Plan.of(problem, *zip(*chosen, strict=True)) if chosen else Plan.empty()
            except PlanningError:
                return
            if not check_plan(problem, plan):
                best = max(best, evaluate(problem, plan).gain)
            return
        extend(i + 1, chosen)
        first, last = int(problem.open_tick[i]), int(problem.close_tick[i])
        for a in range(first, last, 2):
            for b in range(a + problem.min_ticks, last + 1, 2):
                extend(i + 1, [*chosen, (i, a, b)])

    few = problem.select(np.arange(3))
    problem = few
    extend(0, [])
    found = solve_exact(few, limit_s=10.0)
    assert found.optimal
    assert found.gain >= best * (1 - 1e-4)


def test_judge_sees_each_broken_rule() -> None:
    problem = random_problem(11, windows=30)
    plan = solve(problem, POLICIES["balanced"], np.random.default_rng(0), LITTLE).plan()

    def rules(changed: Plan, of: object = None) -> set[str]:
        return {v.rule for v in check_plan(of or problem, changed)}  # type: ignore[arg-type]

    early, late = plan.start_tick.copy(), plan.end_tick.copy()
    early[0] -= 100
    assert "window" in rules(replace(plan, start_tick=early))
    late[0] = plan.start_tick[0] + 1
    assert "length" in rules(replace(plan, end_tick=late))
    doubled = np.concatenate([plan.opportunity, plan.opportunity[:1]])
    twice = Plan(doubled, *(np.concatenate([c, c[:1]]) for c in (plan.start_tick, plan.end_tick, plan.antenna)))
    assert {"twice", "antenna", "satellite"} <= rules(twice)
    assert "antenna" in rules(plan, replace(problem, antennas=np.zeros(2, np.int32)))
    tight = np.full(2, 200, np.int32)
    assert "antenna" in rules(plan, replace(problem, setup_ticks=tight))
    charged = random_problem(11, windows=30, energy=True)
    assert charged.energy is not None
    empty = replace(charged.energy, transmit_w=np.full(5, 4000.0))
    assert "charge" in rules(plan, replace(charged, energy=empty))


def test_same_seed_same_plan() -> None:
    problem = random_problem(5, windows=40)
    one, two = (solve(problem, POLICIES["balanced"], np.random.default_rng(3), LITTLE).plan() for _ in range(2))
    assert one.opportunity.tolist() == two.opportunity.tolist()
    assert one.start_tick.tolist() == two.start_tick.tolist()


def test_board_takes_a_plan_back() -> None:
    problem = random_problem(8, windows=40, storage=True)
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(3), LITTLE)
    again = Board(problem, np.random.default_rng(0))
    again.load(board.plan())
    assert again.gain == pytest.approx(board.gain, rel=1e-12)
    with pytest.raises(PlanningError, match="already"):
        again.load(board.plan())


def test_split_passes_bring_no_less() -> None:
    problem = random_problem(9, windows=16)
    whole = solve_exact(problem, limit_s=10.0)
    start = solve(problem.with_pieces(2), POLICIES["balanced"], np.random.default_rng(0), LITTLE).plan()
    parts = solve_exact(problem.with_pieces(2), start, limit_s=10.0)
    assert parts.bound >= whole.gain * (1 - 1e-4)


def test_endless_supply_is_a_plan_for_bytes() -> None:
    problem = replace(random_problem(10, windows=20), supply=Supply.endless(5))
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), LITTLE)
    plan = board.plan()
    assert board.gain == pytest.approx(problem.bytes_between(plan.opportunity, plan.start_tick, plan.end_tick).sum())


def test_little_law_by_hand() -> None:
    """One satellite, 1 MB/s for 100 ticks of 1 s, one contact that ends at 60 and takes all: 60 MB, D = 1000 s."""
    base = random_problem(1, satellites=1, stations=1, windows=1, ticks=100, tick_s=1.0)
    supply = Supply.even(1, 1e6)
    supply = replace(supply, classes=(replace(supply.classes[0], patience_s=1000.0),))
    problem = replace(
        base,
        open_tick=np.array([50], np.int32),
        close_tick=np.array([60], np.int32),
        capacity_bytes=np.array([1e9]),
        supply=supply,
    )
    outcome = evaluate(problem, Plan.of(problem, [0], [50], [60]))
    assert outcome.delivered_bytes.tolist() == [60e6]
    waited = 1e6 * (60**2 / 2 + 40**2 / 2)  # byte seconds: the backlog's two triangles
    assert outcome.value == pytest.approx(60e6 - waited / 1000.0)
    assert outcome.latency_s[0] == pytest.approx(30.0, abs=8.0)


def test_jain() -> None:
    assert jain([1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1


def test_what_cannot_be_is_refused() -> None:
    problem = random_problem(1)
    with pytest.raises(PlanningError, match="no planning policy"):
        policy_named("best")
    with pytest.raises(PlanningError, match="order of time"):
        replace(problem, open_tick=problem.open_tick[::-1].copy())
    with pytest.raises(PlanningError, match="outside the horizon"):
        replace(problem, horizon_ticks=10)
    with pytest.raises(PlanningError, match="too large"):
        solve_exact(replace(random_problem(1, windows=1), close_tick=np.array([240]), open_tick=np.array([0])).with_pieces(4))
