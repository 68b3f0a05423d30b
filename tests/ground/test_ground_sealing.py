"""Key files of those who seal, and nonces that never come twice for two different updates."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import TrustError
from orbitloop.ground.release import CodedUpdate, make_manifest
from orbitloop.ground.sealing import parse_seal_key, seal_for
from orbitloop.records.verdict import GateVerdict
from orbitloop.trust.sealed import NONCE_BYTES

KEY = bytes(range(32))
BASE, RESULT = "sha256:" + "0" * 64, "sha256:" + "1" * 64
ABOUT = {"version": 1, "model": "fields", "tenant": "farm", "hardware": "jetson"}


def update(payload: bytes = b"change", base: str = BASE, result: str = RESULT) -> CodedUpdate:
    return CodedUpdate(payload, {}, base, result)


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper() + "\n", f" \t{KEY.hex()}\r\n"])
def test_a_key_is_64_digits(text):
    assert parse_seal_key(text.encode()) == KEY


@pytest.mark.parametrize(
    "text", ["", "\n", KEY.hex()[:-1], KEY.hex() + "00", "g" * 64, "00 " * 32, KEY.hex() + "\n" + KEY.hex()]
)
def test_what_is_no_key_is_refused_and_how_to_make_one_is_told(text):
    with pytest.raises(TrustError, match="openssl rand") as told:
        parse_seal_key(text.encode(), "farm.key")
    assert told.value.where == "farm.key"
    assert KEY.hex() not in str(told.value)


@given(st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_key_or_the_one_error(data):
    with contextlib.suppress(TrustError):
        assert len(parse_seal_key(data)) == 32


def test_a_nonce_is_of_all_that_is_sealed_and_of_nothing_else():
    first = seal_for(KEY, update(), **ABOUT)
    assert first == seal_for(KEY, update(), **ABOUT)
    assert len(first.nonce) == NONCE_BYTES
    others = [
        seal_for(bytes(32), update(), **ABOUT),
        seal_for(KEY, update(b"other"), **ABOUT),
        seal_for(KEY, update(base=RESULT), **ABOUT),
        seal_for(KEY, update(result=BASE), **ABOUT),
        *[
            seal_for(KEY, update(), **(ABOUT | change))
            for change in ({"version": 2}, {"model": "ships"}, {"tenant": "sea"}, {"hardware": "pi"})
        ],
    ]
    assert len({seal.nonce for seal in [first, *others]}) == len(others) + 1


def test_a_sealed_update_is_the_same_bytes_each_time_and_hides_what_it_says():
    about = {"satellites": ["sat-1"], "verdict": GateVerdict(True, ()), "canary": ()}

    def sealed(key: bytes) -> bytes:
        coded = update(b"change" * 20)
        return make_manifest(coded, **ABOUT, **about, seal_with=seal_for(key, coded, **ABOUT))[1]

    assert sealed(KEY) == sealed(KEY) != sealed(bytes(32))
    assert b"change" not in sealed(KEY)
