from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from skyfield.api import load
from skyfield.sgp4lib import TEME

from orbitloop.clock import parse_utc_s
from orbitloop.orbit.inertial import eme2000_to_teme, gcrf_to_teme


@pytest.mark.parametrize(("year", "metres"), [(1990, 1.0), (2006, 1.0), (2017, 1.5), (2026, 1.7)])
def test_teme_is_skyfields_to_two_metres_in_low_orbit(year: int, metres: float) -> None:
    """Skyfield has IAU 2000A/2006 behind its TEME: the models differ by that much."""
    times_s = parse_utc_s(f"{year}-02-03T05:00:00Z") + np.linspace(0, 300 * 86400, 40)
    when = load.timescale(builtin=True).from_datetimes([datetime.fromtimestamp(t, UTC) for t in times_s])
    theirs = np.moveaxis(TEME.rotation_at(when), -1, 0)
    point_km = np.array([4000.0, -3500.0, 4500.0])
    apart_m = np.linalg.norm(gcrf_to_teme(times_s) @ point_km - theirs @ point_km, axis=1) * 1000
    assert apart_m.max() < metres


def test_frame_bias_is_a_metre() -> None:
    point_km = np.array([[0.0, 0.0, 7000.0]])
    apart_m = np.linalg.norm((gcrf_to_teme([0.0]) - eme2000_to_teme([0.0]))[0] @ point_km[0]) * 1000
    assert 0.3 < apart_m < 1.0


def test_rotations_are_rotations() -> None:
    matrices = eme2000_to_teme(np.array([0.0, 1.8e9]))
    np.testing.assert_allclose(matrices @ np.swapaxes(matrices, 1, 2), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0)
