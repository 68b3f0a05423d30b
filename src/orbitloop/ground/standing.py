"""How trust stands, for people to read: who may sign what, who has, what is missing, and until when it counts.

Of a repository as published (`describe`) and of one metadata file on its way between signers (`gathered`). It decides nothing:
what is enough is `ceremony:signed_by`'s to say, and what is taken in `repository:accept`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Root, Targets

from orbitloop.errors import TrustError
from orbitloop.ground.ceremony import SignedBy, custody_of, signed_by, tenants_of
from orbitloop.ground.repository import Repository
from orbitloop.trust.form import read_metadata, signed_at_s
from orbitloop.trust.keys import TrustedKeys


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """One role. `expires_s` and `signed_at_s` are UTC seconds; `signed` are names of keys whose signatures are good."""

    role: str
    version: int
    threshold: int
    keys: tuple[str, ...]
    signed: tuple[str, ...]
    signed_at_s: int
    expires_s: int
    targets: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in self.__slots__}


def describe(repository: Repository) -> list[RoleStanding]:
    """Return the newest of each role: root, targets, snapshot, timestamp, then tenants by name, signed or not.

    Raises:
        TrustError: the repository has no root, or a file is malformed.
    """
    custody = custody_of(repository.root)
    found = [_standing("root", repository.root, custody.root, repository.root)]
    for role, keys in (("targets", custody.targets), ("snapshot", custody.online), ("timestamp", custody.online)):
        found.append(_standing(role, repository.roles.get(role), keys, repository.root))
    above = repository.roles.get("targets")
    if above is not None:
        for tenant, keys in sorted(tenants_of(above).items()):
            found.append(_standing(tenant, repository.roles.get(tenant), keys, above))
    return found


def gathered(metadata: bytes, repository: Repository | None = None) -> dict[str, SignedBy]:
    """Return whose signatures a file has, by those who ask for them: for a root itself and the root before, else its delegator.

    Raises:
        TrustError: malformed, or nobody in the repository delegates to what it is.
    """
    role = role_of_metadata(metadata)
    if role == "root":
        found = {"its own keys": signed_by(metadata, metadata, "root")}
        if repository is not None and repository.roots:
            found["the keys of the root before"] = signed_by(metadata, repository.root, "root")
        return found
    if repository is None:
        raise TrustError("who must sign it stands in the repository", where=role, remedy="name the repository's folder")
    above = repository.root if role == "targets" else repository.roles.get("targets")
    if above is None:
        raise TrustError("there are no targets that name tenants yet", where=role, remedy="sign and accept those first")
    return {"the keys of the root" if role == "targets" else "the tenant's keys": signed_by(metadata, above, role)}


def role_of_metadata(metadata: bytes) -> str:
    """Return which role a file is for, by what is in it: a tenant's word names its tenant in each path.

    Raises:
        TrustError: malformed, online metadata, or a tenant's that names no target.
    """
    signed = read_metadata(metadata, "metadata").signed
    if isinstance(signed, Root):
        return "root"
    if not isinstance(signed, Targets):
        raise TrustError(f"{signed.type} is signed online", remedy="publish makes it")
    if signed.delegations is not None:
        return "targets"
    tenants = {path.split("/")[0] for path in signed.targets}
    if len(tenants) != 1:
        raise TrustError("names no tenant, or several", where="metadata", remedy="a tenant's file names its own targets only")
    return tenants.pop()


def _standing(role: str, data: bytes | None, keys: TrustedKeys, above: bytes) -> RoleStanding:
    names = tuple(sorted(keys.keys))
    if data is None:
        return RoleStanding(role, 0, keys.threshold, names, (), 0, 0)
    signed = read_metadata(data, role).signed
    good = signed_by(data, above, role).names
    targets = tuple(signed.targets) if isinstance(signed, Targets) else ()
    when = signed_at_s(signed, role), int(signed.expires.timestamp())
    return RoleStanding(role, signed.version, keys.threshold, names, good, *when, targets)
