"""May this version fly: the gate's answer, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """`metrics` maps `new_ap50`, `old_ap50`, ... to {"champion": x, "candidate": y}; `reasons` are sentences for a person."""

    passed: bool
    reasons: tuple[str, ...]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "reasons": list(self.reasons), "metrics": self.metrics}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GateVerdict:
        return cls(bool(value["passed"]), tuple(value["reasons"]), dict(value["metrics"]))
