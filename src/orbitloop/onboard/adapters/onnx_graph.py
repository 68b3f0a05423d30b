"""A model's graph read from its ONNX bytes, for engines that take no weights by name.

Role: nodes, constants, the declared outside weights and the metadata of a graph, held against the weights that are to fill it;
and the same graph with its weights bound to addresses in memory. It knows no engine and what no node means.

ONNX is protobuf, whose wire is five lines of grammar; the `onnx` package would cost the satellite 31 MB on disk and 40 MB of
memory. The reader is narrower than protobuf on purpose: a field that it does not know, that stands twice, or has another wire
type is an error, so that nothing can hide from the check that a graph names no file and no address of its own.
Source: onnx/onnx.proto (IR version 8 to 10); protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ModelError
from orbitloop.onboard.engine import read_metadata
from orbitloop.records.model import INT8, METADATA_KEY, WEIGHTS_FILE, ModelMetadata

MAX_NODES = 4096
MAX_CONSTANT_BYTES = 16 << 20
MAX_SETTING, MAX_ENLARGEMENT, MAX_PAD = 64, 4, 255
"""The largest integer among an operation's attributes, scale of a Resize, and pad or pad value of a Pad."""
_CALM = ("Add", "BatchNormalization", "Cast", "Concat", "Conv", "DequantizeLinear", "Div", "GlobalAveragePool", "LeakyRelu")
_CALM_TOO = ("MaxPool", "Mul", "QuantizeLinear", "ReduceMean", "Reshape", "Round", "Sigmoid", "Split", "Transpose")
OPERATIONS = frozenset((*_CALM, *_CALM_TOO, "Pad", "Resize"))
"""All that the exporters write, and little else; none holds a subgraph, calls out, or grows but by its settings."""
_REMEDY = "graph and weights must come from one export"
IN_MEMORY = "*/_ORT_MEM_ADDR_/*"
"""Location of an external tensor whose `offset` is an address (ONNX Runtime's tag, which OpenVINO's reader knows too)."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES: dict[int, Any] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}
# Field numbers of onnx.proto, by message: those that may stand, and of these the ones that repeat.
_MODEL = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_GRAPH, _GRAPH_LISTS = {1, 2, 5, 10, 11, 12, 13, 14}, {1, 5, 11, 12, 13, 14}
_NODE, _NODE_LISTS = {1, 2, 3, 4, 5, 6, 7}, {1, 2, 5}
_ATTRIBUTE, _ATTRIBUTE_LISTS = {1, 2, 3, 4, 5, 7, 8, 9, 13, 20}, {7, 8, 9}
_ATTRIBUTE_VALUE = {1: 2, 2: 3, 3: 4, 4: 5, 6: 7, 7: 8, 8: 9}  # kind of an attribute: the field that holds it
_TENSOR, _TENSOR_LISTS = {1, 2, 4, 5, 7, 8, 9, 12, 13, 14}, {1, 4, 5, 7, 13}

Array = npt.NDArray[Any]
Field = tuple[int, int, "int | memoryview"]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `attributes` are int, float, bytes, an array, or a list of the first three."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.op} -> {', '.join(self.outputs)}"


@dataclass(frozen=True, slots=True)
class Outside:
    """A tensor that the graph declares and the weights must bring."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A graph as read.

    Attributes:
        nodes: in the order in which they run.
        constants: small tensors that stand in the graph.
        outside: weights that do not.
        inputs, outputs: element types by name.
        metadata: orbitloop's own text, or None.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    outside: dict[str, Outside]
    inputs: dict[str, np.dtype[Any]]
    outputs: dict[str, np.dtype[Any]]
    metadata: str | None


@dataclass(frozen=True, slots=True, eq=False)
class FittedGraph:
    """A graph with the weights and metadata that fit it: what an engine is built from. `image` names its one input."""

    graph: Graph
    tensors: dict[str, Array]
    metadata: ModelMetadata
    image: str


def fit_graph(data: bytes, weights: Mapping[str, Array], where: str = "model") -> FittedGraph:
    """Read a graph and see that it is one of ours and that the weights are its own.

    Raises:
        ModelError: graph, weights and metadata are malformed or do not fit each other.
    """
    graph = read_graph(data, where)
    if any(graph.outputs.get(name) != np.float32 for name in ("pred", "embedding")):
        raise ModelError(f"the graph's outputs are {graph.outputs}, not float tensors 'pred' and 'embedding'", where=where)
    metadata = read_metadata(graph.metadata)
    image, kind = ("blocks", np.dtype(np.uint8)) if metadata.form == INT8 else ("image", np.dtype(np.float32))
    if graph.inputs != {image: kind}:
        raise ModelError(f"the graph's inputs are {graph.inputs}, not one {kind} tensor {image!r}", where=where)
    return FittedGraph(graph, check_weights(graph, weights, where), metadata, image)


def read_graph(data: bytes, where: str = "model") -> Graph:
    """Read an ONNX file.

    Raises:
        ModelError: it is malformed, holds what no graph of ours holds (subgraphs, functions, sparse tensors), or wants weights
            from elsewhere than the weights file. Never anything else.
    """
    try:
        return _read_graph(memoryview(data))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise ModelError(
            f"the graph is malformed ({error})", where=where, remedy="graph and weights must come from one export"
        ) from error


def check_weights(graph: Graph, weights: Mapping[str, Array], where: str = "model") -> dict[str, Array]:
    """Return the weights as C-contiguous arrays, in the graph's order.

    Raises:
        ModelError: one is missing, unknown to the graph, or of another shape or type.
    """
    odd = sorted(graph.outside.keys() ^ weights.keys())
    if odd:
        kind = "missing" if odd[0] in graph.outside else "unknown to the graph"
        raise ModelError(f"tensor {odd[0]!r} is {kind}", where=where, remedy="graph and weights must come from one export")
    for name, wanted in graph.outside.items():
        have = weights[name]
        if have.shape != wanted.shape or have.dtype != wanted.dtype:
            raise ModelError(
                f"tensor {name!r} is {have.dtype} {have.shape}, the graph wants {wanted.dtype} {wanted.shape}",
                where=where,
                remedy="graph and weights must come from one export",
            )
    return {name: np.require(weights[name], requirements=["C", "A"]) for name in graph.outside}


def check_steps(graph: Graph, where: str = "model") -> None:
    """See that a graph does only what graphs of ours do, so that none can loop, run code of others or grow without bound.

    Raises:
        ModelError: an operation that no export of ours writes, or one that would make its output far larger than its input.
    """
    for node in graph.nodes:
        if node.op not in OPERATIONS:
            raise ModelError(f"the graph does {node.op!r}, which no graph of ours does", where=where, remedy=_REMEDY)
        numbers = [v for value in node.attributes.values() for v in (value if isinstance(value, list) else [value])]
        if any(isinstance(v, int) and abs(v) > MAX_SETTING for v in numbers):
            raise ModelError(f"{node.label}: a setting is over {MAX_SETTING}", where=where, remedy=_REMEDY)
        for name in node.inputs[1:] if node.op in ("Resize", "Pad") else ():
            value = graph.constants.get(name)
            most = MAX_ENLARGEMENT if node.op == "Resize" else MAX_PAD
            if name and (value is None or (value.size and not float(np.abs(value).max()) <= most)):
                raise ModelError(f"{node.label}: may enlarge by more than {most}", where=where, remedy=_REMEDY)


def bind_weights(data: bytes, weights: Mapping[str, Array]) -> bytes:
    """Return the graph with each outside tensor declared to lie at its array's address.

    Args:
        data: an ONNX file that `read_graph` took.
        weights: what `check_weights` returned; must live until the reader of the result has copied them.
    """
    return _rewritten(data, lambda field: _bound(_view(field[2]), weights) if field[0] == 5 else _written(*field))


def round_again(data: bytes, name: str) -> bytes:
    """Return the graph with a QuantizeLinear and DequantizeLinear pair behind the DequantizeLinear that makes `name`.

    The pair gives back the integers that came in; a runtime that looks for pairs then sees that the value is one of integers.
    """

    def change(field: Field) -> bytes:
        if field[0] != 1 or _node(node := _view(field[2])).outputs != (name,):
            return _written(*field)
        _, scale, zero = _node(node).inputs
        kept = b"".join(_written(*part) for part in _fields(node) if part[0] != 2)
        first = kept + _written(2, _BYTES, memoryview(f"{name}~0".encode()))
        second = _made_node("QuantizeLinear", (f"{name}~0", scale, zero), f"{name}~1")
        third = _made_node("DequantizeLinear", (f"{name}~1", scale, zero), name)
        return b"".join(_written(1, _BYTES, memoryview(one)) for one in (first, second, third))

    return _rewritten(data, change)


def _made_node(op: str, inputs: tuple[str, ...], output: str) -> bytes:
    fields = [*((1, name) for name in inputs), (2, output), (4, op)]
    return b"".join(_written(number, _BYTES, memoryview(text.encode())) for number, text in fields)


def _rewritten(data: bytes, change: Callable[[Field], bytes]) -> bytes:
    """Return the model with each field of its graph as `change` writes it."""
    graph = next(_view(value) for number, _, value in _fields(memoryview(data)) if number == 7)
    new = memoryview(b"".join(change(field) for field in _fields(graph)))
    return b"".join(_written(n, kind, new if n == 7 else value) for n, kind, value in _fields(memoryview(data)))


def _bound(tensor: memoryview, weights: Mapping[str, Array]) -> bytes:
    fields = list(_fields(tensor))
    name = next(str(_view(value), "utf-8") for number, _, value in fields if number == 8)
    if name not in weights:
        return _written(5, _BYTES, tensor)
    array = weights[name]
    entries = {"location": IN_MEMORY, "offset": str(array.ctypes.data), "length": str(array.nbytes)}
    kept = b"".join(_written(*field) for field in fields if field[0] != 13)
    for key, value in entries.items():
        entry = _written(1, _BYTES, memoryview(key.encode())) + _written(2, _BYTES, memoryview(value.encode()))
        kept += _written(13, _BYTES, memoryview(entry))
    return _written(5, _BYTES, memoryview(kept))


def _read_graph(data: memoryview) -> Graph:
    top = _grouped(data, _MODEL, {8, 14}, "model")
    parts = _grouped(_view(_one(top, 7, "graph")), _GRAPH, _GRAPH_LISTS, "graph")
    if len(parts.get(1, [])) > MAX_NODES:
        raise ValueError(f"{len(parts[1])} nodes, over the limit of {MAX_NODES}")
    constants: dict[str, Array] = {}
    outside: dict[str, Outside] = {}
    for field in parts.get(5, []):
        name, found = _tensor(_view(field), may_be_outside=True)
        if name in constants or name in outside:
            raise ValueError(f"tensor {name!r} stands twice")
        if isinstance(found, Outside):
            outside[name] = found
        else:
            constants[name] = found
    return Graph(
        tuple(_node(_view(field)) for field in parts.get(1, [])),
        constants,
        outside,
        dict(_value_info(_view(field)) for field in parts.get(11, [])),
        dict(_value_info(_view(field)) for field in parts.get(12, [])),
        _metadata([_view(field) for field in top.get(14, [])]),
    )


def _metadata(properties: list[memoryview]) -> str | None:
    found = None
    for entry in properties:
        pair = _grouped(entry, {1, 2}, set(), "metadata")
        if _text(_one(pair, 1, "key")) == METADATA_KEY:
            if found is not None:
                raise ValueError("the metadata stands twice")
            found = _text(_one(pair, 2, "value"))
    return found


def _node(data: memoryview) -> Node:
    parts = _grouped(data, _NODE, _NODE_LISTS, "node")
    if 7 in parts and _text(parts[7][0]):
        raise ValueError("an operation is of a domain that no graph of ours has")
    inputs, outputs = (tuple(_text(value) for value in parts.get(number, [])) for number in (1, 2))
    return Node(_text(_one(parts, 4, "op_type")), inputs, outputs, dict(_attribute(_view(value)) for value in parts.get(5, [])))


def _attribute(data: memoryview) -> tuple[str, Any]:
    parts = _grouped(data, _ATTRIBUTE, _ATTRIBUTE_LISTS, "attribute")
    name, kind = _text(_one(parts, 1, "name")), _number(_one(parts, 20, "type"))
    if parts.keys() - {1, 13, 20} - {_ATTRIBUTE_VALUE.get(kind, 0)}:
        raise ValueError(f"attribute {name!r} is of kind {kind} and holds something else")
    if kind == 1:
        return name, _float(_one(parts, 2, name))
    if kind == 2:
        return name, _signed(parts.get(3, [0])[0])
    if kind == 3:
        return name, bytes(_view(parts.get(4, [memoryview(b"")])[0]))
    if kind == 4:
        return name, _tensor(_view(_one(parts, 5, name)), may_be_outside=False)[1]
    if kind == 6:
        return name, [v for value in parts.get(7, []) for v in _floats(value)]
    if kind == 7:
        return name, [v for value in parts.get(8, []) for v in _integers(value)]
    if kind == 8:
        return name, [bytes(_view(value)) for value in parts.get(9, [])]
    raise ValueError(f"attribute {name!r} is of kind {kind}, which no graph of ours has")


def _tensor(data: memoryview, *, may_be_outside: bool) -> tuple[str, Array | Outside]:
    parts = _grouped(data, _TENSOR, _TENSOR_LISTS, "tensor")
    name = _text(parts[8][0]) if 8 in parts else ""
    code = _number(_one(parts, 2, "data_type"))
    if code not in _DTYPES:
        raise ValueError(f"tensor {name!r} is of type {code}, which no graph of ours has")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[code])
    shape = tuple(v for value in parts.get(1, []) for v in _integers(value))
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > 1 << 31:
        raise ValueError(f"tensor {name!r} has shape {shape}")
    away = _number(parts.get(14, [0])[0]) != 0
    if not away and 13 not in parts:
        return name, _values(parts, name, shape, dtype)
    entries = [_grouped(_view(value), {1, 2}, set(), "external data") for value in parts.get(13, [])]
    pairs = [(_text(_one(entry, 1, "key")), _text(_one(entry, 2, "value"))) for entry in entries]
    if not may_be_outside or not away or len(dict(pairs)) != len(pairs) or {4, 5, 7, 9} & parts.keys():
        raise ValueError(f"tensor {name!r} may not lie outside of the graph, or does so in a way of its own")
    if dict(pairs).get("location") != WEIGHTS_FILE:
        raise ValueError(f"tensor {name!r} is to come from {dict(pairs).get('location')!r}, not from {WEIGHTS_FILE}")
    return name, Outside(shape, dtype)


def _values(parts: dict[int, list[int | memoryview]], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    count = math.prod(shape)
    if count * dtype.itemsize > MAX_CONSTANT_BYTES:
        raise ValueError(f"constant {name!r} has shape {shape}, over the limit of {MAX_CONSTANT_BYTES} bytes")
    if 9 in parts:
        return np.frombuffer(bytes(_view(parts[9][0])), dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    if dtype == np.float32:
        return np.array([v for value in parts.get(4, []) for v in _floats(value)], dtype).reshape(shape)
    number = 7 if dtype == np.int64 else 5
    return np.array([v for value in parts.get(number, []) for v in _integers(value)], dtype).reshape(shape)


def _value_info(data: memoryview) -> tuple[str, np.dtype[Any]]:
    parts = _grouped(data, {1, 2, 3}, set(), "value")
    kind = _grouped(_view(_one(parts, 2, "type")), {1, 6}, set(), "type")
    tensor = _grouped(_view(_one(kind, 1, "tensor type")), {1, 2}, set(), "tensor type")
    return _text(_one(parts, 1, "name")), np.dtype(_DTYPES[_number(_one(tensor, 1, "element type"))])


def _grouped(data: memoryview, known: set[int], lists: set[int], what: str) -> dict[int, list[int | memoryview]]:
    """Return a message's values by field number; those outside of `lists` stand at most once."""
    found: dict[int, list[int | memoryview]] = {}
    for number, _, value in _fields(data):
        if number not in known or (number in found and number not in lists):
            raise ValueError(f"field {number} of a {what} is unknown or stands twice")
        found.setdefault(number, []).append(value)
    return found


def _fields(data: memoryview) -> Iterator[Field]:
    """Walk a message: (field number, wire type, value); a value of fixed width is a view of its bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if length > len(data) - at:
            raise ValueError("truncated")
        yield number, kind, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise ValueError("a number of more than 64 bits")


def _written(number: int, kind: int, value: int | memoryview) -> bytes:
    tag = _as_varint(number << 3 | kind)
    if isinstance(value, int):
        return tag + _as_varint(value)
    return tag + (_as_varint(len(value)) if kind == _BYTES else b"") + bytes(value)


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _one(parts: dict[int, list[int | memoryview]], number: int, what: str) -> int | memoryview:
    if number not in parts:
        raise ValueError(f"no {what}")
    return parts[number][0]


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where bytes must")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number must")
    return value


def _text(value: int | memoryview) -> str:
    return str(_view(value), "utf-8")


def _signed(value: int | memoryview) -> int:
    number = _number(value)
    return number - (1 << 64) if number >= 1 << 63 else number


def _float(value: int | memoryview) -> float:
    return float(struct.unpack("<f", _view(value))[0])


def _floats(value: int | memoryview) -> list[float]:
    """Packed or single; both are four bytes each."""
    return [float(v) for (v,) in struct.iter_unpack("<f", _view(value))]


def _integers(value: int | memoryview) -> list[int]:
    """Packed or single."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        one, at = _varint(value, at)
        found.append(_signed(one))
    return found
