"""The bound on how far an update may move a tensor."""

from __future__ import annotations

import numpy as np
import pytest

from orbitloop.delta.bounds import FREE_VECTOR_RMS, MAX_CHANGE, check_change
from orbitloop.errors import UpdateError

RNG = np.random.default_rng(0)
BASE = {
    "conv.weight": RNG.normal(0, 0.05, (8, 4, 3, 3)).astype(np.float32),
    "bn.var": RNG.uniform(0.5, 2, 8).astype(np.float32),
    "conv.bias": RNG.normal(0, 0.01, 8).astype(np.float32),
    "new.weight": np.zeros((4, 4), np.float32),
    "q.weight": RNG.integers(-127, 128, (8, 4), np.int8),
    "empty": np.zeros((0, 3), np.float32),
}


def test_what_training_does_passes():
    for name in BASE:
        check_change(BASE, BASE | {name: (BASE[name] * 2).astype(BASE[name].dtype)})
    fresh = RNG.normal(0, 0.05, (8, 4, 3, 3)).astype(np.float32)
    check_change(BASE, BASE | {"conv.weight": fresh, "conv.bias": np.full(8, -5, np.float32)})
    check_change(BASE, BASE | {"q.weight": -BASE["q.weight"]})


@pytest.mark.parametrize(
    ("name", "least"), [("conv.weight", 0.05), ("bn.var", 1.0), ("conv.bias", FREE_VECTOR_RMS), ("new.weight", 1.0)]
)
def test_a_blow_up_is_refused_by_name(name, least):
    grown = BASE[name] + np.float32(1.6 * MAX_CHANGE * least)
    with pytest.raises(UpdateError) as caught:
        check_change(BASE, BASE | {name: grown})
    assert caught.value.where == name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_value_that_is_no_number_or_nearly_none_is_refused(value):
    broken = BASE["conv.weight"].copy()
    broken[3, 2, 1, 0] = value
    with pytest.raises(UpdateError):
        check_change(BASE, BASE | {"conv.weight": broken})
