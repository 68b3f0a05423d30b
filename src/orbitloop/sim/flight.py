"""From what was trained to what flies: the form on board, and the float weights behind each model that a satellite may hold.

Training is in float32, always. What flies is the float form itself, or its int8 form; each later model is put on the grids and
ranges of the one that a satellite holds, so that an update stays small. What is judged, signed and sent is the form that flies,
never the weights behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ExportError
from orbitloop.ground.adapters.calibration import observe_activations
from orbitloop.ground.export_int8 import write_int8_graph
from orbitloop.ground.quantise import Activations, calibration_tiles, quantise, requantise
from orbitloop.records.label import LabelledImage
from orbitloop.records.model import INT8, ModelMetadata
from orbitloop.resources.data import Quantisation
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.measure import Meter
from orbitloop.sim.training import TrainedModel
from orbitloop.sim.world import World

LEAST_OBJECTS = 20
"""With fewer on the frozen scenes a loss of some points is one object more or less, and no reason to stay on the ground."""

Tensors = Mapping[str, npt.NDArray[Any]]
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A model as satellites hold it, and the float weights that it was made from: where the next training starts.

    `round` is the one that made it; 0 for the launch's.
    """

    tensors: Tensors
    master: Weights
    round: int = 0


@dataclass(frozen=True, slots=True)
class FormCheck:
    """AP50 of the trained model and of the form that flies, on the same frozen scenes, fractions 0..1; None without objects."""

    trained: float | None
    flying: float | None

    @property
    def lost(self) -> float:
        """Return how much of AP50 the form costs; 0 where nothing could be measured."""
        return self.trained - self.flying if self.trained is not None and self.flying is not None else 0.0


class Flight:
    """The form in which a mission's models fly.

    Args:
        base: the trained base model.
        form: `float32` or `int8`.
        images: scenes of the base domains, on which activations are calibrated; none of them judges.
        rules: how many tiles calibrate, and what may be lost.
        seed: draws the tiles.
        threads: of the runtime.
    """

    def __init__(
        self,
        base: TrainedModel,
        form: str,
        images: Sequence[LabelledImage],
        rules: Quantisation,
        *,
        seed: int,
        threads: int,
    ) -> None:
        self.rules, self.seed, self.threads = rules, seed, threads
        self.trained = base.metadata
        self._base_tiles: list[npt.NDArray[np.uint8]] = []
        self.metadata: ModelMetadata = replace(base.metadata, form=form)
        if form == INT8:
            self._base_tiles = self._draw(images)
            seen = self._observe(base.weights, self._base_tiles)
            tensors: Tensors = quantise(self.metadata.width, len(self.metadata.classes), base.weights, seen)
            self.graph = write_int8_graph(self.metadata, tensors)
        else:
            tensors, self.graph = base.weights, base.graph
        self.launched = Held(tensors, base.weights)

    @property
    def bytes(self) -> int:
        """Size of the whole model as it would have to be sent: all tensors, and the graph."""
        return sum(a.nbytes for a in self.launched.tensors.values()) + len(self.graph)

    def follow(self, held: Held, candidate: Weights, images: Sequence[LabelledImage]) -> Tensors:
        """Return a trained candidate in the form that flies, as near to what is held as it can be.

        Args:
            held: what the satellites have.
            candidate: the trained float weights.
            images: what it was trained on, tiles or scenes; activations are calibrated on them beside the base's.
        """
        if self.metadata.form != INT8:
            return candidate
        seen = self._observe(candidate, [*self._base_tiles, *self._draw(images)])
        return requantise(self.metadata.width, len(self.metadata.classes), candidate, held.master, held.tensors, seen)

    def landed(self, result: Tensors, candidate: Weights) -> Held:
        """Return what a satellite holds after an update: what the codecs left of the candidate, and what is behind it."""
        return Held(result, candidate if self.metadata.form == INT8 else result)

    def check(self, base: TrainedModel, frozen: Sequence[LabelledImage], classes: int) -> FormCheck:
        """Measure trained model and flying form on frozen scenes.

        Raises:
            ExportError: the form loses more than the rules allow, on objects enough to say so.
        """
        if self.metadata.form != INT8:
            return FormCheck(None, None)
        before = Meter(base.graph, classes, self.threads).on_images(base.weights, frozen).to_json()["ap50"]
        after = Meter(self.graph, classes, self.threads).on_images(self.launched.tensors, frozen).to_json()["ap50"]
        found = FormCheck(before, after)
        if found.lost > self.rules.max_loss and sum(len(image.boxes) for image in frozen) >= LEAST_OBJECTS:
            points = f"{100 * found.lost:.1f} points of AP50 on the frozen scenes, and may lose {100 * self.rules.max_loss:.1f}"
            cure = "raise spec.quantisation.calibrationTiles, allow more by maxLoss, or fly `form: float32`"
            raise ExportError(f"the int8 form loses {points}", where="Model spec.quantisation", remedy=cure)
        return found

    def _draw(self, images: Sequence[LabelledImage]) -> list[npt.NDArray[np.uint8]]:
        rng = np.random.default_rng([self.seed, len(images)])
        return calibration_tiles(images, self.trained.preprocessing, self.rules.calibration_tiles, rng)

    def _observe(self, weights: Weights, tiles: Sequence[npt.NDArray[np.uint8]]) -> dict[int, Activations]:
        return observe_activations(self.trained, weights, tiles, seed=self.seed, threads=self.threads)


def launch(plan: MissionPlan, world: World, base: TrainedModel) -> tuple[Flight, FormCheck]:
    """Put a mission's base model into the form that flies, and see on the frozen scenes of the base what that costs.

    Raises:
        ExportError: it costs more than the mission allows.
    """
    spec, threads = plan.model.spec, plan.mission.spec.threads
    scenes = [ref.load() for ref in world.split.base_train]
    flight = Flight(base, spec.form, scenes, spec.quantisation, seed=plan.seed, threads=threads)
    return flight, flight.check(base, [ref.load() for ref in world.split.base_gate], len(world.classes))
