"""Named blocks beside the coded stream: one tensor each, with a codec of its own.

They carry what the stream cannot: tensors of which every bit must arrive, tensors that zstd writes shorter, tensors of a third
party's codec, and all of them where a satellite has no entropy coder. Layout (little-endian):

    u32 raw table bytes | u32 packed table bytes | packed table (`sections`) | blocks

Table, once unpacked: u16 count, then per tensor: u8 length + name (UTF-8) | u8 length + codec (ASCII) | u8 axes | u32 each axis
| u32 block bytes. Names stand in ascending order, so that none occurs twice and there is one way to write them. Blocks follow
one another in the table's order and fill the data to its last byte, so that no offset can lie.

Each entry is checked against limits before anything is made from it; a shape is believed only where it equals the base's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from orbitloop.delta.sections import pack_section, unpack_section
from orbitloop.errors import UpdateError

MAX_TABLE_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_AXES = 8
MAX_ELEMENTS = 1 << 31
_HEAD = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One row of the table. `offset` and `length` are bytes of the block within the data."""

    name: str
    codec: str
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor's change, ready to be written."""

    name: str
    codec: str
    shape: tuple[int, ...]
    data: bytes


def write_blocks(blocks: Sequence[Block]) -> bytes:
    """Serialise some tensors.

    Raises:
        UpdateError: a name occurs twice, or something is over the format's limits.
    """
    ordered = sorted(blocks, key=lambda b: b.name.encode())
    table = bytearray(struct.pack("<H", len(ordered))) if len(ordered) <= MAX_TENSORS else bytearray()
    for block in ordered if table else ():
        table += _write_row(block)
    if not table or len(table) > MAX_TABLE_BYTES:
        raise UpdateError(f"{len(ordered)} tensors do not fit one payload", remedy="send them in two updates")
    packed = pack_section(bytes(table))
    data = _HEAD.pack(len(table), len(packed)) + packed + b"".join(b.data for b in ordered)
    read_table(data)
    return data


def read_table(data: bytes) -> list[BlockEntry]:
    """Return the table's rows, in order of name.

    Raises:
        UpdateError: malformed. Never anything else.
    """
    if len(data) < _HEAD.size:
        raise UpdateError("blocks are truncated in their head")
    raw_bytes, packed_bytes = _HEAD.unpack_from(data)
    if raw_bytes > MAX_TABLE_BYTES or packed_bytes > len(data) - _HEAD.size:
        raise UpdateError(f"table of {packed_bytes} bytes ({raw_bytes} unpacked) does not fit")
    start = _HEAD.size + packed_bytes
    rows = _Rows(unpack_section(data[_HEAD.size : start], raw_bytes, "table"))
    count = rows.number(2)
    if count > MAX_TENSORS:
        raise UpdateError(f"table names {count} tensors, over the limit of {MAX_TENSORS}")
    entries: list[BlockEntry] = []
    for _ in range(count):
        entry = _read_row(rows, start)
        if entries and entry.name.encode() <= entries[-1].name.encode():
            raise UpdateError(f"tensor {entry.name!r} stands twice in the table, or out of order")
        entries.append(entry)
        start += entry.length
    if not rows.at_end():
        raise UpdateError("table goes on after its last row")
    if start != len(data):
        raise UpdateError(f"blocks end at byte {start} and their data at {len(data)}")
    return entries


def _write_row(block: Block) -> bytes:
    name, codec = block.name.encode(), block.codec.encode("ascii")
    if not 0 < len(name) < 256 or not 0 < len(codec) < 256:
        raise UpdateError(f"name {block.name!r} or codec {block.codec!r} is empty or longer than 255 bytes")
    if len(block.shape) > MAX_AXES or math.prod(block.shape) > MAX_ELEMENTS or len(block.data) >= 1 << 32:
        raise UpdateError(f"tensor {block.name!r} of shape {block.shape} is over the format's limits")
    sizes = struct.pack(f"<B{len(block.shape)}I", len(block.shape), *block.shape)
    return bytes((len(name),)) + name + bytes((len(codec),)) + codec + sizes + struct.pack("<I", len(block.data))


def _read_row(rows: _Rows, offset: int) -> BlockEntry:
    name, codec = rows.text("utf-8"), rows.text("ascii")
    axes = rows.number(1)
    if axes > MAX_AXES:
        raise UpdateError(f"tensor {name!r} states {axes} axes, over the limit of {MAX_AXES}")
    shape = tuple(rows.number(4) for _ in range(axes))
    if math.prod(shape) > MAX_ELEMENTS:
        raise UpdateError(f"tensor {name!r} states {math.prod(shape)} elements, over the limit of {MAX_ELEMENTS}")
    return BlockEntry(name, codec, shape, offset, rows.number(4))


class _Rows:
    """Takes numbers and texts from the front of the table, and refuses to read past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise UpdateError("table is truncated")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "little")

    def text(self, encoding: str) -> str:
        raw = self.take(self.number(1))
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise UpdateError("a name in the table is not text") from error
        if not text:
            raise UpdateError("a name in the table is empty")
        return text

    def at_end(self) -> bool:
        return self._at == len(self._data)
