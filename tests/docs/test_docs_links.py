"""Relative links lead somewhere, anchors included; every page can be reached; decision records keep their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, headings, links

MADE_BY_THE_DEMO = {ROOT / "docs" / "images" / "report.png"}
ADR = ROOT / "docs" / "adr"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def anchor(heading: str) -> str:
    """Return the anchor that a forge gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pages
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        there = file.exists() or file in MADE_BY_THE_DEMO
        if not there or (fragment and fragment not in {anchor(h) for h in headings(file)}):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [(page.parent / t.partition("#")[0]).resolve() for t in links(page) if not re.match(r"[a-z]+:", t)]
        todo += [t for t in targets if t.suffix == ".md" and t.exists()]
        todo += [t for folder in targets if folder.is_dir() for t in folder.glob("*.md")]
    assert set(PAGES) - seen == set()


def test_decision_records_are_numbered_without_gaps_and_listed() -> None:
    files = sorted(ADR.glob("[0-9]*.md"))
    assert [int(f.name[:4]) for f in files] == list(range(len(files)))
    index = (ADR / "README.md").read_text(encoding="utf-8")
    assert [f.name for f in files if f"({f.name})" not in index] == []


@pytest.mark.parametrize("record", sorted(ADR.glob("0*.md")), ids=lambda p: p.name)
def test_a_decision_record_has_all_its_parts(record: Path) -> None:
    assert re.match(r"# \d{4} [A-Z]", record.read_text(encoding="utf-8"))
    wanted = ["Context", "Options", "Decision", "Consequences"]
    assert [h for h in headings(record) if h in wanted] == wanted
    assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})", record.read_text(encoding="utf-8"), re.MULTILINE)
