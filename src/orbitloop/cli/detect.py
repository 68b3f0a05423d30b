"""The command that detects in scene files, and what it shows while it does and when it is done."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, Quiet
from orbitloop.cli.terminal import add_row, note, only_results_on_stdout, print_json, show, show_error, table
from orbitloop.errors import ImageError, OrbitloopError

if TYPE_CHECKING:
    from orbitloop.apps.models import OpenModel
    from orbitloop.apps.scenes import SceneOptions, SceneReport
    from orbitloop.onboard.budget import Ledger
    from orbitloop.onboard.geojson import FeatureWriter
    from orbitloop.records.scene import GeoTransform

SHOWN = 100
"""How many detections of a scene a terminal gets."""

_BAR_AFTER_S = 2.0


def detect(
    scenes: Annotated[
        list[Path], typer.Argument(metavar="SCENE", help="Scenes, or folders of them: GeoTIFF, COG, PNG, JPEG or WebP.")
    ],
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Folder of a model.")],
    geojson: Annotated[bool, typer.Option("--geojson", help="Write one GeoJSON FeatureCollection of all scenes.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write a GeoJSON file for each scene.")] = None,
    stac: Annotated[bool, typer.Option("--stac", help="Write a STAC item for each scene too; needs --out.")] = False,
    picture: Annotated[
        bool,
        typer.Option("--picture", help="Write a PNG for each scene too, 2,048 px a side at most, with its boxes; needs --out."),
    ] = False,
    geo: Annotated[
        str,
        typer.Option(
            metavar="LON,LAT[,GSD]",
            help="Where the top-left corner lies, degrees, and metres per pixel (1); the picture is north-up. "
            "Without: what the file says, else pixels.",
        ),
    ] = "",
    bands: Annotated[
        str, typer.Option(metavar="R,G,B", help="Bands for red, green and blue, from 1; one for grey. Without: the file's own.")
    ] = "",
    stretch: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH", help="Values that become black and white. Without: 8 bits as they are, else by percentile."
        ),
    ] = "",
    score: Annotated[
        float | None, typer.Option(metavar="SCORE", min=0, max=1, help="Least score, instead of the model's own.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="Keep this class only; may be given several times.")
    ] = None,
    screen: Annotated[str, typer.Option(metavar="NAME", help="First stage that drops tiles; see `plugins screen`.")] = "none",
    tiles: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Budget: look at no more tiles, over all scenes.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0, help="Budget: CPU seconds, over all scenes.")] = None,
    joules: Annotated[
        float | None, typer.Option(metavar="J", min=0, help="Budget: energy, by --watts or --joules-per-tile.")
    ] = None,
    watts: Annotated[
        float, typer.Option(metavar="W", min=0, help="What a CPU second draws; joules are then told in --json.")
    ] = 0.0,
    joules_per_tile: Annotated[float, typer.Option(metavar="J", min=0, help="What a tile draws, instead.")] = 0.0,
    engine: Annotated[str, typer.Option(metavar="NAME", help="onnxruntime, openvino or ncnn.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads.")] = 2,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Detect in scenes of any size, as the satellite does: tiles, network, merge over tile borders, in constant memory.

    Of a folder all scenes directly in it are taken, by name. A scene that cannot be read is named on stderr and the next one is
    taken; the exit code is then that of the last error. A file in --out is written whole or not at all. With --out, --json
    gives counts and the files; without, the best 10,000 boxes in pixels, and the longitude and latitude of their centres if the
    scene has a place.

    On the ground every tile is looked at: --screen is `none`, for a tile dropped by mistake costs more here than its time. On
    board it is `cheap`.

    \b
    Examples:
      orbitloop detect field.png --model runs/farmland-demo/model
      orbitloop detect scenes/ --model models/farmland --geojson > found.geojson
      orbitloop detect scenes/ --model models/farmland --out found --picture
      orbitloop detect field.png --model models/farmland --out found --geo 10.21,48.07,5
      orbitloop detect airport.tif --model models/aircraft --out found --stac --bands 4,3,2 --stretch 200,3000

    \b
    Exit codes: 0 done; 12 image; 13 model; 20 no such screen; 23 --out cannot
    be written, or a budget that cannot be kept; 130 interrupted.
    """
    if geojson and json_output:
        raise typer.BadParameter("--geojson is JSON already: leave one of the two out")
    if stac and out is None:
        raise typer.BadParameter("--stac needs a folder: --out DIR")
    if picture and out is None:
        raise typer.BadParameter("--picture needs a folder: --out DIR")
    corner = _corner(geo) if geo else None
    picked = _bands(bands) if bands else None
    levels = _stretch(stretch) if stretch else None
    from orbitloop.apps.models import open_model
    from orbitloop.apps.scenes import SceneOptions
    from orbitloop.plugins.registry import default_registry

    first_stage = None if screen == "none" else default_registry().create("screen", screen, where="--screen")
    ledger = _ledger(tiles, joules, seconds, watts, joules_per_tile)
    opened = open_model(model, threads, engine)
    options = SceneOptions(
        bands=picked,
        stretch=levels,
        geo=_north_up(corner),
        least_score=score,
        screen=first_stage,
        ledger=ledger,
        classes=_indices(only, opened.engine.metadata.classes) if only else None,
    )
    run = _Run(opened, options, out, stac, picture, quiet)
    if geojson:
        run.to_stdout(scenes)
    else:
        run.all(scenes)
        run.show(json_output)
    if run.failed:
        raise typer.Exit(run.failed[-1].exit_code)


class _Run:
    """One call of the command: its scenes one after the other."""

    def __init__(
        self, model: OpenModel, options: SceneOptions, out: Path | None, stac: bool, picture: bool, quiet: bool
    ) -> None:
        self._model, self._options, self._out, self._quiet = model, options, out, quiet
        self._stac, self._picture = stac, picture
        self._taken: set[str] = set()
        self.reports: list[SceneReport] = []
        self.failed: list[OrbitloopError] = []

    def all(self, scenes: list[Path]) -> None:
        """Detect in each scene."""
        with only_results_on_stdout():
            for scene in self._files(scenes):
                self._one(scene, None)

    def to_stdout(self, scenes: list[Path]) -> None:
        """Detect in each scene, and write the features of those that did not fail as one collection."""
        from orbitloop.apps.scenes import spool
        from orbitloop.onboard.geojson import FeatureWriter, foreign_members

        stdout, writer = sys.stdout, None
        try:
            with only_results_on_stdout():
                for scene in self._files(scenes):
                    with spool() as lines:
                        report = self._one(scene, lines)
                        if report is None or self._is_odd(report):
                            continue
                        if writer is None:
                            writer = FeatureWriter(stdout, foreign_members(placed=report.placed))
                        _copy(lines, writer)
                        if report.counts.cut_short:
                            note(f"{scene}: {report.counts.refused} tiles not looked at: the budget is spent")
        finally:  # what stands on stdout is a whole collection, also after Ctrl-C
            (writer or FeatureWriter(stdout)).close()

    def _files(self, scenes: list[Path]) -> Iterator[Path]:
        """Yield the scenes, a folder's one by one; one without any is told and passed over."""
        from orbitloop.apps.scenes import scenes_in

        for scene in scenes:
            try:
                inside = scenes_in(scene) if scene.is_dir() else [scene]
            except ImageError as error:
                show_error(error)
                self.failed.append(error)
                continue
            yield from inside

    def _is_odd(self, report: SceneReport) -> bool:
        """Say whether a scene's coordinates are of another kind than those before; one collection has one kind."""
        if report.placed == self.reports[0].placed:
            return False
        kinds = ("pixels", "longitude and latitude")
        error = ImageError(
            f"its coordinates are {kinds[report.placed]}, those before are {kinds[not report.placed]}",
            where=str(report.path),
            remedy="use --out, or say with --geo where all of them lie",
        )
        show_error(error)
        self.failed.append(error)
        return True

    def _one(self, scene: Path, lines: IO[str] | None) -> SceneReport | None:
        from orbitloop.apps.scenes import PICTURE_SUFFIX, detect_file

        stem = self._free_name(scene)
        out = None if self._out is None else self._out / f"{stem}.geojson"
        item = None if out is None or not self._stac else out.with_name(f"{stem}.stac.json")
        picture = None if out is None or not self._picture else out.with_name(f"{stem}{PICTURE_SUFFIX}")
        try:
            with _progress(scene.name, self._quiet) as progress:
                report = detect_file(
                    self._model,
                    scene,
                    self._options,
                    out=out,
                    stac=item,
                    picture=picture,
                    lines=lines,
                    progress=progress,
                )
        except ImageError as error:
            show_error(error)
            self.failed.append(error)
            return None
        self._taken.add(stem)
        self.reports.append(report)
        return report

    def _free_name(self, scene: Path) -> str:
        """Return the name of a scene's results; scenes of one name are numbered."""
        name, number = scene.stem, 1
        while name in self._taken:
            number += 1
            name = f"{scene.stem}-{number}"
        return name

    def show(self, json_output: bool) -> None:
        """Write what was found."""
        from orbitloop.apps.scenes import to_json

        about = self._model.engine.metadata
        if not json_output:
            for report in self.reports:
                _show(report, about.classes)
            return
        errors = [{"what": e.what, "where": e.where, "exit_code": e.exit_code} for e in self.failed]
        found = [to_json(report, about.classes) for report in self.reports]
        value: dict[str, Any] = {"model": about.name, "digest": self._model.digest, "scenes": found, "errors": errors}
        if self._options.classes is not None:
            value["classes"] = [about.classes[index] for index in sorted(self._options.classes)]
        if self._options.ledger is not None:
            value["budget"] = self._options.ledger.report().to_json()
        print_json(value)


def _copy(lines: IO[str], writer: FeatureWriter) -> None:
    import json

    lines.seek(0)
    writer.write(json.loads(line) for line in lines)


def _show(report: SceneReport, classes: tuple[str, ...]) -> None:
    from orbitloop.apps.scenes import rows

    counts = report.counts
    title = f"{report.path}: {report.found} detections in {counts.seen} tiles, {report.wall_s:.1f} s"
    left_out = [f"{count} {reason}" for reason, count in sorted(counts.dropped.items())]
    if counts.cut_short:
        left_out.append(f"{counts.refused} not looked at: the budget is spent")
    notes = [f"tiles left out: {', '.join(left_out)}"] if left_out else []
    if report.stretch is not None or report.bands not in (None, (1, 2, 3)):
        levels = "" if report.stretch is None else f"; black {report.stretch[0]:g}, white {report.stretch[1]:g}"
        notes.append(f"bands {', '.join(map(str, report.bands or ()))}{levels}")
    if report.out is not None:
        written = [str(file) for file in (report.out, report.stac, report.picture) if file is not None]
        show(title, *notes, f"written: {', '.join(written)}")
        return
    listed = table("class", ">score", ">x0", ">y0", ">x1", ">y1")
    best = rows(report.best, classes)[:SHOWN]
    for one in best:
        add_row(listed, one["class"], f"{one['score']:.2f}", *(f"{v:.0f}" for v in one["box_xyxy_px"]))
    more = report.found - len(best)
    show(title, *([listed] if best else []), *notes, *([f"{more} more: use --out or --json"] if more else []))


@contextlib.contextmanager
def _progress(name: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give what shows a bar over a scene's tiles on a terminal, once it has taken two seconds."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from orbitloop.cli.terminal import printable

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True)
    task = bar.add_task(printable(name), total=None)
    began_s = time.monotonic()

    def step(done: int, total: int) -> None:
        if not bar.live.is_started and time.monotonic() - began_s > _BAR_AFTER_S:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield step
    finally:
        bar.stop()


def _ledger(
    tiles: int | None, joules: float | None, seconds: float | None, watts: float, joules_per_tile: float
) -> Ledger | None:
    if tiles is None and joules is None and seconds is None and not watts and not joules_per_tile:
        return None
    from orbitloop.onboard.budget import Budget, Ledger, Price

    try:
        return Ledger(Budget(tiles, joules, seconds), Price(joules_per_tile, watts))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _indices(names: list[str], classes: tuple[str, ...]) -> frozenset[int]:
    """Return the indices of classes by their names."""
    unknown = [name for name in names if name not in classes]
    if unknown:
        hint = f"the model has no class {', '.join(map(repr, unknown))}; it has {', '.join(classes)}"
        raise typer.BadParameter(hint, param_hint="--class")
    return frozenset(index for index, name in enumerate(classes) if name in names)


def _bands(text: str) -> tuple[int, ...]:
    """Read R,G,B or one number."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
        if len(numbers) not in (1, 3) or min(numbers) < 1:
            raise ValueError
    except ValueError:
        hint = f"{text!r} is not R,G,B: three band numbers from 1, such as 3,2,1, or one for grey"
        raise typer.BadParameter(hint, param_hint="--bands") from None
    return numbers


def _stretch(text: str) -> tuple[float, float]:
    """Read LOW,HIGH."""
    try:
        low, high = (float(part) for part in text.split(","))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError
    except ValueError:
        hint = f"{text!r} is not LOW,HIGH: two numbers, the first below the second, such as 200,3000"
        raise typer.BadParameter(hint, param_hint="--stretch") from None
    return low, high


def _corner(text: str) -> tuple[float, float, float]:
    """Read LON,LAT[,GSD]: degrees, degrees, metres."""
    try:
        numbers = [float(part) for part in text.split(",")]
        lon_deg, lat_deg, gsd_m = (*numbers, 1.0) if len(numbers) == 2 else numbers
        if not (-180 <= lon_deg <= 180 and -89.9 <= lat_deg <= 89.9 and 0 < gsd_m < math.inf):
            raise ValueError
    except ValueError:
        hint = f"{text!r} is not LON,LAT[,GSD]: degrees within 180 and 89.9, and metres per pixel, such as 10.21,48.07,5"
        raise typer.BadParameter(hint, param_hint="--geo") from None
    return lon_deg, lat_deg, gsd_m


def _north_up(corner: tuple[float, float, float] | None) -> GeoTransform | None:
    if corner is None:
        return None
    from orbitloop.orbit.frames import metres_per_degree
    from orbitloop.records.scene import GeoTransform

    lon_deg, lat_deg, gsd_m = corner
    lat_m, lon_m = metres_per_degree(lat_deg)
    return GeoTransform(lon_deg, lat_deg, gsd_m / lon_m, 0.0, 0.0, -gsd_m / lat_m)
