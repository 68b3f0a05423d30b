"""A tenant's encryption key as a file, and the nonce of each update that is sealed with it.

The nonce is a pseudo-random function of all that is sealed and of what it is bound to (synthetic, after RFC 8452, section 4),
not drawn: it comes again only with the very same update, so that a repeated run, a restored backup or two machines with one key
give nothing away, and equal missions give equal bytes. Sealing itself is `trust.sealed`.
"""

from __future__ import annotations

import hashlib
import hmac

from orbitloop.errors import TrustError
from orbitloop.ground.release import CodedUpdate, Seal
from orbitloop.records.ids import canonical_json, digest_bytes
from orbitloop.trust.sealed import KEY_BYTES, NONCE_BYTES

MAX_FILE_BYTES = 1024
_REMEDY = f"write {2 * KEY_BYTES} hexadecimal digits, such as `openssl rand -hex {KEY_BYTES}` gives"


def parse_seal_key(data: bytes, where: str = "seal key") -> bytes:
    """Return the 32 bytes of a key file: 64 hexadecimal digits, with white space around them.

    Raises:
        TrustError: it holds something else. Never anything else.
    """
    text = data.strip() if len(data) <= MAX_FILE_BYTES else b""
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or len(text) != 2 * KEY_BYTES:
        raise TrustError("not an encryption key", where=where, remedy=_REMEDY)
    return key


def seal_for(key: bytes, update: CodedUpdate, *, version: int, model: str, tenant: str, hardware: str) -> Seal:
    """Return what seals this update under this manifest, and never another one."""
    about = [tenant, model, hardware, version, update.base_digest, update.result_digest, digest_bytes(update.payload)]
    nonce = hmac.digest(key, b"orbitloop nonce\0" + canonical_json(about), hashlib.sha256)[:NONCE_BYTES]
    return Seal(key, nonce)
