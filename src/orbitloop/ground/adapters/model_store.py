"""Trained models on disk, by what they were trained from: the same data, settings and seed are never trained twice.

A model is a folder of two files (`records.model`), written to a spare name first and renamed when complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from orbitloop.errors import ModelError
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

Weights = dict[str, npt.NDArray[np.float32]]


def cache_dir() -> Path:
    """Return where models are cached: `$ORBITLOOP_CACHE`, else `~/.cache/orbitloop`."""
    chosen = os.environ.get("ORBITLOOP_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "orbitloop"


def save_model(folder: Path, graph: bytes, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write a model folder; it appears whole or not at all. An existing one is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    spare = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (spare / GRAPH_FILE).write_bytes(graph)
        save_file({n: np.ascontiguousarray(weights[n]) for n in sorted(weights)}, spare / WEIGHTS_FILE)
        if folder.exists():
            shutil.rmtree(folder)
        spare.rename(folder)
    except BaseException:
        shutil.rmtree(spare, ignore_errors=True)
        raise


def load_model(folder: Path) -> tuple[bytes, Weights]:
    """Read a model folder: the graph's bytes and the weights.

    Raises:
        ModelError: a file is missing or malformed.
    """
    try:
        return (folder / GRAPH_FILE).read_bytes(), dict(load_file(folder / WEIGHTS_FILE))
    except FileNotFoundError as error:
        raise ModelError(
            f"no model here: {Path(str(error.filename)).name} is missing",
            where=str(folder),
            remedy="train one with `orbitloop train`",
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights cannot be read ({error})", where=str(folder)) from error
