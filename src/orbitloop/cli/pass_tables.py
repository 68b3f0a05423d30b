"""What `orbitloop passes` shows on a terminal: passes, accesses, crosslinks, a mission's windows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from orbitloop.cli.terminal import add_row, print_json, show, table
from orbitloop.clock import iso_utc, iso_utc_ms

if TYPE_CHECKING:
    from orbitloop.apps.passes import Scene
    from orbitloop.orbit.access import Access, Area
    from orbitloop.orbit.fleet_passes import PassTable
    from orbitloop.orbit.frames import EarthOrientation
    from orbitloop.orbit.visibility import Crosslink
    from orbitloop.records.contact import ContactWindow

NO_CONTACT = "no station sees a satellite in the mission's time"
NO_CONTACT_REMEDY = "change the orbit, the stations, minElevationDeg or durationDays; orbitloop passes shows what comes of it"

_DUSK_DEG = -6.0
"""With the sun so low at the station, a satellite in sunlight can be seen."""


def tell_passes(scene: Scene, found: PassTable, carrier_hz: float | None, earth: EarthOrientation, limit: int) -> None:
    """Show passes, at most `limit` (0: all), with Doppler where a carrier is given, and how old the elements are."""
    from orbitloop.apps import passes as app
    from orbitloop.reports.units import duration

    shown = found.take(range(min(limit or len(found), len(found))))
    columns = ["satellite", "station", "AOS (UTC)", "TCA", "LOS", ">min", ">max el", ">az", ">km", "light"]
    columns += [">Hz AOS", ">LOS", ">Hz/s"] if carrier_hz else []
    who = f"{_count(len(scene.elements), 'satellite')} over {_count(len(scene.stations), 'station')}"
    title = f"{who}, {iso_utc_ms(scene.start_s)[:16].replace('T', ' ')} to {iso_utc_ms(scene.end_s)[:16].replace('T', ' ')} UTC"
    rows = table(*columns, title=title, wrap=("satellite", "station"))
    for row in app.pass_rows(scene, shown, carrier_hz, earth):
        times = [_day_time(row["aos"]), row["tca"][11:19], row["los"][11:19]]
        way = f"{row['aos_azimuth_deg']:.0f} > {row['los_azimuth_deg']:.0f}"
        figures = [f"{row['duration_s'] / 60:.1f}", f"{row['max_elevation_deg']:.1f}°", way, f"{row['range_km']:.0f}"]
        light = "shadow" if not row["sunlit"] else "visible" if row["station_sun_deg"] < _DUSK_DEG else "sun"
        shifts = [f"{row[k]:+.0f}" for k in ("aos_doppler_hz", "los_doppler_hz", "tca_doppler_hz_s")] if carrier_hz else []
        add_row(rows, row["satellite"], row["station"], *times, *figures, light, *shifts)
    sums = f"{_count(len(found), 'pass', 'passes')}, {duration(float(found.duration_s.sum()))} in all"
    more = f"; {len(shown)} shown, --limit 0 shows all" if len(shown) < len(found) else ""
    ages = [abs(age) for age in scene.ages_d()]
    old = f"{min(ages):.1f}" if len(ages) == 1 else f"{min(ages):.1f} to {max(ages):.1f}"
    show(
        rows if len(shown) else title, f"{sums}{more}", f"elements are {old} days from their epochs at the far end of that time"
    )


def tell_accesses(scene: Scene, areas: list[Area], reached: list[Access], limit: int) -> None:
    """Show accesses, and how often each area is reached."""
    from orbitloop.apps import passes as app
    from orbitloop.reports.units import duration

    rows = table(
        "satellite", "area", "from (UTC)", "to", "closest", ">km", ">sun", title="accesses", wrap=("satellite", "area")
    )
    for row in app.access_rows(reached[: limit or None]):
        times = [_day_time(row["start"]), row["end"][11:19], row["closest"][11:19]]
        add_row(rows, row["satellite"], row["area"], *times, f"{row['distance_km']:.0f}", f"{row['sun_elevation_deg']:.0f}°")
    sums = table("area", ">accesses", ">min", ">mean gap", ">longest gap", ">mean wait", title="how often", wrap=("area",))
    for name, one in app.revisits(scene, areas, reached).items():
        gaps = [duration(v) for v in (one.mean_gap_s, one.max_gap_s, one.mean_response_s)]
        add_row(sums, name, one.count, f"{one.covered_s / 60:.1f}", *gaps)
    more = f"{len(reached)} accesses; {limit} shown, --limit 0 shows all" if limit and len(reached) > limit else ""
    show(*([rows] if reached else []), *([more] if more else []), sums)


def tell_crosslinks(scene: Scene, links: list[Crosslink], limit: int) -> None:
    """Show when satellites see each other."""
    from orbitloop.apps import passes as app
    from orbitloop.reports.units import duration

    rows = table("satellite", "other", "from (UTC)", "to", ">min", title="crosslinks", wrap=("satellite", "other"))
    for row in app.crosslink_rows(scene, links[: limit or None]):
        times = [_day_time(row["start"]), _day_time(row["end"]), f"{row['duration_s'] / 60:.1f}"]
        add_row(rows, row["satellite"], row["other"], *times)
    more = f"; {limit} shown, --limit 0 shows all" if limit and len(links) > limit else ""
    show(
        *([rows] if links else []),
        f"{_count(len(links), 'crosslink')}, {duration(sum(one.duration_s for one in links))} in all{more}",
    )


def _day_time(text: str) -> str:
    return text[5:19].replace("T", " ")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def tell_windows(name: str, windows: tuple[ContactWindow, ...], json_output: bool) -> None:
    """Show a mission's contact windows and their sums by day."""
    days = _by_day(windows)
    if json_output:
        print_json({"mission": name, "windows": [w.to_json() for w in windows], "days": days})
        return
    from orbitloop.reports.units import human_bytes, utc

    listed = table("satellite", "station", "AOS (UTC)", "LOS", ">min", ">max el", ">down", ">up", title=f"{name}: passes")
    for w in windows:
        times = (utc(w.aos_s, "%m-%d %H:%M:%S"), utc(w.los_s, "%H:%M:%S"), f"{w.duration_s / 60:.1f}")
        sizes = (human_bytes(w.downlink_bytes), human_bytes(w.uplink_bytes))
        add_row(listed, w.satellite, w.station, *times, f"{w.max_elevation_deg:.0f}°", *sizes)
    totals = table("day", ">passes", ">min", ">down", ">up", title="totals")
    for day in days:
        sizes = (human_bytes(day["downlink_bytes"]), human_bytes(day["uplink_bytes"]))
        add_row(totals, day["day"], day["passes"], f"{day['seconds'] / 60:.1f}", *sizes)
    show(*([listed, totals] if windows else [f"{name}: {NO_CONTACT}", f"  -> {NO_CONTACT_REMEDY}"]))


def _by_day(windows: tuple[ContactWindow, ...]) -> list[dict[str, Any]]:
    """Add up windows by the UTC day of their AOS."""

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
