"""What the first stage said of a tile: worth the network's time, or dropped, and why."""

from __future__ import annotations

from dataclasses import dataclass

BLANK, CLOUD, DUPLICATE = "blank", "cloud", "duplicate"
"""Reasons that the built-ins give; a plug-in may bring its own."""


@dataclass(frozen=True, slots=True)
class Screening:
    """A screen's verdict on one tile: `reason` is empty when it is kept, else one short word, by which counters are named."""

    keep: bool
    reason: str = ""

    def __post_init__(self) -> None:
        if self.keep == bool(self.reason):
            raise ValueError(
                f"a tile is kept without a reason or dropped with one, not keep={self.keep}, reason={self.reason!r}"
            )


KEPT = Screening(True)
