from __future__ import annotations

import numpy as np
import pytest

from orbitloop.clock import parse_utc_s
from orbitloop.orbit.elements import from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.frames import geodetic_to_ecef
from orbitloop.orbit.track import geo_transform_at, ground_track

EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")
ORBIT = from_orbit("x", EPOCH_S, 500, sun_synchronous_inclination_deg(500), ltan_h=10.5)


def test_track_starts_at_the_node_at_its_local_time() -> None:
    latitude_deg, longitude_deg = ground_track(ORBIT, [EPOCH_S])
    assert float(latitude_deg[0]) == pytest.approx(0, abs=0.2)
    assert float(longitude_deg[0]) == pytest.approx(10.5 * 15 % 360, abs=0.1)  # at 00:00 UTC


def test_track_reaches_the_inclination() -> None:
    latitude_deg, longitude_deg = ground_track(ORBIT, EPOCH_S + np.arange(0, 6000, 5.0))
    assert latitude_deg.max() == pytest.approx(180 - ORBIT.inclination_deg, abs=0.1)
    assert latitude_deg.min() == pytest.approx(ORBIT.inclination_deg - 180, abs=0.1)
    assert np.all((longitude_deg > -180) & (longitude_deg <= 180))


@pytest.mark.parametrize("after_s", [0.0, 400.0, 900.0, 1400.0, 3000.0])
def test_picture_is_north_up_and_to_scale(after_s: float) -> None:
    when_s = EPOCH_S + after_s
    geo = geo_transform_at(ORBIT, when_s, 2000, 1000, 5.0)
    latitude_deg, longitude_deg = (float(a[0]) for a in ground_track(ORBIT, [when_s]))
    assert geo.lonlat_deg(1000, 500) == pytest.approx((longitude_deg, latitude_deg))
    assert geo.lonlat_deg(0, 0)[1] > geo.lonlat_deg(0, 1000)[1]
    assert geo.lonlat_deg(0, 0)[0] < geo.lonlat_deg(2000, 0)[0]

    def at(x: float, y: float) -> np.ndarray:
        lon, lat = geo.lonlat_deg(x, y)
        return geodetic_to_ecef(lat, lon, 0) * 1000

    assert np.linalg.norm(at(0, 500) - at(2000, 500)) == pytest.approx(10_000, rel=1e-3)
    assert np.linalg.norm(at(1000, 0) - at(1000, 1000)) == pytest.approx(5_000, rel=1e-3)


@pytest.mark.parametrize("size", [(0, 10, 1.0), (10, -1, 1.0), (10, 10, 0.0), (10, 10, float("nan"))])
def test_no_picture(size: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="no picture"):
        geo_transform_at(ORBIT, EPOCH_S, *size)
