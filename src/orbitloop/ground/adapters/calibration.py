"""What activations look like on real tiles: run the float graph by ONNX Runtime and sample what each convolution gives.

Values are taken where the int8 graph rounds them: before the leaky ReLU, and after the pool where that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from orbitloop.errors import ExportError
from orbitloop.ground.export import write_graph
from orbitloop.ground.export_int8 import POOL_FIRST
from orbitloop.ground.quantise import Activations
from orbitloop.ground.topology import layers
from orbitloop.records.model import ModelMetadata

VALUES_PER_TILE = 4096
Weights = Mapping[str, npt.NDArray[np.float32]]


def observe_activations(
    metadata: ModelMetadata, weights: Weights, tiles: Sequence[npt.NDArray[np.uint8]], *, seed: int = 0, threads: int = 1
) -> dict[int, Activations]:
    """Return what each convolution gave on the tiles, by layer number.

    Args:
        metadata: of the float model.
        weights: its tensors.
        tiles: (S, S, 3) uint8 RGB each, as they come to the network on board.
        seed: draws which values are kept, some thousands per tile and layer.
        threads: of the runtime.

    Raises:
        ExportError: there is no tile.
    """
    if not tiles:
        raise ExportError("no tile to calibrate on", remedy="give at least one scene of the model's own domains")
    convs = [layer for layer in layers(metadata.width, len(metadata.classes)) if layer.kind == "conv"]
    names = [f"l{layer.index:02d}n" for layer in convs]
    session = _session(metadata, weights, names, threads)
    rng = np.random.default_rng(seed)
    kept: dict[int, list[npt.NDArray[np.float32]]] = {layer.index: [] for layer in convs}
    extremes = {layer.index: (np.inf, -np.inf) for layer in convs}
    for tile in tiles:
        for layer, values in zip(convs, session.run(names, {"image": _planes(tile)}), strict=True):
            seen = _pooled(values) if layer.index in POOL_FIRST else values
            low, high = extremes[layer.index]
            extremes[layer.index] = min(low, float(seen.min())), max(high, float(seen.max()))
            kept[layer.index].append(seen.reshape(-1)[rng.integers(0, seen.size, VALUES_PER_TILE)])
    return {index: Activations(np.concatenate(rows), *extremes[index]) for index, rows in kept.items()}


def _session(metadata: ModelMetadata, weights: Weights, names: Sequence[str], threads: int) -> ort.InferenceSession:
    model = onnx.load_from_string(write_graph(metadata, weights))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _planes(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tile.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _pooled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the 2 x 2 maxima of (1, C, H, W), H and W even."""
    rows = np.maximum(values[:, :, 0::2], values[:, :, 1::2])
    return np.maximum(rows[..., 0::2], rows[..., 1::2])
