from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.orbit import search
from orbitloop.orbit.search import FloatArray, IntArray, Interval, crossings, maxima, positive_intervals


def _waves(rates: list[float], levels: list[float]) -> tuple[search.Sample, search.Value]:
    """Channel c is cos(rate t) - level: its stretches above zero are known in closed form."""
    rate, level = np.array(rates), np.array(levels)

    def value(channels: IntArray, times: FloatArray) -> FloatArray:
        return np.asarray(np.cos(rate[channels] * times) - level[channels])

    def sample(times: FloatArray) -> tuple[FloatArray, FloatArray]:
        values = np.cos(rate[:, None] * times) - level[:, None]
        return values, np.full_like(values, np.inf)

    return sample, value


def _exact(rate: float, level: float, start: float, end: float) -> list[tuple[float, float]]:
    half, turn = np.arccos(level) / rate, 2 * np.pi / rate
    peaks = turn * np.arange(np.floor(start / turn) - 1, np.ceil(end / turn) + 2)
    return [(max(p - half, start), min(p + half, end)) for p in peaks if min(p + half, end) > max(p - half, start)]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0005, 0.02), st.floats(-0.9, 0.99999), st.floats(-5000, 5000), st.floats(10, 30000))
def test_finds_every_stretch_of_a_wave(rate: float, level: float, start: float, length: float) -> None:
    found = positive_intervals(*_waves([rate], [level]), start, start + length)
    exact = _exact(rate, level, start, start + length)
    exact = [e for e in exact if e[1] - e[0] > 1e-2]
    found = [f for f in found if f.end_s - f.start_s > 1e-2]
    assert len(found) == len(exact)
    np.testing.assert_allclose([(f.start_s, f.end_s) for f in found], exact, atol=2e-3)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = _waves([0.011, 0.0043, 0.02], [0.9, 0.2, 0.9999])
    whole = positive_intervals(*parts, 0.0, 86400.0)
    for block in (3, 7, 100):
        monkeypatch.setattr(search, "_BLOCK", block)
        assert positive_intervals(*parts, 0.0, 86400.0) == whole
    assert {i.channel for i in whole} == {0, 1, 2}


def test_grazing_peak_between_samples() -> None:
    """Above zero for 2.8 s between samples 60 s apart."""
    turn = 2 * np.pi / 0.001
    found = positive_intervals(*_waves([0.001], [1 - 1e-6]), turn - 1029.0, turn + 1000.0)
    assert len(found) == 1
    assert found[0].end_s - found[0].start_s == pytest.approx(2 * np.arccos(1 - 1e-6) / 0.001, abs=1e-3)
    assert found[0].peak_s == pytest.approx(turn, abs=0.01)


def test_headroom_spares_the_hopeless() -> None:
    sample, value = _waves([0.01], [0.9999])
    none = positive_intervals(lambda t: (sample(t)[0], np.zeros_like(sample(t)[0])), value, 100.0, 1150.0, step_s=200.0)
    assert none == []


def test_always_and_never() -> None:
    sample, value = _waves([0.01, 0.01], [-2.0, 2.0])
    found = positive_intervals(sample, value, 0.0, 500.0)
    assert [(i.channel, i.start_s, i.end_s) for i in found] == [(0, 0.0, 500.0)]
    assert found[0].peak == pytest.approx(3.0)
    assert positive_intervals(sample, value, 5.0, 5.0) == []
    assert positive_intervals(sample, value, 5.0, 4.0) == []


def test_peak_at_a_cut_end() -> None:
    found = positive_intervals(*_waves([0.001], [0.0]), 300.0, 900.0)
    assert found == [Interval(0, 300.0, 900.0, 300.0, pytest.approx(np.cos(0.3)))]


def test_crossings_of_awkward_functions() -> None:
    """Flat, steep and many-fold zeros: each bracket ends within the tolerance."""
    functions = [
        lambda x: (x - 0.3) ** 9,
        lambda x: np.exp(40 * (x - 0.9)) - 1,
        lambda x: x - 1e-9,
        lambda x: np.sign(x - 0.7) + 0.0,
    ]
    zeros = [0.3, 0.9, 1e-9, 0.7]

    def value(channels: IntArray, times: FloatArray) -> FloatArray:
        return np.array([float(functions[c](t)) for c, t in zip(channels.tolist(), times.tolist(), strict=True)])

    channels = np.arange(4, dtype=np.intp)
    low, high = np.zeros(4), np.ones(4)
    got = crossings(value, channels, low, high, value(channels, low), value(channels, high), 1e-6)
    np.testing.assert_allclose(got, zeros, atol=2e-6)


def test_maxima() -> None:
    peaks = np.array([10.0, 20.0, 0.0])

    def value(channels: IntArray, times: FloatArray) -> FloatArray:
        return np.asarray(-(np.abs(times - peaks[channels]) ** 1.5))

    at, top = maxima(value, np.arange(3, dtype=np.intp), np.array([0.0, 0, 0]), np.array([60.0, 21, 100]))
    np.testing.assert_allclose(at, peaks, atol=2e-3)
    np.testing.assert_allclose(top, 0, atol=1e-3)
    assert maxima(value, np.empty(0, np.intp), np.empty(0), np.empty(0))[0].size == 0
