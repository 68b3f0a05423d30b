"""YAML text -> plain values that remember their lines, within limits.

It reads YAML by the 1.2 core schema, of which JSON is a subset: `true` and `false` are the only booleans (`no` and `on` are
texts), `1e6` is a number, a date is a text. What a hostile or mistaken file could do is refused with its line: aliases (and
with them the billion laughs), duplicate keys, tags, depth, too many documents or nodes, texts that are not Unicode.

PyYAML scans and composes; constructing is ours, since its constructor forgets lines, takes duplicate keys and builds objects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orbitloop.resources.problems import Path, Problem, dotted

MAX_DOCUMENTS = 2_000
MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_NUMBER_CHARS = 64
_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """One document: its value (dict, list, str, int, float, bool, None) and the line of each path in it, from 1."""

    value: Any
    line: int
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """Return the line of the path, or of the nearest of its parents that is in the file."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.line


class _Refused(yaml.MarkedYAMLError):
    """A limit of ours, found while PyYAML composes; `note` carries the remedy."""


class _Loader(yaml.SafeLoader):
    """Composes nodes by the core schema, counting depth and nodes, without aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own protocol)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _Refused(problem="aliases (*name) are not accepted", problem_mark=mark, note="write the value out")
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _Refused(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark, note="flatten the value")
        if self._nodes > MAX_NODES:
            raise _Refused(problem=f"more than {MAX_NODES} values", problem_mark=mark, note="split the file")
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


def read_documents(text: str, source: str) -> tuple[list[Document], list[Problem]]:
    """Read every document that can be read, and report every problem on the way. Empty documents are left out.

    Never raises: a text that is no YAML at all gives one problem and what stood before it.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for node in _nodes(text.removeprefix("\ufeff"), source, problems):
        if len(documents) == MAX_DOCUMENTS:
            what = f"more than {MAX_DOCUMENTS} documents"
            problems.append(Problem(source, _line(node), "", what, "split the file"))
            break
        document = Document(None, _line(node))
        document.value = _Reader(document, source, problems).value(node, ())
        if document.value is not None:
            documents.append(document)
    return documents, problems


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _nodes(text: str, source: str, problems: list[Problem]) -> Iterator[Node]:
    """Yield the root node of each document; on a syntax error note the problem and stop, for what follows is guesswork."""
    remedy = "check indentation, colons, brackets and quotes around this line"
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = str(error.problem or error.context or "cannot be read")
        if isinstance(error, _Refused):
            remedy = error.note or ""
        else:
            what = f"not YAML: {what}"
        problems.append(Problem(source, None if mark is None else mark.line + 1, "", what, remedy))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = (
            f"character U+{int(error.character):04X} is not allowed" if isinstance(error.character, int) else str(error.reason)
        )
        problems.append(Problem(source, line, "", what, "save the file as UTF-8 text"))
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # PyYAML lets some of these out of its scanner, as for the escape "\UFFFFFFFF" or a %YAML version of 5000 digits.
        line_now = None if loader is None else int(loader.line) + 1
        problems.append(Problem(source, line_now, "", f"not YAML: {str(error)[:200]}", remedy))
    finally:
        if loader is not None:
            loader.dispose()


class _Reader:
    """Turns the nodes of one document into values. The depth is bounded by the loader."""

    def __init__(self, document: Document, source: str, problems: list[Problem]) -> None:
        self._document = document
        self._source = source
        self._problems = problems

    def _problem(self, node: Node, path: Path, what: str, remedy: str) -> None:
        self._problems.append(Problem(self._source, _line(node), dotted(path), what, remedy))

    def value(self, node: Node, path: Path) -> Any:
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            for index, item in enumerate(node.value):
                self._document.lines[(*path, index)] = _line(item)
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._problem(node, path, f"the tag {node.tag[:60]!r} is not accepted", "write the plain value without a tag")
        return None

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # A key is a text whatever it looks like, as in JSON: `2016: x` and `true: x` name things.
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if not key or not _is_unicode(key):
                self._problem(key_node, path, "a key is empty or not a text", "write NAME: VALUE")
                continue
            if key in result:
                first = self._document.lines[(*path, key)]
                remedy = f"it stands first on line {first}; keep one of the two"
                self._problem(key_node, (*path, key[:100]), "the key stands twice", remedy)
                continue
            self._document.lines[(*path, key)] = _line(key_node)
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "str" or node.tag == "!":
            if _is_unicode(text):
                return text
            self._problem(node, path, "the text has half of a surrogate pair", "write the character itself")
            return None
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(node, path, kind, text)
        self._problem(node, path, f"the tag {node.tag[:60]!r} is not accepted", "write the plain value without a tag")
        return None

    def _number(self, node: Node, path: Path, kind: str, text: str) -> int | float | None:
        try:
            if len(text) > MAX_NUMBER_CHARS:
                raise ValueError
            if kind == "int":
                return int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)
            number = float(text)
        except ValueError:
            self._problem(node, path, f"{text[:60]!r} is not a number", "write a finite decimal number")
            return None
        if not math.isfinite(number):
            self._problem(node, path, f"{text[:60]!r} is not a finite number", "write a finite number")
            return None
        return number


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)
