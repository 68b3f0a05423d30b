"""The trial of a staged model on the canary: what is asked, what came of it, and the verdict. Pure; nothing runs here.

Role: the limits that a candidate must keep, the job and its findings as records, and `judge`. It leaves running the two models
to a `TrialRunner` (`onboard.trial_bench` in this process, an adapter in a process of its own), and what happens after a model
has been accepted to `onboard.watchdog`.

Theory. A candidate is compared with the running model on the same tiles, never with an absolute figure. It fails when it

- crashes, hangs, wants more memory than it may have, or puts out what is not finite (also on black, white, grey and random
  tiles, which every trial has);
- takes more than `max_slowdown` times the CPU time, the two interleaved, in each of up to three rounds: one round may be
  unlucky, three are not;
- loses `max_loss` or more of F1, or of recall alone, at IoU 0.5 on the tiles that the ground has labelled.

Tiles that storage no longer holds prove nothing. Then the candidate is held against what the running model is sure of on the
newest tiles that are held: an update may well find other things, but one that misses most of what was sure is broken. Such
a pass, and one where neither model finds an object, is not `proven`: its probation is longer, and its report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import f1, match
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

MATCH_IOU = 0.5
SURE_SCORE = 0.5
LEAST_SURE = 5
"""With fewer sure finds of the running model, disagreement is chance."""
LEAST_AGREEMENT = 0.5
FLOOD_FACTOR, FLOOD_PER_TILE = 10, 10
TIMING_ROUNDS = 3
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What a candidate must keep, on the canary and then in flight.

    `max_loss` is in F1 and in recall at IoU 0.5 (a loss of as much fails); `max_slowdown` a ratio of CPU times; `seconds` wall
    seconds for a whole trial; `memory_bytes` what the trial's process may hold. A model flies on probation for `contacts`
    passes, for `contacts_unproven` when the canary could not prove it; more than `boots` boots meanwhile are too many.
    """

    max_loss: float = 0.1
    max_slowdown: float = 3.0
    seconds: float = 60.0
    memory_bytes: int = 1_000_000_000
    contacts: int = 1
    contacts_unproven: int = 3
    boots: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class ModelBytes:
    """A model as it lies in a slot."""

    graph: bytes
    weights: bytes


@dataclass(frozen=True, slots=True, eq=False)
class TrialJob:
    """What a runner is asked: both models, and the tiles, each (H, W, 3) uint8 RGB."""

    running: ModelBytes
    candidate: ModelBytes
    tiles: tuple[npt.NDArray[np.uint8], ...]
    limits: TrialLimits


@dataclass(frozen=True, slots=True, eq=False)
class TileFinding:
    """What either model reports on the tile of that index."""

    index: int
    running: Detections
    candidate: Detections


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What came of a trial.

    `rounds` are the CPU seconds of the running model and of the candidate on all tiles, once per round of timing. `failure`
    says how the trial ended before its end, and is empty when it did not.
    """

    tiles: tuple[TileFinding, ...] = ()
    rounds: tuple[tuple[float, float], ...] = ()
    failure: str = ""

    @property
    def slowdown(self) -> float:
        """How many times the running model's CPU time the candidate takes, in its best round; 0 without a measurement."""
        return min((after / before for before, after in self.rounds if before > 0), default=0.0)


class TrialRunner(Protocol):
    """Runs both models on the tiles."""

    def run(self, job: TrialJob) -> Findings:
        """Return what came of it. Whatever the candidate does is a finding; nothing is raised for it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`proven`: the labels show that the candidate finds objects. `measured` goes into the report, so it holds no times."""

    passed: bool
    proven: bool
    reason: str
    measured: dict[str, float]


def judge(findings: Findings, job: TrialJob, truths: Sequence[Boxes]) -> Verdict:
    """Say whether a candidate may fly.

    Args:
        findings: what the runner says.
        job: what it was asked; its first `len(truths)` tiles are the canary's, the others have no labels.
        truths: the ground's labels of the canary's tiles.
    """
    cases, limits = len(truths), job.limits
    if findings.failure:
        return Verdict(False, False, f"canary: {findings.failure}", {})
    if sorted(tile.index for tile in findings.tiles) != list(range(len(job.tiles))) or not findings.rounds:
        return Verdict(False, False, "canary: the trial did not look at every tile", {})
    if findings.slowdown > limits.max_slowdown:
        return Verdict(False, False, f"canary: {findings.slowdown:.0f} times as slow as the running model", {})
    by_index = sorted(findings.tiles, key=lambda tile: tile.index)
    labelled, others = by_index[:cases], by_index[cases:]
    accuracy = _by_labels(labelled, truths, limits.max_loss) if cases else None
    if accuracy is not None and (accuracy.proven or not accuracy.passed):
        return accuracy
    agreement = _by_agreement(others)
    begin = accuracy.reason if accuracy else "canary: none of its tiles is held here"
    measured = {"cases": float(cases)} | (accuracy.measured if accuracy else {}) | agreement.measured
    tail = f"; on probation for {limits.contacts_unproven} contacts" if agreement.passed else ""
    return Verdict(agreement.passed, False, f"{begin}; {agreement.reason}{tail}", measured)


def _by_labels(tiles: Sequence[TileFinding], truths: Sequence[Boxes], max_loss: float) -> Verdict:
    before, after = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for tile, truth in zip(tiles, truths, strict=True):
        before += match(tile.running, truth, MATCH_IOU)
        after += match(tile.candidate, truth, MATCH_IOU)
    scores = [f1(*(int(v) for v in hits)) for hits in (before, after)]
    recalls = [_share(int(hits[0]), int(hits[0] + hits[2])) for hits in (before, after)]
    measured = {
        "cases": float(len(tiles)),
        "f1_before": round(scores[0], 4),
        "f1_after": round(scores[1], 4),
        "recall_before": round(recalls[0], 4),
        "recall_after": round(recalls[1], 4),
    }
    reason = f"canary: F1 {scores[0]:.3f} -> {scores[1]:.3f}, recall {recalls[0]:.3f} -> {recalls[1]:.3f} on {len(tiles)} tiles"
    passed = all(_keeps(now, then, max_loss) for then, now in (scores, recalls))
    return Verdict(passed, bool(after[0]), reason, measured)


def _by_agreement(tiles: Sequence[TileFinding]) -> Verdict:
    """Hold a candidate against what the running model is sure of, on tiles without labels."""
    if not tiles:
        return Verdict(True, False, "the model loads and runs", {})
    kept = sure = before = after = 0
    for tile in tiles:
        sures = tile.running.above(SURE_SCORE)
        hits = match(tile.candidate, Boxes(sures.boxes_xyxy_px, sures.classes), MATCH_IOU)[0]
        kept, sure = kept + hits, sure + len(sures)
        before, after = before + len(tile.running), after + len(tile.candidate)
    measured = {"recent": float(len(tiles)), "sure": float(sure), "kept": float(kept)}
    said = f"it finds {kept} of {sure} objects of which the running model is sure on {len(tiles)} recent tiles"
    if sure >= LEAST_SURE and kept < LEAST_AGREEMENT * sure:
        return Verdict(False, False, said, measured)
    if before >= LEAST_SURE and not after:
        return Verdict(False, False, f"it finds nothing, the running model {before} objects on {len(tiles)} tiles", measured)
    if after > FLOOD_FACTOR * before + FLOOD_PER_TILE * len(tiles):
        return Verdict(False, False, f"it finds {after} objects, the running model {before} on {len(tiles)} tiles", measured)
    return Verdict(True, False, said, measured)


def _keeps(now: float, then: float, max_loss: float) -> bool:
    """Say whether less than `max_loss` is lost. Where nothing may be lost nothing is; where all may be, any loss passes."""
    lost = then - now
    return lost < max_loss - ROUNDING or lost <= min(0.0, max_loss) or max_loss >= 1


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def limits_to_json(limits: TrialLimits) -> dict[str, Any]:
    """Return the limits as JSON."""
    return {name: getattr(limits, name) for name in TrialLimits.__slots__}
