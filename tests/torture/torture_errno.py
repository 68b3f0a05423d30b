"""A disk that refuses: each call in turn fails once, or all from then on; writes stop half way, and some lie.

What must hold: nothing but the typed error comes out, and it says what the device said; the satellite boots while the disk
still refuses, and flies the old model or the new one; once the disk is well again, after a power cut or without, the same
bundle gets through as after any cut (`torture_cuts.aftermath`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from cutting_disk import CuttingDisk
from torture_cuts import aftermath
from torture_faults import not_read_back
from torture_satellite import flaw
from torture_scripts import Script, applies, rollbacks
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.errors import OrbitloopError

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
KINDS = (*(f"{name} {when}" for name in ERRORS for when in ("once", "from then on")), "short write", "write that lies")
WRITES = ("create", "append", "sync_file", "rename", "remove", "sync_folder")
CLEAR = ("refuses", "damaged", "no intact slot table", "differs")
RUN_EVERY = 40


@dataclass
class RefusingDisk:
    """`onboard.adapters.files.Disk` over another one, that does `kind` at its `at`-th call. Reads count as calls too."""

    inner: CuttingDisk
    kind: str = ""
    at: int = -1
    calls: list[str] = field(default_factory=list)

    def create(self, name: str) -> None:
        self._call("create")
        self.inner.create(name)

    def append(self, name: str, chunk: bytes) -> None:
        if len(self.calls) == self.at and self.kind in ("short write", "write that lies"):
            self.calls.append("append")
            if self.kind == "short write":
                self.inner.append(name, chunk[: len(chunk) // 3])
                raise OSError(errno.ENOSPC, "No space left on device")
            self.inner.append(name, bytes([chunk[0] ^ 4]) + chunk[1:])
            return
        self._call("append")
        self.inner.append(name, chunk)

    def sync_file(self, name: str) -> None:
        self._call("sync_file")
        self.inner.sync_file(name)

    def rename(self, source: str, target: str) -> None:
        self._call("rename")
        self.inner.rename(source, target)

    def remove(self, name: str) -> None:
        self._call("remove")
        self.inner.remove(name)

    def sync_folder(self) -> None:
        self._call("sync_folder")
        self.inner.sync_folder()

    def read(self, name: str, max_bytes: int) -> bytes:
        self._call("read")
        return self.inner.read(name, max_bytes)

    def names(self) -> list[str]:
        self._call("names")
        return self.inner.names()

    def _call(self, name: str) -> None:
        at = len(self.calls)
        self.calls.append(name)
        error, _, when = self.kind.partition(" ")
        later = when == "from then on" and self.at <= at and name in WRITES
        if error in ERRORS and (later or (at == self.at and when == "once")):
            raise OSError(ERRORS[error], f"{error} of the test")


def _live(script: Script, disk: RefusingDisk) -> tuple[frozenset[int], str]:
    """Run the script until an error; return what may fly then, and what is wrong with the error."""
    flying = script.flying
    for step, version in ((lambda s, _: None, flying), *script.steps):
        try:
            step(script.satellite(disk), script)  # type: ignore[arg-type]
        except OrbitloopError as error:
            said = error.what if any(word in error.what for word in CLEAR) and error.where else ""
            return frozenset({flying, version}), "" if said else f"the error is not clear: {error}"
        flying = version
    return frozenset({flying}), ""


def _refused(script: Script, kind: str, at: int, *, run: bool) -> str:
    disk = RefusingDisk(script.ready.clone(), kind, at)
    allowed, wrong = _live(script, disk)
    if wrong:
        return wrong
    if script.name.startswith("crash loop"):  # a boot that cannot be counted is one less, or flies the fallback at once
        allowed = frozenset({script.flying, script.base})
    booted = script.satellite(disk)  # type: ignore[arg-type]  (the disk is as it is)
    booted.store.recover()
    booted.store.note_boot()
    allowed |= {script.base} if booted.store._unwritten else set()
    wrong = flaw(booted, allowed, run=run)
    if wrong:
        return f"while it refuses: {wrong}"
    well = disk.inner.clone() if at % 2 else disk.inner.crash("random 0", at)
    return aftermath(script, well, allowed, run=run)


def _cases() -> Iterator[tuple[Script, str, int]]:
    for script in (*applies(), *rollbacks()):
        dry = RefusingDisk(script.ready.clone())
        _live(script, dry)
        for at, call in enumerate(dry.calls):
            for kind in KINDS:
                concerns = WRITES if kind.endswith("from then on") else ("append",) if "write" in kind else (call,)
                if call in concerns:
                    yield script, kind, at


def run(count: int, tick: Tick) -> Outcome:
    """Every call of every script with every kind of refusal; with a count below that, evenly spread."""
    tally, cases = Tally(tick), list(_cases())
    chosen = cases[:: -(-len(cases) // count)] if count < len(cases) else cases
    for index, (script, kind, at) in enumerate(chosen):
        tally.trial(f"{script.name}, call {at}, {kind}", partial(_refused, script, kind, at, run=index % RUN_EVERY == 0))
    return tally.outcome(f"{len(cases)} cases: every call of {len(applies()) + len(rollbacks())} scripts by {len(KINDS)} kinds")


def _without(fault: Callable[[], AbstractContextManager[None]]) -> Callable[[int, Tick], Outcome]:
    def broken(count: int, tick: Tick) -> Outcome:
        with fault():
            lies = [(s, kind, at) for s, kind, at in _cases() if kind == "write that lies"]
            tally = Tally(tick)
            for script, kind, at in lies[:: max(1, -(-len(lies) // count))]:
                tally.trial(f"{script.name}, call {at}, {kind}", partial(_refused, script, kind, at, run=False))
            return tally.outcome()

    return broken


SECTIONS = (
    Section("errno", "0 bricked, a clear error, a later try gets through", run, 8_000, 50),
    Section("control: no read-back", "a write that lies is seen", _without(not_read_back), 200, 30, True),
)
