"""Positions for people: observed ones against an object of the catalogue, and the corrected set out; predicted ones as OEM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitloop.apps.catalogue import find_object, newest_sets, read_bounded
from orbitloop.apps.files import write_whole
from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.formats.fields import format_time
from orbitloop.orbit.formats.ndm import looks_like_xml
from orbitloop.orbit.formats.ndm_kvn import write_kvn
from orbitloop.orbit.formats.oem import Ephemeris, parse_oem, write_oem
from orbitloop.orbit.formats.opm import OrbitState, message_of_state
from orbitloop.orbit.formats.positions import parse_positions
from orbitloop.orbit.position import Correction, Judgement, Positions, correct, from_teme, judge, to_teme
from orbitloop.orbit.propagate import states

MAX_BYTES = 128 << 20
MAX_STATES = 500_000


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What came of it: the set that was judged, the judgement, and the correction; where that is None, `why_not` says why."""

    elements: Elements
    judgement: Judgement
    correction: Correction | None
    why_not: str
    skipped: tuple[str, ...]


def read_positions(path: Path, frame: str, dut1_s: float) -> tuple[Positions, list[OrbitloopError]]:
    """Read observed positions: a table (CSV) in `frame`, or an OEM, which says its own frame.

    Raises:
        ElementsError: the file is neither, or its frame is not supported.
    """
    text = read_bounded(path, MAX_BYTES).decode("utf-8", "replace")
    bad: list[OrbitloopError] = []
    if looks_like_xml(text) or text.lstrip("\ufeff \r\n").startswith("CCSDS_"):
        segments = parse_oem(text, path.name)
        if len({(s.designator, s.frame) for s in segments}) != 1 or segments[0].center.upper() != "EARTH":
            raise ElementsError("holds several objects or frames, or is not about the Earth", where=str(path))
        times, r_km = np.concatenate([s.times_s for s in segments]), np.concatenate([s.r_km for s in segments])
        times, first = np.unique(times, return_index=True)
        r_km, frame = r_km[first], segments[0].frame
    else:
        times, r_km, geodetic, bad = parse_positions(text, path.name)
        frame = "ECEF" if geodetic else frame
    return Positions(times, to_teme(r_km, times, frame, dut1_s)), bad


def newest_of(catalogue: Path, files: Sequence[Path], name: str) -> Elements:
    """Return the newest set of the object that a user calls by number or name.

    Raises:
        ElementsError: there is no such object, or several.
        StateError: the catalogue cannot be read.
    """
    sets, _ = newest_sets(catalogue, files)
    number = find_object({one.norad_id: one.name for one in sets}, name)
    return next(one for one in sets if one.norad_id == number)


def keep(
    catalogue: Path,
    files: Sequence[Path],
    name: str,
    positions: Path,
    *,
    frame: str = "ECEF",
    dut1_s: float = 0.0,
    sigmas: float = 3.0,
    bounds_rtn_km: tuple[float, float, float] | None = None,
    fit: bool = True,
    fit_drag: bool | None = None,
) -> Kept:
    """Judge an object's newest set by positions, and correct it.

    Raises:
        ElementsError: there is no such object, the positions cannot be read, or the set cannot be propagated to them.
        StateError: the catalogue cannot be read.
    """
    elements = newest_of(catalogue, files, name)
    observed, bad = read_positions(positions, frame, dut1_s)
    judgement = judge(elements, observed, sigmas=sigmas, bounds_rtn_km=bounds_rtn_km)
    correction, why_not = None, "not asked for"
    if fit:
        try:
            correction, why_not = correct(elements, observed, fit_drag=fit_drag), ""
        except ElementsError as error:
            why_not = str(error)
    return Kept(elements, judgement, correction, why_not, tuple(str(error) for error in bad))


def write_residual_plot(kept: Kept, path: Path) -> None:
    """Draw what is left of the positions before and after the correction.

    Raises:
        DataError: the ending is no picture's, or matplotlib is not installed.
        StateError: the file cannot be written.
    """
    from orbitloop.reports.plots.canvas import kind_of
    from orbitloop.reports.plots.position_residuals import PositionResiduals, draw_residuals

    kind = kind_of(path)
    judgement, correction = kept.judgement, kept.correction
    hours = (judgement.times_s - judgement.times_s[0]) / (DAY_S / 24)
    drawn = PositionResiduals(
        title=f"{kept.elements.name} ({kept.elements.norad_id}): observed less predicted",
        start_s=float(judgement.times_s[0]),
        hours=hours,
        before_rtn_km=judgement.rtn_km,
        bound_rtn_km=judgement.bound_km,
        after_rtn_km=correction.rtn_km if correction else None,
        used=correction.used if correction else None,
    )
    write_whole(path, draw_residuals(drawn, kind))


def write_ephemeris(
    elements: Elements, path: Path, start_s: float, span_s: float, step_s: float, frame: str, created_s: float
) -> int:
    """Write where SGP4 takes an object: an OEM (.oem, .xml), or its state at the start as an OPM (.opm); return how many.

    The OEM names Lagrange of degree 9 as its interpolation: SGP4's velocities are no slopes of its positions (`formats.oem`).

    Raises:
        ElementsError: the ending is another, there are too many states, or the object cannot be propagated to one of the times.
        StateError: the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".oem", ".xml", ".opm"):
        raise ElementsError(f"states are written as .oem, .xml or .opm, not {path.suffix!r}", where=str(path))
    count = 1 if ending == ".opm" else math.floor(span_s / step_s + 1e-9) + 1
    if count > MAX_STATES:
        raise ElementsError(f"{count} states are more than {MAX_STATES}", remedy="take a longer --step or a shorter time")
    times = np.asarray(start_s + step_s * np.arange(count), np.float64)
    r_km, v_km_s = states(elements, times)
    turn = from_teme(times, frame)
    r_km, v_km_s = (np.asarray(np.einsum("tij,tj->ti", turn, vectors), np.float64) for vectors in (r_km, v_km_s))
    name, designator = elements.name, elements.designator
    if ending == ".opm":
        state = OrbitState(name, designator, start_s, r_km[0], v_km_s[0], frame.upper())
        text = write_kvn(message_of_state(state, created_s))
    else:
        method, degree = ("LAGRANGE", min(9, count - 1)) if count > 1 else ("", 0)
        note = f"SGP4 from elements of {format_time(elements.epoch_s)} UTC"
        made = Ephemeris(name, designator, times, r_km, v_km_s, frame.upper(), method=method, degree=degree, comments=(note,))
        text = write_oem([made], "xml" if ending == ".xml" else "kvn", created_s)
    write_whole(path, text.encode())
    return count
