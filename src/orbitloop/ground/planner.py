"""The most accurate update that fits into so many bytes: one price for a bit, over all layers alike.

A trained candidate differs from what a satellite holds in every tensor. What goes up of it minimises

    loss in accuracy  +  price x bits

with one price, so that the last bit buys as much in each layer; the price is sought that fills the bytes there are. Which
layers, channels and weights move follows from it, and need not be said beforehand. Accuracy is measured to second order by what
the detections hang on (`Sensitivity`); `rates` chooses a layer's integers.

After the integers of a layer its batch-norm is fitted again, in closed form and at no cost: factor and offset per channel are
those with which the sent weights give, on the same inputs, what the trained ones would have given (least squares). They go up
last, as precisely as each is worth.

What a layer gives is `factor x (row . x) + offset`. In the int8 form the tensors `scale` and `bias` are these two. In the float
form batch-norm's running statistics stay as they are, and its weight and bias say all: weight = factor x sigma, bias = offset +
mean x factor.

It leaves training to the trainer, the bytes to `delta`, and whether the result may fly to the gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.choice import usual
from orbitloop.delta.compact import changed, pack_compact
from orbitloop.delta.residuals import INTEGER, MAX_INTEGER_STEP, STEPPED, Residual, step_codes, steps_of
from orbitloop.errors import UpdateError
from orbitloop.ground.goals import Goal
from orbitloop.ground.rates import Feedback, Floats, Sensitivity, choose, feedback, step_for
from orbitloop.ground.vectors import choose_vector

Tensors = Mapping[str, npt.NDArray[Any]]
Progress = Callable[[int, int], None]

_FIRST_PRICE = 1e-9
_FINEST, _COARSEST = 1e-15, 1e-3
_ENOUGH = 0.97
"""A plan that fills this share of the bytes there are is not improved on."""
_MOST_TRIES = 9
_SLOPE = -0.6
"""How bytes go with the price, in logarithms, before two plans have told."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An update at one price. `left` is the modelled loss that remains, in units of no update at all: 1 = nothing gained."""

    price: float
    payload: bytes
    residuals: Mapping[str, Residual]
    left: float

    @property
    def bytes(self) -> int:
        return len(self.payload)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The plan that fits best, and all that were tried on the way, by bytes: what fewer or more bytes would buy."""

    plan: Plan
    tried: tuple[Plan, ...]


class Planner:
    """Plans updates from what a satellite holds to one candidate.

    Args:
        held: all tensors on board.
        target: the candidate in the form that flies: what no goal speaks of goes up as it is there.
        goals: what each layer should give.
        sensitivities: by convolution name.
    """

    def __init__(self, held: Tensors, target: Tensors, goals: Sequence[Goal], sensitivities: Mapping[str, Sensitivity]) -> None:
        self.held, self.goals, self.sensitivities = held, list(goals), sensitivities
        self._feedbacks: dict[str, Feedback] = {}
        spoken = {name for goal in self.goals for name in goal.tensors}
        unknown = [goal.conv for goal in self.goals if goal.conv not in sensitivities]
        if unknown:
            raise UpdateError("the layer's sensitivity was not observed", where=unknown[0])
        self._others: dict[str, Residual] = {}
        self._whole: dict[str, npt.NDArray[Any]] = {}
        residual_for = usual()
        for name in changed(held, target):
            if name in spoken:
                continue
            residual = residual_for(name, held[name], target[name])
            if residual is None:
                self._whole[name] = target[name]
            elif residual.symbols.any():
                self._others[name] = residual
        self.without = sum(self._loss(goal, *_held_layer(goal, held)) for goal in self.goals)

    def fit(self, most_bytes: int, *, progress: Progress | None = None) -> Fitted:
        """Return the most accurate update of at most so many bytes of payload.

        Raises:
            UpdateError: even the coarsest is larger.
        """
        tried: list[Plan] = []
        price = _FIRST_PRICE
        for attempt in range(_MOST_TRIES):
            if progress:
                progress(attempt, _MOST_TRIES)
            plan = self.at(price)
            tried.append(plan)
            if _ENOUGH * most_bytes <= plan.bytes <= most_bytes:
                break
            price = _next_price(tried, most_bytes)
            if any(price == plan.price for plan in tried):  # the finest fits, or the coarsest does not
                break
        fitting = [plan for plan in tried if plan.bytes <= most_bytes]
        if not fitting:
            least = min(plan.bytes for plan in tried)
            raise UpdateError(f"the smallest update takes {least} bytes, and {most_bytes} are there", remedy="allow more bytes")
        return Fitted(max(fitting, key=lambda plan: plan.bytes), tuple(sorted(tried, key=lambda plan: plan.bytes)))

    def at(self, price: float) -> Plan:
        """Return the best update at a price, in loss per bit."""
        residuals, left = dict(self._others), 0.0
        for goal in self.goals:
            rows = self._rows(goal, price, residuals)
            factor, offset = self._affine(goal, rows, price, residuals)
            left += self._loss(goal, rows, factor, offset)
        payload = pack_compact(self.held, residuals, self._whole)
        return Plan(price, payload, residuals, left / self.without if self.without else 0.0)

    def _feedback(self, conv: str) -> Feedback:
        if conv not in self._feedbacks:
            self._feedbacks[conv] = feedback(self.sensitivities[conv])
        return self._feedbacks[conv]

    def _rows(self, goal: Goal, price: float, residuals: dict[str, Residual]) -> Floats:
        """Choose a layer's weights; return them as the satellite will hold them, (O, N)."""
        held = _matrix(self.held[goal.weight])
        if np.array_equal(goal.rows, held):
            return held
        known, gain = self._feedback(goal.conv), self.sensitivities[goal.conv].gain
        cost = 0.5 * gain * goal.factor**2
        step = step_for(price, cost, known.typical)
        integer = goal.kind == INTEGER
        if integer:
            step = np.clip(np.rint(step), 1, MAX_INTEGER_STEP)
            codes = step.astype(np.int32)
        else:
            codes = step_codes(step)
            step = steps_of(codes).astype(np.float64)
        symbols = choose((goal.rows - held) / step[:, None], cost * step**2, known, price)
        if not symbols.any():
            return held
        codes = np.where(symbols.any(axis=1), codes, 0).astype(np.int32)
        residuals[goal.weight] = Residual(INTEGER if integer else STEPPED, symbols, codes)
        rows: Floats = held + symbols * step[:, None]
        return np.clip(rows, -128, 127) if integer else rows

    def _affine(self, goal: Goal, rows: Floats, price: float, residuals: dict[str, Residual]) -> tuple[Floats, Floats]:
        """Fit factor and offset to the weights that go up; return both as the satellite will have them."""
        sense = self.sensitivities[goal.conv]
        factor = _held_layer(goal, self.held)[1]
        if goal.scale:
            spread = sense.covariance
            ours = rows @ spread
            variance = np.einsum("on,on->o", ours, rows)
            shared = np.einsum("on,on->o", ours, goal.rows)
            wanted = goal.factor * np.clip(
                np.divide(shared, variance, out=np.ones_like(shared), where=variance > 1e-12), 0.5, 2.0
            )
            tensor = self.held[goal.scale]
            bent = sense.gain * variance / goal.sigma**2
            residual, scale = choose_vector(tensor, wanted * goal.sigma, bent, price, ratio=bool((tensor > 0).all()))
            if residual is not None:
                residuals[goal.scale] = residual
            factor = scale / goal.sigma
        offset = goal.offset + goal.factor * (goal.rows @ sense.mean) - factor * (rows @ sense.mean)
        residual, bias = choose_vector(self.held[goal.bias], offset + goal.mean * factor, sense.gain, price, ratio=False)
        if residual is not None:
            residuals[goal.bias] = residual
        return factor, bias - goal.mean * factor

    def _loss(self, goal: Goal, rows: Floats, factor: Floats, offset: Floats) -> float:
        """Return the modelled loss of a layer that gives something else than it should."""
        sense = self.sensitivities[goal.conv]
        off = factor[:, None] * rows - goal.factor[:, None] * goal.rows
        if not off.any() and np.array_equal(offset, goal.offset):
            return 0.0
        mean = off @ sense.mean + offset - goal.offset
        spread = np.einsum("on,on->o", off @ sense.covariance, off)
        return float(0.5 * np.sum(sense.gain * (mean**2 + np.maximum(spread, 0))))


def _held_layer(goal: Goal, held: Tensors) -> tuple[Floats, Floats, Floats]:
    """Return rows, factor and offset of a layer as it is on board."""
    rows = _matrix(held[goal.weight])
    factor = held[goal.scale].astype(np.float64) / goal.sigma if goal.scale else np.ones(len(rows))
    return rows, factor, held[goal.bias].astype(np.float64) - goal.mean * factor


def _matrix(tensor: npt.NDArray[Any]) -> Floats:
    return tensor.reshape(len(tensor), -1).astype(np.float64)


def _next_price(tried: Sequence[Plan], most_bytes: int) -> float:
    """Return where to look next: between a plan that fits and one that does not, by their slope; else onward, ever further.

    The end of the range is returned when there is nothing beyond.
    """
    below = max((p for p in tried if p.bytes <= most_bytes), key=lambda p: p.bytes, default=None)
    above = min((p for p in tried if p.bytes > most_bytes), key=lambda p: p.bytes, default=None)
    wanted = math.log(0.985 * most_bytes)
    if below and above:
        low, high = math.log(max(1, below.bytes)), math.log(above.bytes)
        share = (wanted - low) / max(1e-9, high - low)
        if len(tried) > 4:  # no straight line: halve
            share = 0.5
        share = min(0.9, max(0.1, share))
        return math.exp(math.log(below.price) + share * (math.log(above.price) - math.log(below.price)))
    known = below or above
    assert known is not None
    step = 1.15 * (wanted - math.log(max(1, known.bytes))) / _SLOPE
    least = 0.7 * 2 ** (len(tried) - 1)
    step = math.copysign(min(8.0, max(abs(step), least)), step)
    return min(_COARSEST, max(_FINEST, known.price * math.exp(step)))
