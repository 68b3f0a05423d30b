"""One capture from pixels to samples, with an engine that sees bright squares on a dark ground."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from orbitloop.algorithms.mining.baselines import Always, Never
from orbitloop.algorithms.mining.uncertainty import Uncertainty
from orbitloop.errors import ImageError
from orbitloop.onboard.pipeline import MAX_SENT_DETECTIONS, detect_scene, make_samples, sample_id
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.pixels import decode_image
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample_wire import sample_from_bytes, sample_to_bytes
from orbitloop.records.scene import Scene, TileWindow


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
