"""Where things lie in a rendered scene: parcels, roads, water. Geometry only, no colour.

Parcels come from cutting a turned square, larger than the scene, again and again across its longer side, as land is divided
by inheritance and survey; the first cuts become roads. Coordinates are pixels of the scene, x right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from orbitloop.sim.imagery_parameters import FarmlandParameters

Point = tuple[float, float]


class Kind(IntEnum):
    """What a piece of ground is. Only `FIELD` is an object to detect."""

    VERGE = 0
    FIELD = 1
    PASTURE = 2
    SCRUB = 3
    FOREST = 4
    TOWN = 5
    ROAD = 6
    WATER = 7


@dataclass(frozen=True, slots=True)
class Parcel:
    """One convex piece of land. `angle_rad` is the direction across its rows; `pivot` is (x, y, radius) of a round field."""

    corners: tuple[Point, ...]
    kind: Kind
    angle_rad: float
    pivot: tuple[float, float, float] | None = None

    @property
    def area_px(self) -> float:
        """Area of what a label would cover, also outside the scene."""
        return math.pi * self.pivot[2] ** 2 if self.pivot else polygon_area(self.corners)


@dataclass(frozen=True, slots=True)
class Strip:
    """A road or a river: a line with a width, pixels."""

    points: tuple[Point, ...]
    width_px: float


@dataclass(frozen=True, slots=True)
class Layout:
    """All of a scene's geometry, to be drawn in this order."""

    parcels: tuple[Parcel, ...]
    water: tuple[Strip, ...]
    roads: tuple[Strip, ...]


def lay_out(parameters: FarmlandParameters, size_px: int, rng: np.random.Generator) -> Layout:
    """Draw the geometry of one scene."""
    half = 0.75 * size_px
    turn = math.radians(float(rng.uniform(-1, 1)) * (4 + 36 * parameters.field_irregularity))
    square = _turned(((-half, -half), (half, -half), (half, half), (-half, half)), turn, size_px / 2)
    leaves: list[tuple[Point, ...]] = []
    cuts: list[tuple[int, Point, Point]] = []
    _divide(square, 0, turn, parameters, rng, leaves, cuts)
    water = _water(parameters, size_px, rng)
    parcels = [_parcel(corners, parameters, rng) for corners in leaves]
    inside = tuple(_unless_flooded(p, water) for p in parcels if _touches(p.corners, size_px))
    roads = tuple(
        Strip((a, b), float(rng.uniform(3.0, 5.5)) - 0.5 * depth)
        for depth, a, b in cuts
        if depth < 4 and rng.random() < parameters.roads * (1.3 - 0.25 * depth)
    )
    return Layout(inside, water, roads)


def polygon_area(corners: tuple[Point, ...]) -> float:
    """Return a simple polygon's area (shoelace formula)."""
    shifted = (*corners[1:], corners[0])
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, shifted, strict=True))) / 2


def _turned(corners: tuple[Point, ...], angle_rad: float, centre_px: float) -> tuple[Point, ...]:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return tuple((centre_px + x * c - y * s, centre_px + x * s + y * c) for x, y in corners)


def _extents(corners: tuple[Point, ...], angle_rad: float) -> tuple[float, float, float, float]:
    """Return the lowest and highest coordinate along the turned x axis, then along the turned y axis."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    along = [x * c + y * s for x, y in corners]
    across = [y * c - x * s for x, y in corners]
    return min(along), max(along), min(across), max(across)


def _divide(
    corners: tuple[Point, ...],
    depth: int,
    turn: float,
    parameters: FarmlandParameters,
    rng: np.random.Generator,
    leaves: list[tuple[Point, ...]],
    cuts: list[tuple[int, Point, Point]],
) -> None:
    """Cut across the longer side until a piece is about a field's size."""
    u0, u1, v0, v1 = _extents(corners, turn)
    uneven = parameters.field_irregularity
    limit = parameters.field_size_px * (1.25 + float(rng.uniform(-0.45, 0.45)) * uneven)
    if max(u1 - u0, v1 - v0) <= limit or depth > 16:
        leaves.append(corners)
        return
    share = 0.5 + float(rng.uniform(-0.16, 0.16)) * min(1.0, 0.3 + uneven)
    crooked = math.radians(float(rng.normal(0, 9))) * uneven
    normal = turn + crooked + (0.0 if u1 - u0 >= v1 - v0 else math.pi / 2)
    c, s = math.cos(turn), math.sin(turn)
    u = u0 + share * (u1 - u0) if u1 - u0 >= v1 - v0 else (u0 + u1) / 2
    v = (v0 + v1) / 2 if u1 - u0 >= v1 - v0 else v0 + share * (v1 - v0)
    left, right, line = _cut(corners, (u * c - v * s, u * s + v * c), normal)
    if len(line) == 2:
        cuts.append((depth, line[0], line[1]))
    for part in (left, right):
        if len(part) >= 3:
            _divide(part, depth + 1, turn, parameters, rng, leaves, cuts)


def _cut(
    corners: tuple[Point, ...], through: Point, normal_rad: float
) -> tuple[tuple[Point, ...], tuple[Point, ...], list[Point]]:
    """Cut a convex polygon by the line through a point; return both parts and the cut's ends."""
    nx, ny = math.cos(normal_rad), math.sin(normal_rad)
    sides = [(x - through[0]) * nx + (y - through[1]) * ny for x, y in corners]
    left: list[Point] = []
    right: list[Point] = []
    line: list[Point] = []
    for i, (here, side) in enumerate(zip(corners, sides, strict=True)):
        after, after_side = corners[(i + 1) % len(corners)], sides[(i + 1) % len(corners)]
        (left if side < 0 else right).append(here)
        if (side < 0) != (after_side < 0):
            t = side / (side - after_side)
            cross = (here[0] + t * (after[0] - here[0]), here[1] + t * (after[1] - here[1]))
            left.append(cross)
            right.append(cross)
            line.append(cross)
    return tuple(left), tuple(right), line


def _parcel(corners: tuple[Point, ...], parameters: FarmlandParameters, rng: np.random.Generator) -> Parcel:
    """Give a piece of land its kind, pull it back from its borders, and choose the direction of its rows."""
    kind = _kind(parameters, rng)
    n = len(corners)
    cx, cy = sum(x for x, _ in corners) / n, sum(y for _, y in corners) / n
    radius = math.sqrt(polygon_area(corners)) / 2
    margin = float(rng.uniform(1.5, 3.5)) if kind is Kind.FIELD else float(rng.uniform(0.0, 1.5))
    shrink = max(0.5, 1 - margin / max(radius, 1.0))
    pulled = tuple((cx + (x - cx) * shrink, cy + (y - cy) * shrink) for x, y in corners)
    edges = list(zip(pulled, (*pulled[1:], pulled[0]), strict=True))
    (ax, ay), (bx, by) = max(edges, key=lambda e: math.dist(*e))
    angle = math.atan2(by - ay, bx - ax) + math.pi / 2
    pivot = None
    if kind is Kind.FIELD and rng.random() < parameters.pivot_share:
        inner = min(_distance(cx, cy, a, b) for a, b in edges)
        pivot = (cx, cy, max(4.0, 0.97 * inner))
    return Parcel(pulled, kind, angle, pivot)


def _distance(x: float, y: float, a: Point, b: Point) -> float:
    """Return the distance of a point from the line through two others."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    return abs((x - a[0]) * dy - (y - a[1]) * dx) / max(math.hypot(dx, dy), 1e-9)


def _kind(parameters: FarmlandParameters, rng: np.random.Generator) -> Kind:
    if rng.random() < parameters.field_share:
        return Kind.FIELD
    weights = {
        Kind.PASTURE: 0.9,
        Kind.SCRUB: 0.25 + 0.6 * parameters.dryness,
        Kind.FOREST: 0.05 + 0.8 * parameters.trees,
        Kind.TOWN: 0.6 * parameters.towns,
    }
    kinds = list(weights)
    chances = np.array(list(weights.values()))
    return kinds[int(rng.choice(len(kinds), p=chances / chances.sum()))]


def _unless_flooded(parcel: Parcel, water: tuple[Strip, ...]) -> Parcel:
    """Make land that a river crosses pasture: nobody sows both banks as one field, and no box could say where it is."""
    if parcel.kind is Kind.FIELD and any(contains(parcel.corners, *p) for strip in water for p in strip.points):
        return replace(parcel, kind=Kind.PASTURE, pivot=None)
    return parcel


def contains(corners: tuple[Point, ...], x: float, y: float) -> bool:
    """Say whether a point lies inside a convex polygon."""
    edges = zip(corners, (*corners[1:], corners[0]), strict=True)
    turns = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for (ax, ay), (bx, by) in edges]
    return all(t > 0 for t in turns) or all(t < 0 for t in turns)


def _touches(corners: tuple[Point, ...], size_px: int) -> bool:
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return max(xs) > 0 and max(ys) > 0 and min(xs) < size_px and min(ys) < size_px


def _water(parameters: FarmlandParameters, size_px: int, rng: np.random.Generator) -> tuple[Strip, ...]:
    """Draw a winding river, with chance `water`, and ponds."""
    strips = []
    if rng.random() < parameters.water:
        heading = float(rng.uniform(0, 2 * math.pi))
        x, y = (size_px * float(v) for v in rng.uniform(0.25, 0.75, 2))
        x, y = x - math.cos(heading) * size_px, y - math.sin(heading) * size_px
        step, bend, points = size_px / 72, 0.0, []
        for _ in range(150):
            points.append((x, y))
            bend = 0.93 * bend + float(rng.normal(0, 0.09))
            x, y = x + step * math.cos(heading + bend), y + step * math.sin(heading + bend)
        strips.append(Strip(tuple(points), float(rng.uniform(6, 18))))
    for _ in range(int(rng.poisson(1.5 * parameters.water))):
        x, y, length = *(float(v) for v in rng.uniform(0, size_px, 2)), float(rng.uniform(2, 14))
        strips.append(Strip(((x, y), (x + length, y + length / 2)), float(rng.uniform(10, 26))))
    return tuple(strips)
