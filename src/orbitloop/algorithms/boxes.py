"""Boxes in pixels: overlap, suppression, merging across tile borders, matching with truth.

Role: every rule about rectangles that both the satellite and the ground use, so that what is measured is what flies. It
leaves cutting of tiles to `algorithms.tiling` and average precision to the ground's metrics.

Merging. A scene is cut into overlapping tiles, so an object near a border is seen more than once, and at an inner border
(one beyond which another tile sees more) only in part. A box that touches an inner border of its tile is called cut there.
Three rules, in this order:

1. Stitch: two boxes of one class, cut at facing borders of two tiles, both cover the strip that the tiles share. If their
   extents along that border agree (1-D IoU), they are one object that is larger than the overlap: take the union.
2. Contain: a cut box that lies mostly inside a better box of its class from another tile is the part of that object: drop it.
   Better is an uncut box of at least half its score, or any box of a higher score.
3. Class-aware non-maximum suppression (greedy, best score first) of what is left.

All results are deterministic: ties in score are broken by the order of input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow

Floats = npt.NDArray[np.float32]
_BLOCK = 512
_STITCH_IOU = 0.7
_MIN_SCORE_SHARE = 0.5


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


def merge_tiles(
    tiles: Sequence[tuple[TileWindow, Detections]],
    iou: float = 0.5,
    *,
    contained: float = 0.65,
    edge_px: float = 3.0,
    max_detections: int | None = None,
) -> Detections:
    """Bring the detections of a scene's tiles into one list in scene pixels, best score first.

    Args:
        tiles: each tile's window and its detections in tile pixels. A border is inner where another window reaches further.
        iou: overlap above which the worse of two boxes of a class goes.
        contained: share of a cut box's own area inside a better box at which it counts as a part of that box.
        edge_px: how near to an inner border a box must end to count as cut there.
        max_detections: keep only so many; None keeps all.
    """
    filled = [(w, d) for w, d in tiles if len(d)]
    if not filled:
        return Detections.empty()
    boxes = np.concatenate([d.boxes_xyxy_px + np.array([w.x_px, w.y_px, w.x_px, w.y_px], np.float32) for w, d in filled])
    merged = Detections(
        boxes.astype(np.float32),
        np.concatenate([d.scores for _, d in filled]),
        np.concatenate([d.classes for _, d in filled]),
    )
    tile_of = np.repeat(np.arange(len(filled)), [len(d) for _, d in filled])
    edges = _inner_edges([w for w, _ in tiles], [w for w, _ in filled])[tile_of]
    cut = np.abs(merged.boxes_xyxy_px - edges) <= edge_px
    # A box that the network drew over its tile's border is cut there as well.
    cut |= np.concatenate([merged.boxes_xyxy_px[:, :2] < edges[:, :2], merged.boxes_xyxy_px[:, 2:] > edges[:, 2:]], axis=1)
    merged, tile_of, cut = _stitch(merged, tile_of, cut, edges, edge_px)
    whole = _drop_parts(merged, tile_of, np.asarray(cut.any(axis=1), np.bool_), contained)
    return suppress(whole, iou, max_detections)


def _inner_edges(every: Sequence[TileWindow], filled: Sequence[TileWindow]) -> Floats:
    """Return (T, 4) scene positions of each window's borders; an outer border lies at infinity, where no box ends."""
    outline = np.array([_corners(w) for w in every], np.float32)
    low, high = outline[:, :2].min(axis=0), outline[:, 2:].max(axis=0)
    edges = np.array([_corners(w) for w in filled], np.float32)
    edges[:, :2] = np.where(edges[:, :2] > low, edges[:, :2], -np.inf)
    edges[:, 2:] = np.where(edges[:, 2:] < high, edges[:, 2:], np.inf)
    return edges


def _corners(window: TileWindow) -> tuple[int, int, int, int]:
    return window.x_px, window.y_px, window.x_px + window.width_px, window.y_px + window.height_px


def _stitch(
    merged: Detections, tile_of: npt.NDArray[np.intp], cut: npt.NDArray[np.bool_], edges: Floats, edge_px: float
) -> tuple[Detections, npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Join boxes that are cut at facing borders into their union (rule 1); each group takes its best member's place."""
    boxes = merged.boxes_xyxy_px
    parent = np.arange(len(merged))
    for axis in (0, 1):
        right, left = np.flatnonzero(cut[:, axis + 2]), np.flatnonzero(cut[:, axis])
        if not right.size or not left.size:
            continue
        across = 1 - axis
        shared = np.minimum(boxes[right][:, None, across + 2], boxes[left][None, :, across + 2]) - np.maximum(
            boxes[right][:, None, across], boxes[left][None, :, across]
        )
        length = boxes[:, across + 2] - boxes[:, across]
        agree = shared > _STITCH_IOU * (length[right][:, None] + length[left][None, :] - shared)
        # The right-cut box's tile must end inside the left-cut box's tile: they face each other over a shared strip.
        strip = edges[right][:, None, axis + 2] - edges[left][None, :, axis]
        covers = (boxes[right][:, None, axis] <= edges[left][None, :, axis] + edge_px) & (
            boxes[left][None, :, axis + 2] >= edges[right][:, None, axis + 2] - edge_px
        )
        same = merged.classes[right][:, None] == merged.classes[left][None, :]
        apart = tile_of[right][:, None] != tile_of[left][None, :]
        for i, j in np.argwhere(agree & covers & same & apart & (strip > 0)):
            _join(parent, int(right[i]), int(left[j]))
    if (parent == np.arange(len(merged))).all():
        return merged, tile_of, cut
    return _unite(merged, tile_of, cut, np.array([_root(parent, i) for i in range(len(merged))]), edge_px)


def _root(parent: npt.NDArray[np.intp], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _join(parent: npt.NDArray[np.intp], i: int, j: int) -> None:
    a, b = _root(parent, i), _root(parent, j)
    parent[max(a, b)] = min(a, b)


def _unite(
    merged: Detections, tile_of: npt.NDArray[np.intp], cut: npt.NDArray[np.bool_], root: npt.NDArray[np.intp], edge_px: float
) -> tuple[Detections, npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Put each group's union in its root's place.

    A side of the union is still cut when no member that reaches it ends there by itself: slivers of one object that are joined
    along one border remain slivers across the other.
    """
    boxes, scores = merged.boxes_xyxy_px.copy(), merged.scores.copy()
    np.minimum.at(boxes[:, :2], root, merged.boxes_xyxy_px[:, :2])
    np.maximum.at(boxes[:, 2:], root, merged.boxes_xyxy_px[:, 2:])
    np.maximum.at(scores, root, merged.scores)
    ends = np.zeros_like(cut)
    np.logical_or.at(ends, root, (np.abs(merged.boxes_xyxy_px - boxes[root]) <= edge_px) & ~cut)
    members = np.bincount(root, minlength=len(merged))
    # A union belongs to no tile that another box could share with it.
    tiles = np.where(members > 1, -1 - np.arange(len(merged)), tile_of)
    keep = members > 0
    return Detections(boxes[keep], scores[keep], merged.classes[keep]), tiles[keep], ~ends[keep]


def _drop_parts(merged: Detections, tile_of: npt.NDArray[np.intp], cut: npt.NDArray[np.bool_], contained: float) -> Detections:
    """Drop each cut box that lies mostly inside a better box of its class from another tile (rule 2)."""
    boxes, scores, classes = merged.boxes_xyxy_px, merged.scores, merged.classes
    drop = np.zeros(len(merged), np.bool_)
    parts = np.flatnonzero(cut)
    area = area_px(boxes)
    for start in range(0, parts.size, _BLOCK):
        some = parts[start : start + _BLOCK]
        inside = intersection_px(boxes[some], boxes) >= contained * np.maximum(area[some], 1e-6)[:, None]
        mine, theirs = scores[some][:, None], scores[None, :]
        better = (~cut[None, :] & (theirs >= _MIN_SCORE_SHARE * mine)) | (theirs > mine)
        other = (classes[some][:, None] == classes[None, :]) & (tile_of[some][:, None] != tile_of[None, :])
        drop[some] = (inside & better & other).any(axis=1)
    return _take(merged, np.flatnonzero(~drop))


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
