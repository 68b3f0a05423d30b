from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load, wgs84

from orbitloop.errors import ElementsError
from orbitloop.orbit import kernels, passes
from orbitloop.orbit.elements import Elements, from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.fleet_passes import PassTable, fleet_passes, grid_step_s, pass_blocks, passes_one_by_one
from orbitloop.orbit.frames import EarthOrientation, gmst_rad
from orbitloop.orbit.passes import Pass, Station, find_passes

START_S = 1_780_272_000.0
DAY_S = 86_400.0
STATIONS = [
    Station("Beijing", 39.9, 116.4),
    Station("Quito", -0.2, -78.5, 2_850.0, 0.0),
    Station("Svalbard", 78.23, 15.39, 450.0, 5.0),
    Station("Punta Arenas", -52.9, -70.9, 30.0, 40.0),
    Station("Mast", 47.0, 8.0, 500.0, -3.0),
    Station("Telescope", 20.7, -156.3, 3_000.0, 80.0),
]


def _fleet() -> list[Elements]:
    """Every kind of orbit: low, sun-synchronous, eccentric, navigation, transfer, stationary, inclined synchronous."""
    epoch_s = START_S - 43_210.987
    low = [from_orbit(f"low{n}", epoch_s, 350 + 70 * n, 4 + 16 * n, raan_deg=47 * n, mean_anomaly_deg=71 * n) for n in range(9)]
    return [
        *low,
        from_orbit("sso", epoch_s, 500, sun_synchronous_inclination_deg(500), ltan_h=10.5, bstar=1e-4),
        from_orbit("leaning", epoch_s, 900, 63.4, eccentricity=0.04),
        from_orbit("molniya", epoch_s, 20_180, 63.4, eccentricity=0.72, arg_perigee_deg=270, raan_deg=100),
        from_orbit("transfer", epoch_s, 18_000, 7, eccentricity=0.72, raan_deg=30),
        from_orbit("gps", epoch_s, 20_180, 55, raan_deg=200),
        from_orbit("geo", epoch_s, 35_786, 0.05, mean_anomaly_deg=130),
        from_orbit("tundra", epoch_s, 35_786, 63.4, eccentricity=0.27, arg_perigee_deg=270),
        from_orbit("high low", epoch_s, 2_500, 80, raan_deg=60),
    ]


def _by_pair(passes: list[Pass]) -> dict[tuple[str, str], list[Pass]]:
    out: dict[tuple[str, str], list[Pass]] = {}
    for one in sorted(passes, key=lambda p: p.aos_s):
        out.setdefault((one.satellite, one.station), []).append(one)
    return out


def _table(elements: list[Elements], stations: list[Station], *more: float, **options: object) -> list[Pass]:
    table = fleet_passes(elements, stations, *more, **options)  # type: ignore[arg-type]
    return table.passes([e.name for e in elements], [s.name for s in stations])


@pytest.mark.parametrize("engine", ["sgp4", "astroz"])
def test_the_same_passes_as_satellite_by_satellite(engine: str) -> None:
    """`find_passes` looks every minute by SGP4 alone; every kind of orbit, masks from -3 to 80 degrees."""
    fleet, end_s = _fleet(), START_S + 2.5 * DAY_S
    mine = _by_pair(_table(fleet, STATIONS, START_S, end_s, engine=engine))
    theirs = _by_pair([p for one in fleet for p in find_passes(one, STATIONS, START_S, end_s)])
    assert mine.keys() == theirs.keys()
    assert sum(map(len, theirs.values())) > 700
    for pair, wanted in theirs.items():
        got = mine[pair]
        assert len(got) == len(wanted), pair
        for one, other in zip(got, wanted, strict=True):
            assert one.aos_s == pytest.approx(other.aos_s, abs=1e-4)
            assert one.los_s == pytest.approx(other.los_s, abs=1e-4)
            assert one.max_elevation_deg == pytest.approx(other.max_elevation_deg, abs=2e-5)
            assert one.aos_azimuth_deg == pytest.approx(other.aos_azimuth_deg, abs=0.02)
            assert one.los_azimuth_deg == pytest.approx(other.los_azimuth_deg, abs=0.02)
            if pair[0] != "geo":  # it does not culminate
                assert one.tca_s == pytest.approx(other.tca_s, abs=0.05)


def test_grazing_passes_on_either_side_of_the_mask() -> None:
    """A mask a ten-thousandth of a degree under each culmination lets the pass through, one above it does not.

    The culminations are those of the slow search; such a pass lasts a second, in steps of 200.
    """
    low = [e for e in _fleet() if e.name.startswith(("low", "sso", "gps", "transfer"))]
    end_s = START_S + DAY_S
    whole = [p for one in low for p in find_passes(one, STATIONS[:3], START_S, end_s)]
    whole = [p for p in whole if START_S + 60 < p.tca_s < end_s - 60 and 5 < p.max_elevation_deg < 85][:160:2]
    by_name = {s.name: s for s in STATIONS}
    for shift_deg, found in ((-1e-4, True), (1e-4, False)):
        masked = [
            replace(by_name[p.station], name=str(n), min_elevation_deg=p.max_elevation_deg + shift_deg)
            for n, p in enumerate(whole)
        ]
        table = _table(low, masked, START_S, end_s, engine="sgp4")
        for n, one in enumerate(whole):
            near = [p for p in table if p.station == str(n) and p.satellite == one.satellite and abs(p.tca_s - one.tca_s) < 30]
            assert len(near) == found, (one, shift_deg)
            if found:
                assert near[0].aos_s < near[0].tca_s < near[0].los_s
                assert near[0].tca_s == pytest.approx(one.tca_s, abs=1.0)


def _skyfield_time(ts: object, times_s: np.ndarray | float) -> Any:
    day = datetime.fromtimestamp(START_S, UTC)
    return ts.utc(day.year, day.month, day.day, 0, 0, times_s - START_S)  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [10, pytest.param(120, marks=pytest.mark.slow)])
def test_random_orbits_and_stations(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eccentricities to 0.75, perigees to 36,000 km, masks from -2 to 85 degrees, against a look each 20 seconds."""
    monkeypatch.setattr(passes, "STEP_S", 20.0)
    rng = np.random.default_rng(11)
    masks = rng.choice([-2.0, 0.0, 5.0, 10.0, 20.0, 45.0, 70.0, 85.0], 24)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 24))), rng.uniform(-180, 180, 24)
    stations = [Station(str(n), lat[n], lon[n], 100.0 * n, masks[n]) for n in range(24)]
    fleet = []
    for n in range(count):
        e = [0.0, rng.uniform(0, 0.05), rng.uniform(0.05, 0.75), rng.uniform(0, 0.3)][n % 4]
        height_km = (6_378 + rng.uniform(250, [1_500, 1_500, 2_000, 36_000][n % 4])) / (1 - e) - 6_378.137
        raan, perigee, anomaly = rng.uniform(0, 360, 3)
        angles = {"raan_deg": raan, "arg_perigee_deg": perigee, "mean_anomaly_deg": anomaly}
        epoch_s = START_S + rng.uniform(-1e5, 1e5)
        fleet.append(from_orbit(str(n), epoch_s, height_km, rng.uniform(0, 180), eccentricity=e, **angles))
    end_s = START_S + 0.7 * DAY_S
    mine = _by_pair(_table(fleet, stations, START_S, end_s))
    theirs = _by_pair([p for one in fleet for p in find_passes(one, stations, START_S, end_s)])
    assert mine.keys() == theirs.keys()
    for pair, wanted in theirs.items():
        assert len(mine[pair]) == len(wanted), pair
        for name in ("aos_s", "los_s"):
            got = [getattr(p, name) for p in mine[pair]]
            np.testing.assert_allclose(got, [getattr(p, name) for p in wanted], rtol=0, atol=1e-4)


class _Skyfield:
    """The peer, in its own frames and with its own UT1."""

    def __init__(self, elements: Elements, station: Station, ts: object) -> None:
        self._ts = ts
        self._satellite = EarthSatellite.from_satrec(elements.satrec(), ts)
        self._place = wgs84.latlon(station.latitude_deg, station.longitude_deg, station.altitude_m)
        self._mask_deg = station.min_elevation_deg

    def above_deg(self, times_s: np.ndarray) -> np.ndarray:
        t = _skyfield_time(self._ts, times_s)
        return (self._satellite - self._place).at(t).altaz()[0].degrees - self._mask_deg


@pytest.mark.parametrize("pole", [(0.0, 0.0), (0.23, 0.41)])
def test_edges_are_crossings_in_skyfields_frames(pole: tuple[float, float]) -> None:
    """With UT1 and pole as skyfield has them, its elevation changes sign within 1 ms of every AOS and LOS."""
    ts = load.timescale(builtin=True)
    ts.polar_motion_table = np.array([2.4e6, 2.5e6]), np.full(2, pole[0]), np.full(2, pole[1])
    dut1_s = float(_skyfield_time(ts, START_S + DAY_S / 2).dut1)
    fleet = [e for e in _fleet() if e.name in ("low1", "low6", "sso", "molniya", "gps")]
    stations = STATIONS[:4]
    earth = EarthOrientation(dut1_s, *pole)
    table = fleet_passes(fleet, stations, START_S, START_S + DAY_S, earth=earth)
    assert len(table) > 60
    for n in range(len(table)):
        peer = _Skyfield(fleet[table.satellite_index[n]], stations[table.station_index[n]], ts)
        for edge_s, rises, cut in ((table.aos_s[n], True, 1), (table.los_s[n], False, 2)):
            if not table.clipped[n] & cut:
                before, after = peer.above_deg(np.array([edge_s - 1e-3, edge_s + 1e-3]))
                assert (before < 0 < after) if rises else (before > 0 > after)


def test_a_pass_under_way_is_clipped_and_says_so() -> None:
    one = from_orbit("sso", START_S, 500, 97.4)
    whole = fleet_passes([one], STATIONS[:3], START_S, START_S + DAY_S)
    n = int(np.argmax(whole.duration_s))
    aos_s, tca_s, los_s = whole.aos_s[n], whole.tca_s[n], whole.los_s[n]
    station = [STATIONS[whole.station_index[n]]]
    late = fleet_passes([one], station, aos_s + 50.0, los_s + 600.0)
    assert (late.aos_s[0], late.clipped[0]) == (aos_s + 50.0, 1)
    assert late.tca_s[0] == pytest.approx(tca_s, abs=0.01)
    both = fleet_passes([one], station, tca_s + 10.0, tca_s + 60.0)
    assert (both.aos_s[0], both.tca_s[0], both.los_s[0], both.clipped[0]) == (tca_s + 10.0, tca_s + 10.0, tca_s + 60.0, 3)
    early = fleet_passes([one], station, aos_s - 600.0, tca_s - 20.0)
    assert (early.los_s[-1], early.tca_s[-1], early.clipped[-1]) == (tca_s - 20.0, tca_s - 20.0, 2)
    assert len(fleet_passes([one], station, los_s + 1.0, los_s + 30.0)) == 0


def test_a_skyline_cuts_passes() -> None:
    """Behind a hill in the east nothing is seen: by brute force, twice a second, and the same from both searches."""
    profile = ((0.0, 3.0), (60.0, 5.0), (80.0, 35.0), (130.0, 28.0), (150.0, 5.0), (250.0, 12.0))
    hill = Station("hill", 47.0, 8.0, 500.0, 5.0, horizon=profile)
    fleet, end_s = [e for e in _fleet() if e.name in ("low2", "sso", "low5")], START_S + DAY_S
    table = fleet_passes(fleet, [*STATIONS[:2], hill], START_S, end_s)
    assert np.all(np.diff(table.aos_s) >= 0)
    from orbitloop.orbit.passes import look_angles

    times_s = np.arange(START_S, end_s, 0.5)
    shown = 0
    for n, one in enumerate(fleet):
        elevation, azimuth, _ = look_angles(one, hill, times_s)
        around = np.array([(a - 360.0, e) for a, e in profile] + list(profile) + [(a + 360.0, e) for a, e in profile])
        seen = elevation > np.maximum(5.0, np.interp(azimuth, around[:, 0], around[:, 1]))
        mine = table.take((table.station_index == 2) & (table.satellite_index == n))
        inside = np.zeros(times_s.size, bool)
        for aos_s, los_s in zip(mine.aos_s, mine.los_s, strict=True):
            inside |= (times_s > aos_s) & (times_s < los_s)
        assert np.count_nonzero(inside != seen) == 0
        single = find_passes(one, [hill], START_S, end_s)
        np.testing.assert_allclose([p.aos_s for p in single], mine.aos_s, rtol=0, atol=3e-4)
        np.testing.assert_allclose([p.los_s for p in single], mine.los_s, rtol=0, atol=3e-4)
        np.testing.assert_allclose([p.max_elevation_deg for p in single], mine.max_elevation_deg, rtol=0, atol=1e-3)
        shown += len(mine)
    open_sky = fleet_passes(fleet, [replace(hill, horizon=())], START_S, end_s)
    assert float(table.take(table.station_index == 2).duration_s.sum()) < 0.9 * float(open_sky.duration_s.sum())
    assert shown > 8


def test_blocks_and_workers_change_nothing() -> None:
    fleet, end_s = _fleet(), START_S + 0.6 * DAY_S
    whole = fleet_passes(fleet, STATIONS, START_S, end_s, engine="sgp4")
    for options in ({"max_bytes": 200_000}, {"workers": 3, "max_bytes": 100_000}):
        parts = list(pass_blocks(fleet, STATIONS, START_S, end_s, engine="sgp4", **options))  # type: ignore[arg-type]
        assert len(parts) > 5
        again = fleet_passes(fleet, STATIONS, START_S, end_s, engine="sgp4", **options)  # type: ignore[arg-type]
        assert sum(map(len, parts)) == len(whole)
        for name in ("satellite_index", "station_index", "aos_s", "tca_s", "los_s", "max_elevation_deg", "clipped"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_who_cannot_be_propagated_is_named_and_the_others_are_served() -> None:
    falling = from_orbit("falling", START_S, 150, 51.6, bstar=0.5)
    refused = Elements("refused", 0, START_S, 1e-5, 0.1, 0, 0, 0, 0)
    good = from_orbit("good", START_S, 500, 60)
    table = fleet_passes([refused, good, falling], STATIONS[:2], START_S, START_S + DAY_S)
    alone = fleet_passes([good], STATIONS[:2], START_S, START_S + DAY_S)
    np.testing.assert_array_equal(table.take(table.satellite_index == 1).aos_s, alone.aos_s)
    (first, first_s), (second, second_s) = table.lost
    assert (first, first_s, second) == (0, START_S, 2)
    assert START_S < second_s < START_S + DAY_S
    assert np.all(table.take(table.satellite_index == 2).los_s <= second_s)


def test_one_by_one_is_the_same_table() -> None:
    fleet, end_s = _fleet()[:3], START_S + DAY_S
    slow, fast = passes_one_by_one(fleet, STATIONS, START_S, end_s), fleet_passes(fleet, STATIONS, START_S, end_s)
    assert len(slow) == len(fast) > 20
    for name in ("satellite_index", "station_index", "clipped"):
        np.testing.assert_array_equal(getattr(slow, name), getattr(fast, name))
    np.testing.assert_allclose(slow.aos_s, fast.aos_s, rtol=0, atol=1e-4)
    assert len(passes_one_by_one(fleet, [], START_S, end_s)) == 0


def test_nothing_to_search() -> None:
    one = from_orbit("one", START_S, 500, 60)
    for empty in (
        fleet_passes([], STATIONS, START_S, START_S + 1),
        fleet_passes([one], [], START_S, START_S + 1),
        fleet_passes([one], STATIONS, START_S, START_S),
    ):
        assert isinstance(empty, PassTable)
        assert len(empty) == 0
        assert empty.passes(["one"], []) == []


def test_without_numba_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orbitloop.orbit.kernels", None)
    monkeypatch.delattr("orbitloop.orbit.kernels", raising=False)
    with pytest.raises(ElementsError, match=r"orbitloop\[space\]"):
        fleet_passes([from_orbit("one", START_S, 500, 60)], STATIONS, START_S, START_S + 60)


def test_the_kernels_sidereal_time_is_the_frames() -> None:
    times_s = np.linspace(0.0, 4e9, 401)
    np.testing.assert_allclose([kernels.gmst(t) for t in times_s], gmst_rad(times_s), rtol=0, atol=1e-9)


def test_steps_follow_the_fastest_part_of_an_orbit() -> None:
    steps = {one.name: grid_step_s(one) for one in _fleet()}
    assert steps["geo"] == pytest.approx(960.0)
    assert 180 < steps["sso"] < 240
    assert steps["molniya"] < steps["gps"] / 3
