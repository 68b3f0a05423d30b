"""What is generated from the models: a JSON Schema per kind for editors, and the reference page of the mission file.

Both come from the pydantic models alone, so they cannot say anything else than what the reader accepts; a test holds the
committed page against `reference_markdown()`.

    python -m orbitloop.resources.schema > docs/reference/mission-file.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from orbitloop.resources.kinds import KINDS
from orbitloop.resources.manifest import MAX_FILE_BYTES
from orbitloop.resources.meta import API_VERSION, Resource
from orbitloop.resources.yamltree import MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return kind -> JSON Schema (draft 2020-12) of a document of that kind, short forms included."""
    return {kind: _schema(model) for kind, model in KINDS.items()}


def document_schema() -> dict[str, Any]:
    """Return the schema of any document of a mission file, for editors that take one schema for a whole file."""
    schemas = json_schemas()
    definitions: dict[str, Any] = {}
    for kind, schema in schemas.items():
        # Names of sections are unique over all kinds (a test holds that), so their definitions can share one table.
        definitions |= schema.pop("$defs", {})
        definitions[kind] = {key: value for key, value in schema.items() if not key.startswith("$")}
    one = [{"$ref": f"#/$defs/{kind}"} for kind in schemas]
    return {"$schema": DIALECT, "anyOf": [*one, {"type": "array", "items": {"anyOf": one}}], "$defs": definitions}


def _schema(model: type[Resource]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    kind = model.model_fields["kind"].default
    schema["properties"]["name"] = {**_name_schema(schema), "description": "Short form of `metadata: {name: ...}`."}
    required = [name for name in schema.get("required", []) if name != "metadata"]
    schema["required"] = ["kind", *required]
    if not model.default_name:
        schema["anyOf"] = [{"required": ["name"]}, {"required": ["metadata"]}]
    return {"$schema": DIALECT, "$id": f"https://{API_VERSION}/{kind}.json", **schema}


def _name_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return dict(schema["$defs"]["Metadata"]["properties"]["name"])


Row = tuple[str, dict[str, Any], str]
"""Path below `spec`, schema of the field, what its default is in words."""

INTRODUCTION = f"""# The mission file

<!-- Generated from src/orbitloop/resources by `python -m orbitloop.resources.schema > docs/reference/mission-file.md`. -->

A mission file is YAML with one document for each resource, between them `---`. A document says its `kind`, its `name` and, in
`spec`, what differs from the defaults below. `orbitloop run MISSION.yaml` reads it.

```yaml
kind: Mission
name: first-light
spec: {{durationDays: 2}}
---
kind: Satellite
name: sat-1
---
- {{kind: GroundStation, name: svalbard, spec: {{latitudeDeg: 78.23, longitudeDeg: 15.41}}}}
- {{kind: GroundStation, name: troll, spec: {{latitudeDeg: -72.0, longitudeDeg: 2.53}}}}
---
kind: Dataset
spec:
  path: aircraft_pleiades
  domains: {{base: [site_00, site_01], stream: [[site_02, site_03], [site_04]]}}
```

## Short forms

- `apiVersion` may be left out; it is `{API_VERSION}`.
- `name: x` stands for `metadata: {{name: x}}`. Names are small letters, digits and hyphens. A Dataset, Model or
  IncrementalLearningJob without a name is called `dataset`, `model` or `job`.
- A file with one Dataset, Model or IncrementalLearningJob needs no reference to it; without a Model or a job it gets one of
  defaults. All satellites and stations of the file take part, unless the Mission names some.
- A document may be a list of resources.
- A list of one selector, or of one allowed value, may stand without its brackets.

## Rules

- YAML by its 1.2 core schema, of which JSON is a part: only `true` and `false` are booleans, `1e6` is a number, a time needs no
  quotes. Aliases, tags and duplicate keys are refused.
- A field that is not listed here is an error, and so is a text where a number belongs. Units stand at the end of the names.
- At most {MAX_FILE_BYTES // 1_000_000} MB, {MAX_DOCUMENTS:,} documents, {MAX_NODES:,} values, {MAX_DEPTH} levels.
- Every error of a file is reported at once, each with file, line, field and what would be right (exit code 10):

```
missions/mine.yaml:12: spec.link.uplinkbps: unknown field
  -> did you mean `uplinkBps`? Fields here: uplinkBps, downlinkBps, byElevation, guardS, lossRate
```
"""


def reference_markdown() -> str:
    """Return the reference page: the rules, then every field of every kind with type, range, default and meaning."""
    parts = [INTRODUCTION]
    for kind, model in KINDS.items():
        schema = model.model_json_schema(by_alias=True, mode="validation")
        rows = [
            f"| `{path}` | {_type(node, schema)} | {default} | {' '.join(str(node.get('description', '')).split())} |"
            for path, node, default in _rows(_ref(schema["properties"]["spec"], schema), schema, "")
        ]
        head = "| field of `spec` | type | default | meaning |\n|---|---|---|---|"
        parts.append(f"## {kind}\n\n{_doc(model)}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _doc(model: type[Resource]) -> str:
    return " ".join((model.__doc__ or "").split())


def _ref(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, keeping what stands beside it (description, default)."""
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _arms(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the forms that a value may have, without null."""
    arms = node.get("anyOf") or node.get("oneOf") or [node]
    return [arm for arm in (_ref(a, schema) for a in arms) if arm.get("type") != "null"]


def _rows(node: dict[str, Any], schema: dict[str, Any], prefix: str, needed: str = "required") -> Iterator[Row]:
    required = node.get("required", [])
    for name, raw in node["properties"].items():
        field = _ref(raw, schema)
        path = f"{prefix}{name}"
        sections = [arm for arm in _arms(field, schema) if "properties" in arm]
        yield path, field, needed if name in required else _default(field, bool(sections))
        for section in sections:
            yield from _rows(section, schema, f"{path}.", "in this form" if len(sections) > 1 else "required")
        for item in (_ref(arm.get("items") or {}, schema) for arm in _arms(field, schema) if arm.get("type") == "array"):
            if "properties" in item:
                yield from _rows(item, schema, f"{path}[].", "required")


def _default(field: dict[str, Any], is_section: bool) -> str:
    value = field.get("default", {})
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "see below" if is_section else f"`{json.dumps(value)}`"


_LIMITS = (
    ("minimum", "≥ {:g}"),
    ("exclusiveMinimum", "> {:g}"),
    ("maximum", "≤ {:g}"),
    ("exclusiveMaximum", "< {:g}"),
    ("multipleOf", "multiple of {:g}"),
)


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$comment" in field:
        return str(field["$comment"])
    arms = _arms(field, schema)
    return " or ".join(dict.fromkeys(_one_type(arm, schema) for arm in arms))


def _one_type(arm: dict[str, Any], schema: dict[str, Any]) -> str:
    choices = arm.get("enum") or ([arm["const"]] if "const" in arm else [])
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = arm.get("type")
    if isinstance(kind, list):
        return "value"
    if kind == "array":
        inner = arm.get("items") or {}
        pairs = arm.get("prefixItems")
        return "list of fixed length" if pairs and not inner else f"list of {_type(inner, schema)}"
    word = {"number": "number", "integer": "integer", "boolean": "true/false", "string": "text", "object": "mapping"}.get(
        str(kind), "any"
    )
    limits = ", ".join(text.format(arm[key]) for key, text in _LIMITS if key in arm)
    return f"{word} {limits}".strip()


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
