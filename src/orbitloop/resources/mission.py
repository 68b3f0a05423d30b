"""The mission, and the plan that it resolves to: every resource found, every reference checked.

A mission file is a set of resources; a `MissionPlan` is what the runner takes. Between them stand the rules of the short form:
a single Dataset, Model or IncrementalLearningJob needs no reference, an absent Model or job means the default one, absent
lists of satellites and stations mean all of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from orbitloop.clock import parse_utc_s
from orbitloop.records.ids import digest_json
from orbitloop.resources.data import Dataset, Model
from orbitloop.resources.fleet import GroundStation, Satellite
from orbitloop.resources.jobs import IncrementalLearningJob
from orbitloop.resources.meta import Integral, Many, Metadata, Name, Resource, Section, Text, UtcText, later, wrong
from orbitloop.resources.planning import Planning
from orbitloop.resources.problems import InvalidManifest, Path, Problem, dotted

R = TypeVar("R", bound=Resource)


class Captures(Section):
    """How often the camera takes a scene."""

    scenes_per_hour: float = Field(default=6.0, gt=0, le=3600)
    """Scenes per virtual hour and satellite."""


class Trust(Section):
    """How strict the satellites are about what is signed."""

    max_contacts_behind: Annotated[int, Field(ge=1, le=1_000_000), Integral] = 300
    """So many contacts after the ground last heard from a satellite its bundles are too old to be believed: whoever sends old
    ones again, or withholds new ones, gains no more than that."""
    disciplined_clock: bool = False
    """The satellites' clocks are disciplined (GNSS), and may make metadata expire. Without it only signed times count."""
    grace_days: float = Field(default=0.0, ge=0, le=3660)
    """How long after its expiry metadata still counts by a disciplined clock, days."""

    @model_validator(mode="after")
    def _grace_needs_a_clock(self) -> Trust:
        if self.grace_days and not self.disciplined_clock:
            raise wrong("graceDays is given, but no clock makes anything expire", "add disciplinedClock: true")
        return self


class MissionSpec(Section):
    """When, how long, with whom."""

    start: UtcText = "2026-06-01T00:00:00Z"
    """Start of the virtual clock, ISO 8601 UTC."""
    duration_days: float = Field(default=3.0, gt=0, le=3660)
    """Length of the mission, days."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Integral] = 0
    """Seed of everything random."""
    threads: Annotated[int, Field(ge=1, le=1024), Integral] = 2
    """CPU threads for training and inference. The result depends on it in the last bits: keep it for equal digests."""
    job: Name | None = None
    """Name of the IncrementalLearningJob; not needed when the file has at most one."""
    satellites: Annotated[tuple[Name, ...], Many, Field(min_length=1)] | None = None
    """Names of the satellites that take part; default all of the file."""
    stations: Annotated[tuple[Name, ...], Many, Field(min_length=1)] | None = None
    """Names of the ground stations that take part; default all of the file."""
    ceiling: bool = False
    """Also train all layers with all labels of the new domains: what would be reached without limits (`new_ceiling`)."""
    captures: Captures = Captures()
    """How often the camera takes a scene."""
    trust: Trust = Trust()
    """How strict the satellites are about what is signed."""
    planning: Planning = later(Planning())
    """Who gets an antenna where passes compete."""
    training_hours: float = Field(default=1.0, ge=0, le=1000)
    """Virtual hours that a training takes on the ground."""
    description: Text = ""
    """What the mission is about, for the report."""


class Mission(Resource):
    """One run: a span of time, and the resources that take part."""

    kind: Literal["Mission"] = "Mission"
    spec: MissionSpec = MissionSpec()


@dataclass(frozen=True, slots=True)
class MissionPlan:
    """All that a runner needs; every name in it exists."""

    mission: Mission
    satellites: Mapping[str, Satellite]
    stations: Mapping[str, GroundStation]
    dataset: Dataset
    model: Model
    job: IncrementalLearningJob

    @property
    def name(self) -> str:
        return self.mission.name

    @property
    def seed(self) -> int:
        return self.mission.spec.seed

    @property
    def start_s(self) -> float:
        """Start of the mission, UTC seconds since the Unix epoch."""
        return parse_utc_s(self.mission.spec.start)

    @property
    def duration_s(self) -> float:
        return self.mission.spec.duration_days * 86_400.0

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Classes of the model's outputs, or None: all that the data set has."""
        return self.model.spec.classes or self.dataset.spec.classes

    def resources(self) -> list[Resource]:
        """Return every resource of the plan, the mission first."""
        return [self.mission, *self.satellites.values(), *self.stations.values(), self.dataset, self.model, self.job]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the full manifests, every default written out."""
        return [resource.to_json() for resource in self.resources()]

    def digest(self) -> str:
        """Return the digest of the canonical JSON of all resources: equal plans, however they were written, have one digest."""
        return digest_json(self.to_json())

    def with_seed(self, seed: int) -> MissionPlan:
        """Return the plan with another seed.

        Raises:
            ManifestError: the seed is out of range.
        """
        if not 0 <= seed < 2**32:
            raise InvalidManifest([Problem("--seed", None, "", f"{seed} is out of range", "take 0 to 2^32 - 1")])
        spec = self.mission.spec.model_copy(update={"seed": seed})
        return replace(self, mission=self.mission.model_copy(update={"spec": spec}))


@dataclass(frozen=True, slots=True)
class Complaint:
    """A reference that does not hold: at which resource (index; -1 = the whole file), at which field, what and the remedy."""

    resource: int
    path: Path
    what: str
    remedy: str


class Resolver:
    """Turns a file's resources into a plan, and collects every complaint on the way."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = list(resources)
        self.complaints: list[Complaint] = []

    def resolve(self) -> MissionPlan | None:
        """Return the plan, or None when there are complaints."""
        self._check_duplicates()
        missions = self._of(Mission)
        if len(missions) != 1:
            self._complain_count(missions)
            return None
        at, mission = missions[0]
        satellites = self._chosen(Satellite, at, mission.spec.satellites, "satellites")
        stations = self._chosen(GroundStation, at, mission.spec.stations, "stations")
        job_at, job = self._referred(
            IncrementalLearningJob, at, "job", mission.spec.job, IncrementalLearningJob(metadata=Metadata(name="job"))
        )
        holder = job_at if job_at >= 0 else at
        dataset_at, dataset = self._referred(Dataset, holder, "dataset", job.spec.dataset if job else None, None)
        _, model = self._referred(
            Model, holder, "model", job.spec.model if job else None, Model(metadata=Metadata(name="model"))
        )
        if dataset is not None:
            self._check_domains(dataset_at, dataset)
        if dataset is not None and model is not None:
            self._check_classes(dataset, model)
        if self.complaints or dataset is None or model is None or job is None:
            return None
        return MissionPlan(mission, satellites, stations, dataset, model, job)

    def _complain(self, resource: int, path: Path, what: str, remedy: str) -> None:
        self.complaints.append(Complaint(resource, path, what, remedy))

    def _of(self, kind: type[R]) -> list[tuple[int, R]]:
        return [(i, r) for i, r in enumerate(self._resources) if isinstance(r, kind)]

    def _check_duplicates(self) -> None:
        seen: set[tuple[str, str]] = set()
        for index, resource in enumerate(self._resources):
            key = (resource.kind, resource.name)
            if key in seen:
                what = f"a second {resource.kind} is called {resource.name!r}"
                self._complain(index, ("metadata", "name"), what, "give each its own name")
            seen.add(key)

    def _complain_count(self, missions: list[tuple[int, Mission]]) -> None:
        if not missions:
            self._complain(-1, (), "the file has no Mission", "add a document with kind: Mission and a name")
        for at, _ in missions[1:]:
            self._complain(at, ("kind",), "the file has a second Mission", "keep one Mission in a file")

    def _chosen(self, kind: type[R], at: int, names: tuple[str, ...] | None, field: str) -> dict[str, R]:
        known = {resource.name: resource for _, resource in self._of(kind)}
        label = kind.model_fields["kind"].default
        if not known:
            self._complain(at, ("spec",), f"the file has no {label}", f"add a document with kind: {label}")
            return {}
        if names is None:
            return known
        for place, name in enumerate(names):
            if name not in known:
                self._complain(at, ("spec", field, place), f"there is no {label} {name!r}", _known(name, list(known)))
            elif name in names[:place]:
                self._complain(at, ("spec", field, place), f"{name!r} stands twice", "name each once")
        return {name: known[name] for name in names if name in known}

    def _referred(self, kind: type[R], at: int, field: str, name: str | None, default: R | None) -> tuple[int, R | None]:
        found = self._of(kind)
        label = kind.model_fields["kind"].default
        names = [resource.name for _, resource in found]
        path: Path = ("spec", field)
        if name is not None:
            for index, resource in found:
                if resource.name == name:
                    return index, resource
            remedy = _known(name, names) if names else f"add a document with kind: {label} and name: {name}"
            self._complain(at, path, f"there is no {label} {name!r}", remedy)
        elif len(found) > 1:
            what = f"the file has {len(found)} of kind {label}, and none is chosen"
            self._complain(at, path, what, f"write {field}: NAME, one of {', '.join(names)}")
        elif found:
            return found[0]
        elif default is None:
            self._complain(-1, (), f"the file has no {label}", f"add a document with kind: {label}")
        return -1, default if name is None and not found else None

    def _check_domains(self, at: int, dataset: Dataset) -> None:
        spec = dataset.spec
        if spec.procedural is None:
            return
        known = list(spec.procedural.domains)
        places: list[tuple[Path, Any]] = [(("spec", "domains", "base", i), s) for i, s in enumerate(spec.domains.base)]
        for p, phase in enumerate(spec.domains.stream):
            places += [(("spec", "domains", "stream", p, i), s) for i, s in enumerate(phase)]
        for path, selector in places:
            for field, values in spec.conditions(selector).items():
                if field != spec.domain_field:
                    self._complain(at, path, f"rendered scenes have no field {field!r}", "select them by the domain's name")
                    continue
                for value in values:
                    if value not in spec.procedural.domains:
                        self._complain(at, path, f"no domain {value!r} is rendered", _known(str(value), known))

    def _check_classes(self, dataset: Dataset, model: Model) -> None:
        wanted, given = model.spec.classes, dataset.spec.classes
        if wanted is None or given is None:
            return
        at = next(i for i, r in enumerate(self._resources) if r is model)
        for place, name in enumerate(wanted):
            if name not in given:
                what = f"the data set {dataset.name!r} has no class {name!r}"
                self._complain(at, ("spec", "classes", place), what, _known(name, list(given)))


def _known(name: str, names: list[str]) -> str:
    close = get_close_matches(name[:100], names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{hint}Known: {shown}"


def resolve(resources: Sequence[Resource], where: str = "<resources>") -> MissionPlan:
    """Return the plan that the resources make up.

    Raises:
        ManifestError: a reference does not hold, a resource is missing or stands twice; all complaints in one.
    """
    resolver = Resolver(resources)
    plan = resolver.resolve()
    if plan is None:
        raise InvalidManifest([Problem(where, None, _place(resources, c), c.what, c.remedy) for c in resolver.complaints])
    return plan


def _place(resources: Sequence[Resource], complaint: Complaint) -> str:
    from_name = f"{resources[complaint.resource].kind} " if complaint.resource >= 0 else ""
    return f"{from_name}{dotted(complaint.path)}".strip()
