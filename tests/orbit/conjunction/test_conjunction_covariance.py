from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.covariance import remedy_position, remedy_state, root_of


def test_a_sound_covariance_is_left_alone() -> None:
    sound = np.array([[4.0, 1.0], [1.0, 2.0]])
    for remedied in (remedy_position(sound, 0.01), remedy_state(sound)):
        assert remedied.clipped == 0
        np.testing.assert_array_equal(remedied.matrix, sound)


def test_an_indefinite_one_is_lifted_to_the_floor_and_told() -> None:
    """Eigenvalues 3 and -1 along the diagonals: the second becomes (1e-4 R)^2, the first stays."""
    remedied = remedy_position(np.array([[1.0, 2.0], [2.0, 1.0]]), 0.02)
    np.testing.assert_allclose(np.linalg.eigvalsh(remedied.matrix), [4e-12, 3.0], rtol=1e-3)
    assert remedied.clipped == 1
    assert remedied.lowest == pytest.approx(-1.0)


def test_a_state_covariance_is_clipped_in_units_of_its_own() -> None:
    """A correlation of 1.5 between position and velocity has no place in any unit; the variances' scale does not hide it."""
    sigma = np.array([100.0, 1.0, 1.0, 1e-5, 1.0, 1.0])
    correlation = np.eye(6)
    correlation[0, 3] = correlation[3, 0] = 1.5
    remedied = remedy_state(correlation * np.outer(sigma, sigma))
    assert remedied.clipped == 1
    assert remedied.lowest == pytest.approx(-0.5)
    assert np.linalg.eigvalsh(remedied.matrix / np.outer(sigma, sigma)).min() > -1e-12


def test_a_negative_variance_is_told_and_taken_out() -> None:
    remedied = remedy_state(np.diag([1.0, -1e-3, 2.0]))
    assert remedied.clipped == 1
    np.testing.assert_array_equal(remedied.matrix, np.diag([1.0, 0.0, 2.0]))


@given(st.integers(0, 2**32 - 1), st.floats(-4, 4), st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_was_remedied_can_be_drawn_from(seed: int, scale: float, spoil: bool) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 6)) * np.array([1, 1, 1, 1e-3, 1e-3, 1e-3])[:, None] * 10.0**scale
    given_ = root @ root.T
    if spoil:
        given_ -= np.diag(np.diag(given_)) * rng.uniform(0, 1.5)
    remedied = remedy_state((given_ + given_.T) / 2)
    drawn = root_of(remedied.matrix)
    sigma = np.sqrt(np.maximum(np.diag(remedied.matrix), 1e-300))
    np.testing.assert_allclose(drawn @ drawn.T / np.outer(sigma, sigma), remedied.matrix / np.outer(sigma, sigma), atol=1e-9)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ConjunctionError, match="not finite"):
        remedy_position(np.array([[np.nan, 0], [0, 1]]), 1.0)
    with pytest.raises(ValueError, match="square"):
        root_of(np.zeros((2, 3)))
