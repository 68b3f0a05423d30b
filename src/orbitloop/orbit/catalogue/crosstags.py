"""Cross-tagged objects: two objects whose sets have changed places, or one object told under two numbers.

Between two snapshots every object's older and newer set are propagated to the time of the newer snapshot. Where the newer
set is farther from its own prediction than noise allows, the predictions of all others are searched for one that it fits.
Two that fit each other's are a swap; one that fits where another still is, is a second number on the same object. An object
that met its neighbour's place by a manoeuvre fits one way only and keeps the other away, so chains of satellites that all
move up are not taken for swaps.

Fits means within `sigmas` robust sigmas of what peers show about their own predictions, along the track, across it in
position and in direction, and in the semi-major axis: in a crowded shell somebody is always near, but not in the same plane
at the same height. Two that are closer together than the noise cannot be told apart, swapped or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sgp4.api import SatrecArray

from orbitloop.errors import ElementsError
from orbitloop.orbit.catalogue.findings import Finding
from orbitloop.orbit.catalogue.noise import peer_groups, peer_noise
from orbitloop.orbit.catalogue.regimes import mean_axis_km
from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.earth import WGS72_MU_KM3_S2
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import EARTH_RADIUS_KM, FloatArray, rtn_components

_NEIGHBOURS = 4
_UNIX_JD = 2_440_587.5

Involved = set[tuple[int, float]]
Misses = dict[str, float]
States = tuple[FloatArray, FloatArray]


def cross_tags(snapshots: Sequence[Snapshot], sigmas: float) -> tuple[list[Finding], Involved]:
    """Compare each snapshot with the one before it.

    Args:
        snapshots: in the order of time.
        sigmas: how far is outside noise, and how near is a fit.

    Returns:
        The findings, and (catalogue number, epoch of the newer set) of every pair of sets that they explain.

    Raises:
        ElementsError: scipy is not installed.
    """
    found: list[Finding] = []
    involved: Involved = set()
    for before, after in pairwise(snapshots):
        old, new = before.newest(), after.newest()
        numbers = [n for n in sorted(new) if n in old and new[n].epoch_s > old[n].epoch_s]
        if len(numbers) < 2:
            continue
        olds, news = [old[n] for n in numbers], [new[n] for n in numbers]
        for one, other, both, misses in _pairs(olds, news, after.taken_s, sigmas):
            involved.add((numbers[one], news[one].epoch_s))
            found.append(_finding(news[one], news[other], after.taken_s, both, misses))
            if both:
                involved.add((numbers[other], news[other].epoch_s))
                found.append(_finding(news[other], news[one], after.taken_s, both, misses))
    return found, involved


def states_at(sets: Sequence[Elements], at_s: float) -> States:
    """Return TEME positions and velocities (N, 3) of sets at one time; NaN where SGP4 has none."""
    if not sets:
        return np.empty((0, 3)), np.empty((0, 3))
    whole = np.floor(at_s / DAY_S)
    codes, r_km, v_km_s = SatrecArray([one.satrec() for one in sets]).sgp4(
        np.array([whole + _UNIX_JD]), np.array([(at_s - whole * DAY_S) / DAY_S])
    )
    gone = codes[:, 0] != 0
    r_km[gone], v_km_s[gone] = np.nan, np.nan
    return r_km[:, 0], v_km_s[:, 0]


@dataclass(frozen=True, slots=True)
class _Noise:
    """Sigmas of an object's newer set about its own prediction, (N,): what peers show, with their common shift added."""

    along_km: FloatArray
    across_km: FloatArray
    axis_km: FloatArray


def _pairs(
    olds: Sequence[Elements], news: Sequence[Elements], at_s: float, sigmas: float
) -> list[tuple[int, int, bool, Misses]]:
    """Return (one, other, both) for sets that fit each other's prediction: both ways, or `one` fits where `other` is too."""
    try:
        from scipy.spatial import cKDTree
    except ImportError as error:
        raise ElementsError("finding cross-tagged objects needs scipy", remedy="pip install 'orbitloop[space]'") from error
    predicted, actual = states_at(olds, at_s), states_at(news, at_s)
    apart_km = np.linalg.norm(actual[0] - predicted[0], axis=1)
    noise = _noise(olds, predicted, actual, at_s)
    with np.errstate(invalid="ignore"):
        odd: npt.NDArray[np.int64] = np.flatnonzero(apart_km > sigmas * noise.along_km)
    there = np.flatnonzero(np.isfinite(predicted[0]).all(axis=1))
    if odd.size == 0 or there.size < _NEIGHBOURS:
        return []
    distances, nearest = cKDTree(predicted[0][there]).query(actual[0][odd], k=_NEIGHBOURS)
    fits: dict[int, tuple[int, float]] = {}
    for row, one in enumerate(odd.tolist()):
        near = zip(distances[row].tolist(), there[nearest[row]].tolist(), strict=True)
        for distance, other in near:
            if other != one and distance < apart_km[one] and _fits(actual, one, predicted, other, noise, sigmas, sigmas):
                fits[one] = other, distance
                break
    fresh = _freshness(olds, news, at_s)
    out: list[tuple[int, int, bool, Misses]] = []
    for one, (other, km) in fits.items():
        misses = {"own_miss_km": round(float(apart_km[one]), 1), "other_miss_km": round(km, 1)}
        if other in fits and fits[other][0] == one:
            out += [(one, other, True, misses)] if one < other else []
        elif other not in fits and _fits(actual, one, actual, other, noise, sigmas, sigmas * max(fresh[one], fresh[other])):
            out.append((one, other, False, misses))
    return out


def _fits(states: States, one: int, about: States, other: int, noise: _Noise, sigmas: float, along_sigmas: float) -> bool:
    """Tell whether a state is within noise of another: along the track, in height, and in both directions out of its plane."""
    along, across, tilt, axis = (abs(float(v[0])) for v in _differences(_at(about, other), _at(states, one)))
    return bool(
        along < along_sigmas * noise.along_km[other]
        and max(across, tilt) < sigmas * noise.across_km[other]
        and axis < sigmas * noise.axis_km[other]
    )


def _freshness(olds: Sequence[Elements], news: Sequence[Elements], at_s: float) -> FloatArray:
    """Return how much nearer a newer set is to the truth along the track than the older one at that time, (N,) from 0.02 to 1.

    The error grows with the square of the age; below that fraction it is the fit's own.
    """
    ages = np.array([(at_s - new.epoch_s, at_s - old.epoch_s) for old, new in zip(olds, news, strict=True)])
    return np.asarray(np.clip((ages[:, 0] / ages[:, 1]) ** 2, 0.02, 1.0))


def _at(states: States, row: int) -> States:
    return states[0][row : row + 1], states[1][row : row + 1]


def _differences(predicted: States, actual: States) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return what differs, each (N,) km: along the track, across it, across it a quarter of a revolution on, and in the axis.

    Along the track it is the arc. The axis is that of the osculating orbits: at the same place their short waves are the same.
    """
    r_km, v_km_s = predicted
    radius = np.linalg.norm(r_km, axis=1)
    parts = rtn_components(actual[0], r_km, v_km_s)
    along = np.arctan2(parts[:, 1], parts[:, 0]) * radius
    tilt = rtn_components(actual[1], r_km, v_km_s)[:, 2] * np.sqrt(radius**3 / WGS72_MU_KM3_S2)
    return along, parts[:, 2], tilt, _axis_km(actual) - _axis_km(predicted)


def _axis_km(states: States) -> FloatArray:
    speed2 = np.sum(states[1] ** 2, axis=1)
    return np.asarray(1.0 / (2.0 / np.linalg.norm(states[0], axis=1) - speed2 / WGS72_MU_KM3_S2))


def _noise(olds: Sequence[Elements], predicted: States, actual: States, at_s: float) -> _Noise:
    span_d = np.abs(at_s - np.array([one.epoch_s for one in olds])) / DAY_S
    groups = peer_groups(mean_axis_km(olds) - EARTH_RADIUS_KM, np.array([one.inclination_deg for one in olds]))

    def sigma(values: FloatArray, growth: float) -> FloatArray:
        location, scale = peer_noise(values, span_d, groups, growth)
        return np.asarray(np.abs(location) + scale)

    along, across, tilt, axis = _differences(predicted, actual)
    return _Noise(sigma(along, 2.0), np.maximum(sigma(across, 0.0), sigma(tilt, 0.0)), sigma(axis, 1.0))


def _finding(one: Elements, other: Elements, when_s: float, both: bool, misses: Misses) -> Finding:
    if both:
        what = f"its set fits the prediction of {other.name} ({other.norad_id}), and that one's fits its own: changed places"
    else:
        what = f"its set fits {other.name} ({other.norad_id}), which is there too: one object under two numbers"
    distance = f"{misses['other_miss_km']:g} km from it, {misses['own_miss_km']:g} km from its own prediction"
    return Finding(
        kind="cross-tagged",
        norad_id=one.norad_id,
        name=one.name,
        when_s=when_s,
        what=f"{what}; {distance}",
        rank=misses["own_miss_km"],
        figures={"other_id": other.norad_id, "other_name": other.name, "swap": int(both), **misses},
    )
