"""Passes as columns: what a search over many satellites and stations gives, millions of rows in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.passes import Pass


@dataclass(frozen=True, slots=True, eq=False)
class PassTable:
    """Passes as columns (K,), by rising AOS; clipped to the searched time.

    `satellite_index` and `station_index` count in the lists that were asked for; times are UTC seconds; `clipped` is 1 where
    the pass was under way at the start, 2 at the end, 3 at both. `lost` holds (satellite index, time) of those that cannot be
    propagated from that time on (decayed, refused): their passes end there.
    """

    satellite_index: npt.NDArray[np.int32]
    station_index: npt.NDArray[np.int32]
    aos_s: FloatArray
    tca_s: FloatArray
    los_s: FloatArray
    max_elevation_deg: npt.NDArray[np.float32]
    aos_azimuth_deg: npt.NDArray[np.float32]
    los_azimuth_deg: npt.NDArray[np.float32]
    clipped: npt.NDArray[np.uint8]
    lost: tuple[tuple[int, float], ...] = ()

    def __len__(self) -> int:
        return int(self.aos_s.size)

    @property
    def duration_s(self) -> FloatArray:
        return self.los_s - self.aos_s

    def take(self, which: npt.ArrayLike) -> PassTable:
        """Return some rows: indices or a mask."""
        chosen = np.asarray(which)
        return table_of_columns([getattr(self, name)[chosen] for name in _COLUMNS], self.lost)

    def passes(self, satellites: Sequence[str], stations: Sequence[str]) -> list[Pass]:
        """Return the rows as records, under the names given."""
        columns = (getattr(self, name).tolist() for name in _COLUMNS[:-1])
        return [
            Pass(satellites[a], stations[b], aos, tca, los, top, rise, fall)
            for a, b, aos, tca, los, top, rise, fall in zip(*columns, strict=True)
        ]


_COLUMNS = tuple(field.name for field in fields(PassTable) if field.name != "lost")
TYPES = ("i4", "i4", "f8", "f8", "f8", "f4", "f4", "f4", "u1")


def table_of_columns(columns: Sequence[npt.NDArray[Any]], lost: tuple[tuple[int, float], ...] = ()) -> PassTable:
    """Return a table of its nine columns, in the order of the fields."""
    a, b, aos, tca, los, top, rise, fall, clipped = columns
    return PassTable(a, b, aos, tca, los, top, rise, fall, clipped, lost)


def merge(tables: Sequence[PassTable]) -> PassTable:
    """Put tables together, by rising AOS (then satellite, then station)."""
    if not tables:
        return table_of_columns([np.empty(0, t) for t in TYPES], ())
    order = np.lexsort([np.concatenate([getattr(t, n) for t in tables]) for n in ("station_index", "satellite_index", "aos_s")])
    lost = tuple(sorted(one for t in tables for one in t.lost))
    # Column by column: a table of millions of rows is held twice at most, not three times.
    return table_of_columns([np.concatenate([getattr(t, name) for t in tables])[order] for name in _COLUMNS], lost)
