"""Which channels moved: an event in words, with each channel's part in it, who moved first, and who moved together.

For each channel of an event: how far its mean and its spread moved, in deviations of the time before; its share of the event
(its peak score over the bar, of all that are over it); when it first passed the bar. Channels whose events overlap are one
incident; within an incident they are told by subsystem. First does not mean cause: it is a place to begin looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitloop.ground.health.scoring import Interval
from orbitloop.ground.health.telemetry import FloatArray, Telemetry, held

BEFORE = 500
"""Samples before an incident that it is compared with."""
TOLD = 3
"""Channels that are told in words beside the first mover."""
NEAR = 50
"""Events of different channels at most this many samples apart are one incident."""


@dataclass(frozen=True, slots=True)
class ChannelPart:
    """One channel's part in an incident."""

    channel: str
    subsystem: str
    first: int
    """First sample over the bar."""
    last: int
    peak: float
    """Highest score; 1 = as odd as the oddest nominal sample."""
    share: float
    """Its share of the incident, 0..1."""
    mean_shift: float
    """(mean in the event - mean before) / deviation before."""
    spread_ratio: float
    """Deviation in the event / deviation before."""
    stood_still: bool = False
    """It had one value before; then the two numbers above are in thousandths of that value."""

    @property
    def words(self) -> str:
        """How it moved."""
        if self.stood_still:
            return "had stood still, and moves"
        parts = []
        if abs(self.mean_shift) >= 1:
            parts.append(f"{'rose' if self.mean_shift > 0 else 'fell'} by {_short(abs(self.mean_shift))} deviations")
        if self.spread_ratio >= 2:
            parts.append(f"swings {_short(self.spread_ratio)} times as wide")
        elif self.spread_ratio <= 0.5:
            parts.append(
                "has grown still" if self.spread_ratio < 0.05 else f"swings {_short(1 / self.spread_ratio)} times less"
            )
        return " and ".join(parts) or "moves otherwise than before, at the same level"

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"words": self.words}


@dataclass(frozen=True, slots=True)
class Incident:
    """Events that belong together; channels by share, the largest first."""

    first: int
    last: int
    parts: tuple[ChannelPart, ...]

    @property
    def first_mover(self) -> ChannelPart:
        """The channel that passed its bar first; of several the one with the largest share."""
        return min(self.parts, key=lambda part: (part.first, -part.share))

    @property
    def peak(self) -> float:
        """Highest score of any channel."""
        return max(part.peak for part in self.parts)

    @property
    def words(self) -> str:
        """The incident in words: who moved first and how, and who followed."""
        lead = self.first_mover
        others = sorted((part for part in self.parts if part is not lead), key=lambda part: (part.first, -part.share))
        told = [f"{_label(lead)} {lead.words}"]
        for part in others[:TOLD]:
            later = part.first - lead.first
            told.append(f"{f'{later} samples later' if later else 'with it'} {_label(part)} {part.words}")
        groups = sorted({part.subsystem for part in self.parts if part.subsystem})
        more = f"; {len(others) - TOLD} more channels" if len(others) > TOLD else ""
        return "; ".join(told) + more + (f". Subsystems: {', '.join(groups)}." if len(groups) > 1 else ".")

    def to_json(self) -> dict[str, Any]:
        parts = [part.to_json() for part in self.parts]
        return {"first": self.first, "last": self.last, "peak": self.peak, "words": self.words, "channels": parts}


def incidents(
    telemetry: Telemetry,
    events: Mapping[str, Sequence[Interval]],
    scores: FloatArray,
    nominal: Telemetry,
    subsystems: Mapping[str, str] | None = None,
) -> list[Incident]:
    """Return incidents in the order of time.

    Args:
        telemetry: what was judged (M, C).
        events: raised events by channel, first and last sample.
        scores: (M, C).
        nominal: the nominal part, which comes before.
        subsystems: by channel; without it the first letters of a channel's name (`P-1` -> `P`) stand for it.
    """
    every = sorted((first, last, name) for name, runs in events.items() for first, last in runs)
    series = np.concatenate([held(nominal.values), held(telemetry.values)])
    offset = len(nominal)
    groups: list[list[tuple[int, int, str]]] = []
    reach = -1
    for one in every:
        if groups and one[0] <= reach + NEAR:
            groups[-1].append(one)
            reach = max(reach, one[1])
        else:
            groups.append([one])
            reach = one[1]
    return [_incident(group, telemetry.channels, series, scores, offset, subsystems or {}) for group in groups]


def _incident(
    group: Sequence[tuple[int, int, str]],
    channels: Sequence[str],
    series: FloatArray,
    scores: FloatArray,
    offset: int,
    subsystems: Mapping[str, str],
) -> Incident:
    first, last = min(a for a, _, _ in group), max(b for _, b, _ in group)
    spans: dict[str, Interval] = {}
    for a, b, name in group:
        old = spans.get(name, (a, b))
        spans[name] = (min(old[0], a), max(old[1], b))
    peaks = {name: float(scores[a : b + 1, channels.index(name)].max()) for name, (a, b) in spans.items()}
    total = sum(peaks.values())
    parts = []
    for name, (a, b) in spans.items():
        column = series[:, channels.index(name)]
        before = column[max(0, offset + first - BEFORE) : offset + first]
        inside = column[offset + a : offset + b + 1]
        # A channel that never moved has no deviation; its own size is the measure then.
        still = bool(np.ptp(before) == 0)
        unit = max(1e-3 * float(np.abs(before).max()), 1e-9) if still else float(before.std())
        shift, ratio = float((inside.mean() - before.mean()) / unit), float(inside.std() / unit)
        group_name = subsystems.get(name) or subsystem_of(name)
        parts.append(ChannelPart(name, group_name, a, b, peaks[name], peaks[name] / total, shift, ratio, still))
    return Incident(first, last, tuple(sorted(parts, key=lambda part: -part.share)))


def subsystem_of(channel: str) -> str:
    """Return what stands before the first digit or separator of a channel's name: its subsystem by custom."""
    for n, letter in enumerate(channel):
        if not letter.isalpha():
            return channel[:n]
    return ""


def _label(part: ChannelPart) -> str:
    return f"{part.channel} ({part.subsystem})" if part.subsystem and part.subsystem != part.channel else part.channel


def _short(value: float) -> str:
    return "over 1000" if value > 1000 else f"{value:.3g}"
