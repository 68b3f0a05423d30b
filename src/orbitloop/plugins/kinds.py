"""One Protocol per plug-in kind. A plug-in is a class built with its manifest parameters as keyword arguments.

A built-in and a third party's class enter through the same registry and must pass the same contract suite
(`orbitloop.plugins.checks`). Each class carries `summary`, one sentence for `--help` and the reference page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Prediction
from orbitloop.records.sample import Candidate, Mining
from orbitloop.records.screening import Screening


@runtime_checkable
class Miner(Protocol):
    """Is this prediction a hard example? Flies."""

    summary: str

    def mine(self, prediction: Prediction) -> Mining:
        """Judge one tile's prediction (detections down to the candidate threshold). Pure; never raises on an empty one."""


@runtime_checkable
class Selector(Protocol):
    """Which stored samples go down in the next pass? Flies."""

    summary: str

    def select(
        self,
        candidates: Sequence[Candidate],
        *,
        budget_bytes: int,
        budget_j: float,
        sent_embeddings: npt.NDArray[np.float32],
        rng: np.random.Generator,
    ) -> list[int]:
        """Return indices of the chosen candidates, in sending order.

        The sizes add up to at most `budget_bytes` and the transmit energies to at most `budget_j`. `sent_embeddings` is
        (M, D) float32, the fingerprints of what went down before. Pure, but for `rng`.
        """


@runtime_checkable
class DeltaCodec(Protocol):
    """How one tensor's change is written. Ground and satellite must agree to the bit.

    Decoding knows no parameters: the satellite builds the class without any, and reads what it needs from the data.
    """

    summary: str

    def encode(self, base: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> bytes:
        """Write what turns `base` towards `target` (same shape)."""

    def decode(self, base: npt.NDArray[np.float32], data: bytes) -> npt.NDArray[np.float32]:
        """Return the new tensor, the same bits on every machine.

        Raises:
            UpdateError: `data` is malformed or does not fit `base`. Never anything else.
        """


@runtime_checkable
class Labeller(Protocol):
    """Sample -> label, on the ground. `None` means: I am not sure, ask the next one."""

    summary: str

    def label(self, sample_id: str, scene_id: str, window: Sequence[int], pixels: npt.NDArray[np.uint8]) -> Boxes | None:
        """Return the boxes of one tile in its own pixels. `window` is (x, y, width, height) in the scene."""


@runtime_checkable
class Screen(Protocol):
    """Is this tile worth the network's time? The cheap first stage, before inference. Flies.

    It may remember tiles that it kept, to drop repeats of them, in bounded memory: that is its only state, and `reset`
    forgets it. The caller resets when a tile seen before deserves a second look: at the start of a scene whose detections
    stand for themselves, and after a model swap. Not thread-safe: one instance for each stream of tiles.
    """

    summary: str

    def judge(self, tile: npt.NDArray[np.uint8], valid_share: float) -> Screening:
        """Judge one tile, in the order in which tiles are met.

        `tile` is (S, S, 3) uint8 RGB as the network would get it, read only, from 1 px up. `valid_share` in 0..1 is the share
        of its pixels that are picture, not padding or nodata. It raises on no tile of that form.
        """

    def judge_many(self, tiles: npt.NDArray[np.uint8], valid_shares: npt.NDArray[np.float64]) -> list[Screening]:
        """Judge (B, S, S, 3) uint8 tiles: exactly what `judge` would say of one after the other."""

    def reset(self) -> None:
        """Forget every tile that was seen: from now on the verdicts are those of a new instance."""


@runtime_checkable
class Monitor(Protocol):
    """Is this telemetry as it was? On the ground, and in orbit where it needs no more than numpy.

    Values come scaled, so that 2 is about a channel's full scale, and finite. Rows are samples, columns are channels.
    """

    summary: str

    def fit(self, nominal: npt.NDArray[np.float64]) -> None:
        """Learn what is nominal from (N, C); forgets what it learnt before.

        Raises:
            TelemetryError: too few samples.
        """

    def scores(self, values: npt.NDArray[np.float64], *, follows: bool = True) -> npt.NDArray[np.float64]:
        """Return (M, C) scores, 0 and up; 1 is as odd as the oddest nominal sample.

        The values follow on the nominal part without a gap, or (`follows` false) are a recording of another time: then nothing
        may be concluded from the step between the two, and the score is 0 until enough of the new recording was seen.
        Causal: a score hangs on nothing that comes after it. Pure: the same values give the same scores again.
        """
