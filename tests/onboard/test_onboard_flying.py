"""A model on probation: good on its canary, and then in flight. Real parts; time is a counter that engines advance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import candidate_engines
import numpy as np
import pytest
from candidate_engines import Candidate, build
from candidate_ship import (
    BASE_DIGEST,
    FULL_WH,
    NOW_S,
    PATIENT,
    Ship,
    Weights,
    base,
    behaving,
    bundle,
    canary,
    contact,
    scene,
    seasoned,
    send,
    with_objectness,
)

from orbitloop.errors import ModelError, StateError
from orbitloop.onboard.agent import UPDATE, Agent
from orbitloop.onboard.slot_table import GOLDEN, SlotState
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trial_bench import InProcess
from orbitloop.onboard.updates import Staged
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, CanaryCase


def slightly() -> Weights:
    """Return a sound candidate that is another model than the base."""
    return {n: a + np.float32(1e-6) if n.endswith(".bias") else a for n, a in base().items()}


def in_flight(wrap: Callable[[Any], Any]) -> Callable[[bytes, Mapping[str, Any]], Any]:
    """Return an engine factory that wraps every model but the base, in flight only: trials get `build`."""

    def load(graph: bytes, weights: Mapping[str, Any]) -> Any:
        sound = build(graph, weights)
        return sound if digest_tensors(weights) == BASE_DIGEST else wrap(sound)

    return load


def on_probation(ship: Ship, wrap: Callable[[Any], Any] = lambda sound: sound, **more: Any) -> Agent:
    """Return an agent whose candidate has passed its canary in a sound engine, and flies in another."""
    agent = ship.agent(InProcess(build), engine_factory=in_flight(wrap), **more)
    report = send(agent, slightly())
    assert report.outcome is ApplyOutcome.ACCEPTED, report.reason
    assert agent.slots.running().state is SlotState.PROBATION
    return agent


def last(agent: Agent) -> ApplyReport:
    return agent.reports[-1]


def test_the_next_contact_confirms_what_flies_well_and_the_beacon_says_so():
    ship = seasoned()
    agent = on_probation(ship)
    agent.observe(scene(50), FULL_WH)
    beacon, _ = contact(agent, ship)
    [report] = beacon.reports
    assert (report.version, report.outcome, report.active_digest) == (1, ApplyOutcome.CONFIRMED, digest_tensors(slightly()))
    assert report.reason.startswith("nothing against it: 4 tiles in flight, 1 contact; canary: F1 1.000 -> 1.000")
    assert report.canary["f1_after"] == 1.0, "the canary's figures are told again: the first report may not have been heard"
    assert agent.slots.running().state is SlotState.CONFIRMED


def test_while_one_is_on_probation_another_is_refused_and_taken_afterwards():
    ship = seasoned()
    agent = on_probation(ship)
    digest = agent.slots.running().digest
    refused = agent.receive(UPDATE, bundle(slightly(), version=2), NOW_S)
    assert refused is not None
    assert (refused.outcome, "on probation" in refused.reason) == (ApplyOutcome.REFUSED, True)
    assert agent.slots.running().digest == digest
    beacon, _ = contact(agent, ship)
    assert {r.outcome for r in beacon.reports} == {ApplyOutcome.REFUSED, ApplyOutcome.CONFIRMED}


@pytest.mark.parametrize(
    ("name", "strength", "light"), [("nan_at_dusk", 30.0, 0.1), ("nan_at_dusk", 60.0, 0.3), ("odd_memory", 0.0, 1.0)]
)
def test_a_model_that_fails_on_a_tile_is_given_up_at_once_and_the_scene_is_not_lost(name, strength, light):
    ship = seasoned()

    def wrap(sound: Any) -> Any:
        if name == "odd_memory":
            return Candidate(sound, before=lambda tiles: (_ for _ in ()).throw(MemoryError()))
        return Candidate(sound, after=lambda t, f: candidate_engines.nan_at_dusk(sound, t, f, strength))

    agent = on_probation(ship, wrap)
    seen = agent.observe(scene(60, light=light), FULL_WH)
    assert seen.result is not None
    assert len(seen.result.tiles) == 4
    assert {s.model_digest for s in seen.hard} == {BASE_DIGEST}
    assert agent.slots.running().digest == BASE_DIGEST
    assert (last(agent).version, last(agent).outcome) == (1, ApplyOutcome.ROLLED_BACK)
    beacon, data = contact(agent, ship)
    assert beacon.model_digest == BASE_DIGEST
    told = "out of memory" if name == "odd_memory" else "the network's output is not finite"
    assert f"in flight: {told} after 0 tiles; canary: F1".encode() in data
    assert agent.slots.table().highest_version == 1, "its version is spent"


def test_a_confirmed_model_that_fails_is_not_the_watchdogs_business():
    ship = seasoned()
    agent = on_probation(ship, lambda sound: Candidate(sound, after=_fails_when_told))
    _FAILS.clear()
    contact(agent, ship)
    _FAILS.append(1)
    with pytest.raises(ModelError):
        agent.observe(scene(61), FULL_WH)
    assert agent.slots.running().digest == digest_tensors(slightly())


_FAILS: list[int] = []


def _fails_when_told(tiles: Any, found: Any) -> Any:
    if _FAILS:
        raise ModelError("the runtime fails")
    return found


@pytest.mark.parametrize(("name", "word"), [("nothing", "it finds 0 objects where"), ("flood", "tiles overflow")])
def test_a_model_that_is_silent_or_flooded_is_found_out_by_the_one_before_on_the_same_tiles(name, word):
    ship = seasoned()
    wrap = lambda sound: Candidate(  # noqa: E731
        sound, after=lambda t, f: candidate_engines.IN_RESULT[name](sound, t, f, 0.0)
    )
    agent = on_probation(ship, wrap)
    seen = agent.observe(scene(62), FULL_WH)
    sound = seasoned().agent().observe(scene(62), FULL_WH)
    assert seen.result is not None
    assert sound.result is not None
    assert seen.result.detections.scores.tolist() == sound.result.detections.scores.tolist(), "the product is the sound one's"
    assert seen.spent_j == 2 * sound.spent_j, "a second look costs energy"
    assert last(agent).outcome is ApplyOutcome.ROLLED_BACK
    assert word in last(agent).reason


def test_a_model_that_finds_nothing_where_there_is_nothing_stays():
    ship = seasoned()
    agent = on_probation(ship)
    blank = scene(63)
    blank.pixels[:] = np.random.default_rng(1).integers(100, 104, blank.pixels.shape)
    for _ in range(3):
        agent.observe(blank, FULL_WH)
    beacon, _ = contact(agent, ship)
    assert beacon.reports[-1].outcome is ApplyOutcome.CONFIRMED


def test_without_energy_for_two_looks_there_is_one():
    ship = seasoned()
    agent = on_probation(ship, lambda sound: Candidate(sound, after=lambda t, f: candidate_engines.nothing(sound, t, f, 0.0)))
    just_enough_wh = 30.0 + 4 * 2.1 / 3600 + 1e-6
    assert agent.observe(scene(64), just_enough_wh).spent_j == pytest.approx(4 * 2.1)
    assert agent.slots.running().state is SlotState.PROBATION


class Ticks:
    """A clock that engines advance."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("slow", "rolled_back"), [(20.0, True), (2.0, False)])
def test_a_model_that_is_slow_on_full_tiles_is_found_out(slow, rolled_back):
    ship, clock = seasoned(), Ticks()

    def load(graph: bytes, weights: Mapping[str, Any]) -> Any:
        sound, factor = build(graph, weights), 1.0 if digest_tensors(weights) == BASE_DIGEST else slow

        def spend(tiles: Any, found: list[Any]) -> list[Any]:
            clock.now_s += sum(0.1 * (factor if len(one.detections) > 10 else 1.0) for one in found)
            return found

        return Candidate(sound, after=spend)

    agent = ship.agent(InProcess(build), engine_factory=load, cpu_clock=clock)
    agent.observe(scene(1), FULL_WH)
    assert send(agent, slightly()).outcome is ApplyOutcome.ACCEPTED
    agent.observe(scene(65), FULL_WH)
    beacon, data = contact(agent, ship)
    assert beacon.reports[-1].outcome is (ApplyOutcome.ROLLED_BACK if rolled_back else ApplyOutcome.CONFIRMED)
    assert (b"20 times as slow as the model before" in data) is rolled_back


@pytest.mark.parametrize("cases", [(), (CanaryCase("feedfeedfeedfeed", ((1.0, 1.0, 9.0, 9.0, 0.0),)),)])
def test_a_canary_of_which_nothing_is_held_does_not_confirm_but_lengthens_the_probation(cases):
    ship = seasoned()
    agent = ship.agent()
    report = send(agent, slightly(), cases=cases)
    assert report.outcome is ApplyOutcome.ACCEPTED
    assert "none of its tiles is held here; it finds" in report.reason
    assert report.canary["recent"] == 8
    outcomes = [contact(agent, ship, NOW_S + 6000 * n)[0].reports[-1].outcome for n in (1, 2, 3)]
    assert outcomes == [ApplyOutcome.ACCEPTED, ApplyOutcome.ACCEPTED, ApplyOutcome.CONFIRMED]


def test_a_blind_model_is_found_out_on_recent_tiles_where_the_canary_is_gone():
    agent = seasoned().agent()
    report = send(agent, with_objectness(-20.0), cases=())
    assert report.outcome is ApplyOutcome.ROLLED_BACK
    assert "it finds nothing, the running model" in report.reason


def test_with_an_empty_storage_it_flies_at_its_own_risk_and_three_passes_long():
    ship = Ship()
    agent = ship.agent()
    assert "the model loads and runs; on probation for 3 contacts" in send(agent, slightly()).reason
    assert agent.model.watchdog is not None
    assert agent.model.watchdog.contacts_needed == 3


# -- reboots ---------------------------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    pass


def _dies(tiles: Any) -> None:
    raise PowerCut


def test_a_model_that_takes_the_computer_down_in_flight_is_given_up_after_its_boots():
    ship = seasoned()
    agent = on_probation(ship, lambda sound: Candidate(sound, before=_dies))
    boots = 0
    while agent.slots.running().digest != BASE_DIGEST:
        with pytest.raises(PowerCut):
            agent.observe(scene(70), FULL_WH)
        agent = ship.agent(engine_factory=in_flight(lambda sound: Candidate(sound, before=_dies)))
        agent.boot(NOW_S + boots)
        boots += 1
        assert boots < 5
    assert boots == 4, "three boots on probation were too many: the fourth goes back"
    assert agent.observe(scene(70), FULL_WH).result is not None
    beacon, data = contact(agent, ship)
    assert beacon.reports[-1].outcome is ApplyOutcome.ROLLED_BACK
    assert b"crash loop" in data


def test_a_model_that_takes_the_computer_down_now_and_then_is_not_confirmed_in_between():
    ship = seasoned()
    agent = on_probation(ship)
    outcomes = []
    for number in range(3):
        state = agent.to_json()
        agent = ship.agent()
        agent.restore(state)
        agent.boot(NOW_S + number)
        beacon, _ = contact(agent, ship, NOW_S + 6000 * (number + 1))
        outcomes.append(beacon.reports[-1].outcome)
    assert outcomes == [ApplyOutcome.ACCEPTED, ApplyOutcome.ACCEPTED, ApplyOutcome.ROLLED_BACK]
    assert agent.reports[-1].reason.startswith("crash loop: 3 boots on probation")


def test_one_boot_only_puts_the_confirmation_off():
    ship = seasoned()
    state = on_probation(ship).to_json()
    agent = ship.agent()
    agent.restore(state)
    agent.boot(NOW_S)
    outcomes = [contact(agent, ship, NOW_S + 6000 * n)[0].reports[-1].outcome for n in (1, 2)]
    assert outcomes == [ApplyOutcome.ACCEPTED, ApplyOutcome.CONFIRMED]


def test_a_model_that_loads_in_its_trial_and_not_at_boot_gives_way():
    ship = seasoned()
    agent = on_probation(ship)

    def refuses(sound: Any) -> Any:
        raise ModelError("no memory")

    again = ship.agent(engine_factory=in_flight(refuses))
    again.restore(agent.to_json())
    again.boot(NOW_S + 60)
    assert again.slots.running().digest == BASE_DIGEST
    assert [(r.outcome, "does not load" in r.reason) for r in again.reports] == [(ApplyOutcome.ROLLED_BACK, True)]


def test_the_watchdogs_counts_survive_a_reboot_and_lost_ones_begin_at_length():
    ship = seasoned()
    agent = on_probation(ship)
    agent.observe(scene(50), FULL_WH)
    state = json.loads(json.dumps(agent.to_json()))
    kept, lost = ship.agent(), ship.agent()
    kept.restore(state)
    kept.boot(NOW_S + 60)
    assert kept.model.watchdog is not None
    assert (kept.model.watchdog.tiles, kept.model.watchdog.contacts_needed) == (4, 1)
    assert kept.to_json() == state
    lost.boot(NOW_S + 60)
    assert lost.model.watchdog is not None
    assert (lost.model.watchdog.tiles, lost.model.watchdog.contacts_needed) == (0, 3)


def test_counts_of_another_model_are_not_taken_for_this_ones():
    ship = seasoned()
    state = on_probation(ship).to_json()
    state["probation"]["digest"] = "sha256:another"
    again = ship.agent()
    again.restore(state)
    again.boot(NOW_S)
    assert again.model.watchdog is not None
    assert not again.model.watchdog.proven


def test_an_end_that_power_kept_from_being_told_is_told_after_the_boot():
    ship = seasoned()
    agent = on_probation(ship)
    state = agent.to_json()
    contact(agent, ship)
    again = ship.agent()
    again.restore(state)  # saved before the contact
    again.boot(NOW_S + 7000)
    assert [(r.version, r.outcome) for r in again.reports] == [(1, ApplyOutcome.CONFIRMED)]
    again.boot(NOW_S + 8000)
    assert len(again.reports) == 1


# -- a flash that refuses --------------------------------------------------------------------------------------------------


def test_a_flash_that_refuses_neither_confirms_nor_silences():
    ship = seasoned()
    agent = on_probation(ship)
    write = ship.flash.write_atomic
    ship.flash.write_atomic = _refuse  # type: ignore[method-assign]
    beacon, _ = contact(agent, ship)
    assert beacon.reports[-1].outcome is ApplyOutcome.ACCEPTED
    ship.flash.write_atomic = write  # type: ignore[method-assign]
    beacon, _ = contact(agent, ship, NOW_S + 12_000)
    assert beacon.reports[-1].outcome is ApplyOutcome.CONFIRMED


def test_a_flash_that_refuses_does_not_keep_a_broken_model_looking():
    ship = seasoned()
    agent = on_probation(
        ship, lambda sound: Candidate(sound, after=lambda t, f: candidate_engines.nan_at_dusk(sound, t, f, 90.0))
    )
    write = ship.flash.write_atomic
    ship.flash.write_atomic = _refuse  # type: ignore[method-assign]
    for number in (80, 81):
        seen = agent.observe(scene(number, light=0.3), FULL_WH)
        assert seen.result is not None
        assert len(seen.result.detections)
        assert {s.model_digest for s in seen.hard} == {BASE_DIGEST}
    beacon, _ = contact(agent, ship)
    assert beacon.reports[-1].outcome is ApplyOutcome.ACCEPTED, "it is not given up on flash, and never confirmed"
    ship.flash.write_atomic = write  # type: ignore[method-assign]
    beacon, data = contact(agent, ship, NOW_S + 12_000)
    assert beacon.reports[-1].outcome is ApplyOutcome.ROLLED_BACK
    assert b"not finite" in data
    assert agent.slots.running().digest == BASE_DIGEST


def _refuse(name: str, data: bytes) -> None:
    raise StateError("no space")


def test_when_neither_slot_loads_the_golden_model_flies():
    ship = seasoned()
    agent = on_probation(ship)
    contact(agent, ship)
    for name in ("slot-a", "slot-b"):
        ship.flash.files[name] = ship.flash.files[name][:-1]
    again = ship.agent()
    again.boot(NOW_S)
    assert again.observe(scene(90), FULL_WH).result is not None
    assert again.slots.running().digest == BASE_DIGEST
    assert again.slots.table().active in (GOLDEN, "a", "b")
    staged = again.updater.receive(bundle(slightly(), version=2), NOW_S)
    assert isinstance(staged, Staged), "an update from the golden base is taken"


def test_a_trial_is_never_run_twice_even_if_the_runner_takes_the_process_along():
    ship = seasoned()

    class Fatal:
        def run(self, job: Any) -> Any:
            raise PowerCut

    agent = ship.agent(Fatal())
    with pytest.raises(PowerCut):
        send(agent, slightly())
    again = ship.agent(Fatal())
    again.boot(NOW_S)
    assert again.reports[-1].outcome is ApplyOutcome.ROLLED_BACK
    assert SlotStore(ship.flash).running().digest == BASE_DIGEST


@pytest.mark.parametrize(
    ("error", "word"), [(MemoryError(), "out of memory"), (ModelError("no such operator"), "no such operator")]
)
def test_a_candidate_that_passes_and_then_does_not_load_here_does_not_fly(error, word):
    def refuses(sound: Any) -> Any:
        raise error

    agent = seasoned().agent(InProcess(build), engine_factory=in_flight(refuses))
    report = send(agent, slightly())
    assert (report.outcome, report.reason) == (ApplyOutcome.ROLLED_BACK, f"canary: {word}")
    assert agent.slots.running().digest == BASE_DIGEST


def test_the_limits_reach_the_trial():
    asked: list[Any] = []

    class Runner:
        def run(self, job: Any) -> Any:
            asked.append(job)
            return InProcess(build).run(job)

    limits = replace(PATIENT, max_loss=0.3, memory_bytes=123_000_000)
    agent = seasoned().agent(Runner(), limits)
    send(agent, behaving("sound", 1.0))
    assert asked[0].limits == limits
    assert len(asked[0].tiles) == len(canary())
