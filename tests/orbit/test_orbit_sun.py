from __future__ import annotations

import numpy as np
import pytest

from orbitloop.clock import parse_utc_s
from orbitloop.orbit.elements import from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.propagate import states
from orbitloop.orbit.sun import beta_angle_deg, eclipse_intervals, shadow_depth_rad, sun_position_km

EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")


def _sso(ltan_h: float, altitude_km: float = 500.0):
    return from_orbit("x", EPOCH_S, altitude_km, sun_synchronous_inclination_deg(altitude_km), ltan_h=ltan_h)


def test_sun_against_vallado() -> None:
    """Example 5-1: 2 April 2006, 00:00 UTC."""
    ours = sun_position_km(parse_utc_s("2006-04-02T00:00:00Z"))[0]
    np.testing.assert_allclose(ours, [146_186_212, 28_788_976, 12_481_064], atol=2000)


def test_sun_at_the_equinox() -> None:
    """20 March 2026, 14:46 UTC: the declination passes zero."""
    x, y, z = sun_position_km(parse_utc_s("2026-03-20T14:46:00Z"))[0]
    assert abs(np.degrees(np.arcsin(z / np.hypot(np.hypot(x, y), z)))) < 0.01


def test_shadow_cone() -> None:
    sun = sun_position_km(EPOCH_S)[0]
    away = -sun / np.linalg.norm(sun)
    side = np.cross(away, [0.0, 0, 1])
    side /= np.linalg.norm(side)
    points = np.array([7000 * away, -7000 * away, 7000 * side, 7000 * away + 6300 * side, 7000 * away + 6500 * side])
    dark = shadow_depth_rad(points, np.full(5, EPOCH_S)) > 0
    assert dark.tolist() == [True, False, False, True, False]
    tip_km = 6378.137 * np.linalg.norm(sun) / (695_700 - 6378.137)
    ends = np.array([(tip_km - 1500) * away, (tip_km + 1500) * away])
    assert (shadow_depth_rad(ends, np.full(2, EPOCH_S)) > 0).tolist() == [True, False]


def test_noon_orbit_has_the_textbook_eclipse() -> None:
    """With the sun in the orbit's plane the shadow takes 2 asin(R/a) of a revolution, the cone some seconds less."""
    elements = _sso(12.0)
    eclipses = eclipse_intervals(elements, EPOCH_S, EPOCH_S + 86400)
    beta_rad = np.radians(beta_angle_deg(elements, [EPOCH_S]))[0]
    ratio = 6378.137 / 6878.137
    half = np.arccos(np.sqrt(1 - ratio**2) / np.cos(beta_rad))
    durations = np.array([b - a for a, b in eclipses[1:-1]])
    assert abs(np.degrees(beta_rad)) < 5
    np.testing.assert_allclose(durations, half / np.pi * elements.period_s, atol=25)
    assert len(eclipses) in (15, 16)


def test_penumbra_encloses_umbra_and_edges_are_edges() -> None:
    elements = _sso(10.5)
    umbra = eclipse_intervals(elements, EPOCH_S, EPOCH_S + 43200)
    penumbra = eclipse_intervals(elements, EPOCH_S, EPOCH_S + 43200, penumbra=True)
    assert len(umbra) == len(penumbra)
    for (a, b), (wide_a, wide_b) in list(zip(umbra, penumbra, strict=True))[1:-1]:
        assert wide_a < a < b < wide_b
        assert 5 < a - wide_a < 20
        times = np.array([a - 0.01, a + 0.01, b - 0.01, b + 0.01])
        assert (shadow_depth_rad(states(elements, times)[0], times) > 0).tolist() == [False, True, True, False]


def test_dawn_dusk_orbit_hardly_knows_night() -> None:
    dusk = _sso(18.0, 800.0)
    assert abs(float(beta_angle_deg(dusk, [EPOCH_S])[0])) > 55
    noon_s = sum(b - a for a, b in eclipse_intervals(_sso(12.0, 800.0), EPOCH_S, EPOCH_S + 86400))
    dusk_s = sum(b - a for a, b in eclipse_intervals(dusk, EPOCH_S, EPOCH_S + 86400))
    assert dusk_s < 0.7 * noon_s


def test_beta_sign() -> None:
    sun = sun_position_km(EPOCH_S)[0]
    sun_deg = np.degrees(np.arctan2(sun[1], sun[0]))
    polar = from_orbit("x", EPOCH_S, 500, 90.0, raan_deg=sun_deg + 90)
    declination_deg = np.degrees(np.arcsin(sun[2] / np.linalg.norm(sun)))
    assert float(beta_angle_deg(polar, [EPOCH_S])[0]) == pytest.approx(90 - declination_deg, abs=0.2)
