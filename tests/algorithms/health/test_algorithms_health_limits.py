"""Limits against a plain reading of their rules, one channel at a time, and their corner cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.health.limits import ChannelLimits, Level, LimitEvent, LimitMonitor
from orbitloop.errors import TelemetryError


def feed(monitor: LimitMonitor, values: list[float], start_s: float = 0.0) -> list[LimitEvent]:
    return [e for n, value in enumerate(values) for e in monitor.update(np.array([value]), start_s + n)]


def one(**limits: object) -> LimitMonitor:
    return LimitMonitor({"t": ChannelLimits(**limits)})  # type: ignore[arg-type]


def test_a_violation_needs_its_persistence() -> None:
    monitor = one(soft=(0.0, 10.0), hard=(-5.0, 15.0), persistence=3)
    assert feed(monitor, [11, 11, 9, 11, 11]) == []
    (event,) = feed(monitor, [11])
    assert (event.level, event.was, event.reason) == (Level.SOFT, Level.NOMINAL, "soft high")


def test_hysteresis_keeps_a_value_that_sits_on_the_limit() -> None:
    monitor = one(soft=(0.0, 10.0), hysteresis=1.0)
    assert [e.reason for e in feed(monitor, [10.5, 9.5, 10.2, 9.6, 9.0])] == ["soft high", "back"]


def test_hard_steps_down_over_soft_and_says_which_side() -> None:
    monitor = one(soft=(0.0, 10.0), hard=(-5.0, 15.0))
    events = feed(monitor, [-6.0, -1.0, 5.0])
    assert [(e.level, e.reason) for e in events] == [
        (Level.HARD, "hard low"),
        (Level.SOFT, "back"),
        (Level.NOMINAL, "back"),
    ]


def test_the_worst_stays_latched_until_it_is_acknowledged() -> None:
    monitor = one(soft=(0.0, 10.0), hard=(-5.0, 15.0))
    feed(monitor, [20.0, 5.0])
    assert monitor.levels() == {"t": Level.NOMINAL}
    assert monitor.latched() == {"t": Level.HARD}
    monitor.acknowledge("t")
    assert monitor.latched() == {}


def test_an_acknowledged_violation_does_not_latch_itself_again_until_it_gets_worse() -> None:
    monitor = one(soft=(0.0, 10.0), hard=(-5.0, 15.0))
    feed(monitor, [12.0])
    monitor.acknowledge()
    feed(monitor, [12.0, 12.0])
    assert monitor.latched() == {}
    feed(monitor, [16.0])
    assert monitor.latched() == {"t": Level.HARD}


def test_rate_and_stuck() -> None:
    fast = one(max_rate_per_s=2.0)
    assert [e.reason for e in feed(fast, [0.0, 1.0, 5.0, 5.5])] == ["rate", "back"]
    stuck = one(stuck_samples=3)
    assert [e.reason for e in feed(stuck, [1.0, 1.0, 1.0, 1.0, 2.0])] == ["stuck", "back"]


def test_a_rate_counts_seconds_and_not_samples() -> None:
    monitor = one(max_rate_per_s=2.0)
    monitor.update(np.array([0.0]), 0.0)
    assert monitor.update(np.array([30.0]), 20.0) == []  # 1.5 per second


def test_missing_samples_count_neither_way() -> None:
    monitor = one(soft=(0.0, 10.0), persistence=2)
    assert feed(monitor, [11.0, float("nan")]) == []
    assert [e.reason for e in feed(monitor, [11.0])] == ["soft high"]
    assert feed(monitor, [float("nan")] * 5) == []
    assert monitor.levels() == {"t": Level.SOFT}


@pytest.mark.parametrize(
    "wrong",
    [
        {"soft": (1.0, 1.0)},
        {"soft": (0.0, 20.0), "hard": (0.0, 10.0)},
        {"persistence": 0},
        {"soft": (0.0, 1.0), "hysteresis": 0.5},
        {"max_rate_per_s": -1.0},
    ],
)
def test_limits_that_contradict_themselves_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ChannelLimits(**wrong)  # type: ignore[arg-type]


def plainly(values: list[float], persistence: int, hysteresis: float) -> list[int]:
    """The rules of the module's text for soft (0, 10) and hard (-5, 15), read as a person would."""
    levels, level = [], 0
    for n in range(len(values)):
        tail = values[max(0, n + 1 - persistence) : n + 1]
        full = len(tail) == persistence
        hard = full and all(v < -5 or v > 15 for v in tail)
        soft = full and all(v < 0 or v > 10 for v in tail)
        hard_over = full and all(-5 + hysteresis <= v <= 15 - hysteresis for v in tail)
        soft_over = full and all(hysteresis <= v <= 10 - hysteresis for v in tail)
        is_hard = not hard_over if level == 2 else hard
        is_soft = not soft_over if level >= 1 else soft
        level = 2 if is_hard else 1 if is_soft else 0
        levels.append(level)
    return levels


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-9.0, -5.5, -4.5, -0.5, 0.5, 5.0, 9.5, 10.5, 14.5, 15.5]), max_size=40),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
)
def test_levels_are_those_of_a_plain_reading(values: list[float], persistence: int, hysteresis: float) -> None:
    monitor = one(soft=(0.0, 10.0), hard=(-5.0, 15.0), persistence=persistence, hysteresis=hysteresis)
    seen = []
    for n, value in enumerate(values):
        monitor.update(np.array([value]), float(n))
        seen.append(int(monitor.levels()["t"]))
    assert seen == plainly(values, persistence, hysteresis)


def test_state_survives_a_reboot() -> None:
    limits = {"a": ChannelLimits(soft=(0.0, 1.0), persistence=2, max_rate_per_s=5.0), "b": ChannelLimits(stuck_samples=3)}
    rng = np.random.default_rng(3)
    values = rng.normal(size=(200, 2)).round(1)
    values[rng.random((200, 2)) < 0.1] = np.nan
    whole, cut = LimitMonitor(limits), LimitMonitor(limits)
    expected = [whole.update(row, float(n)) for n, row in enumerate(values)]
    found = []
    for n, row in enumerate(values):
        if n == 77:
            fresh = LimitMonitor(limits)
            fresh.restore(json.loads(json.dumps(cut.to_json())))
            cut = fresh
        found.append(cut.update(row, float(n)))
    assert found == expected
    assert any(found)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=8), x),
        max_leaves=8,
    )
)
def test_foreign_state_is_refused(state: object) -> None:
    with pytest.raises(TelemetryError):
        one(soft=(0.0, 1.0)).restore(state)
