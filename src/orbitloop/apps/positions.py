"""Position keeping for people: observed positions from a file against an object of the catalogue, and the corrected set out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitloop.apps.catalogue import find_object, newest_sets, read_bounded, replace_file
from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.formats.ndm import looks_like_xml
from orbitloop.orbit.formats.oem import parse_oem
from orbitloop.orbit.formats.positions import parse_positions
from orbitloop.orbit.position import Correction, Judgement, Positions, correct, judge, to_teme

MAX_BYTES = 128 << 20


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
    sets, _ = newest_sets(catalogue, files)
    number = find_object({one.norad_id: one.name for one in sets}, name)
    elements = next(one for one in sets if one.norad_id == number)
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
    replace_file(path, draw_residuals(drawn, kind))
