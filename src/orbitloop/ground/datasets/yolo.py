"""YOLO labels (one text file per picture): a folder to an index, and back.

Source: the Ultralytics detection format: a row is `class x_center y_center width height`, each in shares of the picture's
sides. Two layouts are read: `images/` and `labels/` with the same tree below, or text files beside their pictures. A picture
without a text file is a picture without objects; a text file without its picture is refused. Names come from `data.yaml`
(`names:` a list or a mapping), else `classes.txt`, else they are the numbers. Leaves pixels to `load`.

The format says nothing of itself, so the reader looks for the known mix-ups and names them: pixels or per cent in place of
shares, corners in place of centres, polygons, scored predictions.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from orbitloop.errors import ImageError, LabelError
from orbitloop.ground.datasets.coco import DEFAULT_DOMAIN, read_label_text
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry
from orbitloop.records.label import Boxes
from orbitloop.records.pixels import FORMATS, MAX_PIXELS

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_TEXT_BYTES = 16 << 20
MAX_CLASSES = 10_000
OVERREACH_SHARE = 0.01
"""Share of a side by which a box may reach over the border (rounding of its author) and is clipped; beyond it is refused."""

_NOT_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt", "README.txt"})


def read_yolo(folder: Path) -> DatasetIndex:
    """Read a YOLO folder. An image's domain is its sub-folder below the pictures' root, `default` at the root itself.

    Raises:
        LabelError: naming file, line and field: a row is not five numbers in their range, a class has no name, a text file has
            no picture, two pictures share a name, or there is no picture at all.
        ImageError: a picture's header cannot be read (its size is needed).
    """
    if not folder.is_dir():
        raise LabelError("no such folder", where=str(folder))
    images, labels = _roots(folder)
    pictures = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not pictures:
        raise LabelError("no picture", where=str(images), remedy=f"pictures end in {', '.join(SUFFIXES)}")
    text_of = {labels / p.relative_to(images).with_suffix(".txt"): p for p in pictures}
    if len(text_of) != len(pictures):
        raise LabelError(
            "two pictures share one label file", where=str(images), remedy="names must differ by more than the suffix"
        )
    for text in sorted(labels.rglob("*.txt")):
        if text not in text_of and text.name not in _NOT_LABELS:
            raise LabelError("label file has no picture", where=str(text), remedy=f"put its picture under {images}")
    names = _read_names(folder)
    read = [_read_entry(text, picture, images, len(names) if names else None) for text, picture in text_of.items()]
    if names is None:
        highest = max((int(e.boxes.classes.max()) for e in read if len(e.boxes)), default=0)
        names = tuple(str(number) for number in range(highest + 1))
    return DatasetIndex(names, tuple(_with_unique_ids(read, images)))


def write_yolo(index: DatasetIndex, folder: Path, *, copy_images: bool = True) -> None:
    """Write an index as `images/<domain>/`, `labels/<domain>/` and `data.yaml`; free fields have no place in the format.

    Raises:
        LabelError: a domain or a file name cannot be a folder's or a file's name, or two entries would share a file.
        OSError: a file cannot be written or a picture not read.
    """
    targets: set[Path] = set()
    for entry in index.entries:
        domain = Path() if entry.domain == DEFAULT_DOMAIN else Path(entry.domain)
        target = domain / entry.file.name
        if domain.is_absolute() or ".." in domain.parts or target.with_suffix("") in targets:
            raise LabelError(f"cannot write image {entry.image_id!r} as {target}", where=str(folder), remedy="rename it")
        targets.add(target.with_suffix(""))
        text = folder / "labels" / target.with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(
            "".join(_row(box, int(c), entry) for box, c in zip(entry.boxes.xyxy_px, entry.boxes.classes, strict=True))
        )
        picture = folder / "images" / target
        picture.parent.mkdir(parents=True, exist_ok=True)
        if copy_images and picture.resolve() != entry.file.resolve():
            shutil.copyfile(entry.file, picture)
    named = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(index.classes))}
    (folder / "data.yaml").write_text(yaml.safe_dump(named, sort_keys=False, allow_unicode=True), encoding="utf-8")


def parse_rows(text: str, width_px: int, height_px: int, classes: int | None, *, where: str = "") -> Boxes:
    """Read one label file's text.

    Args:
        text: its rows; empty lines are skipped.
        width_px: of the picture.
        height_px: of the picture.
        classes: number of named classes; None where none are named.
        where: the file's name, for the message.

    Raises:
        LabelError: naming the line. Never anything else.
    """
    boxes, numbers = [], []
    for position, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        at = f"{where}, line {position}"
        number, centre = _parse_row(line.split(), classes, at)
        boxes.append(_corners(centre, width_px, height_px, at))
        numbers.append(number)
    return Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.array(numbers, np.int32))


def _parse_row(words: list[str], classes: int | None, at: str) -> tuple[int, tuple[float, float, float, float]]:
    if len(words) != 5:
        hints = {6: "a sixth value is a score: these are predictions, not labels", 1: "values are separated by spaces"}
        polygon = "polygons and rotated boxes are not read: export upright boxes"
        remedy = hints.get(len(words), polygon if len(words) > 6 else "a row is: class x_center y_center width height")
        raise LabelError(f"row has {len(words)} values, not 5", where=at, remedy=remedy)
    try:
        number, *shares = (float(word) for word in words)
    except ValueError as error:
        raise LabelError(f"row is not five numbers ({error})", where=at) from error
    if not all(math.isfinite(v) for v in (number, *shares)):
        raise LabelError("row holds a value that is not finite", where=at)
    if number < 0 or number != int(number) or number >= (MAX_CLASSES if classes is None else classes):
        known = "" if classes is None else f"; {classes} classes are named (0 .. {classes - 1})"
        raise LabelError(f"class {words[0][:20]} is not the number of a class{known}", where=f"{at}, class")
    x, y, width, height = shares
    for name, value in zip(("x_center", "y_center", "width", "height"), shares, strict=True):
        if value > 1:
            unit = "per cent" if max(shares) <= 100 else "pixels"
            raise LabelError(
                f"{name} is {value:g}, not a share in 0 .. 1", where=f"{at}, {name}", remedy=f"these look like {unit}"
            )
        if value < 0 or (value == 0 and name in ("width", "height")):
            raise LabelError(f"{name} is {value:g}, not a share above 0", where=f"{at}, {name}")
    return int(number), (x, y, width, height)


def _corners(
    centre: tuple[float, float, float, float], width_px: int, height_px: int, at: str
) -> tuple[float, float, float, float]:
    x, y, width, height = centre
    x0, y0, x1, y1 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if max(-x0, x1 - 1) * width_px > max(1.0, OVERREACH_SHARE * width_px) or max(-y0, y1 - 1) * height_px > max(
        1.0, OVERREACH_SHARE * height_px
    ):
        raise LabelError(
            f"box reaches over the frame (corners {x0:.3f}, {y0:.3f}, {x1:.3f}, {y1:.3f} in shares)",
            where=at,
            remedy="are these corners? x and y are the box's centre",
        )
    box = (max(0.0, x0) * width_px, max(0.0, y0) * height_px, min(1.0, x1) * width_px, min(1.0, y1) * height_px)
    if not (np.float32(box[2]) > np.float32(box[0]) and np.float32(box[3]) > np.float32(box[1])):
        raise LabelError("box has no area", where=at)
    return box


def _row(box: Any, number: int, entry: ImageEntry) -> str:
    x0, y0, x1, y1 = (float(v) for v in box)
    shares = (
        (x0 + x1) / 2 / entry.width_px,
        (y0 + y1) / 2 / entry.height_px,
        (x1 - x0) / entry.width_px,
        (y1 - y0) / entry.height_px,
    )
    return f"{number} " + " ".join(f"{share:.12g}" for share in shares) + "\n"


def _roots(folder: Path) -> tuple[Path, Path]:
    images, labels = folder / "images", folder / "labels"
    if images.is_dir() and labels.is_dir():
        return images, labels
    if images.is_dir() != labels.is_dir():
        missing = labels if images.is_dir() else images
        raise LabelError(f"{missing.name}/ is missing", where=str(folder), remedy="give both images/ and labels/, or neither")
    return folder, folder


def _read_entry(text: Path, picture: Path, images: Path, classes: int | None) -> ImageEntry:
    width_px, height_px = _size_px(picture)
    boxes = Boxes.empty()
    if text.exists():
        try:
            rows = read_label_text(text, MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise LabelError("label file is not UTF-8 text", where=str(text)) from error
        boxes = parse_rows(rows, width_px, height_px, classes, where=str(text))
    domain = picture.parent.relative_to(images).as_posix()
    return ImageEntry(picture.stem, picture, width_px, height_px, DEFAULT_DOMAIN if domain == "." else domain, {}, boxes)


def _size_px(picture: Path) -> tuple[int, int]:
    """Read a picture's size from its header; no pixel is decoded."""
    try:
        with Image.open(picture, formats=FORMATS) as image:
            width_px, height_px = image.size
    except UnidentifiedImageError as error:
        raise ImageError("not a PNG, JPEG or WebP picture", where=str(picture)) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"picture is damaged or too large ({error})", where=str(picture)) from error
    if width_px * height_px > MAX_PIXELS:
        raise ImageError(f"picture of {width_px} x {height_px} px is over the limit of {MAX_PIXELS} px", where=str(picture))
    return width_px, height_px


def _with_unique_ids(entries: list[ImageEntry], images: Path) -> list[ImageEntry]:
    if len({entry.image_id for entry in entries}) == len(entries):
        return entries
    return [
        ImageEntry(
            str(e.file.relative_to(images).with_suffix("").as_posix()).replace("/", "__"),
            e.file, e.width_px, e.height_px, e.domain, e.fields, e.boxes,
        )
        for e in entries
    ]  # fmt: skip


def _read_names(folder: Path) -> tuple[str, ...] | None:
    for name in ("data.yaml", "data.yml"):
        if (folder / name).is_file():
            return _names_of_yaml(folder / name)
    listed = folder / "classes.txt"
    if not listed.is_file():
        return None
    try:
        text = read_label_text(listed, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError("not UTF-8 text", where=str(listed)) from error
    return _checked_names([line.strip() for line in text.splitlines() if line.strip()], str(listed))


def _names_of_yaml(path: Path) -> tuple[str, ...] | None:
    try:
        root = yaml.safe_load(read_label_text(path, MAX_TEXT_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LabelError(f"not YAML ({error})", where=str(path)) from error
    if not isinstance(root, dict):
        raise LabelError("top level is not a mapping", where=str(path))
    names = root.get("names")
    if names is None:
        return None
    if isinstance(names, dict):
        if not all(isinstance(key, int) for key in names) or sorted(names) != list(range(len(names))):
            raise LabelError("names are not numbered 0, 1, 2 ...", where=f"{path}, names")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelError("names is neither a list nor a mapping of texts", where=f"{path}, names")
    count = root.get("nc", len(names))
    if count != len(names):
        raise LabelError(f"nc is {count!r}, but {len(names)} names are given", where=f"{path}, nc")
    return _checked_names(names, f"{path}, names")


def _checked_names(names: list[str], where: str) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names) or not all(name.strip() for name in names) or len(names) > MAX_CLASSES:
        raise LabelError("class names are absent, empty, or occur twice", where=where)
    return tuple(names)
