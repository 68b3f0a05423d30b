"""What a run is doing, on stderr: bars on a terminal, plain lines in a log.

Imported only where a run begins, since it knows the runner.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from orbitloop.cli.terminal import note, printable
from orbitloop.clock import iso_utc
from orbitloop.sim.watcher import Watcher

MISSION = "mission"
_LINE_EVERY_S = 10.0


class LineWatcher(Watcher):
    """One line where a stage begins, then one every ten seconds; events as they come."""

    def __init__(self, write: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._last: dict[str, float] = {}

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        now_s = self._clock()
        if name in self._last and now_s - self._last[name] < _LINE_EVERY_S and (done < total or name == MISSION):
            return
        self._last[name] = now_s
        count = f" {done}/{total}" if total > 1 else ""
        self._write(f"{name}{count}" + (f": {detail}" if detail else ""))

    def event(self, at_s: float, text: str) -> None:
        self._write(f"{iso_utc(at_s)}  {text}")


class BarWatcher(Watcher):
    """The mission's bar, and below it one for what is done right now; events stand above both."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(printable(name), total=total, detail="")
        for other, task in self._tasks.items():
            self._progress.update(task, visible=other in (name, MISSION))
        self._progress.update(self._tasks[name], completed=done, total=total, detail=printable(detail))

    def event(self, at_s: float, text: str) -> None:
        self._progress.console.print(Text(f"{iso_utc(at_s)}  {printable(text)}"))


@contextlib.contextmanager
def watching(quiet: bool) -> Iterator[Watcher]:
    """Yield the watcher that fits where stderr goes."""
    if quiet:
        yield Watcher()
    elif not sys.stderr.isatty():
        yield LineWatcher()
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        # Few redraws: they run beside a training that wants every core.
        with Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True) as progress:
            yield BarWatcher(progress)
