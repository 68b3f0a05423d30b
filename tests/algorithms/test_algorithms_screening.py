"""The first stage: what is dropped and why, what must never be, and that its memory is bounded and forgets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.screening import BLOCK_PX, Cheap, KeepAll, block_sums, contrast_sum, speck
from orbitloop.errors import PluginError
from orbitloop.plugins.registry import default_registry
from orbitloop.records.screening import KEPT, Screening

SIDE = 64
Tile = npt.NDArray[np.uint8]


def flat(*colour: int, side: int = SIDE) -> Tile:
    return np.broadcast_to(np.array(colour, np.uint8), (side, side, 3)).copy()


def noisy(tile: Tile, levels: float, seed: int = 0) -> Tile:
    return np.clip(tile + np.random.default_rng(seed).normal(0, levels, tile.shape) + 0.5, 0, 255).astype(np.uint8)


def busy(seed: int) -> Tile:
    """Ground: patches of 8 px, none like its neighbour."""
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def with_spot(tile: Tile, x: int, y: int, side: int, level: int) -> Tile:
    out = tile.copy()
    out[y : y + side, x : x + side] = level
    return out


def reason(tile: Tile, valid_share: float = 1.0, **parameters: float) -> str:
    return Cheap(**parameters).judge(tile, valid_share).reason  # type: ignore[arg-type]


# -- blank ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(0, 0, 0), (114, 114, 114), (10, 40, 60), (120, 30, 200)])
def test_one_colour_is_blank_also_with_noise_and_a_slope_of_light(colour):
    assert reason(flat(*colour)) == "blank"
    assert reason(noisy(flat(*colour), 2)) == "blank"
    slope = np.linspace(-15, 15, SIDE)[None, :, None]
    assert reason(np.clip(flat(*colour) + slope, 0, 255).astype(np.uint8)) == "blank"


def test_too_little_picture_is_blank_whatever_it_shows():
    assert reason(busy(1), valid_share=0.005) == "blank"
    assert reason(busy(1), valid_share=0.02) == ""
    assert reason(busy(1), valid_share=0.0, min_valid_share=0.0) == ""


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, SIDE - 2),
    st.integers(0, SIDE - 2),
    st.integers(2, 8),
    st.integers(20, 120),
    st.booleans(),
    st.integers(0, 9),
)
def test_a_small_spot_on_water_is_kept_wherever_it_lies(x, y, side, levels, bright, seed):
    water = noisy(flat(90, 120, 125), 1, seed)
    spot = np.clip(water.astype(int) + (levels if bright else -levels) * (with_spot(flat(0, 0, 0), x, y, side, 1) > 0), 0, 255)
    assert reason(spot.astype(np.uint8)) == ""


def test_a_spot_of_two_pixels_is_lost_in_the_mean_of_blocks_and_kept_for_its_pixels():
    # Two pixels of four blocks each: a mean of 16 hides what a ship at native scale looks like.
    tile = with_spot(flat(40, 45, 45), 31, 31, 2, 75)
    assert contrast_sum(block_sums(tile)) / 48 < 8
    assert speck(tile) == 35
    assert reason(tile) == ""


# -- cloud ---------------------------------------------------------------------------------------------------------------


def billows(seed: int) -> Tile:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (9, 9))
    fine = np.array([np.interp(np.linspace(0, 8, SIDE), np.arange(9), row) for row in coarse])
    field = np.array([np.interp(np.linspace(0, 8, SIDE), np.arange(9), column) for column in fine.T]).T
    return noisy((205 + 18 * field)[:, :, None].repeat(3, 2), 1.5, seed)


@pytest.mark.parametrize("seed", range(4))
def test_cloud_is_bright_colourless_and_soft(seed):
    cloud = billows(seed)
    assert reason(cloud) == "cloud"
    assert reason(cloud // 2) == ""
    assert reason(np.clip(cloud * np.array([1.0, 0.85, 0.7]), 0, 255).astype(np.uint8)) == ""


def test_a_cloud_with_an_object_or_a_hole_in_it_is_kept():
    for side in (2, 6, 24):
        assert reason(with_spot(billows(0), 30, 20, side, 110)) == ""
    half = billows(1)
    half[:, : SIDE // 2] = busy(2)[:, : SIDE // 2]
    assert reason(half) == ""


def test_a_bright_roof_with_an_edge_is_kept():
    roof = noisy(flat(230, 230, 228), 1)
    roof[:, 40:] = 170
    assert reason(roof) == ""


# -- repeats -------------------------------------------------------------------------------------------------------------


def test_a_repeat_is_dropped_and_forgotten_at_a_reset():
    screen = Cheap()
    assert screen.judge(busy(1), 1.0) == KEPT
    assert screen.judge(noisy(busy(1), 1), 1.0) == Screening(False, "duplicate")
    assert screen.judge(busy(2), 1.0) == KEPT
    screen.reset()
    assert screen.judge(busy(1), 1.0) == KEPT


def test_an_object_that_moved_is_no_repeat():
    ground = noisy(flat(90, 92, 90), 1)
    screen = Cheap()
    verdicts = [screen.judge(with_spot(ground, x, 20, 8, 220), 1.0).keep for x in (20, 24, 28, 20)]
    assert verdicts == [True, True, True, False]


def test_the_memory_is_a_ring_and_the_oldest_goes_first():
    screen = Cheap(remember=3)
    for seed in range(4):
        assert screen.judge(busy(seed), 1.0).keep
    assert [screen.judge(busy(seed), 1.0).keep for seed in (1, 2, 3)] == [False] * 3
    assert screen.judge(busy(0), 1.0).keep  # gone since the fourth; now it takes the place of 1
    assert screen.judge(busy(1), 1.0).keep


def test_without_a_memory_nothing_repeats():
    screen = Cheap(remember=0)
    assert all(screen.judge(busy(1), 1.0).keep for _ in range(3))


def test_dropped_tiles_are_not_remembered():
    screen = Cheap(remember=1)
    assert screen.judge(busy(1), 1.0).keep
    assert screen.judge(flat(9, 9, 9), 1.0).reason == "blank"
    assert screen.judge(billows(0), 1.0).reason == "cloud"
    assert screen.judge(busy(1), 1.0).reason == "duplicate"


def test_tiles_of_another_size_start_a_new_memory():
    screen = Cheap()
    large = busy(1).repeat(2, 0).repeat(2, 1)
    assert [screen.judge(tile, 1.0).keep for tile in (busy(1), large, large, busy(1))] == [True, True, False, True]


# -- statistics ----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_block_sums_are_exact(side, seed):
    tile = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    sums = block_sums(tile)
    n = max(1, side // BLOCK_PX)
    assert sums.shape == (n, n)
    if side >= BLOCK_PX:
        whole = tile[: n * BLOCK_PX, : n * BLOCK_PX].astype(int).reshape(n, BLOCK_PX, n, BLOCK_PX, 3)
        assert np.array_equal(sums, whole.sum(axis=(1, 3, 4)))
    assert 0 <= contrast_sum(sums) <= 255 * 48
    rows = tile.astype(int)
    apart = [np.abs(rows[2:] - rows[:-2]), np.abs(rows[:, 2:] - rows[:, :-2])]
    assert speck(tile) == max((int(a.max()) for a in apart if a.size), default=0)


def test_a_view_of_a_scene_is_judged_as_its_copy():
    scene = np.concatenate([busy(1), busy(2)], axis=1)
    for view in (scene[:, 32:96], scene[::-1, 64:], scene[:, ::2]):
        assert Cheap().judge(view[:, :SIDE], 1.0) == Cheap().judge(view[:, :SIDE].copy(), 1.0)


# -- parameters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"blank_contrast": -1}, {"cloud_brightness": 256}, {"min_valid_share": 2}, {"remember": -1}, {"repeat_levels": 300}],
)
def test_a_threshold_out_of_range_is_refused(wrong):
    with pytest.raises(PluginError, match="is in 0"):
        default_registry().create("screen", "cheap", wrong)


def test_none_keeps_everything():
    screen = KeepAll()
    assert screen.judge(flat(0, 0, 0), 0.0) == KEPT
    assert screen.judge_many(np.stack([flat(0, 0, 0)] * 3), np.zeros(3)) == [KEPT] * 3


def test_a_verdict_has_a_reason_exactly_when_the_tile_goes():
    with pytest.raises(ValueError, match="reason"):
        Screening(True, "blank")
    with pytest.raises(ValueError, match="reason"):
        Screening(False)
