"""An agent boots and looks on a flash that takes no more writes, whatever it was in the middle of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_onboard_agent import FULL_WH, NOW_S, UPDATE, WEIGHTS, Ship, bundle, changed_weights, passes, scene

from orbitloop.errors import ModelError, StateError
from orbitloop.onboard.updates import Staged
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome
from orbitloop.sim.flash import MemoryFlash


class ReadOnly(MemoryFlash):
    def write_atomic(self, name: str, data: bytes) -> None:
        raise StateError("flash refuses (Read-only file system)", where=name)

    def delete(self, name: str) -> None:
        raise StateError("flash refuses (Read-only file system)", where=name)


def rots(ship: Ship, *names: str) -> None:
    for name in names:
        data = bytearray(ship.flash.files[name])
        data[len(data) // 2] ^= 1
        ship.flash.files[name] = bytes(data)


def staged(ship: Ship) -> None:
    assert isinstance(ship.agent.updater.receive(bundle(changed_weights(1e-4)), NOW_S), Staged)


def in_trial(ship: Ship) -> None:
    staged(ship)
    ship.agent.updater.begin_trial()


def on_probation(ship: Ship) -> None:
    ship.agent.observe(scene(), FULL_WH)
    assert ship.agent.receive(UPDATE, bundle(changed_weights(1e-4)), NOW_S).outcome is ApplyOutcome.ACCEPTED


STATES: dict[str, Callable[[Ship], None]] = {
    "quiet": lambda ship: None,
    "staged": staged,
    "in its trial": in_trial,
    "on probation": on_probation,
    "slot damaged": lambda ship: rots(ship, "slot-a"),
    "both slots damaged": lambda ship: rots(ship, "slot-a", "slot-b"),
    "tables damaged": lambda ship: rots(ship, "table-0", "table-1"),
    "staged and its base damaged": lambda ship: (staged(ship), rots(ship, "slot-a")),
}


@pytest.mark.parametrize("name", STATES)
def test_a_flash_that_takes_no_writes_does_not_keep_the_satellite_down(name):
    ship = Ship()
    STATES[name](ship)
    ship.flash = ReadOnly(ship.flash.files)
    agent = ship.wired()
    for now_s in (NOW_S + 60, NOW_S + 120):
        agent.boot(now_s)
        assert agent.observe(scene(int(now_s - NOW_S)), FULL_WH).result is not None
        assert agent.engine.digest == digest_tensors(WEIGHTS), "nothing is tried or proven that cannot be written"
    passes(agent)
    with pytest.raises(StateError, match="Read-only"):
        agent.receive(UPDATE, bundle(changed_weights(1e-4), version=5), NOW_S)
    assert agent.observe(scene(7), FULL_WH).result is not None


def test_a_confirmed_model_that_does_not_load_on_such_a_flash_gives_way_in_memory():
    ship = Ship()
    on_probation(ship)
    passes(ship.agent, 40)
    new, base = digest_tensors(changed_weights(1e-4)), digest_tensors(WEIGHTS)
    assert ship.agent.slots.running().digest == new
    ship.flash = ReadOnly(ship.flash.files)
    agent = ship.wired()
    load = agent.model.engine_factory

    def refuses(graph: bytes, weights: dict[str, np.ndarray]) -> Any:
        if digest_tensors(weights) == new:
            raise ModelError("this runtime does not know it")
        return load(graph, weights)

    agent.model.engine_factory = refuses
    agent.boot(NOW_S)
    assert agent.engine.digest == base
    assert agent.observe(scene(3), FULL_WH).result is not None
