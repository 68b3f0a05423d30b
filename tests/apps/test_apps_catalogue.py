from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.apps import catalogue, catalogue_store
from orbitloop.apps.catalogue import (
    find_object,
    import_files,
    load_snapshots,
    newest_sets,
    open_snapshot,
    read_bounded,
    write_sets,
)
from orbitloop.apps.catalogue_store import opened
from orbitloop.errors import ElementsError, StateError
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.omm import parse_omm_file
from orbitloop.orbit.formats.tle import parse_tle_file, write_tle_file

START_S = 1_780_000_000.0


def _sets(day: int, count: int = 5) -> list[Elements]:
    return [
        from_orbit(f"BIRD-{n}", round(START_S + day * DAY_S), 550 + n, 53, norad_id=100 + n, mean_anomaly_deg=10.0 * n)
        for n in range(count)
    ]


def _file(folder: Path, day: int, text: str = "") -> Path:
    path = folder / f"birds_2026-05-{28 + day:02d}T22.tle.gz"
    path.write_bytes(gzip.compress((write_tle_file(_sets(day)) + text).encode()))
    return path


def test_import_is_idempotent_and_sets_are_stored_once(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    one, two = _file(tmp_path, 0), _file(tmp_path, 1)
    first = list(import_files(db, [one, two], START_S))
    assert [(i.snapshot, i.sets, i.new_sets, i.known, i.dated_by) for i in first] == [
        (1, 5, 5, False, "file name"),
        (2, 5, 5, False, "file name"),
    ]
    before = db.read_bytes()
    again = list(import_files(db, [one, two], START_S + 5))
    assert [(i.snapshot, i.new_sets, i.known) for i in again] == [(1, 0, True), (2, 0, True)]
    assert db.read_bytes() == before
    third = tmp_path / "other.tle"
    third.write_text(write_tle_file(_sets(1)[:2]))
    (more,) = import_files(db, [third], START_S)
    assert (more.snapshot, more.new_sets, more.dated_by) == (3, 0, "newest epoch")


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    list(import_files(db, [_file(tmp_path, 0), _file(tmp_path, 1)], START_S))
    written = parse_tle_file(write_tle_file(_sets(1)))[0]
    (snapshot,) = [s for s in load_snapshots(db, []) if "29" in s.label]
    assert list(snapshot.sets) == written
    assert newest_sets(db, [])[0] == written
    with opened(db) as store:
        assert [round(e.epoch_s - START_S) for e in store.history(101)] == [0, DAY_S]
        assert store.history(999) == []
    assert open_snapshot(db, "2026-05-28").sets == open_snapshot(db, "1").sets
    assert open_snapshot(db, "newest").label == "birds_2026-05-29T22.tle.gz"
    for name in ("7", "2026-05"):
        with pytest.raises(StateError, match=r"snapshot"):
            open_snapshot(db, name)


def test_a_bad_set_is_kept_with_its_place(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    bad = write_tle_file(_sets(0)[:1])
    bad = bad[:40] + "x" + bad[41:]
    (done,) = import_files(db, [_file(tmp_path, 0, bad)], START_S)
    assert [(s.norad_id, "line 17" in s.where) for s in done.skipped] == [(100, True)]
    assert load_snapshots(db, [])[0].skipped == done.skipped


def test_an_interrupted_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "c.db"
    list(import_files(db, [_file(tmp_path, 0)], START_S))
    calls = 0

    def interrupt(one: Elements) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return bytes(16)

    monkeypatch.setattr(catalogue_store, "_digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(import_files(db, [_file(tmp_path, 1)], START_S))
    monkeypatch.undo()
    with opened(db) as store:
        assert [s.label for s in store.snapshots()] == ["birds_2026-05-28T22.tle.gz"]


def test_a_killed_import_leaves_nothing(tmp_path: Path) -> None:
    """kill -9 after the rows are written and before they are committed."""
    db = tmp_path / "c.db"
    list(import_files(db, [_file(tmp_path, 0)], START_S))
    script = f"""
import os, signal
from pathlib import Path
from orbitloop.apps.catalogue import import_files
from orbitloop.apps.catalogue_store import CatalogueStore
CatalogueStore._count = lambda self, table, n=[0]: n.append(1) or (os.kill(os.getpid(), signal.SIGKILL) if len(n) > 2 else 0)
list(import_files(Path({str(db)!r}), [Path({str(_file(tmp_path, 1))!r})], 0.0))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(load_snapshots(db, [])) == 1
    assert [i.new_sets for i in import_files(db, [_file(tmp_path, 1)], START_S)] == [5]


def test_prune_takes_what_only_old_snapshots_have(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    list(import_files(db, [_file(tmp_path, day) for day in (0, 1, 2)], START_S))
    assert catalogue.drop_older(db, 1.0) == 5
    assert [s.label[11:16] for s in catalogue.list_snapshots(db)] == ["05-29", "05-30"]
    assert len(newest_sets(db, [])[0]) == 5


def _unreadable(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("not a database, but long enough to be looked at as one" * 100)
    elif kind == "other":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE x (y)")
        db.close()
    elif kind == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    elif kind == "torn":
        with opened(path, write=True) as store:
            store.snapshots()
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["text", "other", "newer", "torn", "folder"])
def test_what_is_no_catalogue_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.db"
    _unreadable(path, kind)
    with pytest.raises(StateError) as caught:
        list(import_files(path, [_file(tmp_path, 0)], START_S))
    assert caught.value.where == str(path)


def test_no_catalogue_at_all(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no catalogue") as caught:
        newest_sets(tmp_path / "c.db", [])
    assert "import" in caught.value.remedy
    with opened(tmp_path / "empty.db", write=True):
        pass
    with pytest.raises(StateError, match="empty"):
        load_snapshots(tmp_path / "empty.db", [])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8b", b"\x1f\x8b" + bytes(30), gzip.compress(b"x" * 500)[:-9], b"\xff\xfe\x00", b"hello\n", b"{}", b"<a/>"],
)
def test_no_file_of_element_sets(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tle"
    path.write_bytes(data)
    with pytest.raises(ElementsError):
        catalogue.read_snapshot(path)


def test_a_gzip_bomb_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(3_000_000)))
    with pytest.raises(ElementsError, match="more than 1000000"):
        read_bounded(path, 1_000_000)
    with pytest.raises(ElementsError, match="cannot be read"):
        read_bounded(tmp_path / "absent")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_any_file_gives_sets_or_the_one_error(data: bytes) -> None:
    path = Path(tempfile.gettempdir()) / f"orbitloop-any-{os.getpid()}.tle"
    try:
        path.write_bytes(data)
        catalogue.read_snapshot(path)
    except ElementsError:
        return
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("ending", ["tle", "3le", "json", "xml", "kvn", "csv"])
def test_every_form_is_written_and_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    sets = parse_tle_file(write_tle_file(_sets(0)))[0]
    assert write_sets(path, sets, START_S) == []
    assert list(catalogue.read_snapshot(path)[0].sets) == sets
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_large_numbers_are_left_out_of_a_tle(tmp_path: Path) -> None:
    sets = [*_sets(0)[:2], replace(_sets(0)[2], norad_id=799_500_123)]
    (told,) = write_sets(tmp_path / "x.tle", sets, START_S)
    assert "799500123" in told
    assert write_sets(tmp_path / "x.json", sets, START_S) == []
    assert len(parse_omm_file((tmp_path / "x.json").read_text())[0]) == 3
    with pytest.raises(ElementsError, match="has no TLE"):
        write_sets(tmp_path / "y.tle", sets[2:], START_S)
    with pytest.raises(ElementsError, match="no form"):
        write_sets(tmp_path / "y.doc", sets, START_S)
    with pytest.raises(StateError):
        write_sets(tmp_path / "absent" / "y.tle", sets[:1], START_S)


def test_objects_by_number_name_or_part() -> None:
    names = {1: "BIRD-1", 10: "BIRD-10", 3: "FISH"}
    assert [find_object(names, word) for word in ("3", "bird-1", "ish", "D-10")] == [3, 1, 3, 10]
    for word in ("7", "BIRD", ""):
        with pytest.raises(ElementsError):
            find_object(names, word)
