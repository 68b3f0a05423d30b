"""The satellite's own mind: look, mine, choose what goes down, take updates in, say how it is. The LocalController on board.

It is told the time, the battery's charge and when a window opens; it never waits, never opens a socket, never reads a clock.
What must survive a reboot is in the slots (flash), in the storage's and the link's state (`to_json`), and in two counters.

    capture  -> observe()       tiles; detections queued as GeoJSON; hard samples into storage; by the power guard's leave
    AOS      -> prepare_pass()  beacon first, then samples chosen for this window's bytes and joules
    received -> receive()       an update: verify, stage, try on the canary, confirm or roll back
    reboot   -> boot()          recover the slots, try what was staged, fall back from a model that does not load, and report
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import f1, match
from orbitloop.algorithms.tiling import tile_windows
from orbitloop.errors import ImageError, ModelError, StateError, WireError
from orbitloop.link.session import Endpoint
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.geojson import feature_collection
from orbitloop.onboard.pipeline import SceneResult, detect_scene, make_samples
from orbitloop.onboard.power import PowerGuard
from orbitloop.onboard.resident import PinnedEngine, ResidentEngine
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.storage import Storage
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.weights import load_weights
from orbitloop.plugins.kinds import Miner, Screen, Selector
from orbitloop.records.contact import ContactWindow
from orbitloop.records.detections_wire import detections_to_bytes
from orbitloop.records.health import Beacon, beacon_to_bytes
from orbitloop.records.label import Boxes
from orbitloop.records.pixels import decode_image
from orbitloop.records.prediction import Prediction
from orbitloop.records.sample import Candidate, HardSample, Mining
from orbitloop.records.sample_wire import sample_from_bytes, sample_to_bytes
from orbitloop.records.scene import Scene
from orbitloop.records.update import ApplyOutcome, ApplyReport

Weights = Mapping[str, npt.NDArray[np.float32]]
EngineFactory = Callable[[bytes, Weights], Engine]

BEACON, DETECTION, SAMPLE, UPDATE, TRUST = "beacon", "detection", "sample", "update", "trust"
BEACON_PRIORITY, DETECTION_PRIORITY, SAMPLE_PRIORITY = 0, 10, 20
KEPT_REPORTS = 8
MAX_TILE_PIXELS = 4_000_000


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the mission says of one satellite.

    `keep_easy` is the share of easy tiles kept as a random probe: confident mistakes are found no other way.
    `transmit_j_per_byte` and `energy_per_tile_j` are joules. `canary_max_loss` is in F1 on the canary's tiles.
    """

    satellite: str
    image_format: str = "webp"
    quality: int = 80
    keep_easy: float = 0.02
    energy_per_tile_j: float = 2.1
    transmit_j_per_byte: float = 1e-6
    canary_max_loss: float = 0.1


@dataclass(frozen=True, slots=True)
class PassBudget:
    """What may be spent in one pass beyond what window and battery allow; None = no further limit."""

    downlink_bytes: int | None = None
    samples: int | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What came of one capture. `result` is None when the battery did not allow to look."""

    result: SceneResult | None
    hard: tuple[HardSample, ...]
    stored: int
    spent_j: float


class Agent:
    """One satellite. The parts come wired from a composition root; `engine_factory` turns a slot into a running model."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        slots: SlotStore,
        updater: Updater,
        storage: Storage,
        endpoint: Endpoint,
        screen: Screen,
        miner: Miner,
        selector: Selector,
        guard: PowerGuard,
        engine_factory: EngineFactory,
    ) -> None:
        self.settings, self.slots, self.updater = settings, slots, updater
        self.storage, self.endpoint = storage, endpoint
        self.screen = screen
        self.miner: Miner = WithProbe(miner, settings.keep_easy)
        self.selector, self.guard, self.engine_factory = selector, guard, engine_factory
        self.tiles_seen = self.tiles_dropped = self.hard_seen = 0
        self.reports: list[ApplyReport] = []
        self.told_version = 0
        """The newest update whose end has been reported."""
        self._engine: ResidentEngine | None = None

    @property
    def engine(self) -> ResidentEngine:
        """The running model, built from the active slot when first asked for; a confirmed update is swapped into it."""
        if self._engine is None:
            active = self.slots.active()
            self._engine = ResidentEngine(self.engine_factory(active.graph, load_weights(active.weights)), active.digest)
        return self._engine

    def boot(self, now_s: float) -> None:
        """Bring the slots into order after a start, whatever stopped the satellite before.

        Raises:
            StateError: there is no intact model that may fly, or the flash refuses.
            ModelError: the runtime refuses every model that may fly.
        """
        self._engine = None
        self._report(self.updater.recover(now_s))
        try:
            self.engine  # noqa: B018  (built when asked for)
        except ModelError as error:
            report = self.updater.fall_back(f"the model does not load: {error.what}", now_s)
            if report is None:
                raise
            self._report(report)
            self.engine  # noqa: B018
        try:
            staged = self.updater.pending()
        except StateError as error:  # whole, and yet this software cannot read it: given up, for it must not keep us down
            self._report(self.updater.complete(False, {}, error.what, now_s))
        else:
            self._report(self._try(staged, now_s) if staged is not None else None)
        last = self.updater.last_word(now_s)
        self._report(last if last is not None and last.version > self.told_version else None)

    def observe(self, scene: Scene, battery_wh: float) -> Observation:
        """Look at one capture: detect, mine, keep what is hard. Tiles cost energy; without it the capture is let go."""
        rules = self.engine.metadata.preprocessing
        height, width = scene.pixels.shape[:2]
        tiles = len(tile_windows(width, height, rules.tile_px, rules.overlap_px))
        if not self.guard.may_spend(tiles * self.settings.energy_per_tile_j, battery_wh):
            return Observation(None, (), 0, 0.0)
        with self.engine.pinned() as engine:  # one model for the whole capture, whatever is swapped meanwhile
            self.screen.reset()  # each capture's detections stand for themselves
            result = detect_scene(engine, scene.pixels, screen=self.screen)
        hard = make_samples(
            scene,
            result,
            self.miner,
            satellite=self.settings.satellite,
            model_digest=engine.digest,
            image_format=self.settings.image_format,
            quality=self.settings.quality,
        )
        stored = 0
        for sample in hard:
            data = sample_to_bytes(sample)
            candidate = Candidate(
                sample.sample_id,
                len(data),
                sample.mining.score,
                len(data) * self.settings.transmit_j_per_byte,
                sample.captured_at_s,
                sample.embedding,
            )
            stored += self.storage.put(candidate, data)
        self._queue_detections(scene, result, engine)
        self.tiles_seen += len(result.tiles)
        self.tiles_dropped += result.counts.tiles - len(result.tiles)
        self.hard_seen += len(hard)
        return Observation(result, tuple(hard), stored, len(result.tiles) * self.settings.energy_per_tile_j)

    def _queue_detections(self, scene: Scene, result: SceneResult, engine: PinnedEngine) -> None:
        """Queue what was found in a scene: the product, final at once, whatever becomes of its hard tiles."""
        if not len(result.detections):
            return
        collection = feature_collection(
            result.detections,
            classes=engine.metadata.classes,
            scene_id=scene.scene_id,
            captured_at_s=scene.captured_at_s,
            model_digest=engine.digest,
            geo=scene.geo,
        )
        payload = detections_to_bytes(collection)
        self.endpoint.offer(DETECTION, payload, priority=DETECTION_PRIORITY, now_s=scene.captured_at_s, key=scene.scene_id)

    def prepare_pass(
        self, window: ContactWindow, budget: PassBudget, battery_wh: float, now_s: float, rng: np.random.Generator
    ) -> list[str]:
        """Queue a beacon and the samples that are worth this window; return the samples' ids, in sending order.

        What waits in the queue is counted first: all of it against the window and the battery, its samples against the budget.
        """
        self.updater.count_contact()
        payload = beacon_to_bytes(self.beacon(battery_wh, now_s))
        self.endpoint.offer(BEACON, payload, priority=BEACON_PRIORITY, now_s=now_s, key=self.settings.satellite)
        capacity, energy_j, most = self._allowance(window, budget, battery_wh)
        candidates = self.storage.list(sent=False)
        order = self.selector.select(
            candidates,
            budget_bytes=capacity,
            budget_j=energy_j,
            sent_embeddings=self.storage.sent_embeddings(),
            rng=rng,
        )
        chosen = [candidates[i] for i in order[:most]]
        for rank, candidate in enumerate(chosen):
            data = self.storage.get(candidate.sample_id)
            self.endpoint.offer(SAMPLE, data, priority=SAMPLE_PRIORITY, now_s=now_s, value=float(len(chosen) - rank))
        names = [candidate.sample_id for candidate in chosen]
        self.storage.mark_sent(names)
        return names

    def _allowance(self, window: ContactWindow, budget: PassBudget, battery_wh: float) -> tuple[int, float, int | None]:
        """Return the bytes, joules and number of samples (None = any) that may be queued beside what waits already."""
        each_j, waiting = self.settings.transmit_j_per_byte, self.endpoint.pending_bytes(SAMPLE)
        ahead = self.endpoint.pending_bytes()
        capacity = window.downlink_bytes - ahead
        energy_j = self.guard.allowed_j(battery_wh, reserve_j=ahead * each_j)
        if budget.downlink_bytes is not None:
            capacity = min(capacity, budget.downlink_bytes - waiting)
        if budget.energy_j is not None:
            energy_j = min(energy_j, budget.energy_j - waiting * each_j)
        most = None if budget.samples is None else max(0, budget.samples - self.endpoint.pending_items(SAMPLE))
        return max(0, capacity), max(0.0, energy_j), most

    def receive(self, kind: str, payload: bytes, now_s: float) -> ApplyReport | None:
        """Act on an item that came up whole. An unknown kind is passed over: a newer ground may send more than we know."""
        if kind == TRUST:  # metadata alone: rotated keys, a tenant revoked, a fresh timestamp
            renewed = self.updater.take_trust(payload, now_s)
            self._report(renewed)
            return renewed
        if kind != UPDATE:
            return None
        staged = self.updater.receive(payload, now_s)
        report = staged if isinstance(staged, ApplyReport) else self._try(staged, now_s)
        self._report(report)
        return report

    def beacon(self, battery_wh: float, now_s: float) -> Beacon:
        """Return the satellite's state, with the reports of the last updates."""
        active = self.slots.running()
        contacts, root_version, targets_version = self.updater.trust_state()
        return Beacon(
            satellite=self.settings.satellite,
            at_s=now_s,
            model_digest=active.digest,
            model_version=active.version,
            tiles_seen=self.tiles_seen,
            hard_seen=self.hard_seen,
            stored_samples=len(self.storage),
            battery_wh=round(battery_wh, 3),
            reports=tuple(self.reports),
            contacts=contacts,
            root_version=root_version,
            targets_version=targets_version,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what is neither on flash nor in the blobs."""
        return {
            "tiles_seen": self.tiles_seen,
            "tiles_dropped": self.tiles_dropped,
            "hard_seen": self.hard_seen,
            "told_version": self.told_version,
            "reports": [r.to_json() for r in self.reports],
            "storage": self.storage.to_json(),
            "endpoint": self.endpoint.to_json(),
        }

    def restore(self, value: Mapping[str, Any]) -> None:
        """Take the counters and reports back; storage and endpoint are restored by who builds the agent.

        Raises:
            StateError: the state is malformed.
        """
        try:
            self.tiles_seen, self.hard_seen = int(value["tiles_seen"]), int(value["hard_seen"])
            self.tiles_dropped = int(value.get("tiles_dropped", 0))
            self.reports = [ApplyReport.from_json(r) for r in value["reports"]]
            self.told_version = int(value.get("told_version", max((r.version for r in self.reports), default=0)))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the agent's saved state is malformed ({error!r})", where=self.settings.satellite) from error

    def _report(self, report: ApplyReport | None) -> None:
        if report is None:
            return
        self.reports = [*self.reports, report][-KEPT_REPORTS:]
        if report.outcome is not ApplyOutcome.REFUSED:
            self.told_version = max(self.told_version, report.version)

    def _try(self, staged: Staged, now_s: float) -> ApplyReport:
        """Run the staged model on the canary beside the running one; confirm it or go back.

        Should the running one fail on a tile, there is nothing to compare with, and nothing is confirmed.
        """
        cases = self._canary(staged)
        try:
            self.updater.begin_trial()  # before anything runs: what crashes from here on must not be tried again at boot
            before = _f1_on(self.engine, cases)
            trial = self.engine_factory(staged.content.graph, staged.weights)
            after = _f1_on(trial, cases)
        except (ModelError, StateError) as error:
            return self.updater.complete(False, {}, f"canary: {error.what}", now_s)
        measured = {"cases": float(len(cases)), "f1_before": round(before, 4), "f1_after": round(after, 4)}
        passed = after >= before - self.settings.canary_max_loss
        verdict = f"canary: F1 {before:.3f} -> {after:.3f} on {len(cases)} tiles"
        if not cases:
            verdict = "canary: none of its tiles is held here; the model loads and runs"
        report = self.updater.complete(passed, measured, verdict, now_s)
        if report.outcome is ApplyOutcome.CONFIRMED:  # by the slots, which may refuse what the canary passed
            # A confirmed model may have other classes or tiles; who still works on the one before the old one is waited for.
            self.engine.swap(trial, self.slots.running().digest, another=True, wait_s=None)
        return report

    def _canary(self, staged: Staged) -> list[tuple[npt.NDArray[np.uint8], Boxes]]:
        """Return the canary's tiles that are still in storage, with the ground's labels."""
        found = []
        for case in staged.manifest.canary:
            if case.sample_id not in self.storage:
                continue
            try:
                sample = sample_from_bytes(self.storage.get(case.sample_id))
                pixels = decode_image(sample.image, max_pixels=MAX_TILE_PIXELS)
                found.append((pixels, Boxes.from_json(case.boxes)))
            except (WireError, ImageError, StateError, ValueError):
                continue  # A tile that storage has damaged proves nothing about the model.
        return found


class WithProbe:
    """A miner that also keeps a random share of what the inner one finds easy, drawn by the tile's own fingerprint."""

    summary = "Keeps a random share of the easy tiles as well."

    def __init__(self, inner: Miner, share: float) -> None:
        self.inner, self.share = inner, share

    def mine(self, prediction: Prediction) -> Mining:
        """Judge as the inner miner does; an easy tile becomes a probe with the probability `share`."""
        verdict = self.inner.mine(prediction)
        if verdict.hard or self.share <= 0:
            return verdict
        draw = int.from_bytes(hashlib.sha256(prediction.embedding.tobytes()).digest()[:4], "big") / 0xFFFFFFFF
        return Mining(True, max(verdict.score, 0.5), "random probe of the easy tiles") if draw < self.share else verdict


def _f1_on(engine: Engine, cases: list[tuple[npt.NDArray[np.uint8], Boxes]]) -> float:
    """Return the F1 at IoU 0.5 over all cases, at the score that is reported; 0 without cases, after one blank run."""
    size = engine.metadata.preprocessing.tile_px
    if not cases:
        engine.infer(np.full((1, size, size, 3), engine.metadata.preprocessing.pad_value, np.uint8))
        return 0.0
    hits = np.zeros(3, np.int64)
    for pixels, boxes in cases:
        result = detect_scene(engine, pixels)
        hits += match(result.detections, boxes, 0.5)
    return f1(*(int(v) for v in hits))
