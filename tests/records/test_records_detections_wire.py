"""Detections on the wire: round trip, bombs, and nothing but the one typed error."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import WireError
from orbitloop.records.detections_wire import KIND, MAX_GEOJSON_BYTES, detections_from_bytes, detections_to_bytes
from orbitloop.records.wire import pack

COLLECTION = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]},
            "properties": {"class": "field", "score": 0.5 + n / 1000},
        }
        for n in range(100)
    ],
}


def test_what_goes_down_comes_out() -> None:
    assert detections_from_bytes(detections_to_bytes(COLLECTION)) == COLLECTION


def test_a_box_costs_little() -> None:
    assert len(detections_to_bytes(COLLECTION)) < 100 * 60


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"not deflate",
        zlib.compress(b"[]"),
        zlib.compress(b'{"features": 3}'),
        zlib.compress(b'{"features": [3]}'),
        zlib.compress(b"{" * 100_000),
        zlib.compress(b"{}")[:-2],
        zlib.compress(b'{"features": []}') + b"tail",
    ],
)
def test_malformed_is_a_wire_error(blob: bytes) -> None:
    with pytest.raises(WireError):
        detections_from_bytes(pack(KIND, 1, {}, {"geojson": blob}))


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = zlib.compress(b" " * (MAX_GEOJSON_BYTES * 2), 9)
    with pytest.raises(WireError, match="larger"):
        detections_from_bytes(pack(KIND, 1, {}, {"geojson": bomb}))


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_damage_is_a_wire_error_or_reads_the_same(at: int, junk: bytes) -> None:
    data = bytearray(detections_to_bytes(COLLECTION))
    at %= len(data)
    data[at : at + len(junk)] = junk
    with contextlib.suppress(WireError):
        assert detections_from_bytes(bytes(data)) == COLLECTION
