"""From what is believed and what arrived to what may be believed now: TUF's client workflow, with no file and no clock.

`refresh` drives python-tuf's `TrustedMetadataSet` in the order of the specification (section 5: root, timestamp, snapshot,
targets, delegation) over named bytes of a `Source`. It is a function: what it returns replaces what was believed, and it is the
caller who writes that, once the rest of the bundle holds too. So whatever is refused has changed nothing.

Time. `t`, against which expiry is judged, is the latest signing time in the root and timestamp that are believed; it only
rises, and no tenant can move it. A timestamp whose keys the newest root has replaced takes its word on the time with it. The
board's clock counts only under `Policy.use_clock`.

    t0 = max(signed_at of root, of the timestamp held if it still verifies)       [, now - grace with use_clock]
    t1 = max(t0, signed_at of the new timestamp)                                  every role must satisfy t1 < expires

Withholding. Without a clock an attacker could send old but genuine bundles for ever. The timestamp holds the contact counter
that the ground last heard from this satellite (absent = 0); `contacts - heard > max_contacts` is refused as frozen.

Why not `tuf.ngclient.Updater`: see the decision record on TUF in `docs/adr/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tuf.api.exceptions import EqualVersionNumberError
from tuf.api.metadata import Signed, TargetFile, Targets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from orbitloop.errors import TrustError
from orbitloop.trust.form import (
    MALFORMED,
    MAX_METADATA_BYTES,
    SIGNED_AT,
    brief,
    heard_contacts,
    read_metadata,
    signed_at_s,
    utc,
)


class Source(Protocol):
    """Where metadata that arrived is read from, by TUF's file names (`2.root.json`, `timestamp.json`, `7.snapshot.json`)."""

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Return a file of at most `max_bytes`, None if it did not come.

        Raises:
            TrustError: it is larger.
        """


@dataclass(frozen=True, slots=True)
class Files:
    """A source that is a mapping: what a bundle carried."""

    files: Mapping[str, bytes]

    def read(self, name: str, max_bytes: int) -> bytes | None:
        data = self.files.get(name)
        if data is not None and len(data) > max_bytes:
            raise TrustError(f"{len(data)} bytes are over the limit of {max_bytes}", where=name)
        return data


@dataclass(frozen=True, slots=True)
class Policy:
    """How strict a satellite is.

    Attributes:
        max_contacts: contacts that a timestamp may lie behind (some weeks of them).
        max_step: by how much a version may rise at once.
        max_roots: rotations taken in one refresh.
        max_delegations: roles visited on the way to a target.
        use_clock: the board's clock is disciplined (GNSS) and may make metadata expire.
        grace_s: how long after its expiry metadata still counts, by that clock.
        strict: only canonical metadata with our fields and keys; off for foreign repositories.
    """

    max_contacts: int = 300
    max_step: int = 10_000
    max_roots: int = 64
    max_delegations: int = 32
    use_clock: bool = False
    grace_s: float = 0.0
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Believed:
    """What a satellite believes: verified metadata by role, and how many contacts it has had."""

    roles: Mapping[str, bytes]
    contacts: int = 0

    @classmethod
    def anchor(cls, root: bytes) -> Believed:
        """Return what a satellite believes on the day of its launch: one root."""
        return cls({"root": root})

    def version(self, role: str) -> int:
        """Return the version of a role, 0 if it is not believed yet."""
        data = self.roles.get(role)
        version: int = read_metadata(data, role).signed.version if data else 0
        return version


@dataclass(slots=True)
class Refresh:
    """One refresh under way. `run` goes through the top-level roles, `find` on to a target; `believed` is what holds so far."""

    believed: Believed
    source: Source
    satellite: str = ""
    policy: Policy = Policy()
    now_s: float | None = None
    _trusted: TrustedMetadataSet = field(init=False)
    _time_s: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        root = self.believed.roles["root"]
        with _refusing("root"):
            self._trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
        if self.policy.use_clock and self.now_s is not None:
            self._advance(max(0, int(self.now_s - self.policy.grace_s)))
        self._advance_to(self._trusted.root, "root")

    @property
    def time_s(self) -> int:
        """The trusted time, UTC seconds."""
        return self._time_s

    def version(self, role: str) -> int:
        """Return a verified role's version, 0 if it is not there."""
        signed = self._trusted.get(role)
        return signed.version if signed is not None else 0

    def run(self) -> None:
        """Verify root, timestamp, snapshot and targets.

        Raises:
            TrustError: one of them does not hold; `believed` then has those before it. Never anything else.
        """
        self._roots()
        self._timestamp()
        self._snapshot()
        self._targets("targets", "root")

    def find(self, path: str) -> tuple[str, TargetFile]:
        """Return the role that signs for a path, and what it signs: length and digests.

        Raises:
            TrustError: no role that may sign for this path does. Never anything else.
        """
        waiting, visited = [("targets", "root")], set[str]()
        while waiting and len(visited) <= self.policy.max_delegations:
            role, parent = waiting.pop()
            if role in visited:
                continue
            targets = self._targets(role, parent)
            if path in targets.targets:
                return role, targets.targets[path]
            visited.add(role)
            if targets.delegations is None:
                continue
            children: list[tuple[str, str]] = []
            for name, terminating in targets.delegations.get_roles_for_target(path):
                children.append((name, role))
                if terminating:
                    waiting = []
                    break
            waiting.extend(reversed(children))
        raise TrustError(f"nobody who may has signed for {path[:100]}", where="targets")

    def _roots(self) -> None:
        for _ in range(self.policy.max_roots):
            number = self._trusted.root.version + 1
            data = self._read(f"{number}.root.json", "root")
            if data is None:
                return
            with _refusing(f"root {number}"):
                self._trusted.update_root(data)
            self._keep("root", data)
            self._advance_to(self._trusted.root, "root")
        raise TrustError(f"over {self.policy.max_roots} new roots at once", where="root", remedy="send them in several bundles")

    def _timestamp(self) -> None:
        self._reload("timestamp", self._trusted.update_timestamp)
        held = self.version("timestamp")
        if held:
            self._advance_to(self._trusted.timestamp, "timestamp")
        data = self._needed("timestamp.json", "timestamp")
        with _refusing("timestamp"):
            try:
                self._trusted.update_timestamp(data)
                self._keep("timestamp", data)
            except EqualVersionNumberError:
                pass  # the one that is believed stays; it is the same, or a second one under the same number
        new = self._trusted.timestamp
        self._rises("timestamp", held, new.version)
        self._advance_to(new, "timestamp")
        for signed in (self._trusted.root, new):
            if signed.is_expired(self._trusted.reference_time):
                raise TrustError(f"expired, by the time {utc(self._time_s):%Y-%m-%d %H:%M} UTC", where=signed.type)
        self._not_frozen(new)

    def _snapshot(self) -> None:
        if not self._reload("snapshot", lambda data: self._trusted.update_snapshot(data, trusted=True)):
            held, known = self.version("snapshot"), self._known()
            meta = self._trusted.timestamp.snapshot_meta
            data = self._needed(self._file("snapshot", meta.version), "snapshot", meta.length)
            with _refusing("snapshot"):
                self._trusted.update_snapshot(data)
            self._keep("snapshot", data)
            self._rises("snapshot", held, self.version("snapshot"))
            for name, version in self._known().items():
                self._rises(name, known.get(name, 0), version)

    def _targets(self, role: str, parent: str) -> Targets:
        if self._trusted.contains(role, parent):
            return _as_targets(self._trusted[role])
        if not self._reload(role, lambda data: self._trusted.update_delegated_targets(data, role, parent)):
            meta = self._trusted.snapshot.meta.get(f"{role}.json")
            if meta is None:
                raise TrustError("the snapshot does not know it", where=role)
            data = self._needed(self._file(role, meta.version), role, meta.length)
            with _refusing(role):
                self._trusted.update_delegated_targets(data, role, parent)
            self._keep(role, data)
        return _as_targets(self._trusted[role])

    def _reload(self, role: str, take: Callable[[bytes], object]) -> bool:
        """Offer what is believed of a role; say whether it still holds as it is. If only in part, it still guards versions."""
        data = self.believed.roles.get(role)
        if data is None:
            return False
        try:
            take(data)
        except MALFORMED:
            return False
        return True

    def _known(self) -> dict[str, int]:
        """Return the versions that the snapshot gives, by file; none while there is no snapshot."""
        return {name: m.version for name, m in self._trusted.snapshot.meta.items()} if self.version("snapshot") else {}

    def _file(self, role: str, version: int) -> str:
        return f"{version}.{role}.json" if self._trusted.root.consistent_snapshot else f"{role}.json"

    def _read(self, name: str, role: str, length: int | None = None) -> bytes | None:
        data = self.source.read(name, min(length or MAX_METADATA_BYTES, MAX_METADATA_BYTES))
        if data is not None and self.policy.strict:
            read_metadata(data, role)
        return data

    def _needed(self, name: str, role: str, length: int | None = None) -> bytes:
        data = self._read(name, role, length)
        if data is None:
            raise TrustError(f"{name} did not come", where=role)
        return data

    def _keep(self, role: str, data: bytes) -> None:
        self.believed = replace(self.believed, roles={**self.believed.roles, role: data})

    def _rises(self, role: str, held: int, version: int) -> None:
        if version - held > self.policy.max_step and self.policy.strict:
            raise TrustError(f"version {str(version)[:12]} is more than {self.policy.max_step} above {held}", where=role)

    def _advance_to(self, signed: Signed, what: str) -> None:
        if self.policy.strict or SIGNED_AT in signed.unrecognized_fields:
            self._advance(signed_at_s(signed, what))
        else:
            self._advance(0)

    def _advance(self, at_s: int) -> None:
        self._time_s = max(self._time_s, at_s)
        self._trusted.reference_time = utc(self._time_s)

    def _not_frozen(self, timestamp: Signed) -> None:
        if not self.satellite:
            return
        heard, contacts = heard_contacts(timestamp, self.satellite) or 0, self.believed.contacts
        if contacts - heard > self.policy.max_contacts:
            limit = self.policy.max_contacts
            raise TrustError(f"{contacts - heard} contacts old, over the limit of {limit}", where="timestamp")
        self.believed = replace(self.believed, contacts=max(contacts, heard))


@dataclass(frozen=True, slots=True)
class Verified:
    """What a refresh yields: the next state, and the role and content of the target that was asked for."""

    believed: Believed
    role: str
    target: bytes
    time_s: int


def refresh(
    believed: Believed,
    source: Source,
    *,
    satellite: str = "",
    policy: Policy | None = None,
    now_s: float | None = None,
) -> Believed:
    """Verify the top-level roles that arrived; return what may be believed now (trust alone, without an update).

    Raises:
        TrustError: something does not hold; nothing is to be changed. Never anything else.
    """
    step = Refresh(believed, source, satellite, policy or Policy(), now_s)
    step.run()
    return step.believed


def verify_target(
    believed: Believed,
    source: Source,
    path: str,
    content: bytes,
    *,
    tenant: str,
    satellite: str = "",
    policy: Policy | None = None,
    now_s: float | None = None,
) -> Verified:
    """Verify all roles on the way to a target, that the tenant's own role signs for it, and its content.

    Raises:
        TrustError: something does not hold; nothing is to be changed. Never anything else.
    """
    step = Refresh(believed, source, satellite, policy or Policy(), now_s)
    step.run()
    role, target = step.find(path)
    if role != tenant:
        raise TrustError(f"{path[:100]} is signed by {role[:40]}, not by {tenant}", where="targets")
    with _refusing(path[:100]):
        target.verify_length_and_hashes(content)
    return Verified(step.believed, role, content, step.time_s)


class _refusing:
    """Re-raise what python-tuf says of outside bytes in our family."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object, /) -> None:
        if isinstance(error, (*MALFORMED, RuntimeError)) and not isinstance(error, TrustError):
            raise TrustError(brief(error), where=self._what) from error


def _as_targets(signed: Signed) -> Targets:
    if not isinstance(signed, Targets):
        raise TrustError("is not targets metadata", where=signed.type)
    return signed
