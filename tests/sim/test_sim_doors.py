"""What comes from outside a mission's own code: a third party's codec, a beacon that is none, a model nobody knows."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import SATELLITE, merged, open_gate, tiny_plan

from orbitloop.delta.bundle import open_bundle, read_manifest
from orbitloop.delta.codecs import Exact
from orbitloop.errors import TrustError
from orbitloop.ground.chains import Edge
from orbitloop.link.events import Received
from orbitloop.plugins import registry
from orbitloop.records.health import beacon_to_bytes
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome
from orbitloop.sim import releases
from orbitloop.sim.channel import WindowResult
from orbitloop.sim.fleet import policy_of
from orbitloop.sim.flight import Held
from orbitloop.sim.mission import base_model, run_mission
from orbitloop.sim.rounds import Pending
from orbitloop.sim.runner import MissionRun
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import open_world
from orbitloop.trust.refresh import Policy
from orbitloop.trust.sealed import seal_key_id


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


def test_a_mission_has_its_own_tenant_hardware_and_key(cache, tmp_path):
    (tmp_path / "farm.key").write_text("5e" * 32)
    trust = {"trust": {"maxContactsBehind": 7, "disciplinedClock": True, "graceDays": 2}}
    pi = merged(SATELLITE, {"name": "sat-2", "spec": {"hardware": "pi", "orbit": {"meanAnomalyDeg": 150}}})
    job = {"training": {"rounds": 1}, "update": {"canary": {"isolated": False}, "probation": {"contactsUnproven": 1}}}
    plan = tiny_plan(
        mission=trust,
        satellite={"hardware": "jetson"},
        more_satellites=(pi,),
        model={"tenant": "farm", "sealKey": "farm.key"},
        job=job,
    )
    assert policy_of(plan) == Policy(max_contacts=7, use_clock=True, grace_s=172_800.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "judge", open_gate)
        result = run_mission(plan, tmp_path, tmp_path / "run", cache=cache)
    told = [(a.satellite, a.report.outcome) for one in result.report.rounds for a in one.applied]
    assert sorted(told) == [("sat-1", ApplyOutcome.CONFIRMED), ("sat-2", ApplyOutcome.CONFIRMED)]
    manifests = [read_manifest(open_bundle(f.read_bytes()).manifest) for f in sorted((tmp_path / "run/updates").iterdir())]
    assert [(m.version, m.tenant, m.hardware, m.satellites) for m in manifests] == [
        (1, "farm", "jetson", ("sat-1",)),
        (2, "farm", "pi", ("sat-2",)),
    ]
    assert {m.sealed for m in manifests} == {seal_key_id(b"\x5e" * 32)}
    (update,) = [one.update for one in result.report.rounds]
    assert (update.version, update.passes) == (1, 1)
    assert update.payload_bytes < update.bytes
    assert update.seconds == pytest.approx(8 * update.bytes / 1e6, abs=1e-3)
    for text in ("", "no key"):
        (tmp_path / "farm.key").write_text(text)
        with pytest.raises(TrustError, match="not an encryption key"):
            run_mission(plan, tmp_path, tmp_path / "run", cache=cache)
    (tmp_path / "farm.key").unlink()
    with pytest.raises(TrustError, match="no encryption key here"):
        run_mission(plan, tmp_path, tmp_path / "run", cache=cache)
