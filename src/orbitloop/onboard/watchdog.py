"""The watchdog over a model on probation: what it does in flight, counted, until a contact confirms it or something is held
against it. Pure; the agent tells it what it saw.

Role: count, say when a scene looks suspicious, and say what is against the model. It leaves looking to the agent, the canary to
`onboard.trial`, crashes of the whole process to the slots (they count boots) and a hang of the whole process to whatever
restarts it (a hardware watchdog), after which the slots count a boot.

Theory. The sea has no aeroplanes: that a new model finds nothing, or much, or takes long, says nothing by itself. It only makes
a scene suspicious, and then the model before looks at the same tiles. What is held against the new one is held against it on
tiles that both have seen:

- silent: it finds less than a tenth of what the other one finds, which must be ten objects or more;
- flooded: it fills tiles up to the model's maximum of detections, two or more and over twice as many as the other one;
- slow: on four tiles or more it takes more than `max_slowdown` times the CPU time.

More boots than the limits put up with are a crash loop, also between two boots: the slots see it at the next one, the watchdog
at a pass. Outputs that are not finite and a runtime that fails need no comparison: one such tile is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from orbitloop.errors import StateError
from orbitloop.onboard.trial import TrialLimits

LEAST_FOUND, SILENT_SHARE = 10, 0.1
LEAST_FULL, FULL_FACTOR = 2, 2
LEAST_TIMED_TILES = 4
MAX_COMPARED_TILES = 256
"""What a probation may spend on second looks."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one model made of a scene. `found` are reported detections; `full` tiles hold as many candidates as they may."""

    tiles: int
    found: int
    full: int
    cpu_s: float | None = None

    @property
    def pace_s(self) -> float | None:
        """CPU seconds per tile; None when unknown."""
        return self.cpu_s / self.tiles if self.cpu_s is not None and self.tiles else None


@dataclass(slots=True)
class _Totals:
    """Sums over the tiles that both models have looked at; `timed` of the tiles were timed for both."""

    tiles: int = 0
    found_before: int = 0
    found_after: int = 0
    full_before: int = 0
    full_after: int = 0
    timed: int = 0
    cpu_before_s: float = 0.0
    cpu_after_s: float = 0.0


class Watchdog:
    """Counts what a model on probation does.

    Args:
        limits: what it must keep.
        proven: whether its canary proved it.
        pace_s: CPU seconds per tile of the model before, where known.
    """

    def __init__(self, limits: TrialLimits, *, proven: bool, pace_s: float | None = None) -> None:
        self.limits, self.proven, self.pace_s = limits, proven, pace_s
        self.tiles = self.scenes = self.contacts = self.boots = 0
        self.against = ""
        """What is held against the model; empty while nothing is."""
        self.compared = _Totals()

    @property
    def contacts_needed(self) -> int:
        """Passes that the probation lasts."""
        return self.limits.contacts if self.proven else self.limits.contacts_unproven

    def saw(self, look: Look) -> bool:
        """Count a scene; say whether the model before should look at it too."""
        self.scenes += 1
        self.tiles += look.tiles
        if not look.tiles or self.compared.tiles + look.tiles > MAX_COMPARED_TILES:
            return False
        slow = look.pace_s is not None and (self.pace_s is None or look.pace_s > self.limits.max_slowdown * self.pace_s)
        return look.found == 0 or look.full > 0 or slow

    def compare(self, before: Look, after: Look) -> None:
        """Count what both models made of the same tiles."""
        sums = self.compared
        sums.tiles += after.tiles
        sums.found_before, sums.found_after = sums.found_before + before.found, sums.found_after + after.found
        sums.full_before, sums.full_after = sums.full_before + before.full, sums.full_after + after.full
        if before.cpu_s is not None and after.cpu_s is not None:
            sums.timed += after.tiles
            sums.cpu_before_s, sums.cpu_after_s = sums.cpu_before_s + before.cpu_s, sums.cpu_after_s + after.cpu_s
            self.pace_s = sums.cpu_before_s / sums.timed
        self._hold(sums)

    def failed(self, what: str) -> None:
        """Note that the model failed on a tile."""
        self.against = self.against or f"in flight: {what} after {self.tiles} tiles"

    def contact(self, boots: int = 0) -> bool:
        """Count a pass; say whether the probation ends well with it.

        Args:
            boots: how often the satellite has booted on this probation. A pass with a boot before it does not count: it may
                have been the model.
        """
        if boots > self.limits.boots:
            self.against = self.against or f"crash loop: {boots} boots on probation"
        self.contacts += boots <= self.boots
        self.boots = boots
        return not self.against and self.contacts >= self.contacts_needed

    def said(self) -> str:
        """Return what has been seen, for a report; no times, which differ from run to run."""
        passes = f"{self.contacts} contact" + ("s" if self.contacts != 1 else "")
        return f"{self.tiles} tiles in flight, {passes}"

    def to_json(self) -> dict[str, Any]:
        """Return the counts; the limits are the mission's."""
        sums = {f.name: getattr(self.compared, f.name) for f in fields(_Totals)}
        plain = {name: getattr(self, name) for name in ("proven", "pace_s", "tiles", "scenes", "contacts", "boots", "against")}
        return plain | {"compared": sums}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], limits: TrialLimits) -> Watchdog:
        """Read what `to_json` wrote.

        Raises:
            StateError: malformed. Never anything else.
        """
        try:
            pace_s = value["pace_s"]
            dog = cls(limits, proven=bool(value["proven"]), pace_s=None if pace_s is None else _number(pace_s))
            dog.tiles, dog.scenes = int(_number(value["tiles"])), int(_number(value["scenes"]))
            dog.contacts, dog.boots = int(_number(value["contacts"])), int(_number(value["boots"]))
            dog.against = str(value["against"])
            for name in (f.name for f in fields(_Totals)):
                number = _number(value["compared"][name])
                setattr(dog.compared, name, number if name.endswith("_s") else int(number))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StateError(f"the watchdog's saved state is malformed ({error!r:.200})", where="watchdog") from error
        return dog

    def _hold(self, sums: _Totals) -> None:
        if self.against:
            return
        if sums.found_before >= LEAST_FOUND and sums.found_after < SILENT_SHARE * sums.found_before:
            found = f"{sums.found_after} objects where the model before finds {sums.found_before}"
            self.against = f"in flight: it finds {found}, on {sums.tiles} tiles"
        elif sums.full_after >= LEAST_FULL and sums.full_after > FULL_FACTOR * sums.full_before:
            self.against = f"in flight: {sums.full_after} of {sums.tiles} tiles overflow with detections"
        elif sums.timed >= LEAST_TIMED_TILES and sums.cpu_after_s > self.limits.max_slowdown * sums.cpu_before_s:
            ratio = sums.cpu_after_s / sums.cpu_before_s if sums.cpu_before_s > 0 else math.inf
            self.against = f"in flight: {ratio:.0f} times as slow as the model before, on {sums.timed} tiles"


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r:.50} is no count")
    return value
