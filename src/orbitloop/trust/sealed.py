"""Payloads that only a tenant's satellites can read: ChaCha20-Poly1305 (RFC 8439) under a key that both ends hold.

    sealed = nonce (12 bytes) | ciphertext | tag (16 bytes)

The associated data ties it to its update, so that a sealed payload is worth nothing under another manifest. Chosen over
AES-GCM because it needs no AES instructions to be fast and free of timing leaks. A nonce must never come twice under one key:
the rim draws it from the system's randomness. Encryption hides, it does not authorise: that is the signatures' part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from orbitloop.errors import TrustError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES


def seal_key_id(key: bytes) -> str:
    """Return the name of an encryption key: 16 hex digits that tell nothing about it.

    Raises:
        TrustError: a key is 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise TrustError(f"an encryption key is {KEY_BYTES} bytes, not {len(key)}")
    return hashlib.sha256(b"orbitloop seal key\0" + key).hexdigest()[:16]


def seal(payload: bytes, key: bytes, *, bound_to: bytes, nonce: bytes) -> bytes:
    """Encrypt a payload; `bound_to` is the associated data.

    Raises:
        TrustError: key or nonce are of a wrong length.
    """
    seal_key_id(key)
    if len(nonce) != NONCE_BYTES:
        raise TrustError(f"a nonce is {NONCE_BYTES} bytes, not {len(nonce)}")
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, payload, bound_to)


def unseal(sealed: bytes, keys: Mapping[str, bytes], key_id: str, *, bound_to: bytes) -> bytes:
    """Decrypt a payload with the named one of the keys held.

    Raises:
        TrustError: the key is not held, or the bytes were not sealed with it for this. Never anything else.
    """
    key = keys.get(key_id)
    if key is None:
        raise TrustError(f"sealed with the key {key_id[:40]}, which is not held here", where="payload")
    if len(sealed) < OVERHEAD_BYTES:
        raise TrustError("too short to be sealed", where="payload")
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except InvalidTag as error:
        raise TrustError("was not sealed with this key for this update", where="payload") from error
