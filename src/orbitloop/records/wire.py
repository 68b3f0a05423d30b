"""The one container in which records cross the link: a JSON header and named blobs, versioned and checked.

Layout (big-endian): magic `OLR1` | u32 header length | header (canonical JSON) | blobs in the header's order | u32 CRC-32 of
all before. The header is `{"kind", "v", "fields", "blobs": [[name, length], ...]}`. Unknown fields are kept: a reader of
version n reads what version n+1 wrote. The CRC is against accidents only; trust comes from signatures over digests.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orbitloop.errors import WireError
from orbitloop.records.ids import canonical_json

MAGIC = b"OLR1"
MAX_HEADER_BYTES = 1 << 20
MAX_RECORD_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """One record as it crosses the link."""

    kind: str
    version: int
    fields: dict[str, Any]
    blobs: dict[str, bytes]


def pack(kind: str, version: int, fields: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None) -> bytes:
    """Serialise a record.

    Raises:
        ValueError: a field is NaN or infinite.
    """
    parts = dict(blobs or {})
    header = canonical_json(
        {"kind": kind, "v": version, "fields": dict(fields), "blobs": [[n, len(b)] for n, b in parts.items()]}
    )
    body = MAGIC + struct.pack(">I", len(header)) + header + b"".join(parts.values())
    return body + struct.pack(">I", zlib.crc32(body))


def unpack(data: bytes, *, expect: str | None = None) -> Packed:
    """Read a record from outside bytes.

    Args:
        data: the whole record.
        expect: the kind that the caller takes; any other is refused.

    Raises:
        WireError: the bytes are truncated, corrupt, oversized, or of another kind. Never anything else.
    """
    if len(data) < 12 or data[:4] != MAGIC:
        raise WireError("not an orbitloop record (bad magic or too short)")
    if len(data) > MAX_RECORD_BYTES:
        raise WireError(f"record of {len(data)} bytes is over the limit of {MAX_RECORD_BYTES}")
    if struct.unpack(">I", data[-4:])[0] != zlib.crc32(data[:-4]):
        raise WireError("checksum differs: the record was damaged on its way")
    (length,) = struct.unpack(">I", data[4:8])
    if length > MAX_HEADER_BYTES or 8 + length > len(data) - 4:
        raise WireError(f"header length {length} does not fit the record")
    try:
        header = json.loads(data[8 : 8 + length])
        kind, version, fields = str(header["kind"]), int(header["v"]), dict(header["fields"])
        sizes = [(str(name), int(size)) for name, size in header["blobs"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"header is malformed ({error})") from error
    if expect is not None and kind != expect:
        raise WireError(f"record is a {kind!r} where a {expect!r} was expected")
    if any(size < 0 for _, size in sizes) or 8 + length + sum(size for _, size in sizes) != len(data) - 4:
        raise WireError("blob lengths do not add up to the record")
    if len({name for name, _ in sizes}) != len(sizes):
        raise WireError("two blobs have the same name")
    blobs: dict[str, bytes] = {}
    start = 8 + length
    for name, size in sizes:
        blobs[name] = bytes(data[start : start + size])
        start += size
    return Packed(kind, version, fields, blobs)
