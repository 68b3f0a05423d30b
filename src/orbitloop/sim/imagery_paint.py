"""What a rendered piece of ground looks like: its colour by crop and season, and its texture.

A crop is a sequence of stages over the year (sown soil, sprout, full green, bloom, ripe, stubble); colours between two
stages are mixed. The calendar is that of the northern temperate zone, roughly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.sim.imagery_layout import Kind, Layout, Parcel
from orbitloop.sim.imagery_parameters import FarmlandParameters

Colour = npt.NDArray[np.float32]

STAGES: Mapping[str, tuple[tuple[float, str], ...]] = {
    "wheat": (
        *((0.0, "sprout"), (0.25, "green"), (0.42, "green"), (0.53, "ripe"), (0.6, "stubble"), (0.7, "soil")),
        *((0.85, "sprout"), (1.0, "sprout")),
    ),
    "maize": (
        *((0.0, "soil"), (0.36, "soil"), (0.44, "sprout"), (0.52, "dark"), (0.7, "dark"), (0.79, "ripe")),
        *((0.85, "stubble"), (1.0, "soil")),
    ),
    "soy": (
        *((0.0, "soil"), (0.36, "soil"), (0.46, "sprout"), (0.54, "bright"), (0.68, "bright"), (0.77, "ripe")),
        *((0.83, "soil"), (1.0, "soil")),
    ),
    "rape": (
        *((0.0, "sprout"), (0.25, "green"), (0.32, "bloom"), (0.38, "bloom"), (0.43, "bright"), (0.54, "ripe")),
        *((0.6, "stubble"), (0.68, "soil"), (1.0, "sprout")),
    ),
    "alfalfa": ((0.0, "sprout"), (0.25, "bright"), (0.5, "dark"), (0.78, "bright"), (0.9, "green"), (1.0, "sprout")),
}
"""Crop -> (fraction of the year, stage)."""

ROWS: Mapping[str, float] = {
    "soil": 0.03, "sprout": 0.07, "green": 0.05, "dark": 0.08, "bright": 0.06, "bloom": 0.03, "ripe": 0.06, "stubble": 0.06,
}  # fmt: skip
"""How strongly rows show at each stage, as a share of the colour."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Looks of P pieces of ground, by label (0 = verge between parcels).

    `colour` (P, 3) RGB; `angle_rad`, `period_px`, `rows`: direction across, spacing and strength of rows; `tramlines`: strength
    of wheel tracks; `blotch`, `patch`, `grain`: strength of unevenness over some 70, 14 and 3 px. All float32, (P,).
    """

    colour: npt.NDArray[np.float32]
    angle_rad: npt.NDArray[np.float32]
    period_px: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    tramlines: npt.NDArray[np.float32]
    blotch: npt.NDArray[np.float32]
    patch: npt.NDArray[np.float32]
    grain: npt.NDArray[np.float32]


def paint_ground(layout: Layout, parameters: FarmlandParameters, rng: np.random.Generator) -> tuple[Ground, int, int]:
    """Choose the looks of every label: 0 verge, 1 .. n the parcels, then road and water.

    Returns:
        The looks, the label of roads, the label of water.
    """
    wild = _wild_colours(parameters)
    rows = [(*wild[Kind.VERGE], 0.0, 4.0, 0.0, 0.0, *_TEXTURE[Kind.VERGE])]
    for parcel in layout.parcels:
        rows.append(_field_looks(parcel, parameters, rng) if parcel.kind is Kind.FIELD else _wild_looks(parcel, wild, rng))
    paved = np.array((150, 147, 142), np.float32) if rng.random() < 0.5 else np.array((168, 152, 124), np.float32)
    rows.append((*paved, 0.0, 4.0, 0.0, 0.0, *_TEXTURE[Kind.ROAD]))
    murky = float(rng.random())
    rows.append((30 + 45 * murky, 52 + 35 * murky, 66 + 8 * murky, 0.0, 4.0, 0.0, 0.0, *_TEXTURE[Kind.WATER]))
    table = np.array(rows, np.float32)
    looks = Ground(table[:, :3], *(np.ascontiguousarray(table[:, i]) for i in range(3, 10)))
    return looks, len(layout.parcels) + 1, len(layout.parcels) + 2


_TEXTURE: Mapping[Kind, tuple[float, float, float]] = {
    Kind.VERGE: (0.05, 0.09, 0.10),
    Kind.FIELD: (0.05, 0.02, 0.02),
    Kind.PASTURE: (0.10, 0.07, 0.035),
    Kind.SCRUB: (0.10, 0.13, 0.10),
    Kind.FOREST: (0.06, 0.10, 0.24),
    Kind.TOWN: (0.05, 0.10, 0.10),
    Kind.ROAD: (0.02, 0.02, 0.02),
    Kind.WATER: (0.06, 0.02, 0.01),
}
"""Kind -> strength of unevenness over some 70, 14 and 3 px."""


def greenness(season: float) -> float:
    """Return how green wild vegetation is on a day of the northern year: 0 in winter, 1 in early summer, fading in autumn."""
    return float(
        np.interp(season, (0.0, 0.18, 0.34, 0.5, 0.68, 0.82, 0.92, 1.0), (0.12, 0.2, 0.95, 1.0, 0.75, 0.4, 0.15, 0.12))
    )


def stage_colours(parameters: FarmlandParameters) -> dict[str, Colour]:
    """Return the colour of each crop stage for a domain's soil and dryness, RGB 0..255."""
    soil = np.array(parameters.soil, np.float32) * parameters.soil_brightness
    # Drought does two things to a crop: it yellows, and it grows thin, so that soil shows between the rows.
    parched = 0.5 * soil + 0.5 * np.array((176, 152, 98), np.float32)
    dry = 0.8 * parameters.dryness
    plain = {
        "green": (92, 128, 58),
        "dark": (52, 96, 44),
        "bright": (122, 158, 68),
        "bloom": (206, 196, 58),
        "ripe": (208, 178, 104),
    }
    colours = {name: np.array(rgb, np.float32) for name, rgb in plain.items()}
    for name in ("green", "dark", "bright"):
        colours[name] = np.asarray((1 - dry) * colours[name] + dry * parched, np.float32)
    colours["soil"] = soil
    colours["sprout"] = 0.58 * soil + 0.42 * colours["green"]
    colours["stubble"] = 0.45 * soil + 0.55 * np.array((190, 164, 118), np.float32)
    return colours


def _field_looks(parcel: Parcel, parameters: FarmlandParameters, rng: np.random.Generator) -> tuple[float, ...]:
    weights = np.array([weight for _, weight in parameters.crops])
    crop = parameters.crops[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
    day = float(np.clip(parameters.season + rng.normal(0, parameters.season_spread), 0, 1))
    times, names = zip(*STAGES[crop], strict=True)
    after = min(int(np.searchsorted(times, day, side="right")), len(times) - 1)
    share = (day - times[after - 1]) / (times[after] - times[after - 1])
    colours = stage_colours(parameters)
    colour = (1 - share) * colours[names[after - 1]] + share * colours[names[after]]
    rows = (1 - share) * ROWS[names[after - 1]] + share * ROWS[names[after]]
    colour = colour * float(rng.normal(1, 0.08)) * rng.normal(1, 0.025, 3)
    period = float(rng.uniform(3.2, 6.5))
    blotch, patch, grain = (value * float(rng.uniform(0.5, 1.6)) for value in _TEXTURE[Kind.FIELD])
    tramlines = float(rng.uniform(0.05, 0.16)) if rng.random() < 0.6 else 0.0
    return (*colour, parcel.angle_rad, period, rows * float(rng.uniform(0.7, 1.4)), tramlines, blotch, patch, grain)


def _wild_looks(parcel: Parcel, wild: Mapping[Kind, Colour], rng: np.random.Generator) -> tuple[float, ...]:
    colour = wild[parcel.kind] * float(rng.normal(1, 0.09)) * rng.normal(1, 0.03, 3)
    return (*colour, 0.0, 4.0, 0.0, 0.0, *_TEXTURE[parcel.kind])


def _wild_colours(parameters: FarmlandParameters) -> dict[Kind, Colour]:
    """Return the colour of what is not sown."""
    green = greenness(parameters.season)
    lush = green * (1 - 0.8 * parameters.dryness)
    soil = np.array(parameters.soil, np.float32) * parameters.soil_brightness
    autumn = float(np.exp(-(((parameters.season - 0.82) / 0.06) ** 2)))

    def mixed(alive: tuple[int, int, int], dead: tuple[int, int, int], share: float) -> Colour:
        return share * np.array(alive, np.float32) + (1 - share) * np.array(dead, np.float32)

    forest = mixed((40, 68, 36), (92, 80, 64), 0.25 + 0.75 * green)
    return {
        Kind.VERGE: mixed((84, 108, 56), (142, 126, 90), lush),
        Kind.PASTURE: mixed((104, 128, 66), (162, 146, 102), 0.1 + 0.9 * lush),
        Kind.SCRUB: 0.35 * soil + 0.65 * mixed((98, 108, 66), (150, 134, 98), lush),
        Kind.FOREST: (1 - 0.55 * autumn) * forest + 0.55 * autumn * np.array((128, 84, 40), np.float32),
        Kind.TOWN: mixed((108, 118, 82), (138, 130, 112), lush),
    }
