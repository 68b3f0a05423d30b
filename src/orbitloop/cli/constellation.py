"""Commands on constellations: patterns made, satellites told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, load_plan, parse_time
from orbitloop.cli.terminal import add_row, note, print_json, show, table
from orbitloop.errors import DataError

if TYPE_CHECKING:
    from orbitloop.apps.constellation import Member

app = typer.Typer(no_args_is_help=True, help="Many satellites: patterns, tables of who flies with what.")
FORMS = {".tle": "tle", ".txt": "tle", ".json": "json", ".omm": "xml", ".xml": "xml", ".kvn": "kvn", ".csv": "csv"}
STALE_DAYS = 14.0
"""Elements older than this place a satellite in low orbit worse than a pass needs."""


@app.command()
def walker(
    notation: Annotated[str, typer.Argument(metavar="I:T/P/F", help="Inclination in degrees : satellites / planes / phasing.")],
    altitude_km: Annotated[float, typer.Option("--altitude", metavar="KM", min=160, max=36_000, help="Height, km.")],
    star: Annotated[bool, typer.Option("--star", help="Planes over 180 degrees of nodes, not over 360.")] = False,
    epoch: Annotated[str, typer.Option("--epoch", metavar="UTC", help="When it stands so.")] = "2026-06-01T00:00:00Z",
    raan_deg: Annotated[float, typer.Option("--raan", metavar="DEG", help="Node of the first plane.")] = 0.0,
    anomaly_deg: Annotated[float, typer.Option("--anomaly", metavar="DEG", help="Place of the first satellite.")] = 0.0,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the names begin with.")] = "walker",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it: .tle, .json, .xml, .kvn, .csv (OMM), or .yaml.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it, .png or .svg.")] = None,
    json_output: Json = False,
) -> None:
    """Make a Walker pattern: T satellites in P planes, spread evenly (Walker 1984).

    --out with .yaml writes a Constellation for a mission file; the other endings write element sets, with catalogue numbers
    from 90001 on that are nobody's.

    \b
    Examples:
      orbitloop constellation walker 53:72/6/1 --altitude 550
      orbitloop constellation walker 86.4:66/6/2 --star --altitude 780 --out iridium.tle
      orbitloop constellation walker 56:24/3/1 --altitude 23222 --out galileo.yaml

    \b
    Exit codes: 0 done; 17 no such pattern or orbit; 21 no such form or
    picture; 23 a file cannot be written.
    """
    from orbitloop.apps.constellation import draw, elements_members, sets_text, walker_elements, walker_manifest
    from orbitloop.apps.files import write_whole
    from orbitloop.orbit.walker import parse_walker

    pattern = parse_walker(notation, star=star)
    epoch_s = parse_time(epoch, "--epoch")
    made = walker_elements(pattern, altitude_km, epoch_s, prefix=name, raan_deg=raan_deg, anomaly_deg=anomaly_deg)
    if out is not None:
        if out.suffix in (".yaml", ".yml"):
            text = walker_manifest(pattern, altitude_km, name, raan_deg, anomaly_deg)
        elif out.suffix in FORMS:
            text = sets_text(made, FORMS[out.suffix], epoch_s)
        else:
            known = ", ".join([".yaml", *FORMS])
            raise DataError(f"no form ends in {out.suffix or 'nothing'!r}", where=str(out), remedy=f"one of {known}")
        write_whole(out, text.encode())
    found = elements_members(made, epoch_s)
    if plot is not None:
        draw(f"Walker {pattern}", found, plot)
    files = [str(path) for path in (out, plot) if path is not None]
    if json_output:
        kind = "star" if star else "delta"
        print_json({"pattern": str(pattern), "kind": kind, "files": files, "satellites": [one.to_json() for one in found]})
        return
    listed = table("satellite", ">node", ">place", title=f"Walker {pattern} at {altitude_km:g} km")
    for one in found[:60]:
        add_row(listed, one.name, f"{one.raan_deg:.2f}°", f"{one.phase_deg:.2f}°")
    more = [f"... and {len(found) - 60} more"] if len(found) > 60 else []
    period = f"one revolution takes {found[0].elements.period_s / 60:.2f} min"
    show(listed, *more, period, *(f"written: {path}" for path in files))


@app.command("show")
def show_constellation(
    mission: MissionFile,
    data: DataDir = DEFAULT_DATA,
    overrides: Overrides = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw nodes and places, .png or .svg.")] = None,
    json_output: Json = False,
) -> None:
    """Show who flies in a mission: orbit, local time, mass, battery, bands, rates, links, processors.

    Constellations of the file are shown as the satellites that they stand for. LTAN is the local mean time of the ascending
    node at the mission's start, age how old the elements are then.

    \b
    Examples:
      orbitloop constellation show missions/tiansuan.yaml
      orbitloop constellation show missions/tiansuan.yaml --plot tiansuan.png

    \b
    Exit codes: 0 done; 10 mission; 17 orbit; 21 picture; 23 a file cannot be
    written.
    """
    plan = load_plan(mission, overrides, data=data)
    from orbitloop.apps.constellation import draw, members

    found = members(plan)
    if plot is not None:
        draw(plan.name, found, plot)
    if json_output:
        files = [str(plot)] if plot else []
        print_json({"mission": plan.name, "satellites": [one.to_json() for one in found], "files": files})
        return
    orbits = table("satellite", ">km", ">incl.", ">min", ">LTAN", ">node", ">age d", title=f"{plan.name}: orbits")
    means = table(
        "satellite", ">kg", ">Wh", "bands", ">up", ">down", "links", "processors", title="means", wrap=("processors",)
    )
    for one in found:
        hours = round(one.ltan_h * 60) % 1440
        where = (f"{one.altitude_km:.1f}", f"{one.elements.inclination_deg:.2f}°", f"{one.elements.period_s / 60:.2f}")
        add_row(orbits, one.name, *where, f"{hours // 60:02d}:{hours % 60:02d}", f"{one.raan_deg:.1f}°", f"{one.age_days:.1f}")
        add_row(means, one.name, *_means(one))
    show(orbits, means, *([f"picture: {plot}"] if plot else []))
    stale = [one.name for one in found if one.age_days > STALE_DAYS]
    if stale:
        note(f"warning: elements older than {STALE_DAYS:.0f} days at the start: {', '.join(stale[:8])}")


def _means(one: Member) -> tuple[str, ...]:
    from orbitloop.reports.units import human_rate

    assert one.satellite is not None
    spec = one.satellite.spec
    processors = ", ".join(f"{p.count} x {p.kind}" if p.count > 1 else p.kind for p in spec.processors) or "-"
    links = f"{spec.crosslinks.terminals} x {human_rate(spec.crosslinks.rate_bps)}" if spec.crosslinks else "-"
    return (
        f"{spec.mass_kg:g}" if spec.mass_kg else "-",
        f"{spec.power.battery_wh:g}",
        "/".join(band.band for band in spec.bands) or "-",
        human_rate(spec.best_uplink_bps),
        human_rate(spec.best_downlink_bps),
        links,
        processors,
    )
