"""One model as one file: graph, weights, and the manifest that brought them. Pure; `slots` does the writing.

A file is held against the digest that stands in the table. It must be known without a table too, for when the tables are lost
it is all that is left: it begins with the digest of all that follows, and says whose file it is, so that one that was written
to the wrong place is seen. (A record's own checksum, CRC-32, is against accidents: some patterns of 15 flipped bits pass it.)
Files from before the golden model have neither, but a digest for each part.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitloop.errors import StateError, WireError
from orbitloop.onboard.slot_table import GOLDEN
from orbitloop.records.ids import digest_bytes
from orbitloop.records.wire import MAGIC, MAX_RECORD_BYTES, pack, unpack

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
    about = {"slot": content.slot, "version": content.version, "digest": content.digest, "blobs": digests}
    record = pack(KIND, VERSION, about, blobs)
    if len(record) > MAX_RECORD_BYTES:
        raise StateError(f"a slot of {len(record)} bytes is over the limit of {MAX_RECORD_BYTES}", where="slots")
    return digest_bytes(record).encode() + b"\n" + record


def read_slot(name: str, data: bytes) -> SlotContent:
    """Read the file of a slot, or of the golden model, by the digests that it carries.

    Raises:
        StateError: damaged or malformed. Never anything else.
    """
    if not data.startswith(MAGIC):
        digest, _, data = data.partition(b"\n")
        if digest != digest_bytes(data).encode():
            raise StateError("slot differs from its own digest: it was damaged", where=f"slot {name}")
    try:
        record = unpack(data, expect=KIND)
        version, digest_named, digests = int(record.fields["version"]), str(record.fields["digest"]), record.fields["blobs"]
        blobs = [record.blobs[part] for part in ("graph", "weights", "manifest")]
        differs = any(digests[part] != digest_bytes(blob) for part, blob in record.blobs.items())
    except (WireError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"slot is malformed ({error})", where=f"slot {name}") from error
    if record.fields.get("slot", name) != name:
        raise StateError("slot holds another's file", where=f"slot {name}")
    if differs:
        raise StateError("slot's parts differ from their own digests", where=f"slot {name}")
    return SlotContent(name, version, digest_named, *blobs)
