"""The detector's scenes: read by its camera's bands and stretch, looked at wherever their file says they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orbitloop.apps.detector import parser
from orbitloop.apps.detector_scenes import scene_looker
from orbitloop.onboard.budget import Ledger
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction


class Watching:
    """Keeps what it is shown; finds nothing."""

    metadata = ModelMetadata("watching", ("x",), 1.0, (8,), (((1.0, 1.0),),), Preprocessing(8, 0))

    def __init__(self) -> None:
        self.seen: list[npt.NDArray[np.uint8]] = []

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        self.seen += [tile.copy() for tile in tiles]
        return [Prediction(Detections.empty(), np.ones(1, np.float32)) for _ in tiles]


def look(root: Path, name: str, **reading: Any) -> npt.NDArray[np.uint8]:
    """Return the first tile that a scene shows to the engine."""
    engine = Watching()
    scene_looker(root, 1, "", **reading)(engine, name, Ledger(), lambda: 0.0)
    return engine.seen[0]


def test_bands_and_stretch_are_those_of_the_camera(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (look(tmp_path, "a.png") == pixels).all()
    assert (look(tmp_path, "a.png", bands=(3, 2, 1)) == pixels[..., ::-1]).all()
    assert (look(tmp_path, "a.png", stretch=(0.0, 127.5)) == 2 * pixels).all()


def test_a_scene_that_lies_nowhere_is_looked_at_for_boxes_are_in_pixels(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    pixels = np.random.default_rng(0).integers(0, 100, (3, 8, 8), dtype=np.uint8)
    affine = rasterio.Affine(1, 0, 1e9, 0, -1, 1e9)
    with rasterio.open(
        tmp_path / "a.tif", "w", "GTiff", 8, 8, 3, dtype="uint8", crs="EPSG:4326", transform=affine, photometric="rgb"
    ) as raster:
        raster.write(pixels)
    assert (look(tmp_path, "a.tif") == pixels.transpose(1, 2, 0)).all()


def test_a_scene_that_shows_nothing_gives_way_to_others(tmp_path: Path) -> None:
    Image.fromarray(np.full((5000, 64, 3), 9, np.uint8)).save(tmp_path / "sea.png")
    engine, ways = Watching(), []
    _, about = scene_looker(tmp_path, 1, "cheap")(engine, "sea.png", Ledger(), lambda: 0.0, lambda: ways.append(1))
    assert engine.seen == []
    assert about["tiles"]["dropped"] == {"blank": 625 * 8}
    assert len(ways) > 2


def test_a_scene_is_called_what_it_was_asked_for_by(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.webp")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "plain.webp")
    (tmp_path / "plain.webp").rename(odd)
    (tmp_path / "latest.webp").symlink_to(odd)
    _, about = scene_looker(tmp_path, 1, "")(Watching(), "latest.webp", Ledger(), lambda: 0.0, lambda: None)
    assert about["scene"] == "latest"


def test_options_for_scenes() -> None:
    options = parser().parse_args(["--model", "m", "--socket", "s", "--bands", "4,3,2", "--stretch=-5,1e3"])
    assert (options.bands, options.stretch) == ((4, 3, 2), (-5.0, 1000.0))


@pytest.mark.parametrize(
    "words",
    [("--bands", "1,2"), ("--bands", "0"), ("--bands", "a"), ("--stretch", "5,1"), ("--stretch", "0,inf"), ("--stretch", "1")],
)
def test_wrong_options_for_scenes_are_told(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["--model", "m", "--socket", "s", *words])
    assert left.value.code == 2
    assert words[0] in capsys.readouterr().err
