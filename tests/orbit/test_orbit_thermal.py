"""Temperatures against closed forms, a fine explicit integration, and the books of heat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from orbitloop.orbit.energy import SOLAR_CONSTANT_W_M2
from orbitloop.orbit.thermal import (
    EARTH_INFRARED_W_M2,
    STEFAN_BOLTZMANN_W_M2_K4,
    Heat,
    ThermalModel,
    absorbed_w,
    heat,
    limits_broken,
    steady_k,
    temperatures,
)

START_S = 1_780_272_000.0
MODEL = ThermalModel(20.0, 0.8, 0.1)
APART = replace(MODEL, panel_bus_w_k=0.0)


def far_away(front: float, sun: float) -> Heat:
    """Sunlight alone."""
    return Heat(np.array([front]), np.array([sun]), np.zeros(1), np.zeros(1))


def test_a_black_sphere_at_one_astronomical_unit_comes_to_279_kelvin() -> None:
    """(S / 4 sigma)^(1/4) = 278.3 K for 1361 W/m2, whatever its size (every book on spacecraft has 279 K for 1370)."""
    black = replace(APART, body_absorptivity=1.0, body_emissivity=1.0)
    flow = absorbed_w(black, far_away(0.0, SOLAR_CONSTANT_W_M2), 0.0, 0.0, 0.0)[0]
    assert steady_k(black, flow)[1] == pytest.approx(278.3, abs=0.1)
    assert steady_k(black, flow)[2] == pytest.approx(278.3, abs=0.1), "a payload that draws nothing is as warm as its bus"


def test_a_panel_that_faces_the_sun_comes_to_the_fourth_root_of_its_two_sides() -> None:
    flow = absorbed_w(APART, far_away(1361.0, 1361.0), 0.28 * 136.1, 0.0, 0.0)[0]
    expected = ((0.88 * 1361.0 - 0.28 * 1361.0) / (2 * 0.82 * STEFAN_BOLTZMANN_W_M2_K4)) ** 0.25
    assert steady_k(APART, flow)[0] == pytest.approx(expected, abs=1e-6)
    assert expected - 273.15 == pytest.approx(33.0, abs=1.0)


def test_a_payload_is_warmer_than_its_bus_by_power_over_conductance() -> None:
    kelvin = steady_k(MODEL, [10.0, 200.0, 7.0])
    assert kelvin[2] - kelvin[1] == pytest.approx(7.0 / MODEL.payload_bus_w_k)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 200), st.floats(1, 400), st.floats(0, 50))
def test_in_the_steady_state_what_comes_in_goes_out(panels_w: float, bus_w: float, payload_w: float) -> None:
    kelvin = steady_k(MODEL, [panels_w, bus_w, payload_w])
    out_w = STEFAN_BOLTZMANN_W_M2_K4 * float(MODEL.radiating_m2 @ kelvin**4)
    assert out_w == pytest.approx(panels_w + bus_w + payload_w, rel=1e-6)


def test_from_low_orbit_the_earth_fills_what_geometry_says() -> None:
    r_km = np.array([[6878.137, 0.0, 0.0], [42_164.0, 0.0, 0.0]])
    got = heat(np.full(2, START_S), r_km, np.ones(2), np.ones(2))
    assert got.infrared_w_m2[0] / EARTH_INFRARED_W_M2 == pytest.approx(0.313, abs=0.001)
    assert got.infrared_w_m2[1] / EARTH_INFRARED_W_M2 == pytest.approx((6378.137 / 42_164) ** 2 / 4, rel=0.01)
    assert got.albedo_w_m2.max() < 0.3 * 1420 * 0.32


def test_no_albedo_at_midnight_and_no_sun_in_the_dark() -> None:
    from orbitloop.orbit.sun import sun_position_km

    sun = sun_position_km([START_S])[0]
    midnight = -6878.137 * sun / np.linalg.norm(sun)
    got = heat(np.array([START_S]), midnight[None, :], np.zeros(1), np.ones(1))
    assert got.albedo_w_m2[0] == got.sun_w_m2[0] == got.front_w_m2[0] == 0.0
    noon = heat(np.array([START_S]), -midnight[None, :], np.ones(1), np.ones(1))
    assert noon.sun_w_m2[0] == pytest.approx(1361 / 1.014**2, rel=2e-3), "at the end of May the sun is 1.014 AU away"


def square_wave(steps: int, revolutions: int) -> tuple[np.ndarray, np.ndarray]:
    """A day of orbits of 95 minutes, 60 in the sun."""
    times = START_S + np.linspace(0, revolutions * 5700.0, revolutions * steps + 1)
    middle = ((times[1:] + times[:-1]) / 2 - START_S) % 5700.0
    lit = (middle < 3600.0).astype(np.float64)
    return times, np.stack([15 + 90 * lit, 60 + 80 * lit, np.full(lit.size, 4.0)], axis=1)


def test_the_course_is_that_of_a_careful_integrator() -> None:
    times, flow = square_wave(190, 3)  # steps of 30 s
    found = temperatures(MODEL, times, flow)
    radiating, conduct = STEFAN_BOLTZMANN_W_M2_K4 * MODEL.radiating_m2, MODEL.conductance_w_k

    def rate(t: float, kelvin: np.ndarray) -> np.ndarray:
        row = min(int((t - START_S) / 30.0), flow.shape[0] - 1)
        return (flow[row] - radiating * kelvin**4 + conduct @ kelvin) / MODEL.capacity_j_k

    exact = solve_ivp(rate, (times[0], times[-1]), found.celsius[0] + 273.15, t_eval=times, rtol=1e-8, atol=1e-6, max_step=30.0)
    assert np.abs(exact.y.T - 273.15 - found.celsius).max() < 0.8, "at dusk the panels fall by half a kelvin a second"
    assert np.abs(exact.y.T - 273.15 - found.celsius)[:, 1:].max() < 0.05
    coarse = temperatures(MODEL, *square_wave(19, 3))  # steps of 300 s: stable, if less exact
    assert np.abs(coarse.celsius[:, 1] - found.celsius[::10, 1]).max() < 0.6


def test_after_the_warm_up_each_revolution_is_like_the_one_before() -> None:
    times, flow = square_wave(95, 6)
    found = temperatures(MODEL, times, flow, warm_up_s=5700.0)
    first, last = found.celsius[:96], found.celsius[-96:]
    assert np.abs(first - last).max() < 0.3
    cold = temperatures(MODEL, times, flow * 0.5, warm_up_s=5700.0)
    assert (cold.celsius.max(axis=0) < found.celsius.max(axis=0)).all()


def test_heat_is_conserved_step_by_step() -> None:
    """What is stored over many small steps is what came in less what was radiated."""
    times, flow = square_wave(1900, 1)
    found = temperatures(MODEL, times, flow)
    kelvin = found.celsius + 273.15
    radiated = STEFAN_BOLTZMANN_W_M2_K4 * ((kelvin[1:] ** 4 + kelvin[:-1] ** 4) / 2) @ MODEL.radiating_m2
    stored_j = float(MODEL.capacity_j_k @ (kelvin[-1] - kelvin[0]))
    came_j = float(np.sum((flow.sum(axis=1) - radiated) * np.diff(times)))
    assert stored_j == pytest.approx(came_j, abs=0.002 * float(np.sum(flow.sum(axis=1) * np.diff(times))))


def test_limits_that_are_passed_are_told_with_the_time() -> None:
    times, flow = square_wave(95, 2)
    tight = replace(MODEL, limits_c=((-10.0, 300.0), (-200.0, 200.0), (-200.0, 0.0)))
    found = temperatures(tight, times, flow, warm_up_s=5700.0)
    told = {node: (what, seconds) for node, what, seconds in limits_broken(found)}
    assert set(told) <= {"panels", "payload"}
    assert "below -10 C" in told["panels"][0]
    assert 0 < told["panels"][1] < 2 * 5700
    extremes = found.extremes(times[0], times[-1])
    assert (extremes[:, 0] < extremes[:, 1]).all()


@pytest.mark.parametrize("bad", [{"mass_kg": 0.0}, {"panel_area_m2": -1.0}, {"body_emissivity": 1.5}, {"payload_share": -0.1}])
def test_what_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not above|outside"):
        replace(MODEL, **bad)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 1), st.floats(-2, 1), st.floats(-1, 3), st.floats(-2, 2), st.floats(-2, 1), st.integers(0, 2**32 - 1))
def test_whatever_the_lumps_it_stays_between_cold_and_the_hottest_steady_state(
    panel_mass: float, panel_area: float, mass: float, payload: float, panel: float, seed: int
) -> None:
    """No step overshoots: foils of grams and conductances over four decades, under steps of up to two minutes."""
    model = replace(
        MODEL,
        panel_mass_kg_m2=10**panel_mass,
        panel_area_m2=10**panel_area,
        mass_kg=10**mass,
        payload_bus_w_k=10**payload,
        panel_bus_w_k=10**panel,
    )
    rng = np.random.default_rng(seed)
    times = START_S + np.cumsum(rng.uniform(1, 120, 120))
    lit = (np.arange(119) // 30) % 2
    flow = np.stack([model.panel_area_m2 * (100 + 1200 * lit), 80 * (1 + lit), np.full(119, rng.uniform(0, 20))], axis=1)
    found = temperatures(model, times, flow, warm_up_s=1000.0).celsius + 273.15
    hottest = steady_k(model, flow.max(axis=0)).max()
    assert np.isfinite(found).all()
    assert found.min() > 3.0
    assert found.max() < 1.03 * hottest
