"""Frames, requests and answers: what is written comes back; outside bytes parse, or end in WireError and nothing else."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import BudgetError, OrbitloopError, WireError
from orbitloop.onboard.budget import Budget
from orbitloop.onboard.service_wire import (
    AskStatus,
    Deframer,
    DetectScene,
    DetectTiles,
    Done,
    Failed,
    Found,
    Stop,
    SwapModel,
    TellBudget,
    answer_from_bytes,
    answer_to_bytes,
    frame,
    request_from_bytes,
    request_id_of,
    request_to_bytes,
)
from orbitloop.records.prediction import Detections
from orbitloop.records.wire import pack

TILES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
REQUESTS = [
    AskStatus(1),
    Stop(2),
    DetectScene(3, "a/b.tif"),
    SwapModel(4, "m", "sha256:0", True),
    TellBudget(5, Budget(tiles=3, seconds=1.5)),
]
FOUND = Detections(np.ones((2, 4), np.float32), np.array([0.9, 0.1], np.float32), np.array([0, 1], np.int32))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_requests_come_back(request_):
    data = request_to_bytes(request_)
    assert request_from_bytes(data) == request_
    assert request_id_of(data) == request_.request_id


def test_tiles_come_back():
    read = request_from_bytes(request_to_bytes(DetectTiles(7, TILES[:, :, ::-1], True)))
    assert (read.request_id, read.embeddings, read.tiles.tolist()) == (7, True, TILES[:, :, ::-1].tolist())
    with pytest.raises(WireError, match="malformed"):
        request_from_bytes(request_to_bytes(DetectTiles(7, TILES)), max_tiles=1)


@pytest.mark.parametrize("marks", [None, np.ones((2, 3), np.float32)], ids=["plain", "embeddings"])
def test_detections_come_back(marks):
    sent = Found(9, "sha256:1", (FOUND, Detections.empty()), marks, {"tiles": 2})
    read = answer_from_bytes(answer_to_bytes(sent))
    assert (read.request_id, read.digest, read.about) == (9, "sha256:1", {"tiles": 2})
    for a, b in zip(read.detections, sent.detections, strict=True):
        assert (a.boxes_xyxy_px.tolist(), a.scores.tolist()) == (b.boxes_xyxy_px.tolist(), b.scores.tolist())
        assert a.classes.tolist() == b.classes.tolist()
    assert (read.embeddings is None) if marks is None else (read.embeddings.tolist() == marks.tolist())


def test_failures_come_back_as_the_error_that_they_are():
    sent = Failed(3, BudgetError("no more \udc80" + "x" * 9999, where="w", remedy="r"), {"tiles": {"left": 0}})
    read = answer_from_bytes(answer_to_bytes(sent))
    assert type(read.error) is BudgetError
    assert (read.error.where, read.error.remedy, read.report) == ("w", "r", {"tiles": {"left": 0}})
    assert read.error.what.startswith("no more ?xxx")
    odd = pack("failed", 1, {"id": 1, "error": "annotations", "what": "x", "where": "", "remedy": "", "report": 3})
    assert type(answer_from_bytes(odd).error) is OrbitloopError
    assert answer_from_bytes(answer_to_bytes(Done(1, {"a": [1]}))).about == {"a": [1]}


MALFORMED = [
    b"",
    b"OLR1",
    pack("detect", 1, {"id": 1}),
    pack("detect", 1, {"id": 1, "count": 2, "tile_px": 4}, {"tiles": b"x" * 95}),
    pack("detect", 1, {"id": 1, "count": 0, "tile_px": 0}, {"tiles": b""}),
    pack("detect", 1, {"id": 1, "count": 10**30, "tile_px": 4}, {"tiles": b""}),
    pack("detect", 1, {"id": 1, "count": True, "tile_px": 4}, {"tiles": b"x" * 48}),
    pack("detect", 1, {"id": -1, "count": 1, "tile_px": 4}, {"tiles": b"x" * 48}),
    pack("detect", 1, {"id": 1, "count": 1, "tile_px": 4, "embeddings": 1}, {"tiles": b"x" * 48}),
    pack("scene", 1, {"id": 1, "path": 3}),
    pack("scene", 1, {"id": 1, "path": "a\0b"}),
    pack("scene", 1, {"id": 1, "path": "x" * 5000}),
    pack("status", 2, {"id": 1}),
    pack("status", 1, {}),
    pack("swap", 1, {"id": 1, "model": "m", "another": "yes"}),
    pack("budget", 1, {"id": 1, "budget": [1]}),
    pack("budget", 1, {"id": 1, "budget": {"tiles": -1}}),
    pack("budget", 1, {"id": 1, "budget": {"joules": 10**400}}),
    pack("budget", 1, {"id": 1, "budget": {"nope": 1}}),
    pack("launch", 1, {"id": 1}),
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_the_malformed_corpus_is_refused(data):
    with pytest.raises(WireError):
        request_from_bytes(data)
    assert request_id_of(data) in (0, 1)


def test_a_lone_surrogate_is_no_text():
    header = json.dumps({"kind": "scene", "v": 1, "fields": {"id": 1, "path": "\ud800"}, "blobs": []}).encode()
    import zlib

    body = b"OLR1" + struct.pack(">I", len(header)) + header
    with pytest.raises(WireError):
        request_from_bytes(body + struct.pack(">I", zlib.crc32(body)))


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "id",
            "count",
            "tile_px",
            "embeddings",
            "path",
            "model",
            "digest",
            "another",
            "budget",
            "counts",
            "about",
            "error",
            "what",
        ),
        st.integers(0, 5) | JSONS,
    ),
)
KINDS = st.sampled_from(["detect", "scene", "status", "swap", "budget", "stop", "detections", "done", "failed", "x"])


@settings(max_examples=150, deadline=None)
@given(
    KINDS,
    FIELDS,
    st.dictionaries(st.sampled_from(["tiles", "boxes", "scores", "classes", "embeddings"]), st.binary(max_size=64)),
)
def test_a_record_parses_or_ends_in_wire_error(kind, fields, blobs):
    data = pack(kind, 1, fields, blobs)
    for read in (request_from_bytes, answer_from_bytes, request_id_of):
        try:
            read(data)
        except WireError:
            assert read is not request_id_of


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_parse_or_end_in_wire_error(data):
    for read in (request_from_bytes, answer_from_bytes):
        with pytest.raises(WireError):
            read(data)
    deframer = Deframer(150)
    try:
        frames = list(deframer.feed(data))
    except WireError:
        return
    assert sum(len(f) + 4 for f in frames) <= len(data)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(min_size=12, max_size=80), max_size=6), st.lists(st.integers(1, 50), min_size=1), st.binary(max_size=3)
)
def test_frames_come_back_however_the_stream_is_cut(bodies, cuts, rest):
    stream = b"".join(frame(body) for body in bodies) + rest
    deframer, found, start, turn = Deframer(80), [], 0, 0
    while start < len(stream):
        step = cuts[turn % len(cuts)]
        found += list(deframer.feed(stream[start : start + step]))
        start, turn = start + step, turn + 1
    assert found == bodies
    assert deframer.partial == bool(rest)


def test_a_frame_without_room_is_passed_over_and_the_stream_goes_on():
    deframer = Deframer(100, admit=lambda length: length < 50)
    stream = frame(b"a" * 20) + frame(b"b" * 60) + frame(b"c" * 20)
    found = [got for i in range(len(stream)) for got in deframer.feed(stream[i : i + 1])]
    assert found == [b"a" * 20, None, b"c" * 20]


@pytest.mark.parametrize("length", [0, 11, 101, 2**32 - 1])
def test_lying_lengths_are_refused_at_the_fourth_byte(length):
    with pytest.raises(WireError, match="is announced"):
        list(Deframer(100).feed(struct.pack(">I", length)))
