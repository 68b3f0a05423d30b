"""From trained to flying: the form that is launched, what follows it, and what stays on the ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_mission import tiny_plan

from orbitloop.errors import ExportError
from orbitloop.ground.metrics import Accuracy
from orbitloop.resources.data import Quantisation
from orbitloop.sim.flight import LEAST_OBJECTS, Flight, Held, launch
from orbitloop.sim.measure import Meter
from orbitloop.sim.mission import base_model
from orbitloop.sim.training import TrainedModel
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import World, open_world


@pytest.fixture(scope="module")
def ground(cache: Path) -> tuple[World, TrainedModel]:
    plan = tiny_plan()
    world = open_world(plan, Path("no-data"), 0)
    return world, base_model(plan, world, Watcher(), cache)


def flight(ground: tuple[World, TrainedModel], form: str, max_loss: float = 1.0) -> Flight:
    world, base = ground
    scenes = [ref.load() for ref in world.split.base_train]
    return Flight(base, form, scenes, Quantisation(calibration_tiles=8, max_loss=max_loss), seed=1, threads=1)


def test_the_float_form_is_the_trained_model_itself(ground):
    made = flight(ground, "float32")
    assert made.graph == ground[1].graph
    assert made.launched.tensors is ground[1].weights
    assert made.bytes == ground[1].bytes
    candidate = {n: a + np.float32(0.01) for n, a in ground[1].weights.items()}
    assert made.follow(made.launched, candidate, []) is candidate
    assert made.landed(candidate, ground[1].weights).master is candidate, "what flies is what trains on"


def test_the_int8_form_is_a_quarter_of_it_and_the_same_every_time(ground):
    made, again = flight(ground, "int8"), flight(ground, "int8")
    weights = sum(a.nbytes for n, a in made.launched.tensors.items() if n.endswith(".weight"))
    trained = sum(a.nbytes for n, a in ground[1].weights.items() if n.endswith(".weight"))
    assert weights < 0.4 * trained
    assert all(np.array_equal(a, again.launched.tensors[n]) for n, a in made.launched.tensors.items())
    assert made.graph == again.graph


def test_a_candidate_follows_on_the_grids_of_what_is_held_and_trains_on_from_floats(ground):
    made = flight(ground, "int8")
    scenes = [ref.load() for ref in ground[0].stream[:2]]
    same = made.follow(made.launched, ground[1].weights, scenes)
    moved = [n for n in same if not np.array_equal(same[n], made.launched.tensors[n])]
    assert all(n.startswith(("pre", "act")) for n in moved), "only ranges may answer to new scenes"
    held = made.landed(same, ground[1].weights)
    assert isinstance(held, Held)
    assert held.master is ground[1].weights


@pytest.mark.parametrize(("objects", "flies"), [(LEAST_OBJECTS, False), (LEAST_OBJECTS - 1, True)])
def test_a_form_that_loses_too_much_stays_on_the_ground_where_enough_objects_say_so(ground, monkeypatch, objects, flies):
    made = flight(ground, "int8", max_loss=0.02)
    image = next(ref.load() for ref in ground[0].stream if len(ref.load().boxes))
    few = [image] * (objects // len(image.boxes))
    rest = objects - sum(len(i.boxes) for i in few)
    if rest:
        part = type(image.boxes)(image.boxes.xyxy_px[:rest], image.boxes.classes[:rest])
        few.append(type(image)(image.image_id, image.domain, image.pixels, part))
    assert sum(len(i.boxes) for i in few) == objects

    def measured(self: Meter, weights: object, images: object) -> Accuracy:
        return Accuracy(0.9 if weights is ground[1].weights else 0.85, 0.5, len(few), objects)

    monkeypatch.setattr(Meter, "on_images", measured)
    if flies:
        assert made.check(ground[1], few, 1).lost == pytest.approx(0.05)
    else:
        with pytest.raises(ExportError, match=r"5\.0 points"):
            made.check(ground[1], few, 1)


def test_launch_measures_both_forms_on_the_frozen_scenes(ground):
    plan = tiny_plan()
    _, found = launch(plan, *ground)
    assert found.trained is not None
    assert found.flying is not None
