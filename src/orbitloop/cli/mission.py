"""Commands on a whole mission: run it, list its passes, show its report again."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, Seed, check_out, load_plan
from orbitloop.cli.terminal import INTERRUPTED, add_row, note, only_results_on_stdout, print_json, printable, show, table
from orbitloop.errors import ManifestError

if TYPE_CHECKING:
    from orbitloop.records.contact import ContactWindow
    from orbitloop.reports.mission import MissionReport
    from orbitloop.reports.write import ReportPaths

_LONG_LISTS = ("timeline", "passes", "ground_track", "battery", "gallery", "stations")
"""Parts of a report that `--json` leaves to `report.json`: it says where that lies."""

_NO_CONTACT = "no station sees a satellite in the mission's time"
_NO_CONTACT_REMEDY = "change the orbit, the stations, minElevationDeg or durationDays; orbitloop passes shows what comes of it"


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
        raise ManifestError(_NO_CONTACT, where=str(mission), remedy=_NO_CONTACT_REMEDY)
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


def passes(
    mission: MissionFile,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """List the contact windows of a mission, and what each is worth in bytes.

    AOS and LOS are the times when the station acquires and loses the signal. Bytes are the link's rate, by elevation where
    the mission says so, over the window less its guard times.

    \b
    Examples:
      orbitloop passes missions/farmland-demo.yaml
      orbitloop passes missions/farmland-demo.yaml --set Satellite.orbit.altitudeKm=700

    \b
    Exit codes: 0 done; 10 mission; 17 orbit.
    """
    plan = load_plan(mission, overrides)
    from orbitloop.sim.fleet import contacts

    windows = contacts(plan).windows
    days = _by_day(windows)
    if json_output:
        print_json({"mission": plan.name, "windows": [w.to_json() for w in windows], "days": days})
        return
    from orbitloop.reports.units import human_bytes, utc

    listed = table("satellite", "station", "AOS (UTC)", "LOS", ">min", ">max el", ">down", ">up", title=f"{plan.name}: passes")
    for w in windows:
        times = (utc(w.aos_s, "%m-%d %H:%M:%S"), utc(w.los_s, "%H:%M:%S"), f"{w.duration_s / 60:.1f}")
        sizes = (human_bytes(w.downlink_bytes), human_bytes(w.uplink_bytes))
        add_row(listed, w.satellite, w.station, *times, f"{w.max_elevation_deg:.0f}°", *sizes)
    totals = table("day", ">passes", ">min", ">down", ">up", title="totals")
    for day in days:
        sizes = (human_bytes(day["downlink_bytes"]), human_bytes(day["uplink_bytes"]))
        add_row(totals, day["day"], day["passes"], f"{day['seconds'] / 60:.1f}", *sizes)
    show(*([listed, totals] if windows else [f"{plan.name}: {_NO_CONTACT}", f"  -> {_NO_CONTACT_REMEDY}"]))


def _by_day(windows: tuple[ContactWindow, ...]) -> list[dict[str, Any]]:
    """Add up windows by the UTC day of their AOS."""
    from orbitloop.clock import iso_utc

    groups: dict[str, list[ContactWindow]] = defaultdict(list)
    for window in windows:
        groups[iso_utc(window.aos_s)[:10]].append(window)
    return [
        {
            "day": day,
            "passes": len(group),
            "seconds": round(sum(w.duration_s for w in group), 3),
            "downlink_bytes": sum(w.downlink_bytes for w in group),
            "uplink_bytes": sum(w.uplink_bytes for w in group),
        }
        for day, group in sorted(groups.items())
    ]
