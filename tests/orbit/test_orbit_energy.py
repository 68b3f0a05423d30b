from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.orbit.energy import Load, PowerModel, advance_battery, battery_forecast, overlap_s

POWER = PowerModel(battery_wh=80.0, panel_w=30.0, idle_w=8.0, compute_w=12.0, transmit_w=25.0, initial_soc=0.5)


def test_advance_adds_up() -> None:
    after = advance_battery(POWER, 40.0, 0.0, 3600.0, sunlit_s=1800.0, compute_s=600.0, transmit_s=360.0)
    assert after == pytest.approx(40 + 15 - 8 - 2 - 2.5)
    assert advance_battery(POWER, 79.9, 0.0, 3600.0, sunlit_s=3600.0) == 80.0
    assert advance_battery(POWER, 0.1, 0.0, 3600.0, sunlit_s=0.0) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(10, 70))
def test_energy_is_conserved_over_steps(shares: list[float], start_wh: float) -> None:
    """Many small steps come to one big step, while the battery is neither empty nor full."""
    step_s = 20.0
    charge = start_wh
    for n, share in enumerate(shares):
        charge = advance_battery(POWER, charge, n * step_s, (n + 1) * step_s, share * step_s, share * 5, share * 3)
    total = sum(shares)
    once = advance_battery(POWER, start_wh, 0.0, step_s * len(shares), total * step_s, total * 5, total * 3)
    assert charge == pytest.approx(once, abs=1e-9)


def test_forecast_equals_advance() -> None:
    eclipses = [(1000.0, 3000.0), (6500.0, 8500.0)]
    loads = [Load(500.0, 700.0, POWER.compute_w), Load(650.0, 900.0, POWER.transmit_w), Load(9990.0, 20000.0, 5.0)]
    times_s, battery_wh = battery_forecast(POWER, eclipses, loads, 0.0, 10000.0, 60.0)
    assert times_s[0] == 0
    assert times_s[-1] == 10000
    assert times_s.shape == battery_wh.shape == (168,)
    assert battery_wh[0] == 40.0
    gained = 30 * (10000 - 4000) - 8 * 10000 - 12 * 200 - 25 * 250 - 5 * 10
    assert battery_wh[-1] == pytest.approx(40 + gained / 3600)
    at_2000 = advance_battery(POWER, 40.0, 0.0, 1980.0, 1000.0, 200.0, 250.0)
    assert battery_wh[33] == pytest.approx(at_2000)


@settings(max_examples=30, deadline=None)
@given(st.floats(7.0, 5000.0), st.floats(0.0, 1.0))
def test_forecast_does_not_depend_on_the_step(step_s: float, soc: float) -> None:
    power = PowerModel(20.0, 60.0, 20.0, 0.0, 0.0, soc)
    eclipses = [(1000.0, 3000.0), (6500.0, 8500.0)]
    fine = battery_forecast(power, eclipses, [], 0.0, 12000.0, 50.0)[1][-1]
    coarse = battery_forecast(power, eclipses, [], 0.0, 12000.0, step_s)[1]
    assert coarse[-1] == pytest.approx(fine, abs=1e-9)
    assert coarse.min() >= 0
    assert coarse.max() <= 20


def test_floor_and_overlap() -> None:
    assert POWER.spare_j(20.0) == pytest.approx(4 * 3600)
    assert POWER.spare_j(10.0) == 0.0
    assert overlap_s([(0, 10), (20, 30)], 5, 25) == 10
    assert overlap_s([], 0, 5) == 0


def test_no_time() -> None:
    times_s, battery_wh = battery_forecast(POWER, [], [], 5.0, 5.0)
    np.testing.assert_array_equal(times_s, [5.0])
    np.testing.assert_array_equal(battery_wh, [40.0])
    for bad in ((0.0, -1.0, 60.0), (0.0, 10.0, 0.0), (0.0, 10.0, float("nan"))):
        with pytest.raises(ValueError, match="no time"):
            battery_forecast(POWER, [], [], *bad)


@pytest.mark.parametrize(
    "bad",
    [{"battery_wh": 0.0}, {"panel_w": -1.0}, {"idle_w": float("nan")}, {"initial_soc": 1.1}, {"min_soc": -0.1}],
)
def test_impossible_power(bad: dict[str, float]) -> None:
    fields = {"battery_wh": 80.0, "panel_w": 30.0, "idle_w": 8.0, "compute_w": 12.0, "transmit_w": 25.0}
    with pytest.raises(ValueError, match=r"not a|outside"):
        PowerModel(**(fields | bad))
