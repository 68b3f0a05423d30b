from __future__ import annotations

import numpy as np
import pytest

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.propagate import states
from orbitloop.orbit.visibility import crosslinks, grazing_altitude_km

START_S = 1_780_272_000.0
FLEET = [
    from_orbit("a", START_S, 550, 53, raan_deg=0),
    from_orbit("b", START_S, 560, 53, raan_deg=40, mean_anomaly_deg=20),
    from_orbit("c", START_S, 500, 97.4, raan_deg=100, mean_anomaly_deg=200),
    from_orbit("d", START_S, 1_200, 87.9, raan_deg=10, mean_anomaly_deg=300),
    from_orbit("geo", START_S, 35_786, 0.05, mean_anomaly_deg=80),
]


def _clear_km(one_km: np.ndarray, other_km: np.ndarray) -> np.ndarray:
    """Brute force: the least geodetic altitude of 4,000 points of the line."""
    from orbitloop.orbit.frames import ecef_to_geodetic

    share = np.linspace(0.0, 1.0, 4_000)[:, None, None]
    return ecef_to_geodetic(one_km + share * (other_km - one_km))[2].min(axis=0)


def test_grazing_altitude_is_the_least_geodetic_one() -> None:
    rng = np.random.default_rng(3)
    one, other = (rng.normal(size=(60, 3)) for _ in range(2))
    one *= 7_000 / np.linalg.norm(one, axis=1, keepdims=True)
    other *= rng.uniform(6_800, 9_000, (60, 1)) / np.linalg.norm(other, axis=1, keepdims=True)
    true_km = _clear_km(one, other)
    near = np.abs(true_km) < 800
    assert near.sum() > 5
    np.testing.assert_allclose(grazing_altitude_km(one, other)[near], true_km[near], rtol=0.006, atol=0.01)


@pytest.mark.parametrize("max_range_km", [3_000.0, 60_000.0])
def test_crosslinks_against_a_fine_grid(max_range_km: float) -> None:
    """Both conditions every 2 seconds of 12 hours."""
    end_s = START_S + 43_200.0
    found = crosslinks(FLEET, START_S, end_s, max_range_km=max_range_km, min_altitude_km=50.0)
    times_s = np.arange(START_S, end_s, 2.0)
    r_km = [states(one, times_s)[0] for one in FLEET]
    assert len(found) > 5
    for j in range(len(FLEET)):
        for i in range(j):
            clear = grazing_altitude_km(r_km[i], r_km[j]) > 50.0
            near = np.linalg.norm(r_km[i] - r_km[j], axis=1) < max_range_km
            edges = [t for link in found if (link.first, link.second) == (i, j) for t in (link.start_s, link.end_s)]
            inside = np.searchsorted(np.array(edges), times_s) % 2 == 1
            inside[0] = bool(edges) and edges[0] == START_S
            assert np.array_equal(inside, clear & near), (i, j)
    assert [link.start_s for link in found] == sorted(link.start_s for link in found)


def test_only_the_pairs_asked_for() -> None:
    some = crosslinks(FLEET, START_S, START_S + 20_000.0, pairs=[(0, 1), (4, 0)], max_range_km=50_000.0)
    every = crosslinks(FLEET, START_S, START_S + 20_000.0, max_range_km=50_000.0)
    assert {(one.first, one.second) for one in some} == {(0, 1), (4, 0)}
    wanted = [(a.start_s, a.end_s) for a in every if {a.first, a.second} in ({0, 1}, {0, 4})]
    np.testing.assert_allclose([(a.start_s, a.end_s) for a in some], wanted, rtol=0, atol=1e-3)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = crosslinks(FLEET, START_S, START_S + 20_000.0)
    monkeypatch.setattr("orbitloop.orbit.visibility._BATCH", 3)
    monkeypatch.setattr("orbitloop.orbit.visibility._TIMES", 7)
    parts = crosslinks(FLEET, START_S, START_S + 20_000.0)
    assert [(a.first, a.second) for a in parts] == [(a.first, a.second) for a in whole]
    np.testing.assert_allclose([a.start_s for a in parts], [a.start_s for a in whole], rtol=0, atol=1e-4)


def test_too_many_pairs_and_a_satellite_that_falls() -> None:
    with pytest.raises(ElementsError, match="pairs"):
        crosslinks(FLEET * 100, START_S, START_S + 60.0)
    falling = from_orbit("falling", START_S, 150, 51.6, bstar=0.5)
    with pytest.raises(ElementsError, match="falling"):
        crosslinks([FLEET[0], falling], START_S, START_S + 86_400.0)
    assert crosslinks(FLEET[:1], START_S, START_S + 60.0) == []
    assert crosslinks(FLEET, START_S, START_S) == []
