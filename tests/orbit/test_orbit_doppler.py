from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load, wgs84

from orbitloop.orbit.doppler import fleet_looks, looks, shift_hz
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.frames import EarthOrientation
from orbitloop.orbit.passes import Station, find_passes
from orbitloop.orbit.propagate import FleetPropagator
from orbitloop.orbit.sun import sun_elevation_deg

START_S = 1_780_272_000.0
ISS_LIKE = from_orbit("iss", START_S, 420, 51.6)
KIRUNA = Station("Kiruna", 67.86, 20.96, 400.0, 5.0)
ZURICH = Station("Zurich", 47.4, 8.5, 400.0, 5.0)


def test_looks_are_skyfields() -> None:
    """Elevation and azimuth to 1e-4 degrees, range to 1 m, range rate to 1 mm/s, with skyfield's UT1."""
    ts = load.timescale(builtin=True)
    day = datetime.fromtimestamp(START_S, UTC)
    one = find_passes(ISS_LIKE, [ZURICH], START_S, START_S + 86_400.0)[0]
    times_s = np.linspace(one.aos_s, one.los_s, 41)
    t = ts.utc(day.year, day.month, day.day, 0, 0, times_s - START_S)
    satellite = EarthSatellite.from_satrec(ISS_LIKE.satrec(), ts)
    place = wgs84.latlon(ZURICH.latitude_deg, ZURICH.longitude_deg, ZURICH.altitude_m)
    elevation, azimuth, distance, _, _, rate = (satellite - place).at(t).frame_latlon_and_rates(place)
    got = looks(ISS_LIKE, ZURICH, times_s, EarthOrientation(dut1_s=float(t.dut1[20])))
    np.testing.assert_allclose(got.elevation_deg, elevation.degrees, rtol=0, atol=1e-4)
    np.testing.assert_allclose(got.azimuth_deg, azimuth.degrees, rtol=0, atol=2e-4)
    np.testing.assert_allclose(got.range_km, distance.km, rtol=0, atol=1e-3)
    np.testing.assert_allclose(got.range_rate_km_s, rate.km_per_s, rtol=0, atol=1e-6)


def test_range_rate_is_the_change_of_range() -> None:
    """By central differences of our own range; SGP4's velocity is its position's derivative to 2 cm/s."""
    times_s = START_S + np.arange(0.0, 20_000.0, 61.0)
    at = [looks(ISS_LIKE, KIRUNA, times_s + shift).range_km for shift in (-0.5, 0.5)]
    np.testing.assert_allclose(looks(ISS_LIKE, KIRUNA, times_s).range_rate_km_s, at[1] - at[0], rtol=0, atol=5e-5)


def test_doppler_of_a_pass() -> None:
    """Higher before culmination, lower after; 7 km/s at 437 MHz is 10 kHz."""
    one = max(find_passes(ISS_LIKE, [ZURICH], START_S, START_S + 86_400.0), key=lambda p: p.max_elevation_deg)
    got = looks(ISS_LIKE, ZURICH, [one.aos_s, one.los_s]).shift_hz(437e6)
    assert 8_000 < got[0] < 10_500
    assert -10_500 < got[1] < -8_000
    assert shift_hz(299_792_458.0, [1.0])[0] == -1_000.0


def test_sun_elevation_by_noaas_equations() -> None:
    """NOAA's solar calculator (Meeus' series to other terms): within 0.03 degrees, all over the Earth and the year."""
    rng = np.random.default_rng(8)
    times_s = rng.uniform(1.6e9, 1.95e9, 300)
    lat, lon = rng.uniform(-89, 89, 300), rng.uniform(-180, 180, 300)
    t = (times_s / 86_400 + 2_440_587.5 - 2_451_545.0) / 36_525
    mean = 280.46646 + t * (36_000.76983 + 0.0003032 * t)
    anomaly = np.radians(357.52911 + t * (35_999.05029 - 0.0001537 * t))
    centre = np.sin(anomaly) * (1.914602 - 0.004817 * t) + np.sin(2 * anomaly) * 0.019993 + np.sin(3 * anomaly) * 0.000289
    node = np.radians(125.04 - 1934.136 * t)
    longitude = np.radians(mean + centre - 0.00569 - 0.00478 * np.sin(node))
    tilt = np.radians(23.439291 - 0.0130042 * t + 0.00256 * np.cos(node))
    declination = np.arcsin(np.sin(tilt) * np.sin(longitude))
    ascension = np.arctan2(np.cos(tilt) * np.sin(longitude), np.cos(longitude))
    equation_deg = np.mod(mean - 0.0057183 - np.degrees(ascension) + 180, 360) - 180
    hour = np.radians(np.mod(times_s / 86_400, 1) * 360 + equation_deg + lon - 180)
    phi = np.radians(lat)
    wanted = np.degrees(np.arcsin(np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)))
    np.testing.assert_allclose(sun_elevation_deg(lat, lon, times_s), wanted, rtol=0, atol=0.03)
    assert float(sun_elevation_deg(0.0, 0.0, START_S)) == pytest.approx(-67.7, abs=1.0)


def test_sunlit_and_the_stations_day() -> None:
    times_s = START_S + np.arange(0.0, 86_400.0, 60.0)
    got = looks(ISS_LIKE, KIRUNA, times_s)
    assert 0.55 < got.sunlit.mean() < 0.75
    assert got.station_sun_deg.min() > -5.0  # June: the sun hardly sets in Kiruna


def test_single_looks_of_a_fleet_are_those_of_its_satellites() -> None:
    fleet = [ISS_LIKE, from_orbit("other", START_S, 800, 98.0)]
    which, where = np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1])
    times_s = START_S + np.array([10.0, 500.0, 900.0, 77.0])
    got = fleet_looks(FleetPropagator(fleet), [KIRUNA, ZURICH], which, where, times_s)
    for n in range(4):
        one = looks(fleet[which[n]], (KIRUNA, ZURICH)[where[n]], times_s[n])
        for name in ("elevation_deg", "azimuth_deg", "range_km", "range_rate_km_s", "station_sun_deg"):
            assert getattr(got, name)[n] == pytest.approx(getattr(one, name)[0], abs=1e-8)
        assert got.sunlit[n] == one.sunlit[0]
