"""Limits on telemetry: soft and hard, persistence, hysteresis, rate of change, stuck values, latched until acknowledged.

Semantics after ECSS-E-ST-70-41C, service 12 (on-board monitoring: limit check and delta check, each with a repetition
number) and XTCE (OMG: AlarmRanges, warning and critical, minViolations). For each channel and sample:

- a check fails when the value lies outside of its range; the hard range encloses the soft one;
- a failing check becomes a violation after `persistence` samples in a row;
- a violation ends when the value lies inside the range by `hysteresis` or more for as many samples in a row;
- the worst violation stays latched, also when the value comes home, until somebody acknowledges; an acknowledged channel that
  still violates stays in violation and is latched again only when it gets worse or returns;
- a missing sample (NaN) counts neither way.

Rates are per second, between a sample and the one before it; a value is stuck after `stuck_samples` equal ones in a row.
Vectorised over channels; the state is a few numbers a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.packing import pack_array, unpack_array
from orbitloop.errors import TelemetryError

FloatArray = npt.NDArray[np.float64]
Range = tuple[float, float]
EVERYTHING: Range = (-np.inf, np.inf)


class Level(IntEnum):
    """How bad it is."""

    NOMINAL = 0
    """Inside of all limits."""
    SOFT = 1
    """Outside of a soft limit, too fast, or stuck: look at it."""
    HARD = 2
    """Outside of a hard limit: act."""


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Limits of one channel, in its own units; `max_rate_per_s` and `stuck_samples` 0 = not checked.

    Raises:
        ValueError: they contradict each other.
    """

    soft: Range = EVERYTHING
    hard: Range = EVERYTHING
    persistence: int = 1
    hysteresis: float = 0.0
    max_rate_per_s: float = 0.0
    stuck_samples: int = 0

    def __post_init__(self) -> None:
        if not (self.soft[0] < self.soft[1] and self.hard[0] < self.hard[1]):
            raise ValueError("a lower limit is not below its upper one")
        if self.soft != EVERYTHING and (self.soft[0] < self.hard[0] or self.soft[1] > self.hard[1]):
            raise ValueError("the soft range reaches out of the hard one")
        if not (self.persistence >= 1 and self.hysteresis >= 0 and self.max_rate_per_s >= 0 and self.stuck_samples >= 0):
            raise ValueError("persistence is at least 1; hysteresis, rate and stuck samples are not negative")
        inner = self.soft if self.soft != EVERYTHING else self.hard
        if 2 * self.hysteresis >= inner[1] - inner[0]:
            raise ValueError("the hysteresis leaves nothing of the range")


@dataclass(frozen=True, slots=True)
class LimitEvent:
    """A channel that changed its level. `reason`: soft low, soft high, hard low, hard high, rate, stuck, or back."""

    channel: str
    at_s: float
    level: Level
    was: Level
    reason: str
    value: float


class LimitMonitor:
    """The limits of C channels, sample by sample."""

    def __init__(self, limits: Mapping[str, ChannelLimits]) -> None:
        if not limits:
            raise ValueError("no channel has limits")
        self._names = tuple(limits)
        many = list(limits.values())
        self._soft = np.array([one.soft for one in many])
        self._hard = np.array([one.hard for one in many])
        self._persistence = np.array([one.persistence for one in many])
        self._hysteresis = np.array([one.hysteresis for one in many])
        self._rate = np.array([one.max_rate_per_s or np.inf for one in many])
        self._stuck = np.array([one.stuck_samples or np.inf for one in many])
        count = len(many)
        self._level = np.zeros(count)
        self._latched = np.zeros(count)
        self._over = np.zeros((3, count))  # samples in a row beyond soft, beyond hard, too fast
        self._under = np.zeros((2, count))  # samples in a row well inside of soft, of hard
        self._same = np.ones(count)
        self._last = np.full(count, np.nan)
        self._last_s = np.full(count, np.nan)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names, in the order of the values that `update` takes."""
        return self._names

    def levels(self) -> dict[str, Level]:
        """Return the present level of each channel."""
        return {name: Level(int(level)) for name, level in zip(self._names, self._level, strict=True)}

    def latched(self) -> dict[str, Level]:
        """Return the worst level since the last acknowledgement, of channels that had one."""
        return {name: Level(int(worst)) for name, worst in zip(self._names, self._latched, strict=True) if worst}

    def acknowledge(self, channel: str | None = None) -> None:
        """Unlatch one channel, or all.

        Raises:
            ValueError: no such channel.
        """
        if channel is None:
            self._latched[:] = 0
        else:
            self._latched[self._names.index(channel)] = 0

    def update(self, values: FloatArray, now_s: float) -> list[LimitEvent]:
        """Take one sample (C,) and return what changed.

        Raises:
            ValueError: another number of values.
        """
        if values.shape != (len(self._names),):
            raise ValueError(f"{values.shape} values for {len(self._names)} channels")
        here = np.isfinite(values)
        safe = np.where(here, values, 0.0)
        fast = self._too_fast(safe, here, now_s)
        self._count(safe, here, fast)
        beyond = self._over >= self._persistence
        hard = np.where(self._level == Level.HARD, self._under[1] < self._persistence, beyond[1])
        held = np.where(self._level >= Level.SOFT, self._under[0] < self._persistence, beyond[0])
        soft = held | beyond[2] | (self._same >= self._stuck)
        was = self._level
        now = np.where(here, np.where(hard, 2.0, np.where(soft, 1.0, 0.0)), was)
        # Only a change for the worse latches, so that an acknowledged violation does not latch itself again.
        self._latched = np.where(now > was, np.maximum(self._latched, now), self._latched)
        self._level = now
        changed = np.flatnonzero(now != was)
        return [
            LimitEvent(
                self._names[c],
                now_s,
                Level(int(now[c])),
                Level(int(was[c])),
                self._reason(c, safe[c], now[c] < was[c]),
                float(safe[c]),
            )
            for c in changed.tolist()
        ]

    def _too_fast(self, safe: FloatArray, here: npt.NDArray[np.bool_], now_s: float) -> npt.NDArray[np.bool_]:
        known = here & np.isfinite(self._last)
        step_s = np.where(known, now_s - self._last_s, 1.0)
        change = np.abs(safe - np.where(known, self._last, safe))
        fast = known & (step_s > 0) & (change > self._rate * np.where(step_s > 0, step_s, 1.0))
        self._same = np.where(here, np.where(known & (change == 0), self._same + 1, 1.0), self._same)
        self._last = np.where(here, safe, self._last)
        self._last_s = np.where(here, now_s, self._last_s)
        return np.asarray(fast, bool)

    def _count(self, safe: FloatArray, here: npt.NDArray[np.bool_], fast: npt.NDArray[np.bool_]) -> None:
        for row, limits in enumerate((self._soft, self._hard)):
            out = (safe < limits[:, 0]) | (safe > limits[:, 1])
            well = (safe >= limits[:, 0] + self._hysteresis) & (safe <= limits[:, 1] - self._hysteresis)
            self._over[row] = np.where(here, np.where(out, self._over[row] + 1, 0), self._over[row])
            self._under[row] = np.where(here, np.where(well, self._under[row] + 1, 0), self._under[row])
        self._over[2] = np.where(here, np.where(fast, self._over[2] + 1, 0), self._over[2])

    def _reason(self, c: int, value: float, better: bool) -> str:
        for word, limits, row in (("hard", self._hard, 1), ("soft", self._soft, 0)):
            if self._over[row, c] >= self._persistence[c] and not better:
                return f"{word} {'low' if value < limits[c, 0] else 'high'}"
        if better:
            return "back"
        return "rate" if self._over[2, c] >= self._persistence[c] else "stuck"

    def to_json(self) -> dict[str, Any]:
        return {
            "channels": list(self._names),
            "counts": pack_array(np.vstack([self._level, self._latched, self._over, self._under, self._same])),
            # JSON has no NaN; a channel that was never heard has its last value left out.
            "last": [[float(v), float(t)] if np.isfinite(v) else None for v, t in zip(self._last, self._last_s, strict=True)],
        }

    def restore(self, state: Any) -> None:
        """Take up what `to_json` gave.

        Raises:
            TelemetryError: malformed, or of other channels.
        """
        where = "limits state"
        try:
            names, counts, last = state["channels"], state["counts"], state["last"]
            if tuple(names) != self._names or len(last) != len(self._names):
                raise ValueError("it is of other channels")
            pairs = [(np.nan, np.nan) if pair is None else (float(pair[0]), float(pair[1])) for pair in last]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise TelemetryError(f"saved limits are malformed ({error})", where=where) from error
        rows = unpack_array(counts, (8, len(self._names)), where).astype(np.float64)
        if not np.isin(rows[:2], (0.0, 1.0, 2.0)).all() or (rows < 0).any():
            raise TelemetryError("saved limits hold a level or a count that cannot be", where=where)
        self._level, self._latched, self._over, self._under, self._same = rows[0], rows[1], rows[2:5], rows[5:7], rows[7]
        self._last, self._last_s = (np.array(column) for column in zip(*pairs, strict=True))
