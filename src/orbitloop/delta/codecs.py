"""The built-in codecs of one tensor in a named block (`blocks`): bit-exact between the ground and the satellite.

`zstd`: a `Residual`, the very integers that the coded stream would carry, zig-zag in byte planes, low bytes first, then zstd.
Its result is that of the stream bit for bit, some 5 to 15 % longer; it needs no entropy coder on board, and is the shorter one
where a change repeats itself.

`exact`: every bit, of any dtype. Of four-byte values the XOR with the base, bytes of equal weight together, zstd: NaN payloads
included, large, only where it must be. Of one-byte values the difference to the base modulo 256, zig-zag, zstd.

The codecs leave to `blocks` which tensor is meant, and to `trust` whether to believe it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.choice import USUAL_BITS, USUAL_STEP, usual
from orbitloop.delta.residuals import (
    INTEGER,
    RELATIVE,
    STEPPED,
    Residual,
    Tensor,
    check_residual,
    matrix_shape,
    rebuild,
)
from orbitloop.delta.sections import pack_section, unpack_section
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

_HEAD = struct.Struct("<BBI")
_MOST_PLANES = {INTEGER: 2, STEPPED: 3, RELATIVE: 3}
"""Bytes of the largest zig-zag symbol: 511, and 2^21 - 1."""


class Zstd:
    """A residual, by zstd alone.

    Args:
        step: see `choice.usual`.
        bits: see `choice.usual`.
    """

    summary = "The integers of `compact` by zstd alone: for satellites without the entropy coder; 5 to 15 % longer."

    def __init__(self, step: float = USUAL_STEP, bits: int = USUAL_BITS) -> None:
        self.residual_for = usual(step, bits)

    def encode(self, base: Tensor, target: Tensor) -> bytes:
        """Write the change in the usual steps.

        Raises:
            UpdateError: shapes or dtypes differ, or no steps fit (use `exact`).
        """
        residual = self.residual_for("", base, target) if base.shape == target.shape else None
        if residual is None:
            raise UpdateError("shapes differ, or the change fits no steps", remedy="use the codec `exact`")
        return self.write(residual)

    def decode(self, base: Tensor, data: bytes) -> Tensor:
        """Return the new tensor, of the base's shape and dtype.

        Raises:
            UpdateError: malformed, or the result is not finite.
        """
        return rebuild(base, self.read(base, data))

    @staticmethod
    def write(residual: Residual) -> bytes:
        """Return a residual's bytes; rows without a step take part with that alone."""
        active = residual.symbols if residual.kind == RELATIVE else residual.symbols[residual.steps != 0]
        flat = active.reshape(-1).astype(np.int32)
        zigzag = ((flat << 1) ^ (flat >> 31)).astype("<u4")
        planes = 0 if not zigzag.size else max(1, (int(zigzag.max()).bit_length() + 7) // 8)
        octets = zigzag.view(np.uint8).reshape(-1, 4)[:, :planes]
        head = pack_section(residual.steps.astype("<u2").tobytes())
        return _HEAD.pack(residual.kind, planes, len(head)) + head + pack_section(np.ascontiguousarray(octets.T).tobytes())

    @staticmethod
    def read(base: Tensor, data: bytes) -> Residual:
        """Return the residual that was written; nothing larger than the tensor is made of what the data states.

        Raises:
            UpdateError: malformed, or it does not fit the base.
        """
        if len(data) < _HEAD.size:
            raise UpdateError("block is truncated")
        kind, planes, head_bytes = _HEAD.unpack_from(data)
        split = _HEAD.size + head_bytes
        if planes > _MOST_PLANES.get(kind, 0) or split > len(data):
            raise UpdateError(f"block states kind {kind}, {planes} planes and a head of {head_bytes} bytes")
        rows, columns, _ = matrix_shape(base.shape)
        count = 1 if kind == RELATIVE else rows
        steps = np.frombuffer(unpack_section(data[_HEAD.size : split], 2 * count, "list of steps"), "<u2").astype(np.int32)
        active = slice(None) if kind == RELATIVE else np.flatnonzero(steps)
        symbols = np.zeros((rows, columns), np.int16 if kind == INTEGER else np.int32)
        size = symbols[active].size
        if (planes == 0) != (size == 0):
            raise UpdateError(f"block states {planes} planes for {size} symbols")
        raw = np.frombuffer(unpack_section(data[split:], planes * size, "symbols"), np.uint8).reshape(planes, size)
        zigzag: npt.NDArray[Any] = np.zeros(size, np.uint16 if kind == INTEGER else np.uint32)
        for plane in range(planes):
            zigzag |= raw[plane].astype(zigzag.dtype) << zigzag.dtype.type(8 * plane)
        signed = (zigzag >> 1).astype(symbols.dtype) ^ -(zigzag & 1).astype(symbols.dtype)
        symbols[active] = signed.reshape(symbols[active].shape)
        residual = Residual(kind, symbols, steps)
        check_residual(residual, base)
        return residual


class Exact:
    """Every bit of the target, whatever its dtype."""

    summary = "Every bit of the new value, as a difference to the base; for what may lose nothing."

    def encode(self, base: Tensor, target: Tensor) -> bytes:
        """Write the target bit by bit.

        Raises:
            UpdateError: shapes or dtypes differ, or values are of neither one nor four bytes.
        """
        if base.shape != target.shape or base.dtype != target.dtype:
            raise UpdateError(f"shapes differ: base {base.dtype} {base.shape}, target {target.dtype} {target.shape}")
        if base.itemsize == 1:
            step = (_octets(target) - _octets(base)).view(np.int8).astype(np.int16)
            return pack_section(((step << 1) ^ (step >> 15)).astype(np.uint8).tobytes())
        return pack_section(_byte_planes(_words(base) ^ _words(target)))

    def decode(self, base: Tensor, data: bytes) -> Tensor:
        """Return the target, of the base's shape and dtype.

        Raises:
            UpdateError: malformed, or the base's values are of neither one nor four bytes.
        """
        if base.itemsize == 1:
            zigzag = np.frombuffer(unpack_section(data, base.size, "exact values"), np.uint8)
            step = (zigzag >> 1) ^ (np.uint8(0) - (zigzag & 1))
            return (_octets(base) + step).view(base.dtype).reshape(base.shape)
        bits = _words(base)
        planes = np.frombuffer(unpack_section(data, 4 * base.size, "exact values"), np.uint8)
        words = np.ascontiguousarray(planes.reshape(4, base.size).T).view("<u4").reshape(-1)
        return (words ^ bits).view(base.dtype.newbyteorder("<")).astype(base.dtype, copy=False).reshape(base.shape)


BUILT_IN: Mapping[str, type[DeltaCodec]] = {"exact": Exact, "zstd": Zstd}
"""Codecs by the name that stands in a block. Decoding needs no parameters: they travel in the block."""


def _words(array: Tensor) -> npt.NDArray[np.uint32]:
    if array.itemsize != 4:
        raise UpdateError(f"a tensor of {array.dtype} cannot be written exactly", remedy="use values of one or four bytes")
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view("<u4")


def _octets(array: Tensor) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _byte_planes(words: npt.NDArray[Any]) -> bytes:
    """Put bytes of equal weight together: exponents repeat, and so compress."""
    flat = np.ascontiguousarray(words).reshape(-1)
    return flat.view(np.uint8).reshape(flat.size, flat.itemsize).T.tobytes()
