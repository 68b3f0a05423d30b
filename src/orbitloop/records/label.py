"""What the ground says a sample shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_NUMBER = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """N true boxes. Shapes: `xyxy_px` (N, 4) float32, `classes` (N,) int32."""

    xyxy_px: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        n = self.classes.shape[0]
        if self.xyxy_px.shape != (n, 4):
            raise ValueError(f"shapes differ: boxes {self.xyxy_px.shape}, classes {(n,)}")

    def __len__(self) -> int:
        return int(self.classes.shape[0])

    @classmethod
    def empty(cls) -> Boxes:
        """Return zero boxes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))

    def crop(self, x_px: float, y_px: float, width_px: float, height_px: float, min_visible: float = 0.35) -> Boxes:
        """Move the boxes into a window's frame, clip them to it, and drop those of which less than `min_visible` is left.

        The share is of the box's own area, so that a sliver at the border does not become a label.
        """
        if len(self) == 0:
            return self
        moved = self.xyxy_px - np.array([x_px, y_px, x_px, y_px], np.float32)
        clipped = np.clip(moved, 0, np.array([width_px, height_px, width_px, height_px], np.float32))
        area = np.prod(moved[:, 2:] - moved[:, :2], axis=1)
        left = np.prod(np.clip(clipped[:, 2:] - clipped[:, :2], 0, None), axis=1)
        keep = (left > 0) & (left >= min_visible * area)
        return Boxes(clipped[keep].astype(np.float32), self.classes[keep])

    def to_json(self) -> list[list[float]]:
        """Return rows of [x0, y0, x1, y1, class], rounded to a hundredth of a pixel."""
        return [[*(round(float(v), 2) for v in box), int(c)] for box, c in zip(self.xyxy_px, self.classes, strict=True)]

    @classmethod
    def from_json(cls, rows: Any) -> Boxes:
        """Read the rows that `to_json` wrote.

        Raises:
            ValueError: a row is not five numbers that a picture can have. Never anything else.
        """
        try:
            table = np.asarray(rows, dtype=np.float64)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"a box row is not numbers ({error})") from error
        if table.size == 0:
            return cls.empty()
        if table.ndim != 2 or table.shape[1] != 5 or not (np.abs(table) < _MAX_NUMBER).all():
            raise ValueError("a box row is [x0, y0, x1, y1, class]")
        return cls(table[:, :4].astype(np.float32), table[:, 4].astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image with its truth: what training and evaluation eat.

    `pixels` is (height, width, 3) uint8 RGB; `source` says who labelled it (`dataset`, `oracle`, `teacher`).
    """

    image_id: str
    domain: str
    pixels: npt.NDArray[np.uint8]
    boxes: Boxes
    source: str = "dataset"
