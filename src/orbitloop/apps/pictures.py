"""A scene made small with its detections drawn in: what people look at before they trust a list of boxes.

Role: keep a reduced picture of a scene while its chunks pass on their way to the network (`Watched`, `Sketch`), and draw boxes,
scores and a legend into it (`drawn`). So a scene is read once, and what is held is the small picture, whatever the scene's
size. It leaves reading to `onboard.scenes`, and files to `apps.scenes`.

A pixel of the picture is the mean of `factor` x `factor` of the scene. At the border of a chunk that is not a multiple of the
factor it is the mean of those that this chunk has; what no chunk brought, because the budget was spent, stays dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from orbitloop.onboard.scenes import Chunk, SceneSource
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoMapping

SIDE_PX = 2048
"""Longest side of a picture; the legend comes below it."""

COLOURS = (
    (255, 225, 25), (0, 220, 255), (255, 90, 200), (255, 140, 0), (120, 255, 90),
    (190, 150, 255), (255, 80, 70), (90, 150, 255), (0, 235, 165), (255, 200, 170),
)  # fmt: skip
"""Of class 0, 1, ...; they repeat. Bright, for most ground is dark, and none the green of fields or the blue of water."""

_BLOCK_PX = 2048  # of the scene, reduced at once: Pillow's copy of it takes 16 MB
_NOT_SEEN = (24, 24, 24)
_TEXT = (235, 235, 235)
_LEGEND_CLASSES = 24
_Rectangle = tuple[int, int, int, int]


class Sketch:
    """A scene's reduced picture, filled as chunks come. `factor` is how many scene pixels become one."""

    def __init__(self, width_px: int, height_px: int, side_px: int = SIDE_PX) -> None:
        self.factor = -(-max(width_px, height_px) // side_px)
        self.image = Image.new("RGB", (-(-width_px // self.factor), -(-height_px // self.factor)), _NOT_SEEN)

    def add(self, chunk: Chunk) -> None:
        """Take over what a chunk shows, from the first pixel of the picture that begins in it."""
        factor, (height_px, width_px) = self.factor, chunk.pixels.shape[:2]
        step = max(1, _BLOCK_PX // factor) * factor
        for top in range(-chunk.y_px % factor, height_px, step):
            for left in range(-chunk.x_px % factor, width_px, step):
                block = Image.fromarray(np.ascontiguousarray(chunk.pixels[top : top + step, left : left + step]))
                place = ((chunk.x_px + left) // factor, (chunk.y_px + top) // factor)
                self.image.paste(block.reduce(factor) if factor > 1 else block, place)


class Watched:
    """A scene source whose chunks also go into a sketch; the source stays the caller's to close."""

    def __init__(self, source: SceneSource, sketch: Sketch) -> None:
        self._source, self._sketch = source, sketch
        self.scene_id, self.width_px, self.height_px = source.scene_id, source.width_px, source.height_px

    @property
    def captured_at_s(self) -> float | None:
        return self._source.captured_at_s

    @property
    def geo(self) -> GeoMapping | None:
        return self._source.geo

    def chunks(self, tile_px: int, overlap_px: int) -> Iterator[Chunk]:
        """Yield the source's chunks."""
        for chunk in self._source.chunks(tile_px, overlap_px):
            self._sketch.add(chunk)
            yield chunk

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.close()


def drawn(sketch: Sketch, best: Detections, found: int, classes: Sequence[str]) -> Image.Image:
    """Return the picture with a box for each detection, scores where there is room, and a legend below.

    Args:
        sketch: the scene; it is drawn into.
        best: what is drawn, in scene pixels, best first.
        found: how many detections there are in all.
        classes: the model's class names.
    """
    image = sketch.image
    line_px = max(2, round(max(image.size) / 700))
    font = ImageFont.load_default(max(12, round(max(image.size) / 110)))
    draw = ImageDraw.Draw(image)
    boxes = [_around(box, line_px) for box in (best.boxes_xyxy_px / sketch.factor).tolist()]
    colours = [COLOURS[index % len(COLOURS)] for index in best.classes.tolist()]
    for (x0, y0, x1, y1), colour in zip(reversed(boxes), reversed(colours), strict=True):  # the best lie on top
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0))
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=line_px)
    _scores(draw, font, boxes, best.scores.tolist(), colours)
    return _with_legend(image, font, _legend(best, classes), _title(sketch.factor, len(best), found))


def _around(box: list[float], line_px: int) -> _Rectangle:
    """Return the rectangle whose line runs round a box, in whole pixels, and is seen however small the box is."""
    x0, y0, x1, y1 = box
    wider, higher = (max(0.0, 2 * line_px - side) / 2 for side in (x1 - x0, y1 - y0))
    left, top = (round(v) - line_px for v in (x0 - wider, y0 - higher))
    right, bottom = (round(v) + line_px - 1 for v in (x1 + wider, y1 + higher))
    return left, top, right, bottom


def _scores(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    boxes: list[_Rectangle],
    scores: list[float],
    colours: list[tuple[int, int, int]],
) -> None:
    """Write scores, the best first, where they hide neither another score nor a box of about their own size."""
    width, height = (round(v) + 4 for v in draw.textbbox((0, 0), "0.00", font=font)[2:])
    across, down = draw.im.size
    taken = np.zeros((down, across), np.bool_)
    for x0, y0, x1, y1 in boxes:
        if (x1 - x0) * (y1 - y0) < 6 * width * height:
            taken[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
    for (x0, y0, x1, y1), score, colour in zip(boxes, scores, colours, strict=True):
        inside = (x1 - x0) * (y1 - y0) >= 6 * width * height and x1 - x0 > width and y1 - y0 > height
        for top in (y0,) if inside else (y0 - 1 - height, y1 + 2):
            left = min(max(0, x0), max(0, across - width))
            top = max(0, top) if inside else top
            if top < 0 or top + height > down or taken[top : top + height, left : left + width].any():
                continue
            taken[top : top + height, left : left + width] = True
            draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
            draw.text((left + 2, top + 1), f"{score:.2f}", fill=(0, 0, 0), font=font)
            break


def _legend(best: Detections, classes: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """Return what is drawn of each class, the most frequent first."""
    indices, counts = np.unique(best.classes, return_counts=True)
    lines = []
    for at in np.argsort(-counts, kind="stable")[:_LEGEND_CLASSES].tolist():
        index = int(indices[at])
        name = classes[index] if 0 <= index < len(classes) else str(index)
        name = "".join(c if c.isprintable() else "?" for c in name)[:40]
        lines.append((f"{name} {counts[at]:,}", COLOURS[index % len(COLOURS)]))
    return lines


def _title(factor: int, drawn_count: int, found: int) -> str:
    size = "full size" if factor == 1 else f"1:{factor}"
    return f"{found:,} detections, {size}" + (f", the best {drawn_count:,} drawn" if drawn_count < found else "")


def _with_legend(
    image: Image.Image,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    lines: list[tuple[str, tuple[int, int, int]]],
    title: str,
) -> Image.Image:
    measure = ImageDraw.Draw(image)
    row_px = round(measure.textbbox((0, 0), "Ag|", font=font)[3]) + 6
    places: list[tuple[int, int]] = []
    left, top = 4, image.height + 3
    entries = [(title, None), *lines]
    for text, _ in entries:
        width = round(measure.textlength(text, font=font)) + 2 * row_px
        if left > 4 and left + width > image.width:
            left, top = 4, top + row_px
        places.append((left, top))
        left += width
    whole = Image.new("RGB", (image.width, top + row_px), _NOT_SEEN)
    whole.paste(image, (0, 0))
    draw = ImageDraw.Draw(whole)
    for (text, colour), (x, y) in zip(entries, places, strict=True):
        if colour is not None:
            draw.rectangle((x, y + 2, x + row_px - 8, y + row_px - 6), fill=colour)
        draw.text((x if colour is None else x + row_px, y), text, fill=_TEXT, font=font)
    return whole
