"""The relaxed problem of each satellite, given what a tick of each antenna costs. Theory: `orbitloop.orbit.schedule.bounds`."""

# mypy: disable-error-code="no-any-return"
# What numba compiles is untyped to mypy.
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.schedule.jit import njit
from orbitloop.orbit.schedule.kernels import Tables

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]


@njit(cache=True)
def _sift_down(key: Floats, item: Longs, size: int, n: int) -> None:
    """Let entry n of a heap (smallest key first) sink to its place."""
    k, i = key[n], item[n]
    while True:
        child = 2 * n + 1
        if child >= size:
            break
        if child + 1 < size and key[child + 1] < key[child]:
            child += 1
        if key[child] >= k:
            break
        key[n], item[n] = key[child], item[child]
        n = child
    key[n], item[n] = k, i


@njit(cache=True)
def _sift_up(key: Floats, item: Longs, n: int) -> None:
    """Let entry n of a heap rise to its place."""
    k, i = key[n], item[n]
    while n > 0:
        parent = (n - 1) // 2
        if key[parent] <= k:
            break
        key[n], item[n] = key[parent], item[parent]
        n = parent
    key[n], item[n] = k, i


@njit(cache=True)
def cheapest(price: Floats, row: int, first: int, last: int, tick_per_bin: int) -> tuple[float, int]:
    """Return the lowest price of a row over the bins that ticks [first, last) touch, and the bin."""
    a, b = first // tick_per_bin, max(first, last - 1) // tick_per_bin
    a, b = min(a, price.shape[1] - 1), min(b, price.shape[1] - 1)
    best = a
    for k in range(a + 1, b + 1):
        if price[row, k] < price[row, best]:
            best = k
    return price[row, best], best


@njit(cache=True)
def satellite_best(
    t: Tables,
    j: int,
    by_close: npt.NDArray[np.int32],
    layer: int,
    worth: Floats,
    slope: Floats,
    ground: Floats,
    board: Floats,
    per_bin: int,
    ground_use: Floats,
    board_use: Floats,
    flow: Floats,
) -> float:
    """Return the most that satellite j can gain by its relaxed problem, prices paid; add what it uses to the last three arrays.

    `layer` c stands for the bytes of classes 0 to c, at the value by which they exceed those after c; only the last layer
    pays. `by_close` are the satellite's opportunities by their close; `worth` and `slope` (C,) the layers' values.
    """
    knots = t.profiles.shape[1] - 1
    size = by_close.size * knots
    key, item, amount = np.empty(size), np.empty(size, np.int64), np.empty(size)
    count, total, gain = 0, 0.0, 0.0
    pays = layer == worth.size - 1
    initial, rate = 0.0, 0.0
    for c in range(layer + 1):
        initial += t.initial[j, c]
        rate += t.rate[j, c]
    for n in range(by_close.size):
        i = by_close[n]
        first = t.open[i] + t.guard
        length = t.close[i] - t.guard - first
        if length <= 0 or t.antennas[t.sta[i]] == 0:
            continue
        over, _ = cheapest(ground, t.sta[i], t.open[i], t.close[i] + t.setup[t.sta[i]], per_bin)
        share = (2 * t.guard + t.setup[t.sta[i]]) / length
        row, step = t.profile[i], length / knots
        for k in range(knots):
            room = t.bytes[i] * (t.profiles[row, k + 1] - t.profiles[row, k])
            if room <= 0.0:
                continue
            begin, end = int(first + k * step), int(first + (k + 1) * step) + 1
            value = worth[layer] + slope[layer] * (t.horizon - begin)
            if pays:
                fee, _ = cheapest(ground, t.sta[i], begin, end, per_bin)
                own, _ = cheapest(board, j, begin, end, per_bin)
                value -= (fee + own + over * share) * step / room
            if value <= 0.0:
                continue
            place = n * knots + k
            amount[place] = room
            key[count], item[count] = value, place
            _sift_up(key, item, count)
            count += 1
            total += room
            gain += value * room
        supply = initial + rate * t.close[i]
        while total > supply and count > 0:
            top = item[0]
            cut = min(amount[top], total - supply)
            amount[top] -= cut
            total -= cut
            gain -= cut * key[0]
            if amount[top] > 0.0:
                break
            count -= 1
            key[0], item[0] = key[count], item[count]
            _sift_down(key, item, count, 0)
    if pays:
        for h in range(count):
            n, k = item[h] // knots, item[h] % knots
            i = by_close[n]
            first = t.open[i] + t.guard
            length = t.close[i] - t.guard - first
            row, step = t.profile[i], length / knots
            used = step * amount[item[h]] / (t.bytes[i] * (t.profiles[row, k + 1] - t.profiles[row, k]))
            begin, end = int(first + k * step), int(first + (k + 1) * step) + 1
            sta = t.sta[i]
            _, where = cheapest(ground, sta, begin, end, per_bin)
            ground_use[sta, where] += used
            _, where = cheapest(board, j, begin, end, per_bin)
            board_use[j, where] += used
            _, where = cheapest(ground, sta, t.open[i], t.close[i] + t.setup[sta], per_bin)
            ground_use[sta, where] += used * (2 * t.guard + t.setup[sta]) / length
            flow[i] += used / length
    return gain


@njit(cache=True)
def all_best(
    t: Tables,
    order: npt.NDArray[np.int32],
    worth: Floats,
    slope: Floats,
    ground: Floats,
    board: Floats,
    per_bin: int,
    ground_use: Floats,
    board_use: Floats,
    flow: Floats,
) -> float:
    """Return the sum over satellites and layers of `satellite_best`; `worth` and `slope` are (N, C), by layer."""
    total = 0.0
    for j in range(worth.shape[0]):
        own = order[t.sat_ptr[j] : t.sat_ptr[j + 1]]
        for layer in range(worth.shape[1]):
            total += satellite_best(t, j, own, layer, worth[j], slope[j], ground, board, per_bin, ground_use, board_use, flow)
    return total
