"""COCO detection labels: a file to an index, and back.

Source: the COCO data format, object detection (cocodataset.org/#format-data): `images`, `annotations`, `categories`;
`bbox` = [x, y, width, height] in pixels from the top-left corner. Free fields of an image row (a domain, a condition, a
sensor) are kept as long as they are scalars. Polygons are ignored; boxes are the truth. Leaves pixels to `load`.

The reader is strict, for a silently dropped or shifted box costs accuracy that nobody finds again: it returns every box of
the file, or refuses with the entry and the field that is wrong. The one repair is to clip a box that reaches over the frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from orbitloop.errors import LabelError
from orbitloop.ground.datasets.index import DatasetIndex, ImageEntry, Scalar
from orbitloop.records.label import Boxes

MAX_LABEL_BYTES = 256 << 20
"""Bytes of a label file that are read."""
MAX_SIDE_PX = 1_000_000
MAX_NAME_BYTES = 255
MAX_NAME_PARTS = 12
DEFAULT_DOMAIN = "default"
"""Domain of every image of a set that names none."""
_OWN_KEYS = frozenset({"id", "file_name", "width", "height"})
_ROTATION_KEYS = ("rotation", "angle", "theta")


def read_coco(
    path: Path, *, domain_field: str = "domain", images: Path | None = None, require_files: bool = True
) -> DatasetIndex:
    """Read a COCO file.

    An image's id in the index is its file's name without suffix where these differ over the set, else its path with `__`
    for `/`. Class indices follow the ids of the categories in ascending order.

    Args:
        path: the JSON file.
        domain_field: the field of an image row that names its domain; where no row has `domain`, all are `default`.
        images: folder of the pictures; by default `images` beside the file, else the file's own folder.
        require_files: refuse a row whose picture does not exist.

    Raises:
        LabelError: naming file, entry and field: the JSON is malformed, too large or too deep; a key is missing or of the wrong
            kind; an id is unknown or occurs twice; a box is not finite, not positive, rotated, a crowd, or wholly outside.
    """
    root = _parse(path)
    at = str(path)
    categories = _rows(root, "categories", at)
    classes, class_of = _read_categories(categories, at)
    rows = _rows(root, "images", at)
    frames = _read_frames(rows, at)
    annotations = _rows(root, "annotations", at)
    boxes = _read_boxes(annotations, frames, class_of, at)
    domains = _read_domains(rows, domain_field, at)
    names = [str(row["file_name"]) for row in rows]
    folder = images if images is not None else _image_folder(path)
    entries = []
    for position, (row, image_id) in enumerate(zip(rows, _image_ids(names, at), strict=True)):
        where = f"{at}, {_entry('images', position, row)}"
        file = folder / names[position]
        if require_files and not file.is_file():
            raise LabelError(
                f"picture {file} does not exist",
                where=f"{where}, file_name {names[position]!r}",
                remedy="put it there, or take the image and its annotations out",
            )
        size, truth = frames[row["id"]], boxes[row["id"]]
        entries.append(ImageEntry(image_id, file, *size, domains[position], _free_fields(row, where), truth))
    index = DatasetIndex(classes, tuple(entries))
    if len(index.entries) != len(rows) or index.box_count != len(annotations):
        raise LabelError(f"{len(annotations)} boxes in, {index.box_count} out", where=at)
    return index


def write_coco(index: DatasetIndex, path: Path) -> None:
    """Write an index as COCO; reading it gives the same entries (ids by the rule of `read_coco`).

    Raises:
        LabelError: a picture lies outside the file's folder, or an image's free field would hide a key of the format.
        OSError: the file cannot be written.
    """
    folder = _image_folder(path)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(index.entries, 1):
        where = f"{path}, image {entry.image_id!r}"
        if not entry.file.is_relative_to(folder):
            raise LabelError(
                f"picture {entry.file} lies outside {folder}", where=where, remedy="put the labels beside the pictures"
            )
        if clash := _OWN_KEYS & entry.fields.keys():
            raise LabelError(f"free fields {sorted(clash)} are keys of the format", where=where, remedy="rename them")
        images.append(
            {"id": number, "file_name": entry.file.relative_to(folder).as_posix(), "width": entry.width_px}
            | {"height": entry.height_px, "domain": entry.domain}
            | {name: value for name, value in entry.fields.items() if name != "domain"}
        )
        for box, category in zip(entry.boxes.xyxy_px.astype(np.float64), entry.boxes.classes, strict=True):
            x0, y0, x1, y1 = (float(v) for v in box)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": int(category) + 1}
                | {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(index.classes, 1)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories}, allow_nan=False)
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def read_label_text(path: Path, limit_bytes: int = MAX_LABEL_BYTES) -> bytes:
    """Read a label file's bytes.

    Raises:
        LabelError: absent, unreadable, or over the limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except (OSError, ValueError) as error:
        raise LabelError(f"cannot read label file ({error})", where=str(path), remedy="check path and permissions") from error
    if len(data) > limit_bytes:
        raise LabelError(f"label file is over the limit of {limit_bytes} bytes", where=str(path), remedy="split the set")
    return data


def _parse(path: Path) -> dict[str, Any]:
    try:
        root = json.loads(read_label_text(path))
    except RecursionError as error:
        raise LabelError("JSON is nested too deep", where=str(path)) from error
    except (ValueError, MemoryError) as error:
        raise LabelError(f"not JSON ({error})", where=str(path), remedy="fetch or export the file again") from error
    if not isinstance(root, dict):
        raise LabelError(
            "top level is not an object", where=str(path), remedy="give a COCO file: images, annotations, categories"
        )
    return root


def _rows(root: dict[str, Any], key: str, at: str) -> list[dict[str, Any]]:
    if key not in root:
        raise LabelError(f"key {key!r} is missing", where=at, remedy="give a COCO file: images, annotations, categories")
    rows = root[key]
    if not isinstance(rows, list):
        raise LabelError(f"{key!r} is not a list", where=at)
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise LabelError("entry is not an object", where=f"{at}, {key}[{position}]")
    return rows


def _entry(key: str, position: int, row: Mapping[str, Any]) -> str:
    return f"{key}[{position}]" + (f" (id {row['id']!r})" if "id" in row else "")


def _need(row: Mapping[str, Any], name: str, kinds: tuple[type, ...], where: str) -> Any:
    """Return a row's value, refusing a missing one, another type, and `true` where a number belongs."""
    if name not in row:
        raise LabelError(f"key {name!r} is missing", where=where)
    value = row[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise LabelError(f"{name} is {_short(value)}, not a {' or '.join(k.__name__ for k in kinds)}", where=f"{where}, {name}")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unique_id(row: Mapping[str, Any], seen: set[Any], where: str) -> Any:
    key = _need(row, "id", (int, str), where)
    if key in seen:
        raise LabelError(f"id {_short(key)} occurs twice", where=f"{where}, id")
    seen.add(key)
    return key


def _read_categories(rows: list[dict[str, Any]], at: str) -> tuple[tuple[str, ...], dict[Any, int]]:
    seen: set[Any] = set()
    named: dict[Any, str] = {}
    for position, row in enumerate(rows):
        where = f"{at}, {_entry('categories', position, row)}"
        key = _unique_id(row, seen, where)
        name = _need(row, "name", (str,), where)
        if not name.strip() or name in named.values():
            raise LabelError(f"name {_short(name)} is empty or occurs twice", where=f"{where}, name")
        named[key] = name
    if not named:
        raise LabelError("no category", where=f"{at}, categories")
    ordered = sorted(named, key=lambda key: (isinstance(key, str), key))
    return tuple(named[key] for key in ordered), {key: position for position, key in enumerate(ordered)}


def _read_frames(rows: list[dict[str, Any]], at: str) -> dict[Any, tuple[int, int]]:
    """Check the image rows and return id -> (width, height)."""
    seen: set[Any] = set()
    files: set[str] = set()
    frames: dict[Any, tuple[int, int]] = {}
    for position, row in enumerate(rows):
        where = f"{at}, {_entry('images', position, row)}"
        key = _unique_id(row, seen, where)
        name = _need(row, "file_name", (str,), where)
        if not is_safe_name(name):
            raise LabelError(f"file name {_short(name)} is empty, too long, or leaves the folder", where=f"{where}, file_name")
        if name in files:
            raise LabelError(f"picture {_short(name)} has two rows", where=f"{where}, file_name")
        files.add(name)
        sides = []
        for side in ("width", "height"):
            value = _need(row, side, (int,), where)
            if not 1 <= value <= MAX_SIDE_PX:
                raise LabelError(
                    f"{side} is {_short(value)}, not in 1 .. {MAX_SIDE_PX}",
                    where=f"{where}, {side}",
                    remedy="give the picture's size in pixels",
                )
            sides.append(value)
        frames[key] = (sides[0], sides[1])
    return frames


def is_safe_name(name: str) -> bool:
    """Say whether a file name from outside is one, and stays inside its folder, on every system."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name or PureWindowsPath(name).anchor:
        return False
    try:
        return all(len(part.encode()) <= MAX_NAME_BYTES for part in parts) and len(parts) <= MAX_NAME_PARTS
    except UnicodeEncodeError:
        return False


def _read_boxes(
    rows: list[dict[str, Any]], frames: Mapping[Any, tuple[int, int]], class_of: Mapping[Any, int], at: str
) -> dict[Any, Boxes]:
    """Return image id -> its boxes, clipped to the frame."""
    seen: set[Any] = set()
    found: dict[Any, list[tuple[tuple[float, float, float, float], int]]] = {key: [] for key in frames}
    for position, row in enumerate(rows):
        where = f"{at}, {_entry('annotations', position, row)}"
        _unique_id(row, seen, where)
        image_id = _need(row, "image_id", (int, str), where)
        if image_id not in frames:
            raise LabelError(
                f"image_id {_short(image_id)} is not the id of an image",
                where=f"{where}, image_id",
                remedy="correct it, or take the annotation out",
            )
        category = _need(row, "category_id", (int, str), where)
        if category not in class_of:
            raise LabelError(
                f"category_id {_short(category)} is not the id of a category",
                where=f"{where}, category_id",
                remedy=f"the set has {', '.join(map(_short, list(class_of)[:20]))}",
            )
        _refuse_other_shapes(row, where)
        found[image_id].append((_clipped(_corners(row, where), frames[image_id], where), class_of[category]))
    return {
        key: Boxes(np.array([b for b, _ in pairs], np.float32).reshape(-1, 4), np.array([c for _, c in pairs], np.int32))
        for key, pairs in found.items()
    }


def _refuse_other_shapes(row: Mapping[str, Any], where: str) -> None:
    crowd = row.get("iscrowd", 0)
    if crowd not in (0, 1) or crowd:
        raise LabelError(
            "a crowd region is not one object" if crowd == 1 else f"iscrowd is {_short(crowd)}, not 0 or 1",
            where=f"{where}, iscrowd",
            remedy="box each object of the crowd, or remove the region",
        )
    attributes = row.get("attributes")
    for source in (row, attributes if isinstance(attributes, dict) else {}):
        for name in _ROTATION_KEYS:
            turn = source.get(name)
            if turn not in (None, 0):
                raise LabelError(
                    f"rotated box ({name} {_short(turn)})",
                    where=f"{where}, {name}",
                    remedy="export upright boxes [x, y, width, height]",
                )


def _corners(row: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    bbox = _need(row, "bbox", (list,), where)
    where = f"{where}, bbox"
    if len(bbox) in (5, 6, 8):
        raise LabelError(
            f"bbox of {len(bbox)} values: rotated or scored boxes are not read",
            where=where,
            remedy="export [x, y, width, height]",
        )
    if len(bbox) != 4 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in bbox):
        raise LabelError(f"bbox is {_short(bbox)}, not four numbers [x, y, width, height]", where=where)
    try:
        x, y, width, height = (float(v) for v in bbox)
    except OverflowError as error:
        raise LabelError("bbox holds a number too large for a picture", where=where) from error
    if not all(math.isfinite(v) for v in (x, y, width, height, x + width, y + height)):
        raise LabelError(f"bbox is {_short(bbox)}: not finite", where=where)
    if width <= 0 or height <= 0:
        raise LabelError(
            f"bbox is {_short(bbox)}: width and height must be positive",
            where=where,
            remedy="COCO boxes are [x, y, width, height], not corners",
        )
    return x, y, x + width, y + height


def _clipped(
    corners: tuple[float, float, float, float], frame: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """Clip to the frame; what is left must still be a box in the precision in which boxes are kept."""
    width_px, height_px = frame
    x0, x1 = max(0.0, corners[0]), min(float(width_px), corners[2])
    y0, y1 = max(0.0, corners[1]), min(float(height_px), corners[3])
    if not (np.float32(x1) > np.float32(x0) and np.float32(y1) > np.float32(y0)):
        raise LabelError(
            f"box [{corners[0]:g}, {corners[1]:g}, {corners[2]:g}, {corners[3]:g}] (corners) has no area inside the frame of "
            f"{width_px} x {height_px} px",
            where=f"{where}, bbox",
            remedy="are pictures and labels of the same scale?",
        )
    return x0, y0, x1, y1


def _read_domains(rows: list[dict[str, Any]], field: str, at: str) -> list[str]:
    if not any(field in row for row in rows):
        if field != "domain" and rows:
            known = sorted({name for row in rows for name in row} - _OWN_KEYS)
            raise LabelError(f"no image has the field {field!r}", where=f"{at}, images", remedy=f"fields: {', '.join(known)}")
        return [DEFAULT_DOMAIN] * len(rows)
    out = []
    for position, row in enumerate(rows):
        where = f"{at}, {_entry('images', position, row)}"
        value = str(_need(row, field, (str, int, float), where))
        if not value:
            raise LabelError(f"{field} is empty", where=f"{where}, {field}")
        out.append(value)
    return out


def _image_ids(names: list[str], at: str) -> list[str]:
    stems = [PurePosixPath(name).stem for name in names]
    if len(set(stems)) == len(stems):
        return stems
    paths = [str(PurePosixPath(name).with_suffix("")).replace("/", "__") for name in names]
    if len(set(paths)) == len(paths):
        return paths
    raise LabelError("two pictures differ by their suffix only", where=f"{at}, images", remedy="rename one")


def _image_folder(path: Path) -> Path:
    beside = path.parent / "images"
    return beside if beside.is_dir() else path.parent


def _free_fields(row: Mapping[str, Any], where: str) -> dict[str, Scalar]:
    """Return the row's own fields; NaN is refused, for no report could be written with it."""
    fields: dict[str, Scalar] = {}
    for name, value in row.items():
        if name not in _OWN_KEYS and (value is None or isinstance(value, str | int | float | bool)):
            if isinstance(value, float) and not math.isfinite(value):
                raise LabelError(f"{name} is not finite", where=f"{where}, {name}")
            fields[name] = value
    return fields
