from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import LabelError
from orbitloop.ground.datasets import coco
from orbitloop.ground.datasets.coco import is_safe_name, read_coco, write_coco
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry
from orbitloop.ground.datasets.load import load_image
from orbitloop.ground.datasets.yolo import read_yolo, write_yolo
from orbitloop.records.label import Boxes

GOOD: dict[str, Any] = {
    "images": [
        {
            "id": 7,
            "file_name": "north.png",
            "width": 100,
            "height": 80,
            "domain": "a",
            "gsd_m": 0.5,
            "cloudy": False,
            "deep": [1],
        },
        {"id": 9, "file_name": "south.png", "width": 60, "height": 60, "domain": "b"},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 30, "bbox": [10, 20, 30, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0.5, 0.5, 5.25, 6]},
    ],
    "categories": [{"id": 30, "name": "ship"}, {"id": 4, "name": "plane"}],
}


def good() -> dict[str, Any]:
    return copy.deepcopy(GOOD)


def write(tmp_path: Path, root: Any) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(root if isinstance(root, str) else json.dumps(root))
    return path


def read(tmp_path: Path, root: Any, **options: Any) -> DatasetIndex:
    return read_coco(write(tmp_path, root), require_files=False, **options)


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    index = read(tmp_path, good())
    north, south = index.entries
    assert index.classes == ("plane", "ship")
    assert north.boxes.xyxy_px.tolist() == [[10, 20, 40, 60], [0.5, 0.5, 5.75, 6.5]]
    assert north.boxes.classes.tolist() == [1, 0]
    assert (north.image_id, north.domain, north.width_px, north.height_px) == ("north", "a", 100, 80)
    assert north.fields == {"domain": "a", "gsd_m": 0.5, "cloudy": False}
    assert north.file == tmp_path / "north.png"
    assert len(south.boxes) == 0
    assert index.domains == {"a": 1, "b": 1}
    assert index.box_count == 2


def test_pictures_lie_in_images_beside_the_file_or_where_the_caller_says(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert read(tmp_path, good()).entries[0].file == tmp_path / "images" / "north.png"
    assert read(tmp_path, good(), images=tmp_path / "x").entries[0].file == tmp_path / "x" / "north.png"


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"images\[0\] \(id 7\), file_name 'north.png': picture .*north.png does not exist"):
        read_coco(write(tmp_path, good()))


def test_a_domain_may_be_any_field_and_absent(tmp_path: Path) -> None:
    root = good()
    for number, image in enumerate(root["images"]):
        image["year"] = 2016 + number
    assert [e.domain for e in read(tmp_path, root, domain_field="year").entries] == ["2016", "2017"]
    for image in root["images"]:
        del image["domain"]
    assert {e.domain for e in read(tmp_path, root).entries} == {"default"}
    with pytest.raises(LabelError, match=r"no image has the field 'yeer'(.|\n)*year"):
        read(tmp_path, root, domain_field="yeer")


@pytest.mark.parametrize(
    ("bbox", "clipped"),
    [
        ([-0.5, 0, 10, 10], [0, 0, 9.5, 10]),
        ([95, 75, 5.9, 5.9], [95, 75, 100, 80]),
        ([-50, -50, 500, 500], [0, 0, 100, 80]),
    ],
)
def test_a_box_over_the_border_is_clipped(tmp_path: Path, bbox: list[float], clipped: list[float]) -> None:
    root = good()
    root["annotations"][0]["bbox"] = bbox
    np.testing.assert_allclose(read(tmp_path, root).entries[0].boxes.xyxy_px[0], clipped, rtol=1e-6)


def test_pictures_of_one_name_in_two_folders_keep_apart(tmp_path: Path) -> None:
    root = good()
    root["images"][0]["file_name"], root["images"][1]["file_name"] = "a/1.png", "b/1.png"
    assert [e.image_id for e in read(tmp_path, root).entries] == ["a__1", "b__1"]


def change(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(root: dict[str, Any]) -> None:
        at: Any = root
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to

    return apply


def drop(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def apply(root: dict[str, Any]) -> None:
        at: Any = root
        for key in keys[:-1]:
            at = at[key]
        del at[keys[-1]]

    return apply


BOX = ("annotations", 0, "bbox")
MALFORMED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no images": (drop("images"), "key 'images' is missing"),
    "no annotations": (drop("annotations"), "key 'annotations' is missing"),
    "no categories": (drop("categories"), "key 'categories' is missing"),
    "images is a mapping": (change("images", to={}), "'images' is not a list"),
    "an image is a number": (change("images", 0, to=3), "images[0]: entry is not an object"),
    "empty categories": (change("categories", to=[]), "no category"),
    "image without id": (drop("images", 0, "id"), "images[0]: key 'id' is missing"),
    "image id a list": (change("images", 0, "id", to=[1]), "id is [1]"),
    "image id true": (change("images", 0, "id", to=True), "id is true"),
    "image id twice": (change("images", 1, "id", to=7), "id 7 occurs twice"),
    "image without file": (drop("images", 0, "file_name"), "images[0] (id 7): key 'file_name' is missing"),
    "file twice": (change("images", 1, "file_name", to="north.png"), "has two rows"),
    "file climbs": (change("images", 0, "file_name", to="../../etc/passwd"), "leaves the folder"),
    "file absolute": (change("images", 0, "file_name", to="/etc/passwd"), "leaves the folder"),
    "file on a drive": (change("images", 0, "file_name", to="C:\\x.png"), "leaves the folder"),
    "file empty": (change("images", 0, "file_name", to=""), "is empty"),
    "file with nul": (change("images", 0, "file_name", to="a\0.png"), "leaves the folder"),
    "file too long": (change("images", 0, "file_name", to="x" * 300 + ".png"), "leaves the folder"),
    "differ by suffix": (change("images", 1, "file_name", to="north.jpg"), "differ by their suffix"),
    "no width": (drop("images", 0, "width"), "key 'width' is missing"),
    "zero width": (change("images", 0, "width", to=0), "width is 0"),
    "negative height": (change("images", 0, "height", to=-5), "height is -5"),
    "huge width": (change("images", 0, "width", to=10**30), "not in 1 .."),
    "width text": (change("images", 0, "width", to="100"), 'width is "100", not a int'),
    "width fraction": (change("images", 0, "width", to=99.5), "width is 99.5"),
    "domain lost": (drop("images", 1, "domain"), "images[1] (id 9): key 'domain' is missing"),
    "domain a list": (change("images", 1, "domain", to=["a"]), "domain is"),
    "domain empty": (change("images", 1, "domain", to=""), "domain is empty"),
    "field is nan": (change("images", 0, "gsd_m", to=float("nan")), "gsd_m is not finite"),
    "unknown image": (change("annotations", 1, "image_id", to=8), "annotations[1] (id 2), image_id: image_id 8 is not"),
    "image id as text": (change("annotations", 1, "image_id", to="7"), 'image_id "7" is not'),
    "unknown category": (change("annotations", 0, "category_id", to=1), "category_id 1 is not"),
    "no category id": (drop("annotations", 0, "category_id"), "key 'category_id' is missing"),
    "annotation twice": (change("annotations", 1, "id", to=1), "id 1 occurs twice"),
    "category twice": (change("categories", 1, "id", to=30), "id 30 occurs twice"),
    "class name twice": (change("categories", 1, "name", to="ship"), "occurs twice"),
    "class name empty": (change("categories", 1, "name", to=" "), "is empty"),
    "class name a number": (change("categories", 1, "name", to=3), "name is 3"),
    "no box": (drop(*BOX), "key 'bbox' is missing"),
    "box null": (change(*BOX, to=None), "bbox is null"),
    "box of three": (change(*BOX, to=[1, 2, 3]), "not four numbers"),
    "box of texts": (change(*BOX, to=["1", "2", "3", "4"]), "not four numbers"),
    "box of booleans": (change(*BOX, to=[True, True, True, True]), "not four numbers"),
    "box rotated": (change(*BOX, to=[1, 2, 3, 4, 45]), "rotated"),
    "box of corners": (change(*BOX, to=[1, 2, 3, 2, 3, 8, 1, 8]), "rotated"),
    "box nan": (change(*BOX, to=[float("nan"), 2, 3, 4]), "annotations[0] (id 1), bbox: bbox is [NaN"),
    "box infinite": (change(*BOX, to=[1, 2, float("inf"), 4]), "not finite"),
    "box overflows": (change(*BOX, to=[1e308, 2, 1e308, 4]), "not finite"),
    "box beyond float": (change(*BOX, to=[10**400, 2, 3, 4]), "too large"),
    "box negative": (change(*BOX, to=[40, 60, -30, -40]), "must be positive"),
    "box zero": (change(*BOX, to=[10, 10, 0, 5]), "must be positive"),
    "box outside": (change(*BOX, to=[100, 10, 5, 5]), "no area inside the frame of 100 x 80"),
    "box far outside": (change(*BOX, to=[-50, -50, 5, 5]), "no area inside"),
    "box vanishes": (change(*BOX, to=[50, 50, 1e-9, 1e-9]), "no area inside"),
    "crowd": (change("annotations", 0, "iscrowd", to=1), "crowd region"),
    "crowd odd": (change("annotations", 0, "iscrowd", to="yes"), "not 0 or 1"),
    "rotation": (change("annotations", 0, "rotation", to=12.5), "rotated box"),
    "rotation among attributes": (change("annotations", 0, "attributes", to={"rotation": 90.0}), "rotated box"),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_a_malformed_file_is_refused_by_entry_and_field(tmp_path: Path, name: str) -> None:
    damage, words = MALFORMED[name]
    root = good()
    damage(root)
    with pytest.raises(LabelError) as caught:
        read(tmp_path, root)
    assert words in str(caught.value)
    assert str(tmp_path / "labels.json") in caught.value.where


TEXTS = {
    "empty": "",
    "cut": json.dumps(GOOD)[:100],
    "not json": "images: []",
    "a list": "[]",
    "a number": "3",
    "deep": "[" * 200_000,
    "deep inside": '{"images": ' + '{"a":' * 100_000,
    "a very long number": '{"images": ' + "9" * 10_000 + "}",
    "trailing": json.dumps(GOOD) + "]",
}


@pytest.mark.parametrize("name", list(TEXTS))
def test_what_is_not_json_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabelError):
        read(tmp_path, TEXTS[name])


def test_bytes_that_are_no_text_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(b"\xff\xfe\xff\x00\x81")
    for bad in (path, tmp_path / "absent.json", tmp_path):
        with pytest.raises(LabelError):
            read_coco(bad)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, good())
    with pytest.raises(LabelError, match="over the limit of 100 bytes"):
        coco.read_label_text(path, 100)


@pytest.mark.parametrize("name", ["..", "a/../b", "\ud800.png", "\\\\host\\share", "/", ".", ""])
def test_a_name_that_leaves_its_folder_is_not_safe(name: str) -> None:
    assert not is_safe_name(name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_damage_is_read_or_refused_by_the_one_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = good()
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(GOOD)))
        if not isinstance(root.get(key), list):
            continue
        row = data.draw(st.integers(0, 1))
        name = data.draw(st.sampled_from([*GOOD[key][0], "rotation", "attributes", "iscrowd"]))
        where: Any = root[key][row] if isinstance(root[key][row], dict) and data.draw(st.integers(0, 5)) else None
        if where is None:
            root[key][row] = data.draw(json_values)
        else:
            where[name] = data.draw(json_values)
    try:
        index = read(tmp_path_factory.mktemp("coco"), root)
    except LabelError:
        return
    assert index.box_count == len(root["annotations"])
    assert len(index.entries) == len(root["images"])
    for entry in index.entries:
        low, high = entry.boxes.xyxy_px[:, :2], entry.boxes.xyxy_px[:, 2:]
        assert (low >= 0).all()
        assert (high > low).all()
        assert (high <= [entry.width_px, entry.height_px]).all()
        assert ((entry.boxes.classes >= 0) & (entry.boxes.classes < len(index.classes))).all()


@st.composite
def indices(draw: st.DrawFn, folder: Path = Path("/x/images")) -> DatasetIndex:
    classes = tuple(draw(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=3, unique=True)))
    entries = []
    for number in range(draw(st.integers(0, 4))):
        width, height = draw(st.integers(4, 5000)), draw(st.integers(4, 5000))
        rows, names = [], []
        for _ in range(draw(st.integers(0, 4))):
            x, y = draw(st.floats(0, width - 2, width=32)), draw(st.floats(0, height - 2, width=32))
            rows.append([x, y, draw(st.floats(x + 1, width)), draw(st.floats(y + 1, height))])
            names.append(draw(st.integers(0, len(classes) - 1)))
        boxes = Boxes(np.array(rows, np.float32).reshape(-1, 4), np.array(names, np.int32))
        fields = {"domain": "d", "year": draw(st.integers(1900, 2100))}
        entries.append(ImageEntry(f"i{number}", folder / f"i{number}.png", width, height, "d", fields, boxes))
    return DatasetIndex(classes, tuple(entries))


@given(indices())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, index: DatasetIndex) -> None:
    folder = tmp_path_factory.mktemp("set")
    moved = [
        ImageEntry(e.image_id, folder / e.file.name, e.width_px, e.height_px, e.domain, e.fields, e.boxes)
        for e in index.entries
    ]
    write_coco(DatasetIndex(index.classes, tuple(moved)), folder / "labels.json")
    back = read_coco(folder / "labels.json", require_files=False)
    assert back.classes == index.classes
    for before, after in zip(moved, back.entries, strict=True):
        assert (before.image_id, before.file, before.domain, before.fields) == (
            after.image_id,
            after.file,
            after.domain,
            after.fields,
        )
        np.testing.assert_allclose(before.boxes.xyxy_px, after.boxes.xyxy_px, rtol=1e-6)
        assert np.array_equal(before.boxes.classes, after.boxes.classes)
    assert [p.name for p in folder.iterdir()] == ["labels.json"]


def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path) -> None:
    outside = ImageEntry("a", Path("/elsewhere/a.png"), 10, 10, "d", {}, Boxes.empty())
    with pytest.raises(LabelError, match="lies outside"):
        write_coco(DatasetIndex(("x",), (outside,)), tmp_path / "labels.json")
    clash = ImageEntry("a", tmp_path / "a.png", 10, 10, "d", {"width": 3}, Boxes.empty())
    with pytest.raises(LabelError, match="keys of the format"):
        write_coco(DatasetIndex(("x",), (clash,)), tmp_path / "labels.json")


DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
REAL = {
    "aircraft_pleiades": (62, 2059, ("aircraft",), {"site_00": 4, "site_12": 3, "site_25": 1}),
    "farmland_landsat8": (1111, 15857, ("field",), {"zone_ME": 287, "zone_SW": 126}),
    "farmland_naip": (27, 866, ("field",), {"IA": 6, "IL": 10, "KY_OH": 1, "MN_SD": 4, "MO_KS": 3, "WI": 3}),
    "ships_sentinel2": (11, 288, ("ship",), {"algiers": 1, "valencia": 1}),
    "trees_naip": (293, 17899, ("tree",), {"chico": 56, "santa_monica": 45}),
}


@pytest.mark.data
@pytest.mark.parametrize("name", list(REAL))
def test_a_real_set_has_the_counts_that_its_readme_states(name: str) -> None:
    path = DATA / name / "annotations.coco.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent (set ORBITLOOP_DATA)")
    images, boxes, classes, domains = REAL[name]
    index = read_coco(path)
    assert (len(index.entries), index.box_count, index.classes) == (images, boxes, classes)
    assert domains.items() <= index.domains.items()
    labelled = load_image(index.entries[0], 0.5)
    assert labelled.pixels.shape == (round(index.entries[0].height_px / 2), round(index.entries[0].width_px / 2), 3)


@pytest.mark.data
def test_a_real_set_survives_the_way_through_yolo(tmp_path: Path) -> None:
    path = DATA / "ships_sentinel2" / "annotations.coco.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent (set ORBITLOOP_DATA)")
    index = read_coco(path)
    write_yolo(index, tmp_path)
    back = {entry.image_id: entry for entry in read_yolo(tmp_path).entries}
    assert len(back) == len(index.entries)
    for entry in index.entries:
        assert back[entry.image_id].domain == entry.domain
        np.testing.assert_allclose(back[entry.image_id].boxes.xyxy_px, entry.boxes.xyxy_px, atol=1e-3)
