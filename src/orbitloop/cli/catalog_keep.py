"""Commands on positions, observed and predicted, and the options that they share with the others of `catalog`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import Json, parse_time
from orbitloop.cli.terminal import add_row, note, print_json, show, table

if TYPE_CHECKING:
    from orbitloop.apps.positions import Kept
    from orbitloop.orbit.elements import Elements

DEFAULT_CATALOG = Path("catalog.db")

Catalog = Annotated[
    Path, typer.Option("--catalog", metavar="DB", envvar="ORBITLOOP_CATALOG", help="The catalogue: one SQLite file.")
]
Files = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Files of element sets, instead of the catalogue.")
]


def keep(
    name: Annotated[str, typer.Argument(metavar="OBJECT", help="Catalogue number or name.")],
    positions: Annotated[Path, typer.Option("--positions", metavar="FILE", help="Observed positions: CSV, or an OEM.")],
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    frame: Annotated[
        str, typer.Option("--frame", metavar="NAME", help="Frame of a CSV: ECEF, TEME, EME2000 or GCRF.")
    ] = "ECEF",
    dut1: Annotated[float, typer.Option("--dut1", metavar="S", min=-1, max=1, help="UT1 - UTC, for ECEF.")] = 0.0,
    sigmas: Annotated[
        float, typer.Option("--sigmas", metavar="K", min=0.1, help="Sigmas of the model that are allowed.")
    ] = 3.0,
    bounds: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--bounds", metavar="R T N", help="Allowed residuals, km, instead of the model."),
    ] = None,
    fit: Annotated[bool, typer.Option("--fit/--no-fit", help="Fit corrected elements.")] = True,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the corrected set: .tle, .3le, .json, .xml, .kvn, .csv."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the residuals, .png or .svg.")] = None,
    json_output: Json = False,
) -> None:
    """Hold observed positions (GNSS) against an object's newest set, flag it when out of bounds, and fit a corrected one.

    A CSV begins with a line that names its columns: time (ISO, UTC) or time_s, and x_km,y_km,z_km, x_m,y_m,z_m or
    latitude_deg,longitude_deg,altitude_m. Bounds are the model of element sets' uncertainty for the object's class and the
    set's age, unless --bounds gives others. More than a tenth of the positions beyond them is the flag.

    \b
    Examples:
      orbitloop catalog keep 25544 --positions gnss.csv --plot residuals.png
      orbitloop catalog keep BUPT-1 fleet.tle --positions pass.oem --save corrected.tle

    \b
    Exit codes: 0 within bounds; 1 flagged; 17 no such object, or unreadable or unusable positions;
    21 the picture cannot be made; 23 no catalogue, or a file cannot be written.
    """
    from orbitloop.apps.catalogue import write_sets
    from orbitloop.apps.positions import keep as run_keep
    from orbitloop.apps.positions import write_residual_plot

    kept = run_keep(
        catalogue, files or [], name, positions, frame=frame, dut1_s=dut1, sigmas=sigmas, bounds_rtn_km=bounds, fit=fit
    )
    for text in kept.skipped[:5]:
        note(f"left out: {text}")
    if save is not None and kept.correction is not None:
        write_sets(save, [kept.correction.elements], time.time())
    if plot is not None:
        write_residual_plot(kept, plot)
    result = _kept_json(kept, len(kept.skipped))
    if json_output:
        print_json(result)
    else:
        _tell_kept(kept, result, save, plot)
    if kept.judgement.flagged:
        raise typer.Exit(1)


def _kept_json(kept: Kept, skipped: int) -> dict[str, Any]:
    judgement, correction = kept.judgement, kept.correction
    worst = abs(judgement.rtn_km).max(axis=0)
    out: dict[str, Any] = {
        **brief(kept.elements),
        "positions": int(judgement.times_s.size),
        "skipped": skipped,
        "age_d": round(judgement.age_d, 4),
        "rms_rtn_km": [round(float(v), 6) for v in judgement.rms_km()],
        "worst_rtn_km": [round(float(v), 6) for v in worst],
        "bound_rtn_km": [round(float(v), 6) for v in judgement.bound_km[-1]],
        "bound": judgement.bound,
        "beyond": int(judgement.beyond.sum()),
        "flagged": judgement.flagged,
        "correction": None,
        "why_not_corrected": kept.why_not,
    }
    if correction is not None:
        from orbitloop.orbit.formats.omm import omm_values

        out["correction"] = {
            "omm": omm_values(correction.elements),
            "rms_before_km": round(correction.rms_before_km, 6),
            "rms_km": round(correction.rms_km, 6),
            "used": int(correction.used.sum()),
            "sigma_rtn_km": [round(v, 6) for v in correction.sigma_rtn_km],
            "drag_fitted": correction.drag_fitted,
            "covariance": correction.covariance.tolist(),
        }
    return out


def _tell_kept(kept: Kept, result: dict[str, Any], save: Path | None, plot: Path | None) -> None:
    title = (
        f"{kept.elements.name} ({kept.elements.norad_id}): {result['positions']} positions, set {result['age_d']:.2f} days old"
    )
    rows = table("", ">radial km", ">transverse km", ">normal km", title=title)
    lines = (("rms", "rms_rtn_km"), ("worst", "worst_rtn_km"), ("allowed at the end", "bound_rtn_km"))
    for word, key in lines:
        add_row(rows, word, *(f"{v:.3f}" for v in result[key]))
    verdict = "FLAGGED" if result["flagged"] else "within bounds"
    said = [f"{verdict}: {result['beyond']} of {result['positions']} beyond; bound: {result['bound']}"]
    correction = kept.correction
    if correction is None:
        said.append(f"no correction: {kept.why_not}")
    else:
        from orbitloop.orbit.formats.tle import MAX_NUMBER, write_tle

        drag = "BSTAR fitted" if correction.drag_fitted else "BSTAR kept"
        left = f"{1000 * correction.rms_before_km:.0f} m -> {1000 * correction.rms_km:.1f} m rms"
        said.append(f"corrected: {left}, {int(correction.used.sum())} positions used, {drag}")
        if 0 <= correction.elements.norad_id <= MAX_NUMBER:
            said += list(write_tle(correction.elements))
    said += [f"written: {path}" for path in (save if correction else None, plot) if path is not None]
    show(rows, *said)


def ephemeris(
    name: Annotated[str, typer.Argument(metavar="OBJECT", help="Catalogue number or name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .oem (KVN), .xml, or .opm for one state.")],
    files: Files = None,
    catalogue: Catalog = DEFAULT_CATALOG,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="First time, UTC.  [default: the set's epoch]")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", metavar="H", min=0, max=10_000, help="How long.")] = 24.0,
    step: Annotated[float, typer.Option("--step", metavar="S", min=0.1, help="Seconds from state to state.")] = 60.0,
    frame: Annotated[str, typer.Option("--frame", metavar="NAME", help="TEME, EME2000 or GCRF.")] = "TEME",
    json_output: Json = False,
) -> None:
    """Write where SGP4 takes an object, as a CCSDS ephemeris (OEM), or its state at one time (OPM).

    \b
    Examples:
      orbitloop catalog ephemeris 25544 iss.oem --hours 48 --frame EME2000
      orbitloop catalog ephemeris STARLINK-1008 state.opm fleet.tle --start 2026-05-31T00:00:00Z

    \b
    Exit codes: 0 done; 17 no such object, or it cannot be propagated so far; 23 no catalogue, or OUT cannot be written.
    """
    from orbitloop.apps.positions import newest_of, write_ephemeris
    from orbitloop.clock import iso_utc

    when_s = None if start is None else parse_time(start, "--start")
    elements = newest_of(catalogue, files or [], name)
    first_s = elements.epoch_s if when_s is None else when_s
    count = write_ephemeris(elements, out, first_s, hours * 3600.0, step, frame, time.time())
    if json_output:
        print_json({**brief(elements), "file": str(out), "states": count, "start_s": first_s, "frame": frame.upper()})
    else:
        show(f"{out}: {elements.name}, {count} states from {iso_utc(first_s)}, {frame.upper()}")


def brief(one: Elements) -> dict[str, Any]:
    """Return what names a set in `--json`."""
    return {"norad_id": one.norad_id, "name": one.name, "designator": one.designator, "epoch_s": one.epoch_s}
