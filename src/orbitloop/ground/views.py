"""Augmented views: what the network is shown of a labelled picture, drawn by seed.

A view is one affine look (one of the eight symmetries, a zoom, a shift) at a picture of any size, then a change of light. A
picture larger than a view is looked at around one of its objects, mostly, so that a scene of mostly nothing still teaches.
Rotations by 90 degrees are free in overhead imagery: there is no up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from orbitloop.records.label import Boxes, LabelledImage

_OBJECT_SHARE = 0.75
_MIN_VISIBLE = 0.35


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far views may differ. Zoom is a factor on the object's size, the others are relative amplitudes."""

    zoom: tuple[float, float] = (0.67, 1.5)
    brightness: float = 0.25
    contrast: float = 0.3
    tint: float = 0.08
    noise: float = 0.02
    mosaic: float = 0.3


def draw_view(
    images: Sequence[LabelledImage], index: int, size_px: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Draw one view of `images[index]`: pixels (size, size, 3) uint8 and the boxes in it.

    With the probability `mosaic` the view is put together from four pictures around a random point (YOLOv4, arXiv 2004.10934).
    """
    if rng.random() >= augmentation.mosaic:
        pixels, boxes = _affine_view(images[index], size_px, augmentation, rng)
    else:
        others = [index, *rng.integers(len(images), size=3).tolist()]
        pixels, boxes = _mosaic([_affine_view(images[i], size_px, augmentation, rng) for i in others], size_px, rng)
    return _relight(pixels, augmentation, rng), boxes


def plain_view(image: LabelledImage, size_px: int) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Return the top-left `size_px` square, padded with grey: what a tile looks like on board."""
    canvas = np.full((size_px, size_px, 3), 114, np.uint8)
    h, w = min(size_px, image.pixels.shape[0]), min(size_px, image.pixels.shape[1])
    canvas[:h, :w] = image.pixels[:h, :w]
    return canvas, image.boxes.crop(0, 0, size_px, size_px, _MIN_VISIBLE)


def _affine_view(
    image: LabelledImage, size_px: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    height, width = image.pixels.shape[:2]
    low, high = np.log(augmentation.zoom)
    zoom = float(np.exp(rng.uniform(low, high)))
    span = size_px / zoom
    centre = np.array([_look_at(image, axis, span, extent, rng) for axis, extent in ((0, width), (1, height))])
    if len(image.boxes) and rng.random() < _OBJECT_SHARE and max(width, height) > 1.2 * size_px:
        box = image.boxes.xyxy_px[rng.integers(len(image.boxes))]
        centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, size=2) * span
        margin = np.minimum(span, [width, height]) / 2
        centre = np.clip(centre, margin, np.array([width, height]) - margin)
    # Output pixel u -> source: centre + R (u - size/2) / zoom, R one of the eight symmetries of the square.
    flip = np.diag([1.0 if rng.random() < 0.5 else -1.0, 1.0])
    quarter = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(4)))
    matrix = quarter @ flip / zoom
    offset = centre - matrix @ np.array([size_px / 2, size_px / 2])
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    picture = Image.fromarray(image.pixels).transform(
        (size_px, size_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=(114, 114, 114)
    )
    boxes = _map_boxes(image.boxes, np.asarray(np.linalg.inv(matrix), np.float64), offset)
    return np.asarray(picture, np.uint8), boxes.crop(0, 0, size_px, size_px, _MIN_VISIBLE)


def _look_at(image: LabelledImage, axis: int, span: float, extent: int, rng: np.random.Generator) -> float:
    if extent > span:
        return float(rng.uniform(span / 2, extent - span / 2))
    # The picture is smaller than the view: let it lie anywhere inside, a little over the edge as well.
    slack = (span - extent) / 2 + 0.1 * extent
    return float(extent / 2 + rng.uniform(-slack, slack))


def _map_boxes(boxes: Boxes, inverse: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> Boxes:
    if len(boxes) == 0:
        return boxes
    corners = np.stack([boxes.xyxy_px[:, :2], boxes.xyxy_px[:, 2:]], axis=1) - offset
    mapped = corners @ inverse.T
    return Boxes(np.concatenate([mapped.min(1), mapped.max(1)], axis=1).astype(np.float32), boxes.classes)


def _mosaic(
    views: Sequence[tuple[npt.NDArray[np.uint8], Boxes]], size_px: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    x, y = (int(v) for v in rng.uniform(0.3, 0.7, size=2) * size_px)
    canvas = np.empty((size_px, size_px, 3), np.uint8)
    kept: list[Boxes] = []
    for (pixels, boxes), (x0, y0, x1, y1) in zip(
        views, ((0, 0, x, y), (x, 0, size_px, y), (0, y, x, size_px), (x, y, size_px, size_px)), strict=True
    ):
        canvas[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
        part = boxes.crop(x0, y0, x1 - x0, y1 - y0, _MIN_VISIBLE)
        kept.append(Boxes(part.xyxy_px + np.array([x0, y0, x0, y0], np.float32), part.classes))
    return canvas, Boxes(np.concatenate([b.xyxy_px for b in kept]), np.concatenate([b.classes for b in kept]))


def _relight(pixels: npt.NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    gain = (1 + rng.uniform(-1, 1) * augmentation.contrast) * (1 + rng.uniform(-1, 1, size=3) * augmentation.tint)
    shift = 255 * rng.uniform(-1, 1) * augmentation.brightness * 0.5
    mean = float(pixels.mean())
    table = np.clip((np.arange(256)[:, None] - mean) * gain + mean + shift, 0, 255).astype(np.uint8)
    out = np.stack([table[pixels[..., c], c] for c in range(3)], axis=-1)
    sigma = 255 * augmentation.noise * rng.random()
    if sigma < 0.5:
        return out
    grain = rng.integers(-128, 128, size=pixels.shape[:2], dtype=np.int16) * (sigma / 74)
    return np.asarray(np.clip(out + grain[..., None], 0, 255), np.uint8)
