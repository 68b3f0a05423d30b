"""`orbitloop passes`: who sees whom, when; of a mission, or of files of element sets and stations."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, Overrides, Quiet, load_plan, parse_time
from orbitloop.cli.pass_tables import tell_accesses, tell_crosslinks, tell_passes, tell_windows
from orbitloop.cli.terminal import note, print_json
from orbitloop.clock import iso_utc_ms
from orbitloop.errors import DataError

if TYPE_CHECKING:
    from orbitloop.apps.passes import Scene
    from orbitloop.orbit.access import Access, Area, Sensor
    from orbitloop.orbit.fleet_passes import PassTable
    from orbitloop.orbit.frames import EarthOrientation
    from orbitloop.orbit.visibility import Crosslink

_TOLD = 5
"""Of many remarks of one kind, so many are told one by one."""
_TRACK_HOURS = 6.0
_LONG = 200_000
"""Satellites x stations x days that take over two seconds."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that ask for more than a mission's windows."""

    elements: Path | None
    stations: list[Path]
    start: str | None
    hours: float | None
    satellite: list[str]
    station: list[str]
    min_elevation: float | None
    area: Path | None
    swath_km: float | None
    half_angle: float | None
    doppler_mhz: float | None
    isl: bool
    isl_range_km: float
    dut1: float
    csv: bool

    def windows_only(self) -> bool:
        more = (self.elements, self.start, self.hours, self.min_elevation, self.area, self.doppler_mhz)
        return not (any(v is not None for v in more) or self.stations or self.satellite or self.station or self.isl or self.csv)


def passes(
    mission: Annotated[
        Path | None, typer.Argument(metavar="[MISSION.yaml]", help="A mission: its satellites, stations and time.")
    ] = None,
    elements: Annotated[
        Path | None,
        typer.Option(
            "--elements", metavar="FILE", help="Element sets instead: TLE, or OMM as JSON, XML, KVN, CSV; gzip or not."
        ),
    ] = None,
    stations: Annotated[
        list[Path] | None,
        typer.Option("--stations", metavar="FILE", help="Stations: GeoJSON points, or a mission's. Repeatable."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="TIME", help="ISO 8601, UTC.  [default: newest epoch, or the mission's start]"),
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", metavar="H", help="Length of the search.  [default: 24, or the mission's]")
    ] = None,
    satellite: Annotated[
        list[str] | None, typer.Option("--satellite", metavar="NAME|NORAD", help="Only this one; * and ? in names. Repeatable.")
    ] = None,
    station: Annotated[
        list[str] | None, typer.Option("--station", metavar="NAME", help="Only this one; * and ? in names. Repeatable.")
    ] = None,
    min_elevation: Annotated[
        float | None, typer.Option("--min-elevation", metavar="DEG", help="Mask of every station.  [default: its own, or 10]")
    ] = None,
    area: Annotated[
        Path | None, typer.Option("--area", metavar="FILE", help="Places and areas of interest, GeoJSON: who reaches them.")
    ] = None,
    swath_km: Annotated[
        float | None, typer.Option("--swath-km", metavar="KM", help="What a sensor sees across the track.")
    ] = None,
    half_angle: Annotated[
        float | None, typer.Option("--half-angle", metavar="DEG", help="Instead: how far from nadir a sensor sees or rolls.")
    ] = None,
    doppler: Annotated[
        float | None, typer.Option("--doppler", metavar="MHZ", min=0.001, help="A carrier, for its shift at AOS and LOS.")
    ] = None,
    isl: Annotated[bool, typer.Option("--isl", help="When the satellites see each other, too.")] = False,
    isl_range_km: Annotated[
        float, typer.Option("--isl-range-km", metavar="KM", min=1.0, help="Range of such a link.")
    ] = 5_000.0,
    dut1: Annotated[float, typer.Option("--dut1", metavar="S", help="UT1 - UTC of the day (IERS Bulletin A).")] = 0.0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Rows shown; 0 shows all.")] = 40,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the sky over a station, .png or .svg.")
    ] = None,
    plot_track: Annotated[
        Path | None, typer.Option("--plot-track", metavar="FILE", help="Draw the way over the ground, .png or .svg.")
    ] = None,
    csv_output: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout: passes, or accesses, or crosslinks.")] = False,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """List passes: of a mission with what each is worth in bytes, or of any satellites over any stations.

    A mission alone lists its contact windows. AOS and LOS are the times when the station acquires and loses the signal;
    bytes are the link's rate, by elevation where the mission says so, over the window less its guard times.

    With --elements, or any option that narrows or asks for more, all passes of all satellites over all stations are listed as
    geometry has them: culmination, azimuths, sunlight, Doppler. --area lists when sensors reach places, and how often; --isl
    when satellites see each other. Times are SGP4's to a millisecond; what SGP4 is off grows with the age of the sets, which
    is told. docs/passes.md has the formulas and limits.

    \b
    Examples:
      orbitloop passes missions/farmland-demo.yaml
      orbitloop passes missions/farmland-demo.yaml --set Satellite.orbit.altitudeKm=700
      orbitloop passes --elements weather.tle --stations ksat.geojson --hours 12 --csv > passes.csv
      orbitloop passes --elements stations.tle --satellite 'ISS*' --stations dsn.geojson \\
        --doppler 437.8 --plot sky.png --plot-track track.png
      orbitloop passes --elements resource.tle --satellite 'SENTINEL-2*' --area fields.geojson --swath-km 290 --hours 240

    \b
    Exit codes: 0 done; 2 command line; 10 mission; 17 element sets, orbit, or numba is
    missing; 21 stations, areas, or a picture that cannot be; 23 a file cannot be written;
    130 interrupted.
    """
    asked = _Asked(
        elements, stations or [], start, hours, satellite or [], station or [], min_elevation, area, swath_km, half_angle,
        doppler, isl, isl_range_km, dut1, csv_output,
    )  # fmt: skip
    _check(mission, asked, json_output)
    kinds = _kinds(plot, plot_track)
    if asked.windows_only() and mission is not None:
        plan = load_plan(mission, overrides)
        from orbitloop.sim.fleet import contacts

        tell_windows(plan.name, contacts(plan).windows, json_output)
        if any(kinds):
            scene = _scene(mission, overrides, asked)
            _draw(scene, _found(scene, asked, quiet), (plot, plot_track), kinds)
        return
    scene = _scene(mission, overrides, asked)
    for remark in scene.skipped[:_TOLD]:
        note(f"skipped: {remark}")
    if len(scene.skipped) > _TOLD:
        note(f"skipped: {len(scene.skipped) - _TOLD} more element sets")
    _tell_ages(scene)
    _search(scene, asked, (plot, plot_track), kinds, limit, json_output, quiet)


def _check(mission: Path | None, asked: _Asked, json_output: bool) -> None:
    if mission is None and asked.elements is None:
        raise typer.BadParameter("name a mission, or --elements")
    if mission is None and not (asked.stations or asked.area or asked.isl):
        raise typer.BadParameter("--elements wants --stations, --area or --isl")
    if json_output and asked.csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if (asked.area is not None) != (asked.swath_km is not None or asked.half_angle is not None):
        raise typer.BadParameter("--area goes with --swath-km or --half-angle")
    if asked.area is not None:
        _sensor(asked)
    if asked.hours is not None and not 0 < asked.hours <= 24 * 366:
        raise typer.BadParameter("--hours is above 0 and at most a year")
    if asked.min_elevation is not None and not -5 <= asked.min_elevation < 90:
        raise typer.BadParameter("--min-elevation is -5 to below 90")
    if not abs(asked.dut1) <= 1:
        raise typer.BadParameter("--dut1 is at most 1 s")


def _sensor(asked: _Asked) -> Sensor:
    from orbitloop.orbit.access import Sensor

    try:
        return Sensor(asked.half_angle, asked.swath_km)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _kinds(*pictures: Path | None) -> list[str]:
    from orbitloop.reports.plots.canvas import kind_of

    return [kind_of(path) if path is not None else "" for path in pictures]


def _scene(mission: Path | None, overrides: list[str] | None, asked: _Asked) -> Scene:
    """Bring together what the mission and the files say."""
    from dataclasses import replace

    from orbitloop.apps import passes as app
    from orbitloop.orbit.elements import start_after_s

    plan = load_plan(mission, overrides) if mission is not None else None
    elements, stations = app.of_mission(plan) if plan else ((), ())
    skipped: tuple[str, ...] = ()
    if asked.elements is not None:
        elements, skipped = app.read_sets(asked.elements)
    mask_deg = 10.0 if asked.min_elevation is None else asked.min_elevation
    if asked.stations:
        plans = [load_plan(path, None) for path in asked.stations if path.suffix in (".yaml", ".yml")]
        files = [path for path in asked.stations if path.suffix not in (".yaml", ".yml")]
        stations = (*(one for plan in plans for one in app.of_mission(plan)[1]), *app.read_stations(files, mask_deg))
    if asked.min_elevation is not None:
        stations = tuple(replace(one, min_elevation_deg=mask_deg) for one in stations)
    elements = app.choose_satellites(elements, asked.satellite)
    stations = app.choose_stations(stations, asked.station)
    start_s = None if asked.start is None else parse_time(asked.start, "--start")
    if start_s is None:
        start_s = plan.start_s if plan else start_after_s(elements)
    length_s = asked.hours * 3600.0 if asked.hours is not None else plan.end_s - plan.start_s if plan else 86_400.0
    return app.Scene(tuple(elements), tuple(stations), start_s, start_s + length_s, skipped)


def _tell_ages(scene: Scene) -> None:
    warnings = scene.age_warnings()
    for line in warnings[:_TOLD]:
        note(f"elements: {line}")
    if len(warnings) > _TOLD:
        note(f"elements: {len(warnings) - _TOLD} more satellites likewise")


def _earth(asked: _Asked) -> EarthOrientation:
    from orbitloop.orbit.frames import EarthOrientation

    return EarthOrientation(asked.dut1)


def _found(scene: Scene, asked: _Asked, quiet: bool) -> PassTable:
    from orbitloop.apps.passes import find

    work = len(scene.elements) * len(scene.stations) * (scene.end_s - scene.start_s) / 86_400.0
    with _watched(quiet or work < _LONG) as tell:
        return find(scene, earth=_earth(asked), workers=min(4, os.cpu_count() or 1), tell=tell)


@contextlib.contextmanager
def _watched(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what tells how far it is; the bars are loaded only where they are shown, for they know the whole simulator."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from orbitloop.cli.progress import watching

    with watching(quiet) as watcher:
        yield watcher.stage


def _search(
    scene: Scene,
    asked: _Asked,
    pictures: tuple[Path | None, Path | None],
    kinds: list[str],
    limit: int,
    json_output: bool,
    quiet: bool,
) -> None:
    from orbitloop.apps import passes as app

    found = _found(scene, asked, quiet)
    for n, when_s in found.lost[:_TOLD]:
        note(f"{scene.elements[n].name}: cannot be propagated beyond {iso_utc_ms(when_s)}; its passes end there")
    areas: list[Area] = []
    reached: list[Access] = []
    if asked.area is not None:
        areas = app.read_areas(asked.area)
        with _watched(quiet or len(scene.elements) * (scene.end_s - scene.start_s) < 100 * 86_400.0) as tell:
            reached = app.find_accesses(scene, _sensor(asked), areas, tell)
    links = app.find_crosslinks(scene, asked.isl_range_km, 20.0) if asked.isl else []
    _draw(scene, found, pictures, kinds)
    carrier_hz = asked.doppler_mhz * 1e6 if asked.doppler_mhz is not None else None
    if json_output and len(found) > app.MAX_JSON_ROWS:
        remedy = "take --csv, or fewer satellites, stations or hours"
        raise DataError(f"{len(found)} passes are too many for one JSON object", remedy=remedy)
    if json_output:
        print_json(_result(scene, asked, found, areas, reached, links, carrier_hz))
    elif asked.csv:
        rows: Iterator[dict[str, Any]] = iter(())
        if scene.stations:
            rows = app.pass_rows(scene, found, carrier_hz, _earth(asked))
        elif areas:
            rows = app.access_rows(reached)
        elif asked.isl:
            rows = app.crosslink_rows(scene, links)
        sys.stdout.writelines(app.csv_lines(rows))
    else:
        if scene.stations:
            tell_passes(scene, found, carrier_hz, _earth(asked), limit)
        if areas:
            tell_accesses(scene, areas, reached, limit)
        if asked.isl:
            tell_crosslinks(scene, links, limit)


def _draw(scene: Scene, found: PassTable, pictures: tuple[Path | None, Path | None], kinds: list[str]) -> None:
    from orbitloop.apps.files import write_whole
    from orbitloop.apps.pass_pictures import sky_picture, track_picture

    sky, track = pictures
    if sky is not None:
        write_whole(sky, sky_picture(scene, found, kinds[0]))
    if track is not None:
        write_whole(track, track_picture(scene, found, kinds[1], _TRACK_HOURS))


def _result(
    scene: Scene,
    asked: _Asked,
    found: PassTable,
    areas: list[Area],
    reached: list[Access],
    links: list[Crosslink],
    carrier_hz: float | None,
) -> dict[str, Any]:
    from orbitloop.apps import passes as app

    ages = scene.ages_d()
    out: dict[str, Any] = {
        "start": iso_utc_ms(scene.start_s),
        "end": iso_utc_ms(scene.end_s),
        "satellites": [
            {"name": e.name, "norad_id": e.norad_id, "epoch": iso_utc_ms(e.epoch_s), "age_d": round(age, 3)}
            for e, age in zip(scene.elements, ages, strict=True)
        ],
        "stations": [one.name for one in scene.stations],
        "warnings": scene.age_warnings(),
        "skipped": list(scene.skipped),
        "lost": [{"satellite": scene.elements[n].name, "from": iso_utc_ms(when_s)} for n, when_s in found.lost],
        "passes": list(app.pass_rows(scene, found, carrier_hz, _earth(asked))),
    }
    if areas:
        out["accesses"] = list(app.access_rows(reached))
        out["revisit"] = {name: app.revisit_row(one) for name, one in app.revisits(scene, areas, reached).items()}
    if asked.isl:
        out["crosslinks"] = list(app.crosslink_rows(scene, links))
    return out
