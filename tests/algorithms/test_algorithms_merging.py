"""Merging across tile borders: the rules one by one, streaming against the whole, and large scenes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging_reference import merge_all_against_all

from orbitloop.algorithms.boxes import clip_to, suppress
from orbitloop.algorithms.merging import TileMerger, merge_tiles
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


Tiles = list[tuple[TileWindow, Detections]]


@st.composite
def seen_scenes(draw: st.DrawFn) -> tuple[int, int, Tiles]:
    """A scene's size and what its tiles see: objects of any size by shaken borders, and noise that likes borders."""
    tile = draw(st.integers(24, 90))
    overlap = draw(st.integers(0, tile * 3 // 4))
    width, height = draw(st.integers(10, 320)), draw(st.integers(10, 400))
    classes = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    objects, noise, longest = draw(st.integers(0, 25)), draw(st.integers(0, 10)), draw(st.sampled_from([20, 80, 400]))
    levels = draw(st.sampled_from([3, 1000]))  # few levels of score make many ties
    shake = draw(st.sampled_from([0.7, 4.0, 12.0]))  # much of it makes chains of rivals
    corner = rng.uniform(0, 1, (objects, 2)) * [width, height]
    truth = Boxes(
        np.concatenate([corner, corner + rng.uniform(4, longest, (objects, 2))], axis=1).astype(np.float32),
        rng.integers(0, classes, objects).astype(np.int32),
    )
    tiles = [(w, look(w, truth, classes, (noise, levels, shake), rng)) for w in tile_windows(width, height, tile, overlap)]
    return width, height, tiles


def look(w: TileWindow, truth: Boxes, classes: int, style: tuple[int, int, float], rng: np.random.Generator) -> Detections:
    noise, levels, shake = style
    seen = truth.crop(w.x_px, w.y_px, w.width_px, w.height_px, min_visible=0.0)
    shaken = seen.xyxy_px + rng.normal(0, shake, seen.xyxy_px.shape)
    first = rng.uniform(0, w.width_px, (noise, 2))
    extra = np.concatenate([first, first + rng.uniform(2, w.width_px, (noise, 2))], axis=1)
    extra = np.where(rng.uniform(size=extra.shape) < 0.3, np.array([0, 0, w.width_px, w.height_px]), extra)
    boxes = np.concatenate([shaken, extra])
    scores = rng.integers(1, levels + 1, len(boxes)) / np.float32(levels)
    kinds = np.concatenate([seen.classes, rng.integers(0, classes, noise)])
    found = clip_to(
        Detections(boxes.astype(np.float32), scores.astype(np.float32), kinds.astype(np.int32)), w.width_px, w.height_px
    )
    return suppress(found, 0.6)


def outline(tiles: Tiles) -> tuple[int, int, int, int]:
    return 0, 0, max(w.x_px + w.width_px for w, _ in tiles), max(w.y_px + w.height_px for w, _ in tiles)


def stream(tiles: Tiles, iou: float) -> list[Detections]:
    """Merge row by row, settling after each."""
    merger = TileMerger(outline(tiles), iou)
    parts, row = [], 0
    for window, found in tiles:
        if window.y_px > row:
            row = window.y_px
            merger._work_at = 0  # not put off, as it would be for so few boxes
            parts.append(merger.advance(row))
        merger.add(window, found)
    parts.append(merger.finish())
    return parts


def rows_of(found: Detections) -> list[tuple[float, ...]]:
    table = np.concatenate([found.boxes_xyxy_px, found.scores[:, None], found.classes[:, None]], axis=1)
    return sorted(map(tuple, table.tolist()))


def joined(parts: list[Detections]) -> Detections:
    return Detections(
        np.concatenate([p.boxes_xyxy_px for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]),
    )


@given(seen_scenes(), st.sampled_from([0.1, 0.3, 0.5]))
@settings(max_examples=100, deadline=None)
def test_streaming_is_the_whole_and_the_whole_is_all_against_all(scene: tuple[int, int, Tiles], iou: float) -> None:
    tiles = scene[2]
    whole, parts = merge_tiles(tiles, iou), stream(tiles, iou)
    second = merge_all_against_all(tiles, iou)
    assert whole.boxes_xyxy_px.tobytes() == second.boxes_xyxy_px.tobytes()
    assert whole.scores.tobytes() == second.scores.tobytes()
    assert whole.classes.tobytes() == second.classes.tobytes()
    assert rows_of(joined(parts)) == rows_of(whole)
    assert all((np.diff(part.scores) <= 0).all() for part in parts)


@given(seen_scenes(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_order_of_tiles_does_not_matter(scene: tuple[int, int, Tiles], seed: int) -> None:
    tiles = scene[2]
    mixed = [tiles[i] for i in np.random.default_rng(seed).permutation(len(tiles))]
    assert merge_tiles(mixed).boxes_xyxy_px.tobytes() == merge_tiles(tiles).boxes_xyxy_px.tobytes()


@given(seen_scenes())
@settings(max_examples=40, deadline=None)
def test_merging_invents_nothing(scene: tuple[int, int, Tiles]) -> None:
    """Each side of each result is the side of some box of its class and its score the score of one; and never more come out."""
    merged = merge_tiles(scene[2])
    given_ = merge_boxes_only(scene[2])
    assert len(merged) <= len(given_)
    for box, score, kind in zip(merged.boxes_xyxy_px, merged.scores, merged.classes, strict=True):
        same = given_.classes == kind
        assert all(value in given_.boxes_xyxy_px[same, side] for side, value in enumerate(box))
        assert score in given_.scores[same]


def merge_boxes_only(tiles: Tiles) -> Detections:
    """All boxes in scene pixels, as they are."""
    return joined(
        [Detections.empty()]
        + [Detections(d.boxes_xyxy_px + np.array([w.x_px, w.y_px] * 2, np.float32), d.scores, d.classes) for w, d in tiles]
    )


@given(seen_scenes())
@settings(max_examples=40, deadline=None)
def test_merging_what_is_merged_changes_nothing(scene: tuple[int, int, Tiles]) -> None:
    tiles = scene[2]
    merged = merge_tiles(tiles)
    left, top, right, bottom = outline(tiles)
    again = merge_tiles([(TileWindow(left, top, right, bottom), merged)])
    assert again.boxes_xyxy_px.tobytes() == merged.boxes_xyxy_px.tobytes()


@given(seen_scenes(), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_one_tile_alone_found_stays_as_it_is(scene: tuple[int, int, Tiles], pick: int) -> None:
    """With every other tile empty, one tile's boxes come out untouched (they were suppressed inside the tile already)."""
    tiles = scene[2]
    chosen = pick % len(tiles)
    alone = [(w, d if i == chosen else Detections.empty()) for i, (w, d) in enumerate(tiles)]
    merger = TileMerger(outline(tiles), iou=0.6)
    for window, found in alone:
        merger.add(window, found)
    assert rows_of(merger.finish()) == rows_of(merge_boxes_only(alone))


def test_borders_are_inner_by_the_scenes_size_not_by_the_tiles_that_were_looked_at() -> None:
    # The right tile was never looked at; the object at the left tile's inner border is a part, and stays for want of better.
    part, whole = detections((85, 10, 100, 30, 0.9, 0)), detections((85, 10, 99, 30, 0.8, 0))
    merger = TileMerger((0, 0, 180, 100))
    merger.add(LEFT, part)
    assert len(merger.finish()) == 1
    merger = TileMerger((0, 0, 180, 100))
    merger.add(LEFT, part)
    merger.add(
        RIGHT,
        Detections(
            whole.boxes_xyxy_px - np.array([80, 0, 80, 0], np.float32) + np.array([0, 0, 20, 0], np.float32),
            whole.scores,
            whole.classes,
        ),
    )
    assert merger.finish().boxes_xyxy_px.tolist() == [[85, 10, 119, 30]]


def test_a_tile_says_nothing_of_what_lies_outside_of_it() -> None:
    merged = merge_tiles([(LEFT, detections((90, 10, 140, 30, 0.9, 0), (120, 10, 140, 30, 0.8, 0)))])
    assert merged.boxes_xyxy_px.tolist() == [[90, 10, 100, 30]]


def test_a_box_that_is_dropped_before_all_below_it_is_seen_still_owns_its_parts() -> None:
    upper, lower = TileWindow(0, 0, 100, 100), TileWindow(0, 80, 100, 100)
    best, rival = (10, 40, 50, 80, 0.9, 0), (10, 42, 50, 88, 0.8, 0)
    tiles = [(upper, detections(best, rival)), (lower, detections((10, 0, 50, 7, 0.5, 0)))]
    assert rows_of(joined(stream(tiles, 0.5))) == rows_of(merge_all_against_all(tiles)) == rows_of(detections(best))


def test_what_is_against_the_contract_is_refused() -> None:
    merger = TileMerger((0, 0, 180, 300))
    merger.advance(150)
    with pytest.raises(ValueError, match="after the frontier"):
        merger.add(LEFT, detections((0, 0, 5, 5, 0.5, 0)))
    for wrong in ({"iou": -0.1}, {"contained": 0.0}, {"edge_px": -1.0}, {"iou": float("nan")}):
        with pytest.raises(ValueError, match="no merge"):
            TileMerger((0, 0, 10, 10), **wrong)


def test_a_large_dense_scene_is_merged_in_the_memory_of_a_few_rows() -> None:
    """200,000 boxes, far more than one to a tile's free place: they form chains over the whole scene."""
    rng = np.random.default_rng(1)
    windows = tile_windows(20_000, 20_000, 320, 64)
    per_tile = 200_000 // len(windows) + 1
    row_boxes = per_tile * len({w.x_px for w in windows})
    merger = TileMerger((0, 0, 20_000, 20_000))
    found = most = row = 0
    tracemalloc.start()
    for window in windows:
        if window.y_px > row:
            row = window.y_px
            most = max(most, merger.waiting)
            found += len(merger.advance(row))
        merger.add(window, clip_to(crowd(per_tile, int(rng.integers(2**31)), classes=1, extent=310), 320, 320))
    found += len(merger.finish())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found > 100_000
    assert most < 3 * row_boxes
    assert peak_bytes < 10e6


def test_rivals_in_a_long_chain_are_merged_in_linear_work() -> None:
    """Each box is suppressed by the one before it, or would be: nothing is final until the whole chain has been seen."""
    n = 20_000
    y = np.arange(n, dtype=np.float32) * 4
    boxes = np.stack([np.full(n, 5.0), y, np.full(n, 25.0), y + 20], axis=1).astype(np.float32)
    windows = tile_windows(30, 4 * n + 20, 30, 0)
    merger = TileMerger((0, 0, 30, 4 * n + 20), edge_px=0.0)
    parts = []
    for window in windows:
        parts.append(merger.advance(window.y_px))
        inside = (boxes[:, 1] >= window.y_px) & (boxes[:, 3] < window.y_px + 30)
        scores = (0.1 + 0.8 * boxes[inside, 1] / (4 * n)).astype(np.float32)  # better and better downwards
        moved = boxes[inside] - np.array([0, window.y_px, 0, window.y_px], np.float32)
        merger.add(window, Detections(moved, scores, np.zeros(len(scores), np.int32)))
    parts.append(merger.finish())
    assert sum(len(p) for p in parts) > 1000
