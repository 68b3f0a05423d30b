"""From scores to events: when an alarm is raised, how long it stays, and why the same channel does not cry again and again.

A score of 1 is as odd as the oddest of the nominal time. An event begins when the score exceeds the channel's bar, lasts while
it comes back over the base factor within `hold` samples, and ends at its last exceedance. After each event the channel's bar
rises by `escalation` until an operator acknowledges: what is already on the operator's desk must be clearly worse to come
again. The beginning of an event is known at once, its end `hold` samples after it. No point of an event is changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import TelemetryError


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """Bar in units of the oddest nominal score, its rise after each event, and the pause in samples that ends an event.

    Raises:
        ValueError: a number is out of range.
    """

    factor: float = 1.0
    escalation: float = 1.3
    hold: int = 50

    def __post_init__(self) -> None:
        if not (0 < self.factor < 1e6 and 1 <= self.escalation <= 100 and 0 <= self.hold <= 1_000_000):
            raise ValueError(f"{self}: factor lies over 0, escalation in 1..100, hold in 0..1000000")


class Alarm:
    """The state of one channel's alarm, sample by sample."""

    def __init__(self, rule: AlarmRule) -> None:
        self._rule = rule
        self._bar = rule.factor
        self._quiet = 0
        self._on = False

    @property
    def on(self) -> bool:
        """Whether an event is open."""
        return self._on

    def step(self, score: float) -> bool:
        """Take the next score; true when an event begins with it."""
        over = score > self._rule.factor
        if self._on:
            self._quiet = 0 if over else self._quiet + 1
            if self._quiet <= self._rule.hold:
                return False
            self._on = False
        if over and score > self._bar:
            self._on, self._quiet = True, 0
            self._bar *= self._rule.escalation
            return True
        return False

    def acknowledge(self) -> None:
        """An operator has seen it: the bar is where it was at first."""
        self._bar = self._rule.factor

    def to_json(self) -> dict[str, Any]:
        return {"bar": self._bar, "quiet": self._quiet, "on": self._on}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state that `to_json` gave.

        Raises:
            TelemetryError: it is malformed.
        """
        try:
            bar, quiet, on = float(state["bar"]), int(state["quiet"]), state["on"]
            if not (np.isfinite(bar) and bar >= self._rule.factor and quiet >= 0 and isinstance(on, bool)):
                raise ValueError("out of range")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise TelemetryError(f"saved alarm is malformed ({error})", where="alarm state") from error
        self._bar, self._quiet, self._on = bar, quiet, on


def events_of(scores: npt.ArrayLike, rule: AlarmRule) -> list[tuple[int, int]]:
    """Return the events (first, last sample, inclusive) of a channel's scores (N,): as `Alarm` raises them, with ends."""
    values = np.asarray(scores, np.float64)
    events: list[tuple[int, int]] = []
    bar, first, last = rule.factor, -1, -1
    for t in np.flatnonzero(values > rule.factor).tolist():
        if first >= 0 and t <= last + rule.hold + 1:
            last = t
        elif values[t] > bar:
            if first >= 0:
                events.append((first, last))
            first = last = t
            bar *= rule.escalation
    if first >= 0:
        events.append((first, last))
    return events
