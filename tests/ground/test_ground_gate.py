"""The gate opens for a real gain only, and says in numbers why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.ground.gate import GateRule, Weights, judge
from orbitloop.ground.metrics import Accuracy, average_precision
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.prediction import Detections
from orbitloop.records.verdict import GateVerdict

NAN = float("nan")


def picture(domain: str, objects: int) -> LabelledImage:
    rows = np.array([[12 * i, 0, 12 * i + 10, 10] for i in range(objects)], np.float32).reshape(-1, 4)
    return LabelledImage(
        f"{domain}-{objects}", domain, np.zeros((16, 16, 3), np.uint8), Boxes(rows, np.zeros(objects, np.int32))
    )


NEW, OLD = [picture("new", 12)], [picture("old", 12)]
CHAMPION, CANDIDATE = {"w": np.zeros(2, np.float32)}, {"w": np.ones(2, np.float32)}


def verdict(
    new: tuple[float, float] = (0.5, 0.6), old: tuple[float, float] = (0.9, 0.9), rule: GateRule | None = None, **sets: Any
) -> GateVerdict:
    """Judge with given AP50s (champion, candidate); AP is half of it."""

    def evaluate(weights: Weights, images: Sequence[LabelledImage]) -> Accuracy:
        pair = new if images[0].domain == "new" else old
        value = pair[int(weights["w"][0])]
        return Accuracy(value, value / 2, len(images), sum(len(i.boxes) for i in images))

    return judge(CHAMPION, CANDIDATE, sets.get("new_set", NEW), sets.get("old_set", OLD), rule or GateRule(), evaluate)


def test_a_gain_without_a_loss_opens_it() -> None:
    found = verdict()
    assert found.passed
    assert found.reasons == (
        "new domains: AP50 50.0 -> 60.0 (+10.0 points; needs at least 0.5)",
        "old domains: AP50 90.0 -> 90.0 (+0.0 points; may lose at most 1.0)",
    )
    assert found.metrics["new_ap50"] == {"champion": 0.5, "candidate": 0.6}
    assert found.metrics["old_ap"] == {"champion": 0.45, "candidate": 0.45}


@pytest.mark.parametrize(
    ("new", "old", "passed"),
    [
        ((0.5, 0.505), (0.9, 0.89), True),
        ((0.95, 0.955), (0.96, 0.95), True),
        ((0.5, 0.5049), (0.9, 0.9), False),
        ((0.5, 0.5), (0.9, 0.95), False),
        ((0.5, 0.4), (0.9, 0.9), False),
        ((0.5, 0.9), (0.9, 0.8899), False),
        ((0.5, NAN), (0.9, 0.9), False),
        ((NAN, 0.5), (0.9, 0.9), False),
        ((0.5, 0.6), (0.9, NAN), False),
        ((0.5, 0.6), (NAN, 0.9), False),
    ],
)
def test_thresholds_are_inclusive_and_what_is_unknown_keeps_it_shut(
    new: tuple[float, float], old: tuple[float, float], passed: bool
) -> None:
    assert verdict(new, old).passed is passed


def test_an_accuracy_that_is_unknown_is_said() -> None:
    assert "an accuracy could not be computed" in verdict((0.5, NAN)).reasons


def test_a_loss_is_said_with_its_sign() -> None:
    assert verdict((0.5, 0.9), (0.9, 0.7)).reasons[1] == "old domains: AP50 90.0 -> 70.0 (-20.0 points; may lose at most 1.0)"


@pytest.mark.parametrize(("new_set", "needed"), [([picture("new", 9)], 10), ([], 10), ([picture("new", 0)], 0), ([], -1)])
def test_no_evidence_no_flight(new_set: list[LabelledImage], needed: int) -> None:
    found = verdict(rule=GateRule(min_objects=needed), new_set=new_set)
    assert not found.passed
    assert found.metrics == {}
    count = sum(len(i.boxes) for i in new_set)
    assert found.reasons == (f"no evidence: {count} labelled objects in the frozen new set, {max(1, needed)} are needed",)


@pytest.mark.parametrize("old_set", [[], [picture("old", 0)]])
def test_without_old_objects_nothing_old_can_be_lost(old_set: list[LabelledImage]) -> None:
    found = verdict((0.5, 0.6), (0.9, 0.0), old_set=old_set)
    assert found.passed
    assert len(found.reasons) == 1
    assert "old_ap50" not in found.metrics


def test_the_rule_is_the_missions() -> None:
    assert not verdict((0.5, 0.55), rule=GateRule(min_gain=0.06)).passed
    assert verdict((0.5, 0.48), (0.9, 0.8), rule=GateRule(min_gain=-0.02, max_loss=0.1)).passed


def test_each_model_is_judged_on_each_set_by_what_it_finds() -> None:
    """With the real measure: the candidate finds all new objects, and loses half of the old ones."""

    def evaluate(weights: Weights, images: Sequence[LabelledImage]) -> Accuracy:
        candidate, new = bool(weights["w"][0]), images[0].domain == "new"
        kept = {(False, True): 6, (True, True): 12, (False, False): 12, (True, False): 6}[candidate, new]
        hits = [
            Detections(i.boxes.xyxy_px[:kept], np.linspace(0.9, 0.5, kept).astype(np.float32), i.boxes.classes[:kept])
            for i in images
        ]
        return average_precision(hits, [i.boxes for i in images], 1)

    found = judge(CHAMPION, CANDIDATE, NEW, OLD, GateRule(), evaluate)
    assert not found.passed
    assert found.metrics["new_ap50"]["candidate"] == 1.0
    assert found.metrics["old_ap50"]["champion"] == 1.0
    assert found.metrics["old_ap50"]["candidate"] == pytest.approx(51 / 101, abs=1e-6)
    assert "-49.5 points" in found.reasons[1]


fraction = st.integers(0, 1000).map(lambda n: n / 1000)


@given(st.tuples(fraction, fraction), st.tuples(fraction, fraction))
@settings(max_examples=50, deadline=None)
def test_it_opens_exactly_by_the_rule_in_thousandths(new: tuple[float, float], old: tuple[float, float]) -> None:
    gain, loss = (round(1000 * v) for v in (new[1] - new[0], old[0] - old[1]))
    assert verdict(new, old).passed is (gain >= 5 and loss <= 10)


def test_a_verdict_that_opens_can_be_signed() -> None:
    plain: Mapping[str, Any] = verdict().to_json()
    assert GateVerdict.from_json(dict(plain)) == verdict()
