"""Each set of an object against what its older set says: residuals of prediction, the raw material of the detections.

An older set is propagated by SGP4 to the epoch of the next newer one, and the newer one is propagated to its own epoch. What
differs is the older set's drag that was not what it thought, noise of both fits, and thrust. It is taken in the RTN frame of
the prediction, and in SGP4's mean elements (semi-major axis, eccentricity, inclination, node), where a burn leaves a step
and not an oscillation: the consistency check of Lemmens & Krag (2014, J. Guidance 37(3), 860) after Kelecy et al. (2007,
AMOS).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.earth import WGS72_RADIUS_KM
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray, rtn_components

MIN_SPAN_S = 3600.0
"""Sets closer than this are one fit told twice: their difference is noise over a short time, and is not compared."""


@dataclass(frozen=True, slots=True)
class Residuals:
    """Newer set less prediction, one row a pair (P,). `older` and `newer` index `sets`.

    `rtn_km` (P, 3) is in the RTN frame of the predicted state at the newer epoch. `ok` is False where the older set cannot be
    propagated so far (it says that the object has decayed, or is not sound); the row's residuals are NaN there.
    """

    sets: tuple[Elements, ...]
    older: npt.NDArray[np.int64]
    newer: npt.NDArray[np.int64]
    span_d: FloatArray
    rtn_km: FloatArray
    axis_km: FloatArray
    eccentricity: FloatArray
    inclination_deg: FloatArray
    node_deg: FloatArray
    height_km: FloatArray
    ok: npt.NDArray[np.bool_]

    @property
    def norad_id(self) -> npt.NDArray[np.int64]:
        return np.array([self.sets[i].norad_id for i in self.newer], np.int64)


def histories(snapshots: Iterable[Snapshot]) -> dict[int, list[Elements]]:
    """Return all sets of each object, oldest epoch first; of two with one epoch the one of the later snapshot."""
    found: dict[int, dict[float, Elements]] = {}
    for snapshot in sorted(snapshots, key=lambda s: s.taken_s):
        for one in snapshot.sets:
            found.setdefault(one.norad_id, {})[one.epoch_s] = one
    return {number: [sets[epoch] for epoch in sorted(sets)] for number, sets in sorted(found.items())}


def residuals(of: Mapping[int, Sequence[Elements]], min_span_s: float = MIN_SPAN_S) -> Residuals:
    """Compare each set with the one before it.

    Args:
        of: sets of each object, oldest first, as `histories` gives them.
        min_span_s: sets of an object that are closer than this to the last one taken are left out.
    """
    sets: list[Elements] = []
    pairs: list[tuple[int, int]] = []
    for history in of.values():
        last = -1
        for one in history:
            if last >= 0 and one.epoch_s - sets[last].epoch_s < min_span_s:
                continue
            sets.append(one)
            if last >= 0:
                pairs.append((last, len(sets) - 1))
            last = len(sets) - 1
    return _compare(tuple(sets), np.array(pairs, np.int64).reshape(-1, 2))


def _compare(sets: tuple[Elements, ...], pairs: npt.NDArray[np.int64]) -> Residuals:
    records = [one.satrec() for one in sets]
    table = np.full((len(pairs), 20), np.nan)
    for row, (i, j) in zip(table, pairs, strict=True):
        for at, record in ((0, records[i]), (10, records[j])):
            code, r_km, v_km_s = record.sgp4(records[j].jdsatepoch, records[j].jdsatepochF)
            if code == 0:
                row[at : at + 3], row[at + 3 : at + 6] = r_km, v_km_s
                row[at + 6 : at + 10] = record.am, record.em, record.im, record.Om
    old, new = table[:, :10], table[:, 10:]
    change = new - old
    epochs = np.array([one.epoch_s for one in sets])
    return Residuals(
        sets=sets,
        older=pairs[:, 0],
        newer=pairs[:, 1],
        span_d=(epochs[pairs[:, 1]] - epochs[pairs[:, 0]]) / DAY_S,
        rtn_km=rtn_components(change[:, :3], old[:, :3], old[:, 3:6]),
        axis_km=change[:, 6] * WGS72_RADIUS_KM,
        eccentricity=change[:, 7],
        inclination_deg=np.degrees(change[:, 8]),
        node_deg=np.degrees((change[:, 9] + np.pi) % (2 * np.pi) - np.pi),
        height_km=(new[:, 6] - 1.0) * WGS72_RADIUS_KM,
        ok=np.isfinite(table).all(axis=1),
    )
