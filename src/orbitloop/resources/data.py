"""Data sets and models: what there is to see, what the base model knows of it, and the network that looks.

A data set is cut into domains by fields of its images. `domains.base` is what the base model is trained on, `domains.stream`
what the satellite meets afterwards, phase by phase. Reading images and labels is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from orbitloop.resources.meta import InnerPath, Integral, Many, Parameters, Resource, Scalar, Section, Share, Tenant, wrong

ClassName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
CONVOLUTIONS = 11  # of yolov3-tiny, without the two output convolutions
PARTITIONS = ("head", "backbone", "bn", "outputs", "all")


def _listed(value: Any) -> Any:
    """Take one value where a list is expected for a list of one."""
    return value if isinstance(value, (list, tuple)) else (value,)


_VALUE = {"type": ["string", "number", "boolean"]}
FieldValues = Annotated[
    tuple[Scalar, ...],
    Many,
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]}),
]
"""Allowed values of one image field; a single value may stand without brackets."""

Selector = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200), Tag("name")]
    | Annotated[dict[str, FieldValues], Field(min_length=1), Tag("fields")],
    Discriminator(lambda value: "fields" if isinstance(value, dict) else "name"),
]
"""Which scenes: a domain's name, or image fields with the values that they may have (all must hold)."""

_PHASE = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}, "minItems": 1}
Phase = Annotated[
    tuple[Selector, ...],
    Many,
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_PHASE, {"type": "string"}, {"type": "object"}], "$comment": "selectors"}),
]
"""A list of selectors; a single one may stand without brackets."""


class Domains(Section):
    """What is known and what comes."""

    base: Phase
    """What the base model is trained on: selectors. A selector is a domain's name, or a mapping of image fields to the
    value or values that they may have, such as `{domain: [a, b], condition: clear}` (all must hold)."""
    stream: Annotated[tuple[Phase, ...], Many, Field(min_length=1)]
    """What the satellite meets, in order: a list of phases, each a list of selectors (a phase of one may stand bare)."""


class Procedural(Section):
    """Scenes drawn by the built-in farmland renderer, labelled exactly."""

    scene_px: Annotated[int, Field(ge=64, le=8192), Integral] = 512
    """Side of a scene, pixels."""
    scenes_per_domain: Annotated[int, Field(ge=2, le=10_000), Integral] = 24
    """How many scenes each domain has."""
    domains: Annotated[dict[str, Parameters], Field(min_length=1)]
    """Name of each domain -> parameters of the renderer (checked by the renderer; what is absent keeps its default)."""


class DatasetSpec(Section):
    """Where the pictures and labels are, and how they are cut into domains."""

    format: Literal["coco", "yolo", "procedural"] = "coco"
    """`coco` or `yolo`: files under `path`; `procedural`: rendered, see `procedural`."""
    path: InnerPath | None = None
    """Folder of the set, relative to the data folder (`--data`). Needed for coco and yolo."""
    annotations: InnerPath = "annotations.coco.json"
    """COCO file, relative to `path`."""
    images: InnerPath = "images"
    """Folder of the pictures, relative to `path`."""
    scale: float = Field(default=1.0, gt=0, le=16)
    """Factor by which pictures and boxes are resampled before tiling (0.5 = half the resolution)."""
    classes: Annotated[tuple[ClassName, ...], Many, Field(min_length=1, max_length=1000)] | None = None
    """Classes to use, in order; default all of the set."""
    duplicate_boxes: Literal["keep", "drop"] = "keep"
    """What becomes of boxes that lie on an earlier box of their class in one image (IoU > 0.6), as in sets that were labelled
    twice: `keep`, with a warning of `orbitloop validate` and of the report, or `drop`. Slanting fields
    side by side have such boxes too, and are two objects: look before you drop."""
    domain_field: str = Field(default="domain", min_length=1, max_length=100)
    """The image field that names the domain."""
    where: dict[str, FieldValues] = Field(default_factory=dict)
    """Keep only images whose fields have one of these values, such as `{condition: [clear]}`."""
    domains: Domains
    """What the base model knows and what the satellite meets."""
    held_out: float = Field(default=0.3, gt=0, lt=1)
    """Share of each domain's scenes that is kept for the final measure, whole scenes, never seen in training or mining."""
    gate: float = Field(default=0.15, gt=0, lt=1)
    """Share of the base scenes that is frozen for the gate."""
    procedural: Procedural | None = None
    """What to render, for the format `procedural`."""

    @model_validator(mode="after")
    def _fits_its_format(self) -> DatasetSpec:
        if self.format == "procedural" and self.procedural is None:
            raise wrong("the format is procedural, but there is no `procedural` section", "add procedural: {domains: {...}}")
        if self.format != "procedural" and self.procedural is not None:
            raise wrong(f"a `procedural` section stands beside the format {self.format}", "set format: procedural")
        if self.format != "procedural" and self.path is None:
            raise wrong("the set has no `path`", "add path: FOLDER, relative to the data folder")
        if self.held_out + self.gate >= 1:
            raise wrong("heldOut and gate leave no scene to train on", "keep their sum well under 1")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise wrong("a class stands twice in `classes`", "name each class once")
        return self

    def conditions(self, selector: str | Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        """Return the selector as image field -> allowed values."""
        return {self.domain_field: (selector,)} if isinstance(selector, str) else dict(selector)

    def matches(self, selector: str | Mapping[str, tuple[Any, ...]], fields: Mapping[str, Any]) -> bool:
        """Does an image with these fields belong to the selector (and to `where`)?"""
        return _holds(self.where, fields) and _holds(self.conditions(selector), fields)


def _holds(conditions: Mapping[str, tuple[Any, ...]], fields: Mapping[str, Any]) -> bool:
    # A bool equals an int in Python; a field that is 1 is not meant by `true`.
    return all(
        any(value == fields[name] and isinstance(value, bool) == isinstance(fields[name], bool) for value in values)
        if name in fields
        else False
        for name, values in conditions.items()
    )


class Dataset(Resource):
    """Labelled scenes, cut into what the base model knows and what the satellite meets."""

    default_name = "dataset"

    kind: Literal["Dataset"] = "Dataset"
    spec: DatasetSpec


class BaseTraining(Section):
    """How the model that flies first is trained."""

    steps: Annotated[int, Field(ge=1, le=10_000_000), Integral] = 1500
    """Optimiser steps."""
    batch: Annotated[int, Field(ge=1, le=4096), Integral] = 16
    """Tiles per step."""
    learning_rate: float = Field(default=0.002, gt=0, le=1)
    """Peak learning rate."""


def _partition_term(term: str) -> str:
    count = term.removeprefix("early:")
    early = (
        term.startswith("early:") and count.isascii() and count.isdigit() and len(count) < 3 and 1 <= int(count) <= CONVOLUTIONS
    )
    if term in PARTITIONS or early or any(c in term for c in ".*?["):
        return term
    close = get_close_matches(term[:100], [*PARTITIONS, "early:5"], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    terms = f"{', '.join(PARTITIONS)}, early:N (first N convolutions, 1 to {CONVOLUTIONS})"
    remedy = f"{hint}Terms are {terms}, or a pattern such as conv0*.weight"
    raise wrong(f"{term[:60]!r} names no part of the network", remedy)


class Quantisation(Section):
    """How the int8 form is made of the trained weights."""

    calibration_tiles: Annotated[int, Field(ge=1, le=10_000), Integral] = 96
    """Real tiles of the base domains on which activations are looked at; a round looks at as many of its own as well."""
    max_loss: float = Field(default=0.02, ge=0, le=1)
    """What AP50 may lose by it on the frozen base scenes (0.02 = two points). A model that loses more does not fly, where 20
    objects or more say so."""


class ModelSpec(Section):
    """The network, its input, and which of its tensors may change in orbit."""

    architecture: Literal["yolov3-tiny"] = "yolov3-tiny"
    """The network."""
    form: Literal["int8", "float32"] = "int8"
    """How it computes on board. `int8`: a quarter of the bytes and a third of the time. Training is in float32 either way."""
    quantisation: Quantisation = Quantisation()
    """How the int8 form is made."""
    width: float = Field(default=1.0, ge=0.05, le=2)
    """Factor on the channels of every layer (1 = Darknet's, 8.7 million parameters)."""
    tile_px: Annotated[int, Field(ge=32, le=2048, multiple_of=32), Integral] = 320
    """Side of the square tile that the network sees, pixels, a multiple of 32."""
    overlap_px: Annotated[int, Field(ge=0, le=2016), Integral] = 64
    """How far neighbouring tiles overlap, pixels; at least the size of a common object."""
    classes: Annotated[tuple[ClassName, ...], Many, Field(min_length=1, max_length=1000)] | None = None
    """Classes in order of the outputs; default the data set's."""
    report_score: Share = 0.25
    """From this score on a detection is reported."""
    candidate_score: Share = 0.05
    """From this score on a detection is kept for mining."""
    nms_iou: float = Field(default=0.5, gt=0, le=1)
    """Of two boxes of a class that overlap by more than this IoU the weaker one goes."""
    max_detections: Annotated[int, Field(ge=1, le=10_000), Integral] = 300
    """Most detections of a tile."""
    trainable: Annotated[tuple[str, ...], Many, Field(min_length=1, max_length=100)] = ("head",)
    """Which tensors an update may change, the union of terms: `head` (all after layer 12), `backbone`, `bn` (batch-norm
    everywhere), `outputs` (output convolutions), `early:N` (first N convolutions), `all`, or a pattern over tensor names
    such as `conv0*.weight`."""
    base_training: BaseTraining = BaseTraining()
    """How the base model is trained."""
    tenant: Tenant = "mission"
    """Whose model it is: the one whose keys sign its updates. At most 32 small letters, digits and inner hyphens."""
    seal_key: InnerPath | None = None
    """File with the tenant's encryption key (64 hexadecimal digits), relative to the data folder; with it, what an update
    changes can be read by the tenant's satellites only. Default: updates are signed and not encrypted."""

    @field_validator("trainable")
    @classmethod
    def _terms(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_partition_term(term) for term in terms)

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.overlap_px >= self.tile_px:
            raise wrong(f"overlapPx {self.overlap_px} is not under tilePx {self.tile_px}", "a fifth of tilePx is usual")
        if self.candidate_score > self.report_score:
            raise wrong("candidateScore is above reportScore", "mining needs the weaker candidates too: lower candidateScore")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise wrong("a class stands twice in `classes`", "name each class once")
        return self


class Model(Resource):
    """The detector that flies."""

    default_name = "model"

    kind: Literal["Model"] = "Model"
    spec: ModelSpec = ModelSpec()
