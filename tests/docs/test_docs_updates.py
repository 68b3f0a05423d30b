"""The page on updates is typed in as it stands: each command of it runs, in order, on two small models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import ROOT, blocks
from test_docs_commands import commands
from typer.testing import CliRunner

from orbitloop.apps.models import open_model, store_model
from orbitloop.cli.main import app
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import layers
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slots import SlotStore
from orbitloop.records.model import ModelMetadata, Preprocessing

PAGE = ROOT / "docs" / "updates.md"


def small_models(folder: Path) -> None:
    anchors = (((50.0, 60.0),) * 3, ((10.0, 12.0),) * 3)
    about = ModelMetadata("fields", ("field",), 0.05, (32, 16), anchors, Preprocessing(64, 16))
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for layer in layers(0.05, 1):
        for name in layer.tensors:
            kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            shape = kernel if name == f"{layer.conv}.weight" else (layer.out_channels,)
            weights[name] = rng.uniform(0.1, 0.2, shape).astype(np.float32)
    graph = write_graph(about, weights)
    for name in ("flying", "new", "later"):
        store_model(folder / "models" / name, graph, weights)
        tensor = weights["conv15.weight"]
        weights = weights | {"conv15.weight": tensor + rng.normal(0, 0.01, tensor.shape).astype(np.float32)}


def test_every_command_of_the_page_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    typed = [words for block in blocks("bash") if block.page == PAGE for words in commands(block)]
    assert len(typed) == 9
    for words in typed:
        assert words[0] == "orbitloop"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
    assert SlotStore(FileFlash.on(tmp_path / "flash")).active().version == 2
    assert open_model(tmp_path / "models/updated").digest == open_model(tmp_path / "models/patched").digest
