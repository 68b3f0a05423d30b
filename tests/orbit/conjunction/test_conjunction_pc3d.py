from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.cdm import read_cdm
from orbitloop.orbit.conjunction.cloud import cartesian_cloud, cloud_of
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.overlap import Overlap, overlap
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.pc3d import entry_rates, pc3d

# The second is a little faster, so that they miss each other at the other node, half a revolution later.
SPEED = float(np.sqrt(MU_KM3_S2 / 7000))


def _crossing(
    sigma_km: float = 0.1, radius_m: float = 20.0, miss_km: tuple[float, float, float] = (0.1, 0.0, 0.05)
) -> Encounter:
    spread = np.diag([sigma_km**2] * 3 + [1e-10] * 3)
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState("B", "2", np.array([7000.1, 0, 0.05]), np.array([0, 0, 1.002 * SPEED]), spread)
    return Encounter(0.0, first, second, radius_m)


@pytest.mark.parametrize(("sigma_km", "radius_m"), [(0.1, 20.0), (1.0, 5.0), (0.05, 100.0), (0.01, 100.0)])
def test_a_short_encounter_is_what_the_plane_says(sigma_km: float, radius_m: float) -> None:
    encounter = _crossing(sigma_km, radius_m)
    found = pc3d(encounter)
    assert found.value == pytest.approx(pc2d(encounter).value, rel=2e-3)
    assert -0.1 - sigma_km < found.begin_s < found.end_s < 0.1 + sigma_km
    assert found.error < 1e-4


def test_the_flux_through_a_sphere_of_a_still_density() -> None:
    """Gas kinetics: where position does not tell velocity, and the density hardly changes over the sphere, the inward flux is
    density times pi R^2 times the mean speed (here of a Maxwell distribution, 2 sigma sqrt(2 / pi))."""
    sigma, speed, radius = 50.0, 0.02, 0.5
    seen = Overlap(np.zeros((1, 6)), np.diag([sigma**2] * 3 + [speed**2] * 3)[None], np.zeros(1), np.ones(1, bool))
    expected = (2 * np.pi) ** -1.5 / sigma**3 * np.pi * radius**2 * 2 * speed * np.sqrt(2 / np.pi)
    assert entry_rates(seen, radius)[0] == pytest.approx(expected, rel=1e-4)


def test_the_flux_of_a_beam() -> None:
    """All move at one speed, from a density that hardly changes: density times cross-section times speed."""
    mean = np.array([[0, 0, 0, 3.0, -4.0, 0]])
    seen = Overlap(mean, np.diag([900.0] * 3 + [1e-12] * 3)[None], np.zeros(1), np.ones(1, bool))
    expected = (2 * np.pi) ** -1.5 / 27000 * np.pi * 0.25 * 5
    assert entry_rates(seen, 0.5)[0] == pytest.approx(expected, rel=5e-4)


def test_the_peak_of_overlap_is_where_both_clouds_meet() -> None:
    """A cloud long against its orbit's bend: its tangent misses a place on the orbit, its peak of overlap does not."""
    along = 100.0
    spread = np.diag([0.01, along**2, 0.01, 1e-10, 1e-10, 1e-10])
    rate = SPEED / 7000
    ahead = np.array([7000 * np.cos(along / 7000), 7000 * np.sin(along / 7000), 0.0])
    first = cloud_of(ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread))
    direction = np.array([-np.sin(along / 7000), np.cos(along / 7000), 0.0])
    point = np.diag([1e-6] * 3 + [1e-14] * 3)
    second = cloud_of(ObjectState("B", "2", ahead, SPEED * direction * [0.2, 0.2, 0] + [0, 0, 7.0], point))
    seen = overlap(first, second, np.zeros(1), 1e-2)
    assert seen.converged.all()
    assert np.abs(seen.mean[0, :3] @ (ahead / 7000)) < 0.05  # the bend itself is 0.7 km
    tangent = cartesian_cloud(first, np.zeros(1))[0][0, :3] + along * np.array([0, 1.0, 0])
    assert np.linalg.norm(tangent - ahead) > 0.5
    assert rate > 0


def test_two_that_fly_together_meet_at_every_node() -> None:
    """The planes of two orbits, tilted by a little, cross twice a revolution: two peaks, half a revolution apart."""
    tilt, spread = 1e-3, np.diag([1e-6, 1e-2, 1e-4, 1e-12, 1e-14, 1e-12])
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    velocity = SPEED * np.array([0, np.cos(tilt), np.sin(tilt)])
    second = ObjectState("B", "2", np.array([7000.0002, 0, 0]), velocity, spread)
    half_s = np.pi * 7000 / SPEED
    encounter = Encounter(0.0, first, second, 1.0)
    once, both = (pc3d(encounter, half_window_s=share * half_s) for share in (0.5, 1.25))
    apart = np.diff(both.times_s[both.rates_per_s > 0.05 * both.rates_per_s.max()]).max()
    assert apart == pytest.approx(half_s, rel=0.05)
    assert 1.1 * once.expected < both.expected < 3 * once.expected  # errors along the orbit have grown at the other nodes


def test_what_is_no_orbit_is_refused() -> None:
    encounter = _crossing()
    fast = ObjectState("C", "3", encounter.secondary.r_km, np.array([0, 0, 12.0]), encounter.secondary.covariance_km)
    with pytest.raises(ConjunctionError, match="not on an orbit"):
        pc3d(Encounter(0.0, encounter.primary, fast, 20.0))
    with pytest.raises(ConjunctionError, match="no covariance"):
        pc3d(Encounter(0.0, encounter.primary, ObjectState("D", "4", fast.r_km, fast.v_km_s), 20.0))


@pytest.mark.data
@pytest.mark.parametrize("part", [pytest.param(slice(None), marks=pytest.mark.slow), slice(0, None, 6)])
def test_the_real_messages(cdm_folder: Path, part: slice) -> None:
    """All 42 (by default every sixth): within 10 % of NASA CARA's Monte Carlo, and inside 4 sigma of its count."""
    rows = list(csv.DictReader((cdm_folder / "reference_pc.csv").read_text().splitlines()))
    assert len(rows) == 42
    for row in rows[part]:
        found = pc3d(read_cdm((cdm_folder / "real_events" / row["cdm_file"]).read_text()).encounter())
        drawn, hits = float(row["PcSDMC"]), float(row["NhitSDMC"])
        assert found.value == pytest.approx(drawn, rel=0.1), row["cdm_file"]
        assert abs(found.value / drawn - 1) < 4 / np.sqrt(hits), row["cdm_file"]


@pytest.mark.data
@pytest.mark.parametrize("case", ["OmitronTestCase_Test07_NonPDCovariance", "SingleCovTestCase1-13", "SingleCovTestCase1-1"])
def test_clouds_wider_than_orbits_end_in_a_number(cdm_folder: Path, case: str) -> None:
    found = pc3d(read_cdm((cdm_folder / "analytic_cases" / f"{case}.cdm").read_text()).encounter(20.0))
    assert 0 <= found.value < 1e-60
    assert found.value > 0 or found.reasons
