"""What the ground believes: forecast residual and matrix profile together.

The geometric mean of both scores, each 1 at its oddest nominal sample: the forecast says that a channel moves otherwise, the
profile that it looks as it never did; both must be raised. Chosen on development channels only (`docs/health.md`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.forecast import FloatArray, Forecast
from orbitloop.ground.health.profile import MatrixProfile


class Ensemble:
    """Forecast times matrix profile, as a monitor."""

    summary = "Forecast residual x left matrix profile: the ground's default. Ground."
    rule = AlarmRule(1.0, 1.3, 50)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(
        self,
        *,
        order: int = 8,
        span: float = 25.0,
        windows: Sequence[int] = (12, 50),
        forecast_floor: float = 0.1,
        profile_floor: float = 0.4,
        memory: int = 20_000,
    ) -> None:
        self._forecast = Forecast(order=order, span=span, floor=forecast_floor)
        self._profile = MatrixProfile(windows=windows, floor=profile_floor, memory=memory)

    def fit(self, nominal: FloatArray) -> None:
        """Learn from nominal values (N, C), scaled and finite.

        Raises:
            TelemetryError: too few samples.
        """
        self._forecast.fit(nominal)
        self._profile.fit(nominal)

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on the nominal part, or of a recording of its own.

        Raises:
            TelemetryError: numba is not installed.
        """
        parts = (part.scores(values, follows=follows) for part in (self._forecast, self._profile))
        return np.asarray(np.sqrt(next(parts) * next(parts)), np.float64)
