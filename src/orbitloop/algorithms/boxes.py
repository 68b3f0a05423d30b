"""Boxes in pixels: overlap, suppression, matching with truth.

Role: every rule about rectangles that both the satellite and the ground use, so that what is measured is what flies. It
leaves cutting of tiles to `algorithms.tiling`, what happens at tile borders to `algorithms.merging`, and average precision to
the ground's metrics.

All results are deterministic: ties in score are broken by the order of input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

Floats = npt.NDArray[np.float32]
_BLOCK = 512


def area_px(boxes_xyxy_px: Floats) -> Floats:
    """Return the areas (N,) of boxes (N, 4); a box that is turned inside out has none."""
    sides = np.clip(boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def intersection_px(a: Floats, b: Floats) -> Floats:
    """Return the shared areas (N, M) of boxes (N, 4) and (M, 4)."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.asarray(np.clip(width, 0, None) * np.clip(height, 0, None), np.float32)


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Return intersection over union (N, M) of boxes (N, 4) and (M, 4); 0 where both are empty."""
    inter = intersection_px(a, b)
    union = area_px(a)[:, None] + area_px(b)[None, :] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0), np.float32)


def nms(
    boxes_xyxy_px: Floats, scores: Floats, classes: npt.NDArray[np.int32], iou: float, max_detections: int | None = None
) -> npt.NDArray[np.intp]:
    """Return the indices that class-aware greedy suppression keeps, best score first.

    A box goes when a better one of its class overlaps it by more than `iou`. Works in blocks, so that memory grows with N and
    not with its square.
    """
    rest = np.argsort(-scores, kind="stable")
    kept: list[npt.NDArray[np.intp]] = []
    count = 0
    while rest.size and (max_detections is None or count < max_detections):
        head, rest = rest[:_BLOCK], rest[_BLOCK:]
        chosen = head[_greedy(_rivals(head, head, boxes_xyxy_px, classes, iou))]
        kept.append(chosen)
        count += chosen.size
        if rest.size:
            rest = rest[~_rivals(chosen, rest, boxes_xyxy_px, classes, iou).any(axis=0)]
    order = np.concatenate(kept) if kept else np.zeros(0, np.intp)
    return order[:max_detections]


def _rivals(
    a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], boxes: Floats, classes: npt.NDArray[np.int32], iou: float
) -> npt.NDArray[np.bool_]:
    overlap = iou_matrix(boxes[a], boxes[b]) > iou
    return np.asarray(overlap & (classes[a][:, None] == classes[b][None, :]), np.bool_)


def _greedy(rivals: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Keep row by row what no kept row before it suppresses; `rivals` is (N, N), best first."""
    gone = np.zeros(rivals.shape[0], np.bool_)
    for i in range(rivals.shape[0]):
        if not gone[i]:
            gone[i + 1 :] |= rivals[i, i + 1 :]
    return np.flatnonzero(~gone)


def suppress(detections: Detections, iou: float, max_detections: int | None = None) -> Detections:
    """Apply `nms` to a record: best score first."""
    return _take(detections, nms(detections.boxes_xyxy_px, detections.scores, detections.classes, iou, max_detections))


def _take(detections: Detections, index: npt.NDArray[np.intp]) -> Detections:
    return Detections(detections.boxes_xyxy_px[index], detections.scores[index], detections.classes[index])


def clip_to(detections: Detections, width_px: int, height_px: int) -> Detections:
    """Clip boxes to a frame and drop those of which nothing is left inside."""
    limit = np.array([width_px, height_px, width_px, height_px], np.float32)
    boxes = np.clip(detections.boxes_xyxy_px, 0, limit).astype(np.float32)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes[inside], detections.scores[inside], detections.classes[inside])


def assign(detections: Detections, boxes: Boxes, iou: float = 0.5) -> npt.NDArray[np.intp]:
    """Return for each detection (N,) the index of the true box it finds, or -1.

    Greedy, best score first; a detection takes the free true box of its class that it overlaps most, at `iou` or more
    (PASCAL VOC's rule, but that the next-best free box may be taken).
    """
    found = np.full(len(detections), -1, np.intp)
    if not len(detections) or not len(boxes):
        return found
    overlap = iou_matrix(detections.boxes_xyxy_px, boxes.xyxy_px)
    overlap[detections.classes[:, None] != boxes.classes[None, :]] = 0.0
    for i in np.argsort(-detections.scores, kind="stable"):
        best = int(overlap[i].argmax())
        if overlap[i, best] >= iou and overlap[i, best] > 0:
            found[i] = best
            overlap[:, best] = 0.0
    return found


def match(detections: Detections, boxes: Boxes, iou: float = 0.5) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of detections against truth."""
    found = int((assign(detections, boxes, iou) >= 0).sum())
    return found, len(detections) - found, len(boxes) - found


def f1(tp: int, fp: int, fn: int) -> float:
    """Return the harmonic mean of precision and recall; 1 when there was nothing to find and nothing was found."""
    return 1.0 if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)
