"""From a scene file to a file of detections: model, reader, pipeline and writer put together, one scene at a time.

Role: what `orbitloop detect` does with each scene, and what others may call. Nothing of a scene is held whole: pixels come in
chunks, detections leave as they become final (`apps.scene_results`). It leaves the command line to `cli.detect`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from orbitloop.apps.models import OpenModel
from orbitloop.apps.pictures import Sketch, Watched, drawn
from orbitloop.apps.scene_results import LISTED, Best, stream_features, whole_bytes, whole_file
from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.raster_fence import rasterio_or_none
from orbitloop.onboard.adapters.raster_scene import RasterSource
from orbitloop.onboard.adapters.scene_files import open_scene
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.geojson import Origin
from orbitloop.onboard.pipeline import TileCounts, detect_source
from orbitloop.onboard.scenes import SceneLimits, SceneSource
from orbitloop.plugins.kinds import Screen
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoMapping

Progress = Callable[[int, int], None]
_SPOOL_BYTES = 8 << 20

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp")
"""What is taken of a folder, in any case."""

PICTURE_SUFFIX = ".boxes.png"
"""How the names of the pictures end that we draw; a folder's are no scenes."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneOptions:
    """How scenes are read and looked at.

    `bands` and `stretch` are as `open_scene` has them. `geo` says where a scene lies, instead of what its file says. `listed`
    is how many detections, the best, a report holds in memory. The rest is as `detect_source` has it; `screen` is reset for
    each scene, for each scene's detections stand for themselves. `classes` are the indices to keep, None for all; it chooses
    from what was found, and changes nothing else. Four tiles at a time take 8 % less than one in int8 (full width, 320 px, one
    core); eight no less than four.
    """

    bands: tuple[int, ...] | None = None
    stretch: tuple[float, float] | None = None
    geo: GeoMapping | None = None
    limits: SceneLimits = field(default_factory=SceneLimits)
    least_score: float | None = None
    batch: int = 4
    screen: Screen | None = None
    ledger: Ledger | None = None
    listed: int = LISTED
    classes: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SceneReport:
    """What was found in one scene.

    `best` are the best of `found` detections, in scene pixels. `wall_s` and `cpu_s` count from opening the file to the last
    detection written. `placed`: coordinates are WGS84, else pixels. `captured_at_s` is None when the scene does not say. `out`
    and `stac` are the files that were written. `bands` and `stretch` are what was read, where the file left a choice: None for
    a picture and for 8-bit values as they are. `centres_deg` is where the centres of `best` lie, (N, 2) WGS84 longitude and
    latitude, not a number for one that has no place; None when the scene has none. `picture` is the file that was drawn.
    """

    path: Path
    width_px: int
    height_px: int
    placed: bool
    captured_at_s: float | None
    counts: TileCounts
    found: int
    best: Detections
    wall_s: float
    cpu_s: float
    out: Path | None = None
    stac: Path | None = None
    bands: tuple[int, ...] | None = None
    stretch: tuple[float, float] | None = None
    centres_deg: npt.NDArray[np.float64] | None = None
    picture: Path | None = None


def scenes_in(folder: Path) -> list[Path]:
    """Return a folder's scene files, sorted by name: no folders below it, no hidden files, no picture that we drew.

    Raises:
        ImageError: it cannot be read, or holds none.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ImageError(f"the folder cannot be read ({error.strerror})", where=str(folder)) from error
    found = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".") and not n.endswith(PICTURE_SUFFIX)]
    if not found:
        known = ", ".join(suffix[1:] for suffix in SUFFIXES)
        remedy = f"files directly in it count, that end in {known}"
        raise ImageError("the folder holds no scene", where=str(folder), remedy=remedy)
    return [folder / name for name in found]


def detect_file(
    model: OpenModel,
    path: Path,
    options: SceneOptions,
    *,
    out: Path | None = None,
    stac: Path | None = None,
    picture: Path | None = None,
    lines: IO[str] | None = None,
    progress: Progress | None = None,
) -> SceneReport:
    """Detect in one scene file.

    Args:
        model: the opened model.
        path: the scene.
        options: how.
        out: the GeoJSON file to write.
        stac: the STAC item to write beside it.
        picture: the PNG to write: the scene made small, with the best detections drawn in.
        lines: gets each Feature as one line of JSON; what it has got of a scene that fails is the caller's to drop.
        progress: told how many of how many tiles are done.

    Raises:
        ImageError: the scene cannot be read, or not to its end.
        ModelError: the network fails.
        StateError: a result cannot be written.
    """
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    if options.screen is not None:
        options.screen.reset()
    with _open(path, options) as source:
        origin = _origin(model, source, path, options.geo)
        sketch = None if picture is None else Sketch(source.width_px, source.height_px)
        run = detect_source(
            model.engine,
            source if sketch is None else Watched(source, sketch),
            batch=options.batch,
            least_score=options.least_score,
            screen=options.screen,
            ledger=options.ledger,
            cpu_clock=time.process_time,
            progress=progress,
        )
        best = Best(options.listed)
        stream_features(_kept(run, options.classes), origin, best, out=out, lines=lines)
        kept = best.take()
        if picture is not None and sketch is not None:
            with whole_bytes(picture) as stream:
                drawn(sketch, kept, best.found, origin.classes).save(stream, format="PNG")
        report = SceneReport(
            path,
            source.width_px,
            source.height_px,
            origin.geo is not None,
            origin.captured_at_s,
            run.counts,
            best.found,
            kept,
            time.perf_counter() - began_s,
            time.process_time() - began_cpu_s,
            out,
            stac,
            *_as_read(source),
            None if origin.geo is None else _centres_deg(kept, origin.geo),
            picture,
        )
        if stac is not None:
            _write_item(model, source, origin, report)
    return report


def _open(path: Path, options: SceneOptions) -> SceneSource:
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError as error:  # its name goes into JSON, which is text; GDAL wants UTF-8 as well
        where = os.fsencode(path).decode("utf-8", "replace")
        raise ImageError("its path is not UTF-8", where=where, remedy="rename it") from error
    return open_scene(
        path,
        scene_id=path.name,
        bands=options.bands,
        stretch=options.stretch,
        limits=options.limits,
        bad_geo="refuse" if options.geo is None else "pixels",  # who says where it lies needs no word of the file
    )


def _as_read(source: SceneSource) -> tuple[tuple[int, ...] | None, tuple[float, float] | None]:
    return (source.bands, source.stretch) if isinstance(source, RasterSource) else (None, None)


def _origin(model: OpenModel, source: SceneSource, path: Path, geo: GeoMapping | None) -> Origin:
    return Origin(model.engine.metadata.classes, path.name, source.captured_at_s, model.digest, geo or source.geo)


def _kept(run: Iterable[Detections], classes: frozenset[int] | None) -> Iterator[Detections]:
    """Yield what is found, of these classes only."""
    wanted = np.array(sorted(classes or ()), np.int32)
    for part in run:
        if classes is None:
            yield part
        else:
            keep = np.isin(part.classes, wanted)
            yield Detections(part.boxes_xyxy_px[keep], part.scores[keep], part.classes[keep])


def _centres_deg(found: Detections, geo: GeoMapping) -> npt.NDArray[np.float64]:
    """Return where the centres of boxes lie, longitudes within 180 degrees; not a number for one that has no place."""
    boxes = found.boxes_xyxy_px.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    try:
        places = geo.lonlats_deg(centres)
    except ImageError:  # one of them lies off the Earth
        places = np.concatenate([_place_deg(centre[None], geo) for centre in centres])
    return np.column_stack([(places[:, 0] + 180) % 360 - 180, places[:, 1]])


def _place_deg(centre: npt.NDArray[np.float64], geo: GeoMapping) -> npt.NDArray[np.float64]:
    try:
        return geo.lonlats_deg(centre)
    except ImageError:
        return np.full((1, 2), np.nan)


def _write_item(model: OpenModel, source: SceneSource, origin: Origin, report: SceneReport) -> None:
    from orbitloop.apps.stac import scene_item  # pystac is loaded only when it is asked for

    if report.stac is not None:
        item = scene_item(report, origin, source, model.engine.metadata.name)
        with whole_file(report.stac) as stream:
            stream.write(json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def reader_versions() -> str:
    """Return the versions of what reads GeoTIFF, empty where the extra `geo` is not installed."""
    rasterio = rasterio_or_none()
    return "" if rasterio is None else f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}"


def spool() -> IO[str]:
    """Return a text stream to and fro, in memory while it is small."""
    return tempfile.SpooledTemporaryFile(_SPOOL_BYTES, "w+", encoding="utf-8")


def to_json(report: SceneReport, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return a report as JSON; the detections are listed where no file has them."""
    value: dict[str, Any] = {
        "scene": str(report.path),
        "width_px": report.width_px,
        "height_px": report.height_px,
        "coordinates": "wgs84" if report.placed else "pixel",
        "found": report.found,
        "tiles": report.counts.to_json(),
        "cut_short": report.counts.cut_short,
        "wall_s": round(report.wall_s, 3),
        "cpu_s": round(report.cpu_s, 3),
    }
    if report.bands is not None:
        value["bands"] = list(report.bands)
    if report.stretch is not None:
        value["stretch"] = list(report.stretch)
    if report.out is not None:
        value["out"] = str(report.out)
    else:
        value["detections"] = rows(report.best, classes, report.centres_deg)
    if report.stac is not None:
        value["stac"] = str(report.stac)
    if report.picture is not None:
        value["picture"] = str(report.picture)
    return value


def rows(
    found: Detections, classes: tuple[str, ...], centres_deg: npt.NDArray[np.float64] | None = None
) -> list[dict[str, Any]]:
    """Return detections as rows for people and JSON: boxes in pixels, and where their centres lie, if that is known.

    `centres_deg` is (N, 2) longitude and latitude; a row without a place has null.
    """
    listed: list[dict[str, Any]] = [
        {"class": classes[int(c)], "score": round(float(s), 4), "box_xyxy_px": [round(float(v), 2) for v in box]}
        for box, s, c in zip(found.boxes_xyxy_px, found.scores, found.classes, strict=True)
    ]
    if centres_deg is not None:
        for row, place in zip(listed, centres_deg.tolist(), strict=True):
            row["lonlat_deg"] = [round(v, 7) for v in place] if np.isfinite(place).all() else None
    return listed
