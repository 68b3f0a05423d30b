"""CCSDS navigation data messages as text: the one reader and writer of their KVN and XML forms.

What a message means is left to its own module (`omm`, `opm`, `oem`, and the conjunction message); here it is ordered fields,
each with keyword, value, unit, line and the XML group that holds it. Comments are fields called COMMENT, at their place.

Forms: KVN as in CCSDS 502.0-B-3 section 7 and 508.0-B-1 section 6; XML as in 505.0-B-3 sections 3 and 4 (`<ndm>` with several
messages, or one). In a flat KVN message (OPM, OMM, CDM) nothing marks where a section ends: the keyword tells, by the tables
below. A comment belongs to what follows it. Keywords that no table knows stay in the section they stand in.

Text from outside is bounded (characters, lines, line length, depth); a DOCTYPE is refused before its first declaration is read,
so that no entity can be declared. Whatever is wrong is raised as the one error class that the caller names, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from orbitloop.errors import ElementsError, OrbitloopError

MAX_CHARACTERS: Final = 256 << 20
MAX_LINES: Final = 4_000_000
MAX_LINE_CHARACTERS: Final = 4096
_MAX_DEPTH = 10

COMMENT: Final = "COMMENT"
ErrorClass = Callable[..., OrbitloopError]
"""A class of `errors`, called as `cls(what, where=..., remedy=...)`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One keyword with its value as written; `keyword` is empty for a line of an ephemeris in KVN, which has none.

    `line` counts from 1 (0: not read from a text). `group` is the XML element around the field inside its section
    (`stateVector`, `covarianceMatrix` ...), empty when it stands in the section itself.
    """

    keyword: str
    value: str
    unit: str = ""
    line: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Metadata and the data that it speaks of, each in the order of the text."""

    metadata: tuple[Field, ...]
    data: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class NdmMessage:
    """One message. `kind` is OPM, OMM, OEM or CDM; `relative` is the CDM's part about both objects, else empty."""

    kind: str
    version: str
    header: tuple[Field, ...] = ()
    relative: tuple[Field, ...] = ()
    segments: tuple[Segment, ...] = ()
    line: int = 0

    def fields(self) -> Iterator[Field]:
        """Yield every field in the order of the text."""
        yield from self.header
        yield from self.relative
        for segment in self.segments:
            yield from segment.metadata
            yield from segment.data

    def comments(self) -> tuple[str, ...]:
        """Return all comments in the order of the text, wherever they stand."""
        return tuple(field.value for field in self.fields() if field.keyword == COMMENT)


def _table(**groups: str) -> dict[str, str]:
    return {keyword: group for group, keywords in groups.items() for keyword in keywords.split()}


_SPACECRAFT = "MASS SOLAR_RAD_AREA SOLAR_RAD_COEFF DRAG_AREA DRAG_COEFF"
_XYZ = ("X", "Y", "Z", "X_DOT", "Y_DOT", "Z_DOT")
COVARIANCE_KEYWORDS: Final = tuple(f"C{a}_{b}" for i, a in enumerate(_XYZ) for b in _XYZ[: i + 1])
"""The lower triangle of a state's covariance in OPM, OMM and OEM, row by row."""
_COVARIANCE = " ".join(("COV_REF_FRAME", *COVARIANCE_KEYWORDS))
_ANGLES = "INCLINATION RA_OF_ASC_NODE ARG_OF_PERICENTER"
_STATE = "X Y Z X_DOT Y_DOT Z_DOT"

_DATA: dict[str, dict[str, str]] = {
    "OPM": _table(
        stateVector="EPOCH " + _STATE,
        keplerianElements=f"SEMI_MAJOR_AXIS ECCENTRICITY {_ANGLES} TRUE_ANOMALY MEAN_ANOMALY GM",
        spacecraftParameters=_SPACECRAFT,
        covarianceMatrix=_COVARIANCE,
        maneuverParameters="MAN_EPOCH_IGNITION MAN_DURATION MAN_DELTA_MASS MAN_REF_FRAME MAN_DV_1 MAN_DV_2 MAN_DV_3",
    ),
    "OMM": _table(
        meanElements=f"EPOCH SEMI_MAJOR_AXIS MEAN_MOTION ECCENTRICITY {_ANGLES} MEAN_ANOMALY GM",
        spacecraftParameters=_SPACECRAFT,
        tleParameters="EPHEMERIS_TYPE CLASSIFICATION_TYPE NORAD_CAT_ID ELEMENT_SET_NO REV_AT_EPOCH BSTAR BTERM "
        "MEAN_MOTION_DOT MEAN_MOTION_DDOT AGOM",
        covarianceMatrix=_COVARIANCE,
    ),
    "OEM": {},
    "CDM": _table(
        odParameters="TIME_LASTOB_START TIME_LASTOB_END RECOMMENDED_OD_SPAN ACTUAL_OD_SPAN OBS_AVAILABLE OBS_USED "
        "TRACKS_AVAILABLE TRACKS_USED RESIDUALS_ACCEPTED WEIGHTED_RMS",
        additionalParameters="AREA_PC AREA_DRG AREA_SRP MASS CD_AREA_OVER_MASS CR_AREA_OVER_MASS THRUST_ACCELERATION SEDR",
        stateVector=_STATE,
    ),
}
KINDS: Final = tuple(_DATA)
_CDM_COVARIANCE = re.compile(r"C(?:[RTN](?:DOT)?|DRG|SRP|THR)_(?:[RTN](?:DOT)?|DRG|SRP|THR)")
_RELATIVE_STATE = re.compile(r"RELATIVE_(?:POSITION|VELOCITY)_[RTN]")
_HEADER = frozenset(("CREATION_DATE", "ORIGINATOR", "MESSAGE_ID", "MESSAGE_FOR", "CLASSIFICATION"))
_USER = "USER_DEFINED_"

_VERSION = re.compile(r"CCSDS_([A-Z]{3})_VERS", re.ASCII)
_KEYWORD = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
_UNPRINTABLE = re.compile("[^\t\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold
_MARKERS = frozenset(("META_START", "META_STOP", "COVARIANCE_START", "COVARIANCE_STOP"))


def group_of(kind: str, keyword: str) -> str:
    """Return the XML group that holds a data keyword; empty for one that is no data keyword of that kind of message."""
    if keyword.startswith(_USER):
        return "userDefinedParameters"
    if kind == "CDM" and _CDM_COVARIANCE.fullmatch(keyword):
        return "covarianceMatrix"
    return _DATA[kind].get(keyword, "")


def groups(fields: Iterable[Field]) -> Iterator[tuple[str, list[Field]]]:
    """Cut a section at its groups: (name, fields), in order; a group whose first keyword comes again begins anew.

    Comments go with the field that follows them, those at the end with what stands before.
    """
    run: list[Field] = []
    waiting: list[Field] = []
    first = ""
    for field in fields:
        if field.keyword == COMMENT:
            waiting.append(field)
            continue
        if run and (field.group != run[-1].group or (field.group and field.keyword == first != "")):
            yield run[-1].group, run
            run = []
        if not run:
            first = field.keyword
        run += [*waiting, field]
        waiting = []
    if run or waiting:
        yield (run or waiting)[-1].group, run + waiting


# --- KVN -----------------------------------------------------------------------------------------------------------------


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
    return _only(good, where, error)


def parse_kvn_messages(
    text: str, where: str = "", *, error: ErrorClass = ElementsError
) -> tuple[list[NdmMessage], list[OrbitloopError]]:
    """Read messages that stand one after the other; each begins with its CCSDS_..._VERS. A bad one does not spoil the others.

    Returns:
        The messages in order, and one error for each that was skipped.

    Raises:
        error: the text as a whole is too large.
    """
    _check_size(text, where, error)
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
        elif self._section == "header" and field.keyword not in _HEADER:
            self._section = "relative" if self._kind == "CDM" else "metadata"
            if self._kind != "CDM":
                self._segments.append(([], []))
            if group:
                self._data(field)
        if self._section == "relative":
            group = "relativeStateVector" if _RELATIVE_STATE.fullmatch(field.keyword) else ""
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
        value = _one_line(field.value)
        if field.keyword == COMMENT:
            yield f"{COMMENT} {value}".rstrip()
        elif not field.keyword:
            yield value
        else:
            yield f"{field.keyword:<20} = {value}" + (f" [{field.unit}]" if field.unit else "")


# --- XML -----------------------------------------------------------------------------------------------------------------

_SECTIONS = {"header", "metadata", "data", "relativeMetadataData"}
_WRAPPERS = {"ndm", "body", "segment"}


def parse_xml(text: str, where: str = "", *, error: ErrorClass = ElementsError) -> NdmMessage:
    """Read one message in XML, alone or as the only one in `<ndm>`.

    Raises:
        error: the text is no such message, not well-formed, too large, has a DOCTYPE, or holds several; never anything else.
    """
    return _only(parse_xml_messages(text, where, error=error), where, error)


def parse_xml_messages(text: str, where: str = "", *, error: ErrorClass = ElementsError) -> list[NdmMessage]:
    """Read all messages of an XML text, in order.

    Raises:
        error: as for `parse_xml`; XML that is not well-formed anywhere gives nothing at all.
    """
    _check_size(text, where, error)
    return _XmlReader(where, error).read(text)


class _XmlReader:
    """Flattens the tree as expat walks it: a section's leaves become fields, what stands between is their group."""

    def __init__(self, where: str, error: ErrorClass) -> None:
        self._prefix = f"{where}, " if where else ""
        self._error = error
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._open
        self._parser.EndElementHandler = self._close
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._path: list[str] = []
        self._messages: list[NdmMessage] = []
        self._parts: dict[str, list[Field]] = {}
        self._segments: list[Segment] = []
        self._begun: tuple[str, str, int] | None = None
        self._leaf: tuple[Field, list[str]] | None = None
        self._size = 0

    def read(self, text: str) -> list[NdmMessage]:
        try:
            self._parser.Parse(text, True)
        except expat.ExpatError as problem:
            what = f"not well-formed XML ({expat.ErrorString(problem.code)})"
            raise self._error(what, where=f"{self._prefix}line {problem.lineno}") from problem
        except (ValueError, UnicodeError) as problem:
            raise self._fail(f"not readable as XML ({problem})") from problem
        return self._messages

    def _fail(self, what: str) -> OrbitloopError:
        return self._error(what, where=f"{self._prefix}line {self._parser.CurrentLineNumber}")

    def _doctype(self, *_: object) -> None:
        raise self._fail("has a DOCTYPE, which no navigation message needs and which is refused")

    def _open(self, tag: str, attributes: dict[str, Any]) -> None:
        name = tag.rpartition(":")[2]
        if len(self._path) >= _MAX_DEPTH:
            raise self._fail(f"elements stand more than {_MAX_DEPTH} deep")
        line = self._parser.CurrentLineNumber
        if self._leaf is not None and self._leaf[1] and "".join(self._leaf[1]).strip():
            raise self._fail(f"<{name}> stands inside the text of <{self._path[-1]}>")
        self._leaf = None
        if self._begun is None and name.upper() in KINDS:
            self._begin(name, attributes, line)
        elif self._begun is None and name not in _WRAPPERS and len(self._path) == 0:
            raise self._fail(f"<{name[:40]}> is no navigation message; known are {', '.join(KINDS)}")
        elif name == "segment" and self._begun:
            self._parts["metadata"], self._parts["data"] = [], []
        elif self._begun is None and name.islower() and name not in _WRAPPERS:
            raise self._fail(f"messages of kind <{name[:40]}> are not read; known are {', '.join(KINDS)}")
        elif self._begun and self._section() and name not in _SECTIONS | _WRAPPERS:
            keyword = name
            if name == "USER_DEFINED":
                keyword = _USER + str(attributes.get("parameter", ""))
            group = self._path[-1] if self._path[-1] not in _SECTIONS else ""
            self._leaf = Field(keyword, "", str(attributes.get("units", "")), line, group), []
            self._size = 0
        self._path.append(name)

    def _begin(self, name: str, attributes: dict[str, Any], line: int) -> None:
        self._begun = name.upper(), str(attributes.get("version", "")), line
        self._parts = {"header": [], "relativeMetadataData": [], "metadata": [], "data": []}
        self._segments = []

    def _section(self) -> str:
        for name in reversed(self._path):
            if name in _SECTIONS:
                return name
        return ""

    def _characters(self, text: str) -> None:
        if self._leaf is not None:
            self._leaf[1].append(text)
            self._size += len(text)
            if self._size > MAX_LINE_CHARACTERS:
                raise self._fail(f"a value is over {MAX_LINE_CHARACTERS} characters")

    def _close(self, tag: str) -> None:
        name = self._path.pop()
        if self._leaf is not None:
            field, text = self._leaf
            self._leaf = None
            self._parts[self._section()].append(replace(field, value=_one_line("".join(text))))
        elif name == "segment" and self._begun:
            self._segments.append(Segment(tuple(self._parts["metadata"]), tuple(self._parts["data"])))
        elif self._begun is not None and name.upper() == self._begun[0]:
            kind, version, line = self._begun
            header, relative = tuple(self._parts["header"]), tuple(self._parts["relativeMetadataData"])
            self._messages.append(NdmMessage(kind, version, header, relative, tuple(self._segments), line))
            self._begun = None


def write_xml(messages: NdmMessage | Iterable[NdmMessage]) -> str:
    """Return a message as XML, or several inside `<ndm>`.

    Raises:
        ValueError: a field has no keyword (a KVN line of an ephemeris), which XML cannot hold.
    """
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    if isinstance(messages, NdmMessage):
        return head + _xml(messages, 0)
    return head + "<ndm>\n" + "".join(_xml(message, 1) for message in messages) + "</ndm>\n"


def _xml(message: NdmMessage, depth: int) -> str:
    kind = message.kind.lower()
    lines = [f'<{kind} id="CCSDS_{message.kind}_VERS" version={quoteattr(message.version)}>']
    lines += [" <header>", *_leaves(message.header, 2), " </header>", " <body>"]
    if message.relative:
        lines += ["  <relativeMetadataData>", *_grouped(message.relative, 3), "  </relativeMetadataData>"]
    for segment in message.segments:
        lines += ["  <segment>", "   <metadata>", *_leaves(segment.metadata, 4), "   </metadata>"]
        lines += ["   <data>", *_grouped(segment.data, 4), "   </data>", "  </segment>"]
    lines += [" </body>", f"</{kind}>"]
    return "".join(" " * depth + line + "\n" for line in lines)


def _grouped(fields: Iterable[Field], depth: int) -> Iterator[str]:
    for name, members in groups(fields):
        if name:
            yield f"{' ' * depth}<{name}>"
            yield from _leaves(members, depth + 1)
            yield f"{' ' * depth}</{name}>"
        else:
            yield from _leaves(members, depth)


def _leaves(fields: Iterable[Field], depth: int) -> Iterator[str]:
    for field in fields:
        if not field.keyword:
            raise ValueError("a line of an ephemeris has no keyword, and so no place in XML")
        name, attributes = field.keyword, ""
        if name.startswith(_USER):
            name, attributes = "USER_DEFINED", f" parameter={quoteattr(name.removeprefix(_USER))}"
        if field.unit:
            attributes += f" units={quoteattr(_UNPRINTABLE.sub('?', field.unit))}"
        yield f"{' ' * depth}<{name}{attributes}>{escape(_UNPRINTABLE.sub('?', field.value))}</{name}>"


# --- both ----------------------------------------------------------------------------------------------------------------


def looks_like_xml(text: str) -> bool:
    """Tell the forms apart by the first character."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _one_line(text: str) -> str:
    return " ".join(part.strip() for part in text.splitlines()).strip()


def _check_size(text: str, where: str, error: ErrorClass) -> None:
    if len(text) > MAX_CHARACTERS:
        raise error(f"text has {len(text)} characters, over {MAX_CHARACTERS}", where=where)
    if (lines := text.count("\n")) > MAX_LINES:
        raise error(f"text has {lines} lines, over {MAX_LINES}", where=where)


def _only(messages: list[NdmMessage], where: str, error: ErrorClass) -> NdmMessage:
    if len(messages) != 1:
        raise error(f"holds {len(messages)} messages where one belongs", where=where)
    return messages[0]
