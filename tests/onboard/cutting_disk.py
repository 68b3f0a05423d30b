"""A simulated disk that forgets: what was written but not synchronised may be lost, torn or kept when power fails.

It keeps two worlds: the one that the program sees (cached) and the one that survives for sure (durable). Changes of names wait
in order until `sync_folder`; bytes wait until `sync_file`. At a cut the pessimist chooses what else survived: any prefix of the
waiting name changes (a journal keeps their order, and never waits for the bytes) and, per file, nothing, all or part of the
bytes, zeros in their place, or any choice of their sectors.

With `moments` it keeps what it was before each operation, so that one run gives every cut.
"""

from __future__ import annotations

import copy
import errno
from dataclasses import dataclass, field

import numpy as np

SURVIVAL = ("nothing", "names", "names and half", "bytes", "everything", "random 0", "random 1", "random 2")
TORN = (*SURVIVAL, "zeros", "sectors 0", "sectors 1", "sectors 2")
SECTOR_BYTES = 512


class PowerCut(BaseException):
    """Not an Exception, so that nothing on board can catch it by accident."""


@dataclass
class Inode:
    cached: bytes = b""
    durable: bytes = b""


@dataclass
class CuttingDisk:
    """`onboard.adapters.files.Disk` that fails at its `cut_at`-th operation, with power or with an error number."""

    sync_files: bool = True
    sync_folders: bool = True
    cut_at: int | None = None
    error: int | None = None
    done: int = 0
    names_cached: dict[str, Inode] = field(default_factory=dict)
    names_durable: dict[str, Inode] = field(default_factory=dict)
    waiting: list[tuple[str, str, Inode | None]] = field(default_factory=list)
    moments: list[CuttingDisk] | None = None

    def clone(self, cut_at: int | None = None, error: int | None = None) -> CuttingDisk:
        worlds = copy.deepcopy((self.names_cached, self.names_durable, self.waiting))
        return CuttingDisk(self.sync_files, self.sync_folders, cut_at, error, 0, *worlds)

    def crash(self, survival: str, seed: int = 0) -> CuttingDisk:
        """Return the disk as the next boot finds it; the clone is durable as a whole."""
        rng = np.random.default_rng([seed, self.done])
        kept = len(self.waiting)
        if survival in ("nothing", "bytes"):
            kept = 0
        elif survival.startswith(("random", "sectors")):
            kept = int(rng.integers(0, kept + 1))
        names = dict(self.names_durable)
        for verb, name, inode in self.waiting[:kept]:
            names.pop(name, None) if verb == "unlink" else names.__setitem__(name, inode or Inode())
        other = CuttingDisk(self.sync_files, self.sync_folders)
        for name, inode in names.items():
            data = self._survivors(inode, survival, rng)
            other.names_cached[name] = other.names_durable[name] = Inode(data, data)
        return other

    @staticmethod
    def _survivors(inode: Inode, survival: str, rng: np.random.Generator) -> bytes:
        if inode.cached == inode.durable or survival in ("nothing", "names"):
            return inode.durable
        if survival == "names and half":
            return inode.cached[: len(inode.cached) // 2]
        if survival == "zeros":
            return inode.durable + bytes(max(0, len(inode.cached) - len(inode.durable)))
        if survival.startswith("sectors"):
            return _sectors(inode, rng)
        if survival.startswith("random") and rng.random() < 0.7:
            torn = bytearray(inode.cached[: int(rng.integers(0, len(inode.cached) + 1))])
            if torn and rng.random() < 0.5:
                start = int(rng.integers(0, len(torn)))
                torn[start:] = bytes(len(torn) - start)  # a block that was allocated and never written
            return bytes(torn)
        return inode.cached

    def create(self, name: str) -> None:
        self._step()
        if name in self.names_cached:
            self.names_cached[name].cached = b""
        else:
            self.names_cached[name] = Inode()
            self.waiting.append(("link", name, self.names_cached[name]))

    def append(self, name: str, chunk: bytes) -> None:
        try:
            self._step()
        except (PowerCut, OSError):
            self.names_cached[name].cached += chunk[: len(chunk) // 2]
            raise
        if self.moments:
            self.moments[-1].names_cached[name].cached += chunk[: len(chunk) // 2]
        self.names_cached[name].cached += chunk

    def sync_file(self, name: str) -> None:
        self._step()
        if self.sync_files:
            self.names_cached[name].durable = self.names_cached[name].cached

    def rename(self, source: str, target: str) -> None:
        self._step()
        inode = self.names_cached.pop(source)
        self.names_cached[target] = inode
        # A cut between these two leaves both names, which is worse than what a journal would leave.
        self.waiting.append(("link", target, inode))
        self.waiting.append(("unlink", source, None))

    def remove(self, name: str) -> None:
        self._step()
        if self.names_cached.pop(name, None) is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        self.waiting.append(("unlink", name, None))

    def sync_folder(self) -> None:
        self._step()
        if self.sync_folders:
            self.names_durable = dict(self.names_cached)
            self.waiting.clear()

    def read(self, name: str, max_bytes: int) -> bytes:
        if name not in self.names_cached:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self.names_cached[name].cached[:max_bytes]

    def names(self) -> list[str]:
        return list(self.names_cached)

    def flip(self, name: str, bit: int) -> None:
        """Flip one bit for good, as a particle does."""
        data = bytearray(self.names_cached[name].cached)
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        self.names_cached[name] = self.names_durable[name] = Inode(bytes(data), bytes(data))

    def contents(self) -> dict[str, bytes]:
        return {name: inode.cached for name, inode in self.names_cached.items()}

    def _step(self) -> None:
        if self.moments is not None:
            self.moments.append(self.clone())
            self.moments[-1].done = self.done
        at, self.done = self.done, self.done + 1
        if at == self.cut_at:
            if self.error is None:
                raise PowerCut
            raise OSError(self.error, "the disk refuses")


def _sectors(inode: Inode, rng: np.random.Generator) -> bytes:
    """Return the new length with each sector new, old or never written, in no order."""
    old = inode.durable.ljust(len(inode.cached), b"\0")
    found = bytearray(len(inode.cached))
    for start in range(0, len(found), SECTOR_BYTES):
        part, draw = slice(start, start + SECTOR_BYTES), rng.random()
        found[part] = inode.cached[part] if draw < 0.6 else old[part] if draw < 0.8 else bytes(len(found[part]))
    return bytes(found)
