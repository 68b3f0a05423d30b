"""Which bytes are metadata at all, before anybody asks who signed them.

Of TUF metadata (specification 1.0.31) there is one way to write it here: JSON as python-tuf writes it, byte for byte, so that
there are no duplicate keys, escapes, spaces, floats or second spellings. Keys are Ed25519 and go under the name that their
bytes give them, so that one key cannot count twice. Every role says when it was signed. It leaves signatures, versions and
expiry to `refresh`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Targets

from orbitloop.errors import TrustError
from orbitloop.trust.keys import KEY_BYTES, key_id

SIGNED_AT = "x-orbitloop-signed-at"
"""UTC seconds, whole; in every role's signed part."""
CONTACTS = "x-orbitloop-contacts"
"""In the timestamp: by satellite, the last contact counter that the ground has heard from it."""
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
MAX_METADATA_BYTES = 1 << 18
MAX_SIGNATURES = 64
MAX_AT_S = 1 << 40
MAX_CONTACTS = 1 << 40
MALFORMED = (RepositoryError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What python-tuf raises on bytes that it does not like."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def read_metadata(data: bytes, what: str) -> Metadata[Any]:
    """Return metadata of any role, well-formed; nothing in it is believed yet.

    Raises:
        TrustError: too large, malformed, not in canonical form, with keys of other kinds or names. Never anything else.
    """
    if len(data) > MAX_METADATA_BYTES:
        raise TrustError(f"{len(data)} bytes are over the limit of {MAX_METADATA_BYTES}", where=what)
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        same = metadata.to_bytes() == data and bool(metadata.signed_bytes)  # the latter refuses floats
    except MALFORMED as error:
        raise TrustError(f"malformed ({brief(error)})", where=what) from error
    if not same:
        raise TrustError("not in canonical form", where=what)
    if len(metadata.signatures) > MAX_SIGNATURES:
        raise TrustError(f"{len(metadata.signatures)} signatures are over the limit of {MAX_SIGNATURES}", where=what)
    for name, key in _keys(metadata.signed):
        if not _own_name(name, key):
            raise TrustError(f"key {name[:16]} is not Ed25519 under the name that its bytes give it", where=what)
    signed_at_s(metadata.signed, what)
    return metadata


def signed_at_s(signed: Signed, what: str) -> int:
    """Return when a role was signed, UTC seconds.

    Raises:
        TrustError: it does not say so.
    """
    value = signed.unrecognized_fields.get(SIGNED_AT)
    if type(value) is not int or not 0 <= value < MAX_AT_S:
        raise TrustError("does not say when it was signed", where=what)
    return value


def heard_contacts(signed: Signed, satellite: str) -> int | None:
    """Return the contact counter that a timestamp holds for a satellite; None if the ground has not heard from it.

    Raises:
        TrustError: what stands there is not a counter.
    """
    table = signed.unrecognized_fields.get(CONTACTS, {})
    if not isinstance(table, dict):
        raise TrustError("contact counters are malformed", where="timestamp")
    value = table.get(satellite)
    if value is not None and (type(value) is not int or not 0 <= value < MAX_CONTACTS):
        raise TrustError("a contact counter is malformed", where="timestamp")
    return value


def tenant_pattern(tenant: str) -> str:
    """Return the one pattern of paths that a tenant may sign.

    Raises:
        TrustError: not a tenant's name.
    """
    return f"{check_name(tenant)}/*/*"


def check_name(name: str) -> str:
    """Return the name of a tenant if it is one: 1 to 32 lower-case letters, digits and inner hyphens, and no top-level role's.

    Raises:
        TrustError: it is not.
    """
    if not _NAME.fullmatch(name) or name in TOP_LEVEL:
        raise TrustError(f"{name!r} is not a tenant's name", remedy="use 1 to 32 lower-case letters, digits and inner hyphens")
    return name


def utc(at_s: float) -> datetime:
    """Return UTC seconds as TUF writes time: to the second.

    Raises:
        TrustError: beyond what a date can be.
    """
    try:
        return datetime.fromtimestamp(int(at_s), UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise TrustError(f"{at_s} is not a time") from error


def brief(error: BaseException) -> str:
    """Return what an error of the library says, in one bounded line."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"[:200].replace("\n", " ")


def _keys(signed: Any) -> Iterable[tuple[str, Key]]:
    if isinstance(signed, Root):
        return signed.keys.items()
    if isinstance(signed, Targets) and signed.delegations is not None:
        return signed.delegations.keys.items()
    return ()


def _own_name(name: str, key: Key) -> bool:
    if (key.keytype, key.scheme) != ("ed25519", "ed25519"):
        return False
    try:
        public = bytes.fromhex(key.keyval["public"])
    except (KeyError, TypeError, ValueError):
        return False
    return len(public) == KEY_BYTES and key_id(public) == name == key.keyid
