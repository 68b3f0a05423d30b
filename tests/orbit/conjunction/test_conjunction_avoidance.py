"""Avoidance: what a burn does to distance and probability, what it costs, and in which order options come."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.avoidance import (
    AvoidanceOption,
    AvoidanceSettings,
    NewApproach,
    PassImpact,
    avoidance_options,
    judged,
    new_approaches,
    pareto_front,
    pass_impact,
    ranked,
)
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.motion import two_body
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn
from orbitloop.orbit.passes import Pass

TCA_S = 1_780_000_000.0
RADIUS_KM = 6928.0
SPEED = math.sqrt(MU_KM3_S2 / RADIUS_KM)
PERIOD_S = 2 * math.pi * RADIUS_KM / SPEED


def crossing(sigma_rtn_km: tuple[float, float, float] = (0.03, 0.2, 0.03), angle_deg: float = 90.0) -> Encounter:
    """Two circular orbits that cross, the satellites all but meeting where they do."""
    r1, v1 = np.array([RADIUS_KM, 0, 0]), np.array([0, SPEED, 0])
    turn = math.radians(angle_deg)
    r2, v2 = np.array([RADIUS_KM + 0.02, 0, 0]), SPEED * np.array([0, math.cos(turn), math.sin(turn)])
    local = np.diag(np.array([*sigma_rtn_km, 1e-6, 1e-6, 1e-6]) ** 2)
    states = [
        ObjectState(name, number, r, v, covariance_from_rtn(local, r, v))
        for name, number, r, v in (("OURS", "1", r1, v1), ("DEB", "2", r2, v2))
    ]
    return Encounter(TCA_S, states[0], states[1], 10.0)


def exact(**fields: object) -> AvoidanceSettings:
    return replace(AvoidanceSettings(execution_error=0.0), **fields)  # type: ignore[arg-type]


def test_doing_nothing_comes_first_and_is_the_encounter() -> None:
    encounter = crossing()
    options = avoidance_options(encounter, TCA_S - 86_400.0, exact())
    nothing = options[0]
    assert (nothing.burn_s, nothing.along_m_s) == (None, 0.0)
    assert nothing.probability == pytest.approx(pc2d(encounter).value, rel=1e-6)
    assert nothing.miss_km == pytest.approx(encounter.miss_km, rel=1e-6)


def test_only_burns_that_there_is_time_for() -> None:
    two_hours = AvoidanceSettings(lead_s=3600.0)
    options = avoidance_options(crossing(), TCA_S - 3600.0 - 1.6 * PERIOD_S, two_hours)
    assert {o.revolutions for o in options} == {0.0, 0.5, 1.5}
    assert len(avoidance_options(crossing(), TCA_S - 1800.0, two_hours)) == 1


def test_radial_separation_half_a_revolution_before_is_four_dv_over_n() -> None:
    (_, up, down) = avoidance_options(crossing(), TCA_S - 86_400.0, exact(revolutions=(0.5,), sizes_m_s=(0.01,)))
    rate = 2 * math.pi / PERIOD_S
    assert up.displacement_rtn_km[0] == pytest.approx(4e-5 / rate, rel=2e-3)
    assert up.displacement_rtn_km[1] == pytest.approx(-3e-5 * PERIOD_S / 2, rel=2e-3)
    assert down.displacement_rtn_km[0] == pytest.approx(-up.displacement_rtn_km[0], rel=2e-3)
    assert up.hill_difference_km < 2e-3 * np.linalg.norm(up.displacement_rtn_km)
    # At a right angle the other's relative path is at 45 degrees to T: of what we move along it only the part across counts.
    rtn = np.array(up.rtn_km)
    expected = math.hypot(up.displacement_rtn_km[0] - 0.02, up.displacement_rtn_km[1] / math.sqrt(2))
    assert np.linalg.norm(rtn) == pytest.approx(expected, rel=5e-3)


def test_probability_falls_with_size_and_with_time_along_the_track() -> None:
    options = avoidance_options(crossing(), TCA_S - 4 * 86_400.0, exact(revolutions=(1.5, 5.5), sizes_m_s=(0.01, 0.03, 0.05)))
    for revolutions in (1.5, 5.5):
        faster = [o.probability for o in options if o.revolutions == revolutions and o.along_m_s > 0]
        assert faster == sorted(faster, reverse=True)
        assert faster[-1] < options[0].probability
    by_time = {o.revolutions: o.probability for o in options if o.along_m_s == 0.03}
    assert by_time[5.5] < by_time[1.5] < options[0].probability


def test_probability_is_that_of_the_moved_miss_with_the_covariance_kept() -> None:
    """Against the two-dimensional integral of an encounter set up anew, by brute force."""
    option = avoidance_options(crossing(), TCA_S - 86_400.0, exact(revolutions=(1.5,), sizes_m_s=(0.02,)))[1]
    after = option.encounter
    assert after is not None
    assert option.probability == pytest.approx(pc2d(after).value, rel=1e-9)
    assert abs(float(after.relative_r_km @ after.relative_v_km_s)) < 1e-6  # it is the closest approach
    rng = np.random.default_rng(3)
    drawn = rng.multivariate_normal(after.relative_r_km, after.relative_covariance_km[:3, :3], 400_000)
    along = after.relative_v_km_s / np.linalg.norm(after.relative_v_km_s)
    across = drawn - np.outer(drawn @ along, along)
    radius_km = 0.1  # a larger disc, so that there are enough hits
    hits = (np.linalg.norm(across, axis=1) < radius_km).mean()
    bigger = replace(after, hard_body_radius_m=radius_km * 1000)
    assert pc2d(bigger).value == pytest.approx(hits, abs=5 * math.sqrt(hits / 400_000))


def test_a_burns_own_error_widens_along_what_it_moved() -> None:
    sure, unsure = (
        avoidance_options(
            crossing(), TCA_S - 86_400.0, AvoidanceSettings(revolutions=(5.5,), sizes_m_s=(0.05,), execution_error=share)
        )[1].encounter
        for share in (0.0, 0.1)
    )
    assert sure is not None
    assert unsure is not None
    wider = unsure.primary.known_covariance_km[:3, :3] - sure.primary.known_covariance_km[:3, :3]
    moved = 3e-5 * 5 * 5.5 * PERIOD_S  # about 3 t dv
    assert math.sqrt(np.trace(wider)) == pytest.approx(0.1 * moved, rel=0.05)


def test_slow_encounter_finds_its_new_closest_approach() -> None:
    """Past each other at 5 m/s the closest approach moves, along paths that bend; against a search by brute force."""
    fast = crossing()
    other = ObjectState(
        "DEB", "2", fast.secondary.r_km, fast.primary.v_km_s + np.array([0.005, 0, 0]), fast.secondary.covariance_km
    )
    encounter = replace(fast, secondary=other)
    for option in avoidance_options(encounter, TCA_S - 86_400.0, exact(revolutions=(0.5,), sizes_m_s=(0.005,)))[1:]:
        after = option.encounter
        assert after is not None
        assert abs(after.tca_s - TCA_S) > 0.3
        times = np.linspace(-300, 300, 6001)
        first, _ = two_body(after.primary.r_km, after.primary.v_km_s, times)
        second, _ = two_body(after.secondary.r_km, after.secondary.v_km_s, times)
        distance = np.linalg.norm(second - first, axis=1)
        assert after.miss_km == pytest.approx(distance.min(), abs=1e-6)
        assert abs(times[distance.argmin()]) < 0.2


def test_propellant_by_the_rocket_equation() -> None:
    known = AvoidanceSettings(mass_kg=20.0, specific_impulse_s=200.0, propellant_kg=0.5)
    assert known.propellant_share(0.05) == pytest.approx(20 * 0.05 / (200 * 9.80665) / 0.5, rel=1e-4)
    assert AvoidanceSettings().propellant_share(0.05) is None


def _pass(aos_s: float, duration_s: float = 500.0, station: str = "north") -> Pass:
    return Pass("OURS", station, aos_s, aos_s + duration_s / 2, aos_s + duration_s, 40.0, 0.0, 90.0)


def _option(burn_s: float | None, **fields: object) -> AvoidanceOption:
    made = AvoidanceOption(burn_s, 0.01 if burn_s else 0.0, 1.5, TCA_S, 1.0, (0, 1, 0), (0, 1, 0), 0.0, 1e-7, 1e-7, "2d")
    return replace(made, **fields)  # type: ignore[arg-type]


def test_passes_in_the_burns_time_are_lost_or_cut() -> None:
    settings = AvoidanceSettings(prepare_s=900.0, settle_s=1800.0, least_contact_s=120.0)
    option = _option(TCA_S)
    within, cut, short, apart = _pass(TCA_S), _pass(TCA_S + 1500.0), _pass(TCA_S + 1400.0), _pass(TCA_S + 2000.0)
    assert pass_impact(option, [apart], settings) == PassImpact()
    assert pass_impact(option, [within], settings) == PassImpact(1, 0, 500.0, 0.0)
    assert pass_impact(option, [cut], settings) == PassImpact(0, 1, 300.0, 0.0)
    assert pass_impact(option, [short], settings) == PassImpact(1, 0, 500.0, 0.0)  # 100 s remain: no contact
    assert pass_impact(_option(None), [within], settings) == PassImpact()


def test_passes_that_move_and_vanish_on_the_new_orbit() -> None:
    settings = AvoidanceSettings()
    later, gone = _pass(TCA_S + 9000.0), _pass(TCA_S + 20_000.0, 60.0, "south")
    impact = pass_impact(_option(TCA_S), [later, gone], settings, [_pass(TCA_S + 9002.5)])
    assert impact == PassImpact(1, 0, 60.0, 2.5)


def test_order_goal_then_new_risk_then_passes_then_size() -> None:
    third = NewApproach("C", "3", TCA_S, 0.4, None)
    options = [
        _option(None, probability=1e-4),
        _option(1.0, along_m_s=0.05, meets_goal=True, passes=PassImpact(lost=0)),
        _option(2.0, along_m_s=0.01, meets_goal=True, passes=PassImpact(lost=1)),
        _option(3.0, along_m_s=0.02, meets_goal=True, passes=PassImpact(lost=0)),
        _option(4.0, along_m_s=0.01, meets_goal=True, passes=PassImpact(lost=0), new_approaches=(third,)),
        _option(5.0, along_m_s=0.001, probability=5e-5),
        _option(6.0, along_m_s=0.005, meets_goal=True, commandable=False),
    ]
    assert [o.burn_s for o in ranked(options)] == [3.0, 1.0, 2.0, 4.0, 5.0, None, 6.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=15))
def test_pareto_front_against_its_definition(goods: list[tuple[int, int, int]]) -> None:
    front = pareto_front(np.array(goods, float))
    for n, one in enumerate(goods):
        beaten = any(all(a <= b for a, b in zip(o, one, strict=True)) and o != one for o in goods)
        assert front[n] == (not beaten)
    assert front.any()


def test_a_better_method_replaces_the_probability_and_says_so() -> None:
    option = avoidance_options(crossing(), TCA_S - 86_400.0, exact(revolutions=(1.5,), sizes_m_s=(0.05,)))[1]
    again = judged(option, lambda _: (3e-3, "3d"), AvoidanceSettings())
    assert (again.probability, again.method, again.meets_goal) == (3e-3, "3d", False)
    assert again.two_d_probability == option.two_d_probability


def test_new_approaches_are_those_that_come_or_come_nearer() -> None:
    before = [NewApproach("A", "3", TCA_S, 4.0, None), NewApproach("B", "4", TCA_S, 2.0, None)]
    after = [
        NewApproach("A", "3", TCA_S + 20, 1.0, None),
        NewApproach("B", "4", TCA_S + 20, 1.95, None),
        NewApproach("B", "4", TCA_S + 5000, 0.5, None),
        NewApproach("C", "5", TCA_S, 9.0, None),
    ]
    found = new_approaches(before, after, 5.0)
    assert [(o.designator, o.miss_km, o.before_km) for o in found] == [("4", 0.5, None), ("3", 1.0, 4.0)]


@pytest.mark.parametrize(
    "fields",
    [{"sizes_m_s": (0.0,)}, {"revolutions": (-1.0,)}, {"goal_probability": 0.0}, {"settle_s": -1.0}, {"mass_kg": 0.0}],
)
def test_settings_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(ConjunctionError):
        AvoidanceSettings(**fields)  # type: ignore[arg-type]


def test_without_covariance_there_is_no_option() -> None:
    encounter = crossing()
    bare = replace(encounter, secondary=ObjectState("DEB", "2", encounter.secondary.r_km, encounter.secondary.v_km_s))
    with pytest.raises(ConjunctionError, match="no covariance"):
        avoidance_options(bare, TCA_S - 86_400.0, AvoidanceSettings())
