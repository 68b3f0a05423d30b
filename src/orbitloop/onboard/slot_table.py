"""The table of the two slots: what each is worth, what may happen to it, and its bytes. Pure; `slots` does the writing.

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
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orbitloop.errors import StateError
from orbitloop.records.ids import canonical_json, digest_bytes

SCHEMA = "orbitloop.slots/1"
NAMES = ("a", "b")
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


def settle(table: SlotTable, intact: set[str], notes: list[str]) -> SlotTable:
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


def move(table: SlotTable, event: Event) -> SlotState:
    """Return the spare's next state.

    Raises:
        StateError: the event cannot happen in its state.
    """
    state = TRANSITIONS.get((table.spare_row.state, event))
    if state is None:
        raise StateError(f"{event} cannot happen while the spare slot is {table.spare_row.state}", where="slots")
    return state


def with_spare(table: SlotTable, row: SlotRow) -> SlotTable:
    """Return the table with another row for the spare slot."""
    return replace(table, slots=table.slots | {table.spare: row})


def brief(reason: str) -> str:
    """Return a reason that a table can hold: bounded, and UTF-8 whatever was in it."""
    return reason.encode("utf-8", "replace").decode()[:MAX_REASON_CHARACTERS]


def write_table(table: SlotTable) -> bytes:
    """Return one copy: the digest of the body, a line feed, the body in canonical JSON."""
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


def parse_table(data: bytes) -> SlotTable:
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
