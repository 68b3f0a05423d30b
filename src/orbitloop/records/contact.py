"""When a satellite and a station see each other, and how many bytes that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ContactWindow:
    """One pass, from acquisition (AOS) to loss of signal (LOS), UTC seconds.

    `downlink_bytes` and `uplink_bytes` are the link's capacity over the window: its rate, by elevation where the mission says
    so, integrated between AOS and LOS less the guard times.
    """

    satellite: str
    station: str
    aos_s: float
    los_s: float
    max_elevation_deg: float
    downlink_bytes: int
    uplink_bytes: int

    @property
    def duration_s(self) -> float:
        return self.los_s - self.aos_s

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ContactWindow:
        return cls(**{name: value[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """Windows in order of AOS. The satellite holds this, never an orbit model."""

    windows: tuple[ContactWindow, ...]

    def after(self, now_s: float, satellite: str) -> ContactWindow | None:
        """Return the satellite's first window that has not closed at `now_s`, or None."""
        return next((w for w in self.windows if w.satellite == satellite and w.los_s > now_s), None)
