"""A/B slots: power cut at every primitive operation of every step, twice in a row, flipped bits, refusing devices.

The store and the file adapter are the flying ones; only the disk below them is simulated (`cutting_disk`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cutting_disk import SURVIVAL, CuttingDisk, PowerCut

from orbitloop.errors import ModelError, StateError, UpdateError
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slot_table import GOLDEN, TRANSITIONS, Event, SlotState, subject
from orbitloop.onboard.slots import TABLE_FILES, SlotStore
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import digest_tensors

GRAPH = b"graph bytes " * 20


def model(version: int) -> bytes:
    rng = np.random.default_rng(version)
    return save_weights({"w": rng.normal(size=(6, 8)).astype(np.float32), "b": rng.normal(size=8).astype(np.float32)})


def digest(version: int) -> str:
    return digest_tensors(load_weights(model(version)))


def open_store(disk: CuttingDisk) -> SlotStore:
    return SlotStore(FileFlash(disk, chunk_bytes=300))


def stage(store: SlotStore, version: int) -> None:
    store.stage(version, model(version), digest(version), manifest=b"manifest %d" % version)


def update(store: SlotStore, version: int) -> None:
    stage(store, version)
    store.begin_trial()
    store.accept()
    store.confirm()


def factory() -> CuttingDisk:
    disk = CuttingDisk()
    open_store(disk).install_factory(GRAPH, model(0))
    return disk


def after(*steps: Callable[[SlotStore], object], start: CuttingDisk | None = None) -> CuttingDisk:
    disk = start or factory()
    for step in steps:
        step(open_store(disk))
    return disk.clone()


def whole(store: SlotStore) -> int:
    """Return the version that flies, having checked that it is what it says."""
    active = store.active()
    assert active.graph == GRAPH
    assert active.weights == model(active.version)
    assert active.digest == digest(active.version) == digest_tensors(load_weights(active.weights))
    return active.version


def test_a_model_is_installed_twice_so_that_there_is_a_fallback():
    store = open_store(factory())
    assert whole(store) == 0
    assert {row.state for row in store.table().slots.values()} == {SlotState.CONFIRMED}
    with pytest.raises(StateError, match="already"):
        store.install_factory(GRAPH, model(0))


def test_stage_trial_confirm_turn_the_slots():
    store = open_store(factory())
    stage(store, 1)
    assert (whole(store), store.table().spare_row.state) == (0, SlotState.STAGED)
    assert store.staged().manifest == b"manifest 1"
    store.begin_trial()
    assert (whole(store), store.table().spare_row.state) == (0, SlotState.TRIAL)
    store.accept()
    assert (whole(store), store.table().active, store.table().confirmed_version) == (1, "b", 0)
    assert (store.running().state, store.table().spare_row.state) == (SlotState.PROBATION, SlotState.CONFIRMED)
    store.confirm()
    assert (whole(store), store.running().state, store.table().confirmed_version) == (1, SlotState.CONFIRMED, 1)
    update(store, 2)
    assert (whole(store), store.table().active) == (2, "a")


def test_roll_back_of_a_trial_and_of_a_confirmed_model():
    store = open_store(factory())
    stage(store, 1)
    store.roll_back("not wanted")
    stage(store, 2)
    store.begin_trial()
    store.roll_back("worse\ud800" + "x" * 1000)
    assert whole(store) == 0
    assert store.table().spare_row.state is SlotState.FAILED
    assert store.table().spare_row.reason.startswith("worse?")
    update(store, 3)
    store.roll_back("drifted")
    assert (whole(store), store.table().confirmed_version, store.table().highest_version) == (0, 0, 3)
    store.roll_back("drifted too")  # the golden model, from a slot: there is always one more to go back to
    for _ in range(2):
        assert (whole(store), store.table().active, store.table().spare_row.reason) == (0, "a", "drifted")
        store.roll_back("and again")


def test_versions_only_rise_also_after_a_roll_back():
    store = open_store(factory())
    update(store, 5)
    stage(store, 7)
    store.roll_back("worse")
    for version in (0, 1, 5, 6, 7):
        with pytest.raises(UpdateError, match="not above 7"):
            stage(store, version)
    update(store, 8)
    assert whole(store) == 8


STATES: dict[SlotState, Callable[[], CuttingDisk]] = {
    SlotState.EMPTY: lambda: damaged_spare(),
    SlotState.STAGED: lambda: after(lambda s: stage(s, 1)),
    SlotState.TRIAL: lambda: after(lambda s: stage(s, 1), lambda s: s.begin_trial()),
    SlotState.PROBATION: lambda: after(lambda s: stage(s, 1), lambda s: s.begin_trial(), lambda s: s.accept()),
    SlotState.CONFIRMED: factory,
    SlotState.FAILED: lambda: after(lambda s: stage(s, 1), lambda s: s.roll_back("x")),
}
EVENTS: dict[Event, Callable[[SlotStore], object]] = {
    Event.ERASE: lambda s: stage(s, 9),
    Event.BEGIN_TRIAL: lambda s: s.begin_trial(),
    Event.ACCEPT: lambda s: s.accept(),
    Event.CONFIRM: lambda s: s.confirm(),
    Event.ROLL_BACK: lambda s: s.roll_back("x"),
}


def damaged_spare() -> CuttingDisk:
    disk = factory()
    disk.flip("slot-b", 99)
    open_store(disk).recover()
    return disk.clone()


@pytest.mark.parametrize("state", SlotState)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state_is_as_the_table_says(state, event):
    disk = STATES[state]()
    store = open_store(disk)
    table = store.table()
    assert state in {row.state for row in table.slots.values()}
    before = disk.contents()
    if (table.rows[subject(table, event)].state, event) not in TRANSITIONS:
        with pytest.raises(StateError, match="cannot happen"):
            EVENTS[event](store)
        assert disk.contents() == before
    elif event is Event.ERASE and state is SlotState.PROBATION:
        with pytest.raises(UpdateError, match="an update is on probation"):
            EVENTS[event](store)
        assert disk.contents() == before
    else:
        EVENTS[event](store)
        assert disk.contents() != before


def test_what_cannot_be_staged_touches_nothing():
    disk = after(lambda s: update(s, 1))
    before = disk.contents()
    for version, weights, name in ((2, model(2), digest(3)), (2, b"junk", digest(2)), (1, model(1), digest(1))):
        with pytest.raises(UpdateError):
            open_store(disk).stage(version, weights, name)
    with pytest.raises(ModelError):
        open_store(CuttingDisk()).install_factory(GRAPH, b"junk")
    assert disk.contents() == before


def test_the_fallback_is_not_given_up_while_the_running_model_is_damaged():
    disk = after(lambda s: update(s, 1))
    disk.flip("slot-b", 1234)
    before = disk.contents()
    with pytest.raises(StateError, match="damaged"):
        stage(open_store(disk), 2)
    assert disk.contents() == before


# --- power cuts -----------------------------------------------------------------------------------------------------------


class Scenario:
    """Steps, each named by the version that flies once it has returned; `ready` is the disk before them."""

    def __init__(self, ready: Callable[[], CuttingDisk], *steps: tuple[Callable[[SlotStore], object], int]) -> None:
        self.ready = ready()
        self.first = whole(open_store(self.ready.clone()))
        self.steps = steps

    def run(self, disk: CuttingDisk) -> set[int]:
        """Run until the end or the cut; return the versions that may fly afterwards."""
        flying, allowed = self.first, {self.first}
        try:
            store = open_store(disk)
            for step, version in self.steps:
                allowed = {flying, version}
                step(store)
                flying = version
        except PowerCut:
            return allowed
        return {flying}

    def length(self) -> int:
        disk = self.ready.clone()
        assert self.run(disk) == {self.steps[-1][1]}
        return disk.done


SCENARIOS: dict[str, Scenario] = {
    "first update": Scenario(
        factory,
        (lambda s: stage(s, 1), 0),
        (lambda s: s.begin_trial(), 0),
        (lambda s: s.accept(), 1),
        (lambda s: s.confirm(), 1),
    ),
    "second update": Scenario(
        lambda: after(lambda s: update(s, 1)),
        (lambda s: stage(s, 2), 1),
        (lambda s: s.begin_trial(), 1),
        (lambda s: s.accept(), 2),
        (lambda s: s.confirm(), 2),
    ),
    "trial fails": Scenario(
        lambda: after(lambda s: update(s, 1), lambda s: stage(s, 2), lambda s: s.begin_trial()),
        (lambda s: s.roll_back("worse"), 1),
    ),
    "roll back of a confirmed model": Scenario(lambda: after(lambda s: update(s, 1)), (lambda s: s.roll_back("drift"), 0)),
    "update over a failed one": Scenario(
        lambda: after(lambda s: stage(s, 1), lambda s: s.roll_back("worse")),
        (lambda s: stage(s, 2), 0),
        (lambda s: s.begin_trial(), 0),
        (lambda s: s.accept(), 2),
        (lambda s: s.confirm(), 2),
    ),
    "recovery of an interrupted trial": Scenario(
        lambda: after(lambda s: update(s, 1), lambda s: stage(s, 2), lambda s: s.begin_trial()), (lambda s: s.recover(), 1)
    ),
    "a version is superseded": Scenario(lambda: after(lambda s: stage(s, 1)), (lambda s: stage(s, 2), 0)),
}


def boot(disk: CuttingDisk, allowed: set[int]) -> SlotStore:
    """Recover and hold the oracles: boots, whole, old or new as far as steps returned, settled, and the table twice."""
    store = open_store(disk)
    found = store.recover()
    version = whole(store)
    assert found.active.version == version
    assert version in allowed
    table = store.table()
    assert table.spare_row.state is not SlotState.TRIAL
    assert table.highest_version >= max(row.version for row in table.slots.values())
    assert disk.contents()[TABLE_FILES[0]] == disk.contents()[TABLE_FILES[1]]
    assert not any(name.endswith(".tmp") for name in disk.contents())
    settled = disk.done
    again = store.recover()
    assert (again.notes, again.interrupted_version, disk.done) == ((), None, settled)  # nothing left to do
    return store


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cut_at_every_operation_boots_old_or_new(name):
    scenario = SCENARIOS[name]
    for at in range(scenario.length()):
        for survival in SURVIVAL:
            disk = scenario.ready.clone(cut_at=at)
            allowed = scenario.run(disk)
            store = boot(disk.crash(survival), allowed)
            if survival in ("nothing", "random 0"):
                fresh = store.table().highest_version + 1
                if store.running().state is SlotState.PROBATION:
                    store.confirm()
                update(store, fresh)  # and the loop goes on
                assert whole(store) == fresh


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_second_cut_at_every_operation_of_the_recovery(name):
    scenario = SCENARIOS[name]
    boots = 0
    for at in range(scenario.length()):
        for survival in ("nothing", "random 0"):
            disk = scenario.ready.clone(cut_at=at)
            allowed = scenario.run(disk)
            crashed = disk.crash(survival)
            for second in range(100):
                disk = crashed.clone(cut_at=second)
                try:
                    open_store(disk).recover()
                    break
                except PowerCut:
                    boot(disk.crash(("names", "everything", "random 1")[boots % 3]), allowed)
                    boots += 1
    assert boots > 10


def test_a_confirmed_version_never_comes_again_after_any_cut():
    scenario = SCENARIOS["first update"]
    for at in range(scenario.length()):
        disk = scenario.ready.clone(cut_at=at)
        scenario.run(disk)
        store = boot(disk.crash("random 0"), {0, 1})
        if store.table().highest_version == 1:
            with pytest.raises(UpdateError, match="not above"):
                stage(store, 1)
        else:  # not yet spent: the update is not lost, the same bundle is taken again
            update(store, 1)
            assert whole(store) == 1


def test_an_update_that_was_staged_is_still_staged_after_a_reboot():
    disk = after(lambda s: stage(s, 1)).crash("nothing")
    store = boot(disk, {0})
    assert store.staged().manifest == b"manifest 1"
    store.begin_trial()
    store.accept()
    assert whole(store) == 1


def test_a_reboot_in_a_trial_rolls_back_and_says_so():
    disk = after(lambda s: stage(s, 1), lambda s: s.begin_trial()).crash("nothing")
    found = open_store(disk).recover()
    assert found.interrupted_version == 1
    assert "interrupted" in found.notes[0]
    assert whole(open_store(disk)) == 0


def test_a_cut_during_the_installation_leaves_a_model_or_a_flash_that_takes_one():
    whole_run = CuttingDisk()
    open_store(whole_run).install_factory(GRAPH, model(0))
    for at in range(whole_run.done):
        for survival in SURVIVAL:
            disk = CuttingDisk(cut_at=at)
            with pytest.raises(PowerCut):
                open_store(disk).install_factory(GRAPH, model(0))
            disk = disk.crash(survival)
            store = open_store(disk)
            if store.installed():
                store.recover()
            else:
                with pytest.raises(StateError):
                    store.recover()
                store.install_factory(GRAPH, model(0))
            assert whole(store) == 0


def violations(**mutant: bool) -> int:
    """Count boots that break an oracle, on a disk that leaves out a step."""
    broken = 0
    scenario = SCENARIOS["second update"]
    for at in range(scenario.length() + 1):
        for survival in SURVIVAL:
            disk = scenario.ready.clone(cut_at=at)
            for field, value in mutant.items():
                setattr(disk, field, value)
            allowed = scenario.run(disk)
            try:
                boot(disk.crash(survival), allowed)
            except (StateError, AssertionError):
                broken += 1
    return broken


def test_the_harness_sees_a_missing_sync():
    assert violations() == 0
    assert violations(sync_files=False) > 10
    assert violations(sync_folders=False) > 2


def test_two_tables_and_digests_bear_even_a_flash_that_writes_in_place(monkeypatch):
    """Defence in depth: the adapter's atomic replace is not the only thing that stands between a cut and a brick."""

    def in_place(self: FileFlash, name: str, temporary: str, data: bytes) -> None:
        self._disk.create(name)
        self._disk.append(name, data)
        self._disk.sync_file(name)
        self._disk.sync_folder()

    monkeypatch.setattr(FileFlash, "_replace", in_place)
    assert violations() == 0


def test_the_harness_bricks_a_satellite_without_sync_at_all():
    disk = CuttingDisk(sync_files=False, sync_folders=False)
    store = open_store(disk)
    store.install_factory(GRAPH, model(0))
    update(store, 1)
    disk = disk.crash("names")
    with pytest.raises(StateError):
        open_store(disk).recover()


# --- devices that refuse, bits that flip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [5, 28, 30])
def test_a_device_error_at_every_operation_is_typed_and_harmless(number):
    for name in ("second update", "trial fails", "roll back of a confirmed model"):
        scenario = SCENARIOS[name]
        for at in range(scenario.length()):
            disk = scenario.ready.clone(cut_at=at, error=number)
            told = ""
            try:
                assert scenario.run(disk) == {scenario.steps[-1][1]}, "silent only where the step is made"
            except StateError as error:
                told = error.what
            assert not told or "refuses" in told
            assert whole(open_store(disk.clone())) in {scenario.first, scenario.steps[-1][1]}
            boot(disk.crash("random 0"), {scenario.first, scenario.steps[-1][1]})


def test_every_flipped_bit_of_the_running_slot_is_seen_and_the_other_takes_over():
    ready = after(lambda s: update(s, 1))
    bits = len(ready.contents()["slot-b"]) * 8
    for bit in [*range(0, 64 * 8, 7), *range(64 * 8, bits, 97)]:
        disk = ready.clone()
        disk.flip("slot-b", bit)
        with pytest.raises(StateError):
            open_store(disk).active()
        found = open_store(disk).recover()
        assert (found.active.version, whole(open_store(disk))) == (0, 0)
        assert "damaged" in found.notes[0]


def test_a_flipped_bit_in_the_spare_is_seen_and_never_tried_or_confirmed():
    for steps in ((lambda s: stage(s, 1),), (lambda s: stage(s, 1), lambda s: s.begin_trial())):
        ready = after(*steps)
        for bit in range(0, len(ready.contents()["slot-b"]) * 8, 331):
            disk = ready.clone()
            disk.flip("slot-b", bit)
            with pytest.raises(StateError):
                open_store(disk).begin_trial() if len(steps) == 1 else open_store(disk).accept()
            assert whole(boot(disk, {0})) == 0


def test_every_flipped_bit_in_one_copy_of_the_table_changes_nothing():
    ready = after(lambda s: update(s, 1))
    for name in TABLE_FILES:
        for bit in range(0, len(ready.contents()[name]) * 8, 13):
            disk = ready.clone()
            disk.flip(name, bit)
            assert boot(disk, {1}).table().highest_version == 1


def test_both_copies_lost_boots_the_older_slot_and_keeps_the_highest_version():
    disk = after(lambda s: update(s, 3))
    for name in TABLE_FILES:
        disk.flip(name, 700)
    with pytest.raises(StateError, match="recover"):
        open_store(disk).active()
    store = boot(disk, {0})
    assert store.table().highest_version == 3
    assert store.table().slots["b"].state is SlotState.FAILED


def test_another_slots_file_in_place_of_the_right_one_is_seen():
    disk = after(lambda s: update(s, 1))
    disk.names_cached["slot-b"] = disk.names_cached["slot-a"]
    with pytest.raises(StateError, match="damaged"):
        open_store(disk).active()
    assert open_store(disk).recover().active.version == 0


def test_a_staged_model_is_the_last_resort_and_a_failed_one_is_none():
    disk = after(lambda s: stage(s, 1))
    disk.flip("slot-a", 999)
    disk.flip(GOLDEN, 999)
    assert open_store(disk).recover().active.version == 1
    disk = after(lambda s: stage(s, 1), lambda s: s.begin_trial())
    disk.flip("slot-a", 999)
    disk.flip(GOLDEN, 999)
    with pytest.raises(StateError, match="no intact slot may fly"):
        open_store(disk).recover()


def test_a_thousand_updates_leave_no_more_files_than_one():
    disk = factory()
    store = open_store(disk)
    sizes = set()
    for version in range(1, 101):
        update(store, version)
        sizes.add(tuple(sorted(disk.contents())))
    assert sizes == {(GOLDEN, "slot-a", "slot-b", *TABLE_FILES)}


def test_a_long_random_life_never_bricks():
    rng = np.random.default_rng(7)
    disk, flying = factory(), {0}
    for _ in range(250):
        disk = disk.clone(cut_at=int(rng.integers(0, 90)))
        version = open_store(disk.clone()).table().highest_version + 1
        try:
            store = open_store(disk)
            allowed = set(flying)
            if store.running().state is SlotState.PROBATION:
                store.confirm()
            stage(store, version)
            store.begin_trial()
            if rng.random() < 0.3:
                store.roll_back("worse")
            else:
                allowed = flying | {version}
                store.accept()
                store.confirm()
                allowed = flying = {version}
                if rng.random() < 0.3:
                    allowed |= {store.table().spare_row.version}
                    store.roll_back("drift")
        except PowerCut:
            pass
        disk = disk.crash(SURVIVAL[int(rng.integers(0, len(SURVIVAL)))], int(rng.integers(0, 1 << 30)))
        flying = {whole(boot(disk, allowed))}
    assert max(flying) > 20
