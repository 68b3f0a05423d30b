"""When is a function of time positive, and where does it peak: search apart from physics.

The function is known by two callables and nothing else: `sample(times)` gives all channels (stations, say) on a coarse
grid, cheaply; `value(channels, times)` gives single points, one per pair. A stretch above zero is found

- by a change of sign between two samples, whose crossing is then solved for, all crossings in one batch
  (Chandrupatla 1997, Adv. Eng. Software 28, 145: inverse quadratic steps where safe, bisection where not, and a bracket that
  always shrinks to the tolerance); or
- by a local maximum of the samples that is not above zero itself but may hide a peak that is (a grazing pass): golden
  section finds the peak, and the two crossings beside it go into the same batch.

What it can miss: a stretch below zero that fits between two samples, and the lesser of two peaks within two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.intp]
Sample: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""times (T,) -> values (C, T), and the most that each may rise within one step of its sample (C, T)."""
Value: TypeAlias = Callable[[IntArray, FloatArray], FloatArray]
"""channels (K,), times (K,) -> values (K,)."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch in which a channel is above zero, clipped to the searched time, and its highest point in there."""

    channel: int
    start_s: float
    end_s: float
    peak_s: float
    peak: float


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the grid showed: crossings (channel, left index, values at both sides) and maxima (channel, index, value)."""

    cross_channel: IntArray
    cross_index: IntArray
    cross_left: FloatArray
    cross_right: FloatArray
    max_channel: IntArray
    max_index: IntArray
    max_value: FloatArray
    first_positive: npt.NDArray[np.bool_]


def positive_intervals(
    sample: Sample, value: Value, start_s: float, end_s: float, *, step_s: float = 60.0, tolerance_s: float = 1e-4
) -> list[Interval]:
    """Find all stretches of [start_s, end_s] in which a channel is above zero, in order of start.

    A stretch that is open at `start_s` or `end_s` is clipped there. Times are good to `tolerance_s`, peaks to a millisecond.
    The grid reaches one step beyond both ends, so that a peak near an end is not lost. Memory is bounded by a block of the
    grid times the number of channels.
    """
    if not end_s > start_s:
        return []
    steps = max(1, math.ceil((end_s - start_s) / step_s))
    grid_s = start_s + (end_s - start_s) / steps * np.arange(-1, steps + 2, dtype=np.float64)
    found = _scan(sample, grid_s)
    peak_s, peak = maxima(value, found.max_channel, grid_s[found.max_index - 1], grid_s[found.max_index + 1])
    grazing = (found.max_value <= 0) & (peak > 0)
    left, right = found.max_index[grazing] - 1, found.max_index[grazing] + 1
    top_s, top, channel = peak_s[grazing], peak[grazing], found.max_channel[grazing]
    channels = np.concatenate([found.cross_channel, channel, channel])
    low_s = np.concatenate([grid_s[found.cross_index], grid_s[left], top_s])
    high_s = np.concatenate([grid_s[found.cross_index + 1], top_s, grid_s[right]])
    # Both sides of a grazing peak are below zero by the samples; `value` may differ from them in the last digit.
    beside = [np.minimum(value(channel, grid_s[k]), 0.0) for k in (left, right)]
    low = np.concatenate([found.cross_left, beside[0], top])
    high = np.concatenate([found.cross_right, top, beside[1]])
    edges_s = crossings(value, channels, low_s, high_s, low, high, tolerance_s)
    raw = _pair(channels, edges_s, high > 0, found.first_positive, float(grid_s[0]), float(grid_s[-1]))
    clipped = [(c, max(a, start_s), min(b, end_s)) for c, a, b in raw if min(b, end_s) > max(a, start_s)]
    return sorted(_with_peaks(value, clipped, found.max_channel, peak_s, peak), key=lambda i: (i.start_s, i.channel))


def _scan(sample: Sample, grid_s: FloatArray) -> _Found:
    """Walk the grid block by block; blocks share two samples, so that each pair and each triple is seen once."""
    rows: list[tuple[npt.NDArray[Any], ...]] = []
    first: npt.NDArray[np.bool_] | None = None
    for begin, stop in _blocks(grid_s.size):
        values, headroom = sample(grid_s[begin:stop])
        above = values > 0
        first = above[:, 0].copy() if first is None else first
        change = above[:, 1:] != above[:, :-1]
        if begin > 0:
            change[:, 0] = False
        c, k = np.nonzero(change)
        middle = values[:, 1:-1]
        top = (middle >= values[:, :-2]) & (middle > values[:, 2:]) & (middle + headroom[:, 1:-1] > 0)
        m, j = np.nonzero(top)
        rows.append((c, k + begin, values[c, k], values[c, k + 1], m, j + 1 + begin, middle[m, j]))
    c_all, k_all, left, right, m_all, j_all, top_value = (np.concatenate(column) for column in zip(*rows, strict=True))
    assert first is not None
    return _Found(c_all, k_all, left, right, m_all, j_all, top_value, first)


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    begin = 0
    while True:
        stop = min(begin + _BLOCK, size)
        yield begin, stop
        if stop == size:
            return
        begin = stop - 2


def maxima(
    value: Value, channels: IntArray, low_s: FloatArray, high_s: FloatArray, tolerance_s: float = 1e-3
) -> tuple[FloatArray, FloatArray]:
    """Return (time, value) of the highest point in each bracket (K,), by golden section over all brackets at once."""
    if channels.size == 0:
        return np.empty(0), np.empty(0)
    low, high = low_s.astype(np.float64), high_s.astype(np.float64)
    one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    f_one, f_two = value(channels, one), value(channels, two)
    rounds = math.ceil(math.log(max(float(np.max(high - low)), tolerance_s) / tolerance_s) / -math.log(_GOLDEN))
    for _ in range(rounds):
        left = f_one >= f_two
        low, high = np.where(left, low, one), np.where(left, two, high)
        probe = np.where(left, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        f_probe = value(channels, probe)
        one, two = np.where(left, probe, two), np.where(left, one, probe)
        f_one, f_two = np.where(left, f_probe, f_two), np.where(left, f_one, f_probe)
    return np.where(f_one >= f_two, one, two), np.maximum(f_one, f_two)


def crossings(
    value: Value,
    channels: IntArray,
    low_s: FloatArray,
    high_s: FloatArray,
    f_low: FloatArray,
    f_high: FloatArray,
    tolerance_s: float = 1e-4,
) -> FloatArray:
    """Return where each bracket (K,), of which one end is above zero and the other is not, crosses zero.

    All are solved at once, until every bracket is within `tolerance_s`.
    """
    if channels.size == 0:
        return np.empty(0)
    b, fb = low_s.astype(np.float64), f_low.astype(np.float64)
    a, fa = high_s.astype(np.float64), f_high.astype(np.float64)
    share = np.full(a.shape, 0.5)
    for _ in range(100):
        x = a + share * (b - a)
        fx = value(channels, x)
        same = (fx > 0) == (fa > 0)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        width = np.abs(b - a)
        if np.all(width <= tolerance_s):
            break
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi) & np.isfinite(quadratic)
        least = np.minimum(0.5, 0.4 * tolerance_s / np.maximum(width, 1e-12))
        share = np.clip(np.where(safe, quadratic, 0.5), least, 1 - least)
    return np.where(np.abs(fa) <= np.abs(fb), a, b)


def _pair(
    channels: IntArray,
    edges_s: FloatArray,
    rising: npt.NDArray[np.bool_],
    first_positive: npt.NDArray[np.bool_],
    first_s: float,
    last_s: float,
) -> list[tuple[int, float, float]]:
    """Join each rise with the next fall of its channel; a stretch that is open at an end ends with the grid."""
    out: list[tuple[int, float, float]] = []
    for channel in np.unique(np.concatenate([channels, np.flatnonzero(first_positive)])):
        mine = channels == channel
        starts, ends = np.sort(edges_s[mine & rising]).tolist(), np.sort(edges_s[mine & ~rising]).tolist()
        if first_positive[channel]:
            starts.insert(0, first_s)
        if len(starts) > len(ends):
            ends.append(last_s)
        out.extend((int(channel), a, b) for a, b in zip(starts, ends, strict=True))
    return out


def _with_peaks(
    value: Value, intervals: list[tuple[int, float, float]], channels: IntArray, peak_s: FloatArray, peak: FloatArray
) -> list[Interval]:
    """Give each interval its highest refined maximum, or its higher end when none lies inside."""
    if not intervals:
        return []
    channel = np.array([i[0] for i in intervals], np.intp)
    at_start = value(channel, np.array([i[1] for i in intervals]))
    at_end = value(channel, np.array([i[2] for i in intervals]))
    order = np.lexsort((peak_s, channels))
    channels, peak_s, peak = channels[order], peak_s[order], peak[order]
    out = []
    for n, (c, a, b) in enumerate(intervals):
        choices = [(float(at_start[n]), a), (float(at_end[n]), b)]
        own = slice(np.searchsorted(channels, c), np.searchsorted(channels, c, side="right"))
        first, last = np.searchsorted(peak_s[own], [a, b])
        choices.extend(zip(peak[own][first:last].tolist(), peak_s[own][first:last].tolist(), strict=True))
        best, best_s = max(choices)
        out.append(Interval(c, a, b, best_s, best))
    return out
