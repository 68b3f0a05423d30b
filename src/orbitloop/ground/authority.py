"""A whole authority in one process: all keys and the repository together, for simulated missions, tests and a first try.

A real mission keeps root's and targets' keys apart and offline (see `ceremony`); what comes out is the same, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orbitloop.ground.ceremony import Custody, draft_root, draft_targets, sign_with
from orbitloop.ground.repository import DAY_S, Repository, accept, draft_release, publish
from orbitloop.trust.keys import SigningKey, TrustedKeys, generate_key

ROOT_LIVES_S = 20 * 365 * DAY_S
TARGETS_LIVE_S = 5 * 365 * DAY_S
TENANT_LIVES_S = 365 * DAY_S


@dataclass(slots=True)
class Authority:
    """Keys by tenant, the online key, and the repository as signed so far."""

    repository: Repository
    online: Sequence[SigningKey]
    tenants: Mapping[str, Sequence[SigningKey]]

    @classmethod
    def from_seed(cls, seed: bytes, tenants: Sequence[str], now_s: float) -> Authority:
        """Found an authority whose keys all follow from a seed: 2 of 3 for root, targets and each tenant, one online.

        Raises:
            TrustError: a tenant's name is none.
        """
        root, targets, online = _keys(seed, "root", 3), _keys(seed, "targets", 3), _keys(seed, "online", 1)
        theirs = {name: _keys(seed, f"tenant {name}", 3) for name in tenants}
        custody = Custody(_trusted(root, 2), _trusted(targets, 2), _trusted(online, 1))
        first = draft_root(custody, now_s=now_s, expires_s=now_s + ROOT_LIVES_S)
        repository = accept(Repository(), sign_with(first, root[:2]), "root")
        delegations = {name: _trusted(keys, 2) for name, keys in theirs.items()}
        draft = draft_targets(delegations, now_s=now_s, expires_s=now_s + TARGETS_LIVE_S)
        repository = accept(repository, sign_with(draft, targets[:2]), "targets")
        return cls(repository, online, {name: keys[:2] for name, keys in theirs.items()})

    @property
    def anchor(self) -> bytes:
        """The first root: what a satellite is launched with."""
        return self.repository.roots[0]

    def release(
        self, tenant: str, targets: Mapping[str, bytes], *, now_s: float, contacts: Mapping[str, int] | None = None
    ) -> Repository:
        """Have the tenant sign for new targets (content by path), publish, and return the repository.

        Raises:
            TrustError: no such tenant, a path that it may not sign, or time went back.
        """
        draft = draft_release(self.repository, tenant, targets, now_s=now_s, expires_s=now_s + TENANT_LIVES_S)
        signed = accept(self.repository, sign_with(draft, self.tenants.get(tenant, ())), tenant)
        self.repository = publish(signed, self.online, now_s=now_s, contacts=contacts)
        return self.repository


def _keys(seed: bytes, role: str, count: int) -> list[SigningKey]:
    return [generate_key(hashlib.sha256(b"%s|%s|%d" % (seed, role.encode(), i)).digest()) for i in range(count)]


def _trusted(keys: Sequence[SigningKey], threshold: int) -> TrustedKeys:
    return TrustedKeys.of([key.public for key in keys], threshold)
