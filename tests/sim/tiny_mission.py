"""A whole mission small enough for tests: tiny rendered scenes, a network of 25 thousand parameters, some dozens of steps.

Also a program, so that tests can run, kill and resume it in processes of its own: `tiny_mission.py OUT CACHE [options]`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from orbitloop.ground.gate import judge
from orbitloop.records.verdict import GateVerdict
from orbitloop.resources.manifest import parse_mission
from orbitloop.resources.mission import MissionPlan

MISSION: dict[str, Any] = {
    "kind": "Mission",
    "name": "tiny",
    "spec": {"durationDays": 0.6, "threads": 1, "trainingHours": 0.5, "captures": {"scenesPerHour": 4}},
}
SATELLITE: dict[str, Any] = {
    "kind": "Satellite",
    "name": "sat-1",
    "spec": {"power": {"panelW": 14}},  # never quite full, so that every joule is still seen at the end
}
STATIONS: list[dict[str, Any]] = [
    {"kind": "GroundStation", "name": "svalbard", "spec": {"latitudeDeg": 78.23, "longitudeDeg": 15.41}},
    {"kind": "GroundStation", "name": "troll", "spec": {"latitudeDeg": -72.0, "longitudeDeg": 2.53}},
]
DATASET: dict[str, Any] = {
    "kind": "Dataset",
    "spec": {
        "format": "procedural",
        "domains": {"base": "summer", "stream": ["autumn", "haze"]},
        "procedural": {
            "scenePx": 128,
            "scenesPerDomain": 10,
            "domains": {
                "summer": {"season": "summer", "field_size_px": 44},
                "autumn": {"season": "autumn", "soil": "clay", "field_size_px": 44},
                "haze": {"season": "september", "haze": 0.5, "field_size_px": 44},
            },
        },
    },
}
MODEL: dict[str, Any] = {
    "kind": "Model",
    "spec": {
        "width": 0.05,
        "tilePx": 96,
        "overlapPx": 32,
        "trainable": ["head", "bn"],
        "baseTraining": {"steps": 40, "batch": 8, "learningRate": 0.01},
        "quantisation": {"calibrationTiles": 8, "maxLoss": 0.5},
    },
}
JOB: dict[str, Any] = {
    "kind": "IncrementalLearningJob",
    "spec": {
        "mining": {"name": "always"},
        "selection": {"name": "value-diversity"},
        "training": {"trigger": {"minSamples": 8}, "steps": 8, "batch": 8, "rounds": 2, "views": 2},
        "gate": {"minGain": 0, "maxLoss": 1, "gateShare": 0.4},
        "update": {"canary": {"maxLoss": 1}},
        "budgets": {"samplesPerPass": 16},
    },
}


def merged(base: Any, change: Any) -> Any:
    """Return `base` with the mapping `change` laid over it, level by level."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return copy.deepcopy(change)
    out = copy.deepcopy(base)
    for name, value in change.items():
        out[name] = merged(out.get(name), value)
    return out


def tiny_plan(
    *,
    seed: int = 0,
    mission: Any = None,
    satellite: Any = None,
    more_satellites: tuple[dict[str, Any], ...] = (),
    dataset: Any = None,
    model: Any = None,
    job: Any = None,
) -> MissionPlan:
    """Return the tiny mission's plan with changes to its specs."""
    documents = [
        merged(MISSION, {"spec": mission or {}}),
        merged(SATELLITE, {"spec": satellite or {}}),
        *more_satellites,
        *STATIONS,
        merged(DATASET, {"spec": dataset or {}}),
        merged(MODEL, {"spec": model or {}}),
        merged(JOB, {"spec": job or {}}),
    ]
    return parse_mission(yaml.safe_dump_all(documents), "tiny").with_seed(seed)


def open_gate(champion: Any, candidate: Any, new: Any, old: Any, rule: Any, evaluate: Any) -> GateVerdict:
    """Judge as the gate does, and then let pass: some steps of a tiny network are no reliable gain."""
    return replace(judge(champion, candidate, new, old, rule, evaluate), passed=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int, default=0, help="SIGKILL ourselves at the k-th word to the watcher")
    parser.add_argument("--kill-at-write", type=int, default=0, help="SIGKILL ourselves before the k-th replace of a file")
    parser.add_argument("--save-each-step", action="store_true", help="trainings checkpoint after every step")
    chosen = parser.parse_args()

    from orbitloop.sim import releases
    from orbitloop.sim.mission import run_mission
    from orbitloop.sim.watcher import Watcher

    releases.judge = open_gate
    if chosen.save_each_step:
        eager_trainings()
    if chosen.kill_at_write:
        _kill_at_write(chosen.kill_at_write)

    class Killer(Watcher):
        heard = 0

        def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
            self._count()

        def event(self, at_s: float, text: str) -> None:
            self._count()

        def _count(self) -> None:
            Killer.heard += 1
            if Killer.heard == chosen.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    result = run_mission(
        tiny_plan(seed=chosen.seed), Path("no-data"), chosen.out, resume=chosen.resume, watcher=Killer(), cache=chosen.cache
    )
    json.dump({"digest": result.report.digest(), "heard": Killer.heard}, sys.stdout)


class Minutes:
    """A stand-in for `time`, in which a minute passes with every look: a training then tells of, and saves, every step."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        self.now_s += 60.0
        return self.now_s


def eager_trainings() -> None:
    from orbitloop.ground.adapters import torch_trainer

    torch_trainer.time = Minutes()  # type: ignore[assignment]


def _kill_at_write(number: int) -> None:
    replace, seen = Path.replace, [0]

    def counted(self: Path, target: Any) -> Path:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
