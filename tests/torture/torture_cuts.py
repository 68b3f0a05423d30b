"""Power cuts at every operation on flash: while an update is applied, a cut is recovered from, or a model is given up.

What survives a cut is drawn: lost, torn, zeros, sectors in any order, names without bytes, a part of the journal. What must
hold after each: the satellite boots; the old model flies or the new one, as far as the steps that had returned; its bytes,
digest and (for a share of the cuts) its detections are right; what is believed is the old or the new; the table is there twice,
no temporary file is; a second boot finds nothing to do; and the same bundle sent again, or the version after it where the
number was spent in a trial that the cut ended, gets through exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import count as counting

import numpy as np
from cutting_disk import TORN, CuttingDisk
from torture_faults import boots_not_counted, files_not_synced, folders_not_synced
from torture_satellite import Satellite, flaw, unsettled
from torture_scripts import Moment, Script, applies, rollbacks
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.onboard.slot_table import SlotState

RUN_EVERY = 40
"""One in so many cuts, the model that flies is run."""
DAMAGED_EVERY = 3
"""One in so many cuts of a recovery, a file is damaged as well."""


def aftermath(script: Script, disk: CuttingDisk, allowed: frozenset[int], *, run: bool, damaged: bool = False) -> str:
    """Boot on what a cut left, and go on; return what is wrong, or nothing."""
    satellite = script.satellite(disk)
    satellite.store.recover()
    wrong = flaw(satellite, allowed, run=run) or unsettled(satellite, disk)
    if wrong:
        return f"boot: {wrong}"
    before, again = disk.contents(), satellite.store.recover()
    if [note for note in again.notes if "golden model is damaged" not in note] or disk.contents() != before:
        return "boot: a second one found something to do"
    stamp = satellite.trust.load().version("timestamp")
    if stamp not in script.stamps and not damaged:
        return f"boot: timestamp {stamp} is believed, not one of {sorted(script.stamps)}"
    return _goes_on(script, script.satellite(disk), disk, run=run, damaged=damaged)


def _goes_on(script: Script, satellite: Satellite, disk: CuttingDisk, *, run: bool, damaged: bool) -> str:
    """Send the update again, confirm it, and replay it."""
    satellite.boot()
    satellite.contact()
    if script.flying != script.base and satellite.store.running().version == script.flying:
        satellite.store.roll_back("again")  # the watchdog that was cut comes to the same verdict
    flying, bundles = satellite.store.running().version, script.bundles
    if flying not in (
        script.base,
        script.new,
        script.new + 1,
    ):  # what waited was tried at boot, or damage made another take over
        bundles = (script.ground.bundle(satellite.store.table().highest_version + 1, flying),)  # made by what the beacon said
    for bundle in bundles:
        refused = "" if satellite.store.running().version >= script.new else satellite.receive(bundle) or _flown(satellite)
        spent = damaged or "interrupted" in satellite.store.table().spare_row.reason  # by a trial, or what was staged decayed
        if refused and not (spent and "not above" in refused):
            return f"sent again: refused ({refused})"
    running, newest = satellite.store.running(), satellite.store.table().highest_version
    if running.state is not SlotState.CONFIRMED or running.version != newest:
        return f"sent again: version {running.version} is {running.state}, and {newest} was the newest"
    wrong, before = flaw(satellite, {newest}), disk.contents()
    if wrong:
        return f"sent again: {wrong}"
    taken = [bundle for bundle in (bundles if run else bundles[:1]) if not satellite.receive(bundle)]
    return "replay: taken twice" if taken or disk.contents() != before else ""


def _flown(satellite: Satellite) -> str:
    satellite.try_it()
    satellite.contact()
    return ""


def _cuts(scripts: Callable[[], tuple[Script, ...]]) -> Callable[[int, Tick], Outcome]:
    def run(count: int, tick: Tick) -> Outcome:
        moments = [moment for script in scripts() for moment in script.moments]
        tally, rng = Tally(tick), np.random.default_rng(4)
        for lap in counting():
            for index in rng.permutation(len(moments)):
                if tally.tried >= count:
                    return tally.outcome(f"{len(moments)} moments, {len(TORN)} ways to lose, {lap} laps")
                moment, survival = moments[index], TORN[(int(index) + lap) % len(TORN)]
                tally.trial(*_cut(moment, survival, lap, run=tally.tried % RUN_EVERY == 0))
        raise AssertionError

    return run


def _cut(moment: Moment, survival: str, seed: int, *, run: bool) -> tuple[str, Callable[[], str]]:
    name = f"{moment.script.name}, operation {moment.disk.done}, {survival}, {seed}"
    return name, lambda: aftermath(moment.script, moment.disk.crash(survival, seed), moment.allowed, run=run)


def recovery(count: int, tick: Tick) -> Outcome:
    """Cut, then cut the boot that mends it, and at times that one again; in a third a file is damaged in between."""
    moments = [moment for script in (*applies(), *rollbacks()) for moment in script.moments]
    tally, rng, depths = Tally(tick), np.random.default_rng(5), [0, 0, 0, 0]
    while tally.tried < count:
        moment, allowed = moments[rng.integers(len(moments))], frozenset[int]()
        disk, name = moment.disk.crash(*_survival(rng)), f"{moment.script.name}, operation {moment.disk.done}"
        damaged = tally.tried % DAMAGED_EVERY == 0
        if damaged:
            hit = str(rng.choice(sorted(name for name, data in disk.contents().items() if data)))
            allowed, name = _heirs(moment.script, disk), f"{name}, {hit} flipped"
            disk.flip(hit, int(rng.integers(1 << 20)))
        disk, cuts = _cut_boots(moment.script, disk, rng)
        name, about = f"{name}, then boots' operations {cuts}", (moment.script, disk, moment.allowed | allowed)
        depths[len(cuts)] += 1
        run = tally.tried % RUN_EVERY == 0
        tally.trial(name, partial(aftermath, *about, run=run, damaged=damaged))
    return tally.outcome(f"boots cut 0, 1, 2, 3 times: {depths}; in every {DAMAGED_EVERY}rd a file was flipped as well")


def _cut_boots(script: Script, disk: CuttingDisk, rng: np.random.Generator) -> tuple[CuttingDisk, list[int]]:
    """Boot and cut that, up to three times; return the disk as the last cut left it, and where the cuts were."""
    cuts: list[int] = []
    while len(cuts) < 3 and (not cuts or rng.random() < 0.5):
        booting = disk.clone()
        booting.moments = []
        script.satellite(booting).store.recover()
        if not booting.moments:
            break
        cuts.append(int(rng.integers(len(booting.moments))))
        disk = booting.moments[cuts[-1]].crash(*_survival(rng))
    return disk, cuts


def _survival(rng: np.random.Generator) -> tuple[str, int]:
    return str(rng.choice(TORN)), int(rng.integers(1 << 30))


def _heirs(script: Script, disk: CuttingDisk) -> frozenset[int]:
    """Return what else may fly when one file is damaged: the golden model, or a slot that was confirmed."""
    table = script.satellite(disk.clone()).store._load()
    rows = table.slots.values() if table else ()
    return frozenset({0, *(row.version for row in rows if row.state is SlotState.CONFIRMED)})


def _without(fault: Callable[[], AbstractContextManager[None]], run: Callable[[int, Tick], Outcome]) -> Callable[..., Outcome]:
    def broken(count: int, tick: Tick) -> Outcome:
        with fault():
            for script in (*applies(), *rollbacks()):
                script.__dict__.pop("moments", None)
            try:
                return run(count, tick)
            finally:
                for script in (*applies(), *rollbacks()):
                    script.__dict__.pop("moments", None)

    return broken


apply, rollback = _cuts(applies), _cuts(rollbacks)
SECTIONS = (
    Section("cuts apply", "0 bricked, old or new model runs, its digest right", apply, 10_000, 60),
    Section("cuts recovery", "cut again while booting: the same", recovery, 2_000, 40),
    Section("cuts rollback", "cut while a model is given up: the same", rollback, 2_000, 60),
    Section("control: no fsync", "a file not synchronised is seen", _without(files_not_synced, apply), 300, 60, True),
    Section(
        "control: no directory sync", "a name not synchronised is seen", _without(folders_not_synced, apply), 300, 60, True
    ),
    Section("control: boots not counted", "a crash loop is seen", _without(boots_not_counted, rollback), 300, 60, True),
)
