"""The runner's own state: every damage to a checkpoint is a StateError, and a run is of one mission only."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_mission import tiny_plan

from orbitloop.errors import StateError
from orbitloop.sim.checkpoint import Checkpoints
from orbitloop.sim.course import Course
from orbitloop.sim.mission import base_model
from orbitloop.sim.runner import MissionRun
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import open_world


@pytest.fixture(scope="module")
def parts(cache: Path) -> tuple[Any, Any, Any]:
    plan = tiny_plan()
    world = open_world(plan, Path("no-data"), plan.seed)
    return plan, world, base_model(plan, world, Watcher(), cache)


@pytest.fixture(scope="module")
def stopped(parts: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped while its first round's candidate waits for its pass."""
    out = tmp_path_factory.mktemp("stopped")
    run = MissionRun(*parts, out)
    assert not run.run(stop_after=lambda: run.pending is not None)
    return out


def resume(parts: tuple[Any, Any, Any], out: Path) -> MissionRun:
    return MissionRun(*parts, out, resume=True)


def test_a_stopped_run_comes_back_as_it_was(parts, stopped):
    run = resume(parts, stopped)
    assert run.pending is not None
    assert run.pending.round == 1
    assert run.segment.round == 1
    assert run.next_window > 0
    saved = json.loads(run.checkpoints.file.read_text())
    run.save()
    assert json.loads(run.checkpoints.file.read_text()) == saved, "saving what was loaded changes nothing"


def test_the_course_survives_its_json_form(finished, parts, stopped):
    course = resume(parts, stopped).course
    assert course.passes
    again = Course.from_json(json.loads(json.dumps(course.to_json())))
    assert again == course


KEYS = (
    "next_window",
    "now_s",
    "flying_version",
    "champion",
    "flying_round",
    "rollout",
    "satellites",
    "segment",
    "segment_blobs",
    "course",
    "rounds",
    "identity",
)
WRONG: tuple[Any, ...] = (None, "x", [], {}, -1.5, [["a"]], {"sat-1": None})


@pytest.mark.parametrize("key", KEYS)
def test_a_field_of_the_wrong_kind_is_refused_or_read_never_another_error(parts, stopped, tmp_path, key):
    out = tmp_path / "run"
    for wrong in (*WRONG, KeyError):
        shutil.copytree(stopped, out)
        checkpoints = Checkpoints(out / "state")
        state = checkpoints.load()
        if wrong is KeyError:
            del state[key]
        else:
            state[key] = wrong
        checkpoints.save(state, [path.read_bytes() for path in checkpoints.blob_dir.iterdir()])
        with contextlib.suppress(StateError):
            resume(parts, out)
        shutil.rmtree(out)


def test_a_damaged_model_in_a_checkpoint_is_refused(parts, stopped, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    largest = max((out / "state" / "blobs").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[-1] ^= 1
    largest.write_bytes(data)
    with pytest.raises(StateError, match="damaged"):
        resume(parts, out)
