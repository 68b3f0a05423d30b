"""From a file to a file: GeoJSON and STAC as they are written, and what failures and interruptions leave behind."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import pytest
from PIL import Image

from orbitloop.apps.models import OpenModel
from orbitloop.apps.pictures import COLOURS
from orbitloop.apps.scenes import SceneOptions, detect_file, scenes_in, to_json
from orbitloop.errors import ImageError, ModelError, StateError
from orbitloop.onboard.adapters.scene_files import open_scene
from orbitloop.onboard.budget import Budget, Ledger
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.plugins.builtins import BUILTINS
from orbitloop.plugins.registry import Registry
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.pixels import decode_image, encode_image
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.scene import GeoTransform


class Squares:
    """Finds squares by their green, scored by their red in percent: at most 250 of them in a tile."""

    def __init__(self) -> None:
        self.metadata = ModelMetadata("squares", ("square",), 1.0, (8,), (((4.0, 4.0),),), Preprocessing(64, 24))
        self.tiles = 0

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        self.tiles += len(tiles)
        return [self._look(tile) for tile in tiles]

    def _look(self, tile: npt.NDArray[np.uint8]) -> Prediction:
        boxes, scores = [], []
        for mark in np.unique(tile[..., 1]).tolist():
            if mark in (0, 114):
                continue
            rows, columns = np.nonzero(tile[..., 1] == mark)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(int(tile[rows[0], columns[0], 0]) / 100)
        table = np.array(boxes, np.float32).reshape(-1, 4)
        found = Detections(table, np.array(scores, np.float32), np.zeros(len(boxes), np.int32))
        return Prediction(found, np.ones(1, np.float32))


def picture(width: int, height: int, n: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.uint8)
    columns = width // 30
    for cell in rng.permutation(columns * (height // 30))[:n].tolist():
        row, column = divmod(cell, columns)
        x, y = 30 * column + 5, 30 * row + 5
        pixels[y : y + 15, x : x + 12] = (int(rng.integers(30, 99)), 1 + column % 7 + 7 * (row % 7), 0)
    return pixels


@pytest.fixture
def model() -> OpenModel:
    return OpenModel(b"", {}, "sha256:ab", Squares())


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    file = tmp_path / "field.png"
    file.write_bytes(encode_image(picture(300, 200, 30), format="png"))
    return file


def read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def corners(collection: dict[str, Any]) -> list[list[float]]:
    """Return boxes x0, y0, x1, y1 of a collection in pixels, sorted."""
    rings = [np.array(f["geometry"]["coordinates"][0]) for f in collection["features"]]
    return sorted([*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()] for ring in rings)


def test_a_scene_becomes_a_file(model: OpenModel, scene: Path, tmp_path: Path) -> None:
    lines = io.StringIO()
    report = detect_file(model, scene, SceneOptions(), out=tmp_path / "new" / "field.geojson", lines=lines)
    collection = read(tmp_path / "new" / "field.geojson")
    assert collection["type"] == "FeatureCollection"
    assert collection["orbitloop:coordinates"] == "pixel"
    expected = detect_scene(Squares(), picture(300, 200, 30)).detections
    assert corners(collection) == sorted(expected.boxes_xyxy_px.tolist())
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == collection["features"]
    assert (report.found, len(report.best), report.width_px, report.height_px) == (30, 30, 300, 200)
    assert (np.diff(report.best.scores) <= 0).all()
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["field.geojson"]
    shown = to_json(report, ("square",))
    assert shown["out"] == str(tmp_path / "new" / "field.geojson")
    assert "detections" not in shown
    assert shown["tiles"] == {"tiles": 35, "seen": 35, "dropped": {}, "refused": 0}


def test_without_a_file_the_best_are_listed(model: OpenModel, scene: Path) -> None:
    report = detect_file(model, scene, SceneOptions(listed=4))
    assert (report.found, len(report.best)) == (30, 4)
    everything = detect_scene(Squares(), picture(300, 200, 30)).detections
    assert report.best.scores.tolist() == everything.scores[:4].tolist()
    assert len(to_json(report, ("square",))["detections"]) == 4


def test_nothing_found_is_a_collection_too(model: OpenModel, scene: Path, tmp_path: Path) -> None:
    detect_file(model, scene, SceneOptions(least_score=1.0), out=tmp_path / "x.geojson")
    assert read(tmp_path / "x.geojson") == {"type": "FeatureCollection", "orbitloop:coordinates": "pixel", "features": []}


class Failing(Squares):
    """Fails at the thirteenth tile."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        if self.tiles > 12:
            raise self.error
        return super().infer(tiles)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ModelError("broken"), ImageError("torn")], ids=lambda e: type(e).__name__
)
def test_what_fails_or_is_stopped_leaves_the_earlier_file_and_nothing_else(
    scene: Path, tmp_path: Path, error: BaseException
) -> None:
    out = tmp_path / "out" / "field.geojson"
    out.parent.mkdir()
    out.write_text("earlier")
    with pytest.raises(type(error)):
        detect_file(
            OpenModel(b"", {}, "d", Failing(error)), scene, SceneOptions(), out=out, stac=out.with_name("field.stac.json")
        )
    assert [file.name for file in out.parent.iterdir()] == ["field.geojson"]
    assert out.read_text() == "earlier"


def test_a_place_that_cannot_be_written_is_told(model: OpenModel, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        detect_file(model, scene, SceneOptions(), out=tmp_path / "file" / "x.geojson")


def test_a_budget_holds_over_scenes_and_each_says_what_was_not_seen(model: OpenModel, scene: Path) -> None:
    options = SceneOptions(ledger=Ledger(Budget(tiles=40)))
    first, second = (detect_file(model, scene, options) for _ in range(2))
    assert (first.counts.seen, first.counts.cut_short) == (35, False)
    assert (second.counts.seen, second.counts.refused, second.counts.cut_short) == (5, 30, True)


def test_the_screen_is_reset_for_each_scene(model: OpenModel, scene: Path) -> None:
    registry = Registry()
    registry.add("screen", "cheap", BUILTINS["screen"]["cheap"], origin="orbitloop")
    options = SceneOptions(screen=registry.create("screen", "cheap"))
    first, second = (detect_file(model, scene, options) for _ in range(2))
    assert first.counts == second.counts
    assert first.counts.dropped


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_picture_shows_the_scene_and_its_boxes(model: OpenModel, scene: Path, tmp_path: Path, kind: str) -> None:
    scene = tmp_path / f"field.{kind}"
    scene.write_bytes(encode_image(picture(300, 200, 5), format=kind))
    report = detect_file(model, scene, SceneOptions(least_score=1.0), picture=tmp_path / "p" / "field.boxes.png")
    file = tmp_path / "p" / "field.boxes.png"
    assert report.picture == file
    shown = decode_image(file.read_bytes())
    np.testing.assert_array_equal(shown[:200], decode_image(scene.read_bytes()))
    detect_file(model, scene, SceneOptions(), picture=file)
    assert (decode_image(file.read_bytes())[:200] == COLOURS[0]).all(axis=-1).any()
    assert [f.name for f in file.parent.iterdir()] == ["field.boxes.png"]
    assert to_json(report, ("square",))["picture"] == str(file)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("broken")], ids=lambda e: type(e).__name__)
def test_a_scene_that_fails_leaves_the_earlier_picture(scene: Path, tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "p" / "field.boxes.png"
    file.parent.mkdir()
    file.write_text("earlier")
    with pytest.raises(type(error)):
        detect_file(OpenModel(b"", {}, "d", Failing(error)), scene, SceneOptions(), picture=file)
    assert (file.read_text(), len(list(file.parent.iterdir()))) == ("earlier", 1)


def test_a_picture_that_cannot_be_written_leaves_no_half(
    model: OpenModel, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, stream: Any, **_: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StateError, match="No space left"):
        detect_file(model, scene, SceneOptions(), picture=tmp_path / "p" / "x.boxes.png")
    assert not list((tmp_path / "p").iterdir())


def test_only_the_classes_that_are_asked_for_are_kept(scene: Path, tmp_path: Path) -> None:
    everything, out = detect_scene(Halves(), picture(300, 200, 30)).detections, tmp_path / "x.geojson"
    for kept in (frozenset({1}), frozenset({0, 1}), frozenset[int]()):
        report = detect_file(OpenModel(b"", {}, "d", Halves()), scene, SceneOptions(classes=kept), out=out)
        expected = np.isin(everything.classes, list(kept))
        assert report.best.scores.tolist() == everything.scores[expected].tolist()
        assert report.found == len(read(out)["features"]) == np.count_nonzero(expected)
    assert 0 < np.count_nonzero(everything.classes) < len(everything)


class Halves(Squares):
    """Calls the squares of a score above 0.6 large."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = replace(self.metadata, classes=("square", "large"))

    def _look(self, tile: npt.NDArray[np.uint8]) -> Prediction:
        found = super()._look(tile)
        classes = (found.detections.scores > 0.6).astype(np.int32)
        return replace(found, detections=replace(found.detections, classes=classes))


def test_a_folder_gives_its_scenes_by_name(tmp_path: Path) -> None:
    for name in ("b.TIF", "a.webp", "c.jpeg", "d.boxes.png", ".e.png", "f.gif", "g.tiff.aux.xml"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    assert [file.name for file in scenes_in(tmp_path)] == ["a.webp", "b.TIF", "c.jpeg"]
    with pytest.raises(ImageError, match="holds no scene") as empty:
        scenes_in(tmp_path / "folder.tif")
    assert empty.value.where == str(tmp_path / "folder.tif")
    with pytest.raises(ImageError, match="cannot be read"):
        scenes_in(tmp_path / "absent")


# -- on Earth ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["utm", "degrees", "antimeridian", "polar"])
def placed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    crs, origin, step = {
        "utm": ("EPSG:32632", (600_000.0, 5_300_000.0), 10.0),
        "degrees": ("EPSG:4326", (10.0, 48.0), 1e-4),
        "antimeridian": ("EPSG:32701", (170_000.0, 8_100_000.0), 100.0),
        "polar": ("EPSG:3413", (-1500.0, 1000.0), 10.0),
    }[request.param]
    file = tmp_path / "scene.tif"
    affine = rasterio.Affine(step, 0, origin[0], 0, -step, origin[1])
    values = picture(300, 200, 30).transpose(2, 0, 1)
    with rasterio.open(file, "w", "GTiff", 300, 200, 3, dtype="uint8", crs=crs, transform=affine, photometric="rgb") as raster:
        raster.write(values)
        raster.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09")
    return request.param, file


def test_an_item_tells_where_and_when_and_by_which_model(model: OpenModel, placed: tuple[str, Path], tmp_path: Path) -> None:
    kind, scene = placed
    report = detect_file(
        model, scene, SceneOptions(), out=tmp_path / "o" / "scene.geojson", stac=tmp_path / "o" / "scene.stac.json"
    )
    assert report.placed
    value = read(tmp_path / "o" / "scene.stac.json")
    item = pystac.Item.from_dict(value)
    assert (value["stac_version"], item.id) == ("1.1.0", "scene")
    assert item.datetime is not None
    assert item.datetime.isoformat() == "2024-05-06T07:08:09+00:00"
    assert value["properties"]["orbitloop:model_digest"] == "sha256:ab"
    assert value["properties"]["orbitloop:detections"] == report.found == 30
    assert value["properties"]["orbitloop:tiles"]["seen"] == 35
    assert value["properties"]["proj:shape"] == [200, 300]
    assert value["properties"]["proj:code"].startswith("EPSG:")
    assert len(value["properties"]["proj:transform"]) == 6
    assert {key: asset.href for key, asset in item.assets.items()} == {"scene": "../scene.tif", "detections": "scene.geojson"}
    assert not [link for link in value["links"] if link["rel"] == "self"]
    west, south, east, north = value["bbox"]
    assert south < north
    assert (west > east) == (kind == "antimeridian")
    assert value["geometry"]["type"] == ("MultiPolygon" if kind == "antimeridian" else "Polygon")
    if kind == "polar":
        assert (west, east, north) == (-180, 180, 90)
    for feature in read(tmp_path / "o" / "scene.geojson")["features"]:
        parts = feature["geometry"]["coordinates"]
        for ring in parts if feature["geometry"]["type"] == "Polygon" else [part[0] for part in parts]:
            for lon, lat in ring:
                assert south - 1e-6 <= lat <= north + 1e-6
                inside = (lon >= west - 1e-6 or lon <= east + 1e-6) if west > east else west - 1e-6 <= lon <= east + 1e-6
                assert inside


def test_an_item_without_a_place_has_no_geometry(model: OpenModel, scene: Path, tmp_path: Path) -> None:
    detect_file(model, scene, SceneOptions(), stac=tmp_path / "field.stac.json")
    value = read(tmp_path / "field.stac.json")
    assert value["geometry"] is None
    assert "bbox" not in value or value["bbox"] is None
    assert value["properties"]["orbitloop:captured_at_from"] == "file"
    assert set(pystac.Item.from_dict(value).assets) == {"scene"}


def test_when_a_scene_was_taken_is_not_made_up(model: OpenModel, scene: Path, placed: tuple[str, Path], tmp_path: Path) -> None:
    for file, expected in ((scene, None), (placed[1], "2024-05-06T07:08:09Z")):
        detect_file(model, file, SceneOptions(), out=tmp_path / "x.geojson")
        assert {f["properties"]["captured_at"] for f in read(tmp_path / "x.geojson")["features"]} == {expected}


def test_a_name_that_is_no_text_is_refused_before_anything_is_written(model: OpenModel, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.webp"))
    file.write_bytes(encode_image(picture(100, 100, 5), format="webp"))
    with pytest.raises(ImageError, match="not UTF-8") as refused:
        detect_file(model, file, SceneOptions(), out=tmp_path / "x.geojson")
    assert str(refused.value).encode()
    assert not (tmp_path / "x.geojson").exists()


def test_the_bands_and_the_stretch_that_were_read_are_told(model: OpenModel, scene: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    deep, affine = tmp_path / "deep.tif", rasterio.Affine(1, 0, 1, 0, -1, 1)
    with rasterio.open(deep, "w", "GTiff", 300, 200, 4, dtype="uint16", transform=affine, photometric="minisblack") as raster:
        raster.write(np.arange(4 * 200 * 300, dtype=np.uint16).reshape(4, 200, 300) % 1000)
    told = to_json(detect_file(model, deep, SceneOptions(bands=(4, 3, 2))), ("square",))
    low, high = told["stretch"]
    assert told["bands"] == [4, 3, 2]
    assert 0 <= low < 100 < 900 < high <= 999
    told = to_json(detect_file(model, scene, SceneOptions()), ("square",))
    assert told["bands"] == [1, 2, 3]
    assert "stretch" not in told


def test_who_says_where_a_scene_lies_needs_no_word_of_the_file(model: OpenModel, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    file, affine = tmp_path / "nowhere.tif", rasterio.Affine(1, 0, 5e6, 0, -1, 5e6)
    with rasterio.open(file, "w", "GTiff", 300, 200, 3, dtype="uint8", crs="EPSG:4326", transform=affine) as raster:
        raster.write(picture(300, 200, 30).transpose(2, 0, 1))
    with pytest.raises(ImageError, match="off the Earth") as refused:
        detect_file(model, file, SceneOptions())
    assert "--geo" in refused.value.remedy
    assert detect_file(model, file, SceneOptions(geo=GeoTransform(1.0, 2.0, 1e-5, 0, 0, -1e-5))).placed


def test_where_centres_lie_is_told_within_180_degrees(model: OpenModel, placed: tuple[str, Path]) -> None:
    kind, scene = placed
    report = detect_file(model, scene, SceneOptions(listed=8))
    rows = to_json(report, ("square",))["detections"]
    assert len(rows) == 8
    with open_scene(scene) as source:
        for row in rows:
            (lon, lat), (x0, y0, x1, y1) = row["lonlat_deg"], row["box_xyxy_px"]
            assert source.geo is not None
            expected = source.geo.lonlats_deg(np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]))[0]
            assert abs((lon - expected[0] + 180) % 360 - 180) < 1e-3 * (1000 if kind == "polar" else 1)
            assert lat == pytest.approx(expected[1], abs=1e-3)
            assert -180 <= lon < 180


class Torn:
    """A mapping without a place for what lies left of 150 px; one pixel is one degree."""

    def lonlats_deg(self, xy_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if (xy_px[:, 0] < 150).any():
            raise ImageError("off the Earth")
        return xy_px + np.array([[100.0, 0.0]], np.float64)


def test_a_box_without_a_place_has_none_and_the_others_have_theirs(model: OpenModel, scene: Path) -> None:
    rows = to_json(detect_file(model, scene, SceneOptions(geo=Torn())), ("square",))["detections"]
    for row in rows:
        x = (row["box_xyxy_px"][0] + row["box_xyxy_px"][2]) / 2
        assert row["lonlat_deg"] is None if x < 150 else row["lonlat_deg"][0] == pytest.approx((x + 280) % 360 - 180)
    assert {row["lonlat_deg"] is None for row in rows} == {True, False}


def test_what_the_caller_says_of_the_place_counts(model: OpenModel, placed: tuple[str, Path], tmp_path: Path) -> None:
    options = SceneOptions(geo=GeoTransform(1.0, 2.0, 1e-5, 0, 0, -1e-5))
    detect_file(model, placed[1], options, stac=tmp_path / "s.stac.json")
    assert read(tmp_path / "s.stac.json")["bbox"] == pytest.approx([1.0, 1.998, 1.003, 2.0])
