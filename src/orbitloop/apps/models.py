"""Models as folders, opened for use and stored: where the graph and weights of `records.model` meet runtime and disk.

Reading is bounded and needs no torch, so that detecting on the ground starts as fast as on board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbitloop.apps.detector_files import read_bounded
from orbitloop.errors import ModelError, OrbitloopError, StateError
from orbitloop.ground.adapters.model_store import cache_dir, save_model
from orbitloop.onboard.adapters.engines import DEFAULT_ENGINE, installed_engines, loads, open_engine
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.weights import MAX_WEIGHTS_BYTES, load_weights
from orbitloop.records.ids import digest_tensors
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

Weights = dict[str, npt.NDArray[np.float32]]

MAX_GRAPH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class OpenModel:
    """A model that runs. `digest` is of the weights, as updates name it."""

    graph: bytes
    weights: Weights
    digest: str
    engine: Engine


def open_model(folder: Path, threads: int = 1, engine: str = DEFAULT_ENGINE) -> OpenModel:
    """Open a model folder (`graph.onnx`, `weights.safetensors`) with one of `onboard.adapters.engines.ENGINES`.

    Raises:
        ModelError: a file is missing, malformed or absurdly large, the two do not fit each other, or there is no such engine.
    """
    graph = read_bounded(folder / GRAPH_FILE, MAX_GRAPH_BYTES)
    data = read_bounded(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    try:
        weights = load_weights(data)
    except OrbitloopError as error:
        raise ModelError(error.what, where=str(folder / WEIGHTS_FILE), remedy="train the model again") from error
    opened = open_engine(engine, graph, weights, threads=threads, where=str(folder))
    return OpenModel(graph, weights, digest_tensors(weights), opened)


def engine_versions() -> dict[str, str]:
    """Return the version of each engine that is installed, by name, with why it does not load where it does not."""
    return {name: f"broken ({why})" if (why := loads(name)) else version for name, version in installed_engines().items()}


def check_folder(folder: Path) -> None:
    """See that a model may be written to a folder: it is absent, empty, or holds an earlier model.

    Raises:
        StateError: it holds something else, which would be lost.
    """
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} - {GRAPH_FILE, WEIGHTS_FILE}:
        raise StateError("the folder holds more than a model", where=str(folder), remedy="name another --out")


def store_model(folder: Path, graph: bytes, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write a model folder, whole or not at all; only an earlier model is replaced, never a folder with other things in it.

    Raises:
        StateError: the folder holds something else, or cannot be written.
    """
    check_folder(folder)
    try:
        save_model(folder, graph, weights)
    except OSError as error:
        raise StateError(
            f"the model cannot be written ({error.strerror})", where=str(folder), remedy="free space, or name another --out"
        ) from error


def cache_folder() -> Path:
    """Return where trained models are kept."""
    return cache_dir()
