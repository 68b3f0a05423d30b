"""The detector's scenes: read by its camera's bands and stretch, looked at wherever their file says they lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orbitloop.apps.detector_scenes import scene_looker
from orbitloop.errors import BudgetError, ImageError, LinkError, PluginError, StateError
from orbitloop.onboard.budget import Budget, Ledger
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction


class Watching:
    """Keeps what it is shown; finds nothing."""

    metadata = ModelMetadata("watching", ("x",), 1.0, (8,), (((1.0, 1.0),),), Preprocessing(8, 0))

    digest = "sha256:watching"

    def __init__(self) -> None:
        self.seen: list[npt.NDArray[np.uint8]] = []

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        self.seen += [tile.copy() for tile in tiles]
        return [Prediction(Detections.empty(), np.ones(1, np.float32)) for _ in tiles]


def look(root: Path, name: str, **reading: Any) -> npt.NDArray[np.uint8]:
    """Return the first tile that a scene shows to the engine."""
    engine = Watching()
    scene_looker(root, 1, "none", **reading)(engine, name, Ledger(), lambda: 0.0)
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
    _, about = scene_looker(tmp_path, 1, "none")(Watching(), "latest.webp", Ledger(), lambda: 0.0, lambda: None)
    assert about["scene"] == "latest"


# -- results in files -----------------------------------------------------------------------------------------------------


class Spots(Watching):
    """Finds in each tile 20 boxes of its own, the same score for all in a tile, better from tile to tile."""

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        super().infer(tiles)
        x, y = (axis.ravel().astype(np.float32) for axis in np.meshgrid(np.arange(5) * 1.5, np.arange(4) * 2.0))
        boxes = np.stack([x, y, x + 1, y + 1], axis=1)
        score = np.float32(min(0.99, 0.5 + len(self.seen) / 2000))
        one = Detections(boxes, np.full(20, score), np.zeros(20, np.int32))
        return [Prediction(one, np.ones(1, np.float32)) for _ in tiles]


def noise_scene(path: Path, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def to_file(root: Path, results: Path, name: str, ledger: Ledger | None = None, give_way: Any = lambda: None) -> Any:
    return scene_looker(root, 1, "none", results=results)(Spots(), name, ledger or Ledger(), lambda: 0.0, give_way)


def test_all_detections_go_to_a_file_and_the_answer_has_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitloop.apps.scene_results.LISTED", 70)
    noise_scene(tmp_path / "in" / "pass-1" / "a.png")
    found, about = to_file(tmp_path / "in", tmp_path / "out", "pass-1/a.png")
    target = tmp_path / "out" / "pass-1" / "a.png.geojson"
    assert (about["out"], about["found"], about["coordinates"]) == (str(target), 500, "pixel")
    assert about["tiles"]["seen"] == 25
    written = json.loads(target.read_text())
    assert written["orbitloop:coordinates"] == "pixel"
    assert len(written["features"]) == 500
    shared = {"class": "x", "scene": "a.png", "captured_at": None, "model": "sha256:watching"}
    assert shared.items() <= written["features"][0]["properties"].items()
    assert len(found) == 70
    best = sorted((feature["properties"]["score"] for feature in written["features"]), reverse=True)[:70]
    np.testing.assert_allclose(found.scores, best, atol=1e-4)
    assert list(target.parent.iterdir()) == [target]


def test_the_file_is_in_wgs84_and_has_the_time_where_the_scene_says_them(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    affine = rasterio.Affine(0.001, 0, 10, 0, -0.001, 48)
    with rasterio.open(
        tmp_path / "a.tif", "w", "GTiff", 8, 8, 3, dtype="uint8", crs="EPSG:4326", transform=affine, photometric="rgb"
    ) as raster:
        raster.write(np.random.default_rng(0).integers(0, 100, (3, 8, 8), dtype=np.uint8))
        raster.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09")
    _, about = to_file(tmp_path, tmp_path / "out", "a.tif")
    written = json.loads(Path(about["out"]).read_text())
    assert about["coordinates"] == "wgs84"
    assert "orbitloop:coordinates" not in written
    one = written["features"][0]
    lon_deg, lat_deg = np.array(one["geometry"]["coordinates"][0]).T
    assert (lon_deg >= 10).all()
    assert (lon_deg <= 10.008).all()
    assert (lat_deg >= 48 - 0.008).all()
    assert (lat_deg <= 48).all()
    assert one["properties"]["captured_at"].startswith("2024-05-06T07:08:09")


@pytest.mark.parametrize("name", ["../in/a.png", "sub/../a.png", "{root}/a.png", "away/a.png", "a.png\udcff"])
def test_results_stay_below_their_folder(tmp_path: Path, name: str) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    noise_scene(root / "a.png")
    noise_scene(root / "away" / "a.png")
    noise_scene(root / "sub" / "b.png")
    noise_scene(root / "a.png").rename(root / "a.png\udcff")
    noise_scene(root / "a.png")
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "away").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="results"):
        to_file(root, out, name.format(root=root))
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    assert [path.name for path in out.iterdir()] == ["away"]


def test_a_link_in_the_files_place_is_replaced_not_followed(tmp_path: Path) -> None:
    noise_scene(tmp_path / "in" / "a.png")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png.geojson").symlink_to(tmp_path / "mine")
    _, about = to_file(tmp_path / "in", tmp_path / "out", "a.png")
    assert (tmp_path / "mine").read_text() == "mine"
    assert json.loads(Path(about["out"]).read_text())["features"]


def gone() -> None:
    raise LinkError("nobody waits for this scene any more")


@pytest.mark.parametrize(
    ("ledger", "give_way", "kind"),
    [(Ledger(Budget(tiles=0)), lambda: None, BudgetError), (None, gone, LinkError)],
    ids=["no tile allowed", "client gone"],
)
def test_a_scene_that_fails_leaves_no_file_and_an_earlier_one_as_it_was(
    tmp_path: Path, ledger: Ledger | None, give_way: Any, kind: type[Exception]
) -> None:
    noise_scene(tmp_path / "in" / "a.png")
    with pytest.raises(kind):
        to_file(tmp_path / "in", tmp_path / "out", "a.png", ledger, give_way)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "a.png.geojson").write_text("earlier")
    with pytest.raises(kind):
        to_file(tmp_path / "in", tmp_path / "out", "a.png", ledger, give_way)
    assert (tmp_path / "out" / "a.png.geojson").read_text() == "earlier"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_scene_that_is_cut_short_has_a_file_of_what_was_seen(tmp_path: Path) -> None:
    noise_scene(tmp_path / "in" / "a.png")
    _, about = to_file(tmp_path / "in", tmp_path / "out", "a.png", Ledger(Budget(tiles=3)))
    assert (about["cut_short"], about["found"]) == (True, 60)
    assert len(json.loads(Path(about["out"]).read_text())["features"]) == 60


def test_a_disk_that_takes_no_file_is_a_typed_error(tmp_path: Path) -> None:
    noise_scene(tmp_path / "in" / "a.png")
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(StateError, match="cannot be written") as told:
        to_file(tmp_path / "in", tmp_path / "out", "a.png")
    assert "--results" in told.value.remedy


def test_without_a_file_too_many_detections_are_refused_with_one_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitloop.apps.detector_scenes.MAX_ANSWER_BOXES", 100)
    noise_scene(tmp_path / "in" / "a.png")
    with pytest.raises(ImageError, match="more than 100") as told:
        scene_looker(tmp_path / "in", 1, "none")(Spots(), "a.png", Ledger(), lambda: 0.0, lambda: None)
    assert "--results" in told.value.remedy
    assert to_file(tmp_path / "in", tmp_path / "out", "a.png")[1]["found"] == 500


def test_without_a_file_all_are_answered_best_first(tmp_path: Path) -> None:
    noise_scene(tmp_path / "a.png")
    found, about = scene_looker(tmp_path, 1, "none")(Spots(), "a.png", Ledger(), lambda: 0.0, lambda: None)
    assert len(found) == about["found"] == 500
    assert (np.diff(found.scores) <= 0).all()
    assert "out" not in about


def test_a_screen_that_is_not_known_is_told(tmp_path: Path) -> None:
    noise_scene(tmp_path / "a.png")
    with pytest.raises(PluginError, match="chaep"):
        scene_looker(tmp_path, 1, "chaep")(Watching(), "a.png", Ledger(), lambda: 0.0, lambda: None)
