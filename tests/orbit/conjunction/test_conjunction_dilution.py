"""The greatest probability over the size of a covariance, against Alfano's closed form for a round one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orbitloop.orbit.conjunction.dilution import greatest_probability
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.pc2d import pc2d


def round_encounter(sigma_km: float, miss_km: float = 1.0) -> Encounter:
    covariance = np.diag([sigma_km**2 / 2] * 3 + [1e-12] * 3)
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, 7.5, 0]), covariance)
    second = ObjectState("B", "2", np.array([7000.0 + miss_km, 0, 0]), np.array([0, 0, 7.5]), covariance)
    return Encounter(0.0, first, second, 10.0)


def test_peak_of_a_round_covariance_is_where_sigma_is_the_miss_over_root_two() -> None:
    """For R << sigma the density at the miss, R^2/(2 s^2) exp(-d^2 / 2 s^2), is greatest at s = d / sqrt 2: R^2 / (e d^2)."""
    value, factor = greatest_probability(round_encounter(0.5))
    assert 0.5 * factor == pytest.approx(1 / math.sqrt(2), rel=0.03)
    assert value == pytest.approx(0.01**2 / math.e, rel=2e-3)


@pytest.mark.parametrize("sigma_km", [0.05, 0.3, 0.9, 5.0])
def test_never_below_the_probability_itself(sigma_km: float) -> None:
    encounter = round_encounter(sigma_km)
    assert greatest_probability(encounter)[0] >= pc2d(encounter).value * (1 - 1e-9)


def test_a_far_miss_stays_far_within_the_factors() -> None:
    value, factor = greatest_probability(round_encounter(0.1, 5.0))
    assert factor == pytest.approx(4.0)
    assert value < 1e-30
    assert greatest_probability(round_encounter(0.1, 5.0), 1.0, 1000.0)[0] > 1e-7
