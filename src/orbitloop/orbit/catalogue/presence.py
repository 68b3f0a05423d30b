"""Who is there, who is old, who is coming down: stale sets, decay, objects that left the catalogue and that came back.

Stale: an object's newest set is older than `intervals` of its own usual interval between epochs (the median of its history;
of all objects where it has fewer than three). One that is updated once a week is not stale after two days, one updated every
eight hours is.

Decaying: SGP4 says so before or at the asked time, or within the forecast, or the perigee of the newest set is below 180 km,
where no satellite without thrust stays a day or two. For an object whose mean axis fell in every set, a lifetime H / |da/dt|
is added (King-Hele 1987, Satellite Orbits in an Atmosphere, circular orbit), H the scale height of Vallado's exponential
atmosphere (4th ed., table 8-4): good to half its value, for density is, and wrong for a satellite that is lowered by thrust.

Lost and found: absent from the newest snapshots, or back after an absence. A snapshot in which the object's set could not be
read does not count as absence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from sgp4.api import SatrecArray

from orbitloop.clock import iso_utc
from orbitloop.orbit.catalogue.findings import Finding
from orbitloop.orbit.catalogue.regimes import heights_km, mean_axis_km
from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import EARTH_RADIUS_KM, FloatArray

_LOW_PERIGEE_KM = 180.0
_WATCHED_PERIGEE_KM = 450.0
_DOWN_KM = 100.0
_STEP_S = 6 * 3600.0
_UNIX_JD = 2_440_587.5
_SCALE_HEIGHTS = np.array(
    [(150, 22.523), (180, 29.740), (200, 37.105), (250, 45.546), (300, 53.628), (350, 53.298), (400, 58.515), (450, 60.828),
     (500, 63.822), (600, 71.835), (700, 88.667), (800, 124.64)]
)  # fmt: skip


def stale(
    of: Mapping[int, Sequence[Elements]], at_s: float, intervals: float, present: Collection[int] | None = None
) -> list[Finding]:
    """Return the objects whose newest set is too old for them.

    Args:
        of: sets of each object, oldest first.
        at_s: when age is counted.
        intervals: how many of its usual intervals an object may be silent.
        present: objects to look at (the others are lost, not stale); None: all.
    """
    gaps = {number: np.diff([one.epoch_s for one in sets]) for number, sets in of.items()}
    pooled = np.concatenate([g for g in gaps.values() if g.size] or [np.empty(0)])
    usual_s = float(np.median(pooled)) if pooled.size else np.nan
    found = []
    for number, sets in of.items():
        if present is not None and number not in present:
            continue
        interval_s = float(np.median(gaps[number])) if gaps[number].size >= 3 else usual_s
        age_s = at_s - sets[-1].epoch_s
        if not age_s > intervals * interval_s:
            continue
        found.append(
            Finding(
                kind="stale",
                norad_id=number,
                name=sets[-1].name,
                when_s=sets[-1].epoch_s,
                what=f"newest set is {age_s / DAY_S:.1f} days old, it usually comes every {interval_s / 3600:.1f} h",
                rank=age_s / interval_s,
                figures={"age_d": round(age_s / DAY_S, 3), "interval_h": round(interval_s / 3600, 2)},
            )
        )
    return found


def decaying(of: Mapping[int, Sequence[Elements]], at_s: float, forecast_d: float) -> list[Finding]:
    """Return the objects that are down, or will be within the forecast, by their newest sets."""
    histories = list(of.values())
    newest = [sets[-1] for sets in histories]
    if not newest:
        return []
    perigee_km, _ = heights_km(newest)
    watched = [int(i) for i in np.flatnonzero(perigee_km < _WATCHED_PERIGEE_KM)]
    down_s = _down_s([newest[i] for i in watched], at_s, forecast_d)
    found = []
    for i, falls_s in zip(watched, down_s, strict=True):
        life_d = _life_d(histories[i])
        what = _decay_words(float(falls_s), at_s, float(perigee_km[i]))
        if not what:
            continue
        life = f"; by its rate of descent {life_d:.0f} days are left (half or twice)" if np.isfinite(life_d) else ""
        figures: dict[str, float | int | str] = {"perigee_km": round(float(perigee_km[i]), 1)}
        if np.isfinite(falls_s):
            figures["down_s"] = float(falls_s)
        if np.isfinite(life_d):
            figures["life_d"] = round(life_d, 1)
        one = newest[i]
        rank = -float(min(falls_s, at_s + 1e3 * DAY_S + perigee_km[i]))
        found.append(Finding("decaying", one.norad_id, one.name, one.epoch_s, what + life, rank, figures))
    return found


def _decay_words(down_s: float, at_s: float, perigee_km: float) -> str:
    if down_s <= at_s:
        return f"has decayed: SGP4 has it down by {iso_utc(down_s)}"
    if np.isfinite(down_s):
        return f"comes down around {iso_utc(down_s)[:10]} by its newest set"
    return f"perigee is at {perigee_km:.0f} km" if perigee_km < _LOW_PERIGEE_KM else ""


def _down_s(sets: Sequence[Elements], at_s: float, forecast_d: float) -> FloatArray:
    """Return when SGP4 first fails or is below 100 km, (N,) UTC seconds in steps of six hours; inf where it stays up."""
    down = np.full(len(sets), np.inf)
    if not sets:
        return down
    epochs = np.array([one.epoch_s for one in sets])
    start_s = min(float(epochs.min()), at_s)
    times = np.arange(start_s, max(at_s, float(epochs.max())) + forecast_d * DAY_S + 1.0, _STEP_S)
    whole = np.floor(times / DAY_S)
    for first in range(0, len(sets), 512):
        part = slice(first, first + 512)
        codes, r_km, _ = SatrecArray([one.satrec() for one in sets[part]]).sgp4(whole + _UNIX_JD, times / DAY_S - whole)
        height_km = np.linalg.norm(r_km, axis=2) - EARTH_RADIUS_KM
        gone = ((codes != 0) | ~(height_km > _DOWN_KM)) & (times[None, :] >= epochs[part, None] - _STEP_S)
        down[part] = np.where(gone.any(axis=1), times[gone.argmax(axis=1)], np.inf)
    return down


def _life_d(sets: Sequence[Elements]) -> float:
    """Return H / |da/dt| where the mean axis fell from each set to the next; NaN elsewhere."""
    if len(sets) < 3:
        return np.nan
    axis_km = mean_axis_km(sets)
    days = np.array([one.epoch_s for one in sets]) / DAY_S
    if not (np.diff(axis_km) < 0).all() or not days[-1] > days[0]:
        return np.nan
    rate_km_d = (axis_km[-1] - axis_km[0]) / (days[-1] - days[0])
    height_km = axis_km[-1] * (1 - sets[-1].eccentricity) - EARTH_RADIUS_KM
    return float(np.interp(height_km, _SCALE_HEIGHTS[:, 0], _SCALE_HEIGHTS[:, 1]) / -rate_km_d)


def lost_and_found(snapshots: Sequence[Snapshot], decayed: Collection[int] = ()) -> list[Finding]:
    """Return the objects that left the catalogue, and those that were away and are back.

    Args:
        snapshots: in the order of time.
        decayed: objects whose absence needs no other explanation.
    """
    names: dict[int, str] = {}
    seen: dict[int, list[int]] = {}
    unread: dict[int, set[int]] = {}
    for at, snapshot in enumerate(snapshots):
        for number, one in snapshot.newest().items():
            seen.setdefault(number, []).append(at)
            names[number] = one.name
        for skipped in snapshot.skipped:
            if skipped.norad_id is not None:
                unread.setdefault(skipped.norad_id, set()).add(at)
    found = []
    last = len(snapshots) - 1
    for number, places in seen.items():
        for begin, end in zip(places, [*places[1:], last + 1], strict=True):
            absent = [k for k in range(begin + 1, end) if k not in unread.get(number, ())]
            if absent:
                back = end <= last
                found.append(_absence(snapshots, number, names[number], (begin, absent[0], end), back, number in decayed))
    return found


def _absence(
    snapshots: Sequence[Snapshot], number: int, name: str, span: tuple[int, int, int], back: bool, decayed: bool
) -> Finding:
    begin, absent, end = span
    since = f"absent since {snapshots[absent].label}, last seen in {snapshots[begin].label}"
    away_d = (snapshots[end if back else -1].taken_s - snapshots[begin].taken_s) / DAY_S
    what = f"back in {snapshots[end].label}; {since}" if back else since + ("; it was coming down" if decayed else "")
    when_s = snapshots[end].taken_s if back else snapshots[absent].taken_s
    figures: dict[str, float | int | str] = {"away_d": round(away_d, 2), "decayed": int(decayed)}
    return Finding("found" if back else "lost", number, name, when_s, what, away_d - (1e6 if decayed else 0), figures)
