"""Trained models on disk, by what they were trained from: the same data, settings and seed are never trained twice.

A model is a folder of two files (`records.model`), written to a spare name first and renamed when complete.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from orbitloop.errors import ModelError
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

Weights = dict[str, npt.NDArray[Any]]
_DTYPES = ("float32", "int8", "uint8", "int32")
_REMEDY = "delete the folder; it is made again when it is needed"


def cache_dir() -> Path:
    """Return where models are cached: `$ORBITLOOP_CACHE`, else `~/.cache/orbitloop`."""
    chosen = os.environ.get("ORBITLOOP_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "orbitloop"


def save_model(folder: Path, graph: bytes, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a model folder; it appears whole or not at all. An existing one is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose folders are closed to all others: a model may serve another user's process.
    spare = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    spare.mkdir()
    try:
        (spare / GRAPH_FILE).write_bytes(graph)
        (spare / WEIGHTS_FILE).write_bytes(save({n: np.asarray(weights[n], order="C") for n in sorted(weights)}))
        try:
            spare.rename(folder)
        except OSError:  # an earlier one stands there, or that of another process that was faster
            shutil.rmtree(folder, ignore_errors=True)
            spare.rename(folder)
    except BaseException:
        shutil.rmtree(spare, ignore_errors=True)
        raise


def load_model(folder: Path) -> tuple[bytes, Weights]:
    """Read a model folder: the graph's bytes and the weights.

    Raises:
        ModelError: a file is missing or malformed.
    """
    lost = [name for name in (GRAPH_FILE, WEIGHTS_FILE) if not (folder / name).exists()]
    if lost:
        raise ModelError(f"no model here: {lost[0]} is missing", where=str(folder), remedy="train one with `orbitloop train`")
    try:
        graph, weights = (folder / GRAPH_FILE).read_bytes(), dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, TypeError, ValueError, KeyError) as error:  # numpy has no word for some dtypes
        raise ModelError(f"model cannot be read ({error})", where=str(folder), remedy=_REMEDY) from error
    odd = sorted(name for name, array in weights.items() if array.dtype.name not in _DTYPES)
    if odd:
        what = f"tensor {odd[0]} is {weights[odd[0]].dtype}, none of {', '.join(_DTYPES)}"
        raise ModelError(what, where=str(folder), remedy=_REMEDY)
    return graph, weights
