"""Forecasts: the same battery as the simulator's, books by revolution, warnings that help, and the year."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from orbitloop.orbit.elements import Elements, from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.energy import Load, Panel, PowerModel, advance_battery, harvest
from orbitloop.orbit.forecast import Forecast, forecast, season, shortfalls, sunlight
from orbitloop.orbit.propagate import states

START_S = 1_780_272_000.0
POWER = PowerModel(
    40.0, 25.0, 9.0, 4.8, 12.0, 0.8, 0.3, charge_efficiency=0.95, discharge_efficiency=0.97, heater_w=1.0, compute_duty=0.2
)


def orbit(ltan_h: float = 10.5, altitude_km: float = 500.0) -> Elements:
    return from_orbit("a", START_S, altitude_km, sun_synchronous_inclination_deg(altitude_km), ltan_h=ltan_h)


def course(power: PowerModel, days: float = 0.5, loads: tuple[Load, ...] = (), elements: Elements | None = None) -> Forecast:
    chosen = elements or orbit()
    sun = harvest(power, chosen, START_S, START_S + days * 86_400, 60.0)
    return forecast(power, chosen, sun, loads, START_S, START_S + days * 86_400)


def test_it_is_the_battery_of_the_simulator() -> None:
    """Without a share of computing or loads, moving the battery hop by hop gives the same charge at every hop."""
    power = replace(POWER, compute_duty=0.0)
    found = course(power)
    sun = harvest(power, orbit(), START_S, START_S + 43_200)
    charge = power.initial_wh
    for at_s in np.arange(START_S, START_S + 43_200, 777.0).tolist():
        charge, _ = advance_battery(power, charge, sun, at_s, min(at_s + 777.0, START_S + 43_200))
        expected = float(np.interp(at_s + 777.0, found.times_s, found.battery_wh))
        assert charge == pytest.approx(expected, abs=0.02), "between knots the charge is not straight while light fades"


def test_the_books_of_revolutions_add_up_to_those_of_the_whole() -> None:
    elements = orbit()
    days = 7 * elements.period_s / 86_400
    found = course(POWER, days, (Load(START_S + 1000, START_S + 1600, 12.0),))
    assert len(found.revolutions) == 7
    for name in ("harvested_wh", "drawn_wh", "lost_wh", "stored_wh", "spilled_wh", "unmet_wh"):
        parts = sum(getattr(one.ledger, name) for one in found.revolutions)
        assert parts == pytest.approx(getattr(found.ledger, name), abs=1e-9)
    books = found.ledger
    assert books.harvested_wh == pytest.approx(books.drawn_wh + books.lost_wh + books.stored_wh, abs=1e-9)
    assert found.battery_wh[-1] - found.battery_wh[0] == pytest.approx(books.stored_wh, abs=1e-9)
    assert sum(one.sunlit_s for one in found.revolutions) == pytest.approx(
        harvest(POWER, elements, START_S, START_S + days * 86_400).sunlit_s(START_S, START_S + days * 86_400), abs=0.01
    )


def test_loads_draw_what_they_draw() -> None:
    power = replace(POWER, compute_duty=0.0, heater_w=0.0)
    with_load = course(power, 0.2, (Load(START_S + 1000, START_S + 1600, 12.0), Load(START_S + 1500, START_S + 1700, 3.0)))
    extra_wh = (12 * 600 + 3 * 200) / 3600
    assert with_load.ledger.drawn_wh - course(power, 0.2).ledger.drawn_wh == pytest.approx(extra_wh, abs=1e-9)
    duty = course(replace(power, compute_duty=0.5), 0.2)
    assert duty.ledger.drawn_wh - course(power, 0.2).ledger.drawn_wh == pytest.approx(0.5 * 4.8 * 4.8, abs=1e-9)


class TestShortfalls:
    def test_a_sound_satellite_has_none(self) -> None:
        assert shortfalls(course(POWER)) == []

    def test_too_much_drawn_is_told_with_what_would_balance_it(self) -> None:
        hungry = replace(POWER, idle_w=14.0, compute_w=10.0, compute_duty=0.4)
        found = course(hungry, 1.0)
        kinds = [one.kind for one in shortfalls(found)]
        assert kinds == ["low charge", "empty battery"]
        assert "W less" in shortfalls(found)[0].remedy
        short_w = -(found.ledger.stored_wh - found.ledger.unmet_wh) / 24
        saved = course(replace(hungry, idle_w=14.0 - short_w), 1.0)
        assert saved.ledger.stored_wh == pytest.approx(0.0, abs=3.0), "but for the battery's losses"
        assert not any(one.kind == "empty battery" for one in shortfalls(saved))

    def test_a_shallow_life_asks_for_a_larger_battery(self) -> None:
        small = replace(POWER, battery_wh=20.0, initial_soc=1.0, max_depth=0.2)
        (told,) = shortfalls(course(small))
        assert told.kind == "deep discharge"
        larger = float(told.remedy.split(" Wh")[0].split()[-1])
        assert shortfalls(course(replace(small, battery_wh=larger + 0.5))) == []


def test_worst_and_poorest_are_the_least() -> None:
    found = course(POWER, 0.6)
    assert found.worst.min_soc == min(one.min_soc for one in found.revolutions)
    assert found.worst.depth == 1 - found.worst.min_soc
    assert found.poorest.balance_wh == min(one.balance_wh for one in found.revolutions)


def test_the_year_of_a_noon_orbit_follows_the_sun_s_distance() -> None:
    """At noon-midnight beta stays small: what changes is the sun's distance, 3.4 % in it and 6.9 % in power."""
    power = replace(POWER, panels=(Panel(0.1),), attitude="sun")
    year = season(power, orbit(12.0), START_S, 0.0)
    assert np.abs(year.beta_deg).max() < 12
    per_light = year.offered_wh / year.sunlit_share
    assert per_light.max() / per_light.min() == pytest.approx((1.01671 / 0.98329) ** 2, abs=0.003)
    dearest = year.times_s[int(np.argmax(per_light))]
    assert abs(dearest - 1_798_934_400.0) < 8 * 86_400, "the sun is nearest in the first days of January"


def test_the_year_of_a_dawn_orbit_has_one_season_of_eclipses() -> None:
    year = season(POWER, orbit(6.0, 600.0), START_S, 0.0)
    dark = year.sunlit_share < 1.0
    assert 0.1 < dark.mean() < 0.5
    assert year.balance_wh[year.worst] == year.balance_wh.min()
    assert dark[year.worst]
    months = {int((t - START_S) / 86_400 / 30.4) for t in year.times_s[dark]}
    assert months <= {4, 5, 6, 7, 8}, "around December, half a year after the start"


def test_a_day_of_the_year_is_the_day_of_the_forecast() -> None:
    elements = orbit()
    year = season(POWER, elements, START_S, 0.0, days=1.0, every_days=1.0)
    found = course(POWER, 2 * elements.period_s / 86_400)
    first = found.revolutions[0]
    assert year.sunlit_share[0] * elements.period_s == pytest.approx(first.sunlit_s, abs=8.0)
    assert year.offered_wh[0] == pytest.approx(first.ledger.harvested_wh + first.ledger.spilled_wh, rel=2e-3)
    assert year.wanted_wh[0] == pytest.approx(first.ledger.drawn_wh, rel=2e-3)


def test_light_is_whole_in_the_sun_none_in_the_umbra_and_between_in_between() -> None:
    elements = orbit()
    times = START_S + np.arange(0, elements.period_s, 0.5)
    light = sunlight(states(elements, times)[0], times)
    assert set(np.unique(light[(light == 0) | (light == 1)])) == {0.0, 1.0}
    fading = int(np.count_nonzero((light > 0) & (light < 1)))
    assert 2 * 8 * 2 < fading < 2 * 14 * 2, "two penumbras of 8 to 14 s in steps of half a second"
    assert math.isclose(light.mean() * elements.period_s, course(POWER, 0.2).revolutions[0].sunlit_s, abs_tol=2.0)


def test_no_time_is_no_forecast() -> None:
    sun = harvest(POWER, orbit(), START_S, START_S + 100)
    with pytest.raises(ValueError, match="no time"):
        forecast(POWER, orbit(), sun, (), START_S, START_S)
    short = forecast(POWER, orbit(), sun, (), START_S, START_S + 100)
    assert len(short.revolutions) == 1
