"""What is worth sending down: a hard tile with its picture, its score and what the satellite saw in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.records.prediction import Detections
from orbitloop.records.scene import TileWindow


@dataclass(frozen=True, slots=True)
class Mining:
    """A miner's verdict on one prediction: hard or not, and how much (0 = sure, 1 = lost)."""

    hard: bool
    score: float
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What a selector sees of a stored sample.

    `embedding` is (D,) float32 of length 1; `value` is the miner's score; `transmit_j` what sending it costs.
    """

    sample_id: str
    size_bytes: int
    value: float
    transmit_j: float
    captured_at_s: float
    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class HardSample:
    """One tile on its way down: `image` is its encoded picture (WebP, JPEG or PNG; the bytes say which)."""

    sample_id: str
    satellite: str
    scene_id: str
    domain: str
    window: TileWindow
    captured_at_s: float
    model_digest: str
    mining: Mining
    detections: Detections
    embedding: npt.NDArray[np.float32]
    image: bytes
