"""What comes in: partial items, the ranges received of each, and the memory of what was delivered.

Leaves to others: PDUs as bytes, the report's paging and the wire (`session`). An item passes through

    (unknown) -> partial -> delivered, unconfirmed -> delivered -> (forgotten, oldest first)

An announce or any piece of data makes it partial; data may come first. When all bytes and the announce are in, and the
SHA-256 is right, it is delivered, once; with a wrong one its bytes are dropped and it starts again. A close by the sender
drops a partial item, and turns "unconfirmed" (reported in each window) into plain memory that only catches duplicates.

Bytes that come from outside must not fill the memory: what is beyond the limits is refused or pushes out the least urgent
partial item; the sender hears that in the next report and sends again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from orbitloop.link.events import Event, Limits, Progress, Received
from orbitloop.link.extents import Extents
from orbitloop.link.pdu import ID_BYTES, Announce, FileData

_UNANNOUNCED_PRIORITY = 256  # less urgent than anything announced


@dataclass(slots=True)
class IncomingItem:
    """One partial item. `sha256` and `kind` are unknown until its announce is in."""

    total_bytes: int
    sha256: bytes | None = None
    kind: str = ""
    priority: int = _UNANNOUNCED_PRIORITY
    received: Extents = field(default_factory=Extents)
    buffer: bytearray = field(default_factory=bytearray)
    unsaved: bool = True

    def write(self, offset: int, data: bytes) -> int:
        """Store a piece; return how many of its bytes are new."""
        if offset > len(self.buffer):
            self.buffer.extend(bytes(offset - len(self.buffer)))
        self.buffer[offset : offset + len(data)] = data
        self.unsaved = True
        return self.received.add(offset, offset + len(data))

    def restart(self, total_bytes: int) -> None:
        """Forget the bytes."""
        self.total_bytes = total_bytes
        self.received = Extents()
        self.buffer = bytearray()
        self.unsaved = True


class Inbox:
    """All that an endpoint is receiving or has received."""

    def __init__(self, blobs: MutableMapping[str, bytes], limits: Limits) -> None:
        self._blobs = blobs
        self._limits = limits
        self._partial: dict[bytes, IncomingItem] = {}
        self._delivered: dict[bytes, bool] = {}  # id -> confirmed by the sender
        self._touched: dict[bytes, None] = {}
        self._held_bytes = 0
        self.refused = 0
        self.corrupt = 0

    def announce(self, pdu: Announce, now_s: float) -> list[Event]:
        """Take an announce; an item without bytes, or whose bytes are all here, is delivered by it."""
        item_id = pdu.item_id
        if item_id in self._delivered:
            self._touched[item_id] = None
            return []
        item = self._admit(item_id, pdu.total_bytes, pdu.priority)
        if item is None:
            return []
        self._touched[item_id] = None
        if item.total_bytes != pdu.total_bytes:
            if item.sha256 is not None:
                self.refused += 1
                return []
            self._held_bytes -= len(item.buffer)
            item.restart(pdu.total_bytes)  # the announce knows better than a piece that came before it
        item.sha256, item.kind, item.priority = pdu.sha256, pdu.kind, pdu.priority
        return self._try_deliver(item_id, item, now_s)

    def data(self, pdu: FileData, now_s: float) -> list[Event]:
        """Take a piece of data; the piece that completes an item delivers it."""
        item_id = pdu.item_id
        if item_id in self._delivered:
            self._touched[item_id] = None
            return []
        item = self._partial.get(item_id) or self._admit(item_id, pdu.total_bytes, _UNANNOUNCED_PRIORITY)
        if item is None:
            return []
        self._touched[item_id] = None
        grow = max(0, pdu.offset + len(pdu.data) - len(item.buffer))
        if item.total_bytes != pdu.total_bytes or not self._make_room(grow, item_id):
            self.refused += 1
            return []
        self._held_bytes += grow
        if not item.write(pdu.offset, pdu.data):
            return []
        progress = Progress(item_id.hex(), item.received.total_bytes, item.total_bytes)
        return [progress, *self._try_deliver(item_id, item, now_s)]

    def close(self, item_ids: Iterable[bytes]) -> None:
        """Forget partial items that the sender holds no more; stop reporting the delivered ones."""
        for item_id in item_ids:
            if item_id in self._delivered:
                self._delivered[item_id] = True
                self._touched.pop(item_id, None)
            elif item_id in self._partial:
                self._drop(item_id)
        self._forget_old()

    def touch_all(self) -> None:
        """Mark all that the next report must speak of at the start of a window."""
        self._touched.update(dict.fromkeys(self._partial))
        self._touched.update(dict.fromkeys(i for i, confirmed in self._delivered.items() if not confirmed))

    def touched(self) -> list[bytes]:
        """Return what the next report speaks of."""
        return list(self._touched)

    def reported(self, item_id: bytes) -> None:
        """Note that the report speaks of the item."""
        self._touched.pop(item_id, None)

    def state_of(self, item_id: bytes) -> IncomingItem | None:
        """Return the partial item, or None when it is delivered."""
        return self._partial.get(item_id)

    def partial_bytes(self) -> int:
        """Return the bytes received of items that are not whole yet."""
        return sum(item.received.total_bytes for item in self._partial.values())

    def to_json(self) -> dict[str, Any]:
        """Return the state; the partial bytes go to the blobs."""
        for item_id, item in self._partial.items():
            if item.unsaved:
                self._blobs[blob_name(item_id)] = bytes(item.buffer)
                item.unsaved = False
        return {
            "partial": [_partial_to_json(item_id, item) for item_id, item in self._partial.items()],
            "delivered": [[item_id.hex(), confirmed] for item_id, confirmed in self._delivered.items()],
            "touched": [item_id.hex() for item_id in self._touched],
            "refused": self.refused,
            "corrupt": self.corrupt,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], blobs: MutableMapping[str, bytes], limits: Limits) -> Inbox:
        """Read what `to_json` wrote. Bytes that the blobs do not hold any more are asked for again.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed (the caller re-raises as StateError).
        """
        inbox = cls(blobs, limits)
        for row in value["partial"]:
            item_id = _read_id(row["item_id"])
            item = _partial_from_json(row, blobs.get(blob_name(item_id), b""))
            inbox._partial[item_id] = item
            inbox._held_bytes += len(item.buffer)
        inbox._delivered = {_read_id(text): bool(confirmed) for text, confirmed in value["delivered"]}
        inbox._touched = {_read_id(text): None for text in value["touched"]}
        inbox.refused, inbox.corrupt = int(value["refused"]), int(value["corrupt"])
        return inbox

    def _admit(self, item_id: bytes, total_bytes: int, priority: int) -> IncomingItem | None:
        """Return the partial item, made if it is new; None if the limits refuse it."""
        if total_bytes > self._limits.max_item_bytes:
            self.refused += 1
            return None
        known = self._partial.get(item_id)
        if known is not None:
            return known
        if len(self._partial) >= self._limits.max_partial_items:
            victim = self._least_urgent()
            if victim is None or self._partial[victim].priority < priority:
                self.refused += 1
                return None
            self._drop(victim)
        item = IncomingItem(total_bytes)
        self._partial[item_id] = item
        return item

    def _make_room(self, grow_bytes: int, keep: bytes) -> bool:
        while self._held_bytes + grow_bytes > self._limits.max_held_bytes:
            victim = self._least_urgent(keep)
            if victim is None or self._partial[victim].priority < self._partial[keep].priority:
                return False
            self._drop(victim)
        return True

    def _least_urgent(self, keep: bytes | None = None) -> bytes | None:
        """Return the partial item of the lowest class that began last: it has the most still to come."""
        worst: tuple[int, int] | None = None
        found = None
        for index, (item_id, item) in enumerate(self._partial.items()):
            if item_id != keep and (worst is None or (item.priority, index) > worst):
                worst, found = (item.priority, index), item_id
        return found

    def _try_deliver(self, item_id: bytes, item: IncomingItem, now_s: float) -> list[Event]:
        if item.sha256 is None or not item.received.is_complete(item.total_bytes):
            return []
        payload = bytes(item.buffer)
        if hashlib.sha256(payload).digest() != item.sha256:
            self.corrupt += 1
            self._held_bytes -= len(item.buffer)
            item.restart(item.total_bytes)
            return []
        self._drop(item_id)
        self._delivered[item_id] = False
        self._touched[item_id] = None
        self._forget_old()
        return [Received(item_id.hex(), item.kind, payload, now_s)]

    def _drop(self, item_id: bytes) -> None:
        item = self._partial.pop(item_id)
        self._held_bytes -= len(item.buffer)
        self._touched.pop(item_id, None)
        self._blobs.pop(blob_name(item_id), None)

    def _forget_old(self) -> None:
        """Keep the memory of delivered items within its limit; what the sender has confirmed goes first, then the oldest."""
        excess = len(self._delivered) - self._limits.max_remembered
        if excess <= 0:
            return
        confirmed = (item_id for item_id, done in self._delivered.items() if done)
        for item_id in _up_to(excess, confirmed, iter(self._delivered)):
            del self._delivered[item_id]
            self._touched.pop(item_id, None)


def blob_name(item_id: bytes) -> str:
    """Return the name under which a partial item's bytes are kept."""
    return f"in-{item_id.hex()}"


def _up_to(count: int, *sources: Iterator[bytes]) -> list[bytes]:
    """Return the first `count` distinct ids of the sources, in order."""
    found: dict[bytes, None] = {}
    for source in sources:
        for item_id in source:
            if len(found) == count:
                return list(found)
            found[item_id] = None
    return list(found)


def _partial_to_json(item_id: bytes, item: IncomingItem) -> dict[str, Any]:
    return {
        "item_id": item_id.hex(),
        "total_bytes": item.total_bytes,
        "sha256": item.sha256.hex() if item.sha256 is not None else None,
        "kind": item.kind,
        "priority": item.priority,
        "received": item.received.to_json(),
    }


def _partial_from_json(row: dict[str, Any], saved: bytes) -> IncomingItem:
    sha256 = bytes.fromhex(row["sha256"]) if row["sha256"] is not None else None
    item = IncomingItem(int(row["total_bytes"]), sha256, str(row["kind"]), int(row["priority"]))
    # A power cut may have left the blob older than the state: what it does not reach was not kept.
    item.received = Extents.from_json(row["received"]).within(0, len(saved))
    item.buffer = bytearray(saved)
    item.unsaved = False
    if item.received.end > item.total_bytes:
        raise ValueError("received ranges lie beyond the item")
    return item


def _read_id(text: str) -> bytes:
    item_id = bytes.fromhex(text)
    if len(item_id) != ID_BYTES:
        raise ValueError(f"item id {text!r} has not {ID_BYTES} bytes")
    return item_id
