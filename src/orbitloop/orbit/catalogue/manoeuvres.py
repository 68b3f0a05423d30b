"""Manoeuvres: a set that its older one does not predict, beyond noise and drag.

In the plane a burn is a step of the semi-major axis, out of the plane a step of the inclination or of the node; these are
looked at, and not the place along the track, where drag that was guessed wrong looks the same (Kelecy et al. 2007, AMOS;
Lemmens & Krag 2014, J. Guidance 37(3), 860). A pair of sets is flagged where

  in plane       |da - location| > k sigma and no drag explains it, or the axis itself rose by over k sigma of quiet peers;
  out of plane   |di - location| > k sigma, or |sin i dOmega - location| > k sigma + what the step does to the node by J2,

with location and sigma of `noise`: those of peers, widened by what the object's other pairs show, at most threefold; the
location is believed up to one sigma, so that peers that all thrust do not become the rule. k = 6 is declared and not fitted:
noise with one peak, of whatever shape, exceeds it in at most 4 / (9 k^2) = 1.2 % of pairs (Vysochanskij & Petunin 1980),
normal noise in two of a billion.

Drag explains what lies between no drag at all and twice what the older set thought; it never lifts. So a drag term that is
wrong, as fits through a burn give it, is no manoeuvre, and a burn that only makes up for drag is not seen.

An orbit that is after two flagged pairs what it was before them is told as out and back: single sets are wrong more often than
satellites undo their burns, though after an avoidance they do.

Size: dv = v da / (2 a) along the track, dv = v times the angle across it; the least burns that explain the step. Continuous
thrust upward shows as a step in every pair; downward, fits take it for drag, tens of times the true one, and it is often
not seen. What is below the threshold, or undone between two sets, is not seen either. `sigmas` of a finding is the largest of
what was asked: the steps of axis, inclination and node, and a rise of the axis in sigmas of quiet peers.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from orbitloop.clock import iso_utc
from orbitloop.orbit.catalogue.findings import Finding
from orbitloop.orbit.catalogue.noise import own_scale, peer_groups, peer_noise
from orbitloop.orbit.catalogue.predictions import Residuals
from orbitloop.orbit.earth import WGS72_J2, WGS72_MU_KM3_S2, WGS72_RADIUS_KM
from orbitloop.orbit.frames import FloatArray

_OWN_BOUNDS: Final = (1.0, 3.0)
# No noise is below what the last digits of a set can tell: 1e-4 degrees, rounded in both sets; a metre of axis is ours to add.
_LEAST_KM, _LEAST_DEG = 0.001, 1e-4 / 6**0.5

BoolArray = npt.NDArray[np.bool_]


class Scores:
    """Steps of each pair in sigmas, and what is flagged: arrays (P,) as the residuals; axes and tilts are the sets'."""

    def __init__(self, of: Residuals, sigmas: float) -> None:
        tilt = np.array([of.sets[i].inclination_deg for i in of.newer], np.float64)
        groups = peer_groups(np.where(of.ok, of.height_km, np.nan), tilt)
        objects = of.norad_id
        self.axis, axis_sigma = _score(of.axis_km, of.span_d, groups, objects, growth=1.0, least=_LEAST_KM)
        self.inclination, _ = _score(of.inclination_deg, of.span_d, groups, objects, growth=0.0, least=_LEAST_DEG)
        sine = np.sin(np.radians(tilt))
        self.drift_deg = _node_drift_deg(of, tilt) * sine
        self.node, _ = _score(
            of.node_deg * sine, of.span_d, groups, objects, growth=0.0, least=_LEAST_DEG, slack=self.drift_deg
        )
        finite = axis_sigma[np.isfinite(axis_sigma)]
        quiet_km = float(np.percentile(finite, 10)) if finite.size else np.nan
        self.sigmas = sigmas
        self.axes_km = np.array([one.satrec().a * WGS72_RADIUS_KM for one in of.sets], np.float64)
        self.tilts_deg = np.array([one.inclination_deg for one in of.sets], np.float64)
        self.excess_km = _excess_km(of, self.axes_km)
        with np.errstate(invalid="ignore"):
            beyond = (self.axis > sigmas) & (np.abs(self.excess_km) > sigmas * axis_sigma)
            self.rise = np.maximum(self.excess_km, 0.0) / quiet_km
            self.in_plane: BoolArray = of.ok & (beyond | (self.rise > sigmas))
            self.out_of_plane: BoolArray = of.ok & ((self.inclination > sigmas) | (self.node > sigmas))


def _score(
    values: FloatArray,
    span_d: FloatArray,
    groups: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    growth: float,
    least: float,
    slack: FloatArray | float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    location, scale = peer_noise(values, span_d, groups, growth)
    scale = np.maximum(scale, least)
    location = np.clip(location, -scale, scale)
    sigma = own_scale(values, location, scale, objects, _OWN_BOUNDS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(np.abs(values - location) - slack, 0.0) / sigma, sigma


def _node_drift_deg(of: Residuals, tilt_deg: FloatArray) -> FloatArray:
    """Return by how much a step of the axis may have turned the node, (P,): J2, the step right after the older set.

    dOmega/dt = -3/2 J2 n (R/a)^2 cos i (Vallado, 4th ed., eq. 9-41), so that it changes by -7/2 da / a of itself.
    """
    axis_km = of.height_km + WGS72_RADIUS_KM
    motion_deg_d = np.degrees(np.sqrt(WGS72_MU_KM3_S2 / axis_km**3)) * 86_400.0
    rate_deg_d = 1.5 * WGS72_J2 * motion_deg_d * (WGS72_RADIUS_KM / axis_km) ** 2 * np.abs(np.cos(np.radians(tilt_deg)))
    return np.asarray(3.5 * np.abs(of.axis_km) / axis_km * rate_deg_d * of.span_d)


def _excess_km(of: Residuals, axes: FloatArray) -> FloatArray:
    """Return the step of the mean semi-major axis that no drag explains, (P,), from epoch to epoch; zero where drag does."""
    rise_km = axes[of.newer] - axes[of.older]
    most_drag_km = 2.0 * np.maximum(of.axis_km - rise_km, 0.0)
    return np.maximum(rise_km, 0.0) + np.minimum(rise_km + most_drag_km, 0.0)


def manoeuvres(of: Residuals, sigmas: float, apart_from: Collection[tuple[int, float]] = ()) -> list[Finding]:
    """Return one finding for each object that has flagged pairs.

    Args:
        of: residuals of all objects: peers are found among them.
        sigmas: the threshold k.
        apart_from: (catalogue number, epoch of the newer set) of pairs that something else explains.
    """
    if of.span_d.size == 0:
        return []
    scores = Scores(of, sigmas)
    flagged = scores.in_plane | scores.out_of_plane
    objects = of.norad_id
    if apart_from:
        keep = [(int(n), of.sets[j].epoch_s) not in apart_from for n, j in zip(objects, of.newer, strict=True)]
        flagged &= np.array(keep)
    order = np.argsort(objects, kind="stable")
    edges = np.flatnonzero(np.r_[True, np.diff(objects[order]) != 0, True])
    groups = (order[a:b] for a, b in pairwise(edges))
    return [_finding(of, scores, rows, flagged) for rows in groups if flagged[rows].any()]


def _finding(of: Residuals, scores: Scores, rows: npt.NDArray[np.int64], flagged: BoolArray) -> Finding:
    hit = rows[flagged[rows]]
    last = of.sets[of.newer[hit[-1]]]
    axis_km = of.height_km[hit[-1]] + WGS72_RADIUS_KM
    speed_m_s = 1000.0 * float(np.sqrt(WGS72_MU_KM3_S2 / axis_km))
    steps_km = np.where(scores.in_plane[hit], scores.excess_km[hit], 0.0)
    turned_deg = np.abs(of.node_deg[hit] * np.sin(np.radians(last.inclination_deg))) - scores.drift_deg[hit]
    angles_deg = np.hypot(of.inclination_deg[hit], np.maximum(turned_deg, 0.0))
    along_m_s = float(np.abs(steps_km).sum() / (2 * axis_km) * speed_m_s)
    across_m_s = float(np.radians(np.where(scores.out_of_plane[hit], angles_deg, 0.0)).sum() * speed_m_s)
    net_km = float(steps_km.sum())
    back = _came_back(of, scores, hit)
    sense = "out and back" if back else _sense(steps_km, rows.size)
    doubt = "; a burn and its undoing, or a set between them that is wrong" if back else ""
    return Finding(
        kind="manoeuvred",
        norad_id=last.norad_id,
        name=last.name,
        when_s=last.epoch_s,
        what=f"{sense}: {hit.size} of {rows.size} pairs of sets, last at {iso_utc(last.epoch_s)}; "
        f"axis {net_km:+.2f} km, {along_m_s:.2f} m/s along and {across_m_s:.2f} m/s across the track at least{doubt}",
        rank=0.0 if back else along_m_s + across_m_s,
        figures={
            "sense": sense,
            "pairs_flagged": int(hit.size),
            "pairs": int(rows.size),
            "axis_step_km": round(net_km, 4),
            "along_track_m_s": round(along_m_s, 4),
            "cross_track_m_s": round(across_m_s, 4),
            "height_km": round(float(of.height_km[hit[-1]]), 2),
            "sigmas": round(
                float(np.nanmax(np.stack([s[hit] for s in (scores.axis, scores.rise, scores.inclination, scores.node)]))), 1
            ),
        },
    )


def _came_back(of: Residuals, scores: Scores, hit: npt.NDArray[np.int64]) -> bool:
    """Tell whether the orbit after the last flagged pair is the one before the first, to a quarter of how far it had gone."""
    if hit.size < 2:
        return False
    axes, tilts = scores.axes_km, scores.tilts_deg
    start, end, between = of.older[hit[0]], of.newer[hit[-1]], of.newer[hit[:-1]]
    far_km, far_deg = np.abs(axes[between] - axes[start]).max(), np.abs(tilts[between] - tilts[start]).max()
    near_km, near_deg = abs(axes[end] - axes[start]), abs(tilts[end] - tilts[start])
    moved = scores.in_plane[hit].any()
    tilted = (scores.inclination[hit] > scores.sigmas).any()
    turned = (scores.node[hit] > scores.sigmas).any()
    if not moved and not tilted:
        swing_deg = of.node_deg[hit]
        return bool(turned and abs(swing_deg.sum()) < 0.25 * np.abs(swing_deg).max())
    return bool((not moved or near_km < 0.25 * far_km) and (not tilted or near_deg < 0.25 * far_deg))


def _sense(steps_km: FloatArray, pairs: int) -> str:
    """Say what the steps look like: a transfer when most pairs go one way, a single burn, a plane change, or several."""
    up, down = int((steps_km > 0).sum()), int((steps_km < 0).sum())
    if up + down == 0:
        return "plane change"
    if max(up, down) >= max(3, pairs // 2) and min(up, down) == 0:
        return "raising" if up else "lowering"
    if up + down == 1:
        return "raised once" if up else "lowered once"
    return "several burns"
