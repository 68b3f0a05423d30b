"""Satellites that miss rounds: the others go on without them, and they catch up, by a chain of known updates or by one jump."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_mission import SATELLITE, merged, open_gate, tiny_plan

from orbitloop.ground import chains
from orbitloop.ground.chains import Edge, Route
from orbitloop.onboard.weights import load_weights
from orbitloop.records.contact import ContactPlan
from orbitloop.records.health import Beacon
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport
from orbitloop.sim import releases
from orbitloop.sim.mission import base_model
from orbitloop.sim.runner import MissionRun
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import open_world

OTHER = merged(SATELLITE, {"name": "sat-2", "spec": {"orbit": {"meanAnomalyDeg": 150}}})
JOB = {
    "training": {"trigger": {"patienceHours": 4, "minSamples": 6}},
    "update": {"canary": {"maxLoss": 1, "isolated": False}, "probation": {"contactsUnproven": 1}},
}


class Listener(Watcher):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def event(self, at_s: float, text: str) -> None:
        self.heard.append(text)

    def said(self, words: str) -> list[str]:
        return [text for text in self.heard if words in text]


@pytest.fixture(autouse=True)
def _open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "judge", open_gate)


@pytest.fixture
def start(cache: Path, tmp_path: Path) -> Callable[..., tuple[MissionRun, Listener]]:
    """Build a run of two satellites, of which the second hears nothing until some share of the windows is over."""

    def build(deaf: float = 0.0, resume: bool = False, job: Any = JOB) -> tuple[MissionRun, Listener]:
        plan = tiny_plan(more_satellites=(OTHER,), mission={"durationDays": 1.0}, job=job)
        world = open_world(plan, Path("no-data"), plan.seed)
        base = base_model(plan, world, Watcher(), cache)
        listener = Listener()
        run = MissionRun(plan, world, base, tmp_path, cache=cache, watcher=listener, resume=resume)
        silent = run.windows.windows[: int(deaf * len(run.windows.windows))]
        run.windows = ContactPlan(
            tuple(replace(w, uplink_bytes=0) if w in silent and w.satellite == "sat-2" else w for w in run.windows.windows)
        )
        return run, listener

    return build


def flies(run: MissionRun, name: str) -> tuple[int, str]:
    """Return the round and the digest of what a satellite really flies."""
    active = run.satellites[name].agent.slots.active()
    assert digest_tensors(load_weights(active.weights)) == active.digest
    return run.models_by_digest[active.digest].round, active.digest


def test_with_patience_a_deaf_satellite_holds_up_no_round_and_then_jumps(start):
    run, listener = start(deaf=0.6)
    assert run.run()
    first, second = run.course.rounds
    assert {a.satellite for a in first.applied} == {"sat-1"}, "what was overtaken in the queue never came up"
    assert {a.satellite: a.report.outcome for a in second.applied} == dict.fromkeys(("sat-1", "sat-2"), ApplyOutcome.CONFIRMED)
    assert flies(run, "sat-1")[0] == flies(run, "sat-2")[0] == 2
    assert listener.said("round 2: sat-2: one jump of")
    assert not run.rollout.awaited
    assert not run.rollout.routes


def test_without_patience_the_others_wait(start):
    patient = merged(JOB, {"training": {"trigger": {"patienceHours": 100}}})
    run, _ = start(deaf=1.0, job=patient)
    assert run.run()
    assert [one.round for one in run.course.rounds] == [1]
    assert set(run.rollout.awaited) == {"sat-2"}


def chain_first(chain: Sequence[Edge] | None, jump: Edge | None) -> Route:
    return Route(tuple(chain), "the test says so", True) if chain else chains.choose(chain, jump)


def test_a_chain_goes_up_link_by_link_over_the_very_models_of_the_others(start, monkeypatch):
    monkeypatch.setattr(releases, "choose", chain_first)
    run, listener = start(deaf=0.6)
    versions: dict[int, tuple[str, ...]] = {}
    sign = run.maker.releases.sign

    def noted(edge: Edge, names: Sequence[str]) -> tuple[int, bytes]:
        version, bundle = sign(edge, names)
        versions[version] = tuple(names)
        return version, bundle

    monkeypatch.setattr(run.maker.releases, "sign", noted)
    assert run.run()
    assert flies(run, "sat-1") == flies(run, "sat-2")
    assert listener.said("round 2: sat-2: the test says so")
    # The first round's update waits in its queue still; the second's follows under a version of its own.
    assert versions == {1: ("sat-1", "sat-2"), 2: ("sat-1",), 3: ("sat-2",)}
    told = [a.report for one in run.course.rounds for a in one.applied if a.satellite == "sat-2"]
    assert [(r.version, r.outcome) for r in told] == [(1, ApplyOutcome.CONFIRMED), (3, ApplyOutcome.CONFIRMED)]
    assert told[1].at_s > told[0].at_s
    assert [p.version for p in run.course.timeline] == [0, 1, 2], "an older model on the way is no step of the mission"


@pytest.mark.slow
def test_a_way_that_was_begun_is_gone_on_with_after_a_restart(start, monkeypatch):
    monkeypatch.setattr(releases, "choose", chain_first)
    run, _ = start(deaf=0.6)
    assert not run.run(stop_after=lambda: bool(run.rollout.routes.get("sat-2")))
    assert run.rollout.routes["sat-2"]
    run.save()
    again, _ = start(deaf=0.6, resume=True)
    assert again.rollout.to_json() == run.rollout.to_json()
    assert again.maker.releases.to_json() == run.maker.releases.to_json()
    assert run.run()
    assert again.run()
    assert flies(again, "sat-2") == flies(run, "sat-2")
    assert again.course.to_json()["rounds"] == run.course.to_json()["rounds"]


def beacon_of(run: MissionRun, name: str, digest: str, *reports: ApplyReport, version: int = 0) -> Beacon:
    satellite = run.satellites[name]
    beacon = satellite.agent.beacon(satellite.battery_wh, run.clock.now_s())
    return replace(beacon, model_digest=digest, model_version=version, reports=reports)


def test_a_satellite_that_fell_back_to_its_golden_model_is_sent_after_the_others_once(start):
    run, listener = start()
    assert not run.run(stop_after=lambda: run.champion != run.launched_digest and not run.rollout.awaited)
    run.pending = None
    now_s, factory = run.clock.now_s(), run.launched_digest
    champion = run.champion
    assert champion != factory
    assert factory in run.models_by_digest, "what a satellite was launched with is never forgotten"
    for name in run.satellites:
        run.rollout.hear(beacon_of(run, name, champion, version=1), now_s)
    assert not run.rollout.awaited
    run.rollout.hear(beacon_of(run, "sat-2", factory), now_s)
    assert set(run.rollout.awaited) == {"sat-2"}
    assert listener.said("sat-2 is behind")
    version, _ = run.rollout.awaited["sat-2"]
    assert version == 2, "above every version that any satellite has seen"
    edge = run.rollout.sent[version]
    assert edge.base == factory
    refused = ApplyReport(version, ApplyOutcome.REFUSED, "bad day", factory, now_s, {})
    run.rollout.hear(beacon_of(run, "sat-2", factory, refused), now_s)
    assert not run.rollout.awaited, "once is enough; the next round will do it"


def test_a_model_that_is_not_known_gets_nothing_and_says_so(start):
    run, listener = start()
    run.rollout.hear(beacon_of(run, "sat-2", "sha256:" + "7" * 64), run.clock.now_s())
    assert not run.rollout.awaited
    assert run.satellites["sat-2"].held_digest.endswith("7")
    assert not listener.said("sat-2 is behind")


def test_what_was_rolled_back_is_on_no_way_again(start):
    run, _ = start()
    assert not run.run(stop_after=lambda: bool(run.rollout.awaited))
    version, released_s = run.rollout.awaited["sat-2"]
    edge = run.rollout.sent[version]
    rolled = ApplyReport(version, ApplyOutcome.ROLLED_BACK, "blind", edge.base, released_s + 1, {})
    run.rollout.hear(beacon_of(run, "sat-2", edge.base, rolled), released_s + 1)
    assert run.satellites["sat-2"].given_up == {edge.result}
    confirmed = ApplyReport(version, ApplyOutcome.CONFIRMED, "", edge.result, released_s + 1, {})
    run.rollout.hear(beacon_of(run, "sat-1", edge.result, confirmed, version=version), released_s + 1)
    assert run.champion == edge.result
    run.rollout.hear(beacon_of(run, "sat-2", edge.base, rolled), released_s + 2)
    assert not run.rollout.awaited


def test_a_report_of_metadata_alone_is_no_end_of_an_update(start):
    run, _ = start()
    assert not run.run(stop_after=lambda: bool(run.rollout.awaited))
    _, released_s = run.rollout.awaited["sat-1"]
    believed = ApplyReport(0, ApplyOutcome.BELIEVED, "root 2", run.champion, released_s + 1, {})
    run.rollout.hear(beacon_of(run, "sat-1", run.champion, believed), released_s + 1)
    assert "sat-1" in run.rollout.awaited
    unread = replace(believed, outcome=ApplyOutcome.REFUSED)
    run.rollout.hear(beacon_of(run, "sat-1", run.champion, unread), released_s + 2)
    assert "sat-1" not in run.rollout.awaited


WAVES = merged(JOB, {"update": {"waves": [1]}})


def test_by_waves_the_second_satellite_waits_for_the_word_of_the_first(start):
    run, listener = start(job=WAVES)
    assert not run.run(stop_after=lambda: bool(run.rollout.awaited))
    assert len(run.rollout.awaited) == 1
    first = next(iter(run.rollout.awaited))
    second = next(name for name in run.satellites if name != first)
    assert [name for name, _ in run.rollout.waves.waiting] == [second]
    assert not run.rollout.all_heard()
    assert run.run()
    one = run.course.rounds[0]
    assert listener.said("wave 1: ")[0] == f"wave 1: {first}"
    ends = {a.satellite: a.report for a in one.applied}
    assert ends[first].outcome is ends[second].outcome is ApplyOutcome.CONFIRMED
    assert ends[second].at_s > ends[first].at_s
    assert flies(run, first) == flies(run, second)


def test_a_wave_that_rolls_back_keeps_the_update_from_the_others(start):
    run, listener = start(job=WAVES)
    assert not run.run(stop_after=lambda: bool(run.rollout.awaited))
    ((name, (version, released_s)),) = run.rollout.awaited.items()
    edge = run.rollout.sent[version]
    rolled = ApplyReport(version, ApplyOutcome.ROLLED_BACK, "blind", edge.base, released_s + 1, {})
    other = next(one for one in run.satellites if one != name)
    run.rollout.hear(beacon_of(run, name, edge.base, rolled), released_s + 1)
    assert listener.said("the rollout ends") == [f"the rollout ends: {name} does not fly the update; kept from {other}"]
    run.rollout.hear(beacon_of(run, other, edge.base), released_s + 2)
    assert not run.rollout.awaited
    assert run.rollout.all_heard()


def test_a_first_wave_that_hears_nothing_does_not_keep_the_update_from_the_others(start):
    """Patience is 4 h: then the next satellite is the first wave."""
    run, listener = start(job=WAVES)
    assert not run.run(stop_after=lambda: bool(run.rollout.awaited))
    ((silent, (_, released_s)),) = run.rollout.awaited.items()
    (other,) = (one for one in run.satellites if one != silent)
    beacon = beacon_of(run, other, run.satellites[other].held_digest)
    run.rollout.hear(beacon, released_s + 3600)
    assert other not in run.rollout.awaited
    run.rollout.hear(beacon, released_s + 5 * 3600)
    assert other in run.rollout.awaited
    assert listener.said("not waited for") == [f"not waited for any longer: {silent}"]
    assert not run.rollout.waves.waiting


@pytest.mark.slow
def test_waves_go_on_after_a_restart(start):
    run, _ = start(job=WAVES)
    assert not run.run(stop_after=lambda: bool(run.rollout.waves.waiting))
    run.save()
    again, _ = start(job=WAVES, resume=True)
    assert again.rollout.to_json() == run.rollout.to_json()
    assert run.run()
    assert again.run()
    assert again.course.to_json()["rounds"] == run.course.to_json()["rounds"]
