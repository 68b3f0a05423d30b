"""Constellations opened as missions: patterns and real satellites become plain satellites, told as they stand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from orbitloop.apps.constellation import draw, elements_members, members, walker_elements, walker_manifest
from orbitloop.apps.missions import open_mission
from orbitloop.errors import ManifestError
from orbitloop.orbit.formats.omm import omm_values
from orbitloop.orbit.formats.tle import write_tle_file
from orbitloop.orbit.propagate import states
from orbitloop.orbit.walker import parse_walker
from orbitloop.resources.fleet import ElementsOrbit
from orbitloop.resources.manifest import load_mission
from orbitloop.resources.mission import MissionPlan

START_S = 1_780_272_000.0
REST = """
---
- {kind: GroundStation, name: svalbard, spec: {latitudeDeg: 78.23, longitudeDeg: 15.41}}
---
kind: Dataset
spec: {format: procedural, domains: {base: summer, stream: [autumn]}, procedural: {domains: {summer: {}, autumn: {}}}}
"""
MISSION = "kind: Mission\nname: many\nspec: {durationDays: 1}\n---\n"
WALKER = MISSION + walker_manifest(parse_walker("53:12/3/1"), 550.0, "shell", 15.0, 0.0) + REST


def opened(folder: Path, text: str, *overrides: str) -> MissionPlan:
    file = folder / "mission.yaml"
    file.write_text(text)
    return open_mission(file, overrides, folder)


def sets(folder: Path, name: str) -> None:
    chosen = walker_elements(parse_walker("87.9:6/2/0"), 1200.0, START_S - 86_400.0, prefix="WEB A")
    if name.endswith(".tle"):
        (folder / name).write_text(write_tle_file(chosen))
    else:
        (folder / name).write_text(json.dumps([omm_values(one) for one in chosen]))


def test_a_pattern_becomes_satellites_that_share_the_template(tmp_path: Path) -> None:
    plan = opened(tmp_path, WALKER.replace("satellite: {}", "satellite: {massKg: 40, power: {batteryWh: 50}}"))
    assert list(plan.satellites)[:5] == ["shell-1-1", "shell-1-2", "shell-1-3", "shell-1-4", "shell-2-1"]
    assert len(plan.satellites) == 12
    assert {s.spec.mass_kg for s in plan.satellites.values()} == {40.0}
    orbit = plan.satellites["shell-2-1"].spec.orbit
    assert isinstance(orbit, ElementsOrbit)
    assert (orbit.raan_deg, orbit.mean_anomaly_deg) == (135.0, 30.0)


def test_element_sets_are_called_as_the_satellites_of_a_mission_are(tmp_path: Path) -> None:
    pattern = parse_walker("53:24/2/1")
    text = MISSION + walker_manifest(pattern, 550.0, "shell", 0.0, 0.0) + REST
    made = walker_elements(pattern, 550.0, START_S, prefix="shell")
    assert [one.name for one in made] == list(opened(tmp_path, text).satellites)
    assert (made[0].name, made[-1].name) == ("shell-1-01", "shell-2-12")


def test_a_picture_of_many_tells_their_true_height(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = walker_elements(parse_walker("53:72/6/1"), 550.0, START_S)
    draw("shell", elements_members(made, START_S), tmp_path / "shell.svg")
    assert "550 km, 53°" in (tmp_path / "shell.svg").read_text()


def test_a_plan_with_a_pattern_is_the_plan_with_its_satellites_written_out(tmp_path: Path) -> None:
    plan = opened(tmp_path, WALKER)
    (tmp_path / "full.json").write_text(json.dumps(plan.to_json()))
    assert open_mission(tmp_path / "full.json").digest() == plan.digest()


@pytest.mark.parametrize("name", ["web.tle", "web.json"])
def test_real_satellites_come_from_a_file_by_name_and_number(tmp_path: Path, name: str) -> None:
    sets(tmp_path, name)
    text = (
        MISSION + f"kind: Constellation\nname: web\nspec: {{import: {{file: {name}, match: 'web a-2-*', limit: 2}}}}\n" + REST
    )
    plan = opened(tmp_path, text)
    assert list(plan.satellites) == ["web-a-2-1", "web-a-2-2"]
    first = members(plan)[0]
    assert first.altitude_km == pytest.approx(1200.0, abs=0.01)
    assert first.age_days == pytest.approx(1.0)


def test_members_stand_where_the_propagator_puts_them(tmp_path: Path) -> None:
    for one in members(opened(tmp_path, WALKER)):
        r_km, v_km_s = states(one.elements, [START_S])
        normal = np.cross(r_km[0], v_km_s[0])
        node_deg = np.degrees(np.arctan2(normal[0], -normal[1])) % 360
        assert one.raan_deg == pytest.approx(node_deg, abs=0.05)
        node = np.array([np.cos(np.radians(node_deg)), np.sin(np.radians(node_deg)), 0.0])
        across = np.cross(normal / np.linalg.norm(normal), node)
        phase_deg = np.degrees(np.arctan2(r_km[0] @ across, r_km[0] @ node)) % 360
        assert (one.phase_deg - phase_deg + 180) % 360 - 180 == pytest.approx(0.0, abs=0.2)


def test_a_local_time_that_was_asked_for_is_told(tmp_path: Path) -> None:
    satellite = "kind: Satellite\nname: a\nspec: {orbit: {ltanHours: 22.25, altitudeKm: 491}}\n"
    (one,) = members(opened(tmp_path, MISSION + satellite + REST))
    assert one.ltan_h == pytest.approx(22.25, abs=1e-6)
    assert one.altitude_km == pytest.approx(491.0, abs=0.05)
    assert one.to_json()["period_min"] == pytest.approx(94.49, abs=0.01)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("{walker: {inclinationDeg: 53, total: 10, planes: 3, altitudeKm: 550}}", "do not share out"),
        ("{walker: {inclinationDeg: 53, total: 9, planes: 3, phasing: 3, altitudeKm: 550}}", "out of range"),
        ("{}", "neither walker nor import"),
        ("{import: {file: ../x.tle}}", "leaves its folder"),
        ("{import: {file: gone.tle}}", "cannot be read"),
        ("{import: {file: web.tle, match: STARLINK*}}", "no satellite's name is like"),
        ("{import: {file: web.tle}, satellite: {orbit: {altitudeKm: 500}}}", "orbit of its own"),
        ("{import: {file: mission.yaml}}", "spec.import"),
    ],
)
def test_what_cannot_be_expanded_is_told_with_its_line(tmp_path: Path, spec: str, what: str) -> None:
    sets(tmp_path, "web.tle")
    with pytest.raises(ManifestError, match=what) as caught:
        opened(tmp_path, MISSION + f"kind: Constellation\nname: web\nspec: {spec}\n" + REST)
    assert "mission.yaml:" in str(caught.value)


def test_without_anyone_to_expand_it_a_constellation_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(WALKER)
    with pytest.raises(ManifestError, match="orbitloop run or validate"):
        load_mission(tmp_path / "m.yaml")


def test_two_of_one_name_are_told(tmp_path: Path) -> None:
    twice = "kind: Satellite\nname: shell-1-1\n---\n"
    with pytest.raises(ManifestError, match="a second Satellite is called 'shell-1-1'"):
        opened(tmp_path, WALKER.replace("---\n", "---\n" + twice, 1))


DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.data
def test_the_real_oneweb_is_planes_of_a_star(tmp_path: Path) -> None:
    """588 and more satellites at 1200 km and 87.9 degrees, in twelve planes over 180 degrees of node."""
    if not (DATA / "orbits" / "constellations_2026-05-30" / "oneweb.tle").is_file():
        pytest.skip(f"no element sets under {DATA}: set ORBITLOOP_DATA")
    spec = "{import: {file: orbits/constellations_2026-05-30/oneweb.tle, limit: 2000}}"
    file = tmp_path / "mission.yaml"
    file.write_text(MISSION + f"kind: Constellation\nname: oneweb\nspec: {spec}\n" + REST)
    found = members(open_mission(file, (), DATA))
    assert len(found) == 651
    assert max(one.age_days for one in found) < 10
    working = [one for one in found if one.altitude_km > 1150 and abs(one.elements.inclination_deg - 87.9) < 0.1]
    assert len(working) > 550
    nodes = np.sort([one.raan_deg for one in working])
    gaps = np.diff(nodes, append=nodes[0] + 360)
    assert ((gaps > 14) & (gaps < 17)).sum() >= 11, "twelve planes some 15 degrees apart"
    assert gaps.max() > 130, "and half of the circle empty"
