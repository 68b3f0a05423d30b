"""YOLOv3-tiny as a table: which layers there are, what their tensors are called, and which of them a partition names.

The table is read three times: by the torch network that trains, by the ONNX writer, and by whoever chooses what to move.
Layer numbers are Darknet's (yolov3-tiny.cfg, 24 layers). Backbone = layers 0 to 12, head = 13 to 23, as the seeds split it.
Redmon and Farhadi, "YOLOv3: An Incremental Improvement", arXiv 1804.02767; AlexeyAB/darknet cfg/yolov3-tiny.cfg.

    0 conv16  1 pool  2 conv32  3 pool  4 conv64  5 pool  6 conv128  7 pool  8 conv256  9 pool  10 conv512  11 pool/1
    12 conv1024  13 conv256 1x1  14 conv512  15 output (stride 32)  16 yolo
    17 route 13  18 conv128 1x1  19 upsample  20 route 19 + 8  21 conv256  22 output (stride 16)  23 yolo
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from orbitloop.errors import ManifestError

STRIDES = (32, 16)
ANCHORS_PER_STRIDE = 3
BACKBONE_END = 12
SKIP_LAYER = 8
EMBEDDING_LAYER = 12
OUTPUT_LAYERS = (15, 22)
LEAKY_SLOPE = 0.1
BN_EPSILON = 1e-5

Kind = Literal["conv", "output", "pool", "pool1", "route", "upsample", "concat", "yolo"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One Darknet layer. `source` is the layer whose output it reads (a second one for `concat` is always `SKIP_LAYER`)."""

    index: int
    kind: Kind
    source: int
    in_channels: int = 0
    out_channels: int = 0
    kernel: int = 0

    @property
    def conv(self) -> str:
        return f"conv{self.index:02d}"

    @property
    def bn(self) -> str:
        return f"bn{self.index:02d}"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the layer's tensors, as they stand in the weights file."""
        if self.kind == "conv":
            return (f"{self.conv}.weight", *(f"{self.bn}.{part}" for part in ("weight", "bias", "mean", "var")))
        if self.kind == "output":
            return (f"{self.conv}.weight", f"{self.conv}.bias")
        return ()


def scaled(channels: int, width: float) -> int:
    """Scale a channel count by the width factor, in steps of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


def layers(width: float, classes: int) -> tuple[Layer, ...]:
    """Return the 24 layers for a width factor and a number of classes (width 1, one class: 8,669,876 parameters)."""
    out = ANCHORS_PER_STRIDE * (5 + classes)
    c16, c32, c64, c128, c256, c512, c1024 = (scaled(c, width) for c in (16, 32, 64, 128, 256, 512, 1024))
    return (
        Layer(0, "conv", -1, 3, c16, 3),
        Layer(1, "pool", 0),
        Layer(2, "conv", 1, c16, c32, 3),
        Layer(3, "pool", 2),
        Layer(4, "conv", 3, c32, c64, 3),
        Layer(5, "pool", 4),
        Layer(6, "conv", 5, c64, c128, 3),
        Layer(7, "pool", 6),
        Layer(8, "conv", 7, c128, c256, 3),
        Layer(9, "pool", 8),
        Layer(10, "conv", 9, c256, c512, 3),
        Layer(11, "pool1", 10),
        Layer(12, "conv", 11, c512, c1024, 3),
        Layer(13, "conv", 12, c1024, c256, 1),
        Layer(14, "conv", 13, c256, c512, 3),
        Layer(15, "output", 14, c512, out, 1),
        Layer(16, "yolo", 15),
        Layer(17, "route", 13),
        Layer(18, "conv", 17, c256, c128, 1),
        Layer(19, "upsample", 18),
        Layer(20, "concat", 19),
        Layer(21, "conv", 20, c128 + c256, c256, 3),
        Layer(22, "output", 21, c256, out, 1),
        Layer(23, "yolo", 22),
    )


def tensor_names() -> tuple[str, ...]:
    """Return every tensor's name, in layer order (the names do not depend on the width)."""
    return tuple(name for layer in layers(1.0, 1) for name in layer.tensors)


def layer_of(tensor: str) -> int:
    """Return the layer number that stands in a tensor's name (`conv08.weight` -> 8)."""
    return int(tensor.split(".", 1)[0][-2:])


def partition(terms: Sequence[str], where: str = "spec.trainable") -> tuple[str, ...]:
    """Resolve partition terms to the tensors they name, in layer order.

    Args:
        terms: `all`, `head` (the seeds' choice: all but the backbone), `backbone`, `bn` (every batch-norm), `outputs` (the two
            output convolutions), `early:N` (the first N convolutions), or a glob over tensor names such as `conv0*.weight`.
        where: the field, for the error.

    Raises:
        ManifestError: a term names no tensor.
    """
    chosen: set[str] = set()
    for term in terms:
        matched = set(_tensors_of(term))
        if not matched:
            raise ManifestError(
                f"partition term {term!r} names no tensor",
                where=where,
                remedy="use all, head, backbone, bn, outputs, early:N (1 to 11) or a glob such as 'conv0*.weight'",
            )
        chosen |= matched
    if not chosen:
        raise ManifestError(
            "an empty partition trains nothing", where=where, remedy="name at least one term, for instance head"
        )
    return tuple(name for name in tensor_names() if name in chosen)


def _tensors_of(term: str) -> Iterable[str]:
    names = tensor_names()
    if term == "all":
        return names
    if term == "backbone":
        return [n for n in names if layer_of(n) <= BACKBONE_END]
    if term == "head":
        return [n for n in names if layer_of(n) > BACKBONE_END]
    if term == "bn":
        return [n for n in names if n.startswith("bn")]
    if term == "outputs":
        return [n for n in names if layer_of(n) in OUTPUT_LAYERS]
    if term.startswith("early:") and term[6:].isdecimal():
        convs = [layer.index for layer in layers(1.0, 1) if layer.kind == "conv"]
        first = convs[: int(term[6:])]
        return [n for n in names if layer_of(n) in first and n.startswith("conv")]
    return fnmatch.filter(names, term)
