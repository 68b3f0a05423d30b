from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.assess import assess, max_probability, scaled, sensitivity
from orbitloop.orbit.conjunction.cdm import read_cdm
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.validity import validity

SPEED = float(np.sqrt(MU_KM3_S2 / 7000))


def _encounter(
    *,
    miss_km: tuple[float, float, float] = (0.1, 0.0, 0.1),
    velocity: tuple[float, float, float] = (0.0, 0.0, 1.001 * SPEED),
    sigma_km: tuple[float, float, float] = (0.1, 0.1, 0.1),
    radius_m: float = 20.0,
) -> Encounter:
    spread = np.diag([*np.square(sigma_km), 1e-10, 1e-10, 1e-10])
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState("B", "2", np.add([7000.0, 0, 0], miss_km), np.array(velocity), spread)
    return Encounter(0.0, first, second, radius_m)


def test_a_short_encounter_is_judged_in_its_plane() -> None:
    found = assess(_encounter())
    assert (found.method, found.flags, found.plane_violated) == ("2d", (), False)
    assert found.plane is not None
    assert found.value == found.plane.value
    assert found.valid is not None
    assert found.valid.passing_s < 1
    assert found.counted is None


def test_a_slow_one_is_not_and_the_reason_is_told() -> None:
    slow = _encounter(velocity=(0.0, SPEED, 1e-4), sigma_km=(0.01, 0.05, 0.01))
    found = assess(slow, rng=np.random.default_rng(0), samples=20_000)
    assert found.plane_violated
    assert any("the passing is slow" in flag for flag in found.flags)
    assert found.method in ("3d", "mc")
    assert assess(slow).method == "3d"  # no chance given, nothing counted


def test_bent_clouds_are_told() -> None:
    """20 km of sigma along the orbit, and a miss distance of 30 km along it: the orbit bends by 64 m there."""
    spread = np.diag([1e-4, 400.0, 1e-4, 4e-10, 1e-14, 1e-10])
    spread[0, 4] = spread[4, 0] = 0.0
    point = np.diag([1e-6, 1e-6, 1e-6, 1e-12, 1e-12, 1e-12])
    angle = 30 / 7000
    ahead = 7000 * np.array([np.cos(angle), np.sin(angle), 0])
    first = ObjectState("A", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState("B", "2", ahead, np.array([0, 0.1, 7.5]), point)
    encounter = Encounter(0.0, first, second, 10.0)
    plane = pc2d(encounter)
    judged = validity(encounter, plane)
    assert not judged.holds
    assert judged.at_peak is not None
    assert judged.at_peak > 100 * plane.value
    assert any("bent" in reason for reason in judged.reasons)
    assert assess(encounter).value == pytest.approx(judged.at_peak, rel=0.05)


def test_a_covariance_that_is_none_is_told() -> None:
    encounter = _encounter()
    covariance = encounter.primary.known_covariance_km.copy()
    covariance[2, 2] = -0.5
    broken = Encounter(
        0.0, ObjectState("A", "1", encounter.primary.r_km, encounter.primary.v_km_s, covariance), *_rest(encounter)
    )
    found = assess(broken)
    assert found.plane_violated
    assert any("A (1) is not positive semi-definite" in flag for flag in found.flags)
    assert any("projected covariance is not positive definite" in flag for flag in found.flags)


def _rest(encounter: Encounter) -> tuple[ObjectState, float]:
    return encounter.secondary, encounter.hard_body_radius_m


def test_objects_that_do_not_move_against_each_other_have_no_plane() -> None:
    still = _encounter(velocity=(0.0, SPEED, 0.0), miss_km=(0.0, 0.05, 0.0))
    found = assess(still)
    assert found.plane is None
    assert found.method == "3d"
    assert any("do not move" in flag for flag in found.flags)
    with pytest.raises(ConjunctionError, match="do not move"):
        assess(still, method="2d")


def test_a_flyby_on_no_orbit_is_judged_in_its_plane_with_a_flag() -> None:
    found = assess(_encounter(velocity=(0.0, 0.0, 12.0)))
    assert found.method == "2d"
    assert any("not on an orbit" in flag for flag in found.flags)
    with pytest.raises(ConjunctionError, match="not on an orbit"):
        assess(_encounter(velocity=(0.0, 0.0, 12.0)), method="3d")


def test_the_method_asked_for_is_the_one_that_answers() -> None:
    values = {
        method: assess(_encounter(radius_m=100.0), method=method, rng=np.random.default_rng(2), samples=40_000)
        for method in ("2d", "3d", "mc")
    }
    assert [found.method for found in values.values()] == ["2d", "3d", "mc"]
    assert values["3d"].value == pytest.approx(values["2d"].value, rel=0.01)
    assert values["mc"].counted is not None
    assert abs(values["mc"].value - values["2d"].value) < 4 * np.sqrt(values["2d"].value / 40_000)
    with pytest.raises(ConjunctionError, match="chance"):
        assess(_encounter(), method="mc")
    with pytest.raises(ConjunctionError, match="unknown"):
        assess(_encounter(), method="guess")


def test_the_highest_probability_over_all_scalings() -> None:
    """A small sphere, round sigmas: Pc(k) = R^2 / (2 k^2) exp(-M^2 / (2 k^2)) has its top at k = M / sqrt 2, R^2 / (e M^2)."""
    encounter = _encounter(miss_km=(0.3, 0.0, 0.0), radius_m=2.0)
    found = max_probability(encounter)
    sigmas = 0.3 / (0.1 * np.sqrt(2))
    assert found.scale == pytest.approx(sigmas / np.sqrt(2), rel=0.01)
    assert found.value == pytest.approx((2e-3 / 0.3) ** 2 / np.e, rel=0.01)
    assert not found.diluted
    assert max_probability(_encounter(miss_km=(0.005, 0.0, 0.0))).value == 1.0


def test_dilution_is_told() -> None:
    found = assess(_encounter(miss_km=(0.1, 0.0, 0.0), sigma_km=(2.0, 2.0, 2.0)))
    assert any(flag.startswith("diluted") for flag in found.flags)


def test_sensitivity_scales_what_it_says() -> None:
    encounter = _encounter()
    rows = {(row.what, row.factor): row.value for row in sensitivity(encounter, factors=(0.5, 2.0))}
    assert len(rows) == 8
    assert rows["radius", 2.0] == pytest.approx(4 * pc2d(encounter).value, rel=0.05)
    assert rows["both", 2.0] == pc2d(scaled(encounter, primary=2.0, secondary=2.0)).value
    assert rows["primary", 0.5] == rows["secondary", 0.5]
    sphere = {(row.what, row.factor): row.value for row in sensitivity(encounter, factors=(2.0,), method="3d")}
    assert sphere["radius", 2.0] == pytest.approx(rows["radius", 2.0], rel=0.01)


def test_the_json_is_plain() -> None:
    told = json.dumps(assess(_encounter(), rng=np.random.default_rng(0)).to_json(), allow_nan=False)
    assert json.loads(told)["plane"]["holds"] is True


@pytest.mark.data
@pytest.mark.parametrize("part", [pytest.param(slice(None), marks=pytest.mark.slow), slice(1, None, 5)])
def test_every_violation_in_the_real_messages_is_flagged(cdm_folder: Path, part: slice) -> None:
    """And no other (by default every fifth message): NASA CARA's own column is the measure."""
    rows = list(csv.DictReader((cdm_folder / "reference_pc.csv").read_text().splitlines()))
    for row in rows[part]:
        encounter = read_cdm((cdm_folder / "real_events" / row["cdm_file"]).read_text()).encounter()
        violated = row["ViolationsPc2D"] != "0"
        assert validity(encounter, pc2d(encounter)).holds != violated, row["cdm_file"]
        found = assess(encounter)
        assert found.plane_violated == violated, row["cdm_file"]
        assert found.value == pytest.approx(float(row["PcSDMC"]), rel=0.1)
