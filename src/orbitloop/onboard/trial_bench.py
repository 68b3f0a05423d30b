"""Two models on the same tiles, in turn, step by step: what a trial does, in whichever process it runs.

Role: load the running model and the candidate, look at synthetic tiles and at the job's with both, time them interleaved, and
tell each step before it is taken, so that whoever listens knows what a crash or a hang was at. It leaves the verdict to
`onboard.trial` and a process of its own to an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import OrbitloopError
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.onboard.trial import TIMING_ROUNDS, Findings, ModelBytes, TileFinding, TrialJob
from orbitloop.onboard.weights import load_weights
from orbitloop.records.prediction import Detections

RUNNING, CANDIDATE = "running", "candidate"
NAMES = {RUNNING: "the running model", CANDIDATE: "the candidate"}
EngineFactory = Callable[[bytes, Mapping[str, npt.NDArray[Any]]], Engine]
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Step:
    """About to be done, and by which of the two."""

    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Round:
    """CPU seconds of one round over all tiles."""

    running_s: float
    candidate_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """What one of the two could not do; the trial ends."""

    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All is done."""


Event = Step | TileFinding | Round | Failure | Finished


def bench(job: TrialJob, load: EngineFactory, cpu_clock: Callable[[], float] | None) -> Iterator[Event]:
    """Run a trial and yield what happens; the last event is a Failure or Finished.

    Args:
        job: models and tiles.
        load: builds a model of a slot's bytes.
        cpu_clock: CPU seconds of whoever runs the models; None measures no time.
    """
    at = Step(RUNNING, "loads")
    try:
        for event in _events(job, load, cpu_clock):
            at = event if isinstance(event, Step) else at
            yield event
    except OrbitloopError as error:
        yield Failure(at.who, f"{error.what} as it {at.what}"[:MAX_TEXT])
    except Exception as error:  # an engine promises ModelError; one that breaks its word has failed all the same
        said = " ".join([type(error).__name__, *str(error)[:200].split()])
        yield Failure(at.who, f"{said} as it {at.what}"[:MAX_TEXT])


def _events(job: TrialJob, load: EngineFactory, cpu_clock: Callable[[], float] | None) -> Iterator[Event]:
    yield Step(RUNNING, "loads")
    running = _load(job.running, load)
    yield Step(CANDIDATE, "loads")
    candidate = _load(job.candidate, load)
    both = ((RUNNING, running), (CANDIDATE, candidate))
    for name, tile in synthetic_tiles(running):  # also what warms both up before anything is timed
        for who, engine in both:
            yield Step(who, f"looks at a {name} tile")
            detect_scene(engine, tile if engine is running else dict(synthetic_tiles(engine))[name])
    for turn in range(TIMING_ROUNDS):
        spent = {RUNNING: 0.0, CANDIDATE: 0.0}
        for index, pixels in enumerate(job.tiles or [tile for _, tile in synthetic_tiles(running)]):
            found: dict[str, Detections] = {}
            for who, engine in both if index % 2 else both[::-1]:
                yield Step(who, f"looks at tile {index + 1} of {len(job.tiles)}" if job.tiles else "is timed")
                begin_s = cpu_clock() if cpu_clock else 0.0
                found[who] = detect_scene(engine, pixels).detections
                spent[who] += (cpu_clock() if cpu_clock else 0.0) - begin_s
            if turn == 0 and job.tiles:
                yield TileFinding(index, found[RUNNING], found[CANDIDATE])
        yield Round(spent[RUNNING], spent[CANDIDATE])
        if spent[CANDIDATE] <= job.limits.max_slowdown * spent[RUNNING]:
            break
    yield Finished()


def _load(model: ModelBytes, load: EngineFactory) -> Engine:
    return load(model.graph, load_weights(model.weights))


def synthetic_tiles(engine: Engine) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Return what a camera also sees: night, glare, fog, noise; of the model's tile size, always the same."""
    side = engine.metadata.preprocessing.tile_px
    flat = [(name, np.full((side, side, 3), value, np.uint8)) for name, value in (("black", 0), ("white", 255), ("grey", 128))]
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return [*flat, ("random", noise)]


@dataclass(slots=True)
class Collector:
    """Makes findings of events."""

    tiles: list[TileFinding] = field(default_factory=list)
    rounds: list[tuple[float, float]] = field(default_factory=list)
    at: Step | None = None
    failure: str = ""
    finished: bool = False

    def take(self, event: Event) -> None:
        """Note an event; what comes after the end is passed over."""
        if self.finished:
            return
        match event:
            case Step():
                self.at = event
            case TileFinding():
                self.tiles.append(event)
            case Round():
                self.rounds.append((event.running_s, event.candidate_s))
            case Failure():
                self.failure, self.finished = f"{NAMES.get(event.who, 'the trial')}: {event.what}", True
            case Finished():
                self.finished = True

    def findings(self, ended: str = "") -> Findings:
        """Return the findings.

        Args:
            ended: how it ended, when neither a Failure nor Finished has come.
        """
        failure = self.failure
        if not self.finished:
            doing = f" as {NAMES.get(self.at.who, 'it')} {self.at.what}" if self.at else ", before it had begun"
            failure = f"{ended or 'the trial ended early'}{doing}"
        return Findings(tuple(self.tiles), tuple(self.rounds), failure)


class InProcess:
    """A `TrialRunner` in this very process: for tests, for fleets of thousands in one simulation, and where there is no room
    for a second process. What crashes or hangs takes the caller along.

    Args:
        load: builds a model of a slot's bytes.
        cpu_clock: see `bench`.
    """

    def __init__(self, load: EngineFactory, cpu_clock: Callable[[], float] | None = None) -> None:
        self._load, self._cpu_clock = load, cpu_clock

    def run(self, job: TrialJob) -> Findings:
        """Run a trial; the limits of time and memory are not kept here."""
        collector = Collector()
        for event in bench(job, self._load, self._cpu_clock):
            collector.take(event)
        return collector.findings()
