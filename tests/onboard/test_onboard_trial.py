"""The verdict over a trial, and the watchdog over a probation: pure rules, tried at their edges."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import StateError
from orbitloop.onboard.trial import Findings, ModelBytes, TileFinding, TrialJob, TrialLimits, Verdict, judge
from orbitloop.onboard.watchdog import MAX_COMPARED_TILES, Look, Watchdog
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

LIMITS = TrialLimits()
SIDE = 400
PLACES = np.array([[x, y, x + 20, y + 20] for y in range(0, SIDE - 40, 40) for x in range(0, SIDE - 40, 40)], np.float32)


def found(count: int, *, score: float = 0.9, skip: int = 0) -> Detections:
    return Detections(PLACES[skip : skip + count], np.full(count, score, np.float32), np.zeros(count, np.int32))


def truth(count: int) -> Boxes:
    return Boxes(PLACES[:count], np.zeros(count, np.int32))


def verdict(
    pairs: list[tuple[Detections, Detections]],
    truths: list[Boxes],
    *,
    limits: TrialLimits = LIMITS,
    rounds: tuple[tuple[float, float], ...] = ((1.0, 1.0),),
    failure: str = "",
) -> Verdict:
    tiles = tuple(TileFinding(i, before, after) for i, (before, after) in enumerate(pairs))
    pixels = tuple(np.zeros((8, 8, 3), np.uint8) for _ in pairs)
    return judge(Findings(tiles, rounds, failure), TrialJob(ModelBytes(b"", b""), ModelBytes(b"", b""), pixels, limits), truths)


@pytest.mark.parametrize(
    ("kept", "max_loss", "passed"),
    [(10, 0.1, True), (9, 0.1, False), (9, 0.11, True), (10, 0.0, True), (9, 0.0, False), (0, 1.0, True), (10, -1.0, False)],
)
def test_from_the_limit_on_a_loss_fails(kept, max_loss, passed):
    said = verdict([(found(10), found(kept))], [truth(10)], limits=TrialLimits(max_loss=max_loss))
    assert said.passed is passed, said.reason
    assert said.measured["recall_after"] == kept / 10


def test_recall_alone_may_fail_where_f1_does_not():
    noisy = Detections(PLACES[:40], np.full(40, 0.9, np.float32), np.zeros(40, np.int32))
    said = verdict([(noisy, found(8))], [truth(10)])
    assert said.measured["f1_after"] > said.measured["f1_before"]
    assert not said.passed


def test_a_better_model_passes_and_is_proven():
    said = verdict([(found(2), found(9))], [truth(10)])
    assert (said.passed, said.proven) == (True, True)
    assert said.reason.startswith("canary: F1 0.333 -> 0.947")


@pytest.mark.parametrize("truths", [[truth(0)], [truth(5)]])
def test_where_neither_finds_an_object_nothing_is_proven(truths):
    said = verdict([(found(0), found(0))], truths)
    assert (said.passed, said.proven) == (True, False)
    assert "on probation for 3 contacts" in said.reason


@pytest.mark.parametrize(
    ("rounds", "passed"),
    [
        (((1.0, 3.0),), True),
        (((1.0, 3.1),), False),
        (((1.0, 9.0), (1.0, 8.0), (1.0, 2.9)), True),
        (((1.0, 9.0), (1.0, 8.0), (1.0, 7.0)), False),
        (((0.0, 5.0),), True),
        ((), False),
    ],
)
def test_a_candidate_is_slow_when_it_is_in_every_round(rounds, passed):
    assert verdict([(found(5), found(5))], [truth(5)], rounds=rounds).passed is passed


def test_how_a_trial_ended_early_is_the_reason():
    said = verdict([(found(5), found(5))], [truth(5)], failure="killed by SIGSEGV as the candidate looks at tile 1 of 1")
    assert (said.passed, said.reason) == (False, "canary: killed by SIGSEGV as the candidate looks at tile 1 of 1")


@pytest.mark.parametrize("indices", [(0,), (0, 0), (0, 2), (1, 2), (0, 1, 2), ()])
def test_tiles_that_were_not_looked_at_or_twice_prove_nothing(indices):
    tiles = tuple(TileFinding(i, found(3), found(3)) for i in indices)
    pixels = (np.zeros((8, 8, 3), np.uint8),) * 2
    job = TrialJob(ModelBytes(b"", b""), ModelBytes(b"", b""), pixels, LIMITS)
    for truths in ([], [truth(3)] * 2):
        assert not judge(Findings(tiles, ((1.0, 1.0),)), job, truths).passed


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        (found(10), found(10), True),
        (found(10), found(5), True),
        (found(10), found(4), False),
        (found(4), found(0), True),
        (found(10, score=0.3), found(10, skip=20), True),
        (found(10, score=0.3), found(0), False),
        (found(0), found(10), True),
        (found(0), found(11), False),
        (found(2), found(30), True),
        (found(2), found(31), False),
    ],
)
def test_without_labels_only_what_is_plainly_broken_fails(before, after, passed):
    said = verdict([(before, after)], [])
    assert (said.passed, said.proven) == (passed, False), said.reason
    assert said.reason.startswith("canary: none of its tiles is held here")
    assert ("on probation for 3 contacts" in said.reason) is passed


def test_with_nothing_at_all_it_is_a_model_that_loads_and_runs():
    said = verdict([], [])
    assert said == Verdict(
        True,
        False,
        "canary: none of its tiles is held here; the model loads and runs; on probation for 3 contacts",
        {"cases": 0.0},
    )


# -- in flight -------------------------------------------------------------------------------------------------------------


def watched(**more: Any) -> Watchdog:
    return Watchdog(LIMITS, proven=True, **more)


@pytest.mark.parametrize(("proven", "contacts"), [(True, 1), (False, 3)])
def test_a_probation_ends_with_its_last_contact(proven, contacts):
    dog = Watchdog(LIMITS, proven=proven)
    assert [dog.contact() for _ in range(contacts)] == [False] * (contacts - 1) + [True]


def test_one_failure_is_enough_and_the_first_is_told():
    dog = watched()
    dog.saw(Look(4, 3, 0))
    dog.failed("the network's output is not finite")
    dog.failed("out of memory")
    assert dog.against == "in flight: the network's output is not finite after 4 tiles"
    assert not dog.contact()


@pytest.mark.parametrize(
    ("look", "pace_s", "suspicious"),
    [
        (Look(4, 3, 0), None, False),
        (Look(4, 0, 0), None, True),
        (Look(4, 9, 1), None, True),
        (Look(0, 0, 0), None, False),
        (Look(4, 3, 0, 4.0), 1.0, False),
        (Look(4, 3, 0, 12.1), 1.0, True),
        (Look(4, 3, 0, 4.0), None, True),
    ],
)
def test_only_a_suspicious_scene_is_looked_at_twice(look, pace_s, suspicious):
    assert watched(pace_s=pace_s).saw(look) is suspicious


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (Look(8, 10, 0), Look(8, 0, 0), "finds 0 objects where the model before finds 10"),
        (Look(8, 9, 0), Look(8, 0, 0), ""),
        (Look(8, 0, 0), Look(8, 0, 0), ""),
        (Look(8, 30, 0), Look(8, 3, 0), ""),
        (Look(8, 31, 0), Look(8, 3, 0), "finds 3"),
        (Look(8, 5, 0), Look(8, 400, 2), "2 of 8 tiles overflow"),
        (Look(8, 5, 0), Look(8, 400, 1), ""),
        (Look(8, 400, 4), Look(8, 400, 8), ""),
        (Look(8, 5, 0, 8.0), Look(8, 5, 0, 24.0), ""),
        (Look(8, 5, 0, 8.0), Look(8, 5, 0, 25.0), "3 times as slow"),
        (Look(3, 5, 0, 3.0), Look(3, 5, 0, 300.0), ""),
        (Look(4, 5, 0, 0.0), Look(4, 5, 0, 300.0), "inf times as slow"),
        (Look(8, 5, 0, None), Look(8, 5, 0, 300.0), ""),
    ],
)
def test_what_is_held_against_a_model_is_held_on_tiles_that_both_have_seen(before, after, word):
    dog = watched()
    dog.compare(before, after)
    assert (word in dog.against) if word else dog.against == ""


def test_second_looks_have_a_bound():
    dog = watched()
    scenes = 0
    while dog.saw(Look(100, 0, 0)):
        dog.compare(Look(100, 0, 0), Look(100, 0, 0))
        scenes += 1
    assert scenes == MAX_COMPARED_TILES // 100


def test_its_counts_come_back():
    dog = Watchdog(LIMITS, proven=False, pace_s=0.25)
    dog.saw(Look(8, 0, 0, 2.0))
    dog.compare(Look(8, 3, 1, 1.5), Look(8, 2, 0, 2.0))
    dog.contact()
    again = Watchdog.from_json(json.loads(json.dumps(dog.to_json())), LIMITS)
    assert again.to_json() == dog.to_json()
    assert [again.contact(), again.contact()] == [False, True]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from([*Watchdog(LIMITS, proven=True).to_json(), "compared.tiles", "compared.cpu_after_s"]), JSON)
def test_a_damaged_state_loads_or_raises_state_error(name, junk):
    state = watched().to_json()
    part, _, inner = name.partition(".")
    if inner:
        state[part][inner] = junk
    else:
        state[part] = junk
    try:
        dog = Watchdog.from_json(state, LIMITS)
    except StateError:
        return
    dog.saw(Look(1, 0, 0, 0.1))
    dog.compare(Look(1, 0, 0, 0.1), Look(1, 0, 0, 0.1))
    json.dumps(dog.to_json(), allow_nan=False)
