"""Screening of a catalogue: CPU, memory, what is missed against brute force, how it scales; against `astroz.screen`.

The set: `active.tle` and `debris.tle` of 22 August 2026, 18,718 objects, one day from the newest epoch on, 5 km, all with all.
CPU counts from element sets in memory to approaches solved on SGP4, propagation included, in a process of its own each time;
both sides in turns, medians. Truth comes from `space_screening_truth`, which shares nothing with the product.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.reports.figures import Figure, figure_of
from space_screening_arm import START_S, THRESHOLD_KM, catalogue, drawn, ours
from space_screening_truth import Truth, brute_force, densest

_HERE = Path(__file__).resolve().parent
_SIZES = (2_000, 5_000, 10_000, 0)


def figures(quick: bool) -> list[Figure]:
    """Measure; quick: one run of the whole catalogue, small truths, the peer on 2,000 objects."""
    root = Path(os.environ.get("ORBITLOOP_DATA", _HERE.parents[1] / "shared" / "data"))
    if not (root / "orbits" / "catalog").is_dir():
        return [Figure("screening", "not measured", "", note="no orbit data: set ORBITLOOP_DATA")]
    os.environ["ORBITLOOP_DATA"] = str(root)
    with tempfile.TemporaryDirectory() as folder:
        _arm(Path(folder), "ours", "auto", 200, 0.1)  # fills the cache of compiled code
        found = _cost(Path(folder), quick)
    for name, choose in (("random", drawn), ("densest", lambda texts, count: densest(texts, count, START_S))):
        count, hours = (400, 4.0) if quick else (2_000, 24.0)
        found += _against_truth(name, choose(catalogue(), count), hours)
    return found


def _arm(folder: Path, kind: str, engine: str, count: int, hours: float, cold: bool = False) -> dict[str, Any]:
    """Run one arm in a process of its own; its events stand in the file that `events` names."""
    out = folder / f"{kind}-{engine}-{count}.npz"
    words = [kind, *([engine] if kind == "ours" else []), str(count), str(hours), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if cold:
        environment["NUMBA_CACHE_DIR"] = str(folder / "cold")
    done = subprocess.run(
        [sys.executable, str(_HERE / "space_screening_arm.py"), *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=1800,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:3])}: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "out": out}


def _cost(folder: Path, quick: bool) -> list[Figure]:
    rounds = 1 if quick else 3
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    peer_size = 2_000 if quick else 0
    for _ in range(rounds):
        runs["fast"].append(_arm(folder, "ours", "astroz", 0, 24.0))
        if not quick:
            runs["plain"].append(_arm(folder, "ours", "sgp4", 0, 24.0))
        if not runs["peer"]:  # a minute of CPU: once
            runs["peer"].append(_arm(folder, "astroz", "", peer_size, 24.0))
    fast, peer = runs["fast"], runs["peer"][0]
    if quick:
        runs["same"].append(_arm(folder, "ours", "astroz", peer_size, 24.0))
    events = (
        f"{fast[-1]['events']:,} approaches, {fast[-1]['fast']:,} above 0.1 km/s, {fast[-1]['failed']} objects that SGP4 fails"
    )
    each = 1e3 * statistics.median(run["cpu_s"] for run in fast) / fast[0]["objects"]
    their = 1e3 * peer["cpu_s"] / peer["objects"]
    about = f"{peer['objects']:,} objects, {peer['events']:,} events, {peer['fast']:,} above 0.1 km/s"
    found = [
        figure_of(
            "screening: CPU per object and day, extras space and fast",
            *(each, "ms"),
            at_most=1.0,
            peer="astroz.screen",
            peer_value=their,
            note=f"{fast[0]['objects']:,} objects, engine {fast[0]['engine']}; {events}. astroz: {about}.",
        )
    ]
    if not quick:
        plain = 1e3 * statistics.median(run["cpu_s"] for run in runs["plain"]) / runs["plain"][0]["objects"]
        found.append(figure_of("screening: the same without astroz", plain, "ms", at_most=1.0, note="engine sgp4 at the nodes"))
        cold = _arm(folder, "ours", "astroz", 0, 24.0, cold=True)
        found.append(
            figure_of("screening: first run, compiling", cold["cpu_s"], "CPU s", note=f"peak {cold['peak_mb']:.0f} MB, once")
        )
    peak = max(run["peak_mb"] for run in [*fast, *runs["plain"]])
    found.append(
        figure_of(
            "screening: peak memory",
            *(peak, "MB"),
            at_most=300.0,
            peer="astroz.screen",
            peer_value=peer["peak_mb"],
            note=f"the whole process; astroz: {about}",
        )
    )
    same = runs["same"][0] if quick else fast[-1]
    found += _agreement(dict(np.load(same["out"])), dict(np.load(peer["out"])))
    return found + _scaling(folder, fast[-1], quick)


def _scaling(folder: Path, whole: dict[str, Any], quick: bool) -> list[Figure]:
    measured = []
    for size in _SIZES:
        if quick and size not in (2_000, 0):
            continue
        run = whole if size == 0 else min((_arm(folder, "ours", "astroz", size, 24.0) for _ in range(2)), key=_cpu)
        measured.append((run["objects"], run["cpu_s"]))
    sizes, seconds = np.log(np.array(measured)).T
    exponent = float(np.polyfit(sizes, seconds, 1)[0])
    last = float((seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2]))
    table = ", ".join(f"{size:,}: {cpu:.2f} s" for size, cpu in measured)
    note = f"CPU over objects, random parts of the catalogue: {table}; between the last two {last:.2f}"
    found = [figure_of("screening: scaling exponent", exponent, "", note=note)]
    if not quick:
        week = _arm(folder, "ours", "astroz", 0, 168.0)
        about = f"peak {week['peak_mb']:.0f} MB, {week['events']:,} approaches kept"
        found.append(figure_of("screening: seven days, all with all", week["cpu_s"], "CPU s", note=about))
    return found


def _cpu(run: dict[str, Any]) -> float:
    return float(run["cpu_s"])


def _agreement(mine: dict[str, Any], theirs: dict[str, Any]) -> list[Figure]:
    """Look for each side's fast events among the other's; not those within a metre of the threshold (its sines are off by 0.4
    m), nor those whose lowest point is the window's edge, which it does not tell."""
    tables: list[dict[tuple[int, int], list[float]]] = []
    asked = []
    for one in (mine, theirs):
        table = defaultdict(list)
        pairs = [_pair(*two) for two in zip(one["first"], one["second"], strict=True)]
        for pair, tca_s in zip(pairs, one["tca_s"].tolist(), strict=True):
            table[pair].append(tca_s)
        tables.append(table)
        fast = (one["speed_km_s"] > 0.11) & (one["miss_km"] < THRESHOLD_KM - 1e-3)
        inside = (one["tca_s"] > START_S + 1e-3) & (one["tca_s"] < START_S + 86_400.0 - 1e-3)
        asked.append([(pairs[n], float(one["tca_s"][n])) for n in np.flatnonzero(fast & inside).tolist()])
    only = [
        sum(not any(abs(tca_s - other) < 1.0 for other in there.get(pair, ())) for pair, tca_s in rows)
        for rows, there in ((asked[1], tables[0]), (asked[0], tables[1]))
    ]
    return [
        figure_of(
            "screening: crossings of astroz.screen that are not ours",
            *(only[0], ""),
            at_most=0,
            note=f"above 0.11 km/s; {only[1]} of ours are not among its",
        )
    ]


def _pair(one: Any, two: Any) -> tuple[int, int]:
    return (int(min(one, two)), int(max(one, two)))


# --- truth ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Verdict:
    missed: int = 0
    extra: int = 0
    worst_s: float = 0.0
    worst_km: float = 0.0


def _against_truth(name: str, texts: list[str], hours: float) -> list[Figure]:
    truth = brute_force(texts, START_S, hours, THRESHOLD_KM)
    verdict = judge(truth, ours(texts, hours, "auto"))
    about = (
        f"{len(texts):,} objects, {hours:g} h: {len(truth.crossings):,} crossings, {len(truth.stretches)} slow stretches; "
        f"worst difference {verdict.worst_s * 1e3:.2g} ms in TCA, {verdict.worst_km * 1e6:.2g} mm in distance"
    )
    return [
        figure_of(f"screening: missed, {name} objects", verdict.missed, "", at_most=0, note=about),
        figure_of(f"screening: extra, {name} objects", verdict.extra, "", at_most=0),
    ]


def judge(truth: Truth, found: dict[str, Any]) -> _Verdict:
    """Pair what was found with the truth: crossings within a second, stretches that overlap, a metre in distance."""
    verdict = _Verdict()
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    for n in range(len(found["tca_s"])):
        rows[_pair(found["first"][n], found["second"][n])].append(n)
    used: set[int] = set()
    for first, second, tca_s, miss_km in truth.crossings:
        near = [n for n in rows[_pair(first, second)] if abs(found["tca_s"][n] - tca_s) < 1.0]
        if len(near) != 1 or abs(found["miss_km"][near[0]] - miss_km) > 1e-3:
            verdict.missed += 1
            continue
        used.add(near[0])
        verdict.worst_s = max(verdict.worst_s, abs(float(found["tca_s"][near[0]]) - tca_s))
        verdict.worst_km = max(verdict.worst_km, abs(float(found["miss_km"][near[0]]) - miss_km))
    for first, second, begin_s, end_s, lowest_km in truth.stretches:
        near = [n for n in rows[_pair(first, second)] if found["enter_s"][n] <= end_s and found["leave_s"][n] >= begin_s]
        if len(near) != 1 or abs(found["miss_km"][near[0]] - lowest_km) > 1e-3:
            verdict.missed += 1
            continue
        used.add(near[0])
        verdict.worst_km = max(verdict.worst_km, abs(float(found["miss_km"][near[0]]) - lowest_km))
    verdict.extra = len(found["tca_s"]) - len(used)
    return verdict
