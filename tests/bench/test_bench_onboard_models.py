"""What is measured on: operations per tile, model files for the peers, huge scenes, and the environment's pins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import onboard_env
import onboard_models
from onboard_models import Model, flop_per_tile, real_tiles, resized, write_folder, write_scenes
from onboard_tiff import BLOCK_PX, write_huge, write_scene
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import STRIDES
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.sim.world import SceneRef


def small_model(tile_px: int = 64) -> Model:
    weights = initial_weights(0.125, 2, 3)
    rules = Preprocessing(tile_px=tile_px, overlap_px=16)
    about = ModelMetadata("small", ("a", "b"), 0.125, STRIDES, onboard_models.FRESH_ANCHORS_PX, rules)
    return Model(write_graph(about, weights), weights)


def scene(boxes: list[list[float]], name: str = "one", side: int = 200) -> SceneRef:
    pixels = np.random.default_rng(len(name)).integers(0, 256, (side, side + 30, 3), dtype=np.uint8)
    truth = Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int32))
    image = LabelledImage(name, "here", pixels, truth)
    return SceneRef(name, "here", {}, lambda: image)


def test_operations_of_the_reference_network() -> None:
    assert flop_per_tile(1.0, 1, 416) == pytest.approx(5.44e9, rel=0.01)  # 3.738 backbone + 1.704 head
    assert flop_per_tile(1.0, 1, 320) / flop_per_tile(1.0, 1, 416) == pytest.approx((320 / 416) ** 2, rel=1e-9)


def test_the_plain_file_computes_what_the_engine_does(tmp_path: Path) -> None:
    model = small_model()
    folder = write_folder(tmp_path / "m", model, plain=True)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(folder / "plain.onnx"), providers=["CPUExecutionProvider"])
    rows = session.run(["pred"], {"image": tiles.transpose(0, 3, 1, 2).astype(np.float32) / 255})[0]
    np.testing.assert_allclose(rows, OnnxEngine(model.graph, model.weights).rows(tiles), atol=1e-3)
    assert json.loads((folder / "metadata.json").read_text())["classes"] == ["a", "b"]


def test_the_same_network_for_another_tile() -> None:
    model = small_model()
    other = resized(model, 96)
    assert other.metadata.preprocessing.tile_px == 96
    assert other.metadata.preprocessing.overlap_px == 24
    assert other.weights is model.weights
    assert resized(model, 64) is model


def test_the_fullest_tiles_come_first() -> None:
    crowded = scene([[150, 150, 160, 160], [170, 150, 180, 160], [150, 180, 160, 190]], "crowded")
    tiles = real_tiles([scene([[0, 0, 9, 9]], "one"), crowded], 100, 2)
    assert tiles.shape == (2, 100, 100, 3)
    pixels = crowded.load().pixels
    assert any((tiles[0] == pixels[100:200, x : x + 100]).all() for x in (80, 100, 130))


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_scenes_are_written_without_loss(tmp_path: Path, kind: str) -> None:
    ref = scene([])
    (file,) = write_scenes([ref], tmp_path, kind)
    assert file.name == f"one.{kind}"
    with Image.open(file) as image:
        assert (np.asarray(image) == ref.load().pixels).all()


def test_a_scene_larger_than_a_block(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (BLOCK_PX + 7, 2 * BLOCK_PX - 3, 3), dtype=np.uint8)
    write_scene(tmp_path / "s.tif", pixels)
    with Image.open(tmp_path / "s.tif") as image:
        assert (np.asarray(image) == pixels).all()


def test_a_huge_scene_is_a_small_file_and_holds_what_was_chosen(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    blocks = [rng.integers(0, 256, (BLOCK_PX, BLOCK_PX, 3), dtype=np.uint8) for _ in range(2)]
    file = tmp_path / "h.tif"
    write_huge(file, 8_000, blocks, lambda y, x: (y + x) % 2)
    assert file.stat().st_size < 2_000_000
    with Image.open(file) as image:
        assert image.size == (8_000, 8_000)
    write_huge(file, 3 * BLOCK_PX, blocks, lambda y, x: (y + x) % 2)
    with Image.open(file) as image:
        pixels = np.asarray(image)
    assert (pixels[BLOCK_PX : 2 * BLOCK_PX, :BLOCK_PX] == blocks[1]).all()
    assert (pixels[-BLOCK_PX:, -BLOCK_PX:] == blocks[0]).all()


def test_gdal_reads_it_and_knows_where_it_lies(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    blocks = [np.full((BLOCK_PX, BLOCK_PX, 3), 100 * n, np.uint8) for n in range(2)]
    write_huge(tmp_path / "h.tif", 40_000, blocks, lambda y, x: (y + x) % 2)
    with rasterio.open(tmp_path / "h.tif") as raster:
        assert (raster.width, raster.height, raster.crs.to_epsg()) == (40_000, 40_000, 32631)
        last = raster.read(window=((39_940, 40_000), (39_500, 39_600)))
    assert (last == 100 * ((39_940 // BLOCK_PX + 39_500 // BLOCK_PX) % 2)).all()


def test_without_data_there_is_a_subject_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORBITLOOP_DATA", str(tmp_path))
    monkeypatch.setattr(onboard_models, "_fresh", lambda *_: small_model())
    monkeypatch.setattr(onboard_models, "_int8", lambda *_: None)
    (subject,) = onboard_models.subjects(quick=True)
    assert (subject.name, subject.trained) == ("rendered", False)
    assert "no data sets" in subject.note
    assert subject.held_out


def test_the_environment_is_not_made_in_passing_and_its_pins_have_no_agpl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onboard_env, "FOLDER", tmp_path / "absent")
    with pytest.raises(onboard_env.NoEnvironment, match="not made yet"):
        onboard_env.python(make=False)
    lines = [line for line in onboard_env.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert not any(line.startswith(name) for line in lines for name in onboard_env.FORBIDDEN)


def test_an_environment_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("no package at all\n")
    monkeypatch.setattr(onboard_env, "FOLDER", tmp_path / "env")
    monkeypatch.setattr(onboard_env, "REQUIREMENTS", pins)
    with pytest.raises(onboard_env.NoEnvironment, match="cannot be made"):
        onboard_env.python(make=True)
    assert not (tmp_path / "env" / "made-from").exists()


def test_pins_or_another_interpreter_make_it_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = onboard_env.fingerprint()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert onboard_env.fingerprint() != before
