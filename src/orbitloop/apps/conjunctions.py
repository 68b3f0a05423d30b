"""Conjunctions for people: messages and screening results in, the probability to believe for each, events and alerts out.

The only place that opens such files. Every update carries what its probability rests on: a measured covariance, a model of one
(named, with its age), or none. What an event is, when an alert is due, and what a burn does are `orbit.conjunction`'s work.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from orbitloop.apps.catalogue import read_snapshot
from orbitloop.apps.conjunction_store import EventStore, Stored
from orbitloop.clock import iso_utc, parse_utc_s
from orbitloop.errors import ConjunctionError, ElementsError, OrbitloopError, StateError
from orbitloop.orbit.conjunction.alerts import Alert, Thresholds, alerts_of
from orbitloop.orbit.conjunction.approach import Approach
from orbitloop.orbit.conjunction.avoidance import NEGLIGIBLE
from orbitloop.orbit.conjunction.cdm import ConjunctionMessage, read_cdm
from orbitloop.orbit.conjunction.dilution import LEAST_FACTOR, MOST_FACTOR, greatest_probability
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.events import Event, EventUpdate, Knowledge, Party, Source, period_of
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.pc3d import pc3d
from orbitloop.orbit.conjunction.rtn import covariance_to_rtn
from orbitloop.orbit.conjunction.uncertainty import SigmaClass, model_covariance, shipped_text
from orbitloop.orbit.conjunction.uncertainty_fit import ClassFit, differences, fit_bands, with_fitted
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.propagate import states
from orbitloop.resources.meta import Metadata, Resource
from orbitloop.resources.traffic import ConjunctionAlert, ConjunctionAlertSpec, SpaceObject

MAX_MESSAGE_BYTES: Final = 4 << 20
MAX_SCREENING_BYTES: Final = 256 << 20
SUFFIXES: Final = (".cdm", ".kvn", ".xml", ".txt")
FAST_KM_S: Final = 1.0
DEFAULT_RADIUS_M: Final = 20.0
"""Hard-body radius of a pair of element sets: CARA's where nothing is known of the objects."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The probability to believe, by which method, what the plane alone gives, and whether it holds."""

    probability: float
    method: str
    two_d: float
    two_d_holds: bool
    notes: tuple[str, ...]


def judge(encounter: Encounter) -> Judged:
    """Judge an encounter by the methods at hand.

    Raises:
        ConjunctionError: an object has no covariance, or nothing can be said of the encounter.
    """
    plane, sphere = pc2d(encounter), pc3d(encounter)
    holds = abs(sphere.value - plane.value) <= 0.1 * max(sphere.value, plane.value)
    return Judged(sphere.value, "3d", plane.value, holds, sphere.reasons)


def judge_quickly(encounter: Encounter) -> Judged:
    """Judge an encounter as `judge` does, but a fast one whose probability is nothing at any size of covariance by 2-D alone.

    Raises:
        ConjunctionError: as for `judge`.
    """
    if encounter.speed_km_s > FAST_KM_S and greatest_probability(encounter)[0] < NEGLIGIBLE:
        return Judged(pc2d(encounter).value, "2d", pc2d(encounter).value, True, ())
    return judge(encounter)


@dataclass(frozen=True, slots=True)
class FileImport:
    """What came of one file: how many of its updates were new, or why it was skipped."""

    path: Path
    stored: Stored | None
    error: OrbitloopError | None


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
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MESSAGE_BYTES + 1)
    except OSError as error:
        raise ConjunctionError(f"cannot be read ({error.strerror})", where=str(path), remedy="check the path") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise ConjunctionError(f"holds more than {MAX_MESSAGE_BYTES} bytes", where=str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConjunctionError(f"byte {error.start} is not UTF-8", where=str(path)) from error
    return read_cdm(text, path.name)


def import_messages(
    store: EventStore, files: Sequence[Path], *, hard_body_radius_m: float | None = None, again: bool = False
) -> Iterator[FileImport]:
    """Take messages into a store, one transaction each, and yield what came of each; a bad one does not stop the others.

    Raises:
        StateError: the store cannot be written.
    """
    for path in files:
        try:
            update = update_of_message(read_message(path), hard_body_radius_m)
        except OrbitloopError as error:
            yield FileImport(path, None, error)
            continue
        yield FileImport(path, store.add([update], again=again), None)


def update_of_message(message: ConjunctionMessage, hard_body_radius_m: float | None = None) -> EventUpdate:
    """Judge what a message says, and return it as an update of an event.

    Raises:
        ConjunctionError: it gives no hard-body radius and neither does the caller, or its encounter cannot be judged.
    """
    encounter = message.encounter(hard_body_radius_m)
    return _update(
        encounter,
        judge(encounter),
        source=Source.CDM,
        message_id=message.message_id,
        created_s=message.created_s,
        knowledge=Knowledge.MEASURED,
        given=message.probability,
        statements=message.notes,
    )


def is_screening(path: Path) -> bool:
    """Whether a file is named as what `orbitloop screen` writes."""
    return path.suffix.lower() in (".json", ".jsonl")


def import_screening(
    store: EventStore,
    path: Path,
    elements: Sequence[Elements],
    *,
    hard_body_radius_m: float | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FileImport:
    """Take what `orbitloop screen` wrote (.jsonl, or .json) into a store, one transaction for all of it.

    Pairs that stay together are left out: they have no closest approach to avoid. Covariances are modelled.

    Raises:
        StateError: the store cannot be written.
    """
    try:
        created_s, approaches = read_screening(path, elements)
        updates = []
        for done, one in enumerate(approaches):
            if progress is not None:
                progress(done, len(approaches))
            radius_m = hard_body_radius_m or DEFAULT_RADIUS_M
            updates.append(update_of_approach(one, elements, created_s, hard_body_radius_m=radius_m))
    except OrbitloopError as error:
        return FileImport(path, None, error)
    return FileImport(path, store.add(updates, again=again), None)


def read_screening(path: Path, elements: Sequence[Elements]) -> tuple[float, list[Approach]]:
    """Read what `orbitloop screen` wrote, pairs that stay together left out.

    Returns:
        The start of its window, and its approaches, whose indices point into `elements`.

    Raises:
        ConjunctionError: it cannot be read, is malformed (the line is named), or names an object without an element set.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SCREENING_BYTES + 1)
        if len(data) > MAX_SCREENING_BYTES:
            raise ConjunctionError(f"holds more than {MAX_SCREENING_BYTES >> 20} MB", where=str(path), remedy="screen for less")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConjunctionError(f"cannot be read ({error})", where=str(path)) from error
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


def update_of_approach(
    approach: Approach,
    elements: Sequence[Elements],
    created_s: float,
    *,
    hard_body_radius_m: float = DEFAULT_RADIUS_M,
    table: tuple[SigmaClass, ...] | None = None,
) -> EventUpdate:
    """Judge an approach that a screening of element sets found, with modelled covariances, and return it as an update.

    Raises:
        ConjunctionError: the model has no class for an object, or the encounter cannot be judged.
        ElementsError: an object cannot be propagated to the closest approach.
    """
    objects, said = [], []
    for one in (elements[approach.primary], elements[approach.secondary]):
        r, v = states(one, [approach.tca_s])
        model = model_covariance(one, approach.tca_s, r[0], v[0], table=table)
        objects.append(ObjectState(one.name, str(one.norad_id), r[0], v[0], model.covariance_km))
        said.append(f"{one.name}: {model.statement}")
    encounter = Encounter(approach.tca_s, objects[0], objects[1], hard_body_radius_m)
    greatest, factor = greatest_probability(encounter)
    said += [
        f"with sigmas {LEAST_FACTOR:g} to {MOST_FACTOR:g} times the model's: at most {greatest:.1e} (at {factor:.2g})",
        f"hard-body radius {hard_body_radius_m:g} m, taken for the pair",
    ]
    return _update(
        encounter,
        judge_quickly(encounter),
        source=Source.SCREENING,
        message_id=f"screening {iso_utc(created_s)}",
        created_s=created_s,
        knowledge=Knowledge.MODEL,
        given=None,
        statements=tuple(said),
    )


def _update(
    encounter: Encounter,
    judged: Judged,
    *,
    source: Source,
    message_id: str,
    created_s: float,
    knowledge: Knowledge,
    given: float | None,
    statements: tuple[str, ...],
) -> EventUpdate:
    first, second = encounter.primary, encounter.secondary
    together = covariance_to_rtn(encounter.relative_covariance_km[:3, :3], first.r_km, first.v_km_s)
    sigma = np.sqrt(np.maximum(np.diag(together), 0.0))
    r, t, n = encounter.relative_rtn_km.tolist()
    return EventUpdate(
        source=source,
        message_id=message_id,
        created_s=created_s,
        tca_s=encounter.tca_s,
        primary=Party(first.name, first.designator.lstrip("0")),
        secondary=Party(second.name, second.designator.lstrip("0")),
        miss_km=encounter.miss_km,
        speed_km_s=encounter.speed_km_s,
        rtn_km=(r, t, n),
        probability=judged.probability,
        method=judged.method,
        two_d_probability=judged.two_d,
        two_d_holds=judged.two_d_holds,
        given_probability=given,
        sigma_rtn_km=(float(sigma[0]), float(sigma[1]), float(sigma[2])),
        knowledge=knowledge,
        statements=(*statements, *judged.notes),
        period_s=min(period_of(o.r_km, o.v_km_s) for o in (first, second)),
        encounter=encounter,
    )


ORDERS: Final[dict[str, Callable[[Event], Any]]] = {
    "risk": lambda event: (-(event.latest.probability if event.latest.probability is not None else -1.0), event.latest.miss_km),
    "tca": lambda event: event.tca_s,
    "age": lambda event: -event.latest.created_s,
    "miss": lambda event: event.latest.miss_km,
}
"""How a list of events may be ordered."""


def alerts_for(events: Iterable[Event], thresholds: Thresholds, since_tca_s: float = -math.inf) -> list[Alert]:
    """Return the alerts of all events whose closest approach is after a time, oldest first."""
    found = [alert for event in events if event.tca_s > since_tca_s for alert in alerts_of(event, thresholds)]
    return sorted(found, key=lambda alert: (alert.raised_s, alert.id))


def alert_resource(alert: Alert, extra: tuple[str, ...] = ()) -> ConjunctionAlert:
    """Return an alert as the resource that people read."""
    update = alert.update
    return ConjunctionAlert(
        metadata=Metadata(name=alert.id),
        spec=ConjunctionAlertSpec(
            event=alert.event_id,
            level="red" if alert.level.word == "red" else "yellow",
            urgent=alert.urgent,
            raised=iso_utc(alert.raised_s),
            tca=iso_utc(update.tca_s),
            primary=space_object(update.primary),
            secondary=space_object(update.secondary),
            probability=update.probability,
            method=update.method,
            miss_km=round(update.miss_km, 6),
            speed_km_s=round(update.speed_km_s, 6),
            covariance=update.knowledge.value,
            remarks=(*alert.remarks, *extra),
        ),
    )


def space_object(party: Party) -> SpaceObject:
    """Return one of a pair as resources name it."""
    return SpaceObject(name=party.name[:200], designator=party.designator[:40])


def write_resources(folder: Path, resources: Sequence[Resource]) -> None:
    """Write each resource as YAML under its own name, whole or not at all; a file of that name is replaced.

    Raises:
        StateError: the folder cannot be written.
    """
    import yaml

    for one in resources:
        plain = {key: value for key, value in one.to_json().items() if value is not None}
        plain["spec"] = {key: value for key, value in plain["spec"].items() if value is not None}
        write_bytes(folder / f"{one.name}.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())


def write_text(path: Path, document: dict[str, Any]) -> None:
    """Write a table of uncertainty, one class a line.

    Raises:
        StateError: the file cannot be written.
    """
    head = json.dumps({key: value for key, value in document.items() if key != "classes"}, indent=1)[:-2]
    rows = ",\n".join("  " + json.dumps(row) for row in document["classes"])
    write_bytes(path, f'{head},\n "classes": [\n{rows}\n ]\n}}\n'.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StateError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StateError(f"cannot be written ({error.strerror})", where=str(path), remedy="name another place") from error


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


def fit_table(
    snapshots: Sequence[Sequence[Elements]], progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[ClassFit], int]:
    """Derive the table of uncertainty: the shipped one with its fitted classes replaced, the fits, how many differences.

    Raises:
        ConjunctionError: there is too little to fit.
    """
    data = differences(snapshots, progress)
    fits = fit_bands(data)
    return with_fitted(json.loads(shipped_text()), fits), fits, int(data.age_d.size)
