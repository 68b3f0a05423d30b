"""Views: boxes follow their pixels, whatever the symmetry, zoom, shift or mosaic; one seed, one view."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.ground.views import Augmentation, draw_view, plain_view
from orbitloop.records.label import Boxes, LabelledImage

PLAIN = Augmentation(zoom=(1.0, 1.0), brightness=0, contrast=0, tint=0, noise=0, mosaic=0)
ZOOMED = Augmentation(zoom=(0.6, 1.8), brightness=0, contrast=0, tint=0, noise=0, mosaic=0)
LIT = Augmentation(mosaic=0.5)
COLOURS = np.array([c for c in product((0, 255), repeat=3) if len(set(c)) > 1], np.uint8)
"""Six colours of which no two, nor the grey around them, are less than 114 apart in some channel."""


def painted(width: int, height: int, boxes: list[tuple[int, int, int, int]], name: str = "p") -> LabelledImage:
    """A grey picture with a rectangle of its own colour, and class, in each box."""
    pixels = np.full((height, width, 3), 114, np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        pixels[y0:y1, x0:x1] = COLOURS[k]
    return LabelledImage(
        name, "d", pixels, Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int32))
    )


def extent(pixels: npt.NDArray[np.uint8], colour: int) -> tuple[float, float, float, float] | None:
    """Bounds of what is nearer to a colour than half its distance to the grey; half-covered border pixels count as covered."""
    wanted = COLOURS[colour].astype(int)
    near = np.abs(pixels.astype(int) - wanted).max(axis=2) < 71
    if not near.any():
        return None
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


APART = [(10, 12, 40, 30), (60, 8, 84, 50), (15, 60, 33, 90), (70, 66, 92, 88)]


@pytest.mark.parametrize("augmentation", [PLAIN, ZOOMED], ids=["plain", "zoomed"])
@pytest.mark.parametrize("side", [96, 64, 160])
def test_boxes_follow_their_pixels(augmentation: Augmentation, side: int) -> None:
    image, checked = painted(100, 96, APART), 0
    for seed in range(40):
        pixels, boxes = draw_view([image], 0, side, augmentation, np.random.default_rng(seed))
        for box, kind in zip(boxes.xyxy_px, boxes.classes, strict=True):
            seen = extent(pixels, int(kind))
            assert seen is not None, f"seed {seed}: nothing is left of object {kind}"
            assert np.abs(np.array(seen) - box).max() <= 1.5, f"seed {seed}: {kind} is at {seen}, its box says {box}"
            checked += 1
    assert checked > 40


@pytest.mark.parametrize("augmentation", [PLAIN, ZOOMED], ids=["plain", "zoomed"])
def test_what_is_mostly_visible_has_a_box(augmentation: Augmentation) -> None:
    image = painted(100, 96, APART)
    for seed in range(40):
        pixels, boxes = draw_view([image], 0, 96, augmentation, np.random.default_rng(seed))
        inner = pixels[4:-4, 4:-4]
        for kind in set(range(len(APART))) - set(boxes.classes.tolist()):
            seen = extent(inner, kind)
            # Less than 35 % of it is in the view: then it is a sliver in at least one direction.
            if seen is not None:
                assert seen[0] <= 2 or seen[1] <= 2 or seen[2] >= 86 or seen[3] >= 86


def test_all_eight_symmetries_occur_and_no_other() -> None:
    # An L of three marks well inside a picture as large as the view: only a symmetry of the square turns it.
    image = painted(64, 64, [(12, 12, 20, 20), (12, 38, 20, 46), (28, 12, 36, 20)])
    seen = set()
    for seed in range(120):
        _, boxes = draw_view([image], 0, 64, PLAIN, np.random.default_rng(seed))
        centres = (boxes.xyxy_px[:, :2] + boxes.xyxy_px[:, 2:])[np.argsort(boxes.classes)] / 2
        down, right = centres[1] - centres[0], centres[2] - centres[0]
        seen.add((*np.rint(down).astype(int).tolist(), *np.rint(right).astype(int).tolist()))
    wanted = {(0, s * 26, t * 16, 0) for s in (1, -1) for t in (1, -1)} | {
        (s * 26, 0, 0, t * 16) for s in (1, -1) for t in (1, -1)
    }
    assert seen == wanted


def test_zoom_scales_objects_within_its_range() -> None:
    image = painted(400, 400, [(190, 190, 210, 210)])
    sides = []
    for seed in range(60):
        _, boxes = draw_view([image], 0, 128, ZOOMED, np.random.default_rng(seed))
        inside = (boxes.xyxy_px > 0).all(1) & (boxes.xyxy_px < 128).all(1)
        sides += (boxes.xyxy_px[inside, 2] - boxes.xyxy_px[inside, 0]).tolist()
    assert 20 * 0.6 - 0.01 <= min(sides) < 15
    assert 28 < max(sides) <= 20 * 1.8 + 0.01


def test_a_large_picture_is_looked_at_around_its_objects() -> None:
    image = painted(1500, 1500, [(100, 1300, 130, 1330)])
    with_object = sum(len(draw_view([image], 0, 128, PLAIN, np.random.default_rng(s))[1]) for s in range(100))
    assert 60 <= with_object <= 90  # three of four; by chance alone it would be one of a hundred


@pytest.mark.parametrize("size", [(96, 96), (40, 70), (300, 130), (3, 200)])
def test_one_seed_one_view(size: tuple[int, int]) -> None:
    images = [painted(*size, [(0, 0, 3, 30)]), painted(96, 96, APART)]
    first, again, other = (draw_view(images, 0, 64, LIT, np.random.default_rng(s)) for s in (7, 7, 8))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1].xyxy_px, again[1].xyxy_px)
    assert not np.array_equal(first[0], other[0])


coordinates = st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(1, 60)] * 2).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)


@given(
    st.lists(coordinates, max_size=6),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(0, 2**31),
    st.sampled_from([32, 64, 96]),
)
@settings(max_examples=50, deadline=None)
def test_no_box_leaves_the_view(rows: list[tuple[int, int, int, int]], width: int, height: int, seed: int, side: int) -> None:
    image = painted(width, height, rows)
    pixels, boxes = draw_view([image], 0, side, LIT, np.random.default_rng(seed))
    assert pixels.shape == (side, side, 3)
    assert pixels.dtype == np.uint8
    assert (boxes.xyxy_px >= 0).all()
    assert (boxes.xyxy_px <= side).all()
    assert (boxes.xyxy_px[:, 2:] > boxes.xyxy_px[:, :2]).all()


def test_a_mosaic_keeps_each_box_on_its_pixels_and_in_its_quadrant() -> None:
    whole = Augmentation(zoom=(1.0, 1.0), brightness=0, contrast=0, tint=0, noise=0, mosaic=1.0)
    images = [painted(96, 96, [(8, 8, 40, 40), (56, 50, 90, 92)], name=str(k)) for k in range(3)]
    for image, shade in zip(images, (90, 130, 170), strict=True):
        image.pixels[(image.pixels == 114).all(axis=2)] = shade
    parts = set()
    for seed in range(60):
        pixels, boxes = draw_view(images, 0, 96, whole, np.random.default_rng(seed))
        for box, kind in zip(boxes.xyxy_px, boxes.classes, strict=True):
            x0, y0, x1, y1 = np.rint(box).astype(int)
            wanted = COLOURS[int(kind)].astype(int)
            inside = np.abs(pixels[y0:y1, x0:x1].astype(int) - wanted).max(axis=2) < 71
            assert inside.mean() > 0.85, f"seed {seed}: a box lies beside its pixels"
            cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            parts.add((cx > 48, cy > 48))
    assert len(parts) == 4


@pytest.mark.parametrize("shade", [0, 114, 255])
def test_a_picture_of_one_shade_stays_finite(shade: int) -> None:
    flat = LabelledImage("flat", "d", np.full((50, 50, 3), shade, np.uint8), Boxes.empty())
    for seed in range(10):
        pixels, boxes = draw_view([flat], 0, 64, Augmentation(), np.random.default_rng(seed))
        assert pixels.dtype == np.uint8
        assert len(boxes) == 0
        # One grey plus the padding's, so light changes and grain are all that may differ.
        assert pixels.astype(int).std(axis=(0, 1)).max() < 130


def test_light_changes_as_far_as_asked() -> None:
    image = painted(64, 64, [(10, 10, 50, 50)])
    still = draw_view([image], 0, 64, PLAIN, np.random.default_rng(3))[0]
    means = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        means.append(draw_view([image], 0, 64, Augmentation(zoom=(1, 1), mosaic=0), rng)[0].mean())
    assert max(means) - min(means) > 30
    assert abs(np.mean(means) - still.mean()) < 12
    either = [(still == colour).all(axis=2) for colour in (114, COLOURS[0])]
    assert (either[0] | either[1]).mean() > 0.85  # with every amplitude at zero only the object's border is blended


def test_the_plain_view_is_the_padded_tile() -> None:
    pixels, boxes = plain_view(painted(100, 40, [(10, 12, 40, 30), (60, 8, 84, 38)]), 64)
    assert pixels.shape == (64, 64, 3)
    assert (pixels[40:] == 114).all()
    assert extent(pixels, 0) == (10, 12, 40, 30)
    assert boxes.to_json() == [[10, 12, 40, 30, 0]]  # of the second, a sixth is left
