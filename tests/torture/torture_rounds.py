"""A thousand rounds with one satellite: updates, duplicates, replays, refusals, roll-backs, reboots; flash does not grow.

Each round is drawn. What must hold after it: the right model flies, whole (in a share of the rounds it is run); a refusal has
changed no byte; there are no files but those of the slots, the golden model, the tables and what is believed; and together they
take no more than three models and a little.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torture_kills import MEMORY
from torture_satellite import Ground, Satellite, flaw
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.onboard.adapters.files import OsDisk
from orbitloop.onboard.slot_record import slot_file
from orbitloop.onboard.slot_table import GOLDEN, NAMES, SlotState
from orbitloop.onboard.slots import TABLE_FILES
from orbitloop.onboard.trust_store import FILES as TRUST_FILES

RUN_EVERY = 25
SLACK_BYTES = 40_000
KNOWN = {*map(slot_file, (*NAMES, GOLDEN)), *TABLE_FILES, *TRUST_FILES}


@dataclass
class Life:
    """One satellite, what must fly on it, and what the ground sent so far."""

    folder: Path
    ground: Ground = field(default_factory=lambda: Ground(b"rounds"))
    sent: list[bytes] = field(default_factory=list)
    flying: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    most_bytes: list[int] = field(default_factory=list)

    def boot(self) -> Satellite:
        return Satellite(OsDisk(self.folder), self.ground.anchor)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def send(self, satellite: Satellite) -> int:
        """Have the next update staged; return its version."""
        version = satellite.store.table().highest_version + 1
        self.sent.append(self.ground.bundle(version, self.flying, contacts=satellite.trust.load().contacts))
        refused = satellite.receive(self.sent[-1])
        if refused:
            raise AssertionError(f"version {version} is refused: {refused}")
        return version


def confirmed(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    life.flying = life.send(satellite)
    satellite.try_it()
    for _ in range(int(rng.integers(0, 3))):  # boots on probation, each with a healthy sign
        satellite = life.boot()
        satellite.boot()
    satellite.contact()


def failed(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    life.send(satellite)
    satellite.try_it(passed=False)


def rebooted_in_trial(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    version = life.send(satellite)
    satellite.store.begin_trial()
    found = life.boot().boot()
    if found.interrupted_version != version:
        raise AssertionError("the reboot says nothing of the trial that it ended")


def waits_over_a_reboot(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    life.flying = life.send(satellite)
    satellite = life.boot()
    satellite.boot()  # tries what waits
    satellite.contact()


def given_up(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    life.send(satellite)
    satellite.try_it()
    satellite.store.roll_back("slower than the one before")


def crash_loop(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    version = life.send(satellite)
    satellite.try_it()
    for _ in range(3):
        satellite = life.boot()
        satellite.store.recover()
        satellite.store.note_boot()
    found = life.boot().boot()
    if found.interrupted_version != version or "crash loop" not in found.reason:
        raise AssertionError(f"the crash loop was not ended: {found.reason}")


def drifted(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    table = satellite.store.table()
    spare = table.spare_row
    life.flying = spare.version if spare.state is SlotState.CONFIRMED else 0
    satellite.store.roll_back("drift")


def rotten(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    """A bit of the active slot flips; the boot finds another to fly."""
    table = satellite.store.table()
    spare = table.spare_row
    life.flying = spare.version if spare.state is SlotState.CONFIRMED else 0
    path = life.folder / slot_file(table.active)
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))
    life.boot().boot()


def refused(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    """A duplicate, a replay, a bundle with a flipped bit, one for another base, junk: no byte changes."""
    if not life.sent:
        return
    old = life.sent[-1 - int(rng.integers(0, min(20, len(life.sent))))]
    torn = bytearray(old)
    torn[int(rng.integers(len(torn)))] ^= 1 << int(rng.integers(8))
    other = life.ground.bundle(satellite.store.table().highest_version + 1, life.flying + 100_000)
    for bundle in (life.sent[-1], old, bytes(torn), other, old[: len(old) // 2], b""):
        before = life.contents()
        if not satellite.receive(bundle):
            raise AssertionError("taken, and should have been refused")
        if life.contents() != before:
            raise AssertionError("a refusal changed what is on flash")


def left_over(life: Life, satellite: Satellite, rng: np.random.Generator) -> None:
    """Temporary files and files of slots that count for nothing, as cuts and older software leave them."""
    (life.folder / "slot-a.tmp").write_bytes(bytes(50_000))
    (life.folder / "trust-1.tmp").write_bytes(b"")
    table = satellite.store.table()
    if table.spare_row.state in (SlotState.FAILED, SlotState.EMPTY):
        (life.folder / slot_file(table.spare)).write_bytes(bytes(50_000))
    life.boot().boot()


ROUNDS: tuple[Callable[[Life, Satellite, np.random.Generator], None], ...] = (
    *(confirmed,) * 6,
    *(failed, rebooted_in_trial, waits_over_a_reboot, given_up, crash_loop, drifted, rotten, refused, refused, left_over),
)


def _round(life: Life, rng: np.random.Generator, *, run: bool) -> str:
    act = ROUNDS[rng.integers(len(ROUNDS))]
    life.counts[act.__name__] = life.counts.get(act.__name__, 0) + 1
    act(life, life.boot(), rng)
    satellite = life.boot() if rng.random() < 0.5 else None
    if satellite is not None:
        satellite.boot()
    wrong = flaw(life.boot(), {life.flying}, run=run)
    contents = life.contents()
    life.most_bytes.append(sum(map(len, contents.values())))
    if wrong or set(contents) - KNOWN:
        return f"{act.__name__}: {wrong or sorted(set(contents) - KNOWN)}"
    limit = 3 * len(contents[GOLDEN]) + SLACK_BYTES
    return "" if life.most_bytes[-1] <= limit else f"{act.__name__}: {life.most_bytes[-1]} bytes on flash, over {limit}"


def run(count: int, tick: Tick) -> Outcome:
    tally, rng = Tally(tick), np.random.default_rng(9)
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as where:
        life = Life(Path(where))
        life.boot().install()
        for trial in range(count):
            tally.trial(f"round {trial}", partial(_round, life, rng, run=trial % RUN_EVERY == 0))
    sizes, tenth = life.most_bytes, max(1, count // 10)
    note = f"at most {max(sizes[:tenth])} bytes on flash in the first tenth, {max(sizes[-tenth:])} in the last; "
    return tally.outcome(note + ", ".join(f"{name} {n}" for name, n in sorted(life.counts.items())))


SECTIONS = (Section("rounds", "right model each time, bounded flash", run, 1_000, 25),)
