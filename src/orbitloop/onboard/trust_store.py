"""What the satellite believes, kept on flash: one record, twice, each with its digest; the newer intact copy counts.

The first copy is the commit, the second guards it against flipped bits; a cut between them leaves the earlier or the new
state, as with the slot table. Should both be lost, the launch's root (the anchor, which rides with the software) is believed
again: versions then start over, which is why the update's own version number is kept with the slots, apart from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orbitloop.errors import StateError, WireError
from orbitloop.onboard.flash import Flash
from orbitloop.records.ids import digest_bytes
from orbitloop.records.wire import pack, unpack
from orbitloop.trust.refresh import Believed

KIND = "believed"
VERSION = 1
FILES = ("trust-0", "trust-1")
MAX_BYTES = 1 << 21
"""More than the metadata of all roles that a satellite believes at once may take."""


class TrustStore:
    """Keeps a `Believed` on a flash. It keeps nothing in memory between calls.

    Args:
        flash: where; may be shared with `SlotStore`.
        anchor: the root metadata that the satellite was launched with.
    """

    def __init__(self, flash: Flash, anchor: bytes) -> None:
        self._flash = flash
        self._anchor = anchor

    def load(self) -> Believed:
        """Return what is believed; the anchor alone where nothing intact is on flash."""
        newest = self._newest()
        return newest[1] if newest else Believed.anchor(self._anchor)

    def save(self, believed: Believed) -> None:
        """Write what is believed from now on; the same again costs no write.

        Raises:
            StateError: the flash refuses; what was believed before still is.
        """
        copies = [self._copy(name) for name in FILES]
        newest = max((copy for copy in copies if copy), key=lambda copy: copy[0], default=None)
        if newest and newest[1] == believed and copies[0] == copies[1]:
            return
        data = _write(newest[0] + 1 if newest else 1, believed)
        for name in FILES:
            self._flash.write_atomic(name, data)

    def note_contact(self) -> int:
        """Count one more contact and return the counter, which goes down in the beacon.

        Raises:
            StateError: the flash refuses.
        """
        believed = self.load()
        self.save(replace(believed, contacts=believed.contacts + 1))
        return believed.contacts + 1

    def _newest(self) -> tuple[int, Believed] | None:
        return max((copy for copy in map(self._copy, FILES) if copy), key=lambda copy: copy[0], default=None)

    def _copy(self, name: str) -> tuple[int, Believed] | None:
        try:
            return _parse(self._flash.read(name, max_bytes=MAX_BYTES))
        except StateError:
            return None


def _write(sequence: int, believed: Believed) -> bytes:
    body = pack(KIND, VERSION, {"sequence": sequence, "contacts": believed.contacts}, believed.roles)
    return digest_bytes(body).encode() + b"\n" + body


def _parse(data: bytes) -> tuple[int, Believed]:
    digest, _, body = data.partition(b"\n")
    if digest != digest_bytes(body).encode():
        raise StateError("what is believed is damaged", where="trust store")
    try:
        record: Any = unpack(body, expect=KIND)
        sequence, contacts = int(record.fields["sequence"]), int(record.fields["contacts"])
    except (WireError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"what is believed is malformed ({error})", where="trust store") from error
    if record.version != VERSION or "root" not in record.blobs:
        raise StateError("what is believed has no root", where="trust store")
    return sequence, Believed(record.blobs, contacts)
