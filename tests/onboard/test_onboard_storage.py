"""Samples under a byte cap: the least worth goes first, sent before unsent, and the state survives a restart."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import StateError
from orbitloop.onboard.storage import MAX_FINGERPRINTS, Storage
from orbitloop.records.sample import Candidate


def candidate(name: str, size: int = 10, value: float = 0.5, at: float = 0.0) -> Candidate:
    vector = np.random.default_rng(len(name) + ord(name[-1])).normal(size=6)
    return Candidate(name, size, value, 0.1, at, (vector / np.linalg.norm(vector)).astype(np.float32))


def filled(*candidates: Candidate, capacity: int = 30) -> Storage:
    storage = Storage(capacity, {})
    for c in candidates:
        storage.put(c, b"x" * c.size_bytes)
    return storage


def ids(storage: Storage, **kind: Any) -> list[str]:
    return [c.sample_id for c in storage.list(**kind)]


def test_put_get_list() -> None:
    storage = filled(candidate("a"), candidate("b", value=0.9))
    assert storage.get("a") == b"x" * 10
    assert ids(storage) == ["a", "b"]
    assert storage.used_bytes == 20
    assert len(storage) == 2
    assert "a" in storage
    with pytest.raises(StateError, match="'z' is not in storage"):
        storage.get("z")


def test_the_lowest_value_goes_first() -> None:
    storage = filled(candidate("a", value=0.5), candidate("b", value=0.2), candidate("c", value=0.9))
    assert storage.put(candidate("d", value=0.6), b"y" * 10)
    assert ids(storage) == ["a", "c", "d"]


def test_a_newcomer_of_no_more_worth_is_not_kept_and_pushes_nothing_out() -> None:
    storage = filled(candidate("a", value=0.5), candidate("b", value=0.2), candidate("c", value=0.9))
    assert not storage.put(candidate("d", value=0.2), b"y" * 10)
    assert not storage.put(candidate("e", size=20, value=0.4), b"y" * 20)  # would push out b and a
    assert not storage.put(candidate("f", size=31, value=1.0), b"y" * 31)  # larger than the store
    assert ids(storage) == ["a", "b", "c"]


def test_sent_samples_stay_while_there_is_room_and_go_before_unsent() -> None:
    storage = filled(candidate("a", value=0.9), candidate("b", value=0.1))
    storage.mark_sent(["a", "unknown"])
    assert ids(storage, sent=True) == ["a"]
    assert ids(storage, sent=False) == ["b"]
    assert storage.put(candidate("c", value=0.05), b"y" * 10)
    assert storage.get("a")
    assert storage.put(candidate("d", value=0.01), b"y" * 10)
    assert ids(storage) == ["b", "c", "d"]


def test_the_newest_of_those_sent_stay_for_the_canary() -> None:
    storage = Storage(50, {}, keep_sent_bytes=20)
    for number, name in enumerate("abcde"):
        assert storage.put(candidate(name, value=0.5, at=float(number)), b"x" * 10)
    storage.mark_sent(["a", "b", "c", "d"])
    for number, name in enumerate("fgh"):
        assert storage.put(candidate(name, value=0.6, at=10.0 + number), b"y" * 10)
    assert ids(storage) == ["c", "d", "f", "g", "h"], "a and b went, then e of less value; c and d stay"
    again = Storage.from_json(json.loads(json.dumps(storage.to_json())), dict.fromkeys("cdfgh", b"x" * 10))
    for one in (storage, again):
        assert not one.put(candidate("i", value=0.6, at=20.0), b"y" * 10)
        assert one.put(candidate("j", value=0.7, at=20.0), b"y" * 10)
        assert ids(one) == ["c", "d", "g", "h", "j"]


def test_fingerprints_outlive_the_sample_and_it_does_not_come_back() -> None:
    storage = filled(candidate("a"), capacity=10)
    assert storage.sent_embeddings().size == 0
    storage.mark_sent(["a"])
    assert storage.put(candidate("b"), b"y" * 10)
    assert storage.sent_embeddings().shape == (1, 6)
    assert not storage.put(candidate("a", value=1.0), b"x" * 10)
    np.testing.assert_allclose(storage.sent_embeddings()[0], candidate("a").embedding, atol=1e-3)


def test_fingerprints_are_bounded() -> None:
    storage = Storage(10**6, {})
    for i in range(MAX_FINGERPRINTS + 5):
        storage.put(candidate(f"s{i}", size=1), b"x")
    storage.mark_sent([f"s{i}" for i in range(MAX_FINGERPRINTS + 5)])
    assert len(storage.sent_embeddings()) == MAX_FINGERPRINTS


def test_the_same_sample_again_changes_nothing() -> None:
    storage = filled(candidate("a"))
    assert storage.put(candidate("a", value=0.9), b"z" * 10)
    assert storage.get("a") == b"x" * 10
    assert storage.list()[0].value == 0.5


def test_a_size_that_is_not_told_right_is_refused() -> None:
    with pytest.raises(ValueError, match="9 bytes"):
        Storage(100, {}).put(candidate("a"), b"x" * 9)


operations = st.lists(
    st.tuples(st.sampled_from(["put", "sent", "drop", "restart"]), st.integers(0, 12), st.integers(1, 60), st.floats(0, 1)),
    max_size=40,
)


@given(operations)
@settings(max_examples=50, deadline=None)
def test_never_over_the_cap_and_a_restart_changes_nothing(steps: list[tuple[str, int, int, float]]) -> None:
    blobs: dict[str, bytes] = {}
    other: dict[str, bytes] = {}
    plain, restarted = Storage(100, blobs), Storage(100, other)
    for action, n, size, value in steps:
        name = f"s{n}"
        if action == "put":
            c = candidate(name, size, value, float(n))
            assert plain.put(c, b"x" * size) == restarted.put(c, b"x" * size)
        elif action == "sent":
            plain.mark_sent([name])
            restarted.mark_sent([name])
        elif action == "drop":
            plain.drop(name)
            restarted.drop(name)
        else:
            restarted = Storage.from_json(json.loads(json.dumps(restarted.to_json())), other)
        assert plain.used_bytes <= 100
        assert set(blobs) == set(ids(plain))
        assert plain.to_json() == restarted.to_json()
        assert blobs == other


def test_a_sample_whose_blob_is_gone_is_left_out() -> None:
    storage = filled(candidate("a"), candidate("b"), candidate("c"))
    again = Storage.from_json(storage.to_json(), {"a": b"x" * 10, "b": b"x" * 9})
    assert ids(again) == ["a"]


STATE = filled(candidate("a")).to_json()
ROW = STATE["samples"][0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        "text",
        STATE | {"schema": "orbitloop.storage/9"},
        STATE | {"capacity_bytes": "many"},
        STATE | {"capacity_bytes": float("inf")},
        STATE | {"samples": None},
        STATE | {"samples": [3]},
        STATE | {"samples": [ROW | {"embedding": "%%%"}]},
        STATE | {"samples": [ROW | {"embedding": "AAA="[:3]}]},
        STATE | {"samples": [ROW | {"embedding": "AA=="}]},
        STATE | {"samples": [ROW | {"value": float("nan")}]},
        STATE | {"samples": [{k: v for k, v in ROW.items() if k != "size_bytes"}]},
        STATE | {"fingerprints": [["a"]]},
        STATE | {"fingerprints": 3},
    ],
)
def test_malformed_state_is_refused(value: Any) -> None:
    with pytest.raises(StateError):
        Storage.from_json(value, {"a": b"x" * 10})
