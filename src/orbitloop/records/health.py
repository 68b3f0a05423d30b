"""What a satellite says of itself in every pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbitloop.records.update import ApplyReport


@dataclass(frozen=True, slots=True)
class Beacon:
    """State of one satellite: small, sent first, so that the ground always knows what is flying."""

    satellite: str
    at_s: float
    model_digest: str
    model_version: int
    tiles_seen: int
    hard_seen: int
    stored_samples: int
    battery_wh: float
    reports: tuple[ApplyReport, ...] = ()

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "reports"}
        return plain | {"reports": [r.to_json() for r in self.reports]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Beacon:
        plain = {name: value[name] for name in cls.__slots__ if name != "reports"}
        return cls(**plain, reports=tuple(ApplyReport.from_json(r) for r in value["reports"]))
