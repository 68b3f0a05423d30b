"""The loop benchmark: every stage and the bytes are among its figures; how long anything took decides nothing here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import orbitloop.cli.bench as door
from orbitloop.reports.figures import BenchResult
from orbitloop.resources.manifest import load_mission

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module() -> Any:
    door._load(ROOT, "loop")
    return sys.modules["orbitloop_bench_loop"]


def test_a_quick_run_turns_the_loop_once_and_accounts_for_all_its_time(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = ("Model.width=0.05", "Model.baseTraining.steps=4", "IncrementalLearningJob.training.steps=2", "Mission.threads=1")
    monkeypatch.setattr(module, "SMALL", module.SMALL + fewer)
    result = BenchResult("loop", door.machine(), tuple(module.run(True)))
    door._check(result)
    figures = {figure.name: figure for figure in result.figures}
    stages = {name: figure.value for name, figure in figures.items() if name.startswith("stage: ")}
    assert {"stage: base model", "stage: on-board inference", "stage: selection", "stage: link", "stage: gate"} <= set(stages)
    assert sum(stages.values()) == pytest.approx(figures["whole loop"].value, abs=0.05)
    assert 0 < figures["share of training"].value < 100
    assert figures["captured"].value > figures["sent down"].value > 0
    assert "rounds: 1," in figures["whole loop"].note


def test_the_full_run_is_the_shipped_mission_held_to_its_aim(module: Any) -> None:
    assert load_mission(module.MISSION).name == "farmland-demo"
    assert module.AIM_S == 150
    assert load_mission(module.MISSION, module.SMALL).job.spec.training.rounds == 1
