"""Bits flipped in what is stored: 1 to 64 of them in a slot, the golden model, a table, what is believed, or several of these.

What must hold: damage is seen before a model is loaded; no table, model or trust but a genuine one is ever read; after the boot
flies what flew, or what the theory in `slot_table` says takes over, whole. Some flips are drawn so that a CRC-32 does not see
them, and some files are whole but another's or an earlier one's, as from a write that went to the wrong place.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import numpy as np
from cutting_disk import CuttingDisk, Inode
from torture_faults import (
    golden_not_there,
    slots_not_digested_by_table,
    slots_not_self_digested,
    tables_not_digested,
    tables_not_doubled,
)
from torture_satellite import Satellite, digest, flaw, graph, stored
from torture_scripts import Script, applies, rollbacks
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.errors import StateError
from orbitloop.onboard.slot_record import SlotContent, slot_file, write_slot
from orbitloop.onboard.slot_table import GOLDEN, NAMES, SlotState, SlotTable
from orbitloop.onboard.slots import TABLE_FILES
from orbitloop.onboard.trust_store import FILES as TRUST_FILES
from orbitloop.trust.refresh import Believed

CRC_POLYNOMIAL = 0x1_04C1_1DB7
RUN_EVERY = 40
SLOTS = tuple(map(slot_file, NAMES))
TARGETS = (("slot",), ("slot",), ("slot",), ("golden",), ("table",), ("trust",), SLOTS, TABLE_FILES, TRUST_FILES)
TARGETS += ((*TABLE_FILES, "slot"), (*TABLE_FILES, "golden"), (*TABLE_FILES, *SLOTS), ("slot", "golden"))


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with 1 to 64 bits flipped: anywhere, close together, or where a CRC-32 does not see it."""
    bits, kind, found = int(rng.integers(1, 65)), rng.random(), bytearray(data)
    if kind < 0.2 and len(data) > 200:
        return _unseen_by_crc(data, rng)
    window = len(data) * 8 if kind < 0.6 else min(len(data) * 8, 512)
    first = int(rng.integers(0, len(data) * 8 - window + 1))
    for bit in first + rng.choice(window, bits, replace=False):
        found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def _unseen_by_crc(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip a multiple of the generator polynomial into what lies behind the digest's line: 15 bits in 33."""
    start = data.find(b"\n") + 1
    first = int(rng.integers(start * 8, (len(data) - 4) * 8 - 33))
    found = bytearray(data)
    for power in range(33):
        if CRC_POLYNOMIAL >> (32 - power) & 1:
            bit = first + power
            found[bit // 8] ^= 1 << bit % 8
    if zlib.crc32(found[start:-4]) != zlib.crc32(data[start:-4]):
        raise AssertionError("the pattern is not what it should be")
    return bytes(found)


def heir(table: SlotTable, disk: CuttingDisk, hit: set[str]) -> int | None:
    """Return the version that must fly after the damage, told from the table before it; None where nothing may."""
    rows, contents = table.slots, disk.contents()
    fine = {name for name in NAMES if slot_file(name) in contents and slot_file(name) not in hit}
    golden = table.golden.version if GOLDEN not in hit else None
    if not set(TABLE_FILES) <= hit:
        if table.active in fine:
            return rows[table.active].version
        if table.spare in fine and table.spare_row.state is SlotState.CONFIRMED:
            return table.spare_row.version
        waits = table.spare in fine and table.spare_row.state is SlotState.STAGED
        return golden if golden is not None else table.spare_row.version if waits else None
    if len(fine) == 1 and golden is not None:
        return golden
    return min((rows[name].version for name in fine), default=golden)


def _damaged(script: Script, targets: tuple[str, ...], seed: int, *, run: bool) -> str:
    rng, disk = np.random.default_rng([6, seed]), script.ready.clone()
    before = script.satellite(disk.clone())
    table, believed, contents = before.store.table(), before.trust.load(), disk.contents()
    hit = set[str]()
    for target in targets:
        there = sorted(name for name in contents if name.startswith(target))
        hit |= {str(rng.choice(there))} if there else set()
    for name in hit:
        whole = _misplaced(name, contents, rng, earlier=not set(TABLE_FILES) <= hit)
        data = whole if rng.random() < 0.1 else flipped(contents[name], rng)
        disk.names_cached[name] = disk.names_durable[name] = Inode(data, data)
    satellite = script.satellite(disk)
    return _before_boot(satellite, table, hit) or _boot(script, disk, (table, believed), hit, run=run)


def _misplaced(name: str, contents: dict[str, bytes], rng: np.random.Generator, *, earlier: bool) -> bytes:
    """Return whole content of another file, or, of a slot, what it may have held at another time."""
    if earlier and name in SLOTS and rng.random() < 0.5:
        return write_slot(SlotContent(name.removeprefix("slot-"), 5, digest(5), graph(), stored(5)))
    others = sorted(other for other in contents if contents[other] != contents[name])
    return contents[str(rng.choice(others))] if others else b""


def _before_boot(satellite: Satellite, table: SlotTable, hit: set[str]) -> str:
    try:
        if satellite.store.table() != table:
            return "another table is read"
        active = satellite.store.active()
    except StateError:
        return "" if hit & {*TABLE_FILES, slot_file(table.active)} else "what is whole is refused"
    if slot_file(table.active) in hit:
        return "damage was not seen"
    return "" if active.weights == stored(active.version) else "another model is read"


def _boot(script: Script, disk: CuttingDisk, was: tuple[SlotTable, Believed], hit: set[str], *, run: bool) -> str:
    satellite, (table, believed) = script.satellite(disk), was
    expected = heir(table, disk, hit)
    try:
        satellite.store.recover()
    except StateError as error:
        return "" if expected is None else f"bricked: {error.what}"
    if expected is None:
        return "something flies where nothing is whole"
    wrong = flaw(satellite, {expected, *([0] if table.spare_row.state is SlotState.TRIAL else [])}, run=run)
    if wrong:
        return wrong
    now = satellite.trust.load()
    anchored = set(TRUST_FILES) <= hit
    if now != believed and not (anchored and now == Believed.anchor(script.ground.anchor)):
        return "something else is believed"
    return "a second boot found something to do" if _again(satellite, disk) else ""


def _again(satellite: Satellite, disk: CuttingDisk) -> bool:
    before = disk.contents()
    notes = satellite.store.recover().notes
    return bool([note for note in notes if "golden model is damaged" not in note]) or disk.contents() != before


@cache
def _scripts() -> tuple[Script, ...]:
    return (*applies(), *(script for script in rollbacks() if "crash loop" not in script.name))


def _run(fault: Callable[[], AbstractContextManager[None]]) -> Callable[[int, Tick], Outcome]:
    def run(count: int, tick: Tick) -> Outcome:
        tally, scripts = Tally(tick), _scripts()
        assert all(script.ready for script in scripts)  # made before the fault is
        with fault():
            for trial in range(count):
                targets, script = TARGETS[trial % len(TARGETS)], scripts[(trial + trial // len(TARGETS)) % len(scripts)]
                name = f"{script.name}, {', '.join(targets)}, {trial}"
                tally.trial(name, partial(_damaged, script, targets, trial, run=trial % RUN_EVERY == 0))
        return tally.outcome()

    return run


_FEW = 7 * len(TARGETS)
_CONTROL = 2_600
"""A control sees 19 to 744 in this many, by what the keys of the day make of the files."""
SECTIONS = (
    Section("flips", "every damage seen before inference, the heir takes over", _run(nullcontext), 10_000, _FEW),
    Section(
        "control: no slot digest",
        "a slot that is an earlier one is seen",
        _run(slots_not_digested_by_table),
        _CONTROL,
        _FEW,
        True,
    ),
    Section(
        "control: no own digest", "a slot damaged with the tables is seen", _run(slots_not_self_digested), _CONTROL, _FEW, True
    ),
    Section("control: no table digest", "a damaged table is seen", _run(tables_not_digested), _CONTROL, _FEW, True),
    Section("control: no golden model", "both slots gone are seen", _run(golden_not_there), _CONTROL, _FEW, True),
    Section("control: one table", "a table that is there once is seen", _run(tables_not_doubled), _CONTROL, _FEW, True),
)
