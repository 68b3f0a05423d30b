from __future__ import annotations

import numpy as np
import pytest

from orbitloop.clock import parse_utc_s
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.link_budget import LinkRates, capacity_bytes, window_capacity_bytes
from orbitloop.orbit.passes import Station, find_passes, look_angles

EPOCH_S = parse_utc_s("2026-06-01T00:00:00Z")
ORBIT = from_orbit("x", EPOCH_S, 500, 97.4, ltan_h=10.5)
STATION = Station("Beijing", 39.9, 116.4)
PASS = find_passes(ORBIT, [STATION], EPOCH_S, EPOCH_S + 86400)[0]


def test_constant_rate_is_rate_times_time() -> None:
    rates = LinkRates(100e6, 1e6)
    assert window_capacity_bytes(rates, ORBIT, STATION, 1000.0, 1370.0, 5.0) == (360 * 100_000_000 // 8, 45_000_000)
    assert window_capacity_bytes(rates, ORBIT, STATION, 1000.0, 1010.0, 5.0) == (0, 0)
    assert window_capacity_bytes(rates, ORBIT, STATION, 1000.0, 1008.0, 5.0) == (0, 0)


def test_share_is_linear_between_and_flat_outside() -> None:
    rates = LinkRates(8.0, 8.0, ((10.0, 0.2), (30.0, 1.0)))
    np.testing.assert_allclose(rates.share([0, 10, 20, 30, 90]), [0.2, 0.2, 0.6, 1.0, 1.0])
    np.testing.assert_allclose(LinkRates(8.0, 8.0).share([0, 45]), [1, 1])
    assert capacity_bytes(rates, [0.0, 100.0], [10.0, 10.0]) == (20, 20)


def test_by_elevation_against_a_fine_sum() -> None:
    table = ((5.0, 0.1), (20.0, 0.5), (40.0, 1.0))
    rates = LinkRates(600e6, 2e6, table)
    down, up = window_capacity_bytes(rates, ORBIT, STATION, PASS.aos_s, PASS.los_s, 5.0)
    edges = np.linspace(PASS.aos_s + 5, PASS.los_s - 5, 20001)
    middle = (edges[1:] + edges[:-1]) / 2
    share = np.interp(look_angles(ORBIT, STATION, middle)[0], *zip(*table, strict=True)).mean()
    full = (PASS.duration_s - 10) * share
    assert down == pytest.approx(full * 600e6 / 8, rel=1e-4)
    assert up == pytest.approx(full * 2e6 / 8, rel=1e-4)
    assert 0 < down < (PASS.duration_s - 10) * 600e6 / 8


@pytest.mark.parametrize(
    "bad",
    [
        lambda: LinkRates(-1.0, 0.0),
        lambda: LinkRates(0.0, float("nan")),
        lambda: LinkRates(1.0, 1.0, ((10.0, 0.5), (10.0, 0.6))),
        lambda: LinkRates(1.0, 1.0, ((10.0, 1.5),)),
        lambda: LinkRates(1.0, 1.0, ((float("nan"), 0.5),)),
    ],
)
def test_impossible_rates(bad) -> None:
    with pytest.raises(ValueError, match=r"rate|order|outside"):
        bad()


def test_a_table_of_passes_is_worth_the_same_as_pass_by_pass() -> None:
    from orbitloop.orbit.fleet_passes import fleet_passes
    from orbitloop.orbit.link_budget import table_capacity_bytes
    from orbitloop.orbit.propagate import FleetPropagator

    start_s = 1_780_272_000.0
    fleet = [from_orbit(f"s{n}", start_s, 450 + 150 * n, 60 + 10 * n) for n in range(4)]
    stations = [Station("Kiruna", 67.86, 20.96, 400.0, 5.0), Station("Quito", -0.2, -78.5, 2_850.0, 10.0)]
    table = fleet_passes(fleet, stations, start_s, start_s + 43_200.0)
    assert len(table) > 15
    for rates in (LinkRates(1e8, 1e6), LinkRates(1e8, 1e6, ((5.0, 0.1), (20.0, 0.5), (60.0, 1.0)))):
        down, up = table_capacity_bytes(rates, FleetPropagator(fleet), stations, table, 5.0)
        for n in range(len(table)):
            elements, station = fleet[table.satellite_index[n]], stations[table.station_index[n]]
            wanted = window_capacity_bytes(rates, elements, station, table.aos_s[n], table.los_s[n], 5.0)
            assert down[n] == pytest.approx(wanted[0], rel=1e-3, abs=2)
            assert up[n] == pytest.approx(wanted[1], rel=1e-3, abs=2)
