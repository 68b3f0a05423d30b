"""The command that forecasts batteries and temperatures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, load_plan
from orbitloop.cli.terminal import add_row, note, only_results_on_stdout, print_json, show, table

if TYPE_CHECKING:
    from orbitloop.apps.energy import EnergyForecast


def energy(
    mission: MissionFile,
    satellites: Annotated[
        list[str] | None, typer.Option("--satellite", metavar="NAME", help="Only this one. Repeatable.  [default: all]")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", metavar="N", min=0.05, max=60, help="Length.  [default: the mission's, at most 7]")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it, .png or .svg.")] = None,
    data: DataDir = DEFAULT_DATA,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forecast batteries and temperatures: by revolution from the mission's start, and over the year.

    Panels by area and direction, shadow with penumbra, losses, loads, contacts; temperatures of three lumps. It assumes that
    the payload computes for its `power.computeDuty` and that the transmitter sends in every contact from end to end, and warns
    where the charge falls under minSoc or deeper than maxDepth, with what to change. docs/energy.md says what it is worth.

    \b
    Examples:
      orbitloop energy missions/tiansuan.yaml
      orbitloop energy missions/tiansuan.yaml --satellite tiansuan-1 --days 1 --plot energy.png
      orbitloop energy missions/tiansuan.yaml --set Satellite/tiansuan-2.power.computeDuty=1

    \b
    Exit codes: 0 done, with or without warnings; 10 mission; 17 orbit;
    21 the picture cannot be drawn; 23 or written.
    """
    plan = load_plan(mission, overrides, data=data)
    from orbitloop.apps.energy import draw, energy_forecasts
    from orbitloop.cli.progress import watching

    length = days if days is not None else min(plan.mission.spec.duration_days, 7.0)
    with only_results_on_stdout(), watching(quiet) as watcher:
        found = energy_forecasts(plan, satellites or (), length, lambda done, of: watcher.stage("forecast", done, of))
        if plot is not None:
            draw(found, plot)
    if json_output:
        files = [str(plot)] if plot else []
        print_json({"mission": plan.name, "days": length, "satellites": [one.to_json() for one in found], "files": files})
        return
    _tell(plan.name, length, found)
    if plot is not None:
        show(f"picture: {plot}")


def _tell(name: str, days: float, found: list[EnergyForecast]) -> None:
    from orbitloop.reports.units import utc

    columns = ("satellite", ">beta", ">sunlit", ">Wh in", ">Wh out", ">balance", ">worst", ">charge", "lowest (UTC)", ">year")
    books = table(*columns, "worst day", title=f"{name}: {days:g} days, Wh by revolution")
    heat = table("satellite", ">panels", ">bus", ">payload", title="temperatures, degrees C")
    for one in found:
        battery, year = one.battery, one.season
        turns = battery.revolutions
        count = len(turns)
        brought = sum(t.ledger.harvested_wh + t.ledger.spilled_wh for t in turns) / count
        drawn = sum(t.ledger.drawn_wh + t.ledger.unmet_wh for t in turns) / count
        lit = sum(t.sunlit_s for t in turns) / sum(t.end_s - t.start_s for t in turns)
        lowest = battery.times_s[int(battery.soc.argmin())]
        add_row(
            books,
            one.satellite,
            f"{sum(t.beta_deg for t in turns) / count:.1f}°",
            f"{lit:.1%}",
            f"{brought:.1f}",
            f"{drawn:.1f}",
            f"{sum(t.balance_wh for t in turns) / count:+.1f}",
            f"{battery.poorest.balance_wh:+.1f}",
            f"{battery.soc.min():.0%}",
            utc(float(lowest), "%m-%d %H:%M"),
            f"{year.balance_wh[year.worst]:+.1f}",
            utc(float(year.times_s[year.worst]), "%Y-%m-%d"),
        )
        extremes = one.temperatures.extremes(float(battery.times_s[0]), float(battery.times_s[-1]))
        add_row(heat, one.satellite, *(f"{low:.0f} to {high:.0f}" for low, high in extremes))
    show(books, heat)
    for one in found:
        said = ""
        for short in one.shortfalls:
            note(f"warning: {one.satellite}, {utc(short.at_s, '%m-%d %H:%M')}: {short.what}")
            if short.remedy != said:
                note(f"  -> {short.remedy}")
            said = short.remedy
        for _, what, seconds in one.limits:
            note(f"warning: {one.satellite}: {what}, {seconds / 3600:.1f} h in all\n  -> change surfaces, heaterW or loads")
