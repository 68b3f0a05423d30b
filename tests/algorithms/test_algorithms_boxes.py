"""Overlap, suppression, merging across tile borders, matching."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.boxes import area_px, assign, clip_to, f1, iou_matrix, match, merge_tiles, nms, suppress
from orbitloop.algorithms.tiling import tile_windows
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow


def detections(*rows: tuple[float, ...]) -> Detections:
    """Rows of x0, y0, x1, y1, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def crowd(n: int, seed: int, classes: int = 2, extent: float = 300) -> Detections:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, extent, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 60, (n, 2))], axis=1).astype(np.float32)
    return Detections(boxes, rng.uniform(0.05, 1, n).astype(np.float32), rng.integers(0, classes, n).astype(np.int32))


def plain_nms(found: Detections, iou: float) -> list[int]:
    """The textbook loop, as a second opinion."""
    kept: list[int] = []
    for i in np.argsort(-found.scores, kind="stable"):
        same = [j for j in kept if found.classes[j] == found.classes[i]]
        if not same or iou_matrix(found.boxes_xyxy_px[[i]], found.boxes_xyxy_px[same]).max() <= iou:
            kept.append(int(i))
    return kept


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0], [9, 9, 1, 1]], np.float32)
    np.testing.assert_allclose(iou_matrix(a, b), [[1, 1 / 3, 0, 0, 0], [0, 0, 0, 0, 0]], atol=1e-6)
    assert area_px(b).tolist() == [100, 100, 100, 0, 0]
    assert iou_matrix(a, np.zeros((0, 4), np.float32)).shape == (2, 0)


@given(st.integers(0, 80), st.integers(0, 2**31), st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_nms_agrees_with_the_textbook(n: int, seed: int, iou: float) -> None:
    found = crowd(n, seed)
    assert nms(found.boxes_xyxy_px, found.scores, found.classes, iou).tolist() == plain_nms(found, iou)


def test_nms_over_several_blocks_agrees_with_the_textbook() -> None:
    found = crowd(1400, 3, extent=600)
    assert nms(found.boxes_xyxy_px, found.scores, found.classes, 0.3).tolist() == plain_nms(found, 0.3)


def test_nms_keeps_classes_apart_and_its_limit() -> None:
    found = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 1), (1, 0, 11, 10, 0.7, 0))
    assert suppress(found, 0.5).classes.tolist() == [0, 1]
    assert len(suppress(found, 0.5, max_detections=1)) == 1
    assert len(suppress(Detections.empty(), 0.5)) == 0


def test_a_thousand_boxes_take_milliseconds() -> None:
    found = crowd(1000, 1)
    best = min(_seconds(found) for _ in range(5))
    assert best < 0.1  # about 10 ms on an idle core; the margin is for a busy machine


def _seconds(found: Detections) -> float:
    start = time.perf_counter()
    suppress(found, 0.5)
    return time.perf_counter() - start


LEFT, RIGHT = TileWindow(0, 0, 100, 100), TileWindow(80, 0, 100, 100)


def test_a_box_in_the_overlap_is_reported_once_in_scene_pixels() -> None:
    merged = merge_tiles([(LEFT, detections((86, 10, 95, 20, 0.8, 0))), (RIGHT, detections((6, 10, 15, 20, 0.9, 0)))])
    assert merged.boxes_xyxy_px.tolist() == [[86, 10, 95, 20]]
    assert merged.scores.tolist() == pytest.approx([0.9])


def test_a_part_at_an_inner_border_gives_way_to_the_whole() -> None:
    # The whole object, 85..125, is in the right tile; the left one sees 85..100 of it, and scores it higher.
    part, whole = detections((85, 10, 100, 30, 0.9, 0)), detections((5, 10, 45, 30, 0.7, 0))
    merged = merge_tiles([(LEFT, part), (RIGHT, whole)])
    assert merged.boxes_xyxy_px.tolist() == [[85, 10, 125, 30]]


def test_a_part_stays_when_the_whole_is_of_another_class_or_a_mere_whisper() -> None:
    part = detections((85, 10, 100, 30, 0.9, 0))
    assert len(merge_tiles([(LEFT, part), (RIGHT, detections((5, 10, 45, 30, 0.7, 1)))])) == 2
    assert len(merge_tiles([(LEFT, part), (RIGHT, detections((5, 10, 45, 30, 0.1, 0)))])) == 2


def test_a_box_at_the_scenes_own_border_is_no_part() -> None:
    small, large = (0, 10, 10, 20, 0.5, 0), (0, 5, 40, 45, 0.9, 0)
    assert len(merge_tiles([(LEFT, detections(small)), (RIGHT, Detections.empty())])) == 1
    assert len(merge_tiles([(TileWindow(0, 0, 100, 100), detections(large, small))])) == 2


def test_an_object_larger_than_the_overlap_is_stitched() -> None:
    merged = merge_tiles([(LEFT, detections((40, 10, 99, 30, 0.6, 0))), (RIGHT, detections((0, 11, 50, 31, 0.8, 0)))])
    assert merged.boxes_xyxy_px.tolist() == [[40, 10, 130, 31]]
    assert merged.scores.tolist() == pytest.approx([0.8])


def test_an_object_over_four_tiles_is_stitched_to_one() -> None:
    windows = tile_windows(180, 180, 100, 20)
    truth = np.array([30, 40, 150, 145], np.float32)
    tiles = []
    for w in windows:
        box = np.clip(truth - [w.x_px, w.y_px, w.x_px, w.y_px], 0, 100)
        tiles.append((w, detections((*box, 0.5 + 0.001 * w.x_px, 0))))
    assert merge_tiles(tiles).boxes_xyxy_px.tolist() == [truth.tolist()]


def test_neighbours_at_a_border_are_not_stitched() -> None:
    left = detections((40, 10, 100, 30, 0.6, 0))
    right = detections((0, 50, 50, 80, 0.8, 0))
    assert len(merge_tiles([(LEFT, left), (RIGHT, right)])) == 2


@given(st.integers(0, 12), st.integers(0, 2**31), st.booleans())
@settings(max_examples=50, deadline=None)
def test_merging_what_perfect_tiles_see_gives_the_scene_back(n: int, seed: int, pulled_back: bool) -> None:
    """Objects apart from each other, seen without error in each tile, come out once and whole, however they are cut."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:n]
    x, y = 60.0 * (cells % 6), 60.0 * (cells // 6)
    boxes = np.stack([x + 4, y + 4, x + rng.uniform(16, 50, n), y + rng.uniform(16, 50, n)], 1).astype(np.float32)
    boxes = np.rint(boxes)
    classes = rng.integers(0, 2, n).astype(np.int32)
    truth = Boxes(boxes, classes)
    size = 361 if pulled_back else 370
    tiles = []
    for w in tile_windows(size, size, 130, 40):
        seen = truth.crop(w.x_px, w.y_px, 130, 130, min_visible=0.0)
        large = np.min(seen.xyxy_px[:, 2:] - seen.xyxy_px[:, :2], axis=1, initial=1e9) >= 6
        found = Detections(seen.xyxy_px[large], rng.uniform(0.6, 1, int(large.sum())).astype(np.float32), seen.classes[large])
        tiles.append((w, found))
    merged = merge_tiles(tiles)
    order = np.lexsort(merged.boxes_xyxy_px.T)
    np.testing.assert_array_equal(merged.boxes_xyxy_px[order], boxes[np.lexsort(boxes.T)])


@given(st.integers(0, 4), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_merging_noise_is_deterministic_sorted_and_never_invents(tiles: int, seed: int) -> None:
    windows = tile_windows(300, 200, 160, 32)[: tiles + 1]
    parts = [(w, clip_to(crowd(60, seed % 10_000 + i, extent=150), 160, 160)) for i, w in enumerate(windows)]
    one, two = merge_tiles(parts), merge_tiles(parts)
    assert one.boxes_xyxy_px.tobytes() == two.boxes_xyxy_px.tobytes()
    assert (np.diff(one.scores) <= 0).all()
    assert len(one) <= sum(len(d) for _, d in parts)


def test_merging_nothing() -> None:
    assert len(merge_tiles([])) == 0
    assert len(merge_tiles([(LEFT, Detections.empty())])) == 0


def boxes(*rows: tuple[float, ...]) -> Boxes:
    return Boxes.from_json([list(r) for r in rows])


def test_match_counts() -> None:
    truth = boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 1))
    found = detections((0, 0, 10, 10, 0.9, 0), (1, 0, 11, 10, 0.8, 0), (50, 50, 60, 60, 0.7, 0))
    assert match(found, truth) == (1, 2, 1)
    assert assign(found, truth).tolist() == [0, -1, -1]
    assert match(Detections.empty(), truth) == (0, 0, 2)
    assert match(found, Boxes.empty()) == (0, 3, 0)


def test_the_better_detection_chooses_first() -> None:
    truth = boxes((0, 0, 10, 10, 0))
    found = detections((2, 0, 12, 10, 0.5, 0), (1, 0, 11, 10, 0.9, 0))
    assert assign(found, truth).tolist() == [-1, 0]


def test_f1() -> None:
    assert f1(0, 0, 0) == 1.0
    assert f1(0, 3, 0) == 0.0
    assert f1(2, 1, 1) == pytest.approx(2 / 3)


def test_clip_drops_what_is_outside() -> None:
    found = clip_to(detections((-5, -5, 5, 5, 0.9, 0), (200, 0, 210, 9, 0.8, 0)), 100, 100)
    expected: npt.NDArray[np.float32] = np.array([[0, 0, 5, 5]], np.float32)
    np.testing.assert_array_equal(found.boxes_xyxy_px, expected)
