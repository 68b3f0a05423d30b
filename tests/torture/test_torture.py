"""Every section of the torture suite at its small count, and every control; `make torture` runs the full counts.

Keys are new in every run, and with them the bytes of the files. So a control of which a few trials in a hundred go bad may be
spared in all of its small count; it then gets its full one.
"""

from __future__ import annotations

import pytest
from torture_section import Section
from torture_sections import all_sections


@pytest.mark.parametrize("section", all_sections(), ids=lambda s: s.name)
def test_section_holds_at_its_small_count(section: Section) -> None:
    outcome = section.run(section.quick, lambda done: None)
    if section.control and not outcome.bad_count:
        outcome = section.run(section.count, lambda done: None)
    assert outcome.tried >= min(section.quick, 1)
    assert section.holds(outcome), (outcome.bad_count, outcome.bad)
