"""The ground's monitors against brute force and stumpy; evaluation, scale, diagnosis, proposals."""

from __future__ import annotations

import numpy as np
import pytest

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.ground.health.diagnosis import incidents, subsystem_of
from orbitloop.ground.health.ensemble import Ensemble
from orbitloop.ground.health.evaluation import LabelledChannel, evaluate, split
from orbitloop.ground.health.forest import WindowedForest
from orbitloop.ground.health.kernels import left_distances
from orbitloop.ground.health.profile import MatrixProfile
from orbitloop.ground.health.proposals import Evidence, propose
from orbitloop.ground.health.telemetry import Telemetry, held, scale_of


@pytest.mark.parametrize(("window", "memory"), [(4, 1000), (7, 50), (16, 300)])
def test_left_profile_is_that_of_brute_force(window: int, memory: int) -> None:
    values = np.cumsum(np.random.default_rng(window).normal(size=260))
    values[100:140] = values[100]
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    lag = -(-window // 4) + 1
    expected = [
        min((float(np.linalg.norm(windows[i] - windows[j])) for j in range(max(0, i - memory), i - lag + 1)), default=np.inf)
        for i in range(len(windows))
    ]
    assert np.allclose(left_distances(values, window, memory), expected, atol=1e-6)  # the root of what rounding leaves of 0


def test_left_profile_does_not_lose_digits_over_a_long_series() -> None:
    values = 1e3 * np.sin(np.arange(6000) / 50.0)
    values[5000] += 1e-3
    late = left_distances(values, 20, 2000)[4000:]
    windows = np.lib.stride_tricks.sliding_window_view(values, 20)
    at = int(np.argmax(late)) + 4000
    exact = min(float(np.linalg.norm(windows[at] - windows[j])) for j in range(at - 2000, at - 5))
    assert late.max() == pytest.approx(exact, rel=1e-6)


def test_windows_over_a_seam_are_compared_with_nothing() -> None:
    values = np.random.default_rng(9).normal(size=200)
    windows = np.lib.stride_tricks.sliding_window_view(values, 10)
    found = left_distances(values, 10, 1000, seam=120)
    whole = [i for i in range(len(windows)) if not i < 120 < i + 10]
    expected = [
        min((float(np.linalg.norm(windows[i] - windows[j])) for j in whole if j <= i - 4), default=np.inf) for i in whole
    ]
    assert np.allclose(found[whole], expected, atol=1e-9)
    assert np.isinf(found[111:120]).all()


@pytest.mark.slow  # stumpy compiles for 15 s
def test_left_profile_is_stumpys() -> None:
    import stumpy

    values = np.cumsum(np.random.default_rng(0).normal(size=400))
    window = 16
    found = stumpy.aamp(values, window)
    nearest = found[:, 2].astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    known = nearest >= 0
    expected = np.linalg.norm(windows[known] - windows[nearest[known]], axis=1)
    assert np.allclose(left_distances(values, window, 10_000)[known], expected, atol=1e-9)


def channel(events: tuple[tuple[int, int], ...] = ((300, 330),)) -> LabelledChannel:
    t = np.arange(1200)
    values = np.sin(t / 8.0) + 0.03 * np.random.default_rng(1).normal(size=1200)
    for first, last in events:
        values[600 + first : 600 + last + 1] = 0.4
    return LabelledChannel("P-1", values[:600], values[600:], events)


@pytest.mark.parametrize("make", [Ensemble, MatrixProfile])
def test_a_wave_that_stops_is_found_and_nothing_else(make: type) -> None:
    found = evaluate([channel()], make, make.rule)  # type: ignore[attr-defined]
    assert (found.corrected.found, found.corrected.missed, found.corrected.false_events) == (1, 0, 0)
    assert found.to_json()["corrected"]["f_half"] > 0.9
    assert found.channels[0].delays[0] <= 40


def test_profile_tells_a_novelty_once() -> None:
    twice = channel(((100, 160), (400, 460)))
    profile = MatrixProfile(windows=(16,))
    profile.fit(twice.nominal[:, None])
    scores = profile.scores(twice.judged[:, None])[:, 0]
    assert scores[100:160].max() > 2 * scores[420:460].max()


def test_forest_is_repeatable_by_its_seed() -> None:
    one, other = WindowedForest(trees=20), WindowedForest(trees=20)
    for forest in (one, other):
        forest.fit(channel().nominal[:, None])
    judged = channel().judged[:, None]
    assert np.array_equal(one.scores(judged), other.scores(judged))


def test_the_split_is_by_name_and_fixed() -> None:
    dev, test = split(["T-1", "A-1", "P-10", "P-2", "A-10", "B-1", "C-1"])
    assert dev == ["A-1", "C-1", "T-1"]
    assert test == ["A-10", "B-1", "P-10", "P-2"]


def test_an_evaluation_adds_channels_and_bounds_its_own_chance() -> None:
    found = evaluate([channel(), channel(((50, 90),))], Ensemble, AlarmRule())
    assert found.corrected.found == 2
    low, high = found.interval(np.random.default_rng(0), rounds=200)
    assert 0 <= low <= found.corrected.f_half <= high <= 1


def made(values: np.ndarray, names: tuple[str, ...]) -> Telemetry:
    return Telemetry(names, np.arange(len(values), dtype=np.float64), values)


def test_scale_comes_from_the_operator_or_from_the_nominal_part() -> None:
    scale = scale_of(made(np.array([[0.0, 7.0, 5.0], [10.0, 7.0, 6.0]]), ("a", "b", "c")), {"c": (0.0, 20.0)})
    assert scale.apply(np.array([[10.0, 14.0, 20.0]])).tolist() == [[1.0, 1.0, 1.0]]


def test_missing_samples_are_held_from_the_past_only() -> None:
    nan = np.nan
    values = np.array([[nan, 1.0], [2.0, nan], [nan, nan], [4.0, 3.0]])
    assert held(values, np.array([9.0, 9.0])).tolist() == [[9.0, 1.0], [2.0, 1.0], [2.0, 1.0], [4.0, 3.0]]
    assert held(np.full((2, 1), nan)).tolist() == [[0.0], [0.0]]


def test_a_diagnosis_names_the_first_mover_and_how_each_moved() -> None:
    rng = np.random.default_rng(6)
    nominal = rng.normal(size=(400, 3))
    judged = rng.normal(size=(300, 3))
    judged[100:200, 1] += 8.0
    judged[120:200, 0] *= 6.0
    scores = np.full((300, 3), 0.5)
    scores[100:200, 1], scores[120:200, 0] = 4.0, 2.0
    names = ("P-1", "T-3", "T-4")
    (one,) = incidents(made(judged, names), {"T-3": [(100, 199)], "P-1": [(120, 199)]}, scores, made(nominal, names))
    assert one.first_mover.channel == "T-3"
    parts = {part.channel: part for part in one.parts}
    assert parts["T-3"].mean_shift == pytest.approx(8.0, rel=0.1)
    assert parts["P-1"].spread_ratio == pytest.approx(6.0, rel=0.25)
    assert parts["T-3"].share == pytest.approx(2 / 3)
    assert "T-3 (T) rose by" in one.words
    assert "20 samples later P-1 (P) swings" in one.words
    assert one.words.endswith("Subsystems: P, T.")


def test_events_far_apart_are_two_incidents_and_a_still_channel_is_called_so() -> None:
    nominal, judged = np.zeros((100, 1)), np.zeros((400, 1))
    judged[50:60] = judged[300:310] = 1.0
    scores = np.ones((400, 1))
    found = incidents(made(judged, ("S-1",)), {"S-1": [(50, 59), (300, 309)]}, scores, made(nominal, ("S-1",)))
    assert [one.first for one in found] == [50, 300]
    assert "had stood still" in found[0].words


def test_subsystems_by_name() -> None:
    assert [subsystem_of(name) for name in ("P-1", "TEMP3", "bus", "7x")] == ["P", "TEMP", "", ""]


def evidence(**fields: object) -> Evidence:
    plain = {"kind": "anomaly", "channel": "a", "begins": "", "score": 1.2, "text": "x", "subsystem": "P"}
    return Evidence(**(plain | fields))  # type: ignore[arg-type]


def test_severity_follows_its_rules() -> None:
    assert propose([]) is None
    cases = [
        ([evidence()], "watch"),
        ([evidence(score=3.5)], "warning"),
        ([evidence(), evidence(subsystem="T")], "warning"),
        ([evidence(kind="drift", score=9.0)], "watch"),
        ([evidence(kind="limit")], "warning"),
        ([evidence(kind="limit", grave=True)], "critical"),
        ([evidence(kind="silence", grave=True, score=6.0)], "critical"),
    ]
    for given, severity in cases:
        found = propose(given)
        assert found is not None
        assert found.severity == severity


def test_a_silent_satellite_is_not_told_what_it_could_not_hear() -> None:
    found = propose([evidence(kind="silence", grave=True, score=6.0)])
    assert found is not None
    assert [action for action, _ in found.actions] == ["look", "withhold-updates", "replan-without"]
