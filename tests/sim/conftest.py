from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_mission

from orbitloop.resources.mission import MissionPlan
from orbitloop.sim import releases
from orbitloop.sim.mission import MissionResult, run_mission
from orbitloop.sim.watcher import Watcher

Runner = Callable[..., MissionResult]
PROGRAM = Path(tiny_mission.__file__)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained base models of the whole session: equal missions train once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def run_tiny(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Run a plan to its end, in a folder of its own unless one is given."""

    def run(
        plan: MissionPlan,
        out: Path | None = None,
        *,
        resume: bool = False,
        watcher: Watcher | None = None,
        real_gate: bool = False,
    ) -> MissionResult:
        folder = out or tmp_path_factory.mktemp("run")
        with pytest.MonkeyPatch.context() as patch:
            if not real_gate:
                patch.setattr(releases, "judge", tiny_mission.open_gate)
            return run_mission(plan, Path("no-data"), folder, resume=resume, watcher=watcher, cache=cache)

    return run


@pytest.fixture(scope="session")
def finished(run_tiny: Runner) -> MissionResult:
    """The tiny mission as it is, run to its end."""
    return run_tiny(tiny_mission.tiny_plan())


@pytest.fixture(scope="session")
def run_process(cache: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the tiny mission in a process of its own, which options may have kill itself."""

    shared = cache

    def run(out: Path, *options: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "random"}
        command = [sys.executable, str(PROGRAM), str(out), str(cache or shared), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings tell of, and save, every step."""
    from orbitloop.ground.adapters import torch_trainer

    monkeypatch.setattr(torch_trainer, "time", tiny_mission.Minutes())
