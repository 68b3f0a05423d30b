"""Sedna's formulas against its own values, where it fails, and our miner's ordering."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.mining.baselines import Always, Never, RandomShare
from orbitloop.algorithms.mining.sedna import CrossEntropy, Ibt, Threshold, cross_entropy_confidence
from orbitloop.algorithms.mining.uncertainty import Uncertainty
from orbitloop.records.prediction import Detections, Prediction


def seen(*scores: float, embedding: float = 0.0) -> Prediction:
    n = len(scores)
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (n, 1))
    found = Detections(boxes, np.array(scores, np.float32), np.zeros(n, np.int32))
    return Prediction(found, np.full(4, embedding, np.float32))


def sedna_cross_entropy(p: list[float], threshold: float = 0.5) -> bool:
    """Sedna's own arithmetic, where it works."""
    return 1 + sum(x * math.log(x) for x in p) / math.log(len(p)) < threshold


def sedna_ibt(p: list[float], threshold_img: float = 0.5, threshold_box: float = 0.5) -> bool:
    return len([x for x in p if x <= threshold_box]) / len(p) >= 1 - threshold_img


@given(st.lists(st.floats(0.015625, 1.0, width=32), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_three_agree_with_sedna_where_sedna_works(scores: list[float]) -> None:
    prediction = seen(*scores)
    mean = sum(scores) / len(scores)
    if abs(mean - 0.5) > 1e-6:
        assert Threshold(min_score=0.0).mine(prediction).hard == (mean < 0.5)
    if abs(cross_entropy_confidence(np.array(scores)) - 0.5) > 1e-6:
        assert CrossEntropy(min_score=0.0).mine(prediction).hard == sedna_cross_entropy(scores)
    assert Ibt(min_score=0.0).mine(prediction).hard == sedna_ibt(scores)


def test_cross_entropy_golden_values() -> None:
    assert not CrossEntropy(min_score=0.0).mine(seen(0.9, 0.1)).hard
    assert CrossEntropy(min_score=0.0).mine(seen(0.5, 0.5)).hard
    assert cross_entropy_confidence(np.array([0.5, 0.5])) == pytest.approx(0.0)
    assert cross_entropy_confidence(np.array([0.9, 0.1])) == pytest.approx(0.5310, abs=1e-4)


def test_cross_entropy_where_sedna_raises() -> None:
    assert cross_entropy_confidence(np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert cross_entropy_confidence(np.array([0.0])) == pytest.approx(1.0)
    assert cross_entropy_confidence(np.array([1.0])) == pytest.approx(1.0)
    assert CrossEntropy().mine(seen(0.5)).hard
    assert not CrossEntropy().mine(seen(0.99)).hard


@pytest.mark.parametrize("kind", [Threshold, CrossEntropy, Ibt])
def test_empty_is_never_hard_unless_asked(kind: type[Threshold]) -> None:
    for prediction in (seen(), seen(0.1, 0.2)):  # below min_score counts as not reported
        assert kind().mine(prediction) == kind(empty_is_hard=False).mine(prediction)
        assert not kind().mine(prediction).hard
        assert kind(empty_is_hard=True).mine(prediction).hard


def test_ibt_borders() -> None:
    assert Ibt().mine(seen(0.5, 0.9)).hard  # half of the boxes are at or below the threshold
    assert not Ibt().mine(seen(0.4, 0.9, 0.9)).hard
    assert Ibt(threshold_box=0.9, threshold_img=0.9).mine(seen(0.3, *[0.95] * 9)).hard


def test_uncertainty_orders_tiles_by_how_many_decisions_may_be_wrong() -> None:
    miner = Uncertainty()
    order = [seen(), seen(0.99), seen(*[0.06] * 10), seen(0.3), seen(0.5), seen(0.5, 0.4), seen(*[0.5] * 8)]
    scores = [miner.mine(p).score for p in order]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert not miner.mine(seen()).hard
    assert not miner.mine(seen(0.98, 0.97)).hard
    assert miner.mine(seen(0.5)).hard


@given(st.lists(st.floats(0, 1, width=32), max_size=30), st.floats(0.0625, 1, width=32))
@settings(max_examples=50, deadline=None)
def test_one_more_candidate_never_lowers_the_doubt(scores: list[float], more: float) -> None:
    miner = Uncertainty()
    assert miner.mine(seen(*scores, more)).score >= miner.mine(seen(*scores)).score - 1e-12


def test_random_takes_its_share_and_repeats_it() -> None:
    miner = RandomShare(random_ratio=0.3)
    looks = [seen(0.5, embedding=i / 1000) for i in range(1000)]
    verdicts = [miner.mine(p) for p in looks]
    assert 250 <= sum(v.hard for v in verdicts) <= 350
    assert verdicts == [RandomShare(random_ratio=0.3).mine(p) for p in looks]
    assert verdicts != [RandomShare(random_ratio=0.3, seed=1).mine(p) for p in looks]
    assert not any(RandomShare(random_ratio=0.0).mine(p).hard for p in looks)
    assert all(RandomShare(random_ratio=1.0).mine(p).hard for p in looks)


def test_always_and_never() -> None:
    assert Always().mine(seen()).hard
    assert not Never().mine(seen(0.5)).hard


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_parameters_outside_of_their_range_are_refused(value: float) -> None:
    for build in (
        lambda: Threshold(threshold=value),
        lambda: CrossEntropy(threshold_cross_entropy=value),
        lambda: Ibt(threshold_img=value),
        lambda: RandomShare(random_ratio=value),
        lambda: Uncertainty(threshold=value),
    ):
        with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
            build()
