"""Factors and offsets of channels: how precisely each tensor goes up, and which of its values go at all.

Every precision is tried, with each value rounded to what costs least in error and bits; the cheapest in all is taken. Half the
values of a change are usually not worth their bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.residuals import Residual, rebuild, relative, step_codes, stepped, steps_of
from orbitloop.errors import UpdateError
from orbitloop.ground.rates import Floats

_PRECISIONS = range(2, 15)
_MAGNITUDES = 128
_HEAD_BITS = 16.0
_OFTEN = 0.5 * np.maximum(0.6 ** np.arange(_MAGNITUDES), 1e-6)


def choose_vector(
    held: npt.NDArray[Any], wanted: Floats, bend: Floats, price: float, *, ratio: bool
) -> tuple[Residual | None, Floats]:
    """Return the residual of a vector (None = nothing goes up) and the values that the satellite will have, (N,) float64.

    Args:
        held: (N,) float32.
        wanted: (N,).
        bend: curvature of the loss by each value, (N,).
        price: in loss per bit.
        ratio: send ratios; every held value must be positive.
    """
    wanted32 = wanted.astype(np.float32)
    best: Residual | None = None
    least = float(0.5 * np.sum(bend * (wanted - held) ** 2))
    for bits in _PRECISIONS:
        found = _at(held, wanted32, bits, ratio)
        if found is None:
            continue
        nearest, sizes = found
        symbols = _worth(nearest.symbols.reshape(-1), wanted - held, sizes, bend, price)
        total = 0.5 * np.sum(bend * (wanted - held - symbols * sizes) ** 2)
        total += price * (float(_bits(symbols)[np.abs(symbols)].sum()) + _HEAD_BITS)
        if total < least and symbols.any():
            best = Residual(nearest.kind, symbols.reshape(nearest.symbols.shape).astype(np.int32), nearest.steps)
            least = float(total)
    return best, (held if best is None else rebuild(held, best)).astype(np.float64)


def _at(held: npt.NDArray[Any], wanted: npt.NDArray[np.float32], bits: int, ratio: bool) -> tuple[Residual, Floats] | None:
    """Return the nearest integers at a precision, and the size of one step of each value; None where they do not fit."""
    try:
        if ratio:
            found = relative(held, wanted, bits)
            sizes = np.abs(held.astype(np.float64)) * 2.0**-bits
        else:
            spread = float(np.abs(wanted.astype(np.float64) - held).max(initial=0.0))
            codes = step_codes(spread * 2.0 ** (1 - bits))
            found = stepped(held, wanted, steps_of(codes))
            sizes = np.full(held.shape, float(steps_of(codes)[0]))
    except UpdateError:
        return None
    return (found, sizes) if np.abs(found.symbols).max(initial=0) < _MAGNITUDES else None


def _worth(nearest: npt.NDArray[Any], change: Floats, sizes: Floats, bend: Floats, price: float) -> npt.NDArray[np.int64]:
    """Return for each value the nearest integer, one nearer to zero, or zero: whichever costs least in error and bits."""
    symbols = nearest.astype(np.int64)
    for _ in range(2):
        bits = _bits(symbols)
        tries = np.stack([nearest, np.sign(nearest) * np.maximum(np.abs(nearest) - 1, 0), np.zeros_like(nearest)]).astype(
            np.int64
        )
        totals = 0.5 * bend * (change - tries * sizes) ** 2 + price * bits[np.abs(tries)]
        symbols = np.take_along_axis(tries, totals.argmin(axis=0)[None], axis=0)[0]
    return symbols


def _bits(symbols: npt.NDArray[np.int64]) -> Floats:
    """Return the bits of each magnitude as an adaptive coder comes to count them."""
    counts = np.bincount(np.abs(symbols), minlength=_MAGNITUDES) + _OFTEN
    bits: Floats = -np.log2(counts / counts.sum())
    bits[1:] += 1
    return bits
