"""What a satellite makes of a bundle, asked on the ground: each check by itself, in its order, then the on-board code whole.

The list exists so that a person sees how far a bundle comes and why it stops there. It has no authority: the last entry is the
code that flies (`onboard.updates`), over a flash in memory, and when the two differ it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from orbitloop.apps.models import OpenModel
from orbitloop.delta.apply import apply_delta
from orbitloop.delta.bounds import check_change
from orbitloop.delta.bundle import Bundle, check_payload, open_bundle, read_manifest, seal_binding, target_path
from orbitloop.errors import OrbitloopError, TrustError, UpdateError
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.flash import Flash
from orbitloop.onboard.flying import FlyingModel
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trial import TrialLimits
from orbitloop.onboard.trial_bench import InProcess
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Updater
from orbitloop.onboard.weights import save_weights
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, UpdateManifest
from orbitloop.sim.flash import MemoryFlash
from orbitloop.trust.carried import role_of, unpack_metadata
from orbitloop.trust.form import TOP_LEVEL
from orbitloop.trust.refresh import Believed, Files, Policy, verify_target
from orbitloop.trust.sealed import seal_key_id, unseal

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """What a satellite holds before a bundle comes. An empty name is taken from the bundle's manifest, and so not checked."""

    base: OpenModel
    root: bytes = b""
    satellite: str = ""
    tenant: str = ""
    hardware: str = ""
    version: int = 0
    contacts: int = 0
    seal_keys: tuple[bytes, ...] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def keys(self) -> Mapping[str, bytes]:
        return {seal_key_id(key): key for key in self.seal_keys}


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what it asks, whether it holds (None: not asked), and what was found."""

    name: str
    passed: bool | None
    found: str


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """All checks up to the first that fails; the manifest as far as it was read; the result, when all hold."""

    checks: tuple[Check, ...]
    manifest: UpdateManifest | None
    weights: Tensors | None
    error: OrbitloopError | None


def examine(bundle: bytes, board: Board, now_s: float) -> Examined:
    """Hold a bundle against all that a satellite checks, without a flash. Without a root, signatures are not asked for."""
    run = _Examination(board, now_s)
    checks: list[Check] = []
    for name, step in run.steps():
        try:
            found = step(bundle)
        except OrbitloopError as error:
            checks.append(Check(name, False, f"{error.where}: {error.what}" if error.where else error.what))
            return Examined(tuple(checks), run.manifest, None, error)
        checks.append(Check(name, None if found.startswith("not ") else True, found))
    return Examined(tuple(checks), run.manifest, run.weights, None)


class _Examination:
    """The steps, each on what the ones before have left."""

    def __init__(self, board: Board, now_s: float) -> None:
        self.board, self.now_s = board, now_s
        self.parts: Bundle
        self.manifest: UpdateManifest | None = None
        self.payload = b""
        self.weights: Tensors | None = None

    def steps(self) -> tuple[tuple[str, Callable[[bytes], str]], ...]:
        return (
            ("frame", self._frame),
            ("metadata", self._metadata),
            ("manifest", self._manifest),
            ("addressee", self._addressee),
            ("gate", self._gate),
            ("version", self._version),
            ("base", self._base),
            ("payload", self._payload),
            ("seal", self._seal),
            ("change", self._change),
            ("result", self._result),
            ("on-board code", self._flown),
        )

    @property
    def read(self) -> UpdateManifest:
        if self.manifest is None:
            raise UpdateError("the manifest was not read")
        return self.manifest

    def _frame(self, bundle: bytes) -> str:
        self.parts = open_bundle(bundle)
        sizes = (len(self.parts.trust), len(self.parts.manifest), len(self.parts.payload))
        return f"{len(bundle)} B: metadata {sizes[0]}, manifest {sizes[1]}, payload {sizes[2]}"

    def _metadata(self, _: bytes) -> str:
        if not self.board.root:
            return "not asked: no root was given"
        tenant = self.board.tenant or self.parts.path.partition("/")[0]
        files = Files(unpack_metadata(self.parts.trust))
        verified = verify_target(
            Believed({"root": self.board.root}, self.board.contacts),
            files,
            self.parts.path,
            self.parts.manifest,
            tenant=tenant,
            satellite=self.board.satellite,
            policy=self.board.policy,
            now_s=self.now_s,
        )
        strange = sorted(name for name in files.files if role_of(name) not in (*TOP_LEVEL, tenant))
        if strange:
            raise TrustError(f"carries {strange[0][:80]}, which is not for {tenant}'s satellites", where="metadata")
        versions = ", ".join(f"{role} {verified.believed.version(role)}" for role in (*TOP_LEVEL, tenant))
        return f"signed for {tenant}; {versions}"

    def _manifest(self, _: bytes) -> str:
        self.manifest = read_manifest(self.parts.manifest)
        if self.parts.path != target_path(self.manifest):
            raise UpdateError(f"signed for as {self.parts.path[:100]}, which is not what its manifest says")
        return f"version {self.manifest.version} of {self.manifest.model}"

    def _addressee(self, _: bytes) -> str:
        manifest, board = self.read, self.board
        held = {"tenant": board.tenant, "hardware": board.hardware, "model": board.base.engine.metadata.name}
        for field_name, own in held.items():
            said = getattr(manifest, field_name)
            if own and said != own:
                raise UpdateError(f"for the {field_name} {said!r}, and this is {own!r}", where="manifest")
        if board.satellite and board.satellite not in manifest.satellites:
            addressed = ", ".join(manifest.satellites) or "nobody"
            raise UpdateError(f"addressed to {addressed}, not to {board.satellite}", where="manifest")
        asked = [word for word in (manifest.tenant, manifest.hardware) if word in held.values()]
        return f"{board.satellite or ', '.join(manifest.satellites)}; {', '.join(asked) or 'tenant and hardware as it says'}"

    def _gate(self, _: bytes) -> str:
        gate, manifest = self.read.gate, self.read
        if gate.get("passed") is not True or (gate.get("base"), gate.get("result")) != (manifest.base, manifest.result):
            raise UpdateError("the gate's evidence is missing, against it, or about another update", where="gate")
        return "; ".join(str(reason) for reason in gate.get("reasons", ())) or "passed, without a reason"

    def _version(self, _: bytes) -> str:
        version, held = self.read.version, self.board.version
        if not held < version <= held + self.board.policy.max_step:
            remedy = "release it under a new number"
            raise UpdateError(f"version {version} does not follow {held}", where="manifest", remedy=remedy)
        return f"{version} is above {held}"

    def _base(self, _: bytes) -> str:
        if self.read.base != self.board.base.digest:
            raise UpdateError(
                f"base {self.read.base} is not the model that is held, {self.board.base.digest}", where="manifest"
            )
        return self.read.base

    def _payload(self, _: bytes) -> str:
        check_payload(self.read, self.parts.payload)
        return f"{self.read.payload_bytes} B, {self.read.payload_digest}"

    def _seal(self, _: bytes) -> str:
        self.payload = self.parts.payload
        if not self.read.sealed:
            return "not sealed"
        self.payload = unseal(self.payload, self.board.keys, self.read.sealed, bound_to=seal_binding(self.read))
        return f"opened with the key {self.read.sealed}"

    def _change(self, _: bytes) -> str:
        held = dict(self.board.base.weights)
        self.weights = apply_delta(held, self.payload)
        check_change(held, self.weights)
        changed = sum(1 for name, tensor in self.weights.items() if tensor is not held[name])
        return f"{changed} of {len(held)} tensors, all finite, none moves too far"

    def _result(self, _: bytes) -> str:
        assert self.weights is not None
        found = digest_tensors(self.weights)
        if found != self.read.result:
            raise UpdateError(f"the result is {found}, and {self.read.result} was signed for", where="payload")
        return found

    def _flown(self, bundle: bytes) -> str:
        if not self.board.root:
            return "not asked: no root was given"
        _, updater = _wired(bundle, self.board, MemoryFlash())
        taken = updater.receive(bundle, self.now_s)
        if isinstance(taken, ApplyReport):
            raise UpdateError(taken.reason, where="on board")
        return f"takes it, and stages it as slot {taken.content.slot}"


def fly(bundle: bytes, board: Board, folder: Path, now_s: float, *, confirm: bool = False) -> list[ApplyReport]:
    """Have a satellite whose flash is a folder live through one pass: boot, take the bundle in, try it; return its reports.

    An empty folder gets the board's base as its factory model. The trial has no tiles here, so it shows that the model loads
    and answers, no more; the model then flies on probation, as in orbit, and the next pass counts towards its end.

    Args:
        bundle: the update.
        board: what the satellite holds; a root is needed.
        folder: the flash.
        now_s: UTC seconds.
        confirm: also live through the passes that its probation takes.

    Raises:
        StateError: the flash refuses, or there is no model that may fly.
    """
    slots, updater = _wired(bundle, board, FileFlash.on(folder))
    limits = TrialLimits()
    model = FlyingModel(slots, updater, OnnxEngine, InProcess(OnnxEngine), limits)
    reports = model.boot(now_s)
    updater.count_contact()
    reports += model.contact(now_s)
    taken = updater.receive(bundle, now_s)
    reports.append(taken if isinstance(taken, ApplyReport) else model.try_staged(taken, [], [], now_s))
    for _ in range(limits.contacts_unproven if confirm and reports[-1].outcome is ApplyOutcome.ACCEPTED else 0):
        updater.count_contact()
        reports += model.contact(now_s)
    return reports


def _wired(bundle: bytes, board: Board, flash: Flash) -> tuple[SlotStore, Updater]:
    """Return slots and updater over a flash, where the board's base is installed if nothing is."""
    manifest = read_manifest(open_bundle(bundle).manifest)
    slots = SlotStore(flash)
    if not slots.installed():
        slots.install_factory(board.base.graph, save_weights(board.base.weights), version=board.version)
    trust = TrustStore(flash, board.root)
    believed = trust.load()
    if believed.contacts < board.contacts:
        trust.save(Believed(believed.roles, board.contacts))
    updater = Updater(
        board.satellite or next(iter(manifest.satellites), ""),
        board.base.engine.metadata.name,
        slots,
        trust,
        tenant=board.tenant or manifest.tenant,
        hardware=board.hardware or manifest.hardware,
        seal_keys=board.keys,
        policy=board.policy,
    )
    return slots, updater
