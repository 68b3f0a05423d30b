"""Energy: harvest against closed forms, a battery whose books close, and what cannot be."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.orbit.elements import Elements, from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.energy import (
    SOLAR_CONSTANT_W_M2,
    Harvest,
    Panel,
    PowerModel,
    advance_battery,
    harvest,
    light_share,
    panel_power_w,
    sun_in_orbit_frame,
)
from orbitloop.orbit.frames import EARTH_RADIUS_KM
from orbitloop.orbit.propagate import states
from orbitloop.orbit.sun import AU_KM, beta_angle_deg, eclipse_intervals, sun_position_km

START_S = 1_780_272_000.0  # 2026-06-01
POWER = PowerModel(battery_wh=80.0, panel_w=30.0, idle_w=8.0, compute_w=12.0, transmit_w=25.0, initial_soc=0.5)
LOSSY = PowerModel(
    40.0, 30.0, 8.0, 12.0, 25.0, 0.5, 0.2, charge_efficiency=0.9, discharge_efficiency=0.95, max_soc=0.95, heater_w=4.0
)


def orbit(ltan_h: float, altitude_km: float = 500.0) -> Elements:
    inclination = sun_synchronous_inclination_deg(altitude_km)
    return from_orbit("a", START_S, altitude_km, inclination, ltan_h=ltan_h)


def sunshine(*shadows: tuple[float, float], end_s: float = 10_000.0, watts: float = 30.0) -> Harvest:
    """Constant sun with sharp shadows."""
    times = np.unique([0.0, end_s, *(t + d for pair in shadows for t in pair for d in (-1e-6, 1e-6))])
    light = np.array([0.0 if any(a <= t <= b for a, b in shadows) else 1.0 for t in times])
    return Harvest(times, watts * light, light)


def test_a_stretch_of_sun_and_shade_adds_up() -> None:
    sun = sunshine((1800.0, 3600.0))
    charge, ledger = advance_battery(POWER, 40.0, sun, 0.0, 3600.0, extra_j=12.0 * 600 + 25.0 * 360)
    assert charge == pytest.approx(40 + 15 - 8 - 2 - 2.5, abs=1e-6)
    assert ledger.harvested_wh == pytest.approx(15.0, abs=1e-6)
    assert ledger.drawn_wh == pytest.approx(12.5, abs=1e-6)
    assert sun.sunlit_s(0.0, 3600.0) == pytest.approx(1800.0, abs=1e-3)
    assert sun.energy_wh(900.0, 2700.0) == pytest.approx(7.5, abs=1e-6)


def test_a_full_battery_spills_and_an_empty_one_owes() -> None:
    charge, ledger = advance_battery(POWER, 79.0, sunshine(), 0.0, 3600.0)
    assert (charge, ledger.spilled_wh) == (pytest.approx(80.0), pytest.approx(21.0))
    charge, ledger = advance_battery(POWER, 3.0, sunshine((0.0, 10_000.0)), 0.0, 3600.0)
    assert (charge, ledger.unmet_wh) == (pytest.approx(0.0, abs=1e-12), pytest.approx(5.0))


def test_charging_is_limited_by_what_the_battery_takes() -> None:
    slow = PowerModel(80.0, 30.0, 8.0, 12.0, 25.0, 0.5, max_charge_w=10.0)
    charge, ledger = advance_battery(slow, 40.0, sunshine(), 0.0, 3600.0)
    assert charge == pytest.approx(50.0)
    assert ledger.spilled_wh == pytest.approx(12.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1.0, 9_999.0), min_size=0, max_size=12),
    st.floats(0.0, 38.0),
    st.floats(0.0, 60_000.0),
    st.sampled_from([None, 5.0]),
)
def test_the_books_close_whatever_happens(cuts: list[float], charge_wh: float, extra_j: float, limit_w: float | None) -> None:
    """Harvested = drawn + lost + stored; what was wanted = drawn + unmet, in steps of any length."""
    power = PowerModel(
        **{
            name: getattr(LOSSY, name)
            for name in PowerModel.__dataclass_fields__
            if name not in ("max_charge_w", "panels", "attitude")
        },
        max_charge_w=limit_w,
    )
    sun = sunshine((2000.0, 4000.0), (7000.0, 9000.0))
    times, charge, parts = [0.0, *sorted(cuts), 10_000.0], charge_wh, np.zeros(6)
    for a, b in pairwise(times):
        charge, row = advance_battery(power, charge, sun, a, b, extra_j if b == 10_000.0 else 0.0)
        parts += [row.harvested_wh, row.drawn_wh, row.lost_wh, row.stored_wh, row.spilled_wh, row.unmet_wh]
    harvested, drawn, lost, stored, spilled, unmet = parts
    assert harvested == pytest.approx(drawn + lost + stored, abs=1e-9)
    assert charge - charge_wh == pytest.approx(stored, abs=1e-9)
    assert harvested + spilled == pytest.approx(sun.energy_wh(0.0, 10_000.0), abs=1e-9)
    wanted_wh = (8.0 * 10_000.0 + 4.0 * (10_000.0 - sun.sunlit_s(0.0, 10_000.0)) + extra_j) / 3600.0
    assert drawn + unmet == pytest.approx(wanted_wh, abs=1e-9)
    assert 0.0 <= charge <= 38.0 + 1e-9
    assert lost >= -1e-12


@pytest.mark.parametrize("ltan_h", [6.0, 8.0, 10.5, 12.0])
@pytest.mark.parametrize("altitude_km", [450.0, 800.0])
def test_the_share_of_shadow_is_the_closed_form(ltan_h: float, altitude_km: float) -> None:
    """A circular orbit behind a cylinder: acos(sqrt(h^2 + 2 R h) / ((R + h) cos beta)) / pi (Wertz & Larson, SMAD, 5.1).

    The cone of the umbra is narrower and the penumbra wider by 8 to 11 s an edge each; the light that comes through both is the
    cylinder's to a second or two.
    """
    elements = orbit(ltan_h, altitude_km)
    sun = harvest(POWER, elements, START_S, START_S + 10 * elements.period_s)
    dark = 1.0 - sun.sunlit_s(START_S, START_S + 10 * elements.period_s) / (10 * elements.period_s)
    r_km, _ = states(elements, np.linspace(START_S, START_S + elements.period_s, 200))
    radius_km = float(np.linalg.norm(r_km, axis=1).mean())
    beta = math.radians(float(beta_angle_deg(elements, [START_S + 5 * elements.period_s])[0]))
    height_km = radius_km - EARTH_RADIUS_KM
    cosine = math.sqrt(height_km**2 + 2 * EARTH_RADIUS_KM * height_km) / (radius_km * math.cos(beta))
    expected = math.acos(cosine) / math.pi if cosine < 1 else 0.0
    assert dark == pytest.approx(expected, abs=1.2e-3)


def test_a_dawn_orbit_knows_no_night_in_june_and_a_dusk_orbit_does() -> None:
    """Their planes lean 8 degrees to either side; in June the sun stands 23 degrees to the north of the equator."""
    dusk = harvest(POWER, orbit(18.0, 700.0), START_S, START_S + 86_400)
    assert dusk.sunlit_s(START_S, START_S + 86_400) < 75_000
    sun = harvest(POWER, orbit(6.0, 700.0), START_S, START_S + 86_400)
    assert sun.sunlit_s(START_S, START_S + 86_400) == pytest.approx(86_400.0)
    assert sun.energy_wh(START_S, START_S + 86_400) == pytest.approx(720.0)


def test_light_fades_straight_through_the_penumbra_and_only_dims_where_there_is_no_umbra() -> None:
    times = np.array([0.0, 10.0, 14.0, 18.0, 30.0, 42.0, 46.0, 50.0, 80.0, 90.0, 100.0])
    light = light_share(times, [(18.0, 42.0)], [(10.0, 50.0), (80.0, 100.0)])
    np.testing.assert_allclose(light, [1, 1, 0.5, 0, 0, 0, 0.5, 1, 1, 0.5, 1])
    np.testing.assert_allclose(light_share(times[:5], [(0.0, 42.0)], [(0.0, 50.0)]), 0.0)


class TestPanels:
    """Means over a revolution, against integrals by hand."""

    elements = orbit(12.0)
    times = np.linspace(START_S, START_S + elements.period_s, 4001)[:-1]
    r_km, v_km_s = states(elements, times)
    flux = SOLAR_CONSTANT_W_M2 * (AU_KM / np.linalg.norm(sun_position_km(times), axis=1)) ** 2
    beta = math.radians(float(beta_angle_deg(elements, [START_S])[0]))

    def mean_m2(self, *panels: Panel, attitude: str = "nadir") -> float:
        """Mean effective area over a revolution without any shadow."""
        power = PowerModel(80.0, 0.0, 0.0, 0.0, 0.0, panels=panels, attitude=attitude)
        return float(np.mean(panel_power_w(power, self.r_km, self.v_km_s, self.times, START_S) / self.flux))

    def test_fronts_to_the_sun_give_all_they_have(self) -> None:
        assert self.mean_m2(Panel(0.5, 0.3), attitude="sun") == pytest.approx(0.15)
        assert self.mean_m2(Panel(0.5, 0.3, tracks_sun=True)) == pytest.approx(0.15)

    @pytest.mark.parametrize("normal", [(0, 0, -1), (0, 0, 1), (1, 0, 0), (-2, 0, 0)])
    def test_a_face_in_the_plane_of_the_orbit_sees_the_sun_as_a_half_wave(self, normal: tuple[float, float, float]) -> None:
        assert self.mean_m2(Panel(1.0, 1.0, normal)) == pytest.approx(math.cos(self.beta) / math.pi, rel=2e-3)

    def test_of_both_sides_of_the_orbit_one_sees_the_sine_of_beta(self) -> None:
        both = [self.mean_m2(Panel(1.0, 1.0, (0, side, 0))) for side in (1, -1)]
        assert max(both) == pytest.approx(abs(math.sin(self.beta)), rel=0.02)
        assert min(both) == pytest.approx(0.0, abs=1e-6)

    def test_the_orbit_frame_is_right_handed_and_points_as_it_says(self) -> None:
        toward = sun_in_orbit_frame(self.r_km, self.v_km_s, sun_position_km(self.times))
        np.testing.assert_allclose(np.linalg.norm(toward, axis=1), 1.0)
        # The sun is highest over the noon side: there the satellite is nearest to it, and its zenith looks that way.
        noon = int(np.argmin(toward[:, 2]))
        sun = sun_position_km(self.times[noon : noon + 1])[0]
        assert self.r_km[noon] @ sun / np.linalg.norm(self.r_km[noon]) / np.linalg.norm(sun) > math.cos(self.beta) - 1e-3
        # A quarter before noon the satellite flies towards the sun.
        ahead = int(np.argmax(toward[:, 0]))
        assert self.v_km_s[ahead] @ sun > 0

    def test_age_and_losses_take_their_share(self) -> None:
        old = PowerModel(
            80.0,
            0,
            0,
            0,
            0,
            panels=(Panel(1.0, 0.3),),
            attitude="sun",
            degradation_per_year=0.1,
            age_years=2,
            harvest_efficiency=0.9,
        )
        watts = panel_power_w(old, self.r_km[:1], self.v_km_s[:1], [START_S], START_S)
        assert watts[0] == pytest.approx(0.3 * 0.9 * 0.81 * self.flux[0])
        later = panel_power_w(old, self.r_km[:1], self.v_km_s[:1], [START_S + 365.25 * 86_400], START_S)
        assert later[0] / watts[0] == pytest.approx(0.9, rel=1e-3)


def test_without_panels_the_old_bucket_holds_to_the_penumbras() -> None:
    """Constant power wherever the sun shines; the umbra alone leaves half of both penumbras too many."""
    elements = orbit(10.5)
    end_s = START_S + 86_400
    sun = harvest(POWER, elements, START_S, end_s)
    umbra_s = sum(b - a for a, b in eclipse_intervals(elements, START_S, end_s))
    penumbra_s = sum(b - a for a, b in eclipse_intervals(elements, START_S, end_s, penumbra=True))
    assert sun.energy_wh(START_S, end_s) * 3600 / 30.0 == pytest.approx(86_400 - (umbra_s + penumbra_s) / 2, abs=0.5)


def test_knots_are_as_dense_as_the_power_asks_for_and_bring_the_same() -> None:
    elements, end_s = orbit(10.5), START_S + 86_400
    tracking = PowerModel(80.0, 0, 8, 0, 0, panels=(Panel(0.2, tracks_sun=True),))
    coarse, fine = harvest(tracking, elements, START_S, end_s), harvest(tracking, elements, START_S, end_s, 20.0)
    assert coarse.times_s.size < 150 < 4000 < fine.times_s.size
    assert coarse.energy_wh(START_S, end_s) == pytest.approx(fine.energy_wh(START_S, end_s), rel=1e-7)
    fixed = PowerModel(80.0, 0, 8, 0, 0, panels=(Panel(0.2),))
    minute, fine = harvest(fixed, elements, START_S, end_s), harvest(fixed, elements, START_S, end_s, 5.0)
    assert minute.energy_wh(START_S, end_s) == pytest.approx(fine.energy_wh(START_S, end_s), rel=5e-4)


def test_the_floor() -> None:
    assert POWER.spare_j(20.0) == pytest.approx(4 * 3600)
    assert POWER.spare_j(10.0) == 0.0


@pytest.mark.parametrize(
    "bad",
    [
        {"battery_wh": 0.0},
        {"panel_w": -1.0},
        {"idle_w": float("nan")},
        {"initial_soc": 1.1},
        {"min_soc": -0.1},
        {"charge_efficiency": 0.0},
        {"attitude": "spin"},
        {"degradation_per_year": 1.0},
    ],
)
def test_impossible_power(bad: dict[str, float]) -> None:
    fields = {"battery_wh": 80.0, "panel_w": 30.0, "idle_w": 8.0, "compute_w": 12.0, "transmit_w": 25.0}
    with pytest.raises(ValueError, match=r"not a|outside|neither"):
        PowerModel(**(fields | bad))


def test_impossible_panels_and_times() -> None:
    with pytest.raises(ValueError, match="no panel"):
        Panel(0.0)
    with pytest.raises(ValueError, match="no direction"):
        Panel(1.0, normal=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="no time"):
        harvest(POWER, orbit(10.5), START_S, START_S)
