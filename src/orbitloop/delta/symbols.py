"""Which counts a residual's integers are coded with: by the magnitude that is to be expected of each.

A tensor's integers are a matrix: one row per output channel, one column per input and kernel tap. What the neighbours say of an
integer is how large it will be, hardly ever which sign it has. So the class of an integer is its expected magnitude, in
half octaves:

    expected = mean magnitude of the row  x  activity of its input channel  x  activity of its kernel tap

The row's mean is sent, a half octave of it (a row of zeros, a channel that is skipped, is one class more, and nothing of it
follows: a long run of them costs hundredths of a bit each). Activities are learnt from the rows before, relative to their own
mean. Each class has its own adaptive counts, over all tensors of an update: the distribution around a given mean is much the
same everywhere, and need be learnt once.

Magnitudes up to 15 are symbols of their own; above that a symbol is a quarter of an octave and the rest follows as plain bits.

All is integer arithmetic; batches grow with what was seen, so that small tensors adapt at once and large ones decode fast.
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
BUCKETS = len(_STARTS)

UNIT = 1024
"""Mean magnitudes are in 1024ths."""
_EDGES = np.array([isqrt(1 << k) for k in range(3, 61)], np.int64)
"""Half octaves: class 1 below the first, 2 from there on; 0 is a row of zeros."""
CLASSES = len(_EDGES) + 2
_MEANS = np.array([0, 1, *(isqrt(isqrt(1 << (2 * k + 1))) for k in range(3, 61))], np.int64)
_ONE = 256
_PRIOR_ROWS = 4
_LEAST_BATCH, _MOST_BATCH = 256, 1 << 15


@dataclass(slots=True)
class Contexts:
    """The adaptive counts of one family of tensors. Both sides make them anew for each update."""

    magnitudes: dict[int, Counts] = field(default_factory=dict)
    rows: dict[int, Counts] = field(default_factory=dict)
    signs: Counts = field(default_factory=lambda: Counts(np.array([240, 240], np.int64)))
    seen: int = 0

    def magnitude(self, level: int) -> Counts:
        if level not in self.magnitudes:
            self.magnitudes[level] = Counts(_geometric(int(_MEANS[level])))
        return self.magnitudes[level]

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


def row_levels(symbols: Matrix) -> Ints:
    """Return the class (rows,) of each row's mean magnitude."""
    sums = np.abs(symbols).sum(axis=1, dtype=np.int64)
    levels = 1 + np.searchsorted(_EDGES, sums * UNIT // symbols.shape[1], side="right")
    return np.where(sums > 0, levels, 0)


def _code_levels(coder: Coder, contexts: Contexts, block: Matrix, before: int) -> Ints:
    levels = row_levels(block).astype(np.int32)
    for i in range(len(levels)):
        levels[i : i + 1] = coder.code(contexts.row(before), levels[i : i + 1])
        before = int(levels[i])
    return levels.astype(np.int64)


def _code_block(coder: Coder, contexts: Contexts, block: Matrix, levels: Ints, activity: _Activity) -> None:
    means = _MEANS[levels]
    expected = np.searchsorted(_EDGES, (means[:, None] * activity.ratios()[None, :]) // _ONE, side="right")
    classes = np.minimum(expected + 1, CLASSES - 1).astype(np.uint8).reshape(-1)
    flat = block.reshape(-1)
    magnitudes = np.abs(flat).astype(np.int32)
    known = np.bincount(classes, minlength=CLASSES)
    for level in np.flatnonzero(known):
        here = np.flatnonzero(classes == level) if known[level] < len(flat) else slice(None)
        wanted = magnitudes[here]
        symbols = (np.searchsorted(_STARTS, wanted, side="right") - 1).astype(np.int32)
        buckets = coder.code(contexts.magnitude(int(level)), symbols)
        if int(buckets.max()) < DIRECT:
            magnitudes[here] = buckets
        else:
            magnitudes[here] = _with_rest(coder, buckets, wanted)
    moved = np.flatnonzero(magnitudes)
    negative = coder.code(contexts.signs, (flat[moved] < 0).astype(np.int32))
    flat[:] = magnitudes
    flat[moved[negative > 0]] *= -1
    block[:] = flat.reshape(block.shape)
    activity.learn(block, means)


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
        shares = np.minimum(np.abs(block.astype(np.int64)) * (UNIT * _ONE) // means[:, None], 16 * _ONE)
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
