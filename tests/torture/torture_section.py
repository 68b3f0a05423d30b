"""What the torture suite is made of: sections that try something many times, and controls that show that the suite can see.

A section passes when nothing bad came of any trial. A control breaks one safeguard on purpose (an fsync, a digest check), runs
the same trials, and passes when at least one of them turned out badly: a suite that cannot fail proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Tick = Callable[[int], None]
"""Called with how many trials are done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a section's trials: how many, what was bad (a line each, the first dozen), and what is worth knowing."""

    tried: int
    bad: tuple[str, ...] = ()
    bad_count: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the table. `run(count, tick)` makes at least `count` trials; `quick` is the count of the default tests."""

    name: str
    aim: str
    run: Callable[[int, Tick], Outcome]
    count: int
    quick: int
    control: bool = False

    def holds(self, outcome: Outcome) -> bool:
        """Say whether the outcome is as it must be: nothing bad, or, for a control, something."""
        return (outcome.bad_count > 0) if self.control else (outcome.bad_count == 0 and outcome.tried > 0)
