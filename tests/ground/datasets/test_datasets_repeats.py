"""Objects labelled twice are found, counted and left out; objects that only touch are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.boxes import iou_matrix
from orbitloop.ground.datasets.coco import read_coco
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry
from orbitloop.ground.datasets.repeats import REPEAT_IOU, find_repeats, is_repeat, without_repeats
from orbitloop.records.label import Boxes

DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data"))


def boxes(*rows: tuple[float, float, float, float, int]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4].copy(), table[:, 4].astype(np.int32))


def entry(name: str, found: Boxes) -> ImageEntry:
    return ImageEntry(name, Path(f"{name}.png"), 100, 100, "d", {}, found)


PAIR = boxes((10, 10, 30, 30, 0), (60, 60, 80, 80, 0), (11, 10, 31, 30, 0))


def test_the_later_box_of_a_pair_is_the_repeat():
    assert is_repeat(PAIR).tolist() == [False, False, True]
    assert without_repeats(PAIR).to_json() == PAIR.to_json()[:2]


def test_boxes_of_two_classes_and_boxes_side_by_side_are_no_repeats():
    assert not is_repeat(boxes((10, 10, 30, 30, 0), (10, 10, 30, 30, 1))).any()
    assert not is_repeat(boxes((10, 10, 30, 30, 0), (15, 10, 35, 30, 0))).any()  # IoU 0.6: at the limit is not above it
    assert is_repeat(Boxes.empty()).shape == (0,)


def test_a_chain_is_judged_against_what_is_kept():
    # Each lies on the one before it; the third does not lie on the first.
    chain = boxes((0, 0, 20, 20, 0), (4, 0, 24, 20, 0), (8, 0, 28, 20, 0))
    assert is_repeat(chain).tolist() == [False, True, False]


def test_images_are_named_with_their_counts_and_clean_ones_are_not():
    found = find_repeats(DatasetIndex(("x",), (entry("a", Boxes.empty()), entry("b", PAIR), entry("c", without_repeats(PAIR)))))
    assert [(one.image_id, one.file.name, one.repeated, one.boxes) for one in found] == [("b", "b.png", 1, 3)]
    assert found[0].what.startswith("1 of 3 boxes lie on an earlier box of their class (IoU > 0.6)")


_SIDE = st.floats(1, 40, width=32)
_PLACE = st.floats(0, 60, width=32)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_PLACE, _PLACE, _SIDE, _SIDE, st.integers(0, 1)), max_size=30))
def test_what_is_left_has_no_repeat_and_what_went_has_its_first(rows):
    given_boxes = boxes(*[(x, y, x + w, y + h, c) for x, y, w, h, c in rows])
    left, mask = without_repeats(given_boxes), is_repeat(given_boxes)
    assert not is_repeat(left).any()
    same = given_boxes.classes[mask][:, None] == left.classes[None, :]
    overlap = iou_matrix(given_boxes.xyxy_px[mask], left.xyxy_px) > REPEAT_IOU
    assert (same & overlap).any(axis=1).all()


@pytest.mark.data
def test_five_scenes_of_the_aircraft_set_are_labelled_twice():
    file = DATA / "aircraft_pleiades" / "annotations.coco.json"
    if not file.is_file():
        pytest.skip("the aircraft set is not in ORBITLOOP_DATA")
    index = read_coco(file)
    found = find_repeats(index)
    domains = {e.image_id: e.domain for e in index.entries}
    assert sorted(domains[one.image_id] for one in found) == ["site_00", "site_03", "site_10", "site_16", "site_25"]
    assert (sum(one.repeated for one in found), index.box_count) == (128, 2059)
