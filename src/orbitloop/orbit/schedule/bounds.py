"""How much any plan can gain at most: an upper bound for problems of any size, and the prices and flows that come with it.

Lagrangian relaxation. Each tick of an antenna gets a price p, each tick of a satellite a price q, constant over bins of time.
For any prices >= 0

    bound = sum of prices x ticks that there are + sum over satellites of the most that each gains by itself, prices paid

is at least the gain of every plan. Alone, a satellite may send in any pieces of its passes, as long as what it has sent when a
pass closes was captured by then: taking pieces by rising close and dropping the cheapest whenever more is held than was
captured is optimal (a heap; the sets of pieces form a laminar matroid). A pass's rate is constant between two knots of its
profile, so a piece's price per byte is exact up to the cheapest bin that it touches. Set-up and guard times are charged by the
share of the longest contact that the pass allows, at the cheapest bin around: never more than a plan pays. Storage limits and
energy are left out, a byte counts at the begin of its piece, and whole contacts are not asked for: all of that can only raise
the bound. Classes are stacked: the value of all bytes as the last class, plus what the better ones are worth beyond it.

The prices are found by subgradient steps of Polyak's length (Held, Wolfe, Crowder 1974) against the best plan known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule.dual import kernels
from orbitloop.orbit.schedule.kernels import Tables
from orbitloop.orbit.schedule.problem import BoolArray, FloatArray, Problem

BIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What no plan exceeds, value-weighted bytes; `flow` (M,) is the mean share of each window that the relaxation uses."""

    gain: float
    rounds: int
    flow: FloatArray

    def gap(self, gain: float) -> float:
        """Return how far a plan's gain is below the bound, share of the bound."""
        return (self.gain - gain) / self.gain if self.gain > 0 else 0.0


def upper_bound(
    problem: Problem,
    tables: Tables,
    rounds: int,
    known_gain: float = 0.0,
    bin_s: float = BIN_S,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bound:
    """Return the least bound of `rounds` steps. `known_gain` of some plan makes the steps better, never the bound wrong."""
    t, n = tables, len(problem.satellites)
    per_bin = max(1, round(bin_s / problem.tick_s))
    bins = -(-problem.horizon_ticks // per_bin)
    rows = np.lexsort((t.open, t.close, t.sat)).astype(np.int32)
    worth, slope = _layers(t)
    room = np.minimum(per_bin, problem.horizon_ticks - np.arange(bins) * per_bin).astype(np.float64)
    have = t.antennas[:, None] * room[None, :]
    # The set-up after the last contact may lie beyond the horizon: the last bin has that much more.
    have[:, -1] += t.antennas * t.setup
    ground, board = np.zeros((len(problem.stations), bins)), np.zeros((n, bins))
    asked = float(np.sum(t.req_bytes * t.req_value))
    flow, counted = np.zeros(problem.size), 0
    best, step, stale, best_prices = np.inf, 1.0, 0, (ground, board)
    for done in range(rounds):
        ground_use, board_use, used = np.zeros_like(ground), np.zeros_like(board), np.zeros(problem.size)
        gain = kernels.all_best(t, rows, worth, slope, ground, board, per_bin, ground_use, board_use, used)
        value = gain + float(np.sum(ground * have)) + float(np.sum(board * room)) + asked
        stale = 0 if value < best * (1 - 1e-4) else stale + 1
        if value < best:
            best, best_prices = value, (ground, board)
        if 2 * done >= rounds:
            flow, counted = flow + used, counted + 1
        if stale >= 3:
            step, stale = step / 3, 0
            ground, board = best_prices
            continue
        over, busy = ground_use - have, board_use - room[None, :]
        over[(ground <= 0) & (over < 0)] = 0.0
        busy[(board <= 0) & (busy < 0)] = 0.0
        norm = float(np.sum(over**2) + np.sum(busy**2))
        progress(done + 1, rounds)
        if norm <= 0.0 or value - known_gain <= 0.0:
            break
        length = step * (value - 0.99 * max(known_gain, 0.5 * best)) / norm
        ground = np.maximum(0.0, ground + length * over)
        board = np.maximum(0.0, board + length * busy)
    return Bound(best, done + 1 if rounds else 0, flow / max(1, counted))


def _layers(t: Tables) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (N, C) values by layer: layer c is by how much a byte of classes 0 to c is worth more than one of those after.

    Where a later class is worth more than an earlier one, the earlier is taken as worth as much.
    """
    worth, slope = (np.maximum.accumulate(a[:, ::-1], axis=1)[:, ::-1] for a in (t.worth, t.slope))
    out = []
    for a in (worth, slope):
        after = np.concatenate([a[:, 1:], np.zeros((a.shape[0], 1))], axis=1)
        out.append(np.ascontiguousarray(a - after))
    return out[0], out[1]


def not_withheld(problem: Problem, tables: Tables, rounds: int, least: float = 0.05) -> BoolArray:
    """Return which opportunities (M,) the relaxation sends over: those whose window it uses, in the mean, to a share `least`.

    This is withholding after Umbra: the fluid solution over space and time says where data should go down, and a satellite
    keeps its data from the others.
    """
    bound = upper_bound(problem, tables, rounds)
    return np.asarray(bound.flow >= least, np.bool_)
