"""`KIND.path=VALUE`: one field of one resource set from outside the file, before anything is validated.

A pure function over parsed documents. The path goes inside `spec`, in camelCase or snake_case; where the model has fixed fields
it must name one of them, where it is free-form (parameters of a plug-in, names of domains) any key will do. The value is YAML.
What the value must be is not checked here: the document is validated afterwards, as if it had been written so.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from orbitloop.resources.explain import describe, fields_at, is_free_at, shown
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.meta import Resource
from orbitloop.resources.problems import InvalidManifest, Path, Problem
from orbitloop.resources.yamltree import MAX_DEPTH, Document, read_documents

MAX_OVERRIDE_CHARS = 10_000
_FORM = re.compile(r"\s*([A-Za-z]+)(?:/([^.=\s]+))?\.([^=]+?)\s*=(.*)", re.DOTALL)
_EXAMPLE = "write KIND.path=VALUE, such as IncrementalLearningJob.selection.name=random"


@dataclass(frozen=True, slots=True)
class Override:
    """One setting. `name` is None where the kind has one resource only; `path` stands below `spec`, as it was written."""

    kind: str
    name: str | None
    path: tuple[str, ...]
    value: Any
    text: str

    @property
    def source(self) -> str:
        """Where errors say that the value comes from."""
        return f"--set {self.text if len(self.text) <= 80 else self.text[:77] + '...'}"


Origins = dict[int, dict[Path, str]]
"""Index of a document -> path -> the override that put its value there."""


def parse_override(text: str) -> Override:
    """Read `KIND.path=VALUE` or `KIND/NAME.path=VALUE`.

    Raises:
        ManifestError: it has another form, names no kind, or its value is not one YAML value. Never anything else.
    """
    where = f"--set {text[:80]}"
    match = _FORM.fullmatch(text) if len(text) <= MAX_OVERRIDE_CHARS else None
    if match is None:
        raise _refused(where, "not of the form KIND.path=VALUE", _EXAMPLE)
    kind, name, path, value = match[1], match[2], match[3], match[4]
    by_lower = {known.lower(): known for known in KINDS}
    if kind.lower() not in by_lower:
        close = get_close_matches(kind.lower()[:100], list(by_lower), n=1, cutoff=0.4)
        hint = f"did you mean {by_lower[close[0]]}? " if close else ""
        raise _refused(where, f"unknown kind {shown(kind)}", f"{hint}Kinds are {', '.join(KINDS)}")
    parts = tuple(part.strip() for part in path.split("."))
    if not all(parts) or len(parts) > MAX_DEPTH // 2:
        raise _refused(where, "the path has an empty part, or too many", _EXAMPLE)
    return Override(by_lower[kind.lower()], name, parts, _value(value, where), text.strip())


def _value(text: str, where: str) -> Any:
    documents, problems = read_documents(text, where)
    if problems:
        raise InvalidManifest([Problem(where, None, "", p.what, "quote a text that YAML reads otherwise") for p in problems])
    if len(documents) > 1:
        raise _refused(where, "the value is more than one YAML document", "give one value")
    return documents[0].value if documents else None


def apply_overrides(documents: Sequence[Document], overrides: Iterable[Override]) -> tuple[list[Document], Origins]:
    """Return the documents with the overrides in them, in order, and which value came from which; the input stays as it is.

    A kind that a mission may leave out altogether (Model, IncrementalLearningJob) is added when it is overridden.

    Raises:
        ManifestError: no or more than one resource is meant, or the path names no field; with the names that there are.
    """
    out = list(documents)
    origins: Origins = {}
    for override in overrides:
        index = _chosen(out, override)
        document = out[index] if index is not None else Document({"kind": override.kind}, 1)
        value = copy.deepcopy(document.value)
        path = _place(value, override)
        changed = Document(value, document.line, document.lines)
        if index is None:
            index = len(out)
            out.append(changed)
        else:
            out[index] = changed
        origins.setdefault(index, {})[path] = override.source
    return out, origins


def _chosen(documents: Sequence[Document], override: Override) -> int | None:
    """Return the index of the document that is meant; None where there is none and a default one may be added."""
    model = KINDS[override.kind]
    names = {
        i: _name(d.value, model)
        for i, d in enumerate(documents)
        if isinstance(d.value, dict) and d.value.get("kind") == override.kind
    }
    if override.name is not None:
        for index, name in names.items():
            if name == override.name:
                return index
        raise _refused(override.source, f"there is no {override.kind} {shown(override.name)}", _known(override, names.values()))
    if len(names) > 1:
        what = f"the file has {len(names)} of kind {override.kind}, and none is chosen"
        raise _refused(override.source, what, _known(override, names.values()))
    if names:
        return next(iter(names))
    if model.default_name and not model.model_fields["spec"].is_required():
        return None
    raise _refused(override.source, f"the file has no {override.kind}", "override a resource that the file has")


def _known(override: Override, names: Iterable[str]) -> str:
    listed = list(names)
    close = get_close_matches((override.name or "")[:100], listed, n=1)
    hint = f"did you mean {override.kind}/{close[0]}? " if close else ""
    return f"{hint}Known: {', '.join(f'{override.kind}/{name}' for name in listed[:20]) or 'none'}"


def _name(value: Mapping[str, Any], model: type[Resource]) -> str:
    metadata = value.get("metadata")
    name = value.get("name", metadata.get("name") if isinstance(metadata, dict) else None)
    return name if isinstance(name, str) else model.default_name


def _place(value: dict[str, Any], override: Override) -> Path:
    """Put the override's value into a document's value; return its path there."""
    model = KINDS[override.kind]
    if value.get("spec") is None:
        value["spec"] = {}
    held: Any = value["spec"]
    path: Path = ("spec",)
    for depth, part in enumerate(override.path):
        last = depth == len(override.path) - 1
        if isinstance(held, list):
            at: str | int = _index(held, part, override)
        elif isinstance(held, dict):
            at = _field(model, path, part, override)
            if not last and held.get(at) is None:
                _field(model, (*path, at), override.path[depth + 1], override)  # what has no fields inside gets none
                held[at] = {}
        else:
            above = ".".join(override.path[:depth]) or "spec"
            raise _refused(override.source, f"{above} is {describe(held)} in the file, without fields inside", "set it whole")
        path = (*path, at)
        if last:
            held[at] = copy.deepcopy(override.value)
        else:
            held = held[at]
    return path


def _index(held: list[Any], part: str, override: Override) -> int:
    if part.isascii() and part.isdigit() and len(part) < 7 and int(part) < len(held):
        return int(part)
    remedy = f"give its place, 0 to {len(held) - 1}, or set the list whole"
    raise _refused(override.source, f"{shown(part)} is no place in a list of {len(held)}", remedy)


def _field(model: type[Resource], path: Path, part: str, override: Override) -> str:
    """Return the field's name as the file has it."""
    known = fields_at(model, path)
    if part in known or is_free_at(model, path):
        return part
    if not known:
        above = ".".join(str(p) for p in path[1:])
        raise _refused(override.source, f"{above} has no fields inside", "set it whole")
    plain = {name.lower(): name for name in known}
    if "_" in part and part.replace("_", "").lower() in plain:
        return plain[part.replace("_", "").lower()]
    close = get_close_matches(part.replace("_", "").lower()[:100], list(plain), n=1, cutoff=0.6)
    hint = f"did you mean `{plain[close[0]]}`? " if close else ""
    raise _refused(override.source, f"unknown field {shown(part)}", f"{hint}Fields here: {', '.join(known)}")


def _refused(where: str, what: str, remedy: str) -> InvalidManifest:
    return InvalidManifest([Problem(where, None, "", what, remedy)])
