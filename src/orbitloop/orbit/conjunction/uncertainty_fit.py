"""Deriving the table of `uncertainty` from element sets of consecutive days: differences, robust fit, held-out coverage.

Every older set of an object is propagated to the epoch of each of its newer ones, and the difference is taken in the newer
state's RTN, along the arc (radius, in-plane angle, out-of-plane angle: at 100 km along the track a straight chord would lie
0.7 km low; Vallado & Alfano 2014, Acta Astron. 93). What the difference holds: error growth of the older set, what the newer
set has wrong, and what the object did in between, thrust included. Sets of most objects are refitted a few times a day.

The fit is of the 68.27 % quantile of |difference| by age, not of the root of squares: a few satellites that changed orbit would
set that alone. So the core has the right width, and the tails are told by the coverage at 2 and 3 sigma; objects are split
by a hash of their number, so that none is in both parts (the days, and so the sun's activity, are shared).
"""

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.rtn import rtn_rotation
from orbitloop.orbit.conjunction.uncertainty import SigmaCurve, semi_major_axis_km
from orbitloop.orbit.earth import WGS72_RADIUS_KM
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray

ONE_SIGMA = 0.682_689_492
NORMAL_COVERAGE = (0.6827, 0.9545, 0.9973)
HELD_OUT_SHARE = 0.3
MIN_PAIRS = 200
AGE_EDGES_D = (0.03, 0.1, 0.2, 0.35, 0.55, 0.8, 1.1, 1.5, 2.0, 2.6, 3.3, 4.1, 5.0, 6.0, 7.0)
MIN_IN_BIN = 40


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Rows of one older set against one newer set: `rtn_km` (P, 3) along the arc, older less newer; `age_d` (P,).

    `height_km` (P,) of the older set's mean semi-major axis; `norad_id` (P,); `held_out` (P,) by object.
    """

    norad_id: npt.NDArray[np.int64]
    age_d: FloatArray
    rtn_km: FloatArray
    height_km: FloatArray
    held_out: npt.NDArray[np.bool_]

    def where(self, mask: npt.NDArray[np.bool_]) -> Differences:
        """Return the rows under a mask (P,)."""
        return Differences(self.norad_id[mask], self.age_d[mask], self.rtn_km[mask], self.height_km[mask], self.held_out[mask])


def is_held_out(norad_id: int) -> bool:
    """Whether an object is kept for the test: by a hash of its number, so the same in every run."""
    return zlib.crc32(str(norad_id).encode()) % 1000 < HELD_OUT_SHARE * 1000


def differences(snapshots: Iterable[Iterable[Elements]], progress: Callable[[int, int], None] | None = None) -> Differences:
    """Compare every older set of every object with its newer ones; sets of one epoch are one set."""
    history: dict[int, dict[float, Elements]] = defaultdict(dict)
    for snapshot in snapshots:
        for one in snapshot:
            history[one.norad_id][one.epoch_s] = one
    rows: list[tuple[float, ...]] = []
    for done, number in enumerate(sorted(history)):
        rows += _of_object([history[number][epoch] for epoch in sorted(history[number])])
        if progress is not None and done % 500 == 0:
            progress(done, len(history))
    table = np.array(rows, np.float64).reshape(-1, 6)
    ids = table[:, 0].astype(np.int64)
    held = {int(number): is_held_out(int(number)) for number in np.unique(ids)}
    return Differences(ids, table[:, 1], table[:, 2:5], table[:, 5], np.array([held[int(number)] for number in ids], np.bool_))


def _of_object(sets: Sequence[Elements]) -> list[tuple[float, ...]]:
    """Return (number, age, r, t, n, height) of every pair of sets, older first."""
    if len(sets) < 2:
        return []
    records = [one.satrec() for one in sets]
    jd, fraction = (np.array([getattr(r, name) for r in records]) for name in ("jdsatepoch", "jdsatepochF"))
    rows: list[tuple[float, ...]] = []
    truth = [record.sgp4(record.jdsatepoch, record.jdsatepochF) for record in records]
    for old, record in enumerate(records[:-1]):
        codes, reached, _ = record.sgp4_array(jd[old + 1 :], fraction[old + 1 :])
        for code, r_km, newer in zip(codes, reached, range(old + 1, len(sets)), strict=True):
            if code or truth[newer][0]:
                continue
            offset = arc_difference(r_km, np.array(truth[newer][1]), np.array(truth[newer][2]))
            age_d = (sets[newer].epoch_s - sets[old].epoch_s) / DAY_S
            rows.append((sets[old].norad_id, age_d, *offset, semi_major_axis_km(sets[old]) - WGS72_RADIUS_KM))
    return rows


def arc_difference(r_km: FloatArray, true_r_km: FloatArray, true_v_km_s: FloatArray) -> tuple[float, float, float]:
    """Return (R, T, N), km, from the true state to a position: in radius, along the arc in the plane, and out of it."""
    radial, along, normal = rtn_rotation(true_r_km, true_v_km_s) @ r_km
    radius, true_radius = float(np.linalg.norm(r_km)), float(np.linalg.norm(true_r_km))
    return (
        radius - true_radius,
        true_radius * float(np.arctan2(along, radial)),
        true_radius * float(np.arcsin(np.clip(normal / radius, -1, 1))),
    )


def fit_curve(age_d: FloatArray, error_km: FloatArray) -> SigmaCurve:
    """Fit a + b age^c to the 68.27 % quantile of |error| by age, least squares of its logarithm over bins of age.

    Raises:
        ConjunctionError: there are too few differences, or they span too little time.
    """
    from scipy.optimize import least_squares

    ages, sigmas = [], []
    for low, high in itertools.pairwise(AGE_EDGES_D):
        inside = (age_d >= low) & (age_d < high)
        if inside.sum() >= MIN_IN_BIN:
            ages.append(float(np.median(age_d[inside])))
            sigmas.append(float(np.quantile(np.abs(error_km[inside]), ONE_SIGMA)))
    if len(ages) < 4:
        raise ConjunctionError(
            f"differences fill {len(ages)} bins of age, 4 are needed", remedy="give more days of element sets"
        )
    at, goal = np.array(ages), np.log(np.maximum(sigmas, 1e-6))

    def residual(p: FloatArray) -> FloatArray:
        return np.asarray(np.log(np.exp(p[0]) + np.exp(p[1]) * at ** p[2]) - goal)

    least, most = np.array([-9.0, -9.0, 0.2]), np.array([7.0, 7.0, 4.0])
    start = np.clip([goal.min() - 0.5, goal[-1] - np.log(at[-1]), 1.0], least + 0.1, most - 0.1)
    found = least_squares(residual, start, bounds=(least, most), loss="soft_l1", f_scale=0.1)
    return SigmaCurve(round(float(np.exp(found.x[0])), 4), round(float(np.exp(found.x[1])), 4), round(float(found.x[2]), 3))


@dataclass(frozen=True, slots=True)
class ClassFit:
    """A class fitted, and how it holds on objects that the fit has not seen.

    `coverage[axis][k - 1]` is the share of held-out differences within k sigma; a normal distribution has NORMAL_COVERAGE.
    """

    label: str
    height_km: tuple[float, float]
    curves: tuple[SigmaCurve, SigmaCurve, SigmaCurve]
    max_age_d: float
    pairs: int
    objects: int
    held_out_pairs: int
    held_out_objects: int
    coverage: tuple[tuple[float, float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the class as a row of the table."""
        return {
            "label": self.label,
            "source": (
                f"fitted: {self.pairs:,} differences of {self.objects:,} objects; held out {self.held_out_pairs:,} of"
                f" {self.held_out_objects:,}"
            ),
            "kinds": ["payload"],
            "name_prefix": "STARLINK",
            "height_of": "axis",
            "height_km": list(self.height_km),
            "sigma_km": {
                axis: [curve.a_km, curve.b_km, curve.exponent] for axis, curve in zip("rtn", self.curves, strict=True)
            },
            "max_age_d": self.max_age_d,
            "coverage_held_out": {axis: list(row) for axis, row in zip("rtn", self.coverage, strict=True)},
        }


STARLINK_BANDS: tuple[tuple[str, float, float], ...] = (
    ("starlink below 440 km", -1e9, 440.0),
    ("starlink 440-510 km", 440.0, 510.0),
    ("starlink 510-552 km", 510.0, 552.0),
    ("starlink above 552 km", 552.0, 1e9),
)
"""Shells of the constellation by mean semi-major axis: below 440 km satellites climb or come down under thrust."""


def fit_bands(data: Differences, bands: Sequence[tuple[str, float, float]] = STARLINK_BANDS) -> list[ClassFit]:
    """Fit each band on objects that are not held out, and cover it with those that are; bands with too little are left out.

    Raises:
        ConjunctionError: no band has enough.
    """
    made = []
    for label, low, high in bands:
        band = data.where((data.height_km >= low) & (data.height_km < high) & (data.age_d >= AGE_EDGES_D[0]))
        seen, unseen = band.where(~band.held_out), band.where(band.held_out)
        if seen.age_d.size < MIN_PAIRS or unseen.age_d.size < MIN_PAIRS:
            continue
        curves = tuple(fit_curve(seen.age_d, seen.rtn_km[:, axis]) for axis in range(3))
        made.append(
            ClassFit(
                label=label,
                height_km=(low, high),
                curves=(curves[0], curves[1], curves[2]),
                max_age_d=round(float(np.quantile(seen.age_d, 0.99)), 1),
                pairs=int(seen.age_d.size),
                objects=int(np.unique(seen.norad_id).size),
                held_out_pairs=int(unseen.age_d.size),
                held_out_objects=int(np.unique(unseen.norad_id).size),
                coverage=coverage(unseen, (curves[0], curves[1], curves[2])),
            )
        )
    if not made:
        raise ConjunctionError("too few element sets to fit a class", remedy="give at least four days of many objects")
    return made


def coverage(data: Differences, curves: Sequence[SigmaCurve]) -> tuple[tuple[float, float, float], ...]:
    """Return the share of differences within 1, 2 and 3 sigma, axis by axis (R, T, N)."""
    rows = []
    for axis, curve in enumerate(curves):
        ratio = np.abs(data.rtn_km[:, axis]) / curve.at(data.age_d)
        rows.append((*(round(float((ratio <= k).mean()), 4) for k in (1, 2, 3)),))
    return tuple((row[0], row[1], row[2]) for row in rows)


def with_fitted(document: dict[str, Any], fits: Sequence[ClassFit]) -> dict[str, Any]:
    """Return a table's document with its fitted classes replaced; those from publications stay, after them."""
    published = [row for row in document["classes"] if not str(row["source"]).startswith("fitted")]
    return {**document, "classes": [fit.to_json() for fit in fits] + published}
