"""Detections as GeoJSON (RFC 7946): what a ground user opens in any GIS.

One Feature per box. With a geo-mapping the polygon is in WGS84 longitude and latitude, its exterior ring counter-clockwise
(3.1.6), and a box that crosses the antimeridian is cut in two, a MultiPolygon (3.1.9). Positions have 7 decimals, about 1 cm
(11.2 asks for no more than is meant). Without one the coordinates are pixels, x right and y down, by prior arrangement
(4, last paragraph), and the foreign member `orbitloop:coordinates` says so.

The poles. A ring around a pole has no inside in longitude and latitude; the RFC is silent about it. Such a box, or a scene's
footprint, becomes the cap that holds it: all longitudes, from its corner nearest to the equator up to the pole.

A collection is made at once (`feature_collection`) or written piece by piece (`FeatureWriter`), in memory that does not grow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any

import numpy as np

from orbitloop.clock import iso_utc
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoMapping

Position = tuple[float, float]
Ring = list[Position]
_DECIMALS = 7
_BORDER_STEPS = 8
_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]  # x0 y0, x1 y0, x1 y1, x0 y1 of a box x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Origin:
    """What all detections of one scene share.

    `classes` is the model's class list; an index beyond it is written as its number. `captured_at_s` is UTC seconds, None
    when nobody knows.
    `model_digest` names the weights. `geo` maps pixels to WGS84; None leaves pixels.
    """

    classes: Sequence[str]
    scene_id: str
    captured_at_s: float | None
    model_digest: str
    geo: GeoMapping | None = None


def features(detections: Detections, origin: Origin) -> Iterator[dict[str, Any]]:
    """Yield one Feature for each detection in scene pixels, in their order, ready for JSON.

    Raises:
        ImageError: a box has no place on Earth by the scene's mapping.
    """
    corners = detections.boxes_xyxy_px.astype(np.float64)[:, _CORNERS].reshape(-1, 2)
    places = corners if origin.geo is None else origin.geo.lonlats_deg(corners)
    taken = None if origin.captured_at_s is None else iso_utc(origin.captured_at_s)
    shared = {"scene": origin.scene_id, "captured_at": taken, "model": origin.model_digest}
    rings = places.reshape(-1, 4, 2).tolist()
    for ring, score, index in zip(rings, detections.scores.tolist(), detections.classes.tolist(), strict=True):
        known = 0 <= index < len(origin.classes)
        properties = {"class": origin.classes[index] if known else str(index), "score": round(score, 4), **shared}
        geometry = _polygon(ring) if origin.geo is None else wgs84_geometry(ring)
        yield {"type": "Feature", "geometry": geometry, "properties": properties}


def feature_collection(
    detections: Detections,
    *,
    classes: Sequence[str],
    scene_id: str,
    captured_at_s: float,
    model_digest: str,
    geo: GeoMapping | None = None,
) -> dict[str, Any]:
    """Return a FeatureCollection of detections in scene pixels, in their order, ready for `json.dumps`.

    Args:
        detections: boxes in scene pixels.
        classes, scene_id, captured_at_s, model_digest, geo: as `Origin` has them.

    Raises:
        ImageError: a box has no place on Earth by the scene's mapping.
    """
    origin = Origin(classes, scene_id, captured_at_s, model_digest, geo)
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": list(features(detections, origin))}
    return collection | foreign_members(placed=geo is not None)


def foreign_members(*, placed: bool) -> dict[str, Any]:
    """Return what a collection says beyond the RFC: that its coordinates are pixels, when it has no place on Earth."""
    return {} if placed else {"orbitloop:coordinates": "pixel"}


class FeatureWriter:
    """Writes a FeatureCollection as its features come: one line each. It is valid JSON once it is closed.

    Args:
        stream: text, written from where it stands; it is left open.
        foreign: further members of the collection.
    """

    def __init__(self, stream: IO[str], foreign: dict[str, Any] | None = None) -> None:
        self._stream, self._foreign = stream, foreign or {}
        self.count = 0

    def write(self, some: Iterable[dict[str, Any]]) -> None:
        """Append features."""
        for feature in some:
            self._stream.write(",\n" if self.count else self._head())
            self._stream.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
            self.count += 1

    def close(self) -> None:
        """End the collection; once."""
        if not self.count:
            self._stream.write(self._head())
        self._stream.write("\n]}\n")

    def _head(self) -> str:
        first = json.dumps({"type": "FeatureCollection", **self._foreign}, ensure_ascii=False, allow_nan=False)
        return first[:-1] + ', "features": [\n'


def footprint(geo: GeoMapping, width_px: int, height_px: int) -> tuple[dict[str, Any], list[float]]:
    """Return a scene's outline in WGS84 and its bounding box.

    The outline has `_BORDER_STEPS` positions a side, for the sides of a projected scene are curves there.

    Returns:
        The geometry, and west, south, east, north (RFC 7946, section 5): west is above east where it crosses the antimeridian,
        and a box around a pole has all longitudes.

    Raises:
        ImageError: the border has no place on Earth by the mapping.
    """
    steps = np.arange(_BORDER_STEPS) / _BORDER_STEPS
    sides = [(steps, 0 * steps), (0 * steps + 1, steps), (1 - steps, 0 * steps + 1), (0 * steps, 1 - steps)]
    border = np.concatenate([np.stack(side, axis=1) for side in sides]) * [width_px, height_px]
    ring = geo.lonlats_deg(border).tolist()
    geometry = wgs84_geometry(ring)
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    parts = [np.array(polygon[0]) for polygon in polygons]
    west = min(float(part[:, 0].min()) for part in parts)
    east = max(float(part[:, 0].max()) for part in parts)
    if len(parts) == 2:  # the western part ends at 180, the eastern one begins at -180
        west, east = float(parts[0][:, 0].min()), float(parts[1][:, 0].max())
    south, north = min(float(p[:, 1].min()) for p in parts), max(float(p[:, 1].max()) for p in parts)
    return geometry, [west, south, east, north]


def wgs84_geometry(corners: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return an open ring of longitudes and latitudes as a Polygon, or as a MultiPolygon where it crosses 180 degrees.

    No side may be longer than half a turn; each longitude may come in any turn.
    """
    ring, turns = _unrolled(corners)
    if turns:
        return _cap([lat for _, lat in ring])
    west = min(lon for lon, _ in ring)
    turn = 360.0 * math.floor((west + 180.0) / 360.0)
    ring = [(lon - turn, lat) for lon, lat in ring]
    if max(lon for lon, _ in ring) <= 180.0:
        return _polygon(ring)
    east = [(lon - 360.0, lat) for lon, lat in _clip(ring, keep_west=False)]
    parts = [_closed(part) for part in (_clip(ring, keep_west=True), east)]
    parts = [part for part in parts if _doubled_area(part) > 0]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": [parts[0]]}
    return {"type": "MultiPolygon", "coordinates": [[part] for part in parts]}


def _unrolled(corners: Sequence[Sequence[float]]) -> tuple[Ring, int]:
    """Return the ring with each longitude in the turn nearest to the one before, and how often it runs around a pole."""
    ring: Ring = []
    before = corners[0][0]
    for lon, lat in corners:
        before = lon - 360.0 * round((lon - before) / 360.0)
        ring.append((before, max(-90.0, min(90.0, lat))))
    return ring, round((ring[0][0] - before) / 360.0)


def _cap(lats: Sequence[float]) -> dict[str, Any]:
    """Return the cap around the nearer pole down to the latitude nearest to the equator."""
    north = math.fsum(lats) > 0
    low, high = (min(lats), 90.0) if north else (-90.0, max(lats))
    return _polygon([(-180.0, low), (180.0, low), (180.0, high), (-180.0, high)])


def _clip(ring: Ring, *, keep_west: bool) -> Ring:
    """Cut an open ring at the meridian of 180 degrees (Sutherland and Hodgman, CACM 17, 1974) and keep one side."""
    side = 1.0 if keep_west else -1.0
    kept: Ring = []
    for (lon_a, lat_a), (lon_b, lat_b) in zip(ring, ring[1:] + ring[:1], strict=True):
        inside_a, inside_b = side * (180.0 - lon_a) >= 0, side * (180.0 - lon_b) >= 0
        if inside_a:
            kept.append((lon_a, lat_a))
        if inside_a != inside_b:
            share = (180.0 - lon_a) / (lon_b - lon_a)
            kept.append((180.0, lat_a + share * (lat_b - lat_a)))
    return kept


def _polygon(ring: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [_closed(ring)]}


def _closed(ring: Sequence[Sequence[float]]) -> list[list[float]]:
    """Round an open ring, turn it counter-clockwise, and repeat its first position at the end."""
    points = [[round(lon, _DECIMALS), round(lat, _DECIMALS)] for lon, lat in ring]
    if _doubled_area([*points, *points[:1]]) < 0:
        points.reverse()
    return [*points, *(list(p) for p in points[:1])]


def _doubled_area(closed: Sequence[Sequence[float]]) -> float:
    """Return twice the signed area of a closed ring; above 0 is counter-clockwise.

    Taken relative to the first position, so that rounding does not swamp a small box far from the origin.
    """
    if not closed:
        return 0.0
    x, y = closed[0]
    return math.fsum((a[0] - x) * (b[1] - y) - (b[0] - x) * (a[1] - y) for a, b in pairwise(closed))
