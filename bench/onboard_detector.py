"""The resident detector as it flies, asked over its socket: and what a hot swap costs those who ask meanwhile."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from onboard_models import Model, Subject, real_tiles, write_folder
from orbitloop.apps.detector_client import DetectorClient
from orbitloop.errors import OrbitloopError
from orbitloop.reports.figures import Figure, figure_of

CLIENTS = 2
REQUESTS = 10_000
QUICK_REQUESTS = 100
_START_S = 60.0


class Detector:
    """A detector in a process of its own; a context manager. `arguments` are further options of its command line."""

    def __init__(self, model: Path, socket: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "orbitloop.apps.detector", "--model", str(model), "--socket", str(socket), "--json"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=env)
        self._socket = socket
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line or json.loads(line)["event"] != "ready":
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            raise OrbitloopError(f"the detector does not start: {line.strip() or 'no word'}", where="bench")
        self._log = threading.Thread(target=self._process.stdout.read, daemon=True)  # its log must not fill the pipe
        self._log.start()

    def client(self) -> DetectorClient:
        """Connect to it."""
        return DetectorClient(self._socket, timeout_s=3600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.join(timeout=5)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(slots=True)
class Tally:
    """What one client met: seconds for each answer, and whether a swap was under way; what failed, and what was wrong."""

    idle_s: list[float] = field(default_factory=list)
    swapping_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: int = 0


def measure(subject: Subject, work: Path, *, quick: bool) -> list[Figure]:
    """Swap two models back and forth without rest while clients ask, and hold each answer against its model's own."""
    first = subject.int8 or subject.float32
    models = {name: write_folder(work / "models" / name, model) for name, model in (("a", first), ("b", nudged(first)))}
    tiles = real_tiles(subject.held_out, first.metadata.preprocessing.tile_px, 1)
    requests = QUICK_REQUESTS if quick else REQUESTS
    try:
        with Detector(models["a"], work / "socket", "--models", str(work / "models")) as detector:
            expected = _expected(detector, tiles)
            tallies, swaps = _load(detector, tiles, expected, requests)
            with detector.client() as client:
                status = client.status()
    except OrbitloopError as error:
        return [Figure("hot swap: requests lost", "not measured", "", note=str(error))]
    return figures_of(tallies, swaps, requests, status, "int8" if subject.int8 else "float32")


def nudged(model: Model) -> Model:
    """Return the model with one float tensor a little different: another digest, nearly the same work."""
    name = next(name for name in sorted(model.weights) if model.weights[name].dtype == np.float32)
    return Model(model.graph, {**model.weights, name: model.weights[name] * np.float32(1.01)})


Answers = Mapping[str, npt.NDArray[np.float32]]


def _expected(detector: Detector, tiles: npt.NDArray[np.uint8]) -> Answers:
    """Return what each of both models answers, by digest; ends on the first."""
    found = {}
    with detector.client() as client:
        for name in ("b", "a"):
            digest = client.swap(name)["digest"]
            found[digest] = client.detect(tiles).detections[0].scores
    return found


def _load(
    detector: Detector, tiles: npt.NDArray[np.uint8], expected: Answers, requests: int
) -> tuple[list[Tally], list[float]]:
    tallies = [Tally() for _ in range(CLIENTS)]
    swapping = threading.Event()
    share = requests // CLIENTS
    threads = [threading.Thread(target=_ask, args=(detector, tiles, expected, share, swapping, tally)) for tally in tallies]
    for thread in threads:
        thread.start()
    swaps: list[float] = []
    with detector.client() as client:
        while any(thread.is_alive() for thread in threads):
            swapping.set()
            begin_s = time.monotonic()
            client.swap("b" if len(swaps) % 2 == 0 else "a")
            swaps.append(time.monotonic() - begin_s)
            swapping.clear()
            threads[0].join(timeout=0.2)
    for thread in threads:
        thread.join()
    return tallies, swaps


def _ask(
    detector: Detector,
    tiles: npt.NDArray[np.uint8],
    expected: Answers,
    count: int,
    swapping: threading.Event,
    tally: Tally,
) -> None:
    with detector.client() as client:
        for number in range(count):
            busy, begin_s = swapping.is_set(), time.monotonic()
            try:
                found = client.detect(tiles)
            except OrbitloopError as error:
                tally.lost.append(f"{number}: {error}")
                continue
            took_s = time.monotonic() - begin_s
            (tally.swapping_s if busy or swapping.is_set() else tally.idle_s).append(took_s)
            scores = expected.get(found.digest)
            tally.wrong += scores is None or not np.array_equal(scores, found.detections[0].scores)


def figures_of(tallies: list[Tally], swaps: list[float], requests: int, status: Mapping[str, Any], form: str) -> list[Figure]:
    """Turn what the clients met into figures."""
    lost = [text for tally in tallies for text in tally.lost]
    wrong = sum(tally.wrong for tally in tallies)
    idle = [s for tally in tallies for s in tally.idle_s]
    busy = [s for tally in tallies for s in tally.swapping_s]
    pause_s = status["longest_pause_s"]
    first = f" First: {lost[0]}." if lost else ""
    how = (
        f"{CLIENTS} clients, one {form} tile a request, over the socket; {len(swaps)} swaps, one every 0.2 s, "
        f"{_median_ms(swaps):.0f} ms each"
    )
    return [
        figure_of(
            "hot swap: requests lost",
            len(lost),
            f"of {requests}",
            at_most=0,
            note=f"{how}. {wrong} answers differed from what the model that they name answers alone.{first}",
        ),
        figure_of(
            "hot swap: longest pause",
            round(1e3 * max(busy, default=0.0), 1),
            "ms",
            note=f"Longest answer while a model was loaded and swapped in; median {_median_ms(busy):.1f} ms, without a swap "
            f"{_median_ms(idle):.1f} ms, longest {1e3 * max(idle, default=0.0):.1f} ms. Longest wait for the exchange itself: "
            f"{1e3 * pause_s:.3f} ms. Wall time, loading and two clients on the same cores.",
        ),
    ]


def _median_ms(samples: list[float]) -> float:
    return 1e3 * statistics.median(samples) if samples else 0.0
