"""Workers of the comparison, driven in turns: who runs next changes each round, so that a busy machine is busy for all."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCRIPT = Path(__file__).resolve().parent / "peers" / "worker.py"
LIMIT_S = 900.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "OMP_WAIT_POLICY": "PASSIVE"
}


@dataclass(frozen=True, slots=True)
class Side:
    """Who is measured: a name for the figures, the kind of worker, the interpreter it runs in, how its model is loaded.

    `model` names which of a subject's model folders it loads, `load` the further arguments.
    """

    name: str
    kind: str
    python: Path
    model: str = "float32"
    load: Mapping[str, Any] = field(default_factory=dict)


class WorkerFailed(Exception):
    """A side could not do what it was asked; the text is its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command gave and what it took."""

    value: Any
    cpu_s: float
    wall_s: float


class Worker:
    """One side in a process of its own, until `close`."""

    def __init__(self, side: Side, models: Mapping[str, Path]) -> None:
        """Start it and load its model.

        Raises:
            WorkerFailed: the model does not load, or the side's library is not there.
        """
        self.name = side.name
        self._process = subprocess.Popen(
            [str(side.python), str(SCRIPT), side.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_ONE_THREAD},
        )
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.call("load", folder=str(models[side.model]), **side.load)
        except WorkerFailed:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def call(self, op: str, *, limit_s: float = LIMIT_S, **arguments: Any) -> Answer:
        """Run one command.

        Raises:
            WorkerFailed: the side refuses, ends, or takes too long.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(limit_s, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise WorkerFailed(f"{self.name} is gone ({error}); it said: {self._last_words()}") from error
        finally:
            timer.cancel()
        if not line:
            raise WorkerFailed(f"{self.name} ended; it said: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return Answer(answer["value"], answer["cpu_s"], answer["wall_s"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(timeout=5)
        self._process.stderr.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said = [*self._said[-20:], line.strip()]

    def _last_words(self) -> str:
        self._process.wait()
        self._listener.join(timeout=5)
        return (self._said or ["nothing"])[-1][:200]


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of one kind of work, all samples."""

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples_s)

    @property
    def least_s(self) -> float:
        """The least sample."""
        return min(self.samples_s)

    @property
    def spread(self) -> float:
        """Return the least over the median: near 1 when nothing disturbed."""
        return self.least_s / self.median_s


def take_turns(
    turns: Mapping[str, Callable[[], Mapping[str, Sequence[float]]]], rounds: int
) -> tuple[dict[str, dict[str, Spent]], dict[str, str]]:
    """Let each side take its turn in every round, in an order that moves on by one each round.

    Args:
        turns: by side, a function that runs once and gives CPU seconds by kind of work.
        rounds: how often; a first round more warms up and does not count.

    Returns:
        By side and kind of work, all samples; and by side why it failed, its samples left out.
    """
    names = list(turns)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    failed: dict[str, str] = {}
    for number in range(rounds + 1):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            if name in failed:
                continue
            try:
                spans = turns[name]()
            except WorkerFailed as error:
                failed[name] = str(error)
                continue
            for kind, samples in spans.items() if number else ():
                found[name].setdefault(kind, []).extend(samples)
    kept = {name: kinds for name, kinds in found.items() if name not in failed}
    return {name: {kind: Spent(tuple(s)) for kind, s in kinds.items()} for name, kinds in kept.items()}, failed
