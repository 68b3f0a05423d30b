"""Plans of any size, fast: contacts by what a second of antenna brings, then local search.

Construction is a lazy greedy insertion: an opportunity's gain falls as the plan grows, so what was not worth taking at a
threshold need not be looked at before the threshold has come down to it. Local search pushes a random opportunity in, takes
out what is in its way, gives those satellites the best other passes near, and keeps the result if it gains or, by simulated
annealing, sometimes if not (ruin and recreate, Schrimpf et al. 2000; ejections after Karapetyan et al. 2015 on RADARSAT-2).
How far from the best a plan can be at most is `bounds`' to say. Leaves to others: prices (`bounds`), repair (`replan`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule import bounds, kernels
from orbitloop.orbit.schedule.board import Board
from orbitloop.orbit.schedule.jit import COMPILED
from orbitloop.orbit.schedule.policies import Policy
from orbitloop.orbit.schedule.problem import Problem
from orbitloop.orbit.schedule.search import kernels as search

THRESHOLD_STEP = 0.8
REACH = 6
"""How many opportunities to either side a satellite that lost a contact looks at."""
ROUNDS = 8
HEAT, COLD, COOL = 1.0, 0.003, 0.01
"""Temperatures of the local search at its begin and end, shares of the mean gain of a contact; `COOL` is where it begins when
there are too few moves to heat and cool again."""
ENOUGH_MOVES = 50

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long local search goes on: moves for each opportunity, no fewer than `least` and no more than `most` in all."""

    per_opportunity: float = 400.0 if COMPILED else 20.0
    least: int = 20_000 if COMPILED else 0
    most: int = 250_000 if COMPILED else 2_000


def solve(
    problem: Problem,
    policy: Policy,
    rng: np.random.Generator,
    effort: Effort | None = None,
    progress: Progress = lambda done, total: None,
) -> Board:
    """Plan, and return the board with the plan on it. Deterministic for one state of the generator."""
    board = Board(problem, rng)
    rows = np.arange(problem.size, dtype=np.int64)
    if not problem.size:
        return board
    t, s = board.tables, board.state
    if policy.prices:
        rows = rows[bounds.not_withheld(problem, t, policy.prices)]
    if policy.order == "aos":
        kernels.in_order(t, s, rows, policy.trim)
    else:
        kernels.by_worth(t, s, rows, policy.trim, policy.order == "density", THRESHOLD_STEP, 0)
    if policy.search:
        improve(board, rows, effort or Effort(), progress)
    return board


def improve(board: Board, rows: npt.NDArray[np.int64], effort: Effort, progress: Progress = lambda d, n: None) -> None:
    """Better the plan on a board by local search over some opportunities; never makes it worse."""
    t, s = board.tables, board.state
    moves = int(min(max(effort.per_opportunity * rows.size, effort.least), effort.most))
    if moves < rows.size:  # so few that the time is better saved
        return
    best, best_gain = board.contacts(), board.gain
    typical = best_gain / max(1, board.size)
    heat, cold = (HEAT if moves >= ENOUGH_MOVES * rows.size else COOL) * typical, COLD * typical
    for done in range(ROUNDS):
        warm = heat * (cold / heat) ** (done / ROUNDS) if heat > 0 else 0.0
        cool = heat * (cold / heat) ** ((done + 1) / ROUNDS) if heat > 0 else 0.0
        search.anneal(t, s, rows, moves // ROUNDS, warm, cool, REACH, True)
        kernels.stretch_all(t, s, True)
        if board.gain > best_gain:
            best, best_gain = board.contacts(), board.gain
        progress(done + 1, ROUNDS)
    if board.gain < best_gain:
        board.restore(*best)
