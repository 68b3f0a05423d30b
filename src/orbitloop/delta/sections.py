"""Byte sections inside a payload: compressed where that pays, and never larger in memory than the reader said beforehand.

A section is one flag byte and a body: `0` the bytes themselves, `1` one zstd frame (level 19, content size written, nothing
after it). The reader always knows the raw size from the shape of the tensor that it already holds; the frame's stated size is
held against it before anything is allocated, so that a decompression bomb costs its own length and no more.
"""

from __future__ import annotations

import zstandard

from orbitloop.errors import UpdateError

STORED = 0
COMPRESSED = 1
LEVEL = 19
MAX_WINDOW_BYTES = 1 << 24
"""Level 19 asks for 8 MiB; a frame that wants more was not written by us."""


def pack_section(data: bytes) -> bytes:
    """Return the shorter of the two forms."""
    frame = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress(data)
    if len(frame) < len(data):
        return bytes((COMPRESSED,)) + frame
    return bytes((STORED,)) + data


def unpack_section(section: bytes, raw_bytes: int, what: str) -> bytes:
    """Return the `raw_bytes` bytes of a section.

    Raises:
        UpdateError: the section is empty, of an unknown form, corrupt, or of another size than `raw_bytes`.
    """
    if not section:
        raise UpdateError(f"{what} is empty")
    body = section[1:]
    if section[0] == STORED:
        if len(body) != raw_bytes:
            raise UpdateError(f"{what} holds {len(body)} bytes where {raw_bytes} belong")
        return body
    if section[0] != COMPRESSED:
        raise UpdateError(f"{what} has the unknown form {section[0]}")
    try:
        frame = zstandard.get_frame_parameters(body)
        if frame.content_size != raw_bytes:
            raise UpdateError(f"{what} would unpack to {frame.content_size} bytes where {raw_bytes} belong")
        if frame.window_size > MAX_WINDOW_BYTES:
            raise UpdateError(f"{what} asks for a window of {frame.window_size} bytes, over the limit of {MAX_WINDOW_BYTES}")
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        data = reader.decompress(body, max_output_size=max(raw_bytes, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise UpdateError(f"{what} does not unpack ({error})") from error
    if len(data) != raw_bytes:
        raise UpdateError(f"{what} unpacked to {len(data)} bytes where {raw_bytes} belong")
    return data


def unpack_frame(frame: bytes, most_bytes: int, what: str) -> bytes:
    """Return what a zstd frame that says its own size holds; `pack_frame` writes one.

    Raises:
        UpdateError: corrupt, without a size, or over `most_bytes`.
    """
    try:
        about = zstandard.get_frame_parameters(frame)
        if not 0 <= about.content_size <= most_bytes:
            raise UpdateError(f"{what} is over the limit of {most_bytes} bytes unpacked, or does not say how many")
        if about.window_size > MAX_WINDOW_BYTES:
            raise UpdateError(f"{what} asks for a window of {about.window_size} bytes, over the limit of {MAX_WINDOW_BYTES}")
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return reader.decompress(frame, max_output_size=max(about.content_size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise UpdateError(f"{what} does not unpack ({error})") from error


def pack_frame(data: bytes) -> bytes:
    """Return data as one zstd frame that says its size."""
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress(data)
