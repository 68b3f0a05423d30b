"""Tiled RGB GeoTIFFs, written block by block: ordinary scenes, and huge ones whose blocks share their bytes.

TIFF 6.0 names the place of each block freely, so many blocks may lie at one place: a scene of 40,000 x 40,000 px full of real
imagery is a file of a few megabytes, made in a moment, and a reader does the same work as for one of 4.8 GB. Section 15 is the
layout of tiles; the three GeoTIFF tags (OGC 19-008) place the picture in UTM zone 31 N, 1 m a pixel.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_PX = 512
_SHORT, _LONG, _DOUBLE = 3, 4, 12
_SIZE = {_SHORT: 2, _LONG: 4, _DOUBLE: 8}
_CODE = {_SHORT: "H", _LONG: "I", _DOUBLE: "d"}
_DEFLATE = 8


def write_scene(file: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write (height, width, 3) uint8 as a tiled GeoTIFF, not compressed."""
    height, width = pixels.shape[:2]
    rows, columns = _blocks(height), _blocks(width)
    padded = np.zeros((rows * BLOCK_PX, columns * BLOCK_PX, 3), np.uint8)
    padded[:height, :width] = pixels
    cut = padded.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3).swapaxes(1, 2)
    blocks = [cut[y, x].tobytes() for y in range(rows) for x in range(columns)]
    _write(file, width, height, blocks, range(len(blocks)), compression=1)


def write_huge(file: Path, side_px: int, blocks: Sequence[npt.NDArray[np.uint8]], choose: Callable[[int, int], int]) -> None:
    """Write a square scene of `side_px` from a few blocks (512, 512, 3), compressed by deflate.

    Args:
        file: where to.
        side_px: width and height.
        blocks: what it is made of.
        choose: the block at a row and a column of blocks.
    """
    count = _blocks(side_px)
    places = [choose(y, x) for y in range(count) for x in range(count)]
    _write(file, side_px, side_px, [zlib.compress(b.tobytes(), 1) for b in blocks], places, compression=_DEFLATE)


def _blocks(length_px: int) -> int:
    return -(-length_px // BLOCK_PX)


def _write(file: Path, width: int, height: int, blocks: Sequence[bytes], places: Sequence[int], *, compression: int) -> None:
    offsets, at = [], 8
    for block in blocks:
        offsets.append(at)
        at += len(block) + len(block) % 2
    tags: list[tuple[int, int, Sequence[Any]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8, 8, 8]),
        (259, _SHORT, [compression]),
        (262, _SHORT, [2]),
        (277, _SHORT, [3]),
        (284, _SHORT, [1]),
        (322, _LONG, [BLOCK_PX]),
        (323, _LONG, [BLOCK_PX]),
        (324, _LONG, [offsets[place] for place in places]),
        (325, _LONG, [len(blocks[place]) for place in places]),
        (33550, _DOUBLE, [1.0, 1.0, 0.0]),
        (33922, _DOUBLE, [0.0, 0.0, 0.0, 500_000.0, 5_400_000.0, 0.0]),
        # GeoTIFF keys: projected model, pixel is area, EPSG:32631.
        (34735, _SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32631]),
    ]
    with file.open("wb") as out:
        out.write(struct.pack("<2sHI", b"II", 42, at))
        for block in blocks:
            out.write(block + b"\0" * (len(block) % 2))
        out.write(_directory(tags, at))


def _directory(tags: Sequence[tuple[int, int, Sequence[Any]]], at: int) -> bytes:
    """Return the image file directory that stands at `at`, its longer values behind it."""
    head, tail = struct.pack("<H", len(tags)), b""
    behind = at + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        data = struct.pack(f"<{len(values)}{_CODE[kind]}", *values)
        head += struct.pack("<HHI", tag, kind, len(values))
        if len(data) <= 4:
            head += data.ljust(4, b"\0")
        else:
            head += struct.pack("<I", behind + len(tail))
            tail += data + b"\0" * (len(data) % 2)
    return head + struct.pack("<I", 0) + tail
