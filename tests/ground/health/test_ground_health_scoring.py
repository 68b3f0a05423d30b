"""Event scores against examples on paper, and against the samples one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.ground.health.scoring import (
    EventCount,
    count_events,
    count_events_telemanom,
    f_beta,
    flags_of,
    intervals_of,
    merged,
)


def test_an_example_on_paper() -> None:
    """100 samples, events 10-19 and 50-59; raised 15-24 (found), 30-34 (false): precision 1/2 x (1 - 10/80), recall 1/2."""
    count = count_events([(15, 24), (30, 34)], [(10, 19), (50, 59)], 100)
    assert count == EventCount(found=1, missed=1, false_events=1, false_samples=10, nominal_samples=80)
    assert count.corrected_precision == pytest.approx(0.5 * (1 - 10 / 80))
    assert count.recall == 0.5
    assert count.f_half == pytest.approx(1.25 * 0.4375 * 0.5 / (0.25 * 0.4375 + 0.5))


def test_flagging_everything_is_worth_nothing() -> None:
    count = count_events([(0, 99)], [(10, 19)], 100)
    assert (count.precision, count.recall, count.corrected_precision, count.f_half) == (1.0, 1.0, 0.0, 0.0)


def test_nothing_raised_and_nothing_labelled() -> None:
    assert count_events([], [(3, 4)], 10).f_half == 0.0
    assert count_events([], [], 10) == EventCount(nominal_samples=10)


def test_one_run_over_two_events_counts_twice_here_and_once_for_telemanom() -> None:
    events = [(10, 19), (30, 39)]
    assert count_events([(15, 35)], events, 100).found == 2
    other = count_events_telemanom([(15, 35)], events)
    assert (other.found, other.missed, other.false_events) == (1, 1, 0)


def test_overlapping_labels_are_one_event_and_touching_ones_are_two() -> None:
    assert count_events([(5, 5)], [(0, 10), (8, 20)], 30).missed == 0
    assert count_events([(5, 5)], [(0, 10), (11, 20)], 30).missed == 1


def test_merging_joins_what_lies_near() -> None:
    assert merged([(5, 6), (0, 2), (3, 3), (10, 12)]) == [(0, 3), (5, 6), (10, 12)]
    assert merged([(0, 2), (5, 6)], gap=2) == [(0, 6)]


spans = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 8)).map(lambda p: (p[0], min(59, p[0] + p[1]))), max_size=6)


@settings(max_examples=80, deadline=None)
@given(spans, spans)
def test_counts_are_those_of_the_samples(raised: list[tuple[int, int]], labelled: list[tuple[int, int]]) -> None:
    labelled = merged(labelled)
    count = count_events(raised, labelled, 60)
    flags, truth = flags_of(raised, 60), flags_of(labelled, 60)
    found = sum(bool(flags[a : b + 1].any()) for a, b in labelled)
    false_runs = sum(not truth[a : b + 1].any() for a, b in intervals_of(flags))
    assert (count.found, count.missed) == (found, len(labelled) - found)
    assert count.false_events == false_runs
    assert count.false_samples == int((flags & ~truth).sum())
    assert count.nominal_samples == int((~truth).sum())
    assert 0 <= count.f_half <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_runs_and_flags_are_inverse(flags: list[bool]) -> None:
    assert flags_of(intervals_of(flags), len(flags)).tolist() == flags


def test_f_beta_weighs_precision() -> None:
    assert f_beta(0.9, 0.5) > f_beta(0.5, 0.9)
    assert f_beta(0.0, 0.0) == 0.0
    assert f_beta(0.875, 0.8) == pytest.approx(0.8589, abs=1e-4)  # Telemanom's published totals
    assert np.isclose(f_beta(0.6, 0.6), 0.6)
