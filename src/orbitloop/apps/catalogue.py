"""Catalogues of element sets for people: files in, the database, lists, differences.

The only place that opens such files. Files are bounded, gzip or not, by what they may unpack to; a set that cannot be read is
reported with its line and skipped. What sets mean is `orbit.catalogue`'s work.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orbitloop.apps.catalogue_store import CatalogueStore, SnapshotInfo, opened
from orbitloop.errors import ElementsError, StateError
from orbitloop.orbit.catalogue.snapshots import Skipped, Snapshot, number_near, time_in_name
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.sets import parse_sets

MAX_BYTES: Final = 256 << 20
"""What a file of element sets may hold once unpacked: a million sets as OMM in XML."""
_GZIP = b"\x1f\x8b"
_LINE = re.compile(r"line (\d+)")


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of one file."""

    path: Path
    snapshot: int
    taken_s: float
    dated_by: str
    sets: int
    new_sets: int
    known: bool
    skipped: tuple[Skipped, ...]


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return a file's bytes, unpacked when it is gzip.

    Raises:
        ElementsError: it cannot be read, unpacks to more than the limit, or its packing is damaged.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as inner:
                    data = inner.read(limit + 1)
            else:
                data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ElementsError(
            f"cannot be read ({reason})", where=str(path), remedy="check the path, or fetch it again"
        ) from error
    if len(data) > limit:
        raise ElementsError(f"holds more than {limit} bytes", where=str(path))
    return data


def read_snapshot(path: Path, taken_s: float | None = None) -> tuple[Snapshot, str]:
    """Read a file of element sets.

    Args:
        path: TLE or OMM in any form, gzip or not.
        taken_s: when the sets were taken; None: what the file's name says, or else its newest epoch.

    Returns:
        The snapshot, and what its time comes from.

    Raises:
        ElementsError: the file is of no known form, or nothing in it could be read.
    """
    return _snapshot(path, read_bounded(path), taken_s)


def _snapshot(path: Path, data: bytes, taken_s: float | None) -> tuple[Snapshot, str]:
    text = data.decode("utf-8", "replace")
    good, bad = parse_sets(text, path.name)
    skipped = [_skipped(text, error.where, error.what) for error in bad]
    numbered = [one for one in good if one.norad_id > 0]
    skipped += [Skipped(path.name, f"{one.name!r} has no catalogue number") for one in good if one.norad_id <= 0]
    if not numbered:
        first = f": {skipped[0].where}: {skipped[0].what}" if skipped else ""
        raise ElementsError(f"holds no element set that can be read{first}", where=str(path))
    named_s = time_in_name(path.name)
    if taken_s is not None:
        when, by = taken_s, "--taken"
    elif named_s is not None:
        when, by = named_s, "file name"
    else:
        when, by = max(one.epoch_s for one in numbered), "newest epoch"
    return Snapshot(path.name, when, tuple(numbered), tuple(skipped)), by


def _skipped(text: str, where: str, what: str) -> Skipped:
    match = _LINE.search(where)
    return Skipped(where, what, number_near(text, int(match[1])) if match else None)


def import_files(catalogue: Path, files: Sequence[Path], now_s: float, taken_s: float | None = None) -> Iterator[Imported]:
    """Take files into a catalogue, one transaction each, and yield what came of each.

    Raises:
        ElementsError: a file cannot be read; those before it stay imported.
        StateError: the catalogue cannot be written.
    """
    with opened(catalogue, write=True) as store:
        for path in files:
            data = read_bounded(path)
            snapshot, by = _snapshot(path, data, taken_s)
            added = store.add(snapshot, hashlib.sha256(data).digest(), now_s)
            yield Imported(
                path,
                added.snapshot,
                snapshot.taken_s,
                by,
                len(snapshot.sets),
                added.new_sets,
                added.known,
                snapshot.skipped,
            )


def open_snapshot(catalogue: Path, name: str) -> Snapshot:
    """Return a snapshot by what a user calls it: a file's path, a number, a label, a date that begins its time, or `newest`.

    Raises:
        StateError: the catalogue has none of that name, or several.
        ElementsError: the file cannot be read.
    """
    path = Path(name)
    if path.is_file():
        return read_snapshot(path)[0]
    with opened(catalogue) as store:
        return store.snapshot(_find(store, name, catalogue).number)


def _find(store: CatalogueStore, name: str, catalogue: Path) -> SnapshotInfo:
    from orbitloop.clock import iso_utc

    known = store.snapshots()
    if not known:
        raise StateError("the catalogue is empty", where=str(catalogue), remedy="orbitloop catalog import FILE...")
    if name == "newest":
        return known[-1]
    exact = [s for s in known if name in (str(s.number), s.label)]
    found = exact or [s for s in known if iso_utc(s.taken_s).startswith(name)]
    if len(found) != 1:
        listed = ", ".join(f"{s.number} ({s.label})" for s in known[-7:])
        what = "several snapshots" if found else "no snapshot or file"
        raise StateError(f"{what} called {name!r}", where=str(catalogue), remedy=f"there are {listed}; or name a file")
    return found[0]


def load_snapshots(catalogue: Path, files: Sequence[Path]) -> list[Snapshot]:
    """Return snapshots in the order of time: of the files, or of the whole catalogue when there are none.

    Raises:
        ElementsError: a file cannot be read.
        StateError: the catalogue cannot be read, or is empty.
    """
    if files:
        found = [read_snapshot(path)[0] for path in files]
    else:
        with opened(catalogue) as store:
            found = [store.snapshot(info.number) for info in store.snapshots()]
    if not found:
        raise StateError("the catalogue is empty", where=str(catalogue), remedy="orbitloop catalog import FILE...")
    return sorted(found, key=lambda snapshot: snapshot.taken_s)


def newest_sets(catalogue: Path, files: Sequence[Path]) -> tuple[list[Elements], float]:
    """Return the newest set of each object, and the time of the newest snapshot.

    Raises:
        ElementsError, StateError: as for `load_snapshots`.
    """
    if files:
        snapshots = load_snapshots(catalogue, files)
        merged = Snapshot("", 0.0, tuple(one for s in snapshots for one in s.sets)).newest()
        return [merged[number] for number in sorted(merged)], snapshots[-1].taken_s
    with opened(catalogue) as store:
        known = store.snapshots()
        if not known:
            raise StateError("the catalogue is empty", where=str(catalogue), remedy="orbitloop catalog import FILE...")
        return store.newest(), known[-1].taken_s
