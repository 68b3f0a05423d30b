"""Where a satellite goes: its way over the land, in sunlight and in the Earth's shadow, and the stations that see it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

from orbitloop.reports.plots.canvas import INK, MUTED, RULE, SERIES, figure, render, style
from orbitloop.reports.units import plain_text, utc

MAX_NAMES = 30
LAND, SEA, SHADE = "#e9ebe4", "#f7f9fb", "#39424e"


@dataclass(frozen=True, slots=True)
class GroundTrack:
    """One satellite's way: points are (UTC seconds, latitude_deg, longitude_deg, sunlit), by time."""

    name: str
    points: tuple[tuple[float, float, float, bool], ...]
    contacts: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A station, degrees, and the outline of where it sees the satellite from, (latitude_deg, longitude_deg)."""

    name: str
    latitude_deg: float
    longitude_deg: float
    outline: tuple[tuple[float, float], ...] = ()


@lru_cache(maxsize=1)
def _land() -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the continents as rings of (longitude, latitude)."""
    land = json.loads(files("orbitloop.reports").joinpath("static/land.json").read_text("utf-8"))
    step = float(land["step_deg"])
    rings = []
    for flat in land["rings"]:
        x, y, ring = 0, 0, []
        for n in range(0, len(flat), 2):
            x, y = x + flat[n], y + flat[n + 1]
            ring.append((x * step, y * step))
        rings.append(tuple(ring))
    return tuple(rings)


def draw_track(title: str, tracks: Sequence[GroundTrack], places: Sequence[Place], kind: str) -> bytes:
    """Return the picture's bytes; contacts are drawn bold, the Earth's shadow dark and dotted.

    Raises:
        DataError: matplotlib is not installed.
    """
    drawn = figure(11.0, 6.2)
    with style():
        axes = drawn.subplots()
        axes.set_facecolor(SEA)
        for ring in _land():
            axes.fill([p[0] for p in ring], [p[1] for p in ring], color=LAND, linewidth=0, zorder=1)
        for number, track in enumerate(tracks):
            _draw(axes, track, SERIES[number % len(SERIES)])
        taken: list[tuple[float, float]] = []
        for place in places:
            for piece in _pieces([(0.0, lat, lon, True) for lat, lon in place.outline]):
                axes.plot([p[2] for p in piece], [p[1] for p in piece], color=MUTED, linewidth=0.7, alpha=0.6, zorder=2)
            axes.plot([place.longitude_deg], [place.latitude_deg], "^", color=INK, markersize=5.5, zorder=6)
            if len(places) <= MAX_NAMES:
                _name(axes, place, taken)
        axes.set(xlim=(-180, 180), ylim=(-90, 90), xticks=range(-180, 181, 60), yticks=range(-90, 91, 30))
        axes.set_xticklabels([f"{abs(x)}°{'W' if x < 0 else 'E' if x else ''}" for x in range(-180, 181, 60)])
        axes.set_yticklabels([f"{abs(y)}°{'S' if y < 0 else 'N' if y else ''}" for y in range(-90, 91, 30)])
        axes.set_aspect("equal")
        axes.grid(color=RULE, linewidth=0.6, zorder=1.5)
        axes.set_title(plain_text(title, 120))
        axes.plot([], [], color=SHADE, linewidth=1.2, linestyle=":", label="in the Earth's shadow")
        axes.plot([], [], color=INK, linewidth=3.2, alpha=0.75, label="seen by a station")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=6, fontsize=8.5, labelcolor=MUTED)
        return render(drawn, kind)


def _draw(axes: object, track: GroundTrack, colour: str) -> None:
    points = [p for p in track.points if all(map(math.isfinite, p[:3]))]
    if not points:
        return
    label: str | None = plain_text(track.name, 40)
    for piece in _pieces(points):
        for lit, part in _by_light(piece):
            x, y = [p[2] for p in part], [p[1] for p in part]
            look = {"color": colour, "linewidth": 1.5} if lit else {"color": SHADE, "linewidth": 1.2, "linestyle": ":"}
            axes.plot(x, y, zorder=4, label=label if lit else None, **look)  # type: ignore[attr-defined]
            label = None if lit else label
    for aos_s, los_s in track.contacts:
        for piece in _pieces([p for p in points if aos_s <= p[0] <= los_s]):
            x, y = [p[2] for p in piece], [p[1] for p in piece]
            axes.plot(x, y, color=colour, linewidth=3.8, alpha=0.55, solid_capstyle="butt", zorder=3)  # type: ignore[attr-defined]
    first, last = points[0], points[-1]
    axes.plot([first[2]], [first[1]], "o", color=colour, markersize=6, markerfacecolor=SEA, zorder=5)  # type: ignore[attr-defined]
    axes.plot([last[2]], [last[1]], "o", color=colour, markersize=6, zorder=5)  # type: ignore[attr-defined]
    for spot, when_s in ((first, first[0]), (last, last[0])):
        axes.annotate(  # type: ignore[attr-defined]
            utc(when_s, "%H:%M"),
            (spot[2], spot[1]),
            xytext=(5, -11),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            zorder=7,
        )


def _name(axes: object, place: Place, taken: list[tuple[float, float]]) -> None:
    """Write a station's name beside it, further down where another name stands already."""
    words = plain_text(place.name, 28)
    left = place.longitude_deg > 180 - 2 * len(words)
    height = place.latitude_deg + 1.0
    while any(abs(height - y) < 4.4 and abs(place.longitude_deg - x) < 22 for x, y in taken) and height > -86:
        height -= 4.4
    taken.append((place.longitude_deg, height))
    spot = (place.longitude_deg + (-2.2 if left else 2.2), height)
    side = "right" if left else "left"
    axes.annotate(words, spot, ha=side, va="center", fontsize=7.5, color=INK, zorder=7)  # type: ignore[attr-defined]


def _pieces(points: Sequence[tuple[float, float, float, bool]]) -> list[list[tuple[float, float, float, bool]]]:
    """Cut at 180 degrees, adding the point on the border to both sides."""
    pieces: list[list[tuple[float, float, float, bool]]] = [[points[0]]] if points else []
    for before, after in pairwise(points):
        jump = after[2] - before[2]
        if abs(jump) > 180:
            edge = 180.0 if jump < 0 else -180.0
            reach = 360 - abs(jump)
            share = abs(edge - before[2]) / reach if reach > 1e-9 else 0.5
            lat = before[1] + share * (after[1] - before[1])
            pieces[-1].append((before[0], lat, edge, before[3]))
            pieces.append([(after[0], lat, -edge, after[3])])
        pieces[-1].append(after)
    return pieces


def _by_light(
    piece: Sequence[tuple[float, float, float, bool]],
) -> list[tuple[bool, list[tuple[float, float, float, bool]]]]:
    """Cut where the light changes; neighbours share the point, so that no gap shows."""
    parts: list[tuple[bool, list[tuple[float, float, float, bool]]]] = []
    for point in piece:
        if not parts or parts[-1][0] != point[3]:
            start = [parts[-1][1][-1]] if parts else []
            parts.append((point[3], [*start, point]))
        else:
            parts[-1][1].append(point)
    return parts
