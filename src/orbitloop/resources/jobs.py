"""Jobs: what is done with a data set and a model. The incremental-learning job is the loop itself.

Accuracies are AP50 as fractions 0..1. Which miners, selectors and codecs there are is the registry's knowledge, not ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from orbitloop.resources.meta import Integral, Many, Name, Parameters, Resource, Section, Share, later, wrong

PluginName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=100)]


class Mining(Section):
    """Which predictions are hard examples."""

    name: PluginName = "uncertainty"
    """Name of the miner."""
    parameters: Parameters = Field(default_factory=dict)
    """Its parameters."""


class Screening(Section):
    """Which tiles are not worth the network's time on board: blank, clouded, seen before."""

    name: PluginName = "cheap"
    """Name of the screen; `none` looks at every tile."""
    parameters: Parameters = Field(default_factory=dict)
    """Its parameters."""


class Selection(Section):
    """Which hard examples go down in the next pass."""

    name: PluginName = "value-diversity"
    """Name of the selector."""
    parameters: Parameters = Field(default_factory=dict)
    """Its parameters."""


class Samples(Section):
    """How a sample is sent."""

    format: Literal["webp", "jpeg", "png"] = "webp"
    """Picture format; only png is lossless."""
    quality: Annotated[int, Field(ge=1, le=100), Integral] = 80
    """Quality of webp and jpeg, 1 to 100."""
    keep_easy: Share = 0.02
    """Share of the easy tiles that is kept as a random probe, so that confident mistakes are found too."""


class Oracle(Section):
    """Labels from the data set, as a person would give them."""

    cost_per_label: float = Field(default=1.0, ge=0)
    """What one label of a tile costs, in the unit of your choice."""


class Teacher(Section):
    """Labels from a larger model on the ground."""

    width: float = Field(default=1.0, ge=0.05, le=2)
    """Width factor of the teacher."""
    steps: Annotated[int, Field(ge=1, le=10_000_000), Integral] = 3000
    """Optimiser steps of the teacher's training on the base domains."""
    accept_above: Share = 0.8
    """From this score on a box of the teacher is a label."""
    reject_below: Share = 0.2
    """Under this score a box of the teacher is ignored; a box between the two makes the tile unsure."""
    cost: float = Field(default=0.0, ge=0)
    """What one label of a tile costs, in the oracle's unit."""

    @model_validator(mode="after")
    def _ordered(self) -> Teacher:
        if self.reject_below > self.accept_above:
            raise wrong("rejectBelow is above acceptAbove", "0.2 and 0.8 are usual")
        return self


class Labelling(Section):
    """Who labels: the teacher first, the oracle where the teacher is unsure."""

    oracle: Oracle | None = None
    """Labels from the data set; `{}` takes it with its defaults."""
    teacher: Teacher | None = None
    """Labels from a larger model; `{}` takes it with its defaults."""

    @model_validator(mode="after")
    def _someone(self) -> Labelling:
        if self.oracle is None and self.teacher is None:
            raise wrong("nobody labels", "give oracle: {} or teacher: {}, or both")
        return self


class Trigger(Section):
    """When a training starts."""

    min_samples: Annotated[int, Field(ge=1, le=1_000_000), Integral] = 24
    """From this many new labelled samples on."""
    patience_hours: float = Field(default=24.0, ge=0, le=8760)
    """How long it waits for a satellite that has not told how its last update ended, hours; then the others go on, and that
    one catches up when it is heard again."""


class Training(Section):
    """How the candidate model is trained."""

    trigger: Trigger = Trigger()
    """When a training starts."""
    steps: Annotated[int, Field(ge=1, le=10_000_000), Integral] = 300
    """Optimiser steps of one round."""
    batch: Annotated[int, Field(ge=1, le=4096), Integral] = 16
    """Tiles per step."""
    learning_rate: float = Field(default=0.001, gt=0, le=1)
    """Peak learning rate."""
    replay: float = Field(default=0.5, ge=0, lt=1)
    """Share of each batch that comes from the old domains, against forgetting."""
    pull: float = Field(default=0.0, ge=0, le=1)
    """How hard each step draws the convolutions' weights back to where they were, in learning rates; it makes updates smaller.
    0.03 has cost 0.1 to 0.4 points of AP50 and 0.4 to 1.2 of AP, 0.1 more."""
    views: Annotated[int, Field(ge=1, le=1000), Integral] = 6
    """Augmented views of each tile whose features are cached."""
    rounds: Annotated[int, Field(ge=0, le=10_000), Integral] = 3
    """Most rounds of training in the mission; 0 = never train."""


class Gate(Section):
    """When a candidate may fly."""

    min_gain: Share = 0.005
    """Least gain in AP50 on the new domains."""
    max_loss: Share = 0.01
    """Most loss in AP50 on the old domains."""
    gate_share: float = Field(default=0.25, gt=0, lt=1)
    """Share of the downlinked scenes that is frozen for the gate and never trained on."""
    min_objects: Annotated[int, Field(ge=1, le=1_000_000), Integral] = 10
    """Least number of labelled objects in the frozen new set; before there are as many, no round starts."""


class Canary(Section):
    """The trial on board before an update may fly."""

    cases: Annotated[int, Field(ge=0, le=10_000), Integral] = 8
    """Labelled tiles that travel with the update; 0 = no trial by accuracy."""
    max_loss: Share = 0.1
    """From this loss on the trial fails: behind the running model on the same tiles, in F1 or in recall at IoU 0.5. 0 = any
    loss; 1 = none."""
    max_slowdown: float = Field(default=3.0, ge=1, le=1000)
    """Most CPU time that it may take on a tile, in units of what the running model takes."""
    seconds: float = Field(default=60.0, gt=0, le=86400)
    """Wall seconds for the whole trial; then it hangs, and fails."""
    memory_mb: float = Field(default=1000.0, ge=64, le=1e6)
    """Memory that the trial's process may hold, MB (10^6 bytes): both models and what they need for a tile."""
    isolated: bool = True
    """Try it in a process of its own, so that a crash, a hang or hunger for memory ends the trial and nothing else. Costs about
    half a second per update and satellite; large fleets may be simulated without."""


class Probation(Section):
    """The time after the trial, until a contact confirms the update."""

    contacts: Annotated[int, Field(ge=1, le=1000), Integral] = 1
    """Passes that an update lasts on probation whose canary has proven it."""
    contacts_unproven: Annotated[int, Field(ge=1, le=1000), Integral] = 3
    """The same where the canary could prove nothing: its tiles are gone, or neither model finds an object on them."""
    boots: Annotated[int, Field(ge=0, le=100), Integral] = 2
    """Boots on probation that are put up with; one more is a crash loop, and the model before flies again. A pass with a boot
    before it does not count."""

    @model_validator(mode="after")
    def _ordered(self) -> Probation:
        if self.contacts_unproven < self.contacts:
            raise wrong("contactsUnproven is below contacts", "an unproven update needs no less proof in flight")
        return self


class Update(Section):
    """How a change of the model is sent up."""

    codec: PluginName = "compact"
    """How the change is written: `compact`, `zstd` (for satellites without the entropy coder), `exact`, or a plug-in's name."""
    step: float = Field(default=0.3, gt=0, le=100)
    """Quantisation step of weights, in units of the rms change of each output channel; of integers at least 1."""
    bits: Annotated[int, Field(ge=0, le=18), Integral] = 10
    """Precision of scales, biases and batch-norm: about as many bits of each value."""
    canary: Canary = Canary()
    """The trial on board."""
    probation: Probation = Probation()
    """The time after it."""
    waves: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000), Integral], ...], Many] = later(())
    """Roll out by waves: so many satellites first, then so many more, then the rest. A wave starts when all of the one before
    have confirmed. One that rolls back or refuses ends the rollout; one that is silent for `trigger.patienceHours` is waited
    for no longer. Empty = all satellites at once."""


class Budgets(Section):
    """What may be spent; absent = as much as link, storage and battery allow."""

    downlink_bytes_per_pass: Annotated[int, Field(ge=0), Integral] | None = None
    """Most bytes of samples down in one pass."""
    uplink_bytes_per_pass: Annotated[int, Field(ge=0), Integral] | None = None
    """Most bytes of updates up in one pass."""
    uplink_bytes_per_update: Annotated[int, Field(ge=1024), Integral] | None = None
    """What one update may take in bytes, as it goes up. The most accurate one that fits is sent; default: as many as
    `update.step` comes to."""
    samples_per_pass: Annotated[int, Field(ge=0), Integral] | None = None
    """Most samples down in one pass."""
    labels: Annotated[int, Field(ge=0), Integral] | None = None
    """Most labels in the whole mission."""
    energy_j_per_pass: float | None = Field(default=None, ge=0)
    """Most energy that sending samples may take in one pass, J."""


class IncrementalLearningJobSpec(Section):
    """The loop: mine, select, label, train, prove, update."""

    dataset: Name | None = None
    """Name of the Dataset; not needed when the file has one."""
    model: Name | None = None
    """Name of the Model; not needed when the file has at most one."""
    screening: Screening = Screening()
    """Which tiles are not looked at, in each capture by itself."""
    mining: Mining = Mining()
    """Which predictions are hard examples."""
    selection: Selection = Selection()
    """Which of them go down."""
    samples: Samples = Samples()
    """How they are sent."""
    labelling: Labelling = Labelling(oracle=Oracle())
    """Who labels them; by default the oracle."""
    training: Training = Training()
    """How the candidate is trained."""
    gate: Gate = Gate()
    """When it may fly."""
    update: Update = Update()
    """How it is sent up."""
    budgets: Budgets = Budgets()
    """What may be spent."""


class IncrementalLearningJob(Resource):
    """The learning loop over one data set and one model."""

    default_name = "job"

    kind: Literal["IncrementalLearningJob"] = "IncrementalLearningJob"
    spec: IncrementalLearningJobSpec = IncrementalLearningJobSpec()
