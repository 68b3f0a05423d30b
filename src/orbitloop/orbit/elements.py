"""Orbital elements: one frozen record, read from a TLE, from an OMM, or from a few Keplerian numbers.

An `Elements` is a plain value (comparable, picklable): SGP4's mean elements at an epoch. Propagation is left to
`propagate`; reading files to the rim.

Formats: TLE as in Hoots & Roehrich, Spacetrack Report No. 3, appendix, with Alpha-5 catalogue numbers; OMM as in CCSDS
502.0-B-3 section 4, one JSON object with the keywords as keys (what CelesTrak and Space-Track serve). OMM is preferred:
catalogue numbers above 339999 have no TLE at all. The first and second derivatives of the mean motion are read past, for
SGP4 does not use them. Elements of SGP4-XP (ephemeris type 4) are refused: SGP4 would place them kilometres off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sgp4.alpha5 import from_alpha5
from sgp4.api import WGS72, Satrec

from orbitloop.errors import ElementsError
from orbitloop.orbit.frames import EARTH_RADIUS_KM, gmst_rad

DAY_S = 86_400.0
_UNIX_JD = 2_440_587.5
_SGP4_JD = 2_433_281.5  # 1949-12-31 00:00, SGP4's day zero
_MAX_SGP4_NUMBER = 339_999  # the largest catalogue number that the propagator's own record takes (Alpha-5)
# SGP4 is fitted with WGS-72 constants (Spacetrack Report No. 3); mixing others in would move the satellite.
_MU_KM3_S2 = 398_600.8
_RADIUS_WGS72_KM = 6_378.135
_J2 = 0.001_082_616
_TROPICAL_YEAR_S = 365.242_189_7 * DAY_S
_MIN_PERIGEE_KM = 100.0

_DECIMAL = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+) *", re.ASCII)
_EXPONENTIAL = re.compile(r"([ +-])([ \d]{4}\d)([+ -])(\d)", re.ASCII)
_ORDINAL_DATE = re.compile(r"\d{4}-\d{3}T", re.ASCII)


@dataclass(frozen=True, slots=True)
class Elements:
    """SGP4 mean elements (TEME of date) at `epoch_s`.

    `mean_motion_rev_day` is Kozai's, as in a TLE; `bstar_per_er` is SGP4's drag term, per Earth radius; `norad_id` is 0 for
    a satellite without one.
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


# --- TLE -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a TLE, and where it stands. Columns count from 1, as in every description of the format."""

    text: str
    place: str

    def fail(self, what: str, first: int, last: int, remedy: str = "") -> ElementsError:
        columns = f"column {first}" if first == last else f"columns {first}-{last}"
        return ElementsError(what, where=f"{self.place}, {columns}", remedy=remedy)

    def field(self, first: int, last: int) -> str:
        return self.text[first - 1 : last]

    def number(self, what: str, first: int, last: int, low: float, high: float) -> float:
        raw = self.field(first, last)
        if not _DECIMAL.fullmatch(raw):
            raise self.fail(f"{what} is {raw!r} where a decimal number belongs", first, last)
        value = float(raw)
        if not low <= value <= high:
            raise self.fail(f"{what} is {value:g}, outside {low:g} to {high:g}", first, last)
        return value

    def digits(self, what: str, first: int, last: int) -> int:
        raw = self.field(first, last).replace(" ", "0")
        if not raw.isdigit():
            raise self.fail(f"{what} is {raw!r} where digits belong", first, last)
        return int(raw)

    def exponential(self, what: str, first: int, last: int) -> float:
        """Read `+12345-4` as 0.12345e-4."""
        match = _EXPONENTIAL.fullmatch(self.field(first, last))
        if match is None:
            raise self.fail(f"{what} is {self.field(first, last)!r} where a form like ' 12345-4' belongs", first, last)
        sign, mantissa, exponent_sign, exponent = match.groups()
        size = float("0." + mantissa.replace(" ", "0")) * 10.0 ** int(exponent_sign.strip() + exponent)
        return -size if sign == "-" else size

    def catalogue_number(self) -> int:
        raw = self.field(3, 7).replace(" ", "0")
        if not re.fullmatch(r"[0-9A-HJ-NP-Z]\d{4}", raw, re.ASCII):
            raise self.fail(f"catalogue number {raw!r} is neither five digits nor Alpha-5", 3, 7)
        return int(from_alpha5(raw))

    def check(self, number: str) -> None:
        """Verify what both lines share: length, line number, checksum."""
        if len(self.text) != 69 or not self.text.isascii():
            raise ElementsError(f"a TLE line has 69 ASCII characters, this has {len(self.text)}", where=self.place)
        if self.field(1, 2) != number + " ":
            raise self.fail(f"line starts with {self.field(1, 2)!r} where '{number} ' belongs", 1, 2)
        total = sum(int(c) if c.isdigit() else c == "-" for c in self.text[:68]) % 10
        if self.text[68] != str(total):
            raise self.fail(
                f"checksum is {self.text[68]!r}, the line adds up to {total}",
                69,
                69,
                "fetch the elements again from their source",
            )


def parse_tle(line1: str, line2: str, name: str = "", where: str = "") -> Elements:
    """Read one two-line element set.

    Args:
        line1: first line; white space at its end is ignored.
        line2: second line; white space at its end is ignored.
        name: the satellite's name; its catalogue number when empty.
        where: the file, for messages.

    Raises:
        ElementsError: a line is malformed (line and columns are named). Never anything else.
    """
    prefix = f"{where}, " if where else ""
    return _parse_pair(_Line(line1.rstrip(), f"{prefix}line 1"), _Line(line2.rstrip(), f"{prefix}line 2"), name)


def _parse_pair(one: _Line, two: _Line, name: str) -> Elements:
    one.check("1")
    two.check("2")
    number = one.catalogue_number()
    if two.catalogue_number() != number:
        raise two.fail(f"catalogue number is {two.field(3, 7)!r}, line 1 has {one.field(3, 7)!r}", 3, 7)
    if one.digits("ephemeris type", 63, 63) == 4:
        raise one.fail("elements are for SGP4-XP (ephemeris type 4)", 63, 63, "take the general-perturbations set instead")
    year = one.digits("epoch year", 19, 20)
    year += 1900 if year >= 57 else 2000
    day = one.number("epoch day", 21, 32, 1.0, 366.999_999_99)
    mean_motion = two.number("mean motion", 53, 63, 1e-3, 20.0)
    return Elements(
        name=name.strip() or str(number),
        norad_id=number,
        epoch_s=datetime(year, 1, 1, tzinfo=UTC).timestamp() + (day - 1.0) * DAY_S,
        mean_motion_rev_day=mean_motion,
        eccentricity=two.digits("eccentricity", 27, 33) / 1e7,
        inclination_deg=two.number("inclination", 9, 16, 0.0, 180.0),
        raan_deg=two.number("right ascension of the node", 18, 25, 0.0, 360.0),
        arg_perigee_deg=two.number("argument of perigee", 35, 42, 0.0, 360.0),
        mean_anomaly_deg=two.number("mean anomaly", 44, 51, 0.0, 360.0),
        bstar_per_er=one.exponential("BSTAR", 54, 61),
    )


def parse_tle_file(text: str, where: str = "") -> tuple[list[Elements], list[ElementsError]]:
    """Read a list of element sets, two lines each or three with a name (`0 NAME` or `NAME`).

    Blank lines and lines that start with `#` are skipped. A bad set does not spoil the others.

    Returns:
        The elements in the order of the file, and one error for each set that was skipped.
    """
    prefix = f"{where}, " if where else ""
    lines = [_Line(raw.rstrip(), f"{prefix}line {n}") for n, raw in enumerate(text.split("\n"), 1)]
    lines = [line for line in lines if line.text and not line.text.startswith("#")]
    good: list[Elements] = []
    bad: list[ElementsError] = []
    name, at = "", 0
    while at < len(lines):
        line = lines[at]
        follower = lines[at + 1] if at + 1 < len(lines) else None
        at += 1
        if line.text.startswith("1 ") and follower is not None and follower.text.startswith("2 "):
            try:
                good.append(_parse_pair(line, follower, name))
            except ElementsError as error:
                bad.append(error)
            name, at = "", at + 1
        elif line.text.startswith(("1 ", "2 ")) and len(line.text) > 24:
            bad.append(ElementsError("half of an element set: its other line is missing", where=line.place))
            name = ""
        elif follower is None or not follower.text.startswith(("1 ", "2 ")):
            bad.append(ElementsError(f"not an element set: {line.text[:40]!r}", where=line.place))
        else:
            name = line.text.removeprefix("0 ").strip()
    return good, bad


# --- OMM -----------------------------------------------------------------------------------------------------------------

_OMM_FIXED = {
    "REF_FRAME": ("TEME",),
    "TIME_SYSTEM": ("UTC",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
    "CENTER_NAME": ("EARTH",),
}


def parse_omm(message: Mapping[str, Any], where: str = "") -> Elements:
    """Read one Orbit Mean-elements Message given as a JSON object; numbers may be written as strings.

    Raises:
        ElementsError: a field is missing, malformed or out of range (the field is named). Never anything else.
    """
    if not isinstance(message, Mapping):
        raise ElementsError(f"an OMM is one JSON object, this is a {type(message).__name__}", where=where)
    prefix = f"{where}, " if where else ""

    def number(key: str, low: float, high: float, default: float | None = None) -> float:
        raw = message.get(key, default)
        try:
            value = math.nan if raw is None or isinstance(raw, bool) else float(raw)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not low <= value <= high:
            found = "missing" if raw is None else f"{str(raw)[:40]!r}"
            raise ElementsError(f"{key} is {found} where a number from {low:g} to {high:g} belongs", where=f"{prefix}{key}")
        return value

    for key, accepted in _OMM_FIXED.items():
        if key in message and message[key] not in accepted:
            raise ElementsError(f"{key} is {str(message[key])[:40]!r}, only {accepted[0]} is supported", where=f"{prefix}{key}")
    if number("EPHEMERIS_TYPE", 0, 99, 0) == 4:
        raise ElementsError("elements are for SGP4-XP (ephemeris type 4)", where=f"{prefix}EPHEMERIS_TYPE")
    norad_id = int(number("NORAD_CAT_ID", 0, 999_999_999, 0))
    name = message.get("OBJECT_NAME")
    return Elements(
        name=(name.strip() if isinstance(name, str) else "") or str(norad_id),
        norad_id=norad_id,
        epoch_s=_omm_epoch_s(message.get("EPOCH"), f"{prefix}EPOCH"),
        mean_motion_rev_day=number("MEAN_MOTION", 1e-3, 20.0),
        eccentricity=number("ECCENTRICITY", 0.0, 0.999_999_9),
        inclination_deg=number("INCLINATION", 0.0, 180.0),
        raan_deg=number("RA_OF_ASC_NODE", -360.0, 360.0),
        arg_perigee_deg=number("ARG_OF_PERICENTER", -360.0, 360.0),
        mean_anomaly_deg=number("MEAN_ANOMALY", -360.0, 360.0),
        bstar_per_er=number("BSTAR", -1e3, 1e3, 0.0),
    )


def _omm_epoch_s(raw: object, where: str) -> float:
    try:
        if not isinstance(raw, str):
            raise ValueError("missing" if raw is None else f"a {type(raw).__name__}")
        text = raw.strip().removesuffix("Z")
        if _ORDINAL_DATE.match(text):
            form = "%Y-%jT%H:%M:%S.%f" if "." in text else "%Y-%jT%H:%M:%S"
            when = datetime.strptime(text, form).replace(tzinfo=UTC)
        else:
            when = datetime.fromisoformat(text)
            when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        if not 1957 <= when.year <= 2156:
            raise ValueError(f"year {when.year} is outside 1957 to 2156")
    except (ValueError, OverflowError) as error:
        raise ElementsError(f"EPOCH is not a UTC time like 2026-05-30T04:52:48.472320 ({error})", where=where) from error
    return when.timestamp()


# --- a few Keplerian numbers ---------------------------------------------------------------------------------------------


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
    kozai = 0.75 * _J2 * (3 * math.cos(math.radians(inclination_deg)) ** 2 - 1) / shape**1.5 * (_RADIUS_WGS72_KM / axis_km) ** 2
    return Elements(
        name=name,
        norad_id=norad_id,
        epoch_s=epoch_s,
        mean_motion_rev_day=math.sqrt(_MU_KM3_S2 / axis_km**3) * (1 + kozai) * DAY_S / (2 * math.pi),
        eccentricity=eccentricity,
        inclination_deg=inclination_deg,
        raan_deg=(raan_deg or 0.0) % 360.0,
        arg_perigee_deg=arg_perigee_deg % 360.0,
        mean_anomaly_deg=(mean_anomaly_deg or 0.0) % 360.0,
        bstar_per_er=bstar,
    )


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
    motion_rad_s = math.sqrt(_MU_KM3_S2 / axis_km**3)
    cosine = -2 * (2 * math.pi / _TROPICAL_YEAR_S) * latus_km**2 / (3 * _J2 * _RADIUS_WGS72_KM**2 * motion_rad_s)
    if cosine < -1.0:
        raise ElementsError(f"no orbit at {altitude_km:g} km is sun-synchronous", remedy="choose an altitude below 5900 km")
    return math.degrees(math.acos(cosine))


def _mean_anomaly_deg(true_anomaly_deg: float, eccentricity: float) -> float:
    half = math.radians(true_anomaly_deg) / 2
    eccentric = 2 * math.atan2(math.sqrt(1 - eccentricity) * math.sin(half), math.sqrt(1 + eccentricity) * math.cos(half))
    return math.degrees(eccentric - eccentricity * math.sin(eccentric))
