"""Nodes of a graph computed by numpy, for an engine that cannot: values derived of the weights, and the decoding of the maps.

Role: the few operations that our exporters write outside of the maps, with ONNX's own meaning (opset 17). It knows no engine.
Source: github.com/onnx/onnx/blob/main/docs/Operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from orbitloop.onboard.adapters.onnx_graph import Array, Node

MOST_STEPS = 256
"""How many nodes may derive one value; our own graphs need 10. Nothing is remembered, so a short graph could ask for 2^n."""


class Known:
    """Values that do not depend on the image: constants, weights, and what nodes derive of them, computed when asked for."""

    def __init__(self, constants: Mapping[str, Array], tensors: Mapping[str, Array], derived: Mapping[str, Node]) -> None:
        self._given, self._derived = (constants, tensors), derived

    def __contains__(self, name: str) -> bool:
        return not name or name in self._derived or any(name in given for given in self._given)

    def __call__(self, name: str) -> Array:
        """Return a value.

        Raises:
            KeyError, ValueError, IndexError, TypeError: nothing makes it, a node does not fit, or there are too many.
        """
        with np.errstate(all="ignore"):  # damaged weights: what is not finite is found in the output
            return self._value(name, iter(range(MOST_STEPS)))

    def _value(self, name: str, steps: Iterator[int]) -> Array:
        for given in self._given:
            if name in given:
                return given[name]
        if next(steps, None) is None:
            raise ValueError(f"more than {MOST_STEPS} nodes derive one value")
        node = self._derived[name]
        made = OPERATIONS[node.op](node, [self._value(part, steps) for part in node.inputs if part])
        return made[node.outputs.index(name)]


def _dequantised(node: Node, x: list[Array]) -> list[Array]:
    """(q - zero) x scale, a scale for each slice along `axis` or one for all."""
    values, scale = x[0].astype(np.float32), x[1]
    sizes = [-1 if i == node.attributes.get("axis", 1) else 1 for i in range(values.ndim)]
    if len(x) > 2:
        values -= x[2].astype(np.float32)
    return [values * (scale.reshape(sizes) if scale.ndim else scale)]


def _split(node: Node, x: list[Array]) -> list[Array]:
    return np.split(x[0], np.cumsum(x[1])[:-1].tolist(), axis=node.attributes["axis"])


def _reshaped(node: Node, x: list[Array]) -> list[Array]:
    return [x[0].reshape([x[0].shape[i] if size == 0 else size for i, size in enumerate(x[1].tolist())])]


def _mean(node: Node, x: list[Array]) -> list[Array]:
    return [np.asarray(x[0].mean(axis=tuple(node.attributes["axes"]), keepdims=bool(node.attributes.get("keepdims", 1))))]


def _sigmoid(node: Node, x: list[Array]) -> list[Array]:
    with np.errstate(over="ignore"):
        return [np.asarray(1 / (1 + np.exp(-x[0])), np.float32)]


def _cast(node: Node, x: list[Array]) -> list[Array]:
    if node.attributes["to"] != 6:
        raise ValueError("only to int32")
    return [x[0].astype(np.int32)]


def _padded(node: Node, x: list[Array]) -> list[Array]:
    before, after = np.split(x[1], 2)
    if node.attributes:
        raise ValueError("only with zeros")
    return [np.pad(x[0], np.stack([before, after], axis=1).tolist())]


OPERATIONS: dict[str, Callable[[Node, list[Array]], list[Array]]] = {
    "Add": lambda node, x: [x[0] + x[1]],
    "Cast": _cast,
    "Concat": lambda node, x: [np.concatenate(x, axis=node.attributes["axis"])],
    "DequantizeLinear": _dequantised,
    "Div": lambda node, x: [x[0] / x[1]],
    "Mul": lambda node, x: [x[0] * x[1]],
    "Pad": _padded,
    "ReduceMean": _mean,
    "Reshape": _reshaped,
    "Round": lambda node, x: [np.rint(x[0])],
    "Sigmoid": _sigmoid,
    "Split": _split,
    "Transpose": lambda node, x: [x[0].transpose(node.attributes["perm"])],
}
"""By name of the operation: (node, its inputs) -> its outputs. One that does not fit raises what numpy raises."""
