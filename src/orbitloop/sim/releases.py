"""What a round's candidate becomes: coded updates that passed the gate, which of them lead where, and signed bundles.

An update is coded and judged once per base, and kept: a satellite that comes late may take it then. It is signed when it is
about to go up, for the satellites that it goes up to, under a version that nobody has had yet, with metadata of that day.

`code` is the one place where a change becomes bytes: who plans an update by its bytes plans it there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.apply import inspect_delta
from orbitloop.delta.bounds import check_change
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.errors import UpdateError
from orbitloop.ground.chains import Edge, Route, cheapest_chain, choose
from orbitloop.ground.gate import GateRule, judge
from orbitloop.ground.release import CodedUpdate, code_update, sign_bundle
from orbitloop.ground.sealing import seal_for
from orbitloop.plugins.registry import default_registry
from orbitloop.records.ids import digest_bytes
from orbitloop.records.verdict import GateVerdict
from orbitloop.reports.rounds import TensorChange, UpdateSummary
from orbitloop.sim.flight import Held
from orbitloop.sim.planning import Planning

if TYPE_CHECKING:
    from orbitloop.sim.runner import MissionRun

Weights = Mapping[str, npt.NDArray[np.float32]]

KEPT_ROUNDS = 8
"""Updates of so many rounds are kept for who missed them."""
OVERHEAD_BYTES, CASE_BYTES = 2500, 120
"""What manifest and metadata take, and each tile of the canary, until the first bundle has told."""
OVERHEAD_SLACK = 1.03
"""By how much the next bundle's may be larger: other tiles, more digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An update that may be signed: the edge, what goes up of it, and the gate's verdict."""

    edge: Edge
    payload: bytes
    verdict: GateVerdict

    @property
    def coded(self) -> CodedUpdate:
        """What a manifest needs; the result's tensors are with the models."""
        return CodedUpdate(self.payload, {}, self.edge.base, self.edge.result)


class Releases:
    """Codes, judges and signs for a run; keeps the updates that there are, and counts versions."""

    def __init__(self, run: MissionRun) -> None:
        self.run = run
        job = run.plan.job.spec
        registry = default_registry()
        known = registry.parameters("codec", job.update.codec)
        parameters = {n: v for n, v in (("step", job.update.step), ("bits", job.update.bits)) if n in known}
        self.codec = registry.create("codec", job.update.codec, parameters, "IncrementalLearningJob spec.update.codec")
        self.codecs = {**BUILT_IN, job.update.codec: type(self.codec)}
        self.known: dict[tuple[str, str], Known] = {}
        self.last_version = 0
        self.overhead_bytes = OVERHEAD_BYTES + CASE_BYTES * job.update.canary.cases

    @functools.cached_property
    def planning(self) -> Planning:
        """What plans updates by their bytes, where the mission says how many."""
        run = self.run
        old = [ref.load() for ref in run.world.split.base_train]
        return Planning(run.flight, old, seed=run.plan.seed, threads=run.plan.mission.spec.threads)

    def code(self, held: Held, candidate: Weights) -> tuple[CodedUpdate, Held]:
        """Code a trained candidate against what is held, in the form that flies; return it and what satellites hold after it.

        Where the mission says how many bytes an update may take, the most accurate one that fits is sought; else every weight
        goes up in steps of `update.step`.

        Raises:
            UpdateError: it cannot be coded, or not in so few bytes.
        """
        run, images = self.run, self.run.segment.training_set()
        most_bytes = run.plan.job.spec.budgets.uplink_bytes_per_update
        if most_bytes is None:
            with run.timed("quantise"):
                target = run.flight.follow(held, candidate, images)
            with run.timed("coding"):
                coded = code_update(held.tensors, target, self.codec, codecs=self.codecs)
            return coded, run.flight.landed(coded.result, candidate)
        with run.timed("coding"):
            coded, landed, said = self.planning.code(
                held,
                candidate,
                images,
                max(0, most_bytes - self.overhead_bytes),
                progress=lambda done, total: run.watcher.stage("plan the update", done, total),
            )
        run.watcher.event(run.clock.now_s(), said)
        return coded, landed

    def way(
        self, base: str, candidate: Weights, number: int, goal: str, avoid: Collection[str]
    ) -> tuple[Route, GateVerdict | None]:
        """Return how satellites that hold `base` come to a candidate, and the gate's verdict where a new update was made.

        Args:
            base: digest of a model that the ground has.
            candidate: trained float weights.
            number: the round that they are of.
            goal: the model in which others already hold the candidate; empty if nobody does.
            avoid: models that these satellites have given up.

        Raises:
            UpdateError: the candidate cannot be coded. That it does not fit its budget is a shut gate.
        """
        chain = cheapest_chain([k.edge for k in self.known.values()], base, goal, avoid) if goal else None
        try:
            coded, landed = self.code(self.run.models_by_digest[base], candidate)
        except UpdateError as error:
            if self.run.plan.job.spec.budgets.uplink_bytes_per_update is None:
                raise
            return choose(chain, None), GateVerdict(False, (f"no update fits: {error.what}",))
        jump = Edge(base, coded.result_digest, len(coded.payload) + self.overhead_bytes, number)
        if jump.result in avoid:
            return Route((), "the model that this leads to was given up before"), None
        route = choose(chain, jump)
        if route.edges != (jump,):
            return route, None
        verdict = self._judged(base, coded)
        if not verdict.passed:
            return (choose(chain, None) if chain else Route((), "the gate is shut")), verdict
        self.known[base, coded.result_digest] = Known(jump, coded.payload, verdict)
        self.run.models_by_digest.setdefault(coded.result_digest, replace(landed, round=number))
        return route, verdict

    def sign(self, edge: Edge, names: Sequence[str]) -> tuple[int, bytes]:
        """Return the next version and the bundle of a known update, for satellites of one kind of hardware."""
        run, known = self.run, self.known[edge.base, edge.result]
        plan, job = run.plan, run.plan.job.spec
        version = max(self.last_version + 1, edge.round)
        tenant, model = plan.model.spec.tenant, run.base.metadata.name
        hardware = plan.satellites[names[0]].spec.hardware
        about: dict[str, Any] = {"version": version, "model": model, "tenant": tenant, "hardware": hardware}
        heard = {n: s.held_trust for n, s in run.satellites.items()}
        _, bundle = sign_bundle(
            known.coded,
            **about,
            satellites=names,
            verdict=known.verdict,
            canary=run.segment.canary_cases(names, job.update.canary.cases),
            authority=run.authority,
            now_s=run.clock.now_s(),
            contacts={n: contacts for n, (contacts, _, _) in heard.items() if contacts},
            root_held=max(1, min(heard[n][1] for n in names)),
            targets_held=min(heard[n][2] for n in names),
            seal_with=seal_for(run.seal_key, known.coded, **about) if run.seal_key else None,
        )
        self.last_version = version
        self.overhead_bytes = math.ceil(OVERHEAD_SLACK * (len(bundle) - len(known.payload)))
        return version, bundle

    def summary(self, edge: Edge, version: int, bundle: bytes, names: Sequence[str]) -> UpdateSummary:
        """Return what the report says of an update: its tensors, and how long it takes to send."""
        run, known = self.run, self.known[edge.base, edge.result]
        held = run.models_by_digest[edge.base].tensors
        entries = tuple(TensorChange(e.name, e.elements, e.length) for e in inspect_delta(known.payload, held))
        seconds = max(8 * len(bundle) / run.plan.satellites[n].spec.best_uplink_bps for n in names)
        passes = [self.passes(n, len(bundle)) for n in names]
        counted = [p for p in passes if p is not None]
        return UpdateSummary(
            version,
            len(bundle),
            entries,
            payload_bytes=len(known.payload),
            seconds=round(seconds, 3),
            passes=max(counted) if len(counted) == len(passes) else None,
        )

    def passes(self, name: str, size_bytes: int) -> int | None:
        """Return over how many of its coming passes a satellite receives so many bytes; None: not within the mission."""
        run, budget = self.run, self.run.plan.job.spec.budgets.uplink_bytes_per_pass
        left = size_bytes
        coming = (w for w in run.windows.windows[run.next_window :] if w.satellite == name)
        for number, window in enumerate(coming, 1):
            left -= window.uplink_bytes if budget is None else min(budget, window.uplink_bytes)
            if left <= 0:
                return number
        return None

    def forget(self, models: Collection[str], round_: int) -> None:
        """Forget updates of long ago that lead to no model of these."""
        self.known = {pair: k for pair, k in self.known.items() if k.edge.round > round_ - KEPT_ROUNDS or pair[1] in models}

    def to_json(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the state and the bytes that it names by digest."""
        rows = [
            {
                "base": k.edge.base,
                "result": k.edge.result,
                "bytes": k.edge.bytes,
                "round": k.edge.round,
                "payload": digest_bytes(k.payload),
                "verdict": k.verdict.to_json(),
            }
            for k in self.known.values()
        ]
        state = {"known": rows, "last_version": self.last_version, "overhead_bytes": self.overhead_bytes}
        return state, {digest_bytes(k.payload): k.payload for k in self.known.values()}

    def restore(self, state: Mapping[str, Any], blob: Any) -> None:
        """Take back what `to_json` wrote; `blob` gives bytes by digest."""
        self.last_version, self.overhead_bytes = int(state["last_version"]), int(state["overhead_bytes"])
        for row in state["known"]:
            edge = Edge(str(row["base"]), str(row["result"]), int(row["bytes"]), int(row["round"]))
            self.known[edge.base, edge.result] = Known(edge, blob(row["payload"]), GateVerdict.from_json(row["verdict"]))

    def _judged(self, base: str, coded: CodedUpdate) -> GateVerdict:
        run, spec = self.run, self.run.plan.job.spec
        held = run.models_by_digest[base].tensors
        try:
            check_change(held, coded.result)
        except UpdateError as error:  # every satellite would say the same
            return GateVerdict(False, (f"{error.where}: {error.what}",))
        old = [ref.load() for ref in run.world.split.base_gate]
        rule = GateRule(spec.gate.min_gain, spec.gate.max_loss, spec.gate.min_objects)
        with run.timed("gate"):
            run.watcher.stage("gate", 0, 1, "candidate against champion")
            return judge(held, coded.result, run.segment.gate_set(), old, rule, run.meter.on_images)
