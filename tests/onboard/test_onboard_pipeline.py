"""One capture from pixels to samples, with an engine that sees bright squares on a dark ground."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.mining.baselines import Always, Never
from orbitloop.algorithms.mining.uncertainty import Uncertainty
from orbitloop.algorithms.tiling import tile_windows
from orbitloop.errors import ImageError
from orbitloop.onboard.budget import Budget, Ledger
from orbitloop.onboard.pipeline import (
    MAX_SENT_DETECTIONS,
    TileCounts,
    best_first,
    detect_scene,
    detect_source,
    make_samples,
    sample_id,
)
from orbitloop.onboard.resident import ResidentEngine
from orbitloop.onboard.scenes import ArraySource, Chunk, plan_chunks
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.pixels import decode_image
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample_wire import sample_from_bytes, sample_to_bytes
from orbitloop.records.scene import Scene, TileWindow
from orbitloop.records.screening import Screening


class SquareFinder:
    """A real detector for a world of squares: each brightness is one object; red tells its score in percent."""

    def __init__(self, tile_px: int = 64, overlap_px: int = 24) -> None:
        self.metadata = ModelMetadata("squares", ("square",), 1.0, (8,), (((4.0, 4.0),),), Preprocessing(tile_px, overlap_px))
        self.batches: list[int] = []

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        self.batches.append(len(tiles))
        return [self._look(tile) for tile in tiles]

    def _look(self, tile: npt.NDArray[np.uint8]) -> Prediction:
        boxes, scores = [], []
        for mark in sorted({int(m) for m in np.unique(tile[..., 1])} - {0, 114}):
            rows, columns = np.nonzero(tile[..., 1] == mark)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(int(tile[rows[0], columns[0], 0]) / 100)
        order = np.argsort(-np.array(scores), kind="stable")
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4)[order],
            np.array(scores, np.float32)[order],
            np.zeros(len(boxes), np.int32),
        )
        return Prediction(found, np.array([1, 0, 0, 0], np.float32))


def world(width: int, height: int, *squares: tuple[int, int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Squares of x0, y0, x1, y1, score in percent."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for mark, (x0, y0, x1, y1, score) in enumerate(squares, start=1):
        pixels[y0:y1, x0:x1] = (score, mark, 0)
    return pixels


def scene(pixels: npt.NDArray[np.uint8]) -> Scene:
    return Scene("scene-1", "new", pixels, 1000.0)


def test_objects_over_tile_borders_come_out_once_and_whole() -> None:
    squares = ((5, 5, 15, 15, 90), (55, 10, 75, 30, 80), (30, 50, 70, 90, 70), (10, 100, 118, 116, 60))
    result = detect_scene(SquareFinder(), world(130, 120, *squares))
    assert result.detections.boxes_xyxy_px.tolist() == [list(map(float, s[:4])) for s in squares]
    assert result.detections.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_only_reported_scores_are_merged_but_tiles_keep_candidates() -> None:
    result = detect_scene(SquareFinder(), world(64, 64, (5, 5, 15, 15, 90), (30, 30, 40, 40, 10)))
    assert len(result.detections) == 1
    assert len(result.tiles[0][1].detections) == 2


def test_a_scene_smaller_than_a_tile_is_padded_and_boxes_stay_inside() -> None:
    result = detect_scene(SquareFinder(), world(40, 20, (30, 10, 40, 20, 90)))
    assert [w for w, _ in result.tiles] == [TileWindow(0, 0, 64, 64)]
    assert result.detections.boxes_xyxy_px.tolist() == [[30, 10, 40, 20]]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_bounds_inference_and_changes_nothing(batch: int) -> None:
    engine = SquareFinder()
    pixels = world(200, 150, (5, 5, 15, 15, 90), (100, 60, 140, 100, 50))
    result = detect_scene(engine, pixels, batch)
    assert max(engine.batches) <= batch
    assert sum(engine.batches) == len(result.tiles)
    assert result.detections.boxes_xyxy_px.tobytes() == detect_scene(SquareFinder(), pixels).detections.boxes_xyxy_px.tobytes()


def test_hard_tiles_become_samples_with_their_picture() -> None:
    pixels = world(104, 64, (5, 5, 15, 15, 98), (80, 20, 95, 40, 50))
    result = detect_scene(SquareFinder(), pixels)
    assert len(result.tiles) == 2
    (sample,) = make_samples(
        scene(pixels), result, Uncertainty(), satellite="sat-1", model_digest="sha256:aa", image_format="png"
    )
    assert sample.window == TileWindow(40, 0, 64, 64)
    assert sample.sample_id == hashlib.sha256(b"sat-1|scene-1|40,0,64,64").hexdigest()[:16]
    assert sample.mining.hard
    assert (sample.satellite, sample.scene_id, sample.domain, sample.captured_at_s) == ("sat-1", "scene-1", "new", 1000.0)
    np.testing.assert_array_equal(decode_image(sample.image), pixels[:, 40:104])
    assert sample.detections.boxes_xyxy_px.tolist() == [[40, 20, 55, 40]]
    back = sample_from_bytes(sample_to_bytes(sample))
    assert back.detections.boxes_xyxy_px.tolist() == sample.detections.boxes_xyxy_px.tolist()


def test_a_padded_tile_is_sent_as_the_network_saw_it() -> None:
    pixels = world(40, 64, (5, 5, 15, 15, 50))
    (sample,) = make_samples(
        scene(pixels), detect_scene(SquareFinder(), pixels), Always(), satellite="s", model_digest="d", image_format="png"
    )
    picture = decode_image(sample.image)
    assert picture.shape == (64, 64, 3)
    assert (picture[:, 40:] == 114).all()


def test_the_miner_decides() -> None:
    pixels = world(200, 200, (5, 5, 15, 15, 50))
    result = detect_scene(SquareFinder(), pixels)
    kept = make_samples(scene(pixels), result, Always(), satellite="s", model_digest="d")
    assert [s.window for s in kept] == [w for w, _ in result.tiles]
    assert len({s.sample_id for s in kept}) == len(kept)
    assert make_samples(scene(pixels), result, Never(), satellite="s", model_digest="d") == []


def test_a_crowded_tile_sends_its_best_candidates_only() -> None:
    squares = [(4 * (i % 10), 4 * (i // 10), 4 * (i % 10) + 3, 4 * (i // 10) + 3, 20 + i % 70) for i in range(100)]
    pixels = world(64, 64, *squares)
    (sample,) = make_samples(scene(pixels), detect_scene(SquareFinder(), pixels), Always(), satellite="s", model_digest="d")
    assert len(sample.detections) == MAX_SENT_DETECTIONS
    assert (np.diff(sample.detections.scores) <= 0).all()


def test_webp_is_smaller_than_raw_and_an_unknown_format_is_refused() -> None:
    pixels = world(64, 64, (5, 5, 40, 40, 50))
    result = detect_scene(SquareFinder(), pixels)
    (sample,) = make_samples(scene(pixels), result, Always(), satellite="s", model_digest="d", quality=70)
    assert len(sample.image) < pixels.nbytes / 10
    with pytest.raises(ImageError):
        make_samples(scene(pixels), result, Always(), satellite="s", model_digest="d", image_format="bmp")


def test_sample_ids_differ_by_satellite_scene_and_place() -> None:
    window = TileWindow(0, 0, 8, 8)
    names = {
        sample_id("a", "s", window),
        sample_id("b", "s", window),
        sample_id("a", "t", window),
        sample_id("a", "s", TileWindow(1, 0, 8, 8)),
    }
    assert len(names) == 4
    assert all(len(n) == 16 for n in names)


def crowd(width: int, height: int, n: int, seed: int) -> npt.NDArray[np.uint8]:
    """Squares apart from each other in cells of 30 px; each tile sees few enough that brightness tells them apart."""
    rng = np.random.default_rng(seed)
    columns = width // 30
    cells = rng.permutation(columns * (height // 30))[:n]
    pixels = np.zeros((height, width, 3), np.uint8)
    for cell in cells.tolist():
        row, column = divmod(cell, columns)
        x, y = 30 * column + int(rng.integers(2, 8)), 30 * row + int(rng.integers(2, 8))
        mark = 1 + column % 6 + 6 * (row % 6)
        pixels[y : y + int(rng.integers(6, 20)), x : x + int(rng.integers(6, 20))] = (int(rng.integers(30, 99)), mark, 0)
    return pixels


class InChunks:
    """A source that cuts an array into small chunks, as a file's blocks would."""

    def __init__(
        self, pixels: npt.NDArray[np.uint8], chunk_px: tuple[int, int], valid: npt.NDArray[np.bool_] | None = None
    ) -> None:
        self.whole = ArraySource(pixels, "s", valid=valid)
        self.scene_id, self.width_px, self.height_px = "s", self.whole.width_px, self.whole.height_px
        self.captured_at_s, self.geo = None, None
        self.chunk_px = chunk_px
        self.read = 0

    def chunks(self, tile_px: int, overlap_px: int) -> Iterator[Chunk]:
        width, height = self.chunk_px
        for plan in plan_chunks(
            self.width_px, self.height_px, tile_px, overlap_px, chunk_width_px=width, chunk_height_px=height
        ):
            part = np.s_[plan.y_px : plan.y_px + plan.height_px, plan.x_px : plan.x_px + plan.width_px]
            valid = None if self.whole.valid is None else self.whole.valid[part]
            self.read += 1
            yield Chunk(plan.windows, plan.x_px, plan.y_px, self.whole.pixels[part].copy(), valid)

    def close(self) -> None:
        return

    def __enter__(self) -> InChunks:
        return self

    def __exit__(self, *_: object) -> None:
        return


@given(
    st.tuples(st.integers(20, 300), st.integers(20, 400)),
    st.tuples(st.integers(30, 200), st.integers(30, 200)),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_in_pieces_is_as_a_whole(size: tuple[int, int], chunk: tuple[int, int], batch: int, seed: int) -> None:
    pixels = crowd(*size, n=60, seed=seed)
    whole = detect_scene(SquareFinder(), pixels)
    windows: list[TileWindow] = []
    steps: list[tuple[int, int]] = []
    run = detect_source(
        SquareFinder(),
        InChunks(pixels, chunk),
        batch=batch,
        progress=lambda done, total: steps.append((done, total)),
        on_tile=lambda window, _: windows.append(window),
    )
    found = best_first(list(run))
    assert sorted(map(tuple, found.boxes_xyxy_px.tolist())) == sorted(map(tuple, whole.detections.boxes_xyxy_px.tolist()))
    assert sorted(windows, key=lambda w: (w.y_px, w.x_px)) == [w for w, _ in whole.tiles]
    assert run.counts == TileCounts(len(windows), len(windows), {}, 0)
    assert steps == sorted(steps)
    assert steps[-1] == (len(windows), len(windows))


def test_what_is_final_leaves_before_the_scene_ends() -> None:
    pixels = crowd(260, 4000, n=900, seed=4)
    source = InChunks(pixels, (300, 300))
    when = [(source.read, len(part)) for part in detect_source(SquareFinder(), source)]
    assert sum(count for read, count in when if read < source.read) > 100


def test_candidates_are_merged_when_asked_for() -> None:
    pixels = world(64, 64, (5, 5, 15, 15, 90), (30, 30, 40, 40, 10))
    assert len(detect_scene(SquareFinder(), pixels, least_score=0.05).detections) == 2
    assert len(detect_scene(SquareFinder(), pixels, least_score=0.95).detections) == 0


class EveryOther:
    """A screen that drops every second tile."""

    summary = "for tests"

    def __init__(self) -> None:
        self.shares: list[float] = []

    def judge(self, tile: npt.NDArray[np.uint8], valid_share: float) -> Screening:
        assert tile.shape == (64, 64, 3)
        self.shares.append(valid_share)
        return Screening(True) if len(self.shares) % 2 else Screening(False, "dull")

    def judge_many(self, tiles: npt.NDArray[np.uint8], valid_shares: npt.NDArray[np.float64]) -> list[Screening]:
        return [self.judge(tile, share) for tile, share in zip(tiles, valid_shares.tolist(), strict=True)]

    def reset(self) -> None:
        self.shares.clear()


def test_the_screen_keeps_tiles_from_the_network_and_each_reason_is_counted() -> None:
    pixels = crowd(200, 200, 20, 0)
    engine, screen = SquareFinder(), EveryOther()
    seen: list[TileWindow] = []
    run = detect_source(engine, ArraySource(pixels, "s"), screen=screen, on_tile=lambda w, _: seen.append(w), batch=3)
    list(run)
    grid = tile_windows(200, 200, 64, 24)
    assert seen == grid[::2]
    assert sum(engine.batches) == run.counts.seen == len(grid[::2])
    assert run.counts == TileCounts(len(grid), len(seen), {"dull": len(grid) - len(seen)}, 0)
    assert screen.shares == [1.0] * len(grid)
    assert not run.counts.cut_short


def test_tiles_without_a_valid_pixel_are_dropped_without_a_screen() -> None:
    pixels, valid = np.zeros((64, 144, 3), np.uint8), np.zeros((64, 144), bool)
    valid[:, :20] = True
    screen = EveryOther()
    run = detect_source(SquareFinder(), ArraySource(pixels, "s", valid=valid), screen=screen)
    list(run)
    assert run.counts.to_json() == {"tiles": 3, "seen": 1, "dropped": {"nodata": 2}, "refused": 0}
    assert screen.shares == [20 / 64]


@pytest.mark.parametrize(("allowed", "seen"), [(0, 0), (5, 5), (8, 8), (24, 24), (25, 25), (90, 25)])
def test_a_budget_of_tiles_cuts_the_scene_short_and_says_so(allowed: int, seen: int) -> None:
    pixels = crowd(200, 200, 20, 0)
    ledger, engine = Ledger(Budget(tiles=allowed)), SquareFinder()
    source = InChunks(pixels, (110, 110))
    run = detect_source(engine, source, ledger=ledger, batch=8)
    list(run)
    assert len(tile_windows(200, 200, 64, 24)) == 25
    assert (run.counts.seen, run.counts.refused, sum(engine.batches)) == (seen, 25 - seen, seen)
    assert run.counts.cut_short == (seen < 25)
    assert ledger.report().spent_tiles == seen
    assert source.read == 9 or seen < 25


@given(st.integers(0, 30), st.integers(1, 9), st.tuples(st.integers(64, 200), st.integers(64, 200)))
@settings(max_examples=30, deadline=None)
def test_every_tile_is_counted_once_whatever_the_budget(allowed: int, batch: int, chunk: tuple[int, int]) -> None:
    source = InChunks(crowd(200, 200, 20, 0), chunk)
    run = detect_source(SquareFinder(), source, ledger=Ledger(Budget(tiles=allowed)), batch=batch, screen=EveryOther())
    list(run)
    counts = run.counts
    assert counts.seen + counts.refused + sum(counts.dropped.values()) == counts.tiles == 25
    assert counts.seen <= allowed


class DropsAll(EveryOther):
    """A screen that lets nothing through."""

    def judge(self, tile: npt.NDArray[np.uint8], valid_share: float) -> Screening:
        return Screening(False, "dull")


def test_time_spent_on_reading_and_screening_alone_ends_a_scene() -> None:
    ticks, source = iter(range(1000)), InChunks(crowd(400, 400, 20, 0), (110, 110))
    ledger = Ledger(Budget(seconds=3.5))
    run = detect_source(SquareFinder(), source, ledger=ledger, screen=DropsAll(), cpu_clock=lambda: float(next(ticks)), batch=8)
    list(run)
    assert source.read == 4, "a second a chunk, and the fourth goes over"
    assert run.counts.cut_short
    assert run.counts.refused + sum(run.counts.dropped.values()) == run.counts.tiles


def test_all_cpu_time_is_charged() -> None:
    ticks = iter(range(1000))
    ledger = Ledger(Budget())
    run = detect_source(
        SquareFinder(), ArraySource(crowd(200, 200, 20, 0), "s"), ledger=ledger, batch=8, cpu_clock=lambda: float(next(ticks))
    )
    list(run)
    assert ledger.report().spent_seconds == 5.0  # four batches, and what came after the last


def test_one_scene_is_seen_by_one_model_though_another_is_swapped_in() -> None:
    first, second = SquareFinder(), SquareFinder()
    engine = ResidentEngine(first, "one")
    parts = iter(detect_source(engine, InChunks(crowd(200, 400, 40, 0), (110, 110)), batch=2))
    next(parts)
    engine.swap(second, "two")
    list(parts)
    assert engine.digest == "two"
    assert not second.batches
    assert sum(first.batches) == len(tile_windows(200, 400, 64, 24))
    assert engine.report().loaded == 1


def test_leaving_early_lets_go_of_the_model() -> None:
    engine = ResidentEngine(SquareFinder(), "one")
    parts = iter(detect_source(engine, InChunks(crowd(200, 400, 40, 0), (110, 110)), batch=2))
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    engine.swap(SquareFinder(), "two")
    assert engine.report().loaded == 1


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        detect_source(SquareFinder(), ArraySource(np.zeros((9, 9, 3), np.uint8), "s"), batch=0)
