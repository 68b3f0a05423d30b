"""Elements and times to positions and velocities (SGP4, TEME). Frames and everything that is seen from the ground come after.

Time runs as seconds since the elements' own epoch: a Unix time in a double is good to 0.2 microseconds, two millimetres of
flight, and the difference keeps that as its only error.

One satellite is `states`; many at once is `FleetPropagator`, which never holds more than a block of times. Its engine is the
`sgp4` package, which is the reference, or `astroz` (`engines`), which is believed only as far as it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sgp4.api import SGP4_ERRORS, SatrecArray

from orbitloop.clock import iso_utc
from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.engines import UNIX_JD, BoolArray, EngineError, WideEngine, array_states
from orbitloop.orbit.frames import FloatArray

Engine: TypeAlias = Literal["auto", "sgp4", "astroz"]

BLOCK_BYTES = 64 << 20
"""Bytes of positions and velocities in one block of `FleetPropagator.blocks`."""
AUTO_SATELLITES = 32
"""From so many satellites the engine `auto` takes the fast one."""
_STATE_BYTES = 98  # position, velocity and code, and as much again in what the engine returns

BLOCK = 65_536
"""Times per call of the propagator: its own scratch arrays stay below 8 MB however many times are asked."""


def states(elements: Elements, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return TEME positions (T, 3) km and velocities (T, 3) km/s at `times_s` (T,), UTC seconds.

    Raises:
        ElementsError: the satellite has decayed, or its elements do not hold, at one of the times (the first is named).
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    return states_since_epoch(elements, times - elements.epoch_s)


def states_since_epoch(elements: Elements, since_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return what `states` returns, at seconds since the elements' epoch (T,).

    Raises:
        ElementsError: as for `states`.
    """
    since = np.atleast_1d(np.asarray(since_s, np.float64))
    if since.ndim != 1:
        raise ValueError(f"times are one-dimensional, not of shape {since.shape}")
    r_km, v_km_s = np.empty((since.size, 3)), np.empty((since.size, 3))
    record = elements.satrec()
    for start in range(0, since.size, BLOCK):
        part = since[start : start + BLOCK]
        fraction = record.jdsatepochF + part / DAY_S
        codes, r_km[start : start + BLOCK], v_km_s[start : start + BLOCK] = record.sgp4_array(
            np.full(part.size, record.jdsatepoch), fraction
        )
        fine = (codes == 0) & np.isfinite(r_km[start : start + BLOCK]).all(axis=1)
        if not fine.all():
            first = int(np.argmin(fine))
            raise _failure(elements, float(part[first]), int(codes[first]))
    return r_km, v_km_s


def _failure(elements: Elements, since_s: float, code: int) -> ElementsError:
    when_s = elements.epoch_s + since_s
    try:
        when = iso_utc(when_s)
    except (ValueError, OverflowError, OSError):
        when = f"Unix time {when_s:g}"
    why = "the satellite has decayed" if code == 6 else SGP4_ERRORS.get(code) or "the result is not a number"
    return ElementsError(
        f"cannot propagate {elements.name!r} to {when}, {since_s / DAY_S:+.1f} days from its epoch: {why}",
        remedy="use elements with an epoch closer to that time",
    )


class FleetPropagator:
    """Propagates many satellites to the same times, always in the order in which they were given.

    Attributes:
        engine: what propagates near-Earth satellites now, `sgp4` or `astroz`.
        note: why that is not what was asked for; empty when it is.
    """

    def __init__(self, elements: Sequence[Elements], *, engine: Engine = "auto") -> None:
        """Prepare the satellites' records.

        A satellite whose elements SGP4 refuses stays in its place: it is never `ok`.

        Args:
            elements: N satellites.
            engine: `sgp4`; `astroz`, or `sgp4` with a note where that is absent or wrong; `auto`, the fast one where the
                fleet is large enough for it and it is installed.
        """
        if engine not in ("auto", "sgp4", "astroz"):
            raise ValueError(f"engine {engine!r} is none of auto, sgp4, astroz")
        self.elements = tuple(elements)
        self.note = ""
        self._records = [_record(one) for one in self.elements]
        self._good = np.array([n for n, record in enumerate(self._records) if record is not None], np.intp)
        good = [record for record in self._records if record is not None]
        self._reference = SatrecArray(good) if good else None
        self._fast: WideEngine | None = None
        if engine == "astroz" or (engine == "auto" and len(good) >= AUTO_SATELLITES):
            self._use_fast(good, told=engine == "astroz")

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def engine(self) -> str:
        return "astroz" if self._fast is not None else "sgp4"

    def states(self, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Propagate all satellites to `times_s` (T,), UTC seconds.

        Returns:
            TEME positions (N, T, 3) km, velocities (N, T, 3) km/s, and whether each is good (N, T). What is not (decayed,
            refused, not a number) is NaN.
        """
        times = np.atleast_1d(np.asarray(times_s, np.float64))
        if times.ndim != 1:
            raise ValueError(f"times are one-dimensional, not of shape {times.shape}")
        if self._reference is None or times.size == 0:
            shape = (len(self), times.size, 3)
            return np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape[:2], np.bool_)
        r_km, v_km_s, ok = self._good_states(times)
        if self._good.size == len(self):
            return r_km, v_km_s, ok
        shape = (len(self), times.size, 3)
        every_r, every_v, every_ok = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape[:2], np.bool_)
        every_r[self._good], every_v[self._good], every_ok[self._good] = r_km, v_km_s, ok
        return every_r, every_v, every_ok

    def states_at(self, satellites: npt.ArrayLike, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Propagate single satellites to times of their own, always by `sgp4`.

        Args:
            satellites: index of each (K,).
            times_s: UTC seconds (K,).

        Returns:
            TEME positions (K, 3) km, velocities (K, 3) km/s, and whether each is good (K,); what is not is NaN.
        """
        which, times = np.atleast_1d(np.asarray(satellites, np.intp)), np.atleast_1d(np.asarray(times_s, np.float64))
        r_km, v_km_s = np.full((which.size, 3), np.nan), np.full((which.size, 3), np.nan)
        ok = np.zeros(which.size, np.bool_)
        order = None if np.all(which[1:] >= which[:-1]) else np.argsort(which, kind="stable")
        sorted_which = which if order is None else which[order]
        for run in np.split(np.arange(which.size), np.flatnonzero(np.diff(sorted_which)) + 1):
            if run.size and self._records[sorted_which[run[0]]] is not None:
                rows = slice(run[0], run[-1] + 1) if order is None else order[run]
                days = np.floor(times[rows] / DAY_S)
                codes, r_km[rows], v_km_s[rows] = self._records[sorted_which[run[0]]].sgp4_array(
                    UNIX_JD + days, (times[rows] - days * DAY_S) / DAY_S
                )
                ok[rows] = (codes == 0) & np.isfinite(r_km[rows][:, 0])
        r_km[~ok], v_km_s[~ok] = np.nan, np.nan
        return r_km, v_km_s, ok

    def blocks(
        self, start_s: float, end_s: float, step_s: float, max_bytes: int = BLOCK_BYTES
    ) -> Iterator[tuple[FloatArray, FloatArray, FloatArray, BoolArray]]:
        """Walk from `start_s` in equal steps to the last one that is not after `end_s`, some times at once.

        Yields:
            (times_s (B,), positions (N, B, 3), velocities (N, B, 3), ok (N, B)) as `states`; B is as large as `max_bytes`
            allows, but at least one.
        """
        if not step_s > 0:
            raise ValueError(f"step_s is {step_s}, not above 0")
        count = math.floor((end_s - start_s) / step_s * (1 + 1e-12)) + 1
        size = max(1, int(max_bytes // (_STATE_BYTES * max(1, len(self)))))
        for first in range(0, max(0, count), size):
            times_s = start_s + step_s * np.arange(first, min(first + size, count), dtype=np.float64)
            yield (times_s, *self.states(times_s))

    def _good_states(self, times_s: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        if self._fast is not None:
            try:
                return self._fast.states(times_s)
            except EngineError as error:
                self._fast, self.note = None, f"{error}; sgp4 is used"
        return array_states(self._reference, times_s)

    def _use_fast(self, records: Sequence[Any], told: bool) -> None:
        try:
            self._fast = WideEngine(records, [self.elements[n].epoch_s for n in self._good])
        except EngineError as error:
            self.note = f"{error}; sgp4 is used" if told else ""


def _record(elements: Elements) -> Any:
    """Return the propagator's record with the whole digits of the epoch, or None where SGP4 refuses it."""
    try:
        record = elements.satrec()
    except ElementsError:
        return None
    days = math.floor(elements.epoch_s / DAY_S)
    # One double of Julian days is good to 20 microseconds, 15 cm of flight; two are exact.
    record.jdsatepoch, record.jdsatepochF = UNIX_JD + days, (elements.epoch_s - days * DAY_S) / DAY_S
    return record
