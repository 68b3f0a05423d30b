from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.sgp4lib import theta_GMST1982

from orbitloop.clock import parse_utc_s
from orbitloop.orbit.frames import (
    ecef_to_geodetic,
    geodetic_to_ecef,
    gmst_rad,
    metres_per_degree,
    subpoint,
    teme_to_ecef,
    topocentric,
    up_vector,
)


def test_gmst_against_vallado_and_skyfield() -> None:
    """Vallado, example 3-5: 1992-08-20 12:14 UT1 is 152.578787810 degrees."""
    assert np.degrees(gmst_rad(parse_utc_s("1992-08-20T12:14:00Z"))) == pytest.approx(152.57878781, abs=1e-7)
    times_s = parse_utc_s("2026-01-01T00:00:00Z") + np.linspace(0, 3e7, 50)
    theirs = np.array([theta_GMST1982(2440587.5 + t // 86400, t % 86400 / 86400)[0] for t in times_s.tolist()])
    apart = np.angle(np.exp(1j * (gmst_rad(times_s) - theirs)))
    np.testing.assert_allclose(apart, 0, atol=1e-9)


def test_teme_to_ecef_is_a_turn_by_gmst() -> None:
    t = parse_utc_s("2026-06-01T00:00:00Z")
    angle = float(gmst_rad(t))
    r_km = np.array([7000 * np.cos(angle), 7000 * np.sin(angle), 5.0])
    np.testing.assert_allclose(teme_to_ecef(r_km, t), [7000, 0, 5], atol=1e-9)
    assert teme_to_ecef(np.ones((4, 3)), np.full(4, t)).shape == (4, 3)


def test_geodetic_known_points() -> None:
    np.testing.assert_allclose(geodetic_to_ecef(0, 0, 0), [6378.137, 0, 0], atol=1e-12)
    np.testing.assert_allclose(geodetic_to_ecef(90, 0, 0), [0, 0, 6356.7523142], atol=1e-6)
    # Vallado, example 3-3: ECEF 6524.834, 6862.875, 6448.296 km
    lat, lon, altitude_km = ecef_to_geodetic([6524.834, 6862.875, 6448.296])
    assert (float(lat), float(lon), float(altitude_km)) == pytest.approx((34.352496, 46.4464, 5085.22), abs=5e-3)


@settings(max_examples=50, deadline=None)
@given(st.floats(-90, 90), st.floats(-179.9, 180), st.floats(-500, 4e7))
def test_geodetic_there_and_back(latitude_deg: float, longitude_deg: float, altitude_m: float) -> None:
    r_km = geodetic_to_ecef(latitude_deg, longitude_deg, altitude_m)
    lat, lon, altitude_km = ecef_to_geodetic(r_km)
    assert lat == pytest.approx(latitude_deg, abs=1e-8)
    assert altitude_km * 1000 == pytest.approx(altitude_m, abs=1e-3)
    if abs(latitude_deg) < 89.999:
        assert lon == pytest.approx(longitude_deg, abs=1e-8)


@pytest.mark.parametrize(("d_lat", "d_lon", "azimuth_deg"), [(0.01, 0, 0), (0, 0.01, 90), (-0.01, 0, 180), (0, -0.01, 270)])
def test_azimuth_runs_from_north_over_east(d_lat: float, d_lon: float, azimuth_deg: float) -> None:
    target = geodetic_to_ecef(30 + d_lat, 100 + d_lon, 1000)
    elevation, azimuth, range_km = topocentric(target, 30, 100, 0)
    assert (float(azimuth) - azimuth_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.01)
    assert 40 < elevation < 50
    assert 1.3 < range_km < 1.6


def test_zenith_and_up() -> None:
    overhead = geodetic_to_ecef(-33, 151, 500_000)
    elevation, _, range_km = topocentric(overhead, -33, 151, 0)
    assert (float(elevation), float(range_km)) == pytest.approx((90, 500), abs=1e-6)
    step = geodetic_to_ecef(-33, 151, 1000) - geodetic_to_ecef(-33, 151, 0)
    np.testing.assert_allclose(up_vector(-33, 151), step, atol=1e-9)


def test_subpoint_and_degree_lengths() -> None:
    t = parse_utc_s("2026-06-01T00:00:00Z")
    lat, lon, altitude_km = subpoint(np.array([[7000.0, 0, 0]]), np.array([t]))
    assert float(lat[0]) == 0
    assert float(altitude_km[0]) == pytest.approx(7000 - 6378.137)
    assert (float(lon[0]) + float(np.degrees(gmst_rad(t)))) % 360 == pytest.approx(0, abs=1e-9)
    north = np.linalg.norm(geodetic_to_ecef(45.0005, 0, 0) - geodetic_to_ecef(44.9995, 0, 0)) * 1e6
    east = np.linalg.norm(geodetic_to_ecef(45, 0.0005, 0) - geodetic_to_ecef(45, -0.0005, 0)) * 1e6
    assert metres_per_degree(45.0) == pytest.approx((north, east), rel=1e-6)
