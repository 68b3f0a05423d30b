"""A ground and a satellite for the sections about flash: real bundles, the flying updater and slots, a network that runs.

The network is tiny (35 kB, int8), and version n of it differs from any other in its outputs only, so that what must fly follows
from its number, whatever it was made from.
"""

from __future__ import annotations

import hashlib
from functools import cache

import engine_models
import numpy as np
import numpy.typing as npt
from cutting_disk import CuttingDisk

from orbitloop.delta.bundle import manifest_bytes, pack_bundle, target_path
from orbitloop.delta.codecs import Exact
from orbitloop.delta.make import make_delta
from orbitloop.errors import StateError
from orbitloop.ground.authority import Authority
from orbitloop.ground.repository import carried
from orbitloop.onboard.adapters.files import Disk, FileFlash
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.slot_table import SlotState
from orbitloop.onboard.slots import Recovery, SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.model import INT8
from orbitloop.records.update import UpdateManifest
from orbitloop.trust.carried import pack_metadata

NOW_S = 1.8e9
CHUNK_BYTES = 16_384
Tensors = dict[str, npt.NDArray[np.generic]]


@cache
def graph() -> bytes:
    return engine_models.graph(INT8)


@cache
def tensors(version: int) -> Tensors:
    """Return the weights of a version."""
    found = engine_models.weights(INT8)
    if version:
        rng = np.random.default_rng(version)
        for name in ("conv22.weight", "conv22.bias"):
            found[name] = (found[name] * rng.uniform(0.5, 1.5, found[name].shape)).astype(np.float32)
    return load_weights(save_weights(found))


@cache
def stored(version: int) -> bytes:
    return save_weights(tensors(version))


@cache
def digest(version: int) -> str:
    return digest_tensors(tensors(version))


@cache
def seen(version: int) -> str:
    """Return a digest of what a version sees on one tile."""
    return look(graph(), stored(version))


def look(graph_bytes: bytes, weights: bytes) -> str:
    """Load a model and run it on one tile."""
    found = OnnxEngine(graph_bytes, load_weights(weights)).infer(engine_models.tiles(1))
    parts = [(p.detections.boxes_xyxy_px.tobytes(), p.detections.scores.tobytes()) for p in found]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Ground:
    """An authority of its own, and bundles from any version to any other."""

    def __init__(self, seed: bytes) -> None:
        self.authority = Authority.from_seed(seed, ("farm",), NOW_S)
        self.anchor = self.authority.anchor

    @property
    def stamp(self) -> int:
        """Version of the timestamp that was published last."""
        return self.authority.repository.versions.get("timestamp", 0)

    def bundle(self, version: int, base: int, *, contacts: int = 0) -> bytes:
        """Return the update number `version` for a satellite that flies `base`."""
        payload = make_delta(tensors(base), tensors(version), Exact())
        gate = {"passed": True, "base": digest(base), "result": digest(version)}
        about = digest(base), digest(version), digest_bytes(payload), len(payload)
        manifest = UpdateManifest(version, "fields", *about, ("sat-1",), gate, (), "farm", "jetson")
        path, raw = target_path(manifest), manifest_bytes(manifest)
        repository = self.authority.release("farm", {path: raw}, now_s=NOW_S, contacts={"sat-1": contacts})
        return pack_bundle(pack_metadata(carried(repository, "farm")), path, raw, payload)


class Satellite:
    """What flies, on any disk; a new one on the same disk is a reboot."""

    def __init__(self, disk: Disk, anchor: bytes) -> None:
        self.flash = FileFlash(disk, chunk_bytes=CHUNK_BYTES)
        self.store = SlotStore(self.flash)
        self.trust = TrustStore(self.flash, anchor)
        self.updater = Updater("sat-1", "fields", self.store, self.trust, tenant="farm", hardware="jetson")

    def install(self) -> None:
        self.store.install_factory(graph(), stored(0))

    def boot(self) -> Recovery:
        """Do what the agent does at a start, up to the first healthy sign, and the trial of what waits."""
        found = self.store.recover()
        self.store.note_boot()
        load_weights(self.store.active().weights)
        self.store.note_healthy()
        if self.updater.pending() is not None:
            self.try_it()
        return found

    def receive(self, bundle: bytes) -> str:
        """Take a bundle; return the reason of a refusal, or nothing."""
        answer = self.updater.receive(bundle, NOW_S)
        return "" if isinstance(answer, Staged) else answer.reason

    def try_it(self, *, passed: bool = True) -> None:
        self.store.begin_trial()
        if passed:
            self.store.accept()
        else:
            self.store.roll_back("canary lost")

    def contact(self) -> None:
        self.updater.count_contact()
        if self.store.running().state is SlotState.PROBATION:
            self.store.confirm()

    def update(self, bundle: bytes) -> None:
        """Take a bundle through to the end.

        Raises:
            StateError: it was refused.
        """
        refused = self.receive(bundle)
        if refused:
            raise StateError(f"a good bundle was refused: {refused}")
        self.try_it()
        self.contact()


def flaw(satellite: Satellite, allowed: set[int], *, run: bool = False) -> str:
    """Return what is wrong with the model that flies, or nothing: whole, one of those allowed, and (`run`) it sees right."""
    active = satellite.store.active()
    if active.version not in allowed:
        return f"version {active.version} flies, not one of {sorted(allowed)}"
    if (active.graph, active.weights, active.digest) != (graph(), stored(active.version), digest(active.version)):
        return f"version {active.version} is not what it says"
    if run and look(active.graph, active.weights) != seen(active.version):
        return f"version {active.version} sees something else"
    return ""


def unsettled(satellite: Satellite, disk: CuttingDisk) -> str:
    """Return what a boot left undone, or nothing."""
    if not satellite.store._mirrored(satellite.store.table()):
        return "the table is not there twice"
    if any(name.endswith(".tmp") for name in disk.contents()):
        return "a temporary file was left over"
    return ""
