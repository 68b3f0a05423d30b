"""A look at the first bytes of a scene file, before any library sees it.

Role: tell the kind of file by its magic number, and refuse what would cost much before it fails: a picture that claims an
absurd size, one that can only be decoded as a whole and is large, a TIFF whose directories loop, hold a huge value, or name a
compression that we do not accept. It leaves the decoding to the readers, and does not vouch that they will succeed.

Sources: TIFF 6.0 section 2 and BigTIFF (what follows magic 43); PNG (ISO/IEC 15948) 11.2.2 IHDR; JPEG (ITU-T T.81) B.2.2,
B.2.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from orbitloop.errors import ImageError
from orbitloop.onboard.scenes import SceneLimits

Kind = Literal["tiff", "png", "jpeg", "webp"]

MAX_DIRECTORIES = 256
MAX_ENTRIES = 4096
MAX_VALUE_BYTES = 16 << 20
_MAX_SEGMENTS = 4096
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34887: "LERC"} | {
    50000: "ZSTD",
    50001: "WebP",
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_GDAL_METADATA = 42112
_LAST_PLACE = 1 << 40  # 1 TB; file systems refuse to seek somewhat above that, and libtiff would write so to stderr
_SUB_DIRECTORIES = {330, 34665, 34853, 40965}
_BLOCK_TABLES = {273, 279, 324, 325}
"""Offsets and byte counts of strips and tiles: read on demand by libtiff, bounded by the number of blocks."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. A TIFF's size is left to its reader, and 0 here.

    `whole_bytes` is what decoding takes if it can only be done at once, else 0; `deep` says that samples have more than 8 bits.
    """

    kind: Kind
    width_px: int = 0
    height_px: int = 0
    whole_bytes: int = 0
    deep: bool = False


def read_header(path: Path, limits: SceneLimits) -> Header:
    """Tell what kind of scene a file is, and refuse it if reading on would cost too much.

    Raises:
        ImageError: it cannot be read, is no TIFF, PNG, JPEG or WebP, is damaged, or is over a limit. Never anything else.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            header = _read(file, limits, where)
    except OSError as error:
        raise ImageError(f"cannot read the file ({error.strerror or error})", where=where) from error
    except (struct.error, IndexError) as error:
        raise ImageError("the file ends within its header", where=where, remedy="fetch or export it again") from error
    if header.kind in ("png", "jpeg"):
        limits.check_size(header.width_px, header.height_px, where)
    if header.whole_bytes > limits.whole_bytes:
        raise ImageError(
            f"an interlaced or progressive picture of {header.width_px} x {header.height_px} px decodes as a whole to "
            f"{header.whole_bytes} bytes, over the limit of {limits.whole_bytes}",
            where=where,
            remedy="export it without interlacing (PNG), as baseline (JPEG), or as tiled GeoTIFF",
        )
    return header


def _read(file: BinaryIO, limits: SceneLimits, where: str) -> Header:
    start = file.read(32)
    if start[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(start)
    if start[:3] == b"\xff\xd8\xff":
        return _jpeg(file, where)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(file, limits, where)
        return Header("tiff")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Header("webp")
    raise ImageError(
        "not a TIFF, PNG, JPEG or WebP file",
        where=where,
        remedy="convert another format, such as JPEG 2000: gdal_translate IN OUT.tif",
    )


def _png(start: bytes) -> Header:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", start[16:29])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4)
    whole = width * height * channels * max(1, depth // 8) if interlaced else 0
    return Header("png", width, height, whole, depth > 8)


def _jpeg(file: BinaryIO, where: str) -> Header:
    """Walk the segments to the first scan: the frame header has the size, the scan header tells whether all comes at once."""
    file.seek(2)
    frame: tuple[int, int, int, int] | None = None
    for _ in range(_MAX_SEGMENTS):
        marker = _marker(file)
        (length,) = struct.unpack(">H", file.read(2))
        body = file.read(max(0, length - 2))
        if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            depth, height, width, components = struct.unpack(">BHHB", body[:6])
            if depth != 8:
                raise ImageError(f"JPEG of {depth} bits a sample", where=where, remedy="export it with 8 bits")
            frame = (marker, width, height, components)
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            raise ImageError(f"JPEG of an unsupported process (SOF{marker - 0xC0})", where=where, remedy="export as baseline")
        elif marker == 0xDA:
            if frame is None:
                break
            process, width, height, components = frame
            at_once = process in (0xC2, 0xCA) or body[0] < components
            return Header("jpeg", width, height, width * height * components * 2 if at_once else 0)
    raise ImageError("JPEG without a frame header before its first scan", where=where, remedy="fetch or export it again")


def _marker(file: BinaryIO) -> int:
    if file.read(1) != b"\xff":
        raise struct.error("no marker")
    code = file.read(1)
    while code == b"\xff":  # fill bytes, B.1.1.2
        code = file.read(1)
    return code[0]


def _check_tiff(file: BinaryIO, limits: SceneLimits, where: str) -> None:
    seen: set[int] = set()
    order, big = _byte_order(file)
    for offset, entries in _directories(file, order, big):
        if offset in seen or len(seen) >= MAX_DIRECTORIES:
            raise ImageError(f"TIFF directories loop, or are over {MAX_DIRECTORIES}", where=where)
        seen.add(offset)
        for tag, kind, count, field in entries:
            _check_entry(file, order, (tag, kind, count, field), limits, where)


def _check_entry(file: BinaryIO, order: str, entry: tuple[int, int, int, bytes], limits: SceneLimits, where: str) -> None:
    tag, kind, count, field = entry
    size = count * _SIZES.get(kind, 1)
    if tag in _BLOCK_TABLES:
        if count > limits.blocks * limits.bands:
            raise ImageError(f"TIFF of {count} blocks", where=where, remedy="rewrite it with larger tiles")
    elif size > MAX_VALUE_BYTES:
        raise ImageError(f"TIFF tag {tag} of {size} bytes is over the limit of {MAX_VALUE_BYTES}", where=where)
    (value,) = struct.unpack_from(order + "H", field)
    if tag == 259 and value not in _COMPRESSIONS:
        known = ", ".join(sorted(set(_COMPRESSIONS.values())))
        raise ImageError(f"TIFF compression {value} is not accepted", where=where, remedy=f"rewrite it with {known}")
    place = int.from_bytes(field, "little" if order == "<" else "big") if size > len(field) else None
    if place is not None and place > _LAST_PLACE:
        raise struct.error("no such place")
    if tag == _GDAL_METADATA and place is not None:
        _check_text(file, place, size, where)
    if tag in _BLOCK_TABLES | _SUB_DIRECTORIES and kind in (16, 17, 18):
        _check_places(file, order, place, field, size)


def _check_places(file: BinaryIO, order: str, place: int | None, field: bytes, size: int) -> None:
    """See that a table of 64-bit places holds none that no file can have (`_LAST_PLACE`)."""
    if place is not None:
        file.seek(place)
    while size > 0:
        part = (field if place is None else file.read(min(size, 1 << 20)))[:size]
        part = part[: len(part) - len(part) % 8]
        if not part:
            return  # cut short: libtiff says so
        if (np.frombuffer(part, order + "u8") > _LAST_PLACE).any():
            raise struct.error("no such place")
        size -= len(part)


def _check_text(file: BinaryIO, place: int, size: int, where: str) -> None:
    """See that GDAL's own metadata is UTF-8; its parser quotes what is not, and rasterio cannot pass such a message on."""
    file.seek(place)
    try:
        file.read(size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ImageError("the TIFF's metadata is not UTF-8", where=where, remedy="fetch or export it again") from error


def _byte_order(file: BinaryIO) -> tuple[str, bool]:
    """Return struct's sign for the byte order, and whether it is a BigTIFF."""
    file.seek(0)
    start = file.read(4)
    return "<" if start[:2] == b"II" else ">", start[2:4] in (b"+\0", b"\0+")


def _directories(file: BinaryIO, order: str, big: bool) -> Iterator[tuple[int, list[tuple[int, int, int, bytes]]]]:
    """Yield each directory's place and entries (tag, type, count, value or its place); the caller stops a loop."""
    head, entry, link = (order + text for text in (("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")))
    file.seek(8 if big else 4)
    (offset,) = struct.unpack(link, file.read(struct.calcsize(link)))
    while offset:
        if offset > _LAST_PLACE:
            raise struct.error("no such place")
        file.seek(offset)
        (count,) = struct.unpack(head, file.read(struct.calcsize(head)))
        if count > MAX_ENTRIES:
            raise struct.error("too many entries")
        size = struct.calcsize(entry)
        body = file.read(count * size)
        (offset_after,) = struct.unpack(link, file.read(struct.calcsize(link)))
        yield offset, [struct.unpack_from(entry, body, i * size) for i in range(count)]
        offset = offset_after
