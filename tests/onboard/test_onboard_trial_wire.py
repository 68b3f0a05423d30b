"""Jobs and events between the satellite's process and a trial's: round trips, and what a broken model may leave of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import WireError
from orbitloop.onboard.service_wire import LENGTH
from orbitloop.onboard.trial import ModelBytes, TileFinding, TrialJob, TrialLimits
from orbitloop.onboard.trial_bench import Failure, Finished, Round, Step
from orbitloop.onboard.trial_wire import event_from_bytes, event_to_frame, job_from_bytes, job_to_bytes
from orbitloop.records.prediction import Detections
from orbitloop.records.wire import pack, unpack

TILES = (np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3), np.full((7, 9, 3), 200, np.uint8))
JOB = TrialJob(ModelBytes(b"graph", b"weights"), ModelBytes(b"", b"w2"), TILES, TrialLimits(0.2, 4.0, 9.5, 10**9, 2, 5, 7))
SOME = Detections(np.array([[1, 2, 3, 4.5]], np.float32), np.array([0.5], np.float32), np.array([1], np.int32))
EVENTS = [
    Step("running", "loads"),
    Step("candidate", "looks at tile 1 of 2"),
    TileFinding(1, SOME, Detections.empty()),
    Round(0.25, 0.5),
    Failure("candidate", "no memory"),
    Finished(),
]


def record(event: object) -> bytes:
    return event_to_frame(event)[LENGTH.size :]  # type: ignore[arg-type]


def test_a_job_comes_back():
    again = job_from_bytes(job_to_bytes(JOB))
    assert (again.limits, again.running, again.candidate) == (JOB.limits, again.running, again.candidate)
    assert [again.running.graph, again.running.weights, again.candidate.weights] == [b"graph", b"weights", b"w2"]
    assert all(np.array_equal(a, b) for a, b in zip(again.tiles, TILES, strict=True))
    assert job_from_bytes(job_to_bytes(TrialJob(JOB.running, JOB.candidate, (), JOB.limits))).tiles == ()


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_comes_back(event):
    again = event_from_bytes(record(event), tiles=2)
    if not isinstance(event, TileFinding):
        assert again == event
        return
    assert isinstance(again, TileFinding)
    assert again.index == 1
    assert again.running.boxes_xyxy_px.tolist() == SOME.boxes_xyxy_px.tolist()
    assert again.running.classes.tolist() == [1]
    assert len(again.candidate) == 0


def test_texts_that_cannot_be_printed_are_made_so():
    assert event_from_bytes(record(Failure("candidate", "a\nb\x1b[0m\ud800")), tiles=0) == Failure("candidate", "a?b?[0m?")


def changed(event: object, **fields: object) -> bytes:
    whole = unpack(record(event))
    return pack(whole.kind, whole.version, whole.fields | fields, whole.blobs)


TILE = EVENTS[2]
NAN = TileFinding(0, Detections(np.full((1, 4), np.nan, np.float32), SOME.scores, SOME.classes), SOME)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"OLR1",
        pack("poetry", 1, {}),
        pack("finished", 2, {}),
        pack("step", 1, {}),
        pack("step", 1, {"who": "nobody", "what": "x"}),
        pack("step", 1, {"who": ["running"], "what": "x"}),
        pack("step", 1, {"who": "running", "what": "x" * 301}),
        pack("step", 1, {"who": "running", "what": 5}),
        pack("round", 1, {"running_s": "1", "candidate_s": 1}),
        pack("round", 1, {"running_s": -2, "candidate_s": 1}),
        pack("round", 1, {"running_s": True, "candidate_s": 1}),
        changed(TILE, index=2),
        changed(TILE, index=-1),
        changed(TILE, index=1.0),
        changed(TILE, counts=[1]),
        changed(TILE, counts=[0, 1]),
        changed(TILE, counts=[1 << 30, 0]),
        changed(TILE, counts=None),
        record(NAN),
        pack("tile", 1, {"index": 0, "counts": [0, 0]}),
        pack("trial", 1, {"tiles": []}),
    ],
)
def test_what_is_not_to_the_letter_is_refused(data):
    with pytest.raises(WireError):
        event_from_bytes(data, tiles=2)
    with pytest.raises(WireError):
        job_from_bytes(data)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([record(event) for event in EVENTS]), st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_event_is_refused(data, at, mask):
    damaged = bytearray(data)
    damaged[at % len(data)] ^= mask
    with pytest.raises(WireError):
        event_from_bytes(bytes(damaged), tiles=2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["step", "tile", "round", "failure", "finished", "trial"]),
    st.dictionaries(
        st.sampled_from(["who", "what", "index", "counts", "running_s", "candidate_s", "tiles", "limits"]),
        st.none()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.lists(st.integers()),
    ),
    st.dictionaries(st.sampled_from(["running-boxes", "running-scores", "running-classes", "tiles"]), st.binary(max_size=40)),
)
def test_any_record_is_read_or_refused(kind, fields, blobs):
    data = pack(kind, 1, fields, blobs)
    for read in (job_from_bytes, lambda d: event_from_bytes(d, tiles=3)):
        try:
            read(data)
        except WireError:
            continue
