"""From findings to a proposal: how severe it is, and what an operator could do. Plain records; nothing is ever executed.

Rules, told in each proposal: a hard limit or a satellite that is given up is critical; a soft limit that lasts, a strong
anomaly (score of 3 or more) or several subsystems at once a warning; the rest is to be watched. Proposed steps go from mild
to hard, and only as far as the severity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["watch", "warning", "critical"]
EvidenceKind = Literal["limit", "anomaly", "drift", "silence"]
STRONG = 3.0
ORDER: tuple[Severity, ...] = ("watch", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One finding. `score` is over its threshold as a ratio (of silence: phi); `grave` = a hard limit, or given up."""

    kind: EvidenceKind
    channel: str
    begins: str
    score: float
    text: str
    subsystem: str = ""
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed: (action, why) pairs, the mildest first."""

    severity: Severity
    reason: str
    evidence: tuple[Evidence, ...]
    actions: tuple[tuple[str, str], ...]
    expires_after_passes: int


def propose(evidence: Sequence[Evidence]) -> Proposal | None:
    """Return a proposal from what was found; None when nothing was."""
    if not evidence:
        return None
    ordered = tuple(sorted(evidence, key=lambda one: (not one.grave, one.kind != "limit", -one.score)))
    severity = _severity(ordered)
    silent = [one for one in ordered if one.kind == "silence"]
    return Proposal(
        severity,
        ordered[0].text,
        ordered,
        _actions(severity, bool(silent)),
        {"watch": 6, "warning": 3, "critical": 2}[severity],
    )


def _severity(evidence: Sequence[Evidence]) -> Severity:
    if any(one.grave for one in evidence):
        return "critical"
    groups = {one.subsystem for one in evidence if one.kind == "anomaly"}
    strong = any(one.kind == "limit" or one.score >= STRONG for one in evidence if one.kind != "drift")
    return "warning" if strong or len(groups) > 1 else "watch"


def _actions(severity: Severity, silent: bool) -> tuple[tuple[str, str], ...]:
    if silent:
        steps = [("look", "ask another station, and a longer pass, before anything else")]
        if severity != "watch":
            steps.append(("withhold-updates", "no update to a satellite whose answer would not be heard"))
        if severity == "critical":
            steps.append(("replan-without", "its passes can serve others"))
        return tuple(steps)
    steps = [("look", "ask for the channels that moved, at full rate, in the next pass")]
    if severity != "watch":
        steps.append(("withhold-updates", "an update would mix its own effect with this one"))
        steps.append(("suspend-inference", "takes its load off battery and heat until somebody has looked"))
    if severity == "critical":
        steps.append(("golden-model", "what is known to be good, should the payload be the reason"))
        steps.append(("safe-mode", "the platform before the payload"))
    return tuple(steps)
