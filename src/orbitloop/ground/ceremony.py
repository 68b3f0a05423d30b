"""Key ceremonies: functions from metadata to metadata, on files that people carry between machines that share no network.

A ceremony drafts unsigned metadata (`draft_root`, `rotate_root`, `draft_targets`, `add_tenant`, `revoke_tenant`); each holder
of an offline key adds a signature on his own machine (`add_signature`), in any order; `signed_by` says how many of how many
are there; and `repository:accept` takes it in once there are enough. A root that follows another needs the old keys'
threshold and its own.

Terms as in the TUF specification (1.0.31, sections 4 and 6.1). Files and their places are the rim's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Signed, Targets

from orbitloop.errors import TrustError
from orbitloop.trust.form import MALFORMED, SIGNED_AT, brief, check_name, read_metadata, tenant_pattern, utc
from orbitloop.trust.keys import SigningKey, TrustedKeys

_S = TypeVar("_S", bound=Signed)


@dataclass(frozen=True, slots=True)
class Custody:
    """Who holds what: m of n offline keys for root and for targets, the online keys for snapshot and timestamp."""

    root: TrustedKeys
    targets: TrustedKeys
    online: TrustedKeys

    def roles(self) -> dict[str, TrustedKeys]:
        return {"root": self.root, "targets": self.targets, "snapshot": self.online, "timestamp": self.online}


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Whose good signatures are there for one delegator's role, and how many there must be."""

    names: tuple[str, ...]
    missing: tuple[str, ...]
    threshold: int

    @property
    def enough(self) -> bool:
        return len(self.names) >= self.threshold


def draft_root(custody: Custody, *, now_s: float, expires_s: float) -> bytes:
    """Return the first root, unsigned.

    Raises:
        TrustError: one key is offline and online at once.
    """
    return _root(custody, 1, now_s, expires_s)


def rotate_root(previous: bytes, custody: Custody, *, now_s: float, expires_s: float) -> bytes:
    """Return the root after `previous`, unsigned; to be signed by both custodies' root keys.

    New online keys make every timestamp and snapshot of before void on board, versions and times included: that is the way
    back after a fast-forward by a stolen online key.

    Raises:
        TrustError: `previous` is not a root, or one key is offline and online at once.
    """
    return _root(custody, _read(previous, Root).version + 1, now_s, expires_s)


def custody_of(root: bytes) -> Custody:
    """Return who holds what by a root.

    Raises:
        TrustError: it is not a root.
    """
    signed = _read(root, Root)

    def keys(role: str) -> TrustedKeys:
        publics = [bytes.fromhex(signed.keys[name].keyval["public"]) for name in signed.roles[role].keyids]
        return TrustedKeys.of(publics, signed.roles[role].threshold)

    return Custody(keys("root"), keys("targets"), keys("timestamp"))


def draft_targets(
    tenants: Mapping[str, TrustedKeys], *, now_s: float, expires_s: float, previous: bytes | None = None
) -> bytes:
    """Return top-level targets that delegate to these tenants and to nobody else, unsigned.

    Raises:
        TrustError: a tenant's name is none, two tenants share a key, or `previous` is not targets metadata.
    """
    keys: dict[str, Any] = {}
    for name, trusted in tenants.items():
        check_name(name)
        if keys.keys() & trusted.keys.keys():
            raise TrustError("shares a key with another tenant", where=name, remedy="give each tenant keys of its own")
        keys |= _tuf_keys(trusted)
    roles = {
        name: DelegatedRole(name, sorted(trusted.keys), trusted.threshold, terminating=True, paths=[tenant_pattern(name)])
        for name, trusted in sorted(tenants.items())
    }
    version = _read(previous, Targets).version + 1 if previous else 1
    return _write(
        Targets(
            version=version,
            expires=utc(expires_s),
            targets={},
            delegations=Delegations(keys, roles),
            unrecognized_fields={SIGNED_AT: int(now_s)},
        )
    )


def tenants_of(targets: bytes) -> dict[str, TrustedKeys]:
    """Return the tenants of top-level targets and their keys.

    Raises:
        TrustError: it is not targets metadata.
    """
    signed = _read(targets, Targets)
    if signed.delegations is None or signed.delegations.roles is None:
        return {}
    keys = signed.delegations.keys
    return {
        name: TrustedKeys.of([bytes.fromhex(keys[k].keyval["public"]) for k in role.keyids], role.threshold)
        for name, role in signed.delegations.roles.items()
    }


def add_tenant(targets: bytes, name: str, keys: TrustedKeys, *, now_s: float, expires_s: float) -> bytes:
    """Return the next targets with one tenant more, unsigned; an existing one gets new keys.

    Raises:
        TrustError: see `draft_targets`.
    """
    tenants = {**tenants_of(targets), name: keys}
    return draft_targets(tenants, now_s=now_s, expires_s=expires_s, previous=targets)


def revoke_tenant(targets: bytes, name: str, *, now_s: float, expires_s: float) -> bytes:
    """Return the next targets without the tenant, unsigned.

    Raises:
        TrustError: there is no such tenant.
    """
    tenants = tenants_of(targets)
    if name not in tenants:
        raise TrustError(f"there is no tenant {name!r}", remedy=f"there are {', '.join(tenants) or 'none'}")
    del tenants[name]
    return draft_targets(tenants, now_s=now_s, expires_s=expires_s, previous=targets)


def add_signature(metadata: bytes, key: SigningKey) -> bytes:
    """Return the metadata with one signature more (or made anew). Whether the key counts is `signed_by`'s to say.

    Raises:
        TrustError: the metadata is malformed.
    """
    held = read_metadata(metadata, "metadata")
    held.signatures[key.key_id] = Signature(key.key_id, key.sign(held.signed_bytes).hex())
    held.signatures = dict(sorted(held.signatures.items()))
    return held.to_bytes()


def sign_with(metadata: bytes, keys: Sequence[SigningKey]) -> bytes:
    """Return the metadata with a signature by each key."""
    for key in keys:
        metadata = add_signature(metadata, key)
    return metadata


def signed_by(metadata: bytes, delegator: bytes, role: str) -> SignedBy:
    """Say which of the delegator's keys for the role have signed. For a new root ask twice: with the old root and with itself.

    Raises:
        TrustError: one of both is malformed, or the delegator knows no such role.
    """
    held, above = read_metadata(metadata, role), read_metadata(delegator, "delegator").signed
    if not isinstance(above, (Root, Targets)):
        raise TrustError("delegates to nobody", where=above.type)
    try:
        result = above.get_verification_result(role, held.signed_bytes, held.signatures)
    except MALFORMED as error:
        raise TrustError(brief(error), where=role) from error
    return SignedBy(tuple(sorted(result.signed)), tuple(sorted(result.unsigned)), result.threshold)


def _root(custody: Custody, version: int, now_s: float, expires_s: float) -> bytes:
    offline = custody.root.keys.keys() | custody.targets.keys.keys()
    if offline & custody.online.keys.keys():
        raise TrustError("a key is offline and online at once", where="root", remedy="make other keys for the online roles")
    keys: dict[str, Any] = {}
    for trusted in custody.roles().values():
        keys |= _tuf_keys(trusted)
    roles = {name: Role(sorted(trusted.keys), trusted.threshold) for name, trusted in custody.roles().items()}
    fields = {SIGNED_AT: int(now_s)}
    return _write(Root(version=version, expires=utc(expires_s), keys=keys, roles=roles, unrecognized_fields=fields))


def _tuf_keys(trusted: TrustedKeys) -> dict[str, SSlibKey]:
    return {name: SSlibKey(name, "ed25519", "ed25519", {"public": public.hex()}) for name, public in trusted.keys.items()}


def _write(signed: Root | Targets) -> bytes:
    data = Metadata[Any](signed).to_bytes()
    read_metadata(data, signed.type)
    return data


def _read(data: bytes, kind: type[_S]) -> _S:
    signed = read_metadata(data, kind.__name__.lower()).signed
    if not isinstance(signed, kind):
        raise TrustError(f"is {signed.type} metadata, not {kind.__name__.lower()}")
    return signed
