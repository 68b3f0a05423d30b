from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import DataError
from orbitloop.orbit.formats.geojson import parse_areas, parse_stations


def _feature(geometry: object, **properties: object) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _point(*coordinates: object) -> dict[str, Any]:
    return {"type": "Point", "coordinates": list(coordinates)}


def _collection(*features: object) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def test_a_station_with_everything_and_one_with_nothing() -> None:
    full = _feature(
        _point(20.96, 67.86, 400.0),
        name=" Kiruna ",
        provider="SSC",
        frequency_bands=["S", "X"],
        min_elevation_deg=5,
        horizon=[[0, 7], [180, 2.5]],
        antennas=3,
        setupS=60,
    )
    kiruna, bare = parse_stations(_collection(full, _feature(_point(-148.47, 70.2), name="Prudhoe Bay")), min_elevation_deg=7.5)
    assert (kiruna.name, kiruna.latitude_deg, kiruna.longitude_deg, kiruna.altitude_m) == ("Kiruna", 67.86, 20.96, 400.0)
    assert (kiruna.min_elevation_deg, kiruna.horizon, kiruna.antennas) == (5.0, ((0.0, 7.0), (180.0, 2.5)), 3)
    assert (kiruna.bands, kiruna.setup_s) == (("S", "X"), 60.0)
    assert (bare.name, bare.latitude_deg, bare.min_elevation_deg, bare.bands) == ("Prudhoe Bay", 70.2, 7.5, ())


def test_names_are_made_to_differ() -> None:
    features = [_feature(_point(1, 2), name="Awarua", provider=provider) for provider in ("SSC", "KSAT", "KSAT", None)]
    names = [station.name for station in parse_stations(_collection(*features, _feature(_point(3, 4), name="Kiruna")))]
    assert names == ["Awarua (SSC)", "Awarua (KSAT) 1", "Awarua (KSAT) 2", "Awarua", "Kiruna"]


def test_areas_of_every_kind_and_a_bare_geometry() -> None:
    ring = [[0, 0], [10, 0], [10, 10], [0, 0]]
    hole = [[2, 1], [3, 1], [3, 2], [2, 1]]
    areas = parse_areas(
        _collection(
            _feature({"type": "Polygon", "coordinates": [ring, hole]}, name="field"),
            _feature({"type": "MultiPolygon", "coordinates": [[ring], [hole]]}),
            _feature({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4, 5]]}, name=7),
        )
    )
    assert [area.name for area in areas] == ["field", "area 2", "area 3"]
    assert areas[0].polygons == ((((0.0, 0.0), (10.0, 0.0), (10.0, 10.0)), ((2.0, 1.0), (3.0, 1.0), (3.0, 2.0))),)
    assert len(areas[1].polygons) == 2
    assert areas[2].points == ((1.0, 2.0), (3.0, 4.0))
    assert parse_areas(json.dumps(_point(8.5, 47.4)))[0].points == ((8.5, 47.4),)


GOOD = _feature(_point(8.5, 47.4), name="Zurich")
MALFORMED = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "a number": "1",
    "features are no list": '{"type": "FeatureCollection", "features": {}}',
    "none": _collection(),
    "a feature is null": _collection(GOOD, None),
    "no geometry": _collection(_feature(None, name="x")),
    "a line": _collection(_feature({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, name="x")),
    "a type that is a list": _collection(_feature({"type": [], "coordinates": [0, 0]}, name="x")),
    "one coordinate": _collection(_feature(_point(1), name="x")),
    "text": _collection(_feature(_point("8", "47"), name="x")),
    "true": _collection(_feature(_point(True, 1), name="x")),
    "not finite": _collection(GOOD).replace("8.5", "NaN"),
    "too large": _collection(GOOD).replace("8.5", "1" + "0" * 400),
    "latitude first": _collection(_feature(_point(47.4, 108.5), name="x")),
    "coordinates are null": _collection(_feature({"type": "Point"}, name="x")),
}
OF_STATIONS = {
    "no name": _collection(_feature(_point(1, 2))),
    "deep under ground": _collection(_feature(_point(1, 2, -5000), name="x")),
    "mask": _collection(_feature(_point(1, 2), name="x", min_elevation_deg=95)),
    "mask is text": _collection(_feature(_point(1, 2), name="x", min_elevation_deg="5")),
    "bands": _collection(_feature(_point(1, 2), name="x", bands="SX")),
    "horizon": _collection(_feature(_point(1, 2), name="x", horizon=[[10, 5], [5, 5]])),
    "horizon of threes": _collection(_feature(_point(1, 2), name="x", horizon=[[10, 5, 1]])),
    "antennas": _collection(_feature(_point(1, 2), name="x", antennas=2.5)),
}
OF_AREAS = {
    "a ring of two": _collection(_feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]})),
    "no ring": _collection(_feature({"type": "Polygon", "coordinates": []})),
    "no points": _collection(_feature({"type": "MultiPoint", "coordinates": []})),
    "flat": _collection(_feature({"type": "Polygon", "coordinates": [0, 1]})),
}


@pytest.mark.parametrize("name", sorted({**MALFORMED, **OF_STATIONS}))
def test_malformed_stations(name: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_stations({**MALFORMED, **OF_STATIONS}[name], "file.geojson")
    assert caught.value.where.startswith("file.geojson")


@pytest.mark.parametrize("name", sorted({**MALFORMED, **OF_AREAS}))
def test_malformed_areas(name: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_areas({**MALFORMED, **OF_AREAS}[name], "file.geojson")
    assert caught.value.where.startswith("file.geojson")


def test_the_feature_is_named() -> None:
    with pytest.raises(DataError) as caught:
        parse_stations(_collection(GOOD, _feature(_point(1, 95), name="x")), "s.geojson")
    assert caught.value.where == "s.geojson, feature 2"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_GEOMETRY = st.fixed_dictionaries(
    {"type": st.sampled_from(["Point", "MultiPoint", "Polygon", "MultiPolygon", "X"]), "coordinates": _JSON}
)
_PROPERTIES = st.dictionaries(
    st.sampled_from(["name", "bands", "horizon", "antennas", "setup_s", "min_elevation_deg", "provider"]), _JSON
)
_ANY = _JSON | st.fixed_dictionaries({"type": st.just("Feature"), "geometry": _GEOMETRY, "properties": _PROPERTIES})


@settings(max_examples=60, deadline=None)
@given(st.lists(_ANY, max_size=3) | st.text(max_size=30))
def test_parsed_or_the_one_error(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps({"type": "FeatureCollection", "features": value})
    for parse in (parse_stations, parse_areas):
        with contextlib.suppress(DataError):
            assert parse(text)


@pytest.mark.data
def test_the_real_stations() -> None:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "orbits" / "ground_stations"
    if not root.is_dir():
        pytest.skip("no ground stations: set ORBITLOOP_DATA")
    every = [one for path in sorted(root.glob("*.geojson")) for one in parse_stations(path.read_text(), path.name)]
    assert len(every) == 117
    assert sum("S" in one.bands for one in every) > 50
