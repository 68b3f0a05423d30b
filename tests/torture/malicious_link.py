"""Attacks on the way up: A6 (starved), A14 (dropped) and A16 (overheard), through both ends of the real link.

These deliver nothing that is false: they delay, drop and listen. What must hold is that a satellite that is starved goes on as
it was, takes the good update as soon as it has come whole, and that who listens learns no weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product

import numpy as np
from malicious_world import NOW_S, SEAL_KEY, base, change, deliver_all, ground, latest, manifest, satellite, target, updater_on
from malicious_world import Variant as Bundle
from torture_section import Outcome, Section, Tick

from orbitloop.delta.bundle import seal_binding
from orbitloop.link.events import Event, Limits, Received
from orbitloop.link.session import Endpoint
from orbitloop.onboard.updates import Staged
from orbitloop.records.ids import digest_bytes
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.sealed import seal, seal_key_id

PASS_BYTES = 1500
Filter = Callable[[int, int, bytes], bool]
"""(pass, PDU of that pass, its bytes) -> does it come through."""


def send(
    data: bytes, through: Filter, passes: int, kind: str = "update", pass_bytes: int = PASS_BYTES
) -> tuple[list[Event], list[bytes]]:
    """Offer an item on the ground and hold passes of which an attacker lets through what he likes; both ends reboot between.

    Returns what the satellite received, and all that went over the link upwards.
    """
    limits = Limits(max_pdu_bytes=300)
    up: dict[str, bytes] = {}
    down: dict[str, bytes] = {}
    station, ship = Endpoint(up, limits), Endpoint(down, limits)
    station.offer(kind, data, priority=1, now_s=NOW_S)
    events: list[Event] = []
    heard: list[bytes] = []
    for number in range(passes):
        station.open_window(NOW_S)
        ship.open_window(NOW_S)
        for report in ship.report(NOW_S, 400):
            station.receive(report, NOW_S)
        for index, pdu in enumerate(station.transmit(pass_bytes, NOW_S)):
            heard.append(pdu)
            if through(number, index, pdu):
                events += ship.receive(pdu, NOW_S)
        for report in ship.report(NOW_S, 400):
            station.receive(report, NOW_S)
        station, ship = Endpoint.from_json(station.to_json(), up, limits), Endpoint.from_json(ship.to_json(), down, limits)
    return events, heard


def filters() -> dict[str, tuple[Filter, int]]:
    """Return what the attacker does, and for how many passes; after them the link is good."""
    found: dict[str, tuple[Filter, int]] = {}
    for passes, share in product((3, 6), (0.0, 0.1, 0.3, 0.6)):
        found[f"{share:.0%} come through for {passes} passes"] = (_share(share), passes)
    for passes, count in product((4, 8), (0, 1, 2)):
        found[f"the first {count} PDUs of each of {passes} passes"] = (lambda n, i, p, c=count: i < c, passes)
    for skipped in (0, 1, 2, 3):
        found[f"all but PDU {skipped} of each of 5 passes"] = (lambda n, i, p, s=skipped: i != s, 5)
    for size in (60, 120, 250):
        found[f"only PDUs below {size} bytes for 5 passes"] = (lambda n, i, p, s=size: len(p) < s, 5)
    found["every other pass dark, for 8"] = (lambda n, i, p: n % 2 == 1 and i == 0, 8)
    found["all twisted for 5 passes"] = (lambda n, i, p: False, 5)
    return found


def _share(share: float) -> Filter:
    return lambda number, index, pdu: zlib.crc32(b"%d %d" % (number, index)) / 2**32 < share


def starved(count: int, tick: Tick, kinds: Iterable[str]) -> Outcome:
    bad: list[str] = []
    tried = 0
    items = {"update": latest().bundle(), "trust": pack_metadata(latest().ground.carried(None))}
    for kind in kinds:
        for name, (through, dark) in filters().items():
            if tried >= max(count, 1):
                break
            tried += 1
            tick(tried)
            bad += [f"{kind}, {name}: {line}" for line in _one(kind, items[kind], through, dark)]
    return Outcome(
        tried, tuple(bad[:12]), len(bad), "resumed over reboots of both ends; no byte of flash moved before it was whole"
    )


def _one(kind: str, data: bytes, through: Filter, dark: int) -> list[str]:
    flash = satellite(Bundle("", b""))
    before = dict(flash.files)
    events, _ = send(data, through, dark, kind)
    came = [e for e in events if isinstance(e, Received)]
    bad = ["an item that did not come was delivered"] if any(e.payload != data for e in came) else []
    bad += ["flash changed while nothing had come"] if flash.files != before else []
    events, _ = send(data, lambda n, i, p: n >= dark or through(n, i, p), dark + 2 * (len(data) // PASS_BYTES + 2), kind)
    came = [e for e in events if isinstance(e, Received)]
    if len(came) != 1 or came[0].payload != data:
        return [*bad, f"delivered {len(came)} times once the link was good"]
    updater = updater_on(flash)
    if kind == "trust":
        return bad + ([] if updater.take_trust(data, NOW_S).outcome.value == "believed" else ["trust was refused at last"])
    return bad + ([] if isinstance(updater.receive(data, NOW_S), Staged) else ["the update was refused at last"])


def cut_short() -> list[Bundle]:
    """Return what one who can end a transfer early, and make it look whole, would deliver."""
    data = latest().bundle()
    found = [Bundle(f"cut to {share:.0%}", data[: int(len(data) * share)], "bundle") for share in np.linspace(0, 0.99, 23)]
    return [*found, Bundle("the last byte is missing", data[:-1], "bundle"), Bundle("one byte more", data + b"\0", "bundle")]


def dropped(count: int, tick: Tick) -> Outcome:
    """A14: requests and parts that vanish: what is left never passes for the whole, and the satellite flies on."""
    return deliver_all(cut_short(), 20, tick, max(count, 20))


def overheard(count: int, tick: Tick) -> Outcome:
    """A16: no weight, tensor name or payload byte of a sealed update goes over the link in plain, whatever the seal's nonce."""
    bad: list[str] = []
    tries = max(20, count)
    for number in range(tries):
        plain, _ = change(6)
        first = replace(manifest(6, sealed=seal_key_id(SEAL_KEY)), version=5 + number)
        nonce = number.to_bytes(12, "big")
        sealed = seal(plain, SEAL_KEY, bound_to=seal_binding(first), nonce=nonce)
        whole = replace(first, payload_digest=digest_bytes(sealed), payload_bytes=len(sealed))
        bundle = ground().release(whole, sealed)
        _, heard = send(bundle, lambda n, i, p: True, 1, pass_bytes=100_000)
        wire = b"".join(heard)
        bad += [f"{number}: {line}" for line in _leaks(wire, plain)]
        flash = satellite(Bundle("", b""))
        keys = {seal_key_id(SEAL_KEY): SEAL_KEY}
        if not isinstance(updater_on(flash, seal_keys=keys).receive(bundle, NOW_S), Staged):
            bad.append(f"{number}: the sealed update is refused by who holds the key")
        if isinstance(updater_on(satellite(Bundle("", b""))).receive(bundle, NOW_S), Staged):
            bad.append(f"{number}: the sealed update is read without the key")
        tick(number + 1)
    return Outcome(
        tries, tuple(bad[:12]), len(bad), "8-byte windows of payload and of weights, tensor names; searched in all PDUs"
    )


def _leaks(wire: bytes, plain: bytes) -> list[str]:
    found = [f"payload bytes {at} to {at + 8} in plain" for at in range(0, len(plain) - 8, 8) if plain[at : at + 8] in wire]
    for name in base():
        found += [f"the name {name} in plain"] if name.encode() in wire else []
        for array in (base()[name], target(6)[name]):
            raw = array.tobytes()
            found += (
                [f"weights of {name} in plain"] if any(raw[at : at + 8] in wire for at in range(0, len(raw) - 8, 64)) else []
            )
    return found[:3]


def sections() -> tuple[Section, ...]:
    aim = "nothing moves before all has come; then it is taken"
    return (
        Section("malicious A6 slow retrieval", aim, lambda c, t: starved(c, t, ("update", "trust")), 40, 12),
        Section("malicious A14 drop-request", "0 accepted, no byte changed", dropped, 20, 20),
        Section("malicious A16 eavesdrop", "no byte of weights in plain on the link", overheard, 20, 20),
    )
