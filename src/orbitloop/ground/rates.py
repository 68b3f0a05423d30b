"""Which integers to send: each change as coarse as it may be, and none that is not worth its bits.

Rate-distortion quantisation of one layer's change. With tau the wanted change in steps (O rows, N columns), H the second moment
of what the layer reads and c_o the cost of a squared unit in row o, the integers k minimise

    sum_o c_o (tau_o - k_o)' H (tau_o - k_o)  +  lambda x bits(k)

column by column: each integer is chosen by price (nearest, one nearer to zero, zero), and what it leaves wrong is made good, as
far as inputs are correlated, by the columns that still come. Without the price of bits this is GPTQ (Frantar et al.,
arXiv 2210.17323); the price of bits is what video coders call rate-distortion optimised quantisation. Bits are priced by how
often each magnitude came the last time round, as an adaptive coder will count them.

The step follows from lambda: a uniform quantiser has the slope dD/dR = -2 ln 2 D with D = c v step^2 / 12, which shall equal
-lambda; v is the geometric mean of the columns' conditional variances.

H is taken about the mean: what a layer's change adds on average goes into its bias, which goes up anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]

_DAMPING = 0.1
"""Share of the mean variance added to each column's: some thousand patches do not tell four thousand columns apart."""
_BLOCK = 128
_MAGNITUDES = 256
_ROUNDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """Of one convolution: `mean` (N,) and `second` moment (N, N) of its input patches, `gain` (O,) curvature by its outputs.

    `gain` is summed over a tile's positions, in units of the loss per squared output.
    """

    mean: Floats
    second: F32
    gain: Floats

    @property
    def covariance(self) -> Floats:
        """Return the second moment about the mean, (N, N)."""
        found: Floats = self.second.astype(np.float64) - np.outer(self.mean, self.mean)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """How one column's error is made good by later ones: `upper` (N, N), the Cholesky factor of H's inverse, upper part."""

    upper: F32

    @property
    def variance(self) -> Floats:
        """Return each column's variance given all later ones, (N,)."""
        found: Floats = 1 / np.diag(self.upper).astype(np.float64) ** 2
        return found

    @property
    def typical(self) -> float:
        """Return the geometric mean of the conditional variances."""
        return float(np.exp(np.mean(np.log(self.variance))))


def feedback(sensitivity: Sensitivity) -> Feedback:
    """Factor a layer's H once; all later choices use it."""
    h = sensitivity.covariance
    spread = float(np.mean(np.diag(h)))
    h[np.diag_indices_from(h)] += _DAMPING * spread + 1e-12
    return Feedback(np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(h)).T, np.float32))


def step_for(price: float, cost: Floats, typical: float) -> Floats:
    """Return the step (O,) at which one bit more gains a row just `price`.

    Args:
        price: lambda, in loss per bit.
        cost: of a squared unit of weight, (O,); half the curvature times scales.
        typical: see `Feedback`.
    """
    steps: Floats = np.sqrt(12 * price / (2 * np.log(2) * np.maximum(cost * typical, 1e-300)))
    return steps


def choose(wanted: npt.NDArray[np.floating], cost: Floats, known: Feedback, price: float) -> npt.NDArray[np.int32]:
    """Return the integers (O, N) to send for a wanted change (O, N), both in steps.

    Args:
        wanted: the change that training made.
        cost: of a squared step, (O,).
        known: the layer's feedback.
        price: lambda, in loss per bit.
    """
    result = np.zeros(wanted.shape, np.int32)
    # A row whose whole change is worth less than a few bits is not looked at.
    live = np.flatnonzero(cost * known.variance.max() * np.square(wanted, dtype=np.float64).sum(axis=1) > price)
    if not len(live):
        return result
    tau, scale = wanted[live].astype(np.float32), (cost[live] / price).astype(np.float32)
    bits = _first_bits(tau)
    for _ in range(_ROUNDS):
        chosen = _sweep(tau, scale, known, bits)
        bits = _counted_bits(chosen)
    result[live] = chosen
    return result


def _sweep(tau: F32, scale: F32, known: Feedback, bits: F32) -> F32:
    """Go over the columns once. `scale` is the cost of a squared step in bits, (O,)."""
    left, chosen = tau.copy(), np.zeros_like(tau)
    columns = tau.shape[1]
    for start in range(0, columns, _BLOCK):
        end = min(columns, start + _BLOCK)
        errors = np.zeros((len(tau), end - start), np.float32)
        for j in range(start, end):
            over = known.upper[j, j]
            now = left[:, j]
            symbol = _cheapest(now, scale / (over * over), bits)
            chosen[:, j] = symbol
            error = (now - symbol) / over
            errors[:, j - start] = error
            if j + 1 < end:
                left[:, j + 1 : end] -= error[:, None] * known.upper[j, j + 1 : end]
        if end < columns:
            left[:, end:] -= errors @ known.upper[start:end, end:]
    return chosen


def _cheapest(now: F32, scale: F32, bits: F32) -> F32:
    """Return for each row the nearest integer, the one nearer to zero, or zero: whichever costs least in error and bits."""
    size = np.abs(now)
    near = np.rint(size)
    best, least = np.zeros_like(size), scale * size * size + bits[0]
    for tried in (near, np.maximum(near - 1, 0)):
        total = scale * (size - tried) ** 2 + bits[np.minimum(tried, _MAGNITUDES - 1).astype(np.int32)]
        better = total < least
        np.copyto(best, tried, where=better)
        np.copyto(least, total, where=better)
    return np.copysign(best, now)


def _first_bits(tau: F32) -> F32:
    """Return bits by magnitude for a geometric distribution of the wanted mean."""
    mean = max(float(np.abs(tau).mean()), 1e-3)
    shares = np.exp(-np.arange(_MAGNITUDES) / mean)
    return _as_bits(shares / shares.sum())


def _counted_bits(symbols: F32) -> F32:
    counts = np.bincount(np.minimum(np.abs(symbols), _MAGNITUDES - 1).astype(np.int64).ravel(), minlength=_MAGNITUDES)
    smooth = counts + 0.5 * np.maximum(0.6 ** np.arange(_MAGNITUDES), 1e-6)
    return _as_bits(smooth / smooth.sum())


def _as_bits(shares: Floats) -> F32:
    bits = -np.log2(np.maximum(shares, 1e-12))
    bits[1:] += 1  # the sign
    return bits.astype(np.float32)
