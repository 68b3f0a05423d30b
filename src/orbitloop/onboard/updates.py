"""Receive an update in orbit: believe it, fit it, prove it, stage it; and say how it ended.

The checks, in this order, each before the next looks at anything: the bundle's frame, the metadata from root to this tenant,
the manifest as the tenant's target, its schema, this satellite, hardware, tenant and model, the gate's evidence, a version that
rises, the base that runs here, the payload's length and digest, its seal, its own form, finite weights that moved no further
than an update may, the result's digest. Up to here flash is only read. What passes is believed from then on, and its weights go
to the spare slot; a cut between these two is mended by the same bundle coming again.

It leaves to the agent when to try what is staged and how the canary is run, to `slots` that power may fail, to `trust` whom to
believe. A refusal is an answer (an `ApplyReport`), never an exception; a StateError means that the satellite itself is in
trouble (no intact model, flash refuses) and asks for `recover`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.delta.apply import apply_delta
from orbitloop.delta.bounds import check_change
from orbitloop.delta.bundle import Bundle, check_payload, open_bundle, read_manifest, seal_binding, target_path
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.errors import ModelError, OrbitloopError, StateError, TrustError, UpdateError
from orbitloop.onboard.slot_record import SlotContent
from orbitloop.onboard.slot_table import MAX_REASON_CHARACTERS, SlotState
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.plugins.kinds import DeltaCodec
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, UpdateManifest
from orbitloop.trust.carried import role_of, unpack_metadata
from orbitloop.trust.form import TOP_LEVEL
from orbitloop.trust.refresh import Believed, Files, Policy, refresh, verify_target
from orbitloop.trust.sealed import unseal

UNKNOWN_VERSION = 0
"""Reported for what was refused before its manifest was believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """An update that waits for its trial: the manifest with its canary, the verified slot, and its weights by name."""

    manifest: UpdateManifest
    content: SlotContent
    weights: dict[str, npt.NDArray[np.float32]]


class Updater:
    """What one satellite does with updates for one model.

    Args:
        satellite: this satellite's name, which a manifest must list.
        model: the model's name, which a manifest must give.
        slots: where models live.
        trust: what this satellite believes.
        tenant: whose model it is; no other tenant's update is taken.
        hardware: what this satellite is built of, as the manifest must name it.
        seal_keys: encryption keys held, by their names.
        policy: how strict to be about time and versions.
        codecs: tensor codecs known on board.
    """

    def __init__(
        self,
        satellite: str,
        model: str,
        slots: SlotStore,
        trust: TrustStore,
        *,
        tenant: str,
        hardware: str,
        seal_keys: Mapping[str, bytes] | None = None,
        policy: Policy | None = None,
        codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
    ) -> None:
        self._satellite = satellite
        self._model = model
        self._slots = slots
        self._trust = trust
        self._tenant, self._hardware = tenant, hardware
        self._seal_keys = dict(seal_keys or {})
        self._policy = policy or Policy()
        self._codecs = codecs

    def receive(self, bundle: bytes, now_s: float) -> Staged | ApplyReport:
        """Check a bundle and stage it; a refusal leaves every byte on flash as it was.

        Raises:
            StateError: the running model is damaged, or the flash refuses to be written; the active slot is untouched.
        """
        active = self._slots.active()
        version = UNKNOWN_VERSION
        try:
            table = self._slots.table()
            if table.spare_row.state is SlotState.TRIAL:
                raise UpdateError("another update is on trial", remedy="send it again after the trial's report")
            if table.active_row.state is SlotState.PROBATION:
                raise UpdateError("an update is on probation", remedy="send it again once that one is confirmed")
            parts = open_bundle(bundle)
            believed = self._verify(parts, now_s)
            manifest = read_manifest(parts.manifest)
            version = manifest.version
            self._fits(manifest, active, parts.path)
            check_payload(manifest, parts.payload)
            weights = self._apply(manifest, active, self._opened(manifest, parts.payload))
            stored = save_weights(weights)
            self._trust.save(believed)  # nothing after this may refuse: all that could has been asked before
            content = self._slots.stage(version, stored, manifest.result, manifest=parts.manifest)
        except (UpdateError, ModelError) as error:
            return ApplyReport(version, ApplyOutcome.REFUSED, _reason(error), active.digest, now_s, {})
        return Staged(manifest, content, weights)

    def renew(self, metadata: bytes, now_s: float) -> Believed:
        """Take metadata that came without an update: rotated keys, a tenant added or revoked, a fresh timestamp.

        Raises:
            TrustError: it does not hold; nothing was changed.
            StateError: the flash refuses.
        """
        files = Files(unpack_metadata(metadata))
        believed = refresh(self._trust.load(), files, satellite=self._satellite, policy=self._policy, now_s=now_s)
        _no_root_skipped(files, believed)
        self._trust.save(believed)
        return believed

    def take_trust(self, metadata: bytes, now_s: float) -> ApplyReport:
        """Do as `renew` and say how it ended; the report goes down with those of updates, under `UNKNOWN_VERSION`.

        Raises:
            StateError: the flash refuses, or there is no slot table.
        """
        digest = self._slots.running().digest
        try:
            believed = self.renew(metadata, now_s)
        except TrustError as error:
            return ApplyReport(UNKNOWN_VERSION, ApplyOutcome.REFUSED, _reason(error), digest, now_s, {})
        versions = ", ".join(f"{role} {believed.version(role)}" for role in ("root", "timestamp", "targets"))
        return ApplyReport(UNKNOWN_VERSION, ApplyOutcome.BELIEVED, versions, digest, now_s, {})

    def count_contact(self) -> None:
        """Count a pass; called once as it begins. A flash that refuses costs the count, not the pass."""
        with suppress(StateError):
            self._trust.note_contact()

    def trust_state(self) -> tuple[int, int, int]:
        """Return contacts, root version and targets version, for the beacon."""
        believed = self._trust.load()
        return believed.contacts, believed.version("root"), believed.version("targets")

    def pending(self) -> Staged | None:
        """Return what is staged and not yet decided, also after a reboot; None if nothing is.

        Raises:
            StateError: the spare slot is damaged.
        """
        if self._slots.table().spare_row.state not in (SlotState.STAGED, SlotState.TRIAL):
            return None
        content = self._slots.staged()
        try:
            return Staged(read_manifest(content.manifest), content, load_weights(content.weights))
        except (UpdateError, ModelError) as error:
            raise StateError(error.what, where=f"slot {content.slot}") from error

    def begin_trial(self) -> None:
        """Say that the staged model is about to be run; call it before, so that a crash counts against the model.

        Raises:
            StateError: nothing is staged, or it is damaged.
        """
        self._slots.begin_trial()

    def complete(self, passed: bool, canary: Mapping[str, float], reason: str, now_s: float) -> ApplyReport:
        """Let the tried model fly on probation or go back, by the canary's verdict, and report it.

        Raises:
            StateError: nothing was staged.
        """
        row = self._slots.table().spare_row
        if row.state not in (SlotState.STAGED, SlotState.TRIAL):
            raise StateError(f"there is no update to complete: the spare slot is {row.state}", where="updates")
        if passed:
            try:
                if row.state is SlotState.STAGED:
                    self._slots.begin_trial()
                self._slots.accept()
            except StateError as error:
                # The step may have been made, and only its second copy refused: what the table says counts, not the error.
                running = self._slots.running()
                if (running.state, running.digest) != (SlotState.PROBATION, row.digest):
                    if self._slots.table().spare_row.state not in (SlotState.STAGED, SlotState.TRIAL):
                        raise
                    passed, reason = False, f"{error.where}: {error.what}"
        if not passed:
            self._slots.roll_back(reason)
        outcome = ApplyOutcome.ACCEPTED if passed else ApplyOutcome.ROLLED_BACK
        measured = {name: float(value) for name, value in canary.items() if math.isfinite(value)}
        return ApplyReport(row.version, outcome, bounded(reason), self._slots.active().digest, now_s, measured)

    def confirm(self, reason: str, now_s: float) -> ApplyReport:
        """End the probation of the model that flies well, and report it.

        Raises:
            StateError: none is on probation, its slot is damaged, or the flash refuses.
        """
        if self._slots.running().state is not SlotState.PROBATION:
            raise StateError("there is no model on probation to confirm", where="updates")
        active = self._slots.confirm()
        return ApplyReport(active.version, ApplyOutcome.CONFIRMED, bounded(reason), active.digest, now_s, {})

    def recover(self, now_s: float) -> ApplyReport | None:
        """Bring the slots into order at boot; return the report of an update that the reboot ended, if one was.

        Raises:
            StateError: there is no model that boots.
        """
        found = self._slots.recover()
        if found.interrupted_version is None:
            return None
        reason = found.reason or "ended by a reboot"
        return ApplyReport(found.interrupted_version, ApplyOutcome.ROLLED_BACK, reason, found.active.digest, now_s, {})

    def fall_back(self, reason: str, now_s: float) -> ApplyReport | None:
        """Give up the active model for the confirmed one beside it, or for golden; None where that is no other model.

        Raises:
            StateError: the other one is damaged, or the flash refuses.
        """
        table = self._slots.table()
        given_up, fallback = table.active_row, table.fallback
        if fallback is None or table.rows[fallback].digest == given_up.digest:
            return None
        active = self._slots.roll_back(reason)
        return ApplyReport(given_up.version, ApplyOutcome.ROLLED_BACK, bounded(reason), active.digest, now_s, {})

    def last_word(self, now_s: float) -> ApplyReport | None:
        """Return how the newest update stands, by the slots themselves; None if there was none, or it waits for its trial.

        For a satellite that lost power between the end of an update and the saving of its report.
        """
        active, table = self._slots.active(), self._slots.table()
        version, spare = table.highest_version, table.spare_row
        if version == active.version:
            if not active.manifest:  # the factory's
                return None
            proven = table.active_row.state is not SlotState.PROBATION
            outcome = ApplyOutcome.CONFIRMED if proven else ApplyOutcome.ACCEPTED
            reason = "found running after a reboot" if proven else "found on probation after a reboot"
        elif spare.state in (SlotState.STAGED, SlotState.TRIAL):
            return None
        else:
            outcome, reason = ApplyOutcome.ROLLED_BACK, spare.reason or "not found on flash after a reboot"
        return ApplyReport(version, outcome, reason, active.digest, now_s, {})

    def _verify(self, parts: Bundle, now_s: float) -> Believed:
        files = Files(unpack_metadata(parts.trust))
        verified = verify_target(
            self._trust.load(),
            files,
            parts.path,
            parts.manifest,
            tenant=self._tenant,
            satellite=self._satellite,
            policy=self._policy,
            now_s=now_s,
        )
        _no_root_skipped(files, verified.believed)
        strange = sorted(name for name in files.files if role_of(name) not in (*TOP_LEVEL, self._tenant))
        if strange:
            raise TrustError(f"carries {strange[0][:80]}, which is not for {self._tenant}'s satellites", where="metadata")
        return verified.believed

    def _fits(self, manifest: UpdateManifest, active: SlotContent, path: str) -> None:
        if manifest.tenant != self._tenant or path != target_path(manifest):
            raise UpdateError(f"signed for as {path[:100]}, which is not what its manifest says")
        if manifest.hardware != self._hardware:
            raise UpdateError(f"for the hardware {manifest.hardware!r}, and this is {self._hardware!r}")
        if self._satellite not in manifest.satellites:
            raise UpdateError(f"addressed to {', '.join(manifest.satellites) or 'nobody'}, not to {self._satellite}")
        if manifest.model != self._model:
            raise UpdateError(f"for the model {manifest.model!r}, and {self._model!r} flies here")
        gate = manifest.gate
        if gate.get("passed") is not True or (gate.get("base"), gate.get("result")) != (manifest.base, manifest.result):
            raise UpdateError("the gate's evidence is missing, against it, or about another update", where="gate")
        highest = self._slots.table().highest_version
        if manifest.version <= highest:
            raise UpdateError(f"version {manifest.version} is not above {highest}", remedy="release it under a new number")
        if manifest.version - highest > self._policy.max_step:  # else one update under the last number would be the last ever
            raise UpdateError(f"version {manifest.version} is more than {self._policy.max_step} above {highest}")
        if manifest.base != active.digest:
            raise UpdateError(f"base {manifest.base} is not the running model {active.digest}")

    def _opened(self, manifest: UpdateManifest, payload: bytes) -> bytes:
        if not manifest.sealed:
            return payload
        return unseal(payload, self._seal_keys, manifest.sealed, bound_to=seal_binding(manifest))

    def _apply(self, manifest: UpdateManifest, active: SlotContent, payload: bytes) -> dict[str, npt.NDArray[np.float32]]:
        held = load_weights(active.weights)
        weights = apply_delta(held, payload, codecs=self._codecs)
        check_change(held, weights)
        if digest_tensors(weights) != manifest.result:
            raise UpdateError("result differs from the one that was signed for", where="payload")
        return weights


def bounded(reason: str) -> str:
    """Return a reason as a table and a beacon can hold it: one line, printable, of a bounded length."""
    return "".join(c if c.isprintable() else "?" for c in reason[: 2 * MAX_REASON_CHARACTERS])[:MAX_REASON_CHARACTERS]


def _no_root_skipped(files: Files, believed: Believed) -> None:
    newest = believed.version("root")
    numbers = {name: name.split(".")[0] for name in files.files if role_of(name) == "root"}
    beyond = sorted(name for name, number in numbers.items() if not number.isdecimal() or int(number) > newest)
    if beyond:
        raise TrustError(f"{beyond[0]} came, and not the one that follows {newest}", where="root")


def _reason(error: OrbitloopError) -> str:
    """Return what goes down in the beacon: one bounded line of UTF-8, whatever stood in the bytes that are refused."""
    text = f"{error.where}: {error.what}" if error.where else error.what
    return bounded(text)
