"""Elements and times to positions and velocities (SGP4, TEME). Frames and everything that is seen from the ground come after.

Time runs as seconds since the elements' own epoch: a Unix time in a double is good to 0.2 microseconds, two millimetres of
flight, and the difference keeps that as its only error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sgp4.api import SGP4_ERRORS

from orbitloop.clock import iso_utc
from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import FloatArray

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
