"""Text -> resources, and a mission file -> its plan; every error with file, line, field and remedy, all of a file together.

The short form is undone here and nowhere else: `apiVersion` may be absent, `name: x` stands for `metadata: {name: x}`, a
Dataset, Model or IncrementalLearningJob without a name takes its kind's, and a document may be a list of resources.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from orbitloop.errors import ManifestError, OrbitloopError
from orbitloop.resources.constellation import Constellation
from orbitloop.resources.explain import describe, explain, shown
from orbitloop.resources.fleet import Satellite
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.meta import API_VERSION, Resource
from orbitloop.resources.mission import Complaint, MissionPlan, Resolver
from orbitloop.resources.overrides import apply_overrides, parse_override
from orbitloop.resources.problems import InvalidManifest, Path, Problem, dotted
from orbitloop.resources.yamltree import Document, read_documents

MAX_FILE_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check has against a plan: at which of its resources, at which field, what is wrong and the remedy."""

    resource: Resource
    path: Path
    what: str
    remedy: str


Check = Callable[[MissionPlan], Iterable[Remark]]
"""Looks at what the form of a mission does not show, such as whether a plug-in of that name is installed."""


Expand = Callable[[Constellation], Sequence[Satellite]]
"""Says which satellites a constellation stands for. It raises an OrbitloopError where that cannot be said."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a resource was read from: the text, its document, and the overrides that put values there, by path."""

    source: str
    document: Document
    origins: Mapping[Path, str]

    def problem(self, path: Path, what: str, remedy: str) -> Problem:
        for place, override in self.origins.items():
            if path[: len(place)] == place:
                return Problem(override, None, dotted(path), what, remedy)
        return Problem(self.source, self.document.line_of(path), dotted(path), what, remedy)


@dataclass(frozen=True, slots=True)
class _Located:
    """A resource and the place that it was read from."""

    resource: Resource
    place: _Place


def parse_manifests(text: str, where: str = "<text>") -> list[Resource]:
    """Read every resource of a YAML text, in order, without checking references between them.

    Raises:
        ManifestError: anything is wrong; its `problems` hold all of it. Never anything else.
    """
    located, problems = _parse(text, where)
    if problems:
        raise InvalidManifest(problems)
    return [item.resource for item in located]


def parse_mission(
    text: str,
    where: str = "<text>",
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (),
    expand: Expand | None = None,
) -> MissionPlan:
    """Read a mission from YAML text and check its references.

    Args:
        text: the file's text.
        where: what errors call it.
        overrides: settings `KIND.path=VALUE` that replace what the text says, in order (`resources.overrides`).
        checks: what the plan is held against once its form is sound; their remarks become problems with line and field.
        expand: says which satellites a Constellation stands for; without it a file that has one is refused.

    Raises:
        ManifestError: anything is wrong; its `problems` hold all of it. Never anything else.
    """
    located, problems = _parse(text, where, overrides)
    if not problems:
        located, problems = _expanded(located, expand)
    if problems:
        # References are checked only between sound resources: a broken one would be reported again as missing.
        raise InvalidManifest(problems)
    resolver = Resolver([item.resource for item in located])
    plan = resolver.resolve()
    if plan is None:
        found = [(located[c.resource] if c.resource >= 0 else None, c) for c in resolver.complaints]
        raise _told(where, found)
    by_id = {id(item.resource): item for item in located}
    remarks = [(by_id.get(id(remark.resource)), remark) for check in checks for remark in check(plan)]
    if remarks:
        raise _told(where, remarks)
    return plan


def load_standalone(path: str | os.PathLike[str]) -> list[Resource] | None:
    """Read a file that holds only resources which stand without a mission (alerts, proposals).

    Returns:
        The resources; None when one of them belongs to a mission, or anything is wrong (`load_mission` says what).

    Raises:
        ManifestError: two resources of one kind have one name.
    """
    try:
        source = str(path)
        located, problems = _parse(_read(FilePath(path)), source)
    except InvalidManifest:
        return None
    if problems or not all(item.resource.stands_alone for item in located):
        return None
    seen: set[tuple[str, str]] = set()
    for item in located:
        key = (item.resource.kind, item.resource.name)
        if key in seen:
            what = f"a second {item.resource.kind} is called {item.resource.name!r}"
            raise InvalidManifest([item.place.problem(("metadata", "name"), what, "give each its own name")])
        seen.add(key)
    return [item.resource for item in located]


def _expanded(located: list[_Located], expand: Expand | None) -> tuple[list[_Located], list[Problem]]:
    """Put its satellites in each constellation's place."""
    out: list[_Located] = []
    problems: list[Problem] = []
    for item in located:
        if not isinstance(item.resource, Constellation):
            out.append(item)
            continue
        field = "walker" if item.resource.spec.walker else "import"
        try:
            if expand is None:
                raise ManifestError("nothing here expands constellations", remedy="open it by orbitloop run or validate")
            out += [_Located(satellite, item.place) for satellite in expand(item.resource)]
        except OrbitloopError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            problems.append(item.place.problem(("spec", field), what, error.remedy))
    return out, problems


def _told(source: str, found: Iterable[tuple[_Located | None, Complaint | Remark]]) -> InvalidManifest:
    """Return the error that says all of it, in the order of the file; what has no document is said of the file."""
    problems = [
        holder.place.problem(c.path, c.what, c.remedy) if holder else Problem(source, None, dotted(c.path), c.what, c.remedy)
        for holder, c in found
    ]
    return InvalidManifest(sorted(problems, key=lambda problem: problem.line or 0))


def load_mission(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), checks: Sequence[Check] = (), expand: Expand | None = None
) -> MissionPlan:
    """Read a mission file, with `overrides`, `checks` and `expand` as in `parse_mission`.

    Raises:
        ManifestError: the file cannot be read, is too large or is not UTF-8, or anything in it is wrong.
    """
    return parse_mission(_read(FilePath(path)), str(path), overrides, checks, expand)


def _read(path: FilePath) -> str:
    source = str(path)
    try:
        # A pipe or a device would block, or never end.
        if not path.is_file():
            what = "not a file" if path.exists() else "there is no such file"
            raise InvalidManifest([Problem(source, None, "", what, "give the path of a mission file")])
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidManifest(
            [Problem(source, None, "", f"cannot be read ({reason})", "check path and permissions")]
        ) from error
    if len(data) > MAX_FILE_BYTES:
        what = f"the file is over the limit of {MAX_FILE_BYTES // 1_000_000} MB"
        raise InvalidManifest([Problem(source, None, "", what, "split it")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{data[error.start]:02X} is not UTF-8"
        raise InvalidManifest([Problem(source, line, "", what, "save the file as UTF-8 text")]) from error


def _parse(text: str, source: str, overrides: Sequence[str] = ()) -> tuple[list[_Located], list[Problem]]:
    located: list[_Located] = []
    if len(text) > MAX_FILE_BYTES:
        what = f"the text is over the limit of {MAX_FILE_BYTES // 1_000_000} MB"
        return [], [Problem(source, None, "", what, "split it")]
    documents, problems = read_documents(text, source)
    unread = {(problem.line, problem.field) for problem in problems}
    flat, origins = apply_overrides(list(_flat(documents)), [parse_override(text) for text in overrides])
    for index, document in enumerate(flat):
        place = _Place(source, document, origins.get(index, {}))
        resource, found = _validate(place)
        # What could not be read as a value was reported; that it is now empty is no news.
        problems += [problem for problem in found if (problem.line, problem.field) not in unread]
        if resource is not None:
            located.append(_Located(resource, place))
    if not documents and not problems:
        problems.append(Problem(source, None, "", "holds no resource", "start with kind: Mission and a name"))
    return located, sorted(problems, key=lambda problem: problem.line or 0)


def _flat(documents: list[Document]) -> Iterator[Document]:
    """Open documents that are lists of resources."""
    for document in documents:
        if not isinstance(document.value, list):
            yield document
            continue
        lines: dict[int, dict[Path, int]] = {}
        for path, line in document.lines.items():
            if path and isinstance(path[0], int):
                lines.setdefault(path[0], {})[path[1:]] = line
        for index, item in enumerate(document.value):
            inner = lines.get(index, {})
            yield Document(item, inner.pop((), document.line), inner)


def _validate(place: _Place) -> tuple[Resource | None, list[Problem]]:
    document, problem = place.document, place.problem
    raw = document.value
    if not isinstance(raw, dict):
        what = f"a document must be a resource (is {describe(raw)})"
        return None, [problem((), what, "write kind: ..., name: ... and spec: ...; put --- between documents")]
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return None, [problem(("kind",), *_unknown_kind(kind))]
    version = raw.get("apiVersion", API_VERSION)
    if version != API_VERSION:
        return None, [
            problem(("apiVersion",), f"{shown(version)} is not a version known here", f"leave it out, or {API_VERSION}")
        ]
    value, complaint = _long_form(document, KINDS[kind])
    if complaint is not None:
        return None, [problem(*complaint)]
    try:
        return KINDS[kind].model_validate(value, by_name=False, by_alias=True), []
    except ValidationError as error:
        return None, [problem(*item) for item in explain(error, KINDS[kind], value)]


def _unknown_kind(kind: Any) -> tuple[str, str]:
    kinds = f"Kinds are {', '.join(KINDS)}"
    if kind is None:
        return "the document has no kind", f"add kind: ... {kinds}"
    close = get_close_matches(kind[:100], list(KINDS), n=1, cutoff=0.5) if isinstance(kind, str) else []
    return f"unknown kind {shown(kind)}", (f"did you mean {close[0]}? " if close else "") + kinds


def _long_form(document: Document, model: type[Resource]) -> tuple[dict[str, Any], tuple[Path, str, str] | None]:
    """Return the document's mapping in the long form, and what stands against it."""
    value = {
        key: inner for key, inner in document.value.items() if inner is not None or key not in ("metadata", "spec", "name")
    }
    metadata = value.get("metadata", {})
    if "name" in value and isinstance(metadata, dict):
        if "name" in metadata:
            return value, (("name",), "the name stands here and in metadata", "keep one of the two")
        metadata = {**metadata, "name": value.pop("name")}
        document.lines.setdefault(("metadata", "name"), document.line_of(("name",)))
    elif isinstance(metadata, dict) and "name" not in metadata:
        if not model.default_name:
            remedy = "add `name: ...` (small letters, digits and hyphens)"
            return value, (("name",), f"the {document.value['kind']} has no name", remedy)
        metadata = {**metadata, "name": model.default_name}
    value["metadata"] = metadata
    # So that what is missing in an absent spec is named by its own field.
    if "spec" not in value:
        value["spec"] = {}
    return value, None
