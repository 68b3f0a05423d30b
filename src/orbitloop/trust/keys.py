"""Ed25519 keys: how they are made, named, carried, and how many of which must agree.

A key's name is the SHA-256 of its 32 public bytes, so that one key cannot go under two names. Key files are text for carrying:
PKCS #8 PEM for a signing key (ground only), JSON for the set that a satellite trusts. Functions here turn text into keys and
back; files and their permissions are the rim's. Curve and signature: RFC 8032.

`TrustedKeys` is the key set of one TUF role.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from orbitloop.errors import TrustError
from orbitloop.records.ids import canonical_json

SCHEMA = "orbitloop.trust/1"
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_FILE_BYTES = 1 << 16
MAX_KEYS = 64
_REMEDY = "make one with `orbitloop trust key new`"


def key_id(public: bytes) -> str:
    """Return the name of a public key: 64 hex digits."""
    return hashlib.sha256(public).hexdigest()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; the ground's. `seed` (32 bytes) is the secret and stays out of `repr`."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_BYTES:
            raise TrustError(f"a signing key is {KEY_BYTES} bytes, not {len(self.seed)}")

    @property
    def public(self) -> bytes:
        return self._private().public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._private().sign(message)

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys (32 bytes each) by name, and how many different ones must have signed (m of n)."""

    keys: Mapping[str, bytes]
    threshold: int

    def __post_init__(self) -> None:
        if any(len(public) != KEY_BYTES or key_id(public) != name for name, public in self.keys.items()):
            raise TrustError("a trusted key does not have the name that its bytes give it")
        if not 1 <= self.threshold <= len(self.keys) <= MAX_KEYS:
            raise TrustError(
                f"a threshold of {self.threshold} does not go with {len(self.keys)} keys",
                remedy=f"name between 1 and {MAX_KEYS} keys and a threshold between 1 and their number",
            )

    @classmethod
    def of(cls, publics: Iterable[bytes], threshold: int) -> TrustedKeys:
        """Name the keys and hold the threshold.

        Raises:
            TrustError: the threshold is below 1 or above the number of different keys.
        """
        return cls({key_id(public): public for public in publics}, threshold)

    def accepts(self, name: str, signature: bytes, message: bytes) -> bool:
        """Say whether the named key is trusted and made this signature of this message."""
        public = self.keys.get(name)
        if public is None or len(signature) != SIGNATURE_BYTES:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def generate_key(seed: bytes | None = None) -> SigningKey:
    """Make a key, from the system's randomness or, for tests and simulated missions, from 32 given bytes.

    Raises:
        TrustError: the seed is not 32 bytes.
    """
    return SigningKey(Ed25519PrivateKey.generate().private_bytes_raw() if seed is None else seed)


def save_signing_key(key: SigningKey, passphrase: bytes = b"") -> bytes:
    """Return the key as PKCS #8 PEM, encrypted where there is a passphrase (scrypt and AES-256, as OpenSSL has it).

    Without one keep it where only the signer can read.
    """
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def load_signing_key(data: bytes, passphrase: bytes = b"") -> SigningKey:
    """Read a PKCS #8 PEM key; a passphrase for a key that has none is passed over.

    Raises:
        TrustError: it is not one, its passphrase is missing or wrong, or it is not Ed25519. Never anything else.
    """
    if len(data) > MAX_FILE_BYTES:
        raise TrustError(f"key file is over {MAX_FILE_BYTES} bytes")
    sealed = b"ENCRYPTED" in data
    if sealed and not passphrase:
        raise TrustError("the signing key is encrypted", remedy="give the file with its passphrase")
    try:
        private = load_pem_private_key(data, password=passphrase if sealed else None)
    except Exception as error:  # the library documents ValueError, TypeError and UnsupportedAlgorithm, and adds to them
        what = (
            "the passphrase is wrong, or the key file damaged" if sealed else f"not a PEM signing key ({type(error).__name__})"
        )
        raise TrustError(what, remedy=_REMEDY) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise TrustError("signing key is not Ed25519", remedy=_REMEDY)
    return SigningKey(private.private_bytes_raw())


def save_trusted_keys(trusted: TrustedKeys) -> bytes:
    """Return the set as canonical JSON."""
    keys = {name: public.hex() for name, public in trusted.keys.items()}
    return canonical_json({"schema": SCHEMA, "threshold": trusted.threshold, "keys": keys})


def load_trusted_keys(data: bytes) -> TrustedKeys:
    """Read what `save_trusted_keys` wrote.

    Raises:
        TrustError: malformed, a key under a wrong name, or an impossible threshold. Never anything else.
    """
    if len(data) > MAX_FILE_BYTES:
        raise TrustError(f"key file is over {MAX_FILE_BYTES} bytes")
    try:
        value: Any = json.loads(data)
        if value["schema"] != SCHEMA or type(value["threshold"]) is not int:
            raise TrustError(f"not a set of trusted keys ({SCHEMA})")
        keys = {str(name): bytes.fromhex(public) for name, public in value["keys"].items()}
        return TrustedKeys(keys, value["threshold"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise TrustError(f"key file is malformed ({type(error).__name__}: {error})") from error
