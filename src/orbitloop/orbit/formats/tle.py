"""Two-line element sets, in and out: pairs, and files of them with or without a line of names.

Format: Hoots & Roehrich, Spacetrack Report No. 3, appendix, with Alpha-5 catalogue numbers (a letter for the first two
digits, I and O left out), which end at 339999: an object above has no TLE at all, and `omm` carries it. A set that was read
is written byte for byte as it was, as CelesTrak and Space-Track write today (zero in exponential form is ` 00000+0`, older
files' ` 00000-0` comes back so). Elements of SGP4-XP (ephemeris type 4) are refused: SGP4 would place them kilometres off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from sgp4.alpha5 import from_alpha5, to_alpha5

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import DAY_S, Elements

MAX_NUMBER: Final = 339_999
"""The largest catalogue number that a TLE can name."""
MAX_CHARACTERS: Final = 256 << 20

_DECIMAL = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+) *", re.ASCII)
_EXPONENTIAL = re.compile(r"([ +-])([ \d]{4}\d)([+ -])(\d)", re.ASCII)
_DESIGNATOR = re.compile(r"(\d\d)(\d{3}[A-Z]{1,3})", re.ASCII)
_LONG_DESIGNATOR = re.compile(r"(?:19|20)(\d\d)-(\d{3}[A-Z]{1,3})", re.ASCII)


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
        return float(f"{sign.strip()}.{mantissa.replace(' ', '0')}e{exponent_sign.strip()}{exponent}")

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
    kind = one.digits("ephemeris type", 63, 63)
    if kind == 4:
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
        designator=_long_designator(one.field(10, 17).rstrip()),
        classification=one.field(8, 8).strip() or "U",
        element_set=one.digits("element set number", 65, 68),
        revolution=two.digits("revolution number", 64, 68),
        mean_motion_dot_rev_day2=one.number("first derivative of the mean motion", 34, 43, -10.0, 10.0),
        mean_motion_ddot_rev_day3=one.exponential("second derivative of the mean motion", 45, 52),
        ephemeris_type=kind,
    )


def _long_designator(text: str) -> str:
    """Return `98067A` as `1998-067A`; what is not of that form stays as it is."""
    match = _DESIGNATOR.fullmatch(text)
    if match is None:
        return text
    return f"{'19' if match[1] >= '57' else '20'}{match[1]}-{match[2]}"


def parse_tle_file(text: str, where: str = "") -> tuple[list[Elements], list[ElementsError]]:
    """Read a list of element sets, two lines each or three with a name (`0 NAME` or `NAME`).

    Blank lines and lines that start with `#` are skipped. A bad set does not spoil the others.

    Returns:
        The elements in the order of the file, and one error for each set that was skipped.

    Raises:
        ElementsError: the text as a whole is too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise ElementsError(f"text has {len(text)} characters, over {MAX_CHARACTERS}", where=where)
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


# --- out -----------------------------------------------------------------------------------------------------------------


def write_tle(elements: Elements) -> tuple[str, str]:
    """Return both lines of a set, 69 characters each.

    Raises:
        ElementsError: the form has no room for a value (a catalogue number above 339999 among them).
    """
    number, fail = elements.norad_id, f"elements of {elements.name!r}"
    if not 0 <= number <= MAX_NUMBER:
        raise ElementsError(
            f"catalogue number {number} has no TLE: the form ends at {MAX_NUMBER}", where=fail, remedy="write an OMM instead"
        )
    tag = to_alpha5(number)
    year, day = _epoch_fields(elements.epoch_s, fail)
    first = (
        f"1 {tag}{elements.classification[:1] or 'U'} {_short_designator(elements.designator):<8.8} {year:02d}{day} "
        f"{_dot(elements.mean_motion_dot_rev_day2, fail)} {_exponential(elements.mean_motion_ddot_rev_day3, fail)} "
        f"{_exponential(elements.bstar_per_er, fail)} {elements.ephemeris_type % 10} {elements.element_set % 10_000:4d}"
    )
    eccentricity = f"{elements.eccentricity:.7f}"
    if not 0 <= elements.eccentricity < 1 or eccentricity.startswith("1"):
        raise ElementsError(f"eccentricity is {elements.eccentricity:g}, outside 0 to below 1", where=fail)
    second = (
        f"2 {tag} {_angle(elements.inclination_deg)} {_angle(elements.raan_deg)} {eccentricity[2:]} "
        f"{_angle(elements.arg_perigee_deg)} {_angle(elements.mean_anomaly_deg)} {elements.mean_motion_rev_day:11.8f}"
        f"{elements.revolution % 100_000:5d}"
    )
    if len(first) != 68 or len(second) != 68 or not (first + second).isascii():
        raise ElementsError("a value does not fit its columns", where=fail)
    return first + str(_checksum(first)), second + str(_checksum(second))


def write_tle_file(elements: Iterable[Elements], names: Literal["plain", "zero", "none"] = "plain") -> str:
    """Return sets one after the other; names stand in a line before (`NAME`), with a zero (`0 NAME`), or nowhere.

    Raises:
        ElementsError: as for `write_tle`.
    """
    lines: list[str] = []
    for one in elements:
        if names != "none":
            label = " ".join("".join(c if c.isprintable() else "?" for c in one.name).split())
            # A name that begins as a line of elements would be read as one.
            lines.append(
                f"0 {label}" if names == "zero" or label.startswith(("1 ", "2 ", "0 ", "#")) else label or str(one.norad_id)
            )
        lines += write_tle(one)
    return "".join(line + "\n" for line in lines)


def _checksum(line: str) -> int:
    return sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10


def _short_designator(text: str) -> str:
    match = _LONG_DESIGNATOR.fullmatch(text)
    return match[1] + match[2] if match else text


def _epoch_fields(epoch_s: float, where: str) -> tuple[int, str]:
    """Return the year's two digits and the day of the year with its eight decimals."""
    try:
        year = datetime.fromtimestamp(epoch_s, UTC).year
    except (ValueError, OverflowError, OSError) as error:
        raise ElementsError(f"epoch is Unix time {epoch_s:g}, no date", where=where) from error
    if not 1957 <= year <= 2056:
        raise ElementsError(f"epoch is in {year}, a TLE's two digits mean 1957 to 2056", where=where)
    start_s, end_s = (datetime(y, 1, 1, tzinfo=UTC).timestamp() for y in (year, year + 1))
    ticks = round((epoch_s - start_s) / DAY_S * 1e8)
    if ticks >= round((end_s - start_s) / DAY_S * 1e8):
        year, ticks = year + 1, 0
    return year % 100, f"{ticks // 10**8 + 1:03d}.{ticks % 10**8:08d}"


def _angle(value_deg: float) -> str:
    turned = value_deg if 0 <= value_deg <= 360 else value_deg % 360.0
    text = f"{turned:8.4f}"
    return text if turned == 360.0 or text != "360.0000" else "  0.0000"


def _dot(value: float, where: str) -> str:
    text = f"{abs(value):.8f}"
    if not text.startswith("0."):
        raise ElementsError(f"first derivative of the mean motion is {value:g}, a TLE ends below 1", where=where)
    return ("-" if math.copysign(1.0, value) < 0 else " ") + text[1:]


def _exponential(value: float, where: str) -> str:
    """Write 0.12345e-4 as ` 12345-4`; below 1e-10 digits are lost, the form has no smaller exponent than -9."""
    sign = "-" if math.copysign(1.0, value) < 0 else " "
    if value == 0 or not math.isfinite(value):
        if value != 0:
            raise ElementsError("a drag term is not a number", where=where)
        return f"{sign}00000+0"
    mantissa, exponent_text = f"{abs(value):.4e}".split("e")
    digits, exponent = int(mantissa.replace(".", "")), int(exponent_text) + 1
    if exponent > 9:
        raise ElementsError(f"a drag term is {value:g}, a TLE ends below 1e9", where=where)
    if exponent < -9:
        digits, exponent = round(abs(value) * 1e14), -9
    if digits == 0:
        return f"{sign}00000+0"
    return f"{sign}{digits:05d}{'-' if exponent < 0 else '+'}{abs(exponent)}"
