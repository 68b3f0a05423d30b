"""One end of the link: sends what is queued, receives what comes, and survives windows, losses and reboots.

Sans-io: `now_s` is an argument, PDUs are bytes in and bytes out, the state is JSON and a mapping of blobs. Leaves to others:
when a window is open and how many bytes it is worth (a contact plan), how bytes travel (`sim.channel`, sockets), what
payloads mean.

The port, kept narrow because a CFDP engine will replace the inside: `offer`, `withdraw`, `open_window`, `transmit`,
`receive`, `report`, `to_json`, `from_json`, and the events.

How it converges. The sender holds, per item, what is still to be sent; sending takes from it, and a report puts back what
the receiver lacks inside the report's scope. The receiver's word is the truth, so neither end needs the other's memory:

| what happens | what repairs it |
|---|---|
| data or an announce is lost | the report shows the hole, or asks for the announce |
| all of an item is lost | a report does not speak of it: the sender announces it again, the receiver reports "nothing" |
| a report is lost | nothing is sent twice; the sender asks once per report heard, and once per window |
| the window closes | the sender stops where it is; in the next window the receiver reports first, all that is partial |
| an item is complete | the receiver reports it until the sender closes it; the sender forgets it, the receiver keeps its id |
| a close is lost | the receiver reports the item again; who does not hold a reported item closes it |
| the receiver lost its bytes | it reports less than before, and the sender sends them again |

Bytes that are under way while a report is made are sent twice, so the owner reports between slices of transmission. A state
that is written before the owner has acted on an event, or long after, breaks "exactly once": save both together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import MutableMapping
from typing import Any

from orbitloop.errors import LinkError, StateError
from orbitloop.link.events import Acknowledged, Event, Limits
from orbitloop.link.inbox import Inbox
from orbitloop.link.pdu import (
    FILE_DATA_OVERHEAD_BYTES,
    FRAME_BYTES,
    ID_BYTES,
    MAX_KIND_BYTES,
    Announce,
    FileData,
    Report,
    ReportEntry,
    encode_announce,
    encode_close,
    encode_entry,
    encode_file_data,
    encode_report,
    parse,
    split_entry,
)
from orbitloop.link.queue import KindAccount, OutgoingItem, SendQueue

SCHEMA = "orbitloop.link/1"
_MIN_PIECE_BYTES = 64  # a smaller piece of a larger rest costs more header than it moves
_MIN_ENTRY_BYTES = 72


class Endpoint:
    """Sender and receiver of one end. `blobs` keeps payloads (`out-...`) and partial items (`in-...`) by name."""

    def __init__(self, blobs: MutableMapping[str, bytes], limits: Limits | None = None) -> None:
        self._blobs = blobs
        self._limits = limits or Limits()
        self._queue = SendQueue()
        self._inbox = Inbox(blobs, self._limits)
        self._to_close: dict[bytes, None] = {}
        self._reports_seen = 0
        self.bad_pdus = 0

    def offer(
        self,
        kind: str,
        payload: bytes,
        *,
        priority: int,
        now_s: float,
        key: str | None = None,
        value: float = 0.0,
        expires_s: float | None = None,
    ) -> str:
        """Queue a payload and return its id, the first 32 hex digits of its SHA-256.

        What is queued already stays as it is. With a `key`, the queued item of the same (kind, key) is withdrawn. An item is
        its bytes: what the other end has had once, it acknowledges and does not deliver again.

        Raises:
            LinkError: the kind, priority, value or size is out of range, or the same bytes are queued as another kind.
        """
        if not 0 < len(kind.encode()) <= MAX_KIND_BYTES or not 0 <= priority <= 255 or not math.isfinite(value):
            raise LinkError(
                f"cannot offer kind {kind!r} with priority {priority} and value {value}",
                remedy=f"a kind has 1 to {MAX_KIND_BYTES} bytes, a priority is 0 (first) to 255, a value is finite",
            )
        if len(payload) > self._limits.max_item_bytes:
            raise LinkError(f"item of {len(payload)} bytes is over the limit of {self._limits.max_item_bytes}")
        sha256 = hashlib.sha256(payload).digest()
        item_id = sha256[:ID_BYTES]
        queued = self._queue.get(item_id)
        if queued is not None:
            if (queued.kind, queued.key) != (kind, key):
                raise LinkError(f"the same bytes are queued as {queued.kind!r} with key {queued.key!r}")
            return item_id.hex()
        if key is not None:
            self.withdraw(kind, key)
        self._to_close.pop(item_id, None)
        self._blobs[_blob_name(item_id)] = bytes(payload)
        self._queue.add(OutgoingItem(sha256, kind, key, priority, value, len(payload), now_s, expires_s, 0))
        return item_id.hex()

    def withdraw(self, kind: str, key: str) -> str | None:
        """Take back the queued item of this (kind, key); return its id, or None when there is none."""
        item = self._queue.replace(kind, key)
        if item is None:
            return None
        self._give_up(item)
        return item.item_id.hex()

    def open_window(self, now_s: float) -> None:
        """Start a contact: the next report speaks of all that is partial, and what got no answer is asked for again."""
        self._expire(now_s)
        self._inbox.touch_all()
        for item in self._queue:
            item.asked = -1

    def transmit(self, budget_bytes: int, now_s: float) -> list[bytes]:
        """Return the next PDUs, in order of sending, never more than `budget_bytes` together."""
        self._expire(now_s)
        pdus: list[bytes] = []
        left = self._send_closes(pdus, budget_bytes)
        for item in self._queue.due(self._reports_seen):
            item.announce_due |= not item.has_work  # all is sent, and a report did not speak of it: ask
            left = self._send_item(item, pdus, left)
            if item.has_work:
                break  # the budget's rest is too small for the most urgent item: keep the order
        return pdus

    def report(self, now_s: float, budget_bytes: int | None = None) -> list[bytes]:
        """Return reports of what came in since the last ones; at least an empty one, as far as the budget goes.

        What the budget leaves out stays for the next report.
        """
        del now_s  # part of the port: a CFDP engine has timers here
        pages = _Pages(self._limits.max_pdu_bytes, budget_bytes)
        for item_id in self._inbox.touched():
            if not all(pages.put(entry) for entry in self._entries(item_id, pages.entry_limit)):
                break
            self._inbox.reported(item_id)
        return pages.finish()

    def receive(self, pdu: bytes, now_s: float) -> list[Event]:
        """Take one PDU; a malformed one is counted and dropped."""
        try:
            parsed = parse(pdu)
        except LinkError:
            self.bad_pdus += 1
            return []
        if isinstance(parsed, FileData):
            return self._inbox.data(parsed, now_s)
        if isinstance(parsed, Announce):
            return self._inbox.announce(parsed, now_s)
        if isinstance(parsed, Report):
            self._reports_seen += 1
            return [event for entry in parsed.entries for event in self._hear(entry)]
        self._inbox.close(parsed.item_ids)
        return []

    @property
    def accounts(self) -> dict[str, KindAccount]:
        """Bytes and items by kind, as the sender sees them."""
        return self._queue.accounts

    @property
    def queued_items(self) -> int:
        """Items that are offered and not acknowledged."""
        return len(self._queue)

    @property
    def partial_bytes(self) -> int:
        """Bytes received of items that are not whole yet."""
        return self._inbox.partial_bytes()

    @property
    def refused_pdus(self) -> int:
        """Well-formed PDUs that the limits or what is already known refused."""
        return self._inbox.refused

    @property
    def corrupt_items(self) -> int:
        """Items whose bytes were all here and whose SHA-256 was wrong."""
        return self._inbox.corrupt

    def pending_bytes(self, kind: str | None = None) -> int:
        """Return the payload bytes that are still to be sent, of one kind or of all."""
        return self._queue.pending_bytes(kind)

    def pending_items(self, kind: str) -> int:
        """Return how many items of a kind have payload bytes that are still to be sent."""
        return self._queue.pending_items(kind)

    def to_json(self) -> dict[str, Any]:
        """Return the whole state but the payloads; partial items are written to the blobs first."""
        return {
            "schema": SCHEMA,
            "queue": self._queue.to_json(),
            "inbox": self._inbox.to_json(),
            "to_close": [item_id.hex() for item_id in self._to_close],
            "reports_seen": self._reports_seen,
            "bad_pdus": self.bad_pdus,
        }

    @classmethod
    def from_json(cls, value: Any, blobs: MutableMapping[str, bytes], limits: Limits | None = None) -> Endpoint:
        """Read what `to_json` wrote. The endpoint goes on exactly where it was.

        A queued item whose blob is missing or of another length is given up and told to the other end: one lost sample must
        not keep a satellite silent.

        Raises:
            StateError: the state is malformed.
        """
        endpoint = cls(blobs, limits)
        try:
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema is {value['schema']!r}")
            endpoint._queue = SendQueue.from_json(value["queue"])
            endpoint._inbox = Inbox.from_json(value["inbox"], blobs, endpoint._limits)
            endpoint._to_close = {bytes.fromhex(text): None for text in value["to_close"]}
            endpoint._reports_seen, endpoint.bad_pdus = int(value["reports_seen"]), int(value["bad_pdus"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StateError(f"saved link state is malformed ({error!r})", where="link") from error
        lost = [item for item in endpoint._queue if len(blobs.get(_blob_name(item.item_id), b"")) != item.size_bytes]
        for item in lost:
            endpoint._queue.lose(item.item_id)
            endpoint._give_up(item)
        return endpoint

    def _hear(self, entry: ReportEntry) -> list[Event]:
        """Act on one report entry."""
        item = self._queue.get(entry.item_id)
        if item is None:
            if len(self._to_close) < self._limits.max_remembered:
                self._to_close[entry.item_id] = None
            return []
        if entry.complete:
            self._queue.acknowledge(entry.item_id)
            self._blobs.pop(_blob_name(entry.item_id), None)
            self._to_close[entry.item_id] = None
            return [Acknowledged(entry.item_id.hex(), item.kind, item.key)]
        if entry.scope_end > item.size_bytes:
            self.bad_pdus += 1
            return []
        item.todo.add(entry.scope_start, entry.scope_end)
        for start, end in entry.received:
            item.todo.remove(start, end)
        item.announce_due |= entry.needs_announce
        return []

    def _give_up(self, item: OutgoingItem) -> None:
        """Drop a payload; the other end must know only if it can have heard of it."""
        self._blobs.pop(_blob_name(item.item_id), None)
        if not item.announce_due or item.sent_end:
            self._to_close[item.item_id] = None

    def _expire(self, now_s: float) -> None:
        for item in self._queue.expire(now_s):
            self._give_up(item)

    def _send_closes(self, pdus: list[bytes], left: int) -> int:
        while self._to_close:
            count = (min(left, self._limits.max_pdu_bytes) - FRAME_BYTES) // ID_BYTES
            if count < 1:
                break
            ids = list(self._to_close)[:count]
            for item_id in ids:
                del self._to_close[item_id]
            pdus.append(encode_close(ids))
            left -= len(pdus[-1])
        return left

    def _send_announce(self, item: OutgoingItem, pdus: list[bytes], left: int) -> tuple[int, bool]:
        pdu = encode_announce(Announce(item.sha256, item.size_bytes, item.priority, item.kind))
        if len(pdu) > left:
            return left, False
        pdus.append(pdu)
        item.announce_due = False
        item.asked = self._reports_seen
        self._queue.account(item.kind).wire_bytes += len(pdu)
        return left - len(pdu), True

    def _send_item(self, item: OutgoingItem, pdus: list[bytes], left: int) -> int:
        """Send what the item has to send, as far as `left` goes; return what is left."""
        if item.announce_due:
            left, sent = self._send_announce(item, pdus, left)
            if not sent:
                return left
        item_id = item.item_id
        payload = memoryview(self._blobs[_blob_name(item_id)]) if item.todo else memoryview(b"")
        account = self._queue.account(item.kind)
        largest = self._limits.max_pdu_bytes - FILE_DATA_OVERHEAD_BYTES
        before = left
        while item.todo:
            start, stop = item.todo.first(item.size_bytes)
            at = start
            while at < stop:
                size = min(largest, stop - at, left - FILE_DATA_OVERHEAD_BYTES)
                if size < min(_MIN_PIECE_BYTES, stop - at):
                    break
                pdus.append(encode_file_data(item_id, at, item.size_bytes, payload[at : at + size]))
                at += size
                left -= size + FILE_DATA_OVERHEAD_BYTES
            item.todo.remove(start, at)
            account.resent_bytes += max(0, min(at, item.sent_end) - start)
            item.sent_end = max(item.sent_end, at)
            if at < stop:
                break
        if left < before:
            item.asked = self._reports_seen
            account.wire_bytes += before - left
        return left

    def _entries(self, item_id: bytes, max_bytes: int) -> list[bytes]:
        """Return the report entries for one item, none over `max_bytes`."""
        item = self._inbox.state_of(item_id)
        if item is None:
            return [encode_entry(ReportEntry(item_id, complete=True))]
        return list(split_entry(item_id, item.total_bytes, item.received, item.sha256 is None, max_bytes))


def _blob_name(item_id: bytes) -> str:
    """Return the name under which a queued item's payload is kept."""
    return f"out-{item_id.hex()}"


class _Pages:
    """Packs report entries into PDUs, within a PDU size and a budget (None: no budget)."""

    def __init__(self, max_pdu_bytes: int, budget_bytes: int | None) -> None:
        self._max_pdu_bytes = max_pdu_bytes
        self._left = budget_bytes
        self._page: list[bytes] = []
        self._size = FRAME_BYTES
        self._pdus: list[bytes] = []
        self._refused = False

    @property
    def _limit(self) -> int:
        return self._max_pdu_bytes if self._left is None else min(self._max_pdu_bytes, self._left)

    @property
    def entry_limit(self) -> int:
        """The largest entry worth making now."""
        return max(_MIN_ENTRY_BYTES, self._limit - FRAME_BYTES)

    def put(self, entry: bytes) -> bool:
        """Add an entry; False when the budget does not hold it."""
        if self._size + len(entry) > self._limit and self._page:
            self._flush()
        if self._size + len(entry) > self._limit:
            self._refused = True
            return False
        self._page.append(entry)
        self._size += len(entry)
        return True

    def finish(self) -> list[bytes]:
        """Return the PDUs; an empty report when there was nothing to say (not when it did not fit)."""
        if self._page or (not self._pdus and not self._refused and self._limit >= FRAME_BYTES):
            self._flush()
        return self._pdus

    def _flush(self) -> None:
        self._pdus.append(encode_report(self._page))
        if self._left is not None:
            self._left -= self._size
        self._page, self._size = [], FRAME_BYTES
