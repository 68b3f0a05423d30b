"""One model as one file: graph, weights, the manifest that brought them, and a digest of each. Pure; `slots` does the writing.

A slot's file is held against the digest that stands in the table. The golden model must be known without a table, for it is
what is left when the tables are lost: its file begins with the digest of all that follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitloop.errors import StateError, WireError
from orbitloop.onboard.slot_table import GOLDEN
from orbitloop.records.ids import digest_bytes
from orbitloop.records.wire import MAX_RECORD_BYTES, pack, unpack

KIND = "slot"
VERSION = 1
MAX_FILE_BYTES = MAX_RECORD_BYTES + 128
"""Of a slot's or the golden model's file: the record, and a line with its digest."""


@dataclass(frozen=True, slots=True)
class SlotContent:
    """A verified model. `slot` is `a`, `b` or `golden`; `manifest` is what brought it (empty for the factory's); `digest` is
    of the tensors."""

    slot: str
    version: int
    digest: str
    graph: bytes
    weights: bytes
    manifest: bytes = b""


def slot_file(name: str) -> str:
    """Return the name on flash of a slot's file, or of the golden model's."""
    return name if name == GOLDEN else f"slot-{name}"


def write_slot(content: SlotContent) -> bytes:
    """Return the file of a slot or of the golden model.

    Raises:
        StateError: it is over the limit of a record.
    """
    blobs = {"graph": content.graph, "weights": content.weights, "manifest": content.manifest}
    digests = {name: digest_bytes(blob) for name, blob in blobs.items()}
    record = pack(KIND, VERSION, {"version": content.version, "digest": content.digest, "blobs": digests}, blobs)
    if len(record) > MAX_RECORD_BYTES:
        raise StateError(f"a slot of {len(record)} bytes is over the limit of {MAX_RECORD_BYTES}", where="slots")
    return digest_bytes(record).encode() + b"\n" + record if content.slot == GOLDEN else record


def read_slot(name: str, data: bytes) -> SlotContent:
    """Read the file of a slot, or of the golden model, by the digests that it carries.

    Raises:
        StateError: damaged or malformed. Never anything else.
    """
    if name == GOLDEN:
        digest, _, data = data.partition(b"\n")
        if digest != digest_bytes(data).encode():
            raise StateError("the golden model differs from its own digest: it was damaged", where=GOLDEN)
    try:
        record = unpack(data, expect=KIND)
        version, digest_named, digests = int(record.fields["version"]), str(record.fields["digest"]), record.fields["blobs"]
        blobs = [record.blobs[part] for part in ("graph", "weights", "manifest")]
        differs = any(digests[part] != digest_bytes(blob) for part, blob in record.blobs.items())
    except (WireError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"slot is malformed ({error})", where=f"slot {name}") from error
    if differs:
        raise StateError("slot's content differs from its own digests", where=f"slot {name}")
    return SlotContent(name, version, digest_named, *blobs)
