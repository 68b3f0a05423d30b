"""The link alone: CPU per byte, header share, and airtime under losses and windows that close in mid-file.

Two endpoints in one process, PDUs handed over in memory: no socket, no delay. CPU time is of both ends together, hashing
included.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping

import numpy as np

from orbitloop.link.events import Limits, Received
from orbitloop.link.session import Endpoint
from orbitloop.records.contact import ContactWindow
from orbitloop.reports.figures import Figure, figure_of
from orbitloop.sim.channel import run_window

PEER = "cfdp-py 0.7"
SLICE_BYTES = 2_000_000
FILE_BYTES = 3_000_000


def run(quick: bool) -> list[Figure]:
    """Measure; quick uses a smaller file and fewer repetitions."""
    size_bytes, repeats = (6_000_000, 2) if quick else (30_000_000, 5)
    seeds = range(2 if quick else 10)
    return [
        _goodput(2048, size_bytes, repeats),
        _goodput(8192, size_bytes, repeats),
        _small_items(500 if quick else 2_000, repeats),
        _overhead(),
        _link_share(size_bytes, seeds),
        *_interrupted(seeds),
        _heavy_loss(seeds),
    ]


def _goodput(pdu_bytes: int, size_bytes: int, repeats: int) -> Figure:
    payload = np.random.default_rng(0).bytes(size_bytes)
    best_s = min(_transfer_s([payload], pdu_bytes) for _ in range(repeats))
    peer_value, note = None, ""
    if pdu_bytes == 8192:
        peer_value = 248
        note = (
            "Peer: its best, 8192 B segments over UDP loopback between two processes, measured apart; ours crosses no socket."
        )
    return figure_of(
        f"goodput, {pdu_bytes} B PDUs",
        round(size_bytes * 8e-6 / best_s, 1),
        "Mbit/s of CPU",
        at_least=600,
        peer=PEER if peer_value else None,
        peer_value=peer_value,
        note=f"{size_bytes / 1e6:.0f} MB, sender and receiver on one core, best of {repeats}. {note}".strip(),
    )


def _small_items(count: int, repeats: int) -> Figure:
    rng = np.random.default_rng(1)
    payloads = [rng.bytes(400) for _ in range(count)]
    best_s = min(_transfer_s(payloads, 2048) for _ in range(repeats))
    return figure_of("small items", round(count / best_s), "items/s of CPU", note=f"{count} items of 400 B, each announced.")


def _transfer_s(payloads: list[bytes], pdu_bytes: int) -> float:
    """Move the payloads from end to end without loss; return the CPU seconds of both."""
    limits = Limits(max_pdu_bytes=pdu_bytes)
    a, b = Endpoint({}, limits), Endpoint({}, limits)
    start_s = time.process_time()
    for payload in payloads:
        a.offer("file", payload, priority=1, now_s=0.0)
    arrived = 0
    while a.queued_items:
        for pdu in a.transmit(SLICE_BYTES, 0.0):
            arrived += sum(isinstance(event, Received) for event in b.receive(pdu, 0.0))
        for pdu in b.report(0.0):
            a.receive(pdu, 0.0)
    elapsed_s = time.process_time() - start_s
    assert arrived == len(payloads)
    return elapsed_s


def _overhead() -> Figure:
    space, ground = Endpoint({}), Endpoint({})
    for index in range(50):
        space.offer("sample", np.random.default_rng(index).bytes(20_000), priority=5, now_s=0.0)
    result = run_window(space, ground, _window(10_000_000, 0), 0.0, np.random.default_rng(0))
    total = result.downlink_bytes + result.uplink_bytes
    return figure_of(
        "overhead",
        round(100 * (total - 1_000_000) / 1_000_000, 2),
        "% of payload",
        at_most=5,
        note="50 samples of 20 kB, no loss, 2048 B PDUs: headers, announces, closes, and the reports in the other direction.",
    )


def _link_share(size_bytes: int, seeds: range) -> Figure:
    loss = 0.01
    shares = []
    for seed in seeds:
        space, ground = Endpoint({}), Endpoint({})
        space.offer("file", np.random.default_rng(seed).bytes(size_bytes), priority=1, now_s=0.0)
        result = run_window(space, ground, _window(size_bytes * 2, 0), loss, np.random.default_rng(seed))
        assert len(result.at_ground) == 1
        shares.append(size_bytes / result.downlink_bytes / (1 - loss))
    return figure_of(
        "share of the link at 1 % loss",
        round(100 * float(np.mean(shares)), 2),
        "% of (1 - loss)",
        at_least=97,
        peer=PEER,
        peer_value=88.8,
        note=f"{size_bytes / 1e6:.0f} MB in one window, {len(seeds)} seeds. Peer: 87.9 of 99 Mbit/s paced at 100, 4096 B "
        "segments, measured apart in real time; ours has no delay and no timers to wait for.",
    )


def _interrupted(seeds: range) -> list[Figure]:
    """A file of 3 MB over windows of 0.5 MB, both ends rebooted between them, against the same file in one window."""
    cut = np.array([_airtime_bytes(seed, 500_000) for seed in seeds])
    whole = np.array([_airtime_bytes(seed, 8_000_000) for seed in seeds])
    how = f"3 MB, 1 % loss, windows of 0.5 MB, both ends restored from their saved state between windows, {len(seeds)} seeds."
    return [
        figure_of(
            "airtime when windows close in mid-file",
            round(float(np.mean(cut / whole)), 4),
            "x of one long window",
            at_most=1.02,
            note=how,
        ),
        figure_of(
            "bytes sent when windows close in mid-file",
            round(float(np.mean(cut)) / FILE_BYTES, 4),
            "x of payload",
            peer=PEER,
            peer_value=1.63,
            note=f"{how} Headers and lost PDUs count. Peer: 4.90 MB sent for 3 MB over one gap of 8 s, with raised limits and "
            "both processes alive, measured apart; with its default limits the transfer dies.",
        ),
    ]


def _airtime_bytes(seed: int, window_bytes: int) -> int:
    rng = np.random.default_rng(seed)
    space_blobs: MutableMapping[str, bytes] = {}
    ground_blobs: MutableMapping[str, bytes] = {}
    space, ground = Endpoint(space_blobs), Endpoint(ground_blobs)
    space.offer("file", np.random.default_rng(seed).bytes(FILE_BYTES), priority=1, now_s=0.0)
    used = 0
    for index in range(100):
        result = run_window(space, ground, _window(window_bytes, index), 0.01, rng)
        used += result.downlink_bytes
        if result.at_ground:
            return used
        space = Endpoint.from_json(space.to_json(), space_blobs)
        ground = Endpoint.from_json(ground.to_json(), ground_blobs)
    raise AssertionError("the file did not arrive")


def _heavy_loss(seeds: range) -> Figure:
    completed, shares = 0, []
    for seed in seeds:
        space, ground = Endpoint({}), Endpoint({})
        space.offer("file", np.random.default_rng(seed).bytes(FILE_BYTES), priority=1, now_s=0.0)
        rng = np.random.default_rng(seed)
        used = 0
        for index in range(20):
            result = run_window(space, ground, _window(1_000_000, index), 0.2, rng)
            used += result.downlink_bytes
            if result.at_ground:
                completed += 1
                shares.append(used * 0.8 / FILE_BYTES)
                break
    return figure_of(
        "transfers completed at 20 % loss",
        round(100 * completed / len(seeds), 1),
        "%",
        at_least=100,
        peer=PEER,
        peer_value="cancelled",
        note=f"3 MB over windows of 1 MB, {len(seeds)} seeds; airtime {float(np.mean(shares)):.3f} x of payload / (1 - loss).",
    )


def _window(capacity_bytes: int, index: int) -> ContactWindow:
    aos_s = 5_700.0 * index
    return ContactWindow("satellite", "station", aos_s, aos_s + 480.0, 45.0, capacity_bytes, max(20_000, capacity_bytes // 10))
