"""A small repository with keys for tests: 2-of-3 root and targets, one online key, two tenants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orbitloop.ground.ceremony import Custody, draft_root, draft_targets, sign_with
from orbitloop.ground.repository import Lifetimes, Repository, accept, carried, draft_release, publish
from orbitloop.trust.keys import SigningKey, TrustedKeys, generate_key

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


def keys(first: int, count: int) -> list[SigningKey]:
    return [generate_key(bytes([first + i]) * 32) for i in range(count)]


def trusted(of: list[SigningKey], threshold: int) -> TrustedKeys:
    return TrustedKeys.of([k.public for k in of], threshold)


ROOT, TARGETS, ONLINE, NEW_ONLINE = keys(1, 3), keys(11, 3), keys(21, 1), keys(25, 1)
NEW_ROOT = keys(5, 3)
FARM, SHIPS, STRANGERS = keys(31, 3), keys(41, 2), keys(51, 3)
CUSTODY = Custody(trusted(ROOT, 2), trusted(TARGETS, 2), trusted(ONLINE, 1))
TENANTS = {"farm": trusted(FARM, 2), "ships": trusted(SHIPS, 1)}


@dataclass
class World:
    """The ground of a test: every step signs, publishes and moves the clock on."""

    now_s: float = NOW_S
    repository: Repository = field(default_factory=Repository)
    online: list[SigningKey] = field(default_factory=lambda: list(ONLINE))
    contacts: dict[str, int] = field(default_factory=dict)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    def __post_init__(self) -> None:
        if not self.repository.roots:
            self.root(draft_root(CUSTODY, now_s=self.now_s, expires_s=self.now_s + 10 * YEAR_S), ROOT[:2])
            self.targets(draft_targets(TENANTS, now_s=self.now_s, expires_s=self.now_s + 3 * YEAR_S), TARGETS[:2])

    def clone(self) -> World:
        return replace(self, contacts=dict(self.contacts), online=list(self.online))

    @property
    def anchor(self) -> bytes:
        return self.repository.roots[0]

    def root(self, draft: bytes, by: list[SigningKey]) -> None:
        self.repository = accept(self.repository, sign_with(draft, by), "root")

    def targets(self, draft: bytes, by: list[SigningKey]) -> None:
        self.repository = accept(self.repository, sign_with(draft, by), "targets")

    def release(
        self,
        path: str = "farm/fields/1-a",
        content: bytes = b"manifest 1",
        by: list[SigningKey] | None = None,
        lives_s: float = YEAR_S,
    ) -> dict[str, bytes]:
        self.now_s += 60
        tenant = path.split("/")[0]
        draft = draft_release(self.repository, tenant, {path: content}, now_s=self.now_s, expires_s=self.now_s + lives_s)
        signers = by or (FARM[:2] if tenant == "farm" else SHIPS[:1])
        self.repository = accept(self.repository, sign_with(draft, signers), tenant)
        return self.publish(tenant)

    def publish(self, tenant: str | None = "farm", root_held: int = 1) -> dict[str, bytes]:
        self.now_s += 60
        self.repository = publish(
            self.repository, self.online, now_s=self.now_s, contacts=self.contacts, lifetimes=self.lifetimes
        )
        return carried(self.repository, tenant, root_held=root_held)
