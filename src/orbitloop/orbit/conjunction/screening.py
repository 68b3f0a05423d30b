"""Screening: every close approach of all objects of a catalogue, or of a few with all, in a window of days; none is lost.

What is guaranteed
------------------
Every time at which two objects' SGP4 trajectories are within the reach D lies in an approach that is reported, under one
hypothesis (H) that is measured on the way. Not covered: what SGP4 itself is off (a kilometre at the epoch, more with age), and
an object from half a step after the last node at which SGP4 still places it.

Nodes stand h apart (120 s); every time is within tau = h/2 of one. (H): within tau of a node, SGP4's motion leaves that under
gravity (point mass and J2) from the node's state by at most a slack e_i for object i. Each step measures it: the corrected
trapezium between nodes would close but for SGP4's own inconsistency of velocity, drag and periodics (over 120 s: half of all
objects 2 m, one in a thousand 130 m, decaying ones up to some hundreds). e_i is twice the largest such defect of the block, and
10 m, and half the steps as long: a fourfold margin where the error grows evenly.

1. *Sieve.* Let |x_i - x_j| <= D at t* = t_k + s, |s| <= tau.
   Radius: |r_i - r_j| <= D at t*, and each radius has left its node's by at most
   w = (|r'| tau + tau^2/2 (|r''| + c)) / (1 - G tau^2) + e, for dr''/dr is at most 2 G in size and J2 adds at most c.
   Angle: at t* the directions are at most D (1/r_i + 1/r_j) / 2 apart (sin a <= D / max r), and each has turned by at most
   |v_t| r tau / (r - w)^2: angular momentum is kept but for J2's torque, which the factor 1.001 covers.
   So both objects stand in one radial bin and in neighbouring cells of declination and right ascension (`kernels`).
2. *Straight line.* With x, v relative at the node, Taylor's remainder at s is the integral of (s - u) a(u). Both objects feel
   gravity whose gradient is at most G = 3.2e-6 / s^2, so |a(u)| <= G |x(u)|, and looking back from t*,
   |x(u)| <= D + V (s - u), V being the largest relative speed meanwhile. Hence
   |x(t*) - (x + v s)| <= G D tau^2 / 2 + G V tau^3 / 3 + e_i + e_j, with V <= (|v| + G tau D) / (1 - G tau^2).
   A pair whose straight line stays farther off than D and this pad is no candidate.
3. *Curved line.* Candidates faster than 2 `slow` (below) are flown by one Runge-Kutta step to the minimum (its own error at
   60 s is 0.1 m in low orbits) and kept within D + e_i + e_j.
4. *One minimum.* f = |x|^2 has f'' = 2 (v^2 + x.a) >= 2 (v^2 - G |x|^2) > 0 while |x| < |v| / sqrt(G). `slow` is 6 sqrt(G) D,
   so a faster pair has one minimum in each stretch within reach, and Newton's method on SGP4 itself finds it (`refine`).
   Slower pairs are sampled by SGP4 over the whole run of steps in which they are candidates (`comoving`). A run is slow when
   one of its steps is: within a run the speed changes by less than G |x| times its length, 0.3 `slow` at h = 120 s and 0.7 at
   240 s, so every step of such a run is below 2 `slow`, and candidates below that are all kept.

Cost: nodes x objects for propagation and sorting; comparisons grow as the square of how many share a shell. Memory: one block
of nodes (`BLOCK_BYTES`, whatever the catalogue), 0.4 kB an object, and what is found (24 bytes a candidate, 150 an approach).

Reading elements, names and progress are left to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sgp4.api import SGP4_ERRORS

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.approach import ApproachTable, BoolArray, IntArray, Volume
from orbitloop.orbit.conjunction.comoving import drifts
from orbitloop.orbit.conjunction.gravity import GRADIENT_PER_S2
from orbitloop.orbit.conjunction.refine import Reference, crossings, piercing
from orbitloop.orbit.conjunction.sieve import INSTANTS, may_meet, radius_ranges
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.propagate import Engine, FleetPropagator

STEP_S = 120.0
BLOCK_BYTES = 4 << 20
MAX_DAYS = 31.0
_STATE_BYTES = 48
_LEAST_SLACK_KM = 0.01
_SLOW = 6.0
_SLOW_KIND = 2  # of `kernels`: 1 is fast, 3 less than twice as fast as slow
_PORTION = 1 << 14


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that SGP4 does not place all through the window; it is screened where it is placed at the steps' nodes.

    `from_s` is the first time (to a second) at which it is not placed, `lost_nodes` of `nodes` how many nodes lack it.
    """

    index: int
    from_s: float
    lost_nodes: int
    nodes: int
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Screening:
    """What was found between `start_s` and `end_s`, UTC seconds; `asked_end_s` is later where it was interrupted.

    `candidates` counts pairs and steps that passed the sieve, `compared` pairs and steps that it looked at; `objects` those
    that took part after the filter by perigee and apogee. `largest_slack_km` is the largest e_i.
    """

    start_s: float
    end_s: float
    asked_end_s: float
    volume: Volume
    step_s: float
    engine: str
    approaches: ApproachTable
    failures: tuple[Failure, ...]
    objects: int
    compared: int
    candidates: int
    largest_slack_km: float

    @property
    def complete(self) -> bool:
        return self.end_s >= self.asked_end_s


class Screener:
    """One screening, block by block, so that a caller can show progress, stop, and still have what was found.

    >>> screener = Screener(elements, start_s, start_s + 86400.0)    # doctest: +SKIP
    >>> for until_s in screener.blocks():                            # doctest: +SKIP
    ...     print(until_s)
    >>> screener.result().approaches                                 # doctest: +SKIP
    """

    def __init__(
        self,
        elements: Sequence[Elements],
        start_s: float,
        end_s: float,
        *,
        volume: Volume | None = None,
        primaries: Sequence[int] | None = None,
        step_s: float = STEP_S,
        engine: Engine = "auto",
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """Prepare a screening.

        Args:
            elements: N objects, each once (two element sets of one object meet all day long).
            start_s, end_s: the window, UTC seconds, up to 31 days.
            volume: what counts as close; default a sphere of 5 km.
            primaries: places of the objects to compare with all; None compares all with all.
            step_s: nodes' distance at most, 10 to 240 s.
            engine: of propagation at the nodes, as `FleetPropagator` has it; what is found is solved by sgp4 in any case.
            block_bytes: size of one block of states.

        Raises:
            ConjunctionError: window, step or primaries make no sense.
        """
        if not (math.isfinite(start_s) and math.isfinite(end_s) and 0.0 < end_s - start_s <= MAX_DAYS * DAY_S):
            raise ConjunctionError("the window is empty, or longer than 31 days", remedy="give --days from above 0 to 31")
        if not 10.0 <= step_s <= 240.0:
            raise ConjunctionError(f"a step of {step_s:g} s", remedy="give 10 to 240 s")
        chosen = np.zeros(len(elements), np.bool_)
        for index in range(len(elements)) if primaries is None else primaries:
            if not 0 <= index < len(elements):
                raise ConjunctionError(f"there is no object {index} among {len(elements)}")
            chosen[index] = True
        self.volume = volume or Volume.sphere(5.0)
        self._elements, self._primaries, self._all = tuple(elements), chosen, bool(chosen.all())
        self._start_s, self._asked_end_s = start_s, end_s
        # Two at least: what leaves (H) shows between nodes only.
        self._nodes = max(2, math.ceil((end_s - start_s) / step_s))
        self.step_s = (end_s - start_s) / self._nodes
        self._members = self._sieved(engine)
        self._fleet = FleetPropagator([self._elements[n] for n in self._members.tolist()], engine=engine)
        self._size = max(2, block_bytes // (_STATE_BYTES * max(1, self._members.size)))
        self._done = 0
        self._pairs: list[IntArray] = []
        self._guess_s: list[FloatArray] = []
        self._lost = np.zeros(self._members.size, np.int64)
        self._first_lost = np.full(self._members.size, -1, np.int64)
        self._compared, self._slackest_km = 0, 0.0

    @property
    def done_s(self) -> float:
        """Until when the screening is complete."""
        return self._asked_end_s if self._done == self._nodes else self._start_s + self._done * self.step_s

    @property
    def engine(self) -> str:
        return self._fleet.engine

    @property
    def objects(self) -> int:
        """How many objects take part."""
        return int(self._members.size)

    def blocks(self) -> Iterator[float]:
        """Scan on from where it stands, block by block; yields until when it is complete."""
        prepare, scan = _compiled()
        count, half_s, reach_km = self._members.size, self.step_s / 2.0, self.volume.reach_km
        slow_km_s = _SLOW * math.sqrt(GRADIENT_PER_S2) * reach_km
        role = np.where(self._primaries[self._members], 2, 1).astype(np.uint8)
        last = np.full((count, 6), np.nan)
        state, good, defect = np.empty((self._size, 6, count)), np.empty((self._size, count), np.bool_), np.empty(count)
        pairs, values = np.empty((1 << 14, 4), np.int32), np.empty((1 << 14, 3))
        while self._done < self._nodes:
            begin = self._done
            size = min(self._size, self._nodes - begin)
            times_s = self._start_s + self.step_s * (np.arange(begin, begin + size, dtype=np.float64) + 0.5)
            r_km, v_km_s, ok = self._fleet.states(times_s)
            prepare(r_km, v_km_s, ok, self.step_s, last, state, good, defect)
            slack = 2.0 * defect + _LEAST_SLACK_KM
            while True:
                found, compared = scan(
                    *(state[:size], good[:size], slack, role, half_s, reach_km, slow_km_s),
                    *(begin == 0, pairs, values),
                )
                if found <= len(pairs):
                    break
                pairs, values = np.empty((2 * found, 4), np.int32), np.empty((2 * found, 3))
            self._keep(pairs[:found], values[:found], times_s, begin)
            self._count_lost(ok, begin)
            self._compared += compared
            self._slackest_km = max(self._slackest_km, float(slack.max(initial=0.0)))
            self._done = begin + size
            yield self.done_s

    def result(self) -> Screening:
        """Solve what was found so far."""
        reference = Reference(self._elements)
        window = (self._start_s, self.done_s)
        pairs = np.concatenate([np.empty((0, 4), np.int32), *self._pairs])
        guess = np.concatenate([np.empty(0), *self._guess_s])
        found = _approaches(reference, pairs, guess, window, self.volume.reach_km, self.step_s) if self._done else None
        table = ApproachTable.empty() if found is None else found
        if self.volume.shape != "sphere":
            table = table.take(piercing(reference, table, self.volume))
        return Screening(
            *(self._start_s, self.done_s, self._asked_end_s, self.volume, self.step_s, self.engine),
            *(table, self._failures(reference), self.objects, self._compared, len(pairs), self._slackest_km),
        )

    def _sieved(self, engine: Engine) -> npt.NDArray[np.intp]:
        """Return the places of the objects that may meet a primary at all."""
        if self._all or not self._primaries.any():
            return np.flatnonzero(self._primaries)
        instants = np.linspace(self._start_s, self._asked_end_s, INSTANTS)
        r_km, v_km_s, _ = FleetPropagator(self._elements, engine=engine).states(instants)
        return np.flatnonzero(may_meet(*radius_ranges(r_km, v_km_s), self._primaries, self.volume.reach_km))

    def _keep(self, pairs: IntArray, values: FloatArray, times_s: FloatArray, begin: int) -> None:
        """Take a block's candidates over, by the objects' places in the list that was given, the primary first."""
        kept = pairs.copy()
        kept[:, :2] = self._members[pairs[:, :2]]
        if not self._all:
            turned = ~self._primaries[kept[:, 0]]
            kept[turned, :2] = kept[turned, 1::-1]
        kept[:, 2] += begin
        self._pairs.append(kept)
        self._guess_s.append(times_s[pairs[:, 2]] + values[:, 0])

    def _count_lost(self, ok: BoolArray, begin: int) -> None:
        lost = (~ok).sum(axis=1)
        fresh = (self._first_lost < 0) & (lost > 0)
        self._first_lost[fresh] = begin + np.argmin(ok[fresh], axis=1)
        self._lost += lost

    def _failures(self, reference: Reference) -> tuple[Failure, ...]:
        found = []
        for row in np.flatnonzero(self._lost):
            index, node = int(self._members[row]), int(self._first_lost[row])
            bad = self._start_s + (node + 0.5) * self.step_s
            from_s = _edge(reference, index, self._start_s if node == 0 else bad - self.step_s, bad)
            found.append(Failure(index, from_s, int(self._lost[row]), self._done, _why(reference, index, bad)))
        return tuple(found)


def screen(
    elements: Sequence[Elements],
    start_s: float,
    end_s: float,
    *,
    volume: Volume | None = None,
    primaries: Sequence[int] | None = None,
    step_s: float = STEP_S,
    engine: Engine = "auto",
) -> Screening:
    """Find every close approach in a window; see `Screener` for the arguments and for what it raises."""
    screener = Screener(elements, start_s, end_s, volume=volume, primaries=primaries, step_s=step_s, engine=engine)
    for _ in screener.blocks():
        pass
    return screener.result()


def _approaches(
    reference: Reference, pairs: IntArray, guess_s: FloatArray, window_s: tuple[float, float], reach_km: float, step_s: float
) -> ApproachTable:
    """Put candidates (M, 4) of one pair in neighbouring steps into runs, and solve each run as what it is."""
    order = np.lexsort((pairs[:, 2], pairs[:, 1], pairs[:, 0]))
    pairs, guess_s = pairs[order], guess_s[order]
    broken = (np.diff(pairs[:, :2], axis=0) != 0).any(axis=1) | (np.diff(pairs[:, 2]) > 1)
    begins = np.concatenate([np.zeros(min(1, len(pairs)), np.intp), np.flatnonzero(broken) + 1])
    ends = np.concatenate([begins[1:], [len(pairs)]])[: begins.size] - 1
    run = np.repeat(np.arange(begins.size), ends - begins + 1)
    slow = np.bincount(run, pairs[:, 3] == _SLOW_KIND, minlength=begins.size) > 0
    fast = np.flatnonzero(~slow[run])
    parts = [
        crossings(reference, pairs[rows, 0], pairs[rows, 1], guess_s[rows], window_s, reach_km)
        for rows in _portions(fast, pairs)
    ]
    first, last = begins[slow], ends[slow]
    begin_s = window_s[0] + pairs[first, 2] * step_s
    end_s = window_s[0] + (pairs[last, 2] + 1) * step_s
    period_s = np.array([one.period_s for one in reference.elements])
    parts.append(drifts(reference, pairs[first, 0], pairs[first, 1], begin_s, end_s, window_s, reach_km, period_s))
    return ApproachTable.join(parts)


def _compiled() -> tuple[Any, Any]:
    """Return the kernels.

    Raises:
        ConjunctionError: numba is not installed.
    """
    try:
        from orbitloop.orbit.conjunction.kernels import prepare, scan
    except ImportError as error:
        raise ConjunctionError("screening needs numba", remedy="pip install 'orbitloop[space]'") from error
    return prepare, scan


def _portions(rows: npt.NDArray[np.intp], pairs: IntArray) -> list[npt.NDArray[np.intp]]:
    """Split candidates so that what is solved at once stays small, never between two of one pair."""
    portions, begin = [], 0
    while begin < rows.size:
        end = min(begin + _PORTION, rows.size)
        while end < rows.size and (pairs[rows[end], :2] == pairs[rows[end - 1], :2]).all():
            end += 1
        portions.append(rows[begin:end])
        begin = end
    return portions


def _edge(reference: Reference, index: int, good_s: float, bad_s: float) -> float:
    """Return the first second at which an object is not placed, from `good_s` on."""
    if not reference.states(np.array([index]), np.array([good_s]))[2][0]:
        return good_s
    while bad_s - good_s > 1.0:
        middle = 0.5 * (good_s + bad_s)
        ok = reference.states(np.array([index]), np.array([middle]))[2][0]
        good_s, bad_s = (middle, bad_s) if ok else (good_s, middle)
    return bad_s


def _why(reference: Reference, index: int, when_s: float) -> str:
    record = reference.record(index)
    if record is None:
        return "SGP4 refuses its elements"
    code = record.sgp4(2_440_587.5 + when_s // DAY_S, when_s % DAY_S / DAY_S)[0]
    return "it has decayed" if code == 6 else SGP4_ERRORS.get(code) or "its state is not a number"
