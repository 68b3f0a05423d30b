"""What an endpoint tells its owner, and the limits that the owner sets it."""

from __future__ import annotations

from dataclasses import dataclass

from orbitloop.errors import LinkError
from orbitloop.link.pdu import MAX_PDU_BYTES, MIN_PDU_BYTES


@dataclass(frozen=True, slots=True)
class Received:
    """An item is here, whole, and its SHA-256 is right. Comes once per item; `item_id` is 32 hex digits."""

    item_id: str
    kind: str
    payload: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """New bytes of an item came in."""

    item_id: str
    received_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The other end has said that it holds the whole item; it has left the queue."""

    item_id: str
    kind: str
    key: str | None


Event = Received | Progress | Acknowledged


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an endpoint lets the other end make it hold.

    `max_pdu_bytes` is the size of its own PDUs, header and CRC included. `max_held_bytes` bounds the partial items together.
    `max_remembered` completed items are remembered, so that a late duplicate is not delivered again.
    """

    max_pdu_bytes: int = 2048
    max_item_bytes: int = 64 << 20
    max_held_bytes: int = 128 << 20
    max_partial_items: int = 4096
    max_remembered: int = 4096

    def __post_init__(self) -> None:
        if not MIN_PDU_BYTES <= self.max_pdu_bytes <= MAX_PDU_BYTES:
            raise LinkError(f"max_pdu_bytes is {self.max_pdu_bytes}", remedy=f"use {MIN_PDU_BYTES} to {MAX_PDU_BYTES}")
        if self.max_held_bytes < self.max_item_bytes:
            raise LinkError("max_held_bytes is less than max_item_bytes: the largest item could never complete")
        if self.max_partial_items < 1 or self.max_remembered < 1:
            raise LinkError("max_partial_items and max_remembered must be at least 1")
