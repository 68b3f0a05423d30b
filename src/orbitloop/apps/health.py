"""Health of one satellite: telemetry and limits in; events, incidents, drift and a proposal out. Files are read and written
here.

Judging is `ground.health` and `algorithms.health`. A proposal becomes a resource in a folder and nothing more.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from orbitloop.algorithms.health.alarms import AlarmRule, events_of
from orbitloop.algorithms.health.drift import PageHinkley, block_means
from orbitloop.algorithms.health.limits import EVERYTHING, ChannelLimits, Level, LimitEvent, LimitMonitor
from orbitloop.apps.files import read_bounded, write_whole
from orbitloop.apps.health_files import TelemetryFile
from orbitloop.clock import iso_utc
from orbitloop.errors import ManifestError, TelemetryError
from orbitloop.ground.health.diagnosis import Incident, incidents, subsystem_of
from orbitloop.ground.health.proposals import Evidence, Proposal, propose
from orbitloop.ground.health.scoring import Interval
from orbitloop.ground.health.telemetry import FloatArray, Scale, Telemetry, held, scale_of, unscaled
from orbitloop.plugins.kinds import Monitor
from orbitloop.plugins.registry import default_registry
from orbitloop.resources.health import SafeModeProposal, SafeModeProposalSpec, TelemetryLimits, TelemetryLimitsSpec
from orbitloop.resources.manifest import MAX_FILE_BYTES, load_standalone, parse_manifests
from orbitloop.resources.meta import Metadata, Resource

DRIFT_BLOCKS = 24
"""Blocks that the nominal part is cut into for its mean and deviation; as long are those that are judged."""
MAX_EVIDENCE = 50
GAP = 20
"""Usual steps in time without a sample that end one recording and begin another."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A channel whose mean has moved: since which sample it is over the bar, and where to."""

    channel: str
    first: int
    direction: int
    deviations: float
    """(mean of the last quarter - nominal mean) / deviation of nominal block means."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What was found in a telemetry file."""

    telemetry: Telemetry
    nominal: Telemetry
    method: str
    rule: AlarmRule
    scores: FloatArray
    events: Mapping[str, tuple[Interval, ...]]
    limit_events: tuple[LimitEvent, ...]
    latched: Mapping[str, Level]
    drifts: tuple[Drift, ...]
    incidents: tuple[Incident, ...]
    proposal: Proposal | None

    def when(self, sample: int) -> str:
        """Return the time of a sample: UTC, or its number."""
        return iso_utc(float(self.telemetry.times_s[sample])) if self.telemetry.timed else f"sample {sample}"

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        limit_events = [
            {
                "channel": e.channel,
                "at": self._at(e.at_s),
                "level": e.level.name.lower(),
                "was": e.was.name.lower(),
                "reason": e.reason,
                "value": e.value,
            }
            for e in self.limit_events
        ]
        found = {name: [list(run) for run in runs] for name, runs in self.events.items() if runs}
        missing = {
            c: int(n) for c, n in zip(self.telemetry.channels, (~np.isfinite(self.telemetry.values)).sum(axis=0), strict=True)
        }
        return {
            "method": self.method,
            "bar": self.rule.factor,
            "samples": len(self.telemetry),
            "nominal_samples": len(self.nominal),
            "channels": len(self.telemetry.channels),
            "missing_samples": {name: count for name, count in missing.items() if count},
            "events": found,
            "incidents": [
                one.to_json() | {"begins": self.when(one.first), "ends": self.when(one.last)} for one in self.incidents
            ],
            "limit_events": limit_events,
            "latched": {name: level.name.lower() for name, level in self.latched.items()},
            "drifts": [{"channel": d.channel, "since": self.when(d.first), "deviations": d.deviations} for d in self.drifts],
            "severity": self.proposal.severity if self.proposal else "none",
        }

    def _at(self, at_s: float) -> str:
        return iso_utc(at_s) if self.telemetry.timed else f"sample {int(at_s)}"


def load_limits(path: Path | None) -> TelemetryLimitsSpec:
    """Read a file that holds one TelemetryLimits (YAML or JSON); without a file there are no limits and the default detector.

    Raises:
        ManifestError: malformed, or it holds something else.
    """
    if path is None:
        return TelemetryLimitsSpec()
    found = load_standalone(path)
    if found is None:  # the strict reader says what is wrong with it
        try:
            text = read_bounded(path, MAX_FILE_BYTES, ManifestError, "give a YAML file of limits").decode("utf-8")
        except UnicodeDecodeError as error:
            raise ManifestError("it cannot be read as text", where=str(path), remedy="give a YAML file of limits") from error
        found = parse_manifests(text, str(path))
    limits = [one for one in found if isinstance(one, TelemetryLimits)]
    if len(limits) != 1 or len(found) != 1:
        raise ManifestError(
            f"holds {len(limits)} TelemetryLimits among {len(found)} resources", where=str(path), remedy="write one"
        )
    return limits[0].spec


def examine(
    file: TelemetryFile, limits: TelemetryLimitsSpec, *, train: TelemetryFile | None = None, method: str = ""
) -> HealthReport:
    """Judge a telemetry file.

    Args:
        file: what is judged; its own nominal part is taken where it has one.
        limits: limits by channel, and the detector.
        train: nominal telemetry of the same channels.
        method: a monitor's name, instead of the one that `limits` names.

    Raises:
        TelemetryError: too little nominal telemetry, other channels, or an optional package is absent.
        PluginError: no such monitor, or it refuses its parameters.
    """
    nominal, judged, scaled = _parts(file, train, limits.detector.nominal_share)
    follows = train is None and file.nominal is None
    known = {one.channel: one for one in limits.channels}
    unknown = sorted(set(known) - set(judged.channels))
    if unknown:
        raise TelemetryError(
            f"limits are given for {unknown[0]!r}, which the telemetry does not hold",
            remedy=f"there are: {', '.join(judged.channels[:20])}",
        )
    full = {name: one.full_scale for name, one in known.items() if one.full_scale is not None}
    scale = unscaled(len(judged.channels)) if scaled and not full else scale_of(nominal, full)
    name = method or limits.detector.name
    parameters = {} if method and method != limits.detector.name else limits.detector.parameters
    monitor = cast(Monitor, default_registry().create("monitor", name, parameters))
    rule: AlarmRule = getattr(monitor, "rule", AlarmRule())
    scores = _scores(monitor, nominal, judged, scale, follows)
    events = {c: tuple(events_of(scores[:, n], rule)) for n, c in enumerate(judged.channels)}
    limit_events, latched = _limits(judged, limits)
    groups = {c: known[c].subsystem if c in known and known[c].subsystem else subsystem_of(c) for c in judged.channels}
    together = incidents(judged, events, scores, nominal, groups)
    drifts = tuple(d for d in _drifts(nominal, judged, scale) if not events[d.channel])
    report = HealthReport(judged, nominal, name, rule, scores, events, limit_events, latched, drifts, tuple(together), None)
    evidence = _evidence(report, groups)
    return HealthReport(
        judged, nominal, name, rule, scores, events, limit_events, latched, drifts, tuple(together), propose(evidence)
    )


def proposal_of(report: HealthReport, satellite: str) -> SafeModeProposal | None:
    """Return the proposal as a resource; None where there is nothing to propose."""
    if report.proposal is None:
        return None
    last = report.when(len(report.telemetry) - 1)
    return resource_of(report.proposal, satellite, last if report.telemetry.timed else None)


def resource_of(proposal: Proposal, satellite: str, raised: str | None) -> SafeModeProposal:
    """Return a plain proposal as the resource that is written."""
    evidence = [
        {"kind": e.kind, "channel": e.channel, "begins": e.begins, "score": round(e.score, 3), "text": e.text[:4000]}
        for e in proposal.evidence[:MAX_EVIDENCE]
    ]
    spec: dict[str, Any] = {
        "satellite": satellite,
        "severity": proposal.severity,
        "raised": raised,
        "reason": proposal.reason[:4000],
        "evidence": evidence,
        "actions": [{"action": action, "why": why} for action, why in proposal.actions],
        "expires_after_passes": proposal.expires_after_passes,
    }
    plain = re.sub(r"[^a-z0-9]+", "-", satellite.lower()).strip("-")[:40] or "satellite"
    name = f"{plain}-{proposal.severity}"
    return SafeModeProposal(metadata=Metadata(name=name), spec=SafeModeProposalSpec.model_validate(spec, by_name=True))


def write_proposal(folder: Path, proposal: Resource) -> Path:
    """Write a proposal as YAML under its own name; one of that name is replaced.

    Raises:
        StateError: it cannot be written.
    """
    import yaml

    path = folder / f"{proposal.name}.yaml"
    plain = proposal.to_json()
    plain["spec"] = {key: value for key, value in plain["spec"].items() if value is not None}
    write_whole(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode(), make_folder=True)
    return path


def _parts(file: TelemetryFile, train: TelemetryFile | None, share: float) -> tuple[Telemetry, Telemetry, bool]:
    """Return (nominal, judged, whether both come scaled)."""
    if train is not None:
        nominal = train.judged if train.nominal is None else train.nominal
        return nominal.select(file.judged.channels), file.judged, file.scaled and train.scaled
    if file.nominal is not None:
        return file.nominal, file.judged, file.scaled
    cut = int(len(file.judged) * share)
    if cut < 1 or cut >= len(file.judged):
        raise TelemetryError(f"{len(file.judged)} samples are too few", remedy="give more telemetry, or --train FILE")
    return file.judged.part(0, cut), file.judged.part(cut, len(file.judged)), file.scaled


def _scores(monitor: Monitor, nominal: Telemetry, judged: Telemetry, scale: Scale, follows: bool) -> FloatArray:
    """Score what is judged; after a gap in time a new recording begins, and a missing sample is never odd itself."""
    quiet = held(nominal.values)
    monitor.fit(scale.apply(quiet))
    values = scale.apply(held(judged.values, quiet[-1]))
    begins = [0, *_gaps(judged), len(judged)]
    parts = [monitor.scores(values[first:end], follows=follows and first == 0) for first, end in itertools.pairwise(begins)]
    return np.where(np.isfinite(judged.values), np.concatenate(parts), 0.0)


def _gaps(judged: Telemetry) -> list[int]:
    """Return the samples before which time jumps by more than `GAP` usual steps."""
    steps = np.diff(judged.times_s)
    usual = float(np.median(steps)) if len(steps) else 0.0
    if not judged.timed or usual <= 0:
        return []
    return (np.flatnonzero(steps > GAP * usual) + 1).tolist()


def _limits(judged: Telemetry, limits: TelemetryLimitsSpec) -> tuple[tuple[LimitEvent, ...], dict[str, Level]]:
    if not limits.channels:
        return (), {}
    made = {
        one.channel: ChannelLimits(
            soft=one.soft or EVERYTHING,
            hard=one.hard or EVERYTHING,
            persistence=one.persistence,
            hysteresis=one.hysteresis,
            max_rate_per_s=one.max_rate_per_s,
            stuck_samples=one.stuck_samples,
        )
        for one in limits.channels
    }
    monitor = LimitMonitor(made)
    values = judged.select(monitor.channels).values
    events = [e for row, at_s in zip(values, judged.times_s.tolist(), strict=True) for e in monitor.update(row, at_s)]
    return tuple(events), monitor.latched()


def _drifts(nominal: Telemetry, judged: Telemetry, scale: Scale) -> list[Drift]:
    """Look for means that move slowly: block means of what is judged against those of the nominal part."""
    block = max(len(nominal) // DRIFT_BLOCKS, 1)
    if len(nominal) < 4 * DRIFT_BLOCKS or len(judged) < 2 * block:
        return []
    quiet, now = held(nominal.values), held(judged.values)
    before, after = block_means(scale.apply(quiet), block), block_means(scale.apply(now), block)
    found = []
    for c, name in enumerate(judged.channels):
        mean, deviation = float(before[:, c].mean()), max(float(before[:, c].std()), 0.01)
        watch = PageHinkley(mean, deviation)
        late = float(after[-max(len(after) // 4, 1) :, c].mean())
        for n, value in enumerate(after[:, c].tolist()):
            if watch.step(value):
                found.append(Drift(name, n * block, watch.direction, (late - mean) / deviation))
                break
    return found


def _evidence(report: HealthReport, groups: Mapping[str, str]) -> list[Evidence]:
    found = []
    for event in report.limit_events:
        if event.level > event.was:
            grave = event.level is Level.HARD
            text = f"{event.channel} crossed its limit ({event.reason}) with {event.value:.6g}"
            at = report._at(event.at_s)
            found.append(Evidence("limit", event.channel, at, 1.0 + grave, text, groups[event.channel], grave))
    for one in report.incidents:
        lead = one.first_mover
        score = one.peak / report.rule.factor
        found.append(Evidence("anomaly", lead.channel, report.when(one.first), score, one.words, lead.subsystem))
    for drift in report.drifts:
        text = f"{drift.channel} has moved slowly: its mean ends {drift.deviations:+.3g} deviations from the nominal one"
        found.append(Evidence("drift", drift.channel, report.when(drift.first), 1.0, text, groups[drift.channel]))
    return found
