"""A model's graph in ncnn's own terms: its text, the stream of its weights, and the decoding that stays with numpy.

Role: translate the nodes that our exporters write; anything else is an error that names the node. It imports no ncnn.

What ncnn computes are the maps: convolutions (with batch-norm folded in and the leaky rectifier fused), pools, the upsampling
and its concatenation. What follows them (decoding of boxes, mean of the embedding) is some ten thousand numbers a tile and
runs node by node in numpy, so that no rule of decoding is written a second time.

An int8 model runs in float32: what the graph derives from its named tensors (weights read back from int8, biases from int32) is
computed in numpy when the model is loaded, and a rounding of maps to uint8 (QuantizeLinear, DequantizeLinear) is passed over.
ncnn's own integers have another scheme (symmetric maps), which would compute a third thing.

Folding, for each output channel: w' = w g / sqrt(v + e), b' = b - m g / sqrt(v + e) (Jacob et al., arXiv 1712.05877, eq. 14),
the factors in float64. Sources: ncnn's wiki, pages `operators` (parameters by number) and `param-and-model-file-structure`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.onnx_graph import Array, FittedGraph, Node
from orbitloop.onboard.adapters.onnx_numpy import OPERATIONS, Known
from orbitloop.onboard.engine import to_input
from orbitloop.records.model import FLOAT32

MAX_MAP_BYTES = 1 << 30
_MAGIC = "7767517"
_LEAKY = 2  # ncnn's number of the leaky rectifier among the activations that a convolution takes
_RAW_FLOAT32 = b"\0\0\0\0"

_Shape = tuple[int, int, int]


@dataclass(slots=True)
class _Layer:
    """One ncnn layer and the (C, H, W) that it makes. `kernel`, `bias`, `norm` name its tensors, folded as they are streamed.

    ncnn itself does not see whether a convolution fits its input, and reads past the end when it does not.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape: _Shape
    numbers: dict[int, str] = field(default_factory=dict)
    kernel: str = ""
    bias: str = ""
    norm: tuple[str, ...] = ()
    epsilon: float = 0.0
    rectified: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NcnnGraph:
    """A translated graph.

    Attributes:
        param: ncnn's text form of the layers.
        source: the blob that takes the image.
        taps: map as the graph calls it -> ncnn's blob to extract.
    """

    param: str
    source: str
    taps: dict[str, str]
    _layers: tuple[_Layer, ...]
    _before: tuple[Node, ...]
    _after: tuple[Node, ...]
    _values: Mapping[str, Array]
    _constants: Mapping[str, Array]
    _derived: Mapping[str, Node]

    def stream(self, tensors: Mapping[str, Array]) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield ncnn's weights file in its order, one part at a time, so that no second copy of the whole is ever made.

        Args:
            tensors: the weights by the graph's names.
        """
        known = Known(self._constants, tensors, self._derived)
        for layer in self._layers:
            if layer.kernel:
                kernel, bias = _folded(layer, known)
                yield np.frombuffer(_RAW_FLOAT32, np.uint8)
                yield kernel.reshape(-1).view(np.uint8)
                yield bias.reshape(-1).view(np.uint8)

    def head(self, image: Array) -> npt.NDArray[np.float32]:
        """Return what the first layer reads, (C, H, W), of one image in the model's form."""
        value = image[None]
        for node in self._before:
            (value,) = OPERATIONS[node.op](node, [value, *(self._values[name] for name in node.inputs[1:])])
        return np.ascontiguousarray(value[0], np.float32)

    def decode(self, maps: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the nodes after the maps make, by name.

        Args:
            maps: the extracted maps (1, C, H, W) by the names of `taps`.

        Raises:
            KeyError, ValueError, IndexError, TypeError: a node does not fit its inputs.
        """
        values = dict(maps)
        for node in self._after:
            inputs = [values[name] if name in values else self._values[name] for name in node.inputs]
            values.update(zip(node.outputs, OPERATIONS[node.op](node, inputs), strict=True))
        return values


def translate(fitted: FittedGraph, where: str = "model") -> NcnnGraph:
    """Translate a graph.

    Raises:
        ModelError: a node is none that our exporters write, or not in the form in which they do.
    """
    work, at = _Translation(fitted), "the end"
    try:
        for node in fitted.graph.nodes:
            at = f"node {node.label}"
            work.take(node)
        at = "the end"
        return work.finish()
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, MemoryError) as error:
        raise ModelError(
            f"ncnn does not understand {at} of the graph ({type(error).__name__}: {error})",
            where=where,
            remedy="use --engine onnxruntime",
        ) from error


@dataclass(frozen=True, slots=True)
class _View:
    """A map on its way through the int8 form's first pool: turned to (h, w, n c); cut to (h, n w, c); turned back."""

    blob: str
    parts: int = 0
    back: bool = False


class _Translation:
    """Sorts nodes into those before the maps, the maps, and those after them.

    `maps` says which blob holds a map of the graph: several names may mean one blob, as roundings are passed over. `read` are
    the blobs whose values something needs as they are, so that nothing more may be fused into what makes them.
    """

    def __init__(self, fitted: FittedGraph) -> None:
        self.layers: list[_Layer] = []
        self._constants, self._derived = fitted.graph.constants, dict[str, Node]()
        self._known = Known(self._constants, fitted.tensors, self._derived)
        self._shapes: dict[str, _Shape] = {}
        self._maps: dict[str, str] = {}
        self._views: dict[str, _View] = {}
        self._read: set[str] = set()
        self._before: list[Node] = []
        self._after: list[Node] = []
        self._made: set[str] = set()
        self._taps: dict[str, str] = {}
        self._values: dict[str, Array] = {}
        side = fitted.metadata.preprocessing.tile_px
        self._image = fitted.image
        self._head = to_input(np.zeros((1, side, side, 3), np.uint8), fitted.metadata)[fitted.image]
        if fitted.metadata.form == FLOAT32:
            self._input("image", (3, side, side))

    def take(self, node: Node) -> None:
        """Sort one node in; they come in the order in which they run."""
        first = node.inputs[0]
        if not node.outputs or any(n in self._known or n in self._maps or n in self._made for n in node.outputs):
            raise ValueError("it makes nothing, or something again")
        if not all(_is_word(name) for name in node.outputs):
            raise ValueError("what it makes has a name that ncnn's text form cannot hold")
        if all(name in self._known for name in node.inputs):
            OPERATIONS[node.op]
            self._derived.update(dict.fromkeys(node.outputs, node))
        elif first == self._image and first not in self._maps:
            self._take_before(node)
        elif first in self._views or (first in self._maps and node.op == "Transpose"):
            self._take_view(node)
        elif first in self._maps and node.op in ("QuantizeLinear", "DequantizeLinear"):
            self._maps[node.outputs[0]] = self._maps[first]
        elif first in self._maps and node.op in ("BatchNormalization", "LeakyRelu"):
            self._take_fused(node)
        elif first in self._maps and (node.op in _LAYERS or (node.op == "Concat" and self._are_maps(node.inputs))):
            self._take_layer(node)
        else:
            self._take_after(node)

    def finish(self) -> NcnnGraph:
        """Return the translation.

        Raises:
            ValueError: nothing makes `pred` or `embedding`.
        """
        missing = sorted({"pred", "embedding"} - self._made)
        if missing:
            raise ValueError(f"nothing makes {missing[0]!r}")
        param, blobs = _lines(self.layers, set(self._taps.values()))
        taps = {name: blobs[blob] for name, blob in self._taps.items()}
        nodes = tuple(self._before), tuple(self._after)
        return NcnnGraph(param, self._image, taps, tuple(self.layers), *nodes, self._values, self._constants, self._derived)

    def _are_maps(self, names: tuple[str, ...]) -> bool:
        return all(name in self._maps for name in names)

    def _add(self, layer: _Layer) -> None:
        if min(layer.shape) < 1 or 4 * math.prod(layer.shape) > MAX_MAP_BYTES:
            raise ValueError(f"it makes a map of {layer.shape}")
        self.layers.append(layer)
        self._read.update(layer.inputs)
        for name in layer.outputs:
            self._maps[name], self._shapes[name] = name, layer.shape

    def _input(self, name: str, shape: _Shape) -> None:
        deep, height, width = shape
        self._add(_Layer("Input", (), (name,), shape, _texts({0: width, 1: height, 2: deep})))
        self._image = name

    def _take_before(self, node: Node) -> None:
        """Take a node over the int8 form's image, which is turned to planes and read back as float."""
        self._values |= {name: self._known(name) for name in node.inputs[1:]}
        (self._head,) = OPERATIONS[node.op](node, [self._head, *(self._values[name] for name in node.inputs[1:])])
        self._before.append(node)
        (self._image,) = node.outputs
        if node.op == "DequantizeLinear":
            _, deep, height, width = self._head.shape
            self._input(self._image, (deep, height, width))

    def _take_view(self, node: Node) -> None:
        (out,) = node.outputs
        view = self._views.get(node.inputs[0]) or _View(self._maps[node.inputs[0]])
        deep, height, width = self._shapes[view.blob]
        fresh = node.inputs[0] not in self._views
        if fresh and node.attributes == {"perm": [0, 2, 3, 1]}:
            self._views[out] = view
        elif node.op == "Reshape" and not fresh and not view.parts:
            _, high, wide, channels = self._known(node.inputs[1]).tolist()
            if high != height or wide % width or wide // width * channels != deep:
                raise ValueError("it cuts the map otherwise than the int8 form does")
            self._views[out] = _View(view.blob, wide // width)
        elif node.op == "Transpose" and view.parts and not view.back and node.attributes == {"perm": [0, 3, 1, 2]}:
            self._views[out] = _View(view.blob, view.parts, back=True)
        elif node.op == "MaxPool" and view.back and node.attributes == {key: [1, view.parts] for key in _WINDOW}:
            shape = (deep // view.parts, height, width)
            names = tuple(f"{out}~{n}" for n in range(view.parts))
            sizes = ",".join(map(str, [view.parts, *[shape[0]] * view.parts]))
            self._add(_Layer("Slice", (view.blob,), names, shape, {-23300: sizes, 1: "0"}))
            self._add(_Layer("Eltwise", names, (out,), shape, {0: "2"}))
        else:
            raise ValueError("it is no step of the int8 form's first pool")

    def _take_fused(self, node: Node) -> None:
        """Let the convolution before a node do its work; a rectifier after something else is a layer of its own."""
        (out,), blob = node.outputs, self._maps[node.inputs[0]]
        (source,) = (layer for layer in self.layers if blob in layer.outputs)
        fusable = source.kind == "Convolution" and not source.rectified and blob not in self._read
        if node.op == "LeakyRelu":
            slope = f"{float(node.attributes['alpha']):.9g}"
            if not fusable:
                self._add(_Layer("ReLU", (blob,), (out,), source.shape, {0: slope}))
                return
            source.numbers |= {9: str(_LEAKY), -23310: f"1,{slope}"}
            source.rectified = True
        else:
            if not fusable or source.norm or source.bias:
                raise ValueError("it does not follow a plain convolution")
            source.norm, source.epsilon = node.inputs[1:], float(node.attributes["epsilon"])
            if [self._known(name).shape for name in source.norm] != [source.shape[:1]] * 4:
                raise ValueError("its weights do not fit the convolution")
        # What it was before has no name any more; a later reader of it is an error.
        self._maps = {name: of for name, of in self._maps.items() if of != blob} | {out: out}
        self._shapes[out] = source.shape
        source.outputs = (out,)

    def _take_layer(self, node: Node) -> None:
        maps = [self._maps[name] for name in node.inputs if name in self._maps]
        shapes = [self._shapes[blob] for blob in maps]
        if node.op == "Concat":
            if node.attributes != {"axis": 1} or len({shape[1:] for shape in shapes}) != 1:
                raise ValueError("its maps are not of one size, or it is not along the channels")
            deep = sum(shape[0] for shape in shapes)
            self._add(_Layer("Concat", tuple(maps), node.outputs, (deep, *shapes[0][1:]), {0: "0"}))
        else:
            self._add(_LAYERS[node.op](node, maps, shapes[0], self._known))

    def _take_after(self, node: Node) -> None:
        OPERATIONS[node.op]
        for name in node.inputs:
            if name in self._maps:
                self._taps[name] = self._maps[name]
                self._read.add(self._maps[name])
            elif name not in self._made:
                self._values[name] = self._known(name)
        self._made.update(node.outputs)
        self._after.append(node)


_WINDOW = ("kernel_shape", "strides")


def _convolution(node: Node, maps: list[str], shape: _Shape, known: Known) -> _Layer:
    kernel, (deep, height, width) = known(node.inputs[1]), shape
    channels, reads, high, wide = kernel.shape
    pads = node.attributes.get("pads", [0, 0, 0, 0])
    if node.attributes.keys() - {"pads"} or len(pads) != 4 or len(set(pads)) != 1 or pads[0] < 0:
        raise ValueError(f"attributes {sorted(node.attributes)}")
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if reads != deep or kernel.dtype != np.float32 or (bias and known(bias).shape != (channels,)):
        raise ValueError(f"a kernel of {kernel.dtype} {kernel.shape} over a map of {shape}")
    numbers = {0: channels, 1: wide, 11: high, 4: pads[0], 5: 1, 6: kernel.size}
    made = (channels, height + 2 * pads[0] - high + 1, width + 2 * pads[0] - wide + 1)
    return _Layer("Convolution", tuple(maps), node.outputs, made, _texts(numbers), node.inputs[1], bias)


def _pool(node: Node, maps: list[str], shape: _Shape, known: Known) -> _Layer:
    given, (deep, height, width) = dict(node.attributes), shape
    (high, wide), (down, right) = (given.pop(name) for name in _WINDOW)
    above, left, below, beyond = given.pop("pads", [0, 0, 0, 0])
    if given or min(high, wide, down, right) < 1 or not 0 <= max(above, below) < high or not 0 <= max(left, beyond) < wide:
        raise ValueError(f"attributes {node.attributes}")
    # 5=1: no padding but the given one, which for a maximum is minus infinity (-FLT_MAX), as in ONNX.
    numbers = {0: 0, 1: wide, 11: high, 2: right, 12: down, 3: left, 13: above, 14: beyond, 15: below, 5: 1}
    made = (deep, (height + above + below - high) // down + 1, (width + left + beyond - wide) // right + 1)
    return _Layer("Pooling", tuple(maps), node.outputs, made, _texts(numbers))


def _resize(node: Node, maps: list[str], shape: _Shape, known: Known) -> _Layer:
    wanted = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}
    (one, same, down, right), (deep, height, width) = known(node.inputs[2]).tolist(), shape
    if node.attributes != wanted or (one, same) != (1, 1) or not (down.is_integer() and right.is_integer()):
        raise ValueError("only nearest, floor, asymmetric, by whole factors over height and width")
    numbers = {0: "1", 1: f"{down:.9g}", 2: f"{right:.9g}"}
    return _Layer("Interp", tuple(maps), node.outputs, (deep, height * int(down), width * int(right)), numbers)


_LAYERS: dict[str, Callable[[Node, list[str], _Shape, Known], _Layer]] = {
    "Conv": _convolution,
    "MaxPool": _pool,
    "Resize": _resize,
}


def _is_word(name: str) -> bool:
    """Say whether ncnn reads a name as one word: its parser cuts at white space, and after 255 bytes."""
    return 0 < len(name) <= 200 and name.isascii() and name.isprintable() and " " not in name


def _texts(numbers: dict[int, int]) -> dict[int, str]:
    return {number: str(value) for number, value in numbers.items()}


def _lines(layers: list[_Layer], tapped: set[str]) -> tuple[str, dict[str, str]]:
    """Write the text form. A blob feeds one layer only; where more read it, a `Split` hands out names of its own."""
    uses = Counter(name for layer in layers for name in layer.inputs) + Counter(tapped)
    handed: Counter[str] = Counter()
    rows: list[str] = []
    blobs = 0

    def row(kind: str, inputs: list[str], outputs: list[str], numbers: dict[int, str]) -> None:
        nonlocal blobs
        blobs += len(outputs)
        pairs = [f"{number}={value}" for number, value in numbers.items()]
        rows.append(" ".join([kind, f"{kind}:{outputs[0]}", str(len(inputs)), str(len(outputs)), *inputs, *outputs, *pairs]))

    def taken(name: str) -> str:
        if uses[name] < 2:
            return name
        handed[name] += 1
        return f"{name}/{handed[name]}"

    for layer in layers:
        row(layer.kind, [taken(name) for name in layer.inputs], list(layer.outputs), layer.numbers)
        for out in layer.outputs:
            if uses[out] > 1:
                row("Split", [out], [f"{out}/{n + 1}" for n in range(uses[out])], {})
    extracted = {name: taken(name) for name in sorted(tapped)}
    return "\n".join([_MAGIC, f"{len(rows)} {blobs}", *rows, ""]), extracted


def _folded(layer: _Layer, known: Known) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    kernel = np.ascontiguousarray(known(layer.kernel), np.float32)
    if not layer.norm:
        bias = known(layer.bias) if layer.bias else np.zeros(len(kernel))
        return kernel, np.ascontiguousarray(bias, np.float32)
    scale, shift, mean, variance = (known(name).astype(np.float64) for name in layer.norm)
    with np.errstate(all="ignore"):  # damaged weights: what is not finite is found in the output
        gain = scale / np.sqrt(variance + layer.epsilon)
        return kernel * gain.astype(np.float32)[:, None, None, None], (shift - mean * gain).astype(np.float32)
