"""Write the int8 graph, the form that flies: integer convolutions, scales and biases as named tensors beside the graph.

Activations are uint8 with one scale and zero point, weights int8 with one scale per output channel and no zero point (the U8S8
scheme of ONNX Runtime; Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", arXiv 1712.05877). Quantisation is written as QuantizeLinear and DequantizeLinear pairs (QDQ), which every runtime
fuses into its own integer kernels. What the runtime derives from the named tensors (int32 biases, the stem's weights) is
written as nodes over them, which it folds when the session is built: an update moves the tensors and never the graph.

Three rewrites make it fast, and change nothing that is computed:

- The image goes in as 2 x 2 blocks of 12 values (space to depth; YOLOv5's Focus), of a grid that is shifted by one pixel. The
  4 x 4 pixels that a pool window of the first convolution reads are then 2 x 2 blocks, and the convolution with its pool
  becomes one of 64 channels, the four outputs of each pool window beside each other. Three input channels leave integer
  kernels idle: they took 4.7 of 10.5 ms.
- The pool comes before the leaky ReLU where it follows at stride 2: the ReLU is monotonic, so their order is free, and it then
  touches a quarter of the values.
- The two output convolutions stay in float32: 1 % of the work, and all of the box's precision.

Named tensors, NN = the layer: `convNN.weight` int8 (O, I, k, k), `convNN.scale` and `convNN.bias` float32 (O,), batch-norm
folded in; `preNN.*` and `actNN.*`, each `scale` float32 () and `zero` uint8 (), before and after the leaky ReLU; `act20.*` of
the concatenation; the output convolutions as in the float form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from orbitloop.ground.graph import GraphWriter
from orbitloop.ground.topology import EMBEDDING_LAYER, LEAKY_SLOPE, SKIP_LAYER, Layer, layers
from orbitloop.records.model import ModelMetadata

POOL_FIRST = (0, 2, 4, 6)
"""Layers whose stride-2 pool is taken before their leaky ReLU; layer 8 is read at both sizes."""
INPUT_SCALE = np.float32(1 / 255)


def write_int8_graph(metadata: ModelMetadata, tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the ONNX graph, weights left out.

    Args:
        metadata: classes, width, anchors, strides and preprocessing; its form is int8.
        tensors: the named tensors of the int8 form; only their shapes and dtypes are read.

    Returns:
        Bytes of an ONNX model with input `blocks` (B, S/2 + 1, S/2 + 1, 12) uint8 and the float form's outputs.
    """
    writer = _Int8Writer(metadata)
    blocks = metadata.preprocessing.tile_px // 2 + 1
    levels: list[str] = []
    for layer in layers(metadata.width, len(metadata.classes)):
        if layer.kind == "yolo":
            levels.append(writer.graph.decode(writer.names[layer.source], len(levels), metadata))
        else:
            writer.layer(layer)
    image = helper.make_tensor_value_info("blocks", TensorProto.UINT8, ["batch", blocks, blocks, 12])
    return writer.graph.finish(metadata, levels, writer.names[EMBEDDING_LAYER], image, tensors)


class _Int8Writer:
    """Writes layer by layer; `names` holds each layer's dequantised output, `scales` the name of its scale."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self.graph = GraphWriter()
        self.half = metadata.preprocessing.tile_px // 2
        self.names: dict[int, str] = {}
        self.scales: dict[int, str] = {}

    def layer(self, layer: Layer) -> None:
        graph, index, out = self.graph, layer.index, f"l{layer.index:02d}"
        if layer.kind == "conv":
            self._conv(layer)
        elif layer.kind == "output":
            self.names[index] = graph.node(
                "Conv", [self.names[layer.source], f"{layer.conv}.weight", f"{layer.conv}.bias"], out
            )
        elif layer.kind in ("pool", "pool1"):
            self.scales[index] = self.scales[layer.source]
            pooled = layer.source in POOL_FIRST
            scale = self.scales[layer.source].removesuffix(".scale")
            source = self.names[layer.source]
            self.names[index] = source if pooled else self._requantise(graph.pool(layer.kind, source, f"{out}m"), scale, out)
        elif layer.kind == "upsample":
            source = self.scales[layer.source].removesuffix(".scale")
            grown = graph.upsample(self.names[layer.source], f"{out}u")
            self.names[index], self.scales[index] = self._requantise(grown, source, out), self.scales[layer.source]
        elif layer.kind == "concat":
            joined = graph.node("Concat", [self.names[layer.source], self.names[SKIP_LAYER]], f"{out}j", axis=1)
            self.names[index], self.scales[index] = self._requantise(joined, f"act{index}", out), f"act{index}.scale"
        else:
            self.names[index], self.scales[index] = self.names[layer.source], self.scales.get(layer.source, "")

    def _requantise(self, source: str, points: str, out: str) -> str:
        """Round to uint8 by the named scale and zero point, and read back."""
        graph, pair = self.graph, [f"{points}.scale", f"{points}.zero"]
        return graph.node("DequantizeLinear", [graph.node("QuantizeLinear", [source, *pair], f"{out}q"), *pair], out)

    def _conv(self, layer: Layer) -> None:
        graph, index, out = self.graph, layer.index, f"l{layer.index:02d}"
        pre, act = f"pre{index:02d}", f"act{index:02d}"
        if index == 0:
            pooled = self._stem(layer)
        else:
            weight = f"{layer.conv}.weight", f"{layer.conv}.scale", f"{layer.conv}.bias"
            raw = self._integer_conv(self.names[layer.source], self.scales[layer.source], weight, layer.kernel // 2, out)
            pooled = self._requantise(raw, pre, f"{out}p")
            if index in POOL_FIRST:
                pooled = self._requantise(graph.pool("pool", pooled, f"{out}m"), pre, f"{out}mp")
        active = graph.node("LeakyRelu", [pooled], f"{out}a", alpha=LEAKY_SLOPE)
        self.names[index], self.scales[index] = self._requantise(active, act, out), f"{act}.scale"

    def _integer_conv(self, source: str, scale: str, names: tuple[str, str, str], pad: int, out: str) -> str:
        """Add a convolution over dequantised input, weights and bias, which runtimes fuse; return its float output's name."""
        graph, (weight, weight_scale, bias) = self.graph, names
        product = graph.node("Mul", [weight_scale, scale], f"{out}bs")
        whole = graph.node("Round", [graph.node("Div", [bias, product], f"{out}bf")], f"{out}br")
        integer = graph.node("Cast", [whole], f"{out}bi", to=TensorProto.INT32)
        parts = [
            graph.node("DequantizeLinear", [weight, weight_scale], f"{out}w", axis=0),
            graph.node("DequantizeLinear", [integer, product], f"{out}b", axis=0),
        ]
        return graph.node("Conv", [source, *parts], f"{out}c", pads=[pad] * 4)

    def _stem(self, layer: Layer) -> str:
        """Add the first convolution with its pool, over 2 x 2 blocks; return the pooled pre-activation."""
        graph, pair = self.graph, ["pre00.scale", "pre00.zero"]
        scale, zero = graph.constant("input.scale", INPUT_SCALE), graph.constant("input.zero", np.uint8(0))
        planes = graph.node("Transpose", ["blocks"], "in", perm=[0, 3, 1, 2])
        image = graph.node("DequantizeLinear", [planes, scale, zero], "image")
        steps, bias = (graph.node("Concat", [f"{layer.conv}.{p}"] * 4, f"stem.{p}", axis=0) for p in ("scale", "bias"))
        raw = self._integer_conv(image, scale, (self._stem_weights(layer), steps, bias), 0, "l00")
        rounded = graph.node("QuantizeLinear", [raw, *pair], "l00pq")
        # (B, 64, h, w) in memory order (B, h, w, 4, 16): the four candidates of a pool window lie in a row.
        row = graph.constant("stem.row", np.array([0, self.half, 4 * self.half, layer.out_channels], np.int64))
        last = graph.node("Transpose", [rounded], "l00pl", perm=[0, 2, 3, 1])
        beside = graph.node("Transpose", [graph.node("Reshape", [last, row], "l00pr")], "l00pb", perm=[0, 3, 1, 2])
        best = graph.node("MaxPool", [beside], "l00pm", kernel_shape=[1, 4], strides=[1, 4])
        return graph.node("DequantizeLinear", [best, *pair], "l00p")

    def _stem_weights(self, layer: Layer) -> str:
        """Derive (4 O, 12, 2, 2) of (O, 3, 3, 3): the kernel at each pixel of a pool window, over 4 x 4 pixels in blocks."""
        graph, placed = self.graph, []
        for dy in (0, 1):
            for dx in (0, 1):
                pads = np.array([0, 0, dy, dx, 0, 0, 1 - dy, 1 - dx], np.int64)
                name = graph.constant(f"stem.pads{dy}{dx}", pads)
                placed.append(graph.node("Pad", [f"{layer.conv}.weight", name], f"stem.at{dy}{dx}"))
        wide = graph.node("Concat", placed, "stem.wide", axis=0)
        rows = 4 * layer.out_channels
        cut = graph.constant("stem.cut", np.array([rows, 3, 2, 2, 2, 2], np.int64))
        blocks = graph.node("Transpose", [graph.node("Reshape", [wide, cut], "stem.c6")], "stem.c6t", perm=[0, 3, 5, 1, 2, 4])
        flat = graph.constant("stem.flat", np.array([rows, 12, 2, 2], np.int64))
        return graph.node("Reshape", [blocks, flat], "stem.weight")
