"""The page on plug-ins is true: its class passes the contract suite, and its entry point is found, built and named."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from pages import ROOT, blocks

from orbitloop.plugins.registry import default_registry

PAGE = ROOT / "docs" / "plugins.md"


def text_of(language: str) -> str:
    return "\n\n".join(block.text for block in blocks(language) if block.page == PAGE)


def test_the_plug_in_of_the_page_is_found_and_keeps_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tomllib.loads(text_of("toml"))["project"]["entry-points"]["orbitloop.selector"]
    (tmp_path / "freshest.py").write_text(text_of("python"))  # importing it runs the page's checks
    info = tmp_path / "freshest-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: freshest\nVersion: 0.1\n")
    lines = [f"{name} = {target}" for name, target in entry.items()]
    (info / "entry_points.txt").write_text("\n".join(["[orbitloop.selector]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    registry = default_registry()
    assert registry.entry("selector", "freshest").origin == "freshest"
    made = registry.create("selector", "freshest", {"least_value": 0.2})
    assert made.least_value == 0.2
    monkeypatch.delitem(sys.modules, "freshest")
