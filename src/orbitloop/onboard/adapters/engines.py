"""The engines by name: ONNX Runtime, which is part of what flies, and two that are installed when wanted.

All compute the same model from the same two files, so one may be exchanged for another at any time; which is fastest depends
on the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy.typing as npt

from orbitloop.errors import ModelError
from orbitloop.onboard.engine import Engine

DEFAULT_ENGINE = "onnxruntime"
ENGINES = (DEFAULT_ENGINE, "openvino", "ncnn")
"""Names as users write them; each is also the distribution's name and, but for the first, that of the extra."""


def open_engine(
    name: str, graph: bytes, weights: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, where: str = "model"
) -> Engine:
    """Load a model.

    Args:
        name: one of `ENGINES`.
        graph: the ONNX file, weights left out.
        weights: tensors by the names of the graph's external initializers.
        threads: how many threads one inference may use.
        where: what the model is called in errors.

    Raises:
        ModelError: there is no such engine, it is not installed, or it does not take the model.
    """
    if name not in ENGINES:
        raise ModelError(f"there is no engine {name!r}", where=where, remedy=f"name one of {', '.join(ENGINES)}")
    try:
        if name == "openvino":
            from orbitloop.onboard.adapters.openvino_engine import OpenvinoEngine

            return OpenvinoEngine(graph, weights, threads=threads, where=where)
        if name == "ncnn":
            from orbitloop.onboard.adapters.ncnn_engine import NcnnEngine

            return NcnnEngine(graph, weights, threads=threads, where=where)
        from orbitloop.onboard.adapters.onnx_engine import OnnxEngine

        return OnnxEngine(graph, weights, threads=threads, where=where)
    except ImportError as error:
        remedy = f"pip install 'orbitloop[{name}]', or use --engine {DEFAULT_ENGINE}"
        raise ModelError(f"engine {name} is not installed ({error})", where=where, remedy=remedy) from error


def installed_engines() -> dict[str, str]:
    """Return the version of each engine that is installed, by name; nothing is imported."""
    # Here: it brings the e-mail package, 3.6 MB of memory that nobody needs on board.
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in ENGINES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # without an origin it is a folder that happens to have this name
            continue
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the module of another distribution, onnxruntime-gpu say
            found[name] = "of unknown version"
    return found


def loads(name: str) -> str:
    """Return why an installed engine's library cannot be imported; empty when it can.

    Raises:
        ModelError: there is no such engine.
    """
    if name not in ENGINES:
        raise ModelError(f"there is no engine {name!r}", remedy=f"name one of {', '.join(ENGINES)}")
    try:
        if name == "openvino":
            from orbitloop.onboard.adapters.openvino_engine import load_openvino

            load_openvino()
        else:
            import_module(name)
    except Exception as error:  # a broken wheel may raise anything
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return ""
