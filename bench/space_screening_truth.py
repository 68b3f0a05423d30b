"""The truth about close approaches, by force: every pair at every ten seconds, on sgp4 alone.

Nothing of orbitloop is used, not even its reading of element sets. At each node all pairs nearer than they could fly in half a
step and the threshold together are taken (a k-d tree finds them: the triangle inequality, no geometry of orbits); of those, all
whose straight line comes within the threshold and 0.5 km in that half step, which is a thousand times what five seconds of
gravity can bend it. Each is sampled by SGP4 every 0.02 s; its minimum is the vertex of the parabola through the squares of the
three lowest ranges. Pairs that move slower than 0.1 km/s when close are sampled every second, all through the window, and told
as stretches under the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sgp4.api import Satrec, SatrecArray

FloatArray = npt.NDArray[np.float64]

_NODE_S, _SLOW_KM_S, _PAD_KM, _FINE_S = 10.0, 0.1, 0.5, 0.02
_UNIX_JD, _DAY_S = 2_440_587.5, 86_400.0


@dataclass(frozen=True, slots=True)
class Truth:
    """Crossings as (first, second, time, miss), and stretches of slow pairs as (first, second, begin, end, lowest); numbers."""

    crossings: list[tuple[int, int, float, float]]
    stretches: list[tuple[int, int, float, float, float]]


def brute_force(texts: list[str], start_s: float, hours: float, threshold_km: float) -> Truth:
    """Find every approach between the objects of `texts` (two lines each)."""
    records = [Satrec.twoline2rv(*text.split("\n")) for text in texts]
    end_s = start_s + hours * 3600.0
    rows = _candidates(records, start_s, end_s, threshold_km)
    slow = {(i, j) for i, j, _, speed in rows if speed < _SLOW_KM_S}
    crossings: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for i, j, guess_s, _ in rows:
        if (i, j) in slow:
            continue
        found = _minimum(records[i], records[j], guess_s)
        if found is None or found[1] > threshold_km or not start_s <= found[0] <= end_s:
            continue
        known = crossings.setdefault((i, j), [])
        if all(abs(found[0] - other[0]) > 1.0 for other in known):
            known.append(found)
    stretches = [row for i, j in sorted(slow) for row in _stretches(records[i], records[j], start_s, end_s, threshold_km)]
    return Truth([(*_numbers(records, *pair), *one) for pair, many in crossings.items() for one in many], stretches)


def _candidates(records: list[Any], start_s: float, end_s: float, threshold_km: float) -> list[tuple[int, int, float, float]]:
    from scipy.spatial import cKDTree

    array, half_s = SatrecArray(records), _NODE_S / 2.0
    rows: list[tuple[int, int, float, float]] = []
    for block_s in np.arange(start_s, end_s + _NODE_S, 60 * _NODE_S):
        times = block_s + _NODE_S * np.arange(60.0)
        errors, r, v = array.sgp4(*_julian(times))
        for k, now_s in enumerate(times.tolist()):
            good = np.flatnonzero((errors[:, k] == 0) & np.isfinite(r[:, k]).all(axis=1))
            x, u = r[good, k], v[good, k]
            reach = threshold_km + _NODE_S * float(np.linalg.norm(u, axis=1).max(initial=0.0)) + 0.1
            pairs = cKDTree(x).query_pairs(reach, output_type="ndarray")
            dx, du = x[pairs[:, 1]] - x[pairs[:, 0]], u[pairs[:, 1]] - u[pairs[:, 0]]
            speed2 = (du * du).sum(axis=1)
            s = np.clip(-(dx * du).sum(axis=1) / np.maximum(speed2, 1e-18), -half_s, half_s)
            near = np.flatnonzero(((dx + s[:, None] * du) ** 2).sum(axis=1) <= (threshold_km + _PAD_KM) ** 2)
            first, second = good[pairs[near, 0]], good[pairs[near, 1]]
            low, high = np.minimum(first, second).tolist(), np.maximum(first, second).tolist()
            rows += zip(low, high, (now_s + s[near]).tolist(), np.sqrt(speed2[near]).tolist(), strict=True)
    return rows


def _julian(times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    days = np.floor(times_s / _DAY_S)
    return _UNIX_JD + days, (times_s - days * _DAY_S) / _DAY_S


def _range2(one: Any, two: Any, times_s: FloatArray) -> FloatArray | None:
    (e1, r1, _), (e2, r2, _) = one.sgp4_array(*_julian(times_s)), two.sgp4_array(*_julian(times_s))
    return None if e1.any() or e2.any() else np.asarray(((r2 - r1) ** 2).sum(axis=1))


def _minimum(one: Any, two: Any, guess_s: float) -> tuple[float, float] | None:
    """Return time and range of the minimum near a guess; None where it is not within a second of it."""
    times = guess_s + _FINE_S * np.arange(-50.0, 51.0)
    square = _range2(one, two, times)
    if square is None:
        return None
    n = int(square.argmin())
    if n in (0, len(times) - 1):
        return None
    return _vertex(times[n], _FINE_S, square[n - 1 : n + 2])


def _vertex(middle_s: float, step_s: float, square: FloatArray) -> tuple[float, float]:
    slope, bend = (square[2] - square[0]) / 2.0, square[2] - 2.0 * square[1] + square[0]
    if not bend > 0.0:
        return middle_s, float(np.sqrt(square[1]))
    return float(middle_s - step_s * slope / bend), float(np.sqrt(max(0.0, square[1] - slope * slope / (2.0 * bend))))


def _stretches(
    one: Any, two: Any, start_s: float, end_s: float, threshold_km: float
) -> list[tuple[int, int, float, float, float]]:
    times = np.arange(start_s, end_s + 0.5, 1.0)
    square = _range2(one, two, times)
    if square is None:
        return []
    inside = np.concatenate([[False], square <= threshold_km**2, [False]])
    begins, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(~inside[1:] & inside[:-1]) - 1
    rows = []
    for a, b in zip(begins.tolist(), ends.tolist(), strict=True):
        n = a + int(square[a : b + 1].argmin())
        lowest = float(np.sqrt(square[n])) if n in (0, len(times) - 1) else _vertex(times[n], 1.0, square[n - 1 : n + 2])[1]
        rows.append((one.satnum, two.satnum, float(times[a]), float(times[b]), lowest))
    return rows


def _numbers(records: list[Any], i: int, j: int) -> tuple[int, int]:
    return records[i].satnum, records[j].satnum


def densest(texts: list[str], count: int, start_s: float) -> list[str]:
    """Return the objects with the most others within 100 km, counted at 24 instants over a day by sgp4 and a k-d tree."""
    from scipy.spatial import cKDTree

    records = SatrecArray([Satrec.twoline2rv(*text.split("\n")) for text in texts])
    errors, r, _ = records.sgp4(*_julian(start_s + 3600.0 * np.arange(24.0)))
    crowd = np.zeros(len(texts))
    for k in range(24):
        good = np.flatnonzero((errors[:, k] == 0) & np.isfinite(r[:, k]).all(axis=1))
        crowd[good] += cKDTree(r[good, k]).query_ball_point(r[good, k], 100.0, return_length=True)
    places = np.sort(np.argsort(-crowd, kind="stable")[:count])
    return [texts[n] for n in places.tolist()]
