from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import DataError
from orbitloop.ground.datasets.index import domain_counts, matches, select, select_some
from orbitloop.ground.datasets.split import Split, split_scenes


@dataclass(frozen=True)
class Thing:
    image_id: str
    domain: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def things(**counts: int) -> list[Thing]:
    return [
        Thing(f"{name}-{i}", name, {"condition": "cloud" if i == 0 else "clear", "year": 2016 + i})
        for name, count in counts.items()
        for i in range(count)
    ]


def ids(part: tuple[Thing, ...]) -> list[str]:
    return [thing.image_id for thing in part]


def every_id(split: Split[Thing]) -> list[str]:
    parts = (split.base_train, split.base_gate, split.base_held_out, *split.phases, *split.new_held_out)
    return [name for part in parts for name in ids(part)]


def test_a_selector_is_a_domain_or_a_mapping_of_which_all_fields_must_match() -> None:
    scenes = things(a=3, b=2)
    assert ids(select(scenes, "a")) == ["a-0", "a-1", "a-2"]
    assert ids(select(scenes, {"condition": "cloud"})) == ["a-0", "b-0"]
    assert ids(select(scenes, {"domain": ["a", "b"], "year": [2017, 2018.0]})) == ["a-1", "a-2", "b-1"]
    assert ids(select(scenes, "a", {"condition": "clear"})) == ["a-1", "a-2"]
    assert ids(select(scenes, {})) == [s.image_id for s in scenes]
    assert select(scenes, {"absent": 1}) == ()


def test_true_is_not_one() -> None:
    assert not matches(Thing("x", "d", {"flag": 1}), {"flag": True})
    assert not matches(Thing("x", "d", {"flag": True}), {"flag": 1})
    assert matches(Thing("x", "d", {"flag": True}), {"flag": [False, True]})


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("aa", ["'aa'", "a (3), b (2)"]),
        ({"conditon": "cloud"}, ["did you mean 'condition'", "a (3), b (2)"]),
        ({"condition": "fog"}, ["has the values clear, cloud"]),
        ({"domain": "a", "year": 2019}, ["field 'year' has the values 2016, 2017, 2018"]),
        ({"domain": "b", "year": 2018}, ["never all of them"]),
    ],
)
def test_a_selector_that_matches_nothing_is_named_with_what_there_is(selector: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        select_some(things(a=3, b=2), selector)
    assert all(word in str(caught.value) for word in words)


def test_shares_are_taken_per_domain() -> None:
    split = split_scenes(things(a=10, b=10, c=4, d=2, e=1), ["a", "b"], [["c"], ["d", "e"]], 0.2, 0.25, seed=1)
    assert domain_counts(split.base_held_out) == {"a": 2, "b": 2}
    assert domain_counts(split.base_gate) == {"a": 2, "b": 2}
    assert len(split.base_train) == 12
    assert [domain_counts(p) for p in split.phases] == [{"c": 3}, {"d": 1, "e": 1}]
    assert [domain_counts(p) for p in split.new_held_out] == [{"c": 1}, {"d": 1}]


def test_base_wins_over_the_stream_and_an_earlier_phase_over_a_later() -> None:
    split = split_scenes(
        things(a=4, b=4), [{"domain": "a", "condition": "clear"}], [[{"condition": "cloud"}], ["a", "b"]], 0.3, 0.3, 0
    )
    assert set(every_id(split)) == {s.image_id for s in things(a=4, b=4)}
    # a-0 and b-0 are each the phase's only scene of their domain: together they are one group, of which one is held out.
    assert set(ids((*split.phases[0], *split.new_held_out[0]))) == {"a-0", "b-0"}
    assert len(split.new_held_out[0]) == 1
    assert set(domain_counts((*split.phases[1], *split.new_held_out[1]))) == {"b"}


def test_a_phase_meets_its_selectors_in_their_order() -> None:
    split = split_scenes(things(a=3, b=3, c=3), ["a"], [["c", "b"]], 0.1, 0.3, 0)
    assert [s.domain for s in split.phases[0]] == ["c", "c", "b", "b"]


def test_a_share_of_zero_takes_nothing() -> None:
    split = split_scenes(things(a=5, b=5), ["a"], [["b"]], 0.0, 0.0, 0)
    assert (len(split.base_train), len(split.phases[0])) == (5, 5)
    assert not split.base_gate
    assert not split.base_held_out


def test_domains_of_one_scene_are_held_out_together() -> None:
    split = split_scenes(things(p=1, q=1, r=1, s=1), ["p", "q", "r"], [["s"]], 0.3, 0.0, 0)
    assert (len(split.base_train), len(split.base_held_out)) == (2, 1)
    assert not split.new_held_out[0]


def test_two_base_scenes_still_train() -> None:
    split = split_scenes(things(a=2, b=1), ["a"], [["b"]], 0.9, 0.9, 0)
    assert (len(split.base_train), len(split.base_gate), len(split.base_held_out)) == (1, 0, 1)


def test_the_draw_depends_on_the_seed_and_no_domain_on_another() -> None:
    def held(seed: int, **counts: int) -> list[str]:
        split = split_scenes(things(**counts), ["a"], [["b"]], 0.3, 0.2, seed)
        return [name for name in every_id(split) if name in ids(split.base_held_out)]

    assert held(1, a=20, b=5) == held(1, a=20, b=9)
    assert len({tuple(held(seed, a=20, b=5)) for seed in range(5)}) > 1


def test_the_draw_is_the_same_on_every_machine() -> None:
    split = split_scenes(things(a=6, b=4), ["a"], [["b"]], 0.34, 0.25, 7)
    assert (ids(split.base_held_out), ids(split.base_gate), ids(split.new_held_out[0])) == GOLDEN


GOLDEN = (["a-3", "a-5"], ["a-2"], ["b-0"])


@pytest.mark.parametrize(
    ("base", "stream", "held_out", "gate", "words"),
    [
        (["z"], [["b"]], 0.2, 0.2, "selector 'z' matches no image"),
        (["a"], [["z"]], 0.2, 0.2, "selector 'z' matches no image"),
        (["a"], [["a"]], 0.2, 0.2, "phase 1"),
        (["a"], [["b"], ["b"]], 0.2, 0.2, "phase 2"),
        (["a"], [["b"]], 1.0, 0.2, "held_out is 1"),
        (["a"], [["b"]], -0.1, 0.2, "held_out is -0.1"),
        (["a"], [["b"]], 0.1, float("nan"), "gate is nan"),
        ([], [["b"]], 0.1, 0.1, "none to train on"),
    ],
)
def test_an_impossible_split_is_refused(base: Any, stream: Any, held_out: float, gate: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split_scenes(things(a=4, b=4), base, stream, held_out, gate, 0)


def test_two_scenes_of_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="two images"):
        split_scenes([Thing("x", "a"), Thing("x", "b")], ["a"], [["b"]], 0.1, 0.1, 0)


@given(
    st.lists(st.integers(0, 9), min_size=3, max_size=6),
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 2**40),
)
@settings(max_examples=50, deadline=None)
def test_no_scene_is_in_two_parts_and_none_that_was_selected_is_lost(
    counts: list[int], held_out: float, gate: float, seed: int
) -> None:
    scenes = things(**{f"d{i}": n for i, n in enumerate(counts)})
    base, phases = ["d0", {"condition": "cloud"}], [["d1"], [{"domain": [f"d{i}" for i in range(2, len(counts))]}]]
    try:
        split = split_scenes(scenes, base, phases, held_out, gate, seed)
    except DataError:
        return
    found = every_id(split)
    assert len(found) == len(set(found))
    assert set(found) == {s.image_id for s in scenes}
    assert split.base_train
    if held_out > 0:
        for part, held in [
            ((*split.base_train, *split.base_gate), split.base_held_out),
            *zip(split.phases, split.new_held_out, strict=True),
        ]:
            kept, out = domain_counts(part), domain_counts(held)
            total = {name: kept.get(name, 0) + out.get(name, 0) for name in kept | out}
            assert all(out.get(name, 0) >= 1 and kept.get(name, 0) >= 1 for name, n in total.items() if n >= 2)
            lone = [name for name, n in total.items() if n == 1]
            taken = sum(out.get(name, 0) for name in lone)
            assert 1 <= taken < len(lone) if len(lone) > 1 else taken == 0
    assert every_id(split_scenes(scenes, base, phases, held_out, gate, seed)) == found
