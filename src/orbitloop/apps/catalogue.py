"""Catalogues of element sets for people: files in, the database, lists, differences.

The only place that opens such files. Files are bounded, gzip or not, by what they may unpack to; a set that cannot be read is
reported with its line and skipped. What sets mean is `orbit.catalogue`'s work.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from orbitloop.apps.catalogue_store import CatalogueStore, SnapshotInfo, opened
from orbitloop.apps.files import write_whole
from orbitloop.errors import ElementsError, StateError
from orbitloop.orbit.catalogue.regimes import heights_km
from orbitloop.orbit.catalogue.snapshots import Skipped, Snapshot, number_near, time_in_name
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.formats.omm import FORMS, write_omm
from orbitloop.orbit.formats.sets import parse_sets
from orbitloop.orbit.formats.tle import write_tle, write_tle_file

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
    rows = text.split("\n") if bad else []
    skipped = [_skipped(rows, error.where, error.what) for error in bad]
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


def _skipped(rows: Sequence[str], where: str, what: str) -> Skipped:
    match = _LINE.search(where)
    return Skipped(where, what, number_near(rows, int(match[1])) if match else None)


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


@dataclass(frozen=True, slots=True)
class ObjectHistory:
    """One object's sets, oldest first, with what each newer one shows against the older. Arrays of the sets' length.

    `steps_km` is the step of the mean semi-major axis from the prediction (NaN for the first); `flagged` marks manoeuvres.
    """

    sets: tuple[Elements, ...]
    steps_km: tuple[float, ...]
    flagged: tuple[bool, ...]
    peers: int


def object_history(catalogue: Path, files: Sequence[Path], name: str, sigmas: float) -> ObjectHistory:
    """Return the history of the object that a user calls by number or name.

    Its manoeuvres are judged against all objects of the catalogue, for noise is what peers show.

    Raises:
        ElementsError, StateError: as for `load_snapshots`; or there is no such object, or several.
    """
    from orbitloop.orbit.catalogue.manoeuvres import Scores
    from orbitloop.orbit.catalogue.predictions import histories, residuals

    everything = histories(load_snapshots(catalogue, files))
    number = find_object({n: sets[-1].name for n, sets in everything.items()}, name)
    sets = tuple(everything[number])
    of = residuals(everything)
    scores = Scores(of, sigmas)
    steps: dict[float, tuple[float, bool]] = {}
    for row in np.flatnonzero(of.norad_id == number):
        hit = bool(scores.in_plane[row] or scores.out_of_plane[row])
        steps[of.sets[of.newer[row]].epoch_s] = float(of.axis_km[row]), hit
    found = [steps.get(one.epoch_s, (np.nan, False)) for one in sets]
    return ObjectHistory(sets, tuple(s for s, _ in found), tuple(f for _, f in found), len(everything) - 1)


def find_object(names: Mapping[int, str], name: str) -> int:
    """Return the catalogue number of the object that is called by number or name, in any case, or by a part that only it has.

    Raises:
        ElementsError: there is none, or several.
    """
    if name.isascii() and name.isdigit() and int(name) in names:
        return int(name)
    upper = name.upper()
    exact = [n for n, known in names.items() if known.upper() == upper]
    found = exact or [n for n, known in names.items() if upper in known.upper()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ElementsError(f"there is no object {name!r} among {len(names)}", remedy="orbitloop catalog list --name PART")
    listed = ", ".join(f"{names[n]} ({n})" for n in found[:5])
    raise ElementsError(f"{len(found)} objects are called {name!r}: {listed} ...", remedy="give the catalogue number")


def write_sets(path: Path, sets: Sequence[Elements], created_s: float) -> list[str]:
    """Write element sets in the form that the path's ending names; what the form cannot hold is left out and returned as words.

    Raises:
        ElementsError: the ending names no form, or nothing fits it.
    """
    form = path.suffix.lower().removeprefix(".")
    skipped: list[str] = []
    if form in FORMS:
        text = write_omm(sets, form, created_s=created_s)  # type: ignore[arg-type]
    elif form in ("tle", "3le", "txt"):
        fitting = []
        for one in sets:
            try:
                write_tle(one)
                fitting.append(one)
            except ElementsError as error:
                skipped.append(str(error))
        if not fitting:
            raise ElementsError(skipped[0] if skipped else "there is nothing to write", where=str(path))
        text = write_tle_file(fitting, "zero" if form == "3le" else "plain")
    else:
        known = ", ".join(("tle", "3le", *FORMS))
        raise ElementsError(f"no form of element sets is called {path.suffix!r}; there are {known}", where=str(path))
    write_whole(path, text.encode("utf-8", "replace"))
    return skipped


def list_snapshots(catalogue: Path) -> list[SnapshotInfo]:
    """Return what the catalogue holds, oldest first.

    Raises:
        StateError: it cannot be read.
    """
    with opened(catalogue) as store:
        return store.snapshots()


def drop_older(catalogue: Path, keep_days: float) -> int:
    """Drop the snapshots that are so many days older than the newest, and the sets that only they have; return how many sets.

    Raises:
        StateError: the catalogue cannot be written.
    """
    with opened(catalogue, write=True) as store:
        known = store.snapshots()
        return store.prune(known[-1].taken_s - keep_days * DAY_S) if known else 0


def write_history_plot(history: ObjectHistory, path: Path) -> None:
    """Draw an object's history.

    Raises:
        DataError: the ending is no picture's, or matplotlib is not installed.
        StateError: the file cannot be written.
    """
    from orbitloop.reports.plots.canvas import kind_of
    from orbitloop.reports.plots.element_history import ElementHistory, draw_history

    kind = kind_of(path)
    perigee, apogee = heights_km(history.sets)
    last = history.sets[-1]
    drawn = ElementHistory(
        title=f"{last.name} ({last.norad_id}): {len(history.sets)} element sets",
        epochs_s=[one.epoch_s for one in history.sets],
        perigee_km=perigee.tolist(),
        apogee_km=apogee.tolist(),
        bstar_per_er=[one.bstar_per_er for one in history.sets],
        step_km=[step if np.isfinite(step) else None for step in history.steps_km],
        flagged=history.flagged,
    )
    write_whole(path, draw_history(drawn, kind))
