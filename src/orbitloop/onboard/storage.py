"""Hard samples on board, under a byte cap: what waits for a pass, and what went down and may be needed as a canary.

Role: keep the most worth in the bytes there are. It leaves the blobs themselves to a mapping from name to bytes (flash in
flight, a dict in tests), choosing what goes down to the selectors, and time to the caller.

To make room, samples already sent go first, then the unsent of the lowest value; of equals the oldest. But the newest of those
sent stay, up to `keep_sent_bytes`: an update's canary is tried on them, and without any it proves nothing. A newcomer that is
worth no more than an unsent sample it would push out is not kept.

A blob is written before the state names it and deleted after, so that a power cut between the two leaves at most a blob without
a name.

Fingerprints of what was sent outlive the blobs, so that the selector goes on looking for something new and a tile seen again is
not sent again; the oldest of them fade beyond `MAX_FINGERPRINTS`. Embeddings are held in half precision, as they are saved, so
that a satellite that has restarted decides as one that has not.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import StateError
from orbitloop.records.sample import Candidate

SCHEMA = "orbitloop.storage/1"
MAX_FINGERPRINTS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One kept sample."""

    candidate: Candidate
    sent: bool


class Storage:
    """Samples by id under `capacity_bytes`. `blobs` holds their bytes by sample id; no other key of it is touched."""

    def __init__(self, capacity_bytes: int, blobs: MutableMapping[str, bytes], *, keep_sent_bytes: int = 0) -> None:
        self._capacity_bytes, self._keep_sent_bytes = capacity_bytes, keep_sent_bytes
        self._blobs = blobs
        self._stored: dict[str, Stored] = {}
        self._fingerprints: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def used_bytes(self) -> int:
        """Bytes of all kept samples."""
        return sum(s.candidate.size_bytes for s in self._stored.values())

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._stored

    def put(self, candidate: Candidate, data: bytes) -> bool:
        """Keep a sample, pushing out what is worth less.

        Returns:
            Whether it is kept now. False for one that does not pay, and for one that was sent before. A sample that is already
            kept stays as it is.

        Raises:
            ValueError: `data` has another size than the candidate says, or the value is not finite.
        """
        if len(data) != candidate.size_bytes or not math.isfinite(candidate.value):
            raise ValueError(f"sample {candidate.sample_id}: {len(data)} bytes, value {candidate.value}, against {candidate}")
        if candidate.sample_id in self._stored:
            return True
        if candidate.sample_id in self._fingerprints:
            return False
        out = self._room_for(candidate)
        if out is None:
            return False
        for sample_id in out:
            self.drop(sample_id)
        self._blobs[candidate.sample_id] = data
        self._stored[candidate.sample_id] = Stored(replace(candidate, embedding=_half(candidate.embedding)), False)
        return True

    def _room_for(self, candidate: Candidate) -> list[str] | None:
        """Return which samples must go, or None when the newcomer does not pay."""
        missing = self.used_bytes + candidate.size_bytes - self._capacity_bytes
        out: list[str] = []
        if missing <= 0:
            return out
        kept = self._kept_sent()
        for sample_id, stored in sorted(self._stored.items(), key=lambda item: _worth(item[1])):
            if missing <= 0:
                break
            if sample_id in kept:
                continue
            if not stored.sent and stored.candidate.value >= candidate.value:
                return None
            out.append(sample_id)
            missing -= stored.candidate.size_bytes
        return out if missing <= 0 else None

    def _kept_sent(self) -> set[str]:
        """Return the newest samples that went down, as many as the share for canaries holds."""
        kept: set[str] = set()
        left = self._keep_sent_bytes
        sent = [s.candidate for s in self._stored.values() if s.sent]
        for candidate in sorted(sent, key=lambda c: c.captured_at_s, reverse=True):
            left -= candidate.size_bytes
            if left < 0:
                break
            kept.add(candidate.sample_id)
        return kept

    def list(self, *, sent: bool | None = None) -> list[Candidate]:
        """Return the kept samples in the order in which they came; `sent` picks those sent, or those not."""
        return [s.candidate for s in self._stored.values() if sent is None or s.sent == sent]

    def get(self, sample_id: str) -> bytes:
        """Return a sample's bytes.

        Raises:
            StateError: it is not kept (any more).
        """
        try:
            return self._blobs[self._stored[sample_id].candidate.sample_id]
        except KeyError:
            raise StateError(f"sample {sample_id!r} is not in storage", where="storage") from None

    def mark_sent(self, sample_ids: Iterable[str]) -> None:
        """Note that samples went down. They stay while there is room; ids that are not kept are passed over."""
        for sample_id in sample_ids:
            stored = self._stored.get(sample_id)
            if stored is not None and not stored.sent:
                self._stored[sample_id] = replace(stored, sent=True)
                self._fingerprints[sample_id] = stored.candidate.embedding
        while len(self._fingerprints) > MAX_FINGERPRINTS:
            del self._fingerprints[next(iter(self._fingerprints))]

    def drop(self, sample_id: str) -> None:
        """Forget a sample and its bytes; one that is not kept is passed over."""
        if self._stored.pop(sample_id, None) is not None:
            self._blobs.pop(sample_id, None)

    def sent_embeddings(self) -> npt.NDArray[np.float32]:
        """Return the fingerprints (M, D) float32 of what went down, oldest first; (0, 0) when nothing did."""
        rows = [*self._fingerprints.values()]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the state without the blobs, for `json.dumps`."""
        samples = []
        for stored in self._stored.values():
            c = stored.candidate
            plain = {name: getattr(c, name) for name in ("sample_id", "size_bytes", "value", "transmit_j", "captured_at_s")}
            samples.append(plain | {"embedding": _text(c.embedding), "sent": stored.sent})
        sent = [[sample_id, _text(e)] for sample_id, e in self._fingerprints.items()]
        limits = {"capacity_bytes": self._capacity_bytes, "keep_sent_bytes": self._keep_sent_bytes}
        return {"schema": SCHEMA, **limits, "samples": samples, "fingerprints": sent}

    @classmethod
    def from_json(cls, value: Any, blobs: MutableMapping[str, bytes]) -> Storage:
        """Read what `to_json` wrote. A sample whose blob is gone or of another size is left out: the satellite must start.

        Raises:
            StateError: the state is malformed. Never anything else.
        """
        try:
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema {value['schema']!r}")
            storage = cls(int(value["capacity_bytes"]), blobs, keep_sent_bytes=int(value.get("keep_sent_bytes", 0)))
            for row in value["samples"]:
                candidate = _candidate(row)
                if len(blobs.get(candidate.sample_id, b"")) == candidate.size_bytes:
                    storage._stored[candidate.sample_id] = Stored(candidate, bool(row["sent"]))
            storage._fingerprints = {str(sample_id): _vector(text) for sample_id, text in value["fingerprints"]}
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise StateError(f"storage state is malformed ({type(error).__name__}: {error})", where="storage") from error
        return storage


def _worth(stored: Stored) -> tuple[bool, float, float]:
    """Order of leaving: sent before unsent, then low value, then old."""
    return not stored.sent, stored.candidate.value, stored.candidate.captured_at_s


def _candidate(row: Any) -> Candidate:
    value, transmit_j, at_s = (float(row[name]) for name in ("value", "transmit_j", "captured_at_s"))
    if not (math.isfinite(value) and math.isfinite(transmit_j) and math.isfinite(at_s)):
        raise ValueError("a number is not finite")
    return Candidate(str(row["sample_id"]), int(row["size_bytes"]), value, transmit_j, at_s, _vector(row["embedding"]))


def _half(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vector.astype(np.float16).astype(np.float32)


def _text(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def _vector(text: Any) -> npt.NDArray[np.float32]:
    if not isinstance(text, str):
        raise TypeError("an embedding is not a text")
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
