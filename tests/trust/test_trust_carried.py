"""Carried metadata: the same files come out, small in steady state; anything else is refused with the one error."""

from __future__ import annotations

import contextlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf_world import World

from orbitloop.errors import TrustError
from orbitloop.records.wire import pack
from orbitloop.trust.carried import MAX_CARRIED_BYTES, pack_metadata, unpack_metadata
from orbitloop.trust.refresh import Believed, Files, verify_target

GOOD = pack_metadata(World().release())


def frame(record: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(record)


def test_files_come_back():
    files = World().release()
    assert unpack_metadata(pack_metadata(files)) == files


def test_in_steady_state_it_is_far_below_two_kilobytes():
    """Two tenants, four satellites, four earlier targets still named, as after months."""
    world = World()
    world.contacts = {f"sat-{i}": 1000 + i for i in range(4)}
    believed = Believed.anchor(world.anchor)
    sizes = []
    for number in range(1, 9):
        path, content = f"farm/fields/{number}-0123456789ab", b"m%d" % number
        world.contacts = {name: count + 9 for name, count in world.contacts.items()}
        files = world.release(path, content)
        if number > 1:
            files = {name: data for name, data in files.items() if not name.endswith(".targets.json")}
        section = pack_metadata(files)
        believed = verify_target(believed, Files(unpack_metadata(section)), path, content, tenant="farm").believed
        sizes.append(len(section))
    assert sizes[0] < 1300
    assert max(sizes[1:]) < 850
    assert abs(sizes[-1] - sizes[-2]) < 20, "it does not grow for ever"


BAD = {
    "empty": b"",
    "junk": b"junk" * 20,
    "truncated": GOOD[:-3],
    "goes on": GOOD + b"x",
    "bomb": frame(bytes(1 << 26)),
    "no stated size": zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100),
    "just over the limit": frame(bytes(MAX_CARRIED_BYTES + 1)),
    "no record": frame(b"x" * 100),
    "another record": frame(pack("sample", 1, {}, {})),
    "future": frame(pack("trust", 2, {}, {})),
    "fields": frame(pack("trust", 1, {"x": 1}, {})),
    "endless files": frame(pack("trust", 1, {}, {f"{i}.root.json": b"" for i in range(1000)})),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_refused(case):
    with pytest.raises(TrustError):
        unpack_metadata(BAD[case])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.binary(max_size=50))
def test_damage_is_refused_with_the_one_error(place, change, other):
    raw = bytearray(GOOD)
    raw[place] ^= change
    for data in (bytes(raw), GOOD[:place], other):
        with contextlib.suppress(TrustError):
            assert unpack_metadata(data) == unpack_metadata(GOOD)  # a bit of the frame header that says nothing
