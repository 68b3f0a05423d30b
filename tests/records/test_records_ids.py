"""Digests and canonical JSON: equal meaning gives equal bytes, and other meaning gives others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.records.ids import canonical_json, digest_bytes, digest_json, digest_tensors

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}


def test_digest_of_the_empty_string_is_the_one_of_fips_180() -> None:
    assert digest_bytes(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_bytes(memoryview(b"abc")) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_canonical_json_sorts_and_wastes_nothing() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"é": True}}) == '{"a":{"é":true},"b":[1,2.5,null]}'.encode()
    assert digest_json({"x": 1, "y": 2}) == digest_json({"y": 2, "x": 1}) == digest_bytes(b'{"x":1,"y":2}')


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"x": -float("inf")}])
def test_canonical_json_has_no_nan(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_canonical_json_takes_only_what_json_has() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        canonical_json({"x": b"bytes"})


def test_tensor_digest_does_not_depend_on_order_layout_or_byte_order() -> None:
    wanted = digest_tensors(TENSORS)
    assert digest_tensors(dict(reversed(TENSORS.items()))) == wanted
    assert digest_tensors(TENSORS | {"a": np.asfortranarray(TENSORS["a"])}) == wanted
    assert digest_tensors(TENSORS | {"a": TENSORS["a"].astype(">f4")}) == wanted
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::2] = TENSORS["a"]
    assert digest_tensors(TENSORS | {"a": wide[:, ::2]}) == wanted


@pytest.mark.parametrize(
    "other",
    [
        {"a": TENSORS["a"]},
        {"a": TENSORS["a"], "c": TENSORS["b"]},
        {"a": TENSORS["a"].T, "b": TENSORS["b"]},
        {"a": TENSORS["a"].reshape(3, 2), "b": TENSORS["b"]},
        {"a": TENSORS["a"].view(np.int32), "b": TENSORS["b"]},
        {"a": TENSORS["b"], "b": TENSORS["a"]},
        {"a": TENSORS["a"] * np.float32(1 + 2**-23), "b": TENSORS["b"]},
        {"a": np.where(TENSORS["a"] == 0, np.float32(-0.0), TENSORS["a"]), "b": TENSORS["b"]},
    ],
)
def test_tensor_digest_sees_names_shapes_types_and_the_last_bit(other: dict[str, Any]) -> None:
    assert digest_tensors(other) != digest_tensors(TENSORS)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8), st.integers(0, 7), st.integers(0, 31))
@settings(max_examples=50, deadline=None)
def test_every_bit_counts(values: list[float], place: int, bit: int) -> None:
    array = np.array(values, np.float32)
    flipped = array.copy()
    flipped.view(np.uint32)[place % len(values)] ^= np.uint32(1 << bit)
    assert digest_tensors({"x": array}) != digest_tensors({"x": flipped})
