"""OpenVINO as an `Engine`: an optional second runtime for Intel and AMD processors (extra `openvino`).

OpenVINO takes no weights by name, so the graph is handed to it with each outside tensor bound to the address of its array; it
copies them while it reads, and the graph that comes from outside may name no address of its own (`onnx_graph`).

It computes in float32 unless told: on processors with bfloat16 the default is bfloat16, which no parity check passes. One
stream, as many threads as asked, no pinning to cores that a neighbour may use, no cache on disk. One tile at a time: with the
shape known it is no slower than a batch of eight, and its buffers take an eighth.

The package reports its own import to a web service unless a file forbids it; the module that does is kept from loading.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.onnx_graph import FittedGraph, bind_weights, fit_graph, round_again
from orbitloop.onboard.engine import to_input, to_predictions
from orbitloop.records.model import ModelMetadata
from orbitloop.records.prediction import Prediction

# `openvino/__init__` imports its converter, and that sends "import" over the network; it takes an ImportError from both calmly.
_KEPT_OUT = ("openvino_telemetry", "openvino.tools.ovc")


def load_openvino() -> Any:
    """Import OpenVINO's runtime alone.

    Raises:
        ImportError: it is not installed, or broken.
    """
    missing = [name for name in _KEPT_OUT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: "there is no such module"
    try:
        import openvino
    finally:
        for name in missing:
            sys.modules.pop(name, None)
    return openvino


class OpenvinoEngine:
    """A model loaded from bytes; arguments, methods and errors as those of `OnnxEngine`."""

    def __init__(
        self, graph: bytes, weights: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, where: str = "model"
    ) -> None:
        self._where = where
        fitted = fit_graph(graph, weights, where)
        self._name, self._metadata = fitted.image, fitted.metadata
        side = self._metadata.preprocessing.tile_px
        one = to_input(np.zeros((1, side, side, 3), np.uint8), self._metadata)[self._name]
        openvino = load_openvino()
        try:
            core = openvino.Core()
            model = core.read_model(bind_weights(_with_integer_image(graph, fitted), fitted.tensors))
            model.reshape({self._name: list(one.shape)})
            compiled = core.compile_model(model, "CPU", _settings(threads))
            self._request = compiled.create_infer_request()
        except Exception as error:  # OpenVINO's errors share no base but Exception
            raise ModelError(
                f"OpenVINO refuses the model ({_brief(error)})",
                where=where,
                remedy="graph and weights must come from one export",
            ) from error
        self._busy = threading.Lock()  # a request serves one caller at a time

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        image = to_input(tiles, self._metadata)[self._name]
        return to_predictions(*self._run(image), self._metadata) if len(image) else []

    def rows(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the decoded output before any threshold, (B, A, 5 + C): what a parity check compares.

        Raises:
            ModelError: as `infer`.
        """
        return self._run(to_input(tiles, self._metadata)[self._name])[0]

    def _run(self, image: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        found = []
        with self._busy:
            for one in image:
                try:
                    self._request.infer({self._name: one[None]}, share_inputs=True)
                    found.append([self._request.get_tensor(name).data.copy() for name in ("pred", "embedding")])
                except Exception as error:  # see __init__
                    raise ModelError(f"OpenVINO fails ({_brief(error)})", where=self._where) from error
        if not found:
            raise ModelError("there is no tile to run", where=self._where)
        pred, embedding = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return pred, embedding


def _with_integer_image(graph: bytes, fitted: FittedGraph) -> bytes:
    """Let OpenVINO see that an int8 model's image is integers; otherwise its first convolution is float32, and costs a third.

    The image comes in as integers and is read back by a lone DequantizeLinear, where OpenVINO looks for pairs.
    """
    untouched = {fitted.image}
    for node in fitted.graph.nodes:
        if node.inputs and node.inputs[0] in untouched and node.op == "Transpose":
            untouched.update(node.outputs)
        elif node.inputs and node.inputs[0] in untouched and node.op == "DequantizeLinear" and len(node.inputs) == 3:
            return round_again(graph, node.outputs[0])
    return graph


def _settings(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "CACHE_DIR": "",
    }


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
