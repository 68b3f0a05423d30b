"""Malformed pictures: what `load` hands to `records.pixels` comes from anywhere."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orbitloop.errors import ImageError
from orbitloop.records.pixels import decode_image


def encoded(kind: str, size: tuple[int, int] = (48, 32)) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(out, format=kind)
    return out.getvalue()


GOOD = {kind: encoded(kind) for kind in ("PNG", "JPEG", "WEBP")}


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int, body: bytes = b"") -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    """Write another size into a good JPEG's frame header."""
    data = bytearray(GOOD["JPEG"])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


CORPUS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "text": b"this is not a picture",
    "png_signature_only": GOOD["PNG"][:8],
    "png_header_only": GOOD["PNG"][:33],
    "png_half": GOOD["PNG"][: len(GOOD["PNG"]) // 2],
    "png_bad_crc": GOOD["PNG"][:30] + b"\x00\x00\x00" + GOOD["PNG"][33:],
    "png_bomb": png_of(2_000_000_000, 2_000_000_000),
    "png_over_the_limit": png_of(20_000, 20_000),
    "png_zero_side": png_of(0, 10),
    "png_no_pixels": png_of(64, 64),
    "png_wrong_pixels": png_of(64, 64, b"\x09" * 100),
    "jpeg_start_only": GOOD["JPEG"][:2],
    "jpeg_header_only": GOOD["JPEG"][:100],
    "jpeg_half": GOOD["JPEG"][: len(GOOD["JPEG"]) // 2],
    "jpeg_bomb": jpeg_of(65_500, 65_500),
    "jpeg_zero_side": jpeg_of(0, 0),
    "webp_riff_only": GOOD["WEBP"][:12],
    "webp_half": GOOD["WEBP"][: len(GOOD["WEBP"]) // 2],
    "webp_wrong_chunk": GOOD["WEBP"][:12] + b"XXXX" + GOOD["WEBP"][16:],
    "gif": encoded("GIF"),
    "tiff": encoded("TIFF"),
    "bmp": encoded("BMP"),
    "ico": encoded("ICO"),
    "ppm": encoded("PPM"),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


@pytest.mark.parametrize("name", list(CORPUS))
def test_a_malformed_picture_is_refused(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(CORPUS[name], where="scene.png")
    assert caught.value.where == "scene.png"


@pytest.mark.parametrize("kind", list(GOOD))
def test_a_good_picture_is_read(kind: str) -> None:
    assert decode_image(GOOD[kind]).shape == (32, 48, 3)


@pytest.mark.parametrize("kind", list(GOOD))
def test_the_limit_counts_pixels(kind: str) -> None:
    with pytest.raises(ImageError, match="over the limit"):
        decode_image(GOOD[kind], max_pixels=48 * 32 - 1)


@given(st.sampled_from(list(GOOD)), st.data())
@settings(max_examples=50, deadline=None)
def test_a_damaged_picture_is_read_or_refused_by_the_one_typed_error(kind: str, data: st.DataObject) -> None:
    raw = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        pixels = decode_image(bytes(raw[: cut or None]), max_pixels=1_000_000)
    except ImageError:
        return
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8
