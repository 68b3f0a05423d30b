from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from skyfield.api import EarthSatellite, load
from skyfield.framelib import itrs

from orbitloop.errors import ElementsError
from orbitloop.orbit.catalogue.snapshots import time_in_name
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle, parse_tle_file, write_tle
from orbitloop.orbit.frames import teme_to_ecef
from orbitloop.orbit.position import Positions, correct, equinoctial, from_equinoctial, judge, to_teme
from orbitloop.orbit.propagate import states

EPOCH_S = 1_780_000_000.0


def _truth(altitude_km: float = 500, tilt_deg: float = 97.4, eccentricity: float = 0.001) -> Elements:
    shape = {"eccentricity": eccentricity, "raan_deg": 40.0, "mean_anomaly_deg": 10.0, "bstar": 3e-4, "norad_id": 5}
    return from_orbit("TRUTH", EPOCH_S, altitude_km, tilt_deg, **shape)  # type: ignore[arg-type]


def _fixes(of: Elements, hours: float = 24, step_s: float = 240.0, sigma_km: float = 0.01, seed: int = 1) -> Positions:
    times = of.epoch_s + np.arange(0, hours * 3600, step_s)
    noise = np.random.default_rng(seed).normal(0, sigma_km, (times.size, 3)) if sigma_km else 0.0
    return Positions(times, states(of, times)[0] + noise)


def _spoiled(of: Elements) -> Elements:
    return replace(
        of,
        mean_anomaly_deg=(of.mean_anomaly_deg + 2) % 360,
        mean_motion_rev_day=of.mean_motion_rev_day * 1.0002,
        inclination_deg=abs(of.inclination_deg + 0.02),
        bstar_per_er=1e-4,
    )


@pytest.mark.parametrize(
    ("altitude_km", "tilt_deg", "eccentricity"),
    [(500, 97.4, 0.001), (420, 51.6, 1e-6), (600, 0.0, 0.0002), (8000, 63.4, 0.3), (35786, 0.05, 0.0003)],
)
def test_the_truth_is_found_again_from_300_km_off(altitude_km: float, tilt_deg: float, eccentricity: float) -> None:
    """Fixes of 10 m and 5 % gross outliers: corrected elements place the satellite to metres, now and a day on."""
    truth = _truth(altitude_km, tilt_deg, eccentricity)
    seen = _fixes(truth)
    rng = np.random.default_rng(2)
    wild = rng.choice(seen.times_s.size, seen.times_s.size // 20, replace=False)
    seen.r_km[wild] += rng.normal(0, 50, (wild.size, 3))
    found = correct(_spoiled(truth), seen)
    assert found.rms_before_km > 200
    assert found.rms_km == pytest.approx(0.0173, rel=0.2)
    assert set(wild) <= set(np.flatnonzero(~found.used))
    assert found.used.mean() > 0.93
    later = seen.times_s[-1] + np.array([0.0, DAY_S])
    apart_m = 1000 * np.linalg.norm(states(found.elements, later)[0] - states(truth, later)[0], axis=1)
    assert apart_m[0] < 15
    assert apart_m[1] < 100
    assert found.elements.epoch_s == seen.times_s[-1]
    assert found.drag_fitted == (altitude_km < 1000)


def test_formal_sigma_is_what_repetition_shows() -> None:
    truth = _truth()
    errors, sigmas = [], []
    for seed in range(12):
        seen = _fixes(truth, hours=12, step_s=300, seed=seed)
        found = correct(replace(_spoiled(truth), bstar_per_er=truth.bstar_per_er), seen, fit_drag=False)
        errors.append(states(found.elements, seen.times_s[-1:])[0] - states(replace(truth), seen.times_s[-1:])[0])
        sigmas.append(found.sigma_rtn_km)
    spread = np.sqrt(np.mean(np.sum(np.array(errors) ** 2, axis=2)))
    formal = np.sqrt(np.mean(np.sum(np.array(sigmas) ** 2, axis=1)))
    assert 0.5 * spread < formal < 2 * spread


def test_drag_is_fitted_where_it_shows() -> None:
    truth = _truth()
    found = correct(_spoiled(truth), _fixes(truth))
    assert found.elements.bstar_per_er == pytest.approx(3e-4, rel=0.05)
    assert found.covariance[6, 6] > 0
    kept = correct(_spoiled(truth), _fixes(truth, hours=6))
    assert not kept.drag_fitted
    assert kept.elements.bstar_per_er == 1e-4
    assert not kept.covariance[6].any()


def test_corrected_elements_fit_into_a_tle() -> None:
    truth = _truth()
    found = correct(_spoiled(truth), _fixes(truth))
    back = parse_tle(*write_tle(found.elements))
    when = [found.elements.epoch_s]
    apart_m = 1000 * np.linalg.norm(states(back, when)[0] - states(found.elements, when)[0])
    assert apart_m < 30  # a TLE's last digits


def test_judgement_by_the_callers_bounds_and_by_the_model() -> None:
    truth = _truth()
    seen = _fixes(truth, hours=3)
    fine = judge(truth, seen, bounds_rtn_km=(0.1, 0.1, 0.1))
    assert not fine.flagged
    assert fine.bound == "given"
    np.testing.assert_allclose(fine.rms_km(), 0.01, rtol=0.5)
    ahead = replace(truth, mean_anomaly_deg=truth.mean_anomaly_deg + 0.01)
    off = judge(ahead, seen, bounds_rtn_km=(0.1, 0.1, 0.1))
    assert off.flagged
    assert off.rtn_km[:, 1] == pytest.approx(-np.radians(0.01) * 6878, rel=0.1)
    model = judge(truth, seen)
    assert "3 sigma" in model.bound
    assert not model.flagged
    assert judge(replace(truth, mean_anomaly_deg=100.0), seen).flagged


@pytest.mark.parametrize("frame", ["ECEF", "ITRF2014", "TEME", "eme2000", "GCRF"])
def test_frames_against_skyfield(frame: str) -> None:
    """Positions of one satellite in skyfield's frames; UT1 is taken as UTC here, and skyfield's models are newer: metres."""
    truth = _truth()
    times = truth.epoch_s + np.array([0.0, 1000.0, 2000.0])
    timescale = load.timescale(builtin=True)
    sky = EarthSatellite.from_satrec(truth.satrec(), timescale)
    when = timescale.from_datetimes([datetime.fromtimestamp(t, UTC) for t in times])
    seen = sky.at(when)
    teme = states(truth, times)[0]
    given = {"ECEF": seen.frame_xyz(itrs).km.T, "TEME": teme}.get(frame[:4], seen.position.km.T)
    if frame.startswith("ITRF"):
        given = teme_to_ecef(teme, times, 0.0)
        assert np.abs(to_teme(given, times, frame) - teme).max() < 1e-9
        return
    dut1_s = float(np.mean(when.dut1)) if frame == "ECEF" else 0.0
    assert 1000 * np.linalg.norm(to_teme(given, times, frame, dut1_s) - teme, axis=1).max() < 5


def test_refusals() -> None:
    truth = _truth()
    few = _fixes(truth, hours=0.2)
    with pytest.raises(ElementsError, match="too few"):
        correct(truth, few)
    with pytest.raises(ElementsError, match="no positions"):
        judge(truth, Positions(np.empty(0), np.empty((0, 3))))
    with pytest.raises(ElementsError, match="frame"):
        to_teme([[1.0, 2, 3]], [0.0], "MOON")
    with pytest.raises(ElementsError, match="175"):
        equinoctial(replace(truth, inclination_deg=179.0))
    low = replace(truth, mean_motion_rev_day=16.6, bstar_per_er=0.5)
    with pytest.raises(ElementsError):
        correct(low, Positions(_fixes(truth).times_s + 100 * DAY_S, _fixes(truth).r_km))


def test_equinoctial_and_back() -> None:
    """At i = 0 and e = 0 node and perigee are no longer what they were, and SGP4 sees that by metres."""
    for one, bound_km in ((_truth(), 1e-6), (_truth(600, 0.0, 0.0), 0.02), (_truth(8000, 63.4, 0.3), 1e-6)):
        back = from_equinoctial(one, equinoctial(one))
        times = one.epoch_s + np.array([0.0, 3000.0])
        np.testing.assert_allclose(states(back, times)[0], states(one, times)[0], rtol=0, atol=bound_km)


@pytest.mark.data
def test_yesterdays_set_becomes_todays() -> None:
    """Positions that follow a real newer set, and its older one corrected by them: the newer one's elements come out."""
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    import gzip

    days = sorted((root / "history_starlink").glob("*.gz"))[-2:]
    assert all(time_in_name(day.name) for day in days)
    old, new = (
        {e.norad_id: e for e in parse_tle_file(gzip.decompress(day.read_bytes())[:400_000].decode())[0]} for day in days
    )
    for number in (44714, 44723, 44741):
        then, now = old[number], new[number]
        times = np.arange(now.epoch_s - DAY_S, now.epoch_s, 300.0)
        found = correct(then, Positions(times, states(now, times)[0]))
        assert found.rms_km < 1e-4
        assert found.rms_before_km > 0.3
        assert found.elements.bstar_per_er == pytest.approx(now.bstar_per_er, rel=1e-3)
