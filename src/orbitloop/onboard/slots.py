"""Two model slots and a golden model on a flash, so that there is always one to fly: stage beside it, try, prove, or go back.

States, events and invariants stand in `slot_table`; this module keeps them on flash, in the order that makes each cut harmless.

The table is kept twice, `table-0` then `table-1`, each with its own digest; the higher sequence that is intact counts. Should
both be lost, the files themselves say what may fly (invariant 4). A version number is spent once staged; `highest_version` only
rises, so that nothing rolled back or superseded comes again.

A flash that can no longer be written must not keep the satellite down: what a boot would have written then holds in memory
until it ends, which is the one thing kept here between calls. It leaves to `updates` whom to believe, and to the agent when to
try and whom to trust with flying.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from orbitloop.errors import ModelError, StateError, UpdateError
from orbitloop.onboard.flash import Flash
from orbitloop.onboard.slot_record import MAX_FILE_BYTES, SlotContent, read_slot, slot_file, write_slot
from orbitloop.onboard.slot_table import (
    GOLDEN,
    NAMES,
    WAITING,
    Event,
    SlotRow,
    SlotState,
    SlotTable,
    accepted,
    brief,
    confirmed,
    erased,
    given_up,
    move,
    parse_table,
    settle,
    with_row,
    write_table,
)
from orbitloop.onboard.weights import load_weights
from orbitloop.records.ids import digest_bytes, digest_tensors

TABLE_FILES = ("table-0", "table-1")
MAX_TABLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a boot found: the model that runs, what had to be done, and the update that this boot ended, with the reason.

    An update ends so when its trial was interrupted, or when on probation it was damaged or booted too often.
    """

    active: SlotContent
    notes: tuple[str, ...]
    interrupted_version: int | None = None
    reason: str = ""


class SlotStore:
    """The models on a flash. Every method may raise StateError: nothing installed, wrong state, or the flash refuses.

    Args:
        flash: where the slots and the table live; may be shared with others' files.
        golden: where the golden model lives, a medium that is read-only in flight; the same flash where there is no other.
        max_trial_boots: boots on probation without `note_healthy` that are put up with; one more, and `recover` goes back.
    """

    def __init__(self, flash: Flash, *, golden: Flash | None = None, max_trial_boots: int = 2) -> None:
        self._flash = flash
        self._golden = golden or flash
        self._max_boots = max_trial_boots
        self._unwritten: SlotTable | None = None

    def install_factory(self, graph: bytes, weights: bytes, *, version: int = 0) -> SlotContent:
        """Write the first model: as the golden one, and into both slots, so that there is one to fall back to from day one.

        Raises:
            ModelError: the weights are malformed.
            StateError: a model is installed already.
        """
        if self.installed():
            raise StateError(
                "a model is installed already", where="slots", remedy="send an update, or start from an empty flash"
            )
        content = SlotContent(NAMES[0], version, digest_tensors(load_weights(weights)), graph, weights)
        files = {name: write_slot(replace(content, slot=name)) for name in (GOLDEN, *NAMES)}
        for name, data in files.items():
            (self._golden if name == GOLDEN else self._flash).write_atomic(slot_file(name), data)
        rows = {name: _confirmed(content, files[name]) for name in NAMES}
        self._commit(SlotTable(0, NAMES[0], version, version, rows, _confirmed(content, files[GOLDEN])))
        return self.active()

    def installed(self) -> bool:
        """Say whether there is a model that boots, without changing anything."""
        table = self._load() or self._rebuild()
        return table is not None and any(self._intact(name, row) for name, row in table.rows.items())

    def table(self) -> SlotTable:
        """Return the table as it stands on flash."""
        table = self._load()
        if table is None:
            raise StateError("no intact slot table", where="slots", remedy="call recover() at boot, install_factory() before")
        return table

    def running(self) -> SlotRow:
        """Return the active model's row by the table alone: version and digest of what flies, without reading its file."""
        return self.table().active_row

    def active(self) -> SlotContent:
        """Return the model that flies, its digests checked in this very call."""
        table = self.table()
        return self._content(table.active, table.active_row)

    def staged(self) -> SlotContent:
        """Return the spare that waits for its trial or is in it, checked likewise."""
        table = self.table()
        if table.spare_row.state not in WAITING:
            raise StateError(f"nothing is staged: the spare slot is {table.spare_row.state}", where="slots")
        return self._content(table.spare, table.spare_row)

    def fallback(self) -> SlotContent | None:
        """Return what would fly if the active model were given up, checked likewise; None where there is nothing."""
        table = self.table()
        name = table.fallback
        return None if name is None else self._content(name, table.rows[name])

    def stage(self, version: int, weights: bytes, digest: str, *, manifest: bytes = b"") -> SlotContent:
        """Write new weights beside the running model; its graph is the active one's.

        Raises:
            UpdateError: the version does not rise, an update is on probation, or the weights are not those of the digest;
                nothing is touched.
            StateError: a trial is under way, or the flash refuses; the active model is untouched.
        """
        table = self.table()
        if version <= table.highest_version:
            raise UpdateError(f"version {version} is not above {table.highest_version}", where="slots")
        if table.active_row.state is SlotState.PROBATION:
            raise UpdateError("an update is on probation", where="slots", remedy="send it again once that one is confirmed")
        room = erased(table)
        try:
            if digest_tensors(load_weights(weights)) != digest:
                raise UpdateError("weights are not those of the stated digest", where="slots")
        except ModelError as error:
            raise UpdateError(error.what, where="slots") from error
        running = self.active()  # the fallback is given up only while the running model is known to be whole
        content = SlotContent(room.spare, version, digest, running.graph, weights, manifest)
        record = write_slot(content)
        table = self._commit(room)
        self._erase(table)
        self._flash.write_atomic(slot_file(content.slot), record)
        row = SlotRow(move(table, Event.STAGE), version, digest, digest_bytes(record))
        self._content(content.slot, row)
        self._commit(replace(with_row(table, content.slot, row), highest_version=version))
        return self.staged()

    def begin_trial(self) -> SlotContent:
        """Mark the staged slot as being tried, before it is tried, so that a crash of the trial counts against it."""
        table = self.table()
        row = replace(table.spare_row, state=move(table, Event.BEGIN_TRIAL))
        content = self._content(table.spare, row)
        self._commit(with_row(table, table.spare, row))
        return content

    def accept(self) -> SlotContent:
        """Let the tried slot fly, on probation; the one before waits beside it."""
        table = accepted(self.table())
        self._content(table.active, table.active_row)
        self._commit(table)
        return self.active()

    def confirm(self) -> SlotContent:
        """End the probation of the active slot well."""
        table = confirmed(self.table())
        self._content(table.active, table.active_row)
        self._commit(table)
        return self.active()

    def roll_back(self, reason: str) -> SlotContent:
        """Give up the staged or tried slot; with neither, give up the active one for its fallback."""
        table = self.table()
        state = move(table, Event.ROLL_BACK)
        if table.spare_row.state in WAITING:
            row = replace(table.spare_row, state=state, reason=brief(reason))
            table = self._commit(with_row(table, table.spare, row))
        else:
            table = self._commit(self._without_active(table, reason))
        with suppress(StateError):  # the step is made; what is left to do is done at the next boot, or the next staging
            self._erase(table)
            self._copy_golden(table)
        return self.active()

    def note_boot(self) -> None:
        """Count a boot of a model on probation, durably, before that model is loaded.

        Where it cannot be counted it could crash for ever uncounted: its fallback flies until the next boot.
        """
        table = self.table()
        if table.active_row.state is not SlotState.PROBATION:
            return
        try:
            self._commit(replace(table, boots=table.boots + 1))
        except StateError as error:
            with suppress(StateError):  # nothing to go back to: it flies
                self._hold(self._without_active(table, f"its boot cannot be counted: {error.what}"))

    def note_healthy(self) -> None:
        """Say that the model on probation works: its boots are counted anew."""
        table = self.table()
        if table.active_row.state is SlotState.PROBATION and table.boots:
            self._commit(replace(table, boots=0))

    def recover(self) -> Recovery:
        """Bring the slots into order at boot; safe to be cut and called again at any point, and on a flash that refuses.

        Raises:
            StateError: there is no intact model that may fly.
        """
        loaded = self._load()
        table = loaded or self._rebuild()
        if table is None:
            raise StateError("no model on flash", where="slots", remedy="install one with install_factory()")
        notes = [] if loaded else ["both copies of the table were lost; it was rebuilt from what is on flash"]
        intact = {name for name, row in table.rows.items() if self._intact(name, row)}
        settled = settle(table, intact, notes, max_boots=self._max_boots)
        try:
            if settled != table or not self._mirrored(table):
                settled = self._commit(settled)
            self._erase(settled)
            settled = self._copy_golden(settled)
        except StateError as error:
            notes.append(f"{error.what}: what was settled holds until the next boot")
            self._hold(settled)
        active = self._content(settled.active, settled.active_row)
        for name, row in table.slots.items():
            if row.state is SlotState.TRIAL or (row.state is SlotState.PROBATION and name != settled.active):
                return Recovery(active, tuple(notes), row.version, settled.slots[name].reason)
        return Recovery(active, tuple(notes))

    def _without_active(self, table: SlotTable, reason: str) -> SlotTable:
        """Return the table with the fallback flying that is whole.

        Raises:
            StateError: there is none.
        """
        move(table, Event.ROLL_BACK)
        if table.fallback == table.spare and not self._intact(table.spare, table.spare_row):
            lost = SlotRow(reason=f"content of version {table.spare_row.version} was damaged")
            table = with_row(table, table.spare, lost)
        if table.fallback is None:
            raise StateError("there is no other model to go back to", where="slots")
        self._content(table.fallback, table.rows[table.fallback])
        return given_up(table, table.fallback, reason)

    def _load(self) -> SlotTable | None:
        copies = [table for table in (*map(self._copy, TABLE_FILES), self._unwritten) if table is not None]
        return max(copies, key=lambda table: table.sequence, default=None)

    def _copy(self, name: str) -> SlotTable | None:
        try:
            return parse_table(self._flash.read(name, max_bytes=MAX_TABLE_BYTES))
        except StateError:
            return None

    def _mirrored(self, table: SlotTable) -> bool:
        return all(self._copy(name) == table for name in TABLE_FILES)

    def _commit(self, table: SlotTable) -> SlotTable:
        """Write the next table. The first copy is the commit; the second only guards it against flipped bits."""
        following = replace(table, sequence=table.sequence + 1)
        data = write_table(following)
        for name in TABLE_FILES:
            self._flash.write_atomic(name, data)
        self._unwritten = None
        return following

    def _hold(self, table: SlotTable) -> None:
        """Keep a table that the flash would not take, above whatever a refused write may have left there."""
        self._unwritten = replace(table, sequence=table.sequence + 2)

    def _erase(self, table: SlotTable) -> None:
        """Remove the files of slots whose content counts for nothing."""
        for name, row in table.slots.items():
            if row.state in (SlotState.EMPTY, SlotState.FAILED) and self._flash.exists(slot_file(name)):
                self._flash.delete(slot_file(name))

    def _copy_golden(self, table: SlotTable) -> SlotTable:
        """Fly the golden model from a slot, so that there are two of it; the slot that has news keeps them."""
        if table.active != GOLDEN:
            return table
        name = next(n for n in NAMES if n != table.spare)
        content = replace(self._content(GOLDEN, table.golden), slot=name)
        record = write_slot(content)
        self._flash.write_atomic(slot_file(name), record)
        row = _confirmed(content, record)
        self._content(name, row)
        return self._commit(replace(with_row(table, name, row), active=name))

    def _content(self, name: str, row: SlotRow) -> SlotContent:
        with suppress(StateError):
            return self._verified(name, row)
        return self._verified(name, row)  # what is damaged is given up, so a read that failed once is tried again

    def _verified(self, name: str, row: SlotRow) -> SlotContent:
        data = self._read(name)
        if digest_bytes(data) != row.record:
            raise StateError("slot's digest differs from the table's: its content was damaged", where=f"slot {name}")
        return read_slot(name, data)

    def _read(self, name: str) -> bytes:
        return (self._golden if name == GOLDEN else self._flash).read(slot_file(name), max_bytes=MAX_FILE_BYTES)

    def _intact(self, name: str, row: SlotRow) -> bool:
        if row.state in (SlotState.EMPTY, SlotState.FAILED):
            return False
        try:
            self._content(name, row)
        except StateError:
            return False
        return True

    def _rebuild(self) -> SlotTable | None:
        """Return a table from the files alone, by invariant 4: the older of two slots, or the golden model, flies."""
        rows: dict[str, SlotRow] = {}
        for name in (*NAMES, GOLDEN):
            with suppress(StateError):
                data = self._read(name)
                rows[name] = _confirmed(read_slot(name, data), data)
        if not rows:
            return None
        highest = max(row.version for row in rows.values())
        golden = rows.pop(GOLDEN, SlotRow())
        older = min(rows, key=lambda name: (rows[name].version, name), default=GOLDEN)
        if len(rows) == 1 and golden.state is SlotState.CONFIRMED and rows[older].digest != golden.digest:
            slots = {older: replace(rows[older], state=SlotState.STAGED, reason="table was lost")}
            older = GOLDEN
        else:
            lowest = rows[older].version if rows else 0
            lost = {n for n, row in rows.items() if row.version > lowest}
            slots = {
                n: replace(r, state=SlotState.FAILED, reason="table was lost") if n in lost else r for n, r in rows.items()
            }
        flying = golden if older == GOLDEN else slots[older]
        return SlotTable(0, older, highest, flying.version, dict.fromkeys(NAMES, SlotRow()) | slots, golden)


def _confirmed(content: SlotContent, data: bytes) -> SlotRow:
    return SlotRow(SlotState.CONFIRMED, content.version, content.digest, digest_bytes(data))
