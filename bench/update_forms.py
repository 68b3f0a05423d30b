"""What a peer is given of a change when its bytes are few: which rows, in which steps, and what that costs in accuracy.

A peer that knows no steps (a patch of bytes, half precision) cannot trade accuracy for bytes by itself. To be fair to it, we do
for it what our own planner does for us: the rows that matter most per byte first, in several coarsenesses, and of all that fits
its budget the one with the least weighted squared error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[Any]
Tensors = Mapping[str, Tensor]
Importance = Mapping[str, float | npt.NDArray[np.float64]]
"""Cost of a unit of squared error in each value of a tensor, or (rows,) in each value of its output channels."""

RATIOS = (".scale", ".var")
SHARES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Steps that are tried, in rms of a tensor's change; 0 is every value as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A base, what it is to become, and what an error costs. Tensors that do not change are in neither list."""

    base: Tensors
    target: Tensors
    weights: Mapping[str, npt.NDArray[np.float64]]

    def error(self, result: Tensors) -> float:
        """Return the weighted squared error that a result leaves."""
        return float(sum(self._errors(name, result[name]).sum() for name in self.weights))

    def _errors(self, name: str, new: Tensor) -> npt.NDArray[np.float64]:
        """Return the weighted squared error (rows,) of one tensor."""
        gap = matrix(new).astype(np.float64) - matrix(self.target[name])
        return np.asarray((gap**2).sum(axis=1) * self.weights[name])


def change_of(base: Tensors, target: Tensors, importance: Importance | None = None) -> Change:
    """Return the change of those tensors that differ.

    Without an importance an error costs what it is against the tensor's own rms.
    """
    weights = {}
    for name in sorted(target):
        if base[name].tobytes() == target[name].tobytes():
            continue
        rows = matrix(base[name])
        given = 1.0 / max(float(np.mean(rows.astype(np.float64) ** 2)), 1e-30) if importance is None else importance[name]
        weights[name] = np.broadcast_to(np.asarray(given, np.float64), (len(rows),))
    return Change(base, target, weights)


def matrix(tensor: Tensor) -> Tensor:
    """Return a tensor as (output channels, values); a vector is one row."""
    return tensor.reshape(len(tensor), -1) if tensor.ndim > 1 else tensor.reshape(1, -1)


def coarse(change: Change, share: float) -> dict[str, Tensor]:
    """Return the target with its change in steps of a share of each tensor's rms; a step of integers is at least 1."""
    result = {}
    for name in change.weights:
        old, new = change.base[name], change.target[name]
        gap = new.astype(np.float64) - old
        step = share * float(np.sqrt(np.mean(gap**2)))
        if old.dtype.kind in "iu":
            step = round(step)
        if step:
            gap = np.rint(gap / step) * step
        if old.dtype.kind in "iu":
            info = np.iinfo(old.dtype)
            result[name] = np.clip(old + gap, info.min, info.max).astype(old.dtype)
        else:
            result[name] = np.asarray(old + gap, old.dtype)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class PeerResult:
    """What a peer made of a change: its bytes, all tensors as they come out, how it was set, CPU seconds."""

    bytes: int
    tensors: dict[str, Tensor]
    note: str
    encode_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One output channel of a tensor, and what moving it gains."""

    name: str
    row: int
    elements: int
    gain: float


def rows_by_worth(change: Change, form: Tensors) -> list[Row]:
    """Return the rows that move in a form, those first that gain most for each element that moves."""
    rows = []
    for name in change.weights:
        left, all_of_it = change._errors(name, form[name]), change._errors(name, change.base[name])
        moved = np.count_nonzero(matrix(form[name]) != matrix(change.base[name]), axis=1)
        rows += [Row(name, int(i), int(moved[i]), float(all_of_it[i] - left[i])) for i in np.flatnonzero(moved)]
    return sorted(rows, key=lambda row: -row.gain / row.elements)


def with_rows(change: Change, form: Tensors, rows: list[Row]) -> dict[str, Tensor]:
    """Return the base with some rows of a form."""
    picked: dict[str, list[int]] = {}
    for row in rows:
        picked.setdefault(row.name, []).append(row.row)
    result = dict(change.base)
    for name, indices in picked.items():
        made = matrix(change.base[name]).copy()
        made[indices] = matrix(form[name])[indices]
        result[name] = made.reshape(change.base[name].shape)
    return result


def best(change: Change, tries: Iterator[tuple[PeerResult, str]], budget_bytes: int) -> PeerResult | None:
    """Return that of some tries within a budget which leaves the least error, with its note."""
    least, found = math.inf, None
    for result, note in tries:
        error = change.error(result.tensors)
        if result.bytes <= budget_bytes and error < least:
            least = error
            found = PeerResult(result.bytes, result.tensors, note, result.encode_s, result.decode_s)
    return found
