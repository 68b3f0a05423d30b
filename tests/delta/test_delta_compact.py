"""The payload: what is made is what is applied, small, and refused where it is not right."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta import rangecoder
from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.blocks import Block, write_blocks
from orbitloop.delta.choice import exactly, usual
from orbitloop.delta.codecs import BUILT_IN, Exact
from orbitloop.delta.compact import MAGIC, make_compact, pack_compact, split_compact
from orbitloop.delta.residuals import integer, rebuild
from orbitloop.delta.stream import measure_stream
from orbitloop.errors import UpdateError
from orbitloop.records.ids import digest_bytes, digest_tensors

GOLDEN = Path(__file__).with_name("golden_payload.bin")


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
            assert np.array_equal(tensor, TARGET[name])  # of a change by one integer or so the least step is one
        elif name.endswith(".scale"):
            assert np.abs(tensor / TARGET[name] - 1).max() < 2**-10
        elif tensor.ndim == 1:
            assert np.abs(tensor - TARGET[name]).max() < 2**-9 * np.sqrt((BASE[name] ** 2).mean())


def test_it_is_smaller_than_zstd_alone_and_gives_the_same():
    plain = make_compact(BASE, TARGET, coded=False)
    assert len(PAYLOAD) < 0.95 * len(plain)
    assert split_compact(plain)[1] is None
    assert digest_tensors(apply_delta(BASE, plain)) == digest_tensors(apply_delta(BASE, PAYLOAD))


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
    target = {"conv00.bias": np.full(16, 1e5, np.float32), "conv01.bias": TARGET["conv01.bias"]}
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
    result = apply_delta(BASE, payload, codecs={**BUILT_IN, "negate": Negate})
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
    payload = make_compact(base, target, residual_for=exactly)
    assert [entry.codec for entry in inspect_delta(payload, base)] == ["zstd"]
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


def test_a_plan_is_priced_by_tensor_and_packed_as_it_is():
    residuals = {name: integer(BASE[name], TARGET[name], 3) for name in BASE if BASE[name].ndim == 4 and name != "out.weight"}
    bits = measure_stream(BASE, residuals)
    payload = pack_compact(BASE, residuals)
    assert abs(8 * len(payload) - sum(bits.values())) < 8 * 20
    result = apply_delta(BASE, payload)
    for name, held in BASE.items():
        assert result[name].tobytes() == (rebuild(held, residuals[name]) if name in residuals else held).tobytes()
    alone = measure_stream({"conv02.weight": BASE["conv02.weight"]}, {"conv02.weight": residuals["conv02.weight"]})
    assert alone["conv02.weight"] == pytest.approx(bits["conv02.weight"], rel=0.02)


def test_whole_integers_follow_the_step_of_their_channel():
    rng = np.random.default_rng(0)
    base = {"w": rng.integers(-60, 60, (8, 200)).astype(np.int8)}
    target = {"w": (base["w"] + rng.normal(0, 20, (8, 200))).astype(np.int8)}
    sizes = [len(make_compact(base, target, residual_for=usual(step))) for step in (0.01, 0.3, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    assert np.array_equal(apply_delta(base, make_compact(base, target, residual_for=usual(0.01)))["w"], target["w"])
    assert np.array_equal(apply_delta(base, make_compact(base, target, residual_for=exactly))["w"], target["w"])
    coarse = apply_delta(base, make_compact(base, target, residual_for=usual(0.3)))["w"]
    assert np.abs(coarse.astype(int) - target["w"]).max() <= 4


def test_blocks_alone_are_read_without_the_entropy_coder(monkeypatch):
    plain = make_compact(BASE, TARGET, coded=False)
    monkeypatch.setattr(rangecoder, "constriction", None)
    again = make_compact(BASE, TARGET, coded=False)
    assert again == plain
    assert len(apply_delta(BASE, plain)) == len(BASE)
    assert {entry.codec for entry in inspect_delta(plain, BASE)} == {"zstd"}
    for refused in (lambda: apply_delta(BASE, PAYLOAD), lambda: make_compact(BASE, TARGET)):
        with pytest.raises(UpdateError, match="entropy coder is not installed") as caught:
            refused()
        assert "zstd" in caught.value.remedy


def test_what_flies_starts_without_the_entropy_coder():
    code = """
import sys
sys.modules["constriction"] = None
import numpy as np
import orbitloop.onboard.updates
from orbitloop.delta.apply import apply_delta
from orbitloop.delta.make import make_delta
from orbitloop.delta.codecs import Zstd
base = {"w": np.ones((3, 4), np.float32)}
payload = make_delta(base, {"w": 2 * base["w"]}, Zstd())
assert abs(apply_delta(base, payload)["w"] - 2).max() < 0.2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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


def test_inspect_needs_the_base():
    with pytest.raises(UpdateError):
        inspect_delta(PAYLOAD, {"w": np.zeros(3, np.float32)})


def test_the_golden_payload_reads_for_ever():
    """The file was written once by this code; its result must not move on any machine, nor with any release of the coder."""
    data = GOLDEN.read_bytes()
    assert digest_bytes(data) == "sha256:f4ccf499bf10d1bc1478016b31ecefda8f87f336cf498ef37d2c8a768135d714"
    assert (
        digest_tensors(apply_delta(golden_base(), data))
        == "sha256:f5cf2f5ddae76cbc99f1b84b912930a525a561e347a775f529a766cf60da4aa2"
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
        "d.weight": ((np.arange(2880, dtype=np.int64) * 97) % 241 - 120).astype(np.int8).reshape(40, 8, 3, 3),
        "e.bias": (wave[:12] - 125).astype(np.float32) / np.float32(3),
    }


def head(length: int, stream: bool = True) -> bytes:
    number = 2 * length + stream
    return MAGIC + (bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7]))


ONE = write_blocks(
    [Block("conv00.weight", "exact", (16, 3, 3, 3), Exact().encode(BASE["conv00.weight"], TARGET["conv00.weight"]))]
)
STREAM = split_compact(PAYLOAD)[1] or b""
MALFORMED = {
    "empty": b"",
    "another magic": b"OLD1" + PAYLOAD[4:],
    "magic alone": MAGIC,
    "endless length": MAGIC + b"\xff" * 9,
    "length past the end": head(60) + STREAM[:50],
    "length in two ways": MAGIC + b"\x81\x80\x00" + STREAM,
    "no stream": head(0),
    "neither blocks nor stream": head(0, stream=False),
    "a stream that is not said": head(0, stream=False) + STREAM,
    "bytes after blocks alone": head(len(ONE), stream=False) + ONE + b"\0",
    "section is not one": head(4) + b"\0\0\0\0" + STREAM,
    "section in a section": head(5) + MAGIC + b"\1" + STREAM,
    "tensor in both": head(len(ONE)) + ONE + STREAM,
    "stream ends early": PAYLOAD[:-3],
    "stream goes on": PAYLOAD + b"more of it",
    "ends with zeros": PAYLOAD + bytes(4),
}


def test_the_corpus_is_malformed_in_one_point_only():
    assert head(0) + STREAM == PAYLOAD
    result = apply_delta(BASE, head(len(ONE), stream=False) + ONE)
    assert np.array_equal(result["conv00.weight"], TARGET["conv00.weight"])


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_payloads_are_refused(case):
    with pytest.raises(UpdateError):
        apply_delta(BASE, MALFORMED[case])


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_payload_or_the_one_typed_error(data):
    for payload in (data, MAGIC + data, MAGIC + b"\1" + data):
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
