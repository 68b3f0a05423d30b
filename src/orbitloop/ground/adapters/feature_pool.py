"""Features of a pool of augmented views below the lowest layer that trains, computed once and kept in bf16.

What lies below that layer does not change while it trains, so its part of the forward pass need not be repeated. It leaves the
views and the training itself to `torch_trainer`. The pool is bounded: no more views than are drawn, or than the memory holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from orbitloop.ground.adapters.torch_trainer import TrainingPlan
    from orbitloop.ground.adapters.torch_trainer import _Run as TrainingRun

MAX_POOL_BYTES = 2 << 30
"""Most memory that cached features may take; beyond it there are fewer views of each picture."""


class FeaturePool:
    """Features of a pool of views below the lowest layer that trains: (N, C, h, w) bf16 per layer that is read above."""

    def __init__(
        self, kept: dict[int, Tensor], targets: list[Tensor], fresh: npt.NDArray[np.bool_], replay_share: float
    ) -> None:
        self.kept, self.targets, self.replay_share = kept, targets, replay_share
        self.fresh, self.old = np.flatnonzero(fresh), np.flatnonzero(~fresh)

    @classmethod
    def build(cls, run: TrainingRun) -> FeaturePool:
        """Draw the views of a training and keep their features."""
        plan = run.plan
        rng = np.random.default_rng([plan.seed, 2])
        count, old_count = pool_size(plan, len(run.new), len(run.old), cls.view_bytes(run))
        picks = [(True, i % len(run.new)) for i in range(count)]
        picks += [(False, int(i)) for i in rng.integers(max(1, len(run.old)), size=old_count)]
        kept: dict[int, Tensor] = {}
        targets: list[Tensor] = []
        with torch.no_grad(), torch.autocast(run.trainer.device.type, torch.bfloat16):
            for first in range(0, len(picks), plan.batch):
                pixels, rows = run.views(picks[first : first + plan.batch], rng)
                part = run.network.features(pixels, run.start)
                for layer, t in part.items():  # into one tensor from the start: joining parts would take the memory twice
                    whole = kept.setdefault(layer, t.new_empty((len(picks), *t.shape[1:]), dtype=torch.bfloat16))
                    whole[first : first + len(t)] = t
                targets += [rows[rows[:, 0] == k] for k in range(len(pixels))]
        return cls(kept, targets, np.array([fresh for fresh, _ in picks]), plan.replay_share if run.old else 0.0)

    @staticmethod
    def view_bytes(run: TrainingRun) -> int:
        """Return what the features of one view take."""
        size = run.trainer.tile_px
        blank = torch.zeros((1, 3, size, size), device=run.trainer.device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            return sum(2 * t.numel() for t in run.network.features(blank, run.start).values())

    def batch(self, rng: np.random.Generator, count: int) -> tuple[dict[int, Tensor], Tensor]:
        """Draw `count` kept views, the replayed share among them: features per layer, and targets (T, 6)."""
        replayed = round(count * self.replay_share) if len(self.old) else 0
        picks = rng.choice(self.fresh, size=count - replayed, replace=len(self.fresh) < count - replayed)
        if replayed:
            picks = np.concatenate([picks, rng.choice(self.old, size=replayed, replace=len(self.old) < replayed)])
        index = torch.from_numpy(picks.astype(np.int64))
        kept = {layer: t[index].contiguous(memory_format=torch.channels_last) for layer, t in self.kept.items()}
        rows = []
        for position, pick in enumerate(picks):
            row = self.targets[int(pick)].clone()
            row[:, 0] = position
            rows.append(row)
        return kept, torch.cat(rows)


def pool_size(plan: TrainingPlan, new: int, old: int, view_bytes: int) -> tuple[int, int]:
    """Return how many views of new and of old pictures to keep: no more than are drawn, or than the memory holds."""
    most = plan.steps * plan.batch
    count = min(plan.views * new, most)
    old_count = min(round(count * plan.replay_share / max(1e-9, 1 - plan.replay_share)), most) if old else 0
    room = MAX_POOL_BYTES // max(1, view_bytes)
    if count + old_count > room:
        old_count = max(min(1, old_count), room * old_count // (count + old_count))
        count = max(1, room - old_count)
    return count, old_count
