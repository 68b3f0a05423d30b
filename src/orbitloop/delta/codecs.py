"""How one tensor's change is written: three codecs, each bit-exact between the ground that writes and the satellite that reads.

`quantised`: uniform quantisation of the residual with one step per output channel (axis 0),

    step_c   = float16, rounded up, of  step * rms(target_c - base_c)
    symbol   = round((target - base) / step_c)                            an integer, |symbol| <= 2^23
    result   = base + float32(symbol) * float32(step_c)                   two float32 roundings, never one fused

Every operand of the last line is exact in float32 and IEEE 754 fixes the rounding of a multiplication and of an addition, so
the result has the same bits wherever numpy runs; numpy makes two passes, which keeps a compiler from fusing them. On the head
of a YOLOv3-tiny a step of 0.3 costs 3.8 bits a weight and 0.3 points of mAP; one step per tensor instead of per channel loses
2 points at the same size, and the standard neural-network coder (NNC, ISO/IEC 15938-17) ties with this one. Symbols are written
zig-zag in byte planes, low bytes first, then zstd.

`half`: the new value in binary16; widening is exact. For vectors (batch-norm, biases), where a residual buys nothing.

`exact`: every bit, of any dtype. Of four-byte values the XOR with the base, bytes of equal weight together, zstd: NaN payloads
included, large, only where it must be. Of one-byte values (the int8 form's weights) the difference to the base modulo 256,
zig-zag, zstd.

The codecs leave to `format` which tensor is meant, and to `trust` whether to believe it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.sections import pack_section, unpack_section
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

F32 = npt.NDArray[np.float32]
Tensor = npt.NDArray[Any]

HALF_MAX = 65504.0
HALF_TINY = 6.2e-5
"""Below this binary16 has fewer than 11 bits; scales of that size are written exactly."""
MAX_SYMBOL = 1 << 23
MAX_PLANES = 4
_HEAD = struct.Struct("<BI")


class Quantised:
    """One step per output channel; see the module. `step` is in units of the channel's residual rms."""

    summary = "Residual to the base in steps of a share of each output channel's rms; small, loses below half a step."

    def __init__(self, step: float = 0.3) -> None:
        if not (math.isfinite(step) and step > 0):
            raise UpdateError(f"step is {step}, and must be a positive number", remedy="0.1 is fine, 0.3 usual, 1.0 coarse")
        self.step = step

    def encode(self, base: F32, target: F32) -> bytes:
        """Write the residual; all-zero channels take part with a zero step and no symbols.

        Raises:
            UpdateError: shapes differ, or a value is not finite or too large to quantise (use `exact`).
        """
        steps, symbols = self._quantise(base, target)
        active = symbols[steps > 0].reshape(-1)
        zigzag = ((active << 1) ^ (active >> 63)).astype(np.uint32)
        planes = 0 if zigzag.size == 0 else max(1, (int(zigzag.max()).bit_length() + 7) // 8)
        octets = zigzag.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :planes]
        head = pack_section(steps.astype("<f2").tobytes())
        return _HEAD.pack(planes, len(head)) + head + pack_section(np.ascontiguousarray(octets.T).tobytes())

    def decode(self, base: F32, data: bytes) -> F32:
        """Return base + symbols * steps, (same shape as base) float32.

        Raises:
            UpdateError: malformed, or the result is not finite.
        """
        _float(base)
        channels, per_channel = _channels(base)
        if len(data) < _HEAD.size:
            raise UpdateError("quantised block is truncated")
        planes, head_bytes = _HEAD.unpack_from(data)
        if planes > MAX_PLANES or head_bytes > len(data) - _HEAD.size:
            raise UpdateError(f"quantised block states {planes} planes and a head of {head_bytes} bytes")
        split = _HEAD.size + head_bytes
        steps = np.frombuffer(unpack_section(data[_HEAD.size : split], 2 * channels, "list of steps"), "<f2")
        if not np.isfinite(steps).all() or (steps < 0).any():
            raise UpdateError("a quantisation step is negative or not finite")
        count = int(np.count_nonzero(steps)) * per_channel
        if (planes == 0) != (count == 0):
            raise UpdateError(f"quantised block states {planes} planes for {count} symbols")
        raw = np.frombuffer(unpack_section(data[split:], planes * count, "symbols"), np.uint8).reshape(planes, count)
        zigzag = np.zeros(count, np.uint32)
        for plane in range(planes):
            zigzag |= raw[plane].astype(np.uint32) << np.uint32(8 * plane)
        if count and int(zigzag.max()) > 2 * MAX_SYMBOL:
            raise UpdateError(f"a symbol is over the limit of {MAX_SYMBOL}")
        wide = zigzag.astype(np.int64)
        return _add(base, steps, (wide >> 1) ^ -(wide & 1))

    def reconstruct(self, base: F32, target: F32) -> F32:
        """Return what `decode(base, encode(base, target))` will give, from the symbols and not from the bytes."""
        steps, symbols = self._quantise(base, target)
        return _add(base, steps, symbols[steps > 0].reshape(-1))

    def _quantise(self, base: F32, target: F32) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
        """Return steps (C,) float16 and symbols (C, N/C) int64."""
        _same_shape(base, target)
        shape = _channels(base)
        residual = target.astype(np.float64).reshape(shape) - base.astype(np.float64).reshape(shape)
        if not np.isfinite(residual).all():
            raise UpdateError("a weight is not finite, so its residual cannot be quantised", remedy="use the codec `exact`")
        if residual.size == 0:
            return np.zeros(shape[0], np.float16), np.zeros(shape, np.int64)
        peak = np.abs(residual).max(axis=1)
        wanted = np.maximum(self.step * np.sqrt(np.mean(residual**2, axis=1)), peak / MAX_SYMBOL)
        steps = _half_rounded_up(np.where(peak > 0, wanted, 0.0))
        divisor = np.where(steps > 0, steps.astype(np.float64), 1.0)
        symbols = np.rint(residual / divisor[:, None])
        if np.abs(symbols).max() > MAX_SYMBOL:
            raise UpdateError("a residual is too large to quantise", remedy="use the codec `exact`")
        return steps, symbols.astype(np.int64)


class Half:
    """The new value in binary16."""

    summary = "The new value in half precision; two bytes a weight, for vectors."

    def encode(self, base: F32, target: F32) -> bytes:
        """Write the target in half precision.

        Raises:
            UpdateError: shapes differ, or a value does not fit binary16 (use `exact`).
        """
        return pack_section(_byte_planes(self._narrow(base, target).astype("<f2")))

    def decode(self, base: F32, data: bytes) -> F32:
        """Return the values, (same shape as base) float32.

        Raises:
            UpdateError: malformed, or a value is not finite.
        """
        _float(base)
        planes = np.frombuffer(unpack_section(data, 2 * base.size, "half-precision values"), np.uint8)
        values = np.ascontiguousarray(planes.reshape(2, base.size).T).view("<f2").reshape(base.shape)
        if not np.isfinite(values).all():  # widening a NaN is where machines differ, so none is taken
            raise UpdateError("a half-precision value is not finite")
        return values.astype(np.float32)

    def reconstruct(self, base: F32, target: F32) -> F32:
        """Return what `decode(base, encode(base, target))` will give."""
        return self._narrow(base, target).astype(np.float32).reshape(base.shape)

    def _narrow(self, base: F32, target: F32) -> npt.NDArray[np.float16]:
        _same_shape(base, target)
        if target.size and not float(np.abs(target).max()) <= HALF_MAX:
            raise UpdateError(
                "a value is over 65504 or not finite and has no half-precision form", remedy="use the codec `exact`"
            )
        return target.astype(np.float16)


class Exact:
    """Every bit of the target, whatever its dtype."""

    summary = "Every bit of the new value, as a difference to the base; for integers, and for what no other codec may touch."

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

    def reconstruct(self, base: Tensor, target: Tensor) -> Tensor:
        """Return the target."""
        return target.copy()


BUILT_IN: Mapping[str, type[DeltaCodec]] = {"exact": Exact, "half": Half, "quantised": Quantised}
"""Codecs by the name that stands in a payload. Decoding needs no parameters: they travel in the block."""


def _channels(base: F32) -> tuple[int, int]:
    """Return (C, N/C): axis 0 is the output channel; a scalar is one channel."""
    channels = base.shape[0] if base.ndim else 1
    return channels, base.size // channels if channels else 0


def _same_shape(base: F32, target: F32) -> None:
    if base.shape != target.shape:
        raise UpdateError(f"shapes differ: base {base.shape}, target {target.shape}")
    _float(base)
    _float(target)


def _float(tensor: Tensor) -> None:
    if tensor.dtype != np.float32:
        raise UpdateError(f"the codec writes float32, and the tensor is {tensor.dtype}", remedy="use the codec `exact`")


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


def _half_rounded_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    """Return the least binary16 number that is not below each value, at most 65504."""
    capped = np.minimum(values, HALF_MAX)
    near = capped.astype(np.float16)
    above = np.nextafter(near, np.float16(HALF_MAX))
    return np.where(near.astype(np.float64) < capped, above, near).astype(np.float16)


def _add(base: F32, steps: npt.NDArray[np.float16], symbols: npt.NDArray[np.int64]) -> F32:
    """Return base + symbols * steps; channels with a zero step are copied, so that their bits stay (also -0)."""
    shape = _channels(base)
    active = steps > 0
    result = np.array(base, dtype=np.float32).reshape(shape)
    rows = symbols.reshape(int(np.count_nonzero(active)), shape[1]).astype(np.float32)
    with np.errstate(all="ignore"):
        change = np.multiply(rows, steps[active].astype(np.float32)[:, None], dtype=np.float32)
        result[active] = np.add(result[active], change, dtype=np.float32)
    if not np.isfinite(result).all():
        raise UpdateError("a quantised result is not finite")
    return result.reshape(base.shape)
