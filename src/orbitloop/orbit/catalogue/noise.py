"""How much of a residual is nothing: robust scales of peers and of an object itself.

Location and scale are those of the shortest half (Rousseeuw & Leroy 1987, Robust Regression and Outlier Detection, section
4.1): of all intervals that hold half of the values the shortest, its middle and its half-length / 0.6745, which is sigma
where the values are normal. Unlike median and MAD it stays with the quiet core when a third of the objects burn in one
direction, which is what constellations do. Peers are objects of like height and inclination; a group grows over its
neighbours until it has enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.frames import FloatArray

MIN_PEERS = 100
_BAND_KM, _BAND_DEG = 25.0, 5.0
_NORMAL_HALF = 0.674_489_75
_MIN_OWN = 4


def shortest_half(values: FloatArray) -> tuple[float, float]:
    """Return location and scale (sigma of normal values) of the shortest half; (nan, nan) of nothing."""
    ordered = np.sort(values[np.isfinite(values)])
    if ordered.size == 0:
        return np.nan, np.nan
    count = ordered.size // 2 + 1
    lengths = ordered[count - 1 :] - ordered[: ordered.size - count + 1]
    at = int(np.argmin(lengths))
    return float(ordered[at] + lengths[at] / 2), float(lengths[at] / 2 / _NORMAL_HALF)


def peer_groups(height_km: FloatArray, inclination_deg: FloatArray, minimum: int = MIN_PEERS) -> npt.NDArray[np.int64]:
    """Return a group number for each row (P,): bands of 25 km and 5 degrees, neighbours joined until each has `minimum` rows.

    Rows without a height have group -1.
    """
    groups = np.full(height_km.size, -1, np.int64)
    fine = np.flatnonzero(np.isfinite(height_km) & np.isfinite(inclination_deg))
    if fine.size == 0:
        return groups
    tilt = np.floor(inclination_deg[fine] / _BAND_DEG)
    band = np.floor(height_km[fine] / _BAND_KM)
    order = np.lexsort((band, tilt))
    cells = np.stack([tilt[order], band[order]], axis=1)
    starts = np.flatnonzero(np.r_[True, (np.diff(cells, axis=0) != 0).any(axis=1)])
    sizes = np.diff(np.r_[starts, order.size])
    number, filled = 0, 0
    numbers = np.empty(starts.size, np.int64)
    for cell, size in enumerate(sizes):
        numbers[cell] = number
        filled += int(size)
        if filled >= minimum:
            number, filled = number + 1, 0
    if 0 < filled < minimum and number > 0:
        numbers[numbers == number] = number - 1
    groups[fine[order]] = np.repeat(numbers, sizes)
    return groups


def peer_noise(
    values: FloatArray, span_d: FloatArray, groups: npt.NDArray[np.int64], growth: float
) -> tuple[FloatArray, FloatArray]:
    """Return what is usual among peers for each row: (location, scale), each (P,).

    Args:
        values: residuals (P,).
        span_d: over how many days each was predicted.
        groups: of `peer_groups`.
        growth: the power of the span by which such residuals grow: 1 for the semi-major axis under drag that differs from the
            prediction's, 2 for the place along the track, 0 for what a fit has always. Spans below the median count as it.
    """
    location, scale = np.full(values.size, np.nan), np.full(values.size, np.nan)
    for group in np.unique(groups[groups >= 0]):
        rows = np.flatnonzero(groups == group)
        usual = float(np.median(span_d[rows]))
        longer = np.maximum(span_d[rows] / usual, 1.0) ** growth if usual > 0 else np.ones(rows.size)
        middle, sigma = shortest_half(values[rows] / longer)
        location[rows], scale[rows] = middle * longer, sigma * longer
    return location, scale


def own_scale(
    values: FloatArray, location: FloatArray, scale: FloatArray, objects: npt.NDArray[np.int64], bounds: tuple[float, float]
) -> FloatArray:
    """Return each row's scale when the object's other rows are asked too, (P,).

    The median of |value - location| / scale over the object's other rows, as sigmas, inside `bounds`: an object may be noisier
    than its peers, but one that burns every day must not hide behind its own burns.
    """
    factor = np.full(values.size, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.abs(values - location) / scale
    order = np.argsort(objects, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(objects[order]) != 0])
    sizes = np.diff(np.r_[starts, order.size])
    for size in np.unique(sizes[sizes >= _MIN_OWN]):  # objects with as many rows at once
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        for at in range(size):
            others = np.sort(np.delete(score[rows], at, axis=1), axis=1)  # NaN last
            factor[rows[:, at]] = others[:, (size - 1) // 2] / _NORMAL_HALF
    return np.asarray(scale * np.clip(np.nan_to_num(factor, nan=1.0), *bounds))
