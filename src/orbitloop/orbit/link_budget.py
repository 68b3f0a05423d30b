"""How many bytes a stretch of a pass is worth.

The budget is the mission's word, not radio physics: a rate up and a rate down, and, if given, what share of them is left at
which elevation. The integral is a trapezoid over at most 1 s, which is exact to 1e-4 for any such table; that of many passes at
once takes 65 points of each pass, exact to 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.doppler import fleet_looks
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.fleet_passes import PassTable
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.passes import Station, look_angles
from orbitloop.orbit.propagate import FleetPropagator

_STEP_S = 1.0
_POINTS, _BATCH = 65, 4_096


@dataclass(frozen=True, slots=True)
class LinkRates:
    """Rates of one link. `by_elevation` holds (elevation_deg, share of the rate 0 to 1), by rising elevation.

    Between two entries the share is linear, below the first and above the last it is theirs; without entries it is 1.

    Raises:
        ValueError: a rate is negative or not finite, or the table is not in order or outside 0 to 1.
    """

    downlink_bps: float
    uplink_bps: float
    by_elevation: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("downlink_bps", "uplink_bps"):
            rate = getattr(self, name)
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"{name} is {rate}, not a rate")
        heights = [e for e, _ in self.by_elevation]
        if not all(a < b for a, b in pairwise(heights)) or not all(map(math.isfinite, heights)):
            raise ValueError("by_elevation is not in order of rising elevation")
        if not all(0 <= share <= 1 for _, share in self.by_elevation):
            raise ValueError("a share in by_elevation is outside 0 to 1")

    def share(self, elevation_deg: npt.ArrayLike) -> FloatArray:
        """Return the share of the rate that is left at each elevation, same shape."""
        elevation = np.asarray(elevation_deg, np.float64)
        if not self.by_elevation:
            return np.ones_like(elevation)
        heights, shares = zip(*self.by_elevation, strict=True)
        return np.asarray(np.interp(elevation, heights, shares), np.float64)


def capacity_bytes(rates: LinkRates, times_s: npt.ArrayLike, elevation_deg: npt.ArrayLike) -> tuple[int, int]:
    """Integrate the link over sampled elevations (T,): (downlink_bytes, uplink_bytes), rounded down."""
    times = np.asarray(times_s, np.float64)
    full_rate_s = float(np.trapezoid(rates.share(elevation_deg), times)) if times.size > 1 else 0.0
    return int(rates.downlink_bps * full_rate_s / 8), int(rates.uplink_bps * full_rate_s / 8)


def window_capacity_bytes(
    rates: LinkRates, elements: Elements, station: Station, aos_s: float, los_s: float, guard_s: float = 0.0
) -> tuple[int, int]:
    """Return (downlink_bytes, uplink_bytes) between AOS and LOS less `guard_s` at both ends; zero when nothing is left.

    Raises:
        ElementsError: the elements cannot be propagated to that time.
    """
    open_s, close_s = aos_s + guard_s, los_s - guard_s
    if close_s <= open_s:
        return 0, 0
    if not rates.by_elevation:
        return capacity_bytes(rates, [0.0, close_s - open_s], [90.0, 90.0])
    times = np.linspace(open_s, close_s, math.ceil((close_s - open_s) / _STEP_S) + 1)
    return capacity_bytes(rates, times, look_angles(elements, station, times)[0])


def table_capacity_bytes(
    rates: LinkRates, fleet: FleetPropagator, stations: Sequence[Station], table: PassTable, guard_s: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Return (downlink_bytes, uplink_bytes), each (K,), of the passes of a table less `guard_s` at both ends."""
    open_s, span_s = table.aos_s + guard_s, np.maximum(table.duration_s - 2 * guard_s, 0.0)
    full_rate_s = span_s.copy()
    for first in range(0, len(table) if rates.by_elevation else 0, _BATCH):
        rows = slice(first, first + _BATCH)
        share = np.linspace(0.0, 1.0, _POINTS)
        times_s = (open_s[rows, None] + span_s[rows, None] * share).ravel()
        who, where = (np.repeat(index[rows], _POINTS) for index in (table.satellite_index, table.station_index))
        elevation_deg = fleet_looks(fleet, stations, who, where, times_s).elevation_deg.reshape(-1, _POINTS)
        full_rate_s[rows] *= np.trapezoid(rates.share(elevation_deg), share, axis=1)
    return rates.downlink_bps * full_rate_s / 8, rates.uplink_bps * full_rate_s / 8
