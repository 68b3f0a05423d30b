"""The battery's floor holds, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitloop.onboard.power import PowerGuard


def test_what_is_above_the_floor_may_be_spent() -> None:
    guard = PowerGuard(capacity_wh=80, min_soc=0.4)
    assert guard.allowed_j(42) == pytest.approx(10 * 3600)
    assert guard.allowed_j(42, reserve_j=6 * 3600) == pytest.approx(4 * 3600)
    assert guard.allowed_j(32) == 0
    assert guard.allowed_j(5) == 0
    assert guard.allowed_j(float("nan")) == 0
    assert guard.allowed_j(1000) == guard.allowed_j(80)


def test_steps() -> None:
    guard = PowerGuard(capacity_wh=10, min_soc=0.5)
    assert guard.may_spend(3600, 6.0)
    assert not guard.may_spend(3601, 6.0)
    assert guard.may_spend(0, 0)
    assert guard.affordable(100, 50, 6.0) == 72
    assert guard.affordable(10, 50, 6.0) == 10
    assert guard.affordable(10, 50, 1.0) == 0
    assert guard.affordable(10, 0, 1.0) == 10


@given(st.floats(0, 200), st.floats(0, 1), st.floats(0, 1e6), st.floats(0.001, 1e4), st.integers(0, 1000))
def test_never_below_the_floor(battery: float, soc: float, reserve: float, each: float, wanted: int) -> None:
    guard = PowerGuard(100, soc)
    spent = guard.affordable(wanted, each, battery, reserve_j=reserve) * each
    assert spent <= guard.allowed_j(battery, reserve_j=reserve) * (1 + 1e-12)
    assert spent == 0 or battery * 3600 - spent >= soc * 100 * 3600 - 1e-6


@pytest.mark.parametrize(
    ("capacity", "soc"), [(0, 0.3), (-1, 0.3), (float("nan"), 0.3), (10, 1.1), (10, -0.1), (10, float("nan"))]
)
def test_an_impossible_battery_is_refused(capacity: float, soc: float) -> None:
    with pytest.raises(ValueError, match="no battery"):
        PowerGuard(capacity, soc)
