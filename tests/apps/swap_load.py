"""Swaps under load over the socket, and what must hold of them; used by the tests, and by itself for larger figures.

One process serves, several others ask, and the calling one swaps two models to and fro. `time.monotonic` is one clock for all
processes of a machine, so each answer can be held against the swaps: it must be, bit for bit, what the model that it names says
of that tile, and that model must have been current at some moment between the question and the answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitloop.apps.detector_client import DetectorClient
from orbitloop.apps.detector_files import load_folder
from orbitloop.errors import BusyError
from orbitloop.records.prediction import Detections

ASK = "from swap_load import ask; ask()"


@dataclass
class Load:
    """What came of one run. Times in seconds."""

    asked: int
    answered: int
    wrong: int
    stale: int
    busy: int
    swaps: int
    swap_s: list[float]
    waits_s: list[float]
    status: dict


def ask() -> None:
    """Be one client: sys.argv = socket, tiles.npy, seed, how many; write one JSON line per answer."""
    socket, tiles, seed, count = Path(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    order = np.random.default_rng(seed).integers(0, len(tiles), count)
    with DetectorClient(socket) as client:
        for index in order:
            busy, began_s = 0, time.monotonic()
            while True:
                try:
                    found = client.detect(tiles[index : index + 1], embeddings=True)
                    break
                except BusyError:
                    busy += 1
            row = [int(index), found.digest, began_s, time.monotonic(), busy, key(found.detections[0], found.embeddings[0])]
            sys.stdout.write(json.dumps(row) + "\n")


def key(found: Detections, mark: np.ndarray) -> str:
    """Return an answer as text, bit for bit; the embedding tells two models apart even where there is nothing to detect."""
    return b"".join(a.tobytes() for a in (found.boxes_xyxy_px, found.scores, found.classes.astype("<i4"), mark)).hex()


def run_load(
    socket: Path, folders: list[Path], tiles: np.ndarray, scratch: Path, *, clients: int, each: int, gap_s: float
) -> Load:
    """Ask `clients` x `each` times of the detector that runs on `socket` while swapping `folders` in turn, every `gap_s`."""
    truth = {}
    for folder in folders:
        engine, digest = load_folder(folder, 1)
        said = [engine.infer(tiles[i : i + 1])[0] for i in range(len(tiles))]
        truth[digest] = [key(one.detections, one.embedding) for one in said]
    assert len({text for texts in truth.values() for text in texts}) == len(folders) * len(tiles), "a mix-up would show"
    np.save(scratch / "tiles.npy", tiles)
    words = [sys.executable, "-c", ASK, str(socket), str(scratch / "tiles.npy")]
    asking = []
    for seed in range(clients):
        out = (scratch / f"answers-{seed}").open("w")
        asking.append((subprocess.Popen([*words, str(seed), str(each)], stdout=out, cwd=Path(__file__).parent), out))
    swaps: list[tuple[float, float, str]] = []
    with DetectorClient(socket) as client:
        turn = 0
        while any(process.poll() is None for process, _ in asking):
            if gap_s < 0:
                time.sleep(0.05)
                continue
            turn += 1
            began_s = time.monotonic()
            told = client.swap(folders[turn % len(folders)].name)
            swaps.append((began_s, time.monotonic(), told["digest"]))
            time.sleep(max(0.0, gap_s - (time.monotonic() - began_s)))
        status = client.status()
    for process, out in asking:
        assert process.wait() == 0
        out.close()
    rows = [json.loads(line) for seed in range(clients) for line in (scratch / f"answers-{seed}").read_text().splitlines()]
    return judge(rows, swaps, truth, clients * each, status)


def judge(rows: list, swaps: list[tuple[float, float, str]], truth: dict[str, list[str]], asked: int, status: dict) -> Load:
    """Hold each answer against its model and against the swaps."""
    wrong = stale = 0
    for index, digest, began_s, ended_s, _, said in rows:
        wrong += truth[digest][index] != said
        before = [swap for swap in swaps if swap[1] < began_s]  # replied before the question was asked
        during = {swap[2] for swap in swaps if swap[0] < ended_s and swap[1] >= began_s}  # under way meanwhile
        if before:
            stale += digest != before[-1][2] and digest not in during
    waits_s = sorted(row[3] - row[2] for row in rows)
    took_s = sorted(swap[1] - swap[0] for swap in swaps)
    return Load(asked, len(rows), wrong, stale, sum(row[4] for row in rows), len(swaps), took_s, waits_s, status)
