"""make_delta, apply_delta and inspect_delta together, and the payload under attack."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.codecs import BUILT_IN, Exact, Half, Quantised
from orbitloop.delta.format import MAX_TENSORS, Block, read_table, write_payload
from orbitloop.delta.make import make_delta, plan, reconstruct
from orbitloop.delta.sections import pack_section
from orbitloop.errors import UpdateError
from orbitloop.records.ids import digest_bytes, digest_tensors

GOLDEN = Path(__file__).with_name("golden_payload_v1.bin")


def network(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "0.conv.weight": rng.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "0.bn.weight": rng.normal(size=16).astype(np.float32),
        "1.conv.weight": rng.normal(size=(32, 16, 3, 3)).astype(np.float32),
        "out.bias": rng.normal(size=32).astype(np.float32),
        "scale": np.float32(1.5) * np.ones((), np.float32),
    }


def trained(base: dict[str, np.ndarray], seed: int = 1, only: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        n: a + np.asarray(0.05 * rng.normal(size=a.shape), np.float32) if n in only or not only else a.copy()
        for n, a in base.items()
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return digest_tensors(a) == digest_tensors(b)


@given(st.integers(0, 1000), st.sampled_from([0.05, 0.3, 1.0]), st.sets(st.sampled_from(sorted(network()))))
@settings(max_examples=40, deadline=None)
def test_what_is_applied_is_what_the_encoder_claims(seed, step, only):
    base = network()
    target = trained(base, seed, tuple(only) or ("none",))
    result = apply_delta(base, make_delta(base, target, codec_for=plan(Quantised(step))))
    assert same(result, reconstruct(base, target, codec_for=plan(Quantised(step))))
    assert set(result) == set(base)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_exact_plan_gives_the_target_whatever_its_bits(data):
    base = network()
    words = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).integers(0, 2**32, 32 * 144, dtype=np.uint32)
    words[:4] = [0x7FC00001, 0xFF800001, 0x7F800000, 0x80000000]
    target = base | {"1.conv.weight": words.view(np.float32).reshape(32, 16, 3, 3)}
    result = apply_delta(base, make_delta(base, target, codec_for=lambda name, old, new: Exact()))
    assert result["1.conv.weight"].tobytes() == target["1.conv.weight"].tobytes()


def test_unchanged_tensors_cost_nothing_and_are_shared():
    base = network()
    nothing = make_delta(base, {n: a.copy() for n, a in base.items()})
    assert len(nothing) < 32
    assert inspect_delta(nothing) == []
    payload = make_delta(base, trained(base, only=("out.bias",)))
    assert len(payload) < 32 + 2 * 32 + 40
    result = apply_delta(base, payload)
    assert result["1.conv.weight"] is base["1.conv.weight"]
    assert same(base, network())


def test_a_tensor_left_out_of_the_target_does_not_change():
    base = network()
    target = {"out.bias": base["out.bias"] + 1}
    assert [e.name for e in inspect_delta(make_delta(base, target))] == ["out.bias"]


def test_the_sign_of_zero_is_a_change():
    base = {"w": np.zeros(3, np.float32)}
    result = apply_delta(base, make_delta(base, {"w": -base["w"]}))
    assert np.signbit(result["w"]).all()


def test_inspect_names_codec_elements_and_bytes():
    base = network()
    payload = make_delta(base, trained(base))
    entries = {e.name: e for e in inspect_delta(payload)}
    assert {n: e.codec for n, e in entries.items()} == {
        "0.conv.weight": "quantised",
        "0.bn.weight": "half",
        "1.conv.weight": "quantised",
        "out.bias": "half",
        "scale": "half",
    }
    assert entries["1.conv.weight"].elements == 32 * 16 * 9
    assert entries["1.conv.weight"].shape == (32, 16, 3, 3)
    assert sum(e.length for e in entries.values()) < len(payload) < sum(e.length for e in entries.values()) + 120


def test_the_plan_turns_to_exact_where_the_others_cannot_write():
    choose = plan()

    def chosen(name: str, target: np.ndarray) -> type:
        return type(choose(name, np.zeros_like(target), target))

    assert chosen("v", np.array([1e6], np.float32)) is Exact
    assert chosen("v", np.array([np.nan], np.float32)) is Exact
    assert chosen("w", np.full((2, 2), np.inf, np.float32)) is Exact
    assert chosen("v", np.array([1.0], np.float32)) is Half
    assert chosen("w", np.ones((2, 2), np.float32)) is Quantised
    assert chosen("w", np.ones((2, 2), np.int8)) is Exact, "integers have no step between them"
    assert chosen("w.scale", np.array([1e-6], np.float32)) is Exact, "half precision would be two bits of it"
    assert chosen("w.bias", np.array([1e-6], np.float32)) is Half


INTEGERS = st.sampled_from([np.int8, np.uint8, np.int32])


@given(st.integers(0, 1000), INTEGERS, st.sampled_from([(), (3,), (4, 3, 3, 3), (0,)]))
@settings(max_examples=40, deadline=None)
def test_integers_arrive_bit_by_bit_in_their_own_dtype(seed, dtype, shape):
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    base, target = (np.asarray(rng.integers(info.min, info.max, shape, dtype, endpoint=True)) for _ in range(2))
    result = apply_delta({"w": base}, make_delta({"w": base}, {"w": target}))
    assert result["w"].dtype == dtype
    assert same(result, {"w": target})


def test_small_changes_of_integer_weights_cost_little():
    rng = np.random.default_rng(5)
    base = rng.integers(-127, 127, (64, 32, 3, 3)).astype(np.int8)
    target = (base + (rng.random(base.shape) < 0.05)).astype(np.int8)
    assert len(make_delta({"w": base}, {"w": target})) < base.size / 8


def test_a_codec_of_floats_refuses_an_integer_tensor():
    data = Quantised().encode(np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32))
    for codec in (Quantised(), Half()):
        with pytest.raises(UpdateError, match="int8"):
            codec.decode(np.zeros((2, 2), np.int8), data)
    payload = make_delta({"w": np.zeros((2, 2), np.float32)}, {"w": np.ones((2, 2), np.float32)})
    with pytest.raises(UpdateError, match="int8"):
        apply_delta({"w": np.zeros((2, 2), np.int8)}, payload)


def test_make_refuses_what_does_not_fit_the_base():
    base = network()
    for bad in (
        {"new": np.zeros(3, np.float32)},
        {"out.bias": np.zeros(31, np.float32)},
        {"out.bias": np.zeros(32, np.float64)},
    ):
        with pytest.raises(UpdateError):
            make_delta(base, bad)


def test_a_third_partys_codec_goes_through_both_ends():
    class Negate:
        summary = "The base, negated."

        def encode(self, base, target):
            return b""

        def decode(self, base, data):
            return -base

    base = network()
    codecs = dict(BUILT_IN) | {"negate": Negate}
    target = {"out.bias": -base["out.bias"]}
    payload = make_delta(base, target, codec_for=lambda n, b, t: Negate(), codecs=codecs)
    assert same(apply_delta(base, payload, codecs=codecs), base | target)
    assert same(reconstruct(base, target, codec_for=lambda n, b, t: Negate()), base | target)
    with pytest.raises(UpdateError, match="not known"):
        apply_delta(base, payload)
    with pytest.raises(UpdateError, match="no name"):
        make_delta(base, target, codec_for=lambda n, b, t: Negate())


@pytest.mark.parametrize("error", [TypeError("float expected"), ZeroDivisionError(), KeyError("x"), MemoryError()])
def test_a_third_partys_codec_that_fails_is_a_refusal(error):
    class Fails:
        summary = "Raises."

        def encode(self, base, target):
            return b""

        def decode(self, base, data):
            raise error

    base = network()
    payload = write_payload([Block("out.bias", "fails", base["out.bias"].shape, b"")])
    with pytest.raises(UpdateError, match=r"out.bias.*'fails' fails"):
        apply_delta(base, payload, codecs=dict(BUILT_IN) | {"fails": Fails})


def test_the_payload_of_version_1_reads_for_ever():
    """The file was written once by this code; its result digest must not move on any machine or version."""
    base = {"w": (np.arange(24, dtype=np.float32).reshape(4, 6) - 11) / 7, "b": np.arange(4, dtype=np.float32) / 3}
    result = apply_delta(base, GOLDEN.read_bytes())
    assert digest_bytes(GOLDEN.read_bytes()) == "sha256:8737d9f00149c001426ab204c867efef44a02f22f45e9b0f4bf064a95410e186"
    assert digest_tensors(result) == "sha256:790f9861c0f96323fb465a56fabe2eedcbe40d63a87f5dc5d207a88dd56b142b"


def table(rows: bytes, blocks: bytes = b"", *, raw: int | None = None) -> bytes:
    packed = pack_section(rows)
    return b"OLD1" + struct.pack("<BII", 1, len(rows) if raw is None else raw, len(packed)) + packed + blocks


def row(name: bytes, codec: bytes = b"half", shape: tuple[int, ...] = (32,), length: int = 65) -> bytes:
    sizes = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return bytes([len(name)]) + name + bytes([len(codec)]) + codec + sizes + struct.pack("<I", length)


ONE, TWO = struct.pack("<H", 1), struct.pack("<H", 2)
BLOCK = b"\0" + bytes(64)
MALFORMED = {
    "empty": b"",
    "magic": b"NOPE" + bytes(20),
    "short head": b"OLD1\1",
    "future version": b"OLD1" + struct.pack("<BII", 2, 2, 3) + b"\0\0\0",
    "table past the end": b"OLD1" + struct.pack("<BII", 1, 2, 1 << 31) + b"\0\0\0",
    "table too large": b"OLD1" + struct.pack("<BII", 1, 1 << 31, 3) + b"\0\0\0",
    "table length lies": table(ONE + row(b"out.bias"), BLOCK, raw=7),
    "no rows": table(ONE),
    "rows go on": table(ONE + row(b"out.bias") + b"x", BLOCK),
    "too many tensors": table(struct.pack("<H", MAX_TENSORS + 1)),
    "duplicate": table(TWO + row(b"out.bias") * 2, BLOCK * 2),
    "out of order": table(TWO + row(b"out.bias") + row(b"0.bn.weight", shape=(16,)), BLOCK * 2),
    "not in base": table(ONE + row(b"other"), BLOCK),
    "empty name": table(ONE + row(b""), BLOCK),
    "name not text": table(ONE + row(b"\xff\xfe"), BLOCK),
    "unknown codec": table(ONE + row(b"out.bias", b"pickle"), BLOCK),
    "codec not ascii": table(ONE + row(b"out.bias", b"h\xc3\xa4lf"), BLOCK),
    "other shape": table(ONE + row(b"out.bias", shape=(8, 4)), BLOCK),
    "absurd shape": table(ONE + row(b"out.bias", shape=(2**32 - 1,) * 8), BLOCK),
    "absurd axes": table(ONE + row(b"out.bias", shape=(1,) * 200), BLOCK),
    "block too long": table(ONE + row(b"out.bias", length=2**32 - 1), BLOCK),
    "block too short": table(ONE + row(b"out.bias", length=3), BLOCK[:3]),
    "trailing bytes": table(ONE + row(b"out.bias"), BLOCK + b"!"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_payloads_are_refused(case):
    with pytest.raises(UpdateError):
        apply_delta(network(), MALFORMED[case])


def test_the_corpus_is_malformed_in_one_point_only():
    result = apply_delta(network(), table(ONE + row(b"out.bias"), BLOCK))
    assert not result["out.bias"].any()


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_payload_or_the_one_typed_error(data):
    for payload in (data, b"OLD1\1" + data):
        with contextlib.suppress(UpdateError):
            apply_delta(network(), payload)


PAYLOAD = make_delta(network(), trained(network()))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_mutated_payloads_apply_or_raise_the_one_typed_error(data):
    payload = bytearray(PAYLOAD)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, min(len(payload) - 1, data.draw(st.sampled_from([20, 200, 10**6])))))] ^= data.draw(
            st.integers(1, 255)
        )
    try:
        result = apply_delta(network(), bytes(payload))
    except UpdateError:
        return
    assert {n: a.shape for n, a in result.items()} == {n: a.shape for n, a in network().items()}


def test_every_truncation_is_refused():
    for end in range(0, len(PAYLOAD), 7):
        with pytest.raises(UpdateError):
            apply_delta(network(), PAYLOAD[:end])


def test_the_writer_keeps_the_formats_limits():
    block = Block("w", "half", (1,), b"\0\0\0")
    with pytest.raises(UpdateError):
        write_payload([block, block])
    with pytest.raises(UpdateError):
        write_payload([Block(f"w{i}", "half", (1,), b"") for i in range(MAX_TENSORS + 1)])
    for bad in (Block("", "half", (1,), b""), Block("n" * 256, "half", (1,), b""), Block("w", "half", (1,) * 9, b"")):
        with pytest.raises(UpdateError):
            write_payload([bad])
    assert read_table(write_payload([])) == []
