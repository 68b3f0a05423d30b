"""RFC 7946: rings close and run counter-clockwise, nothing crosses the antimeridian, pixels are called pixels."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.onboard.geojson import (
    FeatureWriter,
    Origin,
    feature_collection,
    features,
    footprint,
    foreign_members,
    wgs84_geometry,
)
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoTransform


def collect(*boxes: tuple[float, float, float, float], geo: GeoTransform | None = None) -> dict[str, Any]:
    n = len(boxes)
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(n, 0.8, np.float32), np.zeros(n, np.int32))
    made = feature_collection(
        found, classes=("aircraft",), scene_id="s", captured_at_s=1_700_000_000, model_digest="sha256:ab", geo=geo
    )
    read: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    return read


def rings(geometry: dict[str, Any]) -> list[list[list[float]]]:
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return [polygon[0] for polygon in polygons]


def area(ring: list[list[float]]) -> float:
    (x, y), total = ring[0], 0.0
    for (ax, ay), (bx, by) in itertools.pairwise(ring):
        total += (ax - x) * (by - y) - (bx - x) * (ay - y)
    return total / 2


def north_up(lon: float, lat: float, step: float = 1e-5) -> GeoTransform:
    return GeoTransform(lon, lat, step, 0.0, 0.0, -step)


def test_a_box_on_land() -> None:
    feature = collect((100, 200, 300, 260), geo=north_up(10.0, 50.0))["features"][0]
    assert feature["type"] == "Feature"
    assert feature["properties"] == {
        "class": "aircraft",
        "score": 0.8,
        "scene": "s",
        "captured_at": "2023-11-14T22:13:20Z",
        "model": "sha256:ab",
    }
    ring = feature["geometry"]["coordinates"][0]
    assert sorted(map(tuple, ring[:-1])) == [(10.001, 49.9974), (10.001, 49.998), (10.003, 49.9974), (10.003, 49.998)]
    assert ring[0] == ring[-1]
    assert area(ring) > 0


def test_without_a_geo_transform_the_coordinates_are_pixels_and_say_so() -> None:
    made = collect((1, 2, 3, 4))
    assert made["orbitloop:coordinates"] == "pixel"
    assert sorted(map(tuple, made["features"][0]["geometry"]["coordinates"][0][:-1])) == [(1, 2), (1, 4), (3, 2), (3, 4)]
    assert "orbitloop:coordinates" not in collect((1, 2, 3, 4), geo=north_up(0, 0))


def test_a_box_over_the_antimeridian_becomes_two() -> None:
    geometry = collect((0, 0, 200, 100), geo=north_up(179.999, -17.0))["features"][0]["geometry"]
    assert geometry["type"] == "MultiPolygon"
    west, east = rings(geometry)
    assert {p[0] for p in west} == {179.999, 180.0}
    assert {p[0] for p in east} == {-180.0, -179.999}
    assert area(west) + area(east) == pytest.approx(200e-5 * 100e-5)


def test_longitudes_beyond_the_antimeridian_are_wrapped() -> None:
    for lon in (190.0, -170.0, 550.0):
        ring = rings(collect((0, 0, 100, 100), geo=north_up(lon, 0))["features"][0]["geometry"])[0]
        assert min(p[0] for p in ring) == pytest.approx(-170.0)


def test_a_class_beyond_the_list_is_a_number() -> None:
    found = Detections(np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32), np.array([7], np.int32))
    made = feature_collection(found, classes=("a",), scene_id="s", captured_at_s=0, model_digest="d")
    assert made["features"][0]["properties"]["class"] == "7"


def test_nothing_found() -> None:
    assert collect(geo=north_up(0, 0)) == {"type": "FeatureCollection", "features": []}


@given(
    st.floats(-720, 720),
    st.floats(-80, 80),
    st.floats(0, 6.3),
    st.floats(1e-6, 1e-4),
    st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(5, 500), st.floats(5, 500)),
)
@settings(max_examples=60, deadline=None)
def test_any_box_is_valid_and_keeps_its_area(
    lon: float, lat: float, turn: float, step: float, box: tuple[float, float, float, float]
) -> None:
    c, s = step * np.cos(turn), step * np.sin(turn)
    geo = GeoTransform(lon, lat, float(c), float(s), float(s), float(-c))
    x, y, w, h = box
    x0, y0, x1, y1 = (float(v) for v in np.array([x, y, x + w, y + h], np.float32))
    found = rings(collect((x0, y0, x1, y1), geo=geo)["features"][0]["geometry"])
    for ring in found:
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert area(ring) > 0
        assert all(-180 <= p[0] <= 180 and -90 <= p[1] <= 90 for p in ring)
        assert max(p[0] for p in ring) - min(p[0] for p in ring) < 1
    total, expected = sum(area(r) for r in found), (x1 - x0) * (y1 - y0) * step * step
    perimeter = 2 * step * (x1 - x0 + y1 - y0)
    assert total == pytest.approx(expected, abs=2e-7 * perimeter + 1e-13)


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("geo", [None, GeoTransform(179.999, 1.0, 1e-5, 0, 0, -1e-5)], ids=["pixels", "placed"])
def test_piece_by_piece_is_the_same_collection(count: int, geo: GeoTransform | None) -> None:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1).astype(np.float32)
    found = Detections(boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, 3, count).astype(np.int32))
    origin = Origin(("a", "b"), "s", 5.0, "sha256:ab", geo)
    stream = io.StringIO()
    writer = FeatureWriter(stream, foreign_members(placed=geo is not None))
    for part in (slice(0, 2), slice(2, 2), slice(2, None)):
        writer.write(features(Detections(found.boxes_xyxy_px[part], found.scores[part], found.classes[part]), origin))
    writer.close()
    whole = feature_collection(found, classes=("a", "b"), scene_id="s", captured_at_s=5.0, model_digest="sha256:ab", geo=geo)
    assert json.loads(stream.getvalue()) == whole
    assert len(stream.getvalue().splitlines()) == count + 2 + (count == 0)


@given(st.integers(-64_000, 64_000), st.integers(-75, 75), st.lists(st.integers(-3, 3), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_the_turn_in_which_a_longitude_comes_does_not_matter(lon_64: int, lat: int, turns: list[int]) -> None:
    lon = lon_64 / 64  # whole turns are added to it without rounding
    ring = [(lon, lat), (lon + 2, lat), (lon + 2, lat - 1), (lon, lat - 1)]
    plain = wgs84_geometry(ring)
    turned = wgs84_geometry([(x + 360 * k, y) for (x, y), k in zip(ring, turns, strict=True)])
    assert plain == turned


@pytest.mark.parametrize("side", [1, -1])
def test_a_ring_around_a_pole_becomes_the_cap(side: int) -> None:
    ring = [(10.0, side * 89.0), (100.0, side * 89.5), (-170.0, side * 89.2), (-80.0, side * 88.7)]
    for corners in (ring, ring[::-1], ring[2:] + ring[:2]):
        geometry = wgs84_geometry(corners)
        (found,) = rings(geometry)
        assert area(found) > 0
        assert {abs(p[1]) for p in found} == {88.7, 90.0}
        assert {p[0] for p in found} == {-180.0, 180.0}


def test_a_footprint_and_its_bounding_box() -> None:
    geometry, bbox = footprint(north_up(10, 50, 1e-3), 1000, 500)
    assert geometry["type"] == "Polygon"
    assert bbox == pytest.approx([10, 49.5, 11, 50])
    geometry, bbox = footprint(north_up(179.5, 50, 1e-3), 1000, 500)
    assert geometry["type"] == "MultiPolygon"
    assert bbox == pytest.approx([179.5, 49.5, -179.5, 50])
