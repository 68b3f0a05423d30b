"""ONNX Runtime as an `Engine`: a small graph, and named weights that are fed in when the session is built.

The graph declares its weights as external data; `SessionOptions.add_external_initializers` supplies them from memory by name,
so that an update touches tensors and never the graph. ONNX Runtime refuses a name, shape or dtype that the graph does not
have; a weight that is missing would be looked for in a file, so the folder for such files is set to one that cannot exist.

Light and repeatable: one thread by default, no spinning while idle, and a memory arena. The arena holds what one batch needs
and is bounded by the largest one: without it the heap is torn up by buffers that come and go, and a process that looks at
scenes takes twice as much (318 against 151 MB on one), and a fortieth more time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.onnx_graph import check_steps, fit_graph
from orbitloop.onboard.engine import to_input, to_predictions
from orbitloop.records.model import ModelMetadata
from orbitloop.records.prediction import Prediction

_NOWHERE = "/dev/null/no-weights-from-files"
_SILENT = 4


class OnnxEngine:
    """A model loaded from bytes.

    Args:
        graph: the ONNX file, weights left out.
        weights: tensors by the names of the graph's external initializers.
        threads: how many threads one inference may use.
        where: what the model is called in errors.

    Raises:
        ModelError: graph, weights and metadata are malformed or do not fit each other.
    """

    def __init__(
        self, graph: bytes, weights: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, where: str = "model"
    ) -> None:
        self._where = where
        # Before the runtime sees it: it would follow a path to a file, and run a loop for as long as the graph says.
        fitted = fit_graph(graph, weights, where)
        check_steps(fitted.graph, where)
        # The session copies what it keeps (documented, C API `AddExternalInitializers`), so these live as long as it is built:
        # a third of the memory of a loaded model.
        tensors = fitted.tensors
        try:
            values = [ort.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
            options = self._options(threads)
            options.add_external_initializers(list(tensors), values)
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise ModelError(
                f"the runtime refuses the model ({_brief(error)})",
                where=where,
                remedy="graph and weights must come from one export",
            ) from error
        self._metadata = fitted.metadata

    def _options(self, threads: int) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.enable_cpu_mem_arena = True
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
        return options

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        image = to_input(tiles, self._metadata)
        return to_predictions(*self._run(image, len(tiles)), self._metadata) if len(tiles) else []

    def rows(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the decoded output before any threshold, (B, A, 5 + C): what a parity check compares.

        Raises:
            ModelError: as `infer`.
        """
        return self._run(to_input(tiles, self._metadata), len(tiles))[0]

    def _run(
        self, image: Mapping[str, npt.NDArray[Any]], count: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        try:
            pred, embedding = self._session.run(["pred", "embedding"], dict(image))
        except Exception as error:  # see __init__
            raise ModelError(f"the runtime fails ({_brief(error)})", where=self._where) from error
        if len(pred) != count:
            raise ModelError(f"{len(pred)} predictions for {count} tiles", where=self._where)
        return pred, embedding


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
