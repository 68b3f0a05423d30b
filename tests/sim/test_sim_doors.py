"""What comes from outside a mission's own code: a third party's codec, a beacon that is none, a model nobody knows."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import tiny_plan

from orbitloop.delta.codecs import Exact
from orbitloop.ground.chains import Edge
from orbitloop.link.events import Received
from orbitloop.plugins import registry
from orbitloop.records.health import beacon_to_bytes
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome
from orbitloop.sim.channel import WindowResult
from orbitloop.sim.flight import Held
from orbitloop.sim.mission import base_model
from orbitloop.sim.rounds import Pending
from orbitloop.sim.runner import MissionRun, Watcher
from orbitloop.sim.world import open_world


class Negated(Exact):
    """Exact, with every bit turned over."""

    def encode(self, base: Any, target: Any) -> bytes:
        return bytes(255 - octet for octet in super().encode(base, target))

    def decode(self, base: Any, data: bytes) -> Any:
        return super().decode(base, bytes(255 - octet for octet in data))


@pytest.fixture
def run(cache: Path, tmp_path: Path) -> MissionRun:
    plan = tiny_plan()
    world = open_world(plan, Path("no-data"), plan.seed)
    return MissionRun(plan, world, base_model(plan, world, Watcher(), cache), tmp_path, cache=cache)


def test_a_mission_flies_with_a_third_partys_codec(run_tiny, monkeypatch):
    brought = EntryPoint("negated", f"{__name__}:Negated", "orbitloop.codec")
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [brought] if group == brought.group else [])
    report = run_tiny(tiny_plan(job={"update": {"codec": "negated"}, "training": {"rounds": 1}})).report
    assert [a.report.outcome for one in report.rounds for a in one.applied] == [ApplyOutcome.CONFIRMED]


def test_a_beacon_that_is_malformed_or_anothers_is_counted_and_changes_nothing(run):
    satellite = run.satellites["sat-1"]
    good = satellite.agent.beacon(10.0, run.plan.start_s)
    before = satellite.held_digest, satellite.held_version
    window = run.windows.windows[0]

    def comes_down(payload: bytes) -> None:
        run._downlinked(window, WindowResult(0, 0, (Received("", "beacon", payload, 0.0),), (), (), (), 0, 0))

    for payload in (b"junk", beacon_to_bytes(replace(good, satellite="sat-9", model_version=7))):
        comes_down(payload)
    assert run.segment.counts.damaged == 2
    assert (satellite.held_digest, satellite.held_version) == before
    comes_down(beacon_to_bytes(replace(good, model_version=7)))
    assert satellite.held_version == 7


def test_a_satellite_whose_model_the_ground_does_not_have_gets_no_update(run):
    run.satellites["sat-1"].held_digest = "sha256:" + "0" * 64
    assert run.maker.judge(Pending(1, run.plan.start_s, dict(run.base.weights))) == {}


def test_the_ground_keeps_the_model_that_a_satellite_may_fall_back_to(run):
    satellite, launched = run.satellites["sat-1"], run.flight.launched
    newer = {n: a + np.float32(0.01) if n.endswith(".bias") else a for n, a in launched.tensors.items()}
    digest, factory = digest_tensors(newer), run.champion
    held = {name: Held(newer, launched.master, 1) for name in (digest, "sha256:before", "sha256:on its way", "sha256:old")}
    run.models_by_digest |= held
    run.champion = satellite.held_digest = digest
    satellite.held_before = "sha256:before"
    run.rollout.routes["sat-1"] = (Edge(digest, "sha256:on its way", 1),)
    run.maker._forget_models()
    assert set(run.models_by_digest) == {factory, digest, "sha256:before", "sha256:on its way"}
