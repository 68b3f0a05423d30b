"""Integers to bits and back: an arithmetic coder over adaptive counts, the same on every machine.

The coder is `constriction`'s range coder (Martin, "Range encoding", 1979; 24-bit probabilities). A model is a row of integer
counts. Both sides start with the same counts, code a batch of symbols with them, and then count that batch: so no table of
probabilities goes up, and there is nothing that two machines could round in two ways. The library turns counts into its fixed
point by one division, one multiplication and one truncation in float32. Counts and their sums stay below 2^24, where float32 is
exact, and IEEE 754 fixes the rest; no logarithm, no exponential. (`perfect=True` would call log1p, and is never asked for.)

`Encoder`, `Decoder` and `Meter` have the one method `code`. A caller that passes the symbols through it writes them, reads
them, or learns their price, by one and the same path: a reader cannot differ from its writer.

Where the library is not installed, `Meter` still tells prices, and the other two refuse.

It leaves to `symbols` which counts a symbol is coded with.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orbitloop.errors import UpdateError

try:
    import constriction
except ImportError:  # a board for which there is no wheel: it flies on, and takes payloads without a stream
    constriction = None

Symbols = npt.NDArray[np.int32]

GAIN = 24
"""What one seen symbol adds; a start count of 1 is then a 24th of a symbol."""
MAX_TOTAL = 1 << 21
"""Above this all counts are halved, before they are used again."""


def _library() -> Any:
    """Return the coder.

    Raises:
        UpdateError: it is not installed here.
    """
    if constriction is None:
        remedy = "install constriction, or send updates with the codec `zstd`"
        raise UpdateError("the entropy coder is not installed here", remedy=remedy)
    return constriction


class Counts:
    """An adaptive model over 0 .. n-1."""

    __slots__ = ("_counts", "_gain", "_model", "_total")

    def __init__(self, start: npt.NDArray[np.int64], gain: int = GAIN) -> None:
        self._counts, self._gain = start.astype(np.int64), gain
        self._total = int(self._counts.sum())
        self._model: object | None = None

    def model(self) -> object:
        if self._model is None:
            self._model = _library().stream.model.Categorical(self._counts.astype(np.float32), perfect=False)
        return self._model

    def bits(self, symbols: Symbols) -> float:
        """Return the price of symbols."""
        shares = self._counts[symbols] / self._total
        return float(-np.log2(np.maximum(shares, 2.0**-24)).sum())

    def learn(self, symbols: Symbols) -> None:
        """Count a batch that was coded."""
        self._counts += self._gain * np.bincount(symbols, minlength=len(self._counts))
        self._total += self._gain * len(symbols)
        while self._total > MAX_TOTAL:
            self._counts = (self._counts + 1) >> 1
            self._total = int(self._counts.sum())
        self._model = None


class Coder(Protocol):
    """One direction of coding."""

    def code(self, counts: Counts, symbols: Symbols) -> Symbols:
        """Take a batch of symbols over their counts; return them as the other side has them. The counts have then learnt them.

        A decoder looks only at how many are asked for.
        """

    def raw(self, width: int, symbols: Symbols) -> Symbols:
        """Take integers of `width` bits (up to 20), all equally likely."""


class Encoder:
    """Writes."""

    def __init__(self) -> None:
        self._coder = _library().stream.queue.RangeEncoder()

    def code(self, counts: Counts, symbols: Symbols) -> Symbols:
        if len(symbols):
            self._coder.encode(symbols, counts.model())
            counts.learn(symbols)
        return symbols

    def raw(self, width: int, symbols: Symbols) -> Symbols:
        if width and len(symbols):
            self._coder.encode(symbols, _library().stream.model.Uniform(1 << width))
        return symbols

    def data(self) -> bytes:
        """Return what was written. Zeros at the end are left out: the reader goes on with zeros."""
        return bytes(self._coder.get_compressed().astype(">u4").tobytes()).rstrip(b"\0")


class Decoder:
    """Reads.

    Args:
        data: what an `Encoder` gave, or anything at all.
    """

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise UpdateError("coded stream ends with a zero, which no writer leaves there")
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = _library().stream.queue.RangeDecoder(words)

    def code(self, counts: Counts, symbols: Symbols) -> Symbols:
        if not len(symbols):
            return symbols
        found = self._decode(counts.model(), len(symbols))
        counts.learn(found)
        return found

    def raw(self, width: int, symbols: Symbols) -> Symbols:
        if not width or not len(symbols):
            return np.zeros(len(symbols), np.int32)
        return self._decode(_library().stream.model.Uniform(1 << width), len(symbols))

    def finish(self) -> None:
        """Hold the end of the data against the end of what was read.

        Raises:
            UpdateError: there is more.
        """
        if not self._coder.maybe_exhausted():
            raise UpdateError("coded stream goes on after its last tensor")

    def _decode(self, model: object, count: int) -> Symbols:
        try:
            found: Symbols = self._coder.decode(model, count)
        except (AssertionError, ValueError) as error:  # what the library raises on words that no encoder writes
            raise UpdateError("coded stream is corrupt") from error
        return found


class Meter:
    """Writes nothing and knows the price: `bits` so far, within a thousandth of what an `Encoder` writes."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, counts: Counts, symbols: Symbols) -> Symbols:
        if len(symbols):
            self.bits += counts.bits(symbols)
            counts.learn(symbols)
        return symbols

    def raw(self, width: int, symbols: Symbols) -> Symbols:
        self.bits += width * len(symbols)
        return symbols
