"""How far one update may move a tensor: a cheap screen, the same on the ground and in orbit, before any network runs.

A model that is trained further moves by a fraction of itself, a fresh training by about 1.4 of each tensor's rms. What moves by
many times that is a training that diverged, a damaged file, or an attack by blow-up, and is refused without a look at an image:

    rms(new - old) <= MAX_CHANGE * reference      per tensor; reference = rms(old) where that says something

It says nothing for a matrix of zeros (reference 1), and for a vector that may cross zero (a bias), whose size in the base is
chance (reference at least 4). Of what stays within the bound, only the gate and the canary can say whether it is any good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import UpdateError

MAX_CHANGE = 8.0
FREE_VECTOR_RMS = 4.0


def check_change(base: Mapping[str, npt.NDArray[Any]], result: Mapping[str, npt.NDArray[Any]]) -> None:
    """Hold an update's result against its base.

    Raises:
        UpdateError: a value is not finite, or a tensor moves further than the bound.
    """
    for name in sorted(result):
        old, new = base[name], result[name]
        if new is old or not new.size:
            continue
        if not np.isfinite(new).all():
            raise UpdateError("weights are not finite", where=name)
        with np.errstate(over="ignore"):
            change = _rms(new.astype(np.float64) - old)
            limit = MAX_CHANGE * _reference(old)
        if not change <= limit:
            raise UpdateError(
                f"moves by an rms of {change:.3g}, over the limit of {limit:.3g}",
                where=name,
                remedy="train with a lower learning rate; a new model needs a full installation, not an update",
            )


def _reference(old: npt.NDArray[Any]) -> float:
    usual = _rms(old.astype(np.float64))
    if old.ndim < 2 and not (old > 0).all():
        return max(usual, FREE_VECTOR_RMS)
    return usual or 1.0


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
