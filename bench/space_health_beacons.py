"""Failed satellites, by simulation over real passes: false alarms per satellite-year, and delay in passes.

Twelve real satellites of the resource fleet over eight real stations of SSC (the files' first), real passes of a year. Each
pass of a living satellite over a working station is missed by chance; stations fail and come back; in the delay runs a third
of the satellites fail for good. Thresholds come from the wished rates alone and are fixed before. Beside the pass-counted
phi stand three rules that see the same passes: n missed in a row, hours of silence, and Hayashibara's phi on wall time.
Their settings are the usual ones (3 passes, 24 h, phi 8).
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.beacons import BeaconMonitor, BeaconSettings, PassOutcome, Verdict
from orbitloop.orbit.fleet_passes import PassTable, fleet_passes
from orbitloop.orbit.formats.tle import parse_tle_file
from orbitloop.orbit.passes import Station

YEAR_S = 365.25 * 86400
SATELLITES, STATIONS = 12, 8


@dataclass(frozen=True, slots=True)
class Study:
    """False alarms per satellite-year (suspected, failed) and delays in passes (median and worst, suspected and failed)."""

    suspected_per_year: float
    failed_per_year: float
    suspected_delay: npt.NDArray[np.int64]
    failed_delay: npt.NDArray[np.int64]
    unseen: int


@functools.cache
def real_passes(days: int) -> tuple[PassTable, int, int]:
    """Return the passes of some days, in order of LOS, and how many satellites and stations there are."""
    data = Path(os.environ.get("ORBITLOOP_DATA", "../shared/data")) / "orbits"
    elements, _ = parse_tle_file((data / "constellations_2026-05-30" / "resource.tle").read_text())
    low = [e for e in elements if e.mean_motion_rev_day > 14][:: max(1, len(elements) // (2 * SATELLITES))][:SATELLITES]
    features = json.loads((data / "ground_stations" / "ssc.geojson").read_text())["features"][:STATIONS]
    places = [feature["geometry"]["coordinates"] for feature in features]
    stations = [Station(str(n), latitude_deg=place[1], longitude_deg=place[0]) for n, place in enumerate(places)]
    start_s = max(e.epoch_s for e in low)
    # Elements are not good for a year; the rhythm of the passes is what counts here, so a month is repeated with its phase.
    month = fleet_passes(low, stations, start_s, start_s + min(days, 30) * 86400.0)
    return month.take(np.argsort(month.los_s, kind="stable")), len(low), len(stations)


def outages(
    rng: np.random.Generator, stations: int, span_s: float, per_year: float, hours: float
) -> list[npt.NDArray[np.float64]]:
    """Return for each station its outages as (start, end) rows."""
    found = []
    for _ in range(stations):
        starts = (
            np.cumsum(rng.exponential(YEAR_S / per_year, size=int(4 * per_year * span_s / YEAR_S) + 20))
            if per_year
            else np.zeros(0)
        )
        starts = starts[starts < span_s]
        found.append(np.column_stack([starts, starts + rng.exponential(hours * 3600, size=len(starts))]))
    return found


Rule = Callable[[int, int, float, float, bool], int]
"""(satellite, station, time, elevation, heard) -> 0 alive, 1 suspected, 2 failed."""


def phi_rule(satellites: int, stations: int, passes_per_year: float) -> Rule:
    """Ours."""
    names, places = [str(n) for n in range(satellites)], [str(n) for n in range(stations)]
    monitor = BeaconMonitor(names, places, passes_per_year, BeaconSettings())
    order = (Verdict.ALIVE, Verdict.SUSPECTED, Verdict.FAILED)

    def take(k: int, s: int, at_s: float, elevation: float, heard: bool) -> int:
        return order.index(monitor.take(PassOutcome(names[k], places[s], at_s, elevation, heard)).verdict)

    return take


def count_rule(satellites: int, limit: int = 3) -> Rule:
    """So many missed in a row, whatever the station."""
    missed = [0] * satellites

    def take(k: int, s: int, at_s: float, elevation: float, heard: bool) -> int:
        missed[k] = 0 if heard else missed[k] + 1
        return 2 if missed[k] >= limit else 0

    return take


def hours_rule(satellites: int, hours: float = 24.0) -> Rule:
    """So many hours of silence, looked at in each pass."""
    last = [math.nan] * satellites

    def take(k: int, s: int, at_s: float, elevation: float, heard: bool) -> int:
        if heard or math.isnan(last[k]):
            last[k] = at_s
        return 2 if at_s - last[k] > hours * 3600 else 0

    return take


def wall_phi_rule(satellites: int, bar: float = 8.0, window: int = 200) -> Rule:
    """Hayashibara's: a normal distribution of the intervals between beacons, in wall time."""
    last = [math.nan] * satellites
    gaps: list[deque[float]] = [deque(maxlen=window) for _ in range(satellites)]

    def take(k: int, s: int, at_s: float, elevation: float, heard: bool) -> int:
        silence = at_s - last[k]
        verdict = 0
        if len(gaps[k]) >= 10:
            z = (silence - np.mean(gaps[k])) / max(float(np.std(gaps[k])), 60.0)
            verdict = 2 if -math.log10(max(0.5 * math.erfc(z / math.sqrt(2)), 1e-300)) >= bar and not heard else 0
        if heard:
            if not math.isnan(last[k]):
                gaps[k].append(silence)
            last[k] = at_s
        return verdict

    return take


def study(make: Callable[[int, int, float], Rule], miss: float, outage: tuple[float, float], days: int, seed: int) -> Study:
    """Run one rule over `days` of passes without a failure, then over as many with a third of the satellites failing."""
    table, satellites, stations = real_passes(days)
    per_year = len(table) / satellites / 30 * 365.25
    month_s = 30 * 86400.0
    rng = np.random.default_rng(seed)
    counts = [0, 0]
    delays: tuple[list[int], list[int]] = ([], [])
    unseen = 0
    for failing in (False, True):
        span_s = days * 86400.0
        dark = outages(rng, stations, span_s, *outage)
        dies = (
            np.where(np.arange(satellites) % 3 == 0, rng.uniform(0.3, 0.8, satellites) * span_s, math.inf) if failing else None
        )
        rule = make(satellites, stations, per_year)
        before = [0] * satellites
        since = [0] * satellites
        first: list[list[int | None]] = [[None, None] for _ in range(satellites)]
        base = float(table.los_s[0])
        for turn in range(math.ceil(days / 30)):
            draws = rng.random(len(table))
            for n in range(len(table)):
                k, s = int(table.satellite_index[n]), int(table.station_index[n])
                at_s = float(table.los_s[n]) - base + turn * month_s
                works = not ((dark[s][:, 0] <= at_s) & (at_s < dark[s][:, 1])).any()
                dead = dies is not None and at_s >= dies[k]
                heard = works and not dead and bool(draws[n] >= miss)
                verdict = rule(k, s, at_s, float(table.max_elevation_deg[n]), heard)
                if dead:
                    since[k] += 1
                    for level in (0, 1):
                        if verdict > level and first[k][level] is None:
                            first[k][level] = since[k]
                elif not failing:
                    for level in (0, 1):
                        counts[level] += verdict > level >= before[k]
                before[k] = verdict
        if dies is not None:
            for k in np.flatnonzero(np.isfinite(dies)).tolist():
                for level in (0, 1):
                    found = first[k][level]
                    if found is None:
                        unseen += 1
                    else:
                        delays[level].append(found)
    years = satellites * days / 365.25
    return Study(counts[0] / years, counts[1] / years, np.array(delays[0]), np.array(delays[1]), unseen)
