"""Plan a mission's update by its bytes: what the detections hang on, seen on the pictures at hand, then the planner.

It is where the ground's pure planner meets torch. What is observed belongs to one candidate, whatever satellites hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from orbitloop.ground.adapters.sensitivity import observe_sensitivity
from orbitloop.ground.goals import float_goals, int8_goals
from orbitloop.ground.planner import Fitted, Planner
from orbitloop.ground.quantise import as_float, calibration_tiles, dequantise
from orbitloop.ground.rates import Sensitivity
from orbitloop.ground.release import CodedUpdate, coded_update
from orbitloop.records.ids import digest_tensors
from orbitloop.records.label import LabelledImage
from orbitloop.records.model import FLOAT32, INT8, ModelMetadata
from orbitloop.sim.flight import Flight, Held, Tensors

Weights = Mapping[str, npt.NDArray[np.float32]]

NEW_TILES, OLD_TILES = 96, 48


class Planning:
    """Plans updates of one mission.

    Args:
        flight: the form in which its models fly.
        old: scenes of the base domains, which must not be forgotten.
        seed: draws tiles.
        threads: of torch.
    """

    def __init__(self, flight: Flight, old: Sequence[LabelledImage], *, seed: int, threads: int) -> None:
        self.flight, self.old, self.seed, self.threads = flight, old, seed, threads
        self._seen: tuple[str, dict[str, Sensitivity]] = ("", {})

    def code(
        self,
        held: Held,
        candidate: Weights,
        new: Sequence[LabelledImage],
        most_bytes: int,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[CodedUpdate, Held, str]:
        """Return the most accurate update of at most so many bytes of payload, what is held after it, and a word on it.

        Args:
            held: what is on board, and the float weights behind it.
            candidate: the trained float weights.
            new: pictures that the candidate was trained on.
            most_bytes: of the payload.
            progress: called with how many plans were tried, of how many at most.

        Raises:
            UpdateError: even the coarsest is larger.
        """
        planner, target = self.planner(held, candidate, new)
        fitted = planner.fit(most_bytes, progress=progress)
        coded = coded_update(held.tensors, fitted.plan.payload)
        return coded, self.landed(coded.result, target, candidate), told(fitted)

    def landed(self, result: Tensors, target: Tensors, candidate: Weights) -> Held:
        """Return what a satellite holds after a planned update: the next training starts there, not at what was wanted."""
        metadata = self.flight.metadata
        if metadata.form != INT8:
            return Held(result, result)
        return Held(result, dequantise(metadata.width, len(metadata.classes), result, target, candidate))

    def planner(self, held: Held, candidate: Weights, new: Sequence[LabelledImage]) -> tuple[Planner, Tensors]:
        """Return the planner from what a satellite holds to a trained candidate, and the candidate in the form that flies.

        Args:
            held: what is on board, and the float weights behind it.
            candidate: the trained float weights.
            new: pictures that the candidate was trained on.
        """
        metadata = self.flight.metadata
        size = (metadata.width, len(metadata.classes))
        target = self.flight.follow(held, candidate, new)
        if metadata.form == INT8:
            goals = int8_goals(*size, held.tensors, target, (held.master, candidate))
        else:
            goals, still = float_goals(*size, held.tensors, candidate)
            target = {**target, **still}
        return Planner(held.tensors, target, goals, self._sensitivities(candidate, new)), target

    def _sensitivities(self, candidate: Weights, new: Sequence[LabelledImage]) -> dict[str, Sensitivity]:
        digest = digest_tensors(candidate)
        if self._seen[0] != digest:
            rng = np.random.default_rng([self.seed, 77])
            rules = self.flight.trained.preprocessing
            tiles = [*calibration_tiles(new, rules, NEW_TILES, rng), *calibration_tiles(self.old, rules, OLD_TILES, rng)]
            found = observe_sensitivity(self.flight.trained, candidate, tiles, seed=self.seed, threads=self.threads)
            self._seen = (digest, found)
        return self._seen[1]


def plan_pair(
    metadata: ModelMetadata,
    held: Tensors,
    target: Tensors,
    pictures: Sequence[LabelledImage],
    most_bytes: int,
    *,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Plan an update from one model to another of the same form, with nothing but the two and some pictures.

    Args:
        metadata: of both.
        held, target: their tensors.
        pictures: of the domains where it shall be good, old and new; labels are not needed.
        most_bytes: of the payload.
        seed: draws tiles.
        threads: of torch.
        progress: called with how many plans were tried, of how many at most.

    Raises:
        ExportError: there is no picture.
        UpdateError: even the coarsest is larger.
    """
    size = (metadata.width, len(metadata.classes))
    plain = replace(metadata, form=FLOAT32)
    tiles = calibration_tiles(pictures, metadata.preprocessing, NEW_TILES + OLD_TILES, np.random.default_rng([seed, 77]))
    if metadata.form == INT8:
        weights = as_float(*size, target)
        goals = int8_goals(*size, held, target)
    else:
        weights = dict(target)
        goals, still = float_goals(*size, held, target)
        target = {**target, **still}
    seen = observe_sensitivity(plain, weights, tiles, seed=seed, threads=threads)
    return Planner(held, target, goals, seen).fit(most_bytes, progress=progress)


def told(fitted: Fitted) -> str:
    """Say what the chosen update keeps of the trained change, and what fewer or more bytes would have kept."""
    chosen = fitted.plan
    fewer = [p for p in fitted.tried if p.bytes < 0.7 * chosen.bytes][-1:]
    others = fewer + [p for p in fitted.tried if p.bytes > 1.4 * chosen.bytes][:1]
    text = f"an update of {chosen.bytes:,} bytes keeps {_kept(chosen.left)} of what training changed"
    if others:
        text += "; " + ", ".join(f"{p.bytes:,} bytes would keep {_kept(p.left)}" for p in others)
    return text


def _kept(left: float) -> str:
    return f"{100 * (1 - left):.1f} %"
