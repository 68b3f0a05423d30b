"""The int8 form: what the graph computes, which numbers stay when training moves little, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.make import make_delta
from orbitloop.errors import ExportError
from orbitloop.ground.adapters.calibration import observe_activations
from orbitloop.ground.export import write_graph
from orbitloop.ground.export_int8 import write_int8_graph
from orbitloop.ground.quantise import Activations, Range, best_range, calibration_tiles, quantise, requantise
from orbitloop.ground.topology import layers, partition
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.engine import to_blocks
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.model import INT8, ModelMetadata, Preprocessing

WIDTH, SIDE = 0.1, 96
ANCHORS = (((50.0, 60.0), (90.0, 70.0), (120.0, 130.0)), ((10.0, 12.0), (20.0, 16.0), (30.0, 28.0)))
FLOAT = ModelMetadata("tiny", ("field",), WIDTH, (32, 16), ANCHORS, Preprocessing(SIDE, 16))


def trained(seed: int = 3) -> dict[str, np.ndarray]:
    """Weights of a lively network, not of a trained one: activations of both signs in every layer."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for layer in layers(WIDTH, 1):
        size, inputs, side = layer.out_channels, layer.in_channels, layer.kernel
        if layer.tensors:
            made[f"{layer.conv}.weight"] = rng.normal(0, (2 / (inputs * side**2)) ** 0.5, (size, inputs, side, side))
        if layer.kind == "output":
            made[f"{layer.conv}.bias"] = rng.normal(0, 1, size)
        if layer.kind == "conv":
            made[f"{layer.bn}.weight"] = rng.uniform(0.6, 1.4, size) * rng.choice([1, 1, 1, -1], size)
            made[f"{layer.bn}.bias"] = rng.uniform(-0.4, 0.4, size)
            made[f"{layer.bn}.mean"] = rng.uniform(-0.3, 0.3, size)
            made[f"{layer.bn}.var"] = rng.uniform(0.5, 2, size)
    return {name: array.astype(np.float32) for name, array in made.items()}


def tiles(count: int = 6, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8))


WEIGHTS = trained()
SEEN = observe_activations(FLOAT, WEIGHTS, list(tiles(8, seed=9)))
INTEGERS = quantise(WIDTH, 1, WEIGHTS, SEEN)
META = replace(FLOAT, form=INT8)


def test_the_int8_graph_computes_nearly_what_the_float_graph_computes():
    exact = OnnxEngine(write_graph(FLOAT, WEIGHTS), WEIGHTS).rows(tiles())
    rounded = OnnxEngine(write_int8_graph(META, INTEGERS), INTEGERS).rows(tiles())
    assert rounded.shape == exact.shape
    scores = np.abs(rounded[..., 4:] - exact[..., 4:])
    assert float(scores.mean()) < 0.03
    assert np.corrcoef(rounded[..., 4].ravel(), exact[..., 4].ravel())[0, 1] > 0.98


def test_the_stem_over_blocks_is_the_convolution_and_its_pool():
    """Every pixel of the pooled map, borders and corners too, against a convolution written out in numpy."""
    model = onnx.load_from_string(write_int8_graph(META, INTEGERS))
    for tensor in model.graph.initializer:
        if tensor.name in INTEGERS:
            tensor.CopyFrom(numpy_helper.from_array(INTEGERS[tensor.name], tensor.name))
    model.graph.output.append(helper.make_tensor_value_info("l00p", TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = tiles(1, seed=7)
    (found,) = session.run(["l00p"], {"blocks": to_blocks(picture)})
    kernel = INTEGERS["conv00.weight"].astype(np.float64) * INTEGERS["conv00.scale"].astype(np.float64)[:, None, None, None]
    padded = np.pad(picture[0].transpose(2, 0, 1) / 255, ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    plain = np.einsum("chwij,ocij->ohw", views, kernel) + INTEGERS["conv00.bias"][:, None, None]
    pooled = plain.reshape(len(plain), SIDE // 2, 2, SIDE // 2, 2).max(axis=(2, 4))
    step, zero = float(INTEGERS["pre00.scale"]), int(INTEGERS["pre00.zero"])
    held = np.clip(pooled, -zero * step, (255 - zero) * step)
    assert float(np.abs(found[0] - held).max()) <= 0.51 * step


def test_batch_norm_alone_moves_no_integer_weight():
    names = [n for n in partition(["bn"]) if not n.endswith((".mean", ".var"))]
    rng = np.random.default_rng(4)
    moved = {n: (a * rng.uniform(0.8, 1.25, a.shape)).astype(np.float32) if n in names else a for n, a in WEIGHTS.items()}
    after = requantise(WIDTH, 1, moved, WEIGHTS, INTEGERS, SEEN)
    changed = {n for n in after if not np.array_equal(after[n], INTEGERS[n])}
    assert changed
    assert all(n.endswith((".scale", ".bias")) for n in changed)


def test_no_integer_moves_through_rounds_of_batch_norm_that_go_up_in_ten_bits():
    names = [n for n in partition(["bn"]) if not n.endswith((".mean", ".var"))]
    rng = np.random.default_rng(5)
    master, held = WEIGHTS, INTEGERS
    for _ in range(4):
        moved = {n: (a * rng.uniform(0.9, 1.1, a.shape)).astype(np.float32) if n in names else a for n, a in master.items()}
        target = requantise(WIDTH, 1, moved, master, held, SEEN)
        payload = make_delta(held, target)
        before, master, held = held, moved, apply_delta(held, payload)
        changed = {entry.name for entry in inspect_delta(payload, before)}
        assert changed
        assert all(n.endswith((".scale", ".bias")) for n in changed)
    assert any((held[n] != target[n]).any() for n in changed)  # the rounding to ten bits did come into it


def test_a_channel_that_hardly_listens_keeps_its_bias():
    """Steps of a bias are as fine as its channel's scale, and there are 2^32 of them."""
    quiet = dict(WEIGHTS)
    for name in ("bn08.weight", "conv10.weight", "conv13.weight"):
        quiet[name] = WEIGHTS[name].copy()
    quiet["bn08.weight"][:] = 0
    quiet["bn08.bias"] = np.linspace(2, 5, len(WEIGHTS["bn08.bias"]), dtype=np.float32)
    quiet["conv10.weight"][:2] = 0
    quiet["conv13.weight"][1:] *= 1e-12
    quiet["bn13.bias"] = WEIGHTS["bn13.bias"] + np.float32(3)
    seen = observe_activations(FLOAT, quiet, list(tiles(8, seed=9)))
    integers = quantise(WIDTH, 1, quiet, seen)
    exact = OnnxEngine(write_graph(FLOAT, quiet), quiet).rows(tiles())
    rounded = OnnxEngine(write_int8_graph(META, integers), integers).rows(tiles())
    assert float(np.abs(rounded[..., 4:] - exact[..., 4:]).mean()) < 0.01
    again = requantise(WIDTH, 1, quiet, quiet, integers, seen)
    assert {n for n in again if not np.array_equal(again[n], integers[n])} == set()


def test_what_did_not_train_does_not_change():
    after = requantise(WIDTH, 1, WEIGHTS, WEIGHTS, INTEGERS, SEEN)
    assert {n for n in after if not np.array_equal(after[n], INTEGERS[n])} == set()


@given(st.integers(0, 200), st.floats(0, 0.02))
@settings(max_examples=20, deadline=None)
def test_a_small_step_of_training_moves_few_integers_by_one(seed, size):
    rng = np.random.default_rng(seed)
    moved = dict(WEIGHTS)
    name = "conv08.weight"
    spread = float(np.abs(WEIGHTS[name]).max()) / 127
    moved[name] = (WEIGHTS[name] + rng.uniform(-1, 1, WEIGHTS[name].shape) * spread * size).astype(np.float32)
    after = requantise(WIDTH, 1, moved, WEIGHTS, INTEGERS, SEEN)
    steps = after[name].astype(int) - INTEGERS[name].astype(int)
    assert int(np.abs(steps).max(initial=0)) <= 1
    assert float((steps != 0).mean()) <= 2 * size + 0.01


def test_a_channel_that_outgrew_its_grid_gets_a_new_one():
    moved = dict(WEIGHTS)
    moved["conv08.weight"] = WEIGHTS["conv08.weight"].copy()
    moved["conv08.weight"][2] *= 5
    after = requantise(WIDTH, 1, moved, WEIGHTS, INTEGERS, SEEN)
    read = after["conv08.weight"][2].astype(np.float64) * float(after["conv08.scale"][2])
    before = INTEGERS["conv08.weight"][2].astype(np.float64) * float(INTEGERS["conv08.scale"][2])
    np.testing.assert_allclose(read, 5 * before, atol=5 * float(np.abs(before).max()) / 60)


def test_a_layer_that_was_not_observed_or_is_not_finite_is_refused():
    with pytest.raises(ExportError, match="not calibrated"):
        quantise(WIDTH, 1, WEIGHTS, {k: v for k, v in SEEN.items() if k != 8})
    with pytest.raises(ExportError, match="not finite"):
        quantise(WIDTH, 1, WEIGHTS, SEEN | {8: Activations(np.array([np.nan], np.float32), 0.0, 1.0)})
    with pytest.raises(ExportError, match="not finite"):
        quantise(WIDTH, 1, WEIGHTS | {"conv08.weight": WEIGHTS["conv08.weight"] * np.float32(np.inf)}, SEEN)
    with pytest.raises(ExportError, match="no tile"):
        observe_activations(FLOAT, WEIGHTS, [])


@given(st.floats(-50, 0), st.floats(0, 50), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_range_holds_zero_exactly_and_most_of_its_sample(low, high, seed):
    sample = np.random.default_rng(seed).uniform(low, high, 500)
    found, error = best_range((sample, np.full(500, 1 / 500)), low, high, 1.0)
    assert isinstance(found, Range)
    assert 0 <= found.zero <= 255
    assert found.scale > 0
    read = (np.clip(np.rint(sample / found.scale) + found.zero, 0, 255) - found.zero) * found.scale
    assert float(np.abs(read - sample).mean()) <= (high - low) / 100 + 1e-6
    assert error == pytest.approx(float(((read - sample) ** 2).mean()), abs=1e-9)


def test_a_nearly_constant_layer_has_a_range():
    sample = np.float32(2) + np.arange(100, dtype=np.float32) * np.float32(2.4e-7)
    nearly = SEEN | {8: Activations(sample, float(sample.min()), float(sample.max()))}
    found = quantise(WIDTH, 1, WEIGHTS, nearly)
    assert float(found["pre08.scale"]) * (255 - int(found["pre08.zero"])) == pytest.approx(2, rel=0.02)


def test_calibration_looks_at_objects_and_at_empty_ground():
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[80:100, 80:100] = 255
    image = LabelledImage("a", "d", pixels, Boxes.from_json([[80, 80, 100, 100, 0]]))
    chosen = calibration_tiles([image], FLOAT.preprocessing, 4, np.random.default_rng(0))
    assert 2 <= len(chosen) <= 4
    assert any(tile.max() == 255 for tile in chosen)
    assert any(tile.max() == 0 for tile in chosen)
    assert all(tile.shape == (SIDE, SIDE, 3) for tile in chosen)
