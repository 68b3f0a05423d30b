"""What goes down: within budget, each once, in a repeatable order, and different things before alike ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.selection.baselines import Fifo, RandomOrder
from orbitloop.algorithms.selection.value import Value, ValueDiversity
from orbitloop.records.sample import Candidate

SELECTORS = [Fifo(), RandomOrder(), Value(), ValueDiversity()]


def candidate(name: str, size: int = 100, value: float = 0.5, j: float = 0.1, at: float = 0.0, angle: float = 0.0) -> Candidate:
    return Candidate(name, size, value, j, at, np.array([np.cos(angle), np.sin(angle)], np.float32))


def choose(
    selector: Any, candidates: list[Candidate], budget: int = 10**6, j: float = 1e6, sent: Any = None, seed: int = 0
) -> list[int]:
    none: npt.NDArray[np.float32] = np.zeros((0, 2), np.float32)
    chosen: list[int] = selector.select(
        candidates,
        budget_bytes=budget,
        budget_j=j,
        sent_embeddings=none if sent is None else sent,
        rng=np.random.default_rng(seed),
    )
    return chosen


pools = st.lists(
    st.builds(
        candidate,
        name=st.just("s"),
        size=st.integers(0, 5000),
        value=st.floats(0, 1) | st.just(float("nan")),
        j=st.floats(0, 10),
        at=st.integers(0, 3).map(float),
        angle=st.floats(0, 6),
    ),
    max_size=25,
)


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda s: type(s).__name__)
@given(pool=pools, budget=st.integers(-10, 30_000), j=st.floats(-1, 50), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_never_over_budget_no_sample_twice_and_repeatable(
    selector: Any, pool: list[Candidate], budget: int, j: float, seed: int
) -> None:
    chosen = choose(selector, pool, budget, j, seed=seed)
    assert len(set(chosen)) == len(chosen)
    assert sum(pool[i].size_bytes for i in chosen) <= max(0, budget)
    assert sum(pool[i].transmit_j for i in chosen) <= max(0.0, j)
    assert chosen == choose(selector, pool, budget, j, seed=seed)
    left = [i for i in range(len(pool)) if i not in chosen]
    free_bytes = budget - sum(pool[i].size_bytes for i in chosen)
    free_j = j - sum(pool[i].transmit_j for i in chosen)
    assert not any(pool[i].size_bytes <= free_bytes and pool[i].transmit_j < free_j - 1e-9 for i in left)


def test_fifo_is_the_order_of_capture() -> None:
    pool = [candidate("b", at=2), candidate("a", at=1), candidate("c", at=2)]
    assert choose(Fifo(), pool) == [1, 0, 2]


def test_random_follows_its_generator() -> None:
    pool = [candidate(str(i)) for i in range(20)]
    assert choose(RandomOrder(), pool, seed=1) == choose(RandomOrder(), pool, seed=1)
    assert choose(RandomOrder(), pool, seed=1) != choose(RandomOrder(), pool, seed=2)


def test_value_per_byte_and_per_joule() -> None:
    pool = [candidate("large", 1000, 0.9, j=0.1), candidate("small", 200, 0.5, j=5.0)]
    assert choose(Value(), pool, budget=1000, j=1e9) == [1]
    assert choose(Value(), pool, budget=10**9, j=5.0) == [0]
    assert choose(Value(cost_power=0.0), pool, budget=1000, j=1e9) == [0]


def test_diversity_takes_the_other_kind_before_a_repeat() -> None:
    pool = [candidate("a", value=0.9, angle=0.0), candidate("a2", value=0.85, angle=0.01), candidate("b", value=0.4, angle=1.5)]
    assert choose(ValueDiversity(), pool) == [0, 2, 1]
    assert choose(Value(), pool) == [0, 1, 2]
    assert choose(ValueDiversity(diversity=0.0), pool) == choose(Value(), pool)


def test_what_was_sent_before_counts_as_chosen() -> None:
    pool = [candidate("known", value=0.9, angle=0.0), candidate("new", value=0.5, angle=1.5)]
    sent = np.array([[1.0, 0.0]], np.float32)
    assert choose(ValueDiversity(), pool, sent=sent) == [1, 0]
    assert choose(ValueDiversity(), pool) == [0, 1]


def test_novelty_is_measured_in_the_pools_own_spread() -> None:
    """Embeddings of one sensor lie close together; diversity must not vanish for that."""
    near = [
        candidate("a", value=0.9, angle=0.0),
        candidate("a2", value=0.85, angle=0.0001),
        candidate("b", value=0.4, angle=0.02),
    ]
    assert choose(ValueDiversity(), near) == [0, 2, 1]


def test_diversity_covers_more_kinds_than_value_at_equal_bytes() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(8), 25)
    value = np.clip(0.9 - 0.08 * kinds + rng.normal(0, 0.05, 200), 0.05, 1)  # hard kinds crowd out the others
    pool = [
        candidate(str(i), value=float(v), angle=0.7 * k + rng.normal(0, 0.02))
        for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    ]
    covered = {
        name: len({int(kinds[i]) for i in choose(s, pool, budget=1600)})
        for name, s in (("value", Value()), ("diverse", ValueDiversity()))
    }
    assert covered["value"] <= 2
    assert covered["diverse"] == 8


@pytest.mark.parametrize(
    "build", [lambda: Value(cost_power=-1), lambda: ValueDiversity(floor=2), lambda: ValueDiversity(diversity=float("nan"))]
)
def test_parameters_outside_of_their_range_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        build()
