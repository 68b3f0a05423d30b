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

from orbitloop.delta.codecs import BUILT_IN, Exact, Zstd
from orbitloop.delta.make import Compact
from orbitloop.delta.residuals import Residual, integer, rebuild, relative, stepped
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


def same(a: Residual, b: Residual) -> bool:
    return a.kind == b.kind and np.array_equal(a.symbols, b.symbols) and np.array_equal(a.steps, b.steps)


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


@given(SHAPES.flatmap(lambda s: st.tuples(finite(s), finite(s))), st.sampled_from([0.01, 0.3, 2.0]), st.sampled_from([4, 10]))
@SETTINGS
def test_zstd_decodes_to_what_its_residual_says(pair, step, bit_count):
    base, target = pair
    codec = Zstd(step, bit_count)
    residual = codec.residual_for("", base, target)
    if residual is None:
        with pytest.raises(UpdateError):
            codec.encode(base, target)
        return
    assert same(Zstd.read(base, Zstd.write(residual)), residual)
    result = Zstd().decode(base, codec.encode(base, target))  # the reader needs no parameters
    assert result.shape == base.shape
    assert bits(result) == bits(rebuild(base, residual))


@given(st.integers(0, 1000), st.sampled_from([(), (3,), (4, 3, 3, 3), (0,), (0, 3)]), st.sampled_from([np.int8, np.uint8]))
@SETTINGS
def test_integers_arrive_in_their_own_dtype(seed, shape, dtype):
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    base, target = (np.asarray(rng.integers(info.min, info.max, shape, dtype, endpoint=True)) for _ in range(2))
    residual = integer(base, target)
    assert same(Zstd.read(base, Zstd.write(residual)), residual)
    for result in (Zstd().decode(base, Zstd.write(residual)), Exact().decode(base, Exact().encode(base, target))):
        assert (result.dtype, result.shape) == (dtype, shape)
        assert np.array_equal(result, target)


def test_all_kinds_and_rows_without_a_step_come_back():
    rng = np.random.default_rng(4)
    held, octets = rng.normal(size=(8, 5)).astype(np.float32), rng.integers(-99, 99, (8, 5)).astype(np.int8)
    steps = np.array([0, 1, 2, 0, 3, 4, 127, 0])
    for base, residual in (
        (held, stepped(held, held + np.float32(0.5), 0.01 * steps)),
        (held, relative(held, held * np.float32(1.5), 18)),
        (octets, integer(octets, -octets, steps)),
        (held, stepped(held, held, 1)),
    ):
        assert same(Zstd.read(base, Zstd.write(residual)), residual)


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


def test_a_channel_that_does_not_change_costs_nearly_nothing_and_keeps_its_bits():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(256, 1152)).astype(np.float32)
    base[0, 0] = -0.0
    target = base.copy()
    target[7] += 0.01 * rng.normal(size=1152).astype(np.float32)
    block = Zstd().encode(base, target)
    assert len(block) < 1152
    result = Zstd().decode(base, block)
    assert bits(result[:7]) == bits(base[:7])
    assert bits(result[8:]) == bits(base[8:])


def test_encoders_refuse_what_they_cannot_write():
    base = np.zeros((2, 2), np.float32)
    for bad in (np.nan, np.inf):
        with pytest.raises(UpdateError):
            Zstd().encode(base, np.full((2, 2), bad, np.float32))
    for codec in (Zstd(), Exact()):
        with pytest.raises(UpdateError, match="shapes differ"):
            codec.encode(base, np.zeros(4, np.float32))
    with pytest.raises(UpdateError, match="float64"):
        Exact().encode(base.astype(np.float64), base.astype(np.float64))
    for kind in (Zstd, Compact):
        for step in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(UpdateError):
                kind(step)
        for count in (-1, 19):
            with pytest.raises(UpdateError):
                kind(bits=count)


def zstd_block(kind: int, planes: int, steps: np.ndarray, symbols: bytes) -> bytes:
    head = pack_section(steps.astype("<u2").tobytes())
    return struct.pack("<BBI", kind, planes, len(head)) + head + pack_section(symbols)


CODE = 8 * 127 + np.zeros(2, int)
MALFORMED = {
    "empty": b"",
    "short head": b"\1\1\0\0\0",
    "no kind": zstd_block(3, 1, CODE, bytes(8)),
    "integers of floats": zstd_block(0, 1, np.ones(2), bytes(8)),
    "planes": zstd_block(1, 4, CODE, bytes(32)),
    "no planes": zstd_block(1, 0, CODE, b""),
    "planes of nothing": zstd_block(1, 1, 0 * CODE, bytes(8)),
    "too many steps": zstd_block(1, 1, np.ones(3), bytes(8)),
    "too many symbols": zstd_block(1, 1, CODE, bytes(9)),
    "too few symbols": zstd_block(1, 2, CODE, bytes(8)),
    "symbols too large": zstd_block(1, 3, CODE, b"\xff" * 24),
    "step too small": zstd_block(1, 1, np.array([1, 1]), bytes(8)),
    "step too large": zstd_block(1, 1, np.array([2000, 2000]), bytes(8)),
    "too many bits": zstd_block(2, 1, np.array([19]), bytes(8)),
    "head past the end": struct.pack("<BBI", 1, 1, 0xFFFFFFFF) + bytes(20),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_zstd_blocks_are_refused(case):
    with pytest.raises(UpdateError):
        Zstd().decode(np.zeros((2, 4), np.float32), MALFORMED[case])


def test_the_corpus_is_malformed_in_one_point_only():
    result = Zstd().decode(np.zeros((2, 4), np.float32), zstd_block(1, 1, CODE, b"\2" * 8))
    assert np.array_equal(result, np.ones((2, 4), np.float32))


def test_a_result_that_is_not_finite_is_refused():
    with pytest.raises(UpdateError, match="not finite"):
        Zstd().decode(np.full((2, 4), np.inf, np.float32), zstd_block(1, 1, CODE, bytes(8)))


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
