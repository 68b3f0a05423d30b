"""Where malicious bundles are made and delivered: a ground with all keys, a satellite that has flown for a while, an eye on
every byte of its flash.

The satellite ("veteran") flies version 4 of its model and believes what was published with it; versions 5 and 6 are on the
ground. A variant is refused when the answer is a report that says so in the words that the variant expects, no byte on flash
has changed, the good bundle would still be taken, and neither memory nor time ran away.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from re import search
from typing import Any

import numpy as np
from securesystemslib.signer import Signature
from torture_section import Outcome, Section, Tick
from tuf.api.metadata import Metadata

from orbitloop.delta.bundle import manifest_bytes, pack_bundle, target_path
from orbitloop.delta.make import make_delta
from orbitloop.ground.ceremony import Custody, add_tenant, draft_root, draft_targets, revoke_tenant, rotate_root, sign_with
from orbitloop.ground.repository import Repository, accept, carried, draft_release, publish
from orbitloop.onboard import updates
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, UpdateManifest
from orbitloop.sim.flash import MemoryFlash
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.keys import SigningKey, TrustedKeys, generate_key
from orbitloop.trust.refresh import Policy

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
SATELLITE, MODEL, TENANT, HARDWARE = "sat-1", "fields", "farm", "jetson"
MOST_CPU_S = 10.0
MOST_BYTES = 8 << 20
SEAL_KEY = bytes(range(32))
Files = dict[str, bytes]


def some_keys(first: int, count: int) -> list[SigningKey]:
    return [generate_key(bytes([first + i]) * 32) for i in range(count)]


def trusted(keys: Sequence[SigningKey], threshold: int) -> TrustedKeys:
    return TrustedKeys.of([k.public for k in keys], threshold)


ROOT, TARGETS, ONLINE, FARM, SHIPS = (
    some_keys(1, 3),
    some_keys(11, 3),
    some_keys(21, 1),
    some_keys(31, 3),
    some_keys(41, 2),
)
NEW_ROOT, NEW_ONLINE, NEW_FARM, CROPS = some_keys(61, 3), some_keys(71, 1), some_keys(81, 3), some_keys(91, 2)
STRANGERS = some_keys(51, 3)
CUSTODY = Custody(trusted(ROOT, 2), trusted(TARGETS, 2), trusted(ONLINE, 1))
SIGNERS = {
    "root": ROOT[:2],
    "targets": TARGETS[:2],
    "snapshot": ONLINE,
    "timestamp": ONLINE,
    "farm": FARM[:2],
    "ships": SHIPS[:1],
}


@cache
def base() -> dict[str, np.ndarray]:
    """Return a small model: five layers, a norm and a bias."""
    rng = np.random.default_rng(7)
    made = {f"conv{i}.weight": rng.normal(0, 0.1, (8, 4, 3, 3)).astype(np.float32) for i in range(5)}
    made["bn0.var"] = rng.uniform(0.5, 2, 8).astype(np.float32)
    made["conv4.bias"] = rng.normal(0, 1, 8).astype(np.float32)
    return load_weights(save_weights(made))


@cache
def target(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(100 + seed)
    return {n: (a + 0.05 * a * rng.normal(size=a.shape)).astype(np.float32) for n, a in base().items()}


@cache
def change(seed: int) -> tuple[bytes, str]:
    """Return a payload for `base` and the digest of what it yields."""
    from orbitloop.delta.apply import apply_delta

    payload = make_delta(base(), target(seed))
    return payload, digest_tensors(apply_delta(base(), payload))


def manifest(version: int = 6, payload: bytes | None = None, result: str | None = None, **changes: Any) -> UpdateManifest:
    made, yields = change(version)
    payload = made if payload is None else payload
    first = UpdateManifest(
        version,
        MODEL,
        digest_tensors(base()),
        yields if result is None else result,
        digest_bytes(payload),
        len(payload),
        (SATELLITE, "sat-2"),
        {},
        (),
        TENANT,
        HARDWARE,
    )
    changed = replace(first, **changes)
    evidence = {"passed": True, "base": changed.base, "result": changed.result}
    return changed if "gate" in changes else replace(changed, gate=evidence)


@dataclass
class Ground:
    """All keys in one hand; a fork may be led astray without harm to the other."""

    repository: Repository = field(default_factory=Repository)
    now_s: float = NOW_S
    contacts: Mapping[str, int] = field(default_factory=dict)
    signers: dict[str, list[SigningKey]] = field(default_factory=lambda: dict(SIGNERS))

    def fork(self) -> Ground:
        other = copy(self)
        other.signers = dict(self.signers)
        return other

    def accept(self, draft: bytes, role: str, by: Sequence[SigningKey] | None = None) -> None:
        self.repository = accept(self.repository, sign_with(draft, by or self.signers[role]), role)

    def target(self, path: str, content: bytes, *, lives_s: float = YEAR_S) -> None:
        """Let the tenant whose path it is sign for it."""
        self.now_s += 60
        tenant = path.split("/")[0]
        draft = draft_release(self.repository, tenant, {path: content}, now_s=self.now_s, expires_s=self.now_s + lives_s)
        self.accept(draft, tenant)

    def publish(self) -> None:
        self.now_s += 60
        self.repository = publish(self.repository, self.signers["timestamp"], now_s=self.now_s, contacts=self.contacts)

    def carried(self, tenant: str | None = TENANT) -> Files:
        return carried(self.repository, tenant)

    def release(self, m: UpdateManifest, payload: bytes | None = None, path: str = "") -> bytes:
        """Sign, publish and pack an update, whatever is in it."""
        return self.release_raw(path or target_path(m), manifest_bytes(m), change(m.version)[0] if payload is None else payload)

    def release_raw(self, path: str, content: bytes, payload: bytes) -> bytes:
        self.target(path, content)
        self.publish()
        return packed(self.carried(path.split("/")[0]), path, content, payload)


def packed(files: Files, path: str, content: bytes, payload: bytes) -> bytes:
    return pack_bundle(pack_metadata(files), path, content, payload)


@dataclass(frozen=True)
class Release:
    """One published update: what was carried, and the ground as it was then."""

    ground: Ground
    files: Files
    manifest: UpdateManifest

    @property
    def path(self) -> str:
        return target_path(self.manifest)

    @property
    def content(self) -> bytes:
        return manifest_bytes(self.manifest)

    @property
    def payload(self) -> bytes:
        return change(self.manifest.version)[0]

    def bundle(self, **files: bytes) -> bytes:
        return packed(self.files | files, self.path, self.content, self.payload)

    def with_files(self, changes: Mapping[str, bytes | None]) -> bytes:
        """Return the bundle with files replaced, added or (None) left out."""
        files = {name: data for name, data in {**self.files, **changes}.items() if data is not None}
        return packed(files, self.path, self.content, self.payload)

    def name(self, role: str) -> str:
        """Return the file name of a role's metadata."""
        return next(n for n in self.files if n == f"{role}.json" or n.endswith(f".{role}.json"))


@cache
def history() -> dict[int, Release]:
    """Return the updates 2 to 6 as they were published; with each, all roles changed, and before 4 the root too."""
    ground = Ground()
    ground.accept(draft_root(CUSTODY, now_s=NOW_S, expires_s=NOW_S + 10 * YEAR_S), "root")
    ground.accept(draft_targets(tenants(), now_s=NOW_S, expires_s=NOW_S + 5 * YEAR_S), "targets")
    found = {}
    for version in range(2, 7):
        ground.now_s += DAY_S
        times = {"now_s": ground.now_s, "expires_s": ground.now_s + 5 * YEAR_S}
        if version == 4:
            ground.accept(rotate_root(ground.repository.root, CUSTODY, **times), "root")
        held = ground.repository.roles["targets"]
        name = f"guest-{version // 2}"
        draft = add_tenant(held, name, trusted(CROPS, 1), **times) if version % 2 else None
        if version % 2 == 0 and version > 2:
            draft = revoke_tenant(held, f"guest-{(version - 1) // 2}", **times)
        if draft:
            ground.accept(draft, "targets")
        ground.target(f"ships/boats/{version}-x", b"another tenant's manifest %d" % version)
        m = manifest(version)
        ground.target(target_path(m), manifest_bytes(m))
        ground.contacts = {SATELLITE: 10 * version}
        ground.publish()
        found[version] = Release(ground.fork(), ground.carried(), m)
    return found


def tenants() -> dict[str, TrustedKeys]:
    return {"farm": trusted(FARM, 2), "ships": trusted(SHIPS, 1)}


def latest() -> Release:
    return history()[6]


def ground() -> Ground:
    """Return a fork of the ground as it is now."""
    return latest().ground.fork()


@cache
def _veteran() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    flash = MemoryFlash(files)
    SlotStore(flash).install_factory(b"graph", save_weights(base()), version=4)
    updater_on(flash).renew(pack_metadata(history()[4].files), NOW_S)
    return files


def anchor() -> bytes:
    return history()[6].ground.repository.roots[0]


def updater_on(flash: MemoryFlash, **changes: Any) -> updates.Updater:
    about: dict[str, Any] = {"tenant": TENANT, "hardware": HARDWARE} | changes
    name = about.pop("satellite", SATELLITE)
    model = about.pop("model", MODEL)
    return updates.Updater(name, model, SlotStore(flash), TrustStore(flash, anchor()), **about)


@dataclass(frozen=True)
class Variant:
    """One malicious delivery.

    Attributes:
        name: what it tries.
        data: the bytes that arrive.
        says: a pattern that the reason must match.
        kind: of the link: `update`, or `trust` for metadata alone.
        before: metadata that the satellite has taken before (the sections of messages of kind `trust`).
        contacts: its contact counter, where that matters.
        about: changes to how its `Updater` is built.
        now_s: what its clock says.
    """

    name: str
    data: bytes
    says: str = "."
    kind: str = "update"
    before: tuple[bytes, ...] = ()
    contacts: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    now_s: float = NOW_S


def satellite(variant: Variant) -> MemoryFlash:
    """Return the flash of the satellite to which a variant is delivered."""
    flash = MemoryFlash(dict(_veteran()))
    for section in variant.before:
        updater_on(flash, **variant.about).renew(section, variant.now_s)
    if variant.contacts is not None:
        store = TrustStore(flash, anchor())
        store.save(replace(store.load(), contacts=variant.contacts))
    return flash


@dataclass
class Watch:
    """The most that any delivery took."""

    cpu_s: float = 0.0
    peak_bytes: int = 0

    @property
    def told(self) -> str:
        return f"most {self.cpu_s:.2f} CPU s, {self.peak_bytes / 1e6:.1f} MB for one"


def deliver(variant: Variant, watch: Watch) -> list[str]:
    """Deliver a variant; return what was bad about it, nothing if it was refused as it should be."""
    flash = satellite(variant)
    updater = updater_on(flash, **variant.about)
    before = dict(flash.files)
    take = updater.receive if variant.kind == "update" else updater.take_trust
    tracemalloc.start()
    begin_s = time.process_time()
    try:
        answer: Any = take(variant.data, variant.now_s)
    except Exception as error:  # whatever escapes is what the suite is after
        answer = error
    cpu_s, peak = time.process_time() - begin_s, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    watch.cpu_s, watch.peak_bytes = max(watch.cpu_s, cpu_s), max(watch.peak_bytes, peak)
    bad = list(_judge(variant, answer))
    changed = sorted(n for n in before.keys() | flash.files.keys() if before.get(n) != flash.files.get(n))
    bad += [f"flash changed: {', '.join(changed)}"] if changed else []
    bad += [f"took {cpu_s:.1f} s"] if cpu_s > MOST_CPU_S else []
    bad += [f"took {peak} bytes"] if peak > MOST_BYTES + 6 * len(variant.data) else []
    return [f"{variant.name}: {line}" for line in bad]


def _judge(variant: Variant, answer: Any) -> list[str]:
    if isinstance(answer, BaseException):
        return [f"raised {type(answer).__name__}: {str(answer)[:150]}"]
    if not isinstance(answer, ApplyReport) or answer.outcome is not ApplyOutcome.REFUSED:
        return ["ACCEPTED"]
    bad = []
    if not search(variant.says, answer.reason):
        bad.append(f"refused, but because {answer.reason!r} (expected {variant.says!r})")
    if not answer.reason.isprintable() or len(answer.reason) > 400:
        bad.append(f"the beacon cannot carry the reason {ascii(answer.reason)[:100]}")
    if answer.active_digest != digest_tensors(base()):
        bad.append("the report names another model")
    return bad


def good_bundle_is_taken() -> list[str]:
    """Return nothing if the satellite is one that takes what is right."""
    flash = satellite(Variant("", b""))
    answer = updater_on(flash).receive(latest().bundle(), NOW_S)
    return [f"the good bundle is refused: {answer.reason}"] if isinstance(answer, ApplyReport) else []


def attack(name: str, aim: str, variants: Callable[[], list[Variant]], *, least: int = 20, quick: int = 8) -> Section:
    """Return a section that delivers every variant of a class."""

    def run(count: int, tick: Tick) -> Outcome:
        return deliver_all(list(variants()), least, tick, count)

    return Section(f"malicious {name}", aim, run, least, quick)


def deliver_all(variants: list[Variant], least: int, tick: Tick, count: int, enough: int = 1 << 30) -> Outcome:
    """Deliver variants; stop after `enough` bad ones, where it is known that there are some."""
    watch, bad = Watch(), good_bundle_is_taken()
    distinct = {(v.data, v.kind, v.before, v.contacts, repr(sorted(v.about.items())), v.now_s) for v in variants}
    if len(distinct) < least or len({v.name for v in variants}) < len(variants) or len(distinct) < len(variants):
        bad.append(f"only {len(distinct)} of {len(variants)} variants are distinct, {least} are wanted")
    if count < least:  # a quick look takes its sample from everywhere
        variants = variants[:: max(1, len(variants) // max(1, count))]
    for done, variant in enumerate(variants, 1):
        bad += deliver(variant, watch)
        tick(done)
        if len(bad) >= enough:
            break
    note = f"{len(variants)} variants; {watch.told}"
    return Outcome(len(variants), tuple(bad[:12]), len(bad), note)


def edited(data: bytes, edit: Callable[[Any], object], by: Sequence[SigningKey]) -> bytes:
    """Return metadata that was changed and signed again; no check of ours stands in the way."""
    metadata: Any = Metadata.from_bytes(data)
    edit(metadata.signed)
    return signed_anew(metadata, by)


def signed_anew(metadata: Any, by: Sequence[SigningKey]) -> bytes:
    metadata.signatures = {k.key_id: Signature(k.key_id, k.sign(metadata.signed_bytes).hex()) for k in by}
    data: bytes = metadata.to_bytes()
    return data


def assigned(**values: Any) -> Callable[[Any], None]:
    """Return an edit that sets attributes of the signed part."""

    def edit(signed: Any) -> None:
        for name, value in values.items():
            setattr(signed, name, value)

    return edit


CLOCKED = Policy(use_clock=True)
