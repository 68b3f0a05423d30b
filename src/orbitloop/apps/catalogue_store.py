"""The catalogue on disk: one SQLite file with every element set that was ever imported, and the snapshots that it came in.

A set that stands in several snapshots is stored once. An import is one transaction, so that a crash or Ctrl-C leaves the
file as it was; the same file imported again changes nothing (its bytes are known by their SHA-256). `prune` takes old snapshots
out. How the file is opened and kept whole is `sqlite_file`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from orbitloop.apps import sqlite_file
from orbitloop.apps.sqlite_file import Form, guarded, transaction
from orbitloop.errors import StateError
from orbitloop.orbit.catalogue.snapshots import Skipped, Snapshot
from orbitloop.orbit.elements import Elements

SCHEMA_VERSION: Final = 1

_COLUMNS = tuple(field.name for field in fields(Elements))
_TEXTS = {"name", "designator", "classification"}
_WHOLE = {"norad_id", "element_set", "revolution", "ephemeris_type"}
_SCHEMA = f"""
CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY, label TEXT NOT NULL, sha256 BLOB NOT NULL UNIQUE, taken_s REAL NOT NULL, imported_s REAL NOT NULL
);
CREATE TABLE sets (
  id INTEGER PRIMARY KEY,
  {", ".join(f"{c} {'TEXT' if c in _TEXTS else 'INTEGER' if c in _WHOLE else 'REAL'} NOT NULL" for c in _COLUMNS)},
  digest BLOB NOT NULL UNIQUE
);
CREATE INDEX sets_of_object ON sets (norad_id, epoch_s);
CREATE TABLE members (snapshot INTEGER NOT NULL, set_id INTEGER NOT NULL, PRIMARY KEY (snapshot, set_id)) WITHOUT ROWID;
CREATE TABLE skipped (snapshot INTEGER NOT NULL, place TEXT NOT NULL, what TEXT NOT NULL, norad_id INTEGER);
CREATE INDEX members_of_set ON members (set_id);
"""
_FORM = Form(
    "catalogue",
    application_id=0x4F4C4331,  # "OLC1"
    version=SCHEMA_VERSION,
    schema=_SCHEMA,
    option="--catalog",
    made_by="orbitloop catalog import FILE...",
    mended="a damaged catalogue is made again by importing its files",
)
_SELECT = "SELECT " + ", ".join(f"sets.{c}" for c in _COLUMNS)


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What the store knows of a snapshot without its sets."""

    number: int
    label: str
    taken_s: float
    sets: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Added:
    """What an import did. `known` says that the same bytes had been imported before."""

    snapshot: int
    new_sets: int
    known: bool


class CatalogueStore:
    """An open catalogue; use `opened`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    def add(self, snapshot: Snapshot, sha256: bytes, imported_s: float) -> Added:
        """Take a snapshot in, in one transaction.

        Raises:
            StateError: the file cannot be written, or is full; nothing was changed.
        """
        with self._guard(), transaction(self._db):
            row = self._db.execute("SELECT id FROM snapshots WHERE sha256 = ?", (sha256,)).fetchone()
            if row is not None:
                return Added(int(row[0]), 0, known=True)
            cursor = self._db.execute(
                "INSERT INTO snapshots (label, sha256, taken_s, imported_s) VALUES (?, ?, ?, ?)",
                (snapshot.label, sha256, snapshot.taken_s, imported_s),
            )
            number = int(cursor.lastrowid or 0)
            rows = [(*_values(one), _digest(one)) for one in snapshot.sets]
            before = self._count("sets")
            marks = ", ".join("?" for _ in range(len(_COLUMNS) + 1))
            self._db.executemany(f"INSERT OR IGNORE INTO sets ({', '.join(_COLUMNS)}, digest) VALUES ({marks})", rows)
            self._db.executemany(
                "INSERT OR IGNORE INTO members SELECT ?, id FROM sets WHERE digest = ?", ((number, row[-1]) for row in rows)
            )
            self._db.executemany(
                "INSERT INTO skipped VALUES (?, ?, ?, ?)", ((number, s.where, s.what, s.norad_id) for s in snapshot.skipped)
            )
            return Added(number, self._count("sets") - before, known=False)

    def snapshots(self) -> list[SnapshotInfo]:
        """Return all snapshots, oldest first."""
        query = """SELECT id, label, taken_s, (SELECT COUNT(*) FROM members WHERE snapshot = id),
                   (SELECT COUNT(*) FROM skipped WHERE snapshot = id) FROM snapshots ORDER BY taken_s, id"""
        with self._guard():
            return [SnapshotInfo(*row) for row in self._db.execute(query)]

    def snapshot(self, number: int) -> Snapshot:
        """Return one snapshot with its sets, in the order of catalogue numbers.

        Raises:
            StateError: there is none of that number.
        """
        with self._guard():
            head = self._db.execute("SELECT label, taken_s FROM snapshots WHERE id = ?", (number,)).fetchone()
            if head is None:
                raise StateError(f"the catalogue has no snapshot {number}", where=str(self._path))
            query = (
                f"{_SELECT} FROM members JOIN sets ON sets.id = set_id WHERE snapshot = ? ORDER BY sets.norad_id, sets.epoch_s"
            )
            sets = tuple(Elements(*row) for row in self._db.execute(query, (number,)))
            skipped = self._db.execute("SELECT place, what, norad_id FROM skipped WHERE snapshot = ?", (number,))
            return Snapshot(str(head[0]), float(head[1]), sets, tuple(Skipped(*row) for row in skipped))

    def newest(self) -> list[Elements]:
        """Return the newest set of every object that was ever seen, in the order of catalogue numbers."""
        query = f"{_SELECT}, MAX(sets.epoch_s) FROM sets GROUP BY sets.norad_id ORDER BY sets.norad_id"
        with self._guard():
            return [Elements(*row[:-1]) for row in self._db.execute(query)]

    def history(self, norad_id: int) -> list[Elements]:
        """Return all sets of an object, oldest epoch first."""
        query = f"{_SELECT} FROM sets WHERE norad_id = ? ORDER BY epoch_s, id"
        with self._guard():
            return [Elements(*row) for row in self._db.execute(query, (norad_id,))]

    def prune(self, before_s: float) -> int:
        """Take out snapshots from before a time and the sets that no other snapshot has; return how many sets went."""
        with self._guard(), transaction(self._db):
            self._db.execute("DELETE FROM members WHERE snapshot IN (SELECT id FROM snapshots WHERE taken_s < ?)", (before_s,))
            self._db.execute("DELETE FROM skipped WHERE snapshot IN (SELECT id FROM snapshots WHERE taken_s < ?)", (before_s,))
            self._db.execute("DELETE FROM snapshots WHERE taken_s < ?", (before_s,))
            done = self._db.execute("DELETE FROM sets WHERE NOT EXISTS (SELECT 1 FROM members WHERE set_id = sets.id)")
            return done.rowcount

    def _count(self, table: str) -> int:
        return int(self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with guarded(self._path, _FORM):
            yield


@contextlib.contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[CatalogueStore]:
    """Open a catalogue; for writing it is made when it is not there.

    Raises:
        StateError: it is not there, not a catalogue, of a newer form, or damaged.
    """
    with sqlite_file.opened(path, _FORM, write=write) as connection:
        yield CatalogueStore(connection, path)


def _values(elements: Elements) -> tuple[Any, ...]:
    return tuple(getattr(elements, column) for column in _COLUMNS)


def _digest(elements: Elements) -> bytes:
    """Return 16 bytes that stand for everything in a set."""
    values: Sequence[Any] = _values(elements)
    numbers = struct.pack(f"<{len(values) - len(_TEXTS)}d", *(v for v in values if not isinstance(v, str)))
    texts = "\x00".join(v for v in values if isinstance(v, str)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(numbers + texts, digest_size=16).digest()
