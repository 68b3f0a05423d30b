"""Payloads by the codec that a mission names, third parties' among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.blocks import Block, write_blocks
from orbitloop.delta.codecs import BUILT_IN, Exact, Zstd
from orbitloop.delta.compact import MAGIC
from orbitloop.delta.make import Compact, make_delta
from orbitloop.errors import UpdateError
from orbitloop.records.ids import digest_tensors


def network(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "0.conv.weight": rng.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "0.bn.weight": rng.normal(size=16).astype(np.float32),
        "1.conv.weight": rng.integers(-99, 99, size=(32, 16, 3, 3)).astype(np.int8),
        "out.bias": rng.normal(size=32).astype(np.float32),
        "scale": np.float32(1.5) * np.ones((), np.float32),
    }


def trained(base: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: a + np.asarray(2 * rng.normal(size=a.shape), a.dtype) for n, a in base.items()}


BASE, TARGET = network(), trained(network())


def codecs_of(payload: bytes) -> dict[str, str]:
    return {entry.name: entry.codec for entry in inspect_delta(payload, BASE)}


def test_each_codec_writes_in_its_own_way():
    assert set(codecs_of(make_delta(BASE, TARGET)).values()) == {"integer", "stepped"}
    assert set(codecs_of(make_delta(BASE, TARGET, Zstd())).values()) == {"zstd"}
    assert set(codecs_of(make_delta(BASE, TARGET, Exact())).values()) == {"integer", "exact"}


def test_compact_and_zstd_give_the_same_to_the_bit():
    results = [apply_delta(BASE, make_delta(BASE, TARGET, codec)) for codec in (Compact(0.5, 8), Zstd(0.5, 8))]
    assert digest_tensors(results[0]) == digest_tensors(results[1])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_exact_gives_the_target_whatever_its_bits(seed):
    words = np.random.default_rng(seed).integers(0, 2**32, 16 * 27, dtype=np.uint32)
    words[:4] = [0x7FC00001, 0xFF800001, 0x7F800000, 0x80000000]
    target = TARGET | {"0.conv.weight": words.view(np.float32).reshape(16, 3, 3, 3)}
    result = apply_delta(BASE, make_delta(BASE, target, Exact()))
    assert all(result[name].tobytes() == tensor.tobytes() for name, tensor in target.items())


def test_the_sign_of_zero_is_a_change():
    base = {"w": np.zeros(3, np.float32)}
    assert np.signbit(apply_delta(base, make_delta(base, {"w": -base["w"]}, Exact()))["w"]).all()


class Negate:
    """Knows one change: the base, negated."""

    summary = "The base, negated."

    def encode(self, base: Any, target: Any) -> bytes:
        if not np.array_equal(target, -base):
            raise UpdateError("not negated")
        return b""

    def decode(self, base: Any, data: bytes) -> Any:
        return -base


KNOWN = {**BUILT_IN, "negate": Negate}


def test_a_third_partys_codec_takes_what_it_can_and_leaves_the_rest():
    target = TARGET | {"0.conv.weight": -BASE["0.conv.weight"]}
    payload = make_delta(BASE, target, Negate(), codecs=KNOWN)
    assert codecs_of(payload)["0.conv.weight"] == "negate"
    assert set(codecs_of(payload).values()) == {"negate", "integer", "stepped"}
    assert np.array_equal(apply_delta(BASE, payload, codecs=KNOWN)["0.conv.weight"], target["0.conv.weight"])
    assert codecs_of(make_delta(BASE, TARGET, Negate(), codecs=KNOWN))["0.conv.weight"] == "exact", "it refused"
    with pytest.raises(UpdateError, match="not known"):
        apply_delta(BASE, payload)
    with pytest.raises(UpdateError, match="no name"):
        make_delta(BASE, target, Negate())


@pytest.mark.parametrize("error", [TypeError("float expected"), ZeroDivisionError(), KeyError("x"), MemoryError()])
def test_a_third_partys_codec_that_fails_is_a_refusal(error):
    class Fails(Negate):
        def decode(self, base: Any, data: bytes) -> Any:
            raise error

    section = write_blocks([Block("out.bias", "fails", BASE["out.bias"].shape, b"")])
    with pytest.raises(UpdateError, match=r"out.bias.*'fails' fails"):
        apply_delta(BASE, MAGIC + bytes([2 * len(section)]) + section, codecs={**BUILT_IN, "fails": Fails})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "other"}, "not in the base"),
        ({"codec": "pickle"}, "not known on board"),
        ({"shape": (8, 4)}, "base is"),
        ({"data": b"\0ab"}, "out.bias"),
    ],
)
def test_blocks_that_do_not_fit_the_base_are_refused(change, said):
    about = {"name": "out.bias", "codec": "exact", "shape": (32,), "data": Exact().encode(BASE["out.bias"], TARGET["out.bias"])}
    section = write_blocks([Block(**(about | change))])
    head = MAGIC + bytes([2 * len(section) & 127 | 128, 2 * len(section) >> 7]) if len(section) > 63 else b""
    with pytest.raises(UpdateError, match=said):
        apply_delta(BASE, (head or MAGIC + bytes([2 * len(section)])) + section)


def test_a_codec_that_changes_the_dtype_is_refused():
    class Widens(Negate):
        def decode(self, base: Any, data: bytes) -> Any:
            return base.astype(np.float64)

    section = write_blocks([Block("out.bias", "widens", (32,), b"")])
    with pytest.raises(UpdateError, match="became float64"):
        apply_delta(BASE, MAGIC + bytes([2 * len(section)]) + section, codecs={**BUILT_IN, "widens": Widens})
