"""Real `kill -9` of a real process on a real file system, at random moments of its updates.

A child takes updates in a folder and says before and after each step which version flies; the parent kills it, opens the folder
as a boot does, and holds what it finds against what was said last. Then the next child goes on from there.
"""

from __future__ import annotations

import ast
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torture_satellite import Ground, Satellite, flaw
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.onboard.adapters.files import OsDisk
from orbitloop.onboard.slot_table import SlotState

RUN_EVERY = 20
ON_DISK_EVERY = 10
MEMORY = Path("/dev/shm")
UPDATES = 2
"""That a child has before it: mostly more than it lives to take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Updates for one child, each with its end: `confirmed`, `failed` (in its trial) or `given up` (on probation)."""

    bundles: tuple[bytes, ...]
    versions: tuple[int, ...]
    ends: tuple[str, ...]


def _plan(ground: Ground, satellite: Satellite, rng: np.random.Generator) -> Plan:
    base, version = satellite.store.running().version, satellite.store.table().highest_version
    rows, contacts = [], satellite.trust.load().contacts
    for _ in range(UPDATES):
        version, end = version + 1, str(rng.choice(("confirmed", "confirmed", "failed", "given up")))
        rows.append((ground.bundle(version, base, contacts=contacts), version, end))
        base = version if end == "confirmed" else base
    return Plan(*zip(*rows, strict=True))


def _updates(satellite: Satellite, plan: Plan, may_fly: Callable[..., object]) -> None:
    """Take the updates to their ends; say before and after each step which versions may fly should it be cut."""
    flying = satellite.store.running().version
    for bundle, version, end in zip(plan.bundles, plan.versions, plan.ends, strict=True):
        may_fly(flying)
        satellite.receive(bundle)
        satellite.store.begin_trial()
        if end == "failed":
            satellite.store.roll_back("canary lost")
            continue
        may_fly(flying, version)
        satellite.store.accept()
        may_fly(version)
        satellite.store.note_boot()
        satellite.store.note_healthy()
        if end == "given up":
            may_fly(flying, version)
            satellite.store.roll_back("drift")
        else:
            satellite.contact()
            flying = version
    may_fly(flying)


def _live(folder: Path, anchor: bytes, plan: Plan, say: int) -> None:
    """What the child does until it is killed."""
    _updates(Satellite(OsDisk(folder), anchor), plan, lambda *versions: os.write(say, b"%r\n" % (versions,)))
    time.sleep(60)


@contextmanager
def _child(folder: Path, anchor: bytes, plan: Plan) -> Iterator[tuple[int, int]]:
    """Start the child; yield its process number and the pipe in which it speaks; it is dead afterwards."""
    hear, say = os.pipe()
    process = os.fork()
    if process == 0:  # nothing of the parent's may run on: no test's clean-up, no buffer
        try:
            os.close(hear)
            _live(folder, anchor, plan, say)
        finally:
            os._exit(1)
    os.close(say)
    try:
        yield process, hear
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(hear)


def _said(hear: int) -> set[int]:
    """Return which versions the child said last might fly; a line is written at once or not at all."""
    heard = b""
    while part := os.read(hear, 4096):
        heard += part
    return set(ast.literal_eval(heard.splitlines()[-1].decode())) if heard else set()


def _one(folder: Path, ground: Ground, rng: np.random.Generator, longest_s: float, *, run: bool) -> str:
    plan = _plan(ground, Satellite(OsDisk(folder), ground.anchor), rng)
    flying = Satellite(OsDisk(folder), ground.anchor).store.running().version
    with _child(folder, ground.anchor, plan) as (process, hear):
        select.select([hear], [], [])  # it has begun
        time.sleep(float(rng.uniform(0, longest_s)))
        os.kill(process, signal.SIGKILL)
        allowed = _said(hear) or {flying}
    satellite = Satellite(OsDisk(folder), ground.anchor)
    satellite.store.recover()
    wrong = flaw(satellite, allowed, run=run)
    if wrong:
        return wrong
    left = sorted(path.name for path in folder.glob("*.tmp"))
    if left or not satellite.store._mirrored(satellite.store.table()):
        return f"not settled: {left}"
    return _same_again(satellite, plan)


def _same_again(satellite: Satellite, plan: Plan) -> str:
    """Boot on, and let the ground send again what it has had no word of."""
    satellite.boot()
    satellite.contact()
    for bundle, version in zip(plan.bundles, plan.versions, strict=True):
        highest, before = satellite.store.table().highest_version, satellite.store.running().version
        refused = satellite.receive(bundle)
        if version <= highest and not refused:
            return f"version {version} was taken twice"
        if not refused:
            satellite.try_it()
            satellite.contact()
        elif version > highest and "is not the running model" not in refused:
            return f"version {version} sent again after {highest} is refused: {refused}"
        expected = before if refused else version
        wrong = flaw(satellite, {expected})
        if wrong or satellite.store.running().state is not SlotState.CONFIRMED:
            return wrong or "what flies is not confirmed"
    return ""


class Place:
    """A folder with a satellite in it, and how long its updates take there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.ground = folder, Ground(name.encode())
        satellite = Satellite(OsDisk(folder), self.ground.anchor)
        satellite.install()
        plan, began_s = _plan(self.ground, satellite, np.random.default_rng(1)), time.monotonic()
        _updates(satellite, plan, lambda *versions: None)
        self.longest_s = time.monotonic() - began_s


def run(count: int, tick: Tick) -> Outcome:
    """Most rounds on a file system in memory, where there is one: the kernel's part is the same, and more of them fit."""
    tally, rng = Tally(tick), np.random.default_rng(8)
    memory = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory() as on_disk, tempfile.TemporaryDirectory(dir=memory) as in_memory:
        slow, fast = Place(Path(on_disk), "disk"), Place(Path(in_memory), "memory")
        for trial in range(count):
            place = slow if trial % ON_DISK_EVERY == 0 else fast
            about = place.folder, place.ground, rng, place.longest_s
            tally.trial(f"kill {trial}", partial(_one, *about, run=trial % RUN_EVERY == 0))
    took = f"{1000 * fast.longest_s:.0f} ms in memory, {1000 * slow.longest_s:.0f} ms on the disk (every {ON_DISK_EVERY}th)"
    return tally.outcome(f"killed while {UPDATES} updates were made, which take {took}")


SECTIONS = (Section("kills", "real kill -9 at random times: 0 bricked", run, 500, 4),)
