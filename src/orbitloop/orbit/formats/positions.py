"""Tables of observed positions as CSV: a head that names columns with their units, a row each fix.

Time is `time` (ISO 8601, UTC) or `time_s` (Unix seconds); the place is `x_km,y_km,z_km`, `x_m,y_m,z_m`, or `latitude_deg,
longitude_deg,altitude_m` (or `altitude_km`) on WGS84. Other columns are read past. Lines that begin with `#` are comments.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.formats.fields import parse_number, parse_time_s
from orbitloop.orbit.frames import FloatArray, geodetic_to_ecef

MAX_ROWS: Final = 2_000_000
_CARTESIAN = ((("x_km", "y_km", "z_km"), 1.0), (("x_m", "y_m", "z_m"), 1e-3))
_FARTHEST_KM = 1e7


def parse_positions(text: str, where: str = "") -> tuple[FloatArray, FloatArray, bool, list[OrbitloopError]]:
    """Read a table of positions.

    Returns:
        Times (N,) UTC seconds, rising; positions (N, 3) km; whether they came as latitudes and so are Earth-fixed whatever a
        caller thinks; one error for each row that was skipped. Of several rows with one time the first counts.

    Raises:
        ElementsError: the head lacks a column, there are too many rows, or no row can be read.
    """
    prefix = f"{where}, " if where else ""
    heads: list[str] = []
    rows: list[tuple[float, ...]] = []
    bad: list[OrbitloopError] = []
    place: tuple[tuple[str, str, str], float] | None = None
    for line, cells in _rows(text, prefix):
        if not heads:
            heads = [cell.strip().lower() for cell in cells]
            place = _place(heads, f"{prefix}line {line}")
            continue
        if len(rows) + len(bad) >= MAX_ROWS:
            raise ElementsError(f"more than {MAX_ROWS} rows", where=where)
        try:
            rows.append(_row(heads, cells, place or _place(heads, "")))
        except (ValueError, OverflowError) as error:
            bad.append(ElementsError(str(error), where=f"{prefix}line {line}"))
    if not rows:
        raise bad[0] if bad else ElementsError("holds no positions", where=where)
    table = np.array(rows)
    _, first = np.unique(table[:, 0], return_index=True)
    table = table[first]
    geodetic = place is not None and place[0][0] == "latitude_deg"
    r_km = geodetic_to_ecef(table[:, 1], table[:, 2], table[:, 3] * 1000.0) if geodetic else table[:, 1:]
    return table[:, 0], r_km, geodetic, bad


def _rows(text: str, prefix: str) -> Iterator[tuple[int, list[str]]]:
    lines = text.lstrip("\ufeff").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            yield number, next(csv.reader([line.rstrip("\r")], strict=True))
        except csv.Error as error:
            raise ElementsError(f"not readable as CSV ({error})", where=f"{prefix}line {number}") from error


def _place(heads: Sequence[str], where: str) -> tuple[tuple[str, str, str], float]:
    """Return the columns of the place and what makes kilometres of the last (or of all three)."""
    known = [*_CARTESIAN]
    known += [(("latitude_deg", "longitude_deg", f"altitude_{unit}"), scale) for unit, scale in (("m", 1e-3), ("km", 1.0))]
    timed = "time" in heads or "time_s" in heads
    for columns, scale in known:
        if timed and all(heads.count(column) == 1 for column in columns):
            return columns, scale
    raise ElementsError(
        "the head names no time and place",
        where=where,
        remedy="begin with a line like time,x_km,y_km,z_km or time,latitude_deg,longitude_deg,altitude_m",
    )


def _row(heads: Sequence[str], cells: Sequence[str], place: tuple[tuple[str, str, str], float]) -> tuple[float, ...]:
    if len(cells) != len(heads):
        raise ValueError(f"has {len(cells)} columns, the head has {len(heads)}")
    columns, scale = place
    by_name = dict(zip(heads, (cell.strip() for cell in cells), strict=True))
    when_s = parse_number(by_name["time_s"]) if "time_s" in by_name else parse_time_s(by_name["time"])
    numbers = [parse_number(by_name[column]) for column in columns]
    if columns[0] == "latitude_deg":
        if not abs(numbers[0]) <= 90 or not abs(numbers[1]) <= 360:
            raise ValueError(f"{numbers[0]:g}, {numbers[1]:g} is no latitude and longitude")
        numbers[2] *= scale
    else:
        numbers = [number * scale for number in numbers]
    if not max(map(abs, numbers)) < _FARTHEST_KM or not 0 <= when_s < 1e11:
        raise ValueError("a number is out of range")
    return (when_s, *numbers)
