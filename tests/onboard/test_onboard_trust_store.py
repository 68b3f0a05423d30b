"""What is believed survives a power cut at every write, and a flipped bit; a refusal of the flash leaves it as it was."""

from __future__ import annotations

import pytest
from cutting_disk import SURVIVAL, CuttingDisk, PowerCut

from orbitloop.errors import StateError
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.trust_store import FILES, TrustStore
from orbitloop.trust.refresh import Believed

ANCHOR = b"root of the launch"
OLD = Believed({"root": b"root 1", "timestamp": b"old"}, 7)
NEW = Believed({"root": b"root 2", "timestamp": b"new", "farm": b"x" * 5000}, 8)


def store(disk: CuttingDisk) -> TrustStore:
    return TrustStore(FileFlash(disk), ANCHOR)


@pytest.fixture
def disk() -> CuttingDisk:
    made = CuttingDisk()
    store(made).save(OLD)
    return made


def test_a_new_satellite_believes_its_anchor():
    assert store(CuttingDisk()).load() == Believed.anchor(ANCHOR)


def test_what_is_saved_is_loaded_and_again_costs_no_write(disk):
    assert store(disk).load() == OLD
    before = disk.done
    store(disk).save(OLD)
    assert disk.done == before
    store(disk).save(NEW)
    assert store(disk).load() == NEW


def test_contacts_are_counted(disk):
    assert [store(disk).note_contact() for _ in range(3)] == [8, 9, 10]
    assert store(disk).load().contacts == 10


@pytest.mark.parametrize("survival", SURVIVAL)
def test_a_cut_at_any_write_leaves_the_old_or_the_new(disk, survival):
    whole = disk.clone()
    store(whole).save(NEW)
    for cut in range(whole.done):
        struck = disk.clone(cut_at=cut)
        with pytest.raises(PowerCut):
            store(struck).save(NEW)
        booted = struck.crash(survival)
        assert store(booted).load() in (OLD, NEW)
        store(booted).save(NEW)
        assert store(booted).load() == NEW
        assert store(booted.crash("nothing")).load() == NEW


def test_an_error_of_the_flash_leaves_the_old_or_the_new(disk):
    for place in range(12):
        struck = disk.clone(cut_at=place, error=28)
        try:
            store(struck).save(NEW)
        except StateError:
            assert store(struck).load() in (OLD, NEW)


@pytest.mark.parametrize("name", FILES)
def test_one_damaged_copy_does_no_harm_and_is_mended(disk, name):
    disk.flip(name, 200)
    assert store(disk).load() == OLD
    store(disk).save(OLD)
    disk.flip(FILES[1 - FILES.index(name)], 200)
    assert store(disk).load() == OLD


def test_with_both_lost_the_anchor_is_believed_again(disk):
    for name in FILES:
        disk.flip(name, 200)
    assert store(disk).load() == Believed.anchor(ANCHOR)
