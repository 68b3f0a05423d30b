"""`orbitloop quantise`: a folder of a float model becomes one of its int8 form, measured on the mission's scenes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.apps.models import open_model, store_model
from orbitloop.cli import quantise as command
from orbitloop.cli.main import app
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import layers
from orbitloop.records.model import INT8, ModelMetadata, Preprocessing

MISSION = """
kind: Mission
name: tiny
spec: {durationDays: 0.5, threads: 1}
---
{kind: Satellite, name: tiny-1}
---
{kind: GroundStation, name: svalbard, spec: {latitudeDeg: 78.23, longitudeDeg: 15.41}}
---
kind: Dataset
spec:
  format: procedural
  domains: {base: summer, stream: [autumn]}
  procedural:
    scenePx: 64
    scenesPerDomain: 6
    domains: {summer: {season: summer, field_size_px: 26}, autumn: {season: autumn, field_size_px: 26}}
---
kind: Model
spec: {width: 0.05, tilePx: 64, overlapPx: 16, quantisation: {calibrationTiles: 4, maxLoss: 1}}
---
kind: IncrementalLearningJob
"""


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def mission(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(MISSION)
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return trained(tmp_path / "model", "field")


def trained(folder: Path, *classes: str) -> Path:
    """Store a network that saw nothing yet."""
    about = ModelMetadata("fields", classes, 0.05, (32, 16), (((50.0, 60.0),) * 3, ((10.0, 12.0),) * 3), Preprocessing(64, 16))
    rng, weights = np.random.default_rng(0), {}
    for layer in layers(0.05, len(classes)):
        fan_in = layer.in_channels * layer.kernel**2
        kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
        for name in layer.tensors:
            made = rng.uniform(0.5, 1.5, layer.out_channels) if name != f"{layer.conv}.weight" else rng.normal(size=kernel)
            weights[name] = (made if name != f"{layer.conv}.weight" else made * (2 / fan_in) ** 0.5).astype(np.float32)
    store_model(folder, write_graph(about, weights), weights)
    return folder


def test_the_int8_model_lies_beside_the_trained_one_and_both_are_measured(model: Path, mission: Path) -> None:
    result = invoke("quantise", model, mission, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    made = open_model(Path(told["out"]))
    assert told["out"] == str(model) + "-int8"
    assert (made.engine.metadata.form, made.digest) == (INT8, told["digest"])
    assert told["bytes"]["int8"] < 0.5 * told["bytes"]["float32"]
    assert set(told["accuracy"]) == {"float32", "int8"}
    assert told["passed"] is True
    again = invoke("quantise", told["out"], mission)
    assert again.exit_code == 13
    assert "in int8 already" in again.stderr


def test_a_form_that_loses_too_much_is_written_and_told(model: Path, mission: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_lost", lambda before, after, group: 0.031)
    out = model.parent / "small"
    result = invoke("quantise", model, mission, "--out", out, "--quiet", "--set", "Model.quantisation.maxLoss=0.03")
    assert result.exit_code == 1
    assert "TOO MUCH: AP50 lost at most 3.1 points, 3.0 allowed" in result.stdout
    assert open_model(out).engine.metadata.form == INT8


def test_a_folder_may_be_named_by_a_dot(model: Path, mission: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model)
    for here in (".", f"..{os.sep}model{os.sep}."):
        result = invoke("quantise", here, mission, "--quiet", "--tiles", "2")
        assert result.exit_code == 0, result.stderr
    assert open_model(Path(str(model) + "-int8")).engine.metadata.form == INT8


def test_the_trained_model_is_not_written_over(model: Path, mission: Path) -> None:
    before = (model / "weights.safetensors").read_bytes()
    result = invoke("quantise", model, mission, "--out", model.parent / "x" / ".." / "model")
    assert result.exit_code == 23
    assert (model / "weights.safetensors").read_bytes() == before


def test_a_mission_of_other_classes_is_refused(tmp_path: Path, mission: Path) -> None:
    result = invoke("quantise", trained(tmp_path / "other", "barn"), mission)
    assert result.exit_code == 14
    assert "the model knows barn" in result.stderr
