"""Chunks of a scene: every window once, whole, in the order that the port promises; and how values become 8 bit."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.tiling import PAD_VALUE, cut_tile, tile_windows
from orbitloop.errors import ImageError
from orbitloop.onboard.scene_values import Scale, check_stretch, choose_bands, stretch_limits
from orbitloop.onboard.scenes import ArraySource, Chunk, SceneLimits, plan_chunks
from orbitloop.records.scene import GeoTransform, TileWindow

SIZES = st.integers(1, 400)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


# ---------------------------------------------------------------- chunks


@given(SIZES, SIZES, st.integers(1, 130), st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_chunks_hold_each_window_once_whole_and_in_reading_order(
    width: int, height: int, tile: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(max(0, tile - 40), tile - 1) if tile > 60 else st.integers(0, max(0, tile // 2)))
    span = data.draw(st.integers(1, 300))
    plans = list(plan_chunks(width, height, tile, overlap, chunk_width_px=span, chunk_height_px=span))
    windows = [window for plan in plans for window in plan.windows]
    assert len(windows) == len(set(windows))
    assert sorted(windows, key=lambda w: (w.y_px, w.x_px)) == tile_windows(width, height, tile, overlap)
    for plan in plans:
        assert plan.width_px <= max(span, tile)
        assert plan.height_px <= max(span, tile)
        assert 0 <= plan.x_px < plan.x_px + plan.width_px <= width
        assert 0 <= plan.y_px < plan.y_px + plan.height_px <= height
        for w in plan.windows:
            assert plan.x_px <= w.x_px
            assert plan.y_px <= w.y_px
            assert min(w.x_px + tile, width) <= plan.x_px + plan.width_px
            assert min(w.y_px + tile, height) <= plan.y_px + plan.height_px
    assert all((a.y_px, a.x_px) < (b.y_px, b.x_px) for a, b in pairwise(plans))


@given(SIZES, SIZES, st.integers(8, 200))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_source_in_memory_gives_the_tiles_that_the_grid_cuts(width: int, height: int, tile: int) -> None:
    pixels = noise(height, width)
    with ArraySource(pixels, "a") as source:
        seen = {w: chunk.cut(w) for chunk in source.chunks(tile, tile // 4) for w in chunk.windows}
    assert seen.keys() == set(tile_windows(width, height, tile, tile // 4))
    assert all(np.array_equal(cut, cut_tile(pixels, w)) for w, cut in seen.items())


def test_rows_of_tiles_end_in_order_in_a_scene_of_several_chunks() -> None:
    source = ArraySource(np.zeros((5000, 4200, 3), np.uint8), "a")
    chunks = list(source.chunks(416, 64))
    assert len(chunks) == 9
    assert max(chunk.pixels.nbytes for chunk in chunks) <= 2048 * 2048 * 3
    bands: dict[int, int] = {}
    for chunk in chunks:
        bands[chunk.y_px] = max(bands.get(chunk.y_px, 0), max(w.y_px for w in chunk.windows))
    tops, lasts = list(bands), list(bands.values())
    assert all(last < top for last, top in zip(lasts, tops[1:], strict=False))


def test_a_source_can_be_read_twice_and_closed_twice() -> None:
    source = ArraySource(noise(50, 60), "a")
    assert [c.windows for c in source.chunks(32, 8)] == [c.windows for c in source.chunks(32, 8)]
    source.close()
    source.close()


def test_the_valid_share_counts_what_lies_in_the_scene_and_has_a_value() -> None:
    valid = np.ones((40, 40), np.bool_)
    valid[:10] = False
    chunk = Chunk((), 100, 200, np.zeros((40, 40, 3), np.uint8), valid)
    assert chunk.valid_share(TileWindow(100, 200, 40, 40)) == 0.75
    assert chunk.valid_share(TileWindow(120, 220, 40, 40)) == 0.25
    assert Chunk((), 100, 200, np.zeros((40, 40, 3), np.uint8)).valid_share(TileWindow(120, 220, 40, 40)) == 0.25
    assert Chunk((), 0, 0, np.zeros((40, 40, 3), np.uint8)).valid_share(TileWindow(0, 0, 40, 40)) == 1


def test_a_mask_travels_with_its_pixels() -> None:
    valid = np.random.default_rng(0).random((300, 200)) > 0.5
    source = ArraySource(noise(300, 200), "a", valid=valid)
    for chunk in source.chunks(64, 0):
        assert chunk.valid is not None
        height, width = chunk.pixels.shape[:2]
        assert np.array_equal(chunk.valid, valid[chunk.y_px : chunk.y_px + height, chunk.x_px : chunk.x_px + width])


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_no_scene(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="no RGB scene"):
        ArraySource(pixels, "a")


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match="mask"):
        ArraySource(noise(4, 5), "a", valid=np.ones((5, 4), np.bool_))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (200_001, 1), (150_000, 150_000)])
def test_sizes_over_the_limit_are_refused_with_the_limit_named(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=r"no pixels|200000 px a side, 10000000000 px in all"):
        SceneLimits().check_size(width, height, "x")


def test_a_mosaic_of_ten_gigapixels_is_within_the_limits() -> None:
    SceneLimits().check_size(100_000, 100_000, "x")


# ---------------------------------------------------------------- places


@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_affine_transform_maps_arrays_as_it_maps_points(points: list[tuple[float, float]], seed: int) -> None:
    geo = GeoTransform(*np.random.default_rng(seed).normal(0, 10, 6).tolist())
    mapped = geo.lonlats_deg(np.array(points, np.float64).reshape(-1, 2))
    assert mapped.shape == (len(points), 2)
    assert [tuple(row) for row in mapped.tolist()] == [geo.lonlat_deg(x, y) for x, y in points]


# ---------------------------------------------------------------- bands


@pytest.mark.parametrize(
    ("asked", "colours", "names", "chosen"),
    [
        (None, ["red", "green", "blue"], [None] * 3, (1, 2, 3)),
        (None, ["blue", "green", "red", "undefined"], [None] * 4, (3, 2, 1)),
        (None, ["gray", "undefined", "undefined", "undefined"], ["Blue", "green ", "RED", "nir"], (3, 2, 1)),
        (None, ["gray", "undefined", "undefined", "undefined"], [None] * 4, (1, 2, 3)),
        (None, ["gray"], [None], (1,)),
        (None, ["gray", "alpha"], [None] * 2, (1,)),
        (None, ["red", "green", "blue", "alpha"], [None] * 4, (1, 2, 3)),
        ((3, 2, 1), ["red", "green", "blue"], [None] * 3, (3, 2, 1)),
        ((2,), ["undefined"] * 2, [None] * 2, (2,)),
    ],
)
def test_bands_come_by_choice_then_colour_then_name_then_order(asked, colours, names, chosen) -> None:
    assert choose_bands(asked, colours, names, "x") == chosen


@pytest.mark.parametrize(
    ("asked", "colours"),
    [
        (None, []),
        (None, ["gray", "undefined"]),
        (None, ["alpha"]),
        (None, ["cyan", "magenta", "yellow", "black"]),
        ((1, 2), ["undefined"] * 3),
        ((1, 2, 4), ["undefined"] * 3),
        ((0, 1, 2), ["undefined"] * 3),
        ((), ["undefined"] * 3),
    ],
)
def test_bands_that_say_nothing_of_colour_are_an_error(asked, colours) -> None:
    with pytest.raises(ImageError, match="band"):
        choose_bands(asked, colours, [None] * len(colours), "x")


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64"]
)
def test_each_type_is_stretched_by_the_same_rule(dtype: str) -> None:
    kind = np.dtype(dtype)
    low, high = (-100.0, 100.0) if kind.kind != "u" else (20.0, 220.0)
    values = np.array([0, 20, 60, 100, 120, 127], kind)
    wanted = np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(Scale.of(low, high, kind).apply(values), wanted)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_value_and_no_limits_make_a_warning_or_leave_the_range(a: float, b: float) -> None:
    low, high = stretch_limits(np.array([a, b, a]), np.dtype(np.float64))
    assert math.isfinite(low)
    assert low < high
    out = Scale.of(low, high, np.dtype(np.float64)).apply(np.array([a, b, math.nan, math.inf, -math.inf]))
    assert out.dtype == np.uint8
    assert out[3] == 255
    assert out[4] == 0


def test_limits_are_percentiles_of_the_samples_or_of_the_type_when_there_are_none() -> None:
    assert stretch_limits(np.arange(101.0), np.dtype(np.uint16)) == (2.0, 98.0)
    assert stretch_limits(np.array([]), np.dtype(np.int16)) == (-32768.0, 32767.0)
    assert stretch_limits(np.array([]), np.dtype(np.float32)) == (0.0, 1.0)


def test_a_flat_scene_is_black() -> None:
    low, high = stretch_limits(np.full(9, 700.0), np.dtype(np.uint16))
    assert not Scale.of(low, high, np.dtype(np.uint16)).apply(np.full(9, 700, np.uint16)).any()


@pytest.mark.parametrize("pair", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_stretch_that_does_not_ascend_is_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match="stretch"):
        check_stretch(pair, "x")


def test_the_padding_is_the_networks() -> None:
    assert PAD_VALUE == 114
