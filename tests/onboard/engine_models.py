"""Small models as the exporters write them, float and int8, for the tests of engines; no torch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.ground.adapters.calibration import observe_activations
from orbitloop.ground.export import write_graph
from orbitloop.ground.export_int8 import write_int8_graph
from orbitloop.ground.quantise import quantise
from orbitloop.ground.topology import layers
from orbitloop.records.model import FLOAT32, INT8, ModelMetadata, Preprocessing

SIDE = 96
FORMS = (FLOAT32, INT8)
ANCHORS = (((50.0, 60.0), (90.0, 70.0), (120.0, 130.0)), ((10.0, 12.0), (20.0, 16.0), (30.0, 28.0)))
CLASSES = ("one", "two")
WIDTH = 0.05
Tensors = dict[str, npt.NDArray[Any]]


def metadata(form: str = FLOAT32) -> ModelMetadata:
    return ModelMetadata("fields", CLASSES, WIDTH, (32, 16), ANCHORS, Preprocessing(SIDE, 16), form)


@cache
def _float_weights() -> Tensors:
    """Weights with lively batch-norms, and outputs that see something in most places, so that boxes are compared too."""
    rng = np.random.default_rng(3)
    made: Tensors = {}
    for layer in layers(WIDTH, len(CLASSES)):
        if not layer.tensors:
            continue
        fan_in = layer.in_channels * layer.kernel**2
        shape = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
        made[f"{layer.conv}.weight"] = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        if layer.kind == "output":
            made[f"{layer.conv}.bias"] = rng.normal(0, 1, layer.out_channels).astype(np.float32)
            continue
        for part, low, high in (("weight", 0.6, 1.4), ("bias", -0.4, 0.4), ("mean", -0.3, 0.3), ("var", 0.5, 2.0)):
            made[f"{layer.bn}.{part}"] = rng.uniform(low, high, layer.out_channels).astype(np.float32)
    return made


@cache
def _int8_weights() -> Tensors:
    seen = observe_activations(metadata(), _float_weights(), list(tiles(8, seed=5)))
    return quantise(WIDTH, len(CLASSES), _float_weights(), seen)


def weights(form: str = FLOAT32) -> Tensors:
    """Return fresh copies, for a test to damage."""
    return {name: array.copy() for name, array in (_int8_weights() if form == INT8 else _float_weights()).items()}


def graph(form: str = FLOAT32, about: ModelMetadata | None = None) -> bytes:
    write = write_int8_graph if form == INT8 else write_graph
    return write(about or metadata(form), weights(form))


def tiles(count: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(0, 9, (count, SIDE, SIDE, 3)), axis=1) + 128
    return np.clip(smooth, 0, 255).astype(np.uint8)
