"""Conjunction data messages (CCSDS 508.0-B-1): what they say as a record, as an encounter, and made from an encounter.

Text forms (KVN and XML) are read and written by `formats.ndm_kvn` and `formats.ndm_xml`; a message keeps every field as it
was written, so that reading and writing changes no digit. Here mandatory keywords are checked (tables 3-1 to 3-4), units
turned, and covariances set up: they stand in each object's RTN frame, in metres, their lower triangle row by row; rows of
drag, radiation pressure and thrust are kept as written and not used. The hard-body radius has no keyword in the standard; it
is taken from a comment (`COMMENT HBR = 20 [m]`, as NASA CARA writes it) or given by the caller.

States are EME2000, GCRF or ITRF. Earth-fixed ones are turned by sidereal time at closest approach: that is not EME2000, but
an inertial frame that both objects share, and no probability asks for more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn, covariance_to_rtn
from orbitloop.orbit.formats.fields import FieldReader, format_time, parse_number
from orbitloop.orbit.formats.ndm import COMMENT, Field, NdmMessage, Segment, group_of, looks_like_xml
from orbitloop.orbit.formats.ndm_kvn import parse_kvn
from orbitloop.orbit.formats.ndm_xml import parse_xml
from orbitloop.orbit.frames import EARTH_RATE_RAD_S, FloatArray, gmst_rad

FRAMES: Final = ("EME2000", "GCRF", "ITRF")
MAX_HARD_BODY_RADIUS_M = 10_000.0

_AXES = ("R", "T", "N", "RDOT", "TDOT", "NDOT")
COVARIANCE_KEYWORDS: Final = tuple(f"C{a}_{b}" for i, a in enumerate(_AXES) for b in _AXES[: i + 1])
"""The lower triangle of position and velocity, row by row."""
_OPTIONAL_ROWS = ("DRG", "SRP", "THR")
_KM = {"km": 1.0, "m": 1e-3}
_KM_S = {"km/s": 1.0, "m/s": 1e-3}
_M = {"m": 1.0, "km": 1e3}
_FAR_KM = 2e6
_HBR = re.compile(r"(?:HBR|HARD[ _-]BODY[ _-]RADIUS)\s*[=:]?\s*([^\s\[]+)\s*(?:\[?(m|km)\]?)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class MessageObject:
    """One object of a message. `covariance_rtn_m` (6, 6) is in its own RTN frame, m^2, m^2/s, m^2/s^2; `state` is inertial."""

    international_designator: str
    catalog: str
    ephemeris: str
    covariance_method: str
    manoeuvrable: str
    frame: str
    covariance_rtn_m: FloatArray
    state: ObjectState


@dataclass(frozen=True, slots=True, eq=False)
class ConjunctionMessage:
    """A conjunction data message.

    `message` holds all fields as written. `hard_body_radius_m`, `probability` and `probability_method` are None (empty) where
    the message does not say. `notes` tells what is odd but no reason to refuse it.
    """

    message: NdmMessage
    message_id: str
    originator: str
    message_for: str
    created_s: float
    tca_s: float
    miss_m: float
    primary: MessageObject
    secondary: MessageObject
    hard_body_radius_m: float | None
    probability: float | None
    probability_method: str
    notes: tuple[str, ...]

    def encounter(self, hard_body_radius_m: float | None = None) -> Encounter:
        """Return what it says as an encounter.

        Args:
            hard_body_radius_m: instead of the message's own.

        Raises:
            ConjunctionError: neither the caller nor the message gives a hard-body radius.
        """
        radius_m = self.hard_body_radius_m if hard_body_radius_m is None else hard_body_radius_m
        if radius_m is None:
            raise ConjunctionError(
                "the message gives no hard-body radius",
                where=self.message_id,
                remedy="give the sum of both radii (--hbr METRES), or add `COMMENT HBR = METRES [m]`",
            )
        return Encounter(self.tca_s, self.primary.state, self.secondary.state, radius_m)


def read_cdm(text: str, where: str = "") -> ConjunctionMessage:
    """Read one message, KVN or XML.

    Args:
        text: the message.
        where: its file, for errors.

    Raises:
        ConjunctionError: it is no such message, a mandatory keyword is missing or wrong (line and keyword are named); never
            anything else.
    """
    parse = parse_xml if looks_like_xml(text) else parse_kvn
    return from_ndm(parse(text, where, error=ConjunctionError), where)


def from_ndm(message: NdmMessage, where: str = "") -> ConjunctionMessage:
    """Check a message and set up what it says.

    Raises:
        ConjunctionError: as for `read_cdm`.
    """
    if message.kind != "CDM":
        raise ConjunctionError(f"holds a message of kind {message.kind}, not CDM", where=where)
    if message.version not in ("1.0", "2.0"):
        raise ConjunctionError(
            f"version {message.version[:20]!r} of the format is not known", where=where, remedy="1.0 is read"
        )
    header = _reader(message.header, where, message.line)
    relative = _reader(message.relative, where, message.line)
    if len(message.segments) != 2:
        raise ConjunctionError(f"speaks of {len(message.segments)} objects, not of two", where=where)
    tca_s = relative.time_s("TCA")
    first, second = (_object(segment, where, number, tca_s) for number, segment in enumerate(message.segments, 1))
    if first.frame != second.frame:
        raise ConjunctionError(
            f"the objects stand in different frames, {first.frame} and {second.frame}", where=where, remedy="turn one of them"
        )
    miss_m = relative.number("MISS_DISTANCE", 0.0, 1e9, units=_M)
    probability = None
    if relative.text("COLLISION_PROBABILITY", ""):
        probability = relative.number("COLLISION_PROBABILITY", 0.0, 1.0)
    apart_m = 1e3 * float(np.linalg.norm(second.state.r_km - first.state.r_km))
    notes = []
    if abs(apart_m - miss_m) > 1.0 + 0.01 * miss_m:
        notes.append(f"MISS_DISTANCE says {miss_m:g} m, the states are {apart_m:.6g} m apart")
    return ConjunctionMessage(
        message=message,
        message_id=header.text("MESSAGE_ID"),
        originator=header.text("ORIGINATOR"),
        message_for=header.text("MESSAGE_FOR", ""),
        created_s=header.time_s("CREATION_DATE"),
        tca_s=tca_s,
        miss_m=miss_m,
        primary=first,
        secondary=second,
        hard_body_radius_m=_hard_body_radius_m(message, where),
        probability=probability,
        probability_method=relative.text("COLLISION_PROBABILITY_METHOD", ""),
        notes=tuple(notes),
    )


def _reader(fields: tuple[Field, ...], where: str, line: int) -> FieldReader:
    return FieldReader(fields, where, error=ConjunctionError, line=line)


def _object(segment: Segment, where: str, number: int, tca_s: float) -> MessageObject:
    line = next((field.line for field in segment.metadata if field.keyword != COMMENT), 0)
    metadata, data = _reader(segment.metadata, where, line), _reader(segment.data, where, line)
    metadata.choice("OBJECT", (f"OBJECT{number}",))
    frame = metadata.choice("REF_FRAME", FRAMES)
    r_km = np.array([data.number(k, -_FAR_KM, _FAR_KM, units=_KM) for k in ("X", "Y", "Z")])
    v_km_s = np.array([data.number(k, -1e3, 1e3, units=_KM_S) for k in ("X_DOT", "Y_DOT", "Z_DOT")])
    covariance_m = _covariance(data)
    if frame == "ITRF":
        r_km, v_km_s = _inertial(r_km, v_km_s, tca_s)
    label = f"{metadata.text('OBJECT_NAME')} ({metadata.text('OBJECT_DESIGNATOR')})"
    try:
        state = ObjectState(
            metadata.text("OBJECT_NAME"),
            metadata.text("OBJECT_DESIGNATOR"),
            r_km,
            v_km_s,
            covariance_from_rtn(covariance_m * 1e-6, r_km, v_km_s),
        )
    except ConjunctionError as problem:
        place = f"{where}, line {line}" if where else f"line {line}"
        raise ConjunctionError(f"{label}: {problem.what}", where=place, remedy=problem.remedy) from problem
    return MessageObject(
        international_designator=metadata.text("INTERNATIONAL_DESIGNATOR"),
        catalog=metadata.text("CATALOG_NAME"),
        ephemeris=metadata.text("EPHEMERIS_NAME"),
        covariance_method=metadata.choice("COVARIANCE_METHOD", ("CALCULATED", "DEFAULT")),
        manoeuvrable=metadata.choice("MANEUVERABLE", ("YES", "NO", "N/A", "NA")),
        frame=frame,
        covariance_rtn_m=covariance_m,
        state=state,
    )


def _covariance(data: FieldReader) -> FloatArray:
    """Return the covariance (6, 6) of an object, metres; rows beyond are only checked for being whole.

    Variances may be negative here: whether it is a covariance at all is judged, mended and told later.
    """
    matrix = np.zeros((6, 6))
    for i, row in enumerate(_AXES):
        for j, column in enumerate(_AXES[: i + 1]):
            powers = (i >= 3) + (j >= 3)
            unit = ("m**2", "m**2/s", "m**2/s**2")[powers]
            kilo = unit.replace("m**2", "km**2")
            value = data.number(f"C{row}_{column}", -1e24, 1e24, units={unit: 1.0, kilo: 1e6})
            matrix[i, j] = matrix[j, i] = value
    columns = list(_AXES)
    for row in _OPTIONAL_ROWS:
        columns.append(row)
        keywords = [f"C{row}_{column}" for column in columns]
        present = [keyword for keyword in keywords if keyword in data]
        if present and len(present) < len(keywords):
            missing = next(keyword for keyword in keywords if keyword not in data)
            raise data.fail(f"is missing, though {present[0]} is there: a row of the covariance stands whole or not", missing)
        for keyword in present:
            data.number(keyword)
    return matrix


def _inertial(r_km: FloatArray, v_km_s: FloatArray, when_s: float) -> tuple[FloatArray, FloatArray]:
    """Turn an Earth-fixed state into the inertial frame that sidereal time names."""
    angle = float(gmst_rad(when_s))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    carried = v_km_s + np.cross([0.0, 0.0, EARTH_RATE_RAD_S], r_km)
    return np.asarray(turn @ r_km), np.asarray(turn @ carried)


def _hard_body_radius_m(message: NdmMessage, where: str) -> float | None:
    for field in message.fields():
        match = _HBR.fullmatch(field.value.strip()) if field.keyword == COMMENT else None
        if match is None:
            continue
        place = ", ".join(part for part in (where, f"line {field.line}" if field.line else "", "COMMENT HBR") if part)
        try:
            radius_m = parse_number(match[1]) * (1e3 if match[2] in ("km", "KM") else 1.0)
        except ValueError as problem:
            raise ConjunctionError(str(problem), where=place) from problem
        if not 0 < radius_m <= MAX_HARD_BODY_RADIUS_M:
            raise ConjunctionError(f"a hard-body radius of {radius_m:g} m", where=place, remedy="metres are meant")
        return radius_m
    return None


# --- made from an encounter ----------------------------------------------------------------------------------------------


def to_ndm(
    encounter: Encounter,
    *,
    message_id: str,
    originator: str,
    created_s: float,
    frame: str = "EME2000",
    message_for: str = "",
    probability: float | None = None,
    probability_method: str = "",
    metadata: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    comments: tuple[str, ...] = (),
) -> NdmMessage:
    """Return an encounter as a message, its numbers with 17 digits; write it with `ndm.write_kvn` or `ndm.write_xml`.

    Args:
        encounter: its states must stand in `frame`; those of SGP4 (TEME) have to be turned first.
        message_id: unique at the originator.
        originator: who says so.
        created_s: when, UTC seconds.
        frame: EME2000 or GCRF.
        message_for: the operator it is for.
        probability: the collision probability, 0 to 1.
        probability_method: its name in the registry of CCSDS (FOSTER-1992 for `pc2d`).
        metadata: of each object, keywords that are to stand instead of the defaults (unknown designator, no ephemeris,
            covariance CALCULATED, manoeuvrable N/A).
        comments: lines put before the time of closest approach.

    Raises:
        ConjunctionError: an object has no covariance, or `frame` is not one of these.
    """
    if frame not in FRAMES[:2]:
        raise ConjunctionError(f"states are written in {FRAMES[0]} or {FRAMES[1]}, not in {frame!r}")
    header = [Field("CREATION_DATE", format_time(created_s)), Field("ORIGINATOR", originator)]
    header += [Field("MESSAGE_FOR", message_for)] if message_for else []
    header.append(Field("MESSAGE_ID", message_id))
    relative = [Field(COMMENT, text) for text in comments]
    relative += [
        Field("TCA", format_time(encounter.tca_s)),
        Field("MISS_DISTANCE", _digits(1e3 * encounter.miss_km), "m"),
        Field("RELATIVE_SPEED", _digits(1e3 * encounter.speed_km_s), "m/s"),
    ]
    group = "relativeStateVector"
    for axis, value in zip("RTN", 1e3 * encounter.relative_rtn_km, strict=True):
        relative.append(Field(f"RELATIVE_POSITION_{axis}", _digits(value), "m", group=group))
    for axis, value in zip("RTN", 1e3 * encounter.relative_rtn_km_s, strict=True):
        relative.append(Field(f"RELATIVE_VELOCITY_{axis}", _digits(value), "m/s", group=group))
    if probability is not None:
        relative.append(Field("COLLISION_PROBABILITY", _digits(probability)))
        relative += [Field("COLLISION_PROBABILITY_METHOD", probability_method)] if probability_method else []
    radius = Field(COMMENT, f"HBR = {_digits(encounter.hard_body_radius_m)} [m]")
    states = (encounter.primary, encounter.secondary)
    first, second = (_segment(state, n, frame, extra) for n, (state, extra) in enumerate(zip(states, metadata, strict=True), 1))
    # A comment goes with what follows it: the radius stands before the first object.
    first = Segment((radius, *first.metadata), first.data)
    return NdmMessage("CDM", "1.0", tuple(header), tuple(relative), (first, second))


def _segment(state: ObjectState, number: int, frame: str, extra: Mapping[str, str]) -> Segment:
    values = {
        "OBJECT": f"OBJECT{number}",
        "OBJECT_DESIGNATOR": state.designator or "UNKNOWN",
        "CATALOG_NAME": "SATCAT",
        "OBJECT_NAME": state.name or "UNKNOWN",
        "INTERNATIONAL_DESIGNATOR": "UNKNOWN",
        "EPHEMERIS_NAME": "NONE",
        "COVARIANCE_METHOD": "CALCULATED",
        "MANEUVERABLE": "N/A",
        "REF_FRAME": frame,
    }
    values |= dict(extra)
    covariance_m = covariance_to_rtn(state.known_covariance_km, state.r_km, state.v_km_s) * 1e6
    data = [_datum(k, v, "km") for k, v in zip(("X", "Y", "Z"), state.r_km, strict=True)]
    data += [_datum(k, v, "km/s") for k, v in zip(("X_DOT", "Y_DOT", "Z_DOT"), state.v_km_s, strict=True)]
    for i, row in enumerate(_AXES):
        for j, column in enumerate(_AXES[: i + 1]):
            unit = ("m**2", "m**2/s", "m**2/s**2")[(i >= 3) + (j >= 3)]
            data.append(_datum(f"C{row}_{column}", covariance_m[i, j], unit))
    return Segment(tuple(Field(k, v) for k, v in values.items()), tuple(data))


def _datum(keyword: str, value: float, unit: str) -> Field:
    return Field(keyword, _digits(value), unit, group=group_of("CDM", keyword))


def _digits(value: float) -> str:
    return f"{value:.16e}"
