"""The two engines under `propagate.FleetPropagator`: `sgp4`, the reference, and `astroz`, SGP4 on wide registers, optional.

astroz is sixteen times as fast as `sgp4` and off from it by up to 0.4 m, because its sines are polynomials. Its public
`Constellation` puts near-Earth satellites before others and rounds times to 40 microseconds of Julian date (0.3 m of flight);
the calls beneath, used here, take minutes since each satellite's own epoch and keep the order of what they were made of.
It is not believed: at each call, 64 satellites spread over the whole list are propagated by `sgp4` to the first, middle and
last time, and a difference above a metre, a shuffled order or another verdict on decay ends the engine's use.

Satellites of deep space (periods of 225 minutes and more) go through `sgp4`, which gains nothing from wide registers there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sgp4.api import SatrecArray

from orbitloop.orbit.frames import FloatArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

UNIX_JD = 2_440_587.5
_DAY_S = 86_400.0
TOLERANCE_KM, TOLERANCE_KM_S = 1e-3, 1e-5
SAMPLE = 64


class EngineError(Exception):
    """The fast engine is absent, or differs from the reference; never leaves `FleetPropagator`."""


def array_states(records: Any, times_s: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Propagate a `SatrecArray` of N to `times_s` (T,) by the reference.

    Returns:
        TEME positions (N, T, 3) km, velocities (N, T, 3) km/s, and whether each is good (N, T); what is not is NaN.
    """
    days = np.floor(times_s / _DAY_S)
    codes, r_km, v_km_s = records.sgp4(UNIX_JD + days, (times_s - days * _DAY_S) / _DAY_S)
    return _judged(r_km, v_km_s, (codes == 0) & np.isfinite(r_km[..., 0]))


def _judged(r_km: FloatArray, v_km_s: FloatArray, ok: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    if not ok.all():
        r_km[~ok], v_km_s[~ok] = np.nan, np.nan
    return r_km, v_km_s, ok


class WideEngine:
    """astroz for near-Earth satellites and sgp4 for the others, in the order given.

    Raises:
        EngineError: it is not installed, or not the release whose calls are known here.
    """

    def __init__(self, records: Sequence[Any], epoch_s: Sequence[float]) -> None:
        """Take accepted records of `sgp4` (N) and the exact epochs that belong to them."""
        deep = np.array([record.method == "d" for record in records])
        self._near, self._deep = np.flatnonzero(~deep), np.flatnonzero(deep)
        self._epoch_s = np.asarray(epoch_s, np.float64)[self._near]
        self._deep_records = SatrecArray([records[k] for k in self._deep.tolist()]) if self._deep.size else None
        self._sample = np.unique(np.linspace(0, self._near.size - 1, min(SAMPLE, self._near.size)).astype(np.intp))
        self._sample_records = SatrecArray([records[k] for k in self._near[self._sample].tolist()])
        try:
            self._engine = _engine([records[k] for k in self._near.tolist()])
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            # The calls beneath are no public promise: a release that changes them is as good as one that is absent.
            raise EngineError(f"astroz cannot be used ({error})") from error

    def states(self, times_s: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return what `FleetPropagator.states` returns.

        Raises:
            EngineError: the check failed; nothing of the result may be used.
        """
        near_r, near_v = np.empty((self._near.size, times_s.size, 3)), np.empty((self._near.size, times_s.size, 3))
        if self._near.size:
            since_min = (times_s - times_s[0]) / 60.0
            self._engine.propagate_into(since_min, near_r, near_v, epoch_offsets=(times_s[0] - self._epoch_s) / 60.0)
            self._check(near_r, near_v, times_s)
        if self._deep_records is None:
            return _judged(near_r, near_v, np.isfinite(near_r[..., 0]))
        shape = (self._near.size + self._deep.size, times_s.size, 3)
        r_km, v_km_s = np.empty(shape), np.empty(shape)
        r_km[self._near], v_km_s[self._near] = near_r, near_v
        r_km[self._deep], v_km_s[self._deep], _ = array_states(self._deep_records, times_s)
        return _judged(r_km, v_km_s, np.isfinite(r_km[..., 0]))

    def _check(self, r_km: FloatArray, v_km_s: FloatArray, times_s: FloatArray) -> None:
        when = np.unique([0, times_s.size // 2, times_s.size - 1])
        true_r, true_v, ok = array_states(self._sample_records, times_s[when])
        rows = np.ix_(self._sample, when)
        if not np.array_equal(np.isfinite(r_km[rows][..., 0]), ok):
            raise EngineError("astroz and sgp4 differ about which satellites have decayed")
        if not ok.any():
            return
        apart_km = float(np.linalg.norm(r_km[rows] - true_r, axis=-1)[ok].max())
        apart_km_s = float(np.linalg.norm(v_km_s[rows] - true_v, axis=-1)[ok].max())
        if apart_km > TOLERANCE_KM or apart_km_s > TOLERANCE_KM_S:
            raise EngineError(f"astroz differs from sgp4 by {apart_km * 1e3:.3g} m and {apart_km_s * 1e3:.3g} m/s on a sample")


def _engine(records: Sequence[Any]) -> Any:
    from astroz import _astroz

    mine = []
    for record in records:
        one = _astroz.Satrec()
        one.sgp4init(
            _astroz.WGS72,
            "i",
            0,
            record.jdsatepoch + record.jdsatepochF - 2_433_281.5,  # its own idea of the epoch is not used
            record.bstar,
            0.0,
            0.0,
            record.ecco,
            record.argpo,
            record.inclo,
            record.mo,
            record.no_kozai,
            record.nodeo,
        )
        mine.append(one)
    return _astroz.Sgp4Constellation(mine, gravity_model=_astroz.WGS72) if mine else None
