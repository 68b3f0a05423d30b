"""Conjunction events and avoidance: how right a burn's effect is, how well the covariance model covers, what it costs.

Burns are flown by SGP4, with and without, on real element sets: an independent dynamics with oblateness and drag. Coverage is
of objects that the fit has not seen. Times are CPU seconds of this process, shared machine.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from orbitloop.apps.conjunction_files import message_files, read_elements, read_message
from orbitloop.apps.conjunction_store import opened
from orbitloop.apps.conjunctions import import_messages
from orbitloop.errors import OrbitloopError
from orbitloop.orbit.conjunction.avoidance import AvoidanceSettings, avoidance_options
from orbitloop.orbit.conjunction.motion import after_burn, hill_displacement, manoeuvred
from orbitloop.orbit.conjunction.uncertainty_fit import differences, fit_bands
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.tle import parse_tle_file
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.propagate import states
from orbitloop.reports.figures import Figure

SEED = 24
BURN_KM_S = 2e-5
REVOLUTIONS = (0.5, 1.5, 5.5, 15.5)


def figures(quick: bool) -> list[Figure]:
    """Measure on real data; quick: fewer orbits and days."""
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "orbits"
    if not (root / "catalog" / "active.tle").is_file():
        return [Figure("conjunctions", "not measured", "", note="no orbit data: set ORBITLOOP_DATA")]
    return [*_burns(root, 60 if quick else 400), *_model(root, 4 if quick else 7), *_messages(root, quick)]


def _burns(root: Path, count: int) -> list[Figure]:
    """Displacements by two-body motion and by Hill's equations, against SGP4 flown with and without the burn."""
    low = [
        e for e in read_elements([root / "catalog" / "active.tle"]) if e.mean_motion_rev_day > 12.5 and e.eccentricity < 0.02
    ]
    chosen = np.random.default_rng(SEED).choice(len(low), count, replace=False)
    errors: dict[str, list[float]] = {"two-body": [], "hill": []}
    flown = 0
    for index in chosen.tolist():
        try:
            rows = _burn_errors(low[index])
        except OrbitloopError:
            continue  # it decays meanwhile, or SGP4 does not take the new elements: counted below
        flown += 1
        for name, row in rows.items():
            errors[name] += row
    note = f"{flown} of {count} real low orbits, 20 mm/s, {REVOLUTIONS} revolutions; share of the displacement by SGP4"
    found = []
    for name, values in errors.items():
        found.append(
            Figure(f"displacement by a burn, {name} against SGP4, median", _percent(np.median(values)), "%", note=note)
        )
        high = _percent(np.quantile(values, 0.99))
        found.append(Figure(f"displacement by a burn, {name} against SGP4, p99", high, "%", aim=1.0, holds=high <= 1.0))
    return found


def _burn_errors(elements: Elements) -> dict[str, list[float]]:
    burn_s, burn = elements.epoch_s + 3600.0, np.array([0.0, BURN_KM_S, 0.0])
    after = manoeuvred(elements, burn_s, burn)
    rows: dict[str, list[float]] = {"two-body": [], "hill": []}
    for count in REVOLUTIONS:
        elapsed = count * elements.period_s
        (r, v), (reached, _) = states(elements, [burn_s + elapsed]), states(after, [burn_s + elapsed])
        truth = reached[0] - r[0]
        moved, _ = after_burn(r, v, np.array([elapsed]), burn[None])
        hill = hill_displacement(2 * np.pi / elements.period_s, np.array([elapsed]), np.array([BURN_KM_S]))[0]
        rows["two-body"].append(_share(moved[0] - r[0], truth))
        rows["hill"].append(_share(_inertial(hill, r[0], v[0]), truth))
    return rows


def _inertial(rtn: FloatArray, r: FloatArray, v: FloatArray) -> FloatArray:
    from orbitloop.orbit.conjunction.rtn import from_rtn

    return from_rtn(rtn, r, v)


def _share(ours: FloatArray, truth: FloatArray) -> float:
    return float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))


def _percent(share: float | np.floating[object]) -> float:  # type: ignore[type-var]
    return round(100 * float(share), 3)


def _model(root: Path, days: int) -> list[Figure]:
    """Fit the covariance model anew, and cover objects that it has not seen."""
    files = sorted((root / "history_starlink").glob("*.gz"))[:days]
    if len(files) < 4:
        return []
    began_s = time.process_time()
    data = differences([parse_tle_file(gzip.decompress(f.read_bytes()).decode())[0] for f in files])
    fits = fit_bands(data)
    took_s = time.process_time() - began_s
    inner = [share for fit in fits for row in fit.coverage for share in row[:1]]
    outer = [row[2] for fit in fits for row in fit.coverage]
    note = f"{data.age_d.size:,} differences of {days} days, {len(fits)} shells, 3 axes; 30 % of objects held out"
    low, high = _percent(min(inner)), _percent(max(inner))
    return [
        Figure(
            "covariance model, held out within 1 sigma, lowest", low, "%", 60.0, low >= 60.0, note=f"{note}; normal: 68.3 %"
        ),
        Figure("covariance model, held out within 1 sigma, highest", high, "%", 76.0, high <= 76.0),
        Figure("covariance model, held out within 3 sigma, lowest", _percent(min(outer)), "%", note="normal: 99.7 %; thrust"),
        Figure("covariance model, derived in", round(took_s, 2), "CPU s"),
    ]


def _messages(root: Path, quick: bool) -> list[Figure]:
    """Import the real messages, and look for options of one of them."""
    files = message_files([root / "cdm" / "real_events"])[:: 6 if quick else 1]
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "events.db", write=True) as store:
        began_s = time.process_time()
        results = list(import_messages(store, files))
        took_s = time.process_time() - began_s
        again = list(import_messages(store, files))
        events = len(store.events())
    bad = sum(r.error is not None for r in results)
    new = sum(r.stored.new for r in again if r.stored is not None)
    note = f"{len(files)} messages, {bad} refused, {events} events; imported again: {new} new"
    encounter = read_message(files[0]).encounter()
    began_s = time.process_time()
    options = avoidance_options(encounter, encounter.tca_s - 3 * 86_400.0, AvoidanceSettings())
    each_s = (time.process_time() - began_s) / len(options)
    return [
        Figure("message judged and stored", round(1e3 * took_s / len(files), 1), "CPU ms", note=note),
        Figure(
            "avoidance option", round(1e3 * each_s, 2), "CPU ms", note=f"{len(options)} burns, each with its new TCA and 2-D Pc"
        ),
    ]
