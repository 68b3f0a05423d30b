"""What each layer of a candidate should give, said in the terms of what the satellite holds.

The same function of its input can be written in several ways. Here it is written so that as little as possible differs from the
held model: int8 weights on the held grid, not yet rounded; float weights with the held running statistics, batch-norm's weight
and bias taking up what moved in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.residuals import INTEGER, STEPPED
from orbitloop.ground.quantise import WEIGHT_MAX, folded
from orbitloop.ground.rates import Floats
from orbitloop.ground.topology import BN_EPSILON, Layer, layers

Tensors = Mapping[str, npt.NDArray[Any]]
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """One layer: it should give `factor` x (`rows` . x) + `offset`.

    rows: (O, N) in the values of the held weight tensor; of int8 these are integers, and the wanted ones lie between.
    factor, offset: (O,).
    weight, scale, bias: names of the tensors that say so; `scale` is empty where there is none.
    sigma, mean: (O,): scale = factor x sigma, bias = offset + mean x factor.
    """

    conv: str
    kind: int
    rows: Floats
    factor: Floats
    offset: Floats
    weight: str
    scale: str
    bias: str
    sigma: Floats
    mean: Floats

    @property
    def tensors(self) -> tuple[str, ...]:
        return (self.weight, self.scale, self.bias) if self.scale else (self.weight, self.bias)


def int8_goals(
    width: float, classes: int, held: Tensors, target: Tensors, masters: tuple[Weights, Weights] | None = None
) -> list[Goal]:
    """Return the goals of a candidate for a satellite that holds an int8 form.

    Args:
        width, classes: of the network.
        held: what is on board.
        target: the candidate's int8 form on the held grids (`quantise.requantise`).
        masters: the float weights behind what is held and behind the target; without them the target's integers are wanted.
    """
    goals = []
    for layer in layers(width, classes):
        if layer.kind == "conv":
            rows = _between(layer, held, target, *masters) if masters else _matrix(target[f"{layer.conv}.weight"])
            ones, zeros = np.ones(len(rows)), np.zeros(len(rows))
            scale, bias = f"{layer.conv}.scale", f"{layer.conv}.bias"
            factor, offset = target[scale].astype(np.float64), target[bias].astype(np.float64)
            goals.append(Goal(layer.conv, INTEGER, rows, factor, offset, f"{layer.conv}.weight", scale, bias, ones, zeros))
        elif layer.kind == "output":
            goals.append(_output(layer, target))
    return goals


def float_goals(width: float, classes: int, held: Weights, master: Weights) -> tuple[list[Goal], dict[str, npt.NDArray[Any]]]:
    """Return the goals of a candidate for a satellite that holds a float form, and the tensors that no goal speaks of.

    The latter are the running statistics, which stay as they are.
    """
    goals: list[Goal] = []
    still: dict[str, npt.NDArray[Any]] = {}
    for layer in layers(width, classes):
        if layer.kind == "conv":
            factor, offset = (part.astype(np.float64) for part in folded(layer, master))
            mean, var = (held[f"{layer.bn}.{part}"].astype(np.float64) for part in ("mean", "var"))
            still |= {f"{layer.bn}.{part}": held[f"{layer.bn}.{part}"] for part in ("mean", "var")}
            rows = _matrix(master[f"{layer.conv}.weight"])
            names = (f"{layer.conv}.weight", f"{layer.bn}.weight", f"{layer.bn}.bias")
            goals.append(Goal(layer.conv, STEPPED, rows, factor, offset, *names, np.sqrt(var + BN_EPSILON), mean))
        elif layer.kind == "output":
            goals.append(_output(layer, master))
    return goals, still


def _output(layer: Layer, target: Tensors) -> Goal:
    rows = _matrix(target[f"{layer.conv}.weight"])
    ones, zeros = np.ones(len(rows)), np.zeros(len(rows))
    offset = target[f"{layer.conv}.bias"].astype(np.float64)
    return Goal(layer.conv, STEPPED, rows, ones, offset, f"{layer.conv}.weight", "", f"{layer.conv}.bias", ones, zeros)


def _between(layer: Layer, held: Tensors, target: Tensors, held_master: Weights, master: Weights) -> Floats:
    """Return the trained weights in units of the held grid, before rounding; as rounded where a row has got a new grid."""
    name = f"{layer.conv}.weight"
    before, _ = folded(layer, held_master)
    after, _ = folded(layer, master)
    grid = held[f"{layer.conv}.scale"].astype(np.float64) / np.maximum(np.abs(before.astype(np.float64)), 1e-30)
    rows = _matrix(master[name]) / grid[:, None] * np.where(after < 0, -1, 1)[:, None]
    rounded = _matrix(target[name])
    regridded = (np.abs(np.clip(rows, -WEIGHT_MAX, WEIGHT_MAX) - rounded) > 1.01).any(axis=1)
    settled = np.equal(_matrix(master[name]), _matrix(held_master[name])) | np.expand_dims(regridded, 1)
    return np.where(settled, rounded, rows)


def _matrix(tensor: npt.NDArray[Any]) -> Floats:
    return tensor.reshape(len(tensor), -1).astype(np.float64)
