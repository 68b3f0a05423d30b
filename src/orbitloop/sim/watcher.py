"""Who is told what goes on, apart from who does it: to draw progress nobody has to load what trains."""

from __future__ import annotations


class Watcher:
    """Told what a run is doing; the CLI draws it. Every method may be left as it is."""

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        """Say how far the current stage is."""

    def event(self, at_s: float, text: str) -> None:
        """Say that something of note happened."""
