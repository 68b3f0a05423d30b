"""Trainings of a mission that happen before or beside the loop: the base model, the teacher, the ceiling.

Each is cached by a digest of all that it is made from (scenes, labels, settings, seed, torch), so that a second mission on the
same base starts at once; while one runs it keeps a checkpoint, so that a killed one goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitloop.algorithms.tiling import cut_tile, tile_windows
from orbitloop.ground.adapters.model_store import cache_dir, load_model, save_model
from orbitloop.ground.adapters.network import Weights, initial_weights
from orbitloop.ground.adapters.reference import torch_rows
from orbitloop.ground.adapters.torch_trainer import RECIPE, Progress, TorchTrainer, TrainingPlan, arithmetic
from orbitloop.ground.anchors import kmeans_anchors
from orbitloop.ground.export import write_graph
from orbitloop.ground.parity import Parity, check_parity
from orbitloop.ground.topology import STRIDES, partition
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.records.ids import digest_json
from orbitloop.records.label import LabelledImage
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.resources.data import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A model that may fly: graph with metadata inside, weights apart."""

    metadata: ModelMetadata
    graph: bytes
    weights: Weights

    @property
    def parameters(self) -> int:
        """Count learned parameters; batch-norm's running statistics are not learned."""
        return sum(a.size for n, a in self.weights.items() if not n.endswith((".mean", ".var")))

    @property
    def bytes(self) -> int:
        """Size of the whole model as it would have to be sent: all tensors in float32, and the graph."""
        return sum(a.nbytes for a in self.weights.values()) + len(self.graph)


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What makes a model: everything that its cache key covers. `start` is the digest of the starting weights, if any."""

    name: str
    classes: tuple[str, ...]
    spec: ModelSpec
    width: float
    steps: int
    batch: int
    learning_rate: float
    seed: int
    data: str
    start: str = ""
    trainable: tuple[str, ...] = ("all",)
    pull: float = 0.0

    def digest(self, threads: int) -> str:
        """Return the cache key: equal keys mean equal bits, so threads and device are part of it."""
        about = {
            "recipe": RECIPE,
            "arithmetic": arithmetic(threads),
            "classes": list(self.classes),
            "tile": self.spec.tile_px,
            "width": self.width,
            "steps": self.steps,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "data": self.data,
            "start": self.start,
            "trainable": list(self.trainable),
        }
        if self.pull:
            about["pull"] = self.pull
        return digest_json(about)


def metadata_for(request: TrainingRequest, images: Sequence[LabelledImage]) -> ModelMetadata:
    """Return the metadata of a new model: anchors from these pictures' boxes, preprocessing from the mission."""
    sizes = [i.boxes.xyxy_px[:, 2:] - i.boxes.xyxy_px[:, :2] for i in images if len(i.boxes)]
    anchors = kmeans_anchors(np.concatenate(sizes) if sizes else np.zeros((0, 2), np.float32), seed=request.seed)
    spec = request.spec
    preprocessing = Preprocessing(
        tile_px=spec.tile_px,
        overlap_px=spec.overlap_px,
        candidate_score=spec.candidate_score,
        report_score=spec.report_score,
        nms_iou=spec.nms_iou,
        max_detections=spec.max_detections,
    )
    return ModelMetadata(request.name, request.classes, request.width, STRIDES, anchors, preprocessing)


def trained_model(
    request: TrainingRequest,
    new: Sequence[LabelledImage],
    *,
    start: TrainedModel | None = None,
    old: Sequence[LabelledImage] = (),
    threads: int = 2,
    progress: Progress | None = None,
    store: Path | None = None,
) -> TrainedModel:
    """Return the model of a request, from the cache or by training it now.

    Args:
        request: what it is made from.
        new: pictures to train on.
        start: the model to start from; None starts fresh.
        old: replayed pictures.
        threads: CPU threads.
        progress: told of each half second of training.
        store: the cache folder; default `cache_dir()`.

    Raises:
        TrainingError: it diverged.
        ExportError: the exported model does not do what the trained one does.
    """
    root = store or cache_dir()
    folder = root / "models" / request.digest(threads)[7:39]
    metadata = start.metadata if start else metadata_for(request, new)
    if (folder / "request.json").exists():
        _, weights = load_model(folder)
        return TrainedModel(metadata, write_graph(metadata, weights), weights)
    weights = start.weights if start else initial_weights(request.width, len(request.classes), request.seed)
    trainer = TorchTrainer(
        request.width,
        len(request.classes),
        metadata.anchors_px,
        request.spec.tile_px,
        threads=threads,
        checkpoint_dir=root / "checkpoints",
    )
    plan = TrainingPlan(
        partition(request.trainable),
        request.steps,
        batch=request.batch,
        learning_rate=request.learning_rate,
        replay_share=0.5 if old else 0.0,
        seed=request.seed,
        pull=request.pull,
    )
    result = trainer.train(weights, new, plan, old=old, progress=progress, key=request.digest(threads)[7:39])
    model = TrainedModel(metadata, write_graph(metadata, result.weights), result.weights)
    parity_gate(model, new)
    save_model(folder, model.graph, model.weights)
    about = {"name": request.name, "steps": request.steps, "data": request.data, "metadata": metadata.to_json()}
    (folder / "request.json").write_text(json.dumps(about, indent=1))
    return model


def parity_gate(model: TrainedModel, images: Sequence[LabelledImage], tiles: int = 8) -> Parity:
    """Run trained network and exported graph over real tiles and compare them, box by box.

    Raises:
        ExportError: they differ.
    """
    pre = model.metadata.preprocessing
    cut = []
    for image in images:
        windows = tile_windows(image.pixels.shape[1], image.pixels.shape[0], pre.tile_px, pre.overlap_px)
        cut += [cut_tile(image.pixels, window, pre.pad_value) for window in windows[:2]]
        if len(cut) >= tiles:
            break
    reference = torch_rows(model.metadata, model.weights, cut[:tiles])
    engine = OnnxEngine(model.graph, model.weights)
    return check_parity(reference, engine.rows(np.stack(cut[:tiles])), pre.candidate_score)
