"""How many decisions about this tile may be wrong: the default miner.

Each candidate of score p is a decision, object or not. If p were the chance that it is one, the better answer would be wrong
with min(p, 1 - p); doubled, so that a toss-up counts as one, that is the tent t(p) = 1 - |2p - 1|. The tile's doubt is

    U = sum over candidates of t(p) ** power,     score = 1 - exp(-U / scale)

so that several doubtful boxes rank above a single one, and the score saturates towards 1. A detector's low scores are not
chances: most candidates of 0.06 are texture. With `power` = 2, thirty of those weigh 0.43 of one toss-up, with 1 they would
weigh 3.6; `min_score` cuts the very lowest away. Compare least-confidence sampling summed over boxes: Settles, Active Learning
Literature Survey (2009), 3.1, and Brust et al., Active Learning for Deep Object Detection (2019), 3.2 (`sum` aggregation).

An empty tile has no doubt and is not hard: what the model misses entirely is for other miners to find (novelty, random).
"""

from __future__ import annotations

import math

import numpy as np

from orbitloop.algorithms.mining.sedna import check_share, scores_above
from orbitloop.records.prediction import Prediction
from orbitloop.records.sample import Mining


class Uncertainty:
    """Sum of the boxes' doubts, saturating."""

    summary = "Hard when the boxes' doubts add up: several unsure boxes count more than one."

    def __init__(self, *, threshold: float = 0.3, scale: float = 2.0, power: float = 2.0, min_score: float = 0.05) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be above 0, not {scale!r}")
        if not (math.isfinite(power) and power > 0):
            raise ValueError(f"power must be above 0, not {power!r}")
        self._threshold = check_share("threshold", threshold)
        self._min_score = check_share("min_score", min_score)
        self._scale = float(scale)
        self._power = float(power)

    def mine(self, prediction: Prediction) -> Mining:
        p = scores_above(prediction, self._min_score)
        doubt = float(((1.0 - np.abs(2.0 * p - 1.0)) ** self._power).sum())
        score = 1.0 - math.exp(-doubt / self._scale)
        return Mining(p.size > 0 and score >= self._threshold, score, f"doubt {doubt:.2f} over {p.size} candidates")
