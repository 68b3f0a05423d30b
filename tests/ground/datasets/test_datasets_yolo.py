from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orbitloop.errors import ImageError, LabelError
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry
from orbitloop.ground.datasets.yolo import parse_rows, read_yolo, write_yolo
from orbitloop.records.label import Boxes


def picture(path: Path, width: int = 100, height: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def folder(tmp_path: Path, rows: str = "0 0.5 0.5 0.2 0.4\n", names: str = "names: [field, road]\n") -> Path:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(rows)
    (tmp_path / "data.yaml").write_text(names)
    return tmp_path


def test_x_and_y_are_the_centre(tmp_path: Path) -> None:
    index = read_yolo(folder(tmp_path, "1 0.5 0.5 0.2 0.4\n\n0 0.05 0.1 0.1 0.2\r\n"))
    (entry,) = index.entries
    np.testing.assert_allclose(entry.boxes.xyxy_px, [[40, 15, 60, 35], [0, 0, 10, 10]], atol=1e-5)
    assert entry.boxes.classes.tolist() == [1, 0]
    assert index.classes == ("field", "road")
    assert (entry.image_id, entry.domain, entry.width_px, entry.height_px) == ("a", "default", 100, 50)


def test_a_picture_without_labels_is_kept_and_sub_folders_are_domains(tmp_path: Path) -> None:
    picture(folder(tmp_path) / "images" / "north" / "b.png")
    index = read_yolo(tmp_path)
    assert {e.image_id: (e.domain, len(e.boxes)) for e in index.entries} == {"a": ("default", 1), "b": ("north", 0)}


def test_text_files_may_lie_beside_their_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("2 0.5 0.5 1 1\n")
    assert read_yolo(tmp_path).classes == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert read_yolo(tmp_path).classes == ("x", "y", "z")


def test_pictures_of_one_name_in_two_folders_keep_apart(tmp_path: Path) -> None:
    picture(tmp_path / "n" / "a.png")
    picture(tmp_path / "s" / "a.png")
    assert [e.image_id for e in read_yolo(tmp_path).entries] == ["n__a", "s__a"]


def test_names_may_be_a_numbered_mapping(tmp_path: Path) -> None:
    assert read_yolo(folder(tmp_path, names="names: {1: road, 0: field}\nnc: 2\n")).classes == ("field", "road")


def test_a_box_that_rounding_pushed_over_the_border_is_clipped() -> None:
    boxes = parse_rows("0 0.9505 0.5 0.1 0.2", 100, 50, 1)
    assert boxes.xyxy_px[0, 2] == 100


MALFORMED_ROWS = {
    "words": ("field 0.5 0.5 0.1 0.1", "not five numbers"),
    "four values": ("0 0.5 0.5 0.1", "4 values"),
    "one value": ("0", "separated by spaces"),
    "commas": ("0,0.5,0.5,0.1,0.1", "separated by spaces"),
    "a score": ("0 0.5 0.5 0.1 0.1 0.98", "predictions"),
    "a polygon": ("0 0.1 0.1 0.2 0.1 0.2 0.2", "polygons"),
    "a rotated box": ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "rotated"),
    "nan": ("0 nan 0.5 0.1 0.1", "not finite"),
    "infinity": ("0 0.5 0.5 inf 0.1", "not finite"),
    "overflow": ("0 0.5 1e999 0.1 0.1", "not finite"),
    "negative size": ("0 0.5 0.5 -0.1 0.1", "width is -0.1"),
    "zero size": ("0 0.5 0.5 0.1 0", "height is 0"),
    "negative centre": ("0 -0.5 0.5 0.1 0.1", "x_center is -0.5"),
    "per cent": ("0 50 50 10 10", "per cent"),
    "pixels": ("0 320 240 64 64", "pixels"),
    "corners as centre": ("0 0.0 0.0 0.2 0.4", "x and y are the box's centre"),
    "two corners": ("0 0.5 0.5 0.9 0.9\n0 0.7 0.8 0.9 0.95", "centre"),
    "class beyond names": ("2 0.5 0.5 0.1 0.1", "2 classes are named"),
    "class negative": ("-1 0.5 0.5 0.1 0.1", "class -1"),
    "class a fraction": ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
    "box vanishes": ("0 0.5 0.5 1e-12 0.1", "no area"),
    "nul": ("0 0.5 0.5 0.1 0.1\0", "not five numbers"),
}


@pytest.mark.parametrize("name", list(MALFORMED_ROWS))
def test_a_malformed_row_is_refused_by_line(tmp_path: Path, name: str) -> None:
    rows, words = MALFORMED_ROWS[name]
    with pytest.raises(LabelError) as caught:
        read_yolo(folder(tmp_path, f"0 0.5 0.5 0.1 0.1\n{rows}\n"))
    assert words in str(caught.value)
    assert "a.txt, line " in caught.value.where
    assert not caught.value.where.endswith("line 1")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("names: [a, a]\n", "occur twice"),
        ("names: []\n", "absent"),
        ("names: {0: a, 2: b}\n", "not numbered"),
        ("names: {x: a}\n", "not numbered"),
        ("names: 3\n", "neither a list"),
        ("names: [1, 2]\n", "neither a list"),
        ("nc: 3\nnames: [a, b]\n", "nc is 3"),
        ("- a\n", "not a mapping"),
        ("names: [a\n", "not YAML"),
        ("names: !!python/object/apply:os.system [ls]\n", "not YAML"),
        ("names: \x01\n", "not YAML"),
        ("a: " + "[" * 3000, "not YAML"),
    ],
)
def test_a_malformed_data_yaml_is_refused(tmp_path: Path, names: str, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        read_yolo(folder(tmp_path, names=names))


def test_labels_without_their_picture_are_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "labels" / "gone.txt").write_text("")
    with pytest.raises(LabelError, match=r"gone.txt: label file has no picture"):
        read_yolo(tmp_path)


def test_a_folder_that_is_no_set_is_refused(tmp_path: Path) -> None:
    for bad in (tmp_path / "absent", tmp_path):
        with pytest.raises(LabelError, match=r"no such folder|no picture"):
            read_yolo(bad)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(LabelError, match="labels/ is missing"):
        read_yolo(tmp_path)


def test_two_pictures_of_one_label_file_are_refused(tmp_path: Path) -> None:
    picture(folder(tmp_path) / "images" / "a.jpg")
    with pytest.raises(LabelError, match="share one label file"):
        read_yolo(tmp_path)


def test_a_damaged_picture_and_a_label_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelError, match="UTF-8"):
        read_yolo(tmp_path)
    (tmp_path / "images" / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(ImageError, match="not a PNG"):
        read_yolo(tmp_path)


@given(st.one_of(st.text(max_size=60), st.text("0123456789.- e\nnaif", max_size=80)))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused_by_the_one_typed_error(text: str) -> None:
    try:
        boxes = parse_rows(text, 64, 48, 3)
    except LabelError:
        return
    assert (boxes.xyxy_px[:, 2:] > boxes.xyxy_px[:, :2]).all()
    assert ((boxes.xyxy_px >= 0) & (boxes.xyxy_px <= [64, 48, 64, 48])).all()


@given(
    st.lists(
        st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 1)), max_size=5
    )
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float, float, float, int]]
) -> None:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    file = picture(source / "a.png", 120, 90)
    side = np.array([120, 90, 120, 90])
    corners = np.array([[x, y, min(1, x + w), min(1, y + h)] for x, y, w, h, _ in rows]).reshape(-1, 4) * side
    boxes = Boxes(corners.astype(np.float32), np.array([r[4] for r in rows], np.int32))
    write_yolo(DatasetIndex(("field", "rød"), (ImageEntry("a", file, 120, 90, "north", {}, boxes),)), target)
    index = read_yolo(target)
    (entry,) = index.entries
    assert index.classes == ("field", "rød")
    assert (entry.image_id, entry.domain) == ("a", "north")
    np.testing.assert_allclose(entry.boxes.xyxy_px, boxes.xyxy_px, atol=1e-3)
    assert np.array_equal(entry.boxes.classes, boxes.classes)


def test_what_would_land_outside_or_on_top_of_another_is_not_written(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    with pytest.raises(LabelError, match="cannot write"):
        write_yolo(DatasetIndex(("x",), (ImageEntry("a", file, 100, 50, "../up", {}, Boxes.empty()),)), tmp_path / "out")
    twice = tuple(ImageEntry(name, file, 100, 50, "d", {}, Boxes.empty()) for name in "ab")
    with pytest.raises(LabelError, match="cannot write"):
        write_yolo(DatasetIndex(("x",), twice), tmp_path / "out")
