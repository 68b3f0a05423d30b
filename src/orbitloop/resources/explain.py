"""A pydantic validation error -> the field's path in the file, what is wrong, and what would be right.

pydantic says where in its own terms (union tags, validators); people need the path as they wrote it. And it says what a
value is not; people need what it may be. Both come from walking the model beside the error's location.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orbitloop.resources.problems import Path

_EXPECTED = {
    "string_type": "a text",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping (NAME: VALUE)",
    "model_type": "a mapping (NAME: VALUE)",
    "model_attributes_type": "a mapping (NAME: VALUE)",
    "tuple_type": "a list",
    "list_type": "a list",
    "finite_number": "a finite number",
}
_RANGE = {
    "greater_than": ("gt", "over"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "under"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}

_ABSENT = object()


def explain(error: ValidationError, model: type[BaseModel], value: Any) -> list[tuple[Path, str, str]]:
    """Return (path, what, remedy) for each of the errors that `model` raised for `value`."""
    found = []
    for details in error.errors(include_url=False):
        path = _path(details, value)
        what, remedy = _say(details, model, path)
        found.append((path, what, remedy))
    return list(dict.fromkeys(found))


def _path(details: ErrorDetails, value: Any) -> Path:
    """Keep of pydantic's location what is really in the file; a missing field is the one exception."""
    path: list[str | int] = []
    for place, part in enumerate(details["loc"]):
        inner = _inside(value, part)
        if inner is not _ABSENT:
            value = inner
            path.append(part)
        elif details["type"] == "missing" and place == len(details["loc"]) - 1:
            path.append(part)
    return tuple(path)


def _inside(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part, _ABSENT)
    if isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value):
        return value[part]
    return _ABSENT


def _say(details: ErrorDetails, model: type[BaseModel], path: Path) -> tuple[str, str]:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "orbitloop":
        return str(context["what"]), str(context["remedy"])
    if kind == "extra_forbidden":
        return _unknown_field(str(path[-1]), fields_at(model, path[:-1]))
    if kind == "missing":
        if path and isinstance(path[-1], int):
            return "the list is too short", "add the missing value"
        about = fields_at(model, path[:-1]).get(str(path[-1]), "")
        return "is missing", f"add `{path[-1]}: ...`" + (f" ({_first_sentence(about)})" if about else "")
    if kind == "literal_error":
        return _bad_choice(value, _choices(details))
    if kind in _RANGE:
        key, word = _RANGE[kind]
        return f"must be {word} {context[key]:g} (is {shown(value)})", _about(model, path)
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]} (is {describe(value)})", _about(model, path)
    if kind == "string_pattern_mismatch":
        remedy = "use small letters, digits and hyphens, such as sat-1" if "a-z0-9]([-" in str(context["pattern"]) else ""
        return f"{shown(value)} does not fit the pattern {context['pattern']}", remedy or "use letters, digits, . _ and -"
    if kind in ("too_short", "string_too_short"):
        return "is empty or too short", _about(model, path)
    if kind in ("too_long", "string_too_long"):
        return "is too long", f"at most {context.get('max_length', 'a few')} are accepted"
    return f"{details['msg'][:1].lower()}{details['msg'][1:]} (is {describe(value)})", _about(model, path)


def _unknown_field(name: str, known: Mapping[str, str]) -> tuple[str, str]:
    # A snake_case spelling is as near as it gets to its camelCase name, so compare without case and underscores.
    plain = {k.lower(): k for k in known}
    close = get_close_matches(name.replace("_", "").lower()[:100], list(plain), n=1, cutoff=0.6)
    hint = f"did you mean `{plain[close[0]]}`? " if close else ""
    return "unknown field", f"{hint}Fields here: {', '.join(known)}"


def _choices(details: ErrorDetails) -> list[str]:
    return [c.strip("'") for c in str(details.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")]


def _bad_choice(value: Any, choices: list[str]) -> tuple[str, str]:
    close = get_close_matches(value[:100], choices, n=1) if isinstance(value, str) and len(choices) > 1 else []
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{shown(value)} is not a choice", f"{hint}Must be {' | '.join(choices)}"


def _about(model: type[BaseModel], path: Path) -> str:
    """Return the description of the nearest named field of the path."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return fields_at(model, path[:-1]).get(str(path[-1]), "") if path else ""


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".")


def fields_at(model: type[BaseModel], path: Path) -> dict[str, str]:
    """Return YAML name -> description of the fields that the mapping at `path` may have (of every form, in a union)."""
    found = _models(model)
    for part in path:
        found = [inner for m in found for inner in _descend(m, part)]
    return {
        (field.alias or name): " ".join((field.description or "").split())
        for m in found
        if isinstance(m, type) and issubclass(m, BaseModel)
        for name, field in m.model_fields.items()
    }


def is_free_at(model: type[BaseModel], path: Path) -> bool:
    """Say whether the mapping at `path` may have keys of any name (in one of its forms, in a union)."""
    found = _models(model)
    for part in path:
        found = [inner for m in found for inner in _descend(m, part)]
    return any(m is Any or m is dict or get_origin(m) is dict for m in found)


def _descend(annotation: Any, part: str | int) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (field.alias, name):
                yield from _models(field.annotation)
    elif annotation is Any:
        yield Any
    elif get_origin(annotation) is dict and isinstance(part, str):
        yield from _models(get_args(annotation)[1])
    elif get_origin(annotation) is tuple and isinstance(part, int):
        for inner in get_args(annotation):
            yield from _models(inner)


def _models(annotation: Any) -> list[Any]:
    """Open annotations and unions up to models, mappings and lists."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _models(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [inner for arm in get_args(annotation) for inner in _models(arm)]
    return [] if origin is Literal else [annotation]


def shown(value: Any) -> str:
    """Write a value within 60 characters."""
    if isinstance(value, (dict, list, tuple)) or value is None:
        return describe(value)
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe(value: Any) -> str:
    """Say what a value is, in the words of YAML."""
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return shown(value)
