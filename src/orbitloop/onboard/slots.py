"""Two model slots on a flash, so that there is always one to fly: stage beside the running model, try, confirm or go back.

States, events and invariants stand in `slot_table`; this module keeps them on flash, in the order that makes each cut harmless.

The table is kept twice, `table-0` then `table-1`, each with its own digest; the higher sequence that is intact counts. Should
both be lost, the older of two intact slots boots: a slot is only ever written beside a confirmed one with a lower version.

A version number is spent once staged; `highest_version` only rises, so that nothing rolled back or superseded comes again.

It leaves to `updates` whom to believe, and to the agent when to try. It keeps nothing in memory between calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orbitloop.errors import ModelError, StateError, UpdateError, WireError
from orbitloop.onboard.flash import Flash
from orbitloop.onboard.slot_table import (
    NAMES,
    Event,
    SlotRow,
    SlotState,
    SlotTable,
    brief,
    move,
    parse_table,
    settle,
    with_spare,
    write_table,
)
from orbitloop.onboard.weights import load_weights
from orbitloop.records.ids import digest_bytes, digest_tensors
from orbitloop.records.wire import MAX_RECORD_BYTES, pack, unpack

KIND = "slot"
TABLE_FILES = ("table-0", "table-1")
MAX_TABLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class SlotContent:
    """A verified slot. `manifest` is what brought it (empty for the factory's); `digest` is of the tensors."""

    slot: str
    version: int
    digest: str
    graph: bytes
    weights: bytes
    manifest: bytes = b""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a boot found: the slot that runs, what had to be done, and the version of a trial that the reboot ended."""

    active: SlotContent
    notes: tuple[str, ...]
    interrupted_version: int | None = None


class SlotStore:
    """The two slots on a flash. Every method may raise StateError: nothing installed, wrong state, or the flash refuses."""

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def install_factory(self, graph: bytes, weights: bytes, *, version: int = 0) -> SlotContent:
        """Write the first model, into both slots, so that from the first day there is one to fall back to.

        Raises:
            ModelError: the weights are malformed.
            StateError: a model is installed already.
        """
        if self.installed():
            raise StateError(
                "a model is installed already", where="slots", remedy="send an update, or start from an empty flash"
            )
        digest = digest_tensors(load_weights(weights))
        record = _pack_slot(version, digest, graph, weights, b"")
        for name in NAMES:
            self._flash.write_atomic(_file(name), record)
        row = SlotRow(SlotState.CONFIRMED, version, digest, digest_bytes(record))
        self._commit(SlotTable(0, NAMES[0], version, version, dict.fromkeys(NAMES, row)))
        return self.active()

    def installed(self) -> bool:
        """Say whether there is a model that boots, without changing anything."""
        table = self._load() or self._rebuild()
        return table is not None and any(self._intact(name, row) is not None for name, row in table.slots.items())

    def table(self) -> SlotTable:
        """Return the table as it stands on flash."""
        table = self._load()
        if table is None:
            raise StateError("no intact slot table", where="slots", remedy="call recover() at boot, install_factory() before")
        return table

    def running(self) -> SlotRow:
        """Return the active slot's row by the table alone: version and digest of what flies, without reading its file."""
        table = self.table()
        return table.slots[table.active]

    def active(self) -> SlotContent:
        """Return the slot that flies, its digests checked in this very call."""
        table = self.table()
        return self._content(table.active, table.slots[table.active])

    def staged(self) -> SlotContent:
        """Return the spare that waits for its trial or is in it, checked likewise."""
        table = self.table()
        if table.spare_row.state not in (SlotState.STAGED, SlotState.TRIAL):
            raise StateError(f"nothing is staged: the spare slot is {table.spare_row.state}", where="slots")
        return self._content(table.spare, table.spare_row)

    def stage(self, version: int, weights: bytes, digest: str, *, manifest: bytes = b"") -> SlotContent:
        """Write new weights beside the running model; its graph is the active one's.

        Raises:
            UpdateError: the version does not rise, or the weights are not those of the digest; nothing is touched.
            StateError: a trial is under way, or the flash refuses; the active slot is untouched.
        """
        table = self.table()
        if version <= table.highest_version:
            raise UpdateError(f"version {version} is not above {table.highest_version}", where="slots")
        move(table, Event.ERASE)
        try:
            if digest_tensors(load_weights(weights)) != digest:
                raise UpdateError("weights are not those of the stated digest", where="slots")
        except ModelError as error:
            raise UpdateError(error.what, where="slots") from error
        running = self.active()  # the fallback is given up only while the running model is known to be whole
        record = _pack_slot(version, digest, running.graph, weights, manifest)
        table = self._commit(with_spare(table, SlotRow()))
        self._flash.delete(_file(table.spare))
        self._flash.write_atomic(_file(table.spare), record)
        row = SlotRow(move(table, Event.STAGE), version, digest, digest_bytes(record))
        self._content(table.spare, row)
        self._commit(replace(with_spare(table, row), highest_version=version))
        return self.staged()

    def begin_trial(self) -> SlotContent:
        """Mark the staged slot as being tried, before it is tried, so that a crash of the trial counts against it."""
        table = self.table()
        row = replace(table.spare_row, state=move(table, Event.BEGIN_TRIAL))
        content = self._content(table.spare, row)
        self._commit(with_spare(table, row))
        return content

    def confirm(self) -> SlotContent:
        """Make the tried slot the active one; the one before becomes the fallback."""
        table = self.table()
        row = replace(table.spare_row, state=move(table, Event.CONFIRM))
        self._content(table.spare, row)
        self._commit(replace(with_spare(table, row), active=table.spare, confirmed_version=row.version))
        return self.active()

    def roll_back(self, reason: str) -> SlotContent:
        """Give up the staged or tried slot; with neither, give up the active one for the confirmed spare."""
        table = self.table()
        state = move(table, Event.ROLL_BACK)
        if state is SlotState.FAILED:
            row = replace(table.spare_row, state=state, reason=brief(reason))
            self._commit(with_spare(table, row))
            return self.active()
        self._content(table.spare, table.spare_row)
        given_up = replace(table.slots[table.active], state=SlotState.FAILED, reason=brief(reason))
        slots = table.slots | {table.active: given_up}
        version = table.spare_row.version
        self._commit(replace(table, active=table.spare, confirmed_version=version, slots=slots))
        return self.active()

    def recover(self) -> Recovery:
        """Bring the slots into order at boot; safe to be cut and called again at any point.

        Raises:
            StateError: there is no intact slot that may fly.
        """
        loaded = self._load()
        table = loaded or self._rebuild()
        if table is None:
            raise StateError("no model on flash", where="slots", remedy="install one with install_factory()")
        notes = [] if loaded else ["both copies of the table were lost; it was rebuilt from the slots"]
        contents = {name: self._intact(name, row) for name, row in table.slots.items()}
        settled = settle(table, {name for name, content in contents.items() if content is not None}, notes)
        active = contents[settled.active]
        if active is None:  # settle makes only intact slots active
            raise StateError("the active slot is not intact", where="slots")
        if settled != table or not self._mirrored(table):
            self._commit(settled)
        if settled.spare_row.state is SlotState.EMPTY and self._flash.exists(_file(settled.spare)):
            self._flash.delete(_file(settled.spare))
        row = table.spare_row
        return Recovery(active, tuple(notes), row.version if row.state is SlotState.TRIAL else None)

    def _load(self) -> SlotTable | None:
        copies = [table for table in map(self._copy, TABLE_FILES) if table is not None]
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
        return following

    def _content(self, name: str, row: SlotRow) -> SlotContent:
        data = self._flash.read(_file(name), max_bytes=MAX_RECORD_BYTES)
        if digest_bytes(data) != row.record:
            raise StateError("slot's digest differs from the table's: its content was damaged", where=f"slot {name}")
        return _unpack_slot(name, data)

    def _intact(self, name: str, row: SlotRow) -> SlotContent | None:
        if row.state is SlotState.EMPTY:
            return None
        try:
            return self._content(name, row)
        except StateError:
            return None

    def _rebuild(self) -> SlotTable | None:
        """Return a table from the slots' own records; the lowest version flies (see the theory), others are not trusted."""
        rows: dict[str, SlotRow] = {}
        for name in NAMES:
            try:
                data = self._flash.read(_file(name), max_bytes=MAX_RECORD_BYTES)
                content = _unpack_slot(name, data)
            except StateError:
                continue
            rows[name] = SlotRow(SlotState.CONFIRMED, content.version, content.digest, digest_bytes(data))
        if not rows:
            return None
        active = min(rows, key=lambda name: (rows[name].version, name))
        lowest, highest = rows[active].version, max(row.version for row in rows.values())
        lost = {n: replace(r, state=SlotState.FAILED, reason="table was lost") for n, r in rows.items() if r.version > lowest}
        return SlotTable(0, active, highest, lowest, dict.fromkeys(NAMES, SlotRow()) | rows | lost)


def _file(name: str) -> str:
    return f"slot-{name}"


def _pack_slot(version: int, digest: str, graph: bytes, weights: bytes, manifest: bytes) -> bytes:
    blobs = {"graph": graph, "weights": weights, "manifest": manifest}
    fields = {"version": version, "digest": digest, "blobs": {name: digest_bytes(blob) for name, blob in blobs.items()}}
    record = pack(KIND, 1, fields, blobs)
    if len(record) > MAX_RECORD_BYTES:
        raise StateError(f"a slot of {len(record)} bytes is over the limit of {MAX_RECORD_BYTES}", where="slots")
    return record


def _unpack_slot(name: str, data: bytes) -> SlotContent:
    try:
        record = unpack(data, expect=KIND)
        version, digest, digests = int(record.fields["version"]), str(record.fields["digest"]), dict(record.fields["blobs"])
        blobs = [record.blobs[part] for part in ("graph", "weights", "manifest")]
    except (WireError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"slot is malformed ({error})", where=f"slot {name}") from error
    if any(digests.get(part) != digest_bytes(blob) for part, blob in record.blobs.items()):
        raise StateError("slot's content differs from its own digests", where=f"slot {name}")
    return SlotContent(name, version, digest, *blobs)
