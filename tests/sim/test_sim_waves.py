"""A rollout by waves: who is next, and when nobody is."""

from __future__ import annotations

import json

from orbitloop.ground.chains import Edge
from orbitloop.sim.waves import Waves

NAMES = ("a", "b", "c", "d", "e")
WAYS = {name: (Edge("base", "middle", 10, 1), Edge("middle", "goal", 10, 1)) for name in NAMES}


def test_waves_follow_one_another_once_all_of_one_have_it() -> None:
    waves = Waves((1, 2))
    assert list(waves.start(WAYS, ["c", "a", "b", "d", "e"])) == ["c"]
    assert waves.settle("a", "goal") == {}, "who waits has nothing to tell"
    assert list(waves.settle("c", "goal") or {}) == ["a", "b"]
    assert waves.settle("b", "goal") == {}
    assert list(waves.settle("a", "goal") or {}) == ["d", "e"]
    assert waves.settle("d", "goal") == {}
    assert waves.settle("e", "goal") == {}
    assert (waves.out, waves.waiting, waves.number) == ({}, [], 3)


def test_one_that_does_not_keep_it_ends_the_rollout() -> None:
    waves = Waves((2,))
    waves.start(WAYS, NAMES)
    assert waves.settle("b", "base") is None
    assert waves.settle("a", "goal") == {}, "what was out already comes to its end, and starts nothing"
    assert (waves.out, waves.waiting) == ({}, [])


def test_without_sizes_all_go_at_once_and_who_has_no_way_is_left_out() -> None:
    waves = Waves()
    assert list(waves.start({**WAYS, "b": ()}, NAMES)) == ["a", "c", "d", "e"]
    assert waves.waiting == []


def test_a_new_rollout_takes_the_place_of_the_one_before() -> None:
    waves = Waves((1,))
    waves.start(WAYS, NAMES)
    newer = {"d": (Edge("base", "newer", 10, 2),)}
    assert waves.start(newer, ["d"]) == newer
    assert waves.settle("a", "goal") == {}
    assert waves.out == {"d": "newer"}


def test_who_is_silent_holds_nobody_up_and_its_late_word_still_counts() -> None:
    waves = Waves((2, 1))
    assert list(waves.start(WAYS, NAMES)) == ["a", "b"]
    assert waves.lapse(["e"]) == {}, "who is not out is not waited for"
    assert waves.settle("a", "goal") == {}
    assert list(waves.lapse(["b"])) == ["c"], "one has confirmed: the next wave"
    assert waves.settle("b", "base") is None, "late, but a model that it would not keep"
    assert (waves.out, waves.late, waves.waiting) == ({}, {}, [])


def test_a_wave_of_which_nobody_speaks_is_followed_by_one_of_its_size() -> None:
    waves = Waves((1, 3))
    waves.start(WAYS, NAMES)
    assert list(waves.lapse(["a"])) == ["b"]
    assert waves.number == 1
    assert waves.settle("a", "goal") == {}, "its late good word is heard, and the wave that is out goes on"
    assert list(waves.settle("b", "goal") or {}) == ["c", "d", "e"]
    assert waves.lapse(["c", "d", "e"]) == {}
    assert waves.out == {}


def test_it_comes_back_from_its_state() -> None:
    waves = Waves((1, 2))
    waves.start(WAYS, NAMES)
    waves.settle("a", "goal")
    again = Waves((1, 2))
    again.restore(json.loads(json.dumps(waves.to_json())))
    assert again == waves
