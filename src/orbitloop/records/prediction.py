"""What a model said of a tile or a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N boxes, best score first.

    Shapes: `boxes_xyxy_px` (N, 4) float32, in pixels of the frame they were made for; `scores` (N,) float32 in 0..1
    (objectness x class probability); `classes` (N,) int32 indices into the model's class list.
    """

    boxes_xyxy_px: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        n = self.scores.shape[0]
        if self.boxes_xyxy_px.shape != (n, 4) or self.classes.shape != (n,):
            raise ValueError(f"shapes differ: boxes {self.boxes_xyxy_px.shape}, scores {(n,)}, classes {self.classes.shape}")

    def __len__(self) -> int:
        return int(self.scores.shape[0])

    @classmethod
    def empty(cls) -> Detections:
        """Return zero detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def above(self, score: float) -> Detections:
        """Keep the detections whose score is at least `score`."""
        keep = self.scores >= score
        return Detections(self.boxes_xyxy_px[keep], self.scores[keep], self.classes[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A tile's detections down to the model's candidate threshold, and its embedding.

    `embedding` is (D,) float32, the L2-normalised mean of the last backbone map: a fingerprint for diversity and novelty.
    """

    detections: Detections
    embedding: npt.NDArray[np.float32]
