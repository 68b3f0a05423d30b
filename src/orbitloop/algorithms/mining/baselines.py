"""What a miner must beat: all, none, and a fair coin."""

from __future__ import annotations

import hashlib

import numpy as np

from orbitloop.algorithms.mining.sedna import check_share
from orbitloop.records.prediction import Prediction
from orbitloop.records.sample import Mining


class Always:
    """Everything is hard (Sedna's CloudOnly)."""

    summary = "Every tile is hard."

    def mine(self, prediction: Prediction) -> Mining:
        return Mining(True, 1.0, "always")


class Never:
    """Nothing is hard (Sedna's EdgeOnly)."""

    summary = "No tile is hard."

    def mine(self, prediction: Prediction) -> Mining:
        return Mining(False, 0.0, "never")


class RandomShare:
    """A share of the tiles, drawn by a hash of the prediction, so that the miner stays pure and a mission repeatable.

    Sedna's Random draws from the process's generator. Here the draw is the SHA-256 of `seed`, embedding, scores and boxes as a
    number in 0..1: uniform, without any tie to how hard a tile is, and the same in every process.
    """

    summary = "A fixed share of the tiles, whatever they show: the fair baseline."

    def __init__(self, *, random_ratio: float = 0.3, seed: int = 0) -> None:
        self._ratio = check_share("random_ratio", random_ratio)
        self._seed = seed

    def mine(self, prediction: Prediction) -> Mining:
        state = hashlib.sha256(f"{self._seed}|".encode())
        for array in (prediction.embedding, prediction.detections.scores, prediction.detections.boxes_xyxy_px):
            state.update(np.ascontiguousarray(array, "<f4").tobytes())
        draw = int.from_bytes(state.digest()[:6]) / 2**48
        return Mining(draw < self._ratio, 1.0 - draw, f"draw {draw:.3f}")
