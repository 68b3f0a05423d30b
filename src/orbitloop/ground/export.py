"""Write the graph that flies: YOLOv3-tiny with decoding inside and its weights apart.

The graph names its weights and declares them external, so the runtime is fed whatever safetensors file the active slot holds
and an update touches named tensors without a new export. Tile size, overlap, normalisation, anchors and thresholds travel in
the graph's own metadata (`ModelMetadata`), so that preprocessing can never differ from training.

The graph is written node by node from the layer table rather than traced: it is the same bytes every time, needs no torch, and
leaves no exporter's rewrites between what was trained and what flies. Opset 17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from orbitloop.ground.topology import BN_EPSILON, EMBEDDING_LAYER, LEAKY_SLOPE, SKIP_LAYER, Layer, layers
from orbitloop.records.model import METADATA_KEY, WEIGHTS_FILE, ModelMetadata

OPSET = 17


def write_graph(metadata: ModelMetadata, weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Return the ONNX graph, weights left out.

    Args:
        metadata: classes, width, anchors, strides and preprocessing.
        weights: named tensors; only their shapes are read.

    Returns:
        Bytes of an ONNX model with input `image` (B, 3, S, S) float32 in 0..1 and outputs `pred` (B, A, 5 + C): cx, cy, w, h
        in tile pixels, objectness, class probabilities; and `embedding` (B, D).
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []
    names: dict[int, str] = {-1: "image"}
    levels: list[str] = []
    for layer in layers(metadata.width, len(metadata.classes)):
        if layer.kind == "yolo":
            level = len(levels)
            levels.append(_decode(nodes, constants, names[layer.source], level, metadata))
        else:
            names[layer.index] = _layer(nodes, constants, layer, names)
    nodes.append(helper.make_node("Concat", levels, ["pred"], axis=1))
    nodes.append(helper.make_node("ReduceMean", [names[EMBEDDING_LAYER]], ["embedding"], axes=[2, 3], keepdims=0))
    size = metadata.preprocessing.tile_px
    graph = helper.make_graph(
        nodes,
        "yolov3-tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])],
        [
            helper.make_tensor_value_info("pred", TensorProto.FLOAT, ["batch", None, 5 + len(metadata.classes)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]),
        ],
        [*(_external(name, array.shape) for name, array in sorted(weights.items())), *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="orbitloop")
    model.ir_version = 8
    helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata.to_json(), sort_keys=True)})
    return bytes(model.SerializeToString(deterministic=True))


def _external(name: str, shape: tuple[int, ...]) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=list(shape))
    tensor.external_data.add(key="location", value=WEIGHTS_FILE)
    return tensor


def _constant(constants: list[TensorProto], name: str, value: npt.NDArray[np.generic]) -> str:
    constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _layer(nodes: list[onnx.NodeProto], constants: list[TensorProto], layer: Layer, names: dict[int, str]) -> str:
    source, out = names[layer.source], f"l{layer.index:02d}"
    if layer.kind == "conv":
        pad = layer.kernel // 2
        nodes.append(helper.make_node("Conv", [source, f"{layer.conv}.weight"], [f"{out}c"], pads=[pad] * 4))
        parts = [f"{layer.bn}.{p}" for p in ("weight", "bias", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", [f"{out}c", *parts], [f"{out}n"], epsilon=BN_EPSILON))
        nodes.append(helper.make_node("LeakyRelu", [f"{out}n"], [out], alpha=LEAKY_SLOPE))
    elif layer.kind == "output":
        nodes.append(helper.make_node("Conv", [source, f"{layer.conv}.weight", f"{layer.conv}.bias"], [out]))
    elif layer.kind == "pool":
        nodes.append(helper.make_node("MaxPool", [source], [out], kernel_shape=[2, 2], strides=[2, 2]))
    elif layer.kind == "pool1":
        # ONNX MaxPool pads with -inf, which is what the torch network does in full.
        nodes.append(helper.make_node("MaxPool", [source], [out], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]))
    elif layer.kind == "upsample":
        scales = _constant(constants, f"{out}.scales", np.array([1, 1, 2, 2], np.float32))
        nodes.append(
            helper.make_node(
                "Resize",
                [source, "", scales],
                [out],
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        )
    elif layer.kind == "concat":
        nodes.append(helper.make_node("Concat", [source, names[SKIP_LAYER]], [out], axis=1))
    else:
        return source
    return out


def _decode(nodes: list[onnx.NodeProto], constants: list[TensorProto], source: str, level: int, metadata: ModelMetadata) -> str:
    """Add the decoding of one output map: xy = (2 s - 0.5 + cell) * stride, wh = (2 s)^2 * anchor (Scaled-YOLOv4, YOLOv5)."""
    stride = metadata.strides[level]
    cells = metadata.preprocessing.tile_px // stride
    fields = 5 + len(metadata.classes)
    tag = f"d{level}"

    def node(op: str, inputs: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    ys, xs = np.mgrid[0:cells, 0:cells].astype(np.float32)
    grid = (np.stack([xs, ys], axis=-1)[None, None] - 0.5) * stride
    anchors = np.array(metadata.anchors_px[level], np.float32).reshape(1, -1, 1, 1, 2) * 4
    split = _constant(constants, f"{tag}.split", np.array([2, 2, fields - 4], np.int64))
    shape = _constant(
        constants, f"{tag}.shape", np.array([-1, len(metadata.anchors_px[level]), fields, cells, cells], np.int64)
    )
    flat = _constant(constants, f"{tag}.flat", np.array([0, -1, fields], np.int64))
    map5 = node("Reshape", [source, shape], f"{tag}.map")
    prob = node("Sigmoid", [node("Transpose", [map5], f"{tag}.t", perm=[0, 1, 3, 4, 2])], f"{tag}.s")
    nodes.append(helper.make_node("Split", [prob, split], [f"{tag}.xy", f"{tag}.wh", f"{tag}.p"], axis=4))
    two = _constant(constants, f"{tag}.two", np.array(2.0 * stride, np.float32))
    xy = node("Add", [node("Mul", [f"{tag}.xy", two], f"{tag}.xy2"), _constant(constants, f"{tag}.grid", grid)], f"{tag}.xyo")
    square = node("Mul", [f"{tag}.wh", f"{tag}.wh"], f"{tag}.wh2")
    wh = node("Mul", [square, _constant(constants, f"{tag}.anchors", anchors)], f"{tag}.who")
    return node("Reshape", [node("Concat", [xy, wh, f"{tag}.p"], f"{tag}.cat", axis=4), flat], f"{tag}.out")
