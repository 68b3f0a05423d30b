from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState, encounter_plane
from orbitloop.orbit.conjunction.rtn import (
    covariance_from_rtn,
    covariance_to_rtn,
    from_rtn,
    rotated,
    rtn_rotation,
    to_rtn,
)

R_KM, V_KM_S = np.array([7000.0, 0, 0]), np.array([0, 7.5, 0.5])
COVARIANCE = np.diag([0.01, 0.04, 0.0025, 1e-8, 2e-8, 3e-8])


def _state(r: object = R_KM, v: object = V_KM_S, covariance: object = COVARIANCE) -> ObjectState:
    return ObjectState("SAT", "00001", r, v, covariance)  # type: ignore[arg-type]


def test_rtn_axes_of_a_known_state() -> None:
    """Position along x, motion in the y-z plane: R is x, T is the motion, N completes them."""
    rotation = rtn_rotation(R_KM, V_KM_S)
    along = V_KM_S / np.linalg.norm(V_KM_S)
    np.testing.assert_allclose(rotation, [[1, 0, 0], along, [0, -along[2], along[1]]], atol=1e-15)


@given(st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_rtn_keeps_lengths_and_comes_back(state: list[float], seed: int) -> None:
    r, v = np.add(state[:3], [1e4, 2e4, 0]), np.add(np.divide(state[3:], 1e3), [0, 0, 20])
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 6))
    covariance, vector = root @ root.T, rng.normal(size=3)
    rotation = rtn_rotation(r, v)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(from_rtn(to_rtn(vector, r, v), r, v), vector, atol=1e-12)
    np.testing.assert_allclose(covariance_from_rtn(covariance_to_rtn(covariance, r, v), r, v), covariance, atol=1e-10)
    # A variance along a direction does not hang on the frame that it is written in.
    turned = covariance_to_rtn(covariance, r, v)[:3, :3]
    assert to_rtn(vector, r, v) @ turned @ to_rtn(vector, r, v) == pytest.approx(vector @ covariance[:3, :3] @ vector)


@pytest.mark.parametrize("v", [[1.0, 0, 0], [0, 0, 0], [0, np.nan, 1]])
def test_a_state_without_a_plane_has_no_rtn_frame(v: list[float]) -> None:
    with pytest.raises(ConjunctionError, match="orbital plane"):
        rtn_rotation(R_KM, v)


def test_a_covariance_goes_in_threes() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        rotated(np.eye(4), np.eye(3))


def test_encounter_plane_of_a_crossing() -> None:
    """Relative motion along y: the plane is x-z, and what is uncertain along y does not count."""
    secondary = _state(np.add(R_KM, [0.3, 5.0, 0.4]), np.add(V_KM_S, [0, 10.0, 0]))
    encounter = Encounter(0.0, _state(), secondary, 10.0)
    plane = encounter_plane(encounter)
    np.testing.assert_allclose(plane.miss_km, [0.5, 0], atol=1e-12)
    assert plane.shift_s == pytest.approx(-0.5)
    # Along (0.6, 0.8) in x-z: twice the covariance of one object.
    assert plane.covariance_km[0, 0] == pytest.approx(2 * (0.36 * 0.01 + 0.64 * 0.0025))
    assert np.linalg.det(plane.covariance_km) == pytest.approx(4 * 0.01 * 0.0025)
    assert encounter.approach_angle_deg < 5
    np.testing.assert_allclose(encounter.relative_rtn_km[0], 0.3)
    assert np.linalg.norm(encounter.relative_rtn_km_s) == pytest.approx(10)


def test_a_central_hit_has_a_plane_too() -> None:
    plane = encounter_plane(Encounter(0.0, _state(), _state(v=-V_KM_S), 10.0))
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-15)
    np.testing.assert_allclose(plane.axes @ V_KM_S, 0, atol=1e-12)
    np.testing.assert_array_equal(plane.miss_km, 0)


def test_what_cannot_be_an_encounter_is_refused() -> None:
    with pytest.raises(ConjunctionError, match="shape"):
        _state(r=[1.0, 2.0])
    with pytest.raises(ConjunctionError, match="not finite"):
        _state(r=[1.0, 2.0, np.inf])
    with pytest.raises(ConjunctionError, match="not symmetric"):
        _state(covariance=COVARIANCE + np.eye(6, k=1) * 1e-6)
    with pytest.raises(ConjunctionError, match="hard-body"):
        Encounter(0.0, _state(), _state(), 0.0)
    with pytest.raises(ConjunctionError, match="time"):
        Encounter(np.nan, _state(), _state(), 1.0)
    with pytest.raises(ConjunctionError, match="do not move"):
        encounter_plane(Encounter(0.0, _state(), _state(R_KM + 1), 1.0))
    with pytest.raises(ConjunctionError, match=r"SAT \(00001\): the object has no covariance"):
        encounter_plane(Encounter(0.0, _state(), _state(R_KM + 1, V_KM_S + 1, None), 1.0))


def test_arrays_are_frozen_copies() -> None:
    position = R_KM.copy()
    state = _state(position)
    position[0] = 0
    assert state.r_km[0] == 7000
    with pytest.raises(ValueError, match="read-only"):
        state.r_km[0] = 1
