"""Silence in passes: against the formula on paper, against a simulation, and for what it must not do."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from orbitloop.algorithms.health.beacons import BeaconMonitor, BeaconSettings, PassOutcome, Verdict
from orbitloop.errors import TelemetryError

HOUR = 3600.0
NEVER = BeaconSettings(outages_per_year=1e-6, prior_weight=1e9)


def miss(n: int, satellite: str = "a", station: str = "s", elevation: float = 50.0) -> PassOutcome:
    return PassOutcome(satellite, station, n * HOUR, elevation, heard=False)


def test_phi_is_the_sum_over_the_missed_passes() -> None:
    monitor = BeaconMonitor(["a"], ["s"], 3650, NEVER)
    monitor.take(PassOutcome("a", "s", 0.0, 50.0, heard=True))
    states = [
        monitor.take(miss(1, elevation=50.0)),
        monitor.take(miss(2, elevation=20.0)),
        monitor.take(miss(3, elevation=12.0)),
    ]
    expected = -math.log10(1 - 0.97) - math.log10(1 - 0.93) - math.log10(1 - 0.85)
    assert states[-1].phi == pytest.approx(expected, rel=1e-3)
    assert states[-1].missed == 3
    assert monitor.take(PassOutcome("a", "s", 5 * HOUR, 50.0, heard=True)).phi == 0.0


def test_thresholds_come_from_the_wished_rates() -> None:
    monitor = BeaconMonitor(["a"], ["s"], 3650, BeaconSettings(suspected_per_year=0.5, failed_per_year=0.02))
    assert monitor.suspected_phi == pytest.approx(math.log10(3650 / 0.5))
    assert monitor.failed_phi == pytest.approx(math.log10(3650 / 0.02))


def test_verdicts_rise_and_the_first_word_ends_them() -> None:
    monitor = BeaconMonitor(["a"], ["s", "t", "u"], 3650)
    seen = []
    for n in range(14):
        seen.append(monitor.take(miss(n, station="stu"[n % 3])).verdict)
    assert seen[0] is Verdict.ALIVE
    assert seen[-1] is Verdict.FAILED
    assert Verdict.SUSPECTED in seen
    assert monitor.take(PassOutcome("a", "t", 20 * HOUR, 40.0, heard=True)).verdict is Verdict.ALIVE


def test_a_failed_station_accuses_no_satellite() -> None:
    names = [f"sat{n}" for n in range(6)]
    monitor = BeaconMonitor(names, ["dark", "bright"], 3650)
    for n in range(200):
        name = names[n % 6]
        monitor.take(PassOutcome(name, "bright", n * 600.0, 40.0, heard=n % 50 != 0))
        monitor.take(PassOutcome(name, "dark", n * 600.0 + 300, 40.0, heard=n < 60))
    assert all(monitor.verdict(name) is Verdict.ALIVE for name in names)
    assert monitor.station_up("dark") < 0.05
    assert monitor.station_up("bright") > 0.9


def test_one_station_alone_does_not_condemn_its_satellite_at_once() -> None:
    """Three stations that all miss say more than one station that misses as often: it may be down itself."""
    alone, many = BeaconMonitor(["a"], ["s"], 3650), BeaconMonitor(["a"], ["s", "t", "u"], 3650)
    for n in range(4):
        one, three = alone.take(miss(n)), many.take(miss(n, station="stu"[n % 3]))
    assert one.phi < 0.75 * three.phi
    for n in range(4, 120):
        one = alone.take(miss(n))
    assert one.verdict is Verdict.FAILED  # five days of it are no outage any more


def test_a_dead_satellite_does_not_accuse_its_stations() -> None:
    monitor = BeaconMonitor(["dead", "well"], ["s"], 3650)
    for n in range(60):
        monitor.take(PassOutcome("well", "s", n * HOUR, 40.0, heard=True))
        monitor.take(PassOutcome("dead", "s", n * HOUR + 60, 40.0, heard=False))
    assert monitor.verdict("dead") is Verdict.FAILED
    assert monitor.station_up("s") > 0.9
    assert monitor.probability("s", 40.0) > 0.9


def test_history_teaches_how_often_a_station_hears() -> None:
    rng = np.random.default_rng(1)
    monitor = BeaconMonitor(["a", "b"], ["s"], 3650)
    for n in range(3000):
        monitor.take(PassOutcome("ab"[n % 2], "s", n * HOUR, 40.0, heard=bool(rng.random() > 0.25)))
    assert monitor.probability("s", 40.0) == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize("chance", [0.05, 0.2])
def test_false_suspicions_stay_under_the_wished_rate(chance: float) -> None:
    rng = np.random.default_rng(11)
    monitor = BeaconMonitor(["a", "b"], ["s", "t"], 3650, BeaconSettings(suspected_per_year=2.0, failed_per_year=0.1))
    years, count = 8, 0
    for n in range(2 * 3650 * years // 2):
        heard = bool(rng.random() >= chance)
        state = monitor.take(PassOutcome("ab"[n % 2], "st"[n // 2 % 2], n * 0.5 * 8766 / 3650 * HOUR * 2, 40.0, heard))
        count += state.changed and state.verdict is Verdict.SUSPECTED
    assert count <= 2.0 * years + 3 * math.sqrt(2.0 * years)


def test_a_pass_that_nobody_listened_to_says_nothing() -> None:
    monitor = BeaconMonitor(["a"], ["s"], 3650)
    state = monitor.take(PassOutcome("a", "s", 0.0, 40.0, heard=False, tried=False))
    assert (state.phi, state.missed) == (0.0, 0)


def test_order_and_names_are_checked() -> None:
    monitor = BeaconMonitor(["a"], ["s"], 3650)
    monitor.take(miss(5))
    with pytest.raises(TelemetryError, match="order of time"):
        monitor.take(miss(4))
    with pytest.raises(TelemetryError, match="not watched"):
        monitor.take(miss(6, satellite="x"))


def test_state_survives_a_reboot_and_damage_is_refused() -> None:
    def fresh() -> BeaconMonitor:
        return BeaconMonitor(["a", "b"], ["s", "t"], 3650)

    rng = np.random.default_rng(2)
    passes = [
        PassOutcome("ab"[int(rng.integers(2))], "st"[int(rng.integers(2))], n * HOUR, 35.0, bool(rng.random() > 0.3))
        for n in range(120)
    ]
    whole, cut = fresh(), fresh()
    for n, one in enumerate(passes):
        if n == 50:
            state = json.loads(json.dumps(cut.to_json()))
            cut = fresh()
            cut.restore(state)
        assert cut.take(one) == whole.take(one)
    good = whole.to_json()
    for key in good:
        for value in (None, 3, "x", [], {"dtype": "<f8", "shape": [2, 2], "data": "AAAA"}):
            if key == "at_s" and value in (None, 3):
                continue
            with pytest.raises(TelemetryError):
                fresh().restore(good | {key: value})
