"""Missions that say how many bytes an update may take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_mission

from orbitloop.sim.mission import MissionResult
from orbitloop.sim.watcher import Watcher

Runner = Callable[..., MissionResult]
MOST_BYTES = 4000


class Events(Watcher):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def event(self, at_s: float, text: str) -> None:
        self.told.append(text)


@pytest.mark.parametrize("form", ["int8", "float32"])
def test_updates_keep_within_the_bytes_that_the_mission_allows(run_tiny: Runner, tmp_path: Path, form: str) -> None:
    events = Events()
    plan = tiny_mission.tiny_plan(model={"form": form}, job={"budgets": {"uplinkBytesPerUpdate": MOST_BYTES}})
    result = run_tiny(plan, tmp_path / "run", watcher=events)
    updates = [one.update for one in result.report.rounds if one.update]
    assert updates
    for update in updates:
        assert update.bytes <= MOST_BYTES
    said = [text for text in events.told if "of what training changed" in text]
    assert len(said) >= len(updates)
    assert [text for text in events.told if "accepted" in text], (
        "what was planned, coded and sent is what the satellite could build"
    )
