"""Scene files to read in tests: honest ones written by rasterio, and ones that lie, made by hand."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from orbitloop.algorithms.tiling import cut_tile, tile_windows
from orbitloop.onboard.scenes import SceneSource


def texture(height: int, width: int, bands: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return (bands, height, width) uint8 in which no two places look alike."""
    return np.random.default_rng(seed).integers(1, 255, (bands, height, width), dtype=np.uint8)


def write_raster(path: Path, values: npt.NDArray[Any], *, driver: str = "GTiff", mask: Any = None, **profile: Any) -> Path:
    """Write (bands, height, width) values; `mask` (height, width) bool is kept inside the file."""
    bands, height, width = values.shape
    described = profile.pop("descriptions", ())
    colours = profile.pop("colours", ())
    tags = profile.pop("tags", {})
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_PAM_ENABLED="NO"):
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver, width, height, bands, dtype=values.dtype, **profile) as file:
            file.write(values)
            for index, text in enumerate(described, 1):
                file.set_band_description(index, text)
            if colours:
                file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colours]
            if tags:
                file.update_tags(**tags)
            if mask is not None:
                file.write_mask(mask)
    return path


def whole(source: SceneSource, tile_px: int = 64, overlap_px: int = 16) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Read all chunks; return the pixels and the mask of the scene, having seen that each window is whole and comes once."""
    pixels = np.zeros((source.height_px, source.width_px, 3), np.uint8)
    valid = np.zeros((source.height_px, source.width_px), np.bool_)
    tiles = {}
    for chunk in source.chunks(tile_px, overlap_px):
        height, width = chunk.pixels.shape[:2]
        part = (slice(chunk.y_px, chunk.y_px + height), slice(chunk.x_px, chunk.x_px + width))
        pixels[part] = chunk.pixels
        valid[part] = True if chunk.valid is None else chunk.valid
        for window in chunk.windows:
            assert window not in tiles
            tiles[window] = chunk.cut(window)
    assert sorted(tiles, key=lambda w: (w.y_px, w.x_px)) == tile_windows(source.width_px, source.height_px, tile_px, overlap_px)
    assert all(np.array_equal(tile, cut_tile(pixels, window)) for window, tile in tiles.items())
    return pixels, valid


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: int = 0, data: bytes = b"\0") -> bytes:
    """A PNG that claims a size, with `data` compressed as its pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(entries: list[tuple[int, int, int, int]], *, data: bytes = b"", next_directory: int = 0) -> bytes:
    """A little-endian TIFF of one directory at 8 + len(data); entries are tag, type, count, value; `data` begins at 8."""
    place = 8 + len(data)
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (
        b"II*\0" + struct.pack("<I", place) + data + struct.pack("<H", len(entries)) + rows + struct.pack("<I", next_directory)
    )


def strip_tiff(width: int, height: int, rows: int, data: bytes, *, bands: int = 1, compression: int = 8, **more: int) -> bytes:
    """A TIFF of 8-bit strips that all lie at the same place: a bomb when `data` is small and the claim is large."""
    count = -(-height // rows)
    offsets = struct.pack("<I", 8) * count
    sizes = struct.pack("<I", len(data)) * count
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, bands),
    ]
    entries += [(278, 4, 1, rows), (273, 4, count, 8 + len(data)), (279, 4, count, 8 + len(data) + len(offsets))]
    if count == 1:
        entries = [e for e in entries if e[0] not in (273, 279)] + [(273, 4, 1, 8), (279, 4, 1, len(data))]
    return tiff(entries, data=data + offsets + sizes, **more)
