"""What flies: sample by sample the same as at once, over a reboot, in bounded memory; alarms; drift; foreign saved state."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from orbitloop.algorithms.health.alarms import Alarm, AlarmRule, events_of
from orbitloop.algorithms.health.drift import Kswin, PageHinkley, block_means, ks_statistic
from orbitloop.algorithms.health.forecast import Forecast
from orbitloop.algorithms.health.online import OnlineClassifier, prequential
from orbitloop.algorithms.health.patterns import Patterns
from orbitloop.algorithms.health.streaming import Streaming, Watch
from orbitloop.errors import TelemetryError


def telemetry(length: int = 900) -> np.ndarray:
    rng = np.random.default_rng(5)
    t = np.arange(length)
    noisy = 0.6 * np.cos(t / 13.0) + 0.05 * rng.normal(size=length)
    return np.column_stack([np.sin(t / 9.0), noisy, np.full(length, -1.0)])


def test_sample_by_sample_is_the_same_as_at_once_and_over_a_reboot() -> None:
    values = telemetry()
    values[700:720, 2] = 0.5
    detector = Streaming()
    detector.fit(values[:500])
    at_once = detector.scores(values[500:])
    flying, steps = detector, []
    for n, row in enumerate(values[500:]):
        if n == 150:
            flying = Streaming.from_json(json.loads(json.dumps(flying.to_json())))
        steps.append(flying.step(row))
    assert np.allclose(np.array(steps), at_once, atol=1e-12)
    assert at_once[200:220, 2].max() > 2 > at_once[:190].max()


def test_a_new_recording_is_not_odd_for_its_first_step() -> None:
    values = telemetry()
    detector = Streaming()
    detector.fit(values[:500])
    other = values[603:800] + np.array([0.0, 0.0, 0.01])  # begins elsewhere in the wave
    at_once = detector.scores(other, follows=False)
    assert at_once.max() < 1 < detector.scores(other)[:30].max()
    detector.restart()
    steps = []
    for n, row in enumerate(other):
        if n == 10:
            detector = Streaming.from_json(json.loads(json.dumps(detector.to_json())))
        steps.append(detector.step(row))
    assert np.allclose(np.array(steps), at_once, atol=1e-12)
    assert (at_once[:23] == 0).all()
    assert (at_once[23:] > 0).any()


def test_its_memory_is_a_few_kilobytes_a_channel_and_does_not_grow() -> None:
    detector = Streaming()
    detector.fit(telemetry()[:500])
    before = detector.state_bytes
    for row in telemetry()[500:]:
        detector.step(row)
    assert detector.state_bytes == before < 7000 * 3


def test_what_flies_needs_numpy_alone() -> None:
    module = sys.modules["orbitloop.algorithms.health.streaming"]
    assert "scipy" not in vars(module)


def test_forecast_follows_a_wave_that_it_has_learnt() -> None:
    t = np.arange(600)
    wave = np.sin(t / 7.0)[:, None]
    forecast = Forecast(order=8)
    forecast.fit(wave[:400])
    assert forecast.contributions(wave[400:]).max() < 0.05 < np.abs(np.diff(wave[:, 0])).max()


def test_every_nominal_window_lies_within_the_radius_of_a_kept_pattern() -> None:
    values = telemetry(500)[:, 1:2]
    patterns = Patterns(window=10, size=20)
    patterns.fit(values)
    kept, radius = patterns._kept[0].astype(np.float64), float(patterns._radius[0])
    windows = np.lib.stride_tricks.sliding_window_view(values[:, 0], 10)
    nearest = np.sqrt(((windows[:, None, :] - kept) ** 2).sum(axis=2)).min(axis=1)
    assert nearest.max() == pytest.approx(radius, rel=1e-5)


def test_too_little_to_learn_from_is_told() -> None:
    for monitor in (Forecast(), Patterns(), Streaming()):
        with pytest.raises(TelemetryError, match="too few"):
            monitor.fit(np.zeros((9, 1)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.1, 1.2, 1.5, 2.0, 3.0]), max_size=60),
    st.integers(0, 5),
    st.sampled_from([1.0, 1.3, 2.0]),
)
def test_events_begin_where_the_alarm_of_the_stream_begins(scores: list[float], hold: int, escalation: float) -> None:
    rule = AlarmRule(1.0, escalation, hold)
    alarm = Alarm(rule)
    begins = [n for n, score in enumerate(scores) if alarm.step(score)]
    events = events_of(scores, rule)
    assert [first for first, _ in events] == begins
    assert all(scores[last] > 1.0 for _, last in events)


def test_the_bar_rises_with_each_event_until_somebody_acknowledges() -> None:
    alarm = Alarm(AlarmRule(1.0, 2.0, 0))
    assert [alarm.step(s) for s in (1.5, 0.0, 1.5, 0.0, 2.5)] == [True, False, False, False, True]
    alarm.step(0.0)
    alarm.acknowledge()
    assert alarm.step(1.5)


def test_a_watch_names_channels_and_survives_a_reboot() -> None:
    values = telemetry()
    values[600:640, 0] += 2.0
    values[650, 1] = np.nan
    detector = Streaming()
    detector.fit(values[:500])
    watch = Watch(detector, ("wheel", "bus", "switch"))
    raised: list[str] = []
    for n, row in enumerate(values[500:]):
        if n == 110:
            assert watch.open == ("wheel",)
            watch = Watch.from_json(json.loads(json.dumps(watch.to_json())))
            assert watch.open == ("wheel",)
        raised += watch.step(row)
    assert raised == ["wheel"]


def saved() -> dict[str, Any]:
    detector = Streaming(window=8, size=4)
    detector.fit(telemetry(120))
    return Watch(detector, ("a", "b", "c")).to_json()


def test_saved_state_that_is_damaged_is_refused() -> None:
    good = saved()
    Watch.from_json(copy.deepcopy(good))
    for path in (("detector",), ("detector", "shape"), ("detector", "forecast", "weights"), ("rule",), ("alarms",)):
        for value in (None, 7, [], {}, "x", [1, 2], {"dtype": "<f8", "shape": [1 << 40], "data": ""}):
            bad = copy.deepcopy(good)
            target = bad
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value
            with pytest.raises(TelemetryError):
                Watch.from_json(bad)
    fewer = copy.deepcopy(good)
    fewer["channels"].pop()
    with pytest.raises(TelemetryError):
        Watch.from_json(fewer)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["version", "shape", "forecast", "patterns", "x"]), x),
        max_leaves=8,
    )
)
def test_foreign_state_is_refused(state: object) -> None:
    with pytest.raises(TelemetryError):
        Streaming.from_json(state)


def test_kolmogorov_smirnov_is_scipys() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        one, other = rng.integers(0, 9, 30).astype(float), rng.integers(0, 12, 40).astype(float)
        assert ks_statistic(one, other) == pytest.approx(ks_2samp(one, other).statistic)


def test_page_hinkley_finds_a_shift_soon_and_rarely_cries() -> None:
    rng = np.random.default_rng(4)
    quiet = PageHinkley(0.0, 1.0)
    assert not any(quiet.step(v) for v in rng.normal(size=3000))
    moved = PageHinkley(0.0, 1.0)
    first = next(n for n, v in enumerate(rng.normal(size=300) - 2.0) if moved.step(v))
    assert first < 20
    assert moved.direction == -1


def test_kswin_finds_a_spread_that_the_mean_does_not_show() -> None:
    rng = np.random.default_rng(4)
    watch = Kswin(np.random.default_rng(1), window=300, recent=100)
    assert sum(watch.step(v) for v in rng.normal(size=1500)) <= 1
    assert any(watch.step(v) for v in 8 * rng.normal(size=300))


def test_block_means_leave_out_a_rest() -> None:
    assert block_means(np.arange(14.0).reshape(7, 2), 3).tolist() == [[2.0, 3.0], [8.0, 9.0]]


def test_a_classifier_learns_a_ring_while_it_predicts() -> None:
    rng = np.random.default_rng(8)
    points = rng.uniform(-1, 1, (1500, 2))
    labels = np.linalg.norm(points, axis=1) > 0.5
    classifier = OnlineClassifier(2, np.random.default_rng(0))
    predicted = np.zeros(1500, bool)
    for n, (point, label) in enumerate(zip(points, labels, strict=True)):
        predicted[n] = classifier.predict(point)
        classifier.learn(point, bool(label))
    assert prequential(predicted[500:], labels[500:]) > 0.93
