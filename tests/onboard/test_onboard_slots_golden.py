"""The golden model and probation: what takes over when, what a boot counts; a flash that is old, odd, or takes no writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from cutting_disk import CuttingDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from test_onboard_slots import GRAPH, after, boot, digest, factory, model, open_store, stage, update, whole

from orbitloop.errors import StateError, UpdateError
from orbitloop.onboard.adapters.files import FileFlash, OsDisk
from orbitloop.onboard.slot_record import SlotContent, read_slot, slot_file, write_slot
from orbitloop.onboard.slot_table import GOLDEN, SlotRow, SlotState, SlotTable, parse_table, write_table
from orbitloop.onboard.slots import TABLE_FILES, SlotStore
from orbitloop.records.ids import canonical_json, digest_bytes


def accept(store: SlotStore, version: int) -> None:
    stage(store, version)
    store.begin_trial()
    store.accept()


def damaged(disk: CuttingDisk, *names: str) -> CuttingDisk:
    for name in names:
        disk.flip(name, 1234)
    return disk


def states(store: SlotStore) -> tuple[str, SlotState, SlotState]:
    table = store.table()
    return table.active, table.active_row.state, table.spare_row.state


# --- the golden model -----------------------------------------------------------------------------------------------------


def test_the_golden_model_takes_over_where_neither_slot_is_whole_and_takes_updates():
    disk = damaged(after(lambda s: update(s, 1), lambda s: update(s, 2)), "slot-a", "slot-b")
    store = open_store(disk)
    found = store.recover()
    assert (found.active.version, found.active.weights) == (0, model(0))
    assert "golden takes over" in found.notes[-1]
    assert whole(store) == 0
    update(store, 3)
    assert (whole(store), store.table().confirmed_version, store.table().highest_version) == (3, 3, 3)
    store.roll_back("drift")
    assert whole(store) == 0


def test_the_golden_file_is_written_once():
    disk = factory()
    before = disk.contents()[GOLDEN]
    store = open_store(disk)
    for version in range(1, 5):
        update(store, version)
    store.roll_back("drift")
    store.roll_back("drift again")
    assert (whole(store), disk.contents()[GOLDEN]) == (0, before)


def test_when_the_golden_model_flies_there_are_two_of_it():
    disk = damaged(after(lambda s: update(s, 1), lambda s: update(s, 2)), "slot-a", "slot-b")
    assert open_store(disk).recover().active.version == 0
    for name in (GOLDEN, slot_file(open_store(disk).table().active)):
        assert open_store(damaged(disk.clone(), name)).recover().active.version == 0


def test_a_damaged_golden_model_is_told_at_each_boot_and_costs_nothing():
    disk = damaged(after(lambda s: update(s, 1)), GOLDEN)
    before = disk.contents()
    for _ in range(2):
        found = open_store(disk).recover()
        assert (found.active.version, found.notes) == (1, ("the golden model is damaged",))
    assert disk.contents() == before
    damaged(disk, "slot-a", "slot-b")
    with pytest.raises(StateError, match="no intact slot may fly"):
        open_store(disk).recover()


def test_the_golden_model_may_lie_on_a_medium_of_its_own():
    disk, rom = CuttingDisk(), CuttingDisk()
    SlotStore(FileFlash(disk), golden=FileFlash(rom)).install_factory(GRAPH, model(0))
    assert (sorted(rom.contents()), GOLDEN in disk.contents()) == ([GOLDEN], False)
    damaged(disk, "slot-a", "slot-b", *TABLE_FILES)
    rom.cut_at, rom.error, rom.done = 0, 30, 0  # read-only in flight
    assert SlotStore(FileFlash(disk), golden=FileFlash(rom)).recover().active.version == 0


def test_what_waited_is_still_tried_beside_the_golden_model():
    disk = damaged(after(lambda s: update(s, 1), lambda s: stage(s, 2)), "slot-b")
    store = open_store(disk)
    assert store.recover().active.version == 0
    assert store.staged().version == 2
    store.begin_trial()
    store.accept()
    assert whole(store) == 2


# --- both tables lost -----------------------------------------------------------------------------------------------------


LOST: dict[str, tuple[Callable[[SlotStore], object], int]] = {
    "confirmed": (lambda s: update(s, 2), 1),
    "on probation": (lambda s: accept(s, 2), 1),
    "staged": (lambda s: stage(s, 2), 1),
    "in its trial": (lambda s: (stage(s, 2), s.begin_trial()), 1),
}


@pytest.mark.parametrize("name", LOST)
def test_with_both_tables_lost_what_was_proven_flies(name):
    step, flies = LOST[name]
    store = open_store(damaged(after(lambda s: update(s, 1), step), *TABLE_FILES))
    assert store.recover().active.version == flies == whole(store)
    assert (store.table().highest_version, store.table().golden.version) == (2, 0)


def test_with_both_tables_and_the_proven_slot_lost_the_other_waits_beside_the_golden_model():
    store = open_store(damaged(after(lambda s: accept(s, 1)), *TABLE_FILES, "slot-a"))
    assert store.recover().active.version == 0
    assert (store.staged().version, store.table().spare_row.reason) == (1, "table was lost")


def test_a_failed_model_leaves_no_file_that_a_lost_table_could_bring_back():
    disk = after(lambda s: update(s, 1), lambda s: accept(s, 2), lambda s: s.roll_back("worse"))
    assert "slot-a" not in disk.contents()
    assert open_store(damaged(disk, *TABLE_FILES, "slot-b")).recover().active.version == 0


def test_a_file_that_was_written_to_another_slots_place_is_seen_without_a_table_too():
    disk = damaged(after(lambda s: accept(s, 1)), *TABLE_FILES)
    disk.names_cached["slot-a"] = disk.names_cached["slot-b"]  # the proven one is gone, the unproven one there twice
    assert open_store(disk).recover().active.version == 0


# --- probation ------------------------------------------------------------------------------------------------------------


def test_nothing_is_staged_on_probation_and_nothing_touched():
    disk = after(lambda s: accept(s, 1))
    before = disk.contents()
    with pytest.raises(UpdateError, match="an update is on probation"):
        stage(open_store(disk), 2)
    assert disk.contents() == before


def test_a_model_on_probation_survives_boots_with_a_sign_of_health():
    disk = after(lambda s: accept(s, 1))
    for _ in range(10):
        store = open_store(disk)
        assert store.recover().active.version == 1
        store.note_boot()
        assert store.table().boots == 1
        store.note_healthy()
    open_store(disk).confirm()
    assert states(open_store(disk)) == ("b", SlotState.CONFIRMED, SlotState.CONFIRMED)


@pytest.mark.parametrize(("allowed", "boots"), [(2, 3), (0, 1), (5, 6)])
def test_more_boots_than_allowed_without_a_sign_of_health_are_a_crash_loop(allowed, boots):
    disk = after(lambda s: accept(s, 1))
    for _ in range(boots):
        store = SlotStore(FileFlash(disk), max_trial_boots=allowed)
        assert store.recover().active.version == 1
        store.note_boot()
    found = SlotStore(FileFlash(disk), max_trial_boots=allowed).recover()
    assert (found.active.version, found.interrupted_version) == (0, 1)
    assert found.reason == f"crash loop: {boots} boots on probation without a sign of health"
    assert open_store(disk).table().spare_row.reason == found.reason
    assert open_store(disk).recover().interrupted_version is None


def test_boots_of_a_confirmed_model_are_not_counted():
    disk = after(lambda s: update(s, 1))
    before = disk.contents()
    open_store(disk).note_boot()
    open_store(disk).note_healthy()
    assert disk.contents() == before


def test_a_crash_loop_with_nothing_to_go_back_to_flies_on():
    disk = damaged(after(lambda s: accept(s, 1), *[lambda s: s.note_boot()] * 4), "slot-a", GOLDEN)
    found = open_store(disk).recover()
    assert (found.active.version, found.interrupted_version) == (1, None)
    assert "nothing to go back to" in found.notes[-1]
    with pytest.raises(StateError, match="slot golden"):
        open_store(disk).roll_back("drift")


def test_damage_on_probation_ends_it_with_a_reason():
    found = open_store(damaged(after(lambda s: accept(s, 1)), "slot-b")).recover()
    assert (found.active.version, found.interrupted_version, found.reason) == (0, 1, "content of version 1 was damaged")


def test_a_roll_back_finds_its_fallback_damaged_and_takes_the_golden_model():
    store = open_store(damaged(after(lambda s: update(s, 1), lambda s: accept(s, 2)), "slot-b"))
    assert store.roll_back("slow").version == 0
    assert whole(store) == 0


# --- a flash that takes no writes, is full, old, or odd -------------------------------------------------------------------


class Stuck(CuttingDisk):
    """Reads, and takes nothing."""

    def _step(self) -> None:
        raise OSError(30, "Read-only file system")


def stuck(disk: CuttingDisk) -> Stuck:
    return Stuck(names_cached=disk.names_cached, names_durable=disk.names_durable)


READ_ONLY: dict[str, tuple[CuttingDisk, int]] = {
    "confirmed": (after(lambda s: update(s, 1)), 1),
    "a trial was interrupted": (after(lambda s: stage(s, 1), lambda s: s.begin_trial()), 0),
    "the active slot is damaged": (damaged(after(lambda s: update(s, 1)), "slot-b"), 0),
    "only the golden model is whole": (damaged(after(lambda s: update(s, 1)), "slot-a", "slot-b"), 0),
    "both tables are lost": (damaged(after(lambda s: update(s, 1)), *TABLE_FILES), 0),
    "a crash loop": (after(lambda s: accept(s, 1), *[lambda s: s.note_boot()] * 3), 0),
}


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_flash_that_takes_no_writes_still_boots_what_may_fly(name):
    ready, flies = READ_ONLY[name]
    disk = stuck(ready.clone())
    disk.names_cached["left-over.tmp"] = next(iter(disk.names_cached.values()))
    for _ in range(2):
        store = open_store(disk)
        assert store.recover().active.version == flies == whole(store) == store.running().version
        with pytest.raises(StateError, match="Read-only"):
            stage(store, 9)
        assert whole(store) == flies


def test_a_boot_that_cannot_be_counted_flies_the_fallback():
    disk = after(lambda s: accept(s, 1))
    store = open_store(stuck(disk))
    assert store.recover().active.version == 1
    store.note_boot()
    assert (whole(store), store.table().spare_row.state) == (0, SlotState.FAILED)
    assert "cannot be counted" in store.table().spare_row.reason
    assert open_store(disk).recover().active.version == 1  # well again: on probation still


def test_a_flash_that_recovers_takes_what_was_held():
    disk = after(lambda s: stage(s, 1), lambda s: s.begin_trial())
    disk.cut_at, disk.error = 0, 28
    store = open_store(disk)
    assert "refuses" in store.recover().notes[-1]
    update(store, 2)
    assert (whole(store), whole(boot(disk, {2}))) == (2, 2)


def test_other_files_on_a_flash_are_left_alone():
    disk = factory()
    flash = FileFlash(disk)
    for name in ("trust-0", "junk", "slot-c", "table-2", "golden.old"):
        flash.write_atomic(name, b"not ours")
    store = SlotStore(flash)
    update(store, 1)
    store.recover()
    assert flash.read("junk", max_bytes=99) == flash.read("slot-c", max_bytes=99) == b"not ours"


@pytest.mark.parametrize("name", ["slot-b", "table-0", "golden"])
@pytest.mark.parametrize("instead", ["folder", "link", "forbidden", "empty", "huge"])
def test_odd_things_in_place_of_a_file_are_no_brick(name, instead, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    store = SlotStore(FileFlash.on(tmp_path))
    store.install_factory(GRAPH, model(0))
    update(store, 1)
    path = tmp_path / name
    if instead == "forbidden":
        path.chmod(0)
    else:
        path.unlink()
        {
            "folder": path.mkdir,
            "link": lambda: path.symlink_to(tmp_path / "slot-a"),
            "empty": path.touch,
            "huge": lambda: path.write_bytes(bytes(1 << 20)),
        }[instead]()
    store = SlotStore(FileFlash.on(tmp_path))
    assert store.recover().active.version == whole(store)
    assert whole(store) in ((0, 1) if name == "slot-b" else (1,))


def first_form(table: SlotTable) -> bytes:
    value = json.loads(write_table(table).partition(b"\n")[2])
    value["schema"] = "orbitloop.slots/1"
    del value["boots"], value["golden"]
    body = canonical_json(value)
    return digest_bytes(body).encode() + b"\n" + body


def test_a_satellite_from_before_the_golden_model_flies_on_and_is_updated():
    disk = after(lambda s: update(s, 1))
    flash, store = FileFlash(disk), open_store(disk)
    rows = {}
    for name, row in store.table().slots.items():
        record = flash.read(slot_file(name), max_bytes=1 << 20).partition(b"\n")[2]
        flash.write_atomic(slot_file(name), record)
        rows[name] = replace(row, record=digest_bytes(record))
    flash.delete(GOLDEN)
    for name in TABLE_FILES:
        flash.write_atomic(name, first_form(replace(store.table(), slots=rows)))
    assert open_store(disk).table().golden == SlotRow()
    store = boot(disk, {1})
    update(store, 2)
    store.roll_back("drift")
    assert whole(store) == 1
    with pytest.raises(StateError, match="no other model"):
        store.roll_back("drift")
    assert parse_table(disk.contents()["table-0"]) == store.table()


def test_a_table_of_newer_software_is_a_clear_error_and_no_brick():
    disk = after(lambda s: update(s, 1))
    value = json.loads(disk.contents()["table-0"].partition(b"\n")[2]) | {"schema": "orbitloop.slots/3"}
    body = canonical_json(value)
    data = digest_bytes(body).encode() + b"\n" + body
    with pytest.raises(StateError, match=r"orbitloop.slots/3, and this software reads orbitloop.slots/2"):
        parse_table(data)
    for name in TABLE_FILES:
        FileFlash(disk).write_atomic(name, data)
    assert whole(boot(disk, {0})) == 0


# --- their bytes ----------------------------------------------------------------------------------------------------------

TABLE = write_table(SlotTable(3, "a", 2, 1, {n: SlotRow(SlotState.CONFIRMED, 1, "d", "r", "ä") for n in "ab"}, SlotRow(), 2))
BODY = json.loads(TABLE.partition(b"\n")[2])
FILE = write_slot(SlotContent("a", 7, digest(7), GRAPH, model(7), b"manifest"))


def sealed(body: bytes) -> bytes:
    return digest_bytes(body).encode() + b"\n" + body


MALFORMED = {
    "empty": b"",
    "list": sealed(b"[]"),
    "null": sealed(b"null"),
    "deep": sealed(b"[" * 100_000),
    "no slots": sealed(canonical_json({k: v for k, v in BODY.items() if k != "slots"})),
    "slots is a list": sealed(canonical_json(BODY | {"slots": []})),
    "one slot": sealed(canonical_json(BODY | {"slots": {"a": BODY["slots"]["a"]}})),
    "a slot called golden": sealed(canonical_json(BODY | {"slots": BODY["slots"] | {"golden": BODY["golden"]}})),
    "a strange active one": sealed(canonical_json(BODY | {"active": "c"})),
    "a strange state": sealed(canonical_json(BODY | {"golden": BODY["golden"] | {"state": "good"}})),
    "endless number": sealed(json.dumps(BODY | {"boots": float("inf")}).encode()),
    "schema is a list": sealed(canonical_json(BODY | {"schema": []})),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_table_is_the_typed_error(name):
    with pytest.raises(StateError):
        parse_table(MALFORMED[name])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_table_or_a_slot_is_read_or_refused_and_never_misread(data):
    kind = data.draw(st.sampled_from(("table", "slot")))
    whole_bytes = bytearray(TABLE if kind == "table" else FILE)
    start = data.draw(st.integers(0, len(whole_bytes)))
    whole_bytes[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        if kind == "table":
            assert write_table(parse_table(bytes(whole_bytes))) == TABLE
        else:
            assert read_slot("a", bytes(whole_bytes)) == read_slot("a", FILE)
    except StateError:
        assert bytes(whole_bytes) != (TABLE if kind == "table" else FILE)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_junk_is_the_typed_error(junk):
    for read in (parse_table, lambda data: read_slot("a", data), lambda data: parse_table(sealed(data))):
        with pytest.raises(StateError):
            read(junk)


def test_a_device_that_takes_fewer_bytes_or_none(tmp_path, monkeypatch):
    flash, write = FileFlash(OsDisk(tmp_path)), os.write
    content = np.random.default_rng(0).bytes(5000)
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[: max(1, len(data) // 3)]))
    flash.write_atomic("x", content)
    assert flash.read("x", max_bytes=5000) == content
    monkeypatch.setattr(os, "write", lambda handle, data: 0)
    with pytest.raises(StateError, match="takes no bytes"):
        flash.write_atomic("x", b"new")
    assert flash.read("x", max_bytes=5000) == content
