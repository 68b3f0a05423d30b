"""Satellites wired from a plan: orbits from every form, windows, battery, and a state that comes back whole."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_mission import tiny_plan

from orbitloop.errors import PluginError, StateError
from orbitloop.ground.authority import Authority
from orbitloop.plugins.registry import default_registry
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import SimulatedSatellite, build_satellite, contacts, elements_of, saved_state, track
from orbitloop.sim.flight import Flight, launch
from orbitloop.sim.mission import base_model
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import open_world

ANCHOR = Authority.from_seed(b"test", ("mission",), 0.0).anchor
TLE = (
    "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927",
    "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537",
)


@pytest.fixture(scope="module")
def base(cache: Path) -> Flight:
    plan = tiny_plan()
    world = open_world(plan, Path("no-data"), 0)
    return launch(plan, world, base_model(plan, world, Watcher(), cache))[0]


def built(plan: MissionPlan, base: Flight, saved: Any = None, blobs: Any = None) -> SimulatedSatellite:
    return build_satellite(plan, "sat-1", base, ANCHOR, default_registry(), saved, blobs)


def test_windows_are_in_order_and_have_bytes():
    windows = contacts(tiny_plan()).windows
    assert len(windows) > 5
    assert [w.aos_s for w in windows] == sorted(w.aos_s for w in windows)
    assert all(w.los_s > w.aos_s and w.downlink_bytes > w.uplink_bytes > 0 for w in windows)
    assert {w.station for w in windows} == {"svalbard", "troll"}


def test_a_lower_rate_makes_poorer_windows_at_the_same_times():
    fast, slow = contacts(tiny_plan()).windows, contacts(tiny_plan(satellite={"link": {"downlinkBps": 1e6}})).windows
    assert [w.aos_s for w in fast] == [w.aos_s for w in slow]
    assert all(s.downlink_bytes < f.downlink_bytes for f, s in zip(fast, slow, strict=True))


@pytest.mark.parametrize(
    "orbit",
    [{}, {"altitudeKm": 700, "inclinationDeg": 51.6}, {"ltanHours": 6, "meanAnomalyDeg": 90}, {"tle": list(TLE)}],
    ids=["default", "inclined", "dawn", "tle"],
)
def test_every_form_of_orbit_gives_a_ground_track(base, orbit):
    start = {"start": "2008-09-20T12:30:00Z"} if "tle" in orbit else {}
    plan = tiny_plan(mission=start, satellite={"orbit": orbit})
    elements_of("sat-1", plan.satellites["sat-1"], plan.start_s)
    points = track(built(plan, base), plan.start_s, plan.start_s + 3600, 60)
    assert len(points) == 60
    assert all(-90 <= lat <= 90 and -180 <= lon <= 180 for _, lat, lon in points)
    assert len({round(lat, 2) for _, lat, _ in points}) > 30


def test_the_battery_charges_in_the_sun_drains_in_the_dark_and_stays_in_its_bounds(base):
    plan = tiny_plan()
    satellite = built(plan, base)
    levels = []
    for minute in range(600):
        satellite.advance(plan.start_s + 60 * minute)
        levels.append(satellite.battery_wh)
    assert min(levels) > 0
    assert max(levels) <= satellite.power.battery_wh
    assert any(b < a for a, b in itertools.pairwise(levels))
    assert any(b > a for a, b in itertools.pairwise(levels))


def test_a_load_costs_what_it_draws(base):
    plan = tiny_plan(satellite={"power": {"panelW": 0, "initialSoc": 0.8}})
    idle, busy = built(plan, base), built(plan, base)
    idle.advance(plan.start_s + 600)
    busy.advance(plan.start_s + 600, compute_j=1000.0)
    assert idle.battery_wh - busy.battery_wh == pytest.approx(1000 / 3600, rel=0.05)
    sending = built(plan, base)
    sending.advance(plan.start_s + 600, transmit_s=60)
    assert idle.battery_wh - sending.battery_wh == pytest.approx(12 * 60 / 3600, rel=0.05)


def test_a_load_without_time_passing_is_not_forgotten(base):
    """Two captures may fall on one moment, and a pass may end where the battery already stands."""
    plan = tiny_plan(satellite={"power": {"panelW": 0, "initialSoc": 0.8}})
    satellite = built(plan, base)
    satellite.advance(plan.start_s + 60)
    before = satellite.battery_wh
    satellite.advance(plan.start_s + 60, compute_j=100.0)
    assert before - satellite.battery_wh == pytest.approx(100 / 3600, rel=0.05)


def test_a_satellite_comes_back_from_its_state_as_it_was(base):
    plan = tiny_plan()
    satellite = built(plan, base)
    satellite.advance(plan.start_s + 5000, compute_j=50)
    satellite.captured, satellite.held_version = 3, 2
    satellite.heard_reports = {"1 confirmed", "2 refused"}
    state, blobs = saved_state(satellite)
    again = built(plan, base, json.loads(json.dumps(state)), blobs)
    assert saved_state(again) == (state, blobs)
    assert again.agent.slots.active().digest == satellite.agent.slots.active().digest


def test_a_flash_that_lost_its_models_does_not_pass_as_a_satellite(base):
    plan = tiny_plan()
    state, blobs = saved_state(built(plan, base))
    with pytest.raises(StateError):
        built(plan, base, state, {**blobs, "flash": {}})


@pytest.mark.parametrize(
    "job", [{"mining": {"name": "no-such"}}, {"selection": {"name": "no-such"}}, {"mining": {"parameters": {"x": 1}}}]
)
def test_an_unknown_plugin_is_named_with_its_field(base, job):
    with pytest.raises(PluginError, match=r"IncrementalLearningJob spec\.(mining|selection)"):
        built(tiny_plan(job=job), base)
