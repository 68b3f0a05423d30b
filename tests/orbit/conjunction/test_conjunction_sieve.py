from __future__ import annotations

import numpy as np
import pytest
from conjunction_cases import START_S, sampled
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.orbit.conjunction.kernels import stretches
from orbitloop.orbit.conjunction.sieve import MARGIN_KM, may_meet, radius_ranges
from orbitloop.orbit.elements import from_orbit


def test_radii_stay_within_the_hull_and_its_margin() -> None:
    elements = [
        from_orbit("low", START_S - 2e5, 420.0, 51.6, eccentricity=1e-3, bstar=3e-4),
        from_orbit("polar", START_S - 2e5, 800.0, 98.6, eccentricity=1e-3, arg_perigee_deg=90.0),
        from_orbit("leaning", START_S - 2e5, 3_000.0, 63.4, eccentricity=0.2),
        from_orbit("transfer", START_S - 2e5, 18_000.0, 27.0, eccentricity=0.72),
        from_orbit("molniya", START_S - 2e5, 20_180.0, 63.4, eccentricity=0.72, arg_perigee_deg=270.0),
        from_orbit("stationary", START_S - 2e5, 35_786.0, 0.1),
    ]
    low, high = radius_ranges(*sampled(elements, START_S + np.linspace(0.0, 7 * 86_400.0, 5)))
    r, _ = sampled(elements, START_S + np.arange(0.0, 7 * 86_400.0, 157.0))
    radius = np.linalg.norm(r, axis=2)
    assert (radius.min(axis=1) > low - MARGIN_KM).all()
    assert (radius.max(axis=1) < high + MARGIN_KM).all()
    assert (high - low < [60.0, 60.0, 4_000.0, 40_000.0, 45_000.0, 200.0]).all()


def test_what_is_not_known_may_meet_everything() -> None:
    r, v = np.full((2, 3, 3), np.nan), np.full((2, 3, 3), np.nan)
    r[1], v[1] = [7_000.0, 0.0, 0.0], [0.0, 11.0, 0.0]  # leaves the Earth
    low, high = radius_ranges(r, v)
    assert low.tolist() == [0.0, 0.0]
    assert np.isinf(high).all()
    assert may_meet(low, high, np.array([True, False]), 1.0).tolist() == [True, True]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(6_400, 9_000), st.floats(0, 2_000), st.booleans()), min_size=1, max_size=12))
def test_may_meet_is_overlap_with_any_primary(rows: list[tuple[float, float, bool]]) -> None:
    low = np.array([row[0] for row in rows])
    high = low + np.array([row[1] for row in rows])
    primaries = np.array([row[2] for row in rows])
    reach = 2.0 * MARGIN_KM + 10.0
    expected = [
        bool(primaries[n])
        or any(low[n] - reach <= high[m] and high[n] + reach >= low[m] for m in np.flatnonzero(primaries).tolist())
        for n in range(len(rows))
    ]
    assert may_meet(low, high, primaries, 10.0).tolist() == expected


# --- where a sampled curve lies under a level ----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    phases=st.lists(st.floats(0.0, 6.28), min_size=3, max_size=3),
    sizes=st.lists(st.floats(0.1, 3.0), min_size=3, max_size=3),
    level=st.floats(-4.0, 4.0),
)
def test_stretches_and_minima_are_those_of_the_curve(phases: list[float], sizes: list[float], level: float) -> None:
    """A sum of harmonics, sampled some 190 times a revolution as slow pairs are."""
    speed = 1.1e-3
    knots = np.arange(0.0, 17_000.0, 30.0)
    fine = np.arange(0.0, knots[-1] + 0.25, 0.5)

    def curve(t: np.ndarray) -> np.ndarray:
        return sum(a * np.cos((k + 1) * speed * t + p) for k, (a, p) in enumerate(zip(sizes, phases, strict=True)))  # type: ignore[return-value]

    def rate(t: np.ndarray) -> np.ndarray:
        return sum(  # type: ignore[return-value]
            -a * (k + 1) * speed * np.sin((k + 1) * speed * t + p) for k, (a, p) in enumerate(zip(sizes, phases, strict=True))
        )

    run = np.zeros(len(knots), np.int64)
    ok = np.ones(len(knots), np.bool_)
    which, begin, end, at, minima = stretches(run, knots, curve(knots), rate(knots), ok, level)
    values = curve(fine)
    inside = np.concatenate([[False], values <= level, [False]])
    begins, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(~inside[1:] & inside[:-1]) - 1
    grazes = np.abs(values - level)[1:-1][(np.diff(np.sign(np.diff(values))) != 0)]
    if (grazes.size and grazes.min() < 1e-3) or abs(values[0] - level) < 1e-3 or abs(values[-1] - level) < 1e-3:
        return  # touching the level: either answer is right
    assert len(which) == len(begins)
    assert begin == pytest.approx(fine[begins], abs=1.5)
    assert end == pytest.approx(fine[ends], abs=1.5)
    for n, (a, b) in enumerate(zip(begins, ends, strict=True)):
        part = values[a : b + 1]
        assert curve(np.array([at[n]]))[0] == pytest.approx(part.min(), abs=1e-5)
        assert minima[n] == ((part[1:-1] < part[:-2]) & (part[1:-1] <= part[2:])).sum()


def test_a_gap_ends_a_stretch_and_runs_do_not_touch() -> None:
    run = np.array([0, 0, 0, 0, 1, 1, 2])
    since = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0])
    flat, still = np.zeros(7), np.zeros(7)
    ok = np.array([True, True, False, True, True, True, True])
    which, begin, end, _, minima = stretches(run, since, flat, still, ok, 1.0)
    assert which.tolist() == [0, 0, 1, 2]
    assert begin.tolist() == [0.0, 3.0, 0.0, 0.0]
    assert end.tolist() == [1.0, 3.0, 1.0, 0.0]
    assert minima.tolist() == [0, 0, 0, 0]
    assert stretches(run, since, flat + 2.0, still, ok, 1.0)[0].size == 0
