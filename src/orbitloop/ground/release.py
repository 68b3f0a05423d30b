"""From a trained candidate to a signed bundle: code the change, judge what the code yields, sign.

The order matters. The update is coded first and decoded again, and it is the decoded model that goes through the gate: what
was judged is, to the bit, what will fly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.delta.apply import apply_delta
from orbitloop.delta.bundle import manifest_bytes, pack_bundle
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.delta.make import make_delta, plan
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.update import CanaryCase, UpdateManifest
from orbitloop.records.verdict import GateVerdict
from orbitloop.trust.envelope import sign
from orbitloop.trust.keys import SigningKey

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
    codec: DeltaCodec,
    small: DeltaCodec,
    *,
    codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
) -> CodedUpdate:
    """Code `candidate` against `base` and decode it again. A tensor too large for its codec is written exactly.

    Args:
        base: what the satellites hold.
        candidate: what training gave.
        codec: for float tensors of two and more dimensions.
        small: for float scalars and vectors, see `delta.make.plan`.
        codecs: by the names that the satellites know them by; both codecs must be among them.

    Raises:
        UpdateError: the tensors do not fit each other, the candidate is not finite, or a codec refuses a tensor of usual size.
    """
    broken = sorted(name for name, tensor in candidate.items() if not np.isfinite(tensor).all())
    if broken:
        raise UpdateError("the candidate is not finite", where=broken[0], remedy="train it again with a lower learning rate")
    payload = make_delta(base, candidate, codec_for=plan(codec, small), codecs=codecs)
    result = apply_delta(base, payload, codecs=codecs)
    return CodedUpdate(payload, result, digest_tensors(base), digest_tensors(result))


def sign_bundle(
    update: CodedUpdate,
    *,
    version: int,
    model: str,
    satellites: Sequence[str],
    verdict: GateVerdict,
    canary: Sequence[CanaryCase],
    keys: Sequence[SigningKey],
) -> tuple[UpdateManifest, bytes]:
    """Return the manifest and the bundle that goes up. The gate's evidence is part of what is signed."""
    manifest = UpdateManifest(
        version=version,
        model=model,
        base=update.base_digest,
        result=update.result_digest,
        payload_digest=digest_bytes(update.payload),
        payload_bytes=len(update.payload),
        satellites=tuple(satellites),
        gate=verdict.to_json(),
        canary=tuple(canary),
    )
    return manifest, pack_bundle(sign(manifest_bytes(manifest), keys).to_bytes(), update.payload)
