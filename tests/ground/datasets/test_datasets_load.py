from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orbitloop.errors import DataError, ImageError, LabelError
from orbitloop.ground.datasets.index import ImageEntry
from orbitloop.ground.datasets.load import load_image, read_bounded, tiles_of
from orbitloop.records.label import Boxes, LabelledImage


def entry(tmp_path: Path, width: int = 60, height: int = 40) -> ImageEntry:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    boxes = Boxes(np.array([[6, 4, 30, 20]], np.float32), np.array([0], np.int32))
    return ImageEntry("a", tmp_path / "a.png", width, height, "d", {}, boxes)


@pytest.mark.parametrize("scale", [0.25, 0.3, 0.5, 1.0, 1.7, 3.0])
def test_pixels_and_boxes_scale_together(tmp_path: Path, scale: float) -> None:
    image = load_image(entry(tmp_path), scale)
    assert image.pixels.shape == (round(40 * scale), round(60 * scale), 3)
    assert image.pixels.dtype == np.uint8
    assert image.boxes.xyxy_px.dtype == np.float32
    np.testing.assert_allclose(image.boxes.xyxy_px[0], np.array([6, 4, 30, 20]) * scale, rtol=0.06)
    assert (image.image_id, image.domain, image.source) == ("a", "d", "dataset")


def test_a_half_averages_blocks(tmp_path: Path) -> None:
    whole, half = load_image(entry(tmp_path)).pixels, load_image(entry(tmp_path), 0.5).pixels
    blocks = whole.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(blocks - half).max() <= 1


def test_boxes_follow_the_rounded_size(tmp_path: Path) -> None:
    image = load_image(entry(tmp_path, 61, 41), 0.1)
    assert image.pixels.shape[:2] == (4, 6)
    np.testing.assert_allclose(image.boxes.xyxy_px[0], [6 * 6 / 61, 4 * 4 / 41, 30 * 6 / 61, 20 * 4 / 41], rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_scale_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(DataError, match="scale"):
        load_image(entry(tmp_path), scale)


def test_a_picture_of_another_size_than_its_labels_say_is_refused(tmp_path: Path) -> None:
    wrong = entry(tmp_path)
    Image.new("RGB", (40, 60)).save(wrong.file)
    with pytest.raises(LabelError, match="40 x 60"):
        load_image(wrong)


def test_an_absent_a_damaged_and_an_oversized_file_are_refused(tmp_path: Path) -> None:
    one = entry(tmp_path)
    with pytest.raises(ImageError, match="over the limit"):
        read_bounded(one.file, 10)
    one.file.write_bytes(one.file.read_bytes()[:200])
    with pytest.raises(ImageError):
        load_image(one)
    one.file.unlink()
    with pytest.raises(DataError, match="cannot read"):
        load_image(one)


def labelled(width: int, height: int, *boxes: tuple[float, float, float, float]) -> LabelledImage:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return LabelledImage(
        "s", "d", pixels, Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int32)), "oracle"
    )


def test_tiles_are_named_by_their_place_and_hold_what_is_seen_in_them() -> None:
    tiles = tiles_of(labelled(100, 64, (10, 10, 30, 30), (60, 10, 90, 40)), 64, 16)
    assert [t.image_id for t in tiles] == ["s@0,0", "s@36,0"]
    assert {(t.domain, t.source, t.pixels.shape) for t in tiles} == {("d", "oracle", (64, 64, 3))}
    assert tiles[0].boxes.xyxy_px.tolist() == [[10, 10, 30, 30]]
    assert tiles[1].boxes.xyxy_px.tolist() == [[24, 10, 54, 40]]


def test_a_box_in_the_overlap_is_in_both_tiles() -> None:
    first, second = tiles_of(labelled(100, 64, (40, 5, 60, 25)), 64, 28)
    assert first.boxes.xyxy_px.tolist() == [[40, 5, 60, 25]]
    assert second.boxes.xyxy_px.tolist() == [[4, 5, 24, 25]]


def test_a_small_scene_is_one_padded_tile() -> None:
    (tile,) = tiles_of(labelled(30, 20, (1, 2, 11, 12)), 64, 0, pad_value=7)
    assert tile.pixels.shape == (64, 64, 3)
    assert (tile.pixels[20:] == 7).all()
    assert tile.boxes.xyxy_px.tolist() == [[1, 2, 11, 12]]
