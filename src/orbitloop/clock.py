"""Time as an argument.

Cores take `now_s` (UTC seconds since the Unix epoch). Only a rim reads a clock, and it reads one through `Clock`, so that a
mission runs the same on the wall clock and on a virtual one.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time at a rim."""

    def now_s(self) -> float:
        """Return UTC seconds since the Unix epoch."""


class VirtualClock:
    """A clock that stands still until it is moved, and never moves back."""

    def __init__(self, start_s: float) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def advance_to(self, when_s: float) -> None:
        """Move to `when_s`; an earlier time leaves the clock where it is."""
        self._now_s = max(self._now_s, when_s)


def iso_utc(when_s: float) -> str:
    """Format UTC seconds as ISO 8601 with a trailing Z, to the second."""
    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_utc_ms(when_s: float) -> str:
    """Format UTC seconds as ISO 8601 with a trailing Z, to the nearest millisecond."""
    whole = math.floor(when_s * 1000.0 + 0.5)
    return f"{iso_utc(whole // 1000)[:-1]}.{whole % 1000:03d}Z"


def parse_utc_s(text: str) -> float:
    """Parse ISO 8601 to UTC seconds; a time without a zone is taken as UTC.

    Raises:
        ValueError: the text is not ISO 8601.
    """
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return when.timestamp()
