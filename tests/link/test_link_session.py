"""Two endpoints and whatever happens between them: every payload arrives exactly once, byte for byte."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import LinkError, StateError
from orbitloop.link import pdu
from orbitloop.link.events import Acknowledged, Limits, Progress, Received
from orbitloop.link.inbox import Inbox
from orbitloop.link.session import Endpoint

SMALL = Limits(max_pdu_bytes=256)


def payload(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng([size, seed]).bytes(size)


def deliver(pdus, to: Endpoint, now_s: float = 0.0):
    return [event for one in pdus for event in to.receive(one, now_s)]


def received(events):
    return [event for event in events if isinstance(event, Received)]


def reboot(end: Endpoint) -> Endpoint:
    """Restore an endpoint from its state as text and a copy of its blobs."""
    state = json.dumps(end.to_json())
    return Endpoint.from_json(json.loads(state), dict(end._blobs), end._limits)


def settle(a: Endpoint, b: Endpoint, rounds: int = 40):
    """Run lossless windows until both queues are empty; return the events at b."""
    events = []
    for _ in range(rounds):
        for end in (a, b):
            end.open_window(0.0)
        deliver(a.report(0.0), b)
        deliver(b.report(0.0), a)
        events += deliver(a.transmit(1 << 30, 0.0), b)
        deliver(b.transmit(1 << 30, 0.0), a)
        deliver(b.report(0.0), a)
        deliver(a.report(0.0), b)
        events += deliver(a.transmit(1 << 30, 0.0), b)
        if not a.queued_items and not b.queued_items:
            return events
    raise AssertionError("the queues did not run empty")


@pytest.mark.parametrize("size", [0, 1, 215, 216, 217, 5000])
def test_a_payload_arrives_with_its_kind_and_is_acknowledged_once(size):
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    item_id = a.offer("sample", payload(size), priority=5, now_s=0.0)
    events = deliver(a.transmit(1 << 20, 3.0), b, 3.0)
    assert received(events) == [Received(item_id, "sample", payload(size), 3.0)]
    assert deliver(b.report(0.0), a) == [Acknowledged(item_id, "sample", None)]
    assert a.queued_items == 0
    assert deliver(a.transmit(1 << 20, 4.0), b) == []  # only the close
    assert a._blobs == b._blobs == {}
    b.open_window(5.0)
    assert b.report(5.0) == [pdu.encode_report([])]


def test_nothing_is_resent_when_the_window_closes_in_mid_file():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("update", payload(20_000), priority=1, now_s=0.0)
    events, sent = [], 0
    for _ in range(100):
        a, b = reboot(a), reboot(b)
        for end in (a, b):
            end.open_window(0.0)
        deliver(b.report(0.0), a)
        pdus = a.transmit(1000, 0.0)
        sent += sum(map(len, pdus))
        events += deliver(pdus, b)
        if received(events):
            break
    assert received(events)[0].payload == payload(20_000)
    assert a.accounts["update"].resent_bytes == 0
    assert a.accounts["update"].wire_bytes == sent < 20_000 * 1.25  # 40 bytes of 256, and pieces cut at each window's end


@pytest.mark.parametrize("budget", [0, 7, 57, 58, 100, 255, 256, 257, 1000, 4097])
def test_never_over_budget(budget):
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    for index in range(5):
        a.offer("sample", payload(700, index), priority=5, now_s=0.0)
    assert sum(map(len, a.transmit(budget, 0.0))) <= budget
    deliver(a.transmit(2000, 0.0), b)
    assert sum(map(len, b.report(0.0, budget))) <= budget
    deliver(b.report(0.0), a)
    assert sum(map(len, a.transmit(budget, 0.0))) <= budget


def test_reports_within_a_tiny_budget_say_all_in_the_end():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    for index in range(40):
        a.offer("sample", payload(50, index), priority=5, now_s=0.0)
    assert len(received(deliver(a.transmit(1 << 20, 0.0), b))) == 40
    for _ in range(100):
        deliver(b.report(0.0, 60), a)
    assert a.queued_items == 0


def test_an_urgent_item_overtakes_between_two_pdus():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(10_000), priority=5, now_s=0.0)
    deliver(a.transmit(1000, 0.0), b)
    a.offer("beacon", b"I am well", priority=0, now_s=1.0)
    assert received(deliver(a.transmit(300, 1.0), b))[0].kind == "beacon"


def test_a_newer_update_withdraws_the_older_and_the_receiver_forgets_it():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("update", payload(5000, 1), priority=1, key="model", now_s=0.0)
    deliver(a.transmit(2000, 0.0), b)
    assert b.partial_bytes > 0
    a.offer("update", payload(5000, 2), priority=1, key="model", now_s=1.0)
    events = received(settle(a, b))
    assert [event.payload for event in events] == [payload(5000, 2)]
    assert b.partial_bytes == 0
    assert a.accounts["update"].withdrawn_items == 1
    assert a._blobs == b._blobs == {}


def test_a_lost_close_is_repeated_because_the_receiver_reports_again():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("update", payload(5000, 1), priority=1, key="model", now_s=0.0)
    deliver(a.transmit(2000, 0.0), b)
    a.withdraw("update", "model")
    a.transmit(1 << 20, 0.0)  # the close is lost
    b.open_window(1.0)
    deliver(b.report(1.0), a)
    deliver(a.transmit(1 << 20, 1.0), b)
    assert b.partial_bytes == 0


def test_an_expired_item_is_not_sent():
    a = Endpoint({}, SMALL)
    a.offer("sample", payload(100), priority=5, now_s=0.0, expires_s=10.0)
    assert a.transmit(1 << 20, 10.0) == []
    assert a.accounts["sample"].expired_items == 1
    assert a._blobs == {}


def test_an_item_of_which_all_was_lost_is_announced_again_and_repaired_in_the_same_window():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    a.transmit(1 << 20, 0.0)
    assert a.transmit(1 << 20, 0.0) == []  # nothing was reported: no blind repetition
    deliver(b.report(0.0), a)
    (question,) = a.transmit(1 << 20, 0.0)
    assert isinstance(pdu.parse(question), pdu.Announce)
    b.receive(question, 0.0)
    deliver(b.report(0.0), a)
    assert received(deliver(a.transmit(1 << 20, 0.0), b))[0].payload == payload(1000)


def test_without_any_report_the_sender_asks_once_per_window_and_repeats_nothing():
    a = Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    announce, *_ = a.transmit(1 << 20, 0.0)
    for now_s in (1.0, 2.0):
        a.open_window(now_s)
        assert a.transmit(1 << 20, now_s) == [announce]
        assert a.transmit(1 << 20, now_s) == []


def test_what_is_complete_is_reported_in_each_window_until_it_is_closed():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    deliver(a.transmit(1 << 20, 0.0), b)
    b.report(0.0)  # lost at LOS
    b.open_window(1.0)
    assert len(deliver(b.report(1.0), a)) == 1
    a.transmit(1 << 20, 1.0)  # the close is lost
    b.open_window(2.0)
    assert deliver(b.report(2.0), a) == []
    deliver(a.transmit(1 << 20, 2.0), b)
    b.open_window(3.0)
    assert b.report(3.0) == [pdu.encode_report([])]


def test_a_reboot_before_the_report_forgets_nothing():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    deliver(a.transmit(700, 0.0), b)
    assert reboot(b).report(0.0) == b.report(0.0) != [pdu.encode_report([])]


def test_data_before_its_announce_is_kept():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    announce, *pieces = a.transmit(1 << 20, 0.0)
    assert received(deliver(reversed(pieces), b)) == []
    deliver(b.report(0.0), a)
    assert a.pending_bytes() == 0
    assert a.transmit(1 << 20, 0.0) == [announce]
    assert received(b.receive(announce, 0.0))[0].payload == payload(1000)


def test_what_was_delivered_once_is_acknowledged_and_not_delivered_again():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    assert len(received(settle(a, b))) == 1
    a.offer("sample", payload(1000), priority=5, now_s=9.0)
    assert received(settle(a, b)) == []
    assert a.accounts["sample"].delivered_items == 2


def test_an_item_with_a_wrong_digest_is_not_delivered_and_starts_again():
    """As fprime #5012 shows, a file whose check fails must never be announced as received."""
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    item_id = bytes.fromhex(a.offer("sample", payload(100), priority=5, now_s=0.0))
    announce, _ = a.transmit(1 << 20, 0.0)
    forged = pdu.encode_file_data(item_id, 0, 100, b"\x00" * 100)
    assert received(deliver([announce, forged], b)) == []
    assert (b.corrupt_items, b.partial_bytes) == (1, 0)
    assert received(settle(a, b))[0].payload == payload(100)


def test_bad_pdus_are_counted_and_dropped():
    b = Endpoint({}, SMALL)
    good = pdu.encode_close([b"i" * 16])
    assert deliver([b"", b"noise", good[:-1], good[:-1] + b"\x00"], b) == []
    assert b.bad_pdus == 4
    a = Endpoint({}, SMALL)
    item_id = bytes.fromhex(a.offer("sample", b"abc", priority=5, now_s=0.0))
    beyond = pdu.ReportEntry(item_id, False, False, 0, 999, ())
    assert a.receive(pdu.encode_report([pdu.encode_entry(beyond)]), 0.0) == []
    assert a.bad_pdus == 1


def test_progress_tells_new_bytes_only():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(600), priority=5, now_s=0.0)
    pdus = a.transmit(1 << 20, 0.0)
    progress = [e.received_bytes for e in deliver([one for one in pdus for _ in (0, 1)], b) if isinstance(e, Progress)]
    assert progress == [216, 432, 600]


def test_limits_hold_against_a_hostile_sender():
    limits = Limits(max_pdu_bytes=256, max_item_bytes=1000, max_held_bytes=1500, max_partial_items=3)
    b = Endpoint({}, limits)
    b.receive(pdu.encode_announce(pdu.Announce(b"h" * 32, 1 << 60, 0, "bomb")), 0.0)
    assert b.refused_pdus == 1
    for index in range(10):
        b.receive(pdu.encode_file_data(bytes([index]) * 16, 990, 1000, b"x" * 10), 0.0)
    assert b._inbox._held_bytes == sum(len(i.buffer) for i in b._inbox._partial.values()) <= 1500
    assert len(b._inbox._partial) <= 3
    a = Endpoint({}, limits)
    with pytest.raises(LinkError, match="over the limit"):
        a.offer("sample", b"x" * 1001, priority=5, now_s=0.0)
    for index in range(8):  # honest items still pass, though the junk fills the inbox
        a.offer("sample", payload(900, index), priority=5, now_s=0.0)
    assert len(received(settle(a, b))) == 8


def test_the_memory_of_delivered_items_is_bounded():
    limits = Limits(max_pdu_bytes=256, max_remembered=5)
    a, b = Endpoint({}, limits), Endpoint({}, limits)
    for index in range(12):
        a.offer("sample", payload(20, index), priority=5, now_s=0.0)
        settle(a, b)
    assert len(b._inbox._delivered) == 5


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "", "priority": 5},
        {"kind": "k" * 65, "priority": 5},
        {"kind": "sample", "priority": 256},
        {"kind": "sample", "priority": -1},
        {"kind": "sample", "priority": 5, "value": float("nan")},
    ],
)
def test_an_offer_that_no_pdu_can_carry_is_refused(bad):
    kind = bad.pop("kind")
    with pytest.raises(LinkError, match="cannot offer"):
        Endpoint({}).offer(kind, b"x", now_s=0.0, **bad)


def test_offering_twice_is_once_and_another_kind_for_the_same_bytes_is_an_error():
    a = Endpoint({})
    assert a.offer("sample", b"x", priority=5, now_s=0.0) == a.offer("sample", b"x", priority=5, now_s=1.0)
    assert a.queued_items == 1
    with pytest.raises(LinkError, match="same bytes"):
        a.offer("beacon", b"x", priority=0, now_s=0.0)


@pytest.mark.parametrize(
    "bad", [{"max_pdu_bytes": 255}, {"max_pdu_bytes": 65544}, {"max_held_bytes": 1}, {"max_remembered": 0}]
)
def test_limits_that_cannot_work_are_refused(bad):
    with pytest.raises(LinkError):
        Limits(**bad)


def test_state_without_its_blobs():
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(1000), priority=5, now_s=0.0)
    deliver(a.transmit(700, 0.0), b)
    bare = Endpoint.from_json(b.to_json(), {}, SMALL)  # a receiver asks again for what it lost
    assert bare.partial_bytes == 0
    assert received(settle(a, bare))[0].payload == payload(1000)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_queued_item_without_its_bytes_is_given_up_and_the_others_go_on(damage):
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    lost = a.offer("sample", payload(1000), priority=5, now_s=0.0)
    a.offer("sample", payload(900, seed=2), priority=6, now_s=0.0)
    deliver(a.transmit(700, 0.0), b)
    blobs = {n: d[:-1] if damage == "cut" else d for n, d in a._blobs.items() if damage == "cut" or lost not in n}
    if damage == "cut":
        blobs = {n: d if lost in n else a._blobs[n] for n, d in blobs.items()}
    again = Endpoint.from_json(a.to_json(), blobs, SMALL)
    assert again.queued_items == 1
    assert again.accounts["sample"].withdrawn_items == 1
    assert f"out-{lost}" not in blobs
    assert [event.payload for event in received(settle(again, b))] == [payload(900, seed=2)]
    assert b.partial_bytes == 0, "the other end was told to forget the one that was lost"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data(), JSON)
def test_a_damaged_state_loads_or_raises_state_error(data, junk):
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    a.offer("sample", payload(500), priority=5, now_s=0.0, key="k")
    b.offer("beacon", b"well", priority=0, now_s=0.0)
    deliver(a.transmit(400, 0.0), b)
    settle(b, a)
    state = json.loads(json.dumps(b.to_json()))
    at = state
    while isinstance(at, dict | list) and at:
        step = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[step], dict | list) or not at[step] or data.draw(st.booleans()):
            at[step] = junk
            break
        at = at[step]
    try:
        again = Endpoint.from_json(state, dict(b._blobs), SMALL)
    except StateError:
        return
    again.open_window(0.0)
    again.report(0.0)
    again.transmit(1000, 0.0)
    again.to_json()


class Chaos:
    """Two endpoints and a channel that loses, repeats, reorders and delays PDUs, and reboots either end at any moment."""

    def __init__(self, seed: int, loss: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.loss = loss
        self.ends = [Endpoint({}, SMALL), Endpoint({}, SMALL)]
        self.in_flight: list[list[bytes]] = [[], []]  # towards end 0, towards end 1
        self.got: list[Counter[bytes]] = [Counter(), Counter()]
        self.offered: list[set[bytes]] = [set(), set()]

    def offer(self, end: int) -> None:
        data = self.rng.bytes(int(self.rng.integers(0, 3000)))
        self.offered[end].add(data)
        self.ends[end].offer("sample", data, priority=int(self.rng.integers(0, 3)), now_s=0.0)

    def send(self, end: int, pdus: list[bytes]) -> None:
        for one in pdus:
            if self.rng.random() >= self.loss:
                copies = 1 + (self.rng.random() < 0.1)
                self.in_flight[1 - end].extend([one] * copies)

    def step(self, end: int, disorder: bool) -> None:
        action = self.rng.integers(0, 6)
        if action == 0:
            self.ends[end].open_window(0.0)
        elif action == 1:
            self.send(end, self.ends[end].report(0.0, int(self.rng.integers(0, 600))))
        elif action == 2:
            self.ends[end] = reboot(self.ends[end])
        elif action == 3:
            self.send(end, self.ends[end].transmit(int(self.rng.integers(0, 3000)), 0.0))
        else:
            self.arrive(end, disorder)

    def arrive(self, end: int, disorder: bool) -> None:
        waiting = self.in_flight[end]
        for _ in range(min(len(waiting), int(self.rng.integers(1, 20)))):
            one = waiting.pop(int(self.rng.integers(0, len(waiting))) if disorder else 0)
            for event in self.ends[end].receive(one, 0.0):
                if isinstance(event, Received):
                    self.got[end][event.payload] += 1

    def finish(self) -> None:
        """A quiet end: no loss, until both queues are empty and nothing is under way."""
        self.loss = 0.0
        for _ in range(60):
            for end in (0, 1):
                self.ends[end].open_window(0.0)
            for verb in ("report", "transmit", "report", "transmit"):
                for end in (0, 1):
                    pdus = self.ends[end].report(0.0) if verb == "report" else self.ends[end].transmit(1 << 20, 0.0)
                    self.send(end, pdus)
                for end in (0, 1):
                    while self.in_flight[end]:
                        self.arrive(end, disorder=False)
            if not any(end.queued_items or end.partial_bytes for end in self.ends):
                return
        raise AssertionError("did not come to an end")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from([0.0, 0.05, 0.3, 0.7]), st.integers(0, 120))
def test_every_payload_arrives_exactly_once_whatever_the_channel_does(seed, loss, steps):
    chaos = Chaos(seed, loss)
    for index in range(steps):
        if index % 8 == 0:
            chaos.offer(int(chaos.rng.integers(0, 2)))
        chaos.step(int(chaos.rng.integers(0, 2)), disorder=True)
    chaos.finish()
    for end in (0, 1):
        assert chaos.got[1 - end] == Counter(chaos.offered[end])
        assert chaos.ends[end]._blobs == {}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from([0.0, 0.02, 0.3]), st.integers(400, 4000))
def test_resent_bytes_never_exceed_lost_bytes(seed, loss, budget):
    """Windows that close in mid-file, lost reports and reboots cost no repetition: only lost data goes twice."""
    rng = np.random.default_rng(seed)
    a, b = Endpoint({}, SMALL), Endpoint({}, SMALL)
    for index in range(4):
        a.offer("sample", payload(2000, index), priority=5, now_s=0.0)
    lost_bytes, got = 0, Counter()
    for _ in range(400):
        a, b = reboot(a), reboot(b)
        a.open_window(0.0)
        b.open_window(0.0)
        for _ in range(3):
            deliver([one for one in b.report(0.0) if rng.random() >= loss], a)
            for one in a.transmit(budget, 0.0):
                if rng.random() < loss:
                    lost_bytes += len(one)
                else:
                    got.update(event.payload for event in received(b.receive(one, 0.0)))
        if not a.queued_items:
            break
    assert got == Counter(payload(2000, index) for index in range(4))
    assert a.accounts["sample"].resent_bytes <= lost_bytes


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_a_reboot_changes_no_byte_of_what_follows(seed):
    """The runner's digest depends on it: a resumed mission sends the same PDUs as one that was never stopped."""
    transcripts = []
    for with_reboots in (False, True):
        rng = np.random.default_rng(seed)
        ends = [Endpoint({}, SMALL), Endpoint({}, SMALL)]
        transcript: list[bytes] = []
        for step in range(30):
            if with_reboots:
                ends = [reboot(end) for end in ends]
            if step % 5 == 0:
                ends[0].offer("sample", payload(900, step), priority=5, value=float(rng.random()), now_s=float(step))
                for end in ends:
                    end.open_window(float(step))
            for sender, receiver in ((0, 1), (1, 0)):
                pdus = ends[sender].report(0.0, 300) + ends[sender].transmit(600, float(step))
                transcript += pdus
                deliver([one for one in pdus if rng.random() > 0.2], ends[receiver])
        transcripts.append(transcript)
    assert transcripts[0] == transcripts[1]


def test_an_inbox_keeps_its_partial_bytes_in_the_blobs():
    blobs: dict[str, bytes] = {}
    a, b = Endpoint({}, SMALL), Endpoint(blobs, SMALL)
    item_id = a.offer("sample", payload(1000), priority=5, now_s=0.0)
    deliver(a.transmit(600, 0.0), b)
    assert blobs == {}
    state = b.to_json()["inbox"]
    assert blobs[f"in-{item_id}"] == payload(1000)[: len(blobs[f"in-{item_id}"])]
    assert Inbox.from_json(state, blobs, SMALL).partial_bytes() == len(blobs[f"in-{item_id}"])
