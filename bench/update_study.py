"""The study behind `orbitloop bench update`: missions, seeds, models, and one point of the curve at a time, kept on disk.

A study is hours of training and coding, so all of it is resumable: models lie in the cache of trained models, points in a file
of lines among the results, each under a digest of what it was made from. A second run takes up what is there.

For each mission and seed: a base model on the base domains; from it, on all labels of the stream, the whole network fine-tuned
(`full`, what 100 % means), the same with every weight drawn back to where it was (`pulled`, training for the rate), and a part
of it (`early`: the first five convolutions, all batch-norm, the outputs). All fly as int8. What is measured is AP50 and AP on
held-out scenes of the new domains, and on those of the old: whole scenes, by the pipeline that flies. Nothing is chosen on
them: which candidate an update is made of goes by AP on scenes that were trained on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.apps.missions import open_mission
from orbitloop.delta.apply import apply_delta
from orbitloop.ground.goals import Goal
from orbitloop.ground.planner import Planner
from orbitloop.records.ids import digest_json, digest_tensors
from orbitloop.records.label import LabelledImage
from orbitloop.sim.flight import Flight
from orbitloop.sim.measure import Meter
from orbitloop.sim.mission import base_model
from orbitloop.sim.planning import Planning
from orbitloop.sim.training import TrainedModel, TrainingRequest, trained_model
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import World, open_world

ROOT = Path(__file__).resolve().parents[1]
POINTS = Path(__file__).with_name("results") / "update-points.jsonl"
CODER = 1
"""Raised when the planner changes what it makes: points of another number are measured again."""
STEPS = 500
PULL = 0.03
"""Learning rates by which each step draws a convolution weight back to the base (`TrainingPlan.pull`)."""
PARTS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "full": (("all",), 0.0),
    "pulled": (("all",), PULL),
    "early": (("early:5", "bn", "outputs"), 0.0),
}
MISSIONS: Mapping[str, tuple[str, ...]] = {"aircraft-two": ("Dataset.duplicateBoxes=drop",), "farmland-naip": ()}
Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """One update measured. Accuracies in per cent; `left` is what the planner thought would be missing, 0..1."""

    mission: str
    seed: int
    part: str
    codec: str
    budget_bytes: int
    bytes: int
    new_ap50: float
    new_ap: float
    old_ap50: float
    old_ap: float
    note: str = ""
    left: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None


class Case:
    """One mission and seed: its models and what is measured on."""

    def __init__(self, mission: str, seed: int, data: Path, *, threads: int = 2) -> None:
        self.mission, self.seed, self.threads = mission, seed, threads
        self.plan = open_mission(ROOT / "missions" / f"{mission}.yaml", MISSIONS[mission]).with_seed(seed)
        self.data = data
        self._candidates: dict[str, Candidate] = {}

    @cached_property
    def world(self) -> World:
        """Return the mission's scenes."""
        return open_world(self.plan, self.data, self.seed)

    @cached_property
    def base(self) -> TrainedModel:
        """Return the base model, trained now where it is not in the cache."""
        return base_model(self.plan, self.world, Watcher(), None)

    @cached_property
    def old(self) -> list[LabelledImage]:
        """Return the scenes of the base domains that train."""
        return [ref.load() for ref in self.world.split.base_train]

    @cached_property
    def new(self) -> list[LabelledImage]:
        """Return the scenes of the stream."""
        return [ref.load() for ref in self.world.stream]

    @cached_property
    def flight(self) -> Flight:
        """Return the int8 form that is launched."""
        spec = self.plan.model.spec
        return Flight(self.base, "int8", self.old, spec.quantisation, seed=self.seed, threads=1)

    @cached_property
    def meter(self) -> Meter:
        """Return what measures."""
        return Meter(self.flight.graph, len(self.world.classes), 1)

    @cached_property
    def planning(self) -> Planning:
        """Return what observes and plans."""
        return Planning(self.flight, self.old, seed=self.seed, threads=1)

    def candidate(self, part: str) -> Candidate:
        """Return a fine-tuning, trained now where it is not in the cache."""
        if part not in self._candidates:
            self._candidates[part] = Candidate(self, part)
        return self._candidates[part]

    def measure(self, tensors: Tensors) -> tuple[float, float, float, float]:
        """Return AP50 and AP on held-out scenes of the new domains, and of the old, in per cent."""
        found = self.meter.on_world(tensors, self.world)
        new, old = found.new.to_json(), found.old.to_json()
        ap50, ap, old_ap50, old_ap = (round(100 * (side[m] or 0.0), 2) for side in (new, old) for m in ("ap50", "ap"))
        return ap50, ap, old_ap50, old_ap

    def on_training_scenes(self, tensors: Tensors) -> float:
        """Return the mean of AP50 and AP on some of the scenes that were trained on, new and old, in per cent."""
        found = self.meter.on_images(tensors, [*self.new[::3], *self.old[::6]]).to_json()
        return round(50 * ((found["ap50"] or 0.0) + (found["ap"] or 0.0)), 2)


class Candidate:
    """One fine-tuning of a case, in the form that flies, and the planner to it."""

    def __init__(self, case: Case, part: str) -> None:
        self.case, self.part = case, part
        refs = [*case.world.stream, *case.world.split.base_train]
        spec, training = case.plan.model.spec, case.plan.job.spec.training
        trainable, pull = PARTS[part]
        request = TrainingRequest(
            f"{case.plan.model.name}-{part}",
            case.world.classes,
            spec,
            spec.width,
            STEPS,
            training.batch,
            training.learning_rate,
            case.seed,
            case.world.fingerprint(refs),
            start=digest_tensors(case.base.weights),
            trainable=trainable,
            pull=pull,
        )
        self.model = trained_model(request, case.new, start=case.base, old=case.old, threads=case.threads)

    @cached_property
    def planned(self) -> tuple[Planner, Tensors]:
        """Return the planner, and the candidate in int8."""
        return self.case.planning.planner(self.case.flight.launched, self.model.weights, self.case.new)

    @property
    def target(self) -> Tensors:
        """Return the candidate in int8."""
        return self.planned[1]

    @cached_property
    def importance(self) -> dict[str, npt.NDArray[np.float64]]:
        """What an error in each row of each tensor costs, for peers: the same knowledge that the planner has."""
        planner = self.planned[0]
        found: dict[str, npt.NDArray[np.float64]] = {}
        for goal in planner.goals:
            found |= _importance(goal, planner)
        for name, tensor in self.target.items():
            found.setdefault(name, np.full(1, 1e3 / max(float(np.mean(np.square(tensor, dtype=np.float64))), 1e-12)))
        return found

    def key(self, codec: str, budget: int) -> str:
        """Return what a point is known by."""
        held, model = digest_tensors(self.case.flight.launched.tensors), digest_tensors(self.model.weights)
        about = [self.case.mission, self.case.seed, self.part, codec, budget, held, model]
        return digest_json([*about, CODER] if codec == "orbitloop" else about)[7:31]


def _importance(goal: Goal, planner: Planner) -> dict[str, npt.NDArray[np.float64]]:
    sense = planner.sensitivities[goal.conv]
    spread = sense.covariance
    found = {
        goal.weight: sense.gain * goal.factor**2 * float(np.mean(np.diag(spread))),
        goal.bias: np.full(1, sense.gain.mean()),
    }
    if goal.scale:
        variance = np.einsum("on,on->o", goal.rows @ spread, goal.rows)
        found[goal.scale] = np.full(1, float(np.mean(sense.gain * variance / goal.sigma**2)))
    return found


class Points:
    """The points that were measured, by key, in a file that only grows."""

    def __init__(self, file: Path = POINTS) -> None:
        self.file = file
        self.known: dict[str, dict[str, Any]] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                row = json.loads(line)
                self.known[row["key"]] = row

    def take(self, key: str, make: Callable[[], Point | None]) -> Point | None:
        """Return a point, measured now where it is not known. None is kept too: nothing fitted."""
        if key not in self.known:
            point = make()
            row = {"key": key, "point": None if point is None else {n: getattr(point, n) for n in Point.__slots__}}
            self.known[key] = row
            self.file.parent.mkdir(exist_ok=True)
            with self.file.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
        found = self.known[key]["point"]
        return None if found is None else Point(**found)


def ours(candidate: Candidate, budget: int) -> Point | None:
    """Plan, code, decode and measure one update of ours; None where the candidate needs less than half of the budget."""
    case, held = candidate.case, candidate.case.flight.launched.tensors
    planner = candidate.planned[0]
    begin = time.process_time()
    fitted = planner.fit(budget)
    coded = time.process_time()
    result = {**held, **apply_delta(held, fitted.plan.payload)}
    decoded = time.process_time()
    if fitted.plan.bytes < budget / 2:
        return None
    accuracy = case.measure(result)
    note = f"on training scenes {case.on_training_scenes(result)}"
    took = (round(coded - begin, 2), round(decoded - coded, 3))
    place = (case.mission, case.seed, candidate.part, "orbitloop", budget, fitted.plan.bytes)
    return Point(*place, *accuracy, note, round(fitted.plan.left, 5), *took)


def peer(candidate: Candidate, codec: Any, budget: int) -> Point | None:
    """Let a peer make its best of so many bytes, and measure what comes out; None where nothing fits."""
    case, held = candidate.case, candidate.case.flight.launched.tensors
    result = codec.at(held, candidate.target, budget, candidate.importance)
    if result is None:
        return None
    accuracy = case.measure({**held, **result.tensors})
    place = (case.mission, case.seed, candidate.part, codec.name, budget, result.bytes)
    return Point(*place, *accuracy, result.note, None, round(result.encode_s, 2), round(result.decode_s, 3))


def ends(candidate: Candidate) -> Iterator[tuple[str, Callable[[], Point]]]:
    """Yield the two ends of the curve: what is held, and the candidate whole, each as a point to be measured."""
    case = candidate.case

    def at(codec: str, tensors: Tensors) -> Callable[[], Point]:
        def make() -> Point:
            place = (case.mission, case.seed, candidate.part, codec, 0, 0)
            return Point(*place, *case.measure(tensors), f"on training scenes {case.on_training_scenes(tensors)}")

        return make

    yield candidate.key("none", 0), at("none", case.flight.launched.tensors)
    yield candidate.key("whole", 0), at("whole", candidate.target)


def data_folder() -> Path:
    """Return the folder of the data sets."""
    return Path(os.environ.get("ORBITLOOP_DATA", ROOT.parent / "shared" / "data"))
