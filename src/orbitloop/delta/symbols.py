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

All is integer arithmetic; batches grow with what was seen, so that small tensors adapt at once and large ones decode fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

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
_LEAST_BATCH, _MOST_BATCH = 256, 1 << 17


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
        wanted = min(max(contexts.seen // 8, _LEAST_BATCH), _MOST_BATCH)
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


def _class_of(means: Ints) -> Ints:
    """Return the class (N,), 1 to CLASSES - 1, of magnitudes in 1024ths: exponent and first bit of a float32."""
    bits = np.maximum(means, 1).astype(np.float32).view(np.int32)
    classes: Ints = np.minimum((bits >> 22) - (2 * 127 - 1), CLASSES - 1).astype(np.int64)
    return classes


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
    means = _MEANS[levels]
    expected = ((means[:, None] * activity.ratios()[None, :]) >> 8).reshape(len(block), -1, activity.taps)
    cube = block.reshape(expected.shape)
    for tap in range(activity.taps):
        near = [cube[:, :, other].astype(np.int64).reshape(-1) for other in _neighbours(tap, activity.taps)]
        own = expected[:, :, tap].reshape(-1)
        flat = cube[:, :, tap].astype(np.int32).reshape(-1)
        cube[:, :, tap] = _code_tap(coder, contexts, flat, own, near).reshape(cube.shape[:2])
    block[:] = cube.reshape(block.shape)
    activity.learn(block, means)


def _neighbours(tap: int, taps: int) -> list[int]:
    """Return the taps left of and above a tap of a square kernel; only the left one where it is not square."""
    side = isqrt(taps) if isqrt(taps) ** 2 == taps else taps
    return [other for other, there in ((tap - 1, tap % side > 0), (tap - side, tap >= side)) if there]


def _code_tap(coder: Coder, contexts: Contexts, flat: Symbols, expected: Ints, near: list[Ints]) -> Symbols:
    """Code one tap of all kernels of a block (N,), of which a magnitude is expected (N,) and neighbours are known (N,)."""
    own = classes = _class_of(expected)
    lean = np.zeros(len(flat), np.int64)
    if near:
        sizes, lean = np.abs(near[0]), near[0]
        for one in near[1:]:
            sizes, lean = sizes + np.abs(one), lean + one
        unit = UNIT // len(near)
        classes = np.where(sizes == 0, CLASSES + own, _class_of((3 * expected + sizes * unit) >> 2))
        lean *= unit
    magnitudes = np.abs(flat)
    for level, here in _groups(classes, 2 * CLASSES):
        wanted = magnitudes[here]
        buckets = coder.code(contexts.magnitude(level), _bucket_of(wanted))
        plain = int(buckets.max()) < DIRECT
        magnitudes[here] = buckets if plain else _with_rest(coder, buckets, wanted)
    moved = np.flatnonzero(magnitudes)
    lean = lean[moved]
    against = lean < 0
    strengths = np.where(lean == 0, 0, np.clip(_class_of(np.abs(lean)) - own[moved] + 4, 1, _LEANS - 1))
    turned = (flat[moved] < 0) ^ against
    for strength, here in _groups(strengths, _LEANS):
        turned[here] = coder.code(contexts.sign(strength), turned[here].astype(np.int32)) > 0
    magnitudes[moved[turned ^ against]] *= -1
    return magnitudes


def _groups(classes: Ints, count: int) -> Iterator[tuple[int, Any]]:
    """Yield each class that occurs, in ascending order, and the indices of its members."""
    known = np.bincount(classes, minlength=count)
    narrow = classes.astype(np.uint8)
    for level in np.flatnonzero(known):
        yield int(level), np.flatnonzero(narrow == level) if known[level] < len(classes) else slice(None)


def _with_rest(coder: Coder, buckets: Symbols, wanted: Symbols) -> Symbols:
    """Code the plain low bits of the magnitudes whose symbol is a range; return all magnitudes."""
    result = _STARTS[buckets].astype(np.int32)
    widths = _WIDTHS[buckets]
    for width in np.flatnonzero(np.bincount(widths)):
        if width:
            here = np.flatnonzero(widths == width)
            result[here] += coder.raw(int(width), wanted[here] - result[here])
    return result


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

    def learn(self, block: Matrix, means: Ints) -> None:
        """Count rows (N, columns) whose mean magnitudes are known (N,)."""
        if len(self._inputs) * len(self._taps) < 2:
            return
        weights = (UNIT * _ONE << 12) // means
        shares = np.minimum((np.abs(block.astype(np.int64)) * weights[:, None]) >> 12, 16 * _ONE)
        cube = shares.sum(axis=0).reshape(len(self._inputs), len(self._taps))
        self._inputs += cube.sum(axis=1)
        self._taps += cube.sum(axis=0)
        self._rows += len(block)


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
