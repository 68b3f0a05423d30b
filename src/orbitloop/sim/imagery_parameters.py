"""What a farmland domain is: the numbers that a mission may turn. A domain shift is a change of these and of nothing else.

Leaves drawing to `imagery` and its parts. Every parameter has a default (a clear midsummer day over loam), a range, and a
sentence that says what it does; `from_mapping` is the door for manifests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from orbitloop.errors import ManifestError

SOILS: Mapping[str, tuple[int, int, int]] = {
    "loam": (124, 98, 72),
    "chernozem": (72, 60, 50),
    "red": (158, 84, 54),
    "sand": (196, 172, 132),
    "clay": (150, 128, 104),
}
"""Colours of bare soil, RGB 0..255."""

CROPS = ("wheat", "maize", "soy", "rape", "alfalfa")

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)

SEASONS: Mapping[str, float] = {
    **{"winter": 0.02, "spring": 0.30, "summer": 0.50, "autumn": 0.84},
    **{name: round((number + 0.5) / 12, 3) for number, name in enumerate(_MONTHS)},
}
"""Names for a day of the northern year, as its fraction."""

RANGES: Mapping[str, tuple[float, float]] = {
    "season": (0.0, 1.0),
    "season_spread": (0.0, 0.3),
    "soil_brightness": (0.3, 1.8),
    "dryness": (0.0, 1.0),
    "field_size_px": (24.0, 200.0),
    "field_share": (0.02, 1.0),
    "field_irregularity": (0.0, 1.0),
    "pivot_share": (0.0, 1.0),
    "roads": (0.0, 1.0),
    "water": (0.0, 1.0),
    "trees": (0.0, 1.0),
    "towns": (0.0, 1.0),
    "cloud": (0.0, 0.95),
    "haze": (0.0, 1.0),
    "sun": (0.0, 1.0),
    "brightness": (0.3, 2.0),
    "contrast": (0.3, 2.0),
    "blur_px": (0.0, 8.0),
    "resolution": (1.0, 8.0),
    "noise": (0.0, 60.0),
}
"""Smallest and largest value of each number, both included."""


@dataclass(frozen=True, slots=True)
class FarmlandParameters:
    """One domain of rendered farmland.

    Args:
        season: fraction of the northern year, 0 = New Year; decides what each crop looks like.
        season_spread: by how much of a year fields run ahead or behind (standard deviation).
        crops: (name, weight) pairs; which crops are sown, how often.
        soil: RGB of bare soil, 0..255.
        soil_brightness: factor on it (wet soil is dark).
        dryness: 0 = well watered, 1 = drought: everything green turns straw.
        field_size_px: typical side of a parcel.
        field_share: share of the parcels that are fields; the rest is pasture, scrub, forest, town.
        field_irregularity: 0 = a grid of rectangles, 1 = crooked quadrilaterals of unequal size, turned at will.
        pivot_share: share of the fields that are centre-pivot circles.
        roads: how many of the main parcel borders carry a road.
        water: how likely a river or a pond is.
        trees: hedges, lone trees, share of forest.
        towns: share of parcels with houses.
        cloud: share of the frame under cloud; each cloud throws a shadow.
        haze: 0 = clear, 1 = barely anything to see.
        sun: 0 = low and warm, 1 = high.
        brightness: factor on everything.
        contrast: factor about mid-grey.
        blur_px: standard deviation of the optics' blur.
        resolution: how many pixels one true pixel spreads over (2 = a sensor half as sharp).
        noise: standard deviation of the sensor's noise, in grey levels.

    Raises:
        ManifestError: a value is outside its range.
    """

    season: float = 0.5
    season_spread: float = 0.03
    crops: tuple[tuple[str, float], ...] = (("wheat", 1.0), ("maize", 1.2), ("soy", 1.0), ("rape", 0.5), ("alfalfa", 0.6))
    soil: tuple[int, int, int] = SOILS["loam"]
    soil_brightness: float = 1.0
    dryness: float = 0.15
    field_size_px: float = 86.0
    field_share: float = 0.25
    field_irregularity: float = 0.35
    pivot_share: float = 0.0
    roads: float = 0.5
    water: float = 0.25
    trees: float = 0.4
    towns: float = 0.25
    cloud: float = 0.0
    haze: float = 0.05
    sun: float = 0.8
    brightness: float = 1.0
    contrast: float = 1.0
    blur_px: float = 0.5
    resolution: float = 1.0
    noise: float = 3.0

    def __post_init__(self) -> None:
        for name in RANGES:
            _check_number(name, getattr(self, name), name)
        _check_crops(self.crops, "crops")
        _check_colour(self.soil, "soil")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "") -> FarmlandParameters:
        """Read a manifest's mapping. `season` may be a season's or a month's name, `soil` a soil's name, `crops` a mapping.

        Raises:
            ManifestError: naming the field: unknown (with the nearest known name), of the wrong kind, or outside its range.
        """
        if not isinstance(values, Mapping):
            raise ManifestError("farmland parameters are not a mapping", where=where)
        known = [field.name for field in fields(cls)]
        read: dict[str, Any] = {}
        for name, value in values.items():
            at = f"{where}.{name}" if where else str(name)
            if name not in known:
                raise ManifestError(f"unknown farmland parameter {name!r}", where=where, remedy=_nearest(name, known))
            if name == "season" and isinstance(value, str):
                read[name] = _named(value, SEASONS, at)
            elif name == "soil":
                read[name] = _named(value, SOILS, at) if isinstance(value, str) else _check_colour(value, at)
            elif name == "crops":
                read[name] = _check_crops(tuple(value.items()) if isinstance(value, Mapping) else value, at)
            else:
                read[name] = _check_number(name, value, at)
        return cls(**read)

    def as_fields(self) -> dict[str, float]:
        """Return the numeric parameters, for selectors and reports."""
        return {name: float(getattr(self, name)) for name in RANGES}


def _nearest(name: object, known: list[str]) -> str:
    near = get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _named(name: str, table: Mapping[str, Any], where: str) -> Any:
    if name.lower() not in table:
        raise ManifestError(f"unknown name {name!r}", where=where, remedy=_nearest(name.lower(), list(table)))
    return table[name.lower()]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_number(name: str, value: Any, where: str) -> float:
    low, high = RANGES[name]
    # Compared before any conversion: an absurdly long integer has no float.
    if not _is_number(value) or not low <= value <= high:
        raise ManifestError(f"{name} is {str(value)[:40]!r}", where=where, remedy=f"give a number in {low:g} .. {high:g}")
    return float(value)


def _check_colour(value: Any, where: str) -> tuple[int, int, int]:
    fits = isinstance(value, list | tuple) and len(value) == 3 and all(_is_number(v) and 0 <= v <= 255 for v in value)
    if not fits:
        raise ManifestError(
            "soil is neither a name nor three numbers 0 .. 255", where=where, remedy=f"names: {', '.join(SOILS)}"
        )
    red, green, blue = (int(v) for v in value)
    return red, green, blue


def _check_crops(value: Any, where: str) -> tuple[tuple[str, float], ...]:
    pairs = isinstance(value, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in value)
    if not pairs:
        raise ManifestError("crops is not a mapping from crop to weight", where=where, remedy=f"crops: {', '.join(CROPS)}")
    for name, weight in value:
        if name not in CROPS:
            raise ManifestError(f"unknown crop {name!r}", where=where, remedy=_nearest(name, list(CROPS)))
        if not _is_number(weight) or not 0 <= weight <= 1e6 or not math.isfinite(weight):
            raise ManifestError(f"weight of {name} is {str(weight)[:40]!r}", where=where, remedy="give a number from 0 up")
    if not sum(weight for _, weight in value) > 0 or len({name for name, _ in value}) != len(value):
        raise ManifestError("crops have no weight, or one occurs twice", where=where)
    return tuple((str(name), float(weight)) for name, weight in value)
