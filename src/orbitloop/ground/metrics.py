"""AP50 and AP by pycocotools, the reference implementation of the COCO measures.

AP50 is the average precision at IoU 0.5, AP the mean over IoU 0.50:0.05:0.95 (Lin et al., arXiv 1405.0312). One deviation from
the reference's defaults, needed for satellite scenes: up to 1,000 detections a picture count, not 100.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

MAX_DETECTIONS = 1000


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`ap50` and `ap` as fractions 0..1; NaN when the set holds no object. `objects` and `images` say how large it is."""

    ap50: float
    ap: float
    images: int
    objects: int

    def to_json(self) -> dict[str, Any]:
        return {"ap50": _plain(self.ap50), "ap": _plain(self.ap), "images": self.images, "objects": self.objects}


def average_precision(found: Sequence[Detections], truth: Sequence[Boxes], classes: int) -> Accuracy:
    """Score detections against truth, picture by picture.

    Args:
        found: one per picture, in the picture's own pixels.
        truth: one per picture, same order and frame.
        classes: number of classes.
    """
    objects = sum(len(boxes) for boxes in truth)
    if objects == 0:
        return Accuracy(float("nan"), float("nan"), len(truth), 0)
    results = [
        {"image_id": i, "category_id": int(c), "bbox": _xywh(box), "score": float(s)}
        for i, d in enumerate(found)
        for box, s, c in zip(d.boxes_xyxy_px, d.scores, d.classes, strict=True)
    ]
    if not results:
        return Accuracy(0.0, 0.0, len(truth), objects)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = _dataset(truth, classes)
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "bbox")
        run.params.maxDets = [1, 100, MAX_DETECTIONS]
        run.params.areaRng = [[0, 1e10]]
        run.params.areaRngLbl = ["all"]
        run.evaluate()
        run.accumulate()
    # precision: (IoU thresholds, recall steps, classes, areas, maxDets); -1 where a class has no object.
    precision = run.eval["precision"][:, :, :, 0, -1]
    return Accuracy(_mean(precision[0]), _mean(precision), len(truth), objects)


def _dataset(truth: Sequence[Boxes], classes: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for i, boxes in enumerate(truth):
        for box, kind in zip(boxes.xyxy_px, boxes.classes, strict=True):
            xywh = _xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(kind),
                    "bbox": xywh,
                    "area": xywh[2] * xywh[3],
                    "iscrowd": 0,
                }
            )
    return {
        "info": {},
        "images": [{"id": i} for i in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in range(classes)],
    }


def _xywh(box: Any) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]


def _mean(precision: Any) -> float:
    known = precision[precision > -1]
    return float(np.mean(known)) if known.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
