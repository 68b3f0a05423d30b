"""What each turn of the loop did: samples down, labels, training, the gate's verdict, the update, and how it was applied.

Records only. A stage that a round did not reach (no pass, too few labels, refused at the gate) is None or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orbitloop.records.update import ApplyReport
from orbitloop.records.verdict import GateVerdict


@dataclass(frozen=True, slots=True)
class NewOld:
    """AP50 (fractions 0..1) on the held-out scenes of the new and of the old domains."""

    new: float | None = None
    old: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """One training run: how long the mission's clock says it took, and what the loss did."""

    seconds_virtual: float
    steps: int
    loss_first: float | None = None
    loss_last: float | None = None


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor of an update; `bytes` is its share of the coded payload, None where the codec does not say."""

    name: str
    parameters: int
    bytes: int | None = None


def tensor_kind(name: str) -> str:
    """Return what a tensor of our networks is, by its name: weights, scales, biases, batch-norm, ranges, or others."""
    layer, _, part = name.rpartition(".")
    if layer.startswith("bn"):
        return "batch-norm"
    if layer.startswith(("act", "pre")):
        return "ranges"
    return {"weight": "weights", "scale": "scales", "bias": "biases"}.get(part, "others")


@dataclass(frozen=True, slots=True)
class UpdateSummary:
    """A signed update as it goes up: `bytes` is the whole bundle (metadata, manifest, payload), `payload_bytes` the change.

    `seconds` is at the slowest addressee's uplink rate; `passes` is in how many of its passes the last addressee has it, when
    nothing is lost and nothing else goes up; None: not within the mission.
    """

    version: int
    bytes: int
    tensors: tuple[TensorChange, ...] = ()
    payload_bytes: int | None = None
    seconds: float | None = None
    passes: int | None = None

    @property
    def bytes_by_kind(self) -> dict[str, int]:
        """Return the bytes of the change by kind of tensor, most first; empty where the codec does not say."""
        sums: dict[str, int] = {}
        for tensor in self.tensors:
            if tensor.bytes is not None:
                kind = tensor_kind(tensor.name)
                sums[kind] = sums.get(kind, 0) + tensor.bytes
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class Applied:
    """A satellite's word on the round's update."""

    satellite: str
    report: ApplyReport


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of the loop. `satellite` and `station` are of the pass that brought its samples down."""

    round: int
    started_at_s: float
    satellite: str
    station: str
    samples_sent: int
    bytes_down: int
    labels: int = 0
    label_cost: float = 0.0
    training: TrainingSummary | None = None
    gate: GateVerdict | None = None
    update: UpdateSummary | None = None
    bytes_up: int = 0
    applied: tuple[Applied, ...] = ()
    accuracy_before: NewOld = field(default_factory=NewOld)
    accuracy_after: NewOld = field(default_factory=NewOld)
    finished_at_s: float | None = None

    @property
    def outcome(self) -> str:
        """Say how the round ended, in a word or two."""
        if self.applied:
            outcomes = sorted({a.report.outcome.value.replace("_", " ") for a in self.applied})
            return ", ".join(outcomes)
        if self.gate is not None and not self.gate.passed:
            return "held at the gate"
        if self.update is not None:
            return "on its way up"
        if self.gate is not None:
            return "passed the gate"
        return "no training" if self.training is None else "trained"
