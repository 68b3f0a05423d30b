"""What space traffic asks of people: alerts, and options of avoidance. Both are proposals that stand alone, outside a mission.

They are written by `orbitloop conjunctions alerts` and `avoid`, and read again by `orbitloop validate`. Nothing acts on them:
an operator decides, and commands.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from orbitloop.resources.meta import Integral, Many, Resource, Section, Share, Text, UtcText, wrong

Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=0), Integral]


class SpaceObject(Section):
    """One of the objects of a conjunction."""

    name: Annotated[str, StringConstraints(max_length=200)] = ""
    """Its name in the catalogue."""
    designator: Annotated[str, StringConstraints(max_length=40)] = ""
    """Its catalogue number."""


class ConjunctionAlertSpec(Section):
    """What is told of a conjunction event."""

    event: Label
    """The event, as `orbitloop conjunctions show` takes it."""
    level: Literal["yellow", "red"]
    """`yellow`: look closer; `red`: decide on avoidance."""
    urgent: bool = False
    """A red alert with less than the time left that planning and uplink need."""
    raised: UtcText
    """When the update came that raised it."""
    tca: UtcText
    """Time of closest approach."""
    primary: SpaceObject
    """The object that the message was for."""
    secondary: SpaceObject
    """The other one."""
    probability: Share | None = None
    """Collision probability; absent where only a distance is known."""
    method: Annotated[str, StringConstraints(max_length=100)] = ""
    """How the probability was computed."""
    miss_km: float = Field(ge=0)
    """Distance at closest approach, km."""
    speed_km_s: float = Field(ge=0)
    """Relative speed there, km/s."""
    covariance: Literal["measured", "model", "none"]
    """What is known of the uncertainty: from orbit determination, a model by class and age, or nothing."""
    remarks: Annotated[tuple[Text, ...], Many] = ()
    """What a reader must know of the numbers."""


class ConjunctionAlert(Resource):
    """A conjunction event has reached a level; told once for each level."""

    stands_alone: ClassVar[bool] = True

    kind: Literal["ConjunctionAlert"] = "ConjunctionAlert"
    spec: ConjunctionAlertSpec


class ProposedBurn(Section):
    """An impulse along the track."""

    at: UtcText
    """When, UTC."""
    along_track_m_s: float = Field(ge=-50, le=50)
    """Change of speed, m/s: positive speeds up, which brings the satellite higher and later."""
    revolutions_before_tca: float = Field(gt=0)
    """How many revolutions before the closest approach."""


class PredictedApproach(Section):
    """The closest approach after the burn."""

    tca: UtcText
    """Time of closest approach."""
    miss_km: float = Field(ge=0)
    """Distance there, km."""
    probability: Share
    """Collision probability there."""
    method: Annotated[str, StringConstraints(max_length=100)] = "2d"
    """How the probability was computed."""


class AvoidanceCost(Section):
    """What the option costs."""

    delta_v_m_s: float = Field(ge=0)
    """Size of the burn, m/s."""
    propellant_share: float | None = Field(default=None, ge=0)
    """Share of the propellant that it takes, where mass, specific impulse and propellant are known."""
    passes_lost: Count | None = None
    """Ground passes lost; absent where no stations were given."""
    passes_cut: Count | None = None
    """Ground passes shortened."""
    contact_lost_s: float | None = Field(default=None, ge=0)
    """Seconds of contact lost."""


class OtherApproach(Section):
    """A close approach with a third object that the burn brings."""

    other: SpaceObject
    """The third object."""
    tca: UtcText
    """When."""
    miss_km: float = Field(ge=0)
    """How near, km."""
    before_km: float | None = Field(default=None, ge=0)
    """How near without the burn; absent where it did not come near."""


class AvoidanceOptionSpec(Section):
    """One option for one event."""

    event: Label
    """The event, as `orbitloop conjunctions show` takes it."""
    state: Literal["proposed"] = "proposed"
    """Always `proposed`: an operator decides."""
    rank: Annotated[int, Field(ge=1), Integral]
    """Place in the order of preference, 1 first."""
    pareto: bool = False
    """No other option is as good in probability, size and passes, and better in one."""
    meets_goal: bool = False
    """The probability reaches the goal."""
    satellite: SpaceObject
    """The object that would burn."""
    secondary: SpaceObject
    """The object that it would avoid."""
    burn: ProposedBurn | None = None
    """The burn; absent for doing nothing."""
    predicted: PredictedApproach
    """What comes of it."""
    cost: AvoidanceCost
    """What it costs."""
    command_by: UtcText | None = None
    """End of the last pass before the burn; absent where there is none, or no stations were given."""
    new_approaches: Annotated[tuple[OtherApproach, ...] | None, Many] = None
    """Close approaches that it brings; absent where nobody looked."""
    remarks: Annotated[tuple[Text, ...], Many] = ()
    """What a reader must know of the numbers."""

    @model_validator(mode="after")
    def _burn_before_approach(self) -> AvoidanceOptionSpec:
        if self.burn is None and self.cost.delta_v_m_s > 0:
            raise wrong("an option without a burn has a delta-v", "give the burn, or deltaVMS: 0")
        return self


class AvoidanceOption(Resource):
    """A way to make a conjunction less dangerous: a proposal, never an act."""

    stands_alone: ClassVar[bool] = True

    kind: Literal["AvoidanceOption"] = "AvoidanceOption"
    spec: AvoidanceOptionSpec
