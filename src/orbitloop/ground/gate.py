"""The gate: may the candidate fly? A comparison of candidate and champion on frozen sets, with reasons for a person.

What is judged is what would fly: the weights that the satellite will have after decoding the update, run through the on-board
pipeline. The frozen sets are not what the report measures on: old domains have scenes set aside at the start, new domains a
share of the downlinked scenes that never trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from orbitloop.ground.metrics import Accuracy
from orbitloop.records.label import LabelledImage
from orbitloop.records.verdict import GateVerdict

Weights = Mapping[str, npt.NDArray[Any]]
Evaluate = Callable[[Weights, Sequence[LabelledImage]], Accuracy]


@dataclass(frozen=True, slots=True)
class GateRule:
    """AP50 as fractions: the new domains must gain at least `min_gain`, the old ones lose at most `max_loss`.

    With fewer than `min_objects` objects in the new set there is no evidence, and the gate stays shut.
    """

    min_gain: float = 0.005
    max_loss: float = 0.01
    min_objects: int = 10


def judge(
    champion: Weights,
    candidate: Weights,
    new: Sequence[LabelledImage],
    old: Sequence[LabelledImage],
    rule: GateRule,
    evaluate: Evaluate,
) -> GateVerdict:
    """Compare candidate and champion on the frozen sets.

    Args:
        champion, candidate: all weights by name.
        new: frozen pictures of the domains that the satellite meets now.
        old: frozen pictures of the domains that the base model knows; empty means that nothing old can be lost.
        rule: the thresholds.
        evaluate: weights and pictures -> accuracy, by the pipeline that flies.
    """
    objects = sum(len(image.boxes) for image in new)
    needed = max(1, rule.min_objects)
    if objects < needed:
        why = f"no evidence: {objects} labelled objects in the frozen new set, {needed} are needed"
        return GateVerdict(False, (why,), {})
    scores = {
        name: {"champion": evaluate(champion, images), "candidate": evaluate(candidate, images)}
        for name, images in (("new", new), ("old", old))
        if any(len(image.boxes) for image in images)
    }
    metrics = {
        f"{name}_{m}": {k: _value(a, m) for k, a in pair.items()} for name, pair in scores.items() for m in ("ap50", "ap")
    }
    gain = _difference(metrics["new_ap50"])
    passed, reasons = gain >= rule.min_gain, [_say("new domains", metrics["new_ap50"], "needs at least", rule.min_gain)]
    if "old_ap50" in metrics:
        loss = -_difference(metrics["old_ap50"])
        passed = passed and loss <= rule.max_loss
        reasons.append(_say("old domains", metrics["old_ap50"], "may lose at most", rule.max_loss))
    if any(math.isnan(v) for pair in metrics.values() for v in pair.values()):
        passed = False
        reasons.append("an accuracy could not be computed")
    return GateVerdict(bool(passed), tuple(reasons), metrics)


def _value(accuracy: Accuracy, measure: str) -> float:
    return round(float(getattr(accuracy, measure)), 6)


def _difference(pair: dict[str, float]) -> float:
    # Rounded as the values are: 0.96 - 0.95 is a hundredth, and not the hair more that binary fractions make of it.
    return round(pair["candidate"] - pair["champion"], 6)


def _say(what: str, pair: dict[str, float], rule: str, limit: float) -> str:
    change = 100 * _difference(pair)
    ap50 = f"{100 * pair['champion']:.1f} -> {100 * pair['candidate']:.1f}"
    return f"{what}: AP50 {ap50} ({change:+.1f} points; {rule} {100 * limit:.1f})"
