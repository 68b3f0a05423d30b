"""A satellite's flash in memory, whose content a run can save and take back. Faults are drawn elsewhere."""

from __future__ import annotations

from collections.abc import MutableMapping

from orbitloop.errors import StateError


class MemoryFlash:
    """The `onboard.flash.Flash` port over a mapping from name to bytes."""

    def __init__(self, files: MutableMapping[str, bytes] | None = None) -> None:
        self.files: MutableMapping[str, bytes] = {} if files is None else files

    def read(self, name: str, *, max_bytes: int) -> bytes:
        if name not in self.files:
            raise StateError("there is no such file", where=name)
        if len(self.files[name]) > max_bytes:
            raise StateError(f"file of {len(self.files[name])} bytes is over the limit of {max_bytes}", where=name)
        return self.files[name]

    def write_atomic(self, name: str, data: bytes) -> None:
        self.files[name] = bytes(data)

    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    def exists(self, name: str) -> bool:
        return name in self.files

    def list(self) -> list[str]:
        return sorted(self.files)
