"""What the report tells of a run so far: sums, rounds, passes, the timeline. Part of every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from orbitloop.reports.codec import from_plain, to_plain
from orbitloop.reports.observed import BatteryPoint, PassSummary, TimelinePoint
from orbitloop.reports.rounds import Applied, Round


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

    def note_applied(self, number: int, applied: Applied, *, final: bool) -> None:
        """Put a satellite's word on an update into the story of its round; a later word takes the place of an earlier one."""
        about = applied.satellite, applied.report.version
        for index, one in enumerate(self.rounds):
            if one.round == number:
                others = tuple(a for a in one.applied if (a.satellite, a.report.version) != about)
                ended_s = applied.report.at_s if final else one.finished_at_s
                self.rounds[index] = replace(one, applied=(*others, applied), finished_at_s=ended_s)

    def charge_uplink(self, number: int | None, payload_bytes: int) -> None:
        """Count bytes of an update that came up to the round that it is of."""
        for index, one in enumerate(self.rounds):
            if one.round == number:
                self.rounds[index] = replace(one, bytes_up=one.bytes_up + payload_bytes)

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
