"""A made-up constellation over days: quiet orbits with known noise, into which tests put what the detectors must find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orbitloop.orbit.catalogue.snapshots import Snapshot
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit

START_S = 1_780_000_000.0
PEERS = 120


def constellation(days: int = 7, peers: int = PEERS, seed: int = 3) -> list[list[Elements]]:
    """Return sets of each day, of satellites in one shell: 20 m of noise in the axis, 0.5 mdeg in inclination and node."""
    rng = np.random.default_rng(seed)
    out = []
    for day in range(days):
        sets = []
        for number in range(peers):
            one = from_orbit(
                f"BIRD-{number}",
                START_S,
                550,
                53.0 + 1e-9,
                raan_deg=360.0 / 12 * (number % 12),
                mean_anomaly_deg=360.0 / 10 * (number // 12),
                eccentricity=0.0005,
                norad_id=1000 + number,
                bstar=1e-4,
            )
            sets.append(_later(one, day * DAY_S + rng.uniform(0, 3600.0), rng))
        out.append(sets)
    return out


def _later(one: Elements, after_s: float, rng: np.random.Generator) -> Elements:
    record = one.satrec()
    record.sgp4(record.jdsatepoch, record.jdsatepochF + after_s / DAY_S)
    fallen = record.am / one.satrec().a - 1.0
    return replace(
        one,
        epoch_s=one.epoch_s + after_s,
        mean_motion_rev_day=one.mean_motion_rev_day * (1 - 1.5 * (fallen + rng.normal(0, 0.02) / 6928.0)),
        inclination_deg=one.inclination_deg + rng.normal(0, 5e-4),
        raan_deg=float(np.degrees(record.Om) + rng.normal(0, 5e-4)) % 360,
        arg_perigee_deg=float(np.degrees(record.om)) % 360,
        mean_anomaly_deg=float(np.degrees(record.mm) + rng.normal(0, 1e-3)) % 360,
    )


def burned(one: Elements, since_s: float, axis_km: float = 0.0, tilt_deg: float = 0.0) -> Elements:
    """Return a set whose satellite stepped its axis and inclination at `since_s`."""
    change = -1.5 * axis_km / 6928.0 * one.mean_motion_rev_day
    cosines = np.cos(np.radians([one.inclination_deg + tilt_deg, one.inclination_deg]))
    node_deg_d = -1.5 * 0.001082616 * (6378.135 / 6928.0) ** 2 * 360 * one.mean_motion_rev_day * (cosines[0] - cosines[1])
    return replace(
        one,
        mean_motion_rev_day=one.mean_motion_rev_day + change,
        mean_anomaly_deg=(one.mean_anomaly_deg + 360 * change * (one.epoch_s - since_s) / DAY_S) % 360,
        inclination_deg=one.inclination_deg + tilt_deg,
        raan_deg=(one.raan_deg + node_deg_d * (one.epoch_s - since_s) / DAY_S) % 360,
    )


def snapshots(days: list[list[Elements]]) -> list[Snapshot]:
    """Return a snapshot of each day, taken in its evening."""
    return [Snapshot(f"birds_2026-05-{20 + n}.tle", START_S + (n + 0.8) * DAY_S, tuple(sets)) for n, sets in enumerate(days)]
