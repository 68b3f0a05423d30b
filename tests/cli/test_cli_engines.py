"""Choosing an engine by name, and what the doctor says of those that are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.apps.models import engine_versions, open_model, store_model
from orbitloop.cli import diagnosis
from orbitloop.cli.diagnosis import Verdict
from orbitloop.cli.main import app
from orbitloop.errors import ModelError
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import layers
from orbitloop.onboard.adapters.engines import ENGINES, installed_engines, loads
from orbitloop.records.model import ModelMetadata, Preprocessing

DEMO = Path(__file__).parents[2] / "missions" / "farmland-demo.yaml"


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    anchors = (((50.0, 60.0),) * 3, ((10.0, 12.0),) * 3)
    about = ModelMetadata("fields", ("field",), 0.05, (32, 16), anchors, Preprocessing(64, 16))
    rng = np.random.default_rng(0)
    weights = {}
    for layer in layers(0.05, 1):
        for name in layer.tensors:
            kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            shape = kernel if name == f"{layer.conv}.weight" else (layer.out_channels,)
            weights[name] = rng.uniform(0.1, 0.2, shape).astype(np.float32)
    folder = tmp_path / "model"
    store_model(folder, write_graph(about, weights), weights)
    return folder


@pytest.mark.parametrize("name", ENGINES)
def test_a_model_opens_with_each_engine_that_is_installed(model: Path, name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: make engines")
    opened = open_model(model, 1, name)
    (found,) = opened.engine.infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert opened.engine.metadata.name == "fields"
    assert np.isfinite(found.embedding).all()


def test_evaluate_names_the_engines_that_there_are(model: Path) -> None:
    result = invoke("evaluate", model, DEMO, "--engine", "tflite")
    assert result.exit_code == 13
    assert "onnxruntime, openvino, ncnn" in result.stderr


def test_evaluate_names_the_extra_of_an_absent_engine(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    result = invoke("evaluate", model, DEMO, "--engine", "ncnn")
    assert result.exit_code == 13
    assert "orbitloop[ncnn]" in result.stderr


def test_the_doctor_lists_engines_with_their_versions(tmp_path: Path) -> None:
    result = invoke("doctor", "--json", "--data", tmp_path)
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["engines"]["verdict"] == "ok"
    for name, version in installed_engines().items():
        assert f"{name} {version}" in checks["engines"]["found"]
    assert checks["reports home"] == {"name": "reports home", "verdict": "ok", "found": "off", "remedy": ""}


def test_the_doctor_names_an_engine_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitloop.apps.models.installed_engines", lambda: {"onnxruntime": "1", "ncnn": "2"})
    monkeypatch.setitem(sys.modules, "ncnn", None)
    found = diagnosis.engines()
    assert found.verdict is Verdict.WARN
    assert "onnxruntime 1, ncnn broken (ModuleNotFoundError" in found.found
    assert "ncnn" in found.remedy


def test_the_doctor_says_when_reports_are_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert diagnosis.reports_home().verdict is Verdict.WARN


def test_an_engine_of_another_distribution_and_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`onnxruntime-gpu` brings the module `onnxruntime` too; and a folder `ncnn` beside the program is no engine."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    (tmp_path / "ncnn").mkdir()
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(part for part in sys.path if not (Path(part) / "ncnn").exists())])
    monkeypatch.delitem(sys.modules, "ncnn", raising=False)
    importlib.invalidate_caches()
    found = installed_engines()
    assert found["onnxruntime"] == "of unknown version"
    assert "ncnn" not in found


def test_versions_are_those_of_the_distributions() -> None:
    assert engine_versions() == installed_engines()
    with pytest.raises(ModelError, match="no engine"):
        loads("tflite")
