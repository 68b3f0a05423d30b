"""A resident detector as a process of its own, and small real models for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from orbitloop.apps.detector_client import DetectorClient
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import STRIDES
from orbitloop.onboard.weights import save_weights
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE, ModelMetadata, Preprocessing

ANCHORS = (((60.0, 60.0), (80.0, 50.0), (50.0, 80.0)), ((12.0, 12.0), (24.0, 16.0), (16.0, 24.0)))
SIDE = 64


def write_model(folder: Path, seed: int, classes: tuple[str, ...] = ("field",), side: int = SIDE) -> Path:
    """Write a small untrained network that finds something in noise."""
    metadata = ModelMetadata("tiny", classes, 0.05, STRIDES, ANCHORS, Preprocessing(side, 16, 114, 0.01, 0.02, 0.5, 20))
    weights = {name: array.copy() for name, array in initial_weights(0.05, len(classes), seed).items()}
    for name in weights:
        if name.startswith("conv") and name.endswith(".bias"):
            weights[name][4 :: 5 + len(classes)] = -1.0
    folder.mkdir(parents=True)
    (folder / GRAPH_FILE).write_bytes(write_graph(metadata, weights))
    (folder / WEIGHTS_FILE).write_bytes(save_weights(weights))
    return folder


def noise(count: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return tiles."""
    return np.random.default_rng(seed).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


class Running:
    """A detector's process; `lines` are its log's."""

    def __init__(self, socket: Path, model: Path, *options: str | Path) -> None:
        self.socket = socket
        words = [sys.executable, "-m", "orbitloop.apps.detector", "--model", model, "--socket", socket, "--json", *options]
        self.process = subprocess.Popen(
            [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.ready = json.loads(self.process.stdout.readline() or "{}")

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def client(self, timeout_s: float = 60.0) -> DetectorClient:
        return DetectorClient(self.socket, timeout_s)

    def end(self, number: int | None = None) -> tuple[int, list[dict], str]:
        """Send a signal, if any, and wait; return the exit code, the rest of the log, and stderr."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err
