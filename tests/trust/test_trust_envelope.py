"""Envelopes: enough good signatures by different trusted keys over exactly these bytes, or a refusal that says why."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import TrustError
from orbitloop.records.ids import canonical_json
from orbitloop.trust.envelope import Envelope, sign, verify
from orbitloop.trust.keys import TrustedKeys, generate_key

KEYS = [generate_key(bytes([i]) * 32) for i in range(4)]
STRANGER = generate_key(b"s" * 32)
TWO_OF_THREE = TrustedKeys.of([k.public for k in KEYS[:3]], 2)
PAYLOAD = b'{"version":1}'
GOOD = sign(PAYLOAD, KEYS[:2]).to_bytes()


def test_the_pre_authentication_encoding_is_dsse():
    """The protocol's own example: type `http://example.com/HelloWorld`, payload `hello world`."""
    envelope = sign(b"hello world", KEYS[:1], payload_type="http://example.com/HelloWorld")
    message = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert envelope.signatures == ((KEYS[0].key_id, KEYS[0].sign(message)),)


def test_enough_keys_in_any_number_are_believed():
    for keys in (KEYS[:2], KEYS[1:3], KEYS[:3], [*KEYS[:2], STRANGER]):
        assert verify(sign(PAYLOAD, keys).to_bytes(), TWO_OF_THREE) == PAYLOAD


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "not signed"),
        (KEYS[:1], "1 of 2"),
        ([KEYS[0], KEYS[3]], "1 of 2 .* 1 by unknown"),
        ([KEYS[3], STRANGER], "0 of 2 .* 2 by unknown"),
        ([KEYS[0], KEYS[0]], "1 of 2"),
    ],
)
def test_too_few_are_refused_and_it_says_why(keys, why):
    with pytest.raises(TrustError, match=why):
        verify(sign(PAYLOAD, keys).to_bytes(), TWO_OF_THREE)


def test_a_signature_under_another_keys_name_does_not_count():
    signed = sign(PAYLOAD, KEYS[:1])
    lying = Envelope(PAYLOAD, signed.payload_type, (*signed.signatures, (KEYS[1].key_id, signed.signatures[0][1])))
    with pytest.raises(TrustError, match=r"1 of 2 .*1 wrong"):
        verify(lying.to_bytes(), TWO_OF_THREE)


def test_a_bad_signature_beside_enough_good_ones_does_no_harm():
    signed = sign(PAYLOAD, KEYS[:2])
    more = Envelope(PAYLOAD, signed.payload_type, (*signed.signatures, (KEYS[2].key_id, bytes(64))))
    assert verify(more.to_bytes(), TWO_OF_THREE) == PAYLOAD


def test_bytes_signed_as_one_type_are_worth_nothing_as_another():
    other = sign(PAYLOAD, KEYS[:2], payload_type="application/x-other")
    with pytest.raises(TrustError, match="signed as"):
        verify(other.to_bytes(), TWO_OF_THREE)
    renamed = Envelope(PAYLOAD, sign(PAYLOAD, []).payload_type, other.signatures)
    with pytest.raises(TrustError, match="2 wrong"):
        verify(renamed.to_bytes(), TWO_OF_THREE)


VALUE = json.loads(GOOD)
ROW = VALUE["signatures"][0]


def value(**changes: object) -> bytes:
    return canonical_json(VALUE | changes)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps(VALUE).encode(),
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b'{"payload":', b'{"payload":"","payload":', 1),
        value(extra=1),
        value(payload=3),
        value(payload="e30"),
        value(payload="!!!!"),
        value(payload=base64.b64encode(PAYLOAD).decode() + "\n"),
        value(payloadType=7),
        value(payloadType=None),
        value(signatures={}),
        value(signatures=[[1, 2]]),
        value(signatures=[ROW | {"sig": "x"}]),
        value(signatures=[ROW | {"keyid": 5}]),
        value(signatures=[ROW | {"keyid": [1]}]),
        value(signatures=[ROW | {"more": 1}]),
        value(signatures=[ROW] * 65),
        value(signatures=VALUE["signatures"] * 40),
        GOOD.replace(b"payloadType", b"payload\\u0054ype"),
        b"x" * ((1 << 20) + 1),
    ],
)
def test_what_is_malformed_or_written_otherwise_is_refused(data):
    with pytest.raises(TrustError):
        verify(data, TWO_OF_THREE)


def test_every_single_byte_changed_is_refused():
    for at in range(len(GOOD)):
        raw = bytearray(GOOD)
        raw[at] ^= 1
        with pytest.raises(TrustError):
            verify(bytes(raw), TWO_OF_THREE)


@given(st.binary(max_size=100), st.data())
@settings(max_examples=50, deadline=None)
def test_any_bytes_verify_or_raise_the_one_typed_error(junk, data):
    at = data.draw(st.integers(0, len(GOOD)))
    for raw in (junk, GOOD[:at] + junk + GOOD[at:], GOOD[:at]):
        with contextlib.suppress(TrustError):
            assert verify(raw, TWO_OF_THREE) == PAYLOAD


@given(st.binary(max_size=2000))
@settings(max_examples=30, deadline=None)
def test_any_payload_comes_back(payload):
    assert verify(sign(payload, KEYS[:2]).to_bytes(), TWO_OF_THREE) == payload
