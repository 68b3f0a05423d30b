"""The two pictures of a conjunction: drawn from whatever an event has, and the same each time."""

from __future__ import annotations

import pytest

from orbitloop.reports.plots.conjunction import HistoryPoint, OptionPoint, history_picture, tradeoff_picture

SERIES = [
    HistoryPoint(72.0, 1e-7, 3.0, 2.0, False),
    HistoryPoint(48.0, 2e-5, 1.0, 0.8, True),
    HistoryPoint(24.0, 3e-4, 0.4, 0.3, False),
]
OPTIONS = [
    OptionPoint(None, 0.0, 3e-4, 0, True, 4),
    *(
        OptionPoint(hours, sign * size, 3e-4 * (0.01 if sign > 0 else 0.3) ** (size * 100), lost, sign > 0, n)
        for n, (hours, lost) in enumerate([(0.8, 0), (2.4, 1), (24.0, 3)])
        for size in (0.001, 0.01, 0.05)
        for sign in (1, -1)
    ),
]


@pytest.mark.parametrize(
    "points",
    [
        SERIES,
        SERIES[:1],
        [HistoryPoint(5.0, None, 0.2, None, False), HistoryPoint(1.0, None, 0.0, None, True)],
        [HistoryPoint(5.0, 0.0, 0.2, None, False), HistoryPoint(-1.0, 1.0, 0.2, None, False)],
    ],
)
def test_history_of_whatever_there_is(points: list[HistoryPoint]) -> None:
    first = history_picture("A and B", points, 1e-4, 1e-5, "svg")
    assert first == history_picture("A and B", points, 1e-4, 1e-5, "svg")
    for text in (b"A and B", b"red, 0.0001", b"miss distance", b"hours before the closest approach"):
        assert text in first


def test_a_modelled_covariance_is_marked() -> None:
    assert b"with a modelled covariance" in history_picture("x", SERIES, 1e-4, 1e-5, "svg")
    assert b"with a modelled covariance" not in history_picture("x", SERIES[:1], 1e-4, 1e-5, "svg")


def test_tradeoff_names_times_goal_and_passes() -> None:
    drawn = tradeoff_picture("A avoids B", OPTIONS, 1e-6, "svg")
    for text in (
        b"A avoids B",
        b"0.8 h before",
        b"goal, 1e-06",
        b"doing nothing",
        b"no pass lost",
        b"one pass lost",
        b"more lost",
    ):
        assert text in drawn


def test_tradeoff_without_a_burn_that_does_or_any_burn() -> None:
    assert b"none does" in tradeoff_picture("x", OPTIONS, 1e-30, "svg")
    assert b"none does" in tradeoff_picture("x", OPTIONS[:1], 1e-6, "svg")
    assert tradeoff_picture("x", OPTIONS, 1e-6, "png").startswith(b"\x89PNG")
