"""Write the float graph: YOLOv3-tiny with decoding inside and its weights apart, as it was trained.

The graph names its weights and declares them external, so the runtime is fed whatever safetensors file the active slot holds
and an update touches named tensors without a new export. Tile size, overlap, normalisation, anchors and thresholds travel in
the graph's own metadata (`ModelMetadata`), so that preprocessing can never differ from training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from orbitloop.ground.graph import GraphWriter
from orbitloop.ground.topology import BN_EPSILON, EMBEDDING_LAYER, LEAKY_SLOPE, SKIP_LAYER, Layer, layers
from orbitloop.records.model import ModelMetadata


def write_graph(metadata: ModelMetadata, weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Return the ONNX graph, weights left out.

    Args:
        metadata: classes, width, anchors, strides and preprocessing.
        weights: named tensors; only their shapes are read.

    Returns:
        Bytes of an ONNX model with input `image` (B, 3, S, S) float32 in 0..1 and outputs `pred` (B, A, 5 + C): cx, cy, w, h
        in tile pixels, objectness, class probabilities; and `embedding` (B, D).
    """
    graph = GraphWriter()
    names: dict[int, str] = {-1: "image"}
    levels: list[str] = []
    for layer in layers(metadata.width, len(metadata.classes)):
        if layer.kind == "yolo":
            levels.append(graph.decode(names[layer.source], len(levels), metadata))
        else:
            names[layer.index] = _layer(graph, layer, names)
    size = metadata.preprocessing.tile_px
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])
    return graph.finish(metadata, levels, names[EMBEDDING_LAYER], image, weights)


def _layer(graph: GraphWriter, layer: Layer, names: dict[int, str]) -> str:
    source, out = names[layer.source], f"l{layer.index:02d}"
    if layer.kind == "conv":
        graph.node("Conv", [source, f"{layer.conv}.weight"], f"{out}c", pads=[layer.kernel // 2] * 4)
        parts = [f"{layer.bn}.{p}" for p in ("weight", "bias", "mean", "var")]
        graph.node("BatchNormalization", [f"{out}c", *parts], f"{out}n", epsilon=BN_EPSILON)
        return graph.node("LeakyRelu", [f"{out}n"], out, alpha=LEAKY_SLOPE)
    if layer.kind == "output":
        return graph.node("Conv", [source, f"{layer.conv}.weight", f"{layer.conv}.bias"], out)
    if layer.kind in ("pool", "pool1"):
        return graph.pool(layer.kind, source, out)
    if layer.kind == "upsample":
        return graph.upsample(source, out)
    if layer.kind == "concat":
        return graph.node("Concat", [source, names[SKIP_LAYER]], out, axis=1)
    return source
