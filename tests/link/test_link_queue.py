"""The queue's order, replacement and accounts."""

import hashlib

from orbitloop.link.queue import OutgoingItem, SendQueue


def item(text: str, *, kind="sample", key=None, priority=5, value=0.0, created_s=0.0, expires_s=None):
    sha256 = hashlib.sha256(text.encode()).digest()
    return OutgoingItem(sha256, kind, key, priority, value, len(text), created_s, expires_s, 0)


def filled(*items: OutgoingItem) -> SendQueue:
    queue = SendQueue()
    for one in items:
        queue.add(one)
    return queue


def test_order_is_priority_then_value_then_age_then_arrival():
    worst = item("f", priority=9, value=99.0)
    late, later = item("d", value=1.0, created_s=50.0), item("e", value=1.0, created_s=50.0)
    early = item("c", value=1.0, created_s=10.0)
    valuable = item("b", value=2.0, created_s=90.0)
    urgent = item("a", priority=0, created_s=99.0)
    queue = filled(worst, late, later, early, valuable, urgent)
    assert queue.due(0) == [urgent, valuable, early, late, later, worst]


def test_a_key_is_per_kind_and_replace_takes_out_one():
    old, other = item("old", kind="update", key="m"), item("other", kind="beacon", key="m")
    queue = filled(old, other)
    assert queue.replace("update", "m") is old
    assert queue.replace("update", "m") is None
    assert list(queue) == [other]
    assert queue.accounts["update"].withdrawn_items == 1


def test_expiry_and_accounts_by_kind():
    queue = filled(item("abc", expires_s=10.0), item("defg"), item("hi", kind="beacon"))
    assert queue.expire(9.9) == []
    assert [gone.size_bytes for gone in queue.expire(10.0)] == [3]
    queue.acknowledge(item("defg").item_id)
    sample = queue.accounts["sample"]
    assert (sample.offered_items, sample.offered_bytes) == (2, 7)
    assert (sample.expired_items, sample.delivered_items, sample.delivered_bytes) == (1, 1, 4)
    assert (queue.pending_bytes(), queue.pending_bytes("beacon"), queue.pending_bytes("sample")) == (2, 2, 0)


def test_due_is_what_has_work_or_is_older_than_the_last_report():
    sent, open_ = item("sent"), item("open")
    queue = filled(sent, open_)
    sent.todo.remove(0, 4)
    sent.announce_due = False
    sent.asked = 3
    assert queue.due(3) == [open_]
    assert queue.due(4) == [sent, open_]


def test_state_round_trip_goes_on_with_the_same_order_and_keys():
    queue = filled(item("a", kind="update", key="m"), item("b", value=0.5, expires_s=7.0))
    again = SendQueue.from_json(queue.to_json())
    assert again.to_json() == queue.to_json()
    assert list(again) == list(queue)
    assert again.replace("update", "m") is not None
    again.add(item("c"))
    assert again.due(0)[0].value == 0.5
    assert max(one.serial for one in again) == 3
