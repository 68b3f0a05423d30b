"""How good a monitor is on channels whose anomalies are known: its events, counted by both schemes, and how late they come.

The split into development and test channels is a fixed rule; what may be chosen on which part says `docs/health.md`. Reading
the sets belongs to `apps.health_sets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.alarms import AlarmRule, events_of
from orbitloop.ground.health.scoring import EventCount, Interval, count_events, count_events_telemanom
from orbitloop.plugins.kinds import Monitor

EVERY = 3


@dataclass(frozen=True, slots=True)
class LabelledChannel:
    """One channel: its nominal part (N,), the part to be judged (M,), both scaled, and the labelled events of the latter."""

    name: str
    nominal: npt.NDArray[np.float64]
    judged: npt.NDArray[np.float64]
    events: tuple[Interval, ...]
    follows: bool = True
    """Whether the judged part follows on the nominal one without a gap."""


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """What a monitor raised on one channel."""

    name: str
    raised: tuple[Interval, ...]
    corrected: EventCount
    telemanom: EventCount
    delays: tuple[int, ...]
    """For each event that was found: samples from its first one to the first one that was flagged, at least 0."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a monitor reached on a set of channels."""

    channels: tuple[ChannelResult, ...]

    @property
    def corrected(self) -> EventCount:
        """Counts of all channels, corrected event-wise scheme."""
        return sum((c.corrected for c in self.channels), EventCount())

    @property
    def telemanom(self) -> EventCount:
        """Counts of all channels, Telemanom's scheme."""
        return sum((c.telemanom for c in self.channels), EventCount())

    def interval(self, rng: np.random.Generator, rounds: int = 2000, share: float = 0.9) -> tuple[float, float]:
        """Return the bounds of F0.5 that hold a share of resamples of the channels (bootstrap over channels)."""
        counts = [c.corrected for c in self.channels]
        drawn = rng.integers(0, len(counts), (rounds, len(counts)))
        values = [sum((counts[i] for i in row), EventCount()).f_half for row in drawn]
        low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
        return float(low), float(high)

    def to_json(self) -> dict[str, Any]:
        delays = [d for c in self.channels for d in c.delays]
        return {
            "channels": len(self.channels),
            "corrected": self.corrected.to_json(),
            "telemanom_scheme": {
                "precision": self.telemanom.precision,
                "recall": self.telemanom.recall,
                "f_half": self.telemanom.f_half_uncorrected,
            },
            "median_delay_samples": float(np.median(delays)) if delays else None,
        }


def split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return (development, test) names: in plain string order every third, from the first, is for development."""
    ordered = sorted(names)
    return ordered[::EVERY], [name for n, name in enumerate(ordered) if n % EVERY]


def judge(channel: LabelledChannel, monitor: Monitor, rule: AlarmRule) -> ChannelResult:
    """Fit a fresh monitor on the nominal part and count what it raises.

    Raises:
        TelemetryError: the nominal part is too short for it, or an optional package is absent.
    """
    monitor.fit(channel.nominal[:, None])
    scores = monitor.scores(channel.judged[:, None], follows=channel.follows)[:, 0]
    return counted(channel, events_of(scores, rule))


def counted(channel: LabelledChannel, raised: Sequence[Interval]) -> ChannelResult:
    """Count given intervals on one channel."""
    delays = []
    for first, last in channel.events:
        touching = [a for a, b in raised if a <= last and first <= b]
        delays += [max(0, min(touching) - first)] if touching else []
    corrected = count_events(raised, channel.events, len(channel.judged))
    return ChannelResult(channel.name, tuple(raised), corrected, count_events_telemanom(raised, channel.events), tuple(delays))


def evaluate(channels: Iterable[LabelledChannel], make: Callable[[], Monitor], rule: AlarmRule) -> Evaluation:
    """Judge every channel with a monitor of its own."""
    return Evaluation(tuple(judge(channel, make(), rule) for channel in channels))
