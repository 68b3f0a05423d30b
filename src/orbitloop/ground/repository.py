"""The ground's TUF repository as a value: what was signed so far, what may be added, and what a satellite must be sent.

Offline roles come in through `accept`, which believes them as a satellite would (threshold, version, keys). A release is a
tenant's metadata with one target more, drafted here and signed by the tenant; `publish` then makes snapshot and timestamp
with the online keys. Snapshot and timestamp give versions only: each role is held by its own signatures, and digests would
double their size.

Everything is bytes by TUF's file names, so that a folder of files is a repository (`files`, `from_files`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from orbitloop.errors import TrustError
from orbitloop.ground.ceremony import custody_of, sign_with, signed_by, tenants_of
from orbitloop.trust.form import CONTACTS, SIGNED_AT, check_name, read_metadata, signed_at_s, utc
from orbitloop.trust.keys import SigningKey

DAY_S = 86_400
KEEP_TARGETS = 4
"""Targets that a tenant's metadata goes on naming: what may still be on its way up."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long online metadata counts, from its signing."""

    snapshot_s: float = 90 * DAY_S
    timestamp_s: float = 60 * DAY_S


@dataclass(frozen=True, slots=True)
class Repository:
    """All roots in order, the other roles' newest metadata by name, and versions that were taken (also of revoked tenants)."""

    roots: tuple[bytes, ...] = ()
    roles: Mapping[str, bytes] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def root(self) -> bytes:
        """The newest root.

        Raises:
            TrustError: there is none.
        """
        if not self.roots:
            raise TrustError("the repository has no root", remedy="draft one, have it signed, and accept it")
        return self.roots[-1]

    def files(self) -> dict[str, bytes]:
        """Return the whole repository as files."""
        files = {f"{number}.root.json": data for number, data in enumerate(self.roots, 1)}
        for role, data in self.roles.items():
            files["timestamp.json" if role == "timestamp" else f"{self.versions[role]}.{role}.json"] = data
        return files


def from_files(files: Mapping[str, bytes]) -> Repository:
    """Read what `files` wrote, of each role the newest, if the keys of today have signed it.

    Raises:
        TrustError: a file is malformed, a root is missing, or a name is not TUF's.
    """
    repository = Repository()
    for name in sorted((n for n in files if n.endswith(".root.json")), key=_number):
        repository = accept(repository, files[name], "root")
    roles: dict[str, bytes] = {}
    versions: dict[str, int] = {}
    for name, data in files.items():
        role = name.removesuffix(".json").rpartition(".")[2]
        if role == "root":
            continue
        signed = read_metadata(data, name).signed
        if signed.version > versions.get(role, 0):
            roles[role], versions[role] = data, signed.version
    if "snapshot" in roles:
        for name, meta in read_metadata(roles["snapshot"], "snapshot").signed.meta.items():
            versions.setdefault(name.removesuffix(".json"), meta.version)
    return replace(repository, roles=_still_signed(repository.roots, roles), versions=versions)


def accept(repository: Repository, metadata: bytes, role: str) -> Repository:
    """Take in signed metadata of root, targets or a tenant.

    Raises:
        TrustError: too few signatures, a version that is not the next one, or a role that nobody delegated.
    """
    signed = read_metadata(metadata, role).signed
    if role == "root":
        return _accept_root(repository, metadata)
    delegator = repository.root if role == "targets" else repository.roles.get("targets", b"")
    if not isinstance(signed, Targets) or not delegator:
        raise TrustError("is not what this role holds, or nobody delegates to it yet", where=role)
    _enough(metadata, delegator, role)
    held = repository.versions.get(role, 0)
    if signed.version != held + 1:
        raise TrustError(f"version {signed.version} does not follow {held}", where=role)
    roles = {**repository.roles, role: metadata}
    if role == "targets":  # whose delegation changed must sign anew
        now = tenants_of(metadata)
        before = tenants_of(repository.roles["targets"]) if "targets" in repository.roles else now
        roles = {name: data for name, data in roles.items() if name in _TOP or (name in now and now[name] == before.get(name))}
    return replace(repository, roles=roles, versions={**repository.versions, role: signed.version})


def draft_release(
    repository: Repository,
    tenant: str,
    targets: Mapping[str, bytes],
    *,
    now_s: float,
    expires_s: float,
    keep: int = KEEP_TARGETS,
) -> bytes:
    """Return a tenant's next metadata, unsigned: the last `keep` of its targets and these new ones, content by path.

    Raises:
        TrustError: a path that the tenant may not sign.
    """
    check_name(tenant)
    held = repository.roles.get(tenant)
    old = read_metadata(held, tenant).signed.targets if held else {}
    for path in targets:
        if len(path.split("/")) != 3 or not path.startswith(f"{tenant}/"):
            raise TrustError(f"{path} is not a path of {tenant}", remedy=f"name it {tenant}/MODEL/UPDATE")
    newest = sorted((path for path in old if path not in targets), key=_order, reverse=True)[:keep]
    kept = {path: old[path] for path in newest}
    rows = {path: TargetFile.from_data(path, content, ["sha256"]) for path, content in targets.items()}
    version = repository.versions.get(tenant, 0) + 1
    fields = {SIGNED_AT: int(now_s)}
    signed = Targets(version=version, expires=utc(expires_s), targets=kept | rows, unrecognized_fields=fields)
    return Metadata(signed).to_bytes()


def publish(
    repository: Repository,
    online: Sequence[SigningKey],
    *,
    now_s: float,
    contacts: Mapping[str, int] | None = None,
    lifetimes: Lifetimes | None = None,
) -> Repository:
    """Sign a new snapshot, if a role has changed, and a new timestamp.

    Args:
        repository: with root and targets.
        online: keys of the online roles, as many as their threshold asks for.
        now_s: UTC seconds; must not lie before what was published already.
        contacts: by satellite, the last contact counter heard from it.
        lifetimes: until when both count.

    Raises:
        TrustError: there are no targets signed by the keys of today, the online keys are not the root's, or time went back.
    """
    life = lifetimes or Lifetimes()
    if "targets" not in repository.roles:
        raise TrustError("there are no targets to publish", remedy="draft them, have them signed, and accept them")
    _enough(repository.roles["targets"], repository.root, "targets")
    _not_back(repository, now_s)
    repository = _snapshot(repository, online, now_s, life)
    version = repository.versions.get("timestamp", 0) + 1
    fields: dict[str, object] = {SIGNED_AT: int(now_s)}
    if contacts:
        fields[CONTACTS] = dict(contacts)
    meta = MetaFile(version=repository.versions["snapshot"])
    signed = Timestamp(version=version, expires=utc(now_s + life.timestamp_s), snapshot_meta=meta, unrecognized_fields=fields)
    return _online(repository, "timestamp", Metadata(signed).to_bytes(), version, online)


def carried(repository: Repository, tenant: str | None, *, root_held: int = 1, targets_held: int = 0) -> dict[str, bytes]:
    """Return the files that a satellite must be sent.

    Args:
        repository: as published.
        tenant: whose release goes up; None = trust alone.
        root_held: version of the root that the satellite believes, by its beacon (1 = the launch's).
        targets_held: version of the top-level targets that it believes; 0 = unknown.

    Raises:
        TrustError: it is not published, or there is no such tenant.
    """
    files = repository.files()
    needed = ["timestamp.json"]
    known = targets_held == repository.versions.get("targets")
    for role in ["snapshot", *([] if known else ["targets"]), *([tenant] if tenant else [])]:
        if role not in repository.roles:
            raise TrustError("has not been signed or published", where=role)
        needed.append(f"{repository.versions[role]}.{role}.json")
    needed += [f"{number}.root.json" for number in range(root_held + 1, len(repository.roots) + 1)]
    return {name: files[name] for name in needed}


_TOP = ("root", "targets", "snapshot", "timestamp")


def _accept_root(repository: Repository, metadata: bytes) -> Repository:
    custody_of(metadata)
    version = len(repository.roots) + 1
    if read_metadata(metadata, "root").signed.version != version:
        raise TrustError(f"is not version {version}", where="root")
    for delegator in (*repository.roots[-1:], metadata):
        _enough(metadata, delegator, "root")
    roles = dict(repository.roles)
    if repository.roots and custody_of(repository.root).online != custody_of(metadata).online:
        roles.pop("snapshot", None)
    return replace(repository, roots=(*repository.roots, metadata), roles=roles)


def _enough(metadata: bytes, delegator: bytes, role: str) -> None:
    state = signed_by(metadata, delegator, role)
    if not state.enough:
        raise TrustError(
            f"{len(state.names)} of {state.threshold} needed signatures are there",
            where=role,
            remedy=f"have it signed by more of {', '.join(name[:12] for name in state.missing)}",
        )


def _snapshot(repository: Repository, online: Sequence[SigningKey], now_s: float, life: Lifetimes) -> Repository:
    # A tenant that was revoked keeps its row for ever: a snapshot in which a role has vanished is a rollback.
    names = {role for role in repository.versions if role not in ("snapshot", "timestamp", "root")}
    meta = {f"{role}.json": MetaFile(version=repository.versions[role]) for role in sorted(names)}
    held = repository.roles.get("snapshot")
    if held is not None:
        signed = read_metadata(held, "snapshot").signed
        if signed.meta == meta and not signed.is_expired(utc(now_s + life.timestamp_s)):
            return repository
    version = repository.versions.get("snapshot", 0) + 1
    fields = {SIGNED_AT: int(now_s)}
    snapshot = Snapshot(version=version, expires=utc(now_s + life.snapshot_s), meta=meta, unrecognized_fields=fields)
    return _online(repository, "snapshot", Metadata(snapshot).to_bytes(), version, online)


def _online(repository: Repository, role: str, draft: bytes, version: int, keys: Sequence[SigningKey]) -> Repository:
    data = sign_with(draft, keys)
    _enough(data, repository.root, role)
    return replace(repository, roles={**repository.roles, role: data}, versions={**repository.versions, role: version})


def _not_back(repository: Repository, now_s: float) -> None:
    times = [signed_at_s(read_metadata(data, role).signed, role) for role, data in repository.roles.items()]
    if now_s < max(times):
        raise TrustError("time went back: something was signed later already", remedy="set this machine's clock")


def _still_signed(roots: Sequence[bytes], roles: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the roles without those that newer keys have made void; their files lie on, and their versions are taken.

    Targets stay: they are what the next ones are drafted from, and `publish` asks for the new keys.
    """
    above = roles.get("targets")
    kept = {"targets": above} if above else {}
    if roots:
        online = ("snapshot", "timestamp")
        kept |= {role: roles[role] for role in online if role in roles and signed_by(roles[role], roots[-1], role).enough}
    tenants = tenants_of(above) if above else {}
    theirs = {name: data for name, data in roles.items() if name in tenants and signed_by(data, above or b"", name).enough}
    return kept | theirs


def _number(name: str) -> int:
    head = name.split(".")[0]
    if not head.isdecimal() or len(head) > 9:
        raise TrustError("is not a TUF file name", where=name)
    return int(head)


def _order(path: str) -> tuple[int, str]:
    head = path.rpartition("/")[2].partition("-")[0]
    return (int(head) if head.isdecimal() and len(head) < 12 else 0, path)
