from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sgp4.exporter import export_tle
from skyfield.api import EarthSatellite, load, wgs84

from orbitloop.clock import parse_utc_s
from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements, from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.formats.tle import parse_tle
from orbitloop.orbit.passes import Pass, Station, find_passes, look_angles

SSO_EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")
SSO = from_orbit("sso", SSO_EPOCH_S, 500, sun_synchronous_inclination_deg(500), ltan_h=10.5, norad_id=90001)
BEIJING, SANYA, KASHI = Station("Beijing", 39.9, 116.4), Station("Sanya", 18.3, 109.5), Station("Kashi", 39.5, 76.0)
SVALBARD = Station("Svalbard", 78.23, 15.39, 450.0, 5.0)
STATIONS = [BEIJING, SANYA, KASHI, SVALBARD]

TLES = {
    "ISS": (
        "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991",
        "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482",
    ),
    "VANGUARD 1": (
        "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753",
        "2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667",
    ),
    "SSO": export_tle(SSO.satrec()),
}
TAI_UTC_S = {"ISS": 37, "VANGUARD 1": 32, "SSO": 37}


class _Skyfield:
    """The peer: elevation by skyfield, with its UT1 held at UTC, as ours is."""

    def __init__(self, name: str, station: Station) -> None:
        self._ts = load.timescale(delta_t=32.184 + TAI_UTC_S[name], builtin=True)
        self._satellite = EarthSatellite(*TLES[name], name, self._ts)
        self._place = wgs84.latlon(station.latitude_deg, station.longitude_deg, station.altitude_m)
        self._mask_deg = station.min_elevation_deg

    def above_deg(self, times_s: np.ndarray) -> np.ndarray:
        day_s = float(times_s[0]) // 86400 * 86400
        day = datetime.fromtimestamp(day_s, UTC)
        t = self._ts.utc(day.year, day.month, day.day, 0, 0, times_s - day_s)
        return (self._satellite - self._place).at(t).altaz()[0].degrees - self._mask_deg

    def crossings_s(self, near_s: np.ndarray) -> np.ndarray:
        """Solve the peer's own crossings within 5 s by bisection."""
        low, high = near_s - 5.0, near_s + 5.0
        up = self.above_deg(high) > 0
        assert np.all((self.above_deg(low) > 0) != up)
        for _ in range(18):
            middle = (low + high) / 2
            right = (self.above_deg(middle) > 0) == up
            low, high = np.where(right, low, middle), np.where(right, middle, high)
        return (low + high) / 2


@pytest.mark.parametrize("name", sorted(TLES))
def test_against_skyfield(name: str) -> None:
    """Same passes, and AOS and LOS within 1 ms of skyfield's own crossings."""
    elements = parse_tle(*TLES[name], name)
    start_s, end_s = elements.epoch_s, elements.epoch_s + 86400.0
    passes = find_passes(elements, STATIONS, start_s, end_s)
    worst_s, checked = 0.0, 0
    for station in STATIONS:
        peer = _Skyfield(name, station)
        mine = [p for p in passes if p.station == station.name]
        visible = peer.above_deg(np.arange(start_s, end_s, 20.0)) > 0
        rises = np.count_nonzero(visible[1:] & ~visible[:-1]) + int(visible[0])
        assert rises == len([p for p in mine if p.duration_s > 20.0])
        if not mine:
            continue
        edges = np.array([e for p in mine for e in (p.aos_s, p.los_s) if start_s < e < end_s])
        worst_s = max(worst_s, float(np.abs(peer.crossings_s(edges) - edges).max()))
        checked += edges.size
        top = peer.above_deg(np.array([p.tca_s for p in mine])) + station.min_elevation_deg
        np.testing.assert_allclose([p.max_elevation_deg for p in mine], top, atol=1e-3)
    assert checked > 10
    assert worst_s < 0.001


def _passes_are_what_they_say(elements: Elements, station: Station, passes: list[Pass]) -> None:
    aos, tca, los = (np.array([getattr(p, f) for p in passes]) for f in ("aos_s", "tca_s", "los_s"))
    mask = station.min_elevation_deg
    assert np.all((aos < tca) & (tca < los))
    for at, sign in ((aos - 0.005, -1), (aos + 0.005, 1), (los - 0.005, 1), (los + 0.005, -1)):
        assert np.all(sign * (look_angles(elements, station, at)[0] - mask) > 0)
    top = look_angles(elements, station, tca)[0]
    for shift in (-0.5, 0.5):
        assert np.all(look_angles(elements, station, tca + shift)[0] < top)
    np.testing.assert_allclose([p.max_elevation_deg for p in passes], top, atol=1e-9)
    np.testing.assert_allclose([p.aos_azimuth_deg for p in passes], look_angles(elements, station, aos)[1], atol=1e-9)


@pytest.mark.parametrize("station", STATIONS, ids=lambda s: s.name)
def test_below_the_mask_outside_above_it_inside(station: Station) -> None:
    passes = find_passes(SSO, [station], SSO_EPOCH_S, SSO_EPOCH_S + 5 * 86400)
    _passes_are_what_they_say(SSO, station, passes)


def test_brute_force_agrees() -> None:
    """A 5 s grid over 5 days sees the same passes and the same seconds."""
    times_s = np.arange(SSO_EPOCH_S, SSO_EPOCH_S + 5 * 86400, 5.0)
    for station in STATIONS:
        seen = look_angles(SSO, station, times_s)[0] > station.min_elevation_deg
        passes = find_passes(SSO, [station], SSO_EPOCH_S, SSO_EPOCH_S + 5 * 86400)
        assert np.count_nonzero(seen[1:] & ~seen[:-1]) + int(seen[0]) == len(passes)
        assert sum(p.duration_s for p in passes) == pytest.approx(np.count_nonzero(seen) * 5.0, abs=5.0 * len(passes))


def test_grazing_passes_are_found() -> None:
    """With the mask raised to just under a culmination, that pass lasts some seconds, between two samples of the grid."""
    end_s = SSO_EPOCH_S + 3 * 86400
    durations = []
    for one in find_passes(SSO, [KASHI, SVALBARD], SSO_EPOCH_S, end_s):
        station = KASHI if one.station == "Kashi" else SVALBARD
        grazed = replace(station, min_elevation_deg=one.max_elevation_deg - 0.003)
        hits = [p for p in find_passes(SSO, [grazed], SSO_EPOCH_S, end_s) if p.aos_s <= one.tca_s <= p.los_s]
        assert len(hits) == 1
        durations.append(hits[0].duration_s)
        _passes_are_what_they_say(SSO, grazed, hits)
    assert min(durations) < 1.0
    assert max(durations) < 60.0


def test_a_pass_under_way_is_clipped() -> None:
    whole = find_passes(SSO, [BEIJING], SSO_EPOCH_S, SSO_EPOCH_S + 86400)[0]
    late = find_passes(SSO, [BEIJING], whole.tca_s + 10, SSO_EPOCH_S + 86400)[0]
    assert (late.aos_s, late.tca_s) == (whole.tca_s + 10, whole.tca_s + 10)
    assert late.los_s == pytest.approx(whole.los_s, abs=1e-3)
    early = find_passes(SSO, [BEIJING], SSO_EPOCH_S, whole.tca_s - 10)[-1]
    assert (early.tca_s, early.los_s) == (whole.tca_s - 10, whole.tca_s - 10)
    assert early.max_elevation_deg < whole.max_elevation_deg


def test_geostationary_is_one_long_pass() -> None:
    still = from_orbit("geo", SSO_EPOCH_S, 35786.0, 0.05, raan_deg=0.0)
    stations = [Station(f"at {k}", 0.0, float(k)) for k in range(-180, 180, 30)]
    passes = find_passes(still, stations, SSO_EPOCH_S, SSO_EPOCH_S + 6 * 3600)
    assert {p.duration_s for p in passes} == {6 * 3600.0}
    assert 4 <= len(passes) <= 6


def test_known_figures() -> None:
    """500 km sun-synchronous over Beijing, Sanya and Kashi at 10 degrees: 8.4 to 9.6 passes a day by phase, median about
    6 minutes, longest 444 s, about 3,140 s a day."""
    per_day, medians, longest, seconds = [], [], [], []
    for k in range(12):
        elements = from_orbit(
            "x", SSO_EPOCH_S, 500, sun_synchronous_inclination_deg(500), raan_deg=30 * k, mean_anomaly_deg=77 * k
        )
        durations = [p.duration_s for p in find_passes(elements, [BEIJING, SANYA, KASHI], SSO_EPOCH_S, SSO_EPOCH_S + 7 * 86400)]
        per_day.append(len(durations) / 7)
        medians.append(np.median(durations))
        longest.append(max(durations))
        seconds.append(sum(durations) / 7)
    assert min(per_day) > 8.2
    assert max(per_day) < 9.8
    assert np.mean(per_day) == pytest.approx(9.0, abs=0.15)
    assert min(medians) > 355
    assert max(medians) < 402
    assert max(longest) == pytest.approx(444, abs=1)
    assert np.mean(seconds) == pytest.approx(3140, abs=40)


def test_order_and_nothing() -> None:
    passes = find_passes(SSO, STATIONS, SSO_EPOCH_S, SSO_EPOCH_S + 86400)
    assert passes == sorted(passes, key=lambda p: p.aos_s)
    assert {p.satellite for p in passes} == {"sso"}
    assert find_passes(SSO, [], SSO_EPOCH_S, SSO_EPOCH_S + 86400) == []
    assert find_passes(SSO, STATIONS, SSO_EPOCH_S, SSO_EPOCH_S) == []


@pytest.mark.parametrize(
    "change",
    [
        {"latitude_deg": 91},
        {"longitude_deg": 400},
        {"altitude_m": 1e6},
        {"min_elevation_deg": 90},
        {"latitude_deg": float("nan")},
    ],
)
def test_impossible_station(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="outside"):
        replace(BEIJING, **change)


def test_decay_in_the_search_is_told() -> None:
    low = from_orbit("low", SSO_EPOCH_S, 180, 51.6, bstar=0.05)
    with pytest.raises(ElementsError, match="decayed"):
        find_passes(low, STATIONS, SSO_EPOCH_S, SSO_EPOCH_S + 60 * 86400)
