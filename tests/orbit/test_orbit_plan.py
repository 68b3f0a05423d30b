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
from orbitloop.orbit.plan import allot, contact_plan
from orbitloop.records.contact import ContactPlan

EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")
INCLINATION = sun_synchronous_inclination_deg(500)
FLEET = {f"sat-{k}": from_orbit("any", EPOCH_S, 500, INCLINATION, ltan_h=10.5, mean_anomaly_deg=4.0 * k) for k in range(3)}
STATIONS = [Station("Beijing", 39.9, 116.4), Station("Tianjin", 39.1, 117.2), Station("Kashi", 39.5, 76.0)]
RATES = {name: LinkRates(100e6, 1e6, ((10.0, 0.3), (30.0, 1.0))) for name in FLEET}


def _pass(satellite: str, station: str, aos_s: float, los_s: float, top_deg: float) -> Pass:
    return Pass(satellite, station, aos_s, (aos_s + los_s) / 2, los_s, top_deg, 0.0, 180.0)


def _spans(passes: list[Pass], least_s: float = 0.0) -> list[tuple[str, str, float, float]]:
    return [(a.source.satellite, a.source.station, a.start_s, a.end_s) for a in allot(passes, least_s)]


def test_higher_keeps_its_time_lower_is_clipped() -> None:
    assert _spans([_pass("a", "X", 0, 100, 30), _pass("a", "Y", 60, 180, 70)]) == [("a", "X", 0, 60), ("a", "Y", 60, 180)]


def test_lower_inside_higher_is_dropped() -> None:
    assert _spans([_pass("a", "X", 0, 100, 70), _pass("a", "Y", 20, 80, 30)]) == [("a", "X", 0, 100)]


def test_higher_inside_lower_leaves_the_longer_side() -> None:
    assert _spans([_pass("a", "X", 0, 100, 30), _pass("a", "Y", 20, 50, 80)]) == [("a", "Y", 20, 50), ("a", "X", 50, 100)]


def test_one_antenna_serves_one_satellite() -> None:
    assert _spans([_pass("a", "X", 0, 100, 50), _pass("b", "X", 50, 150, 40)]) == [("a", "X", 0, 100), ("b", "X", 100, 150)]
    assert _spans([_pass("a", "X", 0, 100, 50), _pass("b", "Y", 50, 150, 40)]) == [("a", "X", 0, 100), ("b", "Y", 50, 150)]


def test_ties_and_short_pieces() -> None:
    tie = [_pass("b", "X", 0, 100, 50), _pass("a", "X", 0, 100, 50)]
    assert _spans(tie) == _spans(tie[::-1]) == [("a", "X", 0, 100)]
    close = [_pass("a", "X", 0, 100, 50), _pass("a", "Y", 50, 109, 40)]
    assert _spans(close, 10.0) == [("a", "X", 0, 100)]
    assert _spans(close, 8.0)[1] == ("a", "Y", 100, 109)


_passes = st.lists(
    st.builds(
        lambda sat, sta, aos, length, top: _pass(sat, sta, aos, aos + length, top),
        st.sampled_from("abc"),
        st.sampled_from("XYZ"),
        st.integers(0, 500),
        st.integers(1, 200),
        st.integers(10, 90),
    ),
    max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(_passes)
def test_nobody_is_in_two_places(passes: list[Pass]) -> None:
    given_out = allot(passes)
    for a, b in itertools.combinations(given_out, 2):
        shared = a.source.satellite == b.source.satellite or a.source.station == b.source.station
        assert not shared or a.end_s <= b.start_s or b.end_s <= a.start_s
    for a in given_out:
        assert a.source.aos_s <= a.start_s < a.end_s <= a.source.los_s
    if passes:
        best = max(passes, key=lambda p: (p.max_elevation_deg, -p.aos_s))
        assert any(a.source.max_elevation_deg == best.max_elevation_deg and a.end_s - a.start_s > 0 for a in given_out)


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
