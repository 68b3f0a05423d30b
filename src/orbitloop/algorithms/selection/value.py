"""Value per byte, and value per byte times novelty: what is worth its place in the next pass.

Role: order stored samples by what they bring for what they cost, until the budget is spent. It leaves the value itself to the
miner and the budgets to the pass planner and the power guard.

Cost is the share of the scarcer budget, cost_i = max(bytes_i / budget_bytes, J_i / budget_j): value per byte where bytes are
scarce, value per joule where energy is. The cost-benefit greedy rule is Leskovec et al., Cost-effective Outbreak Detection in
Networks (KDD 2007), 3.

Novelty is the k-centre gain (Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR
2018, 3.2): the cosine distance d_i to the nearest embedding that went down before or is already chosen. Backbone embeddings of
one sensor lie close together, so d is measured in units of the pool's own mean pairwise distance, 1 - |mean of the unit
vectors|^2, and clipped to 0..1:

    gain_i = value_i * (floor + (1 - floor) * min(1, d_i / spread)) ** diversity / cost_i ** cost_power

`diversity` = 0 is value alone. The `floor` keeps a repeat worth something, so that a spare budget is not left unused.
Ties go to the older sample, then to the one that stands first. The generator is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.selection.budget import Budget, fill
from orbitloop.records.sample import Candidate

Vector = npt.NDArray[np.float64]
_MIN_SPREAD = 1e-9
_MIN_COST = 1e-12


class Value:
    """Best value per cost first."""

    summary = "Best value per byte first (per joule where energy is scarcer)."

    def __init__(self, *, cost_power: float = 1.0) -> None:
        self._cost_power = _not_negative("cost_power", cost_power)

    def select(
        self,
        candidates: Sequence[Candidate],
        *,
        budget_bytes: int,
        budget_j: float,
        sent_embeddings: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> list[int]:
        worth = _worth(candidates, budget_bytes, budget_j, self._cost_power)
        order = sorted(range(len(candidates)), key=lambda i: (-worth[i], candidates[i].captured_at_s, i))
        return fill(candidates, order, Budget(budget_bytes, budget_j))


class ValueDiversity:
    """Best value per cost times novelty first, novelty counted anew after each choice."""

    summary = "Best value per byte first, and the less a sample resembles what is sent or chosen, the better (default)."

    def __init__(self, *, diversity: float = 1.0, floor: float = 0.05, cost_power: float = 1.0) -> None:
        if not 0.0 <= floor <= 1.0:
            raise ValueError(f"floor must lie in 0..1, not {floor!r}")
        self._diversity = _not_negative("diversity", diversity)
        self._cost_power = _not_negative("cost_power", cost_power)
        self._floor = float(floor)

    def select(
        self,
        candidates: Sequence[Candidate],
        *,
        budget_bytes: int,
        budget_j: float,
        sent_embeddings: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> list[int]:
        if not candidates:
            return []
        worth = _worth(candidates, budget_bytes, budget_j, self._cost_power)
        pool = _unit(np.stack([c.embedding for c in candidates]))
        sent = _unit(np.asarray(sent_embeddings)) if np.size(sent_embeddings) else np.zeros((0, pool.shape[1]))
        distance = 1.0 - (pool @ sent.T).max(axis=1) if len(sent) else np.full(len(pool), np.inf)
        spread = max(_MIN_SPREAD, 1.0 - float(np.square(np.concatenate([pool, sent]).mean(axis=0)).sum()))
        budget, chosen = Budget(budget_bytes, budget_j), list[int]()
        ages = np.array([c.captured_at_s for c in candidates])
        open_ = np.array([budget.fits(c) for c in candidates])
        while open_.any():
            novelty = self._floor + (1.0 - self._floor) * np.clip(distance / spread, 0.0, 1.0)
            best = _first(worth * novelty**self._diversity, ages, open_)
            open_[best] = False
            if budget.take(candidates[best]):
                chosen.append(best)
                distance = np.minimum(distance, 1.0 - pool @ pool[best])
        return chosen


def _first(gain: Vector, ages: Vector, open_: npt.NDArray[np.bool_]) -> int:
    """Return the open candidate of the highest gain, the oldest of equals."""
    index = np.flatnonzero(open_)
    return int(index[np.lexsort((index, ages[index], -gain[index]))[0]])


def _worth(candidates: Sequence[Candidate], budget_bytes: int, budget_j: float, cost_power: float) -> Vector:
    """Return value / cost ** cost_power (N,); a value that is no number is worth nothing."""
    value = np.nan_to_num(np.array([c.value for c in candidates], np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    share_bytes = np.array([c.size_bytes for c in candidates], np.float64) / max(1, budget_bytes)
    share_j = np.array([c.transmit_j for c in candidates], np.float64) / max(_MIN_COST, budget_j)
    cost = np.maximum(_MIN_COST, np.maximum(share_bytes, share_j))
    return np.asarray(np.clip(value, 0.0, None) / cost**cost_power, np.float64)


def _unit(vectors: npt.NDArray[np.float32]) -> Vector:
    """Return rows (N, D) scaled to length 1; a row of zeros or non-numbers stays zero."""
    rows = np.nan_to_num(vectors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > 0), np.float64)


def _not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be 0 or more, not {value!r}")
    return float(value)
