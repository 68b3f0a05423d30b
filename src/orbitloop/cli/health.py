"""Commands on a satellite's health: telemetry, labelled sets, silence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from orbitloop.cli.options import Json, Quiet
from orbitloop.cli.terminal import add_row, note, print_json, printable, show, table

if TYPE_CHECKING:
    from orbitloop.apps.health import HealthReport

DEFAULT = "check"


class _FileFirst(TyperGroup):
    """Takes `health FILE` for `health check FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FileFirst, no_args_is_help=True, rich_markup_mode=None, help="Health: telemetry, labelled sets, silent satellites."
)

Picture = Annotated[Path | None, typer.Option("--plot", metavar="FILE.png|.svg", help="Draw it.")]
Method = Annotated[str, typer.Option("--method", metavar="NAME", help="Monitor (see orbitloop plugins monitor).")]


@app.callback()
def health() -> None:
    """Judge a satellite's health: its telemetry, and whether it is still heard.

    `orbitloop health FILE` is short for `orbitloop health check FILE`.
    """


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz|.csv", help="Telemetry: one row a sample, one column a channel.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="LIMITS.yaml", help="A TelemetryLimits: limits and detector.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            "--train", metavar="FILE", help="Nominal telemetry.  [default: the file's own nominal part, or its begin]"
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", metavar="NAME", help="Monitor (see orbitloop plugins monitor).  [default: that of --config]"),
    ] = "",
    satellite: Annotated[str, typer.Option("--satellite", metavar="NAME", help="Whose telemetry it is.")] = "",
    proposals: Annotated[
        Path | None,
        typer.Option("--proposals", metavar="DIR", help="Write a safe-mode proposal there, if there is one to make."),
    ] = None,
    plot: Picture = None,
    json_output: Json = False,
) -> None:
    """Look for limits crossed, anomalies and drift in telemetry, and say which channels moved.

    Without --config there are no limits, and the ground's default detector looks. What is nominal comes from --train, or
    from the file's begin (30 %). A proposal is a file for people: nothing acts on it. Exit code 0 says that the telemetry
    was judged, not that it is well: read `severity`.

    \b
    Examples:
      orbitloop health check power.csv
      orbitloop health check power.csv --config limits.yaml --proposals proposals/ --plot power.png
      orbitloop health check A-1.npz --method streaming --json

    \b
    Exit codes: 0 judged; 10 limits; 20 no such monitor; 21 picture; 23 a file cannot be
    written; 28 telemetry.
    """
    from orbitloop.apps.files import write_whole
    from orbitloop.apps.health import examine, load_limits, proposal_of, write_proposal
    from orbitloop.apps.health_files import read_telemetry
    from orbitloop.reports.plots.canvas import kind_of

    kind = kind_of(plot) if plot else ""
    limits = load_limits(config)
    report = examine(read_telemetry(file), limits, train=read_telemetry(train) if train else None, method=method)
    written: Path | None = None
    if proposals is not None and (proposal := proposal_of(report, satellite or file.stem)) is not None:
        written = write_proposal(proposals, proposal)
    if plot is not None:
        from orbitloop.apps.health_pictures import picture_of

        write_whole(plot, picture_of(report, limits, satellite or file.stem, kind))
    if json_output:
        print_json(report.to_json() | {"file": str(file), "proposal": str(written) if written else None})
        return
    _tell(report)
    if written:
        show(f"\nproposal: {written} (nothing acts on it; orbitloop validate reads it)")
    if plot:
        show(f"picture: {plot}")


def _tell(report: HealthReport) -> None:
    severity = report.proposal.severity if report.proposal else "nothing found"
    sizes = (
        f"{len(report.telemetry.channels)} channels, {len(report.telemetry)} samples, {len(report.nominal)} nominal ones before"
    )
    show(f"{sizes}, by {report.method}: {severity}")
    if report.limit_events:
        listed = table("channel", "at", "level", "why", ">value", title="limits")
        for event in report.limit_events[:40]:
            at = report._at(event.at_s)
            add_row(listed, event.channel, at, event.level.name.lower(), event.reason, f"{event.value:.6g}")
        show(listed)
        more = len(report.limit_events) - 40
        if more > 0:
            show(f"  and {more} more; --json has all")
    if report.incidents:
        listed = table("begins", "ends", ">score", "what", title="anomalies", wrap=("what",))
        for one in report.incidents:
            add_row(listed, report.when(one.first), report.when(one.last), f"{one.peak / report.rule.factor:.2f}", one.words)
        show(listed)
    for drift in report.drifts:
        show(
            f"drift: {printable(drift.channel)} since {report.when(drift.first)}, {drift.deviations:+.3g} deviations at the end"
        )
    if report.proposal:
        show("proposed: " + ", ".join(action for action, _ in report.proposal.actions) + " (for an operator to decide)")


@app.command()
def evaluate(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder with labels.csv and channels/, or OPS-SAT's devices.")
    ],
    method: Method = "ensemble",
    part: Annotated[str, typer.Option("--part", metavar="dev|test|all", help="Which channels (every third is dev).")] = "all",
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a monitor on labelled telemetry, event by event, with no point adjustment.

    On channels with labelled anomalies (SMAP/MSL): ESA-ADB's corrected precision, recall and F0.5, and Telemanom's scheme. On
    OPS-SAT's devices: balanced accuracy of a classifier that learns in flight, predicting each sample before it sees its label.

    \b
    Examples:
      orbitloop health evaluate data/telemetry_smap_msl --method streaming --part dev
      orbitloop health evaluate data/telemetry_opssat_fdir --json

    \b
    Exit codes: 0 done; 20 no such monitor; 21 no such set; 28 telemetry; 130 interrupted.
    """
    from orbitloop.apps.health_sets import evaluate_channels, evaluate_devices, is_devices
    from orbitloop.cli.progress import watching

    if part not in ("dev", "test", "all"):
        raise typer.BadParameter("--part is dev, test or all")
    if is_devices(dataset):
        rows = evaluate_devices(dataset)
        if json_output:
            print_json({"dataset": str(dataset), "devices": rows})
            return
        listed = table("device", ">samples", ">balanced accuracy", ">last label", ">first 500", title="learning in flight")
        for row in rows:
            figures = (f"{row[name]:.3f}" for name in ("balanced_accuracy", "persistence", "first_500"))
            add_row(listed, row["device"], row["samples"], *figures)
        show(listed)
        return
    with watching(quiet) as watcher:
        found = evaluate_channels(dataset, method, part, lambda done, total, name: watcher.stage("channels", done, total, name))
    if json_output:
        print_json({"dataset": str(dataset), "method": method, "part": part} | found.to_json())
        return
    c, t = found.corrected, found.telemanom
    listed = table("scheme", ">precision", ">recall", ">F0.5", ">found", ">missed", ">false", title=f"{method}, {part}")
    add_row(listed, "ESA-ADB, corrected", *_three(c.corrected_precision, c.recall, c.f_half), c.found, c.missed, c.false_events)
    add_row(listed, "Telemanom's", *_three(t.precision, t.recall, t.f_half_uncorrected), t.found, t.missed, t.false_events)
    show(listed)


def _three(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in values)


@app.command()
def beacons(
    source: Annotated[
        Path,
        typer.Argument(metavar="MISSION.yaml|RUN_DIR|report.json|HISTORY.csv", help="A plan, a run, or a table of passes."),
    ],
    proposals: Annotated[
        Path | None, typer.Option("--proposals", metavar="DIR", help="Write a proposal for each satellite that is not alive.")
    ] = None,
    suspected: Annotated[
        float, typer.Option("--suspected-per-year", min=1e-6, help="Wished false suspicions a satellite-year.")
    ] = 0.5,
    failed: Annotated[
        float, typer.Option("--failed-per-year", min=1e-6, help="Wished false failures a satellite-year.")
    ] = 0.02,
    plot: Picture = None,
    json_output: Json = False,
) -> None:
    """Say which satellites are suspected or given up, by missed passes; or, of a plan, how many they may miss.

    A history is a run (its report.json) or a CSV with satellite, station, time, elevation, heard. Silence counts in passes,
    each with its own chance of being heard; a station that fails accuses no satellite. A mission file has no history yet:
    it is told after how many missed passes each satellite would be suspected and given up.

    \b
    Examples:
      orbitloop health beacons missions/tiansuan.yaml
      orbitloop health beacons runs/tiansuan --plot silence.png
      orbitloop health beacons passes.csv --failed-per-year 0.005 --json

    \b
    Exit codes: 0 done; 10 mission; 17 orbit; 21 no report; 23 damaged report; 28 history.
    """
    from orbitloop.algorithms.health.beacons import BeaconSettings

    if failed > suspected:
        raise typer.BadParameter("--failed-per-year must not be over --suspected-per-year")
    settings = BeaconSettings(suspected_per_year=suspected, failed_per_year=failed)
    if source.suffix.lower() in (".yaml", ".yml"):
        if plot or proposals:
            note("a mission has no history: nothing is drawn, nothing is proposed")
        _planned(source, settings, json_output)
    else:
        _history(source, settings, proposals, plot, json_output)


def _planned(mission: Path, settings: Any, json_output: bool) -> None:
    from orbitloop.apps.health_beacons import planned_silence
    from orbitloop.cli.options import load_plan
    from orbitloop.sim.fleet import contacts

    plan = load_plan(mission, None)
    rows = planned_silence(contacts(plan), settings)
    if json_output:
        print_json({"mission": plan.name, "satellites": [row.to_json() for row in rows]})
        return
    listed = table(
        "satellite", ">passes a day", ">suspected after", ">given up after", ">hours", title=f"{plan.name}: missed passes"
    )
    for row in rows:
        limits = (row.suspected_after or "never", row.failed_after or "never", f"{row.hours_to_failed:.1f}")
        add_row(listed, row.satellite, f"{row.passes_per_day:.1f}", *limits)
    show(listed)


def _history(source: Path, settings: Any, proposals: Path | None, plot: Path | None, json_output: bool) -> None:
    from orbitloop.apps.files import write_whole
    from orbitloop.apps.health import resource_of, write_proposal
    from orbitloop.apps.health_beacons import judge_history, outcomes_of_report, read_history
    from orbitloop.reports.plots.canvas import kind_of

    kind = kind_of(plot) if plot else ""
    outcomes = read_history(source) if source.suffix.lower() == ".csv" else outcomes_of_report(source)
    found = judge_history(outcomes, settings)
    written = []
    if proposals is not None:
        for one in found.satellites:
            if (proposal := found.proposal(one.satellite)) is not None:
                written.append(str(write_proposal(proposals, resource_of(proposal, one.satellite, None))))
    if plot is not None:
        from orbitloop.apps.health_pictures import picture_of_silence

        write_whole(plot, picture_of_silence(found, source.stem, kind))
    if json_output:
        thresholds = {
            "suspected_phi": found.suspected_phi,
            "failed_phi": found.failed_phi,
            "passes_per_year": found.passes_per_year,
        }
        rows = [row.to_json() for row in found.satellites]
        print_json(thresholds | {"satellites": rows, "stations_up": dict(found.stations), "proposals": written})
        return
    title = f"suspected from phi {found.suspected_phi:.2f}, given up from {found.failed_phi:.2f}"
    listed = table("satellite", ">passes", ">heard", ">missed now", ">phi", "verdict", title=title)
    for row in found.satellites:
        add_row(listed, row.satellite, row.passes, row.heard, row.missed_now, f"{row.phi:.2f}", row.verdict.value)
    show(listed, *(f"proposal: {path}" for path in written))
