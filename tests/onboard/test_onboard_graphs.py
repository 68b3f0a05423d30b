"""The reader of ONNX bytes and the translation to ncnn: they read what the onnx package reads, or raise the one error."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from engine_models import FORMS, SIDE, graph, metadata, tiles, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.ncnn_graph import translate
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.adapters.onnx_graph import Node, bind_weights, fit_graph, read_graph, round_again
from orbitloop.onboard.adapters.onnx_numpy import OPERATIONS, Known
from orbitloop.onboard.engine import to_input
from orbitloop.records.model import FLOAT32, INT8

Change = Callable[[onnx.ModelProto], None]
forms = pytest.mark.parametrize("form", FORMS)


def changed(change: Change, form: str = FLOAT32) -> bytes:
    model = onnx.load_from_string(graph(form))
    change(model)
    return bytes(model.SerializeToString())


# Reading.


@forms
def test_it_reads_what_the_onnx_package_reads(form: str) -> None:
    model, read = onnx.load_from_string(graph(form)).graph, read_graph(graph(form))
    assert [(n.op, list(n.inputs), list(n.outputs)) for n in read.nodes] == [
        (n.op_type, list(n.input), list(n.output)) for n in model.node
    ]
    for ours, theirs in zip(read.nodes, model.node, strict=True):
        assert ours.attributes == {a.name: helper.get_attribute_value(a) for a in theirs.attribute}
    for tensor in model.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            outside = read.outside[tensor.name]
            assert (outside.shape, outside.dtype) == (tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type))
        else:
            expected = numpy_helper.to_array(tensor)
            assert read.constants[tensor.name].dtype == expected.dtype
            np.testing.assert_array_equal(read.constants[tensor.name], expected)
    assert len(read.constants) + len(read.outside) == len(model.initializer)


def test_the_weights_fit_and_metadata_is_the_models() -> None:
    fitted = fit_graph(graph(INT8), weights(INT8))
    assert fitted.metadata == metadata(INT8)
    assert set(fitted.tensors) == set(weights(INT8))


def test_typed_fields_are_read_as_raw_ones() -> None:
    values = {
        "floats": (TensorProto.FLOAT, [1.5, -2.0]),
        "longs": (TensorProto.INT64, [-1, 1 << 40]),
        "ints": (TensorProto.INT32, [-7, 8]),
        "bytes": (TensorProto.INT8, [-128, 127]),
    }

    def add(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend(helper.make_tensor(name, kind, [2], v) for name, (kind, v) in values.items())

    read = read_graph(changed(add))
    for name, (_, expected) in values.items():
        assert read.constants[name].tolist() == expected


@forms
def test_bound_weights_are_declared_at_their_addresses_and_nothing_else_changes(form: str) -> None:
    tensors = fit_graph(graph(form), weights(form)).tensors
    bound = onnx.load_from_string(bind_weights(graph(form), tensors))
    for tensor in bound.graph.initializer:
        if tensor.name in tensors:
            place = {e.key: e.value for e in tensor.external_data}
            assert int(place["offset"]) == tensors[tensor.name].ctypes.data
            assert int(place["length"]) == tensors[tensor.name].nbytes
            del tensor.external_data[:]
            tensor.external_data.add(key="location", value="weights.safetensors")
    assert bound == onnx.load_from_string(graph(form))


def test_a_pair_behind_the_image_gives_back_its_integers() -> None:
    changed_graph = round_again(graph(INT8), "image")
    assert [n.op for n in read_graph(changed_graph).nodes[:4]] == [
        "Transpose",
        "DequantizeLinear",
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    assert len(read_graph(changed_graph).nodes) == len(read_graph(graph(INT8)).nodes) + 2
    before, after = (OnnxEngine(data, weights(INT8)).rows(tiles()) for data in (graph(INT8), changed_graph))
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_a_name_that_nothing_makes_changes_nothing() -> None:
    assert round_again(graph(INT8), "nowhere") == graph(INT8)


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.op_type == op)


def outside(model: onnx.ModelProto) -> TensorProto:
    return next(t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL)


def elsewhere(key: str, value: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = outside(model)
        kept = {e.key: e.value for e in tensor.external_data} | {key: value}
        del tensor.external_data[:]
        for name, text in kept.items():
            tensor.external_data.add(key=name, value=text)

    return change


def tensor_attribute(model: onnx.ModelProto) -> None:
    hidden = TensorProto(name="h", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    hidden.external_data.add(key="location", value="/etc/passwd")
    node(model, "Conv").attribute.append(helper.make_attribute("value", hidden))


def hidden_field(model: onnx.ModelProto) -> None:
    """A tensor inside an attribute that says it is an integer."""
    attribute = helper.make_attribute("group", 1)
    attribute.t.CopyFrom(outside(model))
    node(model, "Conv").attribute.append(attribute)


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="x")


def subgraph(model: onnx.ModelProto) -> None:
    node(model, "Conv").attribute.append(helper.make_attribute("then_branch", onnx.GraphProto(name="g")))


def doubled(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside(model))


def both_places(model: onnx.ModelProto) -> None:
    outside(model).raw_data = b"\0\0\0\0"


def negative(model: onnx.ModelProto) -> None:
    outside(model).dims[0] = -1


def huge(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="huge", data_type=1, dims=[1 << 40]))


def strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"x"]))


def twice(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="orbitloop", value="{}")


REFUSED: dict[str, Change] = {
    "another file": elsewhere("location", "/etc/passwd"),
    "an address": elsewhere("location", "*/_ORT_MEM_ADDR_/*"),
    "a folder above": elsewhere("location", "../weights.safetensors"),
    "tensor in an attribute": tensor_attribute,
    "tensor behind an integer": hidden_field,
    "sparse": sparse,
    "function": function,
    "subgraph": subgraph,
    "a name twice": doubled,
    "values here and outside": both_places,
    "negative size": negative,
    "more than memory": huge,
    "strings": strings,
    "metadata twice": twice,
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_no_graph_of_ours_holds_is_refused(change: Change) -> None:
    with pytest.raises(ModelError):
        read_graph(changed(change))


def test_a_graph_that_stands_twice_is_refused() -> None:
    """Protobuf would merge the two."""
    with pytest.raises(ModelError):
        read_graph(graph() + graph())


@pytest.mark.parametrize("data", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x3b\x3c", b"\x00\x00"])
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        read_graph(data)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_damaged_bytes_are_read_or_refused_with_the_one_error(data: st.DataObject) -> None:
    damaged = bytearray(graph(data.draw(st.sampled_from(FORMS))))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    form = FLOAT32 if len(cut) % 2 else INT8
    try:
        read_graph(cut)
        translate(fit_graph(cut, weights(form)))
    except ModelError:
        return


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_read_or_refused_with_the_one_error(data: bytes) -> None:
    try:
        read_graph(data)
    except ModelError:
        return


# Translating.


def renamed_op(old: str, new: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node(model, old).op_type = new

    return change


def with_attribute(op: str, name: str, value: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        target = node(model, op)
        kept = [a for a in target.attribute if a.name != name]
        del target.attribute[:]
        target.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def swapped_kernels(model: onnx.ModelProto) -> None:
    first, second = (n for n in list(model.graph.node)[:6] if n.op_type == "Conv")
    first.input[1], second.input[1] = second.input[1], first.input[1]


def read_before_the_norm(model: onnx.ModelProto) -> None:
    pool = node(model, "MaxPool")
    pool.input[0] = node(model, "Conv").output[0]


def looped(model: onnx.ModelProto) -> None:
    node(model, "Conv").input[0] = "l15"


def joined_otherwise(model: onnx.ModelProto) -> None:
    next(n for n in model.graph.node if n.output[0] == "l20").attribute[0].i = 2


def a_second_line(model: onnx.ModelProto) -> None:
    """A name that would go on in ncnn's text form as a layer of its own, of a kernel that its map does not have."""
    first, second = list(model.graph.node)[:2]
    second.input[0] = first.output[0] = "x 0=1\nConvolution evil 1 1 x y 0=9"


def a_long_name(model: onnx.ModelProto) -> None:
    first, second = list(model.graph.node)[:2]
    second.input[0] = first.output[0] = "x" * 300


def doubling(model: onnx.ModelProto) -> None:
    """A kernel that is derived by 2^40 additions."""
    names = ["conv00.weight", *(f"sum{i}" for i in range(40))]
    nodes = [helper.make_node("Add", [old, old], [new]) for old, new in pairwise(names)]
    rest = list(model.graph.node)
    rest[0].input[1] = names[-1]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


NOT_UNDERSTOOD: dict[str, tuple[Change, str]] = {
    "another operation": (renamed_op("LeakyRelu", "Relu"), "Relu -> l00"),
    "another pool": (renamed_op("MaxPool", "AveragePool"), "AveragePool -> l01"),
    "strides": (with_attribute("Conv", "strides", [2, 2]), "Conv -> l00c"),
    "groups": (with_attribute("Conv", "group", 3), "Conv -> l00c"),
    "uneven pads": (with_attribute("Conv", "pads", [1, 0, 1, 0]), "Conv -> l00c"),
    "a pool of nothing": (with_attribute("MaxPool", "strides", [0, 0]), "MaxPool -> l01"),
    "pads beyond the window": (with_attribute("MaxPool", "pads", [5, 5, 5, 5]), "MaxPool -> l01"),
    "ceiling": (with_attribute("MaxPool", "ceil_mode", 1), "MaxPool -> l01"),
    "bilinear": (with_attribute("Resize", "mode", "linear"), "Resize -> l19"),
    "kernels of other layers": (swapped_kernels, "Conv -> l00c"),
    "a map that is fused away": (read_before_the_norm, "l01"),
    "a map that comes later": (looped, "Conv -> l00c"),
    "a name of two lines": (a_second_line, "name that ncnn's text form cannot hold"),
    "a long name": (a_long_name, "name that ncnn's text form cannot hold"),
    "derived for ever": (doubling, "256 nodes"),
    "along the rows": (joined_otherwise, "Concat -> l20"),
}


@pytest.mark.parametrize(("change", "named"), NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_node_that_ncnn_is_not_taught_is_named(change: Change, named: str) -> None:
    fitted = fit_graph(changed(change), weights())
    with pytest.raises(ModelError, match=named):
        translate(fitted)


def test_a_graph_without_decoding_is_refused() -> None:
    def cut(model: onnx.ModelProto) -> None:
        del model.graph.node[-2:]

    with pytest.raises(ModelError, match="embedding"):
        translate(fit_graph(changed(cut), weights()))


@forms
def test_the_translation_streams_each_weight_once(form: str) -> None:
    fitted = fit_graph(graph(form), weights(form))
    sizes = [part.nbytes for part in translate(fitted).stream(fitted.tensors)]
    convolutions = [line for line in translate(fitted).param.splitlines() if line.startswith("Convolution ")]
    assert len(sizes) == 3 * len(convolutions) == 39
    assert sizes[0::3] == [4] * 13
    assert sizes[1::3] == [4 * int(line.split(" 6=")[1].split()[0]) for line in convolutions]


@forms
def test_every_blob_is_made_once_and_read_at_most_once(form: str) -> None:
    plan = translate(fit_graph(graph(form), weights(form)))
    made: list[str] = []
    read: list[str] = []
    _, counts, *lines = plan.param.splitlines()
    for line in lines:
        fields = line.split()
        inputs, outputs = int(fields[2]), int(fields[3])
        read += fields[4 : 4 + inputs]
        made += fields[4 + inputs : 4 + inputs + outputs]
    assert counts == f"{len(lines)} {len(made)}"
    assert len(set(made)) == len(made)
    assert sorted([*read, *plan.taps.values()]) == sorted({*made} & {*read, *plan.taps.values()})
    assert set(made) == {*read, *plan.taps.values()}


def test_an_int8_image_becomes_planes_of_the_blocks() -> None:
    fitted = fit_graph(graph(INT8), weights(INT8))
    blocks = to_input(tiles(1), fitted.metadata)["blocks"]
    planes = translate(fitted).head(blocks[0])
    np.testing.assert_allclose(planes, blocks[0].transpose(2, 0, 1) / np.float32(255), rtol=1e-6)
    assert planes.shape[0] == 12
    assert planes.shape[1] >= SIDE // 2


# Nodes in numpy, against ONNX Runtime.


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        ("Reshape", [np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), np.array([0, -1], np.int64)], {}),
        ("Transpose", [np.arange(6.0, dtype=np.float32).reshape(1, 2, 3)], {"perm": [2, 0, 1]}),
        ("Sigmoid", [np.array([-200, -1, 0, 1, 200], np.float32)], {}),
        ("Concat", [np.ones((1, 2), np.float32), np.zeros((1, 3), np.float32)], {"axis": 1}),
        ("ReduceMean", [np.arange(8.0, dtype=np.float32).reshape(1, 2, 2, 2)], {"axes": [2, 3], "keepdims": 0}),
        ("DequantizeLinear", [np.array([[1, 255]], np.uint8), np.array([0.5, 2], np.float32), np.array([3, 9], np.uint8)], {}),
        ("DequantizeLinear", [np.array([[-7], [8]], np.int8), np.array([0.5, 2], np.float32)], {"axis": 0}),
        ("DequantizeLinear", [np.array([5, 6], np.uint8), np.array(0.25, np.float32), np.array(6, np.uint8)], {}),
        ("Pad", [np.ones((2, 2), np.int8), np.array([0, 1, 2, 0], np.int64)], {}),
        ("Round", [np.array([-1.5, -0.5, 0.5, 2.5], np.float32)], {}),
        ("Cast", [np.array([-3.0, 4.0], np.float32)], {"to": TensorProto.INT32}),
        ("Div", [np.array([1.0, 2.0], np.float32), np.array(4.0, np.float32)], {}),
    ],
)
def test_a_node_in_numpy_is_the_runtimes(op: str, arrays: list[np.ndarray], attributes: dict[str, object]) -> None:
    names = [f"x{i}" for i in range(len(arrays))]
    made = helper.make_node(op, names, ["y"], **attributes)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, arrays, strict=True)
    ]
    model = helper.make_model(
        helper.make_graph([made], "one", inputs, [helper.make_empty_tensor_value_info("y")]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, dict(zip(names, arrays, strict=True)))
    ours = {n.name: helper.get_attribute_value(n) for n in made.attribute}
    (found,) = OPERATIONS[op](Node(op, tuple(names), ("y",), ours), arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_derived_of_the_weights_is_computed_when_asked() -> None:
    derived = {"c": Node("Mul", ("a", "b"), ("c",), {}), "d": Node("Add", ("c", "a"), ("d",), {})}
    known = Known({"a": np.array(2.0)}, {"b": np.array(5.0)}, derived)
    assert known("d") == 12
    assert "d" in known
    assert "e" not in known
