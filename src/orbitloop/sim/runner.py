"""A whole mission in one process on a virtual clock: the loop, turn by turn.

A discrete-event run over the contact windows, in order of AOS. Before a window the satellite looks at what it captured since
the last one; in the window the real bytes of every PDU go through a simulated channel; after it the ground labels, and starts a
round of training when enough has come. A training takes its virtual hours, then the gate judges, and the bundle waits for the
next window up.

Deterministic: everything random is drawn from (seed, what for, which), nothing from a generator that lives on; so a run that
resumes from a checkpoint ends like one that was never stopped. The wall clock is read for the report's `wall` only.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.clock import VirtualClock, iso_utc
from orbitloop.errors import StateError, WireError
from orbitloop.ground.authority import Authority
from orbitloop.ground.labelling import PricedLabeller
from orbitloop.ground.segment import GroundSegment, SegmentRules
from orbitloop.onboard.agent import BEACON, DETECTION, SAMPLE, PassBudget
from orbitloop.orbit.track import geo_transform_at
from orbitloop.plugins.registry import default_registry
from orbitloop.records.contact import ContactPlan, ContactWindow
from orbitloop.records.detections_wire import detections_from_bytes
from orbitloop.records.health import beacon_from_bytes
from orbitloop.records.ids import digest_bytes, digest_json, digest_tensors
from orbitloop.records.scene import Scene
from orbitloop.records.update import ApplyOutcome
from orbitloop.reports.observed import BatteryPoint, PassSummary, TimelinePoint
from orbitloop.reports.rounds import NewOld
from orbitloop.resources.fleet import GroundStation
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.channel import WindowResult, run_window
from orbitloop.sim.checkpoint import Checkpoints
from orbitloop.sim.course import Course
from orbitloop.sim.fleet import SimulatedSatellite, build_satellite, contacts, link_rates
from orbitloop.sim.flight import launch
from orbitloop.sim.labellers import labellers
from orbitloop.sim.measure import Measurement, Meter
from orbitloop.sim.rollout import Rollout
from orbitloop.sim.rounds import Pending, RoundMaker
from orbitloop.sim.snapshot import restore, snapshot
from orbitloop.sim.training import TrainedModel
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import SceneRef, World
from orbitloop.trust.sealed import seal_key_id

_STAYS = (ApplyOutcome.REFUSED, ApplyOutcome.ROLLED_BACK, ApplyOutcome.BELIEVED)
"""Ends after which the model that flew flies on."""


class MissionRun:
    """One run of one mission.

    Args:
        plan: the resolved mission.
        world: its scenes.
        base: the model that is on board at the start.
        out_dir: where the state is kept; reports are written by the caller.
        watcher: told of progress.
        resume: go on from the last checkpoint in `out_dir`; a run that was killed before its first one starts again.
        cache: where other trained models (teacher) are cached; None = the default.
        seal_key: the tenant's encryption key; None = updates are not sealed.

    Raises:
        StateError: the checkpoint is damaged, or of another mission, seed or base model.
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
        seal_key: bytes | None = None,
    ) -> None:
        self.plan, self.world, self.base, self.seal_key = plan, world, base, seal_key
        self.watcher, self.cache = watcher or Watcher(), cache
        self.clock = VirtualClock(plan.start_s)
        self.wall: dict[str, float] = {}
        self.watcher.stage("quantise", 0, 1, "the base model")
        with self.timed("quantise"):
            self.flight, self.form_check = launch(plan, world, base)
        self.meter = Meter(self.flight.graph, len(world.classes), plan.mission.spec.threads)
        self.checkpoints = Checkpoints(out_dir / "state")
        self.updates = out_dir / "updates"
        self.authority = Authority.from_seed(f"{plan.name}|{plan.seed}".encode(), (plan.model.spec.tenant,), plan.start_s)
        self.windows: ContactPlan = contacts(plan)
        self.base_digest = digest_tensors(base.weights)
        sealed = [seal_key_id(seal_key)] if seal_key else []
        self.identity = digest_json([plan.digest(), plan.seed, self.base_digest, *sealed])
        state = self._saved(resume)
        self.blobs: dict[str, bytes] = {}
        self.segment = GroundSegment(self._rules(), self._labellers(), self.blobs)
        self.maker = RoundMaker(self)
        self.rollout = Rollout(self)
        self.course = Course()
        self.next_window = 0
        self.pending: Pending | None = None
        self.champion = self.launched_digest = digest_tensors(self.flight.launched.tensors)
        self.models_by_digest = {self.champion: self.flight.launched}
        self.flying_version = self.flying_round = 0
        self.satellites: dict[str, SimulatedSatellite] = {}
        if state is None:
            self._wire(None)
            return
        try:
            self._wire(state)
            restore(self, state)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StateError(
                f"the checkpoint is malformed ({error!r})", where=str(self.checkpoints.file), remedy="run the mission afresh"
            ) from error

    # -- setting up ------------------------------------------------------------------------------------------------------

    def _saved(self, resume: bool) -> dict[str, Any] | None:
        if not (resume and self.checkpoints.exists()):
            if resume:
                self.watcher.event(self.plan.start_s, "there is no checkpoint yet: the mission starts from its beginning")
            aside = self.checkpoints.put_aside()
            if aside is not None:
                hint = f"an unfinished run was here; its state is now in {aside.name}/ (rename it to state/ and use --resume)"
                self.watcher.event(self.plan.start_s, hint)
            shutil.rmtree(self.updates, ignore_errors=True)
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
            job.training.trigger.min_samples,
            job.training.rounds,
            job.gate.gate_share,
            job.budgets.labels,
            job.gate.min_objects,
        )

    def _labellers(self) -> list[PricedLabeller]:
        tell, name = self.watcher.stage, "train the teacher"
        with self.timed("teacher" if self.plan.job.spec.labelling.teacher else "labelling"):
            return labellers(self.plan, self.world, lambda n, of, loss: tell(name, n, of, f"loss {loss:.3f}"), self.cache)

    def _wire(self, state: dict[str, Any] | None) -> None:
        registry = default_registry()
        for name in self.plan.satellites:
            row = blobs = None
            if state is not None:
                row = state["satellites"][name]
                blobs = {k: {n: self.checkpoints.blob(d) for n, d in v.items()} for k, v in row["blobs"].items()}
                row = row["state"]
            self.satellites[name] = build_satellite(
                self.plan, name, self.flight, self.authority.anchor, registry, row, blobs, self.seal_key
            )

    # -- the run ---------------------------------------------------------------------------------------------------------

    def run(self, stop_after: Callable[[], bool] = lambda: False) -> bool:
        """Run to the end, or until `stop_after()` says so between two windows; return whether the mission is complete."""
        if not self.course.timeline:
            self._mark(self.plan.start_s, self.champion, swap=False)
            self.save()
        windows = self.windows.windows
        # Asked before each window, not after: a finished run that is resumed must not live through one more.
        while self.next_window < len(windows) and not self._finished():
            if stop_after():
                return False
            window = windows[self.next_window]
            self.watcher.stage("mission", self.next_window, len(windows), iso_utc(window.aos_s))
            self.clock.advance_to(window.aos_s)
            changed = self._window(window)
            self.next_window += 1
            if changed:
                self.save()
        self.course.finished_at_s = self.clock.now_s()
        self.watcher.stage("mission", len(windows), len(windows), "done")
        self.save()
        return True

    def _window(self, window: ContactWindow) -> bool:
        """Live through everything up to a window and the window itself; say whether a round or a swap came of it."""
        satellite = self.satellites[window.satellite]
        released = self._release(window.aos_s)
        flew = satellite.agent.slots.running().digest
        self._capture(satellite, window.aos_s)
        satellite.advance(window.aos_s)
        before = dict(satellite.agent.endpoint.accounts)
        sent_before = {kind: account.wire_bytes for kind, account in before.items()}
        self._prepare(satellite, window)
        fell = self._fell_back(satellite, flew, window.aos_s)
        result = self._exchange(satellite, window)
        self._account(satellite, window, result, sent_before)
        for told in result.acknowledged_to_ground:
            self.rollout.acknowledged(window.satellite, told)
        self._downlinked(window, result)
        swapped = self._uplinked(satellite, window, result)
        return self._maybe_train(window) or swapped or released or fell

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
        transmit_s = 8 * result.downlink_bytes / _downlink_bps(satellite, self.plan.stations[window.station])
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
                try:
                    if item.kind == SAMPLE:
                        self.course.round_sent += self.segment.receive(item.payload) is not None
                    elif item.kind == DETECTION:
                        self._file_detections(item.payload)
                    elif item.kind == BEACON:
                        self.rollout.hear(beacon_from_bytes(item.payload, expect=window.satellite), window.los_s)
                except WireError:
                    self.segment.counts.damaged += 1

    def _file_detections(self, payload: bytes) -> None:
        detections_from_bytes(payload)
        digest = digest_bytes(payload)
        self.blobs[digest] = payload
        self.course.detections.append(digest)

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
            self.course.charge_uplink(self.rollout.round_of(report.version), len(item.payload))
            if report.outcome not in _STAYS:
                swapped = True
                self._flies(report.version, report.active_digest, window.los_s)
        return swapped

    def _flies(self, version: int, digest: str, at_s: float) -> None:
        """Note that a model flies; measure it when it is newer than any before, not a copy or an older one on its way."""
        number = self.models_by_digest[digest].round if digest in self.models_by_digest else 0
        if number > self.flying_round:
            self.flying_version, self.flying_round = version, number
            self._mark(at_s, digest, swap=True)

    def _fell_back(self, satellite: SimulatedSatellite, flew: str, at_s: float) -> bool:
        """Note that a model was given up in flight; measure what flies instead, unless another satellite flies as new a one."""
        if satellite.agent.slots.running().digest == flew:
            return False
        self.watcher.event(at_s, f"{satellite.name}: given up in flight ({satellite.agent.reports[-1].reason})")
        flying = [s.agent.slots.running() for s in self.satellites.values()]
        rounds = [self.models_by_digest[row.digest].round if row.digest in self.models_by_digest else 0 for row in flying]
        newest = max(range(len(flying)), key=lambda index: rounds[index])
        if rounds[newest] < self.flying_round and flying[newest].digest in self.models_by_digest:
            self.flying_version, self.flying_round = flying[newest].version, rounds[newest]
            self._mark(at_s, flying[newest].digest, swap=True)
        return True

    def _mark(self, at_s: float, digest: str, *, swap: bool) -> None:
        """Measure a model that flies since now, and put it on the timeline."""
        version = self.flying_version
        with self.timed("evaluation"):
            self.watcher.stage("evaluate", 0, 1, f"model version {version} on held-out scenes")
            measured = self.meter.on_world(self.models_by_digest[digest].tensors, self.world)
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
        if self.pending is not None or not self.segment.due() or not self.rollout.all_heard(window.los_s):
            return False
        self.pending = self.maker.train(window)
        return True

    def _release(self, now_s: float) -> bool:
        if self.pending is None or self.pending.ready_s > now_s:
            return False
        routes = self.maker.judge(self.pending)
        if routes:
            self.rollout.tried = dict.fromkeys(self.satellites, self.pending.round)
        self.pending = None
        self.rollout.roll_out(routes, now_s)
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
        return over and self.rollout.all_heard()

    def save(self) -> None:
        """Write a checkpoint."""
        with self.timed("checkpoint"):
            self.checkpoints.save(*snapshot(self))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall seconds of a block to a stage of the report."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.wall[stage] = self.wall.get(stage, 0.0) + time.monotonic() - begin


def _downlink_bps(satellite: SimulatedSatellite, station: GroundStation) -> float:
    rates = link_rates(satellite.spec, station)
    return rates.downlink_bps if rates and rates.downlink_bps else satellite.spec.spec.best_downlink_bps


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"
