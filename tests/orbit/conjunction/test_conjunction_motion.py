"""What a burn does, against the closed form, against SGP4 itself and against a numerical orbit with oblateness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2
from orbitloop.orbit.conjunction.motion import after_burn, elements_from_state, hill_displacement, manoeuvred, two_body
from orbitloop.orbit.conjunction.rtn import rtn_rotation, to_rtn
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.propagate import states

EPOCH_S = 1_780_000_000.0
SUN_SYNCHRONOUS = from_orbit("leo", EPOCH_S, 560.0, 97.6, raan_deg=40.0, bstar=5e-5)
ECCENTRIC = from_orbit("gto", EPOCH_S, 8000.0, 28.0, eccentricity=0.4, raan_deg=10.0)
EQUATORIAL = from_orbit("geo", EPOCH_S, 35_786.0, 0.05, raan_deg=80.0)


def _j2(_t: float, y: np.ndarray) -> np.ndarray:
    radius = np.linalg.norm(y[:3])
    k, z = 1.5 * 1.08262668e-3 * MU_KM3_S2 * 6378.137**2 / radius**5, 5 * y[2] ** 2 / radius**2
    return np.concatenate([y[3:], -MU_KM3_S2 * y[:3] / radius**3 + k * y[:3] * np.array([z - 1, z - 1, z - 3])])


def _integrated(r: np.ndarray, v: np.ndarray, seconds: float) -> np.ndarray:
    answer = solve_ivp(_j2, (0, seconds), np.concatenate([r, v]), method="DOP853", rtol=1e-12, atol=1e-10)
    return np.asarray(answer.y[:, -1])


def test_closed_form_of_half_and_whole_revolutions() -> None:
    rate = 2 * math.pi / 5700
    half, whole = hill_displacement(rate, np.array([2850.0, 5700.0]), np.array([1e-5, 1e-5]))
    assert half == pytest.approx([4e-5 / rate, -3 * 2850 * 1e-5, 0], abs=1e-12)
    assert whole == pytest.approx([0, -3 * 5700 * 1e-5, 0], abs=1e-12)


@pytest.mark.parametrize("revolutions", [0.25, 0.5, 1.5, 3.5])
def test_hill_and_two_body_agree_on_a_circle(revolutions: float) -> None:
    r, v = np.array([6938.0, 0, 0]), np.array([0, math.sqrt(MU_KM3_S2 / 6938.0), 0])
    period = 2 * math.pi * math.sqrt(6938.0**3 / MU_KM3_S2)
    elapsed, size = np.array([revolutions * period]), 1e-6  # 1 mm/s: the second order, in size^2, falls away
    moved, _ = after_burn(r, v, elapsed, np.array([[0, size, 0]]))
    hill = hill_displacement(2 * math.pi / period, elapsed, np.array([size]))[0]
    assert to_rtn(moved[0] - r, r, v) == pytest.approx(hill, abs=2e-3 * np.linalg.norm(hill))


def test_two_body_comes_back_and_keeps_energy_and_momentum() -> None:
    r, v = states(ECCENTRIC, [EPOCH_S + 1000.0])
    elapsed = np.array([-90_000.0, -1.0, 0.0, 10.0, 250_000.0])
    there, speed = two_body(r, v, elapsed)
    energy = np.sum(speed**2, axis=1) / 2 - MU_KM3_S2 / np.linalg.norm(there, axis=1)
    assert energy == pytest.approx(np.full(5, energy[2]), rel=1e-11)
    assert np.cross(there, speed) == pytest.approx(np.tile(np.cross(r[0], v[0]), (5, 1)), rel=1e-9, abs=1e-6)
    back, _ = two_body(there, speed, -elapsed)
    assert back == pytest.approx(np.tile(r[0], (5, 1)), abs=1e-6)


def test_two_body_against_numerical_integration() -> None:
    r, v = states(ECCENTRIC, [EPOCH_S])
    answer = solve_ivp(
        lambda _t, y: np.concatenate([y[3:], -MU_KM3_S2 * y[:3] / np.linalg.norm(y[:3]) ** 3]),
        (0, 20_000.0),
        np.concatenate([r[0], v[0]]),
        method="DOP853",
        rtol=1e-12,
        atol=1e-10,
    )
    there, speed = two_body(r, v, np.array([20_000.0]))
    assert np.concatenate([there[0], speed[0]]) == pytest.approx(answer.y[:, -1], abs=1e-5)


@pytest.mark.parametrize("revolutions", [0.5, 3.5, 15.5])
def test_displacement_within_half_a_percent_of_sgp4_and_of_an_oblate_earth(revolutions: float) -> None:
    burn_s, burn = EPOCH_S + 3600.0, np.array([0.0, 2e-5, 0.0])
    elapsed = revolutions * SUN_SYNCHRONOUS.period_s
    r, v = states(SUN_SYNCHRONOUS, [burn_s + elapsed])
    moved, _ = after_burn(r, v, np.array([elapsed]), burn[None])
    ours = to_rtn(moved[0] - r[0], r[0], v[0])
    reached, _ = states(manoeuvred(SUN_SYNCHRONOUS, burn_s, burn), [burn_s + elapsed])
    by_sgp4 = to_rtn(reached[0] - r[0], r[0], v[0])
    assert np.linalg.norm(ours - by_sgp4) < 5e-3 * np.linalg.norm(by_sgp4)
    r0, v0 = states(SUN_SYNCHRONOUS, [burn_s])
    turned = rtn_rotation(r0[0], v0[0]).T @ burn
    plain, burned = _integrated(r0[0], v0[0], elapsed), _integrated(r0[0], v0[0] + turned, elapsed)
    numerical = to_rtn(burned[:3] - plain[:3], plain[:3], plain[3:])
    assert np.linalg.norm(ours - numerical) < 5e-3 * np.linalg.norm(numerical)


@pytest.mark.parametrize("elements", [SUN_SYNCHRONOUS, ECCENTRIC, EQUATORIAL], ids=lambda e: e.name)
def test_element_set_reproduces_the_state_after_the_burn(elements: object) -> None:
    burn_s, burn = EPOCH_S + 7200.0, np.array([1e-6, 5e-5, -2e-6])
    r, v = states(elements, [burn_s])  # type: ignore[arg-type]
    after = manoeuvred(elements, burn_s, burn)  # type: ignore[arg-type]
    r_after, v_after = states(after, [burn_s])
    assert after.epoch_s == burn_s
    assert np.linalg.norm(r_after[0] - r[0]) < 1e-6
    assert to_rtn(v_after[0] - v[0], r[0], v[0]) == pytest.approx(burn, abs=1e-9)


def test_no_burn_is_no_motion() -> None:
    r, v = states(SUN_SYNCHRONOUS, [EPOCH_S])
    same, _ = after_burn(r, v, np.array([86_400.0]), np.zeros((1, 3)))
    assert same[0] == pytest.approx(r[0], abs=1e-6)


def test_an_escape_is_refused() -> None:
    with pytest.raises(ConjunctionError, match="not elliptic"):
        two_body(np.array([7000.0, 0, 0]), np.array([0, 11.5, 0]), np.array([10.0]))
    with pytest.raises(ElementsError, match="elliptic"):
        elements_from_state(SUN_SYNCHRONOUS, EPOCH_S, np.array([7000.0, 0, 0]), np.array([0, 11.5, 0]))
