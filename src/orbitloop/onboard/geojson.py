"""Detections as GeoJSON (RFC 7946): what a ground user opens in any GIS.

One Feature per box. With a geo-transform the polygon is in WGS84 longitude and latitude, its exterior ring counter-clockwise
(3.1.6), and a box that crosses the antimeridian is cut in two, a MultiPolygon (3.1.9). Positions have 7 decimals, about 1 cm
(11.2 asks for no more than is meant). Without one the coordinates are pixels, x right and y down, by prior arrangement
(4, last paragraph), and the foreign member `orbitloop:coordinates` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from orbitloop.clock import iso_utc
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoTransform

Position = tuple[float, float]
Ring = list[Position]
_DECIMALS = 7


def feature_collection(
    detections: Detections,
    *,
    classes: Sequence[str],
    scene_id: str,
    captured_at_s: float,
    model_digest: str,
    geo: GeoTransform | None = None,
) -> dict[str, Any]:
    """Return a FeatureCollection of detections in scene pixels, best first, ready for `json.dumps`.

    Args:
        detections: boxes in scene pixels.
        classes: the model's class list; an index beyond it is written as its number.
        scene_id: which scene.
        captured_at_s: when it was taken, UTC seconds.
        model_digest: which weights said so.
        geo: pixel to WGS84; None leaves pixels.
    """
    features = []
    for box, score, index in zip(detections.boxes_xyxy_px, detections.scores, detections.classes, strict=True):
        x0, y0, x1, y1 = (float(v) for v in box)
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        properties = {
            "class": classes[index] if 0 <= index < len(classes) else str(int(index)),
            "score": round(float(score), 4),
            "scene": scene_id,
            "captured_at": iso_utc(captured_at_s),
            "model": model_digest,
        }
        geometry = _polygon(corners) if geo is None else _wgs84([geo.lonlat_deg(x, y) for x, y in corners])
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if geo is None:
        collection["orbitloop:coordinates"] = "pixel"
    return collection


def _wgs84(corners: Ring) -> dict[str, Any]:
    """Return a Polygon, or a MultiPolygon where the ring crosses 180 degrees; longitudes come unwrapped."""
    west = min(lon for lon, _ in corners)
    turn = 360.0 * math.floor((west + 180.0) / 360.0)
    ring = [(lon - turn, max(-90.0, min(90.0, lat))) for lon, lat in corners]
    if max(lon for lon, _ in ring) <= 180.0:
        return _polygon(ring)
    east = [(lon - 360.0, lat) for lon, lat in _clip(ring, keep_west=False)]
    parts = [_closed(part) for part in (_clip(ring, keep_west=True), east)]
    parts = [part for part in parts if _doubled_area(part) > 0]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": [parts[0]]}
    return {"type": "MultiPolygon", "coordinates": [[part] for part in parts]}


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


def _polygon(ring: Ring) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [_closed(ring)]}


def _closed(ring: Ring) -> list[list[float]]:
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
