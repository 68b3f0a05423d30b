"""Conjunction events on disk: one SQLite file with every update that was ever imported, and the alerts that were told.

An import is one transaction, so that a crash or Ctrl-C leaves the file as it was; the same message imported again changes
nothing. Events keep their name from their first update; which update belongs to which event is decided by `events.match`, never
here. How the file is opened and kept whole is `sqlite_file`'s.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orbitloop.apps import sqlite_file
from orbitloop.apps.sqlite_file import Form, guarded, transaction
from orbitloop.errors import ConjunctionError, StateError
from orbitloop.orbit.conjunction.events import Event, EventKey, EventUpdate, match, new_id

SCHEMA_VERSION: Final = 1
_SCHEMA = """
CREATE TABLE events (
  id TEXT PRIMARY KEY, first TEXT NOT NULL, second TEXT NOT NULL, tca_s REAL NOT NULL, period_s REAL NOT NULL
);
CREATE INDEX events_of_pair ON events (first, second);
CREATE TABLE updates (
  digest TEXT PRIMARY KEY, event TEXT NOT NULL REFERENCES events, created_s REAL NOT NULL, body TEXT NOT NULL
);
CREATE INDEX updates_of_event ON updates (event, created_s, digest);
CREATE TABLE told (alert TEXT PRIMARY KEY, told_s REAL NOT NULL);
"""
_FORM = Form(
    "store of events",
    application_id=0x4F4C4A31,  # "OLJ1"
    version=SCHEMA_VERSION,
    schema=_SCHEMA,
    option="--store",
    made_by="orbitloop conjunctions import CDM...",
    mended="a damaged store is made again by importing its messages",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an import did: updates that are new, that were known, events that began, and all events that it touched."""

    new: int
    known: int
    begun: int
    events: tuple[str, ...]


class EventStore:
    """An open store of events; use `opened`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    def add(self, updates: Iterable[EventUpdate], *, again: bool = False) -> Stored:
        """Take updates in, oldest first, in one transaction; known ones change nothing, or are replaced with `again`.

        Raises:
            StateError: the file cannot be written, or is full; nothing was changed.
        """
        ordered = sorted(updates, key=lambda u: (u.created_s, u.digest()))
        new = known = begun = 0
        touched: dict[str, None] = {}
        with guarded(self._path, _FORM), transaction(self._db):
            for update in ordered:
                digest = update.digest()
                body = json.dumps(update.to_json(), allow_nan=False)
                row = self._db.execute("SELECT event FROM updates WHERE digest = ?", (digest,)).fetchone()
                if row is not None:
                    known += 1
                    if again:
                        self._db.execute("UPDATE updates SET body = ? WHERE digest = ?", (body, digest))
                        touched[str(row[0])] = None
                    continue
                event = match(update, self._keys(update.pair))
                if event is None:
                    event, begun = self._begin(update), begun + 1
                self._db.execute("INSERT INTO updates VALUES (?, ?, ?, ?)", (digest, event, update.created_s, body))
                self._follow(event, update)
                new, touched[event] = new + 1, None
        return Stored(new, known, begun, tuple(touched))

    def _keys(self, pair: tuple[str, str]) -> list[EventKey]:
        rows = self._db.execute("SELECT id, tca_s, period_s FROM events WHERE first = ? AND second = ?", pair)
        return [EventKey(str(row[0]), pair, float(row[1]), float(row[2])) for row in rows]

    def _begin(self, update: EventUpdate) -> str:
        first, second = update.pair
        stem = new_id(update)
        taken = [str(row[0]) for row in self._db.execute("SELECT id FROM events WHERE id GLOB ?", (stem + "*",))]
        name = new_id(update, taken)
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", (name, first, second, update.tca_s, update.period_s))
        return name

    def _follow(self, event: str, update: EventUpdate) -> None:
        """Set the event's TCA to that of its newest update."""
        newest = self._db.execute("SELECT MAX(created_s) FROM updates WHERE event = ?", (event,)).fetchone()[0]
        if update.created_s >= float(newest):
            self._db.execute("UPDATE events SET tca_s = ?, period_s = ? WHERE id = ?", (update.tca_s, update.period_s, event))

    def events(self) -> list[Event]:
        """Return all events, by the time of their closest approach.

        Raises:
            StateError: the file cannot be read, or a record in it is damaged.
        """
        query = "SELECT event, body FROM updates JOIN events ON events.id = event ORDER BY tca_s, event, created_s, digest"
        groups: dict[str, list[EventUpdate]] = {}
        with guarded(self._path, _FORM):
            for event, body in self._db.execute(query):
                groups.setdefault(str(event), []).append(self._read(str(body)))
        return [Event(name, tuple(updates)) for name, updates in groups.items()]

    def event(self, name: str) -> Event:
        """Return one event, by its name or the beginning of it.

        Raises:
            StateError: there is none, or more than one begins so.
        """
        with guarded(self._path, _FORM):
            known = [str(row[0]) for row in self._db.execute("SELECT id FROM events ORDER BY id")]
            found = [name] if name in known else [one for one in known if one.startswith(name)]
            if len(found) != 1:
                some = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
                what = f"{len(found)} events begin with {name[:60]!r}: {some}" if found else f"there is no event {name[:60]!r}"
                raise StateError(what, where=str(self._path), remedy="orbitloop conjunctions list names them")
            query = "SELECT body FROM updates WHERE event = ? ORDER BY created_s, digest"
            return Event(found[0], tuple(self._read(str(row[0])) for row in self._db.execute(query, found)))

    def told(self) -> set[str]:
        """Return the alerts that were told."""
        with guarded(self._path, _FORM):
            return {str(row[0]) for row in self._db.execute("SELECT alert FROM told")}

    def tell(self, alerts: Sequence[str], now_s: float) -> None:
        """Keep that alerts were told.

        Raises:
            StateError: the file cannot be written.
        """
        with guarded(self._path, _FORM), transaction(self._db):
            self._db.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", ((alert, now_s) for alert in alerts))

    def prune(self, before_s: float) -> int:
        """Take out events whose closest approach was before a time; return how many."""
        with guarded(self._path, _FORM), transaction(self._db):
            self._db.execute("DELETE FROM updates WHERE event IN (SELECT id FROM events WHERE tca_s < ?)", (before_s,))
            return self._db.execute("DELETE FROM events WHERE tca_s < ?", (before_s,)).rowcount

    def _read(self, body: str) -> EventUpdate:
        try:
            return EventUpdate.from_json(json.loads(body), str(self._path))
        except (ConjunctionError, ValueError, RecursionError) as error:
            raise StateError(
                f"a record of the store is damaged ({error})", where=str(self._path), remedy="import its messages again"
            ) from error


@contextlib.contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[EventStore]:
    """Open a store; for writing it is made when it is not there.

    Raises:
        StateError: it is not there, not a store of events, of a newer form, or damaged.
    """
    with sqlite_file.opened(path, _FORM, write=write) as connection:
        yield EventStore(connection, path)
