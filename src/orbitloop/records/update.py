"""What goes up: the manifest of a partial update, the canary it must pass in orbit, and the satellite's report on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class CanaryCase:
    """One tile that the satellite still holds, and the ground's labels for it (rows of x0, y0, x1, y1, class)."""

    sample_id: str
    boxes: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class UpdateManifest:
    """What is signed.

    `payload_digest` covers the payload as it goes up (sealed, where `sealed` names the key); `base` and `result` are digests of
    all weights before and after. `hardware` is what the update is built for, `tenant` whose it is.
    """

    version: int
    model: str
    base: str
    result: str
    payload_digest: str
    payload_bytes: int
    satellites: tuple[str, ...]
    gate: dict[str, Any]
    canary: tuple[CanaryCase, ...] = ()
    tenant: str = ""
    hardware: str = ""
    sealed: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "orbitloop.update/1",
            "version": self.version,
            "model": self.model,
            "base": self.base,
            "result": self.result,
            "payload_digest": self.payload_digest,
            "payload_bytes": self.payload_bytes,
            "satellites": list(self.satellites),
            "gate": self.gate,
            "canary": [{"sample_id": c.sample_id, "boxes": [list(b) for b in c.boxes]} for c in self.canary],
            "tenant": self.tenant,
            "hardware": self.hardware,
            "sealed": self.sealed,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> UpdateManifest:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind (the caller re-raises as UpdateError).
        """
        return cls(
            version=int(value["version"]),
            model=str(value["model"]),
            base=str(value["base"]),
            result=str(value["result"]),
            payload_digest=str(value["payload_digest"]),
            payload_bytes=int(value["payload_bytes"]),
            satellites=tuple(str(s) for s in value["satellites"]),
            gate=dict(value["gate"]),
            canary=tuple(
                CanaryCase(str(c["sample_id"]), tuple(tuple(float(v) for v in b) for b in c["boxes"])) for c in value["canary"]
            ),
            tenant=str(value["tenant"]),
            hardware=str(value["hardware"]),
            sealed=str(value["sealed"]),
        )


class ApplyOutcome(StrEnum):
    """How an update ended on a satellite."""

    ACCEPTED = "accepted"
    """Verified, staged, tried on the canary, running on probation: not the last word."""
    CONFIRMED = "confirmed"
    """Probation ended well; the model runs."""
    ROLLED_BACK = "rolled_back"
    """Found worse or broken, on the canary or in flight; the earlier model runs."""
    REFUSED = "refused"
    """Not what it should be; nothing on board was touched."""
    BELIEVED = "believed"
    """Metadata came without an update, and holds; the model is as before."""


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """The satellite's word on one update."""

    version: int
    outcome: ApplyOutcome
    reason: str
    active_digest: str
    at_s: float
    canary: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "active_digest": self.active_digest,
            "at_s": self.at_s,
            "canary": self.canary,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ApplyReport:
        return cls(
            int(value["version"]),
            ApplyOutcome(value["outcome"]),
            str(value["reason"]),
            str(value["active_digest"]),
            float(value["at_s"]),
            {str(k): float(v) for k, v in value["canary"].items()},
        )
