"""What a selector must beat: the order of capture, and a shuffle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.selection.budget import Budget, fill
from orbitloop.records.sample import Candidate


class Fifo:
    """Oldest first, as a plain downlink queue does."""

    summary = "Oldest sample first."

    def select(
        self,
        candidates: Sequence[Candidate],
        *,
        budget_bytes: int,
        budget_j: float,
        sent_embeddings: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> list[int]:
        order = sorted(range(len(candidates)), key=lambda i: (candidates[i].captured_at_s, i))
        return fill(candidates, order, Budget(budget_bytes, budget_j))


class RandomOrder:
    """A shuffle under the same budget: the fair baseline at equal bytes."""

    summary = "A random choice under the same budget: the fair baseline."

    def select(
        self,
        candidates: Sequence[Candidate],
        *,
        budget_bytes: int,
        budget_j: float,
        sent_embeddings: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> list[int]:
        order = [int(i) for i in rng.permutation(len(candidates))]
        return fill(candidates, order, Budget(budget_bytes, budget_j))
