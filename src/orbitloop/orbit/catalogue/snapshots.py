"""What a catalogue was at one time: element sets with the time when they were taken, and what could not be read.

A file may hold several sets of an object (a history as Space-Track serves it); the newest is the object's set of that
snapshot, the others belong to its history only.

Catalogues are often kept as several files (active, debris, one a constellation). Snapshots of one such file are a feed; who
is absent is asked within a feed, for that debris is not in the file of payloads means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orbitloop.orbit.elements import Elements

_SAME = 0.9
_ENDINGS = re.compile(r"(?:\.(?:gz|tle|3le|txt|json|xml|kvn|csv|omm))+$")
_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[T_ ](\d\d)(?:[:-]?(\d\d))?)?(?!\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A set that could not be read: the place, the reason, and the catalogue number where it could be made out."""

    where: str
    what: str
    norad_id: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Element sets as they were at `taken_s`. `label` names it to people."""

    label: str
    taken_s: float
    sets: tuple[Elements, ...]
    skipped: tuple[Skipped, ...] = ()

    def newest(self) -> dict[int, Elements]:
        """Return the newest set of each object, by catalogue number."""
        return newest(self.sets)


def newest(sets: Iterable[Elements]) -> dict[int, Elements]:
    """Return the set with the latest epoch of each object, by catalogue number."""
    found: dict[int, Elements] = {}
    for one in sets:
        other = found.get(one.norad_id)
        if other is None or one.epoch_s > other.epoch_s:
            found[one.norad_id] = one
    return found


def feeds(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """Return the snapshots, which come in the order of time, sorted into feeds.

    Of one feed are those whose names differ by a date only (`starlink_2026-05-24.tle`, `starlink_2026-05-25.tle.gz`), and those
    that hold nearly the same objects as the one before (nine in ten of all).
    """
    found: list[tuple[str, set[int], list[Snapshot]]] = []
    for snapshot in snapshots:
        stem, objects = _stem(snapshot.label), {one.norad_id for one in snapshot.sets}
        at = next((n for n, (name, _, _) in enumerate(found) if name == stem), None)
        if at is None:
            at = next(
                (n for n, (_, known, _) in enumerate(found) if len(known & objects) >= _SAME * len(known | objects)), None
            )
        if at is None:
            found.append((stem, objects, [snapshot]))
        else:
            found[at] = (found[at][0], objects, [*found[at][2], snapshot])
    return [members for _, _, members in found]


def _stem(label: str) -> str:
    """Return a name without its date and endings."""
    return _DATE.sub("", _ENDINGS.sub("", label.lower())).strip("-_. ")


def time_in_name(name: str) -> float | None:
    """Return the time that a file's name carries (`starlink_2026-05-24T22.tle.gz`); None when it carries none."""
    for match in _DATE.finditer(name):
        year, month, day, hour, minute = (int(part or 0) for part in match.groups())
        try:
            when = datetime(year, month, day, hour, minute, tzinfo=UTC)
        except ValueError:
            continue
        if 1957 <= year <= 2156:
            return when.timestamp()
    return None


def number_near(rows: Sequence[str], line: int) -> int | None:
    """Return the catalogue number that an unreadable two-line set seems to be of, from around the line that is wrong.

    `rows` are the lines of the file: one with many bad lines asks for each, so it is split once. Both lines of a set are
    looked at, the wrong one and its neighbour; they must not contradict each other.
    """
    found = set()
    at = line - 1
    if not 0 <= at < len(rows):
        return None
    first = rows[at].startswith("1 ")
    for row in rows[at : at + 2] if first else rows[max(0, at - 1) : at + 1]:
        if row.startswith(("1 ", "2 ")) and row[2:7].strip().isdigit() and row[2:7].isascii():
            found.add(int(row[2:7]))
    return found.pop() if len(found) == 1 else None
