"""Pictures of passes: the sky over a station, the way over the ground. The drawing is `reports.plots`' work."""

from __future__ import annotations

import math

import numpy as np

from orbitloop.apps.passes import Scene
from orbitloop.clock import iso_utc
from orbitloop.errors import DataError
from orbitloop.orbit.doppler import looks
from orbitloop.orbit.fleet_passes import PassTable
from orbitloop.orbit.frames import EARTH_RADIUS_KM, subpoint
from orbitloop.orbit.passes import Station
from orbitloop.orbit.propagate import states
from orbitloop.orbit.sun import shadow_depth_rad
from orbitloop.reports.plots.sky import MAX_ARCS, SkyArc, draw_sky
from orbitloop.reports.plots.track import GroundTrack, Place, draw_track

MAX_TRACKS = 6
_SKY_STEP_S, _TRACK_STEP_S = 5.0, 20.0


def sky_picture(scene: Scene, table: PassTable, kind: str) -> bytes:
    """Draw the passes of the first satellite and the first station that a pass joins, the next dozen of them.

    Raises:
        DataError: there is no pass, or matplotlib is not installed.
    """
    if not len(table):
        raise DataError("there is no pass to draw", remedy="give more --hours, or other stations")
    who, where = int(table.satellite_index[0]), int(table.station_index[0])
    mine = np.flatnonzero((table.satellite_index == who) & (table.station_index == where))[:MAX_ARCS]
    elements, station = scene.elements[who], scene.stations[where]
    arcs = []
    for n in mine:
        times_s = np.linspace(
            table.aos_s[n], table.los_s[n], max(2, math.ceil((table.los_s[n] - table.aos_s[n]) / _SKY_STEP_S))
        )
        seen = looks(elements, station, times_s)
        columns = (seen.times_s, seen.azimuth_deg, seen.elevation_deg, seen.sunlit)
        label = f"{iso_utc(float(table.aos_s[n]))[5:16].replace('T', ' ')} UTC, {table.max_elevation_deg[n]:.0f}°"
        arcs.append(SkyArc(label, tuple(zip(*(c.tolist() for c in columns), strict=True))))
    title = f"{elements.name} over {station.name}"
    return draw_sky(title, arcs, kind, horizon=station.horizon, mask_deg=max(station.min_elevation_deg, 0.0))


def track_picture(scene: Scene, table: PassTable, kind: str, hours: float) -> bytes:
    """Draw where the first satellites go in the first `hours`, and which of it the stations see.

    Raises:
        DataError: matplotlib is not installed.
        ElementsError: a satellite cannot be propagated over that time.
    """
    end_s = min(scene.end_s, scene.start_s + hours * 3600.0)
    times_s = np.linspace(scene.start_s, end_s, max(2, math.ceil((end_s - scene.start_s) / _TRACK_STEP_S)))
    tracks, radius_km = [], []
    for n, one in enumerate(scene.elements[:MAX_TRACKS]):
        r_km, _ = states(one, times_s)
        lat, lon, _ = subpoint(r_km, times_s)
        radius_km.append(float(np.median(np.linalg.norm(r_km, axis=1))))
        lit = shadow_depth_rad(r_km, times_s) <= 0
        mine = table.take((table.satellite_index == n) & (table.aos_s < end_s))
        contacts = tuple(zip(mine.aos_s.tolist(), mine.los_s.tolist(), strict=True))
        columns = (times_s, lat, lon, lit)
        tracks.append(GroundTrack(one.name, tuple(zip(*(c.tolist() for c in columns), strict=True)), contacts))
    few = len(scene.stations) <= 12 and len(tracks) == 1
    places = [Place(s.name, s.latitude_deg, s.longitude_deg, _outline(s, radius_km[0]) if few else ()) for s in scene.stations]
    more = f" and {len(scene.elements) - 1} more" if len(scene.elements) > 1 else ""
    title = f"{scene.elements[0].name}{more}, {iso_utc(scene.start_s)[:16].replace('T', ' ')} UTC and {hours:g} h on"
    return draw_track(title, tracks, places, kind)


def _outline(station: Station, distance_km: float) -> tuple[tuple[float, float], ...]:
    """Return the places over which the station sees a satellite at that distance from the centre, on a sphere."""
    mask = math.radians(max(station.min_elevation_deg, 0.0))
    reach = math.acos(min(1.0, EARTH_RADIUS_KM / distance_km * math.cos(mask))) - mask
    lat, lon = math.radians(station.latitude_deg), math.radians(station.longitude_deg)
    out = []
    for n in range(73):
        way = math.radians(5 * n)
        sine = math.sin(lat) * math.cos(reach) + math.cos(lat) * math.sin(reach) * math.cos(way)
        across = math.sin(way) * math.sin(reach) * math.cos(lat)
        east = math.atan2(across, math.cos(reach) - math.sin(lat) * sine)
        out.append((math.degrees(math.asin(max(-1.0, min(1.0, sine)))), (math.degrees(lon + east) + 180) % 360 - 180))
    return tuple(out)
