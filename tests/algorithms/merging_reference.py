"""The rules at tile borders, as matrices of all boxes against all: the second opinion on `algorithms.merging`.

Written before the streaming merger, and simple enough to be checked by eye; memory grows with the square of the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import area_px, intersection_px, suppress
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow

Floats = npt.NDArray[np.float32]
_STITCH_IOU = 0.7
_MIN_SCORE_SHARE = 0.5


def merge_all_against_all(
    tiles: Sequence[tuple[TileWindow, Detections]],
    iou: float = 0.5,
    *,
    contained: float = 0.65,
    edge_px: float = 3.0,
    max_detections: int | None = None,
) -> Detections:
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
    some = np.flatnonzero(cut)
    area = area_px(boxes)
    inside = intersection_px(boxes[some], boxes) >= contained * np.maximum(area[some], 1e-6)[:, None]
    mine, theirs = scores[some][:, None], scores[None, :]
    better = (~cut[None, :] & (theirs >= _MIN_SCORE_SHARE * mine)) | (theirs > mine)
    other = (classes[some][:, None] == classes[None, :]) & (tile_of[some][:, None] != tile_of[None, :])
    drop[some] = (inside & better & other).any(axis=1)
    keep = ~drop
    return Detections(boxes[keep], scores[keep], classes[keep])
