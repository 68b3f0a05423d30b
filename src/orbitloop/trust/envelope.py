"""Signed bytes: a DSSE envelope (Dead Simple Signing Envelope v1.0.2, secure-systems-lab), in canonical JSON.

    {"payload": base64, "payloadType": type, "signatures": [{"keyid": hex, "sig": base64}, ...]}

What is signed is the pre-authentication encoding, "DSSEv1" SP len(type) SP type SP len(payload) SP payload, so that the
payload is never parsed before it is believed, and bytes signed as one type are worth nothing as another. Of an envelope there
is one way to write it: any other JSON of the same meaning is refused. Signatures by keys that are not trusted are passed over
(a rotation signs with old and new), those of one key count once, and threshold is what decides.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orbitloop.errors import TrustError
from orbitloop.records.ids import canonical_json
from orbitloop.trust.keys import SigningKey, TrustedKeys

UPDATE_TYPE = "application/vnd.orbitloop.update+json"
MAX_ENVELOPE_BYTES = 1 << 20
MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and (key name, signature) pairs; that they are there says nothing of their being right."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]

    def to_bytes(self) -> bytes:
        """Return the wire form."""
        rows = [{"keyid": name, "sig": _base64(signature)} for name, signature in self.signatures]
        return canonical_json({"payload": _base64(self.payload), "payloadType": self.payload_type, "signatures": rows})

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read the wire form; believe nothing of it.

        Raises:
            TrustError: malformed or not canonical. Never anything else.
        """
        if len(data) > MAX_ENVELOPE_BYTES:
            raise TrustError(f"envelope is over the limit of {MAX_ENVELOPE_BYTES} bytes", where="envelope")
        try:
            value: Any = json.loads(data)
            rows = [(row["keyid"], base64.b64decode(row["sig"], validate=True)) for row in value["signatures"]]
            payload = base64.b64decode(value["payload"], validate=True)
            envelope = cls(payload, value["payloadType"], tuple(rows))
            same = envelope.to_bytes() == data
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise TrustError(f"malformed ({type(error).__name__})", where="envelope") from error
        if not same or not isinstance(envelope.payload_type, str) or not all(isinstance(name, str) for name, _ in rows):
            raise TrustError("not in canonical form", where="envelope")
        if len(rows) > MAX_SIGNATURES:
            raise TrustError(f"{len(rows)} signatures are over the limit of {MAX_SIGNATURES}", where="envelope")
        return envelope


def sign(payload: bytes, keys: Iterable[SigningKey], *, payload_type: str = UPDATE_TYPE) -> Envelope:
    """Sign the payload with each key, in order of their names."""
    message = _pre_authentication(payload_type, payload)
    return Envelope(payload, payload_type, tuple((k.key_id, k.sign(message)) for k in sorted(keys, key=lambda k: k.key_id)))


def verify(data: bytes, trusted: TrustedKeys, *, payload_type: str = UPDATE_TYPE) -> bytes:
    """Return the payload of an envelope that enough trusted keys have signed.

    Raises:
        TrustError: malformed, of another type, or with too few good signatures; it says which. Never anything else.
    """
    envelope = Envelope.from_bytes(data)
    if envelope.payload_type != payload_type:
        raise TrustError(f"signed as {envelope.payload_type!r}, not as {payload_type!r}", where="envelope")
    if not envelope.signatures:
        raise TrustError("not signed", where="envelope")
    message = _pre_authentication(payload_type, envelope.payload)
    good: set[str] = set()
    wrong: set[str] = set()
    for name, signature in envelope.signatures:
        if name in trusted.keys:
            (good if trusted.accepts(name, signature, message) else wrong).add(name)
    if len(good) < trusted.threshold:
        strangers = len({name for name, _ in envelope.signatures} - good - wrong)
        raise TrustError(
            f"{len(good)} of {trusted.threshold} needed signatures are good ({len(wrong)} wrong, {strangers} by unknown keys)",
            where="envelope",
        )
    return envelope.payload


def _pre_authentication(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
