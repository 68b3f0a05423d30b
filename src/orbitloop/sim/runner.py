"""A whole mission in one process on a virtual clock: the loop, turn by turn.

A discrete-event run over the contact windows, in order of AOS. Before a window the satellite looks at what it captured since
the last one; in the window the real bytes of every PDU go through a simulated channel; after it the ground labels, and starts a
round of training when enough has come. A training takes its virtual hours, then the gate judges, and the bundle waits for the
next window up.

Deterministic: everything random is drawn from (seed, what for, which), nothing from a generator that lives on; so a run that
resumes from a checkpoint ends like one that was never stopped. The wall clock is read for the report's `wall` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.clock import VirtualClock, iso_utc
from orbitloop.errors import StateError
from orbitloop.ground.labelling import OracleLabeller, PricedLabeller, TeacherLabeller
from orbitloop.ground.segment import GroundSegment, SegmentRules
from orbitloop.onboard.agent import BEACON, SAMPLE, PassBudget
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.orbit.track import geo_transform_at
from orbitloop.plugins.registry import default_registry
from orbitloop.records.contact import ContactPlan, ContactWindow
from orbitloop.records.health import Beacon
from orbitloop.records.ids import digest_bytes, digest_json, digest_tensors
from orbitloop.records.scene import Scene
from orbitloop.records.update import ApplyOutcome, ApplyReport
from orbitloop.records.wire import unpack
from orbitloop.reports.codec import from_plain, to_plain
from orbitloop.reports.observed import BatteryPoint, PassSummary, TimelinePoint
from orbitloop.reports.rounds import Applied, NewOld, Round
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.channel import WindowResult, run_window
from orbitloop.sim.checkpoint import Checkpoints
from orbitloop.sim.fleet import SimulatedSatellite, build_satellite, contacts, saved_state
from orbitloop.sim.measure import Measurement, Meter
from orbitloop.sim.rounds import Pending, RoundMaker
from orbitloop.sim.training import TrainedModel, TrainingRequest, trained_model
from orbitloop.sim.world import SceneRef, World
from orbitloop.trust.keys import SigningKey, TrustedKeys, generate_key

UPDATE_PRIORITY = 10


class Watcher:
    """Told what a run is doing; the CLI draws it. Every method may be left as it is."""

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        """Say how far the current stage is."""

    def event(self, at_s: float, text: str) -> None:
        """Say that something of note happened."""


@dataclass(slots=True)
class Course:
    """What the report tells of the run so far; grows as it goes, and is part of every checkpoint."""

    captured_bytes: int = 0
    downlinked_bytes: int = 0
    uplinked_bytes: int = 0
    scenes: int = 0
    let_go: int = 0
    stored: int = 0
    sent: int = 0
    round_sent: int = 0
    round_down: int = 0
    label_cost_told: float = 0.0
    labels_told: int = 0
    finished_at_s: float = 0.0
    initial: dict[str, Any] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)
    down_by_kind: dict[str, int] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    timeline: list[TimelinePoint] = field(default_factory=list)
    passes: list[PassSummary] = field(default_factory=list)
    battery: list[BatteryPoint] = field(default_factory=list)

    _LISTS = (("rounds", Round), ("timeline", TimelinePoint), ("passes", PassSummary), ("battery", BatteryPoint))

    def to_json(self) -> dict[str, Any]:
        lists = dict(self._LISTS)
        return {
            name: [to_plain(lists[name], v) for v in getattr(self, name)] if name in lists else getattr(self, name)
            for name in self.__dataclass_fields__
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Course:
        lists = dict(cls._LISTS)
        known = {n: v for n, v in value.items() if n in cls.__dataclass_fields__}
        return cls(**{n: [from_plain(lists[n], row) for row in v] if n in lists else v for n, v in known.items()})


class MissionRun:
    """One run of one mission.

    Args:
        plan: the resolved mission.
        world: its scenes.
        base: the model that is on board at the start.
        out_dir: where the state is kept; reports are written by the caller.
        watcher: told of progress.
        resume: go on from the last checkpoint in `out_dir`.
        cache: where other trained models (teacher) are cached; None = the default.

    Raises:
        StateError: `resume` is asked for and there is no checkpoint of this very mission.
    """

    def __init__(
        self,
        plan: MissionPlan,
        world: World,
        base: TrainedModel,
        out_dir: Path,
        *,
        watcher: Watcher | None = None,
        resume: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.plan, self.world, self.base = plan, world, base
        self.watcher, self.cache = watcher or Watcher(), cache
        self.clock = VirtualClock(plan.start_s)
        self.meter = Meter(base.graph, len(world.classes), plan.mission.spec.threads)
        self.checkpoints = Checkpoints(out_dir / "state")
        self.key: SigningKey = generate_key(bytes.fromhex(digest_bytes(f"{plan.name}|{plan.seed}".encode())[7:]))
        self.windows: ContactPlan = contacts(plan)
        self.wall: dict[str, float] = {}
        self.base_digest = digest_tensors(base.weights)
        self.identity = digest_json([plan.digest(), plan.seed, self.base_digest])
        state = self._saved(resume)
        self.blobs: dict[str, bytes] = {}
        self.segment = GroundSegment(self._rules(), self._labellers(), self.blobs)
        self.maker = RoundMaker(self)
        self.course = Course()
        self.next_window = 0
        self.pending: Pending | None = None
        self.weights_by_digest = {self.base_digest: dict(base.weights)}
        self.champion = self.base_digest
        self.flying_version = 0
        self.satellites: dict[str, SimulatedSatellite] = {}
        self._wire(state)

    # -- setting up ------------------------------------------------------------------------------------------------------

    def _saved(self, resume: bool) -> dict[str, Any] | None:
        if not resume:
            self.checkpoints.clear()
            return None
        state = self.checkpoints.load()
        if state.get("identity") != self.identity:
            raise StateError(
                "the run in this folder is of another mission, seed or base model",
                where=str(self.checkpoints.folder),
                remedy="give the mission and seed that it was started with, another --out, or leave --resume out",
            )
        return state

    def _rules(self) -> SegmentRules:
        job = self.plan.job.spec
        return SegmentRules(
            min_samples=job.training.trigger.min_samples,
            max_rounds=job.training.rounds,
            gate_share=job.gate.gate_share,
            max_labels=job.budgets.labels,
        )

    def _labellers(self) -> list[PricedLabeller]:
        spec = self.plan.job.spec.labelling
        chain: list[PricedLabeller] = []
        if spec.teacher is not None:
            teacher = self._teacher()
            engine = Meter(teacher.graph, len(self.world.classes), self.plan.mission.spec.threads).engine(teacher.weights)
            labeller = TeacherLabeller(
                lambda pixels: detect_scene(engine, pixels).detections,
                accept_above=spec.teacher.accept_above,
                reject_below=spec.teacher.reject_below,
            )
            chain.append(PricedLabeller("teacher", labeller, spec.teacher.cost))
        if spec.oracle is not None:
            truth = {ref.image_id: ref.load().boxes for ref in self.world.stream}
            chain.append(PricedLabeller("oracle", OracleLabeller(truth), spec.oracle.cost_per_label))
        return chain

    def _teacher(self) -> TrainedModel:
        spec = self.plan.job.spec.labelling.teacher
        assert spec is not None
        refs = self.world.split.base_train
        model = self.plan.model.spec.model_copy(update={"report_score": spec.reject_below})
        request = TrainingRequest(
            f"{self.plan.model.name}-teacher",
            self.world.classes,
            model,
            spec.width,
            spec.steps,
            model.base_training.batch,
            model.base_training.learning_rate,
            self.plan.seed + 1,
            self.world.fingerprint(refs),
        )
        with self.timed("teacher"):
            return trained_model(
                request,
                [ref.load() for ref in refs],
                threads=self.plan.mission.spec.threads,
                progress=lambda done, total, loss: self.watcher.stage("train the teacher", done, total, f"loss {loss:.3f}"),
                store=self.cache,
            )

    def _wire(self, state: dict[str, Any] | None) -> None:
        trusted = TrustedKeys.of([self.key.public], 1)
        registry = default_registry()
        rows = state["satellites"] if state else {}
        for name in self.plan.satellites:
            saved = rows.get(name)
            blobs = None
            if saved is not None:
                blobs = {k: {n: self.checkpoints.blob(d) for n, d in v.items()} for k, v in saved["blobs"].items()}
            self.satellites[name] = build_satellite(
                self.plan, name, self.base, trusted, registry, saved["state"] if saved else None, blobs
            )
        if state is not None:
            self._restore(state)

    # -- the run ---------------------------------------------------------------------------------------------------------

    def run(self, stop_after: Callable[[], bool] = lambda: False) -> bool:
        """Run to the end, or until `stop_after()` says so between two windows; return whether the mission is complete."""
        if not self.course.timeline:
            self._mark(self.plan.start_s, swap=False)
        windows = self.windows.windows
        while self.next_window < len(windows):
            if stop_after():
                return False
            window = windows[self.next_window]
            self.watcher.stage("mission", self.next_window, len(windows), iso_utc(window.aos_s))
            self.clock.advance_to(window.aos_s)
            changed = self._window(window)
            self.next_window += 1
            if changed:
                self.save()
            if self._finished():
                break
        self.course.finished_at_s = self.clock.now_s()
        self.watcher.stage("mission", len(windows), len(windows), "done")
        self.save()
        return True

    def _window(self, window: ContactWindow) -> bool:
        """Live through everything up to a window and the window itself; say whether a round or a swap came of it."""
        satellite = self.satellites[window.satellite]
        released = self._release(window.aos_s)
        self._capture(satellite, window.aos_s)
        satellite.advance(window.aos_s)
        before = dict(satellite.agent.endpoint.accounts)
        sent_before = {kind: account.wire_bytes for kind, account in before.items()}
        self._prepare(satellite, window)
        result = self._exchange(satellite, window)
        self._account(satellite, window, result, sent_before)
        self._downlinked(window, result)
        swapped = self._uplinked(satellite, window, result)
        return self._maybe_train(window) or swapped or released

    def _capture(self, satellite: SimulatedSatellite, until_s: float) -> None:
        names = list(self.plan.satellites)
        mine = self.world.stream[names.index(satellite.name) :: len(names)]
        every_s = 3600.0 / self.plan.mission.spec.captures.scenes_per_hour
        while satellite.captured < len(mine):
            at_s = self.plan.start_s + (satellite.captured + 1) * every_s
            if at_s > until_s:
                return
            self.watcher.stage(
                "on board", satellite.captured + 1, len(mine), f"{satellite.name}: {mine[satellite.captured].domain}"
            )
            self._observe(satellite, mine[satellite.captured], at_s)
            satellite.captured += 1

    def _observe(self, satellite: SimulatedSatellite, ref: SceneRef, at_s: float) -> None:
        with self.timed("capture"):
            image = ref.load()
        height, width = image.pixels.shape[:2]
        geo = geo_transform_at(satellite.elements, at_s, width, height, satellite.spec.spec.sensor.gsd_m)
        scene = Scene(ref.image_id, ref.domain, image.pixels, at_s, geo)
        satellite.advance(at_s)
        with self.timed("on-board inference"):
            seen = satellite.agent.observe(scene, satellite.battery_wh)
        satellite.advance(at_s, compute_j=seen.spent_j)
        course = self.course
        course.scenes += 1
        course.let_go += seen.result is None
        course.captured_bytes += scene.raw_bytes * satellite.spec.spec.sensor.bits_per_band // 8
        course.stored += seen.stored

    def _prepare(self, satellite: SimulatedSatellite, window: ContactWindow) -> None:
        budgets = self.plan.job.spec.budgets
        budget = PassBudget(budgets.downlink_bytes_per_pass, budgets.samples_per_pass, budgets.energy_j_per_pass)
        rng = np.random.default_rng([self.plan.seed, 21, self.next_window])
        with self.timed("selection"):
            chosen = satellite.agent.prepare_pass(window, budget, satellite.battery_wh, window.aos_s, rng)
        self.course.sent += len(chosen)

    def _exchange(self, satellite: SimulatedSatellite, window: ContactWindow) -> WindowResult:
        budgets = self.plan.job.spec.budgets
        rng = np.random.default_rng([self.plan.seed, 22, self.next_window])
        with self.timed("link"):
            return run_window(
                satellite.agent.endpoint,
                satellite.ground,
                window,
                satellite.spec.spec.link.loss_rate,
                rng,
                max_uplink_bytes=budgets.uplink_bytes_per_pass,
            )

    def _account(
        self, satellite: SimulatedSatellite, window: ContactWindow, result: WindowResult, before: dict[str, int]
    ) -> None:
        self.clock.advance_to(window.los_s)
        transmit_s = 8 * result.downlink_bytes / satellite.spec.spec.link.downlink_bps
        satellite.advance(window.los_s, transmit_s=transmit_s)
        course = self.course
        course.downlinked_bytes += result.downlink_bytes
        course.uplinked_bytes += result.uplink_bytes
        course.round_down += result.downlink_bytes
        known = 0
        for kind, account in satellite.agent.endpoint.accounts.items():
            moved = account.wire_bytes - before.get(kind, 0)
            known += moved
            course.down_by_kind[f"{kind}s"] = course.down_by_kind.get(f"{kind}s", 0) + moved
        rest = course.down_by_kind.get("protocol", 0) + result.downlink_bytes - known
        course.down_by_kind["protocol"] = rest
        course.battery.append(BatteryPoint(satellite.name, window.los_s, round(satellite.battery_wh, 3)))
        course.passes.append(
            PassSummary(
                window.satellite,
                window.station,
                window.aos_s,
                window.los_s,
                window.max_elevation_deg,
                result.downlink_bytes,
                result.uplink_bytes,
                window.downlink_bytes,
                window.uplink_bytes,
            )
        )

    def _downlinked(self, window: ContactWindow, result: WindowResult) -> None:
        with self.timed("labelling"):
            for item in result.at_ground:
                if item.kind == SAMPLE:
                    self.course.round_sent += self.segment.receive(item.payload) is not None
                elif item.kind == BEACON:
                    self._hear(Beacon.from_json(unpack(item.payload, expect=BEACON).fields))

    def _hear(self, beacon: Beacon) -> None:
        """Learn what flies from the satellite's own word: the ground never assumes that an update has arrived."""
        satellite = self.satellites[beacon.satellite]
        satellite.held_digest = beacon.model_digest
        for report in beacon.reports:
            if report.version and report.version not in satellite.heard_reports:
                satellite.heard_reports.add(report.version)
                self._note_report(satellite.name, report)
        if beacon.model_digest in self.weights_by_digest:
            self.champion = beacon.model_digest

    def _note_report(self, satellite: str, report: ApplyReport) -> None:
        for index, one in enumerate(self.course.rounds):
            if one.update is not None and one.update.version == report.version:
                applied = (*one.applied, Applied(satellite, report))
                self.course.rounds[index] = replace(one, applied=applied, finished_at_s=report.at_s)

    def _uplinked(self, satellite: SimulatedSatellite, window: ContactWindow, result: WindowResult) -> bool:
        swapped = False
        for item in result.at_satellite:
            with self.timed("apply"):
                report = satellite.agent.receive(item.kind, item.payload, window.los_s)
            if report is None:
                continue
            self.watcher.event(
                window.los_s, f"{satellite.name}: update {report.version} {report.outcome.value} ({report.reason})"
            )
            self._charge_uplink(report.version, len(item.payload))
            if report.outcome is ApplyOutcome.CONFIRMED:
                self.flying_version = report.version
                self._mark(window.los_s, swap=True)
                swapped = True
        return swapped

    def _charge_uplink(self, version: int, payload_bytes: int) -> None:
        for index, one in enumerate(self.course.rounds):
            if one.update is not None and one.update.version == version:
                self.course.rounds[index] = replace(one, bytes_up=one.bytes_up + payload_bytes)

    def _mark(self, at_s: float, *, swap: bool) -> None:
        """Measure what flies on the first satellite that flies the newest version, and put it on the timeline."""
        version = self.flying_version
        if swap and any(p.version == version and p.swap for p in self.course.timeline):
            return
        flying = next(s for s in self.satellites.values() if s.agent.slots.active().version == version)
        digest = flying.agent.slots.active().digest
        with self.timed("evaluation"):
            self.watcher.stage("evaluate", 0, 1, f"model version {version} on held-out scenes")
            measured = self.meter.on_world(self.weights_by_digest[digest], self.world)
        new, old = measured.new.to_json(), measured.old.to_json()
        self.course.timeline.append(TimelinePoint(at_s, new["ap50"], old["ap50"], version, swap, measured.domains))
        self._keep(measured)
        for index, one in enumerate(self.course.rounds):
            if swap and one.update is not None and one.update.version == version:
                self.course.rounds[index] = replace(one, accuracy_after=NewOld(new["ap50"], old["ap50"]))
        self.watcher.event(at_s, f"version {version} flies: AP50 new {_percent(new['ap50'])}, old {_percent(old['ap50'])}")

    def _keep(self, measured: Measurement) -> None:
        self.course.latest = {"new": measured.new.to_json(), "old": measured.old.to_json()}
        if not self.course.initial:
            self.course.initial = dict(self.course.latest)

    # -- rounds ----------------------------------------------------------------------------------------------------------

    def _maybe_train(self, window: ContactWindow) -> bool:
        if self.pending is not None or not self.segment.due() or not self._all_heard():
            return False
        self.pending = self.maker.train(window)
        return True

    def _all_heard(self) -> bool:
        """Say whether every satellite has told how the last update ended: the next one needs to know its base."""
        last = next((r for r in reversed(self.course.rounds) if r.update is not None), None)
        return last is None or len(last.applied) >= len(self.satellites)

    def _release(self, now_s: float) -> bool:
        if self.pending is None or self.pending.ready_s > now_s:
            return False
        bundles = self.maker.judge(self.pending)
        self.pending = None
        for name, bundle in bundles.items():
            self.satellites[name].ground.offer(
                "update", bundle, priority=UPDATE_PRIORITY, now_s=now_s, key=self.base.metadata.name
            )
        return True

    def _finished(self) -> bool:
        """Say whether nothing can happen any more: all is captured, sent and answered, and no round is under way or due."""
        if self.pending is not None or any(s.ground.queued_items for s in self.satellites.values()):
            return False
        names = list(self.plan.satellites)
        for index, satellite in enumerate(self.satellites.values()):
            if satellite.captured < len(self.world.stream[index :: len(names)]):
                return False
        idle = all(not s.agent.endpoint.queued_items and not s.agent.storage.list(sent=False) for s in self.satellites.values())
        over = self.segment.round >= self.segment.rules.max_rounds or (idle and not self.segment.due())
        return over and self._all_heard()

    # -- state -----------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint."""
        with self.timed("checkpoint"):
            rows: dict[str, Any] = {}
            blobs: dict[str, bytes] = dict(self.blobs)
            for name, satellite in self.satellites.items():
                state, held = saved_state(satellite)
                named = {place: {n: digest_bytes(b) for n, b in files.items()} for place, files in held.items()}
                rows[name] = {"state": state, "blobs": named}
                blobs |= {digest_bytes(b): b for files in held.values() for b in files.values()}
            extra = self.maker.saved(self.pending)
            blobs |= extra.blobs
            self.checkpoints.save(
                {
                    "identity": self.identity,
                    "next_window": self.next_window,
                    "now_s": self.clock.now_s(),
                    "flying_version": self.flying_version,
                    "champion": self.champion,
                    "satellites": rows,
                    "segment": self.segment.to_json(),
                    "segment_blobs": sorted(self.blobs),
                    "course": self.course.to_json(),
                    "rounds": extra.state,
                },
                blobs.values(),
            )

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.next_window, self.flying_version = int(state["next_window"]), int(state["flying_version"])
            self.clock.advance_to(float(state["now_s"]))
            self.blobs.update({digest: self.checkpoints.blob(digest) for digest in state["segment_blobs"]})
            self.segment.restore(state["segment"])
            self.course = Course.from_json(state["course"])
            self.pending = self.maker.restore(state["rounds"], self.checkpoints)
            self.champion = str(state["champion"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the checkpoint is malformed ({error!r})", where=str(self.checkpoints.file), remedy="run the mission afresh"
            ) from error

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall seconds of a block to a stage of the report."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.wall[stage] = self.wall.get(stage, 0.0) + time.monotonic() - begin


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"
