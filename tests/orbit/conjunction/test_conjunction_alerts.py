"""Alerts: each level once, again only after it had truly eased, and never more in the second reading."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.alerts import Level, Thresholds, alerts_of, remarks, staleness, standing
from orbitloop.orbit.conjunction.events import Event, EventUpdate, Knowledge, Party, Source

TCA_S = 1_780_000_000.0
DEFAULT = Thresholds()


def history(*probabilities: float | None, miss_km: float = 5.0, step_s: float = 8 * 3600.0) -> Event:
    first_s = TCA_S - step_s * len(probabilities)
    one = EventUpdate(Source.CDM, "m", first_s, TCA_S, Party("A", "1"), Party("B", "2"), miss_km, 10.0, (0.0, miss_km, 0.0))
    return Event(
        "1-2-x",
        tuple(
            replace(one, created_s=first_s + n * step_s, probability=p, message_id=str(n)) for n, p in enumerate(probabilities)
        ),
    )


@pytest.mark.parametrize(
    ("probabilities", "levels"),
    [
        ([1e-7, 9e-6], ""),
        ([1e-5], "y"),
        ([1e-4], "r"),
        ([2e-5, 3e-5, 2e-5], "y"),
        ([2e-5, 2e-4], "yr"),
        ([2e-4, 2e-4, 3e-4], "r"),
        ([1.1e-4, 0.9e-4, 1.1e-4, 0.9e-4, 1.1e-4], "r"),  # swings about a threshold: told once
        ([2e-4, 2e-5, 2e-4], "rr"),  # had eased to yellow, rises again
        ([2e-4, 1e-9, 2e-5, 2e-4], "ryr"),
        ([2e-4, 1e-9, 1e-9], "r"),
    ],
)
def test_levels_told(probabilities: list[float], levels: str) -> None:
    alerts = alerts_of(history(*probabilities), DEFAULT)
    assert "".join(a.level.word[0] for a in alerts) == levels
    assert len({a.id for a in alerts}) == len(alerts)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-12, -1).map(lambda x: 10.0**x), min_size=1, max_size=20))
def test_no_storm_and_the_same_again(probabilities: list[float]) -> None:
    event = history(*probabilities)
    alerts = alerts_of(event, DEFAULT)
    assert [a.id for a in alerts] == [a.id for a in alerts_of(event, DEFAULT)]
    # A history that is read again with one more update never takes back what was told.
    shorter = alerts_of(Event(event.id, event.updates[:-1]), DEFAULT) if len(event.updates) > 1 else ()
    assert [a.id for a in alerts[: len(shorter)]] == [a.id for a in shorter]
    if max(probabilities) >= DEFAULT.red_probability:
        assert any(a.level is Level.RED for a in alerts)
    for before, after in itertools.pairwise(alerts):
        if after.level <= before.level:
            between = [u.probability for u in event.updates if before.raised_s < u.created_s < after.raised_s]
            threshold = {Level.RED: DEFAULT.red_probability, Level.YELLOW: DEFAULT.yellow_probability}[after.level]
            assert min(p for p in between if p is not None) * DEFAULT.hysteresis < threshold


def test_without_probability_the_distance_is_judged_and_said() -> None:
    (alert,) = alerts_of(history(None, miss_km=0.5), DEFAULT)
    assert alert.level is Level.YELLOW
    assert "no probability: judged by the miss distance alone" in alert.remarks
    assert alerts_of(history(None, miss_km=0.1), DEFAULT)[0].level is Level.RED
    assert alerts_of(history(None, miss_km=1.1), DEFAULT) == ()


def test_a_probability_counts_before_the_distance() -> None:
    assert alerts_of(history(1e-12, miss_km=0.05), DEFAULT) == ()


def test_a_small_probability_from_a_model_does_not_hide_a_near_miss() -> None:
    event = history(1e-12, miss_km=0.3)
    modelled = Event(event.id, (replace(event.latest, knowledge=Knowledge.MODEL),))
    assert [a.level for a in alerts_of(modelled, DEFAULT)] == [Level.YELLOW]
    far = Event(event.id, (replace(event.latest, knowledge=Knowledge.MODEL, miss_km=1.5),))
    assert alerts_of(far, DEFAULT) == ()


def test_urgent_when_there_is_less_than_a_day() -> None:
    assert alerts_of(history(1e-3, step_s=20 * 3600.0), DEFAULT)[0].urgent
    assert not alerts_of(history(1e-3, step_s=30 * 3600.0), DEFAULT)[0].urgent


def test_remarks_name_what_the_number_rests_on() -> None:
    update = replace(
        history(1e-4).latest,
        two_d_holds=False,
        two_d_probability=3e-7,
        method="3d",
        knowledge=Knowledge.MODEL,
        statements=("covariance: model, class x, age 2.0 d; not a measured covariance",),
    )
    said = remarks(update)
    assert said[0] == "the 2-D probability does not hold here; it would give 3.00e-07; by method 3d"
    assert any("model, not measured" in text for text in said)
    assert said[-1].endswith("not a measured covariance")


def test_staleness() -> None:
    event = history(1e-5, step_s=48 * 3600.0)
    assert staleness(event, TCA_S - 3600, DEFAULT) == "stale: the last update is 47 h old, 1 h before the TCA"
    assert staleness(event, TCA_S - 47 * 3600, DEFAULT) == ""
    assert staleness(event, TCA_S + 1, DEFAULT) == ""


def test_standing_follows_the_latch() -> None:
    assert standing(history(2e-4, 0.9e-4), DEFAULT) is Level.RED
    assert standing(history(2e-4, 2e-5), DEFAULT) is Level.YELLOW
    assert standing(history(2e-4, 1e-9), DEFAULT) is Level.NONE


def test_thresholds_out_of_order_are_refused() -> None:
    for fields in ({"yellow_probability": 1e-3}, {"yellow_probability": 0.0}, {"red_miss_km": 2.0}, {"hysteresis": 0.5}):
        with pytest.raises(ConjunctionError):
            Thresholds(**fields)
