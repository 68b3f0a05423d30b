"""Slow change: has the mean moved (Page-Hinkley), has the distribution changed (KSWIN)? Sample by sample, bounded memory.

Page-Hinkley (Page 1954; Gama et al. 2014, section 3.2): with the running mean m_t of the nominal time,
    up_t = max(0, up_{t-1} + x_t - m - delta),  down_t = max(0, down_{t-1} + m - x_t - delta),
drift where one exceeds `bar`. The mean stands still once it is set, so that slow drift does not carry it along.

KSWIN (Raab et al. 2020): the newest `recent` samples against as many drawn from the older ones in the window, by the two-sample
Kolmogorov-Smirnov statistic D; drift where D > sqrt(-ln(alpha / 2) / recent). Telemetry is autocorrelated, which both take
for independence: feed means of blocks, not raw samples.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class PageHinkley:
    """Shift of a mean, in units of the nominal deviation.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "A mean that moves, up or down (Page-Hinkley). Flies."

    def __init__(self, mean: float, deviation: float, *, delta: float = 0.5, bar: float = 12.0) -> None:
        if not (deviation > 0 and delta >= 0 and bar > 0 and math.isfinite(mean)):
            raise ValueError("deviation and bar lie over 0, delta is not negative")
        self._mean, self._deviation, self._delta, self._bar = mean, deviation, delta, bar
        self._up = self._down = 0.0

    def step(self, value: float) -> bool:
        """Take a value; true where the drift is over the bar."""
        z = (value - self._mean) / self._deviation
        self._up = max(0.0, self._up + z - self._delta)
        self._down = max(0.0, self._down - z - self._delta)
        return max(self._up, self._down) > self._bar

    @property
    def direction(self) -> int:
        """1 = up, -1 = down, 0 = neither, by what has gathered most."""
        return 0 if self._up == self._down else (1 if self._up > self._down else -1)


class Kswin:
    """Change of a distribution.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "A distribution that changes (KSWIN). Flies."

    def __init__(self, rng: np.random.Generator, *, window: int = 100, recent: int = 30, alpha: float = 1e-4) -> None:
        if not (2 * recent <= window <= 100_000 and recent >= 5 and 0 < alpha < 1):
            raise ValueError("recent is at least 5 and at most half of the window, alpha lies in 0..1")
        self._rng, self._recent, self._alpha = rng, recent, alpha
        self._values: deque[float] = deque(maxlen=window)

    def step(self, value: float) -> bool:
        """Take a value; true where the newest differ from the older ones. The older ones are forgotten then."""
        self._values.append(value)
        if len(self._values) < (self._values.maxlen or 0):
            return False
        values = np.array(self._values)
        older, newest = values[: -self._recent], values[-self._recent :]
        drawn = self._rng.choice(older, self._recent, replace=False)
        if ks_statistic(drawn, newest) <= math.sqrt(-math.log(self._alpha / 2) / self._recent):
            return False
        self._values = deque(newest.tolist(), maxlen=self._values.maxlen)
        return True


def ks_statistic(one: FloatArray, other: FloatArray) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic of (N,) and (M,): the largest gap between their distributions."""
    at = np.concatenate([one, other])
    first = np.searchsorted(np.sort(one), at, side="right") / len(one)
    second = np.searchsorted(np.sort(other), at, side="right") / len(other)
    return float(np.abs(first - second).max())


def block_means(values: FloatArray, block: int) -> FloatArray:
    """Return the means (N // block, C) of blocks of samples (N, C); a rest is left out."""
    count = len(values) // block
    return np.asarray(values[: count * block].reshape(count, block, -1).mean(axis=1), np.float64)
