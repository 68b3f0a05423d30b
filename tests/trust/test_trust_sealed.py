"""Sealed payloads: RFC 8439's vector, and no way to open them with another key, for another update, or changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitloop.errors import TrustError
from orbitloop.trust.sealed import OVERHEAD_BYTES, seal, seal_key_id, unseal

KEY, OTHER = bytes(range(32)), bytes(32)
KEYS = {seal_key_id(k): k for k in (KEY, OTHER)}
NAME = seal_key_id(KEY)
NONCE = bytes(range(12))


def test_rfc_8439_section_2_8_2():
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    )
    sealed = seal(plain, key, bound_to=bytes.fromhex("50515253c0c1c2c3c4c5c6c7"), nonce=nonce)
    assert sealed[:12] == nonce
    assert sealed[12:28].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_what_is_sealed_comes_back_and_is_not_to_be_seen(payload, bound_to):
    sealed = seal(payload, KEY, bound_to=bound_to, nonce=NONCE)
    assert len(sealed) == len(payload) + OVERHEAD_BYTES
    assert unseal(sealed, KEYS, NAME, bound_to=bound_to) == payload
    assert len(payload) < 8 or payload not in sealed


@pytest.mark.parametrize(
    ("name", "bound_to"), [(seal_key_id(OTHER), b"a"), (NAME, b"b"), (NAME, b""), ("0" * 16, b"a"), ("", b"a")]
)
def test_another_key_or_another_update_does_not_open_it(name, bound_to):
    with pytest.raises(TrustError):
        unseal(seal(b"weights", KEY, bound_to=b"a", nonce=NONCE), KEYS, name, bound_to=bound_to)


@given(st.integers(0, OVERHEAD_BYTES + 6), st.integers(1, 255))
def test_a_changed_or_cut_one_does_not_open(place, change):
    sealed = bytearray(seal(b"weights", KEY, bound_to=b"a", nonce=NONCE))
    cut = bytes(sealed[:place])
    sealed[place] ^= change
    for data in (bytes(sealed), cut):
        with pytest.raises(TrustError):
            unseal(data, KEYS, NAME, bound_to=b"a")


def test_keys_and_nonces_have_their_lengths():
    for key, nonce in ((b"", NONCE), (KEY + b"\0", NONCE), (KEY, b""), (KEY, bytes(13))):
        with pytest.raises(TrustError, match="bytes"):
            seal(b"", key, bound_to=b"", nonce=nonce)
