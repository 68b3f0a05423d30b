"""The parts that both graph writers share: nodes, constants, named external weights, the decoding of the output maps, the file.

The graphs are written node by node from the layer table rather than traced: the same bytes every time, no torch, and no
exporter's rewrites between what was trained and what flies. Opset 17. `export` writes the float form, `export_int8` the one
that flies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from orbitloop.records.model import METADATA_KEY, WEIGHTS_FILE, ModelMetadata

OPSET = 17


class GraphWriter:
    """Collects the nodes and tensors of one graph, in order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], out: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def split(self, source: str, sizes: str, outs: Sequence[str], axis: int) -> None:
        """Add a Split."""
        self.nodes.append(helper.make_node("Split", [source, sizes], list(outs), axis=axis))

    def constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        """Add a tensor that travels inside the graph; return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def pool(self, kind: str, source: str, out: str) -> str:
        """Add Darknet's 2 x 2 max-pool: `pool` of stride 2, `pool1` of stride 1."""
        if kind == "pool":
            return self.node("MaxPool", [source], out, kernel_shape=[2, 2], strides=[2, 2])
        # ONNX MaxPool pads with -inf, which is what the torch network does in full.
        return self.node("MaxPool", [source], out, kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])

    def upsample(self, source: str, out: str) -> str:
        """Add a nearest-neighbour enlargement by two."""
        scales = self.constant(f"{out}.scales", np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.node("Resize", [source, "", scales], out, **how)

    def decode(self, source: str, level: int, metadata: ModelMetadata) -> str:
        """Decode one output map: xy = (2 s - 0.5 + cell) * stride, wh = (2 s)^2 * anchor (Scaled-YOLOv4, YOLOv5)."""
        stride = metadata.strides[level]
        cells = metadata.preprocessing.tile_px // stride
        fields = 5 + len(metadata.classes)
        tag = f"d{level}"
        ys, xs = np.mgrid[0:cells, 0:cells].astype(np.float32)
        grid = (np.stack([xs, ys], axis=-1)[None, None] - 0.5) * stride
        anchors = np.array(metadata.anchors_px[level], np.float32).reshape(1, -1, 1, 1, 2) * 4
        split = self.constant(f"{tag}.split", np.array([2, 2, fields - 4], np.int64))
        shape = self.constant(f"{tag}.shape", np.array([-1, len(metadata.anchors_px[level]), fields, cells, cells], np.int64))
        flat = self.constant(f"{tag}.flat", np.array([0, -1, fields], np.int64))
        map5 = self.node("Reshape", [source, shape], f"{tag}.map")
        prob = self.node("Sigmoid", [self.node("Transpose", [map5], f"{tag}.t", perm=[0, 1, 3, 4, 2])], f"{tag}.s")
        self.split(prob, split, [f"{tag}.xy", f"{tag}.wh", f"{tag}.p"], axis=4)
        two = self.constant(f"{tag}.two", np.array(2.0 * stride, np.float32))
        xy = self.node(
            "Add", [self.node("Mul", [f"{tag}.xy", two], f"{tag}.xy2"), self.constant(f"{tag}.grid", grid)], f"{tag}.xyo"
        )
        square = self.node("Mul", [f"{tag}.wh", f"{tag}.wh"], f"{tag}.wh2")
        wh = self.node("Mul", [square, self.constant(f"{tag}.anchors", anchors)], f"{tag}.who")
        return self.node("Reshape", [self.node("Concat", [xy, wh, f"{tag}.p"], f"{tag}.cat", axis=4), flat], f"{tag}.out")

    def finish(
        self,
        metadata: ModelMetadata,
        levels: Sequence[str],
        embedding: str,
        image: onnx.ValueInfoProto,
        tensors: Mapping[str, npt.NDArray[Any]],
    ) -> bytes:
        """Return the model's bytes.

        Args:
            metadata: travels inside.
            levels: the decoded maps, which become `pred`.
            embedding: the map whose mean becomes `embedding`.
            image: the input.
            tensors: named weights, fed in by the runtime; only their shapes and dtypes are read.
        """
        self.node("Concat", levels, "pred", axis=1)
        self.node("ReduceMean", [embedding], "embedding", axes=[2, 3], keepdims=0)
        graph = helper.make_graph(
            self.nodes,
            "yolov3-tiny",
            [image],
            [
                helper.make_tensor_value_info("pred", TensorProto.FLOAT, ["batch", None, 5 + len(metadata.classes)]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]),
            ],
            [*(_external(name, array) for name, array in sorted(tensors.items())), *self.constants],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="orbitloop")
        model.ir_version = 8
        helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata.to_json(), sort_keys=True)})
        return bytes(model.SerializeToString(deterministic=True))


def _external(name: str, array: npt.NDArray[Any]) -> TensorProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, data_location=TensorProto.EXTERNAL, dims=list(array.shape))
    tensor.external_data.add(key="location", value=WEIGHTS_FILE)
    return tensor
