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
