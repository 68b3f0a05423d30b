"""The container: what was packed is unpacked; whatever else comes in raises WireError and nothing else."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import WireError
from orbitloop.records.ids import canonical_json
from orbitloop.records.wire import MAGIC, MAX_HEADER_BYTES, pack, unpack

FIELDS = {"satellite": "sät-1", "at_s": 1.5, "list": [1, None, True], "deep": {"a": {"b": []}}}
BLOBS = {"image": b"\x00\xff" * 9, "empty": b"", "boxes": b"12345678"}
GOOD = pack("sample", 3, FIELDS, BLOBS)


def frame(header: bytes | Any, blobs: bytes = b"", length: int | None = None) -> bytes:
    """A record with a right checksum around a header of any kind."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = MAGIC + struct.pack(">I", len(raw) if length is None else length) + raw + blobs
    return body + struct.pack(">I", zlib.crc32(body))


def header(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": "sample", "v": 1, "fields": {}, "blobs": []}
    return {k: v for k, v in (plain | changes).items() if v is not ...}


def test_layout_is_the_documented_one() -> None:
    data = pack("k", 1, {"b": 1, "a": 2}, {"x": b"ab"})
    text = b'{"blobs":[["x",2]],"fields":{"a":2,"b":1},"kind":"k","v":1}'
    body = b"OLR1" + len(text).to_bytes(4, "big") + text + b"ab"
    assert data == body + zlib.crc32(body).to_bytes(4, "big")


def test_round_trip_keeps_every_field_and_blob() -> None:
    back = unpack(GOOD, expect="sample")
    assert (back.kind, back.version, back.fields, back.blobs) == ("sample", 3, FIELDS, BLOBS)
    assert pack(back.kind, back.version, back.fields, back.blobs) == GOOD


def test_what_a_later_version_adds_is_kept() -> None:
    later = frame(header(v=9, fields={"known": 1, "new": {"x": 2}}, blobs=[["extra", 3]], mood="good"), b"abc")
    back = unpack(later, expect="sample")
    assert back.version == 9
    assert back.fields == {"known": 1, "new": {"x": 2}}
    assert back.blobs == {"extra": b"abc"}


def test_another_kind_is_refused_by_name() -> None:
    with pytest.raises(WireError, match="'sample' where a 'beacon'"):
        unpack(GOOD, expect="beacon")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_no_word_for_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        pack("k", 1, {"x": value})


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "magic alone": MAGIC,
    "too short": GOOD[:11],
    "other magic": b"OLR2" + GOOD[4:],
    "cut by a byte": GOOD[:-1],
    "cut in the header": GOOD[:20],
    "one byte more": GOOD + b"\0",
    "twice": GOOD + GOOD,
    "checksum": GOOD[:-4] + b"\0\0\0\0",
    "header longer than the record": frame(header(), length=10_000),
    "header length 2^32 - 1": frame(header(), length=0xFFFFFFFF),
    "header into the checksum": frame(header(), length=len(json.dumps(header())) + 1),
    "header over the limit": frame(b" " * (MAX_HEADER_BYTES + 1) + json.dumps(header()).encode()),
    "no JSON": frame(b"{kind: sample}"),
    "no UTF-8": frame(b'{"kind": "\xff"}'),
    "empty header": frame(b""),
    "a list": frame([]),
    "a number": frame(b"7"),
    "null": frame(b"null"),
    "deep": frame(b"[" * 100_000),
    "deep fields": frame(b'{"kind":"sample","v":1,"blobs":[],"fields":' + b'{"a":' * 50_000 + b"0" + b"}" * 50_001),
    "a number of 9,999 digits": frame(b'{"kind":"sample","v":' + b"9" * 9999 + b',"fields":{},"blobs":[]}'),
    "no kind": frame(header(kind=...)),
    "no version": frame(header(v=...)),
    "no fields": frame(header(fields=...)),
    "no blobs": frame(header(blobs=...)),
    "version is text": frame(header(v="one")),
    "version is infinite": frame(b'{"kind":"sample","v":Infinity,"fields":{},"blobs":[]}'),
    "version is NaN": frame(b'{"kind":"sample","v":NaN,"fields":{},"blobs":[]}'),
    "version is a list": frame(header(v=[1])),
    "fields are a number": frame(header(fields=3)),
    "fields are a text": frame(header(fields="abc")),
    "blobs are a number": frame(header(blobs=3)),
    "blobs are null": frame(header(blobs=None)),
    "blob without a size": frame(header(blobs=[["a"]])),
    "blob with two sizes": frame(header(blobs=[["a", 1, 1]]), b"xx"),
    "blob of infinite size": frame(b'{"kind":"sample","v":1,"fields":{},"blobs":[["a",1e999]]}'),
    "negative blob": frame(header(blobs=[["a", -1], ["b", 3]]), b"xx"),
    "blob too long": frame(header(blobs=[["a", 3]]), b"xx"),
    "blob too short": frame(header(blobs=[["a", 1]]), b"xx"),
    "blob of 2^62": frame(header(blobs=[["a", 1 << 62]]), b"xx"),
    "one name twice": frame(header(blobs=[["a", 1], ["a", 1]]), b"xx"),
    "bytes without a blob": frame(header(), b"x"),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_malformed_records_raise_the_one_error(name: str) -> None:
    with pytest.raises(WireError):
        unpack(MALFORMED[name])


def test_a_record_over_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitloop.records.wire.MAX_RECORD_BYTES", len(GOOD) - 1)
    with pytest.raises(WireError, match="over the limit"):
        unpack(GOOD)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.text(max_size=20),
    st.integers(0, 2**31),
    st.dictionaries(st.text(max_size=8), json_values, max_size=4),
    st.dictionaries(st.text(max_size=8), st.binary(max_size=64), max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_any_record_comes_back(kind: str, version: int, fields: dict[str, Any], blobs: dict[str, bytes]) -> None:
    back = unpack(pack(kind, version, fields, blobs), expect=kind)
    assert (back.kind, back.version, back.fields, back.blobs) == (kind, version, fields, blobs)


def parse_or_wire_error(data: bytes) -> bool:
    try:
        unpack(data)
    except WireError:
        return False
    return True


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert not parse_or_wire_error(data)
    parse_or_wire_error(frame(data))


@given(st.integers(0, len(GOOD) * 8 - 1))
@settings(max_examples=50, deadline=None)
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    damaged = bytearray(GOOD)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not parse_or_wire_error(bytes(damaged))


@given(st.integers(0, len(GOOD) - 5), st.integers(0, 255), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_changed_byte_under_a_right_checksum_raises_nothing_else(place: int, value: int, cut: bool) -> None:
    body = bytearray(GOOD[:-4])
    body[place] = value
    raw = bytes(body[: max(8, place)] if cut else body)
    parse_or_wire_error(raw + struct.pack(">I", zlib.crc32(raw)))


@given(json_values)
@settings(max_examples=50, deadline=None)
def test_any_json_as_header_is_read_or_refused(value: Any) -> None:
    raw = canonical_json(value)
    parse_or_wire_error(frame(raw))
    for name in ("kind", "v", "fields", "blobs"):
        parse_or_wire_error(frame(header(**{name: value})))
