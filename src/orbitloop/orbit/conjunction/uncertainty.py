"""How wrong an element set may be: a covariance where nobody gives one, by class of object and age; never a measurement.

Element sets come without a covariance. Two sources stand in, in `tle_uncertainty.json`; every answer says which:

fitted     sets of one object against its own later ones, seven daily snapshots (`uncertainty_fit` derives it). Such differences
           show consistency, not truth: an error that old and new sets share stays unseen.
published  Flohrer, Krag & Klinkrad 2008 (AMOS), tables 1 and 2: standard deviations at the epoch by eccentricity, perigee and
           inclination, whole catalogue of 1 January 2008; along the track 1.5 km a day are added (Levit & Marshall 2011, Adv.
           Space Res. 47, 1107, satellites of 800 to 19,100 km). Radial and cross-track do not grow there: 1.5 km a day along
           the track follow from 11 m of semi-major axis.

Form, each axis of RTN: sigma(age) = a + b age^c, age in days, before the epoch as after it. The velocities are tied to the
positions as on a near-circular orbit (an error along the track turns the velocity, one in radius changes it by the energy);
measured on 215,000 differences: v_R = -1.00 n T, v_T = -0.93 n R, and what is left of both is a share of n sigma_R.

NASA CARA holds that element sets do not suffice for deciding on a manoeuvre (CATAC 2016). So do we: hence the statement.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn
from orbitloop.orbit.earth import WGS72_MU_KM3_S2, WGS72_RADIUS_KM
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray

"""WGS-72, as the element sets are fitted with."""

KINDS = ("payload", "rocket body", "debris", "unknown")
STALE_D = 7.0
"""Older sets are told as stale: none of the differences behind the fitted table reaches that far."""
MAX_TABLE_BYTES = 1 << 20

# What is left of the velocity errors once those tied to position are taken out, in units of n sigma (measured, see above).
_FREE_R, _FREE_T, _FREE_N = 0.5, 0.3, 0.6
_TABLE_FILE = "tle_uncertainty.json"


@dataclass(frozen=True, slots=True)
class SigmaCurve:
    """One axis: a + b age^c, km, age in days."""

    a_km: float
    b_km: float
    exponent: float

    def at(self, age_d: npt.ArrayLike) -> FloatArray:
        """Return sigma, km, of the shape of `age_d` (days; its sign does not matter)."""
        return np.asarray(self.a_km + self.b_km * np.abs(np.asarray(age_d, np.float64)) ** self.exponent)


@dataclass(frozen=True, slots=True)
class SigmaClass:
    """One row of the table: whom it is for, and how their errors grow.

    Bounds are half open; `height_km` is of the mean semi-major axis or of the perigee, as `height_of` says. `max_age_d` is the
    oldest age with data behind it.
    """

    label: str
    source: str
    kinds: tuple[str, ...]
    name_prefix: str
    height_of: str
    height_km: tuple[float, float]
    eccentricity: tuple[float, float]
    inclination_deg: tuple[float, float]
    curves: tuple[SigmaCurve, SigmaCurve, SigmaCurve]
    max_age_d: float

    def holds(self, elements: Elements, kind: str) -> bool:
        """Whether an object is of this class."""
        axis_km = semi_major_axis_km(elements)
        height_km = axis_km * (1 - elements.eccentricity if self.height_of == "perigee" else 1.0) - WGS72_RADIUS_KM
        return (
            (not self.kinds or kind in self.kinds)
            and elements.name.upper().startswith(self.name_prefix)
            and self.height_km[0] <= height_km < self.height_km[1]
            and self.eccentricity[0] <= elements.eccentricity < self.eccentricity[1]
            and self.inclination_deg[0] <= elements.inclination_deg < self.inclination_deg[1]
        )

    def sigma_km(self, age_d: float) -> FloatArray:
        """Return sigma (3,) in R, T, N, km."""
        return np.array([float(curve.at(age_d)) for curve in self.curves])


@dataclass(frozen=True, slots=True, eq=False)
class ModelCovariance:
    """A covariance (6, 6), inertial as the state given (km^2, km^2/s, km^2/s^2), and what it is worth.

    `stale`: the set is older than a week; `extrapolated`: older than anything the model was derived from.
    """

    covariance_km: FloatArray
    sigma_rtn_km: tuple[float, float, float]
    label: str
    source: str
    kind: str
    age_d: float
    stale: bool
    extrapolated: bool

    @property
    def statement(self) -> str:
        """What every output with this covariance must say."""
        doubts = ["stale"] * self.stale + ["extrapolated"] * self.extrapolated
        return (
            f"covariance: model, class {self.label} ({self.kind}), age {self.age_d:.1f} d"
            f"{', ' + ' and '.join(doubts) if doubts else ''}; not a measured covariance"
        )


def semi_major_axis_km(elements: Elements) -> float:
    """Return the semi-major axis of Kozai's mean motion, km (within 10 km of Brouwer's: enough for a class)."""
    return float((WGS72_MU_KM3_S2 / (elements.mean_motion_rev_day * 2 * math.pi / DAY_S) ** 2) ** (1 / 3))


def kind_of(name: str) -> str:
    """Return what a catalogue name tells of its object: `DEB`, `R/B` and their like stand in it by convention."""
    words = name.upper().replace("(", " ").replace(")", " ").split()
    if not words or words[0].isdigit() or words[:2] == ["TBA", "-"] or words[0] in ("OBJECT", "UNKNOWN"):
        return "unknown"
    if any(word == "DEB" or word.startswith("DEBRIS") for word in words):
        return "debris"
    if any(word == "R/B" or word.startswith("R/B") or word in ("AKM", "PKM", "CENTAUR", "BREEZE-M") for word in words):
        return "rocket body"
    return "payload"


def parse_table(text: str, where: str = "") -> tuple[SigmaClass, ...]:
    """Read a table of classes (JSON, as `tle_uncertainty.json`).

    Raises:
        ConjunctionError: it is malformed (the row is named). Never anything else.
    """
    try:
        if len(text) > MAX_TABLE_BYTES:
            raise ValueError(f"longer than {MAX_TABLE_BYTES} characters")
        document = json.loads(text)
        rows = document["classes"]
        if document.get("version") != 1 or not isinstance(rows, list) or not rows:
            raise ValueError("neither version 1 nor a list of classes")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConjunctionError(f"not a table of uncertainty ({error})", where=where) from error
    return tuple(_class(row, f"{where}, class {n}" if where else f"class {n}") for n, row in enumerate(rows, 1))


def _class(row: Any, where: str) -> SigmaClass:
    try:
        bounds = {name: _pair(row.get(name), default) for name, default in _OPEN.items()}
        curves = tuple(SigmaCurve(*_numbers(row["sigma_km"][axis], 3)) for axis in "rtn")
        made = SigmaClass(
            label=str(row["label"]),
            source=str(row["source"]),
            kinds=tuple(str(kind) for kind in row.get("kinds", ())),
            name_prefix=str(row.get("name_prefix", "")).upper(),
            height_of=str(row.get("height_of", "perigee")),
            curves=(curves[0], curves[1], curves[2]),
            max_age_d=_numbers([row["max_age_d"]], 1)[0],
            **bounds,
        )
        if made.height_of not in ("perigee", "axis") or not set(made.kinds) <= set(KINDS):
            raise ValueError("height_of is 'perigee' or 'axis', kinds are of " + ", ".join(KINDS))
        if any(c.a_km < 0 or c.b_km < 0 or not 0 <= c.exponent <= 4 or c.a_km + c.b_km <= 0 for c in curves):
            raise ValueError("a sigma is not positive, or grows faster than age to the fourth power")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConjunctionError(f"a class of the table is malformed ({error})", where=where) from error
    return made


_OPEN: dict[str, tuple[float, float]] = {
    "height_km": (-1e9, 1e9),
    "eccentricity": (0.0, 1.0),
    "inclination_deg": (0.0, 181.0),
}


def _pair(value: Any, default: tuple[float, float]) -> tuple[float, float]:
    if value is None:
        return default
    low, high = _numbers(value, 2)
    return low, high


def _numbers(values: Any, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{values!r:.60} is not a list of {count} numbers")
    made = [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(made) != count or not all(math.isfinite(value) for value in made):
        raise ValueError(f"{values!r:.60} is not a list of {count} numbers")
    return made


@cache
def shipped_table() -> tuple[SigmaClass, ...]:
    """Return the table that comes with the package."""
    return parse_table(shipped_text(), _TABLE_FILE)


def shipped_text() -> str:
    """Return the table that comes with the package as it stands in its file (JSON)."""
    return files("orbitloop.orbit.conjunction").joinpath(_TABLE_FILE).read_text("utf-8")


def classify(elements: Elements, kind: str | None = None, table: tuple[SigmaClass, ...] | None = None) -> SigmaClass:
    """Return the first class of the table that an object is of; `kind` is told from its name where it is not given.

    Raises:
        ConjunctionError: the table has none, or there is no such kind.
    """
    kind = kind or kind_of(elements.name)
    if kind not in KINDS:
        raise ConjunctionError(f"an object is not of the kind {kind!r}", remedy=f"one of {', '.join(KINDS)}")
    for row in shipped_table() if table is None else table:
        if row.holds(elements, kind):
            return row
    raise ConjunctionError("the table of uncertainty has no class for the object", where=elements.name)


def model_covariance(
    elements: Elements,
    when_s: float,
    r_km: FloatArray,
    v_km_s: FloatArray,
    *,
    kind: str | None = None,
    table: tuple[SigmaClass, ...] | None = None,
) -> ModelCovariance:
    """Return the covariance that the model gives an object at `when_s`, whose state (3,), (3,) there is given (TEME).

    Raises:
        ConjunctionError: the table has no class for it, or the state has no orbital plane.
    """
    row = classify(elements, kind, table)
    age_d = (when_s - elements.epoch_s) / DAY_S
    sigma = row.sigma_km(age_d)
    rate = float(np.linalg.norm(np.cross(r_km, v_km_s)) / np.dot(r_km, r_km))
    return ModelCovariance(
        covariance_km=covariance_from_rtn(rtn_covariance(sigma, rate), r_km, v_km_s),
        sigma_rtn_km=(float(sigma[0]), float(sigma[1]), float(sigma[2])),
        label=row.label,
        source=row.source,
        kind=kind or kind_of(elements.name),
        age_d=age_d,
        stale=abs(age_d) > STALE_D,
        extrapolated=abs(age_d) > row.max_age_d,
    )


def rtn_covariance(sigma_km: FloatArray, rate_rad_s: float) -> FloatArray:
    """Return the covariance (6, 6) in RTN of position sigmas (3,), for an object that turns at `rate_rad_s` about the Earth.

    v_R = -n T, v_T = -n R, each with a part of its own; v_N = a part of its own. Positive definite by construction.
    """
    tied = np.zeros((6, 6))
    tied[:3, :3] = np.eye(3)
    tied[3, 1] = tied[4, 0] = -rate_rad_s
    tied[3:, 3:] = rate_rad_s * np.diag([_FREE_R, _FREE_T, _FREE_N])
    free = np.array([sigma_km[0], sigma_km[0], sigma_km[2]])
    return np.asarray(tied @ np.diag(np.concatenate([sigma_km, free]) ** 2) @ tied.T)
