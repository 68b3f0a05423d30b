"""What came of a section's trials so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torture_section import Outcome, Tick

KEPT = 12


@dataclass
class Tally:
    """Counts trials and keeps the first dozen of what was bad; tells how far it is."""

    tick: Tick
    tried: int = 0
    bad_count: int = 0
    bad: list[str] = field(default_factory=list)

    def trial(self, name: str, run: Callable[[], str]) -> bool:
        """Make one trial: what it returns or raises is what was bad; say whether it was good."""
        try:
            found = run()
        except Exception as error:  # whatever escapes is what the section is after
            found = f"{type(error).__name__}: {error}".splitlines()[0]
        self.tried += 1
        if found:
            self.bad_count += 1
            self.bad += [f"{name}: {found}"] if len(self.bad) < KEPT else []
        self.tick(self.tried)
        return not found

    def outcome(self, note: str = "") -> Outcome:
        return Outcome(self.tried, tuple(self.bad), self.bad_count, note)
