"""Which conjunctions must be told, once: levels by probability and distance, latched, without a storm.

Levels: `red` at a collision probability of 1e-4, where NASA CARA and ESA act (NASA/SP-20205011318, 2020, 3.4; Merz et al. 2017,
7th European Conference on Space Debris), `yellow` at 1e-5, where one looks closer. Where there is no probability, the miss
distance alone is judged, and says so. An event at a level is told once. It is told again only when it has gone down by more
than the hysteresis (a factor of 3 below the level's threshold) and then comes up anew, or when it reaches a higher level.

Alerts follow from an event's history alone: read it again and the same alerts come out, so nothing is told twice after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.events import Event, EventUpdate, Knowledge

HOUR_S = 3600.0


class Level(IntEnum):
    """How much an event asks for."""

    NONE = 0
    """Below every threshold."""
    YELLOW = 1
    """Look closer: ask for tracking, prepare."""
    RED = 2
    """Decide on avoidance."""

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What an alert is raised at.

    `miss` distances count where there is no probability; the yellow one also where the covariance is only a model. `stale_s`:
    with no newer update than this an event is told as stale. `urgent_s`: less than this before the TCA a red alert is urgent,
    for planning and uplink need it.

    Raises:
        ConjunctionError: a threshold is not a probability, or they are not in order.
    """

    red_probability: float = 1e-4
    yellow_probability: float = 1e-5
    red_miss_km: float = 0.2
    yellow_miss_km: float = 1.0
    hysteresis: float = 3.0
    stale_s: float = 24 * HOUR_S
    urgent_s: float = 24 * HOUR_S

    def __post_init__(self) -> None:
        if not 0 < self.yellow_probability <= self.red_probability <= 1:
            raise ConjunctionError(
                f"thresholds of probability are {self.yellow_probability} (yellow) and {self.red_probability} (red)",
                remedy="give 0 < yellow <= red <= 1",
            )
        if not 0 <= self.red_miss_km <= self.yellow_miss_km or self.hysteresis < 1:
            raise ConjunctionError("thresholds of distance or the hysteresis are out of order", remedy="red <= yellow, >= 1")

    def level(self, update: EventUpdate) -> Level:
        """Return the level that one update alone stands at."""
        return self._level(update, 1.0)

    def eased_level(self, update: EventUpdate) -> Level:
        """Return the level with the hysteresis: what a latched event must fall to."""
        return self._level(update, self.hysteresis)

    def _level(self, update: EventUpdate, slack: float) -> Level:
        if update.probability is not None:
            red = update.probability * slack >= self.red_probability
            yellow = update.probability * slack >= self.yellow_probability
            if update.knowledge is Knowledge.MODEL:
                # A small probability from a modelled covariance assures nobody: near is worth a closer look in any case.
                yellow = yellow or update.miss_km <= self.yellow_miss_km * slack
        else:
            red = update.miss_km <= self.red_miss_km * slack
            yellow = update.miss_km <= self.yellow_miss_km * slack
        return Level.RED if red else Level.YELLOW if yellow else Level.NONE


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """One alert: an event reached a level by an update. `id` is the same whenever it is derived again."""

    id: str
    event_id: str
    level: Level
    raised_s: float
    update: EventUpdate
    remarks: tuple[str, ...]
    urgent: bool


def alerts_of(event: Event, thresholds: Thresholds) -> tuple[Alert, ...]:
    """Return every alert of an event's history, oldest first."""
    latched = Level.NONE
    made: list[Alert] = []
    for update in event.updates:
        level = thresholds.level(update)
        if level > latched:
            made.append(_alert(event, len(made) + 1, level, update, thresholds))
            latched = level
        else:
            latched = min(latched, max(level, thresholds.eased_level(update)))
    return tuple(made)


def standing(event: Event, thresholds: Thresholds) -> Level:
    """Return the level at which the event is latched after its last update."""
    latched = Level.NONE
    for update in event.updates:
        latched = max(thresholds.level(update), min(latched, thresholds.eased_level(update)))
    return latched


def _alert(event: Event, number: int, level: Level, update: EventUpdate, thresholds: Thresholds) -> Alert:
    left_s = update.tca_s - update.created_s
    return Alert(
        id=f"{event.id}-{level.word}-{number}",
        event_id=event.id,
        level=level,
        raised_s=update.created_s,
        update=update,
        remarks=remarks(update),
        urgent=level is Level.RED and left_s <= thresholds.urgent_s,
    )


def remarks(update: EventUpdate) -> tuple[str, ...]:
    """Return what a reader of the probability must know: what it rests on, and whether its method holds."""
    said = []
    if update.two_d_holds is False:
        gave = "" if update.two_d_probability is None else f"; it would give {update.two_d_probability:.2e}"
        said.append(f"the 2-D probability does not hold here{gave}; by method {update.method or 'unknown'}")
    if update.probability is None:
        said.append("no probability: judged by the miss distance alone")
    if update.knowledge is Knowledge.MODEL:
        said.append("the covariance is a model, not measured: ask for a conjunction data message before deciding")
    said += [text for text in update.statements if text not in said]
    return tuple(said)


def staleness(event: Event, now_s: float, thresholds: Thresholds) -> str:
    """Say that an event has had no update for long, while its TCA is still to come; empty where it is fresh."""
    age_s = now_s - event.latest.created_s
    if age_s <= thresholds.stale_s or now_s > event.tca_s:
        return ""
    return f"stale: the last update is {age_s / HOUR_S:.0f} h old, {(event.tca_s - now_s) / HOUR_S:.0f} h before the TCA"
