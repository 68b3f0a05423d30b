"""Typed look-up in a section of a navigation message: numbers with their units, times, choices; errors name line and keyword.

CCSDS times are ISO 8601, calendar or day-of-year (301.0-B-4, ASCII time codes A and B). Time systems are turned into UTC by the
leap seconds of IERS Bulletin C up to 2017-01-01 (TAI - UTC = 37 s since; none is announced): TAI, GPS = TAI - 19 s,
TT = TAI + 32.184 s. UT1 and TDB are refused: UT1 needs tables of the Earth's rotation, TDB is off TT by up to 2 ms.
A leap second itself (:60) is the second after it, as in Unix time.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.formats.ndm import COMMENT, ErrorClass, Field

TIME_SYSTEMS: Final = ("UTC", "TAI", "GPS", "TT")

_LEAPS = (
    ("1972-01-01", 10), ("1972-07-01", 11), ("1973-01-01", 12), ("1974-01-01", 13), ("1975-01-01", 14), ("1976-01-01", 15),
    ("1977-01-01", 16), ("1978-01-01", 17), ("1979-01-01", 18), ("1980-01-01", 19), ("1981-07-01", 20), ("1982-07-01", 21),
    ("1983-07-01", 22), ("1985-07-01", 23), ("1988-01-01", 24), ("1990-01-01", 25), ("1991-01-01", 26), ("1992-07-01", 27),
    ("1993-07-01", 28), ("1994-07-01", 29), ("1996-01-01", 30), ("1997-07-01", 31), ("1999-01-01", 32), ("2006-01-01", 33),
    ("2009-01-01", 34), ("2012-07-01", 35), ("2015-07-01", 36), ("2017-01-01", 37),
)  # fmt: skip
_LEAP_OFFSETS = [seconds for _, seconds in _LEAPS]
_LEAPS_TAI_S = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + s for day, s in _LEAPS]
_AHEAD_OF_TAI_S = {"TAI": 0.0, "GPS": -19.0, "TT": 32.184}

_TIME = re.compile(r"(\d{4})-(?:(\d\d)-(\d\d)|(\d{3}))T(\d\d):(\d\d):(\d\d)(\.\d{1,15})?Z?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d{1,3})?", re.ASCII)


def parse_time_s(text: str, system: str = "UTC") -> float:
    """Return UTC Unix seconds of a CCSDS time.

    Raises:
        ValueError: it is no such time, outside 1957 to 2157, or of an unknown time system.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time like 2026-05-30T04:52:48.472320 or 2026-150T04:52:48")
    year, month, day, ordinal, hour, minute, second, fraction = match.groups()
    if not 1957 <= int(year) <= 2156:
        raise ValueError(f"year {year} is outside 1957 to 2156")
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        raise ValueError(f"{text[:40]!r} is no time of day")
    if ordinal is None:
        start = datetime(int(year), int(month), int(day), tzinfo=UTC)
    else:
        start = datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(days=int(ordinal) - 1)
        if start.year != int(year):
            raise ValueError(f"{text[:40]!r} has no such day of the year")
    # Whole seconds and the fraction apart: one rounding, to the nearest of what a double can hold.
    whole = start.timestamp() + int(hour) * 3600 + int(minute) * 60 + int(second)
    return to_utc_s(whole + float(fraction or 0.0), system)


def to_utc_s(when_s: float, system: str) -> float:
    """Turn seconds that were read as if they were UTC into UTC.

    Raises:
        ValueError: the time system is not one of `TIME_SYSTEMS`.
    """
    if system == "UTC":
        return when_s
    if system not in _AHEAD_OF_TAI_S:
        raise ValueError(f"time system {system[:20]!r} is not supported, only {', '.join(TIME_SYSTEMS)}")
    tai_s = when_s - _AHEAD_OF_TAI_S[system]
    at = max(0, bisect.bisect_right(_LEAPS_TAI_S, tai_s) - 1)
    return tai_s - _LEAP_OFFSETS[at]


def format_time(when_s: float) -> str:
    """Return UTC as a CCSDS time to the microsecond: a double's own step is a quarter of that."""
    whole = math.floor(when_s)
    micro = round((when_s - whole) * 1e6)
    when = datetime.fromtimestamp(whole, UTC) + timedelta(microseconds=micro)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f")


def parse_number(text: str) -> float:
    """Return a decimal number of the standards' form; Fortran's D exponents are taken as well.

    Raises:
        ValueError: it is none, or not finite.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    value = float(text.replace("D", "e").replace("d", "e"))
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is out of range")
    return value


class FieldReader:
    """Fields of one section by keyword. The first of a repeated keyword counts; a repetition is refused where `unique`."""

    def __init__(
        self,
        fields: Iterable[Field],
        where: str = "",
        *,
        error: ErrorClass = ElementsError,
        line: int = 0,
        unique: bool = True,
    ) -> None:
        self._where = where
        self._error = error
        self._line = line
        self._fields: dict[str, Field] = {}
        for field in fields:
            if field.keyword in ("", COMMENT):
                continue
            if field.keyword in self._fields and unique:
                raise self.fail("stands there twice", field.keyword, field.line)
            self._fields.setdefault(field.keyword, field)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._fields

    def keywords(self) -> tuple[str, ...]:
        return tuple(self._fields)

    def fail(self, what: str, keyword: str, line: int | None = None, remedy: str = "") -> OrbitloopError:
        """Return the error that names file, line and keyword."""
        field = self._fields.get(keyword)
        at = line if line is not None else field.line if field else self._line
        places = [self._where, f"line {at}" if at else "", keyword]
        return self._error(what, where=", ".join(p for p in places if p), remedy=remedy)

    def text(self, keyword: str, default: str | None = None) -> str:
        """Return a value as written; an empty one counts as absent.

        Raises:
            error: it is absent and there is no default.
        """
        field = self._fields.get(keyword)
        if field is None or not field.value:
            if default is None:
                raise self.fail("is missing", keyword)
            return default
        return field.value

    def choice(self, keyword: str, accepted: Sequence[str], default: str | None = None) -> str:
        """Return a value that must be one of a few.

        Raises:
            error: it is another, or absent without a default.
        """
        value = self.text(keyword, default)
        if value not in accepted:
            raise self.fail(f"is {value[:40]!r}, supported is {', '.join(accepted)}", keyword)
        return value

    def number(
        self,
        keyword: str,
        low: float = -math.inf,
        high: float = math.inf,
        default: float | None = None,
        units: Mapping[str, float] | None = None,
    ) -> float:
        """Return a number.

        Args:
            keyword: of the field.
            low: smallest accepted value.
            high: largest.
            default: taken when the field is absent.
            units: accepted units and what each is multiplied with; without a unit the first one is meant. None: a unit is
                read past.

        Raises:
            error: it is absent, no number, out of range, or in another unit.
        """
        if default is not None and not self.text(keyword, ""):
            return default
        try:
            value = parse_number(self.text(keyword))
        except ValueError as problem:
            raise self.fail(str(problem), keyword) from problem
        unit = self._fields[keyword].unit
        if units is not None and unit:
            if unit not in units:
                raise self.fail(f"is in [{unit[:20]}], expected [{next(iter(units))}]", keyword)
            value *= units[unit]
        if not low <= value <= high:
            raise self.fail(f"is {value:g}, outside {low:g} to {high:g}", keyword)
        return value

    def time_s(self, keyword: str, system: str = "UTC", default: float | None = None) -> float:
        """Return a time in UTC seconds.

        Raises:
            error: it is absent, no time, or of an unknown time system.
        """
        if default is not None and not self.text(keyword, ""):
            return default
        return self._read(keyword, lambda text: parse_time_s(text, system))

    def _read(self, keyword: str, read: Callable[[str], float]) -> float:
        try:
            return read(self.text(keyword))
        except (ValueError, OverflowError) as problem:
            raise self.fail(str(problem), keyword) from problem
