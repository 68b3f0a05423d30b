"""One contract for every engine that is installed, in both forms of a model; and each engine's parity with ONNX Runtime.

An engine that is absent is skipped; `make engines` installs them all and runs this file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from engine_models import FORMS, SIDE, Tensors, graph, metadata, tiles, weights

from orbitloop.errors import ModelError
from orbitloop.ground.parity import check_parity
from orbitloop.onboard.adapters import engines
from orbitloop.onboard.adapters.engines import DEFAULT_ENGINE, ENGINES, installed_engines, open_engine
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.records.model import FLOAT32, INT8

Open = Callable[..., Any]


@pytest.fixture(params=ENGINES)
def name(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: make engines")
    return str(request.param)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(name: str) -> Open:
    return lambda graph, weights, **more: open_engine(name, graph, weights, **more)


def reference(form: str, tensors: Tensors | None = None) -> OnnxEngine:
    return OnnxEngine(graph(form), tensors or weights(form))


# The contract.


def test_metadata_and_one_prediction_per_tile(load: Open, form: str) -> None:
    engine = load(graph(form), weights(form))
    assert engine.metadata == metadata(form)
    found = engine.infer(tiles())
    assert len(found) == 3
    for one in found:
        assert len(one.detections) > 0
        assert np.linalg.norm(one.embedding) == pytest.approx(1.0, abs=1e-5)
        assert one.detections.boxes_xyxy_px.min() >= 0
        assert one.detections.boxes_xyxy_px.max() <= SIDE


def test_any_batch_gives_the_same_and_none_gives_none(load: Open, form: str) -> None:
    engine = load(graph(form), weights(form))
    together, alone = engine.infer(tiles(5)), [engine.infer(tile[None])[0] for tile in tiles(5)]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.detections.scores, b.detections.scores, atol=1e-5)
        np.testing.assert_allclose(a.detections.boxes_xyxy_px, b.detections.boxes_xyxy_px, atol=1e-2)
        np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-5)
    assert engine.infer(tiles()[:0]) == []


def test_the_same_tile_gives_the_same_bytes(load: Open, form: str) -> None:
    first, second = (load(graph(form), weights(form)).rows(tiles()) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_weights_need_not_be_contiguous_nor_outlive_the_call(load: Open, form: str) -> None:
    tensors = {name: np.asfortranarray(array) if array.ndim else array for name, array in weights(form).items()}
    engine = load(graph(form), tensors)
    expected = load(graph(form), weights(form)).rows(tiles())
    for array in tensors.values():
        array.fill(0)
    tensors.clear()
    if not isinstance(engine, OnnxEngine):  # ONNX Runtime reads the arrays' own memory where they are contiguous
        assert engine.rows(tiles()).tobytes() == expected.tobytes()


def test_tiles_need_not_be_contiguous(load: Open, form: str) -> None:
    engine = load(graph(form), weights(form))
    wide = np.repeat(tiles(), 2, axis=0)
    assert engine.rows(wide[::2]).tobytes() == engine.rows(tiles()).tobytes()


def test_other_weights_other_answers_same_graph(load: Open, form: str) -> None:
    changed = weights(form)
    changed["conv15.bias"] += 1
    found = load(graph(form), changed).rows(tiles())
    assert np.abs(found - load(graph(form), weights(form)).rows(tiles())).max() > 0.05


def test_more_threads_compute_the_same_model(load: Open, form: str) -> None:
    one, two = (load(graph(form), weights(form), threads=threads).rows(tiles()) for threads in (1, 2))
    np.testing.assert_allclose(one[..., 4:], two[..., 4:], atol=1e-4)


def test_several_callers_at_once_get_their_own_answers(load: Open, form: str) -> None:
    engine = load(graph(form), weights(form))
    batches = [tiles(1, seed=seed) for seed in range(4)]
    expected = [engine.rows(batch).tobytes() for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: engine.rows(batch).tobytes(), batches * 4))
    assert found == expected * 4


def misfits(form: str) -> dict[str, tuple[bytes, Tensors]]:
    good, bytes_ = weights(form), graph(form)
    without = {name: array for name, array in good.items() if name != "conv15.bias"}
    return {
        "nothing": (b"", good),
        "junk": (b"junk" * 50, good),
        "truncated": (bytes_[: len(bytes_) // 2], good),
        "cut by a byte": (bytes_[:-1], good),
        "a weight missing": (bytes_, without),
        "no weights": (bytes_, {}),
        "a weight too many": (bytes_, good | {"more": good["conv15.bias"]}),
        "shape": (bytes_, good | {"conv15.bias": good["conv15.bias"][:3]}),
        "dtype": (bytes_, good | {"conv15.bias": good["conv15.bias"].astype(np.float64)}),
        "objects": (bytes_, good | {"conv15.bias": np.array([None] * len(good["conv15.bias"]), object)}),
        "input": (renamed(bytes_, "inputs"), good),
        "output": (renamed(bytes_, "outputs"), good),
        "metadata": (with_metadata(bytes_, "not json"), good),
        "no metadata": (with_metadata(bytes_, None), good),
        "classes": (with_metadata(bytes_, json.dumps(metadata(form).to_json() | {"classes": []})), good),
        "the other form": (with_metadata(bytes_, json.dumps(metadata(INT8 if form == FLOAT32 else FLOAT32).to_json())), good),
    }


def renamed(data: bytes, side: str) -> bytes:
    model = onnx.load_from_string(data)
    old, new = (model.graph.input[0].name, "picture") if side == "inputs" else ("embedding", "vector")
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    return bytes(model.SerializeToString())


def with_metadata(data: bytes, text: str | None) -> bytes:
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {"orbitloop": text})
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("case", list(misfits(FLOAT32)))
def test_what_does_not_fit_is_refused_at_load(load: Open, form: str, case: str) -> None:
    with pytest.raises(ModelError):
        load(*misfits(form)[case])


def test_a_missing_weight_is_not_read_from_a_file(load: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 100_000)
    tensors = weights()
    del tensors["conv00.weight"]
    with pytest.raises(ModelError):
        load(graph(), tensors)


def test_a_graph_that_names_an_address_is_refused(load: Open) -> None:
    secret = np.arange(64, dtype=np.float32)
    model = onnx.load_from_string(graph())
    tensor = next(t for t in model.graph.initializer if t.name == "conv15.bias")
    del tensor.external_data[:]
    place = {"location": "*/_ORT_MEM_ADDR_/*", "offset": str(secret.ctypes.data), "length": str(4 * tensor.dims[0])}
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    tensors = weights()
    del tensors["conv15.bias"]
    with pytest.raises(ModelError):
        load(bytes(model.SerializeToString()), tensors)


def test_an_output_that_is_not_finite_is_an_error(load: Open, form: str) -> None:
    tensors = weights(form)
    tensors["conv15.bias"][:] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        load(graph(form), tensors).infer(tiles())


@pytest.mark.parametrize("count", [1, 3])
def test_other_classes_in_the_metadata_than_in_the_output_are_an_error(load: Open, form: str, count: int) -> None:
    about = json.dumps(metadata(form).to_json() | {"classes": ["a", "b", "c"][:count]})
    with pytest.raises(ModelError, match=f"{count} classes"):
        load(with_metadata(graph(form), about), weights(form)).infer(tiles())


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, SIDE + 1, SIDE, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
    ],
)
def test_tiles_that_do_not_fit_are_refused(load: Open, form: str, bad: npt.NDArray[Any]) -> None:
    engine = load(graph(form), weights(form))
    for ask in (engine.infer, engine.rows):
        with pytest.raises(ModelError, match="do not fit"):
            ask(bad)


# Parity.


def test_float_rows_equal_onnx_runtimes(load: Open) -> None:
    found = check_parity(reference(FLOAT32).rows(tiles()), load(graph(), weights()).rows(tiles()), 0.05)
    assert found.rows > 50
    assert found.worst_box_px < 0.01
    assert found.worst_score < 1e-4


def test_the_stride_one_pool_pads_with_minus_infinity(load: Open) -> None:
    """Where all of the map before it is negative, a border of zeros would win."""
    tensors = weights()
    tensors["bn10.bias"][:] = -9
    expected = reference(FLOAT32, tensors).rows(tiles())
    found = load(graph(), tensors).rows(tiles())
    check_parity(expected, found, 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_float_embeddings_equal_onnx_runtimes(load: Open) -> None:
    engine = load(graph(), weights())
    for a, b in zip(reference(FLOAT32).infer(tiles()), engine.infer(tiles()), strict=True):
        np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-4)


def test_int8_rows_are_near_onnx_runtimes(load: Open, name: str) -> None:
    """No gate: engines round at other places, and ncnn computes in float32; a wrong scale or layer would be far out."""
    expected, found = reference(INT8).rows(tiles()), load(graph(INT8), weights(INT8)).rows(tiles())
    gap = np.abs(expected[..., 4:] - found[..., 4:])
    float_gap = np.abs(expected[..., 4:] - reference(FLOAT32).rows(tiles())[..., 4:])
    assert gap.mean() <= 1.5 * float_gap.mean()
    if name != "ncnn":
        assert gap.mean() < 0.002


# Opening one by its name.


def test_onnx_runtime_is_the_default_and_always_installed() -> None:
    assert DEFAULT_ENGINE in installed_engines()
    assert isinstance(open_engine(DEFAULT_ENGINE, graph(), weights()), OnnxEngine)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="onnxruntime, openvino, ncnn"):
        open_engine("tflite", graph(), weights())


@pytest.mark.parametrize("absent", ["openvino", "ncnn"])
def test_an_absent_engine_names_its_extra(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ModelError, match=rf"orbitloop\[{absent}\]"):
        open_engine(absent, graph(), weights())


def test_a_broken_engine_is_not_taken_for_a_broken_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ImportError("libsomething.so.3: cannot open shared object file")

    monkeypatch.setattr("orbitloop.onboard.adapters.onnx_engine.OnnxEngine.__init__", broken)
    with pytest.raises(ModelError, match=r"libsomething\.so\.3"):
        engines.open_engine(DEFAULT_ENGINE, graph(), weights())


_QUIET = """
import sys
def forbid(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        raise SystemExit(f"network: {event} {args}")
sys.addaudithook(forbid)
sys.path.insert(0, sys.argv[1])
from engine_models import graph, tiles, weights
from orbitloop.onboard.adapters.engines import open_engine
assert open_engine(sys.argv[2], graph(), weights()).infer(tiles())
print(sorted(name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools")))
"""


def test_an_engine_neither_writes_files_nor_calls_home(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    found = subprocess.run(
        [sys.executable, "-c", _QUIET, str(Path(__file__).parent), name],
        cwd=home,
        env={**os.environ, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"
    assert list(home.rglob("*")) == []


def test_a_model_of_another_tile_size(load: Open) -> None:
    about = replace(metadata(), preprocessing=replace(metadata().preprocessing, tile_px=64))
    data = graph(FLOAT32, about)
    picture = tiles()[:, :64, :64]
    check_parity(OnnxEngine(data, weights()).rows(picture), load(data, weights()).rows(picture), 0.05)
