"""Pixels on demand: one entry's picture at the asked scale, and its tiles with their labels.

Leaves decoding and its limits to `records.pixels` and the grid to `algorithms.tiling` (the satellite cuts the same tiles).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from orbitloop.algorithms.tiling import PAD_VALUE, cut_tile, tile_windows
from orbitloop.errors import DataError, ImageError, LabelError
from orbitloop.ground.datasets.index import ImageEntry
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.pixels import MAX_PIXELS, decode_image

MAX_FILE_BYTES = 512 << 20
"""Bytes that a picture's file may have: above what any picture of `MAX_PIXELS` needs."""


def load_image(entry: ImageEntry, scale: float = 1.0) -> LabelledImage:
    """Read an entry's picture and resample it, and its boxes with it, by `scale`.

    A whole reduction (1/2, 1/3 ...) averages blocks, which is what a coarser sensor does; any other uses Lanczos, and an
    enlargement bicubic.

    Raises:
        DataError: the file is absent or cannot be read, or `scale` is not a positive number that leaves an acceptable size.
        ImageError: the file is not a picture that we accept.
        LabelError: its size is not what the labels say.
    """
    pixels = decode_image(read_bounded(entry.file), where=str(entry.file))
    height_px, width_px = pixels.shape[:2]
    if (width_px, height_px) != (entry.width_px, entry.height_px):
        raise LabelError(
            f"picture is {width_px} x {height_px} px, its labels are for {entry.width_px} x {entry.height_px} px",
            where=str(entry.file),
            remedy="labels and pictures belong to different versions of the set",
        )
    resized, boxes = rescale(pixels, entry.boxes, scale)
    return LabelledImage(entry.image_id, entry.domain, resized, boxes)


def read_bounded(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a file that may come from anywhere.

    Raises:
        DataError: absent or unreadable.
        ImageError: over the limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise DataError(f"cannot read picture ({error.strerror or error})", where=str(path)) from error
    if len(data) > limit_bytes:
        raise ImageError(f"file is over the limit of {limit_bytes} bytes", where=str(path))
    return data


def rescale(pixels: npt.NDArray[np.uint8], boxes: Boxes, scale: float) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Resample (height, width, 3) uint8 pixels and their boxes; each side becomes the nearest whole number of pixels.

    Raises:
        DataError: `scale` is not a positive number, or the result would be over the limit of pixels.
    """
    if scale == 1.0:
        return pixels, boxes
    height_px, width_px = pixels.shape[:2]
    if not (math.isfinite(scale) and scale > 0) or width_px * scale * height_px * scale > MAX_PIXELS:
        raise DataError(f"scale {scale} does not fit a picture of {width_px} x {height_px} px", remedy="give a scale near 1")
    new_width_px, new_height_px = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    image = Image.fromarray(pixels).resize((new_width_px, new_height_px), _filter_for(scale))
    # The picture's true ratio, not the asked one: a side was rounded to whole pixels.
    x_ratio, y_ratio = new_width_px / width_px, new_height_px / height_px
    scaled = boxes.xyxy_px * np.array([x_ratio, y_ratio, x_ratio, y_ratio], np.float32)
    return np.asarray(image, np.uint8), Boxes(scaled.astype(np.float32), boxes.classes)


def _filter_for(scale: float) -> Image.Resampling:
    if scale > 1:
        return Image.Resampling.BICUBIC
    factor = 1 / scale
    return Image.Resampling.BOX if abs(factor - round(factor)) < 1e-6 else Image.Resampling.LANCZOS


def tiles_of(labelled: LabelledImage, tile_px: int, overlap_px: int, *, pad_value: int = PAD_VALUE) -> list[LabelledImage]:
    """Cut a scene into the tiles that the satellite would see, named `<image_id>@x,y`, with the boxes that are visible in each.

    Raises:
        ValueError: the overlap is not in 0 .. `tile_px` - 1.
    """
    height_px, width_px = labelled.pixels.shape[:2]
    return [
        LabelledImage(
            f"{labelled.image_id}@{window.x_px},{window.y_px}",
            labelled.domain,
            cut_tile(labelled.pixels, window, pad_value),
            labelled.boxes.crop(window.x_px, window.y_px, window.width_px, window.height_px),
            labelled.source,
        )
        for window in tile_windows(width_px, height_px, tile_px, overlap_px)
    ]
