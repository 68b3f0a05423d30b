"""Every file and every function that a page names exists; found by reading the source, importing nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, inline_code

SOURCE = ROOT / "src" / "orbitloop"
_FILE = re.compile(r"[\w./-]+\.(py|yaml|md|toml|lock)")
_NAME = re.compile(r"([a-z_]\w*(?:\.[a-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def file_of(module: str) -> Path | None:
    """Return the file of a module that is named from the package on, with or without `orbitloop.`."""
    parts = module.removeprefix("orbitloop.").split(".")
    if not (SOURCE / parts[0]).exists() and not (SOURCE / f"{parts[0]}.py").exists():
        return None
    whole = SOURCE.joinpath(*parts)
    return whole.with_suffix(".py") if whole.with_suffix(".py").exists() else whole / "__init__.py"


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return what a module's or class's body defines, by name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {n.id: node for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def exists(module: str, attribute: str) -> bool:
    file = file_of(module)
    if file is None or not file.exists():
        return False
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for part in attribute.split("."):
        node = names_in(body).get(part)
        if node is None:
            return False
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


@pages
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = [code for code in inline_code(page) if _FILE.fullmatch(code) and "/" in code and "NAME" not in code]
    missing = [n for n in named if not any((base / n).exists() for base in (ROOT, SOURCE, page.parent))]
    assert not missing, f"{page.name} names files that are not there: {missing}"


@pages
def test_every_function_that_is_named_exists(page: Path) -> None:
    named = [m.groups() for code in inline_code(page) if (m := _NAME.fullmatch(code.removesuffix("()")))]
    ours = [(module, name) for module, name in named if module.startswith("orbitloop.") or file_of(module) is not None]
    missing = [f"{module}:{name}" for module, name in ours if not exists(module, name)]
    assert not missing, f"{page.name} names functions that are not there: {missing}"


def test_the_reader_of_names_tells_there_from_not_there() -> None:
    assert exists("sim.mission", "run_mission")
    assert exists("orbitloop.onboard.agent", "Agent.observe")
    assert exists("records.update", "ApplyOutcome.CONFIRMED")
    assert not exists("onboard.agent", "Agent.sleep")
    assert not exists("onboard.nowhere", "Agent")
    assert file_of("early") is None


def test_the_architecture_page_follows_the_loop_through_the_source() -> None:
    named = [code for code in inline_code(ROOT / "docs" / "architecture.md") if _NAME.fullmatch(code)]
    assert len(named) >= 40
