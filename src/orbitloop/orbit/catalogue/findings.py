"""The one record of what a detector found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

FindingKind = Literal["decaying", "cross-tagged", "manoeuvred", "lost", "found", "stale"]
KINDS: Final[tuple[FindingKind, ...]] = ("decaying", "cross-tagged", "manoeuvred", "lost", "found", "stale")


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement about one object.

    `when_s` is the time it speaks of (the epoch after a manoeuvre, the snapshot that lacks an object); `what` says it in words;
    `figures` holds its numbers, units in their names; `rank` orders findings of a kind, the worst highest.
    """

    kind: FindingKind
    norad_id: int
    name: str
    when_s: float
    what: str
    rank: float = 0.0
    figures: Mapping[str, float | int | str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        fields = {"kind": self.kind, "norad_id": self.norad_id, "name": self.name, "when_s": self.when_s, "what": self.what}
        return {**fields, **self.figures}
