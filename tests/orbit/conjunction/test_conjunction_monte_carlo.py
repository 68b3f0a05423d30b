from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.cdm import read_cdm
from orbitloop.orbit.conjunction.cloud import ElementCloud, cloud_of
from orbitloop.orbit.conjunction.covariance import root_of
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.equinoctial import advanced, states_of
from orbitloop.orbit.conjunction.monte_carlo import clopper_pearson, pc_monte_carlo, samples_for
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.pc3d import pc3d
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn
from orbitloop.orbit.conjunction.sampling import kernels

SPEED = float(np.sqrt(MU_KM3_S2 / 7000))


def _slow() -> Encounter:
    """Two on nearly the same orbit, 50 m apart, drifting past each other within minutes."""
    spread = np.diag([4e-4, 4e-4, 4e-4, 1e-10, 4e-10, 4e-10])
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState("B", "2", np.array([7000.03, 0.03, 0.02]), np.array([1e-5, SPEED, 2e-4]), spread)
    return Encounter(0.0, first, second, 20.0)


def _fast(sigma_km: float = 0.05) -> Encounter:
    spread = np.diag([sigma_km**2] * 3 + [1e-10] * 3)
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState("B", "2", np.array([7000.02, 0, 0.03]), np.array([0, 0, 1.001 * SPEED]), spread)
    return Encounter(0.0, first, second, 20.0)


def _drawn(cloud: ElementCloud, draws: np.ndarray) -> np.ndarray:
    return cloud.mean + draws @ root_of(cloud.covariance).T


def test_orbits_fly_as_the_elements_say() -> None:
    """The compiled flight against the arrays' own, several revolutions, eccentric as well."""
    seconds = np.linspace(-20000, 30000, 200)
    for r, v in (([7000.0, 100, 50], [0.1, 7.5, 1.0]), ([7000.0, 0, 0], [0, -9.8, 0.1])):
        cloud = cloud_of(ObjectState("A", "1", np.array(r), np.array(v), np.eye(6)))
        out = np.empty((200, 6))
        assert kernels.flown(cloud.mean, float(cloud.sign), seconds, out)
        np.testing.assert_allclose(out, states_of(advanced(cloud.mean, seconds), cloud.sign), rtol=1e-9, atol=1e-7)
    assert not kernels.flown(np.array([1e-3, 0.8, 0.8, 0, 0, 0]), 1.0, seconds, out)


def test_first_hits_are_those_of_a_fine_time_step() -> None:
    """Pairs of a slow meeting, each looked at every 0.3 s over ten minutes."""
    encounter, draws = _slow(), np.random.default_rng(3).standard_normal((300, 12))
    first, second = cloud_of(encounter.primary), cloud_of(encounter.secondary)
    times = np.empty(len(draws))
    roots = [root_of(cloud.covariance) for cloud in (first, second)]
    kernels.first_hits(
        draws, first.mean, roots[0], float(first.sign), second.mean, roots[1], float(second.sign), -300.0, 300.0, 0.02, times
    )
    seconds = np.arange(-300, 300.05, 0.3)
    one = states_of(advanced(_drawn(first, draws[:, :6])[:, None], seconds[None]), first.sign)
    two = states_of(advanced(_drawn(second, draws[:, 6:])[:, None], seconds[None]), second.sign)
    apart = np.linalg.norm((two - one)[..., :3], axis=-1)
    inside = apart <= 0.02
    stepped = np.where(inside.any(axis=1), seconds[np.argmax(inside, axis=1)], np.nan)
    clear = np.abs(apart.min(axis=1) - 0.02) > 1e-5
    assert 20 < inside.any(axis=1).sum() < 100
    np.testing.assert_array_equal(np.isfinite(times)[clear], np.isfinite(stepped)[clear])
    both = np.isfinite(times) & np.isfinite(stepped)
    assert (stepped[both] - times[both] <= 0.3 + 1e-3).all()
    assert (stepped[both] - times[both] >= -0.05).all()


def test_a_short_encounter_is_what_the_plane_says() -> None:
    found = pc_monte_carlo(_fast(), np.random.default_rng(5), samples=60_000)
    expected = pc2d(_fast()).value
    assert abs(found.hits - expected * found.samples) < 4 * np.sqrt(expected * found.samples)
    assert found.low < found.value < found.high
    assert found.hit_times_s.shape == (found.hits,)
    assert found.unbound == 0


def test_a_slow_encounter_is_what_the_sphere_says() -> None:
    encounter = _slow()
    found = pc_monte_carlo(encounter, np.random.default_rng(6), samples=20_000, half_window_s=600.0)
    expected = pc3d(encounter, half_window_s=600.0)
    assert abs(found.value - expected.value) < 4 * np.sqrt(found.value / found.samples) + 0.02 * expected.value


def test_the_same_seed_gives_the_same_count_and_it_stops_when_sure() -> None:
    runs = [pc_monte_carlo(_fast(), np.random.default_rng(9), samples=40_000).hits for _ in range(2)]
    assert runs[0] == runs[1]
    told: list[tuple[int, int]] = []
    sure = pc_monte_carlo(
        _fast(0.02), np.random.default_rng(9), samples=400_000, relative_error=0.05, progress=lambda *at: told.append(at)
    )
    assert sure.samples < 400_000
    assert (sure.high - sure.low) / 2 <= 0.05 * sure.value
    assert told[-1] == (sure.samples, 400_000)


def test_draws_without_an_orbit_are_told() -> None:
    wide = np.diag([1.0, 1, 1, 4.0, 4.0, 4.0])
    states = [ObjectState("A", "1", np.array([7000.0 + k, 0, 0]), np.array([0, 7.5, k]), wide) for k in (0.0, 1.0)]
    found = pc_monte_carlo(Encounter(0.0, states[0], states[1], 20.0), np.random.default_rng(1), samples=500, half_window_s=5.0)
    assert 0 < found.unbound < 500


@pytest.mark.parametrize(("hits", "samples"), [(0, 10), (3, 1000), (10, 10), (400, 40000)])
def test_the_interval_is_clopper_and_pearsons(hits: int, samples: int) -> None:
    theirs = binomtest(hits, samples).proportion_ci(method="exact")
    np.testing.assert_allclose(clopper_pearson(hits, samples), (theirs.low, theirs.high), rtol=1e-9, atol=1e-12)


def test_how_many_draws_are_wanted() -> None:
    count = samples_for(1e-3, 0.1)
    low, high = clopper_pearson(round(1e-3 * count), count)
    assert (high - low) / 2 == pytest.approx(1e-4, rel=0.03)
    with pytest.raises(ValueError, match="cannot be counted"):
        samples_for(0.0, 0.1)


def test_what_cannot_be_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConjunctionError, match="say nothing"):
        pc_monte_carlo(_fast(), np.random.default_rng(0), samples=0)
    monkeypatch.setitem(sys.modules, "orbitloop.orbit.conjunction.sampling.kernels", None)
    monkeypatch.delattr("orbitloop.orbit.conjunction.sampling.kernels")
    with pytest.raises(ConjunctionError, match=r"orbitloop\[space\]"):
        pc_monte_carlo(_fast(), np.random.default_rng(0), samples=10)


@pytest.mark.slow
def test_a_sphere_that_is_wide_against_bent_clouds() -> None:
    """Found by random encounters: 172 m against 20 m of sigma, 19 km along the orbit. A touch is far likelier than two centres
    in one place, and the tangent has to be taken there: taken at the centres the sphere says 17 % too much."""
    r, v = (
        np.array([-1284.556920316, 5814.908737347, 4046.819726006]),
        np.array([1.879750887921, -3.957102864253, 6.249477382013]),
    )
    r2, v2 = (
        np.array([-1282.807798063, 5811.240120698, 4052.646868576]),
        np.array([1.888201139714, -3.949864308053, 6.25743018588]),
    )
    sigmas = (
        [1.96210042e-3, 5.19191584e-2, 9.8260581e-3, 5.50346244e-5, 2.07983841e-6, 1.04156815e-5],
        [3.35529408e-3, 19.4801167, 5.06039997e-2, 2.06621673e-2, 3.55889283e-6, 5.36746429e-5],
    )
    correlation = np.eye(6)
    correlation[1, 3] = correlation[3, 1] = -0.999
    correlation[0, 4] = correlation[4, 0] = -0.95
    spreads = [correlation * np.outer(s, s) for s in sigmas]
    first = ObjectState("A", "1", r, v, covariance_from_rtn(spreads[0], r, v))
    # Its covariance lies along the orbit as it is seen 7 km behind.
    second = ObjectState("B", "2", r2, v2, covariance_from_rtn(spreads[1], r, v2))
    encounter = Encounter(0.0, first, second, 172.36866)
    found = pc_monte_carlo(encounter, np.random.default_rng(8), samples=400_000)
    assert found.hits > 1500
    assert pc3d(encounter).value == pytest.approx(found.value, rel=0.08)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("case", "published"), [(1, 0.21746714), (4, 0.07308953), (8, 0.03525608)])
def test_alfanos_own_count(cdm_folder: Path, case: int, published: float) -> None:
    """His is of 1e8 draws; ours of 20,000 differs by its own chance and by his time span (two Cartesian clouds, not bent)."""
    text = (cdm_folder / "analytic_cases" / f"AlfanoTestCase{case:02d}.cdm").read_text()
    found = pc_monte_carlo(read_cdm(text).encounter(), np.random.default_rng(case), samples=20_000)
    assert abs(found.value - published) < 4 * np.sqrt(published / found.samples) + 0.02 * published
