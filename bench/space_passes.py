"""Passes of many satellites over many stations: against skyfield in the same run, against brahe in an environment of its own.

The set: 100 real satellites of Earth observation, weather and science in low orbit, 20 real stations of 8 networks, mask 10
degrees. skyfield's `find_events` and ours run in turns in one process. Truth: every edge that skyfield reports, solved again to
0.05 ms in skyfield's own frames (its TEME, nutation, UT1; no polar motion, as it has none by default); ours are given the same
UT1 - UTC. And: 10,395 real Starlink satellites over 117 real stations, in a process of its own, for its peak memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import space_env
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.fleet_passes import PassTable, fleet_passes, pass_blocks
from orbitloop.orbit.formats.tle import parse_tle_file, write_tle
from orbitloop.orbit.frames import EarthOrientation
from orbitloop.orbit.passes import Station, find_passes
from orbitloop.reports.figures import Figure, figure_of
from peer_env import NoEnvironment

START_S = 1_780_185_600.0  # 2026-05-31, the day after the elements
DAY_S = 86_400.0
SATELLITES, STATIONS = 100, 20
WORKERS = 2
_MATCH_S = 2.0
_HERE = Path(__file__).resolve().parent

FloatArray = npt.NDArray[np.float64]


def figures(quick: bool) -> list[Figure]:
    """Measure one day against skyfield, and a tenth of Starlink; in full seven days, brahe, and all of Starlink."""
    root = _root()
    if root is None:
        return [Figure("passes", "not measured", "", note="no orbit data: set ORBITLOOP_DATA")]
    fleet, stations = _set(root)
    found = []
    for days in (1,) if quick else (1, 7):
        found += _against_skyfield(fleet, stations, days)
    if not quick:
        found += _against_brahe(fleet, stations, make=True)
    return found + _starlink(root, 10 if quick else 1)


def _root() -> Path | None:
    root = Path(os.environ.get("ORBITLOOP_DATA", _HERE.parents[1] / "shared" / "data")) / "orbits"
    return root if root.is_dir() else None


def _elements(root: Path, *names: str) -> list[Elements]:
    texts = [(root / "constellations_2026-05-30" / f"{name}.tle").read_text() for name in names]
    return [one for text in texts for one in parse_tle_file(text)[0]]


def _all_stations(root: Path) -> list[Station]:
    places = [json.loads(path.read_text())["features"] for path in sorted((root / "ground_stations").glob("*.geojson"))]
    return [
        Station(f"{n} {one['properties']['name']}", one["geometry"]["coordinates"][1], one["geometry"]["coordinates"][0])
        for n, one in enumerate(place for file in places for place in file)
    ]


def _set(root: Path) -> tuple[list[Elements], list[Station]]:
    low = [one for one in _elements(root, "resource", "science", "weather") if one.mean_motion_rev_day > 11]
    every = _all_stations(root)
    return low[:SATELLITES], every[:: len(every) // STATIONS][:STATIONS]


# --- skyfield ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Events:
    """Rises and sets that skyfield reports: (satellite, station, time, rises), each (K,)."""

    satellite: npt.NDArray[np.intp]
    station: npt.NDArray[np.intp]
    time_s: FloatArray
    rises: npt.NDArray[np.bool_]


class _Skyfield:
    """The peer: its search, and its frames for single looks."""

    def __init__(self, fleet: Sequence[Elements], stations: Sequence[Station]) -> None:
        from skyfield.api import EarthSatellite, load, wgs84

        self._ts: Any = load.timescale(builtin=True)
        self._satellites: list[Any] = [EarthSatellite.from_satrec(one.satrec(), self._ts) for one in fleet]
        self._places: list[Any] = [wgs84.latlon(s.latitude_deg, s.longitude_deg, s.altitude_m) for s in stations]
        self._mask_deg = [s.min_elevation_deg for s in stations]
        self.place_km = np.array([place.itrs_xyz.km for place in self._places])
        lat, lon = (np.array([getattr(p, n).radians for p in self._places]) for n in ("latitude", "longitude"))
        self.up = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)

    def time(self, times_s: npt.ArrayLike) -> Any:
        day = datetime.fromtimestamp(START_S, UTC)
        return self._ts.utc(day.year, day.month, day.day, 0, 0, np.asarray(times_s) - START_S)

    def dut1_s(self, when_s: float) -> float:
        return float(self.time(when_s).dut1)

    def search(self, satellites: range, end_s: float) -> _Events:
        """`find_events` of every pair; the part that is timed."""
        begin, end = self.time(START_S), self.time(end_s)
        rows: list[tuple[int, int, FloatArray, FloatArray]] = []
        for n in satellites:
            for m, place in enumerate(self._places):
                t, kind = self._satellites[n].find_events(place, begin, end, altitude_degrees=self._mask_deg[m])
                rows.append((n, m, t.tai - begin.tai if len(kind) else np.empty(0), kind))
        counts = [len(kind) for *_, kind in rows]
        kinds = np.concatenate([kind for *_, kind in rows])
        edge = kinds != 1
        return _Events(
            np.repeat([r[0] for r in rows], counts)[edge],
            np.repeat([r[1] for r in rows], counts)[edge],
            START_S + DAY_S * np.concatenate([r[2] for r in rows])[edge],
            (kinds == 0)[edge],
        )

    def above(self, n: int, stations: npt.NDArray[np.intp], times_s: FloatArray) -> FloatArray:
        """Sine of the elevation less sine of the mask (K,), of one satellite over a station for each time, in its frames."""
        from skyfield.framelib import itrs

        fixed_km = self._satellites[n].at(self.time(times_s)).frame_xyz(itrs).km.T
        offset = fixed_km - self.place_km[stations]
        sine = np.sum(offset * self.up[stations], axis=1) / np.linalg.norm(offset, axis=1)
        return np.asarray(sine - np.sin(np.radians(np.array(self._mask_deg)[stations])))

    def check(self, n: int, m: int, when_s: float) -> float:
        """How far `above` is from its own `altaz`, degrees: the shortcut must be the same thing."""
        altitude = (self._satellites[n] - self._places[m]).at(self.time([when_s])).altaz()[0].degrees[0]
        sine = self.above(n, np.array([m]), np.array([when_s]))[0] + np.sin(np.radians(self._mask_deg[m]))
        return float(abs(np.degrees(np.arcsin(sine)) - altitude))

    def resolve(self, events: _Events) -> FloatArray:
        """Solve its own crossings again within 1 s of each reported edge, by Illinois' method, to 0.05 ms (NaN: none)."""
        out = np.full(events.time_s.size, np.nan)
        for n in np.unique(events.satellite):
            mine = np.flatnonzero(events.satellite == n)
            station, low, high = events.station[mine], events.time_s[mine] - 1.0, events.time_s[mine] + 1.0
            f_low, f_high = self.above(n, station, low), self.above(n, station, high)
            good = (f_low > 0) != (f_high > 0)
            for _ in range(12):
                with np.errstate(divide="ignore", invalid="ignore"):
                    x = (low * f_high - high * f_low) / (f_high - f_low)
                x = np.where(np.isfinite(x), np.clip(x, low, high), (low + high) / 2)
                fx = self.above(n, station, x)
                left = (fx > 0) == (f_low > 0)
                moved = np.where(left, x - low, high - x)
                f_high, f_low = np.where(left, f_high * 0.5, fx), np.where(left, fx, f_low * 0.5)
                low, high = np.where(left, x, low), np.where(left, high, x)
                out[mine[good]] = x[good]
                if np.all(moved[good] < 5e-5) or np.all(np.abs(fx[good]) < 1e-9):
                    break
        return out


def _against_skyfield(fleet: list[Elements], stations: list[Station], days: int) -> list[Figure]:
    end_s = START_S + days * DAY_S
    peer = _Skyfield(fleet, stations)
    earth = EarthOrientation(peer.dut1_s((START_S + end_s) / 2))
    fleet_passes(fleet[:40], stations[:2], START_S, START_S + 3600.0, earth=earth)  # compiles
    ours_s: list[float] = []
    peer_s, parts = 0.0, []
    for first in range(0, len(fleet), 20):
        began = time.process_time()
        parts.append(peer.search(range(first, min(first + 20, len(fleet))), end_s))
        peer_s += time.process_time() - began
        began = time.process_time()
        table = fleet_passes(fleet, stations, START_S, end_s, earth=earth)
        ours_s.append(time.process_time() - began)
    events = _Events(*(np.concatenate([getattr(p, name) for p in parts]) for name in _Events.__slots__))
    return _figures(days, table, events, peer, statistics.median(ours_s), peer_s, earth.dut1_s)


def _figures(
    days: int, table: PassTable, events: _Events, peer: _Skyfield, ours_s: float, peer_s: float, dut1_s: float
) -> list[Figure]:
    shortcut_deg = max(peer.check(n, m, START_S + 5000.0 * n + 77.0) for n, m in ((0, 0), (1, 3), (2, 7)))
    if shortcut_deg > 1e-7:
        raise AssertionError(f"the shortcut through skyfield's frames is {shortcut_deg} degrees off its altaz")
    missed, extra, errors_s, theirs_s, unseen = _compare(table, events, peer)
    span = f"{days} day{'s' if days > 1 else ''}"
    name = f"passes, {SATELLITES} x {STATIONS}, {span}"
    note = (
        f"{len(table)} passes; CPU s, both in one process in turns (ours: median of 5 of the whole set, compiled before); "
        "skyfield pair by pair, for it has no search over many"
    )
    truth = f"edges solved again in skyfield's frames to 0.05 ms; ours given its UT1 - UTC, {dut1_s * 1e3:.1f} ms"
    return [
        figure_of(f"{name}: CPU time", ours_s, "s", peer="skyfield find_events", peer_value=peer_s, note=note),
        figure_of(f"{name}: faster than skyfield", peer_s / ours_s, "x", at_least=15.0),
        figure_of(f"{name}: missed", missed, "passes", at_most=0.0, note="edges that skyfield reports and we do not have"),
        figure_of(
            f"{name}: extra",
            extra,
            "passes",
            at_most=0.0,
            note=f"edges of ours where skyfield's own elevation does not cross the mask within 10 ms; {unseen} of ours that it "
            "does cross were not reported by find_events",
        ),
        figure_of(
            f"{name}: edge error p99",
            float(np.percentile(errors_s, 99)) * 1e3,
            "ms",
            at_most=3.0,
            peer="skyfield find_events",
            peer_value=float(np.percentile(theirs_s, 99)) * 1e3,
            note=f"median {np.median(errors_s) * 1e3:.3f} ms, largest {errors_s.max() * 1e3:.3f} ms; {truth}",
        ),
    ]


def _compare(table: PassTable, events: _Events, peer: _Skyfield) -> tuple[int, int, FloatArray, FloatArray, int]:
    """Return (missed, extra, our errors, the peer's errors, real ones that only we have)."""
    true_s = peer.resolve(events)
    theirs_s = np.abs(events.time_s - true_s)[np.isfinite(true_s)]
    missed, extra, unseen = 0, 0, 0
    errors: list[FloatArray] = []
    for edge_s, rises, cut in ((table.aos_s, True, 1), (table.los_s, False, 2)):
        inner = np.flatnonzero((table.clipped & cut) == 0)
        key = _key(table.satellite_index[inner], table.station_index[inner], edge_s[inner])
        wanted = np.flatnonzero((events.rises == rises) & np.isfinite(true_s))
        wanted_key = _key(events.satellite[wanted], events.station[wanted], true_s[wanted])
        order = np.argsort(key)
        near = np.clip(np.searchsorted(key[order], wanted_key), 1, key.size - 1)
        near = near - (np.abs(key[order][near - 1] - wanted_key) < np.abs(key[order][near] - wanted_key))
        apart = np.abs(key[order][near] - wanted_key)
        missed += int(np.count_nonzero(apart > _MATCH_S))
        errors.append(apart[apart <= _MATCH_S])
        lone = np.setdiff1d(np.arange(key.size), order[near[apart <= _MATCH_S]])
        for k in inner[lone]:
            station = np.array([table.station_index[k]] * 2)
            before, after = peer.above(int(table.satellite_index[k]), station, edge_s[k] + np.array([-0.01, 0.01]))
            real = (before > 0) != (after > 0)
            unseen, extra = unseen + int(real), extra + int(not real)
    return missed, extra, np.concatenate(errors), theirs_s, unseen


def _key(satellite: npt.NDArray[Any], station: npt.NDArray[Any], times_s: FloatArray) -> FloatArray:
    """One number per edge: pairs lie a year apart, so that near numbers are near times of one pair."""
    pair = np.asarray(satellite, np.float64) * STATIONS + np.asarray(station, np.float64)
    return np.asarray(pair * 1e6 + (times_s - START_S), np.float64)


# --- brahe ---------------------------------------------------------------------------------------------------------------


def _against_brahe(fleet: list[Elements], stations: list[Station], make: bool) -> list[Figure]:
    """One day; brahe's own windows against ours, both with UT1 = UTC."""
    name = f"passes, {SATELLITES} x {STATIONS}, 1 day, brahe"
    try:
        python = space_env.python(make=make)
    except NoEnvironment as error:
        return [Figure(name, "not measured", "", note=str(error))]
    end_s = START_S + DAY_S
    named = [replace(one, name=f"S{n}") for n, one in enumerate(fleet)]
    asked = {
        "start_s": START_S,
        "end_s": end_s,
        "sets": [(one.name, *write_tle(one)) for one in named],
        "places": [(str(n), s.latitude_deg, s.longitude_deg, s.altitude_m) for n, s in enumerate(stations)],
        "mask_deg": stations[0].min_elevation_deg,
    }
    ours_s, peer_s = [], []
    for _ in range(3):
        began = time.process_time()
        table = fleet_passes(fleet, stations, START_S, end_s)
        ours_s.append(time.process_time() - began)
        command = [str(python), str(_HERE / "space_passes_brahe.py")]
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            return [Figure(name, "not measured", "", note=f"brahe failed: {lines[-1][:200]}")]
        result = json.loads(done.stdout)
        peer_s.append(result["cpu_s"])
    mine = _key(table.satellite_index, table.station_index, table.aos_s)
    theirs = np.array([(int(s[1:]) * STATIONS + int(m)) * 1e6 + (a - START_S) for s, m, a, _ in result["windows"]])
    apart = np.abs(np.sort(theirs)[:, None] - np.sort(mine)[None, :]) if theirs.size < 20_000 else np.empty((0, 0))
    near_ours, near_theirs = apart.min(axis=0), apart.min(axis=1)
    both = near_theirs[near_theirs < _MATCH_S]
    missed, extra = int((near_ours >= _MATCH_S).sum()), int((near_theirs >= _MATCH_S).sum())
    note = (
        f"brahe {result['version']}, one thread, its defaults, UT1 = UTC for both; of our {mine.size} passes it lacks {missed} "
        f"and we lack {extra} of its {theirs.size} (AOS within {_MATCH_S:g} s are the same); else AOS differ by "
        f"{np.median(both) * 1e3:.2f} ms (median), {np.percentile(both, 99) * 1e3:.1f} ms (p99)"
    )
    ours = statistics.median(ours_s)
    return [figure_of(f"{name}: CPU time", ours, "s", peer="brahe", peer_value=statistics.median(peer_s), note=note)]


# --- Starlink ------------------------------------------------------------------------------------------------------------


def _starlink(root: Path, every: int) -> list[Figure]:
    command = [sys.executable, str(Path(__file__).resolve()), str(root), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    result = json.loads(done.stdout)
    name = f"passes, {result['satellites']} Starlink x {result['stations']}, 24 h"
    note = (
        f"{result['passes']} passes in blocks; {WORKERS} threads, process of its own, "
        f"{result['cpu_s']:.1f} CPU s; compiled before"
    )
    return [
        figure_of(f"{name}: wall time", result["wall_s"], "s", at_most=60.0, note=note),
        figure_of(
            f"{name}: peak memory, blocks",
            result["blocks_mb"],
            "MB",
            note="of which imports and elements: " + f"{result['before_mb']:.0f} MB",
        ),
        figure_of(f"{name}: peak memory, one table", result["table_mb"], "MB", note="all passes sorted in one table"),
        figure_of(
            f"{name}: differ from the slow search",
            result["differ"],
            "passes",
            at_most=0.0,
            note=f"{result['checked']} passes of 12 satellites, searched minute by minute by sgp4 alone; edges within 0.2 ms",
        ),
    ]


def _measure_starlink(root: Path, every: int) -> dict[str, Any]:
    fleet, stations = _elements(root, "starlink")[::every], _all_stations(root)
    end_s = START_S + DAY_S
    fleet_passes(fleet[:40], stations[:2], START_S, START_S + 3600.0)
    before_mb = _peak_mb()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    count = sum(len(part) for part in pass_blocks(fleet, stations, START_S, end_s, workers=WORKERS))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    blocks_mb = _peak_mb()
    table = fleet_passes(fleet, stations, START_S, end_s, workers=WORKERS)
    table_mb = _peak_mb()
    checked, differ = 0, 0
    for n in np.random.default_rng(5).choice(len(fleet), 12, replace=False):
        slow = sorted((p.station, p.aos_s, p.los_s) for p in find_passes(fleet[n], stations, START_S, end_s))
        mine = table.take(table.satellite_index == n)
        fast = sorted(
            (p.station, p.aos_s, p.los_s) for p in mine.passes([one.name for one in fleet], [s.name for s in stations])
        )
        checked += len(slow)
        if [row[0] for row in slow] != [row[0] for row in fast]:
            differ += abs(len(slow) - len(fast)) or 1
        else:
            edges = np.array([row[1:] for row in slow]) - np.array([row[1:] for row in fast])
            differ += int(np.count_nonzero(np.abs(edges).max(axis=1) > 2e-4))
    return {
        "satellites": len(fleet),
        "stations": len(stations),
        "passes": count,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "before_mb": before_mb,
        "blocks_mb": blocks_mb,
        "table_mb": table_mb,
        "checked": checked,
        "differ": differ,
    }


def _peak_mb() -> float:
    # Not ru_maxrss: that of a process begins with its parent's.
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    print(json.dumps(_measure_starlink(Path(sys.argv[1]), int(sys.argv[2]))))
