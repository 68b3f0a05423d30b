"""The small picture: what is seen of a scene whatever its chunks, where boxes come to lie, and that memory stays put."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orbitloop.algorithms.tiling import PAD_VALUE
from orbitloop.apps.pictures import COLOURS, Sketch, Watched, drawn
from orbitloop.onboard.scenes import ArraySource, Chunk, plan_chunks
from orbitloop.records.prediction import Detections

GREY = 90


def detections(*rows: tuple[float, ...]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def sketched(pixels: npt.NDArray[np.uint8], side_px: int, tile_px: int, overlap_px: int, chunk_px: int) -> Sketch:
    height, width = pixels.shape[:2]
    sketch = Sketch(width, height, side_px)
    for plan in plan_chunks(width, height, tile_px, overlap_px, chunk_width_px=chunk_px, chunk_height_px=chunk_px):
        here = pixels[plan.y_px : plan.y_px + plan.height_px, plan.x_px : plan.x_px + plan.width_px]
        sketch.add(Chunk(plan.windows, plan.x_px, plan.y_px, here))
    return sketch


def grey(width: int, height: int, side_px: int = 2048) -> Sketch:
    sketch = Sketch(width, height, side_px)
    sketch.image.paste((GREY, GREY, GREY), (0, 0, *sketch.image.size))
    return sketch


@pytest.mark.parametrize(("tile_px", "overlap_px", "chunk_px"), [(64, 16, 150), (50, 0, 50), (64, 30, 4000), (33, 7, 70)])
@pytest.mark.parametrize(("width", "height"), [(500, 300), (301, 77), (40, 700), (100, 1)])
def test_each_pixel_is_the_mean_of_what_it_covers_whatever_the_chunks(
    width: int, height: int, tile_px: int, overlap_px: int, chunk_px: int
) -> None:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x % 256, y % 256, (x + y) // 8 % 256], axis=-1).astype(np.uint8)
    for side_px in (1000, 150, 100):
        sketch = sketched(pixels, side_px, tile_px, overlap_px, chunk_px)
        expected = np.asarray(Image.fromarray(pixels).reduce(sketch.factor) if sketch.factor > 1 else Image.fromarray(pixels))
        assert max(sketch.image.size) <= side_px
        error = np.abs(np.asarray(sketch.image).astype(int) - expected)
        wrapped = error > 128  # where the ramp starts again, a mean of a part of the pixels is far from that of all
        assert error[~wrapped].max() <= sketch.factor
        assert wrapped.mean() < 0.02
        if sketch.factor == 1 or chunk_px >= max(width, height):
            assert error.max() == 0


def test_what_no_chunk_brought_stays_dark() -> None:
    source = ArraySource(np.full((300, 200, 3), 200, np.uint8), "x")
    sketch = Sketch(200, 600, 100)
    for chunk in Watched(source, sketch).chunks(64, 8):
        assert chunk.x_px >= 0
    seen = np.asarray(sketch.image)
    assert (seen[:50] == 200).all()
    assert (seen[50:] < 50).all()


def test_memory_is_the_picture_s_however_large_the_scene() -> None:
    side = 20_000
    strip = np.full((400, 2048, 3), PAD_VALUE, np.uint8)

    def chunks() -> Iterator[Chunk]:
        for y in range(0, side, 400):
            for x in range(0, side, 2048):
                yield Chunk((), x, y, strip[:, : min(2048, side - x)])

    tracemalloc.start()
    sketch = Sketch(side, side)
    for chunk in chunks():
        sketch.add(chunk)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sketch.factor, sketch.image.size) == (10, (2000, 2000))
    assert (np.asarray(sketch.image) == PAD_VALUE).all()
    assert peak_bytes < 40 << 20


@pytest.mark.parametrize("side", [1500, 20_000])
def test_a_line_runs_round_its_box_and_is_seen_after_reduction(side: int) -> None:
    sketch = grey(side, side)
    factor = sketch.factor
    box = tuple(v * factor for v in (300.0, 400.0, 500.0, 450.0))
    dot = tuple(v * factor for v in (100.0, 100.0, 100.5, 100.5))
    picture = np.asarray(drawn(sketch, detections((*box, 0.9, 1), (*dot, 0.8, 0)), 2, ("a", "b")))
    for colour, strip in (
        (COLOURS[1], picture[425, 295:300]),
        (COLOURS[1], picture[395:400, 480]),
        (COLOURS[0], picture[100, 92:99]),
        (COLOURS[0], picture[102:109, 100]),
    ):
        assert (strip == colour).all(axis=-1).sum() >= 2
    assert (picture[440:450, 350:500] == GREY).all()  # what is in the box is not hidden
    assert tuple(picture[100, 100]) == (GREY, GREY, GREY)


def test_the_better_box_lies_on_top_and_scores_hide_neither_scores_nor_small_boxes() -> None:
    found = detections((100, 100, 120, 120, 0.9, 0), (110, 100, 130, 120, 0.3, 1))
    picture = np.asarray(drawn(grey(600, 600), found, 2, ("a", "b")))
    assert tuple(picture[110, 121]) == COLOURS[0]
    crowd = detections(*((x, y, x + 8, y + 8, 0.5, 0) for y in range(100, 400, 11) for x in range(100, 400, 11)))
    picture = np.asarray(drawn(grey(600, 600), crowd, len(crowd), ("a",)))
    assert (picture[113:118, 113:118] == GREY).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 3000), (3000, 7), (40, 40)])
def test_boxes_at_and_over_the_border_of_odd_scenes(size: tuple[int, int]) -> None:
    width, height = size
    found = detections((0, 0, width, height, 0.9, 3), (-5, -5, 1, 1, 0.8, 0), (width - 1, height - 1, width, height, 1.0, 99))
    picture = drawn(grey(width, height), found, 3, ("a", "b\n\x1b[31m", "c", "飞机 " * 50))
    assert picture.width == -(-width // grey(width, height).factor)
    assert picture.height > grey(width, height).image.height


def test_the_legend_lies_below_and_names_what_was_drawn() -> None:
    nothing = drawn(grey(800, 400), Detections.empty(), 0, ("a",))
    assert (np.asarray(nothing)[:400] == GREY).all()
    two = np.asarray(drawn(grey(800, 400), detections((9, 9, 20, 20, 0.5, 1), (90, 90, 99, 99, 0.4, 0)), 2, ("a", "b")))[400:]
    for colour in COLOURS[:2]:
        assert (two == colour).all(axis=-1).sum() > 50
    assert not (two == COLOURS[2]).all(axis=-1).any()
