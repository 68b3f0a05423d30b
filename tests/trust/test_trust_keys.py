"""Keys: names, thresholds, files for carrying. RFC 8032 vectors."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import TrustError
from orbitloop.trust.keys import (
    SigningKey,
    TrustedKeys,
    generate_key,
    key_id,
    load_signing_key,
    load_trusted_keys,
    save_signing_key,
    save_trusted_keys,
)

KEYS = [generate_key(bytes([i]) * 32) for i in range(3)]
TRUSTED = TrustedKeys.of([k.public for k in KEYS], 2)


def test_rfc_8032_section_7_1_vector_2():
    key = generate_key(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_keys_are_told_apart_and_keep_their_secret():
    assert generate_key().key_id != generate_key().key_id
    assert generate_key(bytes(32)).key_id == generate_key(bytes(32)).key_id == key_id(generate_key(bytes(32)).public)
    assert KEYS[1].seed.hex() not in repr(KEYS[1])
    assert "\\x01" not in repr(KEYS[1])
    with pytest.raises(TrustError):
        SigningKey(b"short")


def test_accepts_only_this_key_this_signature_this_message():
    signature = KEYS[0].sign(b"m")
    assert TRUSTED.accepts(KEYS[0].key_id, signature, b"m")
    assert not TRUSTED.accepts(KEYS[1].key_id, signature, b"m")
    assert not TRUSTED.accepts(KEYS[0].key_id, signature, b"n")
    assert not TRUSTED.accepts(KEYS[0].key_id, signature[:-1], b"m")
    assert not TRUSTED.accepts("nobody", signature, b"m")


def test_a_signature_has_one_form():
    """S + L verifies in libraries that skip RFC 8032 5.1.7's range check; it must not here."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEYS[0].sign(b"m")
    other = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not TRUSTED.accepts(KEYS[0].key_id, other, b"m")


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(TrustError):
        TrustedKeys.of([k.public for k in KEYS], threshold)


def test_one_key_given_twice_is_one_key():
    with pytest.raises(TrustError):
        TrustedKeys.of([KEYS[0].public, KEYS[0].public], 2)


def test_key_files_read_back():
    assert load_signing_key(save_signing_key(KEYS[0])) == KEYS[0]
    assert save_signing_key(KEYS[0]).startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_trusted_keys(save_trusted_keys(TRUSTED)) == TRUSTED


VALUE = json.loads(save_trusted_keys(TRUSTED))
OTHER_KIND = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIHgN7TXeFAkFEWDKQ2o5HlXDxYYxdRIbZnRjSuLvvmVu
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    "data", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", OTHER_KIND, b"x" * 70000]
)
def test_what_is_no_signing_key_is_refused(data):
    with pytest.raises(TrustError):
        load_signing_key(data)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        VALUE | {"schema": "x"},
        VALUE | {"threshold": 0},
        VALUE | {"threshold": True},
        VALUE | {"threshold": "2"},
        VALUE | {"keys": []},
        VALUE | {"keys": {}},
        VALUE | {"keys": {"0" * 64: KEYS[0].public.hex()}},
        VALUE | {"keys": {KEYS[0].key_id: "zz", KEYS[1].key_id: "00"}},
        VALUE | {"keys": {KEYS[0].key_id: 3}},
    ],
)
def test_what_is_no_set_of_keys_is_refused(value):
    with pytest.raises(TrustError):
        load_trusted_keys(json.dumps(value).encode())


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_mutated_key_files_read_or_raise_the_one_typed_error(data):
    for good, load in ((save_trusted_keys(TRUSTED), load_trusted_keys), (save_signing_key(KEYS[0]), load_signing_key)):
        raw = bytearray(good)
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(TrustError):
            load(bytes(raw))
    with contextlib.suppress(TrustError):
        load_trusted_keys(data.draw(st.binary(max_size=50)))
