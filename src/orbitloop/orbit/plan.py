"""Passes to a contact plan: who talks to whom, when, and how many bytes that is worth.

Rules. A satellite talks to one station at a time, and a station's one antenna serves one satellite at a time. Where passes
compete, the one that culminates higher keeps its whole time; the other keeps the longest stretch that is left to it, if
that is longer than its guard times, and is dropped otherwise. Ties go to the earlier AOS, then by name, so that a plan is
the same on every machine. A scheduler that weighs need and priority may later replace `allot`; the plan's form stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orbitloop.errors import LinkError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.link_budget import LinkRates, window_capacity_bytes
from orbitloop.orbit.passes import Pass, Station, find_passes, look_angles
from orbitloop.records.contact import ContactPlan, ContactWindow


@dataclass(frozen=True, slots=True)
class Allotment:
    """The part of a pass that its satellite and its station have for each other."""

    source: Pass
    start_s: float
    end_s: float


def allot(passes: Iterable[Pass], min_duration_s: float = 0.0) -> list[Allotment]:
    """Share out competing passes by the rules above, in order of start; pieces of `min_duration_s` or less are dropped."""
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    out: list[Allotment] = []
    for one in sorted(passes, key=lambda p: (-p.max_elevation_deg, p.aos_s, p.satellite, p.station)):
        owners = (("satellite", one.satellite), ("station", one.station))
        busy = [stretch for owner in owners for stretch in taken.get(owner, [])]
        start_s, end_s = _longest_gap(one.aos_s, one.los_s, busy)
        if end_s - start_s <= min_duration_s:
            continue
        for owner in owners:
            taken.setdefault(owner, []).append((start_s, end_s))
        out.append(Allotment(one, start_s, end_s))
    return sorted(out, key=lambda a: (a.start_s, a.source.satellite, a.source.station))


def _longest_gap(start_s: float, end_s: float, busy: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the longest stretch of [start_s, end_s] that no busy stretch touches (the earlier of equals; maybe empty)."""
    best, free_s = (start_s, start_s), start_s
    for busy_start_s, busy_end_s in [*sorted(b for b in busy if b[1] > start_s and b[0] < end_s), (end_s, end_s)]:
        if busy_start_s - free_s > best[1] - best[0]:
            best = (free_s, busy_start_s)
        free_s = max(free_s, busy_end_s)
    return best


def contact_plan(
    satellites: Mapping[str, Elements],
    stations: Sequence[Station],
    rates: Mapping[str, LinkRates] | Mapping[tuple[str, str], LinkRates | None],
    start_s: float,
    end_s: float,
    guard_s: float = 5.0,
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

    Raises:
        ElementsError: elements cannot be propagated over that time.
        LinkError: two stations have one name, or a contact has no rates.
    """
    by_name = {station.name: station for station in stations}
    if len(by_name) != len(stations):
        raise LinkError("two stations have the same name", remedy="name each station once")
    table: Mapping[Any, LinkRates | None] = rates
    every: list[Pass] = []
    for name, elements in satellites.items():
        heard = [station for station in stations if table.get((name, station.name), True) is not None]
        for one in find_passes(elements, heard, start_s, end_s):
            every.append(replace(one, satellite=name))
    windows = []
    for piece in allot(every, min_duration_s=2 * guard_s):
        one = piece.source
        elements, station = satellites[one.satellite], by_name[one.station]
        link = table.get((one.satellite, one.station)) or table.get(one.station) or table.get(one.satellite)
        if link is None:
            raise LinkError(
                f"no link rates for satellite {one.satellite!r} over station {one.station!r}", remedy="give rates for either"
            )
        down, up = window_capacity_bytes(link, elements, station, piece.start_s, piece.end_s, guard_s)
        highest = _highest_deg(piece, elements, station)
        windows.append(ContactWindow(one.satellite, one.station, piece.start_s, piece.end_s, highest, down, up))
    return ContactPlan(tuple(windows))


def _highest_deg(piece: Allotment, elements: Elements, station: Station) -> float:
    """Return the highest elevation in the piece: the culmination, or the nearer end if that was cut off."""
    if piece.start_s <= piece.source.tca_s <= piece.end_s:
        return piece.source.max_elevation_deg
    return float(look_angles(elements, station, [piece.start_s, piece.end_s])[0].max())
