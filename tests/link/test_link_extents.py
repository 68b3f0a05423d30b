"""Extents against a plain bitmap."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.link.extents import Extents

SIZE = 60
RANGES = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair)))


def runs(bits: list[bool]) -> list[list[int]]:
    """Return [[start, end], ...] of the set bits."""
    found: list[list[int]] = []
    for at, bit in enumerate(bits):
        if bit and found and found[-1][1] == at:
            found[-1][1] = at + 1
        elif bit:
            found.append([at, at + 1])
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), RANGES), max_size=25), RANGES)
def test_it_does_what_a_bitmap_does(steps, probe):
    extents, bits = Extents(), [False] * SIZE
    for is_add, (start, end) in steps:
        changed = sum(bit is not is_add for bit in bits[start:end])
        bits[start:end] = [is_add] * (end - start)
        assert (extents.add(start, end) if is_add else extents.remove(start, end)) == changed
        assert extents.to_json() == runs(bits)
        assert extents.total_bytes == sum(bits)
    start, end = probe
    inside = [bit and start <= at < end for at, bit in enumerate(bits)]
    outside = [not bit and start <= at < end for at, bit in enumerate(bits)]
    assert extents.within(start, end).to_json() == runs(inside)
    assert extents.missing(start, end).to_json() == runs(outside)
    assert extents.is_complete(end) == all(bits[:end])
    assert extents.end == max((at + 1 for at, bit in enumerate(bits) if bit), default=0)
    assert Extents.from_json(extents.to_json()) == extents


def test_first_is_the_lowest_range_cut_to_size():
    extents = Extents([(10, 20), (30, 40)])
    assert extents.first(4) == (10, 14)
    assert extents.first(100) == (10, 20)
    assert Extents().first(100) == (0, 0)


@pytest.mark.parametrize("bad", [(-1, 3), (5, 4)])
def test_a_range_that_is_none_is_refused(bad):
    extents = Extents([(0, 2)])
    for method in (extents.add, extents.remove, extents.within):
        with pytest.raises(ValueError, match="not a byte range"):
            method(*bad)
    assert extents.to_json() == [[0, 2]]
