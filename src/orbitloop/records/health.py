"""What a satellite says of itself in every pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from orbitloop.errors import WireError
from orbitloop.records.update import ApplyReport
from orbitloop.records.wire import pack, unpack

KIND = "beacon"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Beacon:
    """State of one satellite: small, sent first, so that the ground always knows what is flying.

    `battery_wh` is NaN when the satellite cannot tell its charge (null in JSON): it must be heard then above all.
    `contacts` counts passes, by which metadata ages without a clock. The versions are of the TUF roles believed on board (0 =
    none yet), so that the ground need not send them again.
    """

    satellite: str
    at_s: float
    model_digest: str
    model_version: int
    tiles_seen: int
    hard_seen: int
    stored_samples: int
    battery_wh: float
    reports: tuple[ApplyReport, ...] = ()
    contacts: int = 0
    root_version: int = 0
    targets_version: int = 0

    @property
    def trust(self) -> tuple[int, int, int]:
        """Contacts, root and targets version."""
        return self.contacts, self.root_version, self.targets_version

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "reports"}
        charge = self.battery_wh if math.isfinite(self.battery_wh) else None
        return plain | {"battery_wh": charge, "reports": [r.to_json() for r in self.reports]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Beacon:
        plain = {name: value[name] for name in cls.__slots__ if name != "reports"}
        plain["battery_wh"] = math.nan if plain["battery_wh"] is None else plain["battery_wh"]
        return cls(**plain, reports=tuple(ApplyReport.from_json(r) for r in value["reports"]))


def beacon_to_bytes(beacon: Beacon) -> bytes:
    """Serialise a beacon."""
    return pack(KIND, VERSION, beacon.to_json())


def beacon_from_bytes(data: bytes, *, expect: str | None = None) -> Beacon:
    """Read what `beacon_to_bytes` wrote.

    Args:
        data: the whole record.
        expect: the satellite that it came from; a beacon in another's name is refused.

    Raises:
        WireError: malformed, or another satellite's. Never anything else.
    """
    fields = unpack(data, expect=KIND).fields
    try:
        beacon = Beacon.from_json(fields)
        texts = (beacon.satellite, beacon.model_digest)
        counts = (beacon.model_version, beacon.tiles_seen, beacon.hard_seen, beacon.stored_samples, *beacon.trust)
        right = all(isinstance(t, str) for t in texts) and all(type(n) is int for n in counts)
        if not right or type(beacon.at_s) not in (int, float) or type(beacon.battery_wh) not in (int, float):
            raise TypeError("a field is of another kind")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WireError(f"beacon is malformed ({type(error).__name__}: {error})", where=KIND) from error
    if expect is not None and beacon.satellite != expect:
        raise WireError(f"a beacon of {beacon.satellite!r} came from {expect!r}", where=KIND)
    return beacon
