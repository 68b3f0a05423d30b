"""Forecast residuals: each channel by a short autoregression; how wrong it is, smoothed, in units of its worst nominal error.

x_t is forecast from its last `order` values and a constant; the weights are ridge least squares on the nominal part and then
stand still. |residual| is smoothed by an exponential mean of span `span` (weight 2 / (span + 1)), as in Telemanom (Hundman et
al. 2018) but with a linear model in place of an LSTM. The score is the smoothed residual over (its nominal maximum + `floor`).

Values come scaled, so that 2 is a channel's full scale; `floor` keeps a channel that never moved from crying at its last bit.
Costs order + 1 weights, order values and one mean per channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.packing import pack_array, unpack_array
from orbitloop.errors import TelemetryError

FloatArray = npt.NDArray[np.float64]
RIDGE = 1e-3


class Forecast:
    """Autoregressive residuals of C channels at once.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "Smoothed residual of a short autoregression; a few hundred bytes a channel. Flies."
    rule = AlarmRule(0.9, 1.3, 50)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(self, *, order: int = 8, span: float = 25.0, floor: float = 0.1) -> None:
        if not (1 <= order <= 256 and 1 <= span <= 1e6 and floor > 0):
            raise ValueError("order lies in 1..256, span in 1..1e6, floor over 0")
        self._order, self._alpha, self._floor = order, 2.0 / (span + 1.0), floor
        self._weights: FloatArray = np.zeros((0, order + 1))
        self._worst: FloatArray = np.zeros(0)
        self._recent: FloatArray = np.zeros((0, order))
        self._smooth: FloatArray = np.zeros(0)
        self._filled = order

    def fit(self, nominal: FloatArray) -> None:
        """Learn from nominal values (N, C), scaled and finite; the next value that is scored follows on them.

        Raises:
            TelemetryError: fewer than 4 times the order.
        """
        length, channels = nominal.shape
        if length < 4 * self._order:
            raise TelemetryError(
                f"{length} nominal samples are too few for an autoregression of order {self._order}",
                remedy=f"give at least {4 * self._order}",
            )
        self._weights = np.stack([self._solve(nominal[:, c]) for c in range(channels)])
        residuals = self._residuals(nominal)
        smooth = self._smoothed(residuals, np.zeros(channels))
        self._worst = smooth.max(axis=0)
        self._smooth = smooth[-1].copy()
        self._recent = nominal[-self._order :].T.copy()
        self._filled = self._order

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on what was seen last, or of a recording of its own; changes no state."""
        known, smooth = (self._filled, self._smooth) if follows else (0, np.zeros_like(self._smooth))
        past = np.concatenate([self._recent.T, values])
        residuals = self._residuals(past)
        residuals[: self._order - known] = 0.0  # their forecasts reach back over the gap
        return self._smoothed(residuals, smooth) / (self._worst + self._floor)

    def restart(self) -> None:
        """A new recording begins: what was learnt stays, what was seen last is forgotten."""
        self._filled = 0
        self._smooth = np.zeros_like(self._smooth)

    def step(self, values: FloatArray) -> FloatArray:
        """Take one sample (C,) and return its scores (C,)."""
        forecast = (self._weights[:, :-1] * self._recent).sum(axis=1) + self._weights[:, -1]
        residual = np.abs(values - forecast) if self._filled >= self._order else np.zeros(len(values))
        self._smooth += self._alpha * (residual - self._smooth)
        self._recent[:, :-1] = self._recent[:, 1:]
        self._recent[:, -1] = values
        self._filled = min(self._filled + 1, self._order)
        return self._smooth / (self._worst + self._floor)

    def contributions(self, values: FloatArray) -> FloatArray:
        """Return the plain |residual| (M, C) of what follows on the nominal part: for a diagnosis."""
        return self._residuals(np.concatenate([self._recent.T, values]))

    @property
    def channels(self) -> int:
        """How many channels it was fitted on."""
        return len(self._worst)

    @property
    def state_bytes(self) -> int:
        """Bytes that this object keeps."""
        return self._weights.nbytes + self._recent.nbytes + self._smooth.nbytes + self._worst.nbytes

    def _solve(self, series: FloatArray) -> FloatArray:
        past = np.lib.stride_tricks.sliding_window_view(series, self._order)[:-1]
        count = len(past)
        design = np.column_stack([past, np.ones(count)])
        # The constant is hardly held back: a channel that never moved is forecast by it, not by its own last value.
        ridge = RIDGE * count * np.diag([1.0] * self._order + [1e-3])
        return np.asarray(np.linalg.solve(design.T @ design + ridge, design.T @ series[self._order :]), np.float64)

    def _residuals(self, series: FloatArray) -> FloatArray:
        """Return |x - forecast| (N - order, C)."""
        past = np.lib.stride_tricks.sliding_window_view(series, self._order, axis=0)[:-1]
        forecast = np.einsum("nck,ck->nc", past, self._weights[:, :-1]) + self._weights[:, -1]
        return np.asarray(np.abs(series[self._order :] - forecast), np.float64)

    def _smoothed(self, residuals: FloatArray, start: FloatArray) -> FloatArray:
        out = np.empty_like(residuals)
        level = start.copy()
        for n, row in enumerate(residuals):
            level += self._alpha * (row - level)
            out[n] = level
        return out

    def to_json(self) -> dict[str, Any]:
        arrays = {"weights": self._weights, "worst": self._worst, "recent": self._recent, "smooth": self._smooth}
        return {name: pack_array(array) for name, array in arrays.items()} | {"filled": self._filled}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `to_json` gave.

        Raises:
            TelemetryError: malformed, or made with another order.
        """
        where = "forecast state"
        weights = unpack_array(_field(state, "weights", where), (None, self._order + 1), where)
        count = len(weights)
        worst = unpack_array(_field(state, "worst", where), (count,), where)
        recent = unpack_array(_field(state, "recent", where), (count, self._order), where)
        smooth = unpack_array(_field(state, "smooth", where), (count,), where)
        self._filled = count_of(state, self._order, where)
        self._weights, self._worst = weights.astype(np.float64), worst.astype(np.float64)
        self._recent, self._smooth = recent.astype(np.float64), smooth.astype(np.float64)


def _field(state: Any, name: str, where: str) -> Any:
    if not isinstance(state, dict) or name not in state:
        raise TelemetryError(f"saved state has no {name!r}", where=where)
    return state[name]


def count_of(state: Any, most: int, where: str) -> int:
    """Return how many samples of its memory a saved state has seen.

    Raises:
        TelemetryError: it is no number of 0 to `most`.
    """
    filled = _field(state, "filled", where)
    if type(filled) is not int or not 0 <= filled <= most:
        raise TelemetryError(f"saved state has seen {filled!r:.20} samples of {most}", where=where)
    return filled
