"""A report's dataclasses as plain JSON values and back: strict about kinds, lenient about what a newer version added.

The dataclass is the schema: a field's name is its key, its annotation says what is right. Fields with `init=False` are derived:
written, never read. Unknown keys are dropped. JSON has no NaN: a measurement that is not finite is written as null, and null in
a plain `float` field reads as NaN, so that a diverged training does not cost its own report.

Integers are held to 64 bits and floats to 1e18 on reading, so that no renderer meets a number it cannot calculate with.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from orbitloop.errors import StateError

MAX_MAGNITUDE = 1e18
MAX_TEXT = 100_000

T = TypeVar("T")


@lru_cache(maxsize=128)
def _schema(kind: type) -> tuple[tuple[Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((f, hints[f.name]) for f in fields(kind))


def to_plain(kind: Any, value: Any) -> Any:
    """Turn a value of the annotated `kind` into what `json` knows. NumPy scalars become Python's, by the annotation."""
    if value is None:
        return None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return to_plain(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return [to_plain(arguments[0], v) for v in value]
    if origin in (dict, Mapping):
        return {str(k): to_plain(arguments[1], v) for k, v in value.items()}
    if is_dataclass(kind):
        return {f.name: to_plain(hint, getattr(value, f.name)) for f, hint in _schema(kind)}  # type: ignore[arg-type]
    if kind is float:
        number = float(value)
        return number if math.isfinite(number) else None
    if kind in (int, bool, str):
        return kind(value)
    return value.value  # an enum


def from_plain(kind: type[T], value: Any, where: str = "report") -> T:
    """Read a dataclass from plain JSON values.

    Raises:
        StateError: a field is missing or of the wrong kind; `where` and the field's path say which.
    """
    read: T = _read(kind, value, where)
    return read


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        return _tuple(arguments[0], value, where)
    if origin in (dict, Mapping):
        return {str(k): _read(arguments[1], v, f"{where}.{k}") for k, v in _object(value, where).items()}
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if issubclass(kind, StrEnum):
        if value not in [member.value for member in kind]:
            raise _wrong(where, "one of " + ", ".join(member.value for member in kind), value)
        return kind(value)
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    plain = _object(value, where)
    arguments = {}
    for field, hint in _schema(kind):
        if not field.init:
            continue
        if field.name in plain:
            arguments[field.name] = _read(hint, plain[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise StateError(
                f"field {field.name!r} is missing", where=where, remedy="run the mission again, or restore the file"
            )
    return kind(**arguments)


def _tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise _wrong(where, "a list", value)
    return tuple(_read(kind, v, f"{where}[{i}]") for i, v in enumerate(value))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object", value)
    return value


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
            raise _wrong(where, f"a number within {MAX_MAGNITUDE:.0e}", value)
        return float(value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise _wrong(where, "a 64-bit integer", value)
        return value
    if kind is str:
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise _wrong(where, f"a text of at most {MAX_TEXT} characters", value)
        return value
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)
    return value


def _wrong(where: str, right: str, value: Any) -> StateError:
    shown = repr(value) if isinstance(value, str | float | bool | None) else f"a value of type {type(value).__name__}"
    return StateError(f"{shown[:80]} is not {right}", where=where, remedy="run the mission again, or restore the file")
