"""Orbit Mean-elements Messages, in and out: as JSON, XML, KVN and CSV.

CCSDS 502.0-B-3 section 4. JSON and CSV are no forms of that standard but those of CelesTrak and Space-Track: the same
keywords as keys of an object, or as heads of columns. Catalogue numbers of nine digits fit, so this form is preferred to a
TLE. What is read: the mean elements and the TLE parameters; covariance, spacecraft and user-defined parameters are read
past. A file of many messages gives the good ones and an error for each other; XML that is not well-formed, and JSON that is
none, give nothing.

Elements of SGP4-XP (ephemeris type 4) are refused: SGP4 would place them kilometres off.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.fields import format_time, parse_time_s
from orbitloop.orbit.formats.ndm import COMMENT, MAX_CHARACTERS, Field, NdmMessage, Segment, group_of, looks_like_xml
from orbitloop.orbit.formats.ndm_kvn import parse_kvn_messages, write_kvn
from orbitloop.orbit.formats.ndm_xml import parse_xml_messages, write_xml

FORMS: Final = ("json", "xml", "kvn", "csv")
Form = Literal["json", "xml", "kvn", "csv"]

_FIXED = {
    "REF_FRAME": ("TEME",),
    "TIME_SYSTEM": ("UTC",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
    "CENTER_NAME": ("EARTH",),
}
_METADATA = ("OBJECT_NAME", "OBJECT_ID", "CENTER_NAME", "REF_FRAME", "TIME_SYSTEM", "MEAN_ELEMENT_THEORY")
_UNITS = {
    "MEAN_MOTION": ("rev/day",),
    "INCLINATION": ("deg",),
    "RA_OF_ASC_NODE": ("deg",),
    "ARG_OF_PERICENTER": ("deg",),
    "MEAN_ANOMALY": ("deg",),
    "BSTAR": ("1/ER", "1/[Earth radii]"),
    "MEAN_MOTION_DOT": ("rev/day**2",),
    "MEAN_MOTION_DDOT": ("rev/day**3",),
}
_CSV = (
    "OBJECT_NAME", "OBJECT_ID", "EPOCH", "MEAN_MOTION", "ECCENTRICITY", "INCLINATION", "RA_OF_ASC_NODE", "ARG_OF_PERICENTER",
    "MEAN_ANOMALY", "EPHEMERIS_TYPE", "CLASSIFICATION_TYPE", "NORAD_CAT_ID", "ELEMENT_SET_NO", "REV_AT_EPOCH", "BSTAR",
    "MEAN_MOTION_DOT", "MEAN_MOTION_DDOT",
)  # fmt: skip
"""CelesTrak's columns, in its order."""

Place = Callable[[str], str]


def parse_omm(message: Mapping[str, Any], where: str = "") -> Elements:
    """Read one message given as a JSON object; numbers may be written as strings.

    Raises:
        ElementsError: a field is missing, malformed or out of range (the field is named). Never anything else.
    """
    if not isinstance(message, Mapping):
        raise ElementsError(f"an OMM is one JSON object, this is a {type(message).__name__}", where=where)
    prefix = f"{where}, " if where else ""
    return _elements(message, lambda key: f"{prefix}{key}")


def _elements(message: Mapping[str, Any], place: Place) -> Elements:
    def number(key: str, low: float, high: float, default: float | None = None) -> float:
        raw = message.get(key)
        raw = default if raw is None or raw == "" else raw
        try:
            value = math.nan if raw is None or isinstance(raw, bool) else float(raw)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not low <= value <= high:
            found = "missing" if raw is None else f"{str(raw)[:40]!r}"
            raise ElementsError(f"{key} is {found} where a number from {low:g} to {high:g} belongs", where=place(key))
        return value

    def text(key: str, default: str) -> str:
        raw = message.get(key)
        return (raw.strip() if isinstance(raw, str) else "") or default

    for key, accepted in _FIXED.items():
        if key in message and message[key] not in accepted:
            raise ElementsError(f"{key} is {str(message[key])[:40]!r}, only {accepted[0]} is supported", where=place(key))
    kind = int(number("EPHEMERIS_TYPE", 0, 99, 0))
    if kind == 4:
        raise ElementsError("elements are for SGP4-XP (ephemeris type 4)", where=place("EPHEMERIS_TYPE"))
    norad_id = int(number("NORAD_CAT_ID", 0, 999_999_999, 0))
    designator = text("OBJECT_ID", "")
    return Elements(
        name=text("OBJECT_NAME", str(norad_id)),
        norad_id=norad_id,
        epoch_s=_epoch_s(message.get("EPOCH"), place("EPOCH")),
        mean_motion_rev_day=number("MEAN_MOTION", 1e-3, 20.0),
        eccentricity=number("ECCENTRICITY", 0.0, 0.999_999_9),
        inclination_deg=number("INCLINATION", 0.0, 180.0),
        raan_deg=number("RA_OF_ASC_NODE", -360.0, 360.0),
        arg_perigee_deg=number("ARG_OF_PERICENTER", -360.0, 360.0),
        mean_anomaly_deg=number("MEAN_ANOMALY", -360.0, 360.0),
        bstar_per_er=number("BSTAR", -1e3, 1e3, 0.0),
        designator="" if designator == "UNKNOWN" else designator,
        classification=text("CLASSIFICATION_TYPE", "U"),
        element_set=int(number("ELEMENT_SET_NO", 0, 999_999_999, 0)),
        revolution=int(number("REV_AT_EPOCH", 0, 999_999_999, 0)),
        mean_motion_dot_rev_day2=number("MEAN_MOTION_DOT", -1e3, 1e3, 0.0),
        mean_motion_ddot_rev_day3=number("MEAN_MOTION_DDOT", -1e3, 1e3, 0.0),
        ephemeris_type=kind,
    )


def _epoch_s(raw: object, where: str) -> float:
    try:
        if not isinstance(raw, str):
            raise ValueError("missing" if raw is None else f"a {type(raw).__name__}")
        try:
            return parse_time_s(raw.strip())
        except ValueError:
            when = datetime.fromisoformat(raw.strip())  # other forms of ISO 8601, as JSON from elsewhere has them
            when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
            if not 1957 <= when.year <= 2156:
                raise ValueError(f"year {when.year} is outside 1957 to 2156") from None
            return when.timestamp()
    except (ValueError, OverflowError) as error:
        raise ElementsError(f"EPOCH is not a UTC time like 2026-05-30T04:52:48.472320 ({error})", where=where) from error


def elements_of_message(message: NdmMessage, where: str = "") -> Elements:
    """Return the elements of an OMM in CCSDS form; errors name line and keyword.

    Raises:
        ElementsError: the message is of another kind, or a field of it is wrong.
    """
    prefix = f"{where}, " if where else ""
    if message.kind != "OMM" or len(message.segments) != 1:
        raise ElementsError(f"is a {message.kind} where an OMM belongs", where=f"{prefix}line {message.line}")
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for field in (*message.segments[0].metadata, *message.segments[0].data):
        if field.keyword == COMMENT:
            continue
        at = f"{prefix}line {field.line}, {field.keyword}"
        if field.keyword in values:
            raise ElementsError("stands there twice", where=at)
        accepted = _UNITS.get(field.keyword)
        if field.unit and accepted and field.unit not in accepted:
            raise ElementsError(f"is in [{field.unit[:20]}], expected [{accepted[0]}]", where=at)
        values[field.keyword], lines[field.keyword] = field.value, field.line
    return _elements(values, lambda key: f"{prefix}line {lines.get(key, message.line)}, {key}")


# --- files ---------------------------------------------------------------------------------------------------------------


def parse_omm_file(text: str, where: str = "") -> tuple[list[Elements], list[OrbitloopError]]:
    """Read a file of messages in any of the four forms, told apart by how the text begins.

    Returns:
        The elements in the order of the file, and one error for each message that was skipped.

    Raises:
        ElementsError: the text as a whole is of no such form, or too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise ElementsError(f"text has {len(text)} characters, over {MAX_CHARACTERS}", where=where)
    start = text.lstrip("\ufeff \t\r\n")
    if looks_like_xml(text):
        return _each(partial(elements_of_message, m, where) for m in parse_xml_messages(start, where))
    if start.startswith(("{", "[")):
        return _from_json(start, where)
    if start.startswith(("CCSDS_", COMMENT)):
        messages, bad = parse_kvn_messages(text, where)
        good, worse = _each(partial(elements_of_message, m, where) for m in messages)
        return good, bad + worse
    return _from_csv(text.lstrip("\ufeff"), where)


def _each(reads: Iterable[Callable[[], Elements]]) -> tuple[list[Elements], list[OrbitloopError]]:
    good: list[Elements] = []
    bad: list[OrbitloopError] = []
    for read in reads:
        try:
            good.append(read())
        except OrbitloopError as problem:
            bad.append(problem)
    return good, bad


def _from_json(text: str, where: str) -> tuple[list[Elements], list[OrbitloopError]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        at = ", ".join(part for part in (where, f"line {line}" if line else "") if part)
        raise ElementsError(f"not readable as JSON ({error})", where=at) from error
    rows = found if isinstance(found, list) else [found]
    prefix = f"{where}, " if where else ""
    return _each(partial(parse_omm, row, f"{prefix}object {n}") for n, row in enumerate(rows, 1))


def _from_csv(text: str, where: str) -> tuple[list[Elements], list[OrbitloopError]]:
    prefix = f"{where}, " if where else ""
    reader = csv.reader(io.StringIO(text), strict=True)
    good: list[Elements] = []
    bad: list[OrbitloopError] = []
    heads: list[str] = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            bad.append(ElementsError(f"not readable as CSV ({error})", where=f"{prefix}line {reader.line_num}"))
            continue
        if not row:
            continue
        if not heads:
            heads = [head.strip() for head in row]
            if not {"EPOCH", "MEAN_MOTION"} <= set(heads) or len(set(heads)) != len(heads):
                raise ElementsError(
                    f"neither a TLE nor an OMM in JSON, XML, KVN or CSV: begins with {text.strip()[:40]!r}", where=where
                )
            continue
        line = f"{prefix}line {reader.line_num}"
        if len(row) != len(heads):
            bad.append(ElementsError(f"has {len(row)} columns, the head has {len(heads)}", where=line))
            continue
        try:
            good.append(parse_omm(dict(zip(heads, row, strict=True)), line))
        except OrbitloopError as problem:
            bad.append(problem)
    if not heads:
        raise ElementsError("holds nothing", where=where)
    return good, bad


# --- out -----------------------------------------------------------------------------------------------------------------


def omm_values(elements: Elements) -> dict[str, str | int | float]:
    """Return a set by its keywords, as CelesTrak's JSON has them; `parse_omm` gives the same set back (the epoch to 1 us)."""
    return {
        "OBJECT_NAME": elements.name,
        "OBJECT_ID": elements.designator or "UNKNOWN",
        "EPOCH": format_time(elements.epoch_s),
        "MEAN_MOTION": elements.mean_motion_rev_day,
        "ECCENTRICITY": elements.eccentricity,
        "INCLINATION": elements.inclination_deg,
        "RA_OF_ASC_NODE": elements.raan_deg,
        "ARG_OF_PERICENTER": elements.arg_perigee_deg,
        "MEAN_ANOMALY": elements.mean_anomaly_deg,
        "EPHEMERIS_TYPE": elements.ephemeris_type,
        "CLASSIFICATION_TYPE": elements.classification,
        "NORAD_CAT_ID": elements.norad_id,
        "ELEMENT_SET_NO": elements.element_set,
        "REV_AT_EPOCH": elements.revolution,
        "BSTAR": elements.bstar_per_er,
        "MEAN_MOTION_DOT": elements.mean_motion_dot_rev_day2,
        "MEAN_MOTION_DDOT": elements.mean_motion_ddot_rev_day3,
    }


def message_of_elements(elements: Elements, created_s: float, originator: str = "ORBITLOOP") -> NdmMessage:
    """Return a set as a CCSDS message, version 3.0."""
    values = omm_values(elements) | {
        "CENTER_NAME": "EARTH",
        "REF_FRAME": "TEME",
        "TIME_SYSTEM": "UTC",
        "MEAN_ELEMENT_THEORY": "SGP4",
    }
    data = (
        Field(key, str(value), _UNITS.get(key, ("",))[0], group=group_of("OMM", key))
        for key, value in values.items()
        if key not in _METADATA
    )
    metadata = tuple(Field(key, str(values[key])) for key in _METADATA)
    header = (Field("CREATION_DATE", format_time(created_s)), Field("ORIGINATOR", originator))
    return NdmMessage("OMM", "3.0", header, segments=(Segment(metadata, tuple(data)),))


def write_omm(sets: Iterable[Elements], form: Form, *, created_s: float, originator: str = "ORBITLOOP") -> str:
    """Return sets as one text: a JSON list, XML in `<ndm>`, KVN messages one after the other, or CSV with a head."""
    if form == "json":
        return json.dumps([omm_values(one) for one in sets], indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_CSV)
        for one in sets:
            values = omm_values(one)
            writer.writerow([values[key] for key in _CSV])
        return out.getvalue()
    messages = [message_of_elements(one, created_s, originator) for one in sets]
    return write_xml(messages) if form == "xml" else "\n".join(write_kvn(message) for message in messages)
