"""Safeguards taken out of the flying code, one at a time, for the controls: each must make a section fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slots import SlotStore

Fault = Callable[[], AbstractContextManager[None]]


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
