"""PDUs: round trip, golden bytes, and the parser's promise: parse it or raise LinkError, never another."""

import hashlib
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import LinkError
from orbitloop.link import pdu
from orbitloop.link.extents import Extents

IDS = st.binary(min_size=16, max_size=16)
U32 = st.integers(0, 1 << 32)
RANGES = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 300)), max_size=12).map(
    lambda rows: Extents((start, start + size) for start, size in rows)
)


def framed(kind: int, payload: bytes, version: int = 1) -> bytes:
    body = struct.pack(">BBH", version, kind, len(payload)) + payload
    return body + struct.pack(">I", zlib.crc32(body))


@st.composite
def entries(draw):
    if draw(st.booleans()):
        return pdu.ReportEntry(draw(IDS), complete=True)
    received = draw(RANGES)
    shift = draw(U32)
    start, end = shift, shift + received.end + draw(st.integers(0, 9))
    moved = tuple((s + shift, e + shift) for s, e in received)
    return pdu.ReportEntry(draw(IDS), False, draw(st.booleans()), start, end, moved)


@st.composite
def valid_pdus(draw):
    kind = draw(st.sampled_from(["announce", "data", "report", "close"]))
    if kind == "announce":
        text = draw(st.text(min_size=1, max_size=16, alphabet=st.characters(codec="utf-8")))
        item = pdu.Announce(draw(st.binary(min_size=32, max_size=32)), draw(U32), draw(st.integers(0, 255)), text)
        return item, pdu.encode_announce(item)
    if kind == "data":
        data, offset = draw(st.binary(min_size=1, max_size=200)), draw(U32)
        piece = pdu.FileData(draw(IDS), offset, offset + len(data) + draw(U32), data)
        return piece, pdu.encode_file_data(piece.item_id, piece.offset, piece.total_bytes, data)
    if kind == "report":
        report = pdu.Report(tuple(draw(st.lists(entries(), max_size=4))))
        return report, pdu.encode_report([pdu.encode_entry(e) for e in report.entries])
    ids = tuple(draw(st.lists(IDS, min_size=1, max_size=5)))
    return pdu.Close(ids), pdu.encode_close(ids)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(valid_pdus())
def test_round_trip(pair):
    record, data = pair
    assert pdu.parse(data) == record


@settings(max_examples=50, deadline=None, derandomize=True)
@given(valid_pdus(), st.data())
def test_any_flipped_byte_is_detected(pair, data):
    _, good = pair
    at = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    with pytest.raises(LinkError):
        pdu.parse(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(valid_pdus(), st.data())
def test_truncated_or_trailing_bytes_are_refused(pair, data):
    _, good = pair
    cut = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:cut], good + data.draw(st.binary(min_size=1, max_size=9))):
        with pytest.raises(LinkError):
            pdu.parse(bad)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 6), st.binary(max_size=120), st.sampled_from([0, 1, 1, 1, 2]))
def test_any_bytes_parse_or_raise_link_error(kind, payload, version):
    for data in (payload, framed(kind, payload, version)):  # bare, and with a CRC that lets it through to the layout
        try:
            record = pdu.parse(data)
        except LinkError:
            continue
        if isinstance(record, pdu.Report):
            assert pdu.encode_report([pdu.encode_entry(e) for e in record.entries])


VARINT_TOO_LONG = b"\xff" * 11
MALFORMED = {
    "empty": b"",
    "short": b"\x01\x02\x00",
    "type 0": framed(0, b""),
    "type 9": framed(9, b"abc"),
    "version 2": framed(2, b"x" * 40, version=2),
    "announce too short": framed(1, b"x" * 41),
    "announce without kind": framed(1, b"x" * 41 + b"\x00"),
    "announce kind cut off": framed(1, b"x" * 41 + b"\x05abc"),
    "announce kind too long": framed(1, b"x" * 41 + bytes([65]) + b"k" * 65),
    "announce kind not UTF-8": framed(1, b"x" * 41 + b"\x02\xff\xfe"),
    "data without data": framed(2, b"i" * 16 + struct.pack(">QQ", 0, 10)),
    "data beyond its end": framed(2, b"i" * 16 + struct.pack(">QQ", 8, 10) + b"abc"),
    "data at the last offset": framed(2, b"i" * 16 + struct.pack(">QQ", (1 << 64) - 1, (1 << 64) - 1) + b"a"),
    "report entry cut off": framed(3, b"i" * 16),
    "report unknown flag": framed(3, b"i" * 16 + b"\x80"),
    "report without scope": framed(3, b"i" * 16 + b"\x00"),
    "report number too long": framed(3, b"i" * 16 + b"\x00" + VARINT_TOO_LONG),
    "report number above 64 bits": framed(3, b"i" * 16 + b"\x00" + b"\xff" * 9 + b"\x7f" + b"\x00\x00"),
    "report number padded": framed(3, b"i" * 16 + b"\x00" + b"\x80\x00" + b"\x00\x00"),
    "report count of a million": framed(3, b"i" * 16 + b"\x00\x00\x05\xc0\x84\x3d"),
    "report empty range": framed(3, b"i" * 16 + b"\x00\x00\x05\x01\x00\x00"),
    "report touching ranges": framed(3, b"i" * 16 + b"\x00\x00\x05\x02\x00\x02\x00\x02"),
    "report range beyond scope": framed(3, b"i" * 16 + b"\x00\x00\x05\x01\x02\x04"),
    "close of nothing": framed(4, b""),
    "close of half an id": framed(4, b"i" * 24),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_corpus(name):
    with pytest.raises(LinkError):
        pdu.parse(MALFORMED[name])


def test_golden_bytes():
    """The layout is a contract with what already flies: these bytes never change under version 1."""
    item_id = bytes(range(16))
    assert pdu.encode_file_data(item_id, 5, 1000, b"orbit").hex() == (
        "01020025" + item_id.hex() + "0000000000000005" + "00000000000003e8" + b"orbit".hex() + "ea4283e6"
    )
    entry = pdu.encode_entry(pdu.ReportEntry(item_id, False, True, 0, 1000, ((0, 10), (300, 1000))))
    assert entry.hex() == item_id.hex() + "02" + "00e80702" + "000a" + "a202bc05"
    assert pdu.encode_close([item_id]).hex()[:8] == "01040010"


def test_an_id_is_the_digests_head_and_the_overhead_is_what_it_says():
    sha256 = hashlib.sha256(b"x").digest()
    assert pdu.Announce(sha256, 1, 0, "sample").item_id == sha256[:16]
    assert len(pdu.encode_file_data(sha256[:16], 0, 100, b"x" * 100)) == 100 + pdu.FILE_DATA_OVERHEAD_BYTES


@settings(max_examples=50, deadline=None, derandomize=True)
@given(RANGES, st.integers(67, 400), st.integers(0, 50))
def test_split_entries_fit_and_together_say_the_same(received, max_bytes, tail):
    total = received.end + tail
    at, seen = 0, Extents()
    for encoded in pdu.split_entry(b"i" * 16, total, received, False, max_bytes):
        assert len(encoded) <= max_bytes
        (entry,) = pdu.parse(pdu.encode_report([encoded])).entries
        assert entry.scope_start == at
        at = entry.scope_end
        for start, end in entry.received:
            seen.add(start, end)
    assert at == total
    assert seen == received
