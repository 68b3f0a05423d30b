"""The table of the slots: what each model is worth, what may happen to it, and its bytes. Pure; `slots` does the writing.

Theory. A slot is one file (graph, weights, their digests, the manifest that brought them) and one row of a small table. One
model is active; of the two slots the other one is the spare. Beside them lies the golden model, the one of the launch, which
is never written again. An event happens to the spare or to the active slot, as the state says:

    state      where   erase  stage   begin_trial  accept         confirm    roll_back   boot                damage
    EMPTY      spare   EMPTY  STAGED  -            -              -          -           =                   -
    STAGED     spare   EMPTY  -       TRIAL        -              -          FAILED      =                   EMPTY
    TRIAL      spare   -      -       -            PROBATION (+)  -          FAILED      FAILED              EMPTY
    PROBATION  active  -      -       -            -              CONFIRMED  FAILED (-)  = or FAILED (-)(!)  EMPTY (-)
    CONFIRMED  active  -      -       -            -              -          FAILED (-)  =                   EMPTY (-)
    CONFIRMED  spare   EMPTY  -       -            -              -          (active's)  =                   EMPTY
    FAILED     spare   EMPTY  -       -            -              -          -           =                   -

`-` is a StateError. (+) The tried slot becomes the active one; the one before stays beside it, CONFIRMED. (-) The fallback
flies: the spare if it is CONFIRMED, else the golden model; where there is neither, nothing is given up. (!) After more boots on
probation than are allowed without a sign of health. A staged model flies untried only where nothing else is left.

While the active slot is on probation nothing is staged: its fallback would be erased. When the golden model takes over it is
copied into a slot that counts for nothing, and flies from there, CONFIRMED: so there are two of it again. Should the flash not
take the copy, it flies from its own file, and staging erases both slots.

Four invariants make every cut harmless. (1) Where the active slot is PROBATION, its fallback is untouched; where it is
CONFIRMED or golden, its own file is. (2) The table changes in one atomic write, before a file that it no longer needs goes, and
after a file that it will need is there and read back. (3) Every model's digest stands in the table, so that a file that is
torn, flipped or another's is seen. (4) Of two slots whose files are there, the one with the lower version was CONFIRMED when
the other was written, and is what flies should the table be lost; a slot that is alone may be unproven, and then the golden
model flies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orbitloop.errors import StateError
from orbitloop.records.ids import canonical_json, digest_bytes

SCHEMA = "orbitloop.slots/2"
FIRST_SCHEMA = "orbitloop.slots/1"
"""Before probation and the golden model; read, never written."""
NAMES = ("a", "b")
GOLDEN = "golden"
MAX_REASON_CHARACTERS = 300


class SlotState(StrEnum):
    """What a slot's content is worth."""

    EMPTY = "empty"
    """Nothing to rely on: never written, being written, erased, or damaged."""
    STAGED = "staged"
    """Whole and verified, not yet tried."""
    TRIAL = "trial"
    """Being tried on the canary; the active slot goes on detecting. A reboot in this state counts as a failure."""
    PROBATION = "probation"
    """Passed its canary and flies; the one before waits beside it until a contact confirms."""
    CONFIRMED = "confirmed"
    """May fly."""
    FAILED = "failed"
    """Given up for the reason that is kept; its content counts for nothing and is erased."""


class Event(StrEnum):
    """What may happen to a slot."""

    ERASE = "erase"
    STAGE = "stage"
    BEGIN_TRIAL = "begin_trial"
    ACCEPT = "accept"
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
    (_S.TRIAL, _E.ACCEPT): _S.PROBATION,
    (_S.PROBATION, _E.CONFIRM): _S.CONFIRMED,
    (_S.STAGED, _E.ROLL_BACK): _S.FAILED,
    (_S.TRIAL, _E.ROLL_BACK): _S.FAILED,
    (_S.PROBATION, _E.ROLL_BACK): _S.FAILED,
    (_S.CONFIRMED, _E.ROLL_BACK): _S.FAILED,
}
WAITING = (_S.STAGED, _S.TRIAL)
FLYING = (_S.PROBATION, _S.CONFIRMED)


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
    """All that is known of the slots: what a beacon and a report are made of.

    `active` is a slot or `golden`; `golden` is EMPTY for satellites from before there was one; `boots` counts the boots of a
    model on probation since its last sign of health.
    """

    sequence: int
    active: str
    highest_version: int
    confirmed_version: int
    slots: dict[str, SlotRow]
    golden: SlotRow = SlotRow()
    boots: int = 0

    @property
    def rows(self) -> dict[str, SlotRow]:
        """Every row by name, the golden model's with them."""
        return self.slots | {GOLDEN: self.golden}

    @property
    def active_row(self) -> SlotRow:
        return self.rows[self.active]

    @property
    def spare(self) -> str:
        """The slot that an update goes to; while the golden model flies, the one that has news, or `a`."""
        if self.active != GOLDEN:
            return NAMES[1 - NAMES.index(self.active)]
        return max(NAMES, key=lambda n: (self.slots[n].state in WAITING, self.slots[n].version))

    @property
    def spare_row(self) -> SlotRow:
        return self.slots[self.spare]

    @property
    def fallback(self) -> str | None:
        """What flies when the active one is given up, by the table alone; None where there is nothing."""
        if self.active != GOLDEN and self.spare_row.state is SlotState.CONFIRMED:
            return self.spare
        return GOLDEN if self.active != GOLDEN and self.golden.state is SlotState.CONFIRMED else None


def subject(table: SlotTable, event: Event) -> str:
    """Return the slot to which an event happens."""
    at_active = event is Event.CONFIRM or (event is Event.ROLL_BACK and table.spare_row.state not in WAITING)
    return table.active if at_active else table.spare


def move(table: SlotTable, event: Event) -> SlotState:
    """Return the next state of the event's slot.

    Raises:
        StateError: the event cannot happen in its state.
    """
    name = subject(table, event)
    now = table.rows[name].state
    after = TRANSITIONS.get((now, event))
    if after is None or name == GOLDEN:
        raise StateError(f"{event} cannot happen while slot {name} is {now}", where="slots")
    return after


def with_row(table: SlotTable, name: str, row: SlotRow) -> SlotTable:
    """Return the table with another row for one slot."""
    return replace(table, slots=table.slots | {name: row})


def erased(table: SlotTable) -> SlotTable:
    """Return the table with room for an update: the spare empty, or both slots while the golden model flies."""
    move(table, Event.ERASE)
    slots = dict.fromkeys(NAMES if table.active == GOLDEN else (table.spare,), SlotRow())
    return replace(table, slots=table.slots | slots)


def accepted(table: SlotTable) -> SlotTable:
    """Return the table with the tried slot flying on probation."""
    row = replace(table.spare_row, state=move(table, Event.ACCEPT))
    return replace(with_row(table, table.spare, row), active=table.spare, boots=0)


def confirmed(table: SlotTable) -> SlotTable:
    """Return the table with the active slot off probation."""
    row = replace(table.active_row, state=move(table, Event.CONFIRM))
    return replace(with_row(table, table.active, row), confirmed_version=row.version, boots=0)


def given_up(table: SlotTable, fallback: str, reason: str) -> SlotTable:
    """Return the table with the active slot failed and its fallback flying."""
    row = replace(table.active_row, state=SlotState.FAILED, reason=brief(reason))
    version = table.rows[fallback].version
    return replace(with_row(table, table.active, row), active=fallback, confirmed_version=version, boots=0)


def settle(table: SlotTable, intact: set[str], notes: list[str], *, max_boots: int) -> SlotTable:
    """Return the table as a boot must leave it; pure but for `notes`.

    Raises:
        StateError: nothing that is intact may fly.
    """
    found = table
    for name, row in table.slots.items():
        after = _at_boot(row, name in intact, looping=table.boots > max_boots, boots=table.boots)
        if after != row:
            found = with_row(found, name, after)
            notes.append(f"slot {name}: {after.reason}")
    if table.golden.state is SlotState.CONFIRMED and GOLDEN not in intact:
        notes.append("the golden model is damaged")
    if found.active_row.state in FLYING and (found.active != GOLDEN or GOLDEN in intact):
        return found
    if found.fallback and (found.fallback != GOLDEN or GOLDEN in intact):
        after_row, heir = found.active_row, found.fallback
    elif table.active in intact and table.active_row.state is SlotState.PROBATION:
        notes.append("it flies on: there is nothing to go back to")
        return with_row(found, table.active, table.active_row)
    elif found.spare_row.state is SlotState.STAGED:
        # A staged model is signed, gated and whole, and lacks only its canary: better than no model, and the last resort.
        found = with_row(found, found.spare, replace(found.spare_row, state=SlotState.CONFIRMED))
        after_row, heir = found.active_row, found.spare
    else:
        raise StateError(
            f"no intact slot may fly: {found.active} is damaged, {found.spare} is {found.spare_row.state}, nor is golden whole",
            where="slots",
            remedy="install a full model with install_factory() on an emptied flash",
        )
    notes.append(f"{found.active} cannot fly ({after_row.state}), {heir} takes over ({found.rows[heir].state})")
    return replace(found, active=heir, confirmed_version=found.rows[heir].version, boots=0)


def _at_boot(row: SlotRow, intact: bool, *, looping: bool, boots: int) -> SlotRow:
    if row.state in (SlotState.EMPTY, SlotState.FAILED):
        return row
    if not intact:
        return SlotRow(reason=f"content of version {row.version} was damaged")
    if row.state is SlotState.TRIAL:
        return replace(row, state=SlotState.FAILED, reason="trial was interrupted by a reboot")
    if row.state is SlotState.PROBATION and looping:
        return replace(row, state=SlotState.FAILED, reason=f"crash loop: {boots} boots on probation without a sign of health")
    return row


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
            "boots": table.boots,
            "golden": _row_json(table.golden),
            "slots": {name: _row_json(row) for name, row in table.slots.items()},
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
        if value["schema"] not in (SCHEMA, FIRST_SCHEMA):
            raise StateError(
                f"slot table is {value['schema']}, and this software reads {SCHEMA}",
                where="slots",
                remedy="go back to the software that wrote it, or call recover(), which builds a table from the slots",
            )
        if value["schema"] == FIRST_SCHEMA:
            value |= {"boots": 0, "golden": _row_json(SlotRow())}
        rows, golden = {name: _row(row) for name, row in value["slots"].items()}, _row(value["golden"])
        table = SlotTable(
            int(value["sequence"]),
            str(value["active"]),
            int(value["highest_version"]),
            int(value["confirmed_version"]),
            rows,
            golden,
            int(value["boots"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise StateError(f"slot table is malformed ({error})", where="slots") from error
    if set(rows) != set(NAMES) or table.active not in table.rows:
        raise StateError(f"slot table is not about {', '.join(NAMES)}", where="slots")
    return table


def _row_json(row: SlotRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in SlotRow.__slots__}


def _row(value: Any) -> SlotRow:
    texts = (str(value[name]) for name in ("digest", "record", "reason"))
    return SlotRow(SlotState(value["state"]), int(value["version"]), *texts)
