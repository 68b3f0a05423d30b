"""Budget and ledger: nothing is allowed beyond a limit, by more than the last batch where the cost is only known afterwards."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import StateError
from orbitloop.onboard.budget import Budget, Ledger, Price
from orbitloop.onboard.power import PowerGuard

COST_S = st.floats(0.0, 2.0, allow_nan=False)


def test_without_a_budget_all_is_allowed_and_counted():
    ledger = Ledger()
    assert ledger.may(10**9) == 10**9
    ledger.spend(7, 0.5)
    report = ledger.report()
    assert (report.spent_tiles, report.spent_seconds, report.spent_joules, report.left_tiles) == (7, 0.5, 0.0, None)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 100), st.lists(st.integers(0, 16), max_size=30))
def test_tiles_are_never_exceeded(limit, batches):
    ledger = Ledger(Budget(tiles=limit))
    done = 0
    for batch in batches:
        granted = ledger.may(batch)
        assert 0 <= granted <= batch
        ledger.spend(granted, 0.1)
        done += granted
    report = ledger.report()
    assert done == report.spent_tiles == min(limit, sum(batches))
    assert report.refused_tiles == sum(batches) - done
    assert report.left_tiles == limit - done


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(0, 16), max_size=30))
def test_joules_at_a_price_a_tile_are_never_exceeded_and_used_to_the_last_tile(count, batches):
    ledger = Ledger(Budget(joules=count * 0.1), Price(joules_per_tile=0.1))
    for batch in batches:
        ledger.spend(ledger.may(batch), 0.0)
    assert ledger.report().spent_tiles == min(count, sum(batches))


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.0, 20.0),
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 16), COST_S), max_size=30),
)
def test_what_is_only_known_afterwards_goes_over_by_less_than_the_last_batch(limit, in_joules, batches):
    budget = Budget(joules=limit * 5) if in_joules else Budget(seconds=limit)
    ledger = Ledger(budget, Price(watts=5.0))
    last_s = 0.0
    for tiles, each_s in batches:
        granted = ledger.may(tiles)
        if granted:
            assert ledger.report().spent_seconds < limit or math.isclose(ledger.report().spent_seconds, limit)
            last_s = granted * each_s
            ledger.spend(granted, last_s)
    assert ledger.report().spent_seconds <= limit + last_s + 1e-9


def test_a_batch_is_cut_to_what_fits_by_the_mean_so_far():
    ledger = Ledger(Budget(seconds=1.0))
    assert ledger.may(4) == 4
    ledger.spend(4, 0.4)
    assert ledger.may(8) == 6
    ledger.spend(6, 0.55)
    assert ledger.may(8) == 0
    assert ledger.report().refused_tiles == 10


def test_a_period_ends_by_the_clock_that_it_is_told():
    ledger = Ledger(Budget(tiles=2, period_s=100.0))
    ledger.roll(1000.0)
    assert ledger.report().period == 1
    ledger.spend(ledger.may(5), 0.0)
    ledger.roll(1099.9)
    assert ledger.may(1) == 0
    ledger.roll(1350.0)
    assert ledger.may(5) == 2
    assert ledger.report().period == 2
    ledger.spend(2, 0.0)
    ledger.roll(1399.0)
    assert ledger.may(1) == 0
    ledger.roll(1400.0)
    assert ledger.may(1) == 1
    Ledger(Budget(tiles=1)).roll(5.0)


def test_a_minute_period_is_still_one():
    ledger = Ledger(Budget(tiles=1, period_s=5e-324))
    for now_s in (1.0, 1e6):  # 1e6 s are more of these periods than a float can count
        ledger.roll(now_s)
        assert ledger.may(2) == 1
        ledger.spend(1, 0.0)


def test_a_new_budget_begins_a_new_period_and_a_refused_one_changes_nothing():
    ledger = Ledger(Budget(tiles=3))
    ledger.spend(ledger.may(3), 1.0)
    with pytest.raises(StateError, match="no energy price"):
        ledger.tell(Budget(joules=5.0))
    assert ledger.may(1) == 0
    ledger.tell(Budget(tiles=1), 5.0)
    assert ledger.may(3) == 1
    assert ledger.report().spent_seconds == 0.0


def test_the_guard_limits_the_joules():
    guard = PowerGuard(10.0, 0.5)
    assert Budget().guarded(guard, 6.0).joules == 3600.0
    assert Budget(joules=10.0, tiles=3).guarded(guard, 6.0) == Budget(joules=10.0, tiles=3)
    assert Budget(joules=9e9).guarded(guard, math.nan).joules == 0.0


@pytest.mark.parametrize(
    "wrong",
    [{"tiles": -1}, {"tiles": 1.5}, {"tiles": True}, {"joules": math.nan}, {"seconds": math.inf}, {"period_s": 0.0}, {"x": 1}],
)
def test_wrong_budgets_are_refused(wrong):
    with pytest.raises(ValueError, match="no "):
        Budget.from_json(wrong)


@pytest.mark.parametrize("wrong", [{"watts": -1.0}, {"joules_per_tile": math.nan}, {"watts": 1.0, "joules_per_tile": 1.0}])
def test_wrong_prices_are_refused(wrong):
    with pytest.raises(ValueError, match=r"no price|not by both"):
        Price(**wrong)


def test_a_report_is_strict_json_and_a_budget_comes_back():
    ledger = Ledger(Budget(tiles=3, seconds=2.0))
    ledger.spend(1, math.nan)
    ledger.spend(1, -4.0)
    value = json.loads(json.dumps(ledger.report().to_json(), allow_nan=False))
    assert value["tiles"] == {"spent": 2, "left": 1}
    assert value["joules"] == {"spent": 0.0, "left": None}
    assert Budget.from_json(value["budget"]) == ledger.report().budget
