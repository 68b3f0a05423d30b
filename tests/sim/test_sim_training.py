"""Trainings beside the loop: never twice, never bad exports, resumed where they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import tiny_plan

from orbitloop.errors import DataError, ExportError
from orbitloop.ground.adapters import torch_trainer
from orbitloop.ground.adapters.torch_trainer import TorchTrainer
from orbitloop.records.ids import digest_tensors
from orbitloop.records.label import LabelledImage
from orbitloop.sim import training
from orbitloop.sim.training import TrainedModel, TrainingRequest, metadata_for, parity_gate, trained_model
from orbitloop.sim.world import World, open_world


@pytest.fixture(scope="module")
def world() -> World:
    return open_world(tiny_plan(), Path("no-data"), 0)


@pytest.fixture(scope="module")
def images(world: World) -> list[LabelledImage]:
    return [ref.load() for ref in world.split.base_train]


@pytest.fixture
def request_(world: World) -> TrainingRequest:
    spec = tiny_plan().model.spec
    return TrainingRequest("tiny", world.classes, spec, spec.width, 3, 4, 0.01, 0, world.fingerprint(world.split.base_train))


def train(request: TrainingRequest, images: list[LabelledImage], store: Path, **more: Any) -> TrainedModel:
    return trained_model(request, images, threads=1, store=store, **more)


def test_the_same_request_is_trained_once_and_gives_the_same_model(request_, images, tmp_path, monkeypatch):
    first = train(request_, images, tmp_path)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr(TorchTrainer, "train", never)
    again = train(request_, images, tmp_path)
    assert digest_tensors(again.weights) == digest_tensors(first.weights)
    assert again.graph == first.graph
    assert again.metadata == first.metadata
    [folder] = [p for p in (tmp_path / "models").iterdir() if not p.name.startswith(".")]
    assert json.loads((folder / "request.json").read_text())["name"] == "tiny"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"steps": 4},
        {"batch": 5},
        {"learning_rate": 0.02},
        {"width": 0.1},
        {"data": "sha256:other"},
        {"start": "sha256:other"},
        {"classes": ("a", "b")},
        {"trainable": ("head",)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_part_of_a_request_makes_another_model(request_, change):
    assert replace(request_, **change).digest(1) != request_.digest(1)


def test_thresholds_are_no_part_of_a_trained_model(request_, images, tmp_path):
    """They travel in the graph, which is written anew: a mission that reports from another score does not train again."""
    first = train(request_, images, tmp_path)
    other = replace(request_, spec=request_.spec.model_copy(update={"report_score": 0.5}))
    assert other.digest(1) == request_.digest(1)
    again = train(other, images, tmp_path)
    assert digest_tensors(again.weights) == digest_tensors(first.weights)
    assert again.metadata.preprocessing.report_score == 0.5
    assert again.graph != first.graph


def test_a_model_that_does_not_survive_its_export_is_not_kept(request_, images, tmp_path, monkeypatch):
    def bad(metadata: Any, weights: Any, tiles: Any) -> Any:
        return real(metadata, weights, tiles) + np.float32(3)

    real = training.torch_rows
    monkeypatch.setattr(training, "torch_rows", bad)
    with pytest.raises(ExportError):
        train(request_, images, tmp_path)
    assert not list((tmp_path / "models").glob("*")) if (tmp_path / "models").exists() else True
    monkeypatch.undo()
    assert train(request_, images, tmp_path).parameters > 0


def test_the_parity_gate_compares_real_tiles(request_, images, tmp_path):
    model = train(request_, images, tmp_path)
    assert parity_gate(model, images) is not None
    moved = {n: a + (0.5 if n.startswith("conv") and n.endswith(".bias") else 0) for n, a in model.weights.items()}
    other = TrainedModel(model.metadata, model.graph, {n: a.astype(np.float32) for n, a in moved.items()})
    assert parity_gate(other, images) is not None, "other weights in both are still the same network"


def test_a_training_that_was_stopped_goes_on_and_ends_with_the_same_weights(request_, images, tmp_path, monkeypatch):
    whole = train(request_, images, tmp_path / "whole")
    monkeypatch.setattr(torch_trainer, "CHECKPOINT_EVERY_S", 0.0)
    steps: list[int] = []
    real = torch_trainer._Run._step

    def cut(self: Any, step: int) -> float:
        steps.append(step)
        if len(steps) in (2, 4):
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(torch_trainer._Run, "_step", cut)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(request_, images, tmp_path / "cut")
    resumed = train(request_, images, tmp_path / "cut")
    assert steps == [0, 1, 1, 2, 2]
    assert digest_tensors(resumed.weights) == digest_tensors(whole.weights)
    assert list((tmp_path / "cut" / "checkpoints").iterdir()) == []


def test_a_set_without_a_box_is_refused(request_, images):
    empty = [replace(image, boxes=type(image.boxes).empty()) for image in images]
    with pytest.raises(DataError, match="no box"):
        metadata_for(request_, empty)


def test_sizes_count_what_would_be_sent(request_, images, tmp_path):
    model = train(request_, images, tmp_path)
    assert model.bytes == sum(4 * a.size for a in model.weights.values()) + len(model.graph)
    assert 0 < model.parameters < sum(a.size for a in model.weights.values())


def test_threads_are_part_of_the_key_as_they_change_the_last_bits(request_, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert request_.digest(1) != request_.digest(2)
    assert request_.digest(4) == request_.digest(8)
