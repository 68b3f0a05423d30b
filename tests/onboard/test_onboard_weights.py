"""Weights from outside: safetensors within limits, or ModelError."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ModelError
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import digest_tensors

WEIGHTS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones((), np.float32), "c": np.zeros((0, 4), np.float32)}
DATA = save_weights(WEIGHTS)


def test_weights_read_back_in_order_and_read_only():
    again = load_weights(DATA)
    assert list(again) == ["a", "b", "c"]
    assert digest_tensors(again) == digest_tensors(WEIGHTS)
    with pytest.raises(ValueError, match="read-only"):
        again["b"][0, 0] = 1


def test_equal_tensors_give_equal_bytes():
    swapped = {"c": WEIGHTS["c"], "b": np.asfortranarray(WEIGHTS["b"]), "a": WEIGHTS["a"]}
    assert save_weights(swapped) == DATA


def test_another_writers_file_is_read():
    other = safetensors.numpy.save({"w": WEIGHTS["b"]}, metadata={"format": "pt"})
    assert digest_tensors(load_weights(other)) == digest_tensors({"w": WEIGHTS["b"]})


def file(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MALFORMED = {
    "empty": b"",
    "short": b"\0\0\0",
    "length 2^63": file({"a": F32}, bytes(8), length=1 << 63),
    "length past the end": file({"a": F32}, bytes(8), length=10_000),
    "huge header": file(b"{" + b" " * (2 << 20) + b"}"),
    "not json": file(b"nonsense!!"),
    "deep": file(b"[" * 100_000),
    "list": file([1, 2, 3, 4]),
    "duplicate name": file(b'{"a":%s,"a":%s}' % (json.dumps(F32).encode(), json.dumps(F32).encode()), bytes(8)),
    "no dtype": file({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "row is text": file({"a": "F32"}, bytes(8)),
    "float64": file({"a": F32 | {"dtype": "F64", "shape": [1]}}, bytes(8)),
    "dtype is a list": file({"a": F32 | {"dtype": ["F32"]}}, bytes(8)),
    "unknown dtype": file({"a": F32 | {"dtype": "O"}}, bytes(8)),
    "overlap": file({"a": F32, "b": F32}, bytes(8)),
    "gap": file({"a": F32, "b": F32 | {"data_offsets": [12, 20]}}, bytes(20)),
    "past the end": file({"a": F32 | {"data_offsets": [0, 80], "shape": [20]}}, bytes(8)),
    "backwards": file({"a": F32 | {"data_offsets": [8, 0]}}, bytes(8)),
    "negative": file({"a": F32 | {"data_offsets": [-8, 0]}}, bytes(8)),
    "shape lies": file({"a": F32 | {"shape": [3]}}, bytes(8)),
    "shape overflows": file({"a": F32 | {"shape": [2**40, 2**40]}}, bytes(8)),
    "trailing bytes": file({"a": F32}, bytes(9)),
    "truncated": DATA[:-1],
    "pickle": pickle.dumps({"a": [1.0]}),
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}",
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_files_are_refused(case):
    with pytest.raises(ModelError):
        load_weights(MALFORMED[case])


def test_only_float32_is_written():
    with pytest.raises(ModelError, match="float64"):
        save_weights({"a": np.zeros(3)})


@given(st.binary(max_size=200), st.data())
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_weights_or_the_one_typed_error(junk, data):
    mutated = bytearray(DATA)
    mutated[data.draw(st.integers(0, len(DATA) - 1))] = data.draw(st.integers(0, 255))
    for raw in (junk, struct.pack("<Q", len(junk)) + junk, bytes(mutated)):
        with contextlib.suppress(ModelError):
            load_weights(raw)
