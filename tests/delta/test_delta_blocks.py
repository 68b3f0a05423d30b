"""The table of named blocks: what it lists, what it refuses."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.blocks import MAX_TENSORS, Block, read_table, write_blocks
from orbitloop.delta.sections import pack_section
from orbitloop.errors import UpdateError

SETTINGS = settings(max_examples=50, deadline=None)


def table(rows: bytes, blocks: bytes = b"", *, raw: int | None = None) -> bytes:
    packed = pack_section(rows)
    return struct.pack("<II", len(rows) if raw is None else raw, len(packed)) + packed + blocks


def row(name: bytes, codec: bytes = b"exact", shape: tuple[int, ...] = (32,), length: int = 65) -> bytes:
    sizes = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return bytes([len(name)]) + name + bytes([len(codec)]) + codec + sizes + struct.pack("<I", length)


ONE, TWO = struct.pack("<H", 1), struct.pack("<H", 2)
BLOCK = b"\0" + bytes(64)
MALFORMED = {
    "empty": b"",
    "short head": b"\1\0\0",
    "table past the end": struct.pack("<II", 2, 1 << 31) + b"\0\0\0",
    "table too large": struct.pack("<II", 1 << 31, 3) + b"\0\0\0",
    "table length lies": table(ONE + row(b"out.bias"), BLOCK, raw=7),
    "no rows": table(ONE),
    "rows go on": table(ONE + row(b"out.bias") + b"x", BLOCK),
    "too many tensors": table(struct.pack("<H", MAX_TENSORS + 1)),
    "duplicate": table(TWO + row(b"out.bias") * 2, BLOCK * 2),
    "out of order": table(TWO + row(b"out.bias") + row(b"0.bn.weight", shape=(16,)), BLOCK * 2),
    "empty name": table(ONE + row(b""), BLOCK),
    "name not text": table(ONE + row(b"\xff\xfe"), BLOCK),
    "codec not ascii": table(ONE + row(b"out.bias", b"h\xc3\xa4lf"), BLOCK),
    "absurd shape": table(ONE + row(b"out.bias", shape=(2**32 - 1,) * 8), BLOCK),
    "absurd axes": table(ONE + row(b"out.bias", shape=(1,) * 200), BLOCK),
    "block too long": table(ONE + row(b"out.bias", length=2**32 - 1), BLOCK),
    "block too short": table(ONE + row(b"out.bias", length=3), BLOCK),
    "trailing bytes": table(ONE + row(b"out.bias"), BLOCK + b"!"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_tables_are_refused(case):
    with pytest.raises(UpdateError):
        read_table(MALFORMED[case])


def test_the_corpus_is_malformed_in_one_point_only():
    assert [(e.name, e.length) for e in read_table(table(ONE + row(b"out.bias"), BLOCK))] == [("out.bias", 65)]


BLOCKS = st.lists(
    st.builds(
        Block,
        st.text(min_size=1, max_size=12).filter(lambda name: name.encode("utf-8", "ignore") != b""),
        st.sampled_from(["exact", "zstd", "negate"]),
        st.lists(st.integers(0, 40), max_size=4).map(tuple),
        st.binary(max_size=30),
    ),
    max_size=6,
    unique_by=lambda block: block.name,
)


@given(BLOCKS)
@SETTINGS
def test_what_is_written_is_listed_in_order_of_name(blocks):
    data = write_blocks(blocks)
    entries = read_table(data)
    assert [e.name for e in entries] == sorted((b.name for b in blocks), key=str.encode)
    found = {e.name: Block(e.name, e.codec, e.shape, data[e.offset : e.offset + e.length]) for e in entries}
    assert found == {b.name: b for b in blocks}


@given(st.binary(max_size=300))
@SETTINGS
def test_any_bytes_are_a_table_or_the_one_typed_error(data):
    for bad in (data, struct.pack("<II", 40, len(data)) + data):
        with contextlib.suppress(UpdateError):
            read_table(bad)


GOOD = write_blocks([Block(f"conv{i:02d}.weight", "exact", (3, 4), np.random.default_rng(i).bytes(9)) for i in range(20)])


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), min_size=1, max_size=3))
@SETTINGS
def test_mutated_tables_are_read_or_refused(flips):
    data = bytearray(GOOD)
    for at, mask in flips:
        data[at] ^= mask
    with contextlib.suppress(UpdateError):
        assert sum(e.length for e in read_table(bytes(data))) <= len(data)


def test_every_truncation_is_refused():
    for end in range(len(GOOD)):
        with pytest.raises(UpdateError):
            read_table(GOOD[:end])


def test_the_writer_keeps_the_formats_limits():
    block = Block("w", "exact", (1,), b"\0\0\0")
    with pytest.raises(UpdateError):
        write_blocks([block, block])
    with pytest.raises(UpdateError):
        write_blocks([Block(f"w{i}", "exact", (1,), b"") for i in range(MAX_TENSORS + 1)])
    for bad in (Block("", "exact", (1,), b""), Block("n" * 256, "exact", (1,), b""), Block("w", "exact", (1,) * 9, b"")):
        with pytest.raises(UpdateError):
            write_blocks([bad])
    assert read_table(write_blocks([])) == []
