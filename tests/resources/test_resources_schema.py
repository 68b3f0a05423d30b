"""What is generated from the models: JSON Schemas, and the committed reference page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orbitloop.records.ids import canonical_json
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.manifest import parse_mission
from orbitloop.resources.schema import document_schema, json_schemas, reference_markdown

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "mission-file.md"


def test_the_committed_page_is_the_generated_one() -> None:
    message = "regenerate it: python -m orbitloop.resources.schema > docs/reference/mission-file.md"
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), message


def test_the_pages_example_is_a_sound_mission() -> None:
    example = reference_markdown().split("```yaml\n")[1].split("```")[0]
    assert parse_mission(example, "example").name == "first-light"


def test_no_row_of_the_page_lacks_its_meaning_or_breaks_the_table() -> None:
    rows = [line for line in reference_markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        cells = row.strip("|").split(" | ")
        assert len(cells) == 4, row
        assert all(cell.strip() for cell in cells), row
        assert cells[1].strip() != "any", row


def test_there_is_a_schema_for_each_kind_with_the_short_form() -> None:
    schemas = json_schemas()
    assert list(schemas) == list(KINDS)
    for kind, schema in schemas.items():
        canonical_json(schema)
        assert schema["properties"]["kind"]["const"] == kind
        assert schema["additionalProperties"] is False
        assert "name" in schema["properties"]
        assert "kind" in schema["required"]
        assert "metadata" not in schema["required"]
    assert schemas["GroundStation"]["required"] == ["kind", "spec"]
    assert schemas["Satellite"]["$defs"]["Link"]["properties"]["uplinkBps"]["exclusiveMinimum"] == 0
    assert schemas["Model"]["$defs"]["ModelSpec"]["properties"]["tilePx"]["multipleOf"] == 32


def test_sections_of_one_name_are_the_same_in_every_kind() -> None:
    seen: dict[str, Any] = {}
    for schema in json_schemas().values():
        for name, section in schema["$defs"].items():
            assert seen.setdefault(name, section) == section


def test_one_schema_takes_any_document_and_its_references_hold() -> None:
    schema = document_schema()
    text = json.dumps(schema)
    names = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert names <= set(schema["$defs"])
    assert set(KINDS) <= names
