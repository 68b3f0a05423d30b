"""What befalls a finished plan: a failure is mended, an urgent request pushed in; and what that changed, for people.

Names and times are read before there is a plan, so that a slip is told at once. Leaves to others: the changes themselves
(`orbit.schedule.replan`), planning (`plans`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from orbitloop.apps.passes import Scene
from orbitloop.apps.plans import Planned, judged
from orbitloop.clock import iso_utc, parse_utc_s
from orbitloop.errors import PlanningError
from orbitloop.orbit.schedule.problem import Problem, Request
from orbitloop.orbit.schedule.replan import Failure, Repair, push_request, repair
from orbitloop.orbit.schedule.value import evaluate

URGENT_BYTES = 1e6
URGENT_CONTACTS = 10.0
"""What an urgent request is worth at least, in mean contacts: few bytes would else never push a contact aside."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of an urgent request; times are UTC seconds, None where it does not come down within the plan."""

    request: Request
    satellite: str
    repair: Repair
    without_s: float | None
    """When it would have come down by the contacts that stood already."""
    now_s: float | None
    cpu_ms: float

    def to_json(self, problem: Problem) -> dict[str, Any]:
        """Return plain values; `problem` is the one that was planned."""
        return {
            "satellite": self.satellite,
            "at": iso_utc(self.request.release_s),
            "bytes": self.request.size_bytes,
            "served": self.now_s is not None,
            "without": None if self.without_s is None else iso_utc(self.without_s),
            "now": None if self.now_s is None else iso_utc(self.now_s),
            "cpu_ms": round(self.cpu_ms, 3),
            **{name: len(getattr(self.repair, name)) for name in ("lost", "made", "moved")},
            "changes": changes_of(problem, self.repair),
        }


def failure_of(scene: Scene, text: str) -> tuple[Failure, str]:
    """Read STATION@TIME or SATELLITE@TIME; TIME is ISO 8601 or +HOURS after the start. Returns (failure, name).

    Raises:
        PlanningError: no or several are called so, or the time is not one, or outside the plan.
    """
    name, _, when = text.rpartition("@")
    at_s = _time(scene, when, "--fail")
    sides = {"station": [s.name for s in scene.stations], "satellite": [e.name for e in scene.elements]}
    side, number = _only(sides, name, "--fail")
    return Failure(at_s, **{side: number}), sides[side][number]


def urgent_of(scene: Scene, text: str) -> Request:
    """Read SATELLITE@TIME[:BYTES]; what can be read as a time as a whole is one. The request stands to the end of the plan.

    Raises:
        PlanningError: no or several satellites are called so, or time or bytes are none, or the time is outside the plan.
    """
    name, _, rest = text.rpartition("@")
    when, size = rest, URGENT_BYTES
    if ":" in rest and not _is_time(rest):
        when, _, told = rest.rpartition(":")
        size = _number(told)
        if not (0 < size <= 1e18):
            remedy = "SATELLITE@TIME:BYTES, such as SAT-1@+6:2e6"
            raise PlanningError(f"{told[:40]!r} is not a number of bytes", where="--urgent", remedy=remedy)
    at_s = _time(scene, when, "--urgent")
    _, number = _only({"satellite": [e.name for e in scene.elements]}, name, "--urgent")
    return Request(number, at_s, max(scene.end_s, at_s + 1.0), size, name=text)


def _only(sides: dict[str, list[str]], name: str, option: str) -> tuple[str, int]:
    """Return the one that is called so, by its full name before any pattern."""
    for fits in (str.__eq__, fnmatchcase):
        found = [(side, n) for side, names in sides.items() for n, known in enumerate(names) if fits(known, name)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    kinds = " and ".join(f"{side}s" for side in sides) if found else " or ".join(sides)
    what = f"{len(found)} {kinds} are" if found else f"no {kinds} is"
    raise PlanningError(f"{what} called {name!r}", where=option, remedy="give one full name")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_time(text: str) -> bool:
    try:
        parse_utc_s(text)
    except (ValueError, OverflowError):
        return False
    return True


def _time(scene: Scene, when: str, option: str) -> float:
    at_s = scene.start_s + _number(when) * 3600.0 if when.startswith("+") else math.nan
    if _is_time(when):
        at_s = parse_utc_s(when)
    if math.isnan(at_s):
        remedy = "NAME@2026-06-01T12:00:00Z or NAME@+12"
        raise PlanningError(f"{when!r} is not a time", where=option, remedy=remedy)
    if not scene.start_s <= at_s <= scene.end_s:
        raise PlanningError("the time is outside the plan's time", where=option, remedy="name a time within the plan")
    return at_s


def mended(found: Planned, failure: Failure) -> tuple[Planned, Repair]:
    """Repair a plan after a failure, known when it happens; the board of `found` is used up."""
    done = repair(found.board, failure, failure.from_s)
    return judged(found.board), done


def pushed(found: Planned, requests: Sequence[Request]) -> tuple[Planned, list[Pushed]]:
    """Push urgent requests into a plan in order of time, each known when it is made; the board of `found` is used up."""
    board, done = found.board, []
    for told in sorted(requests, key=lambda r: r.release_s):
        worth = URGENT_CONTACTS * board.gain / max(1, board.size)
        one = replace(told, value=max(told.value, worth / told.size_bytes))
        asked = replace(board.problem, requests=(*board.problem.requests, one))
        without_s = _came(evaluate(asked, board.plan()).request_latency_s[-1], one)
        begun = time.process_time()
        changed = push_request(board, one, one.release_s)
        spent_ms = (time.process_time() - begun) * 1e3
        done.append((one, changed, without_s, spent_ms))
    after = judged(board)
    first = len(board.problem.requests) - len(done)
    latency = after.outcome.request_latency_s[first:].tolist()
    return after, [
        Pushed(one, board.problem.satellites[one.satellite], changed, without_s, _came(late, one), spent_ms)
        for (one, changed, without_s, spent_ms), late in zip(done, latency, strict=True)
    ]


def _came(latency_s: float, request: Request) -> float | None:
    return request.release_s + float(latency_s) if math.isfinite(latency_s) else None


def changes_of(problem: Problem, done: Repair) -> list[dict[str, Any]]:
    """Return the contacts that a repair changed: whose, where, from when to when before and after."""

    def span(ticks: tuple[int, int] | None) -> list[str] | None:
        return None if ticks is None else [iso_utc(t) for t in problem.time_of(ticks).tolist()]

    return [
        {
            "satellite": problem.satellites[problem.satellite[c.opportunity]],
            "station": problem.stations[problem.station[c.opportunity]],
            "before": span(c.before),
            "after": span(c.after),
        }
        for c in done.changes
    ]
