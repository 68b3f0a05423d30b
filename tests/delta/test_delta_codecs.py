"""Each codec alone: the bits that it promises, the bytes that it costs, and what it does with other people's bytes."""

from __future__ import annotations

import contextlib
import resource
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orbitloop.delta.codecs import BUILT_IN, Exact, Half, Quantised
from orbitloop.delta.sections import pack_section, unpack_section
from orbitloop.errors import UpdateError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
SETTINGS = settings(max_examples=50, deadline=None)


def any_bits(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint32, shape).map(
        lambda a: a.view(np.float32) if a.ndim else a.reshape(1).view(np.float32).reshape(())
    )


def finite(shape: tuple[int, ...], bound: float = 1e4) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, shape, elements=st.floats(-bound, bound, width=32))


def bits(array: np.ndarray) -> bytes:
    assert array.dtype == np.float32
    return np.ascontiguousarray(array).tobytes()


@given(SHAPES.flatmap(lambda s: st.tuples(any_bits(s), any_bits(s))))
@SETTINGS
def test_exact_returns_every_bit_of_any_float(pair):
    base, target = pair
    result = Exact().decode(base, Exact().encode(base, target))
    assert result.shape == target.shape
    assert bits(result) == bits(target)


@given(SHAPES.flatmap(lambda s: st.tuples(finite(s), finite(s))), st.sampled_from([0.001, 0.3, 2.0]))
@SETTINGS
def test_quantised_decodes_to_what_the_encoder_claims(pair, step):
    base, target = pair
    codec = Quantised(step)
    result = Quantised().decode(base, codec.encode(base, target))  # the reader needs no parameters
    assert result.shape == base.shape
    assert bits(result) == bits(codec.reconstruct(base, target))


@given(SHAPES.flatmap(lambda s: st.tuples(finite(s), finite(s, 6e4))))
@SETTINGS
def test_half_decodes_to_the_rounded_target(pair):
    base, target = pair
    result = Half().decode(base, Half().encode(base, target))
    assert bits(result) == bits(target.astype(np.float16).astype(np.float32))
    assert bits(result) == bits(Half().reconstruct(base, target))


@given(SHAPES.flatmap(lambda s: any_bits(s)), st.binary(max_size=200), st.sampled_from(sorted(BUILT_IN)))
@SETTINGS
def test_any_bytes_decode_or_raise_the_one_typed_error(base, data, name):
    try:
        result = BUILT_IN[name]().decode(base, data)
    except UpdateError:
        return
    assert result.shape == base.shape


@given(st.data(), st.sampled_from(sorted(BUILT_IN)))
@SETTINGS
def test_mutated_blocks_decode_or_raise_the_one_typed_error(data, name):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    base = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
    block = bytearray(BUILT_IN[name]().encode(base, base + rng.normal(size=base.shape).astype(np.float32)))
    for _ in range(data.draw(st.integers(1, 4))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(block)))
    for damaged in (bytes(block), bytes(block[:cut]), bytes(block) + b"\0"):
        with contextlib.suppress(UpdateError):
            assert BUILT_IN[name]().decode(base, damaged).shape == base.shape


def test_the_step_follows_each_channel_and_bounds_its_error():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(16, 32)).astype(np.float32)
    scale = np.logspace(-4, 1, 16, dtype=np.float32)[:, None]
    target = base + scale * rng.normal(size=base.shape).astype(np.float32)
    error = np.abs(Quantised(0.3).reconstruct(base, target).astype(np.float64) - target)
    rms = np.sqrt(np.mean((target.astype(np.float64) - base) ** 2, axis=1))
    assert (error.max(axis=1) <= 0.5 * 0.3 * rms * 1.01 + 1e-6).all()


def test_what_a_usual_head_costs():
    rng = np.random.default_rng(2)
    base = rng.normal(scale=0.02, size=(128, 1024)).astype(np.float32)
    target = base + rng.normal(scale=0.005, size=base.shape).astype(np.float32)
    size = len(Quantised(0.3).encode(base, target))
    entropy_bits = 0.5 * np.log2(2 * np.pi * np.e / 0.3**2)  # of a normal residual in steps of 0.3 sigma
    assert size * 8 / base.size < 1.06 * entropy_bits


def test_a_channel_that_does_not_change_costs_nearly_nothing_and_keeps_its_bits():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(256, 1152)).astype(np.float32)
    base[0, 0] = -0.0
    target = base.copy()
    target[7] += 0.01 * rng.normal(size=1152).astype(np.float32)
    block = Quantised().encode(base, target)
    assert len(block) < 1152
    result = Quantised().decode(base, block)
    assert bits(result[:7]) == bits(base[:7])
    assert bits(result[8:]) == bits(base[8:])
    assert len(Quantised().encode(base, base)) < 32


@pytest.mark.parametrize("step", [1e-9, 1e-6, 0.05])
def test_steps_finer_than_half_precision_knows_still_decode(step):
    base = np.zeros((2, 4), np.float32)
    target = np.array([[1e-9, 2e-8, -3e-8, 0], [5e4, -1.0, 2.0, 3e-3]], np.float32)
    codec = Quantised(step)
    assert bits(codec.decode(base, codec.encode(base, target))) == bits(codec.reconstruct(base, target))


def test_encoders_refuse_what_they_cannot_write():
    base = np.zeros((2, 2), np.float32)
    for bad in (np.nan, np.inf, 3e38):
        target = np.full((2, 2), bad, np.float32)
        with pytest.raises(UpdateError):
            Half().encode(base, target)
        with pytest.raises(UpdateError):
            Quantised().encode(base, target)
    for codec in (Quantised(), Half(), Exact()):
        with pytest.raises(UpdateError, match="shapes differ"):
            codec.encode(base, np.zeros(4, np.float32))
    for step in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UpdateError):
            Quantised(step)


def quantised_block(planes: int, steps: np.ndarray, symbols: bytes) -> bytes:
    head = pack_section(steps.astype("<f2").tobytes())
    return struct.pack("<BI", planes, len(head)) + head + pack_section(symbols)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\1\0\0\0",
        quantised_block(5, np.ones(2), bytes(40)),
        quantised_block(0, np.ones(2), b""),
        quantised_block(1, np.zeros(2), b""),
        quantised_block(1, np.ones(3), bytes(8)),
        quantised_block(1, np.ones(2), bytes(9)),
        quantised_block(2, np.ones(2), bytes(8)),
        quantised_block(4, np.ones(2), b"\xff" * 32),
        quantised_block(1, np.array([np.nan, 1]), bytes(8)),
        quantised_block(1, np.array([np.inf, 1]), bytes(8)),
        quantised_block(1, np.array([-1.0, 1]), bytes(8)),
        struct.pack("<BI", 1, 0xFFFFFFFF) + bytes(20),
    ],
)
def test_malformed_quantised_blocks_are_refused(block):
    with pytest.raises(UpdateError):
        Quantised().decode(np.zeros((2, 4), np.float32), block)


def test_a_quantised_result_that_is_not_finite_is_refused():
    block = quantised_block(1, np.ones(1), bytes(4))
    with pytest.raises(UpdateError, match="not finite"):
        Quantised().decode(np.full((1, 4), np.inf, np.float32), block)


def bomb(declared: int | None, actual: int) -> bytes:
    """Return a section with a frame that unpacks to `actual` zeros and states `declared` (None: states nothing)."""
    if declared is None:
        frame = zstandard.ZstdCompressor(level=19, write_content_size=False).compress(bytes(actual))
        return b"\1" + frame
    frame = bytearray(zstandard.ZstdCompressor(level=1, write_content_size=True).compress(bytes(actual)))
    at = frame.index(struct.pack("<I", actual))
    frame[at : at + 4] = struct.pack("<I", declared)
    return b"\1" + bytes(frame)


def test_bombs_are_refused_within_the_memory_that_was_asked_for():
    big = 1 << 28
    sections = [bomb(big, big), bomb(None, 1 << 24), bomb(4096, big), b"\1" + zstandard.compress(bytes(4096)) * 1000]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for section in sections:
        with pytest.raises(UpdateError):
            unpack_section(section, 4096, "symbols")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_sections_take_the_shorter_form_and_no_other():
    assert pack_section(b"") == b"\0"
    assert len(pack_section(bytes(10_000))) < 40
    noise = np.random.default_rng(0).bytes(1000)
    assert pack_section(noise) == b"\0" + noise
    for section in (b"", b"\2abc", b"\0ab", b"\1garbage", b"\1" + zstandard.compress(b"abc") + b"x"):
        with pytest.raises(UpdateError):
            unpack_section(section, 3, "block")
