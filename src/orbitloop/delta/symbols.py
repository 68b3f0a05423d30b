"""Which counts a residual's integers are coded with: by the magnitude that is to be expected of each.

A tensor's integers are a matrix: one row per output channel, one column per input and kernel tap. The class of an integer is
its expected magnitude in half octaves:

    expected = mean magnitude of the row  x  activity of its input channel  x  activity of its kernel tap
    class of  (3 x expected + mean magnitude of its neighbours in the kernel) / 4

with classes of their own where all neighbours are zero: weights that did not move lie together. The sign is coded by whether it
is that of the neighbours' sum, in classes of how large that is against the expected magnitude (neighbouring taps of a trained
kernel move together: correlation 0.36 in the head of a YOLOv3-tiny, 3 to 6 % of its bytes). Neighbours are the taps to the left
and above; more of them said less.

The row's mean is sent, a half octave of it (a row of zeros, a channel that is skipped, is one class more, and nothing of it
follows: a long run of them costs hundredths of a bit each). Activities are learnt from the rows before, relative to their own
mean. Each class has its own adaptive counts, over all tensors of an update: the distribution around a given mean is much the
same everywhere, and need be learnt once.

Magnitudes up to 15 are symbols of their own; above that a symbol is a quarter of an octave and the rest follows as plain bits.

All is integer arithmetic; batches grow with what was seen, so that small tensors adapt at once and large ones decode fast, and
end where a tap's share of one would outgrow the caches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isqrt

import numpy as np
import numpy.typing as npt

from orbitloop.delta.rangecoder import Coder, Counts, Symbols
from orbitloop.errors import UpdateError

Ints = npt.NDArray[np.int64]
Matrix = Symbols | npt.NDArray[np.int16]

MAX_MAGNITUDE = (1 << 20) - 1
DIRECT = 16
_OCTAVES = range(4, 20)
_STARTS = np.array([*range(DIRECT), *((1 << e) + (j << (e - 2)) for e in _OCTAVES for j in range(4))], np.int64)
_WIDTHS = np.array([0] * DIRECT + [e - 2 for e in _OCTAVES for _ in range(4)], np.int64)
_BUCKETS = (np.searchsorted(_STARTS, np.arange(1 << 12), side="right") - 1).astype(np.int32)

UNIT = 1024
"""Mean magnitudes are in 1024ths."""
CLASSES = 64
"""Class 0 is a row of zeros; 1 is a mean of a 1024th; each next begins at 1.5 and 2, 3, 4, 6, 8 ... times that."""
_MEANS = np.array([0, 1, 1, *((5 + 2 * (k & 1)) << (k >> 1) >> 2 for k in range(2, CLASSES - 1))], np.int64)
_ONE = 256
_LEANS = 9
_PRIOR_ROWS = 4
_LEAST_BATCH, _MOST_OF_A_TAP = 256, 1 << 15


@dataclass(slots=True)
class Contexts:
    """The adaptive counts of one family of tensors. Both sides make them anew for each update."""

    magnitudes: dict[int, Counts] = field(default_factory=dict)
    rows: dict[int, Counts] = field(default_factory=dict)
    signs: dict[int, Counts] = field(default_factory=dict)
    seen: int = 0

    def magnitude(self, level: int) -> Counts:
        if level not in self.magnitudes:
            self.magnitudes[level] = Counts(_geometric(int(_MEANS[level % CLASSES])))
        return self.magnitudes[level]

    def sign(self, lean: int) -> Counts:
        return self.signs.setdefault(lean, Counts(np.array([240, 240], np.int64)))

    def row(self, before: int) -> Counts:
        if before not in self.rows:
            start = np.ones(CLASSES, np.int64)
            start[max(before - 1, 0) : before + 2] += 4
            self.rows[before] = Counts(start)
        return self.rows[before]


def code_matrix(coder: Coder, contexts: Contexts, symbols: Matrix, taps: int) -> None:
    """Code a matrix of integers; a decoder fills it in place.

    Args:
        symbols: (rows, columns), magnitudes up to MAX_MAGNITUDE.
        taps: neighbouring columns of one input channel (9 for a 3 x 3 kernel); columns is a multiple of it.

    Raises:
        UpdateError: the coded data is corrupt.
    """
    rows, columns = symbols.shape
    if not symbols.size:
        return
    activity = _Activity(columns, taps)
    before, start = 0, 0
    while start < rows:
        wanted = min(max(contexts.seen // 8, _LEAST_BATCH), _MOST_OF_A_TAP * taps)
        block = symbols[start : start + max(1, wanted // columns)]
        levels = _code_levels(coder, contexts, block, before)
        before = int(levels[-1])
        active = np.flatnonzero(levels)
        if len(active) == len(block):
            _code_block(coder, contexts, block, levels, activity)
        else:
            part = block[active]
            if len(active):
                _code_block(coder, contexts, part, levels[active], activity)
            block[:] = 0
            block[active] = part
        contexts.seen += len(active) * columns
        start += len(block)


def _class_of(means: Ints) -> Symbols:
    """Return the class (N,), 1 to CLASSES - 1, of magnitudes in 1024ths: exponent and first bit of a float32."""
    bits = means.astype(np.float32).view(np.int32)
    bits >>= 22
    bits -= 2 * 127 - 1
    return np.clip(bits, 1, CLASSES - 1, out=bits)


def _bucket_of(magnitudes: Symbols) -> Symbols:
    """Return the symbol (N,) of each magnitude."""
    if len(magnitudes) and int(magnitudes.max()) >= len(_BUCKETS):
        return (np.searchsorted(_STARTS, magnitudes, side="right") - 1).astype(np.int32)
    return _BUCKETS[magnitudes]


def row_levels(symbols: Matrix) -> Ints:
    """Return the class (rows,) of each row's mean magnitude."""
    sums = np.abs(symbols).sum(axis=1, dtype=np.int64)
    levels = _class_of(sums * UNIT // symbols.shape[1])
    return np.where(sums > 0, levels, 0)


def _code_levels(coder: Coder, contexts: Contexts, block: Matrix, before: int) -> Ints:
    levels = row_levels(block).astype(np.int32)
    for i in range(len(levels)):
        levels[i : i + 1] = coder.code(contexts.row(before), levels[i : i + 1])
        before = int(levels[i])
    return levels.astype(np.int64)


def _code_block(coder: Coder, contexts: Contexts, block: Matrix, levels: Ints, activity: _Activity) -> None:
    """Code rows, tap by tap: each tap knows its left and upper neighbours in the kernel."""
    means, taps = _MEANS[levels], activity.taps
    ratios = np.ascontiguousarray(activity.ratios().reshape(-1, taps).T)
    planes = np.ascontiguousarray(block.reshape(-1, taps).T, np.int32)  # (taps, rows x inputs)
    sizes = np.empty_like(planes)
    for tap in range(taps):
        expected = ((means[:, None] * ratios[tap]) >> 8).reshape(-1)
        near = _neighbours(tap, taps)
        planes[tap] = _code_tap(coder, contexts, planes[tap], expected, [(sizes[other], planes[other]) for other in near])
        np.abs(planes[tap], out=sizes[tap])
    block[:] = planes.T.reshape(block.shape)
    activity.learn(sizes.reshape(taps, len(block), -1), means)


def _neighbours(tap: int, taps: int) -> list[int]:
    """Return the taps left of and above a tap of a square kernel; only the left one where it is not square."""
    side = isqrt(taps) if isqrt(taps) ** 2 == taps else taps
    return [other for other, there in ((tap - 1, tap % side > 0), (tap - side, tap >= side)) if there]


def _code_tap(coder: Coder, contexts: Contexts, flat: Symbols, expected: Ints, near: list[tuple[Symbols, Symbols]]) -> Symbols:
    """Code one tap of all kernels of a block (N,), of which a magnitude is expected (N,).

    `near` has magnitudes and values (N,) of the neighbours.
    """
    own = classes = _class_of(expected)
    lean: Symbols | None = None
    if near:
        around, lean = near[0]
        for more, values in near[1:]:
            around, lean = around + more, lean + values
        unit = UNIT // len(near)
        classes = _class_of((3 * expected + around * unit) >> 2)
        still = around == 0
        classes[still] = own[still] + CLASSES
    order, runs = _sorted(classes, 2 * CLASSES)
    wanted = np.abs(flat)[order]
    buckets = _bucket_of(wanted)
    for level, part in runs:
        buckets[part] = coder.code(contexts.magnitude(level), buckets[part])
    magnitudes = np.empty_like(wanted)
    magnitudes[order] = _with_rest(coder, buckets, wanted)
    moved = np.flatnonzero(magnitudes)
    against, strengths = np.zeros(len(moved), np.bool_), np.zeros(len(moved), np.int32)
    if lean is not None:
        lean = lean[moved]
        against = lean < 0
        strengths = np.clip(_class_of(np.abs(lean) * unit) - own[moved] + 4, 1, _LEANS - 1)
        strengths[lean == 0] = 0
    order, runs = _sorted(strengths, _LEANS)
    turned = ((flat[moved] < 0) ^ against)[order].astype(np.int32)
    for strength, part in runs:
        turned[part] = coder.code(contexts.sign(strength), turned[part])
    negative = np.empty(len(moved), np.bool_)
    negative[order] = turned > 0
    magnitudes[moved[negative ^ against]] *= -1
    return magnitudes


def _sorted(classes: Symbols, count: int) -> tuple[Ints, list[tuple[int, slice]]]:
    """Return an order (N,) in which classes ascend, and where the members of each class that occurs lie in it."""
    sizes = np.bincount(classes, minlength=count)
    order: Ints = np.argsort(classes.astype(np.uint8), kind="stable")
    ends = np.cumsum(sizes).tolist()
    return order, [(int(level), slice(ends[level] - int(sizes[level]), ends[level])) for level in np.flatnonzero(sizes)]


def _with_rest(coder: Coder, buckets: Symbols, wanted: Symbols) -> Symbols:
    """Code the plain low bits of the magnitudes whose symbol is a range; return all magnitudes."""
    if not len(buckets) or int(buckets.max()) < DIRECT:
        return buckets
    ranges = np.flatnonzero(buckets >= DIRECT)
    found = buckets.copy()
    starts, widths, wanted = _STARTS[buckets[ranges]].astype(np.int32), _WIDTHS[buckets[ranges]], wanted[ranges]
    for width in np.flatnonzero(np.bincount(widths)):
        here = np.flatnonzero(widths == width)
        starts[here] += coder.raw(int(width), wanted[here] - starts[here])
    found[ranges] = starts
    return found


class _Activity:
    """How active each input channel and kernel tap was in the rows before, relative to their mean, in 256ths."""

    def __init__(self, columns: int, taps: int) -> None:
        if taps < 1 or columns % taps:
            raise UpdateError(f"{columns} columns are not inputs of {taps} taps")
        self._inputs, self._taps = np.zeros(columns // taps, np.int64), np.zeros(taps, np.int64)
        self._rows = 0
        self.taps = taps

    def ratios(self) -> Ints:
        """Return the expected activity (columns,) of the next row."""
        if not self._rows:
            return np.full(len(self._inputs) * len(self._taps), _ONE, np.int64)
        inputs, taps = self._relative(self._inputs, len(self._taps)), self._relative(self._taps, len(self._inputs))
        return ((inputs[:, None] * taps[None, :]) // _ONE).reshape(-1)

    def _relative(self, sums: Ints, summed: int) -> Ints:
        mean = int(sums.sum()) // len(sums) // summed // self._rows  # of one integer
        prior = _PRIOR_ROWS * max(mean, 1)
        return (sums // summed + prior) * _ONE // (mean * self._rows + prior)

    def learn(self, sizes: Symbols, means: Ints) -> None:
        """Count magnitudes (taps, rows, inputs) of rows whose mean is known (rows,)."""
        if len(self._inputs) * len(self._taps) < 2:
            return
        weights = (UNIT * _ONE << 12) // means
        for tap in range(self.taps):
            shares = np.minimum((sizes[tap] * weights[:, None]) >> 12, 16 * _ONE).sum(axis=0)
            self._inputs += shares
            self._taps[tap] += shares.sum()
        self._rows += len(means)


def _geometric(mean: int) -> Ints:
    """Return start counts of the buckets for a mean magnitude in 1024ths: a geometric distribution, some two symbols' worth."""
    share, left, result = (mean << 32) // (mean + UNIT), 1 << 32, []
    ends = [*_STARTS[1:].tolist(), MAX_MAGNITUDE + 1]
    for start, end in zip(_STARTS.tolist(), ends, strict=True):
        power, base, factor = end - start, share, 1 << 32  # share^(end - start), by squaring
        while power:
            if power & 1:
                factor = (factor * base) >> 32
            base = (base * base) >> 32
            power >>= 1
        after = (left * factor) >> 32
        result.append(1 + ((left - after) * 96 >> 32))
        left = after
    return np.array(result, np.int64)
