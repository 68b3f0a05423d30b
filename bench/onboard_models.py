"""What the on-board benchmark measures on: networks with real weights, and the real scenes that they never saw.

A subject is one data set with its model: in float32 as trained, and in int8 as it flies. Models come from the folder that
`ORBITLOOP_BENCH_MODELS` names (`aircraft`, `ships`; `aircraft-int8`, ...), else from the missions' own cache, by training where
it has none. Without the data sets there is one subject made of rendered scenes and fresh weights, good for times and memory
but not for accuracy, and every figure says so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from PIL import Image

from onboard_tiff import write_scene
from orbitloop.algorithms.tiling import cut_tile, tile_windows
from orbitloop.errors import DataError, OrbitloopError
from orbitloop.ground.adapters.calibration import observe_activations
from orbitloop.ground.adapters.model_store import load_model, save_model
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.export import write_graph
from orbitloop.ground.export_int8 import write_int8_graph
from orbitloop.ground.quantise import calibration_tiles, quantise
from orbitloop.ground.topology import STRIDES, layers
from orbitloop.onboard.engine import read_metadata
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.model import INT8, METADATA_KEY, WEIGHTS_FILE, ModelMetadata, Preprocessing
from orbitloop.resources.manifest import load_mission
from orbitloop.sim.mission import base_model
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import SceneRef, World, open_world

ROOT = Path(__file__).resolve().parents[1]
SETS = ("aircraft", "ships")
MODELS_VARIABLE = "ORBITLOOP_BENCH_MODELS"
CALIBRATION_TILES = 64
FRESH_SEED = 7
FRESH_ANCHORS_PX = (((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)), ((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)))
"""Darknet's own (yolov3-tiny.cfg)."""

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A graph with its weights apart, as everywhere here."""

    graph: bytes
    weights: Weights

    @property
    def metadata(self) -> ModelMetadata:
        """What the graph says of itself."""
        props = {entry.key: entry.value for entry in onnx.load_from_string(self.graph).metadata_props}
        return read_metadata(props.get(METADATA_KEY))


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One set: its networks, and its held-out scenes by name. `trained` is whether the weights mean anything."""

    name: str
    float32: Model
    int8: Model | None
    held_out: tuple[SceneRef, ...]
    calibration: tuple[SceneRef, ...]
    trained: bool
    note: str


def data_dir() -> Path:
    """Return the folder of the data sets: `$ORBITLOOP_DATA`, else `../shared/data` beside the checkout."""
    return Path(os.environ.get("ORBITLOOP_DATA") or ROOT.parent / "shared" / "data")


def subjects(*, quick: bool) -> list[Subject]:
    """Return the sets that are there; a quick run trains nothing, and takes one set at most."""
    found: list[Subject] = []
    for name in SETS[: 1 if quick else None]:
        try:
            found.append(_real(name, quick=quick))
        except OrbitloopError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return found or [_rendered()]


def _real(name: str, *, quick: bool) -> Subject:
    plan = load_mission(ROOT / "missions" / f"{name}.yaml")
    world = open_world(plan, data_dir(), plan.seed)
    model, trained, note = _model(name, plan, world, quick=quick)
    held_out = (*world.split.base_held_out, *world.new_held_out)
    return Subject(name, model, _int8(name, model, world.split.base_train), held_out, world.split.base_train, trained, note)


def _model(name: str, plan: Any, world: World, *, quick: bool) -> tuple[Model, bool, str]:
    given = os.environ.get(MODELS_VARIABLE)
    if given and (Path(given) / name).is_dir():
        graph, weights = load_model(Path(given) / name)
        return Model(graph, weights), True, f"{name}: weights given by {MODELS_VARIABLE}"
    if given:
        raise DataError(f"{MODELS_VARIABLE} holds no model of this set", where=name, remedy="put one there, or unset it")
    if quick:
        return _fresh(world.classes, plan.model.spec.tile_px, plan.model.spec.overlap_px), False, f"{name}: fresh weights"
    base = base_model(plan, world, _Talker(), None)
    return Model(base.graph, base.weights), True, f"{name}: base model of missions/{name}.yaml"


def _rendered() -> Subject:
    """Return a subject without data: farmland as the demo mission renders it, full width, fresh weights."""
    plan = load_mission(ROOT / "missions" / "farmland-demo.yaml", ("Model.width=1", "Dataset.procedural.scenePx=1280"))
    world = open_world(plan, data_dir(), plan.seed)
    model = _fresh(world.classes, 320, 64)
    note = "no data sets: rendered scenes and fresh weights"
    return Subject(
        "rendered",
        model,
        _int8("rendered", model, world.split.base_train),
        world.split.base_held_out[:4],
        world.split.base_train[:4],
        False,
        note,
    )


def _fresh(classes: tuple[str, ...], tile_px: int, overlap_px: int) -> Model:
    weights = initial_weights(1.0, len(classes), FRESH_SEED)
    rules = Preprocessing(tile_px=tile_px, overlap_px=overlap_px)
    return Model(write_graph(ModelMetadata("fresh", classes, 1.0, STRIDES, FRESH_ANCHORS_PX, rules), weights), weights)


def _int8(name: str, model: Model, calibration: Sequence[SceneRef]) -> Model | None:
    given = os.environ.get(MODELS_VARIABLE)
    if given and (Path(given) / f"{name}-int8").is_dir():
        graph, weights = load_model(Path(given) / f"{name}-int8")
        return Model(graph, weights)
    return quantised(model, [ref.load() for ref in calibration])


def quantised(model: Model, images: Sequence[LabelledImage]) -> Model:
    """Return the int8 form of a float model, calibrated on tiles of its own training pictures."""
    about = model.metadata
    tiles = calibration_tiles(images, about.preprocessing, CALIBRATION_TILES, np.random.default_rng(0))
    seen = observe_activations(about, model.weights, tiles)
    tensors = quantise(about.width, len(about.classes), model.weights, seen)
    return Model(write_int8_graph(replace(about, form=INT8), tensors), tensors)


def without_repeats(subject: Subject) -> list[Boxes] | None:
    """Return the truth of the held-out scenes with objects that are labelled twice counted once; None = there are none."""
    if subject.name not in SETS:
        return None
    plan = load_mission(ROOT / "missions" / f"{subject.name}.yaml", ("Dataset.duplicateBoxes=drop",))
    world = open_world(plan, data_dir(), plan.seed)
    single = {ref.image_id: ref for ref in (*world.split.base_held_out, *world.new_held_out)}
    truth = [single[ref.image_id].load().boxes for ref in subject.held_out]
    given = sum(len(ref.load().boxes) for ref in subject.held_out)
    return truth if sum(len(boxes) for boxes in truth) < given else None


class _Talker(Watcher):
    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        print(f"{name}: {done} of {total} {detail}", file=sys.stderr)


def flop_per_tile(width: float, classes: int, tile_px: int) -> int:
    """Return the operations of one tile, two for each multiply and add of the convolutions (bias, pools, decoding left out)."""
    size = {-1: tile_px}
    flop = 0
    for layer in layers(width, classes):
        side = size[layer.source]
        if layer.kind == "pool":
            side //= 2
        elif layer.kind == "upsample":
            side *= 2
        size[layer.index] = side
        flop += 2 * layer.in_channels * layer.out_channels * layer.kernel**2 * side**2
    return flop


def resized(model: Model, tile_px: int) -> Model:
    """Return the same network for another tile size."""
    about = model.metadata
    if about.preprocessing.tile_px == tile_px:
        return model
    overlap_px = about.preprocessing.overlap_px * tile_px // about.preprocessing.tile_px
    rules = replace(about.preprocessing, tile_px=tile_px, overlap_px=overlap_px)
    write = write_int8_graph if about.form == INT8 else write_graph
    return Model(write(replace(about, preprocessing=rules), model.weights), model.weights)


def write_folder(folder: Path, model: Model, *, plain: bool = False) -> Path:
    """Write a model for a worker; with `plain`, also as one ONNX file with its weights inside, and its metadata as JSON."""
    save_model(folder, model.graph, model.weights)
    if plain:
        graph = onnx.load_from_string(model.graph)
        for tensor in graph.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(model.weights[tensor.name]), tensor.name))
        (folder / "plain.onnx").write_bytes(graph.SerializeToString())
        (folder / "metadata.json").write_text(json.dumps(model.metadata.to_json()))
    assert (folder / WEIGHTS_FILE).is_file()
    return folder


def real_tiles(refs: Sequence[SceneRef], tile_px: int, count: int) -> npt.NDArray[np.uint8]:
    """Return the fullest tiles (count, S, S, 3) of some scenes: those with most objects, whose boxes cost most."""
    rated: list[tuple[int, npt.NDArray[np.uint8]]] = []
    for ref in refs:
        image = ref.load()
        for window in tile_windows(image.pixels.shape[1], image.pixels.shape[0], tile_px, tile_px // 5):
            rated.append((_inside(image.boxes, window), cut_tile(image.pixels, window)))
    rated.sort(key=lambda item: -item[0])
    return np.stack([tile for _, tile in rated[:count]])


def _inside(boxes: Boxes, window: Any) -> int:
    centres = (boxes.xyxy_px[:, :2] + boxes.xyxy_px[:, 2:]) / 2 - (window.x_px, window.y_px)
    return int(((centres >= 0) & (centres < window.width_px)).all(axis=1).sum())


def write_scenes(refs: Sequence[SceneRef], folder: Path, kind: str = "tif") -> list[Path]:
    """Write scenes at the mission's scale, without loss: `tif` (tiled GeoTIFF, not compressed) or `png`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for ref in refs:
        file = folder / f"{ref.image_id}.{kind}"
        if not file.exists():
            pixels = ref.load().pixels
            write_scene(file, pixels) if kind == "tif" else Image.fromarray(pixels).save(file)
        files.append(file)
    return files
