from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.clock import parse_utc_s
from orbitloop.errors import LinkError
from orbitloop.orbit.elements import from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.link_budget import LinkRates
from orbitloop.orbit.passes import Pass, Station, find_passes, look_angles
from orbitloop.orbit.plan import PlanSettings, contact_plan, share_out
from orbitloop.records.contact import ContactPlan

EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")
INCLINATION = sun_synchronous_inclination_deg(500)
FLEET = {f"sat-{k}": from_orbit("any", EPOCH_S, 500, INCLINATION, ltan_h=10.5, mean_anomaly_deg=4.0 * k) for k in range(3)}
STATIONS = [Station("Beijing", 39.9, 116.4), Station("Tianjin", 39.1, 117.2), Station("Kashi", 39.5, 76.0)]
RATES = {name: LinkRates(100e6, 1e6, ((10.0, 0.3), (30.0, 1.0))) for name in FLEET}


def _pass(satellite: str, station: str, aos_s: float, los_s: float, top_deg: float) -> Pass:
    return Pass(satellite, station, aos_s, (aos_s + los_s) / 2, los_s, top_deg, 0.0, 180.0)


HERE = {name: Station(name, 0.0, 0.0) for name in "XYZ"}
LINKS = {(a, b): LinkRates(8.0, 8.0) for a in "abc" for b in "XYZ"}
ORBITS = dict.fromkeys("abc", FLEET["sat-0"])


def _spans(
    passes: list[Pass], least_s: float = 0.0, stations: dict[str, Station] = HERE
) -> list[tuple[str, str, float, float]]:
    settings = PlanSettings(min_contact_s=least_s)
    given_out = share_out(passes, ORBITS, stations, LINKS, 0.0, 1000.0, 0.0, settings)
    return [(a.source.satellite, a.source.station, a.start_s, a.end_s) for a in given_out]


def test_nothing_contested_is_nothing_changed() -> None:
    passes = [_pass("a", "X", 0.25, 99.5, 70), _pass("b", "Y", 20.125, 80.5, 30), _pass("a", "Y", 99.5, 150.75, 20)]
    assert _spans(passes) == [("a", "X", 0.25, 99.5), ("b", "Y", 20.125, 80.5), ("a", "Y", 99.5, 150.75)]


def test_contested_time_is_used_once_and_whole() -> None:
    spans = _spans([_pass("a", "X", 0, 100, 30), _pass("a", "Y", 60, 180, 70)])
    assert (min(s[2] for s in spans), max(s[3] for s in spans)) == (0, 180)
    assert sum(s[3] - s[2] for s in spans) == 180


def test_one_antenna_serves_one_satellite() -> None:
    both = [_pass("a", "X", 0, 100, 50), _pass("b", "X", 50, 150, 40)]
    spans = _spans(both)
    assert spans[0][3] <= spans[1][2]
    assert sum(s[3] - s[2] for s in spans) == 150
    two = {"X": Station("X", 0.0, 0.0, antennas=2)}
    assert _spans(both, stations=two) == [("a", "X", 0, 100), ("b", "X", 50, 150)]


def test_set_up_time_is_kept() -> None:
    slow = {"X": Station("X", 0.0, 0.0, setup_s=30.0)}
    spans = _spans([_pass("a", "X", 0, 100, 50), _pass("b", "X", 110, 210, 40)], stations=slow)
    assert spans[0][3] + 30 <= spans[1][2]
    assert sum(s[3] - s[2] for s in spans) == 180


def test_short_pieces_are_dropped() -> None:
    close = [_pass("a", "X", 0, 100, 50), _pass("a", "Y", 95, 109, 40)]
    assert all(end_s - start_s >= 12 for _, _, start_s, end_s in _spans(close, 12.0))
    assert _spans([_pass("a", "X", 0, 10, 50)], 12.0) == []


_passes = st.lists(
    st.builds(
        lambda sat, sta, aos, length, top: _pass(sat, sta, aos, aos + length, top),
        st.sampled_from("abc"),
        st.sampled_from("XYZ"),
        st.integers(0, 500),
        st.integers(1, 200),
        st.integers(10, 90),
    ),
    max_size=12,
    unique_by=lambda p: (p.satellite, p.station),
)


@settings(max_examples=30, deadline=None)
@given(_passes)
def test_nobody_is_in_two_places(passes: list[Pass]) -> None:
    by_pair = {(p.satellite, p.station): p for p in passes}
    spans = _spans(passes)
    for (sat, sta, start_s, end_s), other in itertools.combinations(spans, 2):
        shared = sat == other[0] or sta == other[1]
        assert not shared or end_s <= other[2] or other[3] <= start_s
    for sat, sta, start_s, end_s in spans:
        assert by_pair[sat, sta].aos_s <= start_s < end_s <= by_pair[sat, sta].los_s
    if passes:
        assert sum(end_s - start_s for _, _, start_s, end_s in spans) >= max(p.duration_s for p in passes)


def test_plan_of_a_fleet() -> None:
    plan = contact_plan(FLEET, STATIONS, RATES, EPOCH_S, EPOCH_S + 86400, guard_s=5.0)
    windows = plan.windows
    assert len(windows) >= 8
    assert list(windows) == sorted(windows, key=lambda w: w.aos_s)
    assert {w.satellite for w in windows} == set(FLEET)
    by_name = {s.name: s for s in STATIONS}
    for w in windows:
        assert w.duration_s > 10
        assert 0 < w.downlink_bytes < 100e6 / 8 * (w.duration_s - 10)
        assert w.uplink_bytes == pytest.approx(w.downlink_bytes / 100, abs=1)
        elevation = look_angles(FLEET[w.satellite], by_name[w.station], [w.aos_s + 0.01, w.los_s - 0.01])[0]
        assert (elevation > 9.99).all()
        assert w.max_elevation_deg >= elevation.max() - 0.1
    for a, b in itertools.combinations(windows, 2):
        shared = a.satellite == b.satellite or a.station == b.station
        assert not shared or a.los_s <= b.aos_s or b.los_s <= a.aos_s
    assert ContactPlan(windows).after(EPOCH_S, "sat-1") in windows


def test_plan_of_one_is_its_passes() -> None:
    station = STATIONS[:1]
    plan = contact_plan({"one": FLEET["sat-0"]}, station, {"Beijing": LinkRates(8.0, 8.0)}, EPOCH_S, EPOCH_S + 86400, 0.0)
    passes = find_passes(FLEET["sat-0"], station, EPOCH_S, EPOCH_S + 86400)
    assert [(w.satellite, w.aos_s, w.los_s, w.max_elevation_deg) for w in plan.windows] == [
        ("one", p.aos_s, p.los_s, p.max_elevation_deg) for p in passes
    ]
    assert [w.downlink_bytes for w in plan.windows] == [int(p.duration_s) for p in passes]


def test_stations_rates_hold_over_satellites() -> None:
    rates = {"sat-0": LinkRates(8.0, 8.0), "Beijing": LinkRates(16.0, 8.0)}
    plan = contact_plan({"sat-0": FLEET["sat-0"]}, STATIONS[:1], rates, EPOCH_S, EPOCH_S + 86400)
    assert all(w.downlink_bytes == pytest.approx(2 * w.uplink_bytes, abs=1) for w in plan.windows)


def test_plan_errors() -> None:
    with pytest.raises(LinkError, match="no link rates"):
        contact_plan(FLEET, STATIONS, {}, EPOCH_S, EPOCH_S + 86400)
    with pytest.raises(LinkError, match="same name"):
        contact_plan(FLEET, [*STATIONS, STATIONS[0]], RATES, EPOCH_S, EPOCH_S + 86400)


def test_plan_is_deterministic() -> None:
    day = (EPOCH_S, EPOCH_S + 43200)
    assert contact_plan(FLEET, STATIONS, RATES, *day) == contact_plan(
        dict(reversed(FLEET.items())), STATIONS[::-1], RATES, *day
    )
