"""Overlap, suppression, matching."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.boxes import area_px, assign, clip_to, f1, iou_matrix, match, nms, suppress
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections


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
