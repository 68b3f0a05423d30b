"""A report as files: `report.json`, `report.html`, `report.md` and `gallery/`, each written whole or not at all.

The rim of the package: the only module that touches a disk. `report.json` is written last, so that where it stands, the rest
does too. Reading is bounded, and takes pictures only by the names that samples' ids lead to.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orbitloop.errors import DataError, StateError
from orbitloop.records.pixels import decode_image, encode_image
from orbitloop.reports.html import render_html
from orbitloop.reports.mission import MissionReport
from orbitloop.reports.observed import GALLERY_FOLDER
from orbitloop.reports.story import to_markdown

JSON_FILE, HTML_FILE, MARKDOWN_FILE = "report.json", "report.html", "report.md"
MAX_REPORT_BYTES = 128 << 20
MAX_PICTURE_BYTES = 8 << 20
_OURS = re.compile(r"[A-Za-z0-9_-]+-[0-9a-f]{12}\.webp")


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where a report lies."""

    json: Path
    html: Path
    markdown: Path
    gallery: tuple[Path, ...]


def write_report(report: MissionReport, out_dir: Path, pictures: Mapping[str, bytes]) -> ReportPaths:
    """Write all renderings into `out_dir` (created where absent), replacing an earlier report.

    Args:
        report: what happened.
        out_dir: the run's folder.
        pictures: sample id -> encoded picture; what is not WebP is encoded again. Samples without one show an empty frame.

    Raises:
        ImageError: a picture is not a picture.
        StateError: the folder cannot be written.
    """
    webp = {g.sample_id: _as_webp(pictures[g.sample_id], g.sample_id) for g in report.gallery if g.sample_id in pictures}
    page, story = render_html(report, webp), to_markdown(report)
    plain = json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    paths = ReportPaths(
        out_dir / JSON_FILE,
        out_dir / HTML_FILE,
        out_dir / MARKDOWN_FILE,
        tuple(out_dir / g.image for g in report.gallery if g.sample_id in webp),
    )
    try:
        (out_dir / GALLERY_FOLDER).mkdir(parents=True, exist_ok=True)
        for item in report.gallery:
            if item.sample_id in webp:
                _replace(out_dir / item.image, webp[item.sample_id])
        _replace(paths.html, page.encode("utf-8", "replace"))
        _replace(paths.markdown, story.encode("utf-8", "replace"))
        _replace(paths.json, plain.encode("utf-8"))
        _forget_others(out_dir / GALLERY_FOLDER, {p.name for p in paths.gallery})
    except OSError as error:
        raise StateError(
            f"report cannot be written ({error.strerror})", where=str(out_dir), remedy="free space, or name another --out"
        ) from error
    return paths


def read_report(path: Path) -> MissionReport:
    """Read `report.json`, or the one in a run's folder.

    Raises:
        DataError: there is no such file, or it is absurdly large.
        StateError: it is not a report, or was changed.
    """
    file = path / JSON_FILE if path.is_dir() else path
    data = _bounded(file, MAX_REPORT_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StateError(f"not JSON ({str(error)[:120]})", where=str(file), remedy="run the mission again") from error
    return MissionReport.from_json(value, where=str(file))


def read_pictures(report: MissionReport, folder: Path) -> dict[str, bytes]:
    """Read the gallery's pictures that lie beside a report: sample id -> WebP bytes. Those that are absent are left out.

    Raises:
        DataError: a picture is absurdly large.
    """
    found = {}
    for item in report.gallery:
        if (folder / item.image).is_file():
            found[item.sample_id] = _bounded(folder / item.image, MAX_PICTURE_BYTES)
    return found


def _bounded(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(file), remedy="name a run's folder") from error
    if len(data) > limit:
        raise DataError(f"larger than {limit} bytes", where=str(file))
    return data


def _as_webp(data: bytes, sample_id: str) -> bytes:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data
    return encode_image(decode_image(data, where=f"picture of sample {sample_id!r}"[:120]))


def _replace(target: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".report-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _forget_others(folder: Path, keep: set[str]) -> None:
    """Remove pictures of an earlier report of the same run: only names that we give."""
    for entry in folder.iterdir():
        if entry.name not in keep and _OURS.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
