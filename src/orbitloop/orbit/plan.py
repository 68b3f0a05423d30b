"""Passes to a contact plan: who talks to whom, when, and how many bytes that is worth.

A pass that competes with no other, for its satellite or for an antenna of its station, is a contact as it is. All others go to
the scheduler (`schedule`) as a problem of their own, whole seconds, in which every satellite always has something to send: it
plans for bytes. What a contact carries is then integrated along its true path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbitloop.errors import LinkError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.link_budget import LinkRates, window_capacity_bytes
from orbitloop.orbit.passes import Pass, Station, find_passes, look_angles
from orbitloop.records.contact import ContactPlan, ContactWindow

Link = Mapping[tuple[str, str], LinkRates | None]


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How contested passes are shared out: policy by name, shortest contact, into how many contacts a pass may be split."""

    policy: str = "balanced"
    min_contact_s: float = 0.0
    pieces: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Allotment:
    """The part of a pass that its satellite and its station have for each other."""

    source: Pass
    start_s: float
    end_s: float


def contact_plan(
    satellites: Mapping[str, Elements],
    stations: Sequence[Station],
    rates: Mapping[str, LinkRates] | Mapping[tuple[str, str], LinkRates | None],
    start_s: float,
    end_s: float,
    guard_s: float = 5.0,
    settings: PlanSettings | None = None,
) -> ContactPlan:
    """Plan all contacts in [start_s, end_s].

    Args:
        satellites: the name that the plan uses -> its elements.
        stations: names must differ.
        rates: by name of the station or of the satellite; where both are given, the station's hold. Or by pairs (satellite,
            station), where None says that the two have no band in common, and so no contact.
        start_s: first time, UTC seconds; a pass that is under way is clipped.
        end_s: last time, likewise.
        guard_s: time at both ends of a window in which nothing is sent (pointing, lock).
        settings: of the scheduler.

    Raises:
        ElementsError: elements cannot be propagated over that time.
        LinkError: two stations have one name, or a contact has no rates.
        PlanningError: there is no such policy.
    """
    chosen = settings or PlanSettings()
    by_name = {station.name: station for station in stations}
    if len(by_name) != len(stations):
        raise LinkError("two stations have the same name", remedy="name each station once")
    given: Mapping[Any, LinkRates | None] = rates
    links: dict[tuple[str, str], LinkRates | None] = {}
    every: list[Pass] = []
    for name, elements in satellites.items():
        heard = [station for station in stations if given.get((name, station.name), True) is not None]
        for one in find_passes(elements, heard, start_s, end_s):
            pair = (name, one.station)
            links[pair] = given.get(pair) or given.get(one.station) or given.get(name)
            if links[pair] is None:
                raise LinkError(
                    f"no link rates for satellite {name!r} over station {one.station!r}", remedy="give rates for either"
                )
            every.append(replace(one, satellite=name))
    pieces = share_out(every, satellites, by_name, links, start_s, end_s, guard_s, chosen)
    windows = []
    for piece in pieces:
        one, link = piece.source, links[piece.source.satellite, piece.source.station]
        assert link is not None
        elements, station = satellites[one.satellite], by_name[one.station]
        down, up = window_capacity_bytes(link, elements, station, piece.start_s, piece.end_s, guard_s)
        highest = _highest_deg(piece, elements, station)
        windows.append(ContactWindow(one.satellite, one.station, piece.start_s, piece.end_s, highest, down, up))
    return ContactPlan(tuple(windows))


def share_out(
    passes: Sequence[Pass],
    satellites: Mapping[str, Elements],
    stations: Mapping[str, Station],
    links: Link,
    start_s: float,
    end_s: float,
    guard_s: float,
    settings: PlanSettings,
) -> list[Allotment]:
    """Return what each pass keeps, by start: the contested ones by the scheduler, the others whole."""
    long_enough = [p for p in passes if p.duration_s > 2 * guard_s and p.duration_s >= settings.min_contact_s]
    ordered = sorted(long_enough, key=lambda p: (p.aos_s, p.satellite, p.station))
    contested = _contested(ordered, stations)
    out = [Allotment(p, p.aos_s, p.los_s) for p, fight in zip(ordered, contested, strict=True) if not fight]
    disputed = [p for p, fight in zip(ordered, contested, strict=True) if fight]
    if disputed:
        out += _scheduled(disputed, satellites, stations, links, (start_s, end_s), guard_s, settings)
    return sorted(out, key=lambda a: (a.start_s, a.source.satellite, a.source.station))


def _scheduled(
    disputed: Sequence[Pass],
    satellites: Mapping[str, Elements],
    stations: Mapping[str, Station],
    links: Link,
    span_s: tuple[float, float],
    guard_s: float,
    settings: PlanSettings,
) -> list[Allotment]:
    """Let the scheduler share out passes that compete."""
    # Its compiled loops are loaded here, so that nobody waits for them who has no such passes.
    from orbitloop.orbit.schedule.heuristic import solve
    from orbitloop.orbit.schedule.opportunities import problem_of, table_of
    from orbitloop.orbit.schedule.policies import policy_named
    from orbitloop.orbit.schedule.problem import Supply

    names, places = sorted(satellites), sorted(stations)
    problem = problem_of(
        table_of(disputed, names, places),
        [satellites[n] for n in names],
        [stations[n] for n in places],
        {(n, m): links.get((n, m)) for n in names for m in places},
        Supply.endless(len(names)),
        *span_s,
        names=names,
        guard_s=guard_s,
        min_contact_s=max(2 * guard_s, settings.min_contact_s),
    ).with_pieces(settings.pieces)
    by_pair: dict[tuple[str, str], list[Pass]] = {}
    for one in disputed:
        by_pair.setdefault((one.satellite, one.station), []).append(one)
    plan = solve(problem, policy_named(settings.policy), np.random.default_rng(settings.seed)).plan()
    begins, ends = problem.time_of(plan.start_tick).tolist(), problem.time_of(plan.end_tick).tolist()
    out = []
    for i, begin_s, until_s in zip(plan.opportunity.tolist(), begins, ends, strict=True):
        pair = problem.satellites[problem.satellite[i]], problem.stations[problem.station[i]]
        source = next(p for p in by_pair[pair] if p.aos_s <= begin_s + 1e-3 and until_s <= p.los_s + 1e-3)
        out.append(Allotment(source, max(begin_s, source.aos_s), min(until_s, source.los_s)))
    return out


def _contested(passes: Sequence[Pass], stations: Mapping[str, Station]) -> list[bool]:
    """Return which passes, in order of AOS, share time with another of their satellite, or with too many at their station."""
    out = [False] * len(passes)
    for owner in ("satellite", "station"):
        under_way: dict[str, list[int]] = {}
        for n, one in enumerate(passes):
            name = getattr(one, owner)
            free, setup_s = (1, 0.0) if owner == "satellite" else (stations[name].antennas, stations[name].setup_s)
            still = [k for k in under_way.get(name, []) if passes[k].los_s + setup_s > one.aos_s]
            under_way[name] = [*still, n]
            if len(under_way[name]) > free:
                for k in under_way[name]:
                    out[k] = True
    return out


def _highest_deg(piece: Allotment, elements: Elements, station: Station) -> float:
    """Return the highest elevation in the piece: the culmination, or the nearer end if that was cut off."""
    if piece.start_s <= piece.source.tca_s <= piece.end_s:
        return piece.source.max_elevation_deg
    return float(look_angles(elements, station, [piece.start_s, piece.end_s])[0].max())
