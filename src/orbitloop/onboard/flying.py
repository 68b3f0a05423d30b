"""The model that flies: loaded from its slot, looked through, replaced by one that has passed its canary, given up.

Role: the one place where slots, engines, the canary's trial and the watchdog meet. It leaves which tiles a canary has, storage
and reports to the agent, states on flash to `slots`, verdicts to `onboard.trial` and `onboard.watchdog`.

    staged -> try_staged()   the candidate's trial by the runner; passed: it flies, on probation, else the slot is given up
    scene  -> look()         detect; on probation count it, and let the model before look too where the scene is suspicious
    AOS    -> contact()      confirm the model on probation, if nothing is held against it and its time is over
    reboot -> boot()         recover the slots, count a boot on probation, give up what does not load

A model on probation that fails on a tile, or is held to be silent, flooded or slow, is given up in that very call, and the
scene is looked at by the model before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ModelError, StateError
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.pipeline import SceneResult, detect_scene
from orbitloop.onboard.resident import Loaded, ResidentEngine
from orbitloop.onboard.slot_table import SlotState
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trial import ModelBytes, TrialJob, TrialLimits, TrialRunner, judge
from orbitloop.onboard.trial_bench import EngineFactory
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.watchdog import Look, Watchdog
from orbitloop.onboard.weights import load_weights
from orbitloop.plugins.kinds import Screen
from orbitloop.records.label import Boxes
from orbitloop.records.model import ModelMetadata
from orbitloop.records.update import ApplyOutcome, ApplyReport

Tiles = list[npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What came of a scene, and by which model; `tiles` counts those of second looks too. `reports`: what was given up."""

    result: SceneResult
    digest: str
    metadata: ModelMetadata
    tiles: int
    reports: tuple[ApplyReport, ...] = ()


class FlyingModel:
    """See the module.

    Args:
        slots: where models live.
        updater: says what becomes of an update.
        engine_factory: builds a model of a slot's bytes.
        runner: runs a candidate on its canary.
        limits: what a candidate must keep.
        cpu_clock: CPU seconds, to hold the model before against a slow one; None where time is not measured in flight.
    """

    def __init__(
        self,
        slots: SlotStore,
        updater: Updater,
        engine_factory: EngineFactory,
        runner: TrialRunner,
        limits: TrialLimits,
        cpu_clock: Callable[[], float] | None = None,
    ) -> None:
        self.slots, self.updater, self.engine_factory, self.runner = slots, updater, engine_factory, runner
        self.limits, self._cpu_clock = limits, cpu_clock
        self.watchdog: Watchdog | None = None
        self._engine: ResidentEngine | None = None
        self._timed_tiles, self._timed_s = 0, 0.0

    @property
    def engine(self) -> ResidentEngine:
        """The running model, built from the active slot when first asked for; an accepted update is swapped into it."""
        if self._engine is None:
            active = self.slots.active()
            self._engine = ResidentEngine(self._load(active.graph, active.weights), active.digest)
        return self._engine

    def boot(self, now_s: float) -> list[ApplyReport]:
        """Bring the slots into order and load what may fly; return what came to an end by that.

        Raises:
            StateError: there is no intact model that may fly.
            ModelError: the runtime refuses every model that may fly.
        """
        self._engine = None
        ended = self.updater.recover(now_s)
        self.slots.note_boot()  # before the model is loaded: should that crash, the boot has been counted
        reports = [ended] if ended else []
        reports += self._load_what_may_fly(now_s)
        if self.slots.running().state is SlotState.PROBATION:
            self._watched()
        else:
            self.watchdog = None
        return reports

    def try_staged(self, staged: Staged, tiles: Tiles, truths: list[Boxes], now_s: float) -> ApplyReport:
        """Try the staged model beside the running one; let it fly on probation, or go back.

        Args:
            staged: the update.
            tiles: the canary's tiles, and after them others without labels.
            truths: the labels of the first of them.
            now_s: UTC seconds.
        """
        content = staged.content
        try:
            self.updater.begin_trial()  # before anything runs: what crashes from here on must not be tried again at boot
            active = self.slots.active()
            running, candidate = ModelBytes(active.graph, active.weights), ModelBytes(content.graph, content.weights)
            job = TrialJob(running, candidate, tuple(tiles), self.limits)
            verdict = judge(self.runner.run(job), job, truths)
            trial = self.engine_factory(content.graph, staged.weights) if verdict.passed else None
        except (ModelError, StateError, MemoryError) as error:
            what = "out of memory" if isinstance(error, MemoryError) else error.what
            return self.updater.complete(False, {}, f"canary: {what}", now_s)
        report = self.updater.complete(trial is not None, verdict.measured, verdict.reason, now_s)
        if trial is not None and report.outcome is ApplyOutcome.ACCEPTED:  # by the slots, which may refuse what has passed
            # It may have other classes or tiles; who still works on the one before the old one is waited for.
            self.engine.swap(trial, content.digest, another=True, wait_s=None)
            self.watchdog = Watchdog(self.limits, proven=verdict.proven, pace_s=self._pace_s())
            self._timed_tiles, self._timed_s = 0, 0.0
        return report

    def look(self, pixels: npt.NDArray[np.uint8], screen: Screen, now_s: float, *, second_look: bool = True) -> Looked:
        """Detect in a scene.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            screen: the first stage; it is reset, for each capture's detections stand for themselves.
            now_s: UTC seconds.
            second_look: whether there is energy to let the model before look too.

        Raises:
            ModelError: a confirmed model fails, or there is none to go back to.
        """
        reports = self._go_back(now_s) if self.watchdog and self.watchdog.against else []  # the flash refused, then
        dog = self.watchdog
        try:
            result, look = self._detect(self.engine, pixels, screen)
        except (ModelError, MemoryError) as error:
            if dog is None or dog.against:
                raise
            dog.failed(error.what if isinstance(error, ModelError) else "out of memory")
            reports += self._go_back(now_s)
            result, look = self._detect(self.engine, pixels, screen)
            return self._looked(result, look.tiles, reports)
        if dog is None:
            if look.cpu_s is not None:
                self._timed_tiles, self._timed_s = self._timed_tiles + look.tiles, self._timed_s + look.cpu_s
            return self._looked(result, look.tiles, reports)
        before = self._fallback() if dog.saw(look) and second_look and not dog.against else None
        if before is None:
            return self._looked(result, look.tiles, reports)
        try:
            other, other_look = self._detect(before[0], pixels, screen)
        except (ModelError, MemoryError):  # the model before has failed, not the one that is watched
            return self._looked(result, look.tiles, reports)
        dog.compare(other_look, look)
        reports += self._go_back(now_s) if dog.against else []
        return self._looked(other if dog.against else result, look.tiles + other_look.tiles, reports)

    def contact(self, now_s: float) -> list[ApplyReport]:
        """Count a pass; confirm the model on probation when its time is over. A flash that refuses puts it off."""
        try:
            if self.slots.running().state is not SlotState.PROBATION:
                return []
            dog = self._watched()
            ends_well = dog.contact(self.slots.table().boots)
            if dog.against:
                return self._go_back(now_s)
            if ends_well:
                report = self.updater.confirm(f"nothing against it: {dog.said()}", now_s)
                self.watchdog = None
                return [report]
        except StateError:
            pass
        return []

    def _watched(self) -> Watchdog:
        """Return the watchdog; one whose counts were lost begins anew, and takes its time."""
        if self.watchdog is None:
            self.watchdog = Watchdog(self.limits, proven=False)
        return self.watchdog

    def to_json(self) -> dict[str, Any] | None:
        """Return the watchdog's counts; None off probation."""
        return None if self.watchdog is None else self.watchdog.to_json() | {"digest": self.slots.running().digest}

    def restore(self, value: Mapping[str, Any] | None) -> None:
        """Take the watchdog's counts back, if they are of the model that flies.

        Raises:
            StateError: they are malformed.
        """
        self.watchdog = None
        if value is not None:
            dog, running = Watchdog.from_json(value, self.limits), self.slots.running()
            if running.state is SlotState.PROBATION and running.digest == value.get("digest"):
                self.watchdog = dog

    def _looked(self, result: SceneResult, tiles: int, reports: list[ApplyReport]) -> Looked:
        return Looked(result, self.engine.digest, self.engine.metadata, tiles, tuple(reports))

    def _detect(self, engine: Engine, pixels: npt.NDArray[np.uint8], screen: Screen) -> tuple[SceneResult, Look]:
        screen.reset()
        begin_s = self._cpu_clock() if self._cpu_clock else 0.0
        result = detect_scene(engine, pixels, screen=screen)  # one model for the whole capture, whatever is swapped meanwhile
        spent_s = self._cpu_clock() - begin_s if self._cpu_clock else None
        most = engine.metadata.preprocessing.max_detections
        full = sum(len(prediction.detections) >= most for _, prediction in result.tiles)
        return result, Look(len(result.tiles), len(result.detections), full, spent_s)

    def _go_back(self, now_s: float) -> list[ApplyReport]:
        """Give up the model on probation for the one before; a flash that refuses does not keep it flying.

        Raises:
            ModelError: there is nothing that could fly in its place.
        """
        assert self.watchdog is not None
        try:
            report = self.updater.fall_back(self.watchdog.against, now_s)
        except StateError:  # not written, so it will be tried again; what is in memory flies meanwhile
            before = self._fallback()
            if before is not None:
                self.engine.swap(*before, another=True, wait_s=None)
            return []
        if report is None:
            return []
        self.watchdog = None
        reports = self._load_what_may_fly(now_s, swap=True)
        return [report, *reports]

    def _load_what_may_fly(self, now_s: float, *, swap: bool = False) -> list[ApplyReport]:
        """Load the active model, giving up one after the other that the runtime refuses."""
        reports: list[ApplyReport] = []
        while True:
            try:
                if swap:
                    active = self.slots.active()
                    self.engine.swap(self._load(active.graph, active.weights), active.digest, another=True, wait_s=None)
                else:
                    self.engine  # noqa: B018  (built when asked for)
                return reports
            except ModelError as error:
                try:
                    report = self.updater.fall_back(f"the model does not load: {error.what}", now_s)
                except StateError:  # not written, so the next boot finds the same; what loads flies meanwhile
                    before = self._fallback()
                    if before is None:
                        raise error from None
                    self._engine = ResidentEngine(*before)
                    return reports
                if report is None:
                    raise
                reports.append(report)

    def _fallback(self) -> Loaded | None:
        """Load the model before, and name it; None where there is none that loads."""
        try:
            content = self.slots.fallback()
            return None if content is None else (self._load(content.graph, content.weights), content.digest)
        except (ModelError, StateError, MemoryError):
            return None

    def _load(self, graph: bytes, weights: bytes) -> Engine:
        return self.engine_factory(graph, load_weights(weights))

    def _pace_s(self) -> float | None:
        return self._timed_s / self._timed_tiles if self._timed_tiles else None
