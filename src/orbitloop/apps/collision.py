"""Collision probability of conjunction data messages: files read, each assessed; other forms and pictures written.

One bad file does not spoil the others: it becomes a row with its error. Each message draws from a stream of its own, so that
its count does not hang on which other files were named. What a number means is left to `orbit.conjunction.assess`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from orbitloop.apps.conjunction_files import read_message
from orbitloop.apps.files import write_whole
from orbitloop.clock import iso_utc
from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.assess import Assessment, assess
from orbitloop.orbit.conjunction.cdm import ConjunctionMessage
from orbitloop.orbit.conjunction.encounter import encounter_plane
from orbitloop.orbit.formats.ndm_kvn import write_kvn
from orbitloop.orbit.formats.ndm_xml import write_xml

FORMS: Final = ("kvn", "xml")
DEFAULT_SAMPLES: Final = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A file's message and its assessment, or the error that it has instead of both."""

    path: Path
    message: ConjunctionMessage | None
    assessment: Assessment | None
    error: ConjunctionError | None

    def to_json(self) -> dict[str, Any]:
        if self.message is None or self.assessment is None:
            return {"file": str(self.path), "error": str(self.error)}
        message = self.message
        return {
            "file": str(self.path),
            "message_id": message.message_id,
            "primary": message.primary.state.name,
            "secondary": message.secondary.state.name,
            "tca": iso_utc(message.tca_s),
            "told_probability": message.probability,
            "told_method": message.probability_method,
            "notes": list(message.notes),
            **self.assessment.to_json(),
        }


def judge(
    paths: Iterable[Path],
    *,
    hard_body_radius_m: float | None = None,
    method: str = "auto",
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    half_window_s: float | None = None,
) -> Iterator[Judged]:
    """Assess the message in each file, in order.

    Args:
        paths: the files.
        hard_body_radius_m: instead of the messages' own.
        method: as for `assess`.
        samples: pairs drawn at most, each message.
        seed: of the draws.
        half_window_s: as for `assess`.
    """
    for path in paths:
        message = None
        try:
            message = read_message(path)
            encounter = message.encounter(hard_body_radius_m)
            rng = np.random.default_rng([seed, *_stream(message.message_id)])
            found = assess(encounter, method=method, rng=rng, samples=samples, half_window_s=half_window_s)
        except ConjunctionError as error:
            where = error.where if path.name in error.where else f"{path.name}, {error.where}".removesuffix(", ")
            yield Judged(path, message, None, ConjunctionError(error.what, where=where, remedy=error.remedy))
            continue
        yield Judged(path, message, found, None)


def _stream(message_id: str) -> list[int]:
    digest = hashlib.sha256(message_id.encode("utf-8", "replace")).digest()
    return [int.from_bytes(digest[:8], "big")]


def convert(paths: Iterable[Path], form: str, folder: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """Write each message in another form, beside its file or in `folder`; every field keeps its digits.

    Yields:
        The file read and the file written.

    Raises:
        ConjunctionError: a file is no message, the form is unknown, or a file would be written over itself.
        OSError: a file cannot be written.
    """
    if form not in FORMS:
        raise ConjunctionError(f"form {form!r} is unknown", remedy=f"one of {', '.join(FORMS)}")
    for path in paths:
        message = read_message(path)
        target = (folder or path.parent) / f"{path.stem}.{form}"
        if target.exists() and target.samefile(path):
            raise ConjunctionError("would be written over itself", where=str(path), remedy="name a folder with --out")
        text = write_xml(message.message) if form == "xml" else write_kvn(message.message)
        write_whole(target, text.encode(), make_folder=True)
        yield path, target


def picture(judged: Judged, path: Path) -> None:
    """Draw the encounter plane of a message.

    Raises:
        ConjunctionError: there is no assessment, or no encounter plane.
        DataError: the ending is neither .png nor .svg, or matplotlib is not installed.
        OSError: the file cannot be written.
    """
    from orbitloop.reports.plots.canvas import kind_of
    from orbitloop.reports.plots.encounter import encounter_picture

    if judged.assessment is None or judged.message is None:
        raise judged.error or ConjunctionError("nothing to draw", where=str(judged.path))
    found, encounter = judged.assessment, judged.assessment.encounter
    plane = encounter_plane(encounter)
    covariance_km = found.plane.covariance.matrix if found.plane is not None else plane.covariance_km
    warning = ""
    if found.plane_violated:
        reasons = found.valid.reasons if found.valid is not None else ()
        warning = f"2-D does not hold: {reasons[0] if reasons else found.why}"
    data = encounter_picture(
        title=f"{encounter.primary.label} and {encounter.secondary.label}",
        subtitle=f"encounter plane at {iso_utc(encounter.tca_s)}; message {judged.message.message_id}",
        miss_m=1e3 * plane.miss_km,
        covariance_m2=1e6 * covariance_km,
        radius_m=encounter.hard_body_radius_m,
        kind=kind_of(path),
        facts=_facts(found),
        warning=warning,
    )
    write_whole(path, data)


def _facts(found: Assessment) -> tuple[tuple[str, str], ...]:
    encounter = found.encounter
    rows = [(f"probability ({found.method})", f"{found.value:.3e}")]
    if found.plane is not None:
        rows.append(("in this plane", f"{found.plane.value:.3e}"))
        rows.append(("Mahalanobis distance", f"{found.plane.mahalanobis:.3g}"))
    if found.highest is not None and not found.plane_violated:
        rows.append(("highest, sigmas scaled", f"{found.highest.value:.3e} (x {found.highest.scale:.2g})"))
    rows.append(("relative speed", f"{encounter.speed_km_s:.4g} km/s"))
    rows.append(("angle of approach", f"{encounter.approach_angle_deg:.1f} deg"))
    return tuple(rows)


def watch(rows: Iterable[Judged], total: int, told: Callable[[int, int, str], None]) -> Iterator[Judged]:
    """Pass rows on, telling how many are done of how many."""
    for done, row in enumerate(rows, 1):
        told(done, total, row.path.name)
        yield row
