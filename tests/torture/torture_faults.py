"""Safeguards taken out of the flying code, one at a time, for the controls: each must make a section fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from orbitloop.errors import StateError, WireError
from orbitloop.onboard import slots
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slot_record import SlotContent
from orbitloop.onboard.slot_table import GOLDEN, SlotTable, parse_table
from orbitloop.onboard.slots import SlotStore
from orbitloop.records.ids import digest_bytes
from orbitloop.records.wire import MAGIC, unpack


@contextmanager
def _without_call(name: str) -> Iterator[None]:
    """Let the flash adapter replace files with one call to the disk left out."""
    replace = FileFlash._replace

    def without(self: FileFlash, target: str, temporary: str, data: bytes) -> None:
        with patch.object(self._disk, name, lambda *about: None):
            replace(self, target, temporary, data)

    with patch.object(FileFlash, "_replace", without):
        yield


def files_not_synced() -> AbstractContextManager[None]:
    return _without_call("sync_file")


def folders_not_synced() -> AbstractContextManager[None]:
    return _without_call("sync_folder")


def boots_not_counted() -> AbstractContextManager[None]:
    return patch.object(SlotStore, "note_boot", lambda self: None)


@contextmanager
def not_read_back() -> Iterator[None]:
    """Let `stage` believe that what it wrote is there."""
    stage, content = SlotStore.stage, SlotStore._content

    def trusting(self: SlotStore, *about: Any, **more: Any) -> SlotContent:
        running = self.active()
        with patch.object(SlotStore, "_content", lambda self, name, row: running):
            stage(self, *about, **more)
        return content(self, self.table().spare, self.table().spare_row)

    with patch.object(SlotStore, "stage", trusting):
        yield


def slots_not_digested_by_table() -> AbstractContextManager[Any]:
    """Let a slot's file be read by its own digest only."""
    return patch.object(SlotStore, "_verified", lambda self, name, row: slots.read_slot(name, self._read(name)))


def slots_not_self_digested() -> AbstractContextManager[Any]:
    """Let a file be read by its record's checksum only, where there is no table."""

    def read(name: str, data: bytes) -> SlotContent:
        try:
            record = unpack(data[data.find(MAGIC) :], expect="slot")
        except WireError as error:
            raise StateError(error.what, where=name) from error
        fields, blobs = record.fields, record.blobs
        return SlotContent(name, fields["version"], fields["digest"], blobs["graph"], blobs["weights"], blobs["manifest"])

    return patch.object(slots, "read_slot", read)


def tables_not_digested() -> AbstractContextManager[Any]:
    def parse(data: bytes) -> SlotTable:
        _, _, body = data.partition(b"\n")
        return parse_table(digest_bytes(body).encode() + b"\n" + body)

    return patch.object(slots, "parse_table", parse)


def tables_not_doubled() -> AbstractContextManager[Any]:
    return patch.object(slots, "TABLE_FILES", slots.TABLE_FILES[:1])


def golden_not_there() -> AbstractContextManager[Any]:
    read = SlotStore._read

    def blind(self: SlotStore, name: str) -> bytes:
        if name == GOLDEN:
            raise StateError("there is none", where=name)
        return read(self, name)

    return patch.object(SlotStore, "_read", blind)
