"""From a trained candidate to a signed bundle: code the change, judge what the code yields, sign.

The order matters. The update is coded first and decoded again, and it is the decoded model that goes through the gate: what
was judged is, to the bit, what will fly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.apply import apply_delta
from orbitloop.delta.bundle import manifest_bytes, pack_bundle, seal_binding, target_path
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.delta.make import make_delta
from orbitloop.errors import UpdateError
from orbitloop.ground.authority import Authority
from orbitloop.ground.repository import Repository, carried
from orbitloop.plugins.kinds import DeltaCodec
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.update import CanaryCase, UpdateManifest
from orbitloop.records.verdict import GateVerdict
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.sealed import seal, seal_key_id

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class CodedUpdate:
    """A coded change and the weights that it yields."""

    payload: bytes
    result: dict[str, Array]
    base_digest: str
    result_digest: str


def code_update(
    base: Weights,
    candidate: Weights,
    codec: DeltaCodec | None = None,
    *,
    codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
) -> CodedUpdate:
    """Code `candidate` against `base` and decode it again. A tensor that does not fit its codec is written exactly.

    Args:
        base: what the satellites hold.
        candidate: what training gave.
        codec: see `delta.make.make_delta`; the usual one if not given.
        codecs: by the names that the satellites know them by.

    Raises:
        UpdateError: the tensors do not fit each other, the candidate is not finite, or the codec has no name.
    """
    broken = sorted(name for name, tensor in candidate.items() if not np.isfinite(tensor).all())
    if broken:
        raise UpdateError("the candidate is not finite", where=broken[0], remedy="train it again with a lower learning rate")
    return coded_update(base, make_delta(base, candidate, codec, codecs=codecs), codecs=codecs)


def coded_update(base: Weights, payload: bytes, *, codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN) -> CodedUpdate:
    """Decode a payload as the satellites will: from here on only its result counts. For who has planned it otherwise.

    Raises:
        UpdateError: the payload does not fit the base.
    """
    result = apply_delta(base, payload, codecs=codecs)
    return CodedUpdate(payload, result, digest_tensors(base), digest_tensors(result))


@dataclass(frozen=True, slots=True)
class Seal:
    """A tenant's encryption key and a nonce that was never used with it."""

    key: bytes
    nonce: bytes


def make_manifest(
    update: CodedUpdate,
    *,
    version: int,
    model: str,
    satellites: Sequence[str],
    verdict: GateVerdict,
    canary: Sequence[CanaryCase],
    tenant: str,
    hardware: str,
    seal_with: Seal | None = None,
) -> tuple[UpdateManifest, bytes]:
    """Return what is to be signed, and the payload as it goes up. The gate's evidence names the result that it is about.

    Raises:
        TrustError: the seal's key or nonce are of a wrong length.
    """
    plain = UpdateManifest(
        version=version,
        model=model,
        base=update.base_digest,
        result=update.result_digest,
        payload_digest="",
        payload_bytes=0,
        satellites=tuple(satellites),
        gate=verdict.to_json() | {"base": update.base_digest, "result": update.result_digest},
        canary=tuple(canary),
        tenant=tenant,
        hardware=hardware,
        sealed=seal_key_id(seal_with.key) if seal_with else "",
    )
    payload = update.payload
    if seal_with:
        payload = seal(payload, seal_with.key, bound_to=seal_binding(plain), nonce=seal_with.nonce)
    return replace(plain, payload_digest=digest_bytes(payload), payload_bytes=len(payload)), payload


def pack_release(
    repository: Repository, manifest: UpdateManifest, payload: bytes, *, root_held: int = 1, targets_held: int = 0
) -> bytes:
    """Return the bundle of a manifest for which its tenant has signed, for satellites that believe these versions.

    Raises:
        TrustError: the tenant's metadata or the snapshot are not published.
    """
    files = carried(repository, manifest.tenant, root_held=root_held, targets_held=targets_held)
    return pack_bundle(pack_metadata(files), target_path(manifest), manifest_bytes(manifest), payload)


def sign_bundle(
    update: CodedUpdate,
    *,
    version: int,
    model: str,
    satellites: Sequence[str],
    verdict: GateVerdict,
    canary: Sequence[CanaryCase],
    authority: Authority,
    tenant: str,
    hardware: str,
    now_s: float,
    contacts: Mapping[str, int] | None = None,
    root_held: int = 1,
    targets_held: int = 0,
    seal_with: Seal | None = None,
) -> tuple[UpdateManifest, bytes]:
    """Return the manifest and the bundle that goes up, signed where all keys are in one process.

    `contacts`, `root_held` and `targets_held` are by the satellites' beacons, see `repository` (`publish`, `carried`).

    Raises:
        TrustError: the authority knows no such tenant, or time went back.
    """
    manifest, payload = make_manifest(
        update,
        version=version,
        model=model,
        satellites=satellites,
        verdict=verdict,
        canary=canary,
        tenant=tenant,
        hardware=hardware,
        seal_with=seal_with,
    )
    targets = {target_path(manifest): manifest_bytes(manifest)}
    repository = authority.release(tenant, targets, now_s=now_s, contacts=contacts)
    return manifest, pack_release(repository, manifest, payload, root_held=root_held, targets_held=targets_held)
