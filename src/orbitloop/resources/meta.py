"""The shape that every resource has: apiVersion, kind, metadata and spec, and the field types that they share.

Python names are snake_case, YAML names their camelCase alias. Scalars are strict (no text becomes a number), unknown fields
are refused, instances are frozen. Free-form parameters are held to what JSON has a word for, so that a plan has a digest.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from orbitloop.clock import parse_utc_s

API_VERSION: Final = "orbitloop.io/v1alpha1"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
EARLIEST, LATEST = "1957-10-04T00:00:00Z", "2200-01-01T00:00:00Z"


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator here raises: what is wrong, and what would be right."""
    # The texts travel as context, since a PydanticCustomError formats its template.
    return PydanticCustomError("orbitloop", "{what}", {"what": what, "remedy": remedy})


def _integral(value: Any) -> Any:
    # 2e6 reads better than 2000000 in a byte budget, and YAML calls it a float.
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def _utc_text(value: str) -> str:
    remedy = "write ISO 8601 in UTC, such as 2026-06-01T00:00:00Z"
    try:
        when_s = parse_utc_s(value)
    except (ValueError, OverflowError):
        raise wrong(f"{value[:40]!r} is not a time", remedy) from None
    if not parse_utc_s(EARLIEST) <= when_s < parse_utc_s(LATEST):
        raise wrong(f"{value[:40]!r} is outside {EARLIEST[:4]} to {LATEST[:4]}", remedy)
    return value


def _inner_path(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
        raise wrong(f"{value[:60]!r} leaves its folder", "write a relative path with / and without ..")
    return value


def _tenant(value: str) -> str:
    if value in ("root", "targets", "snapshot", "timestamp"):
        raise wrong(f"{value!r} is the name of a role of its own", "call the tenant something else")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong("a value is not a finite number", "write a number")
    if not isinstance(value, (bool, int, float, str)):
        raise wrong(f"must be a text, a number or true/false (is {_kind_of(value)})", "write one plain value")
    return value


def _kind_of(value: Any) -> str:
    return {dict: "a mapping", list: "a list", tuple: "a list", type(None): "empty"}.get(type(value), type(value).__name__)


def _plain(value: Any) -> Any:
    """Hold free-form parameters to mappings with text keys, lists, scalars and null."""
    if value is None:
        return value
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise wrong(f"key {key!r} is not a text", "write the key in quotes")
            _plain(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _plain(inner)
    else:
        _scalar(value)
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=63)]
Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=32), AfterValidator(_tenant)]
Text = Annotated[str, StringConstraints(max_length=4096)]
UtcText = Annotated[str, AfterValidator(_utc_text)]
InnerPath = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_inner_path)]
Integral = BeforeValidator(_integral)  # stands last in the annotation of a whole number, after its range
Share = Annotated[float, Field(ge=0, le=1)]
Many = Strict(False)  # marks a tuple field: a YAML list is taken for a tuple, what it holds stays strict
Scalar = Annotated[Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Parameters = Annotated[dict[str, Any], AfterValidator(_plain)]


def later(default: Any, **limits: Any) -> Any:
    """Return a field that came to the format after its first use: it is written out only where it is not its default.

    So the plans of missions that do not use it keep their digest.
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default), **limits)


class Section(BaseModel):
    """One mapping of a manifest."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class Metadata(Section):
    """Who a resource is."""

    name: Name
    """Name, unique among the resources of its kind: small letters, digits and hyphens, at most 63."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free key-value pairs for people and selectors; nothing in the loop reads them."""


class Resource(Section):
    """What every document of a mission file is."""

    default_name: ClassVar[str] = ""
    stands_alone: ClassVar[bool] = False
    """A file may hold documents of this kind without a Mission: alerts and proposals."""

    api_version: Literal["orbitloop.io/v1alpha1"] = API_VERSION
    """Version of the format."""
    kind: str
    """What the document describes."""
    metadata: Metadata
    """Who the resource is. Short form: `name: x` in place of `metadata: {name: x}`."""
    spec: Section
    """What is wanted."""

    @property
    def name(self) -> str:
        return self.metadata.name

    def to_json(self) -> dict[str, Any]:
        """Return the full manifest, camelCase, only JSON values: every default written out but those of `later` fields."""
        return self.model_dump(mode="json", by_alias=True)
