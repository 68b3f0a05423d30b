"""Silent satellites: which are suspected and which are given up, from a run's report or a table of passes; what a plan
allows.

The detector is `algorithms.health.beacons`; a table is CSV with satellite, station, time, elevation, heard (0 or 1), one
pass a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbitloop.algorithms.health.beacons import BeaconMonitor, BeaconSettings, BeaconState, PassOutcome, Verdict
from orbitloop.apps.health_files import number, parse_table, read_telemetry_bytes, time_of
from orbitloop.errors import TelemetryError
from orbitloop.ground.health.proposals import Evidence, Proposal, propose
from orbitloop.records.contact import ContactPlan

YEAR_S = 365.25 * 86400
LEAST_DAYS = 1.0
COLUMNS = ("satellite", "station", "time", "elevation", "heard")


@dataclass(frozen=True, slots=True)
class SatelliteSilence:
    """What is thought of one satellite at the end of a history."""

    satellite: str
    passes: int
    heard: int
    missed_now: int
    phi: float
    verdict: Verdict
    changes: tuple[BeaconState, ...]
    """Passes at which the verdict changed."""

    def to_json(self) -> dict[str, Any]:
        changes = [{"at_s": c.at_s, "verdict": c.verdict.value, "phi": c.phi, "missed": c.missed} for c in self.changes]
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("verdict", "changes")}
        return plain | {"verdict": self.verdict.value, "changes": changes}


@dataclass(frozen=True, slots=True)
class SilenceReport:
    """All satellites of a history, and the thresholds that were held against them."""

    suspected_phi: float
    failed_phi: float
    passes_per_year: float
    satellites: tuple[SatelliteSilence, ...]
    stations: tuple[tuple[str, float], ...]
    """Stations with the probability that each works."""
    history: tuple[BeaconState, ...]

    def proposal(self, satellite: str) -> Proposal | None:
        """Return what to propose for a satellite; None while it is alive."""
        one = next(s for s in self.satellites if s.satellite == satellite)
        if one.verdict is Verdict.ALIVE:
            return None
        text = f"{satellite} was not heard in {one.missed_now} passes in a row (phi {one.phi:.2f}): {one.verdict.value}"
        evidence = Evidence("silence", "", f"{one.missed_now} passes ago", one.phi, text, grave=one.verdict is Verdict.FAILED)
        return propose([evidence])


@dataclass(frozen=True, slots=True)
class PlannedSilence:
    """How long a satellite of a plan may be silent: passes missed in a row until it is suspected, and until it is given up."""

    satellite: str
    passes_per_day: float
    suspected_after: int
    failed_after: int
    hours_to_failed: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge_history(outcomes: Sequence[PassOutcome], settings: BeaconSettings | None = None) -> SilenceReport:
    """Judge a history of passes, in any order.

    Raises:
        TelemetryError: no pass, or a history without any length in time.
    """
    ordered = sorted(outcomes, key=lambda one: one.at_s)
    if not ordered:
        raise TelemetryError("the history holds no pass", remedy="give at least one planned pass")
    satellites = sorted({one.satellite for one in ordered})
    stations = sorted({one.station for one in ordered})
    span_s = max(ordered[-1].at_s - ordered[0].at_s, LEAST_DAYS * 86400)
    per_year = len(ordered) / len(satellites) / span_s * YEAR_S
    monitor = BeaconMonitor(satellites, stations, per_year, settings)
    history = tuple(monitor.take(one) for one in ordered)
    rows = []
    for name in satellites:
        states = [state for state in history if state.satellite == name]
        heard = sum(one.heard for one in ordered if one.satellite == name)
        changes = tuple(state for state in states if state.changed)
        last = states[-1]
        rows.append(SatelliteSilence(name, len(states), heard, last.missed, last.phi, last.verdict, changes))
    up = tuple((name, monitor.station_up(name)) for name in stations)
    return SilenceReport(monitor.suspected_phi, monitor.failed_phi, per_year, tuple(rows), up, history)


def planned_silence(plan: ContactPlan, settings: BeaconSettings | None = None) -> list[PlannedSilence]:
    """Say for each satellite of a plan after how many missed passes it would be suspected and given up, from its first pass on.

    Raises:
        TelemetryError: the plan has no pass.
    """
    windows = sorted(plan.windows, key=lambda w: w.los_s)
    if not windows:
        raise TelemetryError("the plan has no pass", remedy="look at orbitloop passes")
    span_s = max(windows[-1].los_s - windows[0].los_s, LEAST_DAYS * 86400)
    stations = sorted({w.station for w in windows})
    found = []
    for name in sorted({w.satellite for w in windows}):
        mine = [w for w in windows if w.satellite == name]
        monitor = BeaconMonitor([name], stations, len(mine) / span_s * YEAR_S, settings)
        suspected = failed = 0
        begin_s, at_s = mine[0].aos_s, math.nan
        for turn in range(1000):
            window = mine[turn % len(mine)]
            at_s = window.los_s + turn // len(mine) * span_s
            state = monitor.take(PassOutcome(name, window.station, at_s, window.max_elevation_deg, heard=False))
            suspected = suspected or (turn + 1 if state.verdict is not Verdict.ALIVE else 0)
            if state.verdict is Verdict.FAILED:
                failed = turn + 1
                break
        found.append(PlannedSilence(name, len(mine) / span_s * 86400, suspected, failed, (at_s - begin_s) / 3600))
    return found


def read_history(path: Path) -> list[PassOutcome]:
    """Read a table of passes.

    Raises:
        TelemetryError: malformed; says the line.
    """
    return parse_history(read_telemetry_bytes(path), str(path))


def parse_history(data: bytes, where: str = "<csv>") -> list[PassOutcome]:
    """Read a table of passes from the bytes of a CSV file with the columns satellite, station, time, elevation, heard.

    Raises:
        TelemetryError: malformed; says the line. Never anything else.
    """
    outcomes = []
    for place, row in parse_table(data, COLUMNS, where):
        heard = row["heard"].lower()
        if heard not in ("0", "1", "true", "false", "yes", "no"):
            raise TelemetryError(f"heard is {heard[:20]!r}", where=place, remedy="write 0 or 1")
        elevation = number(row["elevation"], "elevation", place)
        if not row["satellite"] or not row["station"] or not 0 <= elevation <= 90:
            raise TelemetryError("a pass has no name, or an elevation outside of 0 to 90", where=place)
        at_s = time_of(row["time"], place)
        outcomes.append(PassOutcome(row["satellite"], row["station"], at_s, elevation, heard in ("1", "true", "yes")))
    if not outcomes:
        raise TelemetryError("it holds no pass", where=where)
    return outcomes


def outcomes_of_report(path: Path) -> list[PassOutcome]:
    """Return the passes of a run from its `report.json`: heard where any byte came down, since a beacon is sent first.

    Raises:
        DataError, StateError: no report, or a damaged one.
    """
    from orbitloop.reports.write import read_report

    return [
        PassOutcome(p.satellite, p.station, p.los_s, min(max(p.max_elevation_deg, 0.0), 90.0), p.bytes_down > 0)
        for p in read_report(path).passes
    ]
