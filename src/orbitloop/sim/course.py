"""What the report tells of a run so far: sums, rounds, passes, the timeline. Part of every checkpoint; nothing but data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orbitloop.reports.codec import from_plain, to_plain
from orbitloop.reports.observed import BatteryPoint, PassSummary, TimelinePoint
from orbitloop.reports.rounds import Round


@dataclass(slots=True)
class Course:
    """Grows as the run goes."""

    captured_bytes: int = 0
    downlinked_bytes: int = 0
    uplinked_bytes: int = 0
    scenes: int = 0
    let_go: int = 0
    stored: int = 0
    sent: int = 0
    round_sent: int = 0
    round_down: int = 0
    label_cost_told: float = 0.0
    labels_told: int = 0
    finished_at_s: float = 0.0
    initial: dict[str, Any] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)
    down_by_kind: dict[str, int] = field(default_factory=dict)
    detections: list[str] = field(default_factory=list)
    """Digests of the detection records that came down, in order; the bytes are in the run's blobs."""
    rounds: list[Round] = field(default_factory=list)
    timeline: list[TimelinePoint] = field(default_factory=list)
    passes: list[PassSummary] = field(default_factory=list)
    battery: list[BatteryPoint] = field(default_factory=list)

    _LISTS = (("rounds", Round), ("timeline", TimelinePoint), ("passes", PassSummary), ("battery", BatteryPoint))

    def to_json(self) -> dict[str, Any]:
        lists = dict(self._LISTS)
        return {
            name: [to_plain(lists[name], v) for v in getattr(self, name)] if name in lists else getattr(self, name)
            for name in self.__dataclass_fields__
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Course:
        lists = dict(cls._LISTS)
        known = {n: v for n, v in value.items() if n in cls.__dataclass_fields__}
        return cls(**{n: [from_plain(lists[n], row) for row in v] if n in lists else v for n, v in known.items()})
