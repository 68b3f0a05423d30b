"""All sections, in the order of the table. Each module of this package adds its own."""

from __future__ import annotations

import torture_candidates
import torture_cuts
import torture_errno
import torture_flips
import torture_kills
import torture_malicious
import torture_rounds
from torture_section import Section


def all_sections() -> list[Section]:
    """Return every section; names are unique."""
    sections: list[Section] = []
    sections += torture_cuts.SECTIONS
    sections += torture_errno.SECTIONS
    sections += torture_malicious.SECTIONS
    sections += torture_candidates.SECTIONS
    sections += torture_flips.SECTIONS
    sections += torture_kills.SECTIONS
    sections += torture_rounds.SECTIONS
    assert len({s.name for s in sections}) == len(sections)
    return sections
