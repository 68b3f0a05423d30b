"""The whole loop in one process: the demo mission, seconds by stage, the share that is training, and the bytes it moved.

Quick: the same mission made small (few steps, few scenes, a narrow network), so that every stage still runs. Full: the shipped
`missions/farmland-demo.yaml` as users meet it, with nothing in the cache. Wall-clock seconds, as a user waits them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from orbitloop.reports.figures import Figure, figure_of
from orbitloop.reports.mission import MissionReport
from orbitloop.resources.manifest import load_mission
from orbitloop.sim.mission import run_mission
from orbitloop.sim.watcher import Watcher

MISSION = Path(__file__).resolve().parents[1] / "missions" / "farmland-demo.yaml"
AIM_S = 150.0
TRAINING_STAGES = ("base model", "teacher", "training", "ceiling")
SMALL = (
    "Dataset.procedural.scenesPerDomain=8",
    "Dataset.procedural.scenePx=256",
    "Mission.captures.scenesPerHour=2",
    "Model.width=0.1",
    "Model.tilePx=96",
    "Model.overlapPx=16",
    "Model.baseTraining.steps=60",
    "IncrementalLearningJob.training.steps=20",
    "IncrementalLearningJob.training.rounds=1",
    "IncrementalLearningJob.training.trigger.minSamples=8",
    "IncrementalLearningJob.mining.name=always",  # so short a base training is sure of nothing, and unsure of nothing
    "IncrementalLearningJob.gate={minGain: 0, maxLoss: 1, gateShare: 0.4}",
)


class _Events(Watcher):
    """Says on stderr what happens, since a full run takes minutes."""

    def event(self, at_s: float, text: str) -> None:
        print(text, file=sys.stderr)


def run(quick: bool) -> list[Figure]:
    """Run the mission in a folder of its own, with an empty cache, and read its report."""
    plan = load_mission(MISSION, SMALL if quick else ())
    with tempfile.TemporaryDirectory(prefix="orbitloop-bench-") as name:
        folder = Path(name)
        begin_s = time.monotonic()
        report = run_mission(plan, folder / "data", folder / "run", watcher=_Events(), cache=folder / "cache").report
        total_s = time.monotonic() - begin_s
    return [*_times(report, total_s, quick), *_moved(report)]


def _times(report: MissionReport, total_s: float, quick: bool) -> list[Figure]:
    training_s = sum(report.wall.get(stage, 0.0) for stage in TRAINING_STAGES)
    size = "small version of the mission" if quick else "farmland-demo.yaml as shipped"
    figures = [
        figure_of(
            "whole loop",
            round(total_s, 2),
            "s",
            at_most=None if quick else AIM_S,
            note=f"{size}, {report.counts.tiles_seen} tiles seen, rounds: {len(report.rounds)}, nothing cached.",
        ),
        figure_of(
            "share of training",
            round(100 * training_s / total_s, 1),
            "%",
            note="Base model and rounds, rendering their scenes included; the rest is the loop around them.",
        ),
    ]
    for stage, seconds in sorted(report.wall.items(), key=lambda item: -item[1]):
        figures.append(figure_of(f"stage: {stage}", round(seconds, 3), "s"))
    rest_s = total_s - sum(report.wall.values())
    return [*figures, figure_of("stage: rest", round(rest_s, 3), "s", note="Contact plan, report, and what no stage counts.")]


def _moved(report: MissionReport) -> list[Figure]:
    sizes = report.bytes
    updates = [r.update.bytes for r in report.rounds if r.update is not None]
    figures = [
        figure_of("captured", sizes.captured, "B", note="Uncompressed pixels."),
        figure_of("sent down", sizes.downlinked, "B", note="All bytes over the link: samples, beacons, protocol."),
        figure_of("sent up", sizes.uplinked, "B"),
    ]
    if updates:
        mean_bytes = sum(updates) / len(updates)
        figures.append(
            figure_of(
                "update", round(mean_bytes), "B", note=f"Mean of {len(updates)}; the full model has {sizes.full_model} B."
            )
        )
    return figures
