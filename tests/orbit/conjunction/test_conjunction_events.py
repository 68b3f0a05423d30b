"""Events: which update belongs to which, what becomes of them, and that a record comes back as it went."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.events import (
    Event,
    EventUpdate,
    Knowledge,
    Party,
    Source,
    Status,
    gather,
    new_id,
    period_of,
    swapped,
)

TCA_S = 1_780_000_000.0
PERIOD_S = 5_700.0


def update(tca_s: float = TCA_S, created_s: float = TCA_S - 86_400.0, **fields: object) -> EventUpdate:
    made = EventUpdate(
        source=Source.CDM,
        message_id="m1",
        created_s=created_s,
        tca_s=tca_s,
        primary=Party("HST", "20580"),
        secondary=Party("DELTA 2 R/B(1)", "22015"),
        miss_km=1.2,
        speed_km_s=2.9,
        rtn_km=(0.1, 1.1, -0.4),
        probability=1e-5,
        method="2d",
        knowledge=Knowledge.MEASURED,
        period_s=PERIOD_S,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def encounter() -> Encounter:
    covariance = np.diag([1e-2, 4e-2, 1e-2, 1e-8, 1e-8, 1e-8])
    first = ObjectState("HST", "20580", np.array([6900.0, 0, 0]), np.array([0, 7.6, 0.1]), covariance)
    second = ObjectState("R/B", "22015", np.array([6900.5, 0.3, -0.2]), np.array([0, 1.0, 7.5]), None)
    return Encounter(TCA_S, first, second, 20.0)


def test_moved_tca_is_the_same_event_and_half_a_revolution_is_another() -> None:
    events = gather(
        [
            update(message_id="a"),
            update(TCA_S + 12.0, TCA_S - 40_000, message_id="b"),
            update(TCA_S + PERIOD_S / 2, TCA_S - 30_000, message_id="c"),
        ]
    )
    assert [[u.message_id for u in e.updates] for e in events] == [["a", "b"], ["c"]]
    assert events[0].tca_s == TCA_S + 12.0
    assert events[0].id == "20580-22015-20260528-202640"


def test_the_other_operators_message_tells_the_same_event() -> None:
    theirs = update(primary=Party("X", "000022015"), secondary=Party("Y", "20580"), message_id="theirs")
    assert len(gather([update(), theirs])) == 1


def test_a_message_that_comes_twice_counts_once_and_is_known_by_what_it_says() -> None:
    again = update(probability=3e-5, method="3d")  # judged anew by a better method
    assert again.digest() == update().digest()
    assert len(gather([update(), again])[0].updates) == 1
    assert update(miss_km=1.3).digest() != update().digest()


def test_names_stand_in_for_missing_numbers() -> None:
    nameless = update(secondary=Party("Unknown thing!", ""))
    assert nameless.pair == ("20580", "unknown-thing")
    assert new_id(nameless) == "20580-unknown-thing-20260528-202640"
    assert new_id(nameless, [new_id(nameless)]).endswith("-2")


@pytest.mark.parametrize(
    ("probabilities", "status"),
    [
        ([1e-5], Status.OPEN),
        ([1e-5, 1.5e-5], Status.OPEN),
        ([1e-5, 2e-5], Status.RISING),
        ([1e-5, 1e-7], Status.FALLING),
        ([1e-30, 1e-20], Status.OPEN),
        ([0.0, 1e-5], Status.RISING),
    ],
)
def test_status_follows_the_last_two(probabilities: list[float], status: Status) -> None:
    updates = [update(created_s=TCA_S - 90_000 + n, probability=p, message_id=str(n)) for n, p in enumerate(probabilities)]
    event = Event("e", tuple(updates))
    assert event.status(TCA_S - 1000) is status
    assert event.status(TCA_S + 61) is Status.CLOSED
    assert event.highest == max(probabilities)


def test_without_probabilities_distance_tells_the_trend() -> None:
    near = update(TCA_S, TCA_S - 5, probability=None, miss_km=0.1)
    assert Event("e", (update(probability=None, miss_km=1.0), near)).status(TCA_S - 1) is Status.RISING


def test_swapping_sides_turns_the_geometry() -> None:
    seen = update(encounter=encounter())
    turned = swapped(seen, "22015")
    assert turned.primary.key == "22015"
    assert turned.encounter is not None
    assert turned.encounter.miss_km == pytest.approx(encounter().miss_km)
    assert np.linalg.norm(turned.rtn_km) == pytest.approx(encounter().miss_km)
    assert swapped(seen, "20580") is seen
    with pytest.raises(ConjunctionError, match="no states"):
        swapped(update(), "22015")


def test_period_of_a_state() -> None:
    r, speed = np.array([7000.0, 0, 0]), np.sqrt(398600.4418 / 7000)
    assert period_of(r, np.array([0, speed, 0])) == pytest.approx(5828.5, abs=0.1)
    assert period_of(r, np.array([0, 12.0, 0])) == 5400.0


def test_a_record_comes_back_as_it_went() -> None:
    whole = update(encounter=encounter(), sigma_rtn_km=(0.1, 0.2, 0.3), two_d_holds=False, statements=("covariance: model",))
    back = EventUpdate.from_json(json.loads(json.dumps(whole.to_json())))
    assert back.to_json() == whole.to_json()
    assert back.encounter is not None
    assert back.encounter.primary.known_covariance_km == pytest.approx(encounter().primary.known_covariance_km)
    assert back.encounter.secondary.covariance_km is None


@pytest.mark.parametrize("fields", [{"probability": 1.5}, {"miss_km": float("nan")}, {"miss_km": -1.0}, {"period_s": 0.0}])
def test_numbers_that_are_none_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConjunctionError):
        update(**fields)


_VALUES = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.lists(st.floats(), max_size=3)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(update().to_json())), _VALUES | st.dictionaries(st.text(max_size=3), _VALUES))
def test_any_stored_record_is_read_or_the_one_error_raised(name: str, value: object) -> None:
    document = update(encounter=encounter()).to_json() | {name: value}
    with contextlib.suppress(ConjunctionError):
        EventUpdate.from_json(document)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5), st.floats(-60, 60), st.floats(0, 1e6)),
        min_size=1,
        max_size=12,
        unique_by=lambda t: t[3],
    ),
    st.randoms(use_true_random=False),
)
def test_grouping_is_by_pair_and_passage_whatever_the_order(spec: list[tuple[int, int, float, float]], rnd: object) -> None:
    """Passages half a revolution apart, times off by up to a minute: every event holds one pair's one passage, in any order."""
    updates = [
        update(
            TCA_S + passage * PERIOD_S / 2 + off_s,
            TCA_S - 2e6 + created_s,
            message_id=f"{pair}/{passage}",
            secondary=Party("", str(30_000 + pair)),
        )
        for pair, passage, off_s, created_s in spec
    ]
    shuffled = list(updates)
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    events = gather(shuffled)
    assert {frozenset(u.message_id for u in e.updates) for e in events} == {frozenset([f"{p}/{q}"]) for p, q, *_ in spec}
    assert [e.id for e in events] == [e.id for e in gather(updates)]
    for event in events:
        assert [u.created_s for u in event.updates] == sorted(u.created_s for u in event.updates)
