"""Files of conjunctions: messages, screening results and element sets read, resources and pictures written.

Every file is read up to a bound and written whole or not at all. What they mean is `apps.conjunctions`' work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from orbitloop.apps.catalogue import read_snapshot
from orbitloop.apps.files import read_bounded, write_whole
from orbitloop.clock import parse_utc_s
from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.conjunction.approach import Approach
from orbitloop.orbit.conjunction.cdm import ConjunctionMessage, read_cdm
from orbitloop.orbit.elements import Elements
from orbitloop.resources.meta import Resource

MAX_MESSAGE_BYTES: Final = 4 << 20
MAX_SCREENING_BYTES: Final = 256 << 20
SUFFIXES: Final = (".cdm", ".kvn", ".xml", ".txt")


def message_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files named, and those with a known ending in the folders named, each once.

    Raises:
        ConjunctionError: a folder holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
            if not inside:
                raise ConjunctionError(f"holds no message ({', '.join(SUFFIXES)})", where=str(path))
            found |= dict.fromkeys(inside)
        else:
            found[path] = None
    return list(found)


def read_message(path: Path) -> ConjunctionMessage:
    """Read one conjunction data message, KVN or XML.

    Raises:
        ConjunctionError: it cannot be read, is too large, or malformed.
    """
    data = read_bounded(path, MAX_MESSAGE_BYTES, ConjunctionError)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConjunctionError(f"byte {error.start} is not UTF-8", where=str(path)) from error
    return read_cdm(text, path.name)


def is_screening(path: Path) -> bool:
    """Whether a file is named as what `orbitloop screen` writes."""
    return path.suffix.lower() in (".json", ".jsonl")


def read_screening(path: Path, elements: Sequence[Elements]) -> tuple[float, list[Approach]]:
    """Read what `orbitloop screen` wrote, pairs that stay together left out.

    Returns:
        The start of its window, and its approaches, whose indices point into `elements`.

    Raises:
        ConjunctionError: it cannot be read, is malformed (the line is named), or names an object without an element set.
    """
    try:
        text = read_bounded(path, MAX_SCREENING_BYTES, ConjunctionError, "check the path, or screen for less").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConjunctionError(f"byte {error.start} is not UTF-8", where=str(path)) from error
    place = {one.norad_id: n for n, one in enumerate(elements)}
    created_s, found = math.nan, []
    whole = path.suffix.lower() == ".json"
    for number, line in enumerate([text] if whole else text.splitlines(), 1):
        if not line.strip():
            continue
        where = str(path) if whole else f"{path}, line {number}"
        try:
            value = json.loads(line)
            if math.isnan(created_s):
                created_s = parse_utc_s(value["start"])
                rows = value["approaches"] if whole else []
            else:
                rows = [value]
            found += [_approach(row, place) for row in rows if row["kind"] != "co-located"]
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise ConjunctionError(f"is not what `orbitloop screen` writes ({error!r:.80})", where=where) from error
    if not math.isfinite(created_s):
        raise ConjunctionError("holds no screening", where=str(path), remedy="orbitloop screen FILE... --out FILE.jsonl")
    return created_s, found


def _approach(row: dict[str, Any], place: dict[int, int]) -> Approach:
    numbers = [int(row[side]["norad_id"]) for side in ("primary", "secondary")]
    for number in numbers:
        if number not in place:
            raise ConjunctionError(
                f"there is no element set of object {number}", remedy="give the files that were screened: --catalog FILE"
            )
    values = [float(row[name]) for name in ("tca_s", "miss_km", "speed_km_s")]
    r, v = ((float(a), float(b), float(c)) for a, b, c in (row["rtn_km"], row["rtn_km_s"]))
    if not all(math.isfinite(x) for x in (*values, *r, *v)):
        raise ValueError("a number is not finite")
    return Approach(place[numbers[0]], place[numbers[1]], values[0], values[1], values[2], r, v, kind=str(row["kind"]))


def write_resources(folder: Path, resources: Sequence[Resource]) -> None:
    """Write each resource as YAML under its own name, whole or not at all; a file of that name is replaced.

    Raises:
        StateError: the folder cannot be written.
    """
    import yaml

    for one in resources:
        plain = {key: value for key, value in one.to_json().items() if value is not None}
        plain["spec"] = {key: value for key, value in plain["spec"].items() if value is not None}
        write_whole(
            folder / f"{one.name}.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode(), make_folder=True
        )


def write_text(path: Path, document: dict[str, Any]) -> None:
    """Write a table of uncertainty, one class a line.

    Raises:
        StateError: the file cannot be written.
    """
    head = json.dumps({key: value for key, value in document.items() if key != "classes"}, indent=1)[:-2]
    rows = ",\n".join("  " + json.dumps(row) for row in document["classes"])
    write_whole(path, f'{head},\n "classes": [\n{rows}\n ]\n}}\n'.encode(), make_folder=True)


def read_elements(files: Sequence[Path]) -> list[Elements]:
    """Return the newest element set of each object in some files.

    Raises:
        ElementsError: a file holds none that can be read.
    """
    newest: dict[int, Elements] = {}
    for path in files:
        for one in read_snapshot(path)[0].sets:
            if one.norad_id not in newest or newest[one.norad_id].epoch_s < one.epoch_s:
                newest[one.norad_id] = one
    return list(newest.values())


def read_snapshots(folder: Path, progress: Callable[[int, int], None]) -> list[Sequence[Elements]]:
    """Return the element sets of every file in a folder.

    Raises:
        ElementsError: it is no folder, is empty, or a file holds no element sets.
    """
    files = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")) if folder.is_dir() else []
    if not files:
        raise ElementsError("is no folder of element sets", where=str(folder), remedy="name a folder of daily snapshots")
    found: list[Sequence[Elements]] = []
    for done, path in enumerate(files):
        progress(done, len(files))
        found.append(read_snapshot(path)[0].sets)
    return found
