"""A tensor's change as integers, and the arithmetic that makes the new tensor of base and integers, the same on every machine.

    integer    result = base + symbol x step_row     cut to the dtype's range; int8 weights, zero points; a step of 1 is exact
    stepped    result = base + symbol x step_row     float32; weights with a step per output channel, biases with one for all
    relative   result = base x (1 + symbol / 2^bits) float32; scales, variances: what matters there is the ratio

Float steps have four significant bits (eight to the octave), and |symbol| < 2^20. So symbol x step and 1 + symbol / 2^bits are
exact in float32 and each result comes of one rounding, which IEEE 754 fixes; there is no product and sum for a compiler
to fuse. A symbol of 0 keeps the base's bits, minus zero included.

The error of `relative` is at most |base| / 2^(bits + 1): with 10 bits that of binary16. It leaves to `stream` and
`codecs` how the integers are written, and to `choice` and the ground which step pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.symbols import MAX_MAGNITUDE
from orbitloop.errors import UpdateError

Tensor = npt.NDArray[Any]
Symbols = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int32]

INTEGER, STEPPED, RELATIVE = 0, 1, 2
MAX_BITS = 18
MAX_INTEGER_STEP = 127
_BATCH = 1 << 16
LEAST_CODE, MOST_CODE = 8 * 27, 8 * 227
"""Steps of 2^-100 to 2^100, as the upper twelve bits of a float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """A change in integers.

    kind: INTEGER, STEPPED or RELATIVE.
    symbols: (rows, columns) int32, INTEGER also int16; rows are output channels, a vector is one row.
    steps: (rows,) int32, 0 = the row does not change. STEPPED: step codes; INTEGER: the steps. RELATIVE: (1,) the bits.
    """

    kind: int
    symbols: Symbols | npt.NDArray[np.int16]
    steps: Codes


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return rows, columns and taps of a tensor's matrix: axis 0 is the output channel, axes from 2 up are the kernel."""
    size = math.prod(shape)
    if len(shape) < 2 or not size:
        return 1, size, 1
    return shape[0], size // shape[0], math.prod(shape[2:])


def step_codes(steps: npt.ArrayLike) -> Codes:
    """Return the codes (N,) of the nearest steps that can be written; 0 for a step of 0.

    Raises:
        UpdateError: a step is negative or not finite.
    """
    wanted = np.atleast_1d(np.asarray(steps, np.float64))
    if not (np.isfinite(wanted).all() and (wanted >= 0).all()):
        raise UpdateError("a quantisation step is negative or not finite")
    bits = np.clip(wanted, 2.0**-100, 2.0**99).astype(np.float32).view(np.int32)
    return np.where(wanted > 0, np.clip((bits + (1 << 19)) >> 20, LEAST_CODE, MOST_CODE), 0).astype(np.int32)


def steps_of(codes: Codes) -> npt.NDArray[np.float32]:
    """Return the steps (N,) of codes; 0 for 0."""
    return (codes.astype(np.int32) << 20).view(np.float32)


def integer(base: Tensor, target: Tensor, steps: npt.ArrayLike = 1) -> Residual:
    """Return the change of a tensor of one-byte integers; exact where the step is 1.

    Args:
        steps: 0 to MAX_INTEGER_STEP, one for each row of `matrix_shape`, or one for all; rounded.

    Raises:
        UpdateError: it is of another dtype, shapes differ, or a step is out of range.
    """
    _fit(base, target)
    if base.dtype.kind not in "iu" or base.itemsize != 1:
        raise UpdateError(f"a tensor of {base.dtype} is not one of one-byte integers", remedy="use the codec `exact`")
    rows, columns, _ = matrix_shape(base.shape)
    wanted = np.rint(np.broadcast_to(np.asarray(steps, np.float64), (rows,)))
    if not ((wanted >= 0) & (wanted <= MAX_INTEGER_STEP)).all():
        raise UpdateError(f"a step is not 0 to {MAX_INTEGER_STEP}")
    change = (target.astype(np.int16) - base.astype(np.int16)).reshape(rows, columns)
    whole = np.rint(change / np.maximum(wanted, 1)[:, None]).astype(np.int16) * (wanted > 0)[:, None]
    return Residual(INTEGER, whole.astype(np.int16), wanted.astype(np.int32))


def stepped(base: Tensor, target: Tensor, steps: npt.ArrayLike) -> Residual:
    """Return the change of a float32 tensor in steps, nearest first.

    Args:
        steps: one for each row of `matrix_shape`, or one for all; rounded by `step_codes`.

    Raises:
        UpdateError: not float32, not finite, or a change of 2^20 steps or more.
    """
    _fit(base, target)
    rows, columns, _ = matrix_shape(base.shape)
    codes = np.broadcast_to(step_codes(steps), (rows,)).astype(np.int32)
    sizes = steps_of(codes).astype(np.float64)[:, None]
    change = _finite_change(base, target).reshape(rows, columns)
    symbols = np.rint(np.divide(change, sizes, out=np.zeros_like(change), where=sizes > 0))
    whole = _small(symbols)
    return Residual(STEPPED, whole, np.where(whole.any(axis=1), codes, 0).astype(np.int32))


def relative(base: Tensor, target: Tensor, bits: int = 10) -> Residual:
    """Return the change of a float32 tensor as ratios in steps of 2^-bits.

    Raises:
        UpdateError: not float32, not finite, a value of 0 changes, or one grows by 2^(20 - bits) or more.
    """
    _fit(base, target)
    if not 0 <= bits <= MAX_BITS:
        raise UpdateError(f"bits is {bits}, and must be 0 to {MAX_BITS}")
    change, size = _finite_change(base, target), base.astype(np.float64)
    if ((size == 0) & (change != 0)).any():
        raise UpdateError("a value of zero changes, and no ratio says how", remedy="use steps")
    ratio = np.divide(change, size, out=np.zeros_like(change), where=size != 0)
    rows, columns, _ = matrix_shape(base.shape)
    return Residual(RELATIVE, _small(np.rint(ratio * 2.0**bits)).reshape(rows, columns), np.array([bits], np.int32))


def rebuild(base: Tensor, residual: Residual) -> Tensor:
    """Return the new tensor, in the shape and dtype of the base.

    Raises:
        UpdateError: the result is not finite.
    """
    if residual.kind == INTEGER:
        return _rebuild_integer(base, residual)
    held = np.asarray(base, np.float32).reshape(residual.symbols.shape)
    result = residual.symbols.astype(np.float32)
    with np.errstate(all="ignore"):
        if residual.kind == STEPPED:
            np.multiply(result, steps_of(residual.steps)[:, None], out=result)
            np.add(held, result, out=result)
        else:
            np.multiply(result, np.float32(2.0 ** -int(residual.steps[0])), out=result)
            np.add(result, np.float32(1), out=result)
            np.multiply(held, result, out=result)
    np.copyto(result, held, where=residual.symbols == 0)
    if not np.isfinite(result).all():
        raise UpdateError("a result is not finite")
    return result.reshape(base.shape)


def check_residual(residual: Residual, base: Tensor) -> None:
    """Hold a residual against the tensor that it changes; the same for what is written and what was read.

    Raises:
        UpdateError: it does not fit, or something in it is out of range.
    """
    rows, columns, _ = matrix_shape(base.shape)
    octets = base.dtype.kind in "iu" and base.itemsize == 1
    counts = {INTEGER: rows, STEPPED: rows, RELATIVE: 1}
    if residual.kind not in counts or (residual.kind == INTEGER) != octets or not (octets or base.dtype == np.float32):
        raise UpdateError(f"a residual of kind {residual.kind} does not fit {base.dtype}")
    if residual.symbols.shape != (rows, columns) or residual.steps.shape != (counts[residual.kind],):
        raise UpdateError(f"symbols {residual.symbols.shape}, steps {residual.steps.shape} do not fit {base.shape}")
    most = 255 if octets else MAX_MAGNITUDE
    if residual.symbols.size and not -most <= int(residual.symbols.min()) <= int(residual.symbols.max()) <= most:
        raise UpdateError("a symbol is out of range")
    if residual.kind == RELATIVE:
        if not 0 <= int(residual.steps[0]) <= MAX_BITS:
            raise UpdateError(f"{int(residual.steps[0])} bits are out of range")
    else:
        active = residual.steps != 0
        steps = residual.steps[active]
        least, largest = (1, MAX_INTEGER_STEP) if octets else (LEAST_CODE, MOST_CODE)
        if steps.size and not least <= int(steps.min()) <= int(steps.max()) <= largest:
            raise UpdateError("a quantisation step is out of range")
        if residual.symbols[~active].any():
            raise UpdateError("a row without a step changes")


def _rebuild_integer(base: Tensor, residual: Residual) -> Tensor:
    """Add row by row, some at a time: the wider integers in between must not outgrow the tensor."""
    rows, columns, _ = matrix_shape(base.shape)
    limits, held = np.iinfo(base.dtype), base.reshape(rows, columns)
    result = np.empty_like(held)
    batch = max(1, _BATCH // max(1, columns))
    for start in range(0, rows, batch):
        part = slice(start, start + batch)
        # |symbol| <= 255 and step <= 127: within 2^15.
        change = residual.symbols[part].astype(np.int16) * residual.steps[part, None].astype(np.int16)
        result[part] = np.clip(held[part].astype(np.int32) + change, limits.min, limits.max)
    return result.reshape(base.shape)


def _fit(base: Tensor, target: Tensor) -> None:
    if base.shape != target.shape or base.dtype != target.dtype:
        raise UpdateError(f"base is {base.dtype} {base.shape}, target {target.dtype} {target.shape}")


def _finite_change(base: Tensor, target: Tensor) -> npt.NDArray[np.float64]:
    if base.dtype != np.float32:
        raise UpdateError(f"steps are for float32, and the tensor is {base.dtype}", remedy="use the codec `exact`")
    change: npt.NDArray[np.float64] = target.astype(np.float64) - base.astype(np.float64)
    if not np.isfinite(change).all():
        raise UpdateError("a value is not finite", remedy="use the codec `exact`")
    return change


def _small(symbols: npt.NDArray[np.float64]) -> Symbols:
    if symbols.size and float(np.abs(symbols).max()) > MAX_MAGNITUDE:
        raise UpdateError(f"a change is over {MAX_MAGNITUDE} steps", remedy="take a larger step, or the codec `exact`")
    return symbols.astype(np.int32)
