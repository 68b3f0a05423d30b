"""Screening for people: files of element sets in, close approaches by name out, as JSON lines or CSV.

Who is a primary is told by catalogue number, by name (`*` and `?` stand for anything), or by a file of one's own element sets,
which also replace the catalogue's sets of the same objects. The search itself is `orbit.conjunction.screening`'s work.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.apps.catalogue import read_snapshot
from orbitloop.apps.files import write_whole
from orbitloop.clock import iso_utc, iso_utc_ms
from orbitloop.errors import ConjunctionError, StateError
from orbitloop.orbit.catalogue.snapshots import Skipped
from orbitloop.orbit.conjunction.approach import Approach, ApproachTable, Volume
from orbitloop.orbit.conjunction.refine import Reference, relative_path
from orbitloop.orbit.conjunction.rtn import covariance_to_rtn
from orbitloop.orbit.conjunction.screening import STEP_S, Screener, Screening
from orbitloop.orbit.conjunction.uncertainty import model_covariance
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.propagate import Engine
from orbitloop.reports.plots.rtn import rtn_picture

STALE_D = 7.0
"""Element sets older than this at the window's start are told: along the track they are off by many kilometres."""
KINDS_OF_FILE = (".jsonl", ".csv")
_COLUMNS = (
    *("NORAD_CAT_ID_1", "OBJECT_NAME_1", "DSE_1", "NORAD_CAT_ID_2", "OBJECT_NAME_2", "DSE_2"),
    *("TCA", "TCA_RANGE", "TCA_RELATIVE_SPEED", "MAX_PROB", "DILUTION"),  # so far as in CelesTrak's SOCRATES
    *("R_KM", "T_KM", "N_KM", "RDOT_KM_S", "TDOT_KM_S", "NDOT_KM_S", "KIND", "ENTER", "LEAVE", "MINIMA", "CLIPPED"),
)


@dataclass(frozen=True, slots=True)
class Objects:
    """What is screened: each object once, with its newest element set.

    `repeated` counts older sets that were left out; `primaries` are places in `elements`, None: all with all.
    """

    elements: tuple[Elements, ...]
    skipped: tuple[Skipped, ...]
    repeated: int
    primaries: tuple[int, ...] | None

    def stale(self, at_s: float) -> int:
        """Return how many sets are older than `STALE_D` at a time."""
        return sum(abs(at_s - one.epoch_s) > STALE_D * DAY_S for one in self.elements)


def read_objects(files: Sequence[Path], wanted: Sequence[str] = (), fleet: Path | None = None) -> Objects:
    """Read element sets and choose primaries.

    Args:
        files: TLE or OMM in any form, gzip or not.
        wanted: catalogue numbers and names of primaries.
        fleet: element sets whose objects are all primaries, and which count before those of `files`.

    Raises:
        ElementsError: a file cannot be read, or holds nothing that can be.
        ConjunctionError: nobody is called so, or fewer than two objects are left.
    """
    chosen: dict[int, Elements] = {}
    skipped: list[Skipped] = []
    read = 0
    for path in files:
        snapshot, _ = read_snapshot(path)
        skipped += snapshot.skipped
        read += len(snapshot.sets)
        for number, one in snapshot.newest().items():
            if number not in chosen or one.epoch_s > chosen[number].epoch_s:
                chosen[number] = one
    mine: set[int] = set()
    if fleet is not None:
        snapshot, _ = read_snapshot(fleet)
        skipped += snapshot.skipped
        read += len(snapshot.sets)
        own = snapshot.newest()
        chosen.update(own)
        mine |= own.keys()
    elements = tuple(chosen.values())
    for text in wanted:
        mine |= _named(elements, text)
    if len(elements) < 2:
        raise ConjunctionError("screening needs two objects", remedy="name a catalogue as FILE")
    places = tuple(n for n, one in enumerate(elements) if one.norad_id in mine)
    return Objects(elements, tuple(skipped), read - len(elements), places if wanted or fleet is not None else None)


def _named(elements: Iterable[Elements], text: str) -> set[int]:
    pattern = text.strip().casefold()
    if pattern.isascii() and pattern.isdigit():
        found = {one.norad_id for one in elements if one.norad_id == int(pattern)}
    else:
        found = {one.norad_id for one in elements if fnmatchcase(one.name.casefold(), pattern)}
    if not found:
        raise ConjunctionError(
            f"no object is called {text!r}", where="--primary", remedy="give its catalogue number, or a name like 'ISS*'"
        )
    return found


def run_screening(
    objects: Objects,
    start_s: float,
    days: float,
    *,
    volume: Volume,
    step_s: float = STEP_S,
    engine: Engine = "auto",
    tell: Callable[[float], None] = lambda until_s: None,
) -> Screening:
    """Screen; an interruption (Ctrl-C) ends the search and keeps what was found: the result says until when it is complete.

    `tell` hears after each block until when the search is complete.

    Raises:
        ConjunctionError: the window makes no sense, or numba is not installed.
    """
    screener = Screener(
        objects.elements,
        start_s,
        start_s + days * DAY_S,
        volume=volume,
        primaries=objects.primaries,
        step_s=step_s,
        engine=engine,
    )
    try:
        for until_s in screener.blocks():
            tell(until_s)
    except KeyboardInterrupt:
        if screener.done_s <= start_s:
            raise
    return screener.result()


def closest(table: ApproachTable, count: int | None, co_located: bool = True) -> ApproachTable:
    """Return the nearest approaches first, at most `count`; without pairs that stay together unless they are asked for."""
    rows = np.flatnonzero((table.kind != 2) | co_located)
    return table.take(rows[np.argsort(table.miss_km[rows], kind="stable")][:count])


# --- files ---------------------------------------------------------------------------------------------------------------


def approach_json(one: Approach, elements: Sequence[Elements]) -> dict[str, Any]:
    """Return one approach as a plain object, both objects by number and name."""

    def who(index: int, age_s: float) -> dict[str, Any]:
        return {"norad_id": elements[index].norad_id, "name": elements[index].name, "age_d": round(age_s / DAY_S, 3)}

    return {
        "tca": iso_utc_ms(one.tca_s),
        "tca_s": round(one.tca_s, 6),
        "miss_km": round(one.miss_km, 6),
        "speed_km_s": round(one.speed_km_s, 6),
        "primary": who(one.primary, one.primary_age_s),
        "secondary": who(one.secondary, one.secondary_age_s),
        "rtn_km": [round(x, 6) for x in one.rtn_km],
        "rtn_km_s": [round(x, 6) for x in one.rtn_km_s],
        "kind": one.kind,
        "enter": iso_utc_ms(one.enter_s),
        "leave": iso_utc_ms(one.leave_s),
        "minima": one.minima,
        "clipped": one.clipped,
    }


def screening_json(found: Screening, objects: Objects) -> dict[str, Any]:
    """Return what a screening was, without its approaches."""
    volume = found.volume
    return {
        "start": iso_utc(found.start_s),
        "complete_until": iso_utc(found.end_s),
        "asked_until": iso_utc(found.asked_end_s),
        "complete": found.complete,
        "volume": {
            "shape": volume.shape,
            "radial_km": volume.radial_km,
            "intrack_km": volume.intrack_km,
            "crosstrack_km": volume.crosstrack_km,
        },
        "step_s": found.step_s,
        "engine": found.engine,
        "objects": len(objects.elements),
        "after_altitude_sieve": found.objects,
        "primaries": None if objects.primaries is None else len(objects.primaries),
        "older_sets_left_out": objects.repeated,
        "stale_sets": objects.stale(found.start_s),
        "skipped": [{"where": one.where, "what": one.what} for one in objects.skipped],
        "failures": [
            {
                "norad_id": objects.elements[one.index].norad_id,
                "name": objects.elements[one.index].name,
                "from": iso_utc(one.from_s),
                "lost": round(one.lost_nodes / one.nodes, 4),
                "why": one.why,
            }
            for one in found.failures
        ],
        "pairs_compared": found.compared,
        "largest_slack_km": round(found.largest_slack_km, 3),
    }


def json_lines(found: Screening, objects: Objects, table: ApproachTable) -> Iterator[str]:
    """Yield the lines of a `.jsonl` file: one object for the screening, then one for each approach."""
    yield (
        json.dumps({"record": "screening", **screening_json(found, objects), "approaches": len(table)}, allow_nan=False) + "\n"
    )
    for one in table:
        yield json.dumps({"record": "approach", **approach_json(one, objects.elements)}, allow_nan=False) + "\n"


def csv_lines(objects: Objects, table: ApproachTable) -> Iterator[str]:
    """Yield the lines of a `.csv` file: SOCRATES' columns (the probability's empty: it is `orbitloop pc`'s work), then ours."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")  # RFC 4180, as SOCRATES

    def line(cells: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line(_COLUMNS)
    for one in table:
        first, second = objects.elements[one.primary], objects.elements[one.secondary]
        yield line(
            [
                *(first.norad_id, first.name, f"{one.primary_age_s / DAY_S:.3f}"),
                *(second.norad_id, second.name, f"{one.secondary_age_s / DAY_S:.3f}"),
                *(iso_utc_ms(one.tca_s), f"{one.miss_km:.6f}", f"{one.speed_km_s:.6f}", "", ""),
                *(f"{x:.6f}" for x in (*one.rtn_km, *one.rtn_km_s)),
                *(one.kind, iso_utc_ms(one.enter_s), iso_utc_ms(one.leave_s), one.minima, int(one.clipped)),
            ]
        )


def check_events_file(path: Path) -> None:
    """Refuse a name that says no form, before hours of search.

    Raises:
        StateError: it ends neither in `.jsonl` nor in `.csv`, or its folder is not there.
    """
    if path.suffix.lower() not in KINDS_OF_FILE:
        raise StateError("approaches are written as .jsonl or .csv", where=str(path), remedy="name the file so")
    if not path.absolute().parent.is_dir():
        raise StateError("its folder is not there", where=str(path), remedy="make it, or name another")


def write_events(path: Path, found: Screening, objects: Objects, table: ApproachTable) -> None:
    """Write approaches to a file, wholly or not at all.

    Raises:
        StateError: the file cannot be written.
    """
    lines = csv_lines(objects, table) if path.suffix.lower() == ".csv" else json_lines(found, objects, table)
    write_whole(path, lines)


# --- a picture -----------------------------------------------------------------------------------------------------------


def picture(found: Screening, objects: Objects, one: Approach, kind: str) -> bytes:
    """Draw an approach: the secondary in the primary's RTN frame about TCA, and one sigma of the modelled covariance.

    Raises:
        DataError: matplotlib is not installed.
    """
    half_s = max(2.0 * found.volume.reach_km / max(one.speed_km_s, 1e-6), 1.0)
    half_s = min(max(half_s, 0.6 * (one.leave_s - one.enter_s)), objects.elements[one.primary].period_s)
    since_s, rtn_km = relative_path(Reference(objects.elements), one, half_s)
    first, second = objects.elements[one.primary], objects.elements[one.secondary]
    covariance, said = _covariance(objects.elements, one)
    return rtn_picture(
        title=f"{second.name} ({second.norad_id}) seen from {first.name} ({first.norad_id})",
        subtitle=f"TCA {iso_utc_ms(one.tca_s)}   {one.miss_km:.3f} km   {one.speed_km_s:.3f} km/s   {one.kind}",
        since_s=since_s,
        rtn_km=rtn_km,
        reach_km=found.volume.reach_km,
        covariance_km2=covariance,
        said=said,
        kind=kind,
    )


def _covariance(elements: Sequence[Elements], one: Approach) -> tuple[Any, str]:
    """Return the modelled covariance (3, 3) of the relative position in the primary's RTN frame, and what to say of it."""
    reference, together = Reference(elements), np.zeros((3, 3))
    places = np.array([one.primary, one.secondary], np.int32)
    r_km, v_km_s, _ = reference.states(places, np.full(2, one.tca_s))
    try:
        for n, place in enumerate(places.tolist()):
            model = model_covariance(elements[place], one.tca_s, r_km[n], v_km_s[n])
            together += model.covariance_km[:3, :3]
    except ConjunctionError:
        return None, ""
    return covariance_to_rtn(together, r_km[0], v_km_s[0]), "1 sigma of both element sets, by a model of class and age"
