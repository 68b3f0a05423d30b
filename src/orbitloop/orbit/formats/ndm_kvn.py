"""Navigation data messages in keyword = value form: one reader, one writer.

CCSDS 502.0-B-3 section 7 and 508.0-B-1 section 6. In a flat message (OPM, OMM, CDM) nothing marks where a section ends: the
keyword tells, by the tables of `ndm`. A comment belongs to what follows it. Keywords that no table knows stay in the section
they stand in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.formats.ndm import (
    COMMENT,
    HEADER_KEYWORDS,
    KINDS,
    MAX_LINE_CHARACTERS,
    RELATIVE_STATE,
    ErrorClass,
    Field,
    NdmMessage,
    Segment,
    check_size,
    group_of,
    groups,
    one_line,
    only_message,
)

_VERSION = re.compile(r"CCSDS_([A-Z]{3})_VERS", re.ASCII)
_KEYWORD = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
_MARKERS = frozenset(("META_START", "META_STOP", "COVARIANCE_START", "COVARIANCE_STOP"))


def parse_kvn(text: str, where: str = "", *, error: ErrorClass = ElementsError) -> NdmMessage:
    """Read one message in keyword = value form.

    Args:
        text: the message.
        where: the file, for messages.
        error: class of `errors` that is raised.

    Raises:
        error: the text is no such message, too large, or holds several; never anything else.
    """
    good, bad = parse_kvn_messages(text, where, error=error)
    if bad:
        raise bad[0]
    return only_message(good, where, error)


def parse_kvn_messages(
    text: str, where: str = "", *, error: ErrorClass = ElementsError
) -> tuple[list[NdmMessage], list[OrbitloopError]]:
    """Read messages that stand one after the other; each begins with its CCSDS_..._VERS. A bad one does not spoil the others.

    Returns:
        The messages in order, and one error for each that was skipped.

    Raises:
        error: the text as a whole is too large.
    """
    check_size(text, where, error)
    chunks: list[list[tuple[int, str]]] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line:
            continue
        if line.startswith("CCSDS_") or not chunks:
            chunks.append([])
        chunks[-1].append((number, line))
    good: list[NdmMessage] = []
    bad: list[OrbitloopError] = []
    for chunk in chunks:
        try:
            good.append(_KvnReader(where, error).read(chunk))
        except OrbitloopError as problem:
            bad.append(problem)
    if not chunks:
        bad.append(error("there is no message in it", where=where))
    return good, bad


class _KvnReader:
    """Puts the lines of one message in their sections. Sections of a segment only go forward: metadata, then data."""

    def __init__(self, where: str, error: ErrorClass) -> None:
        self._prefix = f"{where}, " if where else ""
        self._error = error
        self._kind = ""
        self._header: list[Field] = []
        self._relative: list[Field] = []
        self._segments: list[tuple[list[Field], list[Field]]] = []
        self._comments: list[Field] = []
        self._section: Literal["header", "relative", "metadata", "data"] = "header"
        self._marker = ""

    def read(self, lines: list[tuple[int, str]]) -> NdmMessage:
        number, first = lines[0]
        self._check(number, first)
        pair = _pair(first)
        kind = _VERSION.fullmatch(pair[0]) if pair else None
        if pair is None or kind is None:
            raise self._fail(number, f"a message begins with CCSDS_..._VERS = ..., not with {first[:40]!r}")
        self._kind = kind[1]
        if self._kind not in KINDS:
            raise self._fail(number, f"messages of kind {self._kind} are not read; known are {', '.join(KINDS)}")
        for at, line in lines[1:]:
            self._check(at, line)
            self._line(at, line)
        if self._marker:
            raise self._fail(lines[-1][0], f"{self._marker} is never closed")
        self._target().extend(self._comments)
        segments = tuple(Segment(tuple(metadata), tuple(data)) for metadata, data in self._segments)
        return NdmMessage(self._kind, pair[1], tuple(self._header), tuple(self._relative), segments, number)

    def _check(self, number: int, line: str) -> None:
        if len(line) > MAX_LINE_CHARACTERS:
            raise self._fail(number, f"line has {len(line)} characters, over {MAX_LINE_CHARACTERS}")

    def _fail(self, number: int, what: str, keyword: str = "") -> OrbitloopError:
        return self._error(what, where=f"{self._prefix}line {number}" + (f", {keyword}" if keyword else ""))

    def _line(self, number: int, line: str) -> None:
        if line == COMMENT or line.startswith((COMMENT + " ", COMMENT + "\t")):
            self._comments.append(Field(COMMENT, line[len(COMMENT) :].strip(), line=number))
        elif line in _MARKERS:
            self._mark(number, line)
        elif (pair := _pair(line)) is not None:
            self._place(Field(*pair, number))
        elif self._kind == "OEM" and self._section == "data" and self._marker in ("", "COVARIANCE_START"):
            group = "covarianceMatrix" if self._marker else "stateVector"
            self._put(Field("", line, line=number, group=group))
        else:
            raise self._fail(number, f"neither KEYWORD = value nor a comment: {line[:40]!r}")

    def _mark(self, number: int, line: str) -> None:
        name, edge = line.split("_")
        opener = f"{name}_START" if edge == "STOP" else ""
        known = self._kind == "OEM" and self._marker == opener and (name == "META" or self._section == "data")
        if not known:
            raise self._fail(number, f"{line} does not belong here")
        self._marker = line if edge == "START" else ""
        if line == "META_START":
            self._segments.append(([], []))
            self._section = "metadata"
        elif line == "META_STOP":
            self._target().extend(self._comments)
            self._comments = []
            self._section = "data"

    def _place(self, field: Field) -> None:
        group = group_of(self._kind, field.keyword)
        if self._kind == "OEM":
            if self._section == "data":
                group = "covarianceMatrix"
                if not self._marker:
                    raise self._fail(field.line, "a keyword where lines of the ephemeris belong", field.keyword)
        elif self._kind == "CDM" and field.keyword == "OBJECT":
            self._segments.append(([], []))
            self._section = "metadata"
        elif group and self._section != "header":
            self._data(field)
        elif self._section == "header" and field.keyword not in HEADER_KEYWORDS:
            self._section = "relative" if self._kind == "CDM" else "metadata"
            if self._kind != "CDM":
                self._segments.append(([], []))
            if group:
                self._data(field)
        if self._section == "relative":
            group = "relativeStateVector" if RELATIVE_STATE.fullmatch(field.keyword) else ""
        self._put(replace(field, group=group if self._section in ("data", "relative") else ""))

    def _data(self, field: Field) -> None:
        if not self._segments:
            raise self._fail(field.line, "stands before the object it speaks of", field.keyword)
        self._section = "data"

    def _target(self) -> list[Field]:
        if self._section == "header":
            return self._header
        if self._section == "relative":
            return self._relative
        return self._segments[-1][self._section == "data"]

    def _put(self, field: Field) -> None:
        target = self._target()
        target.extend(replace(comment, group=field.group) for comment in self._comments)
        target.append(field)
        self._comments = []


def _pair(line: str) -> tuple[str, str, str] | None:
    """Return keyword, value and unit of `KEYWORD = value [unit]`; None for a line of another form."""
    keyword, equals, value = line.partition("=")
    keyword, value = keyword.rstrip(), value.strip()
    if not equals or not _KEYWORD.fullmatch(keyword):
        return None
    unit = ""
    if value.endswith("]") and "[" in value:
        value, _, unit = value[:-1].rpartition("[")
    return keyword, value.rstrip(), unit.strip()


def write_kvn(message: NdmMessage) -> str:
    """Return a message in keyword = value form, keywords padded to one column; `parse_kvn` gives the same fields back."""
    lines = [f"CCSDS_{message.kind}_VERS = {message.version}", *_kvn(message.header), *_kvn(message.relative)]
    for segment in message.segments:
        if message.kind != "OEM":
            lines += [*_kvn(segment.metadata), *_kvn(segment.data)]
            continue
        lines += ["", "META_START", *_kvn(segment.metadata), "META_STOP", ""]
        within = False
        for name, fields in groups(segment.data):
            if within != (name == "covarianceMatrix"):
                within = not within
                lines += ["", "COVARIANCE_START"] if within else ["COVARIANCE_STOP", ""]
            lines += _kvn(fields)
        lines += ["COVARIANCE_STOP"] if within else []
    return "\n".join(lines) + "\n"


def _kvn(fields: Iterable[Field]) -> Iterator[str]:
    for field in fields:
        value = one_line(field.value)
        if field.keyword == COMMENT:
            yield f"{COMMENT} {value}".rstrip()
        elif not field.keyword:
            yield value
        else:
            yield f"{field.keyword:<20} = {value}" + (f" [{field.unit}]" if field.unit else "")
