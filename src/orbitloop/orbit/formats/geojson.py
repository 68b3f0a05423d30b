"""Stations and areas from GeoJSON (RFC 7946): a FeatureCollection, a Feature, or for areas a bare geometry.

A station is a Point; its height in metres is the third coordinate. Of its properties these are read, in either spelling where
two are given: `name`, `provider`, `frequency_bands` or `bands`, `min_elevation_deg` or `minElevationDeg`, `horizon` (pairs of
azimuth and elevation), `antennas`, `setup_s` or `setupS`. An area is a Point, MultiPoint, Polygon or MultiPolygon, with a
`name`. Everything else is read past.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from orbitloop.errors import DataError
from orbitloop.orbit.access import Area, Ring
from orbitloop.orbit.passes import Station

MAX_CHARACTERS: Final = 16 << 20
MAX_FEATURES: Final = 20_000
MAX_PLACES: Final = 200_000
_REMEDY = "write GeoJSON as in RFC 7946: coordinates are [longitude, latitude]"


def parse_stations(text: str, where: str = "", *, min_elevation_deg: float = 10.0) -> list[Station]:
    """Read ground stations, in the order of the file.

    Names that stand several times get their provider in brackets, and then a number, so that all differ.

    Args:
        text: GeoJSON.
        where: the file, for messages.
        min_elevation_deg: mask of stations that have none of their own.

    Raises:
        DataError: anything is not what it should be (the feature is named). Never anything else.
    """
    found: list[tuple[Station, str]] = []
    for place, properties, geometry in _features(text, where):
        if geometry.get("type") != "Point":
            raise _bad(f"a station is a Point, not {_word(geometry.get('type'))}", place)
        found.append((_station(place, properties, geometry, min_elevation_deg), _text(properties.get("provider"), 60)))
    if not found:
        raise _bad("holds no station", where)
    return _distinct(found)


def parse_areas(text: str, where: str = "") -> list[Area]:
    """Read areas of interest, in the order of the file; one without a name is `area N`.

    Raises:
        DataError: anything is not what it should be (the feature is named). Never anything else.
    """
    areas = []
    for n, (place, properties, geometry) in enumerate(_features(text, where), 1):
        name = _text(properties.get("name"), 120) or f"area {n}"
        kind, raw = geometry.get("type"), geometry.get("coordinates")
        points: tuple[tuple[float, float], ...] = ()
        polygons: tuple[tuple[Ring, ...], ...] = ()
        if kind == "Point":
            points = (_place(raw, place)[:2],)
        elif kind == "MultiPoint":
            points = tuple(_place(one, place)[:2] for one in _list(raw, place))
        elif kind == "Polygon":
            polygons = (_polygon(raw, place),)
        elif kind == "MultiPolygon":
            polygons = tuple(_polygon(one, place) for one in _list(raw, place))
        else:
            raise _bad(f"an area is a Point, MultiPoint, Polygon or MultiPolygon, not {_word(kind)}", place)
        try:
            areas.append(Area(name, points, polygons))
        except ValueError as error:
            raise _bad(str(error), place) from error
    if not areas:
        raise _bad("holds no area", where)
    return areas


def _features(text: str, where: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (place for messages, properties, geometry) of each feature."""
    if len(text) > MAX_CHARACTERS:
        raise _bad(f"has more than {MAX_CHARACTERS} characters", where)
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"is not JSON ({error})", where) from error
    if not isinstance(root, dict):
        raise _bad("is not GeoJSON: no object", where)
    features = root.get("features") if root.get("type") == "FeatureCollection" else [root]
    if not isinstance(features, list) or len(features) > MAX_FEATURES:
        raise _bad(f"features are not a list of at most {MAX_FEATURES}", where)
    for n, feature in enumerate(features, 1):
        place = f"{where}, feature {n}" if where else f"feature {n}"
        if not isinstance(feature, dict):
            raise _bad("is no object", place)
        whole = feature.get("type") == "Feature"
        geometry, properties = (feature.get("geometry"), feature.get("properties")) if whole else (feature, {})
        if not isinstance(geometry, dict):
            raise _bad("has no geometry", place)
        yield place, properties if isinstance(properties, dict) else {}, geometry


def _station(place: str, properties: Mapping[str, Any], geometry: Mapping[str, Any], mask_deg: float) -> Station:
    lon, lat, height_m = _place(geometry.get("coordinates"), place)
    name = _text(properties.get("name"), 120)
    if not name:
        raise _bad("has no name", place)
    bands = _either(properties, "frequency_bands", "bands", [])
    if not isinstance(bands, list) or len(bands) > 32:
        raise _bad("its bands are not a list", place)
    horizon = properties.get("horizon")
    skyline = [_pair(one, place) for one in _list(horizon, place)] if horizon is not None else []
    antennas = properties.get("antennas", 1)
    if isinstance(antennas, bool) or not isinstance(antennas, int) or not 1 <= antennas <= 1000:
        raise _bad("antennas are not a whole number from 1 to 1000", place)
    try:
        return Station(
            name,
            lat,
            lon,
            height_m,
            _number(_either(properties, "min_elevation_deg", "minElevationDeg", mask_deg), place),
            horizon=tuple(skyline),
            antennas=antennas,
            setup_s=_number(_either(properties, "setup_s", "setupS", 0.0), place),
            bands=tuple(_text(band, 20) for band in bands),
        )
    except ValueError as error:
        raise _bad(str(error), place) from error


def _distinct(found: list[tuple[Station, str]]) -> list[Station]:
    count = Counter(station.name for station, _ in found)
    named = [f"{s.name} ({provider})" if count[s.name] > 1 and provider else s.name for s, provider in found]
    again, seen, out = Counter(named), Counter[str](), []
    for (station, _), name in zip(found, named, strict=True):
        seen[name] += 1
        out.append(replace(station, name=f"{name} {seen[name]}" if again[name] > 1 else name))
    return out


def _polygon(raw: object, place: str) -> tuple[Ring, ...]:
    rings = []
    for ring in _list(raw, place):
        places = [_place(one, place)[:2] for one in _list(ring, place)]
        # RFC 7946 closes a ring by its first place again.
        rings.append(tuple(places[:-1] if len(places) > 1 and places[0] == places[-1] else places))
    return tuple(rings)


def _place(raw: object, place: str) -> tuple[float, float, float]:
    values = _list(raw, place)
    if not 2 <= len(values) <= 4:
        raise _bad("a place is not [longitude, latitude] or [longitude, latitude, metres]", place)
    lon, lat, height_m = (_number(v, place) for v in (*values[:3], 0.0)[:3])
    if not (-360 <= lon <= 360 and -90 <= lat <= 90):
        raise _bad(f"longitude {lon:g}, latitude {lat:g} is no place", place)
    return lon, lat, height_m


def _pair(raw: object, place: str) -> tuple[float, float]:
    values = _list(raw, place)
    if len(values) != 2:
        raise _bad("the horizon is not pairs of azimuth and elevation", place)
    return _number(values[0], place), _number(values[1], place)


def _list(raw: object, place: str) -> list[Any]:
    if not isinstance(raw, list) or len(raw) > MAX_PLACES:
        raise _bad("coordinates are not lists of numbers", place)
    return raw


def _number(raw: object, place: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise _bad(f"{_word(raw)} stands where a number belongs", place)
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _bad("a number is not finite", place)
    return value


def _either(properties: Mapping[str, Any], one: str, other: str, default: Any) -> Any:
    return properties.get(one, properties.get(other, default))


def _text(raw: object, length: int) -> str:
    return " ".join(raw.split())[:length] if isinstance(raw, str) else ""


def _word(raw: object) -> str:
    return repr(raw)[:40]


def _bad(what: str, where: str) -> DataError:
    return DataError(what, where=where, remedy=_REMEDY)
