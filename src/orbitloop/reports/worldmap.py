"""Ground tracks and stations on an equirectangular map of the world, as SVG: no tile server, no network.

The continents are Natural Earth's (see `static/NOTICE`), shipped with the package. A track is cut where it leaves the map at
180 degrees; during a contact it is drawn bold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

from orbitloop.reports.svg import line, num, path, picture, tag, text, tip
from orbitloop.reports.units import plain_text, utc

WIDTH_PX, HEIGHT_PX = 1040.0, 520.0


@dataclass(frozen=True, slots=True)
class Track:
    """One satellite's way: points are (UTC seconds, latitude, longitude), degrees; `contacts` are (AOS, LOS)."""

    name: str
    points: tuple[tuple[float, float, float], ...]
    css: str
    contacts: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """A place with a name, degrees."""

    name: str
    lat_deg: float
    lon_deg: float


@lru_cache(maxsize=1)
def land_path() -> str:
    """Return the continents as path data, in the shipped file's own steps (about 28 kB)."""
    land = json.loads(files("orbitloop.reports").joinpath("static/land.json").read_text("utf-8"))
    rings = []
    for ring in land["rings"]:
        moves = " ".join(f"{ring[i]} {ring[i + 1]}" for i in range(2, len(ring), 2)).replace(" -", "-")
        rings.append(f"M{ring[0]} {ring[1]}l{moves}z")
    return "".join(rings)


def _xy(lat_deg: float, lon_deg: float) -> tuple[float, float]:
    lon = (lon_deg + 180) % 360
    return lon / 360 * WIDTH_PX, (90 - min(max(lat_deg, -90.0), 90.0)) / 180 * HEIGHT_PX


def world_map(tracks: Sequence[Track], sites: Sequence[Site], *, label: str) -> str:
    """Draw the map. Tracks are named in the page's legend (by `css`), stations on the map itself."""
    step = WIDTH_PX / 3600
    land = tag(
        "path",
        d=land_path(),
        class_="land",
        transform=f"translate({num(WIDTH_PX / 2)} {num(HEIGHT_PX / 2)}) scale({step:.5f} -{step:.5f})",
    )
    body = [tag("rect", x=0, y=0, width=WIDTH_PX, height=HEIGHT_PX, class_="sea"), land, _graticule()]
    body += [_track(track) for track in tracks]
    body.append(_sites([s for s in sites if math.isfinite(s.lat_deg) and math.isfinite(s.lon_deg)]))
    return picture(WIDTH_PX, HEIGHT_PX, "".join(body), label=label, css="chart map")


def _graticule() -> str:
    parts = []
    for lon in range(-120, 180, 60):
        x, _ = _xy(0, lon)
        parts.append(line(x, 0, x, HEIGHT_PX, "graticule"))
        parts.append(text(x + 4, HEIGHT_PX - 6, f"{abs(lon)}°{'W' if lon < 0 else 'E' if lon else ''}", "tick"))
    for lat in range(-60, 90, 30):
        _, y = _xy(lat, 0)
        parts.append(line(0, y, WIDTH_PX, y, "graticule"))
        parts.append(text(4, y - 4, f"{abs(lat)}°{'S' if lat < 0 else 'N' if lat else ''}", "tick"))
    return "".join(parts)


def _pieces(points: Sequence[tuple[float, float, float]]) -> list[list[tuple[float, float]]]:
    """Cut at the map's border, adding the point on the border itself on both sides."""
    pieces: list[list[tuple[float, float]]] = []
    for before, after in pairwise([None, *points]):
        assert after is not None
        here = _xy(after[1], after[2])
        if before is None:
            pieces.append([here])
            continue
        last = _xy(before[1], before[2])
        jump = here[0] - last[0]
        if abs(jump) > WIDTH_PX / 2:
            edge, other = (0.0, WIDTH_PX) if jump > 0 else (WIDTH_PX, 0.0)
            reach = WIDTH_PX - abs(jump)
            share = abs(edge - last[0]) / reach if reach > 1e-9 else 0.5
            y = last[1] + share * (here[1] - last[1])
            pieces[-1].append((edge, y))
            pieces.append([(other, y)])
        pieces[-1].append(here)
    return pieces


def _track(track: Track) -> str:
    points = [p for p in track.points if all(map(math.isfinite, p))]
    if not points:
        return ""
    name = plain_text(track.name)
    whole = "".join(path(piece) for piece in _pieces(points))
    body = tip(f"{name}, {utc(points[0][0])} to {utc(points[-1][0])}") + tag("path", d=whole, class_=f"track {track.css}")
    for aos_s, los_s in track.contacts:
        inside = [p for p in points if aos_s <= p[0] <= los_s]
        if len(inside) > 1:
            body += tag("path", d="".join(path(piece) for piece in _pieces(inside)), class_=f"track contact {track.css}")
    x, y = _xy(points[-1][1], points[-1][2])
    body += tag("circle", tip(f"{name} at {utc(points[-1][0])}"), cx=x, cy=y, r=5, class_=f"craft {track.css}")
    return tag("g", body)


def _sites(sites: Sequence[Site]) -> str:
    places = [_xy(s.lat_deg, s.lon_deg) for s in sites]
    parts = []
    taken: list[tuple[float, float]] = []
    for site, (x, y) in zip(sites, places, strict=True):
        words = plain_text(site.name, 28)
        left = x > WIDTH_PX - 9 - 7 * len(words)
        at = y + 4
        while any(abs(at - other) < 14 and abs(x - far) < 120 for far, other in taken) and at < HEIGHT_PX - 8:
            at += 14
        taken.append((x, at))
        place = f"{words}: {_degrees(site.lat_deg, 'N', 'S')}, {_degrees(site.lon_deg, 'E', 'W')}"
        mark = tag("path", d=f"M{num(x)} {num(y - 6)}l5.5 9.5h-11z", class_="site")
        parts.append(
            tag("g", tip(place) + mark + text(x - 9 if left else x + 9, at, words, "sitename", "end" if left else None))
        )
    return "".join(parts)


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.2f}° {negative if value < 0 else positive}"
