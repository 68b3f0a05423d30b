"""The graph that flies: well-formed, small, without weights, and computing what the trained network computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from orbitloop.errors import ExportError, ModelError
from orbitloop.ground.adapters.network import Weights, initial_weights
from orbitloop.ground.adapters.reference import torch_rows
from orbitloop.ground.export import write_graph
from orbitloop.ground.parity import check_parity
from orbitloop.onboard.adapters import onnx_graph
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.records.model import METADATA_KEY, WEIGHTS_FILE, ModelMetadata, Preprocessing

torch.set_num_threads(1)
ANCHORS = (((50.0, 60.0), (90.0, 70.0), (120.0, 130.0)), ((10.0, 12.0), (20.0, 16.0), (30.0, 28.0)))
SIDE = 96
CASES = [(0.05, 1), (0.05, 3), (0.25, 1), (0.25, 3)]


def metadata(width: float = 0.05, classes: int = 1) -> ModelMetadata:
    return ModelMetadata(
        "fields", tuple(f"class {c}" for c in range(classes)), width, (32, 16), ANCHORS, Preprocessing(SIDE, 16)
    )


@cache
def weights(width: float = 0.05, classes: int = 1) -> Weights:
    """Weights with lively batch-norms, and outputs that see something in most places, so that boxes are compared too."""
    rng = np.random.default_rng(3)
    made = initial_weights(width, classes, 1)
    for name, array in made.items():
        part = name.split(".")[1]
        if name.startswith("bn"):
            low, high = {"weight": (0.6, 1.4), "bias": (-0.4, 0.4), "mean": (-0.3, 0.3), "var": (0.5, 2.0)}[part]
            array[:] = rng.uniform(low, high, array.shape)
        elif part == "bias":
            array[:] = rng.normal(0, 1, array.shape)
    return made


def tiles(count: int = 3) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(0, 9, (count, SIDE, SIDE, 3)), axis=1) + 128
    return list(np.clip(smooth, 0, 255).astype(np.uint8))


def rows_of(graph: bytes, tensors: Weights, pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    return OnnxEngine(graph, tensors).rows(np.stack(pictures))


@pytest.mark.parametrize(("width", "classes"), CASES)
def test_runtime_rows_equal_the_trained_networks(width: float, classes: int) -> None:
    about, tensors = metadata(width, classes), weights(width, classes)
    graph = write_graph(about, tensors)
    reference, runtime = torch_rows(about, tensors, tiles()), rows_of(graph, tensors, tiles())
    assert runtime.shape == (3, 3 * (3 * 3 + 6 * 6), 5 + classes)
    found = check_parity(reference, runtime, 0.05)
    assert found.rows > 50
    assert found.worst_box_px < 0.01
    assert found.worst_score < 1e-4


@pytest.mark.parametrize(("width", "classes"), [*CASES, (1.0, 80)])
def test_the_graph_is_well_formed_small_and_without_weights(width: float, classes: int) -> None:
    # Shapes are all that is read, so the full network costs nothing here.
    shapes = {n: np.broadcast_to(np.float32(0), a.shape) for n, a in _shapes(width, classes).items()}
    graph = write_graph(metadata(width, classes), shapes)
    assert len(graph) < 64_000
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(_with_zeros(model), full_check=True)
    outside = {t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == set(shapes)
    for tensor in model.graph.initializer:
        if tensor.name in outside:
            assert not tensor.raw_data
            assert not tensor.float_data
            assert tuple(tensor.dims) == shapes[tensor.name].shape
            assert {e.key: e.value for e in tensor.external_data}["location"] == WEIGHTS_FILE


def _shapes(width: float, classes: int) -> Weights:
    return initial_weights(width, classes, 0) if width < 1 else _full(classes)


@cache
def _full(classes: int) -> Weights:
    from orbitloop.ground.topology import layers

    made: Weights = {}
    for layer in layers(1.0, classes):
        for name in layer.tensors:
            kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            made[name] = np.broadcast_to(np.float32(0), kernel if name == f"{layer.conv}.weight" else (layer.out_channels,))
    return made


def _with_zeros(model: onnx.ModelProto) -> onnx.ModelProto:
    """The checker wants its external data on disk; give the small tensors inside, and of the large ones only the shape."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs = [t for t in copy.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in inputs:
        copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        copy.graph.initializer.remove(tensor)
    return copy


def test_the_same_model_gives_the_same_bytes() -> None:
    tensors = weights()
    assert write_graph(metadata(), tensors) == write_graph(metadata(), dict(reversed(tensors.items())))
    assert write_graph(metadata(), tensors) != write_graph(replace(metadata(), name="ships"), tensors)


def test_other_weights_of_the_same_shapes_need_no_other_graph() -> None:
    assert write_graph(metadata(), weights()) == write_graph(metadata(), initial_weights(0.05, 1, 9))


def test_metadata_travels_inside() -> None:
    about = replace(metadata(classes=3), preprocessing=Preprocessing(SIDE, 8, 7, 0.1, 0.3, 0.45, 50))
    graph = write_graph(about, weights(classes=3))
    assert OnnxEngine(graph, weights(classes=3)).metadata == about
    carried = {p.key: p.value for p in onnx.load_from_string(graph).metadata_props}
    assert ModelMetadata.from_json(json.loads(carried[METADATA_KEY])) == about


def test_the_batch_may_have_any_size() -> None:
    graph = write_graph(metadata(), weights())
    whole = rows_of(graph, weights(), tiles(4))
    for k, tile in enumerate(tiles(4)):
        assert np.allclose(rows_of(graph, weights(), [tile])[0], whole[k], atol=1e-4)


@pytest.mark.parametrize("lost", ["conv00.weight", "bn12.var", "conv22.bias"])
def test_a_missing_tensor_is_no_model(lost: str) -> None:
    graph = write_graph(metadata(), weights())
    with pytest.raises(ModelError):
        OnnxEngine(graph, {n: a for n, a in weights().items() if n != lost})


def test_rows_by_hand_where_the_outputs_say_nothing_but_their_bias() -> None:
    # Zero weights leave the biases: xy offsets 2 * 0.5 - 0.5 = half a cell, sides (2 * 0.5)^2 = one anchor.
    about = metadata()
    tensors = {n: np.zeros_like(a) if n.startswith(("conv15", "conv22")) else a for n, a in weights().items()}
    found = rows_of(write_graph(about, tensors), tensors, tiles(1))[0]
    wanted = [(16 + 32 * x, 16 + 32 * y, w, h, 0.5, 0.5) for w, h in ANCHORS[0] for y in range(3) for x in range(3)] + [
        (8 + 16 * x, 8 + 16 * y, w, h, 0.5, 0.5) for w, h in ANCHORS[1] for y in range(6) for x in range(6)
    ]
    assert np.allclose(found, wanted, atol=1e-4)
    assert np.allclose(torch_rows(about, tensors, tiles(1))[0], wanted, atol=1e-4)


def test_strongly_negative_activations_at_the_border_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime folds a zero pad into the pool as -inf (#18136); ours is -inf in both, and shows where it is not."""
    about, tensors = metadata(), {n: a.copy() for n, a in weights().items()}
    tensors["bn10.weight"][:] = 0.01
    tensors["bn10.bias"][:] = -60.0  # after the leaky ReLU every value before the pool is about -6
    graph = write_graph(about, tensors)
    reference, runtime = torch_rows(about, tensors, tiles()), rows_of(graph, tensors, tiles())
    check_parity(reference, runtime, 0.0)
    model = onnx.load_from_string(graph)
    pool = next(n for n in model.graph.node if n.output[0] == "l11")
    pads = {a.name: list(a.ints) for a in pool.attribute}
    assert pads["pads"] == [0, 0, 1, 1]
    assert not any(n.op_type == "Pad" for n in model.graph.node)
    # A zero in the padding would be the maximum of every border window, and the border's outputs would be others.
    padded = onnx.ModelProto()
    padded.CopyFrom(model)
    _pad_with_zero(padded)
    monkeypatch.setattr(onnx_graph, "OPERATIONS", onnx_graph.OPERATIONS | {"Slice"})  # no graph of ours does that
    with pytest.raises(ExportError, match="differs"):
        check_parity(reference, rows_of(padded.SerializeToString(), tensors, tiles()), 0.0)


def _pad_with_zero(model: onnx.ModelProto) -> None:
    """Replace the pool by max(0 pad, pool) in a form that no optimiser folds: concatenate zeros, then pool."""
    nodes = list(model.graph.node)
    place = next(i for i, n in enumerate(nodes) if n.output[0] == "l11")
    source = nodes[place].input[0]
    zero = [
        onnx.helper.make_node("Mul", [source, "nought"], ["zeros"]),
        onnx.helper.make_node("Slice", ["zeros", "first", "second", "third_axis"], ["row"]),
        onnx.helper.make_node("Concat", [source, "row"], ["taller"], axis=2),
        onnx.helper.make_node("Mul", ["taller", "nought"], ["zeros2"]),
        onnx.helper.make_node("Slice", ["zeros2", "first", "second", "fourth_axis"], ["column"]),
        onnx.helper.make_node("Concat", ["taller", "column"], ["wider"], axis=3),
        onnx.helper.make_node("MaxPool", ["wider"], ["l11"], kernel_shape=[2, 2], strides=[1, 1]),
    ]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *zero, *nodes[place + 1 :]])
    for name, value in (("first", 0), ("second", 1), ("third_axis", 2), ("fourth_axis", 3)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.float32), "nought"))


def swap_anchors(model: onnx.ModelProto) -> None:
    one, other = (next(t for t in model.graph.initializer if t.name == f"d{k}.anchors") for k in (0, 1))
    one.raw_data, other.raw_data = other.raw_data, one.raw_data


def swap_sides(model: onnx.ModelProto) -> None:
    anchors = next(t for t in model.graph.initializer if t.name == "d1.anchors")
    turned = onnx.numpy_helper.to_array(anchors)[..., ::-1]
    anchors.raw_data = np.ascontiguousarray(turned).tobytes()


def darknet_epsilon(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-2


def steeper_leak(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "alpha":
                attribute.f = 0.11


def other_grid(model: onnx.ModelProto) -> None:
    grid = next(t for t in model.graph.initializer if t.name == "d0.grid")
    grid.raw_data = (onnx.numpy_helper.to_array(grid) + np.float32(0.5)).tobytes()


@pytest.mark.parametrize("slip", [swap_anchors, swap_sides, darknet_epsilon, steeper_leak, other_grid])
def test_the_parity_gate_refuses_a_slip(slip: Callable[[onnx.ModelProto], None]) -> None:
    about, tensors = metadata(), weights()
    model = onnx.load_from_string(write_graph(about, tensors))
    slip(model)
    with pytest.raises(ExportError, match="differs from the trained one"):
        check_parity(torch_rows(about, tensors, tiles()), rows_of(model.SerializeToString(), tensors, tiles()), 0.05)


def some_rows() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(0, 96, (2, 30, 4)), rng.uniform(0.1, 1, (2, 30, 3))], axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("place", "change", "passes"),
    [
        ((1, 7, 2), 0.09, True),
        ((1, 7, 2), 0.11, False),
        ((1, 7, 4), 0.001, True),
        ((1, 7, 4), 0.1, False),
        ((1, 7, 6), -0.1, False),
        ((1, 7, 0), float("nan"), False),
        ((1, 7, 4), float("nan"), False),
        ((0, 0, 5), float("inf"), False),
    ],
)
def test_parity_has_limits(place: tuple[int, int, int], change: float, passes: bool) -> None:
    reference = some_rows()
    runtime = reference.copy()
    runtime[place] += np.float32(change)
    if passes:
        assert check_parity(reference, runtime, 0.0).rows == 60
        return
    with pytest.raises(ExportError, match=f"tile {place[0]}"):
        check_parity(reference, runtime, 0.0)


def test_boxes_that_nobody_reports_may_differ_and_scores_may_not() -> None:
    reference = some_rows()
    reference[:, :, 4] = 0.01
    runtime = reference.copy()
    runtime[..., :4] += 50
    assert check_parity(reference, runtime, 0.05).rows == 0
    runtime[0, 0, 4] = 0.9
    with pytest.raises(ExportError, match="scores by"):
        check_parity(reference, runtime, 0.05)


def test_a_box_that_one_side_would_report_is_compared() -> None:
    reference = some_rows()
    reference[..., 4:] = 0.2236  # score 0.049997; a little more on the other side passes as a score, and reports the box
    runtime = reference.copy()
    runtime[0, 0, 5:] = 0.2240
    assert check_parity(reference, runtime, 0.05).rows == 1
    runtime[0, 0, 3] += 1
    with pytest.raises(ExportError, match=r"boxes by 1\.000 px"):
        check_parity(reference, runtime, 0.05)


def test_nothing_to_compare_is_no_parity() -> None:
    with pytest.raises(ExportError, match="no tile"):
        check_parity(np.zeros((0, 30, 6), np.float32), np.zeros((0, 30, 6), np.float32), 0.05)
    with pytest.raises(ExportError, match=r"gives \(2, 30, 7\), the trained one \(2, 29, 7\)"):
        check_parity(some_rows()[:, :29], some_rows(), 0.05)
