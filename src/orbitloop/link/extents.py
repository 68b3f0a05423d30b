"""A set of byte ranges: what of a file has arrived, or what of it is still to be sent.

Leaves to others: the bytes themselves, and any limit on their number. Ranges are half-open [start, end), kept sorted,
disjoint and never touching, so that equal sets have equal forms. Bytes mostly come in order: adding at the end is O(1),
elsewhere a bisection and one splice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any


class Extents:
    """Sorted, disjoint, half-open byte ranges."""

    __slots__ = ("_ends", "_starts", "_total")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._total = 0
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """Return the number of ranges (not of bytes)."""
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extents) and self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Extents({list(self)})"

    @property
    def total_bytes(self) -> int:
        """Bytes covered."""
        return self._total

    @property
    def end(self) -> int:
        """The byte after the last covered one; 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> int:
        """Cover [start, end); return how many bytes were not covered before.

        Raises:
            ValueError: the range is negative or backward.
        """
        _check(start, end)
        if start == end:
            return 0
        if self._ends and start == self._ends[-1]:  # the common case: in order
            self._ends[-1] = end
            self._total += end - start
            return end - start
        first = bisect_left(self._ends, start)  # the first range that touches or follows
        last = bisect_right(self._starts, end)  # one past the last range that touches
        new_start, new_end, known = start, end, 0
        if first < last:
            new_start = min(start, self._starts[first])
            new_end = max(end, self._ends[last - 1])
            known = sum(e - s for s, e in zip(self._starts[first:last], self._ends[first:last], strict=True))
        self._starts[first:last] = [new_start]
        self._ends[first:last] = [new_end]
        gained = (new_end - new_start) - known
        self._total += gained
        return gained

    def remove(self, start: int, end: int) -> int:
        """Uncover [start, end); return how many bytes were covered before.

        Raises:
            ValueError: the range is negative or backward.
        """
        _check(start, end)
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if start == end or first >= last:
            return 0
        before = sum(e - s for s, e in zip(self._starts[first:last], self._ends[first:last], strict=True))
        left = [(self._starts[first], start)] if self._starts[first] < start else []
        right = [(end, self._ends[last - 1])] if self._ends[last - 1] > end else []
        rest = left + right
        self._starts[first:last] = [s for s, _ in rest]
        self._ends[first:last] = [e for _, e in rest]
        gone = before - sum(e - s for s, e in rest)
        self._total -= gone
        return gone

    def within(self, start: int, end: int) -> Extents:
        """Return what is covered inside [start, end)."""
        _check(start, end)
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        ranges = zip(self._starts[first:last], self._ends[first:last], strict=True)
        return Extents((max(s, start), min(e, end)) for s, e in ranges)

    def missing(self, start: int, end: int) -> Extents:
        """Return what is not covered inside [start, end)."""
        gaps = Extents()
        at = start
        for s, e in self.within(start, end):
            gaps.add(at, s)
            at = e
        gaps.add(at, end)
        return gaps

    def is_complete(self, total_bytes: int) -> bool:
        """Say whether [0, total_bytes) is covered; nothing is always covered."""
        return total_bytes == 0 or (bool(self._starts) and self._starts[0] == 0 and self._ends[0] >= total_bytes)

    def first(self, max_bytes: int) -> tuple[int, int]:
        """Return the lowest covered range, cut to `max_bytes`; (0, 0) when empty."""
        if not self._starts:
            return 0, 0
        start = self._starts[0]
        return start, min(self._ends[0], start + max_bytes)

    def to_json(self) -> list[list[int]]:
        """Return [[start, end], ...]."""
        return [[s, e] for s, e in self]

    @classmethod
    def from_json(cls, value: Any) -> Extents:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError: a range is malformed (the caller re-raises as StateError).
        """
        return cls((int(start), int(end)) for start, end in value)


def _check(start: int, end: int) -> None:
    if not 0 <= start <= end:
        raise ValueError(f"not a byte range: [{start}, {end})")
