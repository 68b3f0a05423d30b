"""A hard sample over the wire: rounded once, then stable; damaged bytes raise WireError and nothing else."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import WireError
from orbitloop.records.prediction import Detections
from orbitloop.records.sample import HardSample, Mining
from orbitloop.records.sample_wire import sample_from_bytes, sample_to_bytes
from orbitloop.records.scene import TileWindow
from orbitloop.records.wire import pack, unpack


def make(n: int = 3, seed: int = 0, dimensions: int = 16, **changes: Any) -> HardSample:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 250, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 70, (n, 2))], axis=1).astype(np.float32)
    vector = rng.normal(size=dimensions)
    found = Detections(boxes, rng.uniform(0, 1, n).astype(np.float32), rng.integers(0, 9, n).astype(np.int32))
    fields: dict[str, Any] = {
        "sample_id": "00ff" * 4,
        "satellite": "sat-1",
        "scene_id": "scène/7",
        "domain": "new",
        "window": TileWindow(288, 0, 320, 320),
        "captured_at_s": 1.7e9,
        "model_digest": "sha256:" + "0" * 64,
        "mining": Mining(True, 0.625, "doubt"),
        "detections": found,
        "embedding": (vector / np.linalg.norm(vector)).astype(np.float32),
        "image": bytes(rng.integers(0, 256, 200, np.uint8)),
    }
    return HardSample(**(fields | changes))


@given(st.integers(0, 40), st.integers(0, 2**31), st.integers(1, 64))
@settings(max_examples=40, deadline=None)
def test_round_trip(n: int, seed: int, dimensions: int) -> None:
    sample = make(n, seed, dimensions)
    data = sample_to_bytes(sample)
    back = sample_from_bytes(data)
    assert sample_to_bytes(back) == data
    for name in ("sample_id", "satellite", "scene_id", "domain", "window", "captured_at_s", "model_digest", "mining", "image"):
        assert getattr(back, name) == getattr(sample, name)
    assert np.abs(back.detections.boxes_xyxy_px - sample.detections.boxes_xyxy_px).max(initial=0) <= 1 / 16
    assert np.abs(back.detections.scores - sample.detections.scores).max(initial=0) <= 1e-5
    assert back.detections.classes.tolist() == sample.detections.classes.tolist()
    assert np.abs(back.embedding - sample.embedding).max() <= 5e-4


def test_a_sample_costs_little_more_than_its_picture() -> None:
    sample = make(20, dimensions=512)
    assert len(sample_to_bytes(sample)) - len(sample.image) < 512 * 2 + 20 * 12 + 500


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": np.full(4, np.nan, np.float32)},
        {"captured_at_s": float("inf")},
        {"detections": Detections(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.array([-1], np.int32))},
        {"detections": Detections(np.full((1, 4), np.inf, np.float32), np.zeros(1, np.float32), np.zeros(1, np.int32))},
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"finite|16 bits|JSON"):
        sample_to_bytes(make(**changes))


def rewrite(**changes: Any) -> bytes:
    """A well-formed container whose fields or blobs are wrong."""
    packed = unpack(sample_to_bytes(make()))
    fields = packed.fields | {k: v for k, v in changes.items() if k not in packed.blobs}
    blobs = {k: changes.get(k, v) for k, v in packed.blobs.items() if changes.get(k, v) is not None}
    return pack("sample", changes.get("version", 1), {k: v for k, v in fields.items() if v != "absent"}, blobs)


def raw_header(header: bytes) -> bytes:
    body = b"OLR1" + struct.pack(">I", len(header)) + header
    return body + struct.pack(">I", zlib.crc32(body))


MALFORMED = [
    b"",
    b"OLR1",
    sample_to_bytes(make())[:-1],
    sample_to_bytes(make()) + b"\0",
    pack("beacon", 1, {}),
    pack("sample", 1, {}),
    pack("sample", 1, {}, dict.fromkeys(("boxes", "scores", "classes", "embedding", "image"), b"")),
    rewrite(version=0),
    rewrite(sample_id=3),
    rewrite(satellite="absent"),
    rewrite(domain="x" * 1000),
    rewrite(window=[0, 0, 320]),
    rewrite(window=[0, 0, 0, 320]),
    rewrite(window=[0, 0, 1.5, 320]),
    rewrite(window=[0, 0, 2**40, 320]),
    rewrite(window="0000"),
    rewrite(window=None),
    rewrite(captured_at_s="today"),
    rewrite(captured_at_s=True),
    rewrite(mining=None),
    rewrite(mining={"hard": 1, "score": 0.5, "reason": "x"}),
    rewrite(mining={"hard": True, "score": "0.5", "reason": "x"}),
    rewrite(mining=[1, 2]),
    rewrite(boxes=b"\0" * 7),
    rewrite(boxes=b"\0" * 10),
    rewrite(scores=b"\0" * 4),
    rewrite(classes=b"\0" * 3),
    rewrite(embedding=b"\0"),
    rewrite(embedding=b"\x00\x7c"),
    rewrite(image=None),
    raw_header(b'{"kind":"sample","v":Infinity,"fields":{},"blobs":[]}'),
    raw_header(b'{"kind":"sample","v":1,"fields":{},"blobs":[["boxes",1e400]]}'),
    raw_header(b'{"kind":"sample","v":1,"fields":{"captured_at_s":NaN},"blobs":[]}'),
    raw_header(b"[" * 5000),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_raises_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        sample_from_bytes(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["sample_id", "window", "mining", "captured_at_s", "domain"]), JSON, min_size=1),
    st.dictionaries(st.sampled_from(["boxes", "scores", "classes", "embedding"]), st.binary(max_size=40)),
)
@settings(max_examples=50, deadline=None)
def test_any_field_is_read_or_refused_with_the_one_error(fields: dict[str, Any], blobs: dict[str, bytes]) -> None:
    packed = unpack(sample_to_bytes(make()))
    parts = packed.blobs | blobs
    header = {"kind": "sample", "v": 1, "fields": packed.fields | fields, "blobs": [[n, len(b)] for n, b in parts.items()]}
    text = json.dumps(header).encode()
    body = b"OLR1" + struct.pack(">I", len(text)) + text + b"".join(parts.values())
    with contextlib.suppress(WireError):
        sample_from_bytes(body + struct.pack(">I", zlib.crc32(body)))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_damage_is_refused_with_the_one_error(data: st.DataObject) -> None:
    good = sample_to_bytes(make())
    start = data.draw(st.integers(0, len(good) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=8))
    bad = good[:start] + junk + good[start + len(junk) :]
    if bad != good:
        with pytest.raises(WireError):
            sample_from_bytes(bad)
