"""Telemetry in memory: channels by name, samples by time, and the scale in which monitors see them.

Reading files belongs to `apps.health_files`. A monitor sees values in units of half a channel's full scale, around its middle,
so that one set of floors serves all channels. The full scale is what the operator says (`TelemetryLimits`), else the range of
the nominal part; a channel that never moved gets its own size, at least 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.errors import TelemetryError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Samples (N, C) of C channels; NaN where one is missing. `times_s` (N,): UTC seconds, or sample numbers (not `timed`)."""

    channels: tuple[str, ...]
    times_s: FloatArray
    values: FloatArray
    timed: bool = False

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.times_s), len(self.channels)):
            raise ValueError(f"values are {self.values.shape}, not {(len(self.times_s), len(self.channels))}")

    def __len__(self) -> int:
        return len(self.times_s)

    def part(self, first: int, end: int) -> Telemetry:
        """Return samples first to end - 1."""
        return Telemetry(self.channels, self.times_s[first:end], self.values[first:end], self.timed)

    def select(self, names: Sequence[str]) -> Telemetry:
        """Return these channels, in this order.

        Raises:
            TelemetryError: one is not there.
        """
        missing = [name for name in names if name not in self.channels]
        if missing:
            raise TelemetryError(f"no channel is called {missing[0]!r}", remedy=f"there are: {', '.join(self.channels[:20])}")
        picked = [self.channels.index(name) for name in names]
        return Telemetry(tuple(names), self.times_s, self.values[:, picked], self.timed)


@dataclass(frozen=True, slots=True)
class Scale:
    """Middle and half of the full scale of each channel (C,)."""

    middle: FloatArray
    half: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        return (values - self.middle) / self.half


def scale_of(nominal: Telemetry, full_scale: Mapping[str, tuple[float, float]] | None = None) -> Scale:
    """Return the scale of each channel: what is given for it, else from its nominal values."""
    given = full_scale or {}
    filled = held(nominal.values)
    low, high = filled.min(axis=0), filled.max(axis=0)
    size = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1.0)
    half = np.where(high - low > 1e-9 * size, (high - low) / 2, size)
    middle = (low + high) / 2
    for c, name in enumerate(nominal.channels):
        if name in given:
            middle[c], half[c] = (given[name][0] + given[name][1]) / 2, (given[name][1] - given[name][0]) / 2
    return Scale(middle, half)


def unscaled(channels: int) -> Scale:
    """Return the scale of telemetry that comes scaled to -1..1."""
    return Scale(np.zeros(channels), np.ones(channels))


def held(values: FloatArray, first: FloatArray | None = None) -> FloatArray:
    """Fill what is missing (N, C) with the channel's last value; before its first one with `first` (C,), or that one, or 0."""
    out = values.copy()
    for c in range(values.shape[1]):
        here = np.isfinite(values[:, c])
        if here.all():
            continue
        last = np.maximum.accumulate(np.where(here, np.arange(len(values)), -1))
        begin = first[c] if first is not None else (values[np.argmax(here), c] if here.any() else 0.0)
        out[:, c] = np.where(last >= 0, values[np.maximum(last, 0), c], begin)
    return out
