"""What the sets of a catalogue give away: objects that are stale, coming down, manoeuvred, cross-tagged, lost or found
again.

A detection is a statement about element sets, not about a satellite: it says what does not fit, by how much, against which
noise. The detectors are in `manoeuvres`, `crosstags` and `presence`; here they are run together, so that one explains
another: a pair of sets that is a cross-tag is no manoeuvre, and an object that was coming down is not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbitloop.orbit.catalogue.crosstags import cross_tags
from orbitloop.orbit.catalogue.findings import KINDS, Finding
from orbitloop.orbit.catalogue.manoeuvres import manoeuvres
from orbitloop.orbit.catalogue.predictions import histories, residuals
from orbitloop.orbit.catalogue.presence import decaying, lost_and_found, stale
from orbitloop.orbit.catalogue.snapshots import Snapshot, feeds


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Declared bounds of the detectors; each module says what its own means."""

    sigmas: float = 6.0
    stale_intervals: float = 3.0
    forecast_d: float = 30.0


def check(snapshots: Sequence[Snapshot], at_s: float | None = None, limits: CheckLimits = CheckLimits()) -> list[Finding]:
    """Run all detectors.

    Args:
        snapshots: in any order; one is enough for decay, two for the others.
        at_s: the time that ages and decay are counted to; None: that of the newest snapshot.
        limits: of the detectors.

    Returns:
        Findings by kind, the worst first within each.
    """
    ordered = sorted(snapshots, key=lambda s: s.taken_s)
    if not ordered:
        return []
    when_s = ordered[-1].taken_s if at_s is None else at_s
    all_sets = histories(ordered)
    coming_down = decaying(all_sets, when_s, limits.forecast_d)
    down = {f.norad_id for f in coming_down}
    groups = feeds(ordered)
    present = {number for members in groups for number in members[-1].newest()}
    tagged: list[Finding] = []
    absences: list[Finding] = []
    involved: set[tuple[int, float]] = set()
    for members in groups:
        found_here, explained = cross_tags(members, limits.sigmas)
        tagged += found_here
        involved |= explained
        absences += [f for f in lost_and_found(members, down) if f.kind == "found" or f.norad_id not in present]
    found = [
        *coming_down,
        *tagged,
        *manoeuvres(residuals(all_sets), limits.sigmas, apart_from=involved),
        *absences,
        *stale(all_sets, when_s, limits.stale_intervals, present=present),
    ]
    return sorted(found, key=lambda f: (KINDS.index(f.kind), -f.rank, f.norad_id))
