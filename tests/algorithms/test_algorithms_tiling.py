from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.merging import TileMerger
from orbitloop.algorithms.tiling import PAD_VALUE, cut_into, cut_tile, tile_starts, tile_windows
from orbitloop.records.model import Preprocessing
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, int, int]:
    tile = draw(st.integers(1, 64))
    return draw(st.integers(1, 200)), draw(st.integers(1, 200)), tile, draw(st.integers(0, min(tile - 1, 40)))


@given(grids())
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_seen_and_tiles_have_one_size(grid: tuple[int, int, int, int]) -> None:
    width, height, tile, overlap = grid
    seen = np.zeros((height, width), bool)
    windows = tile_windows(width, height, tile, overlap)
    for window in windows:
        assert (window.width_px, window.height_px) == (tile, tile)
        assert 0 <= window.x_px < width
        assert 0 <= window.y_px < height
        seen[window.y_px : window.y_px + tile, window.x_px : window.x_px + tile] = True
    assert seen.all()
    assert len(set(windows)) == len(windows)


@given(st.integers(1, 500), st.integers(1, 64), st.data())
@settings(max_examples=60, deadline=None)
def test_neighbours_overlap_by_at_least_the_asked_amount(length: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(length, tile, overlap)
    steps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(0 < step <= tile - overlap for step in steps)
    assert all(step == tile - overlap for step in steps[:-1])
    assert starts[0] == 0
    if length >= tile:
        assert starts[-1] + tile == length
    else:
        assert starts == (0,)


@given(grids())
@settings(max_examples=30, deadline=None)
def test_cut_tiles_put_back_together_give_the_scene(grid: tuple[int, int, int, int]) -> None:
    width, height, tile, overlap = grid
    scene = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    back = np.zeros_like(scene)
    for window in tile_windows(width, height, tile, overlap):
        cut = cut_tile(scene, window)
        assert cut.shape == (tile, tile, 3)
        target = back[window.y_px : window.y_px + tile, window.x_px : window.x_px + tile]
        target[:] = cut[: target.shape[0], : target.shape[1]]
    assert np.array_equal(back, scene)


def test_the_known_grid_of_512_by_320_with_64_overlap() -> None:
    assert tile_starts(512, 320, 64) == (0, 192)
    assert tile_starts(640, 320, 0) == (0, 320)
    assert tile_starts(641, 320, 0) == (0, 320, 321)


def test_a_small_scene_is_one_padded_tile() -> None:
    scene = np.zeros((5, 7, 3), np.uint8)
    (window,) = tile_windows(7, 5, 10, 2)
    tile = cut_tile(scene, window)
    assert (tile[:5, :7] == 0).all()
    assert (tile[5:] == PAD_VALUE).all()
    assert (tile[:, 7:] == PAD_VALUE).all()


def test_a_tile_is_a_copy() -> None:
    scene = np.zeros((8, 8, 3), np.uint8)
    cut_tile(scene, TileWindow(0, 0, 8, 8))[:] = 9
    assert (scene == 0).all()


def test_the_padding_is_what_the_model_metadata_says_by_default() -> None:
    assert Preprocessing(tile_px=320, overlap_px=64).pad_value == PAD_VALUE


@pytest.mark.parametrize(("length", "tile", "overlap"), [(0, 4, 0), (-1, 4, 0), (4, 0, 0), (4, 4, 4), (4, 4, 5), (4, 4, -1)])
def test_an_impossible_grid_is_refused(length: int, tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="no tile grid"):
        tile_starts(length, tile, overlap)


@pytest.mark.parametrize("window", [TileWindow(8, 0, 4, 4), TileWindow(-1, 0, 4, 4), TileWindow(0, 0, 0, 4)])
def test_a_window_outside_the_scene_is_refused(window: TileWindow) -> None:
    with pytest.raises(ValueError, match=r"does not start inside|is empty"):
        cut_tile(np.zeros((8, 8, 3), np.uint8), window)


@given(grids(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_box_mapped_to_the_scene_and_back_is_itself(grid: tuple[int, int, int, int], seed: int) -> None:
    width, height, tile, overlap = grid
    rng = np.random.default_rng(seed)
    for window in tile_windows(width, height, tile, overlap)[:50]:
        x0, y0 = rng.integers(0, tile, 2)
        box = np.array([x0, y0, rng.integers(x0, tile) + 1, rng.integers(y0, tile) + 1], np.float32)
        score = np.ones(1, np.float32)
        merger = TileMerger((0, 0, max(width, tile), max(height, tile)))
        merger.add(window, Detections(box[None], score, np.zeros(1, np.int32)))
        (found,) = merger.finish().boxes_xyxy_px
        assert (found - np.array([window.x_px, window.y_px] * 2, np.float32)).tolist() == box.tolist()


def test_a_tile_cut_in_place_leaves_nothing_of_what_was_there() -> None:
    scene = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(5, 7, 3)
    for x, y in ((0, 0), (3, 2), (6, 4)):
        tile = np.full((4, 4, 3), 255, np.uint8)
        cut_into(tile, scene, x, y, pad_value=9)
        assert np.array_equal(tile, cut_tile(scene, TileWindow(x, y, 4, 4), 9))
    with pytest.raises(ValueError, match="does not start inside"):
        cut_into(tile, scene, 7, 0)
