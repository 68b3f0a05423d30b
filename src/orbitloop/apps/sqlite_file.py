"""One SQLite file as a store: opened, checked to be ours, made when empty, changed in transactions.

What stands in the tables belongs to the stores (`catalogue_store`, `conjunction_store`); here is what any of them needs so that
a crash or Ctrl-C leaves the file as it was. Write-ahead logging lets readers go on during a change, and the number of pages is
bounded.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orbitloop.errors import StateError

MAX_FILE_BYTES: Final = 8 << 30
_PAGE_BYTES = 4096
_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Form:
    """What a file is: its mark, its version and its tables, and how users are told of it.

    `what` names it with its article; `option` is the option that names another, `made_by` the command that makes one, and
    `mended` says how a damaged one is made again.
    """

    what: str
    application_id: int
    version: int
    schema: str
    option: str
    made_by: str
    mended: str


@contextlib.contextmanager
def opened(path: Path, form: Form, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a file; for writing it is made when it is not there.

    Raises:
        StateError: it is not there, of something else, of a newer form, or damaged.
    """
    if not write and not path.is_file():
        raise StateError(f"there is no {form.what}", where=str(path), remedy=f"make it: {form.made_by}")
    with guarded(path, form):
        mode = "rwc" if write else "rw"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=_WAIT_S)
    try:
        with guarded(path, form):
            _prepare(connection, path, form)
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def guarded(path: Path, form: Form) -> Iterator[None]:
    """Re-raise what SQLite says as the one typed error."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        remedy = f"check path, permissions and free space; {form.mended}"
        raise StateError(f"the {form.what} cannot be used ({error})", where=str(path), remedy=remedy) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Change all or nothing, also when what is done inside is interrupted."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path, form: Form) -> None:
    """Check that the file is ours, or make it so when it is empty."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    if tables and application != form.application_id:
        raise StateError("is a database of something else", where=str(path), remedy=f"name another {form.option}")
    if version > form.version:
        what = f"the {form.what} has form {version}, this program knows {form.version}"
        raise StateError(what, where=str(path), remedy="update")
    connection.execute(f"PRAGMA max_page_count = {MAX_FILE_BYTES // _PAGE_BYTES}")
    if tables:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    script = f"BEGIN IMMEDIATE; PRAGMA application_id = {form.application_id}; PRAGMA user_version = {form.version};"
    try:
        connection.executescript(f"{script} {form.schema} COMMIT;")
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if int(connection.execute("PRAGMA application_id").fetchone()[0]) != form.application_id:
            raise  # not another process that made it first
