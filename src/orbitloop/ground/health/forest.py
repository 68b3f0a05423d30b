"""Windowed isolation forest: the baseline that the benchmark of ESA found hard to beat (arXiv 2406.17826).

Windows of values are the features of an isolation forest (Liu et al. 2008) that is grown on the nominal part; one forest for
each length of window, and the largest score counts. A channel that never moved has equal windows, on which a forest has
nothing to split, so `jitter` adds a little noise before it is grown. scikit-learn's anomaly score s lies in 0.3 (deep) to 1;
the score here is (s - 0.3) / (its nominal maximum - 0.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.forecast import FloatArray
from orbitloop.errors import TelemetryError

DEEPEST = 0.3


class WindowedForest:
    """Isolation forest on windows, one for each channel.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "Isolation forest on windows (ESA-ADB's baseline). Ground."
    rule = AlarmRule(1.2, 1.3, 1)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(self, *, windows: Sequence[int] = (12, 50), trees: int = 100, jitter: float = 0.01, seed: int = 0) -> None:
        if not windows or not all(2 <= w <= 5000 for w in windows) or not 1 <= trees <= 10_000 or jitter < 0:
            raise ValueError("windows lie in 2..5000, trees in 1..10000, jitter is not negative")
        self._windows, self._trees, self._jitter, self._seed = tuple(windows), trees, jitter, seed
        self._nominal: FloatArray = np.zeros((0, 0))

    def fit(self, nominal: FloatArray) -> None:
        """Keep nominal values (N, C), scaled and finite; forests are grown when they are asked.

        Raises:
            TelemetryError: fewer than 3 of the smallest window.
        """
        least = 3 * min(self._windows)
        if len(nominal) < least:
            raise TelemetryError(
                f"{len(nominal)} nominal samples are too few for windows of {min(self._windows)}",
                remedy=f"give at least {least}",
            )
        self._nominal = nominal.copy()

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on the nominal part, or of a recording of its own.

        Raises:
            TelemetryError: scikit-learn is not installed.
        """
        try:
            from sklearn.ensemble import IsolationForest
        except ImportError as error:
            raise TelemetryError("isolation forests need scikit-learn", remedy="pip install 'orbitloop[space]'") from error
        rng = np.random.default_rng(self._seed)
        out = np.zeros(values.shape)
        for c in range(values.shape[1]):
            for window in self._windows:
                if len(self._nominal) >= 3 * window:
                    found = self._of(IsolationForest, self._nominal[:, c], values[:, c], window, rng)
                    found[: 0 if follows else window - 1] = 0.0
                    np.maximum(out[:, c], found, out=out[:, c])
        return out

    def _of(self, kind: Any, series: FloatArray, values: FloatArray, window: int, rng: np.random.Generator) -> FloatArray:
        view = np.lib.stride_tricks.sliding_window_view
        nominal = view(series, window) + self._jitter * rng.normal(size=(len(series) - window + 1, window))
        forest = kind(n_estimators=self._trees, max_samples=min(256, len(nominal)), random_state=self._seed)
        forest.fit(nominal)
        worst = float(np.max(-forest.score_samples(nominal)))
        found = -forest.score_samples(view(np.concatenate([series[len(series) - window + 1 :], values]), window))
        return np.asarray(np.maximum(found - DEEPEST, 0.0) / max(worst - DEEPEST, 1e-6), np.float64)
