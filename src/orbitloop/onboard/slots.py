"""Two model slots, so that there is always one to fly: stage beside the running model, try, confirm or go back.

Theory. Each slot is one file (graph, weights, their digests, the manifest that brought them) and one row of a small table. One
slot is active; the other is the spare, and every event happens to the spare:

    spare       erase    stage    begin_trial  confirm        roll_back     reboot   damage
    EMPTY       EMPTY    STAGED   -            -              -             =        EMPTY
    STAGED      EMPTY    -        TRIAL        -              FAILED        =        EMPTY
    TRIAL       -        -        -            CONFIRMED (*)  FAILED        FAILED   EMPTY
    CONFIRMED   EMPTY    -        -            -              CONFIRMED (*) =        EMPTY
    FAILED      EMPTY    -        -            -              -             =        EMPTY

(*) spare and active change places; by `roll_back` the one that was active becomes FAILED. `-` is a StateError.

Three invariants make every cut harmless. (1) The active slot is CONFIRMED, and its file is never written while it is active.
(2) The table changes in one atomic write, before a file that it no longer needs goes, and after a file that it will need is
there and read back. (3) Every slot's digest stands in the table, so that a file that is torn, flipped or another's is seen.

The table is kept twice, `table-0` then `table-1`, each with its own digest; the higher sequence that is intact counts. Should
both be lost, the older of two intact slots boots: a slot is only ever written beside a confirmed one with a lower version.

A version number is spent once staged; `highest_version` only rises, so that nothing rolled back or superseded comes again.

It leaves to `updates` whom to believe, and to the agent when to try. It keeps nothing in memory between calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orbitloop.errors import ModelError, StateError, UpdateError, WireError
from orbitloop.onboard.flash import Flash
from orbitloop.onboard.weights import load_weights
from orbitloop.records.ids import canonical_json, digest_bytes, digest_tensors
from orbitloop.records.wire import MAX_RECORD_BYTES, pack, unpack

SCHEMA = "orbitloop.slots/1"
KIND = "slot"
NAMES = ("a", "b")
TABLE_FILES = ("table-0", "table-1")
MAX_TABLE_BYTES = 1 << 16
MAX_REASON_CHARACTERS = 300


class SlotState(StrEnum):
    """What a slot's content is worth."""

    EMPTY = "empty"
    """Nothing to rely on: never written, being written, erased, or damaged."""
    STAGED = "staged"
    """Whole and verified, not yet tried."""
    TRIAL = "trial"
    """Being tried on the canary; the active slot goes on detecting. A reboot in this state counts as a failure."""
    CONFIRMED = "confirmed"
    """May fly."""
    FAILED = "failed"
    """Tried and found worse or broken; kept until the next update needs the space."""


class Event(StrEnum):
    """What may happen to the spare slot."""

    ERASE = "erase"
    STAGE = "stage"
    BEGIN_TRIAL = "begin_trial"
    CONFIRM = "confirm"
    ROLL_BACK = "roll_back"


_S, _E = SlotState, Event
TRANSITIONS: Mapping[tuple[SlotState, Event], SlotState] = {
    (_S.EMPTY, _E.ERASE): _S.EMPTY,
    (_S.STAGED, _E.ERASE): _S.EMPTY,
    (_S.CONFIRMED, _E.ERASE): _S.EMPTY,
    (_S.FAILED, _E.ERASE): _S.EMPTY,
    (_S.EMPTY, _E.STAGE): _S.STAGED,
    (_S.STAGED, _E.BEGIN_TRIAL): _S.TRIAL,
    (_S.TRIAL, _E.CONFIRM): _S.CONFIRMED,
    (_S.STAGED, _E.ROLL_BACK): _S.FAILED,
    (_S.TRIAL, _E.ROLL_BACK): _S.FAILED,
    (_S.CONFIRMED, _E.ROLL_BACK): _S.CONFIRMED,
}


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One slot in the table. `digest` names the weights (tensors), `record` the bytes of the slot's file."""

    state: SlotState = SlotState.EMPTY
    version: int = 0
    digest: str = ""
    record: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SlotTable:
    """All that is known of the slots: what a beacon and a report are made of."""

    sequence: int
    active: str
    highest_version: int
    confirmed_version: int
    slots: dict[str, SlotRow]

    @property
    def spare(self) -> str:
        return NAMES[1 - NAMES.index(self.active)]

    @property
    def spare_row(self) -> SlotRow:
        return self.slots[self.spare]


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
        _move(table, Event.ERASE)
        try:
            if digest_tensors(load_weights(weights)) != digest:
                raise UpdateError("weights are not those of the stated digest", where="slots")
        except ModelError as error:
            raise UpdateError(error.what, where="slots") from error
        running = self.active()  # the fallback is given up only while the running model is known to be whole
        record = _pack_slot(version, digest, running.graph, weights, manifest)
        table = self._commit(_with_spare(table, SlotRow()))
        self._flash.delete(_file(table.spare))
        self._flash.write_atomic(_file(table.spare), record)
        row = SlotRow(_move(table, Event.STAGE), version, digest, digest_bytes(record))
        self._content(table.spare, row)
        self._commit(replace(_with_spare(table, row), highest_version=version))
        return self.staged()

    def begin_trial(self) -> SlotContent:
        """Mark the staged slot as being tried, before it is tried, so that a crash of the trial counts against it."""
        table = self.table()
        row = replace(table.spare_row, state=_move(table, Event.BEGIN_TRIAL))
        content = self._content(table.spare, row)
        self._commit(_with_spare(table, row))
        return content

    def confirm(self) -> SlotContent:
        """Make the tried slot the active one; the one before becomes the fallback."""
        table = self.table()
        row = replace(table.spare_row, state=_move(table, Event.CONFIRM))
        self._content(table.spare, row)
        self._commit(replace(_with_spare(table, row), active=table.spare, confirmed_version=row.version))
        return self.active()

    def roll_back(self, reason: str) -> SlotContent:
        """Give up the staged or tried slot; with neither, give up the active one for the confirmed spare."""
        table = self.table()
        state = _move(table, Event.ROLL_BACK)
        if state is SlotState.FAILED:
            row = replace(table.spare_row, state=state, reason=_brief(reason))
            self._commit(_with_spare(table, row))
            return self.active()
        self._content(table.spare, table.spare_row)
        given_up = replace(table.slots[table.active], state=SlotState.FAILED, reason=_brief(reason))
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
        settled = _settle(table, {name for name, content in contents.items() if content is not None}, notes)
        active = contents[settled.active]
        if active is None:  # _settle makes only intact slots active
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
            return _parse_table(self._flash.read(name, max_bytes=MAX_TABLE_BYTES))
        except StateError:
            return None

    def _mirrored(self, table: SlotTable) -> bool:
        return all(self._copy(name) == table for name in TABLE_FILES)

    def _commit(self, table: SlotTable) -> SlotTable:
        """Write the next table. The first copy is the commit; the second only guards it against flipped bits."""
        following = replace(table, sequence=table.sequence + 1)
        data = _write_table(following)
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


def _settle(table: SlotTable, intact: set[str], notes: list[str]) -> SlotTable:
    """Return the table as a boot must leave it; pure but for `notes`."""
    slots = dict(table.slots)
    for name, row in table.slots.items():
        if row.state is not SlotState.EMPTY and name not in intact:
            slots[name] = SlotRow(reason=f"content of version {row.version} was damaged")
            notes.append(f"slot {name}: {slots[name].reason}")
        elif row.state is SlotState.TRIAL:
            slots[name] = replace(row, state=SlotState.FAILED, reason="trial was interrupted by a reboot")
            notes.append(f"slot {name}: {slots[name].reason}")
    if slots[table.active].state is SlotState.CONFIRMED:
        return replace(table, slots=slots)
    spare = slots[table.spare]
    if spare.state not in (SlotState.CONFIRMED, SlotState.STAGED):
        raise StateError(
            f"no intact slot may fly: the active one is damaged and the other is {spare.state}",
            where="slots",
            remedy="install a full model with install_factory() on an emptied flash",
        )
    notes.append(f"slot {table.active} cannot fly, {table.spare} takes over ({spare.state})")
    # A staged model is signed, gated and whole, and lacks only its canary: better than no model, and the last resort.
    slots[table.spare] = replace(spare, state=SlotState.CONFIRMED)
    return replace(table, active=table.spare, confirmed_version=spare.version, slots=slots)


def _move(table: SlotTable, event: Event) -> SlotState:
    """Return the spare's next state.

    Raises:
        StateError: the event cannot happen in its state.
    """
    state = TRANSITIONS.get((table.spare_row.state, event))
    if state is None:
        raise StateError(f"{event} cannot happen while the spare slot is {table.spare_row.state}", where="slots")
    return state


def _with_spare(table: SlotTable, row: SlotRow) -> SlotTable:
    return replace(table, slots=table.slots | {table.spare: row})


def _file(name: str) -> str:
    return f"slot-{name}"


def _brief(reason: str) -> str:
    return reason.encode("utf-8", "replace").decode()[:MAX_REASON_CHARACTERS]


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


def _write_table(table: SlotTable) -> bytes:
    body = canonical_json(
        {
            "schema": SCHEMA,
            "sequence": table.sequence,
            "active": table.active,
            "highest_version": table.highest_version,
            "confirmed_version": table.confirmed_version,
            "slots": {n: {k: getattr(row, k) for k in SlotRow.__slots__} for n, row in table.slots.items()},
        }
    )
    return digest_bytes(body).encode() + b"\n" + body


def _parse_table(data: bytes) -> SlotTable:
    """Read one copy.

    Raises:
        StateError: damaged or malformed.
    """
    digest, _, body = data.partition(b"\n")
    if digest != digest_bytes(body).encode():
        raise StateError("slot table is damaged", where="slots")
    try:
        value: Any = json.loads(body)
        if value["schema"] != SCHEMA or value["active"] not in NAMES or set(value["slots"]) != set(NAMES):
            raise StateError(f"slot table is not {SCHEMA}", where="slots")
        rows = {
            name: SlotRow(
                SlotState(row["state"]), int(row["version"]), str(row["digest"]), str(row["record"]), str(row["reason"])
            )
            for name, row in value["slots"].items()
        }
        versions = int(value["highest_version"]), int(value["confirmed_version"])
        return SlotTable(int(value["sequence"]), str(value["active"]), *versions, rows)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise StateError(f"slot table is malformed ({error})", where="slots") from error
