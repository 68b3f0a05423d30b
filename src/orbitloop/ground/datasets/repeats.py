"""Objects that were labelled twice: boxes of one class that lie on an earlier box of their image.

Two people who label one scene, or two exports merged into one file, leave each object with two boxes that differ by a pixel or
two. Whoever finds each object once then scores half, and a trained network learns nothing of it: only the labels show it. The
rule is greedy in the file's order: a box repeats when its IoU with a kept earlier box of its class is above `REPEAT_IOU`.

It is a sign, not a proof: long fields that lie beside each other at a slant have upright boxes that overlap as much, and are
two objects. So repeats are reported, and left out only where a mission asks for it (ADR 0009).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import nms
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry
from orbitloop.records.label import Boxes

REPEAT_IOU = 0.6
"""Above it two boxes of a class are taken for one object; ships at one quay and aircraft at one pier stay well under."""


@dataclass(frozen=True, slots=True)
class RepeatedBoxes:
    """One image of which some objects are labelled twice: `repeated` of its `boxes`."""

    image_id: str
    file: Path
    repeated: int
    boxes: int

    @property
    def what(self) -> str:
        return (
            f"{self.repeated} of {self.boxes} boxes lie on an earlier box of their class (IoU > {REPEAT_IOU}): labelled twice?"
        )


def is_repeat(boxes: Boxes, iou: float = REPEAT_IOU) -> npt.NDArray[np.bool_]:
    """Return which of N boxes (N,) repeat an earlier one that does not itself repeat another."""
    first = nms(boxes.xyxy_px, np.ones(len(boxes), np.float32), boxes.classes, iou)
    mask = np.ones(len(boxes), np.bool_)
    mask[first] = False
    return mask


def without_repeats(boxes: Boxes) -> Boxes:
    """Return the boxes but for repeats, in their order."""
    keep = ~is_repeat(boxes)
    return Boxes(boxes.xyxy_px[keep], boxes.classes[keep])


def find_repeats(index: DatasetIndex) -> tuple[RepeatedBoxes, ...]:
    """Return the images that hold repeats, in the set's order."""
    found = (_of(entry) for entry in index.entries)
    return tuple(one for one in found if one.repeated)


def _of(entry: ImageEntry) -> RepeatedBoxes:
    return RepeatedBoxes(entry.image_id, entry.file, int(is_repeat(entry.boxes).sum()), len(entry.boxes))
