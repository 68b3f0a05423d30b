"""What changed between two snapshots: who came and went, and how far each newer set moves its object at one common time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from orbitloop.orbit.catalogue.crosstags import states_at
from orbitloop.orbit.catalogue.regimes import mean_axis_km
from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import rtn_components


@dataclass(frozen=True, slots=True)
class Change:
    """One object whose set is another now.

    `moved_km` is the distance of both sets' positions at the common time, `rtn_km` newer less older in the older one's RTN
    frame; NaN where SGP4 cannot bring one of them there. `axis_km` is the step of the mean semi-major axis from set to set.
    """

    older: Elements
    newer: Elements
    moved_km: float
    rtn_km: tuple[float, float, float]
    axis_km: float

    def to_json(self) -> dict[str, Any]:
        finite = bool(np.isfinite(self.moved_km))
        return {
            "norad_id": self.newer.norad_id,
            "name": self.newer.name,
            "older_name": self.older.name,
            "older_epoch_s": self.older.epoch_s,
            "newer_epoch_s": self.newer.epoch_s,
            "moved_km": round(self.moved_km, 4) if finite else None,
            "rtn_km": [round(v, 4) for v in self.rtn_km] if finite else None,
            "axis_km": round(self.axis_km, 4),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs; `changed` has the farthest first, and before them what cannot be compared; `same` counts the rest."""

    at_s: float
    came: tuple[Elements, ...]
    went: tuple[Elements, ...]
    changed: tuple[Change, ...]
    same: int


def difference(before: Snapshot, after: Snapshot, at_s: float | None = None) -> Difference:
    """Compare two snapshots, each object by its newest set.

    Args:
        before: the older one.
        after: the newer one.
        at_s: the common time; None: when the newer one was taken.
    """
    when_s = after.taken_s if at_s is None else at_s
    old, new = before.newest(), after.newest()
    numbers = [n for n in sorted(new) if n in old and old[n] != new[n]]
    olds, news = [old[n] for n in numbers], [new[n] for n in numbers]
    (r_old, v_old), (r_new, _) = states_at(olds, when_s), states_at(news, when_s)
    parts = rtn_components(r_new - r_old, r_old, v_old)
    moved = np.linalg.norm(r_new - r_old, axis=1)
    steps = mean_axis_km(news) - mean_axis_km(olds)
    changes = [
        Change(a, b, float(km), (float(p[0]), float(p[1]), float(p[2])), float(step))
        for a, b, km, p, step in zip(olds, news, moved, parts, steps, strict=True)
    ]
    changes.sort(key=lambda c: (np.isfinite(c.moved_km), -c.moved_km if np.isfinite(c.moved_km) else 0.0))
    return Difference(
        when_s,
        tuple(new[n] for n in sorted(new) if n not in old),
        tuple(old[n] for n in sorted(old) if n not in new),
        tuple(changes),
        len(old.keys() & new.keys()) - len(numbers),
    )
