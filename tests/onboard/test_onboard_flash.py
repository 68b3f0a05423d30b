"""What Flash promises, over a real folder and over the disk that forgets."""

from __future__ import annotations

import os
import stat

import pytest
from cutting_disk import SURVIVAL, CuttingDisk, PowerCut

from orbitloop.errors import StateError
from orbitloop.onboard.adapters.files import FileFlash, OsDisk


@pytest.fixture(params=["folder", "simulated"])
def disk(request, tmp_path):
    return OsDisk(tmp_path / "flash") if request.param == "folder" else CuttingDisk()


def test_files_are_written_read_listed_and_deleted(disk):
    flash = FileFlash(disk, chunk_bytes=3)
    assert flash.list() == []
    flash.write_atomic("b", b"0123456789")
    flash.write_atomic("a-1.x", b"")
    flash.write_atomic("b", b"new")
    assert flash.list() == ["a-1.x", "b"]
    assert flash.read("b", max_bytes=3) == b"new"
    assert flash.read("a-1.x", max_bytes=0) == b""
    flash.delete("b")
    flash.delete("b")
    assert not flash.exists("b")
    assert FileFlash(disk).list() == ["a-1.x"]


def test_reading_is_bounded_and_typed(disk):
    flash = FileFlash(disk)
    flash.write_atomic("a", b"1234")
    with pytest.raises(StateError, match="limit of 3"):
        flash.read("a", max_bytes=3)
    with pytest.raises(StateError, match="refuses"):
        flash.read("none", max_bytes=3)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", ".a", "-a", "A", "a b", "a\0", "ä", "a" * 65, "a.tmp", "a\n"]
)
def test_no_name_leaves_the_folder(disk, name):
    flash = FileFlash(disk)
    for act in (
        lambda: flash.write_atomic(name, b""),
        lambda: flash.read(name, max_bytes=9),
        lambda: flash.delete(name),
        lambda: flash.exists(name),
    ):
        with pytest.raises(StateError, match="not a name"):
            act()


def test_links_and_special_files_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    flash = FileFlash.on(tmp_path / "flash")
    (tmp_path / "flash" / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "flash" / "fifo")
    (tmp_path / "flash" / "folder").mkdir()
    (tmp_path / "flash" / "w.tmp").symlink_to(secret)
    for name in ("link", "fifo", "folder"):
        with pytest.raises(StateError):
            flash.read(name, max_bytes=99)
        assert not flash.exists(name)
    with pytest.raises(StateError):
        flash.write_atomic("w", b"overwritten")
    assert secret.read_bytes() == b"secret"


def test_a_folder_that_cannot_be_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError):
        FileFlash.on(tmp_path / "file" / "flash")


def test_opening_sweeps_what_an_interrupted_write_left(tmp_path):
    flash = FileFlash.on(tmp_path)
    (tmp_path / "a.tmp").write_bytes(b"half")
    assert flash.list() == []
    assert FileFlash.on(tmp_path).list() == []
    assert not (tmp_path / "a.tmp").exists()


def contents_after_cuts(**mutant: bool) -> set[bytes]:
    """Cut a replacement at every operation, with every survival; return what is read afterwards."""
    ready = CuttingDisk()
    FileFlash(ready, chunk_bytes=4).write_atomic("a", b"old content")
    whole = ready.clone()
    FileFlash(whole, chunk_bytes=4).write_atomic("a", b"the new content")
    seen = set()
    for at in range(whole.done):
        for survival in SURVIVAL:
            disk = ready.clone(cut_at=at)
            for field, value in mutant.items():
                setattr(disk, field, value)
            with pytest.raises(PowerCut):
                FileFlash(disk, chunk_bytes=4).write_atomic("a", b"the new content")
            after = FileFlash(disk.crash(survival))
            seen.add(after.read("a", max_bytes=99))
            assert after.list() == ["a"]
    return seen


def test_a_cut_at_every_operation_leaves_the_old_or_the_new_content():
    assert contents_after_cuts() == {b"old content", b"the new content"}


def test_the_harness_sees_a_missing_file_sync():
    assert contents_after_cuts(sync_files=False) - {b"old content", b"the new content"}


def test_the_harness_sees_writing_in_place(monkeypatch):
    def in_place(self: FileFlash, name: str, temporary: str, data: bytes) -> None:
        self._disk.create(name)
        self._disk.append(name, data)
        self._disk.sync_file(name)
        self._disk.sync_folder()

    monkeypatch.setattr(FileFlash, "_replace", in_place)
    assert contents_after_cuts() - {b"old content", b"the new content"}


def test_the_harness_sees_a_missing_folder_sync():
    for folders, lost in ((True, False), (False, True)):
        disk = CuttingDisk(sync_folders=folders)
        FileFlash(disk).write_atomic("a", b"acknowledged")
        assert FileFlash(disk.crash("nothing")).exists("a") is not lost


def test_a_device_error_at_every_operation_keeps_the_old_content_and_is_typed():
    ready = CuttingDisk()
    FileFlash(ready, chunk_bytes=4).write_atomic("a", b"old")
    whole = ready.clone()
    FileFlash(whole, chunk_bytes=4).write_atomic("a", b"new content")
    for at in range(whole.done):
        disk = ready.clone(cut_at=at, error=28)
        with pytest.raises(StateError, match="refuses"):
            FileFlash(disk, chunk_bytes=4).write_atomic("a", b"new content")
        after = FileFlash(disk.crash("everything"))
        assert after.read("a", max_bytes=99) in (b"old", b"new content")
        assert after.list() == ["a"]


def test_on_a_real_folder_bytes_are_durable_before_the_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    """What the simulated disk cannot see: that the operating system is really asked, and in which order."""
    asked, fsync, rename = [], os.fsync, os.replace

    def synced(handle: int) -> None:
        status = os.fstat(handle)
        asked.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda source, target: (asked.append("rename"), rename(source, target)))
    flash = FileFlash(OsDisk(tmp_path), chunk_bytes=100)
    flash.write_atomic("a", bytes(1234))
    assert asked == ["1234 bytes", "rename", "folder"]
    flash.delete("a")
    assert asked[3:] == ["folder"]
