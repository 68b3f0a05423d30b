"""Pairs that hardly move against each other: when they are within reach, how often they come nearest, how near.

The square of the range, f, of two objects side by side is a sum of few harmonics of the orbital period, so its cubic Hermite
interpolant over `SAMPLE_S` is off by h^4/384 max|f''''|, under a metre of range even at 0.1 km/s (for a pair 5 km apart:
f'''' < 1e-6 km^2/s^4). Within each interval the interpolant's minima and its crossings of the reach are found exactly, as roots
of a quadratic and a cubic, so no minimum between samples is lost. f comes from the reference; so does the final state of the
lowest minimum, the vertex of a parabola through three of its own states.

The rate of f needs care: SGP4's velocities are off from the derivatives of its positions by 2e-5 km/s and more, as much as such
pairs move. What the corrected trapezium between two samples does not explain is that difference, and is put on the velocities.

Identical trajectories (two element sets of one object, docked modules under one set) have f = 0 throughout: one approach, as
long as the window, without a minimum of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.conjunction.approach import ApproachTable, IntArray
from orbitloop.orbit.conjunction.gravity import gravity
from orbitloop.orbit.conjunction.refine import PairStates, Reference, table
from orbitloop.orbit.frames import FloatArray

SAMPLE_S = 30.0
_WIDTHS_S = (10.0, 2.0)
_BATCH = 65_536


def drifts(
    reference: Reference,
    first: IntArray,
    second: IntArray,
    begin_s: FloatArray,
    end_s: FloatArray,
    window_s: tuple[float, float],
    reach_km: float,
    period_s: FloatArray,
) -> ApproachTable:
    """Find the approaches of pairs (M,), each between `begin_s` and `end_s` (M,).

    Args:
        reference: where states come from.
        first, second: places of the objects.
        begin_s, end_s: bounds of every time at which the pair may be within reach.
        window_s: of the screening.
        reach_km: what counts.
        period_s: (N,) of all objects; a stretch of one revolution or more makes a pair co-located.
    """
    begin, end = np.maximum(begin_s, window_s[0]), np.minimum(end_s, window_s[1])
    counts = np.maximum(2, np.ceil((end - begin) / SAMPLE_S).astype(np.int64) + 1)
    parts = []
    for rows in _batches(counts):
        parts.append(
            _part(reference, first[rows], second[rows], begin[rows], end[rows], counts[rows], window_s, reach_km, period_s)
        )
    return ApproachTable.join(parts)


def _part(
    reference: Reference,
    first: IntArray,
    second: IntArray,
    begin_s: FloatArray,
    end_s: FloatArray,
    counts: npt.NDArray[np.int64],
    window_s: tuple[float, float],
    reach_km: float,
    period_s: FloatArray,
) -> ApproachTable:
    from orbitloop.orbit.conjunction.kernels import stretches

    run = np.repeat(np.arange(counts.size), counts)
    place = np.arange(run.size) - np.repeat(np.cumsum(counts) - counts, counts)
    step = (end_s - begin_s) / (counts - 1)
    since = place * step[run]
    states = reference.pairs(first[run], second[run], begin_s[run] + since)
    x, v = states.apart_km, _consistent(states, run, step[run])
    square, rate = (x * x).sum(axis=1), 2.0 * (x * v).sum(axis=1)
    columns = stretches(run, since, square, rate, states.ok, reach_km**2)
    which, enter, leave, lowest, minima = columns
    at = which.astype(np.int64)
    a, b = first[at], second[at]
    tca, final = _polish(reference, a, b, begin_s[at] + lowest, begin_s[at] + enter, begin_s[at] + leave)
    enter_s, leave_s = begin_s[at] + enter, begin_s[at] + leave
    clipped = (enter_s <= window_s[0] + 1e-6) | (leave_s >= window_s[1] - 1e-6)
    whole = (enter_s <= window_s[0] + 1e-6) & (leave_s >= window_s[1] - 1e-6)
    kind = np.where(whole | (leave_s - enter_s >= period_s[a]), 2, 1).astype(np.int32)
    good = np.flatnonzero(final.ok)
    made = table(reference, a, b, tca, final, enter_s, leave_s, np.maximum(1, minima).astype(np.int32), kind, clipped)
    return made.take(good)


def _consistent(states: PairStates, run: npt.NDArray[np.int64], step_s: FloatArray) -> FloatArray:
    """Return relative velocities (S, 3) that fit the relative positions of samples in runs, `step_s` (S,) apart."""
    x, v = states.apart_km, states.drift_km_s
    a = gravity(states.r2_km) - gravity(states.r1_km)
    linked = (np.diff(run) == 0) & states.ok[1:] & states.ok[:-1]
    h = step_s[1:, None]
    left_over = (x[1:] - x[:-1]) / h - 0.5 * (v[1:] + v[:-1]) + h / 12.0 * (a[1:] - a[:-1])
    left_over = np.where(linked[:, None], left_over, 0.0)
    total, count = np.zeros_like(v), np.zeros(len(v))
    total[1:], count[1:] = left_over, linked
    total[:-1] += left_over
    count[:-1] += linked
    return np.asarray(v + total / np.maximum(1.0, count)[:, None])


def _polish(
    reference: Reference, first: IntArray, second: IntArray, guess_s: FloatArray, low_s: FloatArray, high_s: FloatArray
) -> tuple[FloatArray, PairStates]:
    """Go from the interpolant's minimum to that of the reference, within the stretch; a move that gains nothing is not made."""
    times, guess = guess_s.copy(), reference.pairs(first, second, guess_s)
    for width_s in _WIDTHS_S:
        square = [(reference.pairs(first, second, times + w).apart_km ** 2).sum(axis=1) for w in (-width_s, 0.0, width_s)]
        bend = square[2] - 2.0 * square[1] + square[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(bend > 0.0, -0.5 * width_s * (square[2] - square[0]) / bend, 0.0)
        times = np.clip(times + np.clip(np.nan_to_num(shift), -width_s, width_s), low_s, high_s)
    final = reference.pairs(first, second, times)
    worse = ~final.ok | ~(np.linalg.norm(final.apart_km, axis=1) <= np.linalg.norm(guess.apart_km, axis=1))
    rows = np.flatnonzero(worse)
    final.put(rows, guess.take(rows))
    return np.where(worse, guess_s, times), final


def _batches(counts: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    """Split runs so that the samples of a batch fit into some megabytes."""
    if not counts.size:
        return []
    group = np.cumsum(counts) // _BATCH
    return [np.flatnonzero(group == one) for one in np.unique(group)]
