"""A bounded memory of how a channel looked when it was well, and how far the newest window is from all of it.

The memory holds at most `size` windows of `window` samples, chosen from the nominal part by farthest-point selection (Gonzalez
1985), so that every nominal window lies within r of one of them, at most twice the least r that as many windows could have.
The score is the Euclidean distance of the newest window to the nearest kept one, over (r + `floor`): what the matrix profile
does on the ground against the whole history (Yeh et al. 2016), in `size` x `window` x 4 bytes a channel.

Values come scaled, so that 2 is a channel's full scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.forecast import FloatArray, count_of
from orbitloop.algorithms.health.packing import pack_array, unpack_array
from orbitloop.errors import TelemetryError

NOTHING_LEFT = 1e-9


class Patterns:
    """Nearest remembered window, of C channels at once.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "Distance of the newest window to a bounded memory of nominal ones; a few kB a channel. Flies."
    rule = AlarmRule(1.3, 1.0, 50)
    """What raises an event, as chosen on the development channels (`docs/health.md`)."""

    def __init__(self, *, window: int = 24, size: int = 64, floor: float = 0.4) -> None:
        if not (2 <= window <= 10_000 and 1 <= size <= 10_000 and floor > 0):
            raise ValueError("window lies in 2..10000, size in 1..10000, floor over 0")
        self._window, self._size, self._floor = window, size, floor
        self._kept: npt.NDArray[np.float32] = np.zeros((0, size, window), np.float32)
        self._radius: FloatArray = np.zeros(0)
        self._recent: FloatArray = np.zeros((0, window))
        self._filled = window

    def fit(self, nominal: FloatArray) -> None:
        """Choose what is remembered of nominal values (N, C), scaled and finite.

        Raises:
            TelemetryError: fewer than two windows.
        """
        length, channels = nominal.shape
        if length < 2 * self._window:
            raise TelemetryError(
                f"{length} nominal samples are too few for windows of {self._window}",
                remedy=f"give at least {2 * self._window}",
            )
        chosen = [self._choose(nominal[:, c]) for c in range(channels)]
        self._kept = np.stack([kept for kept, _ in chosen])
        self._radius = np.array([radius for _, radius in chosen])
        self._recent = nominal[-self._window :].T.copy()
        self._filled = self._window

    def scores(self, values: FloatArray, *, follows: bool = True) -> FloatArray:
        """Return scores (M, C) of what follows on what was seen last, or of a recording of its own; changes no state."""
        past = np.concatenate([self._recent.T[1:], values])
        out = np.empty(values.shape)
        for c, kept in enumerate(self._kept.astype(np.float64)):
            windows = np.lib.stride_tricks.sliding_window_view(past[:, c], self._window)
            squared = (windows**2).sum(axis=1)[:, None] + (kept**2).sum(axis=1) - 2.0 * windows @ kept.T
            nearest = np.argmin(squared, axis=1)
            # The difference itself, not the binomial, which loses its last digits where the two are nearly equal.
            out[:, c] = np.sqrt(((windows - kept[nearest]) ** 2).sum(axis=1))
        known = self._filled if follows else 0
        out[: max(self._window - 1 - known, 0)] = 0.0  # these windows are not full yet
        return out / (self._radius + self._floor)

    def step(self, values: FloatArray) -> FloatArray:
        """Take one sample (C,) and return its scores (C,)."""
        self._recent[:, :-1] = self._recent[:, 1:]
        self._recent[:, -1] = values
        off = self._kept - self._recent[:, None, :]
        nearest = np.einsum("csw,csw->cs", off, off).min(axis=1)
        self._filled = min(self._filled + 1, self._window)
        if self._filled < self._window:
            return np.zeros(len(values))
        return np.asarray(np.sqrt(nearest) / (self._radius + self._floor), np.float64)

    def restart(self) -> None:
        """A new recording begins: what was learnt stays, what was seen last is forgotten."""
        self._filled = 0

    @property
    def last(self) -> FloatArray:
        """The newest sample (C,)."""
        return np.asarray(self._recent[:, -1], np.float64)

    @property
    def state_bytes(self) -> int:
        """Bytes that this object keeps."""
        return self._kept.nbytes + self._recent.nbytes + self._radius.nbytes

    def _choose(self, series: FloatArray) -> tuple[npt.NDArray[np.float32], float]:
        windows = np.lib.stride_tricks.sliding_window_view(series, self._window)
        kept = [0]
        squared = ((windows - windows[0]) ** 2).sum(axis=1)
        while len(kept) < self._size and squared.max() > NOTHING_LEFT:
            kept.append(int(np.argmax(squared)))
            np.minimum(squared, ((windows - windows[kept[-1]]) ** 2).sum(axis=1), out=squared)
        kept += kept[:1] * (self._size - len(kept))  # fewer ways to look than places: the first fills what is left
        return windows[kept].astype(np.float32), float(np.sqrt(squared.max()))

    def to_json(self) -> dict[str, Any]:
        kept, radius, recent = pack_array(self._kept), pack_array(self._radius), pack_array(self._recent)
        return {"kept": kept, "radius": radius, "recent": recent, "filled": self._filled}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `to_json` gave.

        Raises:
            TelemetryError: malformed, or made with another window or size.
        """
        where = "pattern state"
        if not isinstance(state, dict) or not {"kept", "radius", "recent"} <= state.keys():
            raise TelemetryError("saved state lacks kept, radius or recent", where=where)
        kept = unpack_array(state["kept"], (None, self._size, self._window), where)
        radius = unpack_array(state["radius"], (len(kept),), where)
        recent = unpack_array(state["recent"], (len(kept), self._window), where)
        self._filled = count_of(state, self._window, where)
        self._kept, self._radius, self._recent = kept.astype(np.float32), radius.astype(np.float64), recent.astype(np.float64)
