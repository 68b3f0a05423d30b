"""Compiled loops of screening: from the states of all objects at a block of nodes to the pairs that may be close.

What each bound is and why nothing closer than the reach can slip through is derived in `screening`; here it is only computed.
Float64 throughout, no fast-math. Lengths in km, times in s, speeds in km/s, frame TEME; node k stands for all times within
`half_s` of it.

The sieve of one node is a table of cells (radial bin, band of sin(declination), cell of right ascension). An object is entered
in every radial bin that it may touch, so that two objects that may meet share one; the pair is looked at in the lowest bin that
they share, once. Right ascension is taken as the diamond angle p = y / (|x| + |y|) unrolled over [0, 4): no arc tangent, and
0.5 <= dp/da <= 1, so that a bound on the angle bounds p.

Long because the loops of one search are compiled, and read, together: each calls those above it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from orbitloop.orbit.conjunction.gravity import GRADIENT_PER_S2
from orbitloop.orbit.earth import WGS72_J2, WGS72_MU_KM3_S2, WGS72_RADIUS_KM

_J2_KM_S2 = 4e-5  # bound on J2's radial acceleration: 3 J2 mu / R^2 = 3.2e-5
_FINE_FROM_KM, _FINE_TO_KM, _FINE_KM, _COARSE_KM = 6_358.0, 8_558.0, 20.0, 2_000.0
_MOST_BANDS, _MOST_CELLS = 32, 128  # a table of half a million cells at most
_FASTEST_KM_S = 22.4  # twice the speed of escape at the surface: no two closed orbits pass each other faster
_FINE_BINS = int((_FINE_TO_KM - _FINE_FROM_KM) / _FINE_KM)
_BINS = _FINE_BINS + 24


@njit(cache=True, error_model="numpy")
def _gravity(x, y, z):  # type: ignore[no-untyped-def]
    """Acceleration of the Earth's point mass and J2."""
    r2 = x * x + y * y + z * z
    inverse = 1.0 / r2
    point = WGS72_MU_KM3_S2 * inverse / math.sqrt(r2)
    bulge = 1.5 * WGS72_J2 * WGS72_RADIUS_KM * WGS72_RADIUS_KM * inverse
    across = point * (1.0 + bulge * (1.0 - 5.0 * z * z * inverse))
    return -across * x, -across * y, -point * (1.0 + bulge * (3.0 - 5.0 * z * z * inverse)) * z


@njit(cache=True, error_model="numpy")
def _flown(x, y, z, vx, vy, vz, s):  # type: ignore[no-untyped-def]
    """State after `s` seconds: one step of the classical Runge-Kutta method of order 4."""
    h = 0.5 * s
    ax1, ay1, az1 = _gravity(x, y, z)
    vx2, vy2, vz2 = vx + h * ax1, vy + h * ay1, vz + h * az1
    ax2, ay2, az2 = _gravity(x + h * vx, y + h * vy, z + h * vz)
    vx3, vy3, vz3 = vx + h * ax2, vy + h * ay2, vz + h * az2
    ax3, ay3, az3 = _gravity(x + h * vx2, y + h * vy2, z + h * vz2)
    vx4, vy4, vz4 = vx + s * ax3, vy + s * ay3, vz + s * az3
    ax4, ay4, az4 = _gravity(x + s * vx3, y + s * vy3, z + s * vz3)
    w = s / 6.0
    return (
        x + w * (vx + 2.0 * (vx2 + vx3) + vx4),
        y + w * (vy + 2.0 * (vy2 + vy3) + vy4),
        z + w * (vz + 2.0 * (vz2 + vz3) + vz4),
        vx + w * (ax1 + 2.0 * (ax2 + ax3) + ax4),
        vy + w * (ay1 + 2.0 * (ay2 + ay3) + ay4),
        vz + w * (az1 + 2.0 * (az2 + az3) + az4),
    )


@njit(cache=True, error_model="numpy")
def prepare(r_km, v_km_s, ok, step_s, last, state, good, defect_km):  # type: ignore[no-untyped-def]
    """Turn a block's states to node-major order, and measure how far each object leaves the sieve's idea of its motion.

    The defect is that of the corrected trapezium between neighbouring nodes, x1 - x0 - h (v0 + v1) / 2 + h^2 (a1 - a0) / 12,
    with a from gravity and J2: what SGP4's velocity and forces are off from its own positions, over one step.

    Args:
        r_km, v_km_s: (N, T, 3).
        ok: (N, T).
        step_s: between nodes.
        last: (N, 6) state at the node before the block, NaN where there is none; left holding the block's last.
        state: (T, 6, N), written.
        good: (T, N), written.
        defect_km: (N,), written: the largest of the block.
    """
    count, nodes = ok.shape
    for i in range(count):
        x0, y0, z0 = last[i, 0], last[i, 1], last[i, 2]
        u0, v0, w0 = last[i, 3], last[i, 4], last[i, 5]
        known = not math.isnan(x0)
        ax0, ay0, az0 = 0.0, 0.0, 0.0
        if known:
            ax0, ay0, az0 = _gravity(x0, y0, z0)
        worst2 = 0.0
        for k in range(nodes):
            good[k, i] = ok[i, k]
            if not ok[i, k]:
                known = False
                continue
            x, y, z = r_km[i, k, 0], r_km[i, k, 1], r_km[i, k, 2]
            u, v, w = v_km_s[i, k, 0], v_km_s[i, k, 1], v_km_s[i, k, 2]
            state[k, 0, i], state[k, 1, i], state[k, 2, i] = x, y, z
            state[k, 3, i], state[k, 4, i], state[k, 5, i] = u, v, w
            ax, ay, az = _gravity(x, y, z)
            if known:
                a, b = 0.5 * step_s, step_s * step_s / 12.0
                ex = x - x0 - a * (u + u0) + b * (ax - ax0)
                ey = y - y0 - a * (v + v0) + b * (ay - ay0)
                ez = z - z0 - a * (w + w0) + b * (az - az0)
                worst2 = max(worst2, ex * ex + ey * ey + ez * ez)
            x0, y0, z0, u0, v0, w0 = x, y, z, u, v, w
            ax0, ay0, az0 = ax, ay, az
            known = True
        defect_km[i] = math.sqrt(worst2)
        last[i, 0] = x0 if known else math.nan
        last[i, 1], last[i, 2], last[i, 3], last[i, 4], last[i, 5] = y0, z0, u0, v0, w0


@njit(cache=True, error_model="numpy")
def _cells(rho, sine, across):  # type: ignore[no-untyped-def]
    """How many cells of p an angle `rho` spans to one side at declinations up to that sine; negative: the whole circle.

    The largest difference in right ascension is asin(sin(rho) / cos(declination)), and asin(q) <= q (1 + 0.5708 q^2).
    """
    cosine = math.sqrt(max(0.0, 1.0 - sine * sine))
    q = math.sin(min(rho, 1.5)) / cosine if cosine > 1e-9 else 2.0
    if q >= 0.999 or rho >= 1.5:
        return -1
    span = int(q * (1.0 + 0.5709 * q * q) * 0.25 * across) + 1
    return span if 2 * span + 1 < across else -1


@njit(cache=True, error_model="numpy")
def _survey(state, good, slack_km, role, half_s, reach_km, low, high, rho, sine, diamond, low_bin, high_bin):  # type: ignore[no-untyped-def]
    """Say for each object which radii and which angle it may touch within `half_s` of a node; returns the largest angle."""
    count = low.size
    g = 1.0 / (1.0 - GRADIENT_PER_S2 * half_s * half_s)
    for i in range(count):
        x, y, z = state[0, i], state[1, i], state[2, i]
        u, v, w = state[3, i], state[4, i], state[5, i]
        r2 = x * x + y * y + z * z
        r = math.sqrt(r2)
        inverse = 1.0 / r
        climb = (x * u + y * v + z * w) * inverse
        across2 = max(0.0, u * u + v * v + w * w - climb * climb)
        bend = abs(across2 - WGS72_MU_KM3_S2 * inverse) * inverse + 2.0 * _J2_KM_S2
        width = (abs(climb) * half_s + 0.5 * half_s * half_s * bend) * g + slack_km[i]
        lowest = 1.0 / max(0.5 * r, r - width)
        rho[i] = 1.001 * (math.sqrt(across2) * r * lowest * lowest * half_s + (0.5 * reach_km + slack_km[i]) * lowest)
        low[i], high[i] = r - width - 0.5 * reach_km, r + width + 0.5 * reach_km
        sine[i] = z * inverse
        p = y / max(1e-9, abs(x) + abs(y))
        diamond[i] = (p if p >= 0.0 else 4.0 + p) if x >= 0.0 else 2.0 - p
    largest = 0.0
    for i in range(count):
        if role[i] != 0 and good[i]:
            low_bin[i], high_bin[i] = _bin(low[i]), _bin(high[i])
            largest = max(largest, rho[i])
        else:
            low_bin[i], high_bin[i] = 0, -1
    return largest


@njit(cache=True, error_model="numpy")
def _bin(r):  # type: ignore[no-untyped-def]
    if r < _FINE_TO_KM:
        return max(0, int((r - _FINE_FROM_KM) / _FINE_KM))
    return min(_BINS - 1, _FINE_BINS + int((r - _FINE_TO_KM) / _COARSE_KM))


@njit(cache=True, error_model="numpy")
def _sort(  # type: ignore[no-untyped-def]
    state,
    low,
    high,
    rho,
    sine,
    diamond,
    low_bin,
    high_bin,
    slack_km,
    role,
    bands,
    across,
    place,
    starts,
    fill,
    widest,
    loosest,
    primaries,
    rows,
    owner,
):
    """Enter every object in its cells, and put the entries in the order of cells: one counting sort."""
    count = low.size
    cells = _BINS * bands * across
    fill[:cells] = 0
    widest[:], loosest[:], primaries[:] = 0.0, 0.0, 0
    band_scale, cell_scale = 0.5 * bands, 0.25 * across
    for i in range(count):
        if high_bin[i] < 0:
            continue
        place[i] = min(bands - 1, int((sine[i] + 1.0) * band_scale)) * across + min(across - 1, int(diamond[i] * cell_scale))
        for b in range(low_bin[i], high_bin[i] + 1):
            fill[b * bands * across + place[i]] += 1
            widest[b] = max(widest[b], rho[i])
            loosest[b] = max(loosest[b], slack_km[i])
            if role[i] == 2:
                primaries[b, place[i] // across] += 1
    at = 0
    for c in range(cells):
        starts[c] = at
        at += fill[c]
        fill[c] = starts[c]
    starts[cells] = at
    for i in range(count):
        for b in range(low_bin[i], high_bin[i] + 1):
            c = b * bands * across + place[i]
            e = fill[c]
            fill[c] = e + 1
            owner[e] = i
            row = rows[e]
            row[0], row[1], row[2] = state[0, i], state[1, i], state[2, i]
            row[3], row[4], row[5] = state[3, i], state[4, i], state[5, i]
            row[6], row[7] = low[i], high[i]


@njit(cache=True, error_model="numpy")
def _stretches(starts, b, band, bands, across, cell, own, upper, edges):  # type: ignore[no-untyped-def]
    """Write the up to four stretches of entries to compare a cell with; the first begins after the entry itself.

    Own band onward, and around the circle; next band to both sides, and around. A negative span is the whole circle.
    """
    row = (b * bands + band) * across
    edges[:] = 0
    edges[1] = starts[row + across]
    if own >= 0:
        if cell + own < across:
            edges[1] = starts[row + cell + own + 1]
        else:
            edges[2], edges[3] = starts[row], starts[row + cell + own - across + 1]
    if band + 1 == bands:
        return
    row += across
    left, right = cell - upper, cell + upper
    if upper < 0:
        edges[4], edges[5] = starts[row], starts[row + across]
        return
    edges[4], edges[5] = starts[row + max(0, left)], starts[row + min(across - 1, right) + 1]
    if left < 0:
        edges[6], edges[7] = starts[row + left + across], starts[row + across]
    elif right >= across:
        edges[6], edges[7] = starts[row], starts[row + right - across + 1]


@njit(cache=True, error_model="numpy")
def _sweep(rows, owner, starts, widest, loosest, primaries, low_bin, role, bands, across, half_s, near_km, buffer, found):  # type: ignore[no-untyped-def]
    """Compare the entries of neighbouring cells on straight lines; write pairs (i, j) that pass within `near_km` and twice
    the largest slack of their radial bin. Rows without a primary, and beside none, are passed over."""
    edges = np.zeros(8, np.int64)
    looked = 0
    for b in range(_BINS):
        if starts[b * bands * across] == starts[(b + 1) * bands * across]:
            continue
        for band in range(bands):
            row = (b * bands + band) * across
            if starts[row] == starts[row + across]:
                continue
            here = primaries[b, band]
            if here + (primaries[b, band + 1] if band + 1 < bands else 0) == 0:
                continue
            # Where all are primaries nobody is asked, where some are everybody is.
            some = here < starts[row + across] - starts[row]
            if not some and band + 1 < bands:
                some = primaries[b, band + 1] < starts[row + 2 * across] - starts[row + across]
            near2 = (near_km + 2.0 * loosest[b]) ** 2
            south, north = -1.0 + 2.0 * band / bands, -1.0 + 2.0 * (band + 1) / bands
            own = _cells(2.0 * widest[b], max(abs(south), abs(north)), across)
            # towards the next band, seen from the more equatorial of both
            upper = own if north > 0.0 else _cells(2.0 * widest[b], max(abs(north), abs(north + 2.0 / bands)), across)
            for cell in range(across):
                begin, end = starts[row + cell], starts[row + cell + 1]
                if begin == end:
                    continue
                _stretches(starts, b, band, bands, across, cell, own, upper, edges)
                for e in range(begin, end):
                    x, y, z, u, v, w = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3], rows[e, 4], rows[e, 5]
                    low, high = rows[e, 6], rows[e, 7]
                    edges[0] = e + 1
                    for stretch in range(0, 8, 2):
                        for f in range(edges[stretch], edges[stretch + 1]):
                            if rows[f, 6] > high or rows[f, 7] < low:
                                continue
                            if some and role[owner[e]] != 2 and role[owner[f]] != 2:
                                continue
                            dx, dy, dz = rows[f, 0] - x, rows[f, 1] - y, rows[f, 2] - z
                            du, dv, dw = rows[f, 3] - u, rows[f, 4] - v, rows[f, 5] - w
                            x2, t = dx * dx + dy * dy + dz * dz, dx * du + dy * dv + dz * dw
                            v2 = du * du + dv * dv + dw * dw + 1e-30
                            s = min(half_s, max(-half_s, -t / v2))
                            looked += 1
                            if x2 + s * (2.0 * t + s * v2) > near2:
                                continue
                            i, j = owner[e], owner[f]
                            if max(low_bin[i], low_bin[j]) != b:
                                continue
                            if found < buffer.shape[0]:
                                buffer[found, 0], buffer[found, 1] = min(i, j), max(i, j)
                            found += 1
    return found, looked


@njit(cache=True, error_model="numpy")
def _pad(speed, half_s, reach_km):  # type: ignore[no-untyped-def]
    """How far the straight line through a node may lead astray a pair that meets within `half_s`: bound of `screening`."""
    g = GRADIENT_PER_S2 * half_s
    fastest = (speed + g * reach_km) / (1.0 - g * half_s)
    return g * half_s * (0.5 * reach_km + fastest * half_s / 3.0)


@njit(cache=True, error_model="numpy")
def _pair(state, i, j, half_s, reach_km, slack_km, slow_km_s, before, after):  # type: ignore[no-untyped-def]
    """Judge one pair at one node.

    Returns (kind, s, distance, speed). Kind 0: no candidate; 1: fast, and its minimum belongs to this node; 2: slow; 3: less
    than twice as fast, told at each node as slow ones are, so that a stretch in which a pair crosses that limit has no gaps.
    """
    dx, dy, dz = state[0, j] - state[0, i], state[1, j] - state[1, i], state[2, j] - state[2, i]
    du, dv, dw = state[3, j] - state[3, i], state[4, j] - state[4, i], state[5, j] - state[5, i]
    x2, b, v2 = dx * dx + dy * dy + dz * dz, dx * du + dy * dv + dz * dw, du * du + dv * dv + dw * dw
    speed = math.sqrt(v2)
    near = reach_km + _pad(speed, half_s, reach_km) + slack_km
    s = 0.0
    if v2 > 0.0:
        s = min(half_s, max(-half_s, -b / v2))
    d2 = x2 + s * (2.0 * b + s * v2)
    if d2 > near * near:
        return 0, 0.0, 0.0, 0.0
    if speed < 2.0 * slow_km_s:
        return (2 if speed < slow_km_s else 3), s, math.sqrt(d2), speed
    guard = 0.5 + 2.0 * slack_km / speed
    t = s
    for _ in range(4):
        x, y, z, u, v, w = _flown(state[0, i], state[1, i], state[2, i], state[3, i], state[4, i], state[5, i], t)
        p, q, r, du, dv, dw = _flown(state[0, j], state[1, j], state[2, j], state[3, j], state[4, j], state[5, j], t)
        dx, dy, dz, du, dv, dw = p - x, q - y, r - z, du - u, dv - v, dw - w
        x2, b, v2 = dx * dx + dy * dy + dz * dz, dx * du + dy * dv + dz * dw, du * du + dv * dv + dw * dw
        move = -b / v2
        if abs(move) < 0.01:
            break
        onward = min(half_s + guard, max(-half_s - guard, t + move))
        if onward == t:  # held at the rim: the minimum lies outside
            break
        t = onward
    best = t + move  # of the straight line at t
    if (best < -half_s - guard and not before) or (best > half_s + guard and not after):
        return 0, 0.0, 0.0, 0.0
    held = min(half_s + guard, max(-half_s - guard, best)) - t
    d2 = x2 + held * (2.0 * b + held * v2)
    if d2 > (reach_km + slack_km) ** 2:
        return 0, 0.0, 0.0, 0.0
    return 1, best, math.sqrt(max(0.0, d2)), math.sqrt(v2)


@njit(cache=True, error_model="numpy")
def scan(state, good, slack_km, role, half_s, reach_km, slow_km_s, first, pairs, values):  # type: ignore[no-untyped-def]
    """Find the candidates of a block.

    Args:
        state: (T, 6, N) at the nodes.
        good: (T, N).
        slack_km: (N,), how far each object may leave the motion assumed, within `half_s` of a node.
        role: (N,) uint8; 0 takes no part, 1 is compared with 2 only, 2 with all.
        half_s: half the step.
        reach_km: what is looked for.
        slow_km_s: pairs slower than twice this are told unrefined.
        first: whether the window begins just before node 0.
        pairs: (M, 4) int32, written: i < j, node, kind as of `_pair`.
        values: (M, 3), written: seconds after the node, distance, speed.

    Returns:
        How many candidates there are (more than M: only M were written), and how many pairs were looked at.
    """
    nodes, count = good.shape
    low, high, rho, sine, diamond = np.empty(count), np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    low_bin, high_bin, place = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    rows, owner = np.empty((0, 8)), np.empty(0, np.int32)
    starts, fill = np.empty(0, np.int32), np.empty(0, np.int32)
    widest, loosest, primaries = np.empty(_BINS), np.empty(_BINS), np.empty((_BINS, _MOST_BANDS), np.int32)
    buffer = np.empty((1024, 2), np.int32)
    near_km = reach_km + _pad(_FASTEST_KM_S, half_s, reach_km)
    found, looked = 0, 0
    for k in range(nodes):
        largest = _survey(state[k], good[k], slack_km, role, half_s, reach_km, low, high, rho, sine, diamond, low_bin, high_bin)
        total = 0
        for i in range(count):
            total += high_bin[i] - low_bin[i] + 1
        if total == 0:
            continue
        bands = max(1, min(_MOST_BANDS, int(1.0 / largest)))
        across = max(1, min(_MOST_CELLS, int(8.0 / largest)))
        cells = _BINS * bands * across
        if starts.size < cells + 1:
            starts, fill = np.empty(cells + 1, np.int32), np.empty(cells, np.int32)
        if owner.size < total:
            rows, owner = np.empty((total + total // 4, 8)), np.empty(total + total // 4, np.int32)
        _sort(
            state[k],
            low,
            high,
            rho,
            sine,
            diamond,
            low_bin,
            high_bin,
            slack_km,
            role,
            bands,
            across,
            place,
            starts,
            fill,
            widest,
            loosest,
            primaries,
            rows,
            owner,
        )
        while True:
            near, seen = _sweep(
                rows, owner, starts, widest, loosest, primaries, low_bin, role, bands, across, half_s, near_km, buffer, 0
            )
            if near <= buffer.shape[0]:
                break
            buffer = np.empty((2 * near, 2), np.int32)
        looked += seen
        for n in range(near):
            i, j = buffer[n, 0], buffer[n, 1]
            kind, s, d, speed = _pair(
                state[k],
                i,
                j,
                half_s,
                reach_km,
                slack_km[i] + slack_km[j],
                slow_km_s,
                first and k == 0,
                k == nodes - 1,
            )
            if kind > 0:
                if found < pairs.shape[0]:
                    pairs[found, 0], pairs[found, 1], pairs[found, 2], pairs[found, 3] = i, j, k, kind
                    values[found, 0], values[found, 1], values[found, 2] = s, d, speed
                found += 1
    return found, looked


@njit(cache=True, error_model="numpy")
def _cubic(f0, f1, r0, r1, h, t):  # type: ignore[no-untyped-def]
    """Value at `t` of the cubic with values f0, f1 and rates r0, r1 at 0 and h."""
    q = t / h
    a, b = h * r0 - (f1 - f0), f1 - f0 - h * r1
    return (1.0 - q) * f0 + q * f1 + q * (1.0 - q) * (a * (1.0 - q) + b * q)


@njit(cache=True, error_model="numpy")
def _turns(f0, f1, r0, r1, h):  # type: ignore[no-untyped-def]
    """The up to two places strictly inside (0, h) where that cubic turns, in order; h where there is none."""
    rise = (f1 - f0) / h
    a, b, c = 3.0 * (r0 + r1 - 2.0 * rise) / (h * h), 2.0 * (3.0 * rise - 2.0 * r0 - r1) / h, r0
    t1, t2 = h, h
    inner = b * b - 4.0 * a * c
    if inner >= 0.0:
        q = -0.5 * (b + math.copysign(math.sqrt(inner), b))
        if a != 0.0:
            t1 = q / a
        if q != 0.0:
            t2 = c / q
    t1 = t1 if 0.0 < t1 < h else h
    t2 = t2 if 0.0 < t2 < h else h
    return min(t1, t2), max(t1, t2)


@njit(cache=True, error_model="numpy")
def _level(f0, f1, r0, r1, h, low, high, limit):  # type: ignore[no-untyped-def]
    """Where the cubic, monotone between `low` and `high`, passes `limit`: bisection."""
    below = _cubic(f0, f1, r0, r1, h, low) <= limit
    for _ in range(48):
        middle = 0.5 * (low + high)
        if (_cubic(f0, f1, r0, r1, h, middle) <= limit) == below:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(cache=True, error_model="numpy")
def stretches(run, since_s, square, rate, ok, limit):  # type: ignore[no-untyped-def]
    """Find where the piecewise cubic through samples lies at or under `limit`.

    Args:
        run: (S,) which run each sample belongs to, ascending; runs do not touch.
        since_s: (S,) ascending within a run.
        square, rate: (S,) values and their rates.
        ok: (S,) whether a sample counts; one that does not ends a stretch.
        limit: the level.

    Returns:
        Of each stretch, in order: its run, begin, end, where it is lowest, and how many minima lie inside.
    """
    count = run.size
    out = np.empty((2 * count + 1, 5))
    found = 0
    inside, enter, lowest, lowest_at, minima = False, 0.0, 0.0, 0.0, 0
    for n in range(count):
        linked = n > 0 and run[n] == run[n - 1] and ok[n] and ok[n - 1]
        if linked:
            t0, h = since_s[n - 1], since_s[n] - since_s[n - 1]
            f0, f1, r0, r1 = square[n - 1], square[n], rate[n - 1], rate[n]
            t1, t2 = _turns(f0, f1, r0, r1, h)
            low, value = 0.0, f0
            for piece in range(3):
                high = t1 if piece == 0 else (t2 if piece == 1 else h)
                if high <= low:
                    continue
                after = f1 if high == h else _cubic(f0, f1, r0, r1, h, high)
                if not inside and after <= limit:
                    inside, minima = True, 0
                    enter = t0 + _level(f0, f1, r0, r1, h, low, high, limit) if value > limit else t0 + low
                    lowest, lowest_at = after, t0 + high
                elif inside and after > limit:
                    inside = False
                    out[found, 0], out[found, 1], out[found, 2] = (
                        run[n],
                        enter,
                        t0 + _level(f0, f1, r0, r1, h, low, high, limit),
                    )
                    out[found, 3], out[found, 4] = lowest_at, minima
                    found += 1
                if inside and after < lowest:
                    lowest, lowest_at = after, t0 + high
                # A minimum: falling into this turn. A sample at which the rate changes sign turns too.
                if inside and value > after and (high < h or _rises(run, ok, square, rate, n, count)):
                    minima += 1
                low, value = high, after
        elif inside:  # the last stretch ended with its run
            out[found, 0], out[found, 1], out[found, 2] = run[n - 1], enter, since_s[n - 1]
            out[found, 3], out[found, 4] = lowest_at, minima
            found += 1
            inside = False
        if not linked and ok[n] and square[n] <= limit:
            inside, enter, lowest, lowest_at, minima = True, since_s[n], square[n], since_s[n], 0
    if inside:
        out[found, 0], out[found, 1], out[found, 2] = run[count - 1], enter, since_s[count - 1]
        out[found, 3], out[found, 4] = lowest_at, minima
        found += 1
    return out[:found, 0], out[:found, 1], out[:found, 2], out[:found, 3], out[:found, 4]


@njit(cache=True, error_model="numpy")
def _rises(run, ok, square, rate, n, count):  # type: ignore[no-untyped-def]
    """Whether the curve goes up right after sample `n`."""
    return (
        n + 1 < count
        and run[n + 1] == run[n]
        and ok[n + 1]
        and (rate[n] > 0.0 or (rate[n] == 0.0 and square[n + 1] > square[n]))
    )
