"""Pictures as bytes (what a decoder must refuse is in the data set tests): encode, decode, and how much is lost on the way."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orbitloop.errors import ImageError
from orbitloop.records.pixels import decode_image, encode_image


def gradient(height: int = 48, width: int = 64) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([4 * x % 256, 5 * y % 256, 2 * (x + y) % 256], axis=-1).astype(np.uint8)


def test_png_loses_nothing_and_keeps_height_before_width() -> None:
    pixels = gradient(5, 9)
    back = decode_image(encode_image(pixels, format="png"))
    assert back.shape == (5, 9, 3)
    assert back.dtype == np.uint8
    assert np.array_equal(back, pixels)


@pytest.mark.parametrize(("name", "head"), [("webp", b"RIFF"), ("jpeg", b"\xff\xd8\xff"), ("PNG", b"\x89PNG")])
def test_the_bytes_say_which_format(name: str, head: bytes) -> None:
    assert encode_image(gradient(), format=name).startswith(head)


@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_quality_trades_bytes_for_error(name: str) -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(gradient().astype(int) + rng.integers(-20, 20, (48, 64, 3)), 0, 255).astype(np.uint8)
    coded = [encode_image(pixels, format=name, quality=q) for q in (20, 60, 95)]
    errors = [float(np.abs(decode_image(c).astype(int) - pixels).mean()) for c in coded]
    assert len(coded[0]) < len(coded[1]) < len(coded[2])
    assert errors[0] > errors[1] > errors[2]


def test_encoding_is_repeatable() -> None:
    assert encode_image(gradient()) == encode_image(gradient().copy())


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 1), np.uint8)],
)
def test_other_arrays_are_refused(pixels: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="cannot encode"):
        encode_image(pixels)


@pytest.mark.parametrize("name", ["gif", "tiff", "", "bmp"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(ImageError, match="use webp, jpeg or png"):
        encode_image(gradient(), format=name)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    out = io.BytesIO()
    picture = Image.fromarray(gradient(6, 7)).convert(mode)
    picture.save(out, "PNG")
    back = decode_image(out.getvalue())
    assert back.shape == (6, 7, 3)
    assert np.array_equal(back, np.asarray(picture.convert("RGB")))


def test_a_picture_with_a_false_size_costs_nothing_and_says_where() -> None:
    data = encode_image(gradient(), format="png")
    # IHDR: width and height at bytes 16 to 24, a checksum that need not be right for the size to be read.
    huge = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
    with pytest.raises(ImageError, match="sample 7"):
        decode_image(huge, where="sample 7")


def test_the_limit_is_inclusive() -> None:
    data = encode_image(gradient(), format="png")
    assert decode_image(data, max_pixels=48 * 64).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="over the limit"):
        decode_image(data, max_pixels=48 * 64 - 1)


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"iCCP", b"tRNS", b"sRGB", b"pHYs", b"zTXt", b"iTXt", b"eXIf", b"acTL"])
@pytest.mark.parametrize("content", [b"", b"\0", b"a\0\1\0x"])
def test_a_png_with_a_malformed_chunk_is_read_or_an_image_error(place: str, kind: bytes, content: bytes) -> None:
    png = encode_image(gradient(5, 9), format="png")
    at = 33 if place.startswith("before") else png.rindex(b"IEND") - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    with contextlib.suppress(ImageError):
        assert decode_image(png[:at] + chunk + png[at:]).shape == (5, 9, 3)
