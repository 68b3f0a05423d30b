"""From candidates to approaches, on SGP4's own trajectories: each state here is computed by the reference at its own time.

Crossings: the range has one minimum (`screening` says why); Newton's method on its rate, from the kernel's guess, which is
good to milliseconds, so that two evaluations do. TCA is where x.v = 0 with SGP4's own velocities, solved to `CONVERGED_S`,
four times the resolution of UTC seconds in a double. SGP4's velocities are not quite the derivatives of its positions (2e-5
km/s off, seldom 1e-3): the lowest range lies up to |x| times that / v^2 beside, microseconds at 10 km/s, 10 ms at 0.1 km/s;
the distance differs by less than a centimetre. Entry and exit of a crossing are good to some ten metres of range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ElementsError
from orbitloop.orbit.conjunction.approach import Approach, ApproachTable, BoolArray, IntArray, Volume
from orbitloop.orbit.conjunction.gravity import gravity
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray, rtn_axes

CONVERGED_S = 1e-6
_ROUNDS = 8
_UNIX_JD = 2_440_587.5
_LEVELS, _SAMPLES = 3, 33


class Reference:
    """SGP4 for many (object, time) questions at once; objects are asked one by one, each for all its times.

    Records are made anew for each round of questions: 2 microseconds each, where keeping those of a catalogue takes 35 MB.
    """

    def __init__(self, elements: Sequence[Elements]) -> None:
        self.elements = elements
        self.epoch_s = np.array([one.epoch_s for one in elements], np.float64)

    def record(self, index: int) -> Any:
        """Return the propagator's record of one object, or None where SGP4 refuses its elements."""
        one = self.elements[index]
        try:
            made = one.satrec()
        except ElementsError:
            return None
        days = math.floor(one.epoch_s / DAY_S)
        # One double of Julian days is good to 20 microseconds, 15 cm of flight; two are exact.
        made.jdsatepoch, made.jdsatepochF = _UNIX_JD + days, (one.epoch_s - days * DAY_S) / DAY_S
        return made

    def states(self, index: npt.NDArray[np.integer[Any]], times_s: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return TEME positions (M, 3) km, velocities (M, 3) km/s and whether good (M,), of objects (M,) at times (M,)."""
        r_km, v_km_s = np.full((index.size, 3), np.nan), np.full((index.size, 3), np.nan)
        ok = np.zeros(index.size, np.bool_)
        if not index.size:
            return r_km, v_km_s, ok
        order = np.argsort(index, kind="stable")
        days = np.floor(times_s[order] / DAY_S)
        julian, fraction = _UNIX_JD + days, (times_s[order] - days * DAY_S) / DAY_S
        sorted_index = index[order]
        edges = np.flatnonzero(np.diff(sorted_index)) + 1
        sorted_r, sorted_v, sorted_ok = r_km.copy(), v_km_s.copy(), ok.copy()
        for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), index.size], strict=True):
            record = self.record(int(sorted_index[begin]))
            if record is None:
                continue
            codes, sorted_r[begin:end], sorted_v[begin:end] = record.sgp4_array(julian[begin:end], fraction[begin:end])
            sorted_ok[begin:end] = codes == 0
        sorted_ok &= np.isfinite(sorted_r).all(axis=1)
        r_km[order], v_km_s[order], ok[order] = sorted_r, sorted_v, sorted_ok
        return r_km, v_km_s, ok

    def pairs(self, first: IntArray, second: IntArray, times_s: FloatArray) -> PairStates:
        """Return the states of pairs (M,) at times (M,)."""
        count = first.size
        r_km, v_km_s, ok = self.states(np.concatenate([first, second]), np.concatenate([times_s, times_s]))
        return PairStates(r_km[:count], v_km_s[:count], r_km[count:], v_km_s[count:], ok[:count] & ok[count:])


@dataclass(frozen=True, slots=True, eq=False)
class PairStates:
    """States of M pairs, each at one time: TEME positions and velocities (M, 3) of first and second; whether both are good."""

    r1_km: FloatArray
    v1_km_s: FloatArray
    r2_km: FloatArray
    v2_km_s: FloatArray
    ok: BoolArray

    def take(self, rows: npt.NDArray[np.intp]) -> PairStates:
        return PairStates(self.r1_km[rows], self.v1_km_s[rows], self.r2_km[rows], self.v2_km_s[rows], self.ok[rows])

    def put(self, rows: npt.NDArray[np.intp], fresh: PairStates) -> None:
        """Overwrite some rows."""
        self.r1_km[rows], self.v1_km_s[rows], self.ok[rows] = fresh.r1_km, fresh.v1_km_s, fresh.ok
        self.r2_km[rows], self.v2_km_s[rows] = fresh.r2_km, fresh.v2_km_s

    @property
    def apart_km(self) -> FloatArray:
        return self.r2_km - self.r1_km

    @property
    def drift_km_s(self) -> FloatArray:
        return self.v2_km_s - self.v1_km_s

    def newton_s(self) -> FloatArray:
        """Return the step (M,) to the minimum of the range: -x.v / (v.v + x.a), NaN where the range is not convex."""
        bend = self.bend_km2_s2()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(bend > 0.0, -(self.apart_km * self.drift_km_s).sum(axis=1) / bend, np.nan))

    def bend_km2_s2(self) -> FloatArray:
        """Return half the second derivative of the squared range (M,)."""
        x, v = self.apart_km, self.drift_km_s
        return np.asarray((v * v).sum(axis=1) + (x * (gravity(self.r2_km) - gravity(self.r1_km))).sum(axis=1))

    def rtn(self) -> tuple[FloatArray, FloatArray]:
        """Return relative position and velocity (M, 3) along the first's RTN axes."""
        axes = rtn_axes(self.r1_km, self.v1_km_s)
        return np.einsum("mij,mj->mi", axes, self.apart_km), np.einsum("mij,mj->mi", axes, self.drift_km_s)


def crossings(
    reference: Reference, first: IntArray, second: IntArray, guess_s: FloatArray, window_s: tuple[float, float], reach_km: float
) -> ApproachTable:
    """Solve crossings (M,) to their minima, keep those within `reach_km`, one of each.

    A minimum outside `window_s` counts as the window's edge where the range there is within reach.
    """
    times, states = _minimise(reference, first, second, guess_s)
    lowest, bend = (states.apart_km**2).sum(axis=1), states.bend_km2_s2()
    held = np.clip(times, *window_s)
    outside = np.flatnonzero(held != times)
    if outside.size:
        states.put(outside, reference.pairs(first[outside], second[outside], held[outside]))
    keep = np.flatnonzero(states.ok & (np.linalg.norm(states.apart_km, axis=1) <= reach_km))
    keep = keep[_distinct(first[keep], second[keep], times[keep])]
    half_s = np.sqrt(np.maximum(0.0, reach_km**2 - lowest[keep]) / bend[keep])
    enter, leave = np.clip(times[keep] - half_s, *window_s), np.clip(times[keep] + half_s, *window_s)
    clipped = (enter <= window_s[0]) | (leave >= window_s[1])
    one = np.ones(keep.size, np.int32)
    return table(reference, first[keep], second[keep], held[keep], states.take(keep), enter, leave, one, 0 * one, clipped)


def _minimise(reference: Reference, first: IntArray, second: IntArray, guess_s: FloatArray) -> tuple[FloatArray, PairStates]:
    """Newton's method on the range rate of each pair; what does not settle keeps its last time."""
    times = guess_s.copy()
    states = reference.pairs(first, second, times)
    todo = np.arange(first.size)
    for _ in range(_ROUNDS):
        part = states.take(todo)
        step = np.clip(np.nan_to_num(part.newton_s()), -60.0, 60.0)
        moving = (np.abs(step) > CONVERGED_S) & part.ok
        todo, step = todo[moving], step[moving]
        if not todo.size:
            break
        times[todo] += step
        states.put(todo, reference.pairs(first[todo], second[todo], times[todo]))
    return times, states


def _distinct(first: IntArray, second: IntArray, times_s: FloatArray) -> npt.NDArray[np.intp]:
    """Return places of one of each: neighbouring steps find the same minimum, to microseconds."""
    order = np.lexsort((times_s, second, first))
    same = (np.diff(first[order]) == 0) & (np.diff(second[order]) == 0) & (np.diff(times_s[order]) < 1.0)
    return np.asarray(order[np.concatenate([np.ones(min(1, order.size), np.bool_), ~same])])


def table(
    reference: Reference,
    first: IntArray,
    second: IntArray,
    tca_s: FloatArray,
    states: PairStates,
    enter_s: FloatArray,
    leave_s: FloatArray,
    minima: IntArray,
    kind: IntArray,
    clipped: BoolArray,
) -> ApproachTable:
    """Make the columns of approaches from the pairs' states at their times."""
    rtn_km, rtn_km_s = states.rtn()
    return ApproachTable(
        primary=first,
        secondary=second,
        tca_s=tca_s,
        miss_km=np.linalg.norm(states.apart_km, axis=1),
        speed_km_s=np.linalg.norm(states.drift_km_s, axis=1),
        rtn_km=rtn_km,
        rtn_km_s=rtn_km_s,
        enter_s=enter_s,
        leave_s=leave_s,
        minima=minima,
        kind=kind,
        clipped=clipped,
        primary_age_s=tca_s - reference.epoch_s[first],
        secondary_age_s=tca_s - reference.epoch_s[second],
    )


def piercing(reference: Reference, found: ApproachTable, volume: Volume) -> BoolArray:
    """Say of approaches (M,) whether the secondary enters `volume`, turning with the primary, at any time of its stretch.

    The stretch is sampled on the trajectories themselves, then again, finer, about the deepest sample: three levels of 33 find
    the depth of a crossing to some metres. Of a stretch that lasts for hours the first level is one sample a minute.
    """
    inside = np.zeros(len(found), np.bool_)
    long = found.leave_s - found.enter_s > 60.0 * (_SAMPLES - 1)
    for rows in _portions(np.flatnonzero(~long), 4096):
        inside[rows] = _deepest(reference, found.take(rows), volume, _SAMPLES) <= 1.0
    for row in np.flatnonzero(long):
        samples = int((found.leave_s[row] - found.enter_s[row]) / 60.0) + 2
        inside[row] = _deepest(reference, found.take(np.array([row])), volume, samples)[0] <= 1.0
    return inside


def _deepest(reference: Reference, found: ApproachTable, volume: Volume, samples: int) -> FloatArray:
    low, high = found.enter_s, found.leave_s
    best = np.full(len(found), np.inf)
    for level in range(_LEVELS):
        count = samples if level == 0 else _SAMPLES
        times = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, count)
        states = reference.pairs(np.repeat(found.primary, count), np.repeat(found.secondary, count), times.ravel())
        depth = np.where(states.ok, volume.depth(states.rtn()[0]), np.inf).reshape(times.shape)
        at = depth.argmin(axis=1)
        best = np.minimum(best, depth[np.arange(len(found)), at])
        low = times[np.arange(len(found)), np.maximum(at - 1, 0)]
        high = times[np.arange(len(found)), np.minimum(at + 1, count - 1)]
    return best


def _portions(rows: npt.NDArray[np.intp], size: int) -> list[npt.NDArray[np.intp]]:
    return [rows[n : n + size] for n in range(0, rows.size, size)]


def relative_path(reference: Reference, one: Approach, half_s: float, samples: int = 401) -> tuple[FloatArray, FloatArray]:
    """Return seconds after TCA (T,) and where the secondary then stands in the primary's RTN frame (T, 3), km.

    Times at which SGP4 does not place both are left out.
    """
    since = np.linspace(-half_s, half_s, samples)
    first, second = np.full(samples, one.primary, np.int32), np.full(samples, one.secondary, np.int32)
    states = reference.pairs(first, second, one.tca_s + since)
    return since[states.ok], states.rtn()[0][states.ok]
