"""Conjunction events: one pair around one time of closest approach, and what successive messages said of it.

A message (CDM) or a screening gives an `EventUpdate`. Updates of one pair belong to one event when their times of closest
approach lie within a quarter of a revolution: two objects on crossing orbits meet again no sooner than half a revolution
later, while errors of prediction move a TCA by seconds (1 s is 7.5 km along the track). A message about A and B and one about
B and A tell the same event. Where the store lies, and reading messages, are left to the rim; thresholds to `alerts`.

    open ──► rising | falling | open      by the last two probabilities (or miss distances where there are none)
      └────► closed                        once now is past the TCA
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState

DEFAULT_PERIOD_S = 5_400.0
MATCH_SHARE = 0.25
"""Of the period: how far an update's TCA may lie from the event's."""
TREND_FACTOR = 2.0
"""A probability that changes by less from one update to the next is called steady."""
CLOSED_AFTER_S = 60.0


class Source(StrEnum):
    """Where an update comes from."""

    CDM = "cdm"
    """A conjunction data message."""
    SCREENING = "screening"
    """Our own screening of element sets."""


class Knowledge(StrEnum):
    """What is known of how uncertain the two orbits are."""

    MEASURED = "measured"
    """Covariances of an orbit determination, as the message gives them."""
    MODEL = "model"
    """At least one is a model by class and age."""
    NONE = "none"
    """At least one is absent, so there is no probability of our own."""


class Status(StrEnum):
    """How an event stands."""

    OPEN = "open"
    """One update, or no clear trend."""
    RISING = "rising"
    """More probable than the update before said."""
    FALLING = "falling"
    """Less probable than the update before said."""
    CLOSED = "closed"
    """The closest approach is over."""


@dataclass(frozen=True, slots=True)
class Party:
    """One of the two objects. `designator` is its catalogue number as text, without leading zeros; empty where unknown."""

    name: str
    designator: str

    @property
    def key(self) -> str:
        """What the pair is matched by: the number, or the name where there is none."""
        return self.designator.lstrip("0") or re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "unknown"

    @property
    def label(self) -> str:
        return f"{self.name} ({self.key})" if self.name and self.name != self.key else self.key


@dataclass(frozen=True, slots=True, eq=False)
class EventUpdate:
    """What one message, or one screening, says of an encounter. Times are UTC seconds.

    `rtn_km` is the secondary's place in the primary's RTN at the TCA; `sigma_rtn_km` the combined sigmas there.
    `probability` is the one to believe, by `method` (of `assess`); `given_probability` the message's own. `two_d_holds` is None
    where nobody judged. `statements` must go with every probability: what the covariance is worth. `encounter` holds the
    states and covariances, for avoidance; None where a screening gave only a distance.
    """

    source: Source
    message_id: str
    created_s: float
    tca_s: float
    primary: Party
    secondary: Party
    miss_km: float
    speed_km_s: float
    rtn_km: tuple[float, float, float]
    probability: float | None = None
    method: str = ""
    two_d_probability: float | None = None
    two_d_holds: bool | None = None
    given_probability: float | None = None
    sigma_rtn_km: tuple[float, float, float] | None = None
    knowledge: Knowledge = Knowledge.NONE
    statements: tuple[str, ...] = ()
    period_s: float = DEFAULT_PERIOD_S
    encounter: Encounter | None = None

    def __post_init__(self) -> None:
        numbers = (self.created_s, self.tca_s, self.miss_km, self.speed_km_s, self.period_s, *self.rtn_km)
        if not all(math.isfinite(number) for number in numbers) or self.miss_km < 0 or self.period_s <= 0:
            raise ConjunctionError("an update of an event holds a number that is none", where=self.message_id)
        for value in (self.probability, self.two_d_probability, self.given_probability):
            if value is not None and not 0 <= value <= 1:
                raise ConjunctionError(f"a probability is {value}, outside 0 to 1", where=self.message_id)

    @property
    def pair(self) -> tuple[str, str]:
        """Both keys in order, whoever is the primary."""
        first, second = sorted((self.primary.key, self.secondary.key))
        return first, second

    def digest(self) -> str:
        """Return what tells this update from every other: a hash of what the message says, not of what we made of it.

        A message read again by a better method is still the same message.
        """
        said = [self.source, self.message_id, round(self.created_s, 3), round(self.tca_s, 3), *self.pair]
        return hashlib.sha256(json.dumps([*said, f"{self.miss_km:.6g}"]).encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `from_json` reads it back."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("primary", "secondary", "encounter")}
        plain["primary"], plain["secondary"] = _party(self.primary), _party(self.secondary)
        plain["encounter"] = None if self.encounter is None else _encounter_json(self.encounter)
        return plain

    @classmethod
    def from_json(cls, value: Any, where: str = "") -> EventUpdate:
        """Read what `to_json` wrote.

        Raises:
            ConjunctionError: it is malformed. Never anything else.
        """
        try:
            fields = {name: value[name] for name in cls.__slots__}
            for name in ("primary", "secondary"):
                fields[name] = Party(str(fields[name]["name"]), str(fields[name]["designator"]))
            for name in ("rtn_km", "sigma_rtn_km"):
                fields[name] = None if fields[name] is None and name != "rtn_km" else _triple(fields[name])
            fields["statements"] = tuple(str(text) for text in fields["statements"])
            fields["source"], fields["knowledge"] = Source(fields["source"]), Knowledge(fields["knowledge"])
            fields["encounter"] = None if fields["encounter"] is None else _encounter_of(fields["encounter"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ConjunctionError(f"a stored update is malformed ({error!r:.120})", where=where) from error


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """An event and its updates, oldest first (by creation; at least one)."""

    id: str
    updates: tuple[EventUpdate, ...]

    @property
    def latest(self) -> EventUpdate:
        return self.updates[-1]

    @property
    def tca_s(self) -> float:
        return self.latest.tca_s

    @property
    def highest(self) -> float | None:
        """The greatest probability that any update gave, or None."""
        return max((u.probability for u in self.updates if u.probability is not None), default=None)

    def as_of(self, now_s: float) -> Event | None:
        """Return the event as it was known at `now_s`; None where no update had been made by then."""
        known = tuple(u for u in self.updates if u.created_s <= now_s)
        return Event(self.id, known) if known else None

    def status(self, now_s: float) -> Status:
        """Say how the event stands at `now_s`."""
        if now_s > self.tca_s + CLOSED_AFTER_S:
            return Status.CLOSED
        if len(self.updates) < 2:
            return Status.OPEN
        before, last = self.updates[-2], self.updates[-1]
        if before.probability is None or last.probability is None:
            ratio = before.miss_km / max(last.miss_km, 1e-6)
        else:
            # Below 1e-15 no probability means anything; two such are equal.
            ratio = max(last.probability, 1e-15) / max(before.probability, 1e-15)
        return Status.RISING if ratio >= TREND_FACTOR else Status.FALLING if ratio <= 1 / TREND_FACTOR else Status.OPEN


@dataclass(frozen=True, slots=True)
class EventKey:
    """What is needed of an event to see whether an update is its own."""

    id: str
    pair: tuple[str, str]
    tca_s: float
    period_s: float


def match(update: EventUpdate, known: Iterable[EventKey]) -> str | None:
    """Return the id of the event that an update belongs to: of its pair, nearest in time, within a quarter revolution."""
    found: tuple[float, str] | None = None
    for key in known:
        apart = abs(key.tca_s - update.tca_s)
        if key.pair == update.pair and apart <= MATCH_SHARE * min(key.period_s, update.period_s):
            found = min(found or (math.inf, ""), (apart, key.id))
    return found[1] if found else None


def new_id(update: EventUpdate, taken: Iterable[str] = ()) -> str:
    """Return a readable name for the event that an update begins: both numbers and its TCA, fit for a resource's name."""
    when = datetime.fromtimestamp(update.tca_s, UTC)
    first, second = (re.sub(r"[^a-z0-9-]+", "-", key.lower())[:16].strip("-") or "unknown" for key in update.pair)
    name, held = f"{first}-{second}-{when:%Y%m%d-%H%M%S}", set(taken)
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in held)


def gather(updates: Iterable[EventUpdate]) -> list[Event]:
    """Group updates into events, taken in order of their creation; an update that comes twice counts once."""
    groups: dict[str, list[EventUpdate]] = {}
    seen: set[str] = set()
    for update in sorted(updates, key=lambda u: (u.created_s, u.digest())):
        if update.digest() in seen:
            continue
        seen.add(update.digest())
        keys = [EventKey(name, g[-1].pair, g[-1].tca_s, g[-1].period_s) for name, g in groups.items()]
        name = match(update, keys) or new_id(update, groups)
        groups.setdefault(name, []).append(update)
    return [Event(name, tuple(group)) for name, group in groups.items()]


def period_of(r_km: np.ndarray, v_km_s: np.ndarray) -> float:
    """Return the period of a two-body orbit through a state (3,), (3,), seconds; the default where it has none."""
    inverse = 2.0 / float(np.linalg.norm(r_km)) - float(v_km_s @ v_km_s) / MU_KM3_S2
    return 2 * math.pi * math.sqrt((1 / inverse) ** 3 / MU_KM3_S2) if inverse > 1e-7 else DEFAULT_PERIOD_S


def swapped(update: EventUpdate, primary_key: str) -> EventUpdate:
    """Return the update as its other object sees it when that is `primary_key`; else as it is.

    Raises:
        ConjunctionError: the update has no states to turn.
    """
    if update.primary.key == primary_key or update.secondary.key != primary_key:
        return update
    old = update.encounter
    if old is None:
        raise ConjunctionError("the update holds no states, so it tells nothing of the other side", where=update.message_id)
    encounter = Encounter(old.tca_s, old.secondary, old.primary, old.hard_body_radius_m)
    return replace(
        update,
        primary=update.secondary,
        secondary=update.primary,
        rtn_km=_triple(encounter.relative_rtn_km.tolist()),
        sigma_rtn_km=None,  # it stood in the other object's axes
        encounter=encounter,
    )


def _party(party: Party) -> dict[str, str]:
    return {"name": party.name, "designator": party.designator}


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)


def _encounter_json(encounter: Encounter) -> dict[str, Any]:
    return {
        "tca_s": encounter.tca_s,
        "hard_body_radius_m": encounter.hard_body_radius_m,
        "objects": [
            {
                "name": state.name,
                "designator": state.designator,
                "r_km": state.r_km.tolist(),
                "v_km_s": state.v_km_s.tolist(),
                "covariance_km": None if state.covariance_km is None else state.covariance_km.tolist(),
            }
            for state in (encounter.primary, encounter.secondary)
        ],
    }


def _encounter_of(value: Any) -> Encounter:
    first, second = (
        ObjectState(
            name=str(one["name"]),
            designator=str(one["designator"]),
            r_km=np.array(one["r_km"], np.float64),
            v_km_s=np.array(one["v_km_s"], np.float64),
            covariance_km=None if one["covariance_km"] is None else np.array(one["covariance_km"], np.float64),
        )
        for one in value["objects"]
    )
    return Encounter(float(value["tca_s"]), first, second, float(value["hard_body_radius_m"]))
