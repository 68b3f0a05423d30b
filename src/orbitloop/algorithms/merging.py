"""Merging across tile borders: the detections of a scene's tiles become one list, in bounded memory.

A scene is cut into overlapping tiles, so an object near a border is seen more than once, and at an inner border (one beyond
which the scene goes on) only in part. A box that touches an inner border of its tile is called cut there. Three rules, in this
order:

1. Stitch: two boxes of one class, cut at facing borders of two tiles, both cover the strip that the tiles share. If their
   extents along that border agree (1-D IoU), they are one object that is larger than the overlap: take the union.
2. Contain: a cut box that lies mostly inside a better box of its class from another tile is the part of that object: drop it.
   Better is an uncut box of at least half its score, or any box of a higher score.
3. Class-aware non-maximum suppression (greedy, best score first) of what is left.

Streaming. Tiles come row by row, and nothing that lies above the first row still to come can change. So:

- A group of stitched boxes is open while one of its cut members reaches the frontier (the top of what is still to come); then
  it is closed and only its union is kept. `reach` is the frontier or the top of the highest open group, whichever is higher up:
  whatever comes or grows later lies below it. A union that ends above it is settled: it has met all that it will ever meet.
- Whether a settled union is a part is known. Suppression follows the score down: a box is decided when all better ones that
  overlap it are. What is decided and settled is handed out, or dropped, at once: it has done to its neighbours all that it
  will do. What is dropped before it is settled stays as a witness: a part of it may still come.

So memory holds about two rows of tiles, plus objects and chains of rivals that really reach further, and the result is the one
of the whole scene at once, box for box. The work is local too: pairs are found by a sweep in strips (`_pairs`), never all
against all, and it is put off until twice as many boxes wait as were left the last time, so that a chain of n boxes that stay
undecided costs some log n sweeps in all, not one for each row.

Ties in score are broken by place: tiles row by row, then the order inside a tile. So the order of adding does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]
Rows = npt.NDArray[np.void]

_STITCH_IOU = 0.7
_MIN_SCORE_SHARE = 0.5
_OPEN, _WAITS, _KEPT, _GONE = range(4)
_LEAST_WORK = 512
_MAX_PAIRS = 1 << 19
_MOST_IN_TILE = 1 << 20

# One row a box. `place` orders rows and names them; `tile` is equal for boxes of one tile; `cut` and `edge` are left, top,
# right, bottom: whether it is cut there, and where its tile's inner border lies (infinite where the scene ends).
_ROW = np.dtype(
    [
        ("box", np.float32, 4),
        ("score", np.float32),
        ("class", np.int32),
        ("place", np.int64),
        ("tile", np.int64),
        ("cut", np.bool_, 4),
        ("edge", np.float32, 4),
        ("state", np.int8),
    ]
)


class TileMerger:
    """Merges a scene's tiles as they come; see the module.

    Args:
        outline_px: the scene's left, top, right and bottom; a tile's border inside of it is an inner one.
        iou: overlap above which the worse of two boxes of a class goes, 0 or more.
        contained: share of a cut box's own area, above 0, inside a better box at which it counts as a part of that box.
        edge_px: how near to an inner border a box must end to count as cut there.

    Raises:
        ValueError: a threshold is out of its range.
    """

    def __init__(
        self, outline_px: tuple[int, int, int, int], iou: float = 0.5, *, contained: float = 0.65, edge_px: float = 3.0
    ) -> None:
        if not (iou >= 0 and contained > 0 and edge_px >= 0):
            raise ValueError(f"no merge by iou {iou}, contained {contained}, edge {edge_px} px")
        self._outline, self._iou, self._contained, self._edge_px = outline_px, iou, contained, edge_px
        self._frontier_px = -np.inf
        self._new: list[Rows] = []
        self._rows = np.zeros(0, _ROW)
        self._waiting = 0
        self._work_at = _LEAST_WORK

    @property
    def waiting(self) -> int:
        """How many boxes are held."""
        return self._waiting

    def add(self, window: TileWindow, detections: Detections) -> None:
        """Take one tile's detections, in tile pixels; each window once. A tile says nothing of what lies outside of it.

        Raises:
            ValueError: the window begins above the frontier that was promised, or holds more than a million boxes.
        """
        if window.y_px < self._frontier_px:
            raise ValueError(f"{window} comes after the frontier has passed y = {self._frontier_px}")
        if len(detections) >= _MOST_IN_TILE:
            raise ValueError(f"{len(detections)} boxes in one tile")
        if len(detections):
            rows = self._read(window, detections)
            self._new.append(rows)
            self._waiting += len(rows)

    def advance(self, frontier_px: float) -> Detections:
        """Promise that no later window begins above `frontier_px`; return what has become final, best score first."""
        self._frontier_px = max(self._frontier_px, frontier_px)
        return _detections(self._settle() if self._waiting >= self._work_at else np.zeros(0, _ROW))

    def finish(self) -> Detections:
        """Return all that is left, best score first; the merger is empty then and takes no more tiles."""
        self._frontier_px = np.inf
        return _detections(self._settle())

    def _read(self, window: TileWindow, detections: Detections) -> Rows:
        """Return a tile's boxes as rows in scene pixels, clipped to the tile; what lies outside is left out."""
        left, top, right, bottom = self._outline
        x, y, end_x, end_y = _corners(window)
        borders = np.array([x, y, end_x, end_y], np.float32)
        inner = np.array([x > left, y > top, end_x < right, end_y < bottom])
        # Inside the tile first and moved then: both are exact in float32, where moving first would round.
        size = np.array([window.width_px, window.height_px] * 2, np.float32)
        boxes = np.clip(detections.boxes_xyxy_px, 0, size) + borders[[0, 1, 0, 1]]
        rows = np.zeros(len(detections), _ROW)
        rows["box"], rows["score"], rows["class"] = boxes, detections.scores, detections.classes
        tile = (y - top) * (right - left) + x - left
        rows["tile"] = tile
        rows["place"] = tile * _MOST_IN_TILE + np.arange(len(rows))
        rows["edge"] = np.where(inner, borders, np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32))
        rows["cut"] = inner & (np.abs(boxes - borders) <= self._edge_px)
        rows["state"] = _OPEN
        return rows[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]

    def _settle(self) -> Rows:
        """Close groups, decide, let go of what is done with; return the rows that have become final."""
        rows = np.concatenate([self._rows, *self._new])
        rows = rows[np.argsort(rows["place"])]
        fresh = rows["state"] == _OPEN
        still_open, closed, reach_px = self._stitch(rows[fresh])
        hulls = np.concatenate([rows[~fresh], closed])
        before = hulls["state"].copy()
        self._decide(hulls, reach_px)
        final = hulls[(before == _WAITS) & (hulls["state"] == _KEPT)]
        stays = (hulls["state"] == _WAITS) | (hulls["box"][:, 3] > reach_px)
        self._rows = np.concatenate([still_open, hulls[stays]])
        self._new, self._waiting = [], len(self._rows)
        self._work_at = max(_LEAST_WORK, 2 * self._waiting)
        best: Rows = final[_best_first(final)]
        return best

    def _stitch(self, rows: Rows) -> tuple[Rows, Rows, float]:
        """Apply rule 1: return the rows of open groups, the unions of closed ones, and how high up what is open reaches."""
        cut = np.flatnonzero(rows["cut"].any(axis=1))
        parent = np.arange(len(rows))
        for a, b in _pairs(rows["box"][cut], self._edge_px + 0.5):
            for i, j in ((cut[a], cut[b]), (cut[b], cut[a])):
                same = self._are_one(rows[i], rows[j])
                for one, other in zip(i[same].tolist(), j[same].tolist(), strict=True):
                    _join(parent, one, other)
        root = np.array([_root(parent, i) for i in cut.tolist()], np.intp)
        parent[cut] = root
        grows = rows["box"][cut, 3] > self._frontier_px - self._edge_px - 0.5
        open_root = np.zeros(len(rows), np.bool_)
        open_root[root[grows]] = True
        is_open = open_root[parent]
        reach_px = min(self._frontier_px, float(rows["box"][is_open, 1].min(initial=np.inf)))
        closed = ~is_open
        number = np.cumsum(closed) - 1  # a group's root is its first member, so it is numbered with its group
        return rows[is_open], _unite(rows[closed], number[parent[closed]], self._edge_px), reach_px

    def _are_one(self, first: Rows, second: Rows) -> npt.NDArray[np.bool_]:
        """Say of pairs whether `first`, cut at its right or bottom, goes on as `second`, cut at its left or top."""
        found = np.zeros(len(first), np.bool_)
        a, b, edge_a, edge_b = first["box"], second["box"], first["edge"], second["edge"]
        for axis in (0, 1):
            low, high, across = axis, axis + 2, 1 - axis
            shared = np.minimum(a[:, across + 2], b[:, across + 2]) - np.maximum(a[:, across], b[:, across])
            lengths = (a[:, across + 2] - a[:, across]) + (b[:, across + 2] - b[:, across])
            agree = shared > _STITCH_IOU * (lengths - shared)
            # The first's tile must end inside the second's: they face each other over a shared strip, and both cover it.
            strip = edge_a[:, high] > edge_b[:, low]
            covers = (a[:, low] <= edge_b[:, low] + self._edge_px) & (b[:, high] >= edge_a[:, high] - self._edge_px)
            found |= first["cut"][:, high] & second["cut"][:, low] & agree & strip & covers
        return np.asarray(found & (first["class"] == second["class"]) & (first["tile"] != second["tile"]), np.bool_)

    def _decide(self, hulls: Rows, reach_px: float) -> None:
        """Apply rules 2 and 3 to unions that wait, as far as they are settled; set their state in place."""
        waits = hulls["state"] == _WAITS
        part = np.zeros(len(hulls), np.bool_)
        rivals: list[tuple[Index, Index]] = []
        rank = np.empty(len(hulls), np.intp)
        rank[_best_first(hulls)] = np.arange(len(hulls))
        for a, b in _pairs(hulls["box"], 0.0):
            open_case = (hulls["class"][a] == hulls["class"][b]) & (waits[a] | waits[b])
            a, b = a[open_case], b[open_case]
            one, other = hulls[a], hulls[b]
            shared, size_a, size_b = _shared_px(one["box"], other["box"]), _area_px(one["box"]), _area_px(other["box"])
            part[a[self._is_part(one, other, shared, size_a)]] = True
            part[b[self._is_part(other, one, shared, size_b)]] = True
            union = size_a + size_b - shared
            near = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0) > self._iou
            first = rank[a] < rank[b]
            rivals.append((np.where(first, a, b)[near], np.where(first, b, a)[near]))
        gone = (hulls["state"] == _GONE) | (waits & part)
        unsure = waits & (hulls["box"][:, 3] > reach_px)
        _suppress(rivals, rank, gone, unsure)
        hulls["state"][waits & gone] = _GONE
        hulls["state"][waits & ~gone & ~unsure] = _KEPT

    def _is_part(self, one: Rows, other: Rows, shared: Floats, size: Floats) -> npt.NDArray[np.bool_]:
        inside = one["cut"].any(axis=1) & (shared >= self._contained * np.maximum(size, 1e-6))
        mine, theirs = one["score"], other["score"]
        better = (~other["cut"].any(axis=1) & (theirs >= _MIN_SCORE_SHARE * mine)) | (theirs > mine)
        return np.asarray(inside & better & (one["tile"] != other["tile"]), np.bool_)


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
        tiles: each tile's window, once, and its detections in tile pixels, in any order. What the windows span is the scene.
        iou, contained, edge_px: as `TileMerger` has them.
        max_detections: keep only so many; None keeps all.
    """
    if not tiles:
        return Detections.empty()
    corners = np.array([_corners(w) for w, _ in tiles])
    left, top = (int(v) for v in corners[:, :2].min(axis=0))
    right, bottom = (int(v) for v in corners[:, 2:].max(axis=0))
    merger = TileMerger((left, top, right, bottom), iou, contained=contained, edge_px=edge_px)
    for window, detections in tiles:
        merger.add(window, detections)
    whole = merger.finish()
    best = slice(0, max_detections)
    return Detections(whole.boxes_xyxy_px[best], whole.scores[best], whole.classes[best])


def _corners(window: TileWindow) -> tuple[int, int, int, int]:
    return window.x_px, window.y_px, window.x_px + window.width_px, window.y_px + window.height_px


def _best_first(rows: Rows) -> Index:
    return np.lexsort((rows["place"], -rows["score"]))


def _detections(rows: Rows) -> Detections:
    return Detections(*(np.ascontiguousarray(rows[name]) for name in ("box", "score", "class")))


def _area_px(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)


def _shared_px(a: Floats, b: Floats) -> Floats:
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    return np.asarray(np.clip(width, 0, None) * np.clip(height, 0, None), np.float32)


def _root(parent: Index, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _join(parent: Index, i: int, j: int) -> None:
    a, b = _root(parent, i), _root(parent, j)
    parent[max(a, b)] = min(a, b)


def _unite(rows: Rows, group: Index, edge_px: float) -> Rows:
    """Return one row for each group, in its first member's place: the union, with its best score.

    `group` (N,) holds for each row the number of its group's first member among the rows. A side of the union is still cut when
    no member that reaches it ends there by itself: slivers of one object that are joined along one border remain slivers across
    the other.
    """
    hulls = rows.copy()
    boxes, scores = hulls["box"], hulls["score"]
    np.minimum.at(boxes[:, :2], group, rows["box"][:, :2])
    np.maximum.at(boxes[:, 2:], group, rows["box"][:, 2:])
    np.maximum.at(scores, group, rows["score"])
    ends = np.zeros((len(rows), 4), np.bool_)
    np.logical_or.at(ends, group, (np.abs(rows["box"] - boxes[group]) <= edge_px) & ~rows["cut"])
    hulls["cut"] = ~ends
    members = np.bincount(group, minlength=len(rows))
    # A union belongs to no tile that another box could share with it.
    hulls["tile"] = np.where(members > 1, -1 - rows["place"], rows["tile"])
    hulls["state"] = _WAITS
    return hulls[members > 0]


def _suppress(
    rivals: Sequence[tuple[Index, Index]], rank: Index, gone: npt.NDArray[np.bool_], unsure: npt.NDArray[np.bool_]
) -> None:
    """Greedy suppression over pairs (better, worse), best first; changes `gone` and `unsure` in place.

    When a box's turn comes, all better ones have had theirs. What a box does that is unsure itself nobody knows yet.
    """
    if not rivals:
        return
    better, worse = (np.concatenate(side) for side in zip(*rivals, strict=True))
    order = np.argsort(rank[better], kind="stable")
    is_gone, is_unsure = gone.tolist(), unsure.tolist()
    for i, j in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        if is_gone[i]:
            continue
        if is_unsure[i]:
            is_unsure[j] = True
        else:
            is_gone[j] = True
    gone[:], unsure[:] = is_gone, is_unsure


def _pairs(boxes: Floats, margin_px: float) -> Iterator[tuple[Index, Index]]:
    """Yield each pair of boxes (N, 4) that come nearer to each other than twice the margin, once, in blocks of index arrays.

    A sweep from left to right in horizontal strips about as high as a box: a box is entered in every strip that it touches, and
    meets those that begin before it ends. A pair counts in the strip where the lower one of the two begins.
    """
    if len(boxes) < 2:
        return
    grown = boxes.astype(np.float64) + np.array([-margin_px, -margin_px, margin_px, margin_px])
    grown -= grown.min(axis=0)[[0, 1, 0, 1]]
    strip_px = max(1.0, float((grown[:, 3] - grown[:, 1]).mean()))
    first, last = (np.floor(grown[:, side] / strip_px).astype(np.int64) for side in (1, 3))
    entry, strip = _spread(last - first + 1)
    strip += first[entry]
    span_px = float(grown[:, 2].max()) + 1.0
    begin = strip * span_px + grown[entry, 0]
    order = np.argsort(begin, kind="stable")
    entry, strip, begin = entry[order], strip[order], begin[order]
    # What begins before this one ends: a little more than that, for the sum rounds; the exact test follows.
    met = np.searchsorted(begin, strip * span_px + grown[entry, 2] + 1e-3) - np.arange(1, len(entry) + 1)
    total = np.cumsum(met)
    start = 0
    while start < len(entry):
        done = int(total[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(total, done + _MAX_PAIRS, side="right")))
        here, step = _spread(met[start:end])
        a, b = start + here, start + here + 1 + step
        i, j, at = entry[a], entry[b], strip[a]
        near = (strip[b] == at) & (np.maximum(first[i], first[j]) == at)
        near &= (grown[j, 0] < grown[i, 2]) & (grown[j, 1] < grown[i, 3]) & (grown[i, 1] < grown[j, 3])
        yield i[near], j[near]
        start = end


def _spread(counts: npt.NDArray[np.int64]) -> tuple[Index, npt.NDArray[np.int64]]:
    """Return for counts (N,) each index as often as it counts, and 0, 1, 2 ... within each."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
