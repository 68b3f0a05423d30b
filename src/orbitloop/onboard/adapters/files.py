"""Flash on a folder: each file replaced by temporary file, fsync, rename, fsync of the folder.

The four steps go through `Disk`, the few calls of an operating system that matter to durability, so that the power-cut tests
run this very sequence over a simulated disk that forgets what was not synchronised. Opening sweeps what an interrupted write
left behind.

It keeps to its folder: a name has no path separator, no leading dot, and is never a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from orbitloop.errors import StateError

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
TEMPORARY = ".tmp"
CHUNK_BYTES = 1 << 20
T = TypeVar("T")


class Disk(Protocol):
    """Primitive operations on one folder. Each may raise OSError; each is a moment at which power may fail."""

    def create(self, name: str) -> None:
        """Make an empty file, or empty an existing one."""

    def append(self, name: str, chunk: bytes) -> None:
        """Write at the end."""

    def sync_file(self, name: str) -> None:
        """Make the content durable."""

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, atomically."""

    def remove(self, name: str) -> None:
        """Unlink."""

    def sync_folder(self) -> None:
        """Make names durable."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return at most `max_bytes` from the front; FileNotFoundError if there is no such file."""

    def names(self) -> list[str]:
        """Return the names of all regular files."""


class OsDisk:
    """The operating system's folder, made if absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, name: str) -> None:
        os.close(self._open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))

    def append(self, name: str, chunk: bytes) -> None:
        handle = self._open(name, os.O_WRONLY | os.O_APPEND)
        try:
            left = memoryview(chunk)
            while left:
                written = os.write(handle, left)
                if not written:
                    raise OSError(errno.EIO, "the device takes no bytes")
                left = left[written:]
        finally:
            os.close(handle)

    def sync_file(self, name: str) -> None:
        handle = self._open(name, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: str, target: str) -> None:
        (self._folder / source).replace(self._folder / target)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()

    def sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self, name: str, max_bytes: int) -> bytes:
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as file:
            return file.read(min(max_bytes, os.fstat(file.fileno()).st_size))  # the limit alone would be allocated

    def names(self) -> list[str]:
        with os.scandir(self._folder) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]

    def _open(self, name: str, flags: int) -> int:
        # No link is followed and nothing but a regular file is opened: a FIFO would block, a device would do worse.
        guard = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        handle = os.open(self._folder / name, flags | guard, 0o600)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(f"{name} is not a regular file")
        return handle


class FileFlash:
    """`onboard.flash.Flash` over a disk; see the module."""

    def __init__(self, disk: Disk, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._disk = disk
        self._chunk_bytes = chunk_bytes
        with contextlib.suppress(OSError):  # a disk that takes no more writes must still be read
            for name in [name for name in disk.names() if name.endswith(TEMPORARY)]:
                disk.remove(name)

    @classmethod
    def on(cls, folder: Path) -> FileFlash:
        """Open (or make) a folder.

        Raises:
            StateError: it cannot be made or read.
        """
        return cls(_reported(str(folder), lambda: OsDisk(folder)))

    def read(self, name: str, *, max_bytes: int) -> bytes:
        _hold(name)
        data = _reported(name, lambda: self._disk.read(name, max_bytes + 1))
        if len(data) > max_bytes:
            raise StateError(f"file is over the limit of {max_bytes} bytes", where=name)
        return data

    def write_atomic(self, name: str, data: bytes) -> None:
        _hold(name)
        temporary = name + TEMPORARY
        try:
            _reported(name, lambda: self._replace(name, temporary, data))
        except StateError:
            with contextlib.suppress(OSError):  # the disk is in trouble already; the next opening sweeps
                self._disk.remove(temporary)
            raise

    def delete(self, name: str) -> None:
        _hold(name)
        if self.exists(name):
            _reported(name, lambda: self._disk.remove(name))
        _reported(name, self._disk.sync_folder)

    def exists(self, name: str) -> bool:
        _hold(name)
        return name in _reported(name, self._disk.names)

    def list(self) -> list[str]:
        return sorted(n for n in _reported("flash", self._disk.names) if NAME.fullmatch(n) and not n.endswith(TEMPORARY))

    def _replace(self, name: str, temporary: str, data: bytes) -> None:
        self._disk.create(temporary)
        view = memoryview(data)
        for start in range(0, len(data), self._chunk_bytes):
            self._disk.append(temporary, bytes(view[start : start + self._chunk_bytes]))
        self._disk.sync_file(temporary)
        self._disk.rename(temporary, name)
        self._disk.sync_folder()


def _hold(name: str) -> None:
    if not NAME.fullmatch(name) or name.endswith(TEMPORARY):
        raise StateError(f"{name!r} is not a name for a file on flash", remedy="use a-z, 0-9, `-` and `.`, at most 64")


def _reported(where: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except OSError as error:
        raise StateError(f"flash refuses ({error.strerror or error})", where=where) from error
