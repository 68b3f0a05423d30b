"""Orbit Ephemeris Messages, in and out, KVN and XML: states over time, covariances, and the states between them.

CCSDS 502.0-B-3 section 5. Times come in UTC whatever system the message has; the numbers stay in the message's frame.
Between the states it is interpolated as the message says: Lagrange (or linear) of degree n over n + 1 states, position and
velocity each by itself; Hermite of degree n over (n + 1) / 2 states, through positions with velocities as their slopes. A
message that says nothing is taken as Lagrange of degree 9, or of what its states allow: velocities are not used as slopes
then, for SGP4's are off its own path by up to 2 cm/s, which Hermite turns into a metre. Outside its usable time it is not
asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from orbitloop.clock import iso_utc
from orbitloop.errors import ElementsError
from orbitloop.orbit.formats.fields import FieldReader, format_time, parse_number, parse_time_s
from orbitloop.orbit.formats.ndm import COMMENT, Field, NdmMessage, Segment, groups, looks_like_xml
from orbitloop.orbit.formats.ndm_kvn import parse_kvn, write_kvn
from orbitloop.orbit.formats.ndm_xml import parse_xml, write_xml
from orbitloop.orbit.formats.states import (
    LIMIT,
    POSITION_UNITS,
    STATE_KEYWORDS,
    VELOCITY_UNITS,
    StateCovariance,
    checked,
    covariance_fields,
    covariance_of,
    from_triangle,
    triangle_rows,
)
from orbitloop.orbit.frames import FloatArray

MAX_DEGREE: Final = 31
_DEFAULT = ("LAGRANGE", 9)
_METHODS = ("HERMITE", "LAGRANGE", "LINEAR")


@dataclass(frozen=True, slots=True, eq=False)
class Ephemeris:
    """One segment of an OEM: states (T, 3) at `times_s` (T,), strictly rising, in `frame` about `center`.

    `usable_s` is the span that may be asked; `method` and `degree` are how (empty and 0: the message does not say).
    """

    name: str
    designator: str
    times_s: FloatArray
    r_km: FloatArray
    v_km_s: FloatArray
    frame: str = "TEME"
    center: str = "EARTH"
    usable_s: tuple[float, float] = (-np.inf, np.inf)
    method: str = ""
    degree: int = 0
    covariances: tuple[StateCovariance, ...] = ()
    comments: tuple[str, ...] = ()

    def at(self, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return positions (N, 3) km and velocities (N, 3) km/s at `times_s` (N,).

        Raises:
            ElementsError: a time is outside the usable span, or there are too few states for the degree.
        """
        times = np.atleast_1d(np.asarray(times_s, np.float64))
        first, last = max(self.usable_s[0], self.times_s[0]), min(self.usable_s[1], self.times_s[-1])
        outside = ~((times >= first) & (times <= last))
        if outside.any():
            when = times[np.argmax(outside)]
            raise ElementsError(
                f"ephemeris of {self.name!r} reaches from {iso_utc(first)} to {iso_utc(last)}, asked is Unix time {when:.3f}"
            )
        method, degree = self.method, self.degree
        if not method:
            method, degree = _DEFAULT[0], min(_DEFAULT[1], self.times_s.size - 1)
        if method == "LINEAR":
            method, degree = "LAGRANGE", 1
        count = (degree + 1) // 2 if method == "HERMITE" else degree + 1
        if count > self.times_s.size:
            raise ElementsError(
                f"ephemeris of {self.name!r} has {self.times_s.size} states, {method} of degree {degree} needs {count}"
            )
        return _interpolated(self, times, method == "HERMITE", count)


def _interpolated(of: Ephemeris, times: FloatArray, hermite: bool, count: int) -> tuple[FloatArray, FloatArray]:
    """Newton's form over the `count` states about each time; for Hermite each state counts twice."""
    first = np.clip(np.searchsorted(of.times_s, times) - (count + 1) // 2, 0, of.times_s.size - count)
    rows = first[:, None] + np.arange(count)
    nodes = of.times_s[rows]
    scale = (nodes[:, -1] - nodes[:, 0])[:, None] if count > 1 else np.ones((times.size, 1))
    nodes, where = (nodes - times[:, None]) / scale, np.zeros(times.size)
    if not hermite:
        r_km, _ = _newton(nodes, of.r_km[rows], None, where)
        return r_km, _newton(nodes, of.v_km_s[rows], None, where)[0]
    slopes = of.v_km_s[rows] * scale[:, :, None]
    r_km, v_scaled = _newton(np.repeat(nodes, 2, axis=1), np.repeat(of.r_km[rows], 2, axis=1), slopes, where)
    return r_km, v_scaled / scale


def _newton(
    nodes: FloatArray, values: FloatArray, slopes: FloatArray | None, where: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return value and derivative (N, 3) of the polynomials through values (N, M, 3) at nodes (N, M), with slopes at pairs."""
    size = nodes.shape[1]
    coefficients = [values[:, 0]]
    table = values
    for order in range(1, size):
        gaps = nodes[:, order:] - nodes[:, :-order]
        if order == 1 and slopes is not None:
            steps = np.where(gaps == 0, 1.0, gaps)[:, :, None]
            table = (table[:, 1:] - table[:, :-1]) / steps
            table[:, ::2] = slopes
        else:
            table = (table[:, 1:] - table[:, :-1]) / gaps[:, :, None]
        coefficients.append(table[:, 0])
    value, derivative = coefficients[-1], np.zeros_like(coefficients[-1])
    for order in range(size - 2, -1, -1):
        ahead = (where - nodes[:, order])[:, None]
        derivative = value + ahead * derivative
        value = coefficients[order] + ahead * value
    return value, derivative


# --- in ------------------------------------------------------------------------------------------------------------------


def parse_oem(text: str, where: str = "") -> list[Ephemeris]:
    """Read one message, KVN or XML; its segments in order.

    Raises:
        ElementsError: the message is malformed (line and keyword are named). Never anything else.
    """
    message = (parse_xml if looks_like_xml(text) else parse_kvn)(text, where)
    return ephemerides_of_message(message, where)


def ephemerides_of_message(message: NdmMessage, where: str = "") -> list[Ephemeris]:
    """Return the segments of an OEM.

    Raises:
        ElementsError: the message is of another kind, empty, or a field of it is wrong.
    """
    if message.kind != "OEM" or not message.segments:
        at = f"{where}, line {message.line}" if where else f"line {message.line}"
        what = "has no segment" if message.kind == "OEM" else f"is a {message.kind} where an OEM belongs"
        raise ElementsError(what, where=at)
    return [_segment(segment, where, message.line) for segment in message.segments]


def _segment(segment: Segment, where: str, line: int) -> Ephemeris:
    line = segment.metadata[0].line if segment.metadata else line
    meta = FieldReader(segment.metadata, where, line=line)
    system, frame = meta.text("TIME_SYSTEM"), meta.text("REF_FRAME")
    states = [one for one in segment.data if one.group == "stateVector" and one.keyword != COMMENT]
    if states and states[0].keyword:
        times, table = _xml_states(states, system, where)
    else:
        times, table = _kvn_states(states, system, where)
    if not times:
        raise meta.fail("there are no states after it", "META_STOP", line)
    rising = np.diff(times) > 0
    if not rising.all():
        at = int(np.argmin(rising)) + 1
        raise meta.fail(f"state {at + 1} is not later than the one before it", "EPOCH", states[min(at, len(states) - 1)].line)
    method = meta.choice("INTERPOLATION", _METHODS, "") if meta.text("INTERPOLATION", "") else ""
    degree = int(meta.number("INTERPOLATION_DEGREE", 1, MAX_DEGREE)) if method else 0
    if method == "HERMITE" and degree % 2 == 0:
        raise meta.fail(f"is {degree}; Hermite through positions and velocities has an odd degree", "INTERPOLATION_DEGREE")
    return Ephemeris(
        name=meta.text("OBJECT_NAME"),
        designator=meta.text("OBJECT_ID"),
        times_s=np.array(times),
        r_km=table[:, :3],
        v_km_s=table[:, 3:6],
        frame=frame,
        center=meta.text("CENTER_NAME"),
        usable_s=(
            meta.time_s("USEABLE_START_TIME", system, -np.inf),
            meta.time_s("USEABLE_STOP_TIME", system, np.inf),
        ),
        method=method,
        degree=degree,
        covariances=tuple(_covariances(segment.data, system, frame, where)),
        comments=tuple(one.value for one in (*segment.metadata, *segment.data) if one.keyword == COMMENT),
    )


def _kvn_states(lines: Sequence[Field], system: str, where: str) -> tuple[list[float], FloatArray]:
    """Read lines of time, position, velocity and perhaps acceleration, which is read past."""
    times: list[float] = []
    table = np.empty((len(lines), 6))
    for at, one in enumerate(lines):
        place = f"{where}, line {one.line}" if where else f"line {one.line}"
        words = one.value.split()
        if len(words) not in (7, 10):
            raise ElementsError(f"a line of an ephemeris has 7 or 10 values, this has {len(words)}", where=place)
        try:
            times.append(parse_time_s(words[0], system))
            table[at] = [parse_number(word) for word in words[1:7]]
        except (ValueError, OverflowError) as error:
            raise ElementsError(str(error), where=place) from error
        if not (np.abs(table[at]) < LIMIT).all():
            raise ElementsError("a number of the state is out of range", where=place)
    return times, table


def _xml_states(fields: Sequence[Field], system: str, where: str) -> tuple[list[float], FloatArray]:
    units = [POSITION_UNITS] * 3 + [VELOCITY_UNITS] * 3
    times: list[float] = []
    rows: list[list[float]] = []
    for _, run in groups(fields):
        state = FieldReader(run, where, line=run[0].line)
        times.append(state.time_s("EPOCH", system))
        rows.append([state.number(key, -LIMIT, LIMIT, units=unit) for key, unit in zip(STATE_KEYWORDS, units, strict=True)])
    return times, np.array(rows)


def _covariances(data: Sequence[Field], system: str, frame: str, where: str) -> Iterator[StateCovariance]:
    """Yield covariances; in KVN one without a frame keeps that of the one before it (502.0-B-3, 5.2.5)."""
    current = frame
    for name, run in groups(data):
        if name != "covarianceMatrix":
            continue
        lines = [one for one in run if not one.keyword]
        reader = FieldReader([one for one in run if one.keyword], where, line=run[0].line)
        epoch_s = reader.time_s("EPOCH", system)
        if not lines:
            yield covariance_of(reader, epoch_s, frame)
            continue
        current = reader.text("COV_REF_FRAME", current)
        words = [len(one.value.split()) for one in lines]
        if words != [1, 2, 3, 4, 5, 6]:
            raise reader.fail(f"the lower triangle has lines of 1 to 6 values, these have {words[:8]}", "EPOCH")
        try:
            values = [parse_number(word) for one in lines for word in one.value.split()]
        except ValueError as error:
            raise reader.fail(str(error), "EPOCH", lines[0].line) from error
        fine = checked(values, lambda what: reader.fail(what, "EPOCH", lines[0].line))  # noqa: B023
        yield StateCovariance(epoch_s, current, from_triangle(fine))


# --- out -----------------------------------------------------------------------------------------------------------------


def message_of_ephemerides(
    segments: Iterable[Ephemeris], created_s: float, form: Literal["kvn", "xml"], originator: str = "ORBITLOOP"
) -> NdmMessage:
    """Return segments as a message, version 3.0, in UTC, with states as that form has them."""
    header = (Field("CREATION_DATE", format_time(created_s)), Field("ORIGINATOR", originator))
    made = [Segment(tuple(_metadata(one)), tuple(_kvn_data(one) if form == "kvn" else _xml_data(one))) for one in segments]
    return NdmMessage("OEM", "3.0", header, segments=tuple(made))


def write_oem(
    segments: Iterable[Ephemeris], form: Literal["kvn", "xml"], created_s: float, originator: str = "ORBITLOOP"
) -> str:
    """Return segments as text; `parse_oem` gives the same numbers back (times to 1 us)."""
    message = message_of_ephemerides(segments, created_s, form, originator)
    return write_kvn(message) if form == "kvn" else write_xml(message)


def _metadata(one: Ephemeris) -> Iterator[Field]:
    yield from (Field(COMMENT, text) for text in one.comments)
    yield Field("OBJECT_NAME", one.name)
    yield Field("OBJECT_ID", one.designator or "UNKNOWN")
    yield Field("CENTER_NAME", one.center)
    yield Field("REF_FRAME", one.frame)
    yield Field("TIME_SYSTEM", "UTC")
    yield Field("START_TIME", format_time(float(one.times_s[0])))
    if np.isfinite(one.usable_s).all():
        yield Field("USEABLE_START_TIME", format_time(one.usable_s[0]))
        yield Field("USEABLE_STOP_TIME", format_time(one.usable_s[1]))
    yield Field("STOP_TIME", format_time(float(one.times_s[-1])))
    if one.method:
        yield Field("INTERPOLATION", one.method)
        yield Field("INTERPOLATION_DEGREE", str(one.degree))


def _kvn_data(one: Ephemeris) -> Iterator[Field]:
    for when, r_km, v_km_s in zip(one.times_s, one.r_km, one.v_km_s, strict=True):
        numbers = " ".join(repr(float(value)) for value in (*r_km, *v_km_s))
        yield Field("", f"{format_time(float(when))} {numbers}", group="stateVector")
    for covariance in one.covariances:
        group = "covarianceMatrix"
        yield Field("EPOCH", format_time(covariance.epoch_s), group=group)
        yield Field("COV_REF_FRAME", covariance.frame, group=group)
        for line in triangle_rows(covariance.matrix):
            yield Field("", line, group=group)


def _xml_data(one: Ephemeris) -> Iterator[Field]:
    for when, r_km, v_km_s in zip(one.times_s, one.r_km, one.v_km_s, strict=True):
        yield Field("EPOCH", format_time(float(when)), group="stateVector")
        for key, value in zip(STATE_KEYWORDS, (*r_km, *v_km_s), strict=True):
            yield Field(key, repr(float(value)), "km/s" if key.endswith("_DOT") else "km", group="stateVector")
    for covariance in one.covariances:
        yield Field("EPOCH", format_time(covariance.epoch_s), group="covarianceMatrix")
        yield from covariance_fields(covariance, one.frame)
