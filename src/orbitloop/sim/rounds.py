"""One round on the ground: train, have the change coded and judged for every model that is held, and remember.

A round's candidate starts from the champion, that is from what the satellites hold, so that what does not train does not
change. Its update is coded once per distinct base: satellites may hold different models after a rollback or a missed round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import StateError
from orbitloop.ground.adapters.torch_trainer import TorchTrainer, TrainingPlan
from orbitloop.ground.chains import Edge, Route
from orbitloop.ground.repository import from_files
from orbitloop.ground.topology import partition
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.contact import ContactWindow
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.verdict import GateVerdict
from orbitloop.reports.rounds import NewOld, Round, TrainingSummary
from orbitloop.sim.flight import Held
from orbitloop.sim.releases import Releases

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
        model = run.plan.model.spec
        self.names = partition(model.trainable)
        self.releases = Releases(run)
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
            pull=job.training.pull,
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

    def judge(self, pending: Pending) -> dict[str, Route]:
        """Code and judge a candidate for every model that is held; return each satellite's way to it, none behind a shut gate.

        Who holds the champion gets one new update. Who is behind gets what is smaller: a jump, or the chain of known updates
        to the model that the others will hold.
        """
        run = self.run
        self._forget_models()
        routes: dict[str, Route] = {}
        goal = ""
        for base, names in self._bases().items():
            if base not in run.models_by_digest:
                said = f"round {pending.round}: no update for {', '.join(names)}, whose model the ground does not have"
                run.watcher.event(run.clock.now_s(), said)
                continue
            avoid = {digest for name in names for digest in run.satellites[name].given_up}
            route, verdict = self.releases.way(base, pending.candidate, pending.round, goal, avoid)
            self._tell(pending, base, names, route, verdict)
            if route.edges:
                goal = goal or route.result
                routes |= dict.fromkeys(names, route)
        return routes

    def catch_up(self, name: str) -> Route:
        """Return the way from what a satellite holds to what the champion is, without a training; it may be none."""
        run = self.run
        satellite, newest = run.satellites[name], run.models_by_digest[run.champion]
        route, verdict = self.releases.way(satellite.held_digest, newest.master, newest.round, run.champion, satellite.given_up)
        why = route.reason if route.edges else "; ".join(verdict.reasons) if verdict else route.reason
        run.watcher.event(run.clock.now_s(), f"{name} is behind: {why}")
        return route

    def note_release(self, edge: Edge, version: int, bundle: bytes, names: Sequence[str]) -> None:
        """Put the first bundle of a round's own update into its story."""
        for index, one in enumerate(self.run.course.rounds):
            if one.round == edge.round and one.update is None and one.gate is not None:
                summary = self.releases.summary(edge, version, bundle, names)
                self.run.course.rounds[index] = replace(one, update=summary)

    def _tell(self, pending: Pending, base: str, names: list[str], route: Route, verdict: GateVerdict | None) -> None:
        """Note a verdict in the round's story, the first that lets pass before any other; and why a chain was chosen or not."""
        run = self.run
        now_s, number = run.clock.now_s(), pending.round
        if verdict is not None:
            opened = "open" if verdict.passed else "shut"
            run.watcher.event(now_s, f"round {number}: gate {opened}: {'; '.join(verdict.reasons)}")
            index = next(i for i, one in enumerate(run.course.rounds) if one.round == number)
            told = run.course.rounds[index].gate
            if told is None or (verdict.passed and not told.passed):
                run.course.rounds[index] = replace(run.course.rounds[index], gate=verdict)
        if base != run.champion and route.edges and route.compared:
            run.watcher.event(now_s, f"round {number}: {', '.join(names)}: {route.reason}")

    def _forget_models(self) -> None:
        """Keep of all models those that a satellite may hold: by its word, to fall back to, on its way, or from the factory."""
        run = self.run
        held = {d for s in run.satellites.values() for d in (s.held_digest, s.held_before)}
        held |= {run.champion, run.launched_digest} | run.rollout.under_way()
        run.models_by_digest = {d: m for d, m in run.models_by_digest.items() if d in held}
        self.releases.forget(held, run.segment.round)

    def _bases(self) -> dict[str, list[str]]:
        """Group the satellites by the model that their next update starts from, the champion's first."""
        groups: dict[str, list[str]] = {}
        for name in self.run.satellites:
            groups.setdefault(self.run.rollout.standing(name), []).append(name)
        return dict(sorted(groups.items(), key=lambda item: item[0] != self.run.champion))

    def saved(self, pending: Pending | None) -> Saved:
        """Return what a checkpoint must keep: the pending candidate and every model that a satellite may hold."""
        blobs: dict[str, bytes] = {}

        def keep(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
            data = save_weights(tensors)
            digest = digest_bytes(data)
            blobs[digest] = data
            return digest

        models: dict[str, dict[str, Any]] = {}
        for digest, held in self.run.models_by_digest.items():
            name = keep(held.tensors)
            master = name if held.master is held.tensors else keep(held.master)
            models[digest] = {"tensors": name, "master": master, "round": held.round}
        signed = {name: digest_bytes(data) for name, data in self.run.authority.repository.files().items()}
        blobs |= {digest_bytes(data): data for data in self.run.authority.repository.files().values()}
        releases, payloads = self.releases.to_json()
        blobs |= payloads
        state: dict[str, Any] = {"models": models, "repository": signed, "releases": releases, "pending": None}
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
            self.run.models_by_digest[digest] = Held(tensors, master, int(blobs["round"]))
        self.releases.restore(state["releases"], checkpoints.blob)
        signed = {str(name): checkpoints.blob(digest) for name, digest in state["repository"].items()}
        self.run.authority.repository = from_files(signed)
        row = state["pending"]
        if row is None:
            return None
        return Pending(int(row["round"]), float(row["ready_s"]), load_weights(checkpoints.blob(row["candidate"])))
