from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2
from orbitloop.orbit.conjunction.equinoctial import (
    advanced,
    eccentric_longitude,
    elements_of,
    states_and_slopes,
    states_of,
    transition,
)

CIRCULAR = float(np.sqrt(MU_KM3_S2 / 8000))
STATES = {
    "inclined": ([8000.0, 0, 100], [0.5, 5.0, 5.0]),
    "eccentric": ([8000.0, 10, 10], [0.1, 9.0, 3.0]),
    "equatorial": ([8000.0, 0, 0], [0, CIRCULAR, 0]),
    "retrograde equatorial": ([0.0, 8000.0, 0], [7.1, 0, 0]),
    "polar": ([0.0, 0, 8000.0], [0, 6.8, 0]),
    "sun-synchronous": ([7000.0, 500, 100], [0.1, -1.0, 7.4]),
}


@pytest.mark.parametrize("name", STATES)
def test_states_come_back(name: str) -> None:
    r, v = (np.array(part, float) for part in STATES[name])
    elements, sign = elements_of(r, v)
    assert sign == (1 if np.cross(r, v)[2] >= 0 else -1)
    np.testing.assert_allclose(states_of(elements, sign), np.r_[r, v], rtol=1e-12, atol=1e-10)
    assert np.abs(elements[3:5]).max() <= 1.0 + 1e-12


@pytest.mark.parametrize("name", STATES)
def test_motion_is_that_of_the_two_body_equation(name: str) -> None:
    """Against a plain integration of the equation of motion over 5,000 s."""
    r, v = (np.array(part, float) for part in STATES[name])
    elements, sign = elements_of(r, v)

    def pull(_: float, state: np.ndarray) -> np.ndarray:
        return np.r_[state[3:], -MU_KM3_S2 * state[:3] / np.linalg.norm(state[:3]) ** 3]

    flown = solve_ivp(pull, (0, 5000), np.r_[r, v], method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(states_of(advanced(elements, np.array(5000.0)), sign), flown, atol=2e-6)


@pytest.mark.parametrize("name", STATES)
def test_slopes_are_those_of_the_states(name: str) -> None:
    """Against central differences, at a later time, so that the transition is in it."""
    r, v = (np.array(part, float) for part in STATES[name])
    elements, sign = elements_of(r, v)
    after = np.array(900.0)
    slopes = states_and_slopes(advanced(elements, after), sign)[1] @ transition(after)
    for column in range(6):
        step = np.zeros(6)
        step[column] = 1e-5 * (elements[0] if column == 0 else 1)
        ahead, behind = (states_of(advanced(elements + way * step, after), sign) for way in (1, -1))
        numeric = (ahead - behind) / (2 * step[column])
        np.testing.assert_allclose(slopes[:, column], numeric, atol=1e-7 * np.abs(numeric).max() + 1e-9)


@given(st.floats(-50, 50), st.floats(0, 0.99), st.floats(0, 7))
@settings(max_examples=50, deadline=None)
def test_keplers_equation(longitude: float, eccentricity: float, angle: float) -> None:
    af, ag = eccentricity * np.cos(angle), eccentricity * np.sin(angle)
    found = float(eccentric_longitude(np.array(longitude), np.array(af), np.array(ag)))
    assert found + ag * np.cos(found) - af * np.sin(found) == pytest.approx(longitude, abs=1e-12)


@pytest.mark.parametrize("v", [[0.0, 11.0, 0.0], [1.0, 0.0, 0.0]])
def test_no_orbit_no_elements(v: list[float]) -> None:
    with pytest.raises(ConjunctionError, match="not on an orbit"):
        elements_of(np.array([8000.0, 0, 0]), np.array(v))
