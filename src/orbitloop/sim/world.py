"""The scenes of a mission: what the base model learned from, what the satellites meet and when, what judges the outcome.

Real sets and the renderer come through one door: a `SceneRef` that knows its name, domain and fields, and loads its labelled
pixels when asked. Splitting is by scene and is the ground's business (`ground.datasets.split`).
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.errors import DataError
from orbitloop.ground.datasets.coco import read_coco
from orbitloop.ground.datasets.index import DatasetIndex
from orbitloop.ground.datasets.load import load_image
from orbitloop.ground.datasets.repeats import RepeatedBoxes, find_repeats, without_repeats
from orbitloop.ground.datasets.split import Split, split_scenes
from orbitloop.ground.datasets.yolo import read_yolo
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.resources.data import DatasetSpec
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.imagery import CLASSES, ProceduralScene, plan_dataset
from orbitloop.sim.imagery_parameters import FarmlandParameters

_CACHE_BYTES = 1 << 30
Wanted = tuple[str, ...] | None
"""Classes in order of the model's outputs; None = all of the set."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneRef:
    """One scene by name; `load` gives its pixels and labels, at the mission's scale."""

    image_id: str
    domain: str
    fields: Mapping[str, Any]
    load: Callable[[], LabelledImage]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """All scenes of a mission, split, and what the classes are called. `stream` is what the satellites meet, in order.

    `repeats` are the images of the set's files of which objects of these classes are labelled twice, left out or not.
    """

    classes: tuple[str, ...]
    split: Split[SceneRef]
    stream: tuple[SceneRef, ...]
    phase_names: tuple[str, ...]
    repeats: tuple[RepeatedBoxes, ...] = ()

    @property
    def new_held_out(self) -> tuple[SceneRef, ...]:
        return tuple(ref for phase in self.split.new_held_out for ref in phase)

    def fingerprint(self, refs: Sequence[SceneRef]) -> str:
        """Return a digest of these scenes' pixels and labels: what a cached model was trained on."""
        state = hashlib.sha256()
        for ref in refs:
            image = ref.load()
            state.update(ref.image_id.encode())
            state.update(image.pixels.tobytes())
            state.update(image.boxes.xyxy_px.tobytes() + image.boxes.classes.tobytes())
        return "sha256:" + state.hexdigest()


def open_world(plan: MissionPlan, data_dir: Path, seed: int) -> World:
    """Open a mission's data set, or set up its renderer, and split it.

    Raises:
        DataError: the set is absent, or a selector matches nothing.
        LabelError: its labels are malformed.
    """
    spec = plan.dataset.spec
    repeats: tuple[RepeatedBoxes, ...] = ()
    if spec.format == "procedural":
        refs, classes = _procedural(spec, plan.classes, seed)
    else:
        index = _read(spec, plan.classes, data_dir)
        refs, classes, repeats = _files(spec, index), index.classes, find_repeats(index)
    base = [_selector(spec, s) for s in spec.domains.base]
    stream = [[_selector(spec, s) for s in phase] for phase in spec.domains.stream]
    where = {name: list(values) for name, values in spec.where.items()} or None
    split = split_scenes(refs, base, stream, spec.held_out, spec.gate, seed, where=where)
    names = tuple(" + ".join(_name(s) for s in phase) for phase in spec.domains.stream)
    met = tuple(ref for i, phase in enumerate(split.phases) for ref in _shuffled(phase, seed, i))
    return World(classes, split, met, names, repeats)


def _selector(spec: DatasetSpec, selector: str | Mapping[str, tuple[Any, ...]]) -> Any:
    return {name: list(values) for name, values in spec.conditions(selector).items()}


def _name(selector: str | Mapping[str, tuple[Any, ...]]) -> str:
    if isinstance(selector, str):
        return selector
    return ", ".join("/".join(str(v) for v in values) for values in selector.values())


def _shuffled(phase: Sequence[SceneRef], seed: int, index: int) -> list[SceneRef]:
    """Meet a phase's scenes in an order of the seed's: real orbits do not pass domain by domain within a phase."""
    order = np.random.default_rng([seed, 11, index]).permutation(len(phase))
    return [phase[int(i)] for i in order]


def _procedural(spec: DatasetSpec, wanted: Wanted, seed: int) -> tuple[list[SceneRef], tuple[str, ...]]:
    assert spec.procedural is not None
    rules = spec.procedural
    domains = {
        name: FarmlandParameters.from_mapping(dict(values), where=f"spec.procedural.domains.{name}")
        for name, values in rules.domains.items()
    }
    classes, renumber = _choose_classes(CLASSES, wanted)
    cache = _Cache()
    refs = []
    for scene in plan_dataset(domains, rules.scene_px, rules.scenes_per_domain, seed):
        load = functools.partial(_rendered, scene, renumber)
        refs.append(SceneRef(scene.image_id, scene.domain, {"domain": scene.domain}, cache.wrap(scene.image_id, load)))
    return refs, classes


def _rendered(scene: ProceduralScene, renumber: Mapping[int, int]) -> LabelledImage:
    image = scene.render()
    return replace(image, boxes=_renumbered(image.boxes, renumber))


def _read(spec: DatasetSpec, wanted: Wanted, data_dir: Path) -> DatasetIndex:
    """Read the set's files, with the classes that count, numbered as the model has them."""
    folder = data_dir / str(spec.path)
    if not folder.is_dir():
        raise DataError(
            f"the data set {spec.path!s} is not in the data folder",
            where=str(folder),
            remedy="give --data DIR or set ORBITLOOP_DATA to the folder that holds it",
        )
    if spec.format == "yolo":
        index = read_yolo(folder)
    else:
        index = read_coco(folder / spec.annotations, domain_field=spec.domain_field, images=folder / spec.images)
    classes, renumber = _choose_classes(index.classes, wanted)
    return DatasetIndex(classes, tuple(replace(entry, boxes=_renumbered(entry.boxes, renumber)) for entry in index.entries))


def _files(spec: DatasetSpec, index: DatasetIndex) -> list[SceneRef]:
    cache = _Cache()
    refs = []
    for entry in index.entries:
        # What is left out is left out of training, gate and measure alike; fingerprints are taken of what is left.
        chosen = replace(entry, boxes=without_repeats(entry.boxes)) if spec.duplicate_boxes == "drop" else entry
        fields = {**entry.fields, spec.domain_field: entry.domain, "domain": entry.domain}
        load = functools.partial(load_image, chosen, spec.scale)
        refs.append(SceneRef(entry.image_id, entry.domain, fields, cache.wrap(entry.image_id, load)))
    return refs


def _choose_classes(given: Sequence[str], wanted: Wanted) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the classes that count, and old number -> new number; boxes of other classes are left out."""
    chosen = tuple(wanted or given)
    unknown = [name for name in chosen if name not in given]
    if unknown:
        raise DataError(f"the set has no class {unknown[0]!r}", remedy=f"it has {', '.join(given)}")
    return chosen, {given.index(name): i for i, name in enumerate(chosen)}


def _renumbered(boxes: Boxes, renumber: Mapping[int, int]) -> Boxes:
    keep = np.isin(boxes.classes, list(renumber))
    kinds = np.array([renumber[int(c)] for c in boxes.classes[keep]], np.int32)
    return Boxes(boxes.xyxy_px[keep], kinds)


class _Cache:
    """Least recently used scenes, up to a gigabyte of pixels."""

    def __init__(self) -> None:
        self.held: OrderedDict[str, LabelledImage] = OrderedDict()
        self.bytes = 0

    def wrap(self, name: str, load: Callable[[], LabelledImage]) -> Callable[[], LabelledImage]:
        def cached() -> LabelledImage:
            if name in self.held:
                self.held.move_to_end(name)
                return self.held[name]
            image = load()
            self.held[name] = image
            self.bytes += image.pixels.nbytes
            while self.bytes > _CACHE_BYTES and len(self.held) > 1:
                _, dropped = self.held.popitem(last=False)
                self.bytes -= dropped.pixels.nbytes
            return image

        return cached
