"""Which integers a change becomes, by what a tensor is: the rule for who has no plan of his own.

A planner that knows what a tensor is worth hands `compact` residuals of its own making, and needs none of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from orbitloop.delta.residuals import MAX_BITS, MAX_INTEGER_STEP, Residual, Tensor, integer, matrix_shape, relative, stepped
from orbitloop.errors import UpdateError

ResidualFor = Callable[[str, Tensor, Tensor], Residual | None]
"""(name, base, target) -> the change in integers; None where only all bits will do."""

USUAL_STEP = 0.3
USUAL_BITS = 10
LARGEST = 1e6
"""A float tensor with a value beyond this goes whole: steps of its rms would lose all the others."""
_RATIOS = (".scale", ".var")


def usual(step: float = USUAL_STEP, bits: int = USUAL_BITS) -> ResidualFor:
    """Return the usual choice by what a tensor is.

    Args:
        step: of tensors of two and more dimensions, in shares of each output channel's residual rms; of integers at least 1.
        bits: of float vectors and scalars. Scales and variances are good to 2^-(bits + 1) of each value, all others have steps
            of the base's rms by 2^(bits - 1/2): the mean squared error of as many bits of mantissa. 10 is what binary16 keeps.
            Vectors and scalars of integers are exact.

    Raises:
        UpdateError: a step that is not positive, or bits that are not 0 to MAX_BITS.
    """
    if not (math.isfinite(step) and step > 0):
        raise UpdateError(f"step is {step}, and must be a positive number", remedy="0.1 is fine, 0.3 usual, 1.5 coarse")
    if not 0 <= bits <= MAX_BITS:
        raise UpdateError(f"bits is {bits}, and must be 0 to {MAX_BITS}")

    def choose(name: str, base: Tensor, target: Tensor) -> Residual | None:
        try:
            if base.dtype.kind == "f" and not all(np.abs(one).max(initial=0.0) <= LARGEST for one in (base, target)):
                return None
            if base.dtype.kind in "iu":
                return _integers(base, target, step) if base.itemsize == 1 else None
            if base.ndim > 1:
                return stepped(base, target, step * _row_rms(target.astype(np.float64) - base))
            if name.endswith(_RATIOS):
                return relative(base, target, bits)
            rms = float(np.sqrt(np.mean(np.maximum(base.astype(np.float64) ** 2, 0)))) if base.size else 0.0
            change = float(np.abs(target.astype(np.float64) - base).max(initial=0.0))
            return stepped(base, target, max(rms, change) * 2.0 ** (0.5 - bits))
        except UpdateError:
            return None

    return choose


def exactly(name: str, base: Tensor, target: Tensor) -> Residual | None:
    """Return a residual only where it loses nothing: of one-byte integers."""
    return integer(base, target) if base.dtype.kind in "iu" and base.itemsize == 1 else None


def _integers(base: Tensor, target: Tensor, step: float) -> Residual:
    if base.ndim < 2:
        return integer(base, target)
    rms = _row_rms(target.astype(np.float64) - base)
    return integer(base, target, np.clip(np.rint(step * rms), 1, MAX_INTEGER_STEP))


def _row_rms(change: Tensor) -> Tensor:
    rows, columns, _ = matrix_shape(change.shape)
    return np.sqrt(np.mean(change.reshape(rows, columns) ** 2, axis=1)) if change.size else np.zeros(rows)
