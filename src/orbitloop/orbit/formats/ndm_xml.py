"""Navigation data messages in XML: one reader, one writer.

CCSDS 505.0-B-3 sections 3 and 4: one message, or several in `<ndm>`. Read by expat, whose lines are kept; a DOCTYPE is
refused before its first declaration is read, so that no entity can be declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.formats.ndm import (
    KINDS,
    MAX_LINE_CHARACTERS,
    USER_DEFINED,
    ErrorClass,
    Field,
    NdmMessage,
    Segment,
    check_size,
    groups,
    one_line,
    only_message,
)

_MAX_DEPTH = 10
_UNPRINTABLE = re.compile("[^\t\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold

_SECTIONS = {"header", "metadata", "data", "relativeMetadataData"}
_WRAPPERS = {"ndm", "body", "segment"}


def parse_xml(text: str, where: str = "", *, error: ErrorClass = ElementsError) -> NdmMessage:
    """Read one message in XML, alone or as the only one in `<ndm>`.

    Raises:
        error: the text is no such message, not well-formed, too large, has a DOCTYPE, or holds several; never anything else.
    """
    return only_message(parse_xml_messages(text, where, error=error), where, error)


def parse_xml_messages(text: str, where: str = "", *, error: ErrorClass = ElementsError) -> list[NdmMessage]:
    """Read all messages of an XML text, in order.

    Raises:
        error: as for `parse_xml`; XML that is not well-formed anywhere gives nothing at all.
    """
    check_size(text, where, error)
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
                keyword = USER_DEFINED + str(attributes.get("parameter", ""))
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
            self._parts[self._section()].append(replace(field, value=one_line("".join(text))))
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
        if name.startswith(USER_DEFINED):
            name, attributes = "USER_DEFINED", f" parameter={quoteattr(name.removeprefix(USER_DEFINED))}"
        if field.unit:
            attributes += f" units={quoteattr(_UNPRINTABLE.sub('?', field.unit))}"
        yield f"{' ' * depth}<{name}{attributes}>{escape(_UNPRINTABLE.sub('?', field.value))}</{name}>"
