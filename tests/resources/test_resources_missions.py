"""The missions that are shipped: each is sound, small where it says so, and finds its scenes in the real sets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orbitloop.resources.manifest import load_mission
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.imagery_parameters import FarmlandParameters

ROOT = Path(__file__).parents[2]
MISSIONS = sorted((ROOT / "missions").glob("*.yaml"))
REAL = [path for path in MISSIONS if path.stem not in ("farmland-demo", "tiansuan")]
DATA = Path(os.environ.get("ORBITLOOP_DATA", ROOT.parent / "shared" / "data"))


def test_the_promised_missions_are_there() -> None:
    assert {path.stem for path in MISSIONS} >= {
        "farmland-demo",
        "aircraft",
        "aircraft-two",
        "farmland-naip",
        "ships",
        "tiansuan",
    }


@pytest.mark.parametrize("path", MISSIONS, ids=lambda path: path.stem)
def test_a_shipped_mission_is_sound(path: Path) -> None:
    plan = load_mission(path)
    assert plan.name == path.stem
    assert plan.digest() == load_mission(path).digest()
    assert "budgets" in path.read_text(), "a mission without a budget says nothing about scarce bytes"


@pytest.mark.parametrize("path", MISSIONS, ids=lambda path: path.stem)
def test_a_shipped_mission_opens_with_a_comment_that_teaches(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert path.stem == "farmland-demo" or "--data DIR" in text


def test_the_demo_is_small_and_needs_no_data() -> None:
    path = ROOT / "missions" / "farmland-demo.yaml"
    assert len(path.read_text().splitlines()) < 40
    spec = load_mission(path).dataset.spec
    assert spec.procedural is not None
    for name, parameters in spec.procedural.domains.items():
        FarmlandParameters.from_mapping(parameters, name)


@pytest.mark.data
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_each_selector_matches_a_scene_and_each_phase_has_its_own(path: Path) -> None:
    plan = load_mission(path)
    images = scenes(plan)
    spec = plan.dataset.spec
    for selector in (*spec.domains.base, *(s for phase in spec.domains.stream for s in phase)):
        for field, values in spec.conditions(selector).items():
            for value in values:
                assert any(spec.matches({field: (value,)}, image) for image in images), f"{field}: {value} matches no scene"
        assert any(spec.matches(selector, image) for image in images), f"{selector} matches no scene"
    taken: set[int] = set()
    for phase in (spec.domains.base, *spec.domains.stream):
        own = {image["id"] for image in images if any(spec.matches(s, image) for s in phase)} - taken
        assert own, f"{phase} has no scene that is not in an earlier phase"
        taken |= own


@pytest.mark.data
def test_the_aircraft_missions_use_every_scene() -> None:
    for stem in ("aircraft", "aircraft-two"):
        plan = load_mission(ROOT / "missions" / f"{stem}.yaml")
        spec = plan.dataset.spec
        every = [s for phase in (spec.domains.base, *spec.domains.stream) for s in phase]
        assert all(any(spec.matches(s, image) for s in every) for image in scenes(plan))


def scenes(plan: MissionPlan) -> list[dict[str, Any]]:
    spec = plan.dataset.spec
    file = DATA / str(spec.path) / spec.annotations
    if not file.is_file():
        pytest.skip(f"no data set at {file}: set ORBITLOOP_DATA")
    images: list[dict[str, Any]] = json.loads(file.read_text())["images"]
    return images
