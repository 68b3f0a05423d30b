"""Average precision against values worked out by hand, and against plain pycocotools where that counts the same."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from orbitloop.ground.metrics import Accuracy, average_precision
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections


def truth(*rows: tuple[float, ...]) -> Boxes:
    return Boxes.from_json(rows)


def found(*rows: tuple[float, ...]) -> Detections:
    """Rows of x0, y0, x1, y1, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def test_perfect_detections_score_one() -> None:
    boxes = [truth((0, 0, 10, 10, 0), (20, 20, 60, 50, 1)), truth((5, 5, 9, 9, 1))]
    hits = [found((0, 0, 10, 10, 0.9, 0), (20, 20, 60, 50, 0.8, 1)), found((5, 5, 9, 9, 0.3, 1))]
    assert average_precision(hits, boxes, 2) == Accuracy(1.0, 1.0, 2, 3)


def test_three_detections_of_two_objects_by_hand() -> None:
    # By score: hit, miss, hit. Precision 1 up to recall 1/2, then 2/3. Of COCO's 101 recall steps 0, 0.01 .. 1 the first 51
    # (0 to 0.50) see 1, the other 50 see 2/3. The boxes are exact, so every IoU threshold says the same.
    boxes = [truth((0, 0, 20, 20, 0), (50, 50, 90, 90, 0))]
    hits = [found((0, 0, 20, 20, 0.9, 0), (200, 0, 220, 20, 0.8, 0), (50, 50, 90, 90, 0.7, 0))]
    wanted = (51 + 50 * 2 / 3) / 101
    scored = average_precision(hits, boxes, 1)
    assert scored.ap50 == pytest.approx(wanted, abs=1e-9)
    assert scored.ap == pytest.approx(wanted, abs=1e-9)


def test_a_shifted_box_counts_at_the_thresholds_that_it_reaches() -> None:
    # 10 of 40 px off: IoU = 30 / 50 = 0.6, so the thresholds 0.50 and 0.55 count (0.60 is a tie in binary; so 9.9 px).
    scored = average_precision([found((9.9, 0, 49.9, 40, 0.9, 0))], [truth((0, 0, 40, 40, 0))], 1)
    assert scored.ap50 == pytest.approx(1.0)
    assert scored.ap == pytest.approx(0.3)


def test_a_second_detection_of_the_same_object_is_a_miss() -> None:
    one = truth((0, 0, 10, 10, 0), (30, 0, 40, 10, 0))
    twice = found((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0), (30, 0, 40, 10, 0.7, 0))
    assert average_precision([twice], [one], 1).ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_wrong_class_or_picture_does_not_count() -> None:
    boxes = [truth((0, 0, 10, 10, 0)), truth((0, 0, 10, 10, 1))]
    hit = (0, 0, 10, 10, 0.9)
    assert average_precision([found((*hit, 1)), found((*hit, 0))], boxes, 2).ap50 == 0.0
    assert average_precision([found(), found((*hit, 1))], boxes, 2).ap50 == pytest.approx(0.5)


def test_a_class_without_objects_takes_no_part_in_the_mean() -> None:
    hits = [found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.95, 2))]
    assert average_precision(hits, [truth((0, 0, 10, 10, 0))], 3).ap50 == pytest.approx(1.0)


def test_nothing_found_is_zero_and_nothing_there_is_unknown() -> None:
    assert average_precision([found()], [truth((0, 0, 9, 9, 0))], 1) == Accuracy(0.0, 0.0, 1, 1)
    nothing = average_precision([found((0, 0, 9, 9, 0.9, 0)), found()], [truth(), truth()], 1)
    assert math.isnan(nothing.ap50)
    assert math.isnan(nothing.ap)
    assert nothing.to_json() == {"ap50": None, "ap": None, "images": 2, "objects": 0}


def test_more_than_a_hundred_objects_in_a_scene_count() -> None:
    rows = [(20.0 * i, 20.0 * j, 20.0 * i + 15, 20.0 * j + 15) for i in range(20) for j in range(15)]
    boxes = [truth(*((*r, 0) for r in rows))]
    hits = [found(*((*r, 0.9 - i / 1000, 0) for i, r in enumerate(rows)))]
    assert average_precision(hits, boxes, 1) == Accuracy(1.0, 1.0, 1, 300)


def plain_coco(hits: list[Detections], boxes: list[Boxes], classes: int) -> tuple[float, float]:
    """pycocotools as everyone runs it: its default parameters, its own summary."""

    def xywh(box: np.ndarray) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    notes = [
        {"image_id": i, "category_id": int(k) + 1, "bbox": xywh(b), "area": xywh(b)[2] * xywh(b)[3], "iscrowd": 0}
        for i, one in enumerate(boxes)
        for b, k in zip(one.xyxy_px, one.classes, strict=True)
    ]
    results = [
        {"image_id": i, "category_id": int(k) + 1, "bbox": xywh(b), "score": float(s)}
        for i, one in enumerate(hits)
        for b, s, k in zip(one.boxes_xyxy_px, one.scores, one.classes, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(boxes))],
            "annotations": [note | {"id": n + 1} for n, note in enumerate(notes)],
            "categories": [{"id": c + 1} for c in range(classes)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[1]), float(run.stats[0])


def random_scene(rng: np.random.Generator, classes: int) -> tuple[Detections, Boxes]:
    n = int(rng.integers(1, 12))
    corner = rng.uniform(0, 200, (n, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(6, 60, (n, 2))], axis=1)
    kinds = rng.integers(0, classes, n)
    copies = rng.integers(0, n, int(rng.integers(1, 60)))
    near = xyxy[copies] + rng.normal(0, 4, (len(copies), 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    flipped = np.where(rng.random(len(copies)) < 0.8, kinds[copies], rng.integers(0, classes, len(copies)))
    scores = np.sort(rng.random(len(copies)))[::-1]
    hits = Detections(near.astype(np.float32), scores.astype(np.float32), flipped.astype(np.int32))
    return hits, Boxes(xyxy.astype(np.float32), kinds.astype(np.int32))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_it_agrees_with_plain_pycocotools_up_to_a_hundred_detections(seed: int, classes: int, scenes: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_scene(rng, classes) for _ in range(scenes)]
    hits, boxes = [p[0] for p in pairs], [p[1] for p in pairs]
    scored = average_precision(hits, boxes, classes)
    assert (scored.ap50, scored.ap) == pytest.approx(plain_coco(hits, boxes, classes), abs=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_accuracy_is_a_fraction_and_ap_is_not_above_ap50(seed: int) -> None:
    hits, boxes = random_scene(np.random.default_rng(seed), 2)
    scored = average_precision([hits], [boxes], 2)
    assert 0 <= scored.ap <= scored.ap50 <= 1
