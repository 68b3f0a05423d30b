"""ncnn as an `Engine`: an optional second runtime, made for small ARM processors (extra `ncnn`).

The graph is translated (`ncnn_graph`) and its weights are streamed into ncnn tensor by tensor. Everything is float32, an int8
model too (its weights are read back, its rounding of maps is left out): ncnn's half-precision forms are off. Of its Winograd
forms only the smallest, F(2,3), is on, because the larger ones keep the weights of each 3 x 3 convolution four to seven times
over. ncnn takes one image at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.ncnn_graph import translate
from orbitloop.onboard.adapters.onnx_graph import fit_graph
from orbitloop.onboard.engine import to_input, to_predictions
from orbitloop.records.model import ModelMetadata
from orbitloop.records.prediction import Prediction

_OFF = (
    *(f"use_{kind}_{part}" for kind in ("fp16", "bf16") for part in ("packed", "storage")),
    *("use_fp16_arithmetic", "use_vulkan_compute", "use_winograd43_convolution", "use_winograd63_convolution"),
)


def load_ncnn() -> Any:
    """Import ncnn.

    Raises:
        ImportError: it is not installed, or broken.
    """
    import ncnn

    return ncnn


class NcnnEngine:
    """A model loaded from bytes; arguments, methods and errors as those of `OnnxEngine`."""

    def __init__(
        self, graph: bytes, weights: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, where: str = "model"
    ) -> None:
        self._where = where
        fitted = fit_graph(graph, weights, where)
        self._name, self._metadata = fitted.image, fitted.metadata
        self._plan = translate(fitted, where)
        self._ncnn = load_ncnn()
        self._net = self._ncnn.Net()
        for name in _OFF:
            setattr(self._net.opt, name, False)
        self._net.opt.num_threads = threads
        self._net.opt.openmp_blocktime = 0
        if self._net.load_param_mem(self._plan.param) != 0:
            raise ModelError("ncnn refuses the graph", where=where)
        parts = self._plan.stream(fitted.tensors)
        if self._net.load_model(_reader(self._ncnn, parts)) != 0 or next(parts, None) is not None:
            raise ModelError("ncnn refuses the weights", where=where)
        side = self._metadata.preprocessing.tile_px
        self.rows(np.zeros((1, side, side, 3), np.uint8))  # a decoding that does not fit is an error now, not in orbit

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
        if not len(image):
            raise ModelError("there is no tile to run", where=self._where)
        found = [self._one(self._plan.head(one)) for one in image]
        pred, embedding = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return pred, embedding

    def _one(self, planes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        extractor = self._net.create_extractor()
        extractor.input(self._plan.source, self._ncnn.Mat(planes))  # reads the array's own memory, which outlives the extractor
        maps: dict[str, npt.NDArray[Any]] = {}
        for name, blob in self._plan.taps.items():
            code, mat = extractor.extract(blob)
            if code != 0:
                raise ModelError(f"ncnn fails at {name!r} (code {code})", where=self._where)
            maps[name] = np.array(mat)[None]
        try:
            values = self._plan.decode(maps)
            return values["pred"], values["embedding"]
        except (KeyError, ValueError, IndexError, TypeError, MemoryError) as error:
            raise ModelError(f"the graph's decoding fails ({error})", where=self._where) from error


def _reader(ncnn: Any, parts: Iterator[npt.NDArray[np.uint8]]) -> Any:
    """Return ncnn's source of weights over parts; each of its reads asks for one whole part."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    label = ctypes.pythonapi.PyCapsule_GetName
    label.restype, label.argtypes = ctypes.c_char_p, [ctypes.py_object]

    class Reader(ncnn.DataReader):  # type: ignore[misc]
        def read(self, target: Any, size: int) -> int:
            part = next(parts, None)
            if part is None or part.nbytes != size:
                return 0
            ctypes.memmove(pointer(target, label(target)), part.ctypes.data, size)
            return size

    return Reader()
