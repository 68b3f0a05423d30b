"""The table of kinds: what `kind:` may say, and the class that reads it."""

from __future__ import annotations

from orbitloop.resources.constellation import Constellation
from orbitloop.resources.data import Dataset, Model
from orbitloop.resources.fleet import GroundStation, Satellite
from orbitloop.resources.health import SafeModeProposal, TelemetryLimits
from orbitloop.resources.jobs import IncrementalLearningJob
from orbitloop.resources.meta import Resource
from orbitloop.resources.mission import Mission
from orbitloop.resources.traffic import AvoidanceOption, ConjunctionAlert

KINDS: dict[str, type[Resource]] = {
    "Mission": Mission,
    "Satellite": Satellite,
    "GroundStation": GroundStation,
    "Constellation": Constellation,
    "Dataset": Dataset,
    "Model": Model,
    "IncrementalLearningJob": IncrementalLearningJob,
    "ConjunctionAlert": ConjunctionAlert,
    "AvoidanceOption": AvoidanceOption,
    "TelemetryLimits": TelemetryLimits,
    "SafeModeProposal": SafeModeProposal,
}
"""In the order in which the reference page shows them."""
