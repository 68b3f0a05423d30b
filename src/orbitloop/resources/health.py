"""Telemetry limits, which people write, and safe-mode proposals, which people read and decide on. Both stand alone.

A proposal is written by `orbitloop health --proposals` and read again by `orbitloop validate`. Nothing in orbitloop executes
one: an operator does, or lets it expire.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from orbitloop.resources.jobs import PluginName
from orbitloop.resources.meta import Integral, Many, Parameters, Resource, Section, Text, UtcText, wrong

ChannelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Bounds = Annotated[tuple[float, float], Many]


class ChannelLimit(Section):
    """Limits of one channel, in its own units."""

    channel: ChannelName
    """Name of the channel, as in the telemetry."""
    subsystem: Annotated[str, StringConstraints(max_length=100)] = ""
    """Where it belongs (power, thermal, attitude ...); channels of one subsystem are told together."""
    soft: Bounds | None = None
    """[low, high]: outside of it somebody should look. Absent = no soft limit."""
    hard: Bounds | None = None
    """[low, high]: outside of it somebody must act; encloses `soft`. Absent = no hard limit."""
    persistence: Annotated[int, Field(ge=1, le=100_000), Integral] = 1
    """So many samples in a row make a violation, and as many end it."""
    hysteresis: float = Field(default=0.0, ge=0)
    """A violation ends this far inside of the limit."""
    max_rate_per_s: float = Field(default=0.0, ge=0)
    """Fastest change per second; 0 = not checked. Needs telemetry with times."""
    stuck_samples: Annotated[int, Field(ge=0, le=10_000_000), Integral] = 0
    """So many equal samples in a row are odd; 0 = not checked."""
    full_scale: Bounds | None = None
    """[low, high] that the channel can show; by it detectors scale it. Absent = from its nominal part."""

    @model_validator(mode="after")
    def _in_order(self) -> ChannelLimit:
        for name, bounds in (("soft", self.soft), ("hard", self.hard), ("fullScale", self.full_scale)):
            if bounds is not None and bounds[0] >= bounds[1]:
                raise wrong(f"{name} is not [low, high]", "write the lower number first")
        if self.soft and self.hard and (self.soft[0] < self.hard[0] or self.soft[1] > self.hard[1]):
            raise wrong("soft reaches out of hard", "the hard range encloses the soft one")
        inner = self.soft or self.hard
        if inner and 2 * self.hysteresis >= inner[1] - inner[0]:
            raise wrong("hysteresis leaves nothing of the range", "make it smaller than half of the range")
        return self


class Detector(Section):
    """Which monitor looks for anomalies."""

    name: PluginName = "ensemble"
    """Name of the monitor; `orbitloop plugins monitor` lists them."""
    parameters: Parameters = Field(default_factory=dict)
    """Its parameters."""
    nominal_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the telemetry, from its begin, that is taken for nominal where no nominal file is given."""


class TelemetryLimitsSpec(Section):
    """Limits of a satellite's channels."""

    channels: Annotated[tuple[ChannelLimit, ...], Many] = Field(default=(), max_length=2000)
    """The channels; those that are not named have no limits, and are looked at by the detector only."""
    detector: Detector = Detector()
    """Which monitor looks for anomalies."""

    @model_validator(mode="after")
    def _each_once(self) -> TelemetryLimitsSpec:
        names = [one.channel for one in self.channels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise wrong(f"channel {twice[0]!r} stands there twice", "give each channel one entry")
        return self


class TelemetryLimits(Resource):
    """What telemetry may show: soft and hard limits by channel, and the detector beside them."""

    stands_alone: ClassVar[bool] = True

    kind: Literal["TelemetryLimits"] = "TelemetryLimits"
    spec: TelemetryLimitsSpec = TelemetryLimitsSpec()


class HealthEvidence(Section):
    """One thing that speaks for the proposal."""

    kind: Literal["limit", "anomaly", "drift", "silence"]
    """A limit that was crossed, an anomaly, a slow change, or passes without a word."""
    channel: Annotated[str, StringConstraints(max_length=200)] = ""
    """The channel; empty for silence."""
    begins: Annotated[str, StringConstraints(max_length=40)] = ""
    """When it began: UTC, or the number of the sample."""
    score: float = Field(default=0.0, ge=0)
    """How far over its threshold, as a ratio; of silence phi."""
    text: Text = ""
    """In words."""


class SafeModeAction(Section):
    """One step that an operator may command."""

    action: Literal[
        "look", "suspend-inference", "suspend-captures", "withhold-updates", "golden-model", "safe-mode", "replan-without"
    ]
    """What is proposed."""
    why: Text = ""
    """What it is good for here."""


class SafeModeApproval(Section):
    """Who decides."""

    required: Literal[True] = True
    """Always true: nothing acts on a proposal by itself."""
    approved_by: Annotated[str, StringConstraints(max_length=200)] = ""
    """Who approved it; empty until then."""


class SafeModeProposalSpec(Section):
    """What is wrong with a satellite, and what could be done."""

    satellite: ChannelName
    """Whom it is about."""
    severity: Literal["watch", "warning", "critical"]
    """`watch`: look in the next pass; `warning`: decide before the next one; `critical`: decide now."""
    raised: UtcText | None = None
    """When the newest evidence came; absent where the telemetry has no times."""
    reason: Text
    """In one sentence."""
    evidence: Annotated[tuple[HealthEvidence, ...], Many] = Field(min_length=1, max_length=200)
    """What speaks for it."""
    actions: Annotated[tuple[SafeModeAction, ...], Many] = Field(min_length=1, max_length=20)
    """What is proposed, the mildest first."""
    expires_after_passes: Annotated[int, Field(ge=1, le=1000), Integral] = 3
    """After so many passes without a decision it is void."""
    approval: SafeModeApproval = SafeModeApproval()
    """Who decides."""


class SafeModeProposal(Resource):
    """A satellite that seems unwell: evidence and proposed steps. Never an act."""

    stands_alone: ClassVar[bool] = True

    kind: Literal["SafeModeProposal"] = "SafeModeProposal"
    spec: SafeModeProposalSpec
