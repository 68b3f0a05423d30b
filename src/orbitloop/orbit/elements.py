"""Orbital elements: one frozen record of SGP4's mean elements at an epoch, and how to make one from a few Keplerian numbers.

An `Elements` is a plain value (comparable, picklable). Its text forms (TLE, OMM) are left to `formats`, propagation to
`propagate`, what becomes of it from day to day to `catalogue`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sgp4.api import WGS72, Satrec

from orbitloop.errors import ElementsError
from orbitloop.orbit.earth import WGS72_J2, WGS72_MU_KM3_S2, WGS72_RADIUS_KM
from orbitloop.orbit.frames import EARTH_RADIUS_KM, gmst_rad

DAY_S = 86_400.0
_UNIX_JD = 2_440_587.5
_SGP4_JD = 2_433_281.5  # 1949-12-31 00:00, SGP4's day zero
_MAX_SGP4_NUMBER = 339_999  # the largest catalogue number that the propagator's own record takes (Alpha-5)
# SGP4 is fitted with WGS-72 constants (Spacetrack Report No. 3); mixing others in would move the satellite.
_TROPICAL_YEAR_S = 365.242_189_7 * DAY_S
_MIN_PERIGEE_KM = 100.0


@dataclass(frozen=True, slots=True)
class Elements:
    """SGP4 mean elements (TEME of date) at `epoch_s`.

    `mean_motion_rev_day` is Kozai's, as in a TLE; `bstar_per_er` is SGP4's drag term, per Earth radius; `norad_id` is 0 for
    a satellite without one. What stands after it SGP4 does not use, it is kept so that a set leaves as it came:
    `designator` is the international one (`1998-067A`), `element_set` counts the sets of an object, `revolution` its
    revolutions at the epoch, and the mean motion's derivatives are divided by 2 and by 6, as TLE and OMM carry them.
    """

    name: str
    norad_id: int
    epoch_s: float
    mean_motion_rev_day: float
    eccentricity: float
    inclination_deg: float
    raan_deg: float
    arg_perigee_deg: float
    mean_anomaly_deg: float
    bstar_per_er: float = 0.0
    designator: str = ""
    classification: str = "U"
    element_set: int = 0
    revolution: int = 0
    mean_motion_dot_rev_day2: float = 0.0
    mean_motion_ddot_rev_day3: float = 0.0
    ephemeris_type: int = 0

    @property
    def period_s(self) -> float:
        return DAY_S / self.mean_motion_rev_day

    def satrec(self) -> Satrec:
        """Return a new propagator record (it is mutable inside, so it is never shared).

        Raises:
            ElementsError: SGP4 does not accept the elements.
        """
        record = Satrec()
        number = self.norad_id if 0 <= self.norad_id <= _MAX_SGP4_NUMBER else 0
        record.sgp4init(
            WGS72,
            "i",
            number,
            # Through one double of Julian days, as the reference does: at e = 0.97 its 20 microseconds are 4 mm.
            self.epoch_s / DAY_S + _UNIX_JD - _SGP4_JD,
            self.bstar_per_er,
            0.0,
            0.0,
            self.eccentricity,
            math.radians(self.arg_perigee_deg),
            math.radians(self.inclination_deg),
            math.radians(self.mean_anomaly_deg),
            self.mean_motion_rev_day / (1440.0 / (2 * math.pi)),
            math.radians(self.raan_deg),
        )
        if record.error not in (0, 6):  # 6 = below the surface at epoch; `propagate` says so with the time
            raise ElementsError(f"SGP4 refuses the elements of {self.name!r} (error {record.error})")
        return record


def from_orbit(
    name: str,
    epoch_s: float,
    altitude_km: float,
    inclination_deg: float,
    *,
    raan_deg: float | None = None,
    ltan_h: float | None = None,
    mean_anomaly_deg: float | None = None,
    true_anomaly_deg: float | None = None,
    arg_perigee_deg: float = 0.0,
    eccentricity: float = 0.0,
    bstar: float = 0.0,
    norad_id: int = 0,
) -> Elements:
    """Make elements of a planned orbit.

    `altitude_km` is the mean semi-major axis less the Earth's equatorial radius (6378.137 km). The node is given by
    `raan_deg` or by `ltan_h`, the local mean time of the ascending node in hours (neither: RAAN 0); the place on the orbit
    by `mean_anomaly_deg` or `true_anomaly_deg` (neither: perigee).

    Local mean time at the node is UT plus the node's longitude (15 degrees an hour), and that longitude is RAAN - GMST, so
    RAAN = GMST + 15 (LTAN - UT): IAU-82 GMST is by definition the right ascension of the fictitious mean sun plus 12 h + UT
    (Aoki et al. 1982, Astron. Astrophys. 105, 359). SGP4 takes Kozai's mean motion, so the Brouwer one that belongs to the
    semi-major axis is turned into it (Hoots & Roehrich, Spacetrack Report No. 3, section 6).

    Raises:
        ElementsError: a number is out of range, the perigee is under 100 km, or node or anomaly are given twice.
    """
    where = f"orbit of {name!r}"
    if raan_deg is not None and ltan_h is not None:
        raise ElementsError("both raan_deg and ltan_h are given", where=where, remedy="give one of them")
    if mean_anomaly_deg is not None and true_anomaly_deg is not None:
        raise ElementsError("both mean_anomaly_deg and true_anomaly_deg are given", where=where, remedy="give one of them")
    given = (epoch_s, altitude_km, inclination_deg, eccentricity, bstar, arg_perigee_deg)
    optional = (v for v in (raan_deg, ltan_h, mean_anomaly_deg, true_anomaly_deg) if v is not None)
    if not all(math.isfinite(v) for v in (*given, *optional)):
        raise ElementsError("a number is not finite", where=where)
    if not 0.0 <= inclination_deg <= 180.0 or not 0.0 <= eccentricity < 1.0:
        raise ElementsError("inclination is 0 to 180 degrees, eccentricity 0 to below 1", where=where)
    axis_km = EARTH_RADIUS_KM + altitude_km
    if axis_km * (1 - eccentricity) - EARTH_RADIUS_KM < _MIN_PERIGEE_KM or axis_km > 1e6:
        raise ElementsError(f"perigee is under {_MIN_PERIGEE_KM:g} km, or the orbit leaves the Earth", where=where)
    if ltan_h is not None:
        raan_deg = math.degrees(float(gmst_rad(epoch_s))) + 15.0 * (ltan_h - (epoch_s % DAY_S) / 3600.0)
    if true_anomaly_deg is not None:
        mean_anomaly_deg = _mean_anomaly_deg(true_anomaly_deg, eccentricity)
    shape = 1.0 - eccentricity**2
    kozai = (
        0.75 * WGS72_J2 * (3 * math.cos(math.radians(inclination_deg)) ** 2 - 1) / shape**1.5 * (WGS72_RADIUS_KM / axis_km) ** 2
    )
    return Elements(
        name=name,
        norad_id=norad_id,
        epoch_s=epoch_s,
        mean_motion_rev_day=math.sqrt(WGS72_MU_KM3_S2 / axis_km**3) * (1 + kozai) * DAY_S / (2 * math.pi),
        eccentricity=eccentricity,
        inclination_deg=inclination_deg,
        raan_deg=(raan_deg or 0.0) % 360.0,
        arg_perigee_deg=arg_perigee_deg % 360.0,
        mean_anomaly_deg=(mean_anomaly_deg or 0.0) % 360.0,
        bstar_per_er=bstar,
    )


def start_after_s(elements: Iterable[Elements]) -> float:
    """Return the first whole minute that is no earlier than any epoch: where a forecast begins when nobody says."""
    return math.ceil(max(one.epoch_s for one in elements) / 60.0) * 60.0


def sun_synchronous_inclination_deg(altitude_km: float, eccentricity: float = 0.0) -> float:
    """Return the inclination at which J2 turns the node by one revolution a tropical year.

    cos i = -2 W p^2 / (3 J2 R^2 n), with W = 2 pi / year, p the semi-latus rectum, n the mean motion (Vallado, Fundamentals
    of Astrodynamics and Applications, 4th ed., chapter 11, sun-synchronous orbits).

    Raises:
        ElementsError: no inclination does it (circular orbits above about 5970 km).
    """
    axis_km = EARTH_RADIUS_KM + altitude_km
    if not axis_km > 0 or not 0 <= eccentricity < 1:
        raise ElementsError(f"altitude {altitude_km:g} km or eccentricity {eccentricity:g} is out of range")
    latus_km = axis_km * (1 - eccentricity**2)
    motion_rad_s = math.sqrt(WGS72_MU_KM3_S2 / axis_km**3)
    cosine = -2 * (2 * math.pi / _TROPICAL_YEAR_S) * latus_km**2 / (3 * WGS72_J2 * WGS72_RADIUS_KM**2 * motion_rad_s)
    if cosine < -1.0:
        raise ElementsError(f"no orbit at {altitude_km:g} km is sun-synchronous", remedy="choose an altitude below 5900 km")
    return math.degrees(math.acos(cosine))


def _mean_anomaly_deg(true_anomaly_deg: float, eccentricity: float) -> float:
    half = math.radians(true_anomaly_deg) / 2
    eccentric = 2 * math.atan2(math.sqrt(1 - eccentricity) * math.sin(half), math.sqrt(1 + eccentricity) * math.cos(half))
    return math.degrees(eccentric - eccentricity * math.sin(eccentric))
