from __future__ import annotations

import math

import numpy as np
import pytest

from orbitloop.orbit.access import Area, Sensor, accesses, revisit
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.frames import geodetic_to_ecef, teme_to_ecef, up_vector
from orbitloop.orbit.propagate import states
from orbitloop.orbit.track import ground_track

START_S = 1_780_272_000.0
DAY_S = 86_400.0
SSO = from_orbit("sso", START_S, 500, 97.4, ltan_h=10.5)
LEANING = from_orbit("leaning", START_S, 2_000, 63.4, eccentricity=0.15, arg_perigee_deg=200, raan_deg=77)
# A bent shape with a hole, one across 180 degrees, and a long thin one.
BENT = Area(
    "bent",
    polygons=(
        (
            ((5.0, 40.0), (25.0, 40.0), (25.0, 60.0), (20.0, 60.0), (20.0, 46.0), (5.0, 46.0)),
            ((10.0, 42.0), (15.0, 42.0), (15.0, 44.0), (10.0, 44.0)),
        ),
    ),
)
DATE_LINE = Area("date line", polygons=((((170.0, -20.0), (190.0, -20.0), (190.0, 5.0), (170.0, 5.0)),),))
PLACES = Area("places", points=tuple((float(lon), float(lat)) for lat in range(-75, 76, 30) for lon in range(-170, 171, 60)))


def _off_nadir_deg(elements: Elements, lon_deg: float, lat_deg: float, times_s: np.ndarray) -> np.ndarray:
    """On the ellipsoid: the angle at the satellite between the Earth's centre and the place; 180 where it is out of sight."""
    r_km = teme_to_ecef(states(elements, times_s)[0], times_s)
    place = geodetic_to_ecef(lat_deg, lon_deg, 0.0)
    offset = place - r_km
    cosine = -np.sum(offset * r_km, axis=1) / np.linalg.norm(offset, axis=1) / np.linalg.norm(r_km, axis=1)
    seen = offset @ up_vector(lat_deg, lon_deg) < 0
    return np.where(seen, np.degrees(np.arccos(np.clip(cosine, -1, 1))), 180.0)


def _inside(found: list[tuple[float, float]], times_s: np.ndarray) -> np.ndarray:
    inside = np.zeros(times_s.size, bool)
    for begin, end in found:
        inside |= (times_s > begin) & (times_s < end)
    return inside


@pytest.mark.parametrize(
    ("elements", "half_deg"), [(SSO, 30.0), (SSO, 2.0), (LEANING, 20.0)], ids=["wide", "narrow", "eccentric"]
)
def test_a_half_angle_over_places_is_the_angle_at_the_satellite(elements: Elements, half_deg: float) -> None:
    """Against the exact angle on the ellipsoid, every three seconds of a day."""
    end_s = START_S + DAY_S
    lat, lon = ground_track(elements, START_S + np.arange(1.0, 4.0) * 20_000.0)
    places = Area("places", points=(*PLACES.points, *((float(x), float(y) + 0.1) for x, y in zip(lon, lat, strict=True))))
    found = accesses(elements, Sensor(half_angle_deg=half_deg), [places], START_S, end_s)
    times_s = np.arange(START_S, end_s, 3.0)
    least = np.min([_off_nadir_deg(elements, *place, times_s) for place in places.points], axis=0)
    inside = _inside([(a.start_s, a.end_s) for a in found], times_s)
    wrong = inside != (least < half_deg)
    assert len(found) > (1 if half_deg < 5 else 20)
    assert np.all(np.abs(least[wrong] - half_deg) < 1e-4)
    for one in found:
        near = least[np.abs(times_s - one.closest_s) <= 3.0]
        around = least[(times_s >= one.start_s) & (times_s <= one.end_s)]
        assert near.min() <= around.min() + 0.01 * half_deg


def _distance_km(area: Area, lon_deg: np.ndarray, lat_deg: np.ndarray) -> np.ndarray:
    """Brute force: haversine to a dense net of points of the area, on the sphere of geocentric latitudes."""
    lon, lat = np.meshgrid(np.arange(-180, 180, 0.25) + 0.01, np.arange(-80, 80, 0.25) + 0.01)
    keep = np.zeros(lon.shape, bool)
    for rings in area.polygons:
        for ring in rings:
            x = lon + 360.0 * np.round((np.mean([p[0] for p in ring]) - lon) / 360.0)
            for (xa, ya), (xb, yb) in zip(ring, ring[1:] + ring[:1], strict=True):
                if ya != yb:
                    keep ^= ((ya > lat) != (yb > lat)) & (x < (xb - xa) * (lat - ya) / (yb - ya) + xa)
    net = geodetic_to_ecef(lat[keep], lon[keep], 0.0)
    net /= np.linalg.norm(net, axis=1, keepdims=True)
    below = geodetic_to_ecef(lat_deg, lon_deg, 0.0)
    below /= np.linalg.norm(below, axis=1, keepdims=True)
    return np.array([6371.0088 * np.arccos(np.clip((net @ one).max(), -1, 1)) for one in below])


def test_a_swath_over_polygons_against_a_net_of_points() -> None:
    """Bent, with a hole, across the date line: within the net's 25 km, every 10 seconds of a day."""
    found = accesses(SSO, Sensor(swath_km=300.0), [BENT, DATE_LINE], START_S, START_S + DAY_S)
    times_s = np.arange(START_S, START_S + DAY_S, 10.0)
    lat, lon = ground_track(SSO, times_s)
    for area in (BENT, DATE_LINE):
        mine = [(a.start_s, a.end_s) for a in found if a.area == area.name]
        assert len(mine) >= 2
        distance = _distance_km(area, lon, lat)
        wrong = _inside(mine, times_s) != (distance < 150.0)
        assert np.all(np.abs(distance[wrong] - 150.0) < 25.0)
        for one in (a for a in found if a.area == area.name):
            assert one.distance_km <= 150.0 + 1e-6


def test_a_hole_is_not_the_area_and_its_inside_is_below_zero() -> None:
    still = from_orbit("geo", START_S, 35_786, 0.01)  # its point below hardly moves: shapes are put under it
    lat, lon = (float(v[0]) for v in ground_track(still, [START_S]))

    def square(half: float) -> tuple[tuple[float, float], ...]:
        return tuple((lon + half * x, lat + half * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)))

    sensor = Sensor(swath_km=10.0)
    full, holed = Area("full", polygons=((square(3.0),),)), Area("holed", polygons=((square(3.0), square(1.0)),))
    (one,) = accesses(still, sensor, [full, holed], START_S, START_S + 600.0)
    assert one.area == "full"
    assert one.distance_km == pytest.approx(-3.0 * 111.2, rel=0.01)
    wide = accesses(still, Sensor(swath_km=240.0), [holed], START_S, START_S + 600.0)
    assert [(a.start_s, a.end_s) for a in wide] == [(START_S, START_S + 600.0)]
    assert wide[0].distance_km == pytest.approx(1.0 * 111.0, rel=0.01)


def test_daylight_is_that_of_the_area() -> None:
    """A 10:30 orbit meets places in the tropics by day on one side of the Earth and by night on the other."""
    place = Area("Singapore", points=((103.8, 1.35),))
    found = accesses(SSO, Sensor(swath_km=2_500.0), [place], START_S, START_S + 2 * DAY_S)
    hours = np.array([((a.closest_s % DAY_S) / 3600 + 103.8 / 15) % 24 for a in found])
    by_day = np.array([a.sun_elevation_deg > 0 for a in found])
    assert by_day.any()
    assert (~by_day).any()
    assert np.all(by_day == ((hours > 6) & (hours < 18)))


def test_the_circle_of_a_half_angle() -> None:
    """SMAD 5.2: from 500 km, 30 degrees off nadir is 2.66 degrees of arc; beyond the limb it is the horizon's 22.0."""
    assert math.degrees(float(Sensor(half_angle_deg=30.0).reach_rad(6_878.0, 6_378.0))) == pytest.approx(2.63, abs=0.05)
    assert math.degrees(float(Sensor(half_angle_deg=80.0).reach_rad(6_878.0, 6_378.0))) == pytest.approx(21.98, abs=0.05)
    assert float(Sensor(swath_km=100.0).reach_rad(6_878.0)) == pytest.approx(50.0 / 6371.0088)


def test_revisit_by_hand() -> None:
    """Accesses 10-20, 30-50 (of two satellites that overlap), 90-95, in 0-100: gaps 10 and 40, ends 10 and 5."""
    got = revisit([(30.0, 45.0), (10.0, 20.0), (40.0, 50.0), (90.0, 95.0)], 0.0, 100.0)
    assert (got.count, got.covered_s, got.mean_gap_s, got.max_gap_s) == (3, 35.0, 25.0, 40.0)
    assert got.mean_response_s == pytest.approx((100 + 1600 + 100 + 25) / 200)
    none = revisit([], 0.0, 100.0)
    assert none.count == 0
    assert math.isnan(none.max_gap_s)
    assert none.mean_response_s == 50.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sensor(),
        lambda: Sensor(half_angle_deg=10.0, swath_km=10.0),
        lambda: Sensor(half_angle_deg=0.0),
        lambda: Sensor(swath_km=-1.0),
        lambda: Area("nothing"),
        lambda: Area("line", polygons=((((0.0, 0.0), (1.0, 1.0)),),)),
    ],
)
def test_what_cannot_be(make: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make()  # type: ignore[operator]
