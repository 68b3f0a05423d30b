"""A station's skyline: the least elevation by azimuth, and what it takes from a pass.

A profile is pairs (azimuth_deg, elevation_deg) by rising azimuth, straight in between and around north, as surveyors give it
and `Station.horizon` holds it. It adds to the station's mask: what counts is the higher of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.search import FloatArray, IntArray, crossings

STEP_S = 1.0
"""Between looks at the skyline along a pass: a stretch behind it, or in a gap of it, that is shorter may be missed."""

Profile = Sequence[tuple[float, float]]
Look = Callable[[IntArray, FloatArray], tuple[FloatArray, FloatArray]]
"""passes (K,), times (K,) -> (elevation_deg (K,), azimuth_deg (K,)) of each one's satellite from its station."""


def check_profile(profile: Profile) -> None:
    """Hold a profile against its rules.

    Raises:
        ValueError: azimuths do not rise from 0 to below 360, or an elevation is outside -5 to below 90.
    """
    azimuths = [azimuth for azimuth, _ in profile]
    if not all(a < b for a, b in pairwise(azimuths)) or not all(0 <= a < 360 for a in azimuths):
        raise ValueError("the horizon's azimuths do not rise from 0 to below 360")
    if not all(-5 <= elevation < 90 for _, elevation in profile):
        raise ValueError("an elevation of the horizon is outside -5 to below 90")


def skyline_deg(profile: Profile, min_elevation_deg: float, azimuth_deg: npt.ArrayLike) -> FloatArray:
    """Return the least elevation at which the station sees, at each azimuth, same shape."""
    azimuth = np.asarray(azimuth_deg, np.float64)
    if not profile:
        return np.full(azimuth.shape, min_elevation_deg)
    at, height = zip(*profile, strict=True)
    return np.asarray(np.maximum(np.interp(azimuth, at, height, period=360.0), min_elevation_deg), np.float64)


def lowest_deg(profile: Profile, min_elevation_deg: float) -> float:
    """Return the lowest point of the skyline: no pass is seen that does not rise above it."""
    return max(min_elevation_deg, min((elevation for _, elevation in profile), default=min_elevation_deg))


def seen_parts(
    look: Look, profile: Profile, min_elevation_deg: float, aos_s: FloatArray, los_s: FloatArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut passes (K,) over the station's lowest point into the parts that are seen over its skyline.

    Args:
        look: where the satellite stands.
        profile: of this one station.
        min_elevation_deg: its mask.
        aos_s: begins of the passes.
        los_s: their ends.

    Returns:
        (pass, begin_s, end_s) of each part (M,), in order of pass and time; edges to 0.1 ms.
    """

    def above(passes: IntArray, times_s: FloatArray) -> FloatArray:
        elevation_deg, azimuth_deg = look(passes, times_s)
        return elevation_deg - skyline_deg(profile, min_elevation_deg, azimuth_deg)

    counts = np.maximum(2, np.ceil((los_s - aos_s) / STEP_S).astype(np.intp) + 1)
    first = np.concatenate([[0], np.cumsum(counts)])
    which = np.repeat(np.arange(counts.size), counts)
    share = (np.arange(first[-1]) - first[which]) / (counts[which] - 1)
    times = aos_s[which] + share * (los_s - aos_s)[which]
    value = above(which, times)
    seen = value > 0
    change = np.flatnonzero((seen[1:] != seen[:-1]) & (which[1:] == which[:-1]))
    edges = crossings(above, which[change], times[change], times[change + 1], value[change], value[change + 1])
    begins = np.concatenate([edges[~seen[change]], times[first[:-1]][seen[first[:-1]]]])
    ends = np.concatenate([edges[seen[change]], times[first[1:] - 1][seen[first[1:] - 1]]])
    begin_of = np.concatenate([which[change][~seen[change]], np.flatnonzero(seen[first[:-1]])])
    end_of = np.concatenate([which[change][seen[change]], np.flatnonzero(seen[first[1:] - 1])])
    order, end_order = np.lexsort((begins, begin_of)), np.lexsort((ends, end_of))
    return begin_of[order], begins[order], ends[end_order]
