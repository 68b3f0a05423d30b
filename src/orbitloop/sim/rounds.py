"""One round on the ground: train, code the change, judge what the code yields, sign, and remember.

A round's candidate starts from the champion, that is from what the satellites hold, so that what does not train does not
change. Its update is coded once per distinct base: satellites may hold different models after a rollback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.apply import inspect_delta
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.errors import StateError
from orbitloop.ground.adapters.torch_trainer import TorchTrainer, TrainingPlan
from orbitloop.ground.gate import GateRule, judge
from orbitloop.ground.release import CodedUpdate, code_update, sign_bundle
from orbitloop.ground.repository import from_files
from orbitloop.ground.topology import partition
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.plugins.registry import default_registry
from orbitloop.records.contact import ContactWindow
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.reports.rounds import NewOld, Round, TensorChange, TrainingSummary, UpdateSummary
from orbitloop.sim.fleet import HARDWARE, TENANT
from orbitloop.sim.flight import Held

if TYPE_CHECKING:
    from orbitloop.sim.checkpoint import Checkpoints
    from orbitloop.sim.runner import MissionRun

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A trained candidate that is ready, on the mission's clock, at `ready_s`."""

    round: int
    ready_s: float
    candidate: Weights


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint keeps of the rounds."""

    state: dict[str, Any]
    blobs: dict[str, bytes] = field(default_factory=dict)


class RoundMaker:
    """Makes rounds for a run; reads and extends its course."""

    def __init__(self, run: MissionRun) -> None:
        self.run = run
        model, job = run.plan.model.spec, run.plan.job.spec
        self.names = partition(model.trainable)
        registry = default_registry()
        known = registry.parameters("codec", job.update.codec)
        parameters = {n: v for n, v in (("step", job.update.step), ("bits", job.update.bits)) if n in known}
        self.codec = registry.create("codec", job.update.codec, parameters, "IncrementalLearningJob spec.update.codec")
        self.codecs = {**BUILT_IN, job.update.codec: type(self.codec)}
        self.trainer = TorchTrainer(
            model.width,
            len(run.world.classes),
            run.base.metadata.anchors_px,
            model.tile_px,
            threads=run.plan.mission.spec.threads,
            checkpoint_dir=run.checkpoints.folder / "training",
        )

    def train(self, window: ContactWindow) -> Pending:
        """Start a round after a window: train the partition on all new labels and a replay of the old domains."""
        run, job = self.run, self.run.plan.job.spec
        number = run.segment.start_round()
        course, counts = run.course, run.segment.counts
        labels = len(run.segment.filed) - course.labels_told
        now_s = window.los_s
        run.watcher.event(now_s, f"round {number}: training on {len(run.segment.training_set())} samples")
        plan = TrainingPlan(
            self.names,
            job.training.steps,
            batch=job.training.batch,
            learning_rate=job.training.learning_rate,
            replay_share=job.training.replay,
            views=job.training.views,
            seed=run.plan.seed * 1000 + number,
        )
        with run.timed("training"):
            result = self.trainer.train(
                dict(run.models_by_digest[run.champion].master),
                run.segment.training_set(),
                plan,
                old=[ref.load() for ref in run.world.split.base_train],
                progress=lambda done, total, loss: run.watcher.stage(f"train round {number}", done, total, f"loss {loss:.3f}"),
                key=f"round-{number:03d}",
            )
        last = course.timeline[-1]
        course.rounds.append(
            Round(
                round=number,
                started_at_s=now_s,
                satellite=window.satellite,
                station=window.station,
                samples_sent=course.round_sent,
                bytes_down=course.round_down,
                labels=labels,
                label_cost=counts.label_cost - course.label_cost_told,
                training=TrainingSummary(
                    run.plan.mission.spec.training_hours * 3600,
                    result.steps,
                    round(result.loss_first, 5),
                    round(result.loss_last, 5),
                ),
                accuracy_before=NewOld(last.new_ap50, last.old_ap50),
            )
        )
        course.round_sent = course.round_down = 0
        course.labels_told, course.label_cost_told = len(run.segment.filed), counts.label_cost
        return Pending(number, now_s + run.plan.mission.spec.training_hours * 3600, result.weights)

    def judge(self, pending: Pending) -> dict[str, bytes]:
        """Code, judge and sign a candidate; return the bundle for each satellite, none where the gate stays shut."""
        run = self.run
        self._forget_models()
        bundles: dict[str, bytes] = {}
        for base, names in self._bases().items():
            if base not in run.models_by_digest:
                said = f"round {pending.round}: no update for {', '.join(names)}, whose model the ground does not have"
                run.watcher.event(run.clock.now_s(), said)
                continue
            held = run.models_by_digest[base]
            with run.timed("quantise"):
                target = run.flight.follow(held, pending.candidate, run.segment.training_set())
            coded = code_update(held.tensors, target, self.codec, codecs=self.codecs)
            bundle = self._judge_one(pending, base, coded, names)
            if bundle is not None:
                bundles |= dict.fromkeys(names, bundle)
        return bundles

    def _forget_models(self) -> None:
        """Keep of all models those that a satellite may hold, running or to fall back to: by now each has told what it runs."""
        run = self.run
        held = {row.digest for s in run.satellites.values() for row in s.agent.slots.table().slots.values()}
        held |= {s.held_digest for s in run.satellites.values()} | {run.champion}
        run.models_by_digest = {d: m for d, m in run.models_by_digest.items() if d in held}

    def _bases(self) -> dict[str, list[str]]:
        """Group the satellites by the model that they say they hold, the champion's first."""
        groups: dict[str, list[str]] = {}
        for name, satellite in self.run.satellites.items():
            groups.setdefault(satellite.held_digest, []).append(name)
        return dict(sorted(groups.items(), key=lambda item: item[0] != self.run.champion))

    def _judge_one(self, pending: Pending, base: str, coded: CodedUpdate, names: list[str]) -> bytes | None:
        run, spec, number = self.run, self.run.plan.job.spec, pending.round
        held = run.models_by_digest[base]
        old = [ref.load() for ref in run.world.split.base_gate]
        rule = GateRule(spec.gate.min_gain, spec.gate.max_loss, spec.gate.min_objects)
        with run.timed("gate"):
            run.watcher.stage("gate", 0, 1, f"round {number}: candidate against champion")
            verdict = judge(held.tensors, coded.result, run.segment.gate_set(), old, rule, run.meter.on_images)
        run.watcher.event(
            run.clock.now_s(), f"round {number}: gate {'open' if verdict.passed else 'shut'}: {'; '.join(verdict.reasons)}"
        )
        index = next(i for i, one in enumerate(run.course.rounds) if one.round == number)
        current = run.course.rounds[index]
        if not verdict.passed:
            if current.gate is None:
                run.course.rounds[index] = replace(current, gate=verdict)
            return None
        canary = run.segment.canary_cases(names, spec.update.canary.cases)
        _, bundle = sign_bundle(
            coded,
            version=number,
            model=run.base.metadata.name,
            satellites=names,
            verdict=verdict,
            canary=canary,
            authority=run.authority,
            tenant=TENANT,
            hardware=HARDWARE,
            now_s=run.clock.now_s(),
            contacts={n: s.held_trust[0] for n, s in run.satellites.items() if s.held_trust[0]},
            root_held=max(1, min(run.satellites[n].held_trust[1] for n in names)),
            targets_held=min(run.satellites[n].held_trust[2] for n in names),
        )
        run.models_by_digest[coded.result_digest] = run.flight.landed(coded.result, pending.candidate)
        if current.update is None:
            entries = tuple(TensorChange(e.name, e.elements, e.length) for e in inspect_delta(coded.payload, held.tensors))
            run.course.rounds[index] = replace(current, gate=verdict, update=UpdateSummary(number, len(bundle), entries))
        return bundle

    def saved(self, pending: Pending | None) -> Saved:
        """Return what a checkpoint must keep: the pending candidate and every model that a satellite may hold."""
        blobs: dict[str, bytes] = {}

        def keep(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
            data = save_weights(tensors)
            digest = digest_bytes(data)
            blobs[digest] = data
            return digest

        models: dict[str, dict[str, str]] = {}
        for digest, held in self.run.models_by_digest.items():
            name = keep(held.tensors)
            models[digest] = {"tensors": name, "master": name if held.master is held.tensors else keep(held.master)}
        signed = {name: digest_bytes(data) for name, data in self.run.authority.repository.files().items()}
        blobs |= {digest_bytes(data): data for data in self.run.authority.repository.files().values()}
        state: dict[str, Any] = {"models": models, "repository": signed, "pending": None}
        if pending is not None:
            state["pending"] = {"round": pending.round, "ready_s": pending.ready_s, "candidate": keep(pending.candidate)}
        return Saved(state, blobs)

    def restore(self, state: Mapping[str, Any], checkpoints: Checkpoints) -> Pending | None:
        """Take back what `saved` kept.

        Raises:
            StateError: a model is not what its name says.
        """
        for digest, blobs in state["models"].items():
            tensors = load_weights(checkpoints.blob(blobs["tensors"]))
            same = blobs["master"] == blobs["tensors"]
            master = tensors if same else load_weights(checkpoints.blob(blobs["master"]))
            if digest_tensors(tensors) != digest:
                raise StateError("a saved model is not what its digest says", where=str(checkpoints.folder))
            self.run.models_by_digest[digest] = Held(tensors, master)
        signed = {str(name): checkpoints.blob(digest) for name, digest in state["repository"].items()}
        self.run.authority.repository = from_files(signed)
        row = state["pending"]
        if row is None:
            return None
        return Pending(int(row["round"]), float(row["ready_s"]), load_weights(checkpoints.blob(row["candidate"])))
