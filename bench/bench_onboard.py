"""On board: tile, whole scene, process, memory, hot swap and accuracy, each beside the peers that do the same.

One interleaved run: every side is a process of its own, they take turns, and what counts is each one's own CPU time on one
core, so that a busy machine is busy for all. SAHI, OpenVINO and ncnn come from an environment of the benchmark's own
(`onboard_env`). Quick: one set, few rounds, fresh weights; nothing is trained or installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import onboard_detector
import onboard_env
import onboard_models
import onboard_process
import onboard_scenes
import onboard_tiles
from onboard_pool import Side
from orbitloop.reports.figures import Figure


def run(quick: bool) -> list[Figure]:
    """Measure all of it."""
    with tempfile.TemporaryDirectory(prefix="orbitloop-bench-") as name:
        work = Path(name)
        here, peers = Path(sys.executable), None
        try:
            peers = onboard_env.python(make=not quick)
        except onboard_env.NoEnvironment as error:
            print(error, file=sys.stderr)
        subjects = onboard_models.subjects(quick=quick)
        sides = own_sides(here) + (peer_sides(peers) if peers else [])
        figures = onboard_tiles.measure(subjects[0], sides, work / "tiles", quick=quick)
        scene_sides = onboard_scenes.sides(here, peers, subjects[0])
        figures += onboard_process.measure(subjects[0], sides, scene_sides, work / "process", quick=quick)
        figures += onboard_detector.measure(subjects[0], work / "swap", quick=quick)
        for subject in subjects:
            mine = onboard_scenes.sides(here, peers, subject)
            figures += onboard_scenes.measure(subject, mine, work / subject.name, quick=quick)
    return figures


def own_sides(here: Path) -> list[Side]:
    """Return our engine in its forms."""
    return [Side(onboard_tiles.OURS, "ours", here, "int8"), Side("ours, float32", "ours", here)]


def peer_sides(python: Path) -> list[Side]:
    """Return the peers that run one network, and our engines whose libraries come with them."""
    return [
        Side(onboard_tiles.REFERENCE, "torch", python),
        Side("torch, folded, channels last", "torch-tuned", python),
        Side(onboard_tiles.BASE, "onnxruntime", python),
        Side("OpenVINO fp32", "openvino", python),
        Side("OpenVINO bf16", "openvino-bf16", python),
        Side("ncnn fp32", "ncnn", python),
        Side("ours, int8 on OpenVINO", "ours", python, "int8", {"engine": "openvino"}),
    ]
