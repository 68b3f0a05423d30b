"""What waits to go out, in which order, and the account of it.

Leaves to others: the payloads (a blob mapping that the endpoint holds) and the PDUs (`session`).

Order: priority class (0 first), then value (high first), then age (old first). The order holds from PDU to PDU, so that a
beacon that is offered in mid-file goes out before the file's next piece. A keyed item replaces the older one of its (kind,
key): what is overtaken is not worth its airtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from orbitloop.link.extents import Extents
from orbitloop.link.pdu import ID_BYTES


@dataclass(slots=True)
class OutgoingItem:
    """One queued item. `todo` is what is to be sent, as far as we know; `sent_end` the end of what was ever sent.

    `asked` is the number of reports that had come in when we last sent any of it (-1: in an earlier window). Once everything is
    sent, a later report that does not speak of the item means that the other end may know nothing of it, and we ask.
    """

    sha256: bytes
    kind: str
    key: str | None
    priority: int
    value: float
    size_bytes: int
    created_s: float
    expires_s: float | None
    serial: int
    todo: Extents = field(default_factory=Extents)
    announce_due: bool = True
    sent_end: int = 0
    asked: int = -1

    @property
    def item_id(self) -> bytes:
        return self.sha256[:ID_BYTES]

    @property
    def order(self) -> tuple[int, float, float, int]:
        return (self.priority, -self.value, self.created_s, self.serial)

    @property
    def has_work(self) -> bool:
        return self.announce_due or len(self.todo) > 0

    def to_json(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("sha256", "todo")}
        return plain | {"sha256": self.sha256.hex(), "todo": self.todo.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> OutgoingItem:
        sha256, todo, size_bytes = bytes.fromhex(value["sha256"]), Extents.from_json(value["todo"]), int(value["size_bytes"])
        if len(sha256) != 32 or not todo.end <= size_bytes:
            raise ValueError("a queued item has a digest of 32 bytes and nothing to send beyond its end")
        return cls(
            sha256=sha256,
            kind=str(value["kind"]),
            key=None if value["key"] is None else str(value["key"]),
            priority=int(value["priority"]),
            value=float(value["value"]),
            size_bytes=size_bytes,
            created_s=float(value["created_s"]),
            expires_s=None if value["expires_s"] is None else float(value["expires_s"]),
            serial=int(value["serial"]),
            todo=todo,
            announce_due=bool(value["announce_due"]),
            sent_end=int(value["sent_end"]),
            asked=int(value["asked"]),
        )


@dataclass(slots=True)
class KindAccount:
    """What became of one kind's items. `wire_bytes` counts announce and data PDUs whole; `resent_bytes` data sent again."""

    offered_items: int = 0
    offered_bytes: int = 0
    wire_bytes: int = 0
    resent_bytes: int = 0
    delivered_items: int = 0
    delivered_bytes: int = 0
    withdrawn_items: int = 0
    expired_items: int = 0

    def to_json(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


class SendQueue:
    """Items by id, their order, and accounts by kind."""

    def __init__(self) -> None:
        self._items: dict[bytes, OutgoingItem] = {}
        self._by_key: dict[tuple[str, str], bytes] = {}
        self._serial = 0
        self.accounts: dict[str, KindAccount] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[OutgoingItem]:
        return iter(self._items.values())

    def get(self, item_id: bytes) -> OutgoingItem | None:
        return self._items.get(item_id)

    def account(self, kind: str) -> KindAccount:
        return self.accounts.setdefault(kind, KindAccount())

    def add(self, item: OutgoingItem) -> None:
        """Queue a new item (its id must not be queued)."""
        item_id = item.item_id
        self._serial += 1
        item.serial = self._serial
        item.todo.add(0, item.size_bytes)
        self._items[item_id] = item
        if item.key is not None:
            self._by_key[item.kind, item.key] = item_id
        account = self.account(item.kind)
        account.offered_items += 1
        account.offered_bytes += item.size_bytes

    def replace(self, kind: str, key: str) -> OutgoingItem | None:
        """Withdraw the queued item of this (kind, key), if there is one, and return it."""
        item_id = self._by_key.get((kind, key))
        if item_id is None:
            return None
        self.account(kind).withdrawn_items += 1
        return self._remove(item_id)

    def acknowledge(self, item_id: bytes) -> OutgoingItem:
        """Take out an item that the other end holds."""
        item = self._remove(item_id)
        account = self.account(item.kind)
        account.delivered_items += 1
        account.delivered_bytes += item.size_bytes
        return item

    def lose(self, item_id: bytes) -> None:
        """Take out an item whose payload is gone."""
        self.account(self._remove(item_id).kind).withdrawn_items += 1

    def expire(self, now_s: float) -> list[OutgoingItem]:
        """Take out what is past its time, and return it."""
        gone = [item for item in self if item.expires_s is not None and item.expires_s <= now_s]
        for item in gone:
            self._remove(item.item_id)
            self.account(item.kind).expired_items += 1
        return gone

    def due(self, reports_seen: int) -> list[OutgoingItem]:
        """Return what has something to send, and what is sent whole but not spoken of by a report since; first to go first."""
        return sorted((item for item in self if item.has_work or item.asked < reports_seen), key=attrgetter("order"))

    def pending_bytes(self, kind: str | None = None) -> int:
        """Return the payload bytes that are still to be sent, of one kind or of all."""
        return sum(item.todo.total_bytes for item in self if kind in (None, item.kind))

    def pending_items(self, kind: str) -> int:
        """Return how many items of a kind have bytes that are still to be sent."""
        return sum(1 for item in self if item.kind == kind and item.todo)

    def to_json(self) -> dict[str, Any]:
        return {
            "serial": self._serial,
            "items": [item.to_json() for item in self],
            "accounts": {kind: account.to_json() for kind, account in self.accounts.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SendQueue:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed (the caller re-raises as StateError).
        """
        queue = cls()
        queue._serial = int(value["serial"])
        for row in value["items"]:
            item = OutgoingItem.from_json(row)
            queue._items[item.item_id] = item
            if item.key is not None:
                queue._by_key[item.kind, item.key] = item.item_id
        for kind, account in value["accounts"].items():
            queue.accounts[str(kind)] = KindAccount(**{str(name): int(count) for name, count in account.items()})
        return queue

    def _remove(self, item_id: bytes) -> OutgoingItem:
        item = self._items.pop(item_id)
        if item.key is not None:
            del self._by_key[item.kind, item.key]
        return item
