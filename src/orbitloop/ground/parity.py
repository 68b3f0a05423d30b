"""The parity gate: the exported model must compute what the trained one computes, or it does not fly.

Users of export tools meet models that differ from what they trained (ultralytics #22422); here a difference is an error. The
comparison is made anchor by anchor before non-maximum suppression, which would turn a difference in the last bit into another
choice of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ExportError

MAX_BOX_DIFFERENCE_PX = 0.1
MAX_SCORE_DIFFERENCE = 0.002


@dataclass(frozen=True, slots=True)
class Parity:
    """How close two implementations are: rows compared, the worst box and score difference among them."""

    rows: int
    worst_box_px: float
    worst_score: float


def check_parity(reference: npt.NDArray[np.float32], runtime: npt.NDArray[np.float32], floor: float) -> Parity:
    """Compare decoded output rows (B, A, 5 + C): cx, cy, w, h in pixels, objectness, class probabilities.

    Args:
        reference: of the trained network.
        runtime: of the exported one, same tiles.
        floor: boxes are compared where either side's score reaches it; scores are compared everywhere.

    Raises:
        ExportError: there is nothing to compare, shapes differ, or a box or score differs by more than the last bits of
            float32 explain.
    """
    if reference.shape != runtime.shape:
        raise ExportError(f"the exported model gives {runtime.shape}, the trained one {reference.shape}")
    if reference.size == 0:
        raise ExportError("no tile to compare the exported model on", remedy="give the parity gate at least one tile")
    ours, theirs = (rows[..., 4:5] * rows[..., 5:] for rows in (reference, runtime))
    score_gap = np.abs(ours - theirs).max(axis=-1)
    seen = np.maximum(ours, theirs).max(axis=-1) >= floor
    box_gap = np.where(seen, np.abs(reference[..., :4] - runtime[..., :4]).max(axis=-1), 0)
    worst_box, worst_score = float(box_gap.max(initial=0.0)), float(score_gap.max(initial=0.0))
    close = (score_gap <= MAX_SCORE_DIFFERENCE) & (box_gap <= MAX_BOX_DIFFERENCE_PX)  # a NaN is not close
    if not close.all():
        tile = int(np.argwhere(~close)[0, 0])
        raise ExportError(
            f"the exported model differs from the trained one: scores by {worst_score:.4f}, "
            f"boxes by {worst_box:.3f} px (tile {tile})",
            remedy="the export is refused; compare the network's layers with the graph writer's",
        )
    return Parity(int(seen.sum()), worst_box, worst_score)
