"""One file as a store: what is refused, and that a change is whole or not at all."""

import sqlite3
from pathlib import Path

import pytest

from orbitloop.apps.sqlite_file import Form, guarded, opened, transaction
from orbitloop.errors import StateError


def form(version: int = 1) -> Form:
    return Form("list", 0x31323334, version, "CREATE TABLE kept (n INTEGER);", "--list", "orbitloop list", "make it again")


def kept(path: Path) -> list[int]:
    with opened(path, form()) as db:
        return [row[0] for row in db.execute("SELECT n FROM kept")]


def interrupted(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO kept VALUES (2)")
    raise KeyboardInterrupt


def test_what_is_interrupted_leaves_nothing(tmp_path):
    path = tmp_path / "one.db"
    with opened(path, form(), write=True) as db:
        with transaction(db):
            db.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(KeyboardInterrupt), transaction(db):
            interrupted(db)
        with transaction(db):
            db.execute("INSERT INTO kept VALUES (3)")
    assert kept(path) == [1, 3]


def test_who_makes_it_second_finds_it_made(tmp_path):
    path = tmp_path / "one.db"
    with opened(path, form(), write=True) as first, opened(path, form(), write=True) as second:
        with transaction(first):
            first.execute("INSERT INTO kept VALUES (1)")
        assert second.execute("SELECT COUNT(*) FROM kept").fetchone() == (1,)


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (n)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="something else"), opened(path, form(), write=True):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("data", [b"no database at all, but long enough to be one" * 40, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_the_one_typed_error(tmp_path, data):
    path = tmp_path / "damaged.db"
    path.write_bytes(data)
    with pytest.raises(StateError, match="cannot be used"), opened(path, form(), write=True):
        pass


def test_a_newer_form_and_an_absent_file_are_told(tmp_path):
    path = tmp_path / "one.db"
    with pytest.raises(StateError, match="there is no list"), opened(path, form()):
        pass
    with opened(path, form(version=2), write=True):
        pass
    with pytest.raises(StateError, match="form 2, this program knows 1"), opened(path, form()):
        pass


def test_errors_of_statements_are_told_in_the_same_way(tmp_path):
    path = tmp_path / "one.db"
    with opened(path, form(), write=True) as db, pytest.raises(StateError, match="no such table"), guarded(path, form()):
        db.execute("SELECT * FROM absent")
