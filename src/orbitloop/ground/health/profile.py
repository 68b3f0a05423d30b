"""Left matrix profile: how far the newest window is from everything that the channel has done before.

The distance of each window to its nearest *earlier* one (Yeh et al. 2016: the left matrix profile), plain Euclidean and not
z-normalised: telemetry has a scale, and a constant has no deviation to divide by. It looks into the nominal part and into what
came since, so a novelty is told once and then known. The score of a window is its distance over (the largest one within
the second half of the nominal part + `floor`); of several windows the largest.

Our own loop, exact and checked against stumpy: it does only the earlier half, starts at once where stumpy compiles for 14 s,
and bounds its memory: windows more than `memory` samples ago are forgotten, so that a year of telemetry costs N x memory, not
N^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.forecast import FloatArray
from orbitloop.errors import TelemetryError


class MatrixProfile:
    """Novelty by the left matrix profile over one or more windows.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "Distance of the newest windows to all that came before (left matrix profile). Ground."
    rule = AlarmRule(1.3, 1.7, 100)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(self, *, windows: Sequence[int] = (12, 50), floor: float = 0.4, memory: int = 20_000) -> None:
        if not windows or not all(4 <= w <= 5000 for w in windows) or floor <= 0 or memory < 2 * max(windows):
            raise ValueError("windows lie in 4..5000, floor over 0, memory is at least two windows")
        self._windows, self._floor, self._memory = tuple(windows), floor, memory
        self._nominal: FloatArray = np.zeros((0, 0))

    def fit(self, nominal: FloatArray) -> None:
        """Keep nominal values (N, C), scaled and finite.

        Raises:
            TelemetryError: fewer than 6 of the smallest window.
        """
        if len(nominal) < 6 * min(self._windows):
            raise TelemetryError(
                f"{len(nominal)} nominal samples are too few for windows of {min(self._windows)}",
                remedy=f"give at least {6 * min(self._windows)}",
            )
        self._nominal = nominal.copy()

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on the nominal part, or of a recording of its own.

        Raises:
            TelemetryError: numba is not installed.
        """
        try:
            from orbitloop.ground.health.kernels import left_distances
        except ImportError as error:
            raise TelemetryError("the matrix profile needs numba", remedy="pip install 'orbitloop[space]'") from error
        length = len(self._nominal)
        series = np.concatenate([self._nominal, values])
        out = np.zeros(values.shape)
        for c in range(values.shape[1]):
            for window in self._windows:
                if length < 3 * window:  # too short a train part to say what is large for this window
                    continue
                distances = left_distances(series[:, c], window, self._memory, 0 if follows else length)
                if not follows:
                    distances[length - window + 1 : length] = 0.0
                first = length - window + 1
                worst = float(np.max(distances[length // 2 - window + 1 : first]))
                np.maximum(out[:, c], distances[first:] / (worst + self._floor), out=out[:, c])
        return out
