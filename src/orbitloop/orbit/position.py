"""Position keeping: where a satellite was observed against where its elements say it is, and elements that say it better.

Observed are positions in TEME (GNSS fixes turned from the Earth-fixed frame, or an ephemeris). They are judged in the RTN
frame of the prediction against bounds: those of the caller, or `sigmas` times the model of `conjunction.uncertainty` for the
object's class and the set's age. Too many beyond is the flag: a manoeuvre, a cross-tag, drag that changed, or a set that is
simply old.

Correction: SGP4's mean elements are fitted to the positions by weighted least squares (Vallado & Crawford 2008, AIAA
2008-6770), in equinoctial elements, which have no holes at e = 0 and i = 0, with scipy's trust-region solver and central
differences. The loss is soft-L1 on a scale that follows the median of the residuals, so that gross outliers pull little;
those beyond six robust sigmas are left out of the last solution. BSTAR is fitted where the arc is long enough to show it.
The covariance is that of the least squares, scaled by the residuals; with real fixes these are SGP4's own error, hundreds of
metres that are not independent from fix to fix, so that it is too small by about the square root of the fixes in half a
revolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.catalogue.regimes import heights_km
from orbitloop.orbit.conjunction.uncertainty import classify
from orbitloop.orbit.earth import WGS72_J2
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray, rtn_components, teme_to_ecef
from orbitloop.orbit.inertial import eme2000_to_teme, gcrf_to_teme
from orbitloop.orbit.propagate import states

FRAMES: Final = ("ECEF", "TEME", "EME2000", "GCRF")
MIN_POSITIONS: Final = 6
PARAMETERS: Final = ("n_rev_day", "f", "g", "p", "q", "longitude_rad", "bstar_per_er")
"""n; f, g = e cos, e sin of (node + perigee); p, q = tan(i/2) cos, sin of the node; M + perigee + node; BSTAR."""

_DRAG_ARC_D = 0.75
_DRAG_PERIGEE_KM = 1200.0
_OUTLIER_SIGMAS = 6.0
_TOLERATED_SHARE = 0.1
_STEPS = np.array([1e-7, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6])  # about 10 m of flight each, over a day
_FAR_KM = 1e6

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Observed positions (N, 3) TEME, km, at `times_s` (N,), UTC, rising."""

    times_s: FloatArray
    r_km: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Observed less predicted, (N, 3) in R, T, N of the prediction, and what was allowed.

    `beyond` (N,) marks positions outside in any axis; `flagged` says that they are more than a tenth. `bound` says in words
    where the bounds come from. `age_d` is the age of the elements at the last position.
    """

    times_s: FloatArray
    rtn_km: FloatArray
    bound_km: FloatArray
    beyond: BoolArray
    bound: str
    age_d: float

    @property
    def flagged(self) -> bool:
        return bool(self.beyond.mean() > _TOLERATED_SHARE)

    def rms_km(self) -> FloatArray:
        """Return the root mean squares in R, T, N, (3,)."""
        return np.asarray(np.sqrt(np.mean(self.rtn_km**2, axis=0)))


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Fitted elements at the last position's time.

    `rms_km` is that of the positions that were used (`used`, (N,)); `covariance` (7, 7) is of `PARAMETERS`, zero for what was
    not fitted; `sigma_rtn_km` is the formal sigma of the position at the epoch; `rtn_km` (N, 3) is what is left.
    """

    elements: Elements
    rms_km: float
    rms_before_km: float
    used: BoolArray
    covariance: FloatArray
    sigma_rtn_km: tuple[float, float, float]
    drag_fitted: bool
    rtn_km: FloatArray


def to_teme(r_km: npt.ArrayLike, times_s: npt.ArrayLike, frame: str, dut1_s: float = 0.0) -> FloatArray:
    """Turn positions (N, 3) of another frame into TEME.

    Args:
        r_km: positions.
        times_s: their times (N,), UTC.
        frame: one of `FRAMES`; names of ITRF, ICRF and J2000 are taken as what they are to a metre.
        dut1_s: UT1 - UTC, for the Earth-fixed frame; a tenth of a second is 50 m at the equator.

    Raises:
        ElementsError: the frame is another.
    """
    position, times = np.asarray(r_km, np.float64), np.asarray(times_s, np.float64)
    name = frame.upper()
    if name == "TEME":
        return position.copy()
    if name in ("ECEF", "WGS84", "WGS-84") or name.startswith("ITRF"):
        mirror = np.array([1.0, -1.0, 1.0])  # turning a mirrored vector forward is turning it back
        return np.asarray(teme_to_ecef(position * mirror, times, dut1_s) * mirror)
    if name in ("EME2000", "J2000"):
        return np.asarray(np.einsum("tij,tj->ti", eme2000_to_teme(times), position))
    if name in ("GCRF", "ICRF"):
        return np.asarray(np.einsum("tij,tj->ti", gcrf_to_teme(times), position))
    raise ElementsError(f"positions in frame {frame[:20]!r} are not supported", remedy=f"give them in {', '.join(FRAMES)}")


def from_teme(times_s: npt.ArrayLike, frame: str) -> FloatArray:
    """Return the matrices (T, 3, 3) that turn TEME vectors into an inertial frame: positions and velocities alike.

    Raises:
        ElementsError: the frame is not TEME, EME2000 or GCRF.
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    turns = {"EME2000": eme2000_to_teme, "GCRF": gcrf_to_teme}
    if frame.upper() == "TEME":
        return np.broadcast_to(np.eye(3), (times.size, 3, 3)).copy()
    if frame.upper() not in turns:
        raise ElementsError(f"states in frame {frame[:20]!r} are not supported", remedy=f"take TEME, {' or '.join(turns)}")
    return np.asarray(np.swapaxes(turns[frame.upper()](times), 1, 2))


def judge(
    elements: Elements, observed: Positions, *, sigmas: float = 3.0, bounds_rtn_km: tuple[float, float, float] | None = None
) -> Judgement:
    """Hold positions against elements.

    Args:
        elements: of the satellite.
        observed: its positions.
        sigmas: how many of the model's sigmas are allowed.
        bounds_rtn_km: what is allowed instead of the model, in R, T, N.

    Raises:
        ElementsError: there are no positions, or the elements cannot be propagated to them.
    """
    if observed.times_s.size == 0:
        raise ElementsError("there are no positions")
    r_km, v_km_s = states(elements, observed.times_s)
    rtn_km = rtn_components(observed.r_km - r_km, r_km, v_km_s)
    if bounds_rtn_km is not None:
        bound_km = np.broadcast_to(np.array(bounds_rtn_km, np.float64), rtn_km.shape)
        words = "given"
    else:
        try:
            model = classify(elements)
        except ConjunctionError as error:
            raise ElementsError(error.what, where=error.where, remedy="give bounds of your own") from error
        age_d = (observed.times_s - elements.epoch_s) / DAY_S
        bound_km = sigmas * np.stack([curve.at(age_d) for curve in model.curves], axis=1)
        words = f"{sigmas:g} sigma of {model.label} at the set's age ({model.source})"
    beyond: BoolArray = np.any(np.abs(rtn_km) > bound_km, axis=1)
    age_d_last = float(observed.times_s[-1] - elements.epoch_s) / DAY_S
    return Judgement(observed.times_s, rtn_km, np.asarray(bound_km), beyond, words, age_d_last)


def correct(elements: Elements, observed: Positions, *, fit_drag: bool | None = None) -> Correction:
    """Fit new elements to positions, from old ones that are of the same orbit.

    Args:
        elements: where the search begins; name, numbers and designator are kept.
        observed: at least six positions.
        fit_drag: whether BSTAR is fitted; None: when drag can show, on an arc of three quarters of a day in low orbit.

    Raises:
        ElementsError: scipy is not installed; too few positions; no elements near the old ones fit.
    """
    if observed.times_s.size < MIN_POSITIONS:
        raise ElementsError(f"{observed.times_s.size} positions are too few for a correction, {MIN_POSITIONS} are needed")
    arc_d = float(observed.times_s[-1] - observed.times_s[0]) / DAY_S
    low = _perigee_km(elements) < _DRAG_PERIGEE_KM
    drag = (low and arc_d >= _DRAG_ARC_D) if fit_drag is None else fit_drag
    before = observed.r_km - states(elements, observed.times_s)[0]
    start = _aligned(_moved(elements, float(observed.times_s[-1])), observed)
    fit = _Fit(start, observed, 7 if drag else 6)
    x, scale_km = np.zeros(fit.size), np.inf
    for _ in range(4):
        residual_km = fit.residuals(x).reshape(-1, 3)
        scale_km = min(scale_km, max(_robust_km(residual_km), 1e-6))
        x = fit.solve(x, 3.0 * scale_km)
    residual_km = fit.residuals(x).reshape(-1, 3)
    used = np.linalg.norm(residual_km, axis=1) <= _OUTLIER_SIGMAS * max(_robust_km(residual_km), 1e-6)
    fit = _Fit(start, Positions(observed.times_s[used], observed.r_km[used]), fit.size)
    x = fit.solve(x, None)
    return _correction(elements, fit, x, observed, used, before, drag)


def _correction(
    old: Elements, fit: _Fit, x: FloatArray, observed: Positions, used: BoolArray, before: FloatArray, drag: bool
) -> Correction:
    found = fit.elements(x)
    try:
        r_km, v_km_s = states(found, observed.times_s)
    except ElementsError as error:
        raise ElementsError(
            f"no elements near those of {old.name!r} fit the positions", remedy="check object and frame"
        ) from error
    rtn_km = rtn_components(observed.r_km - r_km, r_km, v_km_s)
    jacobian = fit.jacobian(x)
    freedom = max(3 * int(used.sum()) - fit.size, 1)
    rms2 = float(np.sum(fit.residuals(x) ** 2)) / freedom
    normal = np.linalg.pinv(jacobian.T @ jacobian) * rms2
    steps = _STEPS[: fit.size]
    covariance = np.zeros((7, 7))
    covariance[: fit.size, : fit.size] = normal * np.outer(steps, steps)
    last = _Fit(fit.start, Positions(observed.times_s[-1:], observed.r_km[-1:]), fit.size).jacobian(x)
    turned = np.stack([rtn_components(column[None, :], r_km[-1:], v_km_s[-1:])[0] for column in last.T], axis=1)
    sigma = np.sqrt(np.maximum(np.diag(turned @ normal @ turned.T), 0.0))
    return Correction(
        elements=found,
        rms_km=math.sqrt(float(np.mean(np.sum(rtn_km[used] ** 2, axis=1)))),
        rms_before_km=math.sqrt(float(np.mean(np.sum(before**2, axis=1)))),
        used=used,
        covariance=covariance,
        sigma_rtn_km=(float(sigma[0]), float(sigma[1]), float(sigma[2])),
        drag_fitted=drag,
        rtn_km=rtn_km,
    )


class _Fit:
    """Residuals of positions as a function of steps from where the search begins, in units of `_STEPS`."""

    def __init__(self, start: Elements, observed: Positions, size: int) -> None:
        self.start = start
        self.size = size
        self._base = equinoctial(start)
        self._observed = observed

    def elements(self, x: FloatArray) -> Elements:
        values = self._base.copy()
        values[: self.size] += x * _STEPS[: self.size]
        return from_equinoctial(self.start, values)

    def residuals(self, x: FloatArray) -> FloatArray:
        """Return (3 N,) km; far away where the elements are none."""
        try:
            r_km, _ = states(self.elements(x), self._observed.times_s)
        except (ElementsError, ValueError, OverflowError):
            return np.full(self._observed.r_km.size, _FAR_KM)
        return np.asarray((r_km - self._observed.r_km).ravel())

    def jacobian(self, x: FloatArray) -> FloatArray:
        columns = []
        for at in range(self.size):
            step = np.zeros(self.size)
            step[at] = 1.0
            columns.append((self.residuals(x + step) - self.residuals(x - step)) / 2)
        return np.stack(columns, axis=1)

    def solve(self, x: FloatArray, loss_km: float | None) -> FloatArray:
        try:
            from scipy.optimize import least_squares
        except ImportError as error:
            raise ElementsError("fitting elements needs scipy", remedy="pip install 'orbitloop[space]'") from error
        jacobian: Callable[[FloatArray], FloatArray] = self.jacobian
        options: dict[str, Any] = {"loss": "linear"} if loss_km is None else {"loss": "soft_l1", "f_scale": loss_km}
        found = least_squares(self.residuals, x, jac=jacobian, x_scale="jac", xtol=1e-12, ftol=1e-10, max_nfev=50, **options)
        return np.asarray(found.x)


def equinoctial(elements: Elements) -> FloatArray:
    """Return the seven `PARAMETERS` of a set.

    Raises:
        ElementsError: the orbit is retrograde in the equator, where these elements have their hole.
    """
    if elements.inclination_deg > 175.0:
        raise ElementsError(
            f"elements of {elements.name!r} have an inclination of {elements.inclination_deg:g}, 175 is the limit"
        )
    node, perigee = math.radians(elements.raan_deg), math.radians(elements.arg_perigee_deg)
    tilt = math.tan(math.radians(elements.inclination_deg) / 2)
    return np.array(
        [
            elements.mean_motion_rev_day,
            elements.eccentricity * math.cos(node + perigee),
            elements.eccentricity * math.sin(node + perigee),
            tilt * math.cos(node),
            tilt * math.sin(node),
            math.radians(elements.mean_anomaly_deg) + node + perigee,
            elements.bstar_per_er,
        ]
    )


def from_equinoctial(like: Elements, values: FloatArray) -> Elements:
    """Return a set with the names and epoch of another and these `PARAMETERS`."""
    motion, f, g, p, q, longitude, bstar = (float(v) for v in values)
    node, apse = math.atan2(q, p), math.atan2(g, f)
    return replace(
        like,
        mean_motion_rev_day=motion,
        eccentricity=math.hypot(f, g),
        inclination_deg=math.degrees(2 * math.atan(math.hypot(p, q))),
        raan_deg=math.degrees(node) % 360.0,
        arg_perigee_deg=math.degrees(apse - node) % 360.0,
        mean_anomaly_deg=math.degrees(longitude - apse) % 360.0,
        bstar_per_er=bstar,
    )


def _moved(elements: Elements, epoch_s: float) -> Elements:
    """Return about the same orbit with another epoch: SGP4's own mean elements there, which the fit then makes right."""
    record = elements.satrec()
    code, _, _ = record.sgp4(record.jdsatepoch, record.jdsatepochF + (epoch_s - elements.epoch_s) / DAY_S)
    if code:
        raise ElementsError(f"elements of {elements.name!r} cannot be moved to the positions' time (SGP4 error {code})")
    shape = (1.0 - record.em**2) ** 1.5
    kozai = 0.75 * WGS72_J2 * (3 * math.cos(record.im) ** 2 - 1) / shape / record.am**2
    return replace(
        elements,
        epoch_s=epoch_s,
        mean_motion_rev_day=record.nm * (1 + kozai) * 1440.0 / (2 * math.pi),
        eccentricity=min(max(record.em, 1e-7), 0.99),
        inclination_deg=math.degrees(record.im),
        raan_deg=math.degrees(record.Om) % 360.0,
        arg_perigee_deg=math.degrees(record.om) % 360.0,
        mean_anomaly_deg=math.degrees(record.mm) % 360.0,
        element_set=elements.element_set + 1,
        revolution=elements.revolution + round((epoch_s - elements.epoch_s) / elements.period_s),
    )


def _aligned(elements: Elements, observed: Positions) -> Elements:
    """Return the orbit turned along itself to where the positions are: what is largest goes before the fit begins."""
    r_km, v_km_s = states(elements, observed.times_s)
    parts = rtn_components(observed.r_km, r_km, v_km_s)
    ahead_deg = math.degrees(float(np.median(np.arctan2(parts[:, 1], parts[:, 0]))))
    return replace(elements, mean_anomaly_deg=(elements.mean_anomaly_deg + ahead_deg) % 360.0)


def _perigee_km(elements: Elements) -> float:
    return float(heights_km([elements])[0][0])


def _robust_km(residual_km: FloatArray) -> float:
    """Return sigma of one axis by the median distance: 1.538 is the median of a normal one in three dimensions."""
    return float(np.median(np.linalg.norm(residual_km, axis=1))) / 1.538
