"""What may still be sent in a pass: bytes and joules, spent one sample at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orbitloop.records.sample import Candidate


class Budget:
    """Bytes and joules left for a pass. Never overspent; negative or NaN budgets buy nothing."""

    def __init__(self, budget_bytes: int, budget_j: float) -> None:
        self._bytes = budget_bytes
        self._j = budget_j
        self._spent_bytes = 0
        self._spent_j = 0.0

    def fits(self, candidate: Candidate) -> bool:
        """Say whether one more sample can be paid for."""
        return self._spent_bytes + candidate.size_bytes <= self._bytes and self._spent_j + candidate.transmit_j <= self._j

    def take(self, candidate: Candidate) -> bool:
        """Pay for a sample; False, and nothing spent, when it does not fit."""
        if not self.fits(candidate):
            return False
        self._spent_bytes += candidate.size_bytes
        self._spent_j += candidate.transmit_j
        return True


def fill(candidates: Sequence[Candidate], order: Iterable[int], budget: Budget) -> list[int]:
    """Take candidates in order; one that does not fit is left out and holds up none after it."""
    return [i for i in order if budget.take(candidates[i])]
