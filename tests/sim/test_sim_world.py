"""The scenes of a mission: no leaks, phases in order, classes chosen and numbered, real forms read from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_mission import JOB, MISSION, MODEL, SATELLITE, STATIONS, merged, tiny_plan

from orbitloop.errors import DataError, OrbitloopError
from orbitloop.resources.manifest import parse_mission
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim import world as world_module
from orbitloop.sim.mission import run_mission
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import World, open_world

CLASSES = ("car", "plane", "ship")


def parts_of(world: World) -> dict[str, set[str]]:
    split = world.split
    named = {"train": split.base_train, "gate": split.base_gate, "old held out": split.base_held_out, "stream": world.stream}
    return {name: {ref.image_id for ref in refs} for name, refs in named.items()} | {
        "new held out": {ref.image_id for ref in world.new_held_out}
    }


@pytest.mark.parametrize("seed", range(5))
def test_no_scene_is_in_two_parts_and_none_is_lost(seed):
    world = open_world(tiny_plan(), Path("no-data"), seed)
    parts = parts_of(world)
    assert sum(len(names) for names in parts.values()) == len(set().union(*parts.values())) == 30
    assert all(parts.values())
    assert len(world.stream) == len(parts["stream"])


def test_phases_come_in_order_and_are_shuffled_within(tmp_path):
    orders = []
    for seed in (0, 0, 1):
        world = open_world(tiny_plan(), tmp_path, seed)
        domains = [ref.domain for ref in world.stream]
        assert domains == sorted(domains, key=["autumn", "haze"].index)
        assert world.phase_names == ("autumn", "haze")
        assert {ref.domain for ref in world.split.base_train} == {"summer"}
        orders.append([ref.image_id for ref in world.stream])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_the_fingerprint_follows_pixels_labels_and_seed():
    one, same, other = (open_world(tiny_plan(), Path("no-data"), seed) for seed in (0, 0, 1))
    assert one.fingerprint(one.split.base_train) == same.fingerprint(same.split.base_train)
    assert one.fingerprint(one.split.base_train) != one.fingerprint(one.split.base_train[1:])
    assert one.fingerprint(one.split.base_train) != other.fingerprint(other.split.base_train)


def picture(rng: np.random.Generator, boxes: list[tuple[int, int, int, int]]) -> Image.Image:
    pixels = rng.integers(60, 90, (128, 128, 3), dtype=np.uint8)
    for x, y, w, h in boxes:
        pixels[y : y + h, x : x + w] = rng.integers(150, 250, 3)
    return Image.fromarray(pixels)


def placed(rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    return [(int(x), int(y), 24, 20) for x, y in rng.integers(0, 100, (3, 2))]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    (tmp_path / "set" / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for number in range(24):
        name = f"{number:02d}.png"
        boxes = placed(rng)
        picture(rng, boxes).save(tmp_path / "set" / "images" / name)
        domain = ("harbour", "airport", "sea")[number % 3]
        images.append({"id": number, "file_name": name, "width": 128, "height": 128, "domain": domain})
        for box in boxes:
            notes.append(
                {
                    "id": len(notes) + 1,
                    "image_id": number,
                    "category_id": int(rng.integers(3)) + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    text = json.dumps({"images": images, "annotations": notes, "categories": categories})
    (tmp_path / "set" / "annotations.coco.json").write_text(text)
    return tmp_path


def plan_of(dataset: dict[str, Any], model: dict[str, Any] | None = None) -> MissionPlan:
    documents = [MISSION, SATELLITE, *STATIONS, {"kind": "Dataset", "spec": dataset}, merged(MODEL, {"spec": model or {}}), JOB]
    return parse_mission(yaml.safe_dump_all(documents), "files")


class StopAtTheGate(Watcher):
    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        if name == "gate":
            raise KeyboardInterrupt


COCO: dict[str, Any] = {
    "format": "coco",
    "path": "set",
    "domains": {"base": "harbour", "stream": ["airport", "sea"]},
}


def test_a_coco_set_is_split_by_its_domains(coco):
    world = open_world(plan_of(COCO), coco, 0)
    assert world.classes == CLASSES
    parts = parts_of(world)
    assert sum(len(names) for names in parts.values()) == len(set().union(*parts.values())) == 24
    image = world.stream[0].load()
    assert image.pixels.shape == (128, 128, 3)
    assert len(image.boxes) == 3


@pytest.mark.parametrize("where", ["dataset", "model"])
def test_chosen_classes_are_renumbered_in_the_chosen_order_and_others_are_left_out(coco, where):
    chosen = ["ship", "car"]
    dataset = {**COCO, "classes": chosen} if where == "dataset" else COCO
    world = open_world(plan_of(dataset, {"classes": chosen} if where == "model" else None), coco, 0)
    whole = open_world(plan_of(COCO), coco, 0)
    assert world.classes == ("ship", "car")
    for few, all_of in zip(world.stream, whole.stream, strict=True):
        names = [whole.classes[c] for c in all_of.load().boxes.classes]
        assert [world.classes[c] for c in few.load().boxes.classes] == [n for n in names if n in chosen]


def test_a_class_that_the_set_has_not_is_named(coco):
    with pytest.raises(OrbitloopError, match="tank"):
        open_world(plan_of({**COCO, "classes": ["tank"]}), coco, 0)


def test_scaling_scales_boxes_with_the_pixels(coco):
    half = open_world(plan_of({**COCO, "scale": 0.5}), coco, 0).stream[0].load()
    full = open_world(plan_of(COCO), coco, 0).stream[0].load()
    assert half.pixels.shape == (64, 64, 3)
    assert np.allclose(half.boxes.xyxy_px * 2, full.boxes.xyxy_px)


def label_twice(root: Path, image: int) -> None:
    """Add to each box of one image of the set another that lies half a pixel beside it."""
    file = root / "set" / "annotations.coco.json"
    text = json.loads(file.read_text())
    for note in [n for n in text["annotations"] if n["image_id"] == image]:
        x, y, w, h = note["bbox"]
        text["annotations"].append({**note, "id": len(text["annotations"]) + 1, "bbox": [x + 0.5, y, w, h]})
    file.write_text(json.dumps(text))


def test_boxes_labelled_twice_are_told_and_kept_or_dropped_as_the_mission_says(coco):
    clean = open_world(plan_of(COCO), coco, 0)
    label_twice(coco, 3)
    kept = open_world(plan_of(COCO), coco, 0)
    dropped = open_world(plan_of({**COCO, "duplicateBoxes": "drop"}), coco, 0)
    assert not clean.repeats
    for world in (kept, dropped):
        assert [(one.image_id, one.repeated) for one in world.repeats] == [("03", 3)]
    counts = [
        {ref.image_id: len(ref.load().boxes) for ref in (*world.split.base_train, *world.split.base_gate)}
        | {ref.image_id: len(ref.load().boxes) for ref in world.split.base_held_out}
        for world in (clean, kept, dropped)
    ]
    assert counts[1] == counts[0] | {"03": 6}
    assert counts[2] == counts[0]
    # What is cached is known by the labels it was trained on: as kept is another training, as dropped the clean one.
    prints = [world.fingerprint((*world.split.base_train, *world.stream, *world.split.base_held_out, *world.split.base_gate))
              for world in (clean, kept, dropped)]  # fmt: skip
    assert prints[0] == prints[2] != prints[1]


def test_a_report_says_that_boxes_count_twice(coco, cache):
    label_twice(coco, 3)
    result = run_mission(plan_of(COCO, {"baseTraining": {"steps": 2}}), coco, coco / "run", cache=cache)
    assert any(
        note.startswith("3 boxes of 1 images") and "count twice (duplicateBoxes: keep)" in note for note in result.report.notes
    )


def test_an_absent_set_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError) as caught:
        open_world(plan_of(COCO), tmp_path, 0)
    assert str(tmp_path / "set") in str(caught.value)
    assert "ORBITLOOP_DATA" in str(caught.value)


def test_a_mission_runs_on_coco_files_with_a_class_chosen(coco, cache):
    plan = plan_of({**COCO, "scale": 0.75}, {"classes": ["ship", "plane"], "baseTraining": {"steps": 5}})
    result = run_mission(plan, coco, coco / "run", cache=cache)
    assert result.report.complete
    assert result.report.model.classes == ("ship", "plane")
    assert result.report.counts.labelled > 0


def test_a_mission_on_yolo_files_resumes_to_the_same_digest(tmp_path, cache):
    rng = np.random.default_rng(4)
    root = tmp_path / "fields"
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(18):
            boxes = placed(rng)
            picture(rng, boxes).save(root / "images" / split / f"{split}{number}.png")
            rows = [f"{rng.integers(2)} {(x + w / 2) / 128} {(y + h / 2) / 128} {w / 128} {h / 128}" for x, y, w, h in boxes]
            (root / "labels" / split / f"{split}{number}.txt").write_text("\n".join(rows) + "\n")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: field, 1: pond}\n")
    dataset = {
        "format": "yolo",
        "path": "fields",
        "scale": 0.7,
        "domainField": "split",
        "domains": {"base": "train", "stream": ["val"]},
    }
    plan = plan_of(dataset, {"baseTraining": {"steps": 5}})
    whole = run_mission(plan, tmp_path, tmp_path / "one", cache=cache)
    assert whole.report.complete
    assert whole.report.model.classes == ("field", "pond")
    assert whole.report.rounds

    stopped = run_mission(plan, tmp_path, tmp_path / "two", cache=cache, watcher=StopAtTheGate())
    assert stopped.interrupted
    resumed = run_mission(plan, tmp_path, tmp_path / "two", cache=cache, resume=True)
    assert resumed.report.digest() == whole.report.digest()


def test_the_scene_cache_stays_within_its_bytes(monkeypatch):
    monkeypatch.setattr(world_module, "_CACHE_BYTES", 3 * 128 * 128 * 3)
    world = open_world(tiny_plan(), Path("no-data"), 0)
    first = world.stream[0].load()
    assert world.stream[0].load() is first
    for ref in world.stream[1:4]:
        ref.load()
    again = world.stream[0].load()
    assert again is not first
    assert np.array_equal(again.pixels, first.pixels)
