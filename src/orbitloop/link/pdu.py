"""The protocol data units as bytes, and the one parser of bytes that came over the link.

Leaves to others: what to send and what to make of it (`session`).

Every PDU (big-endian):

    version u8 = 1 | type u8 | payload length u16 | payload | CRC-32 u32 over all before

| type | payload |
|---|---|
| 1 ANNOUNCE | sha256 (32) | total size u64 | priority u8 | kind length u8 | kind (UTF-8) |
| 2 FILE_DATA | item id (16) | offset u64 | total size u64 | data (at least 1 byte) |
| 3 REPORT | entries, none or many: item id (16) | flags u8 | unless COMPLETE: scope start, scope length, n, n x (gap, length) |
| 4 CLOSE | item ids (16 each, at least one) |

An item is named by the first 16 bytes of its payload's SHA-256, so that both ends mean the same bytes without a number to
agree on, and a transfer resumes after either end has forgotten the other. Numbers in a report are unsigned LEB128; ranges
are counted from the end of the one before, because lost PDUs leave ranges close together: 2 to 6 bytes each instead of 16. A
range has at least one byte, and two ranges of one entry never touch. An entry speaks only of its scope, so a report with
many holes is cut into pages, each true by itself (a NAK that outgrows its PDU is a known failure of other stacks: yamcs
#830).

The CRC is against accidents only. Overhead of a FILE_DATA PDU is 40 bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orbitloop.errors import LinkError
from orbitloop.link.extents import Extents

VERSION = 1
ANNOUNCE, FILE_DATA, REPORT, CLOSE = 1, 2, 3, 4
ID_BYTES = 16
FRAME_BYTES = 8
FILE_DATA_OVERHEAD_BYTES = FRAME_BYTES + ID_BYTES + 16
MIN_PDU_BYTES = 256
MAX_PDU_BYTES = FRAME_BYTES + 0xFFFF
MAX_KIND_BYTES = 64
MAX_U64 = (1 << 64) - 1

_HEADER = struct.Struct(">BBH")
_CRC = struct.Struct(">I")
_DATA_HEAD = struct.Struct(">BBH16sQQ")
_DATA_FIELDS = struct.Struct(">16sQQ")
_ANNOUNCE_FIELDS = struct.Struct(">32sQBB")

FLAG_COMPLETE = 1
FLAG_NEEDS_ANNOUNCE = 2
_KNOWN_FLAGS = FLAG_COMPLETE | FLAG_NEEDS_ANNOUNCE


@dataclass(frozen=True, slots=True)
class Announce:
    """What an item is. Sent before its data, and again as the question "what do you have of it?"."""

    sha256: bytes
    total_bytes: int
    priority: int
    kind: str

    @property
    def item_id(self) -> bytes:
        return self.sha256[:ID_BYTES]


@dataclass(frozen=True, slots=True)
class FileData:
    """A piece of an item, at `offset`."""

    item_id: bytes
    offset: int
    total_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """What the receiver holds of one item inside [scope_start, scope_end); an item that is complete needs no scope."""

    item_id: bytes
    complete: bool
    needs_announce: bool = False
    scope_start: int = 0
    scope_end: int = 0
    received: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The receiver's word to the sender; an empty one says "I am here and heard nothing new"."""

    entries: tuple[ReportEntry, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The sender holds these items no more: forget what is partial, stop reporting what is complete."""

    item_ids: tuple[bytes, ...]


Pdu = Announce | FileData | Report | Close


def encode_announce(item: Announce) -> bytes:
    """Return the PDU; `priority` must fit a byte and `kind` `MAX_KIND_BYTES`."""
    kind = item.kind.encode()
    return _frame(ANNOUNCE, _ANNOUNCE_FIELDS.pack(item.sha256, item.total_bytes, item.priority, len(kind)) + kind)


def encode_file_data(item_id: bytes, offset: int, total_bytes: int, data: bytes | memoryview) -> bytes:
    """Return the PDU for one piece (no `FileData` is built: this is the hot path)."""
    head = _DATA_HEAD.pack(VERSION, FILE_DATA, ID_BYTES + 16 + len(data), item_id, offset, total_bytes)
    return b"".join((head, data, _CRC.pack(zlib.crc32(data, zlib.crc32(head)))))


def encode_close(item_ids: Sequence[bytes]) -> bytes:
    """Return the PDU for at least one item."""
    return _frame(CLOSE, b"".join(item_ids))


def encode_report(entries: Sequence[bytes]) -> bytes:
    """Return the PDU for entries that `encode_entry` wrote."""
    return _frame(REPORT, b"".join(entries))


def encode_entry(entry: ReportEntry) -> bytes:
    """Return one report entry."""
    flags = FLAG_COMPLETE * entry.complete | FLAG_NEEDS_ANNOUNCE * entry.needs_announce
    out = bytearray(entry.item_id)
    out.append(flags)
    if entry.complete:
        return bytes(out)
    for number in (entry.scope_start, entry.scope_end - entry.scope_start, len(entry.received)):
        _put_varint(out, number)
    at = entry.scope_start
    for start, end in entry.received:
        _put_varint(out, start - at)
        _put_varint(out, end - start)
        at = end
    return bytes(out)


def split_entry(item_id: bytes, total_bytes: int, received: Extents, needs_announce: bool, max_bytes: int) -> Iterator[bytes]:
    """Yield encoded entries, none over `max_bytes`, whose scopes together cover [0, total_bytes).

    `max_bytes` must be at least 67.
    """
    # 47 = id, flags and three numbers at their largest; 20 = one range at its largest.
    per_entry = max(1, (max_bytes - 47) // 20)
    ranges = list(received)
    at = 0
    for first in range(0, max(len(ranges), 1), per_entry):
        part = ranges[first : first + per_entry]
        end = total_bytes if first + per_entry >= len(ranges) else part[-1][1]
        yield encode_entry(ReportEntry(item_id, False, needs_announce, at, end, tuple(part)))
        at = end


def parse(data: bytes) -> Pdu:
    """Read one PDU from outside bytes.

    Raises:
        LinkError: the bytes are truncated, damaged, of an unknown version or type, or break the layout. Never anything else.
    """
    if not FRAME_BYTES <= len(data) <= MAX_PDU_BYTES:
        raise LinkError(f"a PDU has {FRAME_BYTES} to {MAX_PDU_BYTES} bytes, this one {len(data)}")
    version, kind, length = _HEADER.unpack_from(data)
    if length != len(data) - FRAME_BYTES:
        raise LinkError(f"PDU says {length} bytes of payload and has {len(data) - FRAME_BYTES}")
    view = memoryview(data)
    if _CRC.unpack_from(data, len(data) - 4)[0] != zlib.crc32(view[:-4]):
        raise LinkError("PDU checksum differs: damaged on its way")
    if version != VERSION:
        raise LinkError(f"PDU version {version} is not known", remedy="update the end that speaks the older version")
    payload = view[4:-4]
    if kind == FILE_DATA:
        return _parse_file_data(payload)
    if kind == ANNOUNCE:
        return _parse_announce(payload)
    if kind == REPORT:
        return _parse_report(payload)
    if kind == CLOSE:
        return _parse_close(payload)
    raise LinkError(f"PDU type {kind} is not known")


def _parse_file_data(payload: memoryview) -> FileData:
    if len(payload) <= _DATA_FIELDS.size:
        raise LinkError("file data PDU without data")
    item_id, offset, total = _DATA_FIELDS.unpack_from(payload)
    data = bytes(payload[_DATA_FIELDS.size :])
    if offset + len(data) > total:
        raise LinkError(f"file data [{offset}, {offset + len(data)}) lies beyond the item's {total} bytes")
    return FileData(item_id, offset, total, data)


def _parse_announce(payload: memoryview) -> Announce:
    if len(payload) < _ANNOUNCE_FIELDS.size:
        raise LinkError("announce PDU is too short")
    sha256, total, priority, length = _ANNOUNCE_FIELDS.unpack_from(payload)
    if not 0 < length <= MAX_KIND_BYTES or len(payload) != _ANNOUNCE_FIELDS.size + length:
        raise LinkError("announce PDU: the kind's length does not fit")
    try:
        kind = str(payload[_ANNOUNCE_FIELDS.size :], "utf-8")
    except UnicodeDecodeError as error:
        raise LinkError("announce PDU: the kind is not UTF-8") from error
    return Announce(sha256, total, priority, kind)


def _parse_close(payload: memoryview) -> Close:
    if len(payload) == 0 or len(payload) % ID_BYTES:
        raise LinkError("close PDU does not hold whole item ids")
    return Close(tuple(bytes(payload[at : at + ID_BYTES]) for at in range(0, len(payload), ID_BYTES)))


def _parse_report(payload: memoryview) -> Report:
    entries: list[ReportEntry] = []
    at = 0
    while at < len(payload):
        entry, at = _parse_entry(payload, at)
        entries.append(entry)
    return Report(tuple(entries))


def _parse_entry(payload: memoryview, at: int) -> tuple[ReportEntry, int]:
    if at + ID_BYTES + 1 > len(payload):
        raise LinkError("report entry is cut off")
    item_id, flags = bytes(payload[at : at + ID_BYTES]), payload[at + ID_BYTES]
    at += ID_BYTES + 1
    if flags & ~_KNOWN_FLAGS:
        raise LinkError(f"report entry has unknown flags {flags:#x}")
    needs_announce = bool(flags & FLAG_NEEDS_ANNOUNCE)
    if flags & FLAG_COMPLETE:
        return ReportEntry(item_id, True, needs_announce), at
    start, at = _take_varint(payload, at)
    length, at = _take_varint(payload, at)
    count, at = _take_varint(payload, at)
    end = start + length
    if end > MAX_U64 or count > len(payload):  # each range takes two bytes, so no honest count is larger
        raise LinkError("report entry's scope or count is out of range")
    ranges: list[tuple[int, int]] = []
    edge = start
    for index in range(count):
        gap, at = _take_varint(payload, at)
        size, at = _take_varint(payload, at)
        if size == 0 or (index and gap == 0) or edge + gap + size > end:
            raise LinkError("report entry's ranges are empty, touch, or leave its scope")
        ranges.append((edge + gap, edge + gap + size))
        edge += gap + size
    return ReportEntry(item_id, False, needs_announce, start, end, tuple(ranges)), at


def _frame(kind: int, payload: bytes) -> bytes:
    body = _HEADER.pack(VERSION, kind, len(payload)) + payload
    return body + _CRC.pack(zlib.crc32(body))


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _take_varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise LinkError("number in a report is cut off or too long")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > MAX_U64 or (byte == 0 and shift):
                raise LinkError("number in a report is too large or not in its shortest form")
            return number, at
        shift += 7
