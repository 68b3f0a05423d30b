"""How well the catalogue's detectors find what is known to be there, and how often they cry for nothing.

Real element sets of 10,400 Starlinks on seven days, into which manoeuvres, changed places and silence of known size are put,
at random objects and days, before the detectors see them. Real histories hold real manoeuvres: what is flagged in them
without any injection bounds the false alarms from above. From below it is counted on quiet histories made of real orbits of
the whole catalogue with heavy-tailed noise (Student's t, 3 degrees of freedom) and drag that nobody foresaw. Limits are the
detectors' declared ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import peer_env
from orbitloop.apps.catalogue import load_snapshots, read_snapshot
from orbitloop.orbit.catalogue.crosstags import cross_tags
from orbitloop.orbit.catalogue.detections import check
from orbitloop.orbit.catalogue.manoeuvres import Scores
from orbitloop.orbit.catalogue.predictions import histories, residuals
from orbitloop.orbit.catalogue.presence import decaying, stale
from orbitloop.orbit.catalogue.regimes import heights_km, mean_axis_km, regimes
from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.oem import Ephemeris, parse_oem, write_oem
from orbitloop.orbit.formats.states import StateCovariance
from orbitloop.orbit.propagate import states
from orbitloop.reports.figures import Figure, figure_of

SIGMAS = 6.0
ALONG_M_S = (0.1, 0.2, 0.5, 1.0, 2.0)
ACROSS_M_S = (1.0, 2.0, 5.0, 10.0, 20.0)
_MU_KM3_S2 = 398_600.8
_HERE = Path(__file__).resolve().parent
Key = tuple[int, float]


def figures(quick: bool) -> list[Figure]:
    """Measure all detectors; the set of seven days must be there."""
    folder = Path(os.environ.get("ORBITLOOP_DATA", _HERE.parents[1] / "shared" / "data")) / "orbits"
    files = sorted((folder / "history_starlink").glob("*.gz"))
    if len(files) < 7:
        return [Figure("catalogue: detectors", "not measured", "", note="the seven snapshots are not there (ORBITLOOP_DATA)")]
    snapshots = load_snapshots(Path("unused"), files)
    rng = np.random.default_rng(20260530)
    count = 100 if quick else 400
    return [
        *_cost(snapshots),
        *_manoeuvres(snapshots, rng, count),
        *_cross_tags(snapshots, rng, count // 2),
        *_staleness(snapshots, rng, count),
        *_quiet(folder, rng, 500 if quick else 3000),
        *_messages(make=not quick),
    ]


def _cost(snapshots: list[Snapshot]) -> list[Figure]:
    start = time.process_time()
    check(snapshots)
    seconds = time.process_time() - start
    first, last = snapshots[0], snapshots[-1]
    told = decaying(histories([first]), first.taken_s, 30.0)
    gone = set(first.newest()) - set(last.newest())
    dated = {f.norad_id for f in told if float(f.figures.get("down_s", np.inf)) <= last.taken_s}
    every = {f.norad_id for f in told}
    note = f"by the first day alone; {len(every)} are told within 30 days, {len(gone & every)} of those that left among them"
    return [
        figure_of("catalogue: all detections, 10,400 objects, 7 days", round(seconds, 2), "CPU s", at_most=10.0),
        figure_of(
            "catalogue: told to come down within six days, and left", len(dated & gone), f"of {len(dated)} told", note=note
        ),
        figure_of("catalogue: left within six days, and told with the day", len(dated & gone), f"of {len(gone)} that left"),
    ]


def burned(one: Elements, burn_s: float, along_m_s: float, across_m_s: float) -> Elements:
    """Return a set as it is when its satellite burned at `burn_s`: the axis stepped, the phase ran on, the plane tilted.

    The step is da = 2 a dv / v; the inclination turns by dv / v, as a burn at the node does.
    """
    axis_km = float(mean_axis_km([one])[0])
    speed_m_s = 1000.0 * float(np.sqrt(_MU_KM3_S2 / axis_km))
    change = -1.5 * 2.0 * along_m_s / speed_m_s * one.mean_motion_rev_day
    turned_deg = 360.0 * change * (one.epoch_s - burn_s) / DAY_S
    return replace(
        one,
        mean_motion_rev_day=one.mean_motion_rev_day + change,
        mean_anomaly_deg=(one.mean_anomaly_deg + turned_deg) % 360.0,
        inclination_deg=one.inclination_deg + float(np.degrees(across_m_s / speed_m_s)),
    )


def _flags(of: dict[int, list[Elements]]) -> dict[Key, bool]:
    pairs = residuals(of)
    scores = Scores(pairs, SIGMAS)
    hits = scores.in_plane | scores.out_of_plane
    return {(int(n), pairs.sets[j].epoch_s): bool(h) for n, j, h in zip(pairs.norad_id, pairs.newer, hits, strict=True)}


def _manoeuvres(snapshots: list[Snapshot], rng: np.random.Generator, count: int) -> list[Figure]:
    real = histories(snapshots)
    before = _flags(real)
    flagged = {number for (number, _), hit in before.items() if hit}
    quiet = np.array([n for n, sets in real.items() if n not in flagged and len(sets) >= 4])
    sizes = [(dv, 0.0) for dv in ALONG_M_S] + [(0.0, dv) for dv in ACROSS_M_S]
    chosen = rng.permutation(quiet)[: count * len(sizes)].reshape(len(sizes), -1)
    changed = dict(real)
    keys: list[list[Key]] = []
    for (along, across), numbers in zip(sizes, chosen, strict=True):
        keys.append([])
        for number in numbers:
            sets = real[int(number)]
            at = int(rng.integers(1, len(sets)))
            burn_s = float(rng.uniform(sets[at - 1].epoch_s, sets[at].epoch_s))
            sign = float(rng.choice([-1.0, 1.0]))
            changed[int(number)] = [*sets[:at], *(burned(one, burn_s, sign * along, sign * across) for one in sets[at:])]
            keys[-1].append((int(number), sets[at].epoch_s))
    after = _flags(changed)
    out = [
        figure_of(
            "catalogue: pairs of real sets flagged as manoeuvres",
            round(sum(before.values()) / len(before), 4),
            "of all pairs",
            note=f"{len(before)} pairs without injection: an upper bound of the false alarms, for Starlinks do burn",
        )
    ]
    out.append(_descents(real))
    for (along, across), group in zip(sizes, keys, strict=True):
        found = [after[key] for key in group if key in after]
        word = f"{along:g} m/s along" if along else f"{across:g} m/s across"
        out.append(
            figure_of(
                f"catalogue: burns of {word} the track found",
                round(sum(found) / max(len(found), 1), 3),
                f"of {len(found)}",
                note="put into real histories without a flag" if along == ALONG_M_S[0] else "",
            )
        )
    return out


def _descents(real: dict[int, list[Elements]]) -> Figure:
    """Count the flagged ones of falls that drag cannot have made; a flight down under thrust is fitted as drag."""
    pairs = residuals(real)
    scores = Scores(pairs, SIGMAS)
    rise_km = scores.axes_km[pairs.newer] - scores.axes_km[pairs.older]
    fell = pairs.ok & (rise_km < -2.0) & (pairs.height_km > 330.0)
    return figure_of(
        "catalogue: real falls of over 2 km between two sets, above 330 km, flagged",
        round(float(scores.in_plane[fell].mean()), 3),
        f"of {int(fell.sum())}",
        note="thrust: drag takes a few hundred metres a day there; fits carry it as drag, which is believed",
    )


def _cross_tags(snapshots: list[Snapshot], rng: np.random.Generator, count: int) -> list[Figure]:
    """Swap two objects' sets in the last snapshot: partners at random from one shell, and side by side in one plane."""
    before, after = snapshots[-2], snapshots[-1]
    none, _ = cross_tags([before, after], SIGMAS)
    new, numbers = after.newest(), sorted(set(after.newest()) & set(before.newest()))
    axis, node = mean_axis_km([new[n] for n in numbers]), np.array([new[n].raan_deg for n in numbers])
    phase = np.array([(new[n].mean_anomaly_deg + new[n].arg_perigee_deg) % 360 for n in numbers])
    shell = np.round(axis / 10.0)
    out = []
    for word, order in (
        ("of one shell", np.lexsort((rng.permutation(len(numbers)), shell))),
        ("side by side in one plane", np.lexsort((phase, np.round(node / 2.0), shell))),
    ):
        starts = rng.permutation(np.arange(0, len(numbers) - 1, 2))[:count]
        pairs = {numbers[order[i]]: numbers[order[i + 1]] for i in starts}
        pairs |= {b: a for a, b in pairs.items()}
        told = tuple(replace(new[pairs[n]], norad_id=n, name=one.name) if n in pairs else one for n, one in new.items())
        found, _ = cross_tags([before, Snapshot(after.label, after.taken_s, told)], SIGMAS)
        right = sum(1 for f in found if f.figures["swap"] and pairs.get(f.norad_id) == f.figures["other_id"])
        wrong = sum(1 for f in found if pairs.get(f.norad_id) != f.figures["other_id"])
        out.append(
            figure_of(f"catalogue: changed places found, {word}", round(right / len(pairs), 3), f"of {len(pairs)}",
                      note=f"{wrong} findings name others")
        )  # fmt: skip
    every, _ = cross_tags(snapshots, SIGMAS)
    swaps = sum(1 for f in every if f.figures["swap"])
    out.append(
        figure_of("catalogue: real week, findings of cross-tags", len(every), f"findings, {swaps} of them swaps",
                  note=f"{len(none)} on the last day; one-way ones are launches that still fly in a bunch, none is confirmed")
    )  # fmt: skip
    return out


def _staleness(snapshots: list[Snapshot], rng: np.random.Generator, count: int) -> list[Figure]:
    """Let objects fall silent for the last two, three and four days."""
    real = histories(snapshots)
    at_s = snapshots[-1].taken_s
    alarms = stale(real, at_s, 3.0)
    steady = [n for n, sets in real.items() if len(sets) >= 6]
    out = [
        figure_of("catalogue: real objects told stale", len(alarms), f"of {len(real)}, 13 of them have come down",
                  note="three usual intervals of its own without a new set")
    ]  # fmt: skip
    for days in (2.0, 3.0, 4.0):
        silent = set(rng.permutation(steady)[:count].tolist())
        cut = {n: [s for s in sets if n not in silent or s.epoch_s < at_s - days * DAY_S] for n, sets in real.items()}
        found = {f.norad_id for f in stale({n: s for n, s in cut.items() if s}, at_s, 3.0)}
        value = round(len(found & silent) / len(silent), 3)
        out.append(figure_of(f"catalogue: found stale after {days:g} days of silence", value, f"of {len(silent)}"))
    return out


def _quiet(folder: Path, rng: np.random.Generator, count: int) -> list[Figure]:
    """Count flags in histories without a manoeuvre: real low orbits, seven daily sets each with noise and unforeseen drag."""
    sets = [one for name in ("active.tle", "debris.tle") for one in read_snapshot(folder / "catalog" / name)[0].sets]
    low = [one for one, regime in zip(sets, regimes(sets), strict=True) if regime == "LEO"]
    perigee, _ = heights_km(low)
    low = [low[int(i)] for i in rng.permutation(np.flatnonzero(perigee > 300))[:count]]
    weather = rng.lognormal(0.0, 0.2, 7)
    made: dict[int, list[Elements]] = {}
    for one in low:
        record, axis_km, history = one.satrec(), float(mean_axis_km([one])[0]), []
        for day in range(7):
            code, _, _ = record.sgp4(record.jdsatepoch, record.jdsatepochF + day)
            if code:
                break
            fallen_km = (record.am * 6378.135 - axis_km) * float(np.mean(weather[: day + 1])) * rng.normal(1.0, 0.1)
            noise = rng.standard_t(3, 4)
            axis = axis_km + fallen_km + 0.03 * noise[0]
            node_deg = float(np.degrees(record.Om)) + 0.0016 * noise[1] / max(np.sin(record.inclo), 0.05)
            phase_deg = float(np.degrees(record.mm)) + 0.01 * noise[3]
            history.append(
                replace(
                    one,
                    epoch_s=one.epoch_s + day * DAY_S,
                    mean_motion_rev_day=one.mean_motion_rev_day * (1 - 1.5 * (axis - axis_km) / axis_km),
                    inclination_deg=float(np.clip(one.inclination_deg + 0.0007 * noise[2], 0, 180)),
                    raan_deg=node_deg % 360.0,
                    arg_perigee_deg=float(np.degrees(record.om)) % 360.0,
                    mean_anomaly_deg=phase_deg % 360.0,
                    bstar_per_er=one.bstar_per_er * rng.normal(1.0, 0.1),
                )
            )
        made[one.norad_id] = history
    flags = _flags(made)
    objects = len({n for (n, _), hit in flags.items() if hit})
    return [
        figure_of("catalogue: quiet pairs flagged", round(sum(flags.values()) / len(flags), 5), f"of {len(flags)}",
                  note=f"{objects} of {len(made)} objects in a week; noise of t(3), drag off by 20 % for all and 10 % each")
    ]  # fmt: skip


def _messages(*, make: bool) -> list[Figure]:
    """Let the `oem` package read what we write, in both forms, and read what it writes."""
    name = "messages: ephemerides, another reader (oem 0.4.1)"
    try:
        interpreter = peer_env.python(_HERE / ".env-messages", _HERE / "peers" / "messages-requirements.txt", "oem", make=make)
    except peer_env.NoEnvironment as error:
        return [Figure(name, "not measured", "", note=str(error))]
    one = from_orbit("BIRD", 1_780_000_000.0, 550, 53, eccentricity=0.001)
    times = np.asarray(one.epoch_s + 60.0 * np.arange(120), np.float64)
    r_km, v_km_s = states(one, times)
    doubt = StateCovariance(float(times[0]), "RTN", np.diag([1.0, 4.0, 9.0, 1e-6, 2e-6, 3e-6]) + 1e-8)
    made = Ephemeris("BIRD", "2026-001A", times, r_km, v_km_s, "EME2000", method="LAGRANGE", degree=9, covariances=(doubt,))
    asked = [30.0, 1234.5, 7000.0]
    ours_r, ours_v = made.at(times[0] + np.array(asked))
    worst, back, between = 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for form, ending in (("kvn", "oem"), ("xml", "xml")):
            path = Path(folder) / f"ours.{ending}"
            path.write_text(write_oem([made], form, 0.0))  # type: ignore[arg-type]
            command = [str(interpreter), str(_HERE / "peers" / "read_oem.py"), str(path), json.dumps(asked), folder]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                return [Figure(name, "refused", "", note=done.stderr.strip().splitlines()[-1][:200])]
            (theirs,) = json.loads(done.stdout)
            worst = max(worst, float(np.abs(np.array(theirs["states"]) - np.hstack([r_km, v_km_s])).max()))
            worst = max(worst, float(np.abs(np.array(theirs["covariances"][0]) - doubt.matrix).max()))
            between = max(between, float(np.abs(np.array(theirs["between"]) - np.hstack([ours_r, ours_v])).max()))
            for written in ("theirs.oem", "theirs.xml"):
                (again,) = parse_oem((Path(folder) / written).read_text(), written)
                back = max(back, float(np.abs(np.hstack([again.r_km - r_km, again.v_km_s - v_km_s])).max()))
    note = "KVN and XML, 120 states, covariance, Lagrange of degree 9; the worst number, km or km/s"
    return [
        figure_of(f"{name}, states and covariance", worst, "km", at_most=1e-9, note=note),
        figure_of(f"{name}, between the states", between, "km", at_most=1e-6),
        figure_of("messages: ephemerides that it writes, read by us", back, "km", at_most=1e-6),
    ]
