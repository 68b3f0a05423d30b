"""Boxes: the crop keeps what is visible, and JSON comes back to a hundredth of a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.records.label import Boxes


def boxes(*rows: tuple[float, ...]) -> Boxes:
    return Boxes.from_json(rows)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        Boxes(np.zeros((2, 4), np.float32), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="shapes differ"):
        Boxes(np.zeros((1, 5), np.float32), np.zeros(1, np.int32))


def test_a_crop_moves_clips_and_keeps_classes() -> None:
    found = boxes((10, 10, 30, 30, 2), (0, 0, 4, 4, 1), (25, 20, 45, 40, 3)).crop(5, 8, 30, 30)
    assert found.to_json() == [[5.0, 2.0, 25.0, 22.0, 2], [20.0, 12.0, 30.0, 30.0, 3]]
    assert found.xyxy_px.dtype == np.float32
    assert found.classes.dtype == np.int32


@pytest.mark.parametrize(("cut", "kept"), [(6.4, 1), (6.6, 0)])
def test_the_visible_share_is_of_the_boxs_own_area(cut: float, kept: int) -> None:
    # 10 px wide; a window that starts `cut` px into it leaves 1 - cut / 10 of the area, and 0.35 is the limit.
    assert len(boxes((0, 0, 10, 10, 0)).crop(cut, 0, 50, 50)) == kept


def test_a_box_without_area_is_dropped() -> None:
    assert len(boxes((5, 5, 5, 9, 0), (5, 5, 9, 5, 0)).crop(0, 0, 20, 20, 0.0)) == 0


def test_a_large_box_around_the_window_follows_the_share() -> None:
    around = boxes((0, 0, 100, 100, 0))
    assert len(around.crop(40, 40, 20, 20)) == 0
    assert around.crop(40, 40, 20, 20, 0.04).to_json() == [[0.0, 0.0, 20.0, 20.0, 0]]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        7,
        "boxes",
        {},
        [{}],
        [1, 2, 3, 4, 5],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6]],
        [[1, 2, 3, 4, 5], [1, 2, 3]],
        [[[1, 2, 3, 4, 5]]],
        [[1, 2, 3, 4, None]],
        [[1, 2, 3, 4, {}]],
        [["a", 2, 3, 4, 5]],
        [[float("nan"), 2, 3, 4, 5]],
        [[float("inf"), 2, 3, 4, 5]],
        [[1e300, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 1e20]],
        [[10**400, 2, 3, 4, 5]],
    ],
)
def test_malformed_rows_raise_value_error(rows: Any) -> None:
    with pytest.raises(ValueError, match=r"box row|could not convert|inhomogeneous"):
        Boxes.from_json(rows)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
anything = st.recursive(leaves, lambda s: st.lists(s, max_size=6) | st.dictionaries(st.text(max_size=2), s, max_size=2))


@given(anything | st.lists(st.lists(leaves, min_size=5, max_size=5), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_json_is_boxes_or_a_value_error(rows: Any) -> None:
    try:
        found = Boxes.from_json(rows)
    except ValueError:
        return
    assert np.isfinite(found.xyxy_px).all()


coordinate = st.floats(-100, 8192, width=32)
some_boxes = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate, st.integers(0, 200)), max_size=8)


@given(some_boxes)
@settings(max_examples=50, deadline=None)
def test_json_is_stable_after_one_rounding(rows: list[tuple[float, ...]]) -> None:
    exact = Boxes(np.array([r[:4] for r in rows], np.float32).reshape(-1, 4), np.array([r[4] for r in rows], np.int32))
    once = Boxes.from_json(exact.to_json())
    again = Boxes.from_json(once.to_json())
    assert np.abs(once.xyxy_px.astype(np.float64) - exact.xyxy_px).max(initial=0) <= 0.0055
    assert once.classes.tolist() == exact.classes.tolist()
    assert np.array_equal(again.xyxy_px, once.xyxy_px)


@given(some_boxes, st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 900), st.floats(1, 900))
@settings(max_examples=50, deadline=None)
def test_nothing_reaches_out_of_the_window(rows: list[tuple[float, ...]], x: float, y: float, w: float, h: float) -> None:
    ordered = [(min(a, c), min(b, d), max(a, c), max(b, d), k) for a, b, c, d, k in rows]
    found = boxes(*ordered).crop(x, y, w, h)
    assert (found.xyxy_px >= 0).all()
    assert (found.xyxy_px[:, ::2] <= np.float32(w)).all()
    assert (found.xyxy_px[:, 1::2] <= np.float32(h)).all()
    assert (found.xyxy_px[:, 2:] > found.xyxy_px[:, :2]).all()
