from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from sgp4.exporter import export_tle

from orbitloop.clock import parse_utc_s
from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.formats.tle import parse_tle
from orbitloop.orbit.frames import gmst_rad
from orbitloop.orbit.propagate import states_since_epoch
from orbitloop.orbit.sun import sun_position_km

LINE1 = "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991"
LINE2 = "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482"
NOON_S = parse_utc_s("2026-06-01T12:00:00Z")


def test_elements_are_a_value() -> None:
    elements = parse_tle(LINE1, LINE2)
    assert pickle.loads(pickle.dumps(elements)) == elements
    assert hash(elements) == hash(parse_tle(LINE1, LINE2))
    assert elements.period_s == pytest.approx(5574, abs=1)


@pytest.mark.parametrize("altitude_km", [300.0, 500.0, 1200.0, 35786.0])
def test_from_orbit_flies_at_its_altitude(altitude_km: float) -> None:
    record = from_orbit("x", NOON_S, altitude_km, 55.0).satrec()
    assert record.a * 6378.135 - 6378.137 == pytest.approx(altitude_km, abs=0.02)


@pytest.mark.parametrize("hour", [0.0, 6.0, 10.5, 22.25])
@pytest.mark.parametrize("epoch", ["2026-06-01T12:00:00Z", "2026-01-13T03:20:00Z"])
def test_local_time_of_the_node(hour: float, epoch: str) -> None:
    """At the node's longitude the clock shows the hour; the true sun differs from the mean one by at most 17 minutes."""
    epoch_s = parse_utc_s(epoch)
    elements = from_orbit("x", epoch_s, 500, 97.4, ltan_h=hour)
    longitude_deg = elements.raan_deg - np.degrees(float(gmst_rad(epoch_s)))
    assert ((epoch_s % 86400) / 3600 + longitude_deg / 15) % 24 == pytest.approx(hour, abs=1e-9)
    x, y, _ = sun_position_km(epoch_s)[0]
    apparent_h = (12 + (elements.raan_deg - np.degrees(np.arctan2(y, x))) / 15) % 24
    assert abs((apparent_h - hour + 12) % 24 - 12) < 17 / 60


@pytest.mark.parametrize("true_deg", [0.0, 37.0, 100.0, 179.0, 250.0, -10.0])
def test_true_anomaly_solves_keplers_equation(true_deg: float) -> None:
    elements = from_orbit("x", NOON_S, 20000, 30.0, eccentricity=0.5, true_anomaly_deg=true_deg)
    mean = eccentric = np.radians(elements.mean_anomaly_deg)
    for _ in range(50):
        eccentric -= (eccentric - 0.5 * np.sin(eccentric) - mean) / (1 - 0.5 * np.cos(eccentric))
    solved_deg = np.degrees(np.arctan2(np.sqrt(0.75) * np.sin(eccentric), np.cos(eccentric) - 0.5))
    assert (solved_deg - true_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_sun_synchronous_figures_and_drift() -> None:
    """Textbook: 97.4 degrees at 500 km, 98.6 at 800 km; SGP4 keeps the local time of the node for two months."""
    assert sun_synchronous_inclination_deg(500) == pytest.approx(97.40, abs=0.01)
    assert sun_synchronous_inclination_deg(800) == pytest.approx(98.60, abs=0.02)
    elements = from_orbit("x", NOON_S, 500, sun_synchronous_inclination_deg(500), raan_deg=0.0)
    r_km, v_km_s = states_since_epoch(elements, [0.0, 60 * 86400.0])
    normal = np.cross(r_km, v_km_s)
    node_deg = np.degrees(np.arctan2(normal[:, 0], -normal[:, 1]))
    assert node_deg[1] - node_deg[0] == pytest.approx(60 * 360 / 365.2422, abs=0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: from_orbit("x", NOON_S, 50, 55),
        lambda: from_orbit("x", NOON_S, 500, 181),
        lambda: from_orbit("x", NOON_S, 500, 55, eccentricity=0.5),
        lambda: from_orbit("x", NOON_S, 500, 55, eccentricity=-0.1),
        lambda: from_orbit("x", NOON_S, float("nan"), 55),
        lambda: from_orbit("x", NOON_S, 500, 55, ltan_h=float("inf")),
        lambda: from_orbit("x", NOON_S, 500, 55, raan_deg=0, ltan_h=0),
        lambda: from_orbit("x", NOON_S, 500, 55, mean_anomaly_deg=0, true_anomaly_deg=0),
        lambda: sun_synchronous_inclination_deg(7000),
        lambda: sun_synchronous_inclination_deg(float("nan")),
    ],
)
def test_impossible_orbits_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ElementsError):
        make()


def test_exported_tle_comes_back() -> None:
    elements = from_orbit("x", NOON_S, 500, 97.4, ltan_h=10.5, norad_id=12345)
    back = parse_tle(*export_tle(elements.satrec()))
    assert back.mean_motion_rev_day == pytest.approx(elements.mean_motion_rev_day, abs=1e-8)
    assert back.raan_deg == pytest.approx(elements.raan_deg, abs=1e-4)
    assert back.epoch_s == pytest.approx(elements.epoch_s, abs=1e-3)
