"""The ground's memory of one learning job: what came down, what it shows, what may train and what is frozen for the gate.

A level-triggered object: samples go in, `due()` says whether a round may start, `training_set()` and `gate_set()` say on what.
Leaves to others: training (`adapters`), judging (`gate`), signing (`release`), moving bytes (`link`).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orbitloop.errors import ImageError, StateError, WireError
from orbitloop.ground.labelling import Answer, PricedLabeller, ask
from orbitloop.records.ids import digest_bytes
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.pixels import decode_image
from orbitloop.records.sample import HardSample
from orbitloop.records.sample_wire import sample_from_bytes
from orbitloop.records.update import CanaryCase

MAX_SAMPLE_PIXELS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class FiledSample:
    """A sample with the ground's answer; `round` is the round in whose collecting it came down (0 = before the first)."""

    sample: HardSample
    answer: Answer
    image: LabelledImage
    for_gate: bool
    round: int


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """When a round starts and how samples are divided. `max_labels` = None: no limit.

    Of the scenes, in the order in which their first sample comes down, every (1 / `gate_share`)-th is frozen for the gate, with
    all its samples: it judges and never trains. A scene never changes sides, so nothing leaks over rounds.
    """

    min_samples: int
    max_rounds: int
    gate_share: float
    max_labels: int | None = None
    min_gate_objects: int = 10


@dataclass(slots=True)
class IntakeCounts:
    """What happened to everything that came down. `label_cost` is for all who were asked, sure or not."""

    received: int = 0
    duplicates: int = 0
    damaged: int = 0
    unlabelled: int = 0
    over_budget: int = 0
    label_cost: float = 0.0
    by_source: dict[str, int] = field(default_factory=dict)


class GroundSegment:
    """Intake, labels and training sets of one job.

    Args:
        rules: see `SegmentRules`.
        chain: who labels, in order.
        blobs: keeps each filed sample's wire bytes by digest, so that a run can be resumed.
    """

    def __init__(self, rules: SegmentRules, chain: Sequence[PricedLabeller], blobs: MutableMapping[str, bytes]) -> None:
        self.rules, self.chain, self.blobs = rules, list(chain), blobs
        self.filed: dict[str, FiledSample] = {}
        self.counts = IntakeCounts()
        self.round = 0
        self._wire: dict[str, str] = {}
        self._gate_scenes: dict[str, bool] = {}
        self._fresh = 0

    def receive(self, payload: bytes) -> FiledSample | None:
        """File one downlinked sample: read, de-duplicate, label. None when it was a duplicate, damaged or found no label."""
        self.counts.received += 1
        try:
            sample = sample_from_bytes(payload)
            pixels = decode_image(sample.image, where=f"sample {sample.sample_id}", max_pixels=MAX_SAMPLE_PIXELS)
        except (WireError, ImageError):
            self.counts.damaged += 1
            return None
        if sample.sample_id in self.filed:
            self.counts.duplicates += 1
            return None
        if self.rules.max_labels is not None and len(self.filed) >= self.rules.max_labels:
            self.counts.over_budget += 1
            return None
        window = sample.window.to_json()
        answer, cost = ask(self.chain, sample.sample_id, sample.scene_id, window, pixels)
        self.counts.label_cost += cost
        if answer is None:
            self.counts.unlabelled += 1
            return None
        # Boxes are kept as they will be saved, so that a resumed run trains on the same numbers.
        answer = replace(answer, boxes=Boxes.from_json(answer.boxes.to_json()))
        image = LabelledImage(sample.sample_id, sample.domain, pixels, answer.boxes, answer.source)
        filed = self._file(sample, answer, image, self.round)
        digest = digest_bytes(payload)
        self.blobs[digest] = payload
        self._wire[sample.sample_id] = digest
        self.counts.by_source[answer.source] = self.counts.by_source.get(answer.source, 0) + 1
        self._fresh += not filed.for_gate
        return filed

    def due(self) -> bool:
        """Say whether enough new samples have come for a round, enough is frozen to judge it by, and a round is left."""
        if self.round >= self.rules.max_rounds or self._fresh < self.rules.min_samples:
            return False
        return sum(len(image.boxes) for image in self.gate_set()) >= self.rules.min_gate_objects

    def start_round(self) -> int:
        """Count a new round and return its number, from 1."""
        self.round += 1
        self._fresh = 0
        return self.round

    def training_set(self) -> list[LabelledImage]:
        """Return all labelled samples that may train, in order of arrival."""
        return [f.image for f in self.filed.values() if not f.for_gate]

    def gate_set(self) -> list[LabelledImage]:
        """Return the frozen samples of the new domains: they judge, and never train."""
        return [f.image for f in self.filed.values() if f.for_gate]

    def canary_cases(self, satellites: Sequence[str], count: int) -> tuple[CanaryCase, ...]:
        """Choose the trial for an update: `count` of each satellite's samples with objects, the fullest ones.

        Gate samples, which never train, come first; where there are too few, others fill up.
        """
        chosen: list[CanaryCase] = []
        for name in satellites:
            mine = [f for f in self.filed.values() if f.sample.satellite == name and len(f.image.boxes)]
            ranked = sorted(mine, key=lambda f: (not f.for_gate, -len(f.image.boxes), f.sample.sample_id))
            rows = [(f.sample.sample_id, f.image.boxes.to_json()) for f in ranked[:count]]
            chosen += [CanaryCase(sample_id, tuple(tuple(float(v) for v in row) for row in boxes)) for sample_id, boxes in rows]
        return tuple(chosen)

    def to_json(self) -> dict[str, Any]:
        """Return the state; pictures are in the blobs."""
        samples = [
            {
                "blob": self._wire[name],
                "boxes": f.answer.boxes.to_json(),
                "source": f.answer.source,
                "cost": f.answer.cost,
                "round": f.round,
            }
            for name, f in self.filed.items()
        ]
        counts = {name: getattr(self.counts, name) for name in IntakeCounts.__slots__}
        return {"round": self.round, "fresh": self._fresh, "counts": counts, "samples": samples}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Take back what `to_json` wrote.

        Raises:
            StateError: the state is malformed or a blob is missing.
        """
        try:
            self.round, self._fresh = int(value["round"]), int(value["fresh"])
            self.counts = IntakeCounts(**value["counts"])
            self.filed, self._wire, self._gate_scenes = {}, {}, {}
            for row in value["samples"]:
                sample = sample_from_bytes(self.blobs[row["blob"]])
                answer = Answer(Boxes.from_json(row["boxes"]), str(row["source"]), float(row["cost"]))
                pixels = decode_image(sample.image, max_pixels=MAX_SAMPLE_PIXELS)
                image = LabelledImage(sample.sample_id, sample.domain, pixels, answer.boxes, answer.source)
                self._file(sample, answer, image, int(row["round"]))
                self._wire[sample.sample_id] = str(row["blob"])
        except (KeyError, TypeError, ValueError, OverflowError, WireError, ImageError) as error:
            raise StateError(f"the ground's saved state is malformed ({error!r})", where="ground") from error

    def _file(self, sample: HardSample, answer: Answer, image: LabelledImage, number: int) -> FiledSample:
        if sample.scene_id not in self._gate_scenes:
            order = len(self._gate_scenes) + 1
            share = self.rules.gate_share
            self._gate_scenes[sample.scene_id] = int((order + 1) * share) > int(order * share)
        for_gate = self._gate_scenes[sample.scene_id]
        filed = FiledSample(sample, answer, image, for_gate, number)
        self.filed[sample.sample_id] = filed
        return filed
