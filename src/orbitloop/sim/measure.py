"""How good a model is, measured by the pipeline that flies: whole scenes, tiles, merge, engine; then pycocotools.

Detections count down to the candidate threshold, as average precision wants its tail; the report threshold plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.ground.metrics import Accuracy, average_precision
from orbitloop.onboard.adapters.engines import DEFAULT_ENGINE, open_engine
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.records.label import LabelledImage
from orbitloop.records.prediction import Detections
from orbitloop.sim.world import SceneRef, World

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Accuracy on held-out scenes of the new and the old domains; `domains` maps each phase's or domain's name to its AP50."""

    new: Accuracy
    old: Accuracy
    domains: dict[str, float | None]


class Meter:
    """Measures weights of one graph, by the named engine."""

    def __init__(self, graph: bytes, classes: int, threads: int, engine: str = DEFAULT_ENGINE) -> None:
        self.graph, self.classes, self.threads, self.engine_name = graph, classes, threads, engine

    def engine(self, weights: Weights) -> Engine:
        """Return a running model."""
        return open_engine(self.engine_name, self.graph, weights, threads=self.threads)

    def on_images(self, weights: Weights, images: Sequence[LabelledImage]) -> Accuracy:
        """Measure on pictures of any size; one that is as large as a tile is one tile."""
        engine = self.engine(weights)
        found = [detect_all(engine, image.pixels) for image in images]
        return average_precision(found, [image.boxes for image in images], self.classes)

    def on_world(self, weights: Weights, world: World) -> Measurement:
        """Measure on a mission's held-out scenes, once each, and score them by group."""
        engine = self.engine(weights)
        new = [self._found(engine, phase) for phase in world.split.new_held_out]
        old = self._found(engine, world.split.base_held_out)
        domains = {name: _ap50(self._score([pairs])) for name, pairs in zip(world.phase_names, new, strict=True)}
        return Measurement(self._score(new), self._score([old]), domains)

    def _found(self, engine: Engine, refs: Sequence[SceneRef]) -> list[tuple[Detections, LabelledImage]]:
        images = [ref.load() for ref in refs]
        return [(detect_all(engine, image.pixels), image) for image in images]

    def _score(self, groups: Sequence[Sequence[tuple[Detections, LabelledImage]]]) -> Accuracy:
        pairs = [pair for group in groups for pair in group]
        return average_precision([d for d, _ in pairs], [image.boxes for _, image in pairs], self.classes)


def detect_all(engine: Engine, pixels: npt.NDArray[np.uint8]) -> Detections:
    """Detect in a scene down to the candidate threshold, merged over tile borders and clipped to it, as on board."""
    return detect_scene(engine, pixels, least_score=engine.metadata.preprocessing.candidate_score).detections


def _ap50(accuracy: Accuracy) -> float | None:
    value: float | None = accuracy.to_json()["ap50"]
    return value
