"""The satellite's own mind: look, mine, choose what goes down, take updates in, say how it is. The LocalController on board.

It is told the time, the battery's charge and when a window opens; it never waits, never opens a socket, never reads a clock.
What must survive a reboot is in the slots (flash), in the storage's and the link's state (`to_json`), and in two counters.

    capture  -> observe()       tiles; detections queued as GeoJSON; hard samples into storage; by the power guard's leave
    AOS      -> prepare_pass()  the end of a probation; beacon first, then samples chosen for this window's bytes and joules
    received -> receive()       an update: verify, stage, try on the canary, fly it on probation or go back
    reboot   -> boot()          recover the slots, try what was staged, fall back from a model that does not load, and report

The model itself, its trial and its probation are `flying`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.tiling import tile_windows
from orbitloop.errors import ImageError, StateError, WireError
from orbitloop.link.session import Endpoint
from orbitloop.onboard.flying import FlyingModel, Looked
from orbitloop.onboard.geojson import feature_collection
from orbitloop.onboard.pipeline import SceneResult, make_samples
from orbitloop.onboard.power import PowerGuard
from orbitloop.onboard.resident import ResidentEngine
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.storage import Storage
from orbitloop.onboard.trial import TrialLimits, TrialRunner
from orbitloop.onboard.trial_bench import EngineFactory, InProcess
from orbitloop.onboard.updates import Staged, Updater, bounded
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

BEACON, DETECTION, SAMPLE, UPDATE, TRUST = "beacon", "detection", "sample", "update", "trust"
BEACON_PRIORITY, DETECTION_PRIORITY, SAMPLE_PRIORITY = 0, 10, 20
KEPT_REPORTS = 8
LEAST_CASES, RECENT_TILES = 4, 8
"""With fewer tiles of its canary held here, a candidate is also shown the newest ones that are."""
MAX_TILE_PIXELS = 4_000_000


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the mission says of one satellite.

    `keep_easy` is the share of easy tiles kept as a random probe: confident mistakes are found no other way.
    `transmit_j_per_byte` and `energy_per_tile_j` are joules. `trial` is what a new model must keep.
    """

    satellite: str
    image_format: str = "webp"
    quality: int = 80
    keep_easy: float = 0.02
    energy_per_tile_j: float = 2.1
    transmit_j_per_byte: float = 1e-6
    trial: TrialLimits = field(default_factory=TrialLimits)


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
    """One satellite. The parts come wired from a composition root.

    `engine_factory` turns a slot into a running model; `runner` tries a new one, in this process unless another is given;
    `cpu_clock` times the model in flight, where it is to be timed.
    """

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
        runner: TrialRunner | None = None,
        cpu_clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings, self.slots, self.updater = settings, slots, updater
        runner = runner or InProcess(lambda graph, weights: self.model.engine_factory(graph, weights))
        self.model = FlyingModel(slots, updater, engine_factory, runner, settings.trial, cpu_clock)
        self.storage, self.endpoint = storage, endpoint
        self.screen = screen
        self.miner: Miner = WithProbe(miner, settings.keep_easy)
        self.selector, self.guard = selector, guard
        self.tiles_seen = self.tiles_dropped = self.hard_seen = 0
        self.reports: list[ApplyReport] = []
        self.told_version = 0
        """The newest update whose end has been reported."""

    @property
    def engine(self) -> ResidentEngine:
        """The running model."""
        return self.model.engine

    def boot(self, now_s: float) -> None:
        """Bring the slots into order after a start, whatever stopped the satellite before.

        Raises:
            StateError: there is no intact model that may fly, or the flash refuses.
            ModelError: the runtime refuses every model that may fly.
        """
        for report in self.model.boot(now_s):
            self._report(report)
        with suppress(StateError):  # the flash refuses: what waits goes on waiting, and the running model looks
            self._decide(now_s)
        last = self.updater.last_word(now_s)
        told = last is not None and (last.version, last.outcome) in {(r.version, r.outcome) for r in self.reports}
        self._report(last if last is not None and last.version > self.told_version and not told else None)

    def _decide(self, now_s: float) -> None:
        """Try what was staged when power failed."""
        try:
            staged = self.updater.pending()
        except StateError as error:  # whole, and yet this software cannot read it: given up, for it must not keep us down
            self._report(self.updater.complete(False, {}, error.what, now_s))
        else:
            self._report(self._try(staged, now_s) if staged is not None else None)

    def observe(self, scene: Scene, battery_wh: float) -> Observation:
        """Look at one capture: detect, mine, keep what is hard. Tiles cost energy; without it the capture is let go."""
        rules = self.engine.metadata.preprocessing
        height, width = scene.pixels.shape[:2]
        tiles = len(tile_windows(width, height, rules.tile_px, rules.overlap_px))
        if not self.guard.may_spend(tiles * self.settings.energy_per_tile_j, battery_wh):
            return Observation(None, (), 0, 0.0)
        twice = self.guard.may_spend(2 * tiles * self.settings.energy_per_tile_j, battery_wh)
        looked = self.model.look(scene.pixels, self.screen, scene.captured_at_s, second_look=twice)
        for report in looked.reports:
            self._report(report)
        result = looked.result
        hard = make_samples(
            scene,
            result,
            self.miner,
            satellite=self.settings.satellite,
            model_digest=looked.digest,
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
        self._queue_detections(scene, looked)
        self.tiles_seen += len(result.tiles)
        self.tiles_dropped += result.counts.tiles - len(result.tiles)
        self.hard_seen += len(hard)
        return Observation(result, tuple(hard), stored, looked.tiles * self.settings.energy_per_tile_j)

    def _queue_detections(self, scene: Scene, looked: Looked) -> None:
        """Queue what was found in a scene: the product, final at once, whatever becomes of its hard tiles."""
        if not len(looked.result.detections):
            return
        collection = feature_collection(
            looked.result.detections,
            classes=looked.metadata.classes,
            scene_id=scene.scene_id,
            captured_at_s=scene.captured_at_s,
            model_digest=looked.digest,
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
        for report in self.model.contact(now_s):
            self._report(report)
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
            "probation": self.model.to_json(),
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
            probation = value.get("probation")
            self.model.restore(None if probation is None else dict(probation))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the agent's saved state is malformed ({error!r})", where=self.settings.satellite) from error

    def _report(self, report: ApplyReport | None) -> None:
        if report is None:
            return
        same = [r for r in self.reports if (r.version, r.outcome) == (report.version, ApplyOutcome.ACCEPTED)]
        if same and report.outcome in (ApplyOutcome.CONFIRMED, ApplyOutcome.ROLLED_BACK):  # the last word takes its place
            report = replace(
                report, reason=bounded(f"{report.reason}; {same[0].reason}"), canary=report.canary or same[0].canary
            )
            self.reports = [r for r in self.reports if r is not same[0]]
        self.reports = [*self.reports, report][-KEPT_REPORTS:]
        if report.outcome in (ApplyOutcome.CONFIRMED, ApplyOutcome.ROLLED_BACK):
            self.told_version = max(self.told_version, report.version)

    def _try(self, staged: Staged, now_s: float) -> ApplyReport:
        """Run the staged model on the canary beside the running one; fly it on probation, or go back."""
        cases = self._canary(staged)
        tiles, truths = [pixels for pixels, _ in cases], [boxes for _, boxes in cases]
        if len(cases) < LEAST_CASES:
            tiles += self._recent({case.sample_id for case in staged.manifest.canary})
        return self.model.try_staged(staged, tiles, truths, now_s)

    def _canary(self, staged: Staged) -> list[tuple[npt.NDArray[np.uint8], Boxes]]:
        """Return the canary's tiles that are still in storage, with the ground's labels."""
        found = []
        for case in staged.manifest.canary:
            pixels = self._tile(case.sample_id)
            with suppress(ValueError):  # labels that are no boxes prove nothing
                found += [(pixels, Boxes.from_json(case.boxes))] if pixels is not None else []
        return found

    def _recent(self, without: set[str]) -> list[npt.NDArray[np.uint8]]:
        """Return the newest tiles in storage, for a canary that is not held here."""
        newest = sorted(self.storage.list(), key=lambda c: (-c.captured_at_s, c.sample_id))
        names = [c.sample_id for c in newest if c.sample_id not in without][:RECENT_TILES]
        return [pixels for pixels in map(self._tile, names) if pixels is not None]

    def _tile(self, sample_id: str) -> npt.NDArray[np.uint8] | None:
        """Return a stored tile's pixels; None where it is gone or damaged, and so proves nothing about a model."""
        if sample_id not in self.storage:
            return None
        try:
            return decode_image(sample_from_bytes(self.storage.get(sample_id)).image, max_pixels=MAX_TILE_PIXELS)
        except (WireError, ImageError, StateError, ValueError):
            return None


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
