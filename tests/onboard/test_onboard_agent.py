"""The agent with real parts: a small real network in the slots, a link, a storage, signed updates."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orbitloop.algorithms.mining.baselines import Always, Never
from orbitloop.algorithms.screening import Cheap
from orbitloop.algorithms.selection.value import Value
from orbitloop.delta.codecs import Exact
from orbitloop.errors import ModelError, StateError, UpdateError
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.authority import Authority
from orbitloop.ground.export import write_graph
from orbitloop.ground.release import code_update, sign_bundle
from orbitloop.ground.repository import carried, publish
from orbitloop.ground.topology import STRIDES
from orbitloop.link.events import Received
from orbitloop.link.session import Endpoint
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.agent import BEACON, DETECTION, SAMPLE, TRUST, UPDATE, Agent, AgentSettings, PassBudget, WithProbe
from orbitloop.onboard.power import PowerGuard
from orbitloop.onboard.slot_table import SlotState
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.storage import Storage
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Updater
from orbitloop.onboard.weights import save_weights
from orbitloop.records.contact import ContactWindow
from orbitloop.records.detections_wire import detections_from_bytes
from orbitloop.records.health import Beacon
from orbitloop.records.ids import digest_tensors
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample_wire import sample_from_bytes
from orbitloop.records.scene import GeoTransform, Scene
from orbitloop.records.update import ApplyOutcome, CanaryCase
from orbitloop.records.verdict import GateVerdict
from orbitloop.records.wire import unpack
from orbitloop.sim.flash import MemoryFlash
from orbitloop.trust.carried import pack_metadata

NOW_S = 1.78e9
AUTHORITY = Authority.from_seed(b"ours", ("test",), NOW_S)
STRANGER = Authority.from_seed(b"theirs", ("test",), NOW_S)
FULL_WH = 100.0
ANCHORS = (((60.0, 60.0), (80.0, 50.0), (50.0, 80.0)), ((12.0, 12.0), (24.0, 16.0), (16.0, 24.0)))
METADATA = ModelMetadata("tiny", ("field",), 0.05, STRIDES, ANCHORS, Preprocessing(64, 16, 114, 0.01, 0.02, 0.5, 20))
WEIGHTS = {name: array.copy() for name, array in initial_weights(0.05, 1, 0).items()}
for _name in WEIGHTS:  # an untrained network is sure of nothing: lift the objectness so that it reports some boxes
    if _name.startswith("conv") and _name.endswith(".bias"):
        WEIGHTS[_name][4::6] = -1.0
GRAPH = write_graph(METADATA, WEIGHTS)
WINDOW = ContactWindow("sat-1", "svalbard", NOW_S, NOW_S + 300, 40.0, 2_000_000, 200_000)
GEO = GeoTransform(10.0, 50.0, 1e-4, 0.0, 0.0, -1e-4)


class Ship:
    """An agent and all that it holds, so that a test can take the agent away and boot another on the same remains."""

    def __init__(self, **settings: Any) -> None:
        self.settings = AgentSettings("sat-1", **{"keep_easy": 0.0, **settings})
        self.flash, self.samples, self.space = MemoryFlash(), {}, {}
        SlotStore(self.flash).install_factory(GRAPH, save_weights(WEIGHTS))
        self.storage, self.endpoint = Storage(10_000_000, self.samples), Endpoint(self.space)
        self.agent = self.wired()

    def wired(self, miner: Any = None) -> Agent:
        slots = SlotStore(self.flash)
        return Agent(
            self.settings,
            slots=slots,
            updater=Updater(
                "sat-1", "tiny", slots, TrustStore(self.flash, AUTHORITY.anchor), tenant="test", hardware="simulated"
            ),
            storage=self.storage,
            endpoint=self.endpoint,
            screen=Cheap(),
            miner=miner or Always(),
            selector=Value(),
            guard=PowerGuard(FULL_WH, 0.3),
            engine_factory=lambda graph, weights: OnnxEngine(graph, weights, threads=1),
        )


@pytest.fixture
def ship() -> Ship:
    return Ship()


def scene(number: int = 0, size: int = 112) -> Scene:
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return Scene(f"scene-{number}", "summer", pixels, NOW_S - 1000 + number, GEO)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def received(ship: Ship) -> list[Received]:
    """Return what comes down, in order, when everything queued is sent."""
    ground = Endpoint({})
    ship.endpoint.open_window(NOW_S)
    ground.open_window(NOW_S)
    events = [event for pdu in ship.endpoint.transmit(10_000_000, NOW_S) for event in ground.receive(pdu, NOW_S)]
    return [event for event in events if isinstance(event, Received)]


def heard(ship: Ship, kind: str) -> list[bytes]:
    return [event.payload for event in received(ship) if event.kind == kind]


def passes(agent: Agent, count: int = 1) -> list[ApplyOutcome]:
    """Let contacts begin; return what the last one's beacon says of each update."""
    for number in range(count):
        agent.prepare_pass(WINDOW, PassBudget(samples=0), FULL_WH, NOW_S + 6000 * (number + 1), rng())
    return [report.outcome for report in agent.beacon(FULL_WH, NOW_S).reports]


def changed_weights(scale: float = 0.05) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {
        n: (a + scale * draw.normal(size=a.shape)).astype(np.float32) if n.startswith("conv") else a for n, a in WEIGHTS.items()
    }


def bundle(
    target: dict[str, np.ndarray], version: int = 1, canary: tuple[CanaryCase, ...] = (), by: Authority = AUTHORITY
) -> bytes:
    coded = code_update(WEIGHTS, target, Exact())
    verdict = GateVerdict(True, ("test",), {})
    about = {"model": "tiny", "satellites": ["sat-1"], "verdict": verdict, "canary": canary, "tenant": "test"}
    return sign_bundle(coded, version=version, authority=by, hardware="simulated", now_s=NOW_S, **about)[1]


def canary_of(ship: Ship) -> tuple[CanaryCase, ...]:
    """Return cases whose labels are what the running model itself reports, so that its F1 is near 1."""
    cases = []
    for candidate in ship.storage.list():
        sample = sample_from_bytes(ship.storage.get(candidate.sample_id))
        found = sample.detections.above(0.02)
        rows = tuple((*(float(v) for v in box), 0.0) for box in found.boxes_xyxy_px)
        cases.append(CanaryCase(sample.sample_id, rows))
    return tuple(cases)


# -- looking ---------------------------------------------------------------------------------------------------------------


def test_a_capture_becomes_detections_samples_and_counters(ship):
    seen = ship.agent.observe(scene(), FULL_WH)
    assert seen.result is not None
    assert seen.stored == len(seen.hard) == len(seen.result.tiles) == ship.agent.tiles_seen == ship.agent.hard_seen == 4
    assert seen.spent_j == 4 * ship.settings.energy_per_tile_j
    assert {s.model_digest for s in seen.hard} == {digest_tensors(WEIGHTS)}
    assert len(ship.storage) == 4
    found = [detections_from_bytes(data) for data in heard(ship, DETECTION)]
    assert sum(len(c["features"]) for c in found) == len(seen.result.detections) > 0


def test_seeing_a_scene_again_stores_nothing_twice(ship):
    ship.agent.observe(scene(), FULL_WH)
    ship.agent.observe(scene(), FULL_WH)
    assert len(ship.storage) == 4


def test_blank_tiles_are_neither_looked_at_nor_paid_for(ship):
    half = scene()
    half.pixels[:, :80] = 90
    seen = ship.agent.observe(half, FULL_WH)
    assert seen.result is not None
    assert seen.result.counts.dropped.get("blank", 0) > 0
    assert ship.agent.tiles_dropped == seen.result.counts.tiles - len(seen.result.tiles) > 0
    assert seen.spent_j == pytest.approx(len(seen.result.tiles) * ship.settings.energy_per_tile_j)
    again = ship.agent.observe(scene(3), FULL_WH)
    assert again.result is not None
    assert again.result.counts.dropped == {}, "what an earlier capture held is no reason to pass over this one"


@pytest.mark.parametrize("battery_wh", [30.0, 29.0, 0.0, 30.0 + 4 * 2.1 / 3600 - 1e-6, float("nan")])
def test_without_energy_a_capture_is_let_go_untouched(ship, battery_wh):
    seen = ship.agent.observe(scene(), battery_wh)
    assert seen.result is None
    assert (seen.hard, seen.stored, seen.spent_j) == ((), 0, 0.0)
    assert len(ship.storage) == ship.agent.tiles_seen == ship.endpoint.queued_items == 0


def test_with_just_enough_energy_it_looks(ship):
    assert ship.agent.observe(scene(), 30.0 + 4 * 2.1 / 3600 + 1e-6).result is not None


def test_a_probe_keeps_its_share_of_the_easy_and_always_the_same(ship):
    draw = np.random.default_rng(0)
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    tiles = [Prediction(empty, draw.normal(size=8).astype(np.float32)) for _ in range(2000)]
    kept = [WithProbe(Never(), 0.1).mine(t).hard for t in tiles]
    assert 0.07 < np.mean(kept) < 0.13
    assert kept == [WithProbe(Never(), 0.1).mine(t).hard for t in tiles]
    assert not any(WithProbe(Never(), 0.0).mine(t).hard for t in tiles)
    assert all(WithProbe(Never(), 1.0).mine(t).hard for t in tiles)
    hard = WithProbe(Always(), 0.5).mine(tiles[0])
    assert hard == Always().mine(tiles[0])


# -- passes ----------------------------------------------------------------------------------------------------------------


def test_a_pass_brings_the_beacon_and_the_chosen_samples(ship):
    ship.agent.observe(scene(), FULL_WH)
    names = ship.agent.prepare_pass(WINDOW, PassBudget(), FULL_WH, NOW_S, rng())
    assert len(names) == 4
    assert ship.storage.list(sent=False) == []
    ground = Endpoint({})
    ship.endpoint.open_window(NOW_S)
    kinds = [
        e.kind for p in ship.endpoint.transmit(1_000_000, NOW_S) for e in ground.receive(p, NOW_S) if hasattr(e, "payload")
    ]
    assert kinds == [BEACON, DETECTION, *[SAMPLE] * 4], "the beacon first, then the product, then samples"


def test_a_beacon_tells_state_and_reports(ship):
    ship.agent.observe(scene(), FULL_WH)
    ship.agent.receive(UPDATE, b"junk", NOW_S)
    ship.agent.prepare_pass(WINDOW, PassBudget(), 77.77777, NOW_S, rng())
    [data] = heard(ship, BEACON)
    beacon = Beacon.from_json(unpack(data, expect=BEACON).fields)
    assert (beacon.satellite, beacon.model_version, beacon.tiles_seen, beacon.stored_samples) == ("sat-1", 0, 4, 4)
    assert beacon.battery_wh == 77.778
    assert [r.outcome for r in beacon.reports] == [ApplyOutcome.REFUSED]


@pytest.mark.parametrize(
    ("budget", "battery_wh", "most"),
    [
        (PassBudget(samples=1), FULL_WH, 1),
        (PassBudget(samples=0), FULL_WH, 0),
        (PassBudget(downlink_bytes=0), FULL_WH, 0),
        (PassBudget(energy_j=0.0), FULL_WH, 0),
        (PassBudget(), 30.0, 0),
        (PassBudget(), 10.0, 0),
    ],
)
def test_a_pass_keeps_every_budget(ship, budget, battery_wh, most):
    ship.agent.observe(scene(), FULL_WH)
    assert len(ship.agent.prepare_pass(WINDOW, budget, battery_wh, NOW_S, rng())) == most
    assert len(heard(ship, BEACON)) == 1, "a beacon goes down whatever happens"


def test_what_an_earlier_pass_left_counts_against_the_next_budget(ship):
    ship.agent.observe(scene(), FULL_WH)
    sizes = [c.size_bytes for c in ship.storage.list()]
    budget = PassBudget(downlink_bytes=max(sizes) + 50, samples=1)
    first = ship.agent.prepare_pass(WINDOW, budget, FULL_WH, NOW_S, rng())
    second = ship.agent.prepare_pass(WINDOW, budget, FULL_WH, NOW_S, rng())
    assert (len(first), len(second)) == (1, 0)


def test_energy_of_what_waits_counts_against_the_next_budget():
    ship = Ship(transmit_j_per_byte=1e-3)
    for number in (0, 1):
        ship.agent.observe(scene(number), FULL_WH)
    budget = PassBudget(energy_j=1.05e-3 * sum(c.size_bytes for c in ship.storage.list()[:4]))
    first = ship.agent.prepare_pass(WINDOW, budget, FULL_WH, NOW_S, rng())
    assert len(first) == 4
    assert ship.agent.prepare_pass(WINDOW, budget, FULL_WH, NOW_S, rng()) == []
    received(ship)
    assert len(ship.agent.prepare_pass(WINDOW, budget, FULL_WH, NOW_S, rng())) == 4, "what has gone is paid"


def test_samples_that_wait_count_against_the_number_of_the_next_pass(ship):
    ship.agent.observe(scene(), FULL_WH)
    for wanted in (1, 0):
        assert len(ship.agent.prepare_pass(WINDOW, PassBudget(samples=1), FULL_WH, NOW_S, rng())) == wanted


def test_a_window_holds_the_beacon_and_the_detections_before_any_sample(ship):
    for number in range(4):
        ship.agent.observe(scene(number), FULL_WH)
    samples = sum(c.size_bytes for c in ship.storage.list())
    window = replace(WINDOW, downlink_bytes=ship.endpoint.pending_bytes(DETECTION) + samples // 2)
    assert ship.agent.prepare_pass(window, PassBudget(), FULL_WH, NOW_S, rng())
    assert ship.endpoint.pending_bytes() <= window.downlink_bytes


def test_metadata_alone_is_believed_or_refused_and_the_beacon_says_so(ship):
    published = publish(AUTHORITY.repository, AUTHORITY.online, now_s=NOW_S + 1e6, contacts={"sat-1": 9})
    good = ship.agent.receive(TRUST, pack_metadata(carried(published, None)), NOW_S)
    strange = publish(STRANGER.repository, STRANGER.online, now_s=NOW_S)
    bad = ship.agent.receive(TRUST, pack_metadata(carried(strange, None)), NOW_S)
    junk = ship.agent.receive(TRUST, b"junk", NOW_S)
    assert [r.outcome for r in (good, bad, junk)] == [ApplyOutcome.BELIEVED, ApplyOutcome.REFUSED, ApplyOutcome.REFUSED]
    beacon = ship.agent.beacon(FULL_WH, NOW_S)
    assert beacon.reports == (good, bad, junk)
    assert beacon.trust == (9, 1, 1)
    assert "timestamp" in bad.reason


def test_an_unknown_charge_sends_the_beacon_and_nothing_else(ship):
    ship.agent.observe(scene(), FULL_WH)
    assert ship.agent.prepare_pass(WINDOW, PassBudget(), math.nan, NOW_S, rng()) == []
    [data] = heard(ship, BEACON)
    assert math.isnan(Beacon.from_json(unpack(data, expect=BEACON).fields).battery_wh)


# -- updates ---------------------------------------------------------------------------------------------------------------


def test_an_update_is_tried_confirmed_and_changes_what_is_seen(ship):
    ship.agent.observe(scene(), FULL_WH)
    before = ship.agent.observe(scene(1), FULL_WH).result
    target = changed_weights()
    report = ship.agent.receive(UPDATE, bundle(target), NOW_S)
    assert report is not None
    assert report.outcome is ApplyOutcome.ACCEPTED, report.reason
    assert ship.agent.slots.active().digest == report.active_digest != digest_tensors(WEIGHTS)
    after = ship.agent.observe(scene(2), FULL_WH).result
    again = ship.agent.observe(scene(1), FULL_WH).result
    assert before is not None
    assert after is not None
    assert again is not None
    assert before.detections.scores.tolist() != again.detections.scores.tolist()
    assert ship.agent.beacon(50.0, NOW_S).model_version == 1
    assert ship.agent.slots.running().state is SlotState.PROBATION
    passes(ship.agent, 3)
    assert ship.agent.slots.running().state is SlotState.CONFIRMED


def test_the_model_that_boots_after_a_swap_is_the_one_that_was_confirmed(ship):
    report = ship.agent.receive(UPDATE, bundle(changed_weights()), NOW_S)
    flew = ship.agent.observe(scene(), FULL_WH).result
    again = ship.wired()
    again.restore(ship.agent.to_json())
    again.boot(NOW_S)
    assert again.reports == ship.agent.reports == [report], "what has been told is not told again"
    assert again.slots.active().digest == report.active_digest
    booted = again.observe(scene(), FULL_WH).result
    assert booted.detections.scores.tolist() == flew.detections.scores.tolist()


def test_a_blind_model_fails_the_canary_and_the_old_one_flies_on(ship):
    seen = ship.agent.observe(scene(), FULL_WH)
    canary = canary_of(ship)
    blind = {n: np.full_like(a, -30.0) if n.startswith("conv") and n.endswith(".bias") else a for n, a in WEIGHTS.items()}
    report = ship.agent.receive(UPDATE, bundle(blind, canary=canary), NOW_S)
    assert report.outcome is ApplyOutcome.ROLLED_BACK
    assert report.canary["f1_before"] > 0.5
    assert report.canary["f1_after"] == 0.0
    assert report.canary["cases"] == 4
    assert ship.agent.slots.active().version == 0
    assert ship.agent.reports == [report]
    again = ship.agent.observe(replace(scene(), scene_id="again"), FULL_WH)
    assert again.result.detections.scores.tolist() == seen.result.detections.scores.tolist()


@pytest.mark.parametrize("ruin", ["flip", "cut", "stranger", "junk", "empty"])
def test_a_bundle_that_is_not_ours_changes_not_one_byte(ship, ruin):
    good = bundle(changed_weights())
    middle = len(good) // 2
    data = {
        "flip": good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        "cut": good[:-1],
        "stranger": bundle(changed_weights(), by=STRANGER),
        "junk": hashlib.sha256(good).digest(),
        "empty": b"",
    }[ruin]
    flash = dict(ship.flash.files)
    report = ship.agent.receive(UPDATE, data, NOW_S)
    assert report.outcome is ApplyOutcome.REFUSED
    assert dict(ship.flash.files) == flash
    assert ship.agent.receive(UPDATE, good, NOW_S).outcome is ApplyOutcome.ACCEPTED, "the good one still goes in"


def test_damaged_and_missing_canary_tiles_prove_nothing(ship):
    ship.agent.observe(scene(), FULL_WH)
    cases = canary_of(ship)
    first, second = (c.sample_id for c in cases[:2])
    ship.samples[first] = ship.samples[first][:-40] + b"\0" * 40
    ship.samples[second] = b"not a sample"
    unknown = CanaryCase("feedfeedfeedfeed", ((1.0, 1.0, 9.0, 9.0, 0.0),))
    report = ship.agent.receive(UPDATE, bundle(dict(changed_weights(0.0)), canary=(*cases, unknown)), NOW_S)
    assert report.outcome in (ApplyOutcome.ACCEPTED, ApplyOutcome.ROLLED_BACK)
    assert report.canary["cases"] == 2
    assert report.canary["f1_before"] > 0.5


@pytest.mark.parametrize("rows", [((float("nan"),) * 5,), ((1.0, 2.0),), ((1e30, 0.0, 1e30, 1.0, 0.0),)])
def test_canary_labels_that_are_no_boxes_prove_nothing(ship, rows):
    ship.agent.observe(scene(), FULL_WH)
    name = ship.storage.list()[0].sample_id
    try:
        data = bundle(changed_weights(), canary=(CanaryCase(name, rows),))
    except UpdateError:
        return  # such labels cannot even be signed
    assert ship.agent.receive(UPDATE, data, NOW_S).outcome in tuple(ApplyOutcome)
    assert ship.agent.slots.active().version in (0, 1)


def test_a_reboot_in_the_trial_goes_back_and_is_reported(ship, monkeypatch):
    class PowerCut(BaseException):
        pass

    def cut(*_: Any, **__: Any) -> None:
        raise PowerCut

    ship.agent.observe(scene(), FULL_WH)
    monkeypatch.setattr(ship.agent.model, "engine_factory", cut)
    with pytest.raises(PowerCut):
        ship.agent.receive(UPDATE, bundle(changed_weights(), canary=canary_of(ship)), NOW_S)
    again = ship.wired()
    again.boot(NOW_S + 60)
    assert again.slots.active().version == 0
    assert [(r.version, r.outcome) for r in again.reports] == [(1, ApplyOutcome.ROLLED_BACK)]
    assert "reboot" in again.reports[0].reason
    assert again.observe(scene(), FULL_WH).result is not None


def test_what_was_staged_when_power_failed_is_tried_at_boot(ship):
    ship.agent.observe(scene(), FULL_WH)
    ship.agent.updater.receive(bundle(changed_weights(1e-4), canary=canary_of(ship)), NOW_S)
    again = ship.wired()
    again.boot(NOW_S + 60)
    [report] = again.reports
    assert (report.version, report.outcome) == (1, ApplyOutcome.ACCEPTED)
    assert report.canary["cases"] == 4


def test_what_was_staged_and_cannot_be_read_any_more_is_given_up_at_boot(ship, monkeypatch):
    ship.agent.updater.receive(bundle(changed_weights()), NOW_S)
    again = ship.wired()

    def unreadable() -> None:
        raise StateError("manifest is of another schema")

    monkeypatch.setattr(again.updater, "pending", unreadable)
    again.boot(NOW_S + 60)
    assert [(r.version, r.outcome) for r in again.reports] == [(1, ApplyOutcome.ROLLED_BACK)]
    assert again.observe(scene(), FULL_WH).result is not None


@pytest.mark.parametrize(("scale", "outcome"), [(1e-4, ApplyOutcome.ACCEPTED), (0.05, ApplyOutcome.ROLLED_BACK)])
def test_a_report_that_power_took_is_told_after_the_boot_and_only_once(ship, scale, outcome):
    ship.agent.observe(scene(), FULL_WH)
    ship.agent.receive(UPDATE, bundle(changed_weights(scale), canary=canary_of(ship)), NOW_S)
    assert ship.agent.reports[0].outcome is outcome
    again = ship.wired()  # with no state of the agent
    again.boot(NOW_S + 60)
    assert [(r.version, r.outcome) for r in again.reports] == [(1, outcome)]
    again.boot(NOW_S + 120)
    assert len(again.reports) == 1


def test_a_confirmed_model_that_does_not_load_any_more_gives_way_to_the_one_before(ship):
    ship.agent.receive(UPDATE, bundle(changed_weights()), NOW_S)
    assert passes(ship.agent, 3) == [ApplyOutcome.CONFIRMED]
    again = ship.wired()
    load, base = again.model.engine_factory, digest_tensors(WEIGHTS)

    def picky(graph: bytes, weights: Any) -> Any:
        if digest_tensors(weights) != base:
            raise ModelError("an operator is not known")
        return load(graph, weights)

    again.model.engine_factory = picky
    again.restore(ship.agent.to_json())
    again.boot(NOW_S + 60)
    assert again.observe(scene(), FULL_WH).result is not None
    assert [(r.version, r.outcome) for r in again.reports] == [(1, ApplyOutcome.CONFIRMED), (1, ApplyOutcome.ROLLED_BACK)]
    assert (again.beacon(FULL_WH, NOW_S).model_version, again.slots.table().highest_version) == (0, 1)
    assert again.receive(UPDATE, bundle(changed_weights()), NOW_S).outcome is ApplyOutcome.REFUSED, "its version is spent"


def test_a_model_without_another_beside_it_that_does_not_load_says_so(ship):
    def refuses(graph: bytes, weights: Any) -> Any:
        raise ModelError("no memory")

    again = ship.wired()
    again.model.engine_factory = refuses
    with pytest.raises(ModelError, match="no memory"):
        again.boot(NOW_S)
    assert again.slots.table().spare_row.state is SlotState.CONFIRMED, "nothing was given up for nothing"


def test_a_running_model_that_fails_on_the_canary_ends_the_trial_and_the_next_update_is_taken(ship):
    ship.agent.observe(scene(), FULL_WH)
    cases, sound, load = canary_of(ship), ship.agent.engine, ship.agent.model.engine_factory
    swaps_before = sound.report().swaps

    class Failing:
        metadata = sound.metadata

        def infer(self, tiles: Any) -> Any:
            raise ModelError("out of memory")

    base = digest_tensors(WEIGHTS)
    ship.agent.model.engine_factory = lambda g, w: Failing() if digest_tensors(w) == base else load(g, w)
    report = ship.agent.receive(UPDATE, bundle(changed_weights(), canary=cases), NOW_S)
    assert report.outcome is ApplyOutcome.ROLLED_BACK
    assert report.reason == "canary: the running model: out of memory as it looks at a black tile"
    ship.agent.model.engine_factory = load
    report = ship.agent.receive(UPDATE, bundle(changed_weights(1e-4), version=2, canary=cases), NOW_S)
    assert report.outcome is ApplyOutcome.ACCEPTED
    assert (sound.report().swaps, sound.digest) == (swaps_before + 1, digest_tensors(changed_weights(1e-4)))


def test_what_the_slots_do_not_accept_does_not_run(ship, monkeypatch):
    before = ship.agent.engine

    def refuses() -> None:
        raise StateError("flash is worn out", where="slot b")

    monkeypatch.setattr(ship.agent.slots, "accept", refuses)
    report = ship.agent.receive(UPDATE, bundle(changed_weights()), NOW_S)
    assert (report.outcome, report.active_digest) == (ApplyOutcome.ROLLED_BACK, digest_tensors(WEIGHTS))
    assert ship.agent.engine is before
    assert (before.digest, before.report().swaps) == (digest_tensors(WEIGHTS), 0)


def test_a_slot_that_rots_under_a_running_model_does_not_silence_the_satellite(ship):
    ship.agent.boot(NOW_S)
    data = bytearray(ship.flash.files["slot-a"])
    data[len(data) // 2] ^= 1
    ship.flash.files["slot-a"] = bytes(data)
    assert ship.agent.observe(scene(), FULL_WH).stored == 4
    assert len(ship.agent.prepare_pass(WINDOW, PassBudget(), FULL_WH, NOW_S, rng())) == 4


def test_a_full_storage_still_holds_what_the_canary_is_tried_on(ship):
    ship.agent.observe(scene(), FULL_WH)
    used = ship.storage.used_bytes
    ship.storage = Storage(int(1.5 * used), ship.samples, keep_sent_bytes=used // 2)
    ship.agent = ship.wired()
    ship.agent.observe(scene(), FULL_WH)
    cases = canary_of(ship)
    ship.agent.prepare_pass(WINDOW, PassBudget(), FULL_WH, NOW_S, rng())
    for number in range(1, 4):
        ship.agent.observe(scene(number), FULL_WH)
    report = ship.agent.receive(UPDATE, bundle(changed_weights(), canary=cases), NOW_S)
    assert report.canary["cases"] >= 1
    assert report.outcome is ApplyOutcome.ROLLED_BACK


def test_an_unknown_kind_is_passed_over(ship):
    assert ship.agent.receive("poetry", b"o sole mio", NOW_S) is None
    assert ship.agent.reports == []


def test_only_the_last_reports_are_kept(ship):
    for number in range(12):
        ship.agent.receive(UPDATE, bytes([number]), NOW_S + number)
    assert [r.at_s for r in ship.agent.reports] == [NOW_S + n for n in range(4, 12)]


# -- state -----------------------------------------------------------------------------------------------------------------


def test_the_agent_comes_back_from_its_state(ship):
    ship.agent.observe(scene(), FULL_WH)
    ship.agent.receive(UPDATE, b"junk", NOW_S)
    state = ship.agent.to_json()
    again = ship.wired()
    again.restore(state)
    assert again.to_json() == state


@pytest.mark.parametrize(
    "state", [{}, {"tiles_seen": "x", "hard_seen": 0, "reports": []}, {"tiles_seen": 0, "hard_seen": 0, "reports": [{}]}]
)
def test_a_malformed_state_is_refused(ship, state):
    with pytest.raises(StateError, match="sat-1"):
        ship.agent.restore(state)


def test_passes_are_counted_and_told_with_what_is_believed(ship):
    told = []
    for number in range(2):
        ship.agent.prepare_pass(WINDOW, PassBudget(), FULL_WH, NOW_S, rng())
        told.append(ship.agent.beacon(FULL_WH, NOW_S).trust)
        if number == 0:
            ship.agent.receive(UPDATE, bundle(changed_weights()), NOW_S)
    assert told == [(1, 1, 0), (2, 1, 1)]
    assert ship.wired().beacon(FULL_WH, NOW_S).trust == (2, 1, 1), "also after a reboot"


def test_a_flash_that_refuses_costs_the_count_and_not_the_pass(ship, monkeypatch):
    def refuse(name: str, data: bytes) -> None:
        raise StateError("no space")

    monkeypatch.setattr(ship.flash, "write_atomic", refuse)
    ship.agent.prepare_pass(WINDOW, PassBudget(), FULL_WH, NOW_S, rng())
    assert heard(ship, BEACON)
