"""A satellite with a small real network, samples in storage and a canary; it takes candidates that behave as told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import candidate_engines
import numpy as np
import numpy.typing as npt
from candidate_engines import BEHAVE, SOUND, build, told

from orbitloop.algorithms.boxes import f1, match
from orbitloop.algorithms.mining.baselines import Always
from orbitloop.algorithms.screening import Cheap
from orbitloop.algorithms.selection.value import Value
from orbitloop.delta.codecs import Exact
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.authority import Authority
from orbitloop.ground.export import write_graph
from orbitloop.ground.release import code_update, sign_bundle
from orbitloop.ground.topology import STRIDES
from orbitloop.link.events import Received
from orbitloop.link.session import Endpoint
from orbitloop.onboard.adapters.trial_process import ProcessTrial
from orbitloop.onboard.agent import BEACON, UPDATE, Agent, AgentSettings, PassBudget
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.onboard.power import PowerGuard
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.storage import Storage
from orbitloop.onboard.trial import ModelBytes, TrialLimits, TrialRunner
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Updater
from orbitloop.onboard.weights import save_weights
from orbitloop.records.contact import ContactWindow
from orbitloop.records.health import Beacon, beacon_from_bytes
from orbitloop.records.ids import digest_tensors
from orbitloop.records.label import Boxes
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.pixels import decode_image
from orbitloop.records.sample_wire import sample_from_bytes
from orbitloop.records.scene import GeoTransform, Scene
from orbitloop.records.update import ApplyReport, CanaryCase
from orbitloop.records.verdict import GateVerdict
from orbitloop.sim.flash import MemoryFlash

NOW_S = 1.78e9
FULL_WH = 100.0
SCENES = 4
REPORT_SCORE = 0.02
Weights = dict[str, npt.NDArray[np.float32]]
ANCHORS = (((60.0, 60.0), (80.0, 50.0), (50.0, 80.0)), ((12.0, 12.0), (24.0, 16.0), (16.0, 24.0)))
METADATA = ModelMetadata("tiny", ("field",), 0.05, STRIDES, ANCHORS, Preprocessing(64, 16, 114, 0.015, REPORT_SCORE, 0.5, 60))
WINDOW = ContactWindow("sat-1", "svalbard", NOW_S, NOW_S + 300, 40.0, 2_000_000, 200_000)
GEO = GeoTransform(10.0, 50.0, 1e-4, 0.0, 0.0, -1e-4)
PATIENT = TrialLimits(seconds=300.0)
"""A machine that is busy with other things must not turn a sound candidate into one that hangs."""


@cache
def authority() -> Authority:
    return Authority.from_seed(b"ours", ("test",), NOW_S)


@cache
def _base() -> Weights:
    weights = {name: array.copy() for name, array in initial_weights(0.05, 1, 0).items()}
    for name in weights:  # an untrained network is sure of nothing: lift the objectness so that it reports some boxes
        if name.startswith("conv") and name.endswith(".bias"):
            weights[name][4::6] = -1.0
    return weights


def base() -> Weights:
    """Return the network's weights and how it behaves."""
    return {name: array.copy() for name, array in _base().items()} | {BEHAVE: SOUND.copy()}


@cache
def graph() -> bytes:
    return write_graph(METADATA, _base())


def model_bytes(weights: Weights) -> ModelBytes:
    return ModelBytes(graph(), save_weights(weights))


def behaving(name: str, strength: float = 0.0) -> Weights:
    """Return a candidate with the base's weights that behaves as told."""
    return base() | {BEHAVE: told(name, strength)}


def with_objectness(bias: float) -> Weights:
    """Return a candidate that sees nothing (a low bias) or something everywhere (a high one)."""
    weights = base()
    for name in weights:
        if name.startswith("conv") and name.endswith(".bias"):
            weights[name][4::6] = bias
    return weights


def overflowing(scale: float) -> Weights:
    """Return a candidate of finite weights whose activations overflow: its outputs are not finite."""
    weights = base()
    for name in weights:
        if name.endswith(".var"):
            weights[name] = np.full_like(weights[name], scale)
    return weights


def scene(number: int = 0, size: int = 112, light: float = 1.0) -> Scene:
    draw = np.random.default_rng(number)
    pixels = (draw.integers(0, 255, (size, size, 3)) * light).astype(np.uint8)
    return Scene(f"scene-{number}-{light}", "summer", pixels, NOW_S - 1000 + number, GEO)


def process_trial(**more: Any) -> ProcessTrial:
    """Return the runner whose child finds the engines of `candidate_engines`."""
    here = str(Path(candidate_engines.__file__).parent)
    return ProcessTrial("candidate_engines:build", environment={"PYTHONPATH": here}, **more)


@dataclass
class Ship:
    """What outlives an agent, so that another can boot on it."""

    flash: MemoryFlash = field(default_factory=MemoryFlash)
    samples: dict[str, bytes] = field(default_factory=dict)
    storage: Storage | None = None
    endpoint: Endpoint = field(default_factory=lambda: Endpoint({}))

    def __post_init__(self) -> None:
        if not self.flash.files:
            SlotStore(self.flash).install_factory(graph(), save_weights(base()))
        self.storage = self.storage or Storage(10_000_000, self.samples)

    def agent(
        self,
        runner: TrialRunner | None = None,
        limits: TrialLimits = PATIENT,
        *,
        engine_factory: Callable[[bytes, Mapping[str, Any]], Any] = build,
        cpu_clock: Callable[[], float] | None = None,
    ) -> Agent:
        slots = SlotStore(self.flash)
        assert self.storage is not None
        return Agent(
            AgentSettings("sat-1", keep_easy=0.0, trial=limits),
            slots=slots,
            updater=Updater(
                "sat-1", "tiny", slots, TrustStore(self.flash, authority().anchor), tenant="test", hardware="simulated"
            ),
            storage=self.storage,
            endpoint=self.endpoint,
            screen=Cheap(),
            miner=Always(),
            selector=Value(),
            guard=PowerGuard(FULL_WH, 0.3),
            engine_factory=engine_factory,
            runner=runner,
            cpu_clock=cpu_clock,
        )


@cache
def _seen() -> tuple[dict[str, bytes], dict[str, bytes], Any]:
    """Return flash, samples and storage of a satellite that has looked at some scenes."""
    ship = Ship()
    agent = ship.agent()
    for number in range(SCENES):
        agent.observe(scene(number), FULL_WH)
    assert ship.storage is not None
    return dict(ship.flash.files), dict(ship.samples), ship.storage.to_json()


def seasoned() -> Ship:
    """Return a satellite that has looked at some scenes; all are alike."""
    flash, samples, storage = _seen()
    held = dict(samples)
    return Ship(MemoryFlash(dict(flash)), held, Storage.from_json(storage, held))


@cache
def canary() -> tuple[CanaryCase, ...]:
    """Return cases whose labels are what the base itself reports, so that its F1 is 1."""
    engine, cases = build(graph(), base()), []
    for name, tile in sorted(canary_tiles().items()):
        rows = tuple((*(float(v) for v in box), 0.0) for box in detect_scene(engine, tile).detections.boxes_xyxy_px)
        cases.append(CanaryCase(name, rows))
    return tuple(cases)


@cache
def canary_tiles() -> dict[str, npt.NDArray[np.uint8]]:
    ship = seasoned()
    assert ship.storage is not None
    names = [candidate.sample_id for candidate in ship.storage.list()]
    return {n: decode_image(sample_from_bytes(ship.storage.get(n)).image, max_pixels=1 << 20) for n in names}


def truths() -> list[Boxes]:
    return [Boxes.from_json(case.boxes) for case in canary()]


def accuracy(weights: Weights) -> float:
    """Return the F1 on the canary."""
    engine, hits = build(graph(), weights), np.zeros(3, np.int64)
    for case in canary():
        hits += match(detect_scene(engine, canary_tiles()[case.sample_id]).detections, Boxes.from_json(case.boxes), 0.5)
    return f1(*(int(v) for v in hits))


def worse_by(points: float, seed: int) -> Weights:
    """Return weights perturbed at random, as far as it takes to lose `points` hundredths of F1 on the canary."""
    draw = np.random.default_rng(seed)
    noise = {n: draw.normal(size=a.shape).astype(np.float32) for n, a in base().items() if n.endswith(".weight")}

    def at(scale: float) -> Weights:
        moved = base()
        for name, one in noise.items():
            moved[name] = moved[name] + np.float32(scale * float(np.std(moved[name]) or 0.1)) * one
        return moved

    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy(at(middle)) > 1 - points / 100 else (low, middle)
    return at(high)


def bundle(target: Weights, version: int = 1, cases: tuple[CanaryCase, ...] | None = None) -> bytes:
    """Return a signed update from the base: the ground has been fooled, or its machine is another."""
    coded = code_update(base(), target, Exact())
    verdict = GateVerdict(True, ("test",), {})
    about: dict[str, Any] = {"model": "tiny", "satellites": ["sat-1"], "verdict": verdict, "tenant": "test"}
    about |= {"canary": canary() if cases is None else cases, "authority": authority(), "hardware": "simulated"}
    return sign_bundle(coded, version=version, now_s=NOW_S, **about)[1]


def send(agent: Agent, target: Weights, **more: Any) -> ApplyReport:
    report = agent.receive(UPDATE, bundle(target, **more), NOW_S)
    assert report is not None
    return report


def contact(agent: Agent, ship: Ship, at_s: float = NOW_S + 6000) -> tuple[Beacon, bytes]:
    """Live through a pass; return the beacon that the ground hears, and its bytes."""
    window = replace(WINDOW, aos_s=at_s, los_s=at_s + 300)
    agent.prepare_pass(window, PassBudget(samples=0), FULL_WH, at_s, np.random.default_rng(5))
    ground = Endpoint({})
    ship.endpoint.open_window(at_s)
    ground.open_window(at_s)
    events = [event for pdu in ship.endpoint.transmit(10_000_000, at_s) for event in ground.receive(pdu, at_s)]
    [data] = [event.payload for event in events if isinstance(event, Received) and event.kind == BEACON]
    return beacon_from_bytes(data, expect="sat-1"), data


def left_behind() -> list[str]:
    """Return what still runs of our trials when the system has had its time; a zombie runs no more."""
    found: list[str] = []
    for _ in range(400):
        found = _orphans()
        if not found:
            break
        time.sleep(0.05)
    return found


def _orphans() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if "trial_child candidate_engines" in line and state not in "ZX" and _leader_is_gone(int(folder.name)):
            found.append(f"{folder.name} {line}")
    return found


def _leader_is_gone(pid: int) -> bool:
    """Say whether a process's session has lost its leader: it was left behind, and is not another test's running trial."""
    try:
        os.kill(os.getsid(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


BASE_DIGEST = digest_tensors(base())
