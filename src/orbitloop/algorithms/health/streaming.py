"""The detector that flies: forecast residual and remembered patterns, each sample as it comes, in bounded memory.

The score is the geometric mean of both scores (`forecast`, `patterns`): the one notices at once what moves otherwise than
before, the other what looks otherwise; both must be moved for an alarm, so that neither a noisy forecast nor a rare but
harmless pattern raises one. 1 is as odd as the oddest nominal sample. On the ground the same mean is taken with the matrix
profile over the whole history (`ground.health.ensemble`).

One instance for one stream of samples; numpy and the standard library only; a reboot goes on from `to_json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitloop.algorithms.health.alarms import Alarm, AlarmRule
from orbitloop.algorithms.health.forecast import FloatArray, Forecast
from orbitloop.algorithms.health.patterns import Patterns
from orbitloop.errors import TelemetryError

VERSION = 1


class Streaming:
    """Forecast times patterns, as a monitor."""

    summary = "Forecast residual x remembered patterns: bounded memory, a sample at a time. Flies."
    rule = AlarmRule(1.0, 1.3, 50)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(
        self,
        *,
        order: int = 8,
        span: float = 25.0,
        window: int = 24,
        size: int = 64,
        forecast_floor: float = 0.1,
        pattern_floor: float = 0.4,
    ) -> None:
        self._forecast = Forecast(order=order, span=span, floor=forecast_floor)
        self._patterns = Patterns(window=window, size=size, floor=pattern_floor)
        self._shape = [order, float(span), window, size, forecast_floor, pattern_floor]

    def fit(self, nominal: FloatArray) -> None:
        """Learn from nominal values (N, C), scaled and finite.

        Raises:
            TelemetryError: too few samples.
        """
        self._forecast.fit(nominal)
        self._patterns.fit(nominal)

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on what was seen last, or of a recording of its own; changes no state."""
        parts = (part.scores(values, follows=follows) for part in (self._forecast, self._patterns))
        return np.asarray(np.sqrt(next(parts) * next(parts)), np.float64)

    def restart(self) -> None:
        """A new recording begins (after a gap, a boot without saved state): what was learnt stays."""
        self._forecast.restart()
        self._patterns.restart()

    @property
    def last(self) -> FloatArray:
        """The newest sample (C,)."""
        return self._patterns.last

    @property
    def channels(self) -> int:
        """How many channels it was fitted on."""
        return len(self._patterns.last)

    def step(self, values: FloatArray) -> FloatArray:
        """Take one sample (C,) and return its scores (C,)."""
        return np.asarray(np.sqrt(self._forecast.step(values) * self._patterns.step(values)), np.float64)

    @property
    def state_bytes(self) -> int:
        """Bytes that this object keeps for its channels."""
        return self._forecast.state_bytes + self._patterns.state_bytes

    def to_json(self) -> dict[str, Any]:
        parts = {"forecast": self._forecast.to_json(), "patterns": self._patterns.to_json()}
        return {"version": VERSION, "shape": self._shape, **parts}

    @classmethod
    def from_json(cls, state: Any) -> Streaming:
        """Read what `to_json` wrote.

        Raises:
            TelemetryError: malformed. Never anything else.
        """
        where = "streaming state"
        try:
            if state["version"] != VERSION:
                raise ValueError(f"version {state['version']!r} is not known")
            order, span, window, size, forecast_floor, pattern_floor = state["shape"]
            if not all(type(n) is int for n in (order, window, size)):
                raise TypeError("order, window and size are whole numbers")
            floors = {"forecast_floor": float(forecast_floor), "pattern_floor": float(pattern_floor)}
            made = cls(order=order, span=float(span), window=window, size=size, **floors)
            forecast, patterns = state["forecast"], state["patterns"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise TelemetryError(f"saved detector is malformed ({error})", where=where) from error
        made._forecast.restore(forecast)
        made._patterns.restore(patterns)
        if made._forecast.channels != made.channels:
            raise TelemetryError("its two parts are of different channels", where=where)
        return made


class Watch:
    """A streaming detector with its alarms: samples in, names of channels whose event begins out."""

    def __init__(self, detector: Streaming, channels: Sequence[str], rule: AlarmRule | None = None) -> None:
        self._detector = detector
        self._channels = tuple(channels)
        self._rule = rule or AlarmRule()
        self._alarms = [Alarm(self._rule) for _ in self._channels]

    @property
    def open(self) -> tuple[str, ...]:
        """Channels whose event is open."""
        return tuple(name for name, alarm in zip(self._channels, self._alarms, strict=True) if alarm.on)

    def step(self, values: FloatArray) -> tuple[str, ...]:
        """Take one scaled sample (C,); a value that is not finite counts as the channel's last one.

        Returns the channels whose event begins with this sample.
        """
        scores = self._detector.step(np.where(np.isfinite(values), values, self._detector.last))
        rows = zip(self._channels, self._alarms, scores.tolist(), strict=True)
        return tuple(name for name, alarm, score in rows if alarm.step(score))

    def acknowledge(self) -> None:
        """An operator has seen all of it."""
        for alarm in self._alarms:
            alarm.acknowledge()

    def to_json(self) -> dict[str, Any]:
        rule = [self._rule.factor, self._rule.escalation, self._rule.hold]
        alarms = [alarm.to_json() for alarm in self._alarms]
        return {"detector": self._detector.to_json(), "channels": list(self._channels), "rule": rule, "alarms": alarms}

    @classmethod
    def from_json(cls, state: Any) -> Watch:
        """Read what `to_json` wrote.

        Raises:
            TelemetryError: malformed. Never anything else.
        """
        try:
            factor, escalation, hold = state["rule"]
            rule = AlarmRule(float(factor), float(escalation), int(hold))
            names, alarms, detector = state["channels"], state["alarms"], state["detector"]
            if not all(isinstance(name, str) for name in names) or len(names) != len(alarms):
                raise ValueError("channels and alarms do not fit")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise TelemetryError(f"saved watch is malformed ({error})", where="watch state") from error
        made = cls(Streaming.from_json(detector), names, rule)
        if made._detector.channels != len(names):
            raise TelemetryError("the saved detector has another number of channels", where="watch state")
        for alarm, saved in zip(made._alarms, alarms, strict=True):
            alarm.restore(saved)
        return made
