"""Reading up to a limit, writing whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitloop.apps.files import read_bounded, write_whole
from orbitloop.errors import DataError, StateError


def test_a_file_at_the_limit_is_read_and_one_over_it_is_not(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, DataError) == b"12345"
    with pytest.raises(DataError, match="more than 4 bytes"):
        read_bounded(path, 4, DataError)


@pytest.mark.parametrize("name", ["absent", "a\0b", ".", "pipe"])
def test_what_is_no_file_is_the_callers_error(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")  # would block for ever
    with pytest.raises(DataError) as told:
        read_bounded(tmp_path / name, 10, DataError, "name another")
    assert told.value.remedy == "name another"


def test_what_is_interrupted_leaves_what_was_there(tmp_path):
    def lines() -> Iterator[str]:
        yield "half\n"
        raise KeyboardInterrupt

    path = tmp_path / "a"
    write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, lines())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, ["é\n", "b\n"])
    assert path.read_text("utf-8") == "é\nb\n"


def test_a_link_stays_and_a_device_is_written_to(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    write_whole(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("name", ["file/inside", "absent/inside", "a\0b"])
def test_what_cannot_be_written_is_told(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="cannot be written"):
        write_whole(tmp_path / name, b"x")


def test_folders_are_made_when_asked_for(tmp_path):
    write_whole(tmp_path / "a" / "b", b"x", make_folder=True)
    assert (tmp_path / "a" / "b").read_bytes() == b"x"
