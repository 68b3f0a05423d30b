"""Commands on a whole mission: run it, show its report again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, Seed, check_out, load_plan
from orbitloop.cli.pass_tables import NO_CONTACT, NO_CONTACT_REMEDY
from orbitloop.cli.terminal import INTERRUPTED, note, only_results_on_stdout, print_json, printable, show
from orbitloop.errors import ManifestError

if TYPE_CHECKING:
    from orbitloop.reports.mission import MissionReport
    from orbitloop.reports.write import ReportPaths

_LONG_LISTS = ("timeline", "passes", "ground_track", "battery", "gallery", "stations")
"""Parts of a report that `--json` leaves to `report.json`: it says where that lies."""


def run(
    mission: MissionFile,
    data: DataDir = DEFAULT_DATA,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run.  [default: runs/NAME-OF-THE-MISSION]")
    ] = None,
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished round in --out.")] = False,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a mission, from its captures to the models that fly, and write its report.

    A whole mission passes in minutes, on a virtual clock: real images, real training, real orbits. Ctrl-C leaves a usable
    partial report, and --resume goes on from there. The report (HTML, Markdown, JSON) and the model that flies at the end
    lie in --out.

    \b
    Examples:
      orbitloop run missions/farmland-demo.yaml
      orbitloop run missions/aircraft.yaml --data ../data --out runs/aircraft
      orbitloop run missions/farmland-demo.yaml \\
        --set IncrementalLearningJob.selection.name=random --set 'Model.trainable=[head]'

    \b
    Exit codes: 0 done; 10 mission; 11 labels; 12 image; 13, 14 model; 17 orbit;
    20 plug-in; 21 data; 22 training; 23 saved state; 130 interrupted.
    """
    plan = load_plan(mission, overrides, seed, data)
    folder = check_out(out or Path("runs") / plan.name)
    from orbitloop.cli.progress import watching
    from orbitloop.sim.fleet import contacts
    from orbitloop.sim.mission import run_mission

    if not contacts(plan).windows:
        raise ManifestError(NO_CONTACT, where=str(mission), remedy=NO_CONTACT_REMEDY)
    same = _settings(data, seed, overrides)
    again = shlex.join(["orbitloop", "run", str(mission), "--out", str(folder), *same])
    try:
        with only_results_on_stdout(), watching(quiet) as watcher:
            result = run_mission(plan, data, folder, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        note(f"interrupted before there was anything to report; begun trainings are kept, go on with:\n  {again}")
        raise typer.Exit(INTERRUPTED) from None
    if json_output:
        print_json(_result(result.report, result.paths, folder) | {"model_folder": str(result.model)})
    else:
        _tell(result.report, result.paths)
        if not quiet and not result.interrupted:
            show("\nTry next:", *(f"  {line}" for line in _next(mission, folder, same)))
    if result.interrupted:
        note(f"interrupted; go on with:\n  {again} --resume")
        raise typer.Exit(INTERRUPTED)


def _settings(data: Path, seed: int | None, overrides: list[str] | None) -> list[str]:
    """Return the options that make another command speak of the same mission as this run."""
    words = ["--data", str(data)] if data != DEFAULT_DATA else []
    words += ["--seed", str(seed)] if seed is not None else []
    return words + [word for one in overrides or () for word in ("--set", one)]


def _next(mission: Path, folder: Path, same: list[str]) -> list[str]:
    """Return what to try after a run; of the same mission, with the same settings."""
    bundles = sorted((folder / "updates").glob("*.bundle"))
    random = ["--set", "IncrementalLearningJob.selection.name=random"]
    commands = [
        ["evaluate", folder / "model", mission, *same],
        ["detect", "SCENE.png", "--model", folder / "model", "--geojson"],
        *(["update", "inspect", bundle] for bundle in bundles[-1:]),
        ["run", mission, "--out", f"{folder}-random", *same, *random],
    ]
    lines = [shlex.join(["orbitloop", *map(str, words)]) for words in commands]
    return [f"open {folder / 'report.html'} in a browser", *lines]


def _tell(report: MissionReport, paths: ReportPaths) -> None:
    from rich.text import Text

    from orbitloop.reports.story import story_table, summary

    notes = [f"note: {printable(note)}" for note in report.notes]
    show(story_table(report), Text(summary(report)), *notes, f"\nreport: {paths.html}", f"digest: {report.digest()}")


def _result(report: MissionReport, paths: ReportPaths, folder: Path) -> dict[str, Any]:
    plain = {name: value for name, value in report.to_json().items() if name not in _LONG_LISTS}
    files = {"json": str(paths.json), "html": str(paths.html), "markdown": str(paths.markdown)}
    return {**plain, "out": str(folder), "files": files}


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
    json_output: Json = False,
) -> None:
    """Write a run's report again from its report.json, and tell its story.

    Use it after an update of orbitloop, or when report.html was lost. report.json must be as the run left it.

    \b
    Example:
      orbitloop report runs/farmland-demo

    \b
    Exit codes: 0 done; 21 no report there; 23 the report was changed, or the folder
    cannot be written.
    """
    from orbitloop.reports.write import read_pictures, read_report, write_report

    found = read_report(folder)
    where = folder if folder.is_dir() else folder.parent
    paths = write_report(found, where, read_pictures(found, where))
    if json_output:
        print_json(_result(found, paths, where))
    else:
        _tell(found, paths)
