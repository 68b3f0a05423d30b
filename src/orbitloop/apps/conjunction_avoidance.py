"""Avoidance of one conjunction for people: burns with their effect, the passes that they cost, what else they bring near.

Passes and new approaches need an orbit as element set. It is taken from a catalogue, else from the mission's satellite of that
name, else fitted to the state of the message (turned from EME2000 by precession alone: passes are right to a fraction of a
second, distances to other objects would not be, so those are looked for only with a catalogue). Nothing here acts: what comes
out are proposals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orbitloop.apps.conjunctions import judge, rounded, space_object
from orbitloop.clock import iso_utc
from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.conjunction.alerts import remarks
from orbitloop.orbit.conjunction.approach import Volume
from orbitloop.orbit.conjunction.avoidance import (
    AvoidanceOption,
    AvoidanceSettings,
    NewApproach,
    avoidance_options,
    judged,
    new_approaches,
    pass_impact,
    ranked,
)
from orbitloop.orbit.conjunction.encounter import Encounter
from orbitloop.orbit.conjunction.events import Event, EventUpdate, Source, swapped
from orbitloop.orbit.conjunction.motion import elements_from_state, manoeuvred
from orbitloop.orbit.conjunction.screening import screen
from orbitloop.orbit.conjunction.uncertainty import kind_of
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.inertial import eme2000_to_teme
from orbitloop.orbit.passes import Pass, Station, find_passes
from orbitloop.resources.meta import Metadata
from orbitloop.resources.mission import MissionPlan
from orbitloop.resources.traffic import (
    AvoidanceCost,
    AvoidanceOptionSpec,
    OtherApproach,
    PredictedApproach,
    ProposedBurn,
    SpaceObject,
)
from orbitloop.resources.traffic import AvoidanceOption as AvoidanceResource
from orbitloop.sim.fleet import elements_of, station_of

AFTER_TCA_S: Final = DAY_S
"""How long after the closest approach passes and new approaches are looked for."""
SCREEN_KM: Final = 5.0
NEAR_KM: Final = 1.0
"""Nearer than this a burn may not bring another object; out to SCREEN_KM it is seen how far that one would have stayed."""
LOOKED_INTO: Final = 6
MOST_LOOKS: Final = 18
"""How many of the first options are looked into for new approaches and passes of the new orbit; how many in all."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class AvoidanceReport:
    """Options in order of preference, and what they were looked for with.

    `passes` are those of the unchanged orbit; None where no stations were given. `notes` say what was not looked into.
    """

    event: Event
    update: EventUpdate
    now_s: float
    settings: AvoidanceSettings
    options: tuple[AvoidanceOption, ...]
    passes: tuple[Pass, ...] | None
    notes: tuple[str, ...]

    def command_by_s(self, option: AvoidanceOption) -> float | None:
        """Return the end of the last pass in which the burn can be commanded, or None."""
        if option.burn_s is None or self.passes is None:
            return None
        return command_by(option.burn_s, self.passes, self.now_s, self.settings)


def command_by(burn_s: float, passes: Sequence[Pass], now_s: float, settings: AvoidanceSettings) -> float | None:
    """Return the end of the last whole pass between now and the time that a burn's preparation begins, or None."""
    ends = [p.los_s for p in passes if p.aos_s >= now_s and p.los_s <= burn_s - settings.prepare_s]
    return max(ends, default=None)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known around an event: the mission's stations and satellites, and a catalogue of element sets."""

    stations: tuple[Station, ...] = ()
    satellites: tuple[Elements, ...] = ()
    catalogue: tuple[Elements, ...] = ()


def surroundings(plan: MissionPlan | None, catalogue: Sequence[Elements], now_s: float) -> Surroundings:
    """Return the stations and satellites of a mission, and the catalogue.

    Raises:
        ElementsError: a satellite's orbit is malformed.
    """
    if plan is None:
        return Surroundings(catalogue=tuple(catalogue))
    return Surroundings(
        tuple(station_of(name, one) for name, one in plan.stations.items()),
        tuple(elements_of(name, one, now_s) for name, one in plan.satellites.items()),
        tuple(catalogue),
    )


def seen_from(event: Event, satellite: str) -> EventUpdate:
    """Return the newest update that holds states, from the side of the object that may burn.

    Args:
        event: the event.
        satellite: number or name of that object; the primary when empty.

    Raises:
        ConjunctionError: no update holds states, or the object is not one of the two.
    """
    update = next((u for u in reversed(event.updates) if u.encounter is not None), None)
    if update is None:
        raise ConjunctionError("no message of the event gives states", where=event.id, remedy="import a CDM of it")
    if not satellite:
        return update
    for party in (update.primary, update.secondary):
        if satellite.lstrip("0") == party.key or _plain(satellite) == _plain(party.name):
            return swapped(update, party.key)
    both = f"{update.primary.label} and {update.secondary.label}"
    raise ConjunctionError(f"{satellite!r} is neither of the two objects, {both}", where=event.id)


def avoid(
    event: Event,
    update: EventUpdate,
    around: Surroundings,
    now_s: float,
    settings: AvoidanceSettings,
    *,
    progress: Progress | None = None,
) -> AvoidanceReport:
    """Find the options of an event, in order of preference.

    Raises:
        ConjunctionError: the update holds no states or covariances, or nothing can be said of a burn.
        ElementsError: the satellite's element set cannot be propagated over the time.
    """
    if update.encounter is None:
        raise ConjunctionError("the update holds no states", where=event.id)
    tell = progress or (lambda _stage, _done, _total: None)
    options = avoidance_options(update.encounter, now_s, settings)
    notes = list(remarks(update))
    if len(options) == 1:
        notes.append(f"no time is left for a burn: {(update.tca_s - now_s) / 3600:.1f} h to the closest approach")
    if kind_of(update.primary.name) in ("debris", "rocket body"):
        notes.append(
            f"{update.primary.label} is {kind_of(update.primary.name)} by its name: can it burn? --satellite names the other"
        )
    if update.two_d_holds is False:
        options = _all_judged(options, settings, tell)
    own, where_from = _orbit(update, around, now_s)
    notes += [f"orbit of {update.primary.label}: {where_from}"]
    passes = None
    if around.stations:
        passes = tuple(find_passes(own, around.stations, now_s, update.tca_s + AFTER_TCA_S))
        options = [
            replace(
                o,
                passes=pass_impact(o, passes, settings),
                commandable=None if o.burn_s is None else command_by(o.burn_s, passes, now_s, settings) is not None,
            )
            for o in options
        ]
    else:
        notes.append("passes lost were not counted: no stations were given (--mission)")
    if not around.catalogue:
        notes.append("new approaches were not looked for: no catalogue was given (--catalog)")
    order = _looked_into(options, update, own, around, passes, settings, tell)
    return AvoidanceReport(event, update, now_s, settings, tuple(order), passes, tuple(notes))


def _all_judged(options: list[AvoidanceOption], settings: AvoidanceSettings, tell: Progress) -> list[AvoidanceOption]:
    """Judge every option by the better method: where the plane does not hold, its order need not hold either."""

    def better(encounter: Encounter) -> tuple[float, str]:
        answer = judge(encounter)
        return answer.value, answer.method

    made = []
    for done, option in enumerate(options):
        tell("judging", done, len(options))
        made.append(judged(option, better, settings))
    return made


def _looked_into(
    options: list[AvoidanceOption],
    update: EventUpdate,
    own: Elements,
    around: Surroundings,
    passes: tuple[Pass, ...] | None,
    settings: AvoidanceSettings,
    tell: Progress,
) -> list[AvoidanceOption]:
    """Return the options in order, the first few looked into: passes on the new orbit, and approaches that it brings.

    What is found changes the order, so that others come first: those are looked into as well, up to a bound.
    """
    order = ranked(options)
    burns = [option.burn_s for option in order if option.burn_s is not None]
    if not burns or (passes is None and not around.catalogue):
        return order
    start_s, end_s = min(burns), update.tca_s + AFTER_TCA_S
    tell("looking around", 0, MOST_LOOKS)
    before = _approaches(own, update, around.catalogue, start_s, end_s) if around.catalogue else ()
    seen: set[tuple[float | None, float]] = set()
    while len(seen) < MOST_LOOKS:
        first = [option for option in order if option.burn_s is not None][:LOOKED_INTO]
        option = next((one for one in first if (one.burn_s, one.along_m_s) not in seen), None)
        if option is None or option.burn_s is None:
            break
        seen.add((option.burn_s, option.along_m_s))
        tell("looking around", len(seen), MOST_LOOKS)
        burned = manoeuvred(own, option.burn_s, np.array([0.0, option.along_m_s / 1000.0, 0.0]))
        looked = option
        if passes is not None:
            after = find_passes(burned, around.stations, option.burn_s, end_s)
            looked = replace(looked, passes=pass_impact(option, passes, settings, after))
        if around.catalogue:
            near = _approaches(burned, update, around.catalogue, burned.epoch_s, end_s)
            looked = replace(looked, new_approaches=new_approaches(before, near, NEAR_KM))
        order = ranked([looked if one is option else one for one in order])
    return order


def _approaches(
    own: Elements, update: EventUpdate, catalogue: Sequence[Elements], start_s: float, end_s: float
) -> tuple[NewApproach, ...]:
    """Return who of a catalogue comes near an object, but for itself and the event that is to be avoided."""
    others = [one for one in catalogue if one.norad_id != own.norad_id]
    found = screen([own, *others], start_s, end_s, volume=Volume.sphere(SCREEN_KM), primaries=[0]).approaches
    near = []
    for one in found:
        other = others[max(one.primary, one.secondary) - 1]
        the_event = str(other.norad_id) == update.secondary.key and abs(one.tca_s - update.tca_s) < update.period_s / 4
        if one.kind == "crossing" and not the_event:
            near.append(NewApproach(other.name, str(other.norad_id), one.tca_s, one.miss_km, None))
    return tuple(near)


def _orbit(update: EventUpdate, around: Surroundings, now_s: float) -> tuple[Elements, str]:
    """Return the burning object's element set, and where it is from."""
    for one in around.catalogue:
        if str(one.norad_id) == update.primary.key:
            return one, f"catalogue, epoch {iso_utc(one.epoch_s)}"
    for one in around.satellites:
        if _plain(one.name) == _plain(update.primary.name) or str(one.norad_id) == update.primary.key:
            return one, f"the mission's satellite {one.name}"
    encounter = update.encounter
    assert encounter is not None
    turn = np.eye(3) if update.source is Source.SCREENING else eme2000_to_teme(encounter.tca_s)[0]
    name, number = update.primary.name or update.primary.key, update.primary.key
    like = replace(
        from_orbit(name, encounter.tca_s, 700.0, 50.0), norad_id=int(number) if number.isdigit() else 0, bstar_per_er=0.0
    )
    try:
        fitted = elements_from_state(like, encounter.tca_s, turn @ encounter.primary.r_km, turn @ encounter.primary.v_km_s)
    except ElementsError as error:
        raise ConjunctionError(f"its state is of no orbit to look for passes on ({error.what})", where=name) from error
    return fitted, "fitted to the message's state (passes to a second or so; no drag)"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def option_resource(report: AvoidanceReport, rank: int) -> AvoidanceResource:
    """Return the option of a rank (from 1) as the resource that people read."""
    option, update = report.options[rank - 1], report.update
    burn = None
    if option.burn_s is not None:
        burn = ProposedBurn(
            at=iso_utc(option.burn_s), along_track_m_s=option.along_m_s, revolutions_before_tca=option.revolutions
        )
    command_by_s = report.command_by_s(option)
    impact = option.passes
    said = list(report.notes)
    if burn is not None and report.passes is not None and command_by_s is None:
        said.insert(0, "no pass before the burn to command it in")
    return AvoidanceResource(
        metadata=Metadata(name=f"{report.event.id}-option-{rank}"),
        spec=AvoidanceOptionSpec(
            event=report.event.id,
            rank=rank,
            pareto=option.pareto,
            meets_goal=option.meets_goal,
            satellite=space_object(update.primary),
            secondary=space_object(update.secondary),
            burn=burn,
            predicted=PredictedApproach(
                tca=iso_utc(option.tca_s),
                miss_km=round(option.miss_km, 6),
                probability=rounded(option.probability),
                method=option.method,
            ),
            cost=AvoidanceCost(
                delta_v_m_s=option.size_m_s,
                propellant_share=option.propellant_share,
                passes_lost=None if impact is None else impact.lost,
                passes_cut=None if impact is None else impact.cut,
                contact_lost_s=None if impact is None else round(impact.lost_s, 1),
            ),
            command_by=None if command_by_s is None else iso_utc(command_by_s),
            new_approaches=None
            if option.new_approaches is None
            else tuple(
                OtherApproach(
                    other=SpaceObject(name=one.name[:200], designator=one.designator[:40]),
                    tca=iso_utc(one.tca_s),
                    miss_km=round(one.miss_km, 6),
                    before_km=one.before_km,
                )
                for one in option.new_approaches
            ),
            remarks=tuple(said),
        ),
    )
