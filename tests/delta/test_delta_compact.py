"""The payload of version 2: what is made is what is applied, small, and refused where it is not right."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.codecs import Exact
from orbitloop.delta.compact import MAGIC, make_compact, pack_compact, split_compact, usual
from orbitloop.delta.format import Block, write_payload
from orbitloop.delta.make import make_delta
from orbitloop.delta.residuals import integer, rebuild
from orbitloop.errors import UpdateError
from orbitloop.records.ids import digest_bytes, digest_tensors

GOLDEN = Path(__file__).with_name("golden_payload_v2.bin")


def network(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {"act00.zero": np.array(7, np.uint8), "act00.scale": np.array(0.02, np.float32)}
    for i, (outputs, inputs) in enumerate([(16, 3), (32, 16), (64, 32)]):
        made[f"conv{i:02d}.weight"] = rng.integers(-100, 100, (outputs, inputs, 3, 3)).astype(np.int8)
        made[f"conv{i:02d}.scale"] = rng.uniform(1e-4, 1e-2, outputs).astype(np.float32)
        made[f"conv{i:02d}.bias"] = rng.normal(size=outputs).astype(np.float32)
    made["out.weight"] = rng.normal(size=(18, 64, 1, 1)).astype(np.float32)
    return made


def trained(base: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    rng, made = np.random.default_rng(seed), {}
    for name, a in base.items():
        if a.dtype == np.float32:
            made[name] = np.asarray(a * (1 + 0.1 * rng.normal(size=a.shape)), np.float32)
        else:
            change = np.rint(rng.laplace(0, 1, a.shape)).astype(int)
            made[name] = np.asarray(np.clip(a.astype(int) + change, 0 if a.dtype == np.uint8 else -127, 127), a.dtype)
    return made


BASE, TARGET = network(), trained(network())
PAYLOAD = make_compact(BASE, TARGET)


def test_integers_are_exact_and_floats_near():
    result = apply_delta(BASE, PAYLOAD)
    assert set(result) == set(BASE)
    for name, tensor in result.items():
        assert tensor.dtype == BASE[name].dtype
        assert tensor.shape == BASE[name].shape
        if tensor.dtype != np.float32:
            assert np.array_equal(tensor, TARGET[name])
        elif name.endswith(".scale"):
            assert np.abs(tensor / TARGET[name] - 1).max() < 2**-10
        elif tensor.ndim == 1:
            assert np.abs(tensor - TARGET[name]).max() < 2**-9 * np.sqrt((BASE[name] ** 2).mean())


def test_it_is_smaller_than_version_1():
    assert len(PAYLOAD) < 0.95 * len(make_delta(BASE, TARGET))


def test_no_change_costs_some_bytes_and_tensors_are_shared():
    payload = make_compact(BASE, {name: tensor.copy() for name, tensor in BASE.items()})
    assert len(payload) < 16
    assert all(tensor is BASE[name] for name, tensor in apply_delta(BASE, payload).items())
    one = make_compact(BASE, {"conv00.bias": TARGET["conv00.bias"]})
    assert len(one) < 48
    assert [entry.name for entry in inspect_delta(one, BASE)] == ["conv00.bias"]


def test_overhead_is_below_a_hundred_bytes():
    entries = inspect_delta(PAYLOAD, BASE)
    assert {entry.name for entry in entries} == {n for n in BASE if TARGET[n].tobytes() != BASE[n].tobytes()}
    assert len(PAYLOAD) - sum(entry.bytes for entry in entries) < 100


def test_floats_that_need_every_bit_go_whole():
    target = {"conv00.bias": np.full(16, 1e30, np.float32), "conv01.bias": TARGET["conv01.bias"]}
    payload = make_compact(BASE | {"conv00.scale": np.zeros(16, np.float32)}, target | {"conv00.scale": BASE["conv00.scale"]})
    held = BASE | {"conv00.scale": np.zeros(16, np.float32)}
    assert {e.name: e.codec for e in inspect_delta(payload, held)} == {
        "conv00.bias": "stepped",
        "conv00.scale": "exact",
        "conv01.bias": "stepped",
    }
    assert apply_delta(held, payload)["conv00.scale"].tobytes() == BASE["conv00.scale"].tobytes()


@pytest.mark.parametrize("name", ["w.scale", "w.bias", "w.weight"])
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_floats_of_any_bits_arrive(name, data):
    words = st.sampled_from(
        [0, 1, 0x80000000, 0x3F800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0x00800000]
    )
    base, target = (
        {name: np.array(data.draw(st.lists(words, min_size=4, max_size=4)), np.uint32).view(np.float32).reshape(2, 2)}
        for _ in range(2)
    )
    if name != "w.weight":
        base, target = ({name: tensors[name].reshape(4)} for tensors in (base, target))
    result = apply_delta(base, make_compact(base, target))[name]
    if np.isfinite(base[name]).all() and np.isfinite(target[name]).all():
        assert np.isfinite(result).all()
    else:
        assert result.tobytes() == target[name].tobytes()


def test_a_third_partys_block_rides_along():
    class Negate:
        summary = "The base, negated."

        def encode(self, base, target):
            return b"n"

        def decode(self, base, data):
            return -base

    residual = integer(BASE["conv00.weight"], TARGET["conv00.weight"])
    payload = pack_compact(BASE, {"conv00.weight": residual}, {}, [Block("conv00.bias", "negate", (16,), b"n")])
    result = apply_delta(BASE, payload, codecs={"negate": Negate})
    assert np.array_equal(result["conv00.bias"], -BASE["conv00.bias"])
    assert np.array_equal(result["conv00.weight"], TARGET["conv00.weight"])
    with pytest.raises(UpdateError, match="not known on board"):
        apply_delta(BASE, payload)


def test_int32_goes_whole_and_bit_by_bit():
    base, target = {"w": np.arange(9, dtype=np.int32)}, {"w": np.arange(9, dtype=np.int32) - (1 << 30)}
    assert np.array_equal(apply_delta(base, make_compact(base, target))["w"], target["w"])


def test_zstd_takes_what_repeats():
    base = {"w": np.zeros((64, 64, 3, 3), np.int8)}
    pattern = np.random.default_rng(0).integers(-99, 99, (1, 64, 3, 3)).astype(np.int8)
    target = {"w": np.broadcast_to(pattern, (64, 64, 3, 3)).copy()}
    payload = make_compact(base, target)
    assert [entry.codec for entry in inspect_delta(payload, base)] == ["exact"]
    assert len(payload) < 1200
    assert np.array_equal(apply_delta(base, payload)["w"], target["w"])


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.3, 1.5]), st.sampled_from([5, 10]), st.sets(st.sampled_from(sorted(BASE))))
@settings(max_examples=30, deadline=None)
def test_what_is_applied_is_what_the_residuals_say(seed, share, bits, names):
    target, choose = {name: trained(BASE, seed)[name] for name in names}, usual(share, bits)
    result = apply_delta(BASE, make_compact(BASE, target, residual_for=choose))
    for name, held in BASE.items():
        residual = choose(name, held, target[name]) if name in names else None
        assert result[name].tobytes() == (held if residual is None else rebuild(held, residual)).tobytes()


def test_make_refuses_what_does_not_fit_the_base():
    for bad in (
        {"new": np.zeros(3, np.float32)},
        {"conv00.bias": np.zeros(15, np.float32)},
        {"conv00.bias": np.zeros(16, np.float64)},
    ):
        with pytest.raises(UpdateError):
            make_compact(BASE, bad)
    residual = integer(BASE["conv00.weight"], TARGET["conv00.weight"])
    with pytest.raises(UpdateError, match="coded and whole"):
        pack_compact(BASE, {"conv00.weight": residual}, {"conv00.weight": TARGET["conv00.weight"]})


def test_inspect_needs_the_base_and_says_so():
    with pytest.raises(UpdateError, match="names no tensor"):
        inspect_delta(PAYLOAD)
    with pytest.raises(UpdateError):
        inspect_delta(PAYLOAD, {"w": np.zeros(3, np.float32)})


def test_the_payload_of_version_2_reads_for_ever():
    """The file was written once by this code; its result must not move on any machine, nor with any release of the coder."""
    data = GOLDEN.read_bytes()
    assert digest_bytes(data) == "sha256:e9c618567bb8d83562ea8a5b369205fa5a6e965994f4ec57e8403e7a6e6e5f99"
    assert (
        digest_tensors(apply_delta(golden_base(), data))
        == "sha256:f6498b10b59e561e89b9197e8fba2dc75f886ce7837e423ace286e9d4c805977"
    )


def golden_base() -> dict[str, np.ndarray]:
    """Return tensors made of integers alone, the same wherever numpy runs."""
    index = np.arange(36 * 40, dtype=np.int64)
    wave = (index * index * 31 + index * 17) % 251
    return {
        "a.bias": (wave[:40] - 125).astype(np.float32) / np.float32(64),
        "a.scale": (wave[40:80] + 3).astype(np.float32) / np.float32(4096),
        "a.weight": (wave - 125).astype(np.int8).reshape(40, 4, 3, 3),
        "b.weight": (wave[:720] - 125).astype(np.float32).reshape(20, 36) / np.float32(512),
        "c.zero": np.array(128, np.uint8),
    }


ONE = write_payload(
    [Block("conv00.weight", "exact", (16, 3, 3, 3), Exact().encode(BASE["conv00.weight"], TARGET["conv00.weight"]))]
)
STREAM = split_compact(PAYLOAD)[1]
MALFORMED = {
    "magic alone": MAGIC,
    "endless length": MAGIC + b"\xff" * 9,
    "length past the end": MAGIC + b"\x7f" + STREAM[:50],
    "length in two ways": MAGIC + b"\x80\x80\x00" + STREAM,
    "no stream": MAGIC + b"\0",
    "section is not one": MAGIC + b"\4OLD1" + STREAM,
    "section in a section": MAGIC + bytes([5]) + MAGIC + b"\0" + STREAM,
    "tensor in both": MAGIC + bytes([len(ONE) & 127 | 128, len(ONE) >> 7]) + ONE + STREAM,
    "stream ends early": PAYLOAD[:-3],
    "stream goes on": PAYLOAD + b"more of it",
    "ends with zeros": PAYLOAD + bytes(4),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_payloads_are_refused(case):
    with pytest.raises(UpdateError):
        apply_delta(BASE, MALFORMED[case])


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_payload_or_the_one_typed_error(data):
    for payload in (MAGIC + data, MAGIC + b"\0" + data):
        for use in (apply_delta, lambda base, payload: inspect_delta(payload, base)):
            with contextlib.suppress(UpdateError):
                use(BASE, payload)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_mutated_payloads_apply_or_raise_the_one_typed_error(data):
    payload = bytearray(PAYLOAD)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        result = apply_delta(BASE, bytes(payload))
    except UpdateError:
        return
    assert {n: (a.shape, a.dtype) for n, a in result.items()} == {n: (a.shape, a.dtype) for n, a in BASE.items()}
