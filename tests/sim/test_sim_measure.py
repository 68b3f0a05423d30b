"""The meter measures what flies: whole scenes, the on-board pipeline, each scene once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import tiny_plan

from orbitloop.records.prediction import Detections
from orbitloop.sim.measure import Meter, detect_all
from orbitloop.sim.mission import base_model
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import World, open_world


@pytest.fixture(scope="module")
def parts(cache: Path) -> tuple[World, Any, Meter]:
    plan = tiny_plan()
    world = open_world(plan, Path("no-data"), 0)
    base = base_model(plan, world, Watcher(), cache)
    return world, base, Meter(base.graph, len(world.classes), 1)


def test_a_model_is_measured_on_all_held_out_scenes_and_by_domain(parts):
    world, base, meter = parts
    measured = meter.on_world(base.weights, world)
    assert set(measured.domains) == set(world.phase_names)
    for accuracy in (measured.new, measured.old):
        plain = accuracy.to_json()
        assert all(plain[name] is None or 0 <= plain[name] <= 1 for name in ("ap50", "ap"))
    again = meter.on_world(base.weights, world)
    assert again == measured


def test_new_is_what_on_images_says_of_the_same_scenes(parts):
    world, base, meter = parts
    images = [ref.load() for ref in world.new_held_out]
    assert meter.on_images(base.weights, images).to_json() == meter.on_world(base.weights, world).new.to_json()


def test_what_is_measured_reaches_below_the_report_score(parts):
    world, base, meter = parts
    engine = meter.engine(base.weights)
    pixels = world.stream[0].load().pixels
    found = detect_all(engine, pixels)
    rules = base.metadata.preprocessing
    assert found.scores.size
    assert found.scores.min() < rules.report_score
    assert found.scores.min() >= rules.candidate_score


def test_the_truth_itself_scores_one(parts, monkeypatch):
    world, base, meter = parts
    images = [image for ref in world.new_held_out if len((image := ref.load()).boxes)]
    truth = {id(image.pixels): image.boxes for image in images}

    def oracle(engine: Any, pixels: np.ndarray) -> Detections:
        boxes = truth[id(pixels)]
        return Detections(boxes.xyxy_px, np.full(len(boxes), 0.9, np.float32), boxes.classes)

    monkeypatch.setattr("orbitloop.sim.measure.detect_all", oracle)
    assert meter.on_images(base.weights, images).to_json()["ap50"] == pytest.approx(1.0)


def test_no_box_reaches_over_a_scene_that_is_smaller_than_a_tile(parts):
    _, base, meter = parts
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    weights = {n: a + 3 if n.startswith("conv") and n.endswith(".bias") else a for n, a in base.weights.items()}
    boxes = detect_all(meter.engine(weights), pixels).boxes_xyxy_px
    assert len(boxes)
    assert boxes.min() >= 0
    assert (boxes.max(axis=0)[2:] <= [70, 50]).all()
