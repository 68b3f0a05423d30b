"""ONNX Runtime behind the port: weights from memory, metadata from the graph, every misfit a ModelError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.engine import read_metadata, to_blocks, to_planes, to_predictions
from orbitloop.records.model import METADATA_KEY, ModelMetadata, Preprocessing

TILE = 8
METADATA = ModelMetadata("tiny", ("dark", "bright"), 1.0, (8,), (((4.0, 4.0),),), Preprocessing(TILE, 2))
Tensors = dict[str, npt.NDArray[Any]]


def tiny_weights(dtype: Any = np.float32) -> Tensors:
    """One anchor in the middle of the tile; the chance of an object is its mean red, of `bright` its mean green."""
    mix = np.zeros((7, 3, 1, 1), dtype)
    mix[4, 0] = 1.0
    mix[5, 1], mix[6, 1] = -1.0, 1.0
    return {"mix.weight": mix, "mix.bias": np.array([4, 4, 4, 2, 0, 1, 0], dtype)}


def external(name: str, array: npt.NDArray[Any]) -> Any:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.safetensors"), ("offset", "0"), ("length", str(array.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def tiny_graph(metadata: str | None = None, *, names: Mapping[str, str] | None = None, scale: float = 1.0) -> bytes:
    """image -> mean colour -> 1 x 1 convolution (pred), and the mean colour itself (embedding)."""
    called = {"image": "image", "pred": "pred", "embedding": "embedding"} | dict(names or {})
    constants = [
        numpy_helper.from_array(np.array([0, 1, 7], np.int64), "as_pred"),
        numpy_helper.from_array(np.array([0, 3], np.int64), "as_vector"),
        numpy_helper.from_array(np.array(scale, np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", [called["image"]], ["mean"]),
        helper.make_node("Conv", ["mean", "mix.weight", "mix.bias"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "as_pred"], ["rows"]),
        helper.make_node("Mul", ["rows", "scale"], [called["pred"]]),
        helper.make_node("Reshape", ["mean", "as_vector"], [called["embedding"]]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(called["image"], TensorProto.FLOAT, ["B", 3, TILE, TILE])],
        [
            helper.make_tensor_value_info(called["pred"], TensorProto.FLOAT, ["B", 1, 7]),
            helper.make_tensor_value_info(called["embedding"], TensorProto.FLOAT, ["B", 3]),
        ],
        [*(external(name, w) for name, w in tiny_weights().items()), *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {METADATA_KEY: json.dumps(METADATA.to_json()) if metadata is None else metadata})
    return bytes(model.SerializeToString())


def tiles(*colours: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.stack([np.full((TILE, TILE, 3), c, np.uint8) for c in colours])


def test_inference_with_weights_from_memory() -> None:
    engine = OnnxEngine(tiny_graph(), tiny_weights())
    assert engine.metadata == METADATA
    bright, dark, nothing = engine.infer(tiles((204, 255, 0), (255, 51, 51), (2, 0, 0)))
    np.testing.assert_allclose(bright.detections.boxes_xyxy_px, [[2, 3, 6, 5]], atol=1e-5)
    assert bright.detections.scores.tolist() == pytest.approx([0.8], abs=1e-5)
    assert bright.detections.classes.tolist() == [1]
    assert dark.detections.classes.tolist() == [0]
    assert dark.detections.scores.tolist() == pytest.approx([0.8], abs=1e-5)
    assert len(nothing.detections) == 0
    assert np.linalg.norm(bright.embedding) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(bright.embedding, np.array([204, 255, 0]) / np.hypot(204, 255), atol=1e-6)


def test_other_weights_other_answers_same_graph() -> None:
    weights = tiny_weights()
    weights["mix.bias"] = weights["mix.bias"] + np.array([0, 0, 0, 0, 0, -1, 1], np.float32)
    found = OnnxEngine(tiny_graph(), weights).infer(tiles((255, 51, 51)))[0].detections
    assert found.classes.tolist() == [1]


def test_any_batch_gives_the_same_and_none_gives_none() -> None:
    engine = OnnxEngine(tiny_graph(), tiny_weights())
    batch = np.random.default_rng(0).integers(0, 256, (5, TILE, TILE, 3), np.uint8)
    together = engine.infer(batch)
    alone = [engine.infer(tile[None])[0] for tile in batch]
    for a, b in zip(together, alone, strict=True):
        assert a.detections.scores.tobytes() == b.detections.scores.tobytes()
        assert a.embedding.tobytes() == b.embedding.tobytes()
    assert engine.infer(batch[:0]) == []


def test_weights_need_not_be_contiguous_nor_outlive_the_call() -> None:
    weights = tiny_weights()
    weights["mix.weight"] = np.asfortranarray(weights["mix.weight"])
    engine = OnnxEngine(tiny_graph(), weights)
    expected = OnnxEngine(tiny_graph(), tiny_weights()).infer(tiles((204, 255, 0)))[0].detections.scores
    weights.clear()
    assert engine.infer(tiles((204, 255, 0)))[0].detections.scores.tobytes() == expected.tobytes()


def misfits() -> list[tuple[str, bytes, Tensors]]:
    good, graph = tiny_weights(), tiny_graph()
    return [
        ("nothing", b"", good),
        ("junk", b"junk" * 50, good),
        ("truncated", graph[: len(graph) // 2], good),
        ("missing", graph, {"mix.weight": good["mix.weight"]}),
        ("none", graph, {}),
        ("extra", graph, good | {"more": good["mix.bias"]}),
        ("shape", graph, good | {"mix.bias": good["mix.bias"][:3]}),
        ("dtype", graph, tiny_weights(np.float64)),
        ("object", graph, good | {"mix.bias": np.array([None] * 7, object)}),
        ("input", tiny_graph(names={"image": "picture"}), good),
        ("output", tiny_graph(names={"embedding": "vector"}), good),
        ("metadata", tiny_graph("not json"), good),
        ("classes", tiny_graph(json.dumps(METADATA.to_json() | {"classes": []})), good),
    ]


@pytest.mark.parametrize(("graph", "weights"), [m[1:] for m in misfits()], ids=[m[0] for m in misfits()])
def test_what_does_not_fit_is_refused_at_load(graph: bytes, weights: Tensors) -> None:
    with pytest.raises(ModelError):
        OnnxEngine(graph, weights)


def test_a_missing_weight_is_not_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 1000)
    with pytest.raises(ModelError):
        OnnxEngine(tiny_graph(), {"mix.weight": tiny_weights()["mix.weight"]})


def test_a_graph_without_metadata_is_refused() -> None:
    model = onnx.load_from_string(tiny_graph())
    del model.metadata_props[:]
    with pytest.raises(ModelError, match="no orbitloop metadata"):
        OnnxEngine(bytes(model.SerializeToString()), tiny_weights())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_an_error(value: float) -> None:
    weights = tiny_weights()
    weights["mix.bias"] = np.full(7, value, np.float32)
    with pytest.raises(ModelError, match="not finite"):
        OnnxEngine(tiny_graph(), weights).infer(tiles((1, 2, 3)))


def test_more_classes_in_the_metadata_than_in_the_output_are_an_error() -> None:
    metadata = json.dumps(METADATA.to_json() | {"classes": ["a", "b", "c"]})
    with pytest.raises(ModelError, match="3 classes"):
        OnnxEngine(tiny_graph(metadata), tiny_weights()).infer(tiles((1, 2, 3)))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 9, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 3, 8, 8), np.uint8),
    ],
)
def test_tiles_that_do_not_fit_are_refused(bad: npt.NDArray[Any]) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        OnnxEngine(tiny_graph(), tiny_weights()).infer(bad)


def test_input_is_rgb_planes_over_255() -> None:
    image = to_planes(tiles((255, 0, 51)))
    assert image.shape == (1, 3, TILE, TILE)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0, :, 0, 0], [1, 0, 0.2], atol=1e-7)


def test_blocks_are_the_framed_image_in_squares_of_two():
    tile = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    framed = np.pad(tile, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = framed.reshape(2, 4, 2, 4, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 4, 12)
    assert (to_blocks(tile) == expected).all()
    assert to_blocks(tile[:0]).shape == (0, 4, 4, 12)


def test_postprocessing_thresholds_clips_and_suppresses() -> None:
    rows = [
        [4, 4, 4, 4, 0.9, 0.9, 0.1],
        [4.2, 4, 4, 4, 0.8, 0.9, 0.1],  # the same object again
        [4, 4, 4, 4, 0.8, 0.1, 0.9],  # another class there
        [0, 0, 4, 4, 0.9, 0.2, 0.5],  # reaches over the border
        [4, 4, 2, 2, 0.3, 0.1, 0.1],  # 0.03 is below the candidate score
        [20, 20, 2, 2, 0.9, 0.9, 0.1],  # outside of the tile
        [4, 4, -2, 2, 0.9, 0.9, 0.1],  # inside out
    ]
    found = to_predictions(np.array([rows], np.float32), np.zeros((1, 4), np.float32), METADATA)[0]
    assert found.detections.scores.tolist() == pytest.approx([0.81, 0.72, 0.45])
    assert found.detections.classes.tolist() == [0, 1, 1]
    assert found.detections.boxes_xyxy_px[2].tolist() == [0, 0, 2, 2]
    assert found.embedding.tolist() == [0, 0, 0, 0]


def test_no_anchors_no_detections() -> None:
    found = to_predictions(np.zeros((2, 0, 7), np.float32), np.ones((2, 4), np.float32), METADATA)
    assert [len(p.detections) for p in found] == [0, 0]


FIELDS = st.sampled_from(["name", "classes", "width", "strides", "anchors_px", "preprocessing"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Preprocessing.__slots__, "x"]), inner, max_size=8)
    ),
    max_leaves=10,
)


@given(st.dictionaries(FIELDS, VALUES), st.booleans())
@settings(max_examples=50, deadline=None)
def test_metadata_is_read_or_refused_with_the_one_error(changes: dict[str, Any], inside: bool) -> None:
    value = METADATA.to_json()
    if inside and isinstance(changes.get("preprocessing"), dict):
        changes["preprocessing"] = value["preprocessing"] | changes["preprocessing"]
    try:
        metadata = read_metadata(json.dumps(value | changes))
    except ModelError:
        return
    assert read_metadata(json.dumps(metadata.to_json())).preprocessing == metadata.preprocessing


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_text_is_refused_with_the_one_error(text: str) -> None:
    with pytest.raises(ModelError):
        read_metadata(text)


@pytest.mark.parametrize(
    "change",
    [
        {"tile_px": 0},
        {"tile_px": 10**9},
        {"overlap_px": 8},
        {"nms_iou": 2},
        {"pad_value": 256},
        {"tile_px": True},
        {"report_score": "x"},
    ],
)
def test_rules_out_of_range_are_refused(change: dict[str, Any]) -> None:
    value = METADATA.to_json()
    value["preprocessing"] |= change
    with pytest.raises(ModelError, match="metadata has"):
        read_metadata(json.dumps(value))
