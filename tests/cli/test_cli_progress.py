"""Progress: plain lines that do not flood a log, bars that show the mission and what is done now."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from orbitloop.cli.progress import BarWatcher, LineWatcher, watching
from orbitloop.sim.watcher import Watcher


def test_lines_say_a_stage_once_then_every_ten_seconds_then_its_end() -> None:
    lines: list[str] = []
    times = iter([0.0, 1.0, 5.0, 10.5, 11.0, 12.0])
    watcher = LineWatcher(lines.append, lambda: next(times))
    for done in range(5):
        watcher.stage("train", done, 5, "loss 1")
    watcher.stage("train", 5, 5)
    assert lines == ["train 0/5: loss 1", "train 3/5: loss 1", "train 5/5"]


def test_lines_tell_events_with_their_time() -> None:
    lines: list[str] = []
    LineWatcher(lines.append).event(0.0, "lift-off")
    assert lines == ["1970-01-01T00:00:00Z  lift-off"]


def test_bars_show_the_mission_and_the_stage_that_runs() -> None:
    out = io.StringIO()
    with Progress(console=Console(file=out, width=120), auto_refresh=False) as progress:
        watcher = BarWatcher(progress)
        watcher.stage("mission", 1, 10)
        watcher.stage("train [red]", 3, 5, "loss [bold]1")
        watcher.stage("gate", 0, 1)
        watcher.event(0.0, "an [event]")
        shown = {task.description: task.visible for task in progress.tasks}
    assert shown == {"mission": True, "train [red]": False, "gate": True}
    assert "an [event]" in out.getvalue()


def test_quiet_is_silent_and_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as watcher:
        assert type(watcher) is Watcher
        watcher.stage("x", 0, 1)
    with watching(quiet=False) as watcher:
        watcher.stage("x", 0, 1, "\x1b[2J")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "x: ?[2J\n")
