"""Compiled loops of `fleet_passes`: from states on a grid to passes. The search's ideas and its guarantee are told there.

Between two nodes of the grid a satellite moves, in the Earth-fixed frame, on the polynomial of fifth degree that has its
position, velocity and acceleration at both nodes. SGP4's own velocity will not do: it is not the derivative of its position
(2 cm/s off in low circular orbits, 0.4 m/s at an eccentricity of 0.04, 2 m/s in transfer orbits; measured), which would bend
the polynomial by metres. Velocity and acceleration are therefore central differences of nine positions; at a quarter radian
of motion per step the whole is good to 5 cm. Near the time where a satellite is lost they are SGP4's velocity, and gravity
(point mass and J2) with the frame's own terms.

Times here are seconds since the first node. Stations are rows of (ux, uy, uz, px, py, pz, sine of the mask): the unit vertical
and the place, Earth-fixed, km.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from orbitloop.orbit.earth import EGM96_J2, EGM96_MU_KM3_S2
from orbitloop.orbit.frames import EARTH_RADIUS_KM, EARTH_RATE_RAD_S

_TWO_PI = 2 * math.pi
_J2000_S = 946_728_000.0

GHOSTS = 4
"""Nodes before the first and after the last, for the differences."""
GRAZING = 25.0
"""A culmination of less than so many times the polynomial's error above the mask is decided by true states."""


@njit(cache=True, nogil=True)
def gmst(time_s: float) -> float:
    """Greenwich mean sidereal time, radians: `frames.gmst_rad` for one time."""
    days = (time_s - _J2000_S) / 86_400.0
    centuries = days / 36_525.0
    seconds = 67_310.548_41 + 86_400.0 * (days % 1.0)
    seconds += centuries * (8_640_184.812_866 + centuries * (0.093_104 - 6.2e-6 * centuries))
    return (seconds % 86_400.0) * (_TWO_PI / 86_400.0)


@njit(cache=True, nogil=True)
def earth_fixed(r_km: Any, v_km_s: Any, times_s: Any) -> None:
    """Turn TEME states (K, 3) at `times_s` (K,) into the Earth-fixed frame, in place; velocities as seen from the Earth."""
    for k in range(times_s.size):
        angle = gmst(times_s[k])
        c, s = math.cos(angle), math.sin(angle)
        x, y = r_km[k, 0], r_km[k, 1]
        r_km[k, 0], r_km[k, 1] = c * x + s * y, c * y - s * x
        x, y = v_km_s[k, 0], v_km_s[k, 1]
        v_km_s[k, 0] = c * x + s * y + EARTH_RATE_RAD_S * r_km[k, 1]
        v_km_s[k, 1] = c * y - s * x - EARTH_RATE_RAD_S * r_km[k, 0]


@njit(cache=True, nogil=True, inline="always")
def _acceleration(x: float, y: float, z: float, vx: float, vy: float) -> Any:
    """Acceleration in the Earth-fixed frame: gravity to J2 (Vallado, 4th ed., eq. 8-30), Coriolis, centrifugal; km/s2."""
    r2 = x * x + y * y + z * z
    g = EGM96_MU_KM3_S2 / (r2 * math.sqrt(r2))
    flat = 1.5 * EGM96_J2 * EARTH_RADIUS_KM * EARTH_RADIUS_KM / r2
    zz = 5.0 * z * z / r2
    level = -g * (1.0 + flat * (1.0 - zz))
    w = EARTH_RATE_RAD_S
    ax = level * x + w * w * x + 2.0 * w * vy
    ay = level * y + w * w * y - 2.0 * w * vx
    return ax, ay, -g * (1.0 + flat * (3.0 - zz)) * z


@njit(cache=True, nogil=True)
def polynomials(r_km: Any, v_km_s: Any, ok: Any, cosine: Any, sine: Any, step_s: float, good: Any, out: Any) -> Any:
    """Fit the intervals of B satellites on a common grid of T nodes and `GHOSTS` more on either side.

    Args:
        r_km: TEME positions (B, T + 2 GHOSTS, 3).
        v_km_s: TEME velocities, likewise.
        ok: whether they are good (B, T + 2 GHOSTS).
        cosine: of sidereal time at these nodes (T + 2 GHOSTS,).
        sine: likewise.
        step_s: between nodes.
        good: number of leading nodes, ghosts aside, of each satellite that are good (B,).
        out: coefficients (B, T, 3, 6), lowest power first, of the time in steps since the node; the last good node gets no
            more than its own three, so that [:, :, :, 0] are the Earth-fixed positions of all good nodes.

    Returns:
        Whether a satellite lacks ghosts (B,): its polynomials are rough near where it is lost.
    """
    h = step_s
    nodes = r_km.shape[1]
    at = np.empty((3, nodes))
    rough = np.zeros(r_km.shape[0], np.bool_)
    for b in range(r_km.shape[0]):
        for j in range(nodes):
            at[0, j] = cosine[j] * r_km[b, j, 0] + sine[j] * r_km[b, j, 1]
            at[1, j] = cosine[j] * r_km[b, j, 1] - sine[j] * r_km[b, j, 0]
            at[2, j] = r_km[b, j, 2]
        for k in range(good[b]):
            j = k + GHOSTS
            full = True
            for n in range(j - GHOSTS, j + GHOSTS + 1):
                full = full and ok[b, n]
            x, y = at[0, j], at[1, j]
            vx = cosine[j] * v_km_s[b, j, 0] + sine[j] * v_km_s[b, j, 1] + EARTH_RATE_RAD_S * y
            vy = cosine[j] * v_km_s[b, j, 1] - sine[j] * v_km_s[b, j, 0] - EARTH_RATE_RAD_S * x
            ax, ay, az = _acceleration(x, y, at[2, j], vx, vy)
            theirs = ((vx * h, ax * h * h), (vy * h, ay * h * h), (v_km_s[b, j, 2] * h, az * h * h))
            rough[b] = rough[b] or not full
            for i in range(3):
                f = at[i]
                if full:
                    d1 = 0.8 * (f[j + 1] - f[j - 1]) - 0.2 * (f[j + 2] - f[j - 2])
                    d1 += 4.0 / 105.0 * (f[j + 3] - f[j - 3]) - 1.0 / 280.0 * (f[j + 4] - f[j - 4])
                    e1 = 1.6 * (f[j + 1] + f[j - 1]) - 0.2 * (f[j + 2] + f[j - 2]) - 205.0 / 72.0 * f[j]
                    e1 += 8.0 / 315.0 * (f[j + 3] + f[j - 3]) - 1.0 / 560.0 * (f[j + 4] + f[j - 4])
                else:
                    d1, e1 = theirs[i]
                if k > 0:
                    d0, e0 = out[b, k - 1, i, 1], 2.0 * out[b, k - 1, i, 2]
                    dp = f[j] - f[j - 1]
                    out[b, k - 1, i, 3] = 10.0 * dp - 6.0 * d0 - 4.0 * d1 - 1.5 * e0 + 0.5 * e1
                    out[b, k - 1, i, 4] = -15.0 * dp + 8.0 * d0 + 7.0 * d1 + 1.5 * e0 - e1
                    out[b, k - 1, i, 5] = 6.0 * dp - 3.0 * (d0 + d1) - 0.5 * (e0 - e1)
                out[b, k, i, 0], out[b, k, i, 1], out[b, k, i, 2] = f[j], d1, 0.5 * e1
                out[b, k, i, 3], out[b, k, i, 4], out[b, k, i, 5] = 0.0, 0.0, 0.0
    return rough


@njit(cache=True, nogil=True, inline="always")
def _at(c: Any, i: int, t: float) -> Any:
    """Position and velocity (per step) of axis `i` at `t` steps."""
    p = c[i, 0] + t * (c[i, 1] + t * (c[i, 2] + t * (c[i, 3] + t * (c[i, 4] + t * c[i, 5]))))
    d = c[i, 1] + t * (2 * c[i, 2] + t * (3 * c[i, 3] + t * (4 * c[i, 4] + t * 5 * c[i, 5])))
    return p, d


@njit(cache=True, nogil=True)
def _sight(c: Any, st: Any, t: float) -> Any:
    """Look from a station along an interval at `t` steps.

    Returns:
        h = height over the horizon plane less sine of the mask times range, km (above zero: seen); its change per step; the
        sign of the elevation's change (a positive multiple of it); the sine of the elevation.
    """
    x, vx = _at(c, 0, t)
    y, vy = _at(c, 1, t)
    z, vz = _at(c, 2, t)
    wx, wy, wz = x - st[3], y - st[4], z - st[5]
    q = st[0] * wx + st[1] * wy + st[2] * wz
    dq = st[0] * vx + st[1] * vy + st[2] * vz
    rho2 = wx * wx + wy * wy + wz * wz
    rho = math.sqrt(rho2)
    along = wx * vx + wy * vy + wz * vz
    return q - st[6] * rho, dq - st[6] * along / rho, dq * rho2 - q * along, q / rho


@njit(cache=True, nogil=True)
def _crossing(c: Any, st: Any, low: float, high: float, rises: bool) -> float:
    """Solve h = 0 between `low` and `high` (steps), by Newton kept in its bracket, to 1e-12 steps."""
    t = 0.5 * (low + high)
    for _ in range(60):
        h, dh, _, _ = _sight(c, st, t)
        if (h > 0.0) == rises:
            high = t
        else:
            low = t
        following = t - h / dh if dh != 0.0 else low
        if not low < following < high:
            following = 0.5 * (low + high)
        if abs(following - t) < 1e-12 or high - low < 1e-12:
            return following
        t = following
    return t


@njit(cache=True, nogil=True)
def _summit(c: Any, st: Any, low: float, high: float, g_low: float, g_high: float) -> float:
    """Find where the elevation stops rising between `low` (rising) and `high` (falling): Illinois, to 1e-9 steps."""
    side = 0
    t = 0.5 * (low + high)
    for _ in range(60):
        t = (low * g_high - high * g_low) / (g_high - g_low)
        if not low < t < high:
            t = 0.5 * (low + high)
        _, _, g, _ = _sight(c, st, t)
        if g > 0.0:
            if t - low < 1e-9:
                break
            low, g_low = t, g
            if side == 1:
                g_high *= 0.5
            side = 1
        else:
            if high - t < 1e-9:
                break
            high, g_high = t, g
            if side == -1:
                g_low *= 0.5
            side = -1
        if high - low < 1e-9:
            break
    return t


@njit(cache=True, nogil=True)
def _heights(xyz_km: Any, nodes: int, st: Any, out: Any) -> None:
    """Give h, as `_sight` does, at the nodes of one satellite: positions (3, T) to `out` (T,)."""
    for k in range(nodes):
        wx, wy, wz = xyz_km[0, k] - st[3], xyz_km[1, k] - st[4], xyz_km[2, k] - st[5]
        out[k] = st[0] * wx + st[1] * wy + st[2] * wz - st[6] * math.sqrt(wx * wx + wy * wy + wz * wz)


@njit(cache=True, nogil=True)
def _track(
    fits: Any,
    h: Any,
    last: int,
    st: Any,
    reach_km: float,
    slack_km: float,
    parts: int,
    step_s: float,
    rows: Any,
    numbers: Any,
    found: int,
) -> int:
    """Walk one satellite's intervals (T, 3, 6) over one station; see `scan`."""
    cut, aos, top, top_h, top_t = 0, 0.0, -2.0, 0.0, 0.0
    is_open = h[0] > 0.0
    if is_open:
        cut, top, top_h = 1, _sight(fits[0], st, 0.0)[3], h[0]
    for k in range(last):
        if h[k] <= -reach_km and h[k + 1] <= -reach_km:
            continue
        c = fits[k]
        # At a node the same number counts on both sides, so that no edge falls between two intervals.
        a_t, a_h, a_g = 0.0, h[k], _sight(c, st, 0.0)[2]
        for part in range(parts):
            b_t = (part + 1.0) / parts
            b_h, _, b_g, b_s = _sight(c, st, b_t)
            if part == parts - 1:
                b_h = h[k + 1]
            summit = a_g > 0.0 and b_g <= 0.0
            p_t = _summit(c, st, a_t, b_t, a_g, b_g) if summit else 0.0
            for half in range(2 if summit else 1):
                e_t, e_h, e_s = b_t, b_h, b_s
                if summit and half == 0:
                    e_t = p_t
                    e_h, _, _, e_s = _sight(c, st, p_t)
                if a_h <= 0.0 and e_h > 0.0:
                    is_open, cut, top = True, 0, -2.0
                    aos = (k + _crossing(c, st, a_t, e_t, True)) * step_s
                elif a_h > 0.0 and e_h <= 0.0:
                    los = (k + _crossing(c, st, a_t, e_t, False)) * step_s
                    _emit(rows, numbers, found, cut, top_h < GRAZING * slack_km, aos, top_t, los, top)
                    found += 1
                    is_open = False
                elif summit and half == 0 and a_h <= 0.0 and e_h > -slack_km:
                    t = (k + e_t) * step_s
                    _emit(rows, numbers, found, 0, True, t, t, t, e_s)
                    found += 1
                if is_open and e_s > top:
                    top, top_h, top_t = e_s, e_h, (k + e_t) * step_s
                a_t, a_h = e_t, e_h
            a_g = b_g
    if is_open:
        _emit(rows, numbers, found, cut | 2, top_h < GRAZING * slack_km, aos, top_t, last * step_s, top)
        found += 1
    return found


@njit(cache=True, nogil=True, inline="always")
def _emit(rows: Any, numbers: Any, at: int, cut: int, grazing: bool, aos: float, tca: float, los: float, top: float) -> None:
    if at < rows.shape[0]:
        rows[at, 2], rows[at, 3] = cut, 1 if grazing else 0
        numbers[at, 0], numbers[at, 1], numbers[at, 2], numbers[at, 3] = aos, tca, los, top


@njit(cache=True, nogil=True)
def scan(
    fits: Any, good: Any, stations: Any, reach_km: Any, slack_km: Any, parts: Any, step_s: float, rows: Any, numbers: Any
) -> int:
    """Find the passes of B satellites over S stations.

    Args:
        fits: what `polynomials` made (B, T, 3, 6).
        good: leading good nodes (B,).
        stations: (S, 7).
        reach_km: how far h can rise above the higher of its ends within a step (B, S).
        slack_km: how far the polynomials may be off (B,).
        parts: pieces of an interval in each of which the elevation culminates at most once (B,).
        step_s: between nodes.
        rows: where passes go (M, 4): satellite, station, cut (1 at the start, 2 at the end, 3 both), grazing (1 or 0).
        numbers: their (aos, tca, los, sine of the highest elevation) (M, 4); grazing ones that are below the mask by the
            polynomial have AOS = TCA = LOS.

    Returns:
        How many passes there are, in order of satellite, station, AOS; those beyond M are counted but not stored.
    """
    found = 0
    xyz_km = np.empty((3, fits.shape[1]))
    h = np.empty(fits.shape[1])
    for b in range(fits.shape[0]):
        nodes = good[b]
        if nodes < 2:
            continue
        for i in range(3):
            for k in range(nodes):
                xyz_km[i, k] = fits[b, k, i, 0]
        for s in range(stations.shape[0]):
            _heights(xyz_km, nodes, stations[s], h)
            first = found
            found = _track(
                fits[b], h, nodes - 1, stations[s], reach_km[b, s], slack_km[b], parts[b], step_s, rows, numbers, found
            )
            for row in range(first, min(found, rows.shape[0])):
                rows[row, 0], rows[row, 1] = b, s
    return found


@njit(cache=True, nogil=True)
def newton(r_km: Any, v_km_s: Any, stations: Any, which: Any) -> Any:
    """Return how far edges should move, s (K,), by one Newton step on true states; no further than a second.

    Args:
        r_km: Earth-fixed positions at the edges (K, 3).
        v_km_s: velocities (K, 3).
        stations: (S, 7).
        which: station of each edge (K,).
    """
    moves = np.zeros(which.size)
    for k in range(which.size):
        st = stations[which[k]]
        wx, wy, wz = r_km[k, 0] - st[3], r_km[k, 1] - st[4], r_km[k, 2] - st[5]
        vx, vy, vz = v_km_s[k, 0], v_km_s[k, 1], v_km_s[k, 2]
        rho = math.sqrt(wx * wx + wy * wy + wz * wz)
        h = st[0] * wx + st[1] * wy + st[2] * wz - st[6] * rho
        dh = st[0] * vx + st[1] * vy + st[2] * vz - st[6] * (wx * vx + wy * vy + wz * vz) / rho
        if dh != 0.0 and math.isfinite(h):
            moves[k] = min(max(-h / dh, -1.0), 1.0)
    return moves


@njit(cache=True, nogil=True)
def angles(r_km: Any, stations: Any, east: Any, which: Any, sine: Any, azimuth_deg: Any) -> None:
    """Look from stations at Earth-fixed positions (K, 3): sine of the elevation and azimuth, to (K,) each."""
    for k in range(which.size):
        st, e = stations[which[k]], east[which[k]]
        wx, wy, wz = r_km[k, 0] - st[3], r_km[k, 1] - st[4], r_km[k, 2] - st[5]
        ux, uy, uz = st[0], st[1], st[2]
        to_east = e[0] * wx + e[1] * wy + e[2] * wz
        nx, ny, nz = uy * e[2] - uz * e[1], uz * e[0] - ux * e[2], ux * e[1] - uy * e[0]
        to_north = nx * wx + ny * wy + nz * wz
        sine[k] = (ux * wx + uy * wy + uz * wz) / math.sqrt(wx * wx + wy * wy + wz * wz)
        azimuth_deg[k] = math.degrees(math.atan2(to_east, to_north)) % 360.0
