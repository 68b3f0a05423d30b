"""Updates that must not fly: a model that is worse, a bundle that is not ours. The satellite flies on, the ground hears it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import open_gate, tiny_plan

from orbitloop.errors import ModelError
from orbitloop.ground.adapters.torch_trainer import TorchTrainer
from orbitloop.ground.authority import Authority
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.onboard.trial import TrialLimits
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome
from orbitloop.sim import releases
from orbitloop.sim.mission import base_model
from orbitloop.sim.runner import MissionRun
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import open_world

# A canary needs a model that finds something: so low a report score that this small one does.
PLAN = {
    "model": {"reportScore": 0.06, "baseTraining": {"steps": 60}},
    "job": {"update": {"canary": {"maxLoss": 0.0}}, "training": {"rounds": 2}},
}


@pytest.fixture
def run(cache: Path, tmp_path: Path) -> MissionRun:
    plan = tiny_plan(**PLAN)
    world = open_world(plan, Path("no-data"), plan.seed)
    return MissionRun(plan, world, base_model(plan, world, Watcher(), cache), tmp_path, cache=cache)


def blind(weights: dict[str, Any]) -> dict[str, Any]:
    """Return weights that see no object anywhere: finite, signed, and useless."""
    return {n: np.full_like(a, -30.0) if n.endswith(".bias") and n.startswith("conv") else a.copy() for n, a in weights.items()}


@pytest.fixture(autouse=True)
def _open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "judge", open_gate)


def test_a_worse_model_is_tried_rolled_back_reported_and_not_built_upon(run, monkeypatch):
    started_from: list[str] = []
    train = TorchTrainer.train

    def sabotaged(self: TorchTrainer, weights: Any, new: Any, plan: Any, **more: Any) -> Any:
        started_from.append(digest_tensors(weights))
        result = train(self, weights, new, plan, **more)
        ruined = blind(result.weights) if len(started_from) == 1 else dict(weights)
        for name in result.weights:
            result.weights[name] = ruined[name]
        return result

    monkeypatch.setattr(TorchTrainer, "train", sabotaged)
    assert run.run()
    first = run.course.rounds[0]
    assert [a.report.outcome for a in first.applied] == [ApplyOutcome.ROLLED_BACK]
    report = first.applied[0].report
    assert report.canary["f1_before"] > 0
    assert report.canary["f1_after"] == 0
    assert report.active_digest == digest_tensors(run.flight.launched.tensors)
    assert started_from == [run.base_digest, run.base_digest], "round 2 starts from the champion, not from the ruin"
    second = run.course.rounds[1]
    assert [a.report.outcome for a in second.applied] == [ApplyOutcome.CONFIRMED]
    assert [p.version for p in run.course.timeline] == [0, 2]
    slots = run.satellites["sat-1"].agent.slots
    assert slots.active().version == 2


def test_a_model_that_goes_bad_in_flight_is_given_up_told_and_no_longer_measured(run):
    agent = run.satellites["sat-1"].agent
    agent.model.limits = TrialLimits(max_loss=1.0)
    load, launched = agent.model.engine_factory, digest_tensors(run.flight.launched.tensors)

    class Failing:
        def __init__(self, metadata: Any) -> None:
            self.metadata = metadata

        def infer(self, tiles: Any) -> Any:
            raise ModelError("the network's output is not finite")

    def bad_in_flight(graph: bytes, weights: Any) -> Any:
        sound = load(graph, weights)
        return sound if digest_tensors(weights) == launched else Failing(sound.metadata)

    agent.model.engine_factory = bad_in_flight  # the trial's process has its own, sound one
    assert run.run()
    [applied] = run.course.rounds[0].applied
    assert applied.report.outcome is ApplyOutcome.ROLLED_BACK
    assert applied.report.reason.startswith("in flight: the network's output is not finite after 0 tiles; canary: F1")
    assert [p.version for p in run.course.timeline[:3]] == [0, 1, 0]
    assert run.course.timeline[2].new_ap50 == run.course.timeline[0].new_ap50
    assert applied.report.active_digest == launched


@pytest.mark.parametrize("ruin", ["flip a byte", "cut short", "a stranger's key", "empty"])
def test_a_foreign_or_damaged_bundle_is_refused_and_nothing_changes(run, monkeypatch, ruin):
    signed = run.maker.releases.sign

    def ruined(edge: Any, names: Any) -> tuple[int, bytes]:
        if ruin == "a stranger's key" and edge.round == 1:
            run.authority = Authority.from_seed(b"stranger", ("mission",), run.clock.now_s())
        version, bundle = signed(edge, names)
        run.authority = ours
        if edge.round > 1:
            return version, bundle
        changed = {
            "flip a byte": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
            "cut short": lambda b: b[:-7],
            "a stranger's key": lambda b: b,
            "empty": lambda b: b"\0",
        }
        return version, changed[ruin](bundle)

    ours = run.authority
    monkeypatch.setattr(run.maker.releases, "sign", ruined)
    agent = run.satellites["sat-1"].agent
    flash: list[dict[str, bytes]] = []
    receive = agent.receive

    def watched(kind: str, payload: bytes, now_s: float) -> Any:
        before = dict(run.satellites["sat-1"].flash.files)
        report = receive(kind, payload, now_s)
        if report is not None and report.outcome is ApplyOutcome.REFUSED:
            flash.append({n: b for n, b in run.satellites["sat-1"].flash.files.items() if before.get(n) != b})
        return report

    monkeypatch.setattr(agent, "receive", watched)
    assert run.run()
    first, second = run.course.rounds
    assert [a.report.outcome for a in first.applied] == [ApplyOutcome.REFUSED], "the ground hears of it, by whatever version"
    assert flash == [{}]
    assert second.applied[0].report.outcome in (ApplyOutcome.CONFIRMED, ApplyOutcome.ROLLED_BACK)


def test_a_swap_changes_what_is_detected_and_a_resumed_satellite_flies_the_same(run, cache, tmp_path):
    agent = run.satellites["sat-1"].agent
    agent.model.limits = TrialLimits(max_loss=1.0)
    pixels = run.world.stream[0].load().pixels
    before = detect_scene(agent.engine, pixels).detections
    assert run.run()
    after = detect_scene(agent.engine, pixels).detections
    assert agent.slots.active().version == 2
    assert before.scores.tolist() != after.scores.tolist()
    again = MissionRun(run.plan, run.world, run.base, tmp_path, resume=True, cache=cache)
    resumed = again.satellites["sat-1"].agent
    assert resumed.slots.active().digest == agent.slots.active().digest
    assert detect_scene(resumed.engine, pixels).detections.scores.tolist() == after.scores.tolist()


def test_satellites_with_different_models_each_get_an_update_to_their_own_base(cache, tmp_path):
    """After a rollback on one satellite only, a round makes two bundles; a checkpoint in between must keep both results."""
    other = {"kind": "Satellite", "name": "sat-2", "spec": {"orbit": {"meanAnomalyDeg": 150}}}
    plan = tiny_plan(more_satellites=(other,), **PLAN)
    world = open_world(plan, Path("no-data"), plan.seed)
    base = base_model(plan, world, Watcher(), cache)

    def start(resume: bool) -> MissionRun:
        run = MissionRun(plan, world, base, tmp_path, cache=cache, resume=resume)
        for name, satellite in run.satellites.items():
            worst = 1.0 if name == "sat-1" else -1.0  # nothing can pass a canary that must gain more than there is
            satellite.agent.model.limits = TrialLimits(max_loss=worst)
        return run

    run, resumed = start(False), 0
    while not run.run(stop_after=after_one_window()):
        if run.rollout.awaited and resumed < run.segment.round:
            run.save()
            run, resumed = start(True), resumed + 1
    outcomes = [{a.satellite: a.report.outcome for a in one.applied} for one in run.course.rounds]
    both = {"sat-1": ApplyOutcome.CONFIRMED, "sat-2": ApplyOutcome.ROLLED_BACK}
    assert outcomes == [both, both]
    assert resumed == 2
    held = {name: s.agent.slots.active().version for name, s in run.satellites.items()}
    assert held == {"sat-1": 2, "sat-2": 0}
    assert run.champion == run.satellites["sat-1"].agent.slots.active().digest


def after_one_window() -> Any:
    """Return a `stop_after` that lets one window pass."""
    calls = iter([False])
    return lambda: next(calls, True)
