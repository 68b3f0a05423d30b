"""Sedna's three rules for hard examples, with its names and defaults, made safe where they fail.

Source: Sedna v0.7, `lib/sedna/algorithms/hard_example_mining/hard_example_mining.py` (ThresholdFilter, CrossEntropyFilter,
IBTFilter). With p_1..p_n the scores of the boxes that the model reports:

- Threshold: hard when mean(p) < `threshold`.
- CrossEntropy: hard when 1 + sum(p ln p) / ln n < `threshold_cross_entropy`. Sedna raises ValueError at p = 0 and
  ZeroDivisionError at n = 1. Here 0 ln 0 = 0 (its limit), and one box is judged as the two outcomes (p, 1 - p), for which
  ln n = ln 2. The formula is made for the class probabilities of one object; over the scores of many boxes, which do not add
  up to 1, it falls with every box that is there, so that a full picture is hard. It is kept as the seed's baseline.
- IBT (image box thresholds): hard when the share of boxes with p <= `threshold_box` is at least 1 - `threshold_img`.

Differences that are ours. Sedna filters what its detector reports; our miners see candidates down to a few percent, so only
scores of `min_score` or more count. An empty picture is never hard to Sedna, also where the model missed everything: that is
the default, and `empty_is_hard` turns it round. Beside the verdict each rule gives a score, 0 = sure to 1 = lost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.records.prediction import Prediction
from orbitloop.records.sample import Mining


def check_share(name: str, value: float) -> float:
    """Return a value that must lie in 0..1.

    Raises:
        ValueError: it does not.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in 0..1, not {value!r}")
    return float(value)


def scores_above(prediction: Prediction, min_score: float) -> npt.NDArray[np.float64]:
    """Return the scores (N,) of at least `min_score`, clipped to 0..1."""
    scores = prediction.detections.scores.astype(np.float64)
    return np.asarray(np.clip(scores[scores >= min_score], 0.0, 1.0), np.float64)


def cross_entropy_confidence(p: npt.NDArray[np.float64]) -> float:
    """Return 1 + sum(p ln p) / ln n of scores (n,), n >= 1; 1 = sure. May be below 0 when the scores add up to more than 1."""
    parts = np.array([p[0], 1.0 - p[0]]) if p.size == 1 else p
    log_p = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    return float(1.0 + (parts * log_p).sum() / np.log(parts.size))


def _empty(empty_is_hard: bool) -> Mining:
    return Mining(empty_is_hard, 1.0 if empty_is_hard else 0.0, "no boxes")


class Threshold:
    """Mean score below a threshold; hardness = 1 - mean score."""

    summary = "Hard when the mean score of the reported boxes is below a threshold (Sedna)."

    def __init__(self, *, threshold: float = 0.5, min_score: float = 0.25, empty_is_hard: bool = False) -> None:
        self._threshold = check_share("threshold", threshold)
        self._min_score = check_share("min_score", min_score)
        self._empty_is_hard = empty_is_hard

    def mine(self, prediction: Prediction) -> Mining:
        p = scores_above(prediction, self._min_score)
        if p.size == 0:
            return _empty(self._empty_is_hard)
        mean = float(p.mean())
        return Mining(mean < self._threshold, 1.0 - mean, f"mean score {mean:.2f} of {p.size} boxes")


class CrossEntropy:
    """Entropy of the scores above a threshold; hardness = 1 - confidence, clipped to 0..1."""

    summary = "Hard when one minus the normalised entropy of the scores is below a threshold (Sedna)."

    def __init__(self, *, threshold_cross_entropy: float = 0.5, min_score: float = 0.25, empty_is_hard: bool = False) -> None:
        self._threshold = check_share("threshold_cross_entropy", threshold_cross_entropy)
        self._min_score = check_share("min_score", min_score)
        self._empty_is_hard = empty_is_hard

    def mine(self, prediction: Prediction) -> Mining:
        p = scores_above(prediction, self._min_score)
        if p.size == 0:
            return _empty(self._empty_is_hard)
        confidence = cross_entropy_confidence(p)
        score = min(1.0, max(0.0, 1.0 - confidence))
        return Mining(confidence < self._threshold, score, f"confidence {confidence:.2f} of {p.size} boxes")


class Ibt:
    """Share of weak boxes at or above a limit; hardness = that share."""

    summary = "Hard when the share of weak boxes in the picture is too large (Sedna's image and box thresholds)."

    def __init__(
        self,
        *,
        threshold_img: float = 0.5,
        threshold_box: float = 0.5,
        min_score: float = 0.25,
        empty_is_hard: bool = False,
    ) -> None:
        self._threshold_img = check_share("threshold_img", threshold_img)
        self._threshold_box = check_share("threshold_box", threshold_box)
        self._min_score = check_share("min_score", min_score)
        self._empty_is_hard = empty_is_hard

    def mine(self, prediction: Prediction) -> Mining:
        p = scores_above(prediction, self._min_score)
        if p.size == 0:
            return _empty(self._empty_is_hard)
        weak = float((p <= self._threshold_box).mean())
        return Mining(weak >= 1.0 - self._threshold_img, weak, f"{weak:.0%} of {p.size} boxes are weak")
