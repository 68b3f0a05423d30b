"""A simulated duplex channel: one contact window between a satellite's endpoint and the ground's.

Leaves to others: when windows are and what they are worth (`orbit`), what the endpoints send (`link`). The bytes are the
real PDUs. Each direction has its own capacity and loses each PDU with the same chance; a lost PDU has used its airtime. The
window is cut into slices: in each, both ends report and then send, so that a loss in one slice is repaired in the next.
Unused capacity carries over to later slices (the transmitter could have waited), never to the next window. Reports come
first, and count.

Not modelled here: delay (a report is heard at once; true to 10 ms in low orbit), bit errors (a PDU with one fails its CRC,
which is a loss), bursts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orbitloop.errors import LinkError
from orbitloop.link.events import Acknowledged, Event, Received
from orbitloop.link.session import Endpoint
from orbitloop.records.contact import ContactWindow

SLICES = 16


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What one window moved. Bytes are PDUs with their headers, lost ones and reports included.

    `at_ground` and `at_satellite` are what became whole there, in order; the acknowledgements say what each sender now knows.
    """

    downlink_bytes: int
    uplink_bytes: int
    at_ground: tuple[Received, ...]
    at_satellite: tuple[Received, ...]
    acknowledged_to_satellite: tuple[Acknowledged, ...]
    acknowledged_to_ground: tuple[Acknowledged, ...]
    sent_pdus: int
    lost_pdus: int


@dataclass(slots=True)
class _Lane:
    """One direction: its sender, its receiver, what it may carry and has carried."""

    sender: Endpoint
    receiver: Endpoint
    capacity_bytes: int
    loss_rate: float
    rng: np.random.Generator
    used_bytes: int = 0
    open_bytes: int = 0
    sent_pdus: int = 0
    lost_pdus: int = 0
    heard: list[Event] = field(default_factory=list)

    def open_slice(self, index: int, slices: int) -> None:
        self.open_bytes = self.capacity_bytes * (index + 1) // slices

    def report(self, now_s: float) -> None:
        self._carry(self.sender.report(now_s, self.open_bytes - self.used_bytes), now_s)

    def transmit(self, now_s: float) -> None:
        self._carry(self.sender.transmit(self.open_bytes - self.used_bytes, now_s), now_s)

    def _carry(self, pdus: list[bytes], now_s: float) -> None:
        lost = self.rng.random(len(pdus)) < self.loss_rate
        for pdu, is_lost in zip(pdus, lost.tolist(), strict=True):
            self.used_bytes += len(pdu)
            self.sent_pdus += 1
            if is_lost:
                self.lost_pdus += 1
            else:
                self.heard.extend(self.receiver.receive(pdu, now_s))


def run_window(
    space: Endpoint,
    ground: Endpoint,
    window: ContactWindow,
    loss_rate: float,
    rng: np.random.Generator,
    max_uplink_bytes: int | None = None,
    max_downlink_bytes: int | None = None,
    slices: int = SLICES,
) -> WindowResult:
    """Run one contact from AOS to LOS.

    Args:
        space: the satellite's end.
        ground: the station's end.
        window: gives the times and each direction's capacity.
        loss_rate: the chance of a PDU to be lost, 0 to below 1.
        rng: draws the losses.
        max_uplink_bytes: a budget below the capacity, if any.
        max_downlink_bytes: the same for the downlink.
        slices: how often the ends alternate.

    Raises:
        LinkError: the loss rate or the number of slices is out of range.
    """
    if not 0 <= loss_rate < 1 or slices < 1:
        raise LinkError(f"loss rate {loss_rate} or slices {slices} out of range", remedy="0 <= loss rate < 1, slices >= 1")
    down = _Lane(space, ground, _capacity(window.downlink_bytes, max_downlink_bytes), loss_rate, rng)
    up = _Lane(ground, space, _capacity(window.uplink_bytes, max_uplink_bytes), loss_rate, rng)
    space.open_window(window.aos_s)
    ground.open_window(window.aos_s)
    now_s = window.aos_s
    for index in range(slices):
        for lane in (down, up):
            lane.open_slice(index, slices)
        for lane in (down, up):
            lane.report(now_s)
        now_s = window.aos_s + window.duration_s * (index + 1) / slices
        for lane in (down, up):
            lane.transmit(now_s)
    for lane in (down, up):  # what is left of the window says how it ended, so that the next one need not ask
        lane.report(now_s)
    return _result(down, up)


def _capacity(window_bytes: int, budget_bytes: int | None) -> int:
    return max(0, window_bytes if budget_bytes is None else min(window_bytes, budget_bytes))


def _result(down: _Lane, up: _Lane) -> WindowResult:
    return WindowResult(
        downlink_bytes=down.used_bytes,
        uplink_bytes=up.used_bytes,
        at_ground=tuple(e for e in down.heard if isinstance(e, Received)),
        at_satellite=tuple(e for e in up.heard if isinstance(e, Received)),
        acknowledged_to_satellite=tuple(e for e in up.heard if isinstance(e, Acknowledged)),
        acknowledged_to_ground=tuple(e for e in down.heard if isinstance(e, Acknowledged)),
        sent_pdus=down.sent_pdus + up.sent_pdus,
        lost_pdus=down.lost_pdus + up.lost_pdus,
    )
