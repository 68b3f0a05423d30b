from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import ncx2

from orbitloop.orbit.conjunction.cdm import read_cdm
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.pc2d import disc_probability, pc2d

ALFANO = [
    0.146749549, 0.006222267, 0.100351176, 0.049323406, 0.044487386, 0.004335455,
    0.000158147, 0.036948008, 0.290146291, 0.290146291, 0.002672026,
]  # fmt: skip
"""Cases 1 to 11 of Alfano 2009 in two dimensions, as NASA CARA's unit test has them."""
CHAN = [
    ((0, 10), (25, 50), 5, 9.742e-3),
    ((0, 10), (25, 75), 5, 6.571e-3),
    ((0, 1000), (1000, 3000), 10, 1.577e-5),
    ((0, 10000), (1000, 3000), 10, 6.443e-8),
]
"""Miss, sigmas and radius (m) of Chan's cases 1, 3, 5 and 7, and their probability as Orekit's tests have it."""


@pytest.mark.parametrize(("miss", "sigma", "radius", "expected"), CHAN)
def test_chans_cases(miss: tuple[float, float], sigma: tuple[float, float], radius: float, expected: float) -> None:
    found = disc_probability([miss], [np.diag(np.square(sigma).astype(float))], radius)[0]
    assert found == pytest.approx(expected, rel=1e-3)


@given(st.floats(-2, 4), st.floats(0, 6))
@settings(max_examples=50, deadline=None)
def test_round_densities_against_the_noncentral_chi_square(log_sigma: float, miss: float) -> None:
    """A round density in a disc has a closed form; sigmas from a hundredth of the radius to ten thousand of them."""
    sigma = 10.0**log_sigma
    found = disc_probability([[miss * sigma, 0.0]], [np.eye(2) * sigma**2], 1.0)[0]
    assert found == pytest.approx(float(ncx2.cdf(1 / sigma**2, 2, miss**2)), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("seed", range(6))
def test_any_density_against_plain_integration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, 2))
    covariance, miss = root @ root.T + 0.02 * np.eye(2), rng.normal(size=2)
    inverse, scale = np.linalg.inv(covariance), 1 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))

    def density(y: float, x: float) -> float:
        offset = np.array([x, y]) - miss
        return float(scale * np.exp(-0.5 * offset @ inverse @ offset))

    plain = dblquad(density, -1, 1, lambda x: -np.sqrt(1 - x * x), lambda x: np.sqrt(1 - x * x), epsabs=1e-11)[0]
    assert disc_probability([miss], [covariance], 1.0)[0] == pytest.approx(plain, rel=1e-7)


def test_far_tails_keep_their_digits() -> None:
    """Thirty-seven sigmas off along the long axis, against the density at the centre of a disc that is a point there."""
    covariance, miss, radius = np.diag([1.0, 1e4]), np.array([0.0, 3000.0]), 1e-3
    found = disc_probability([miss], [covariance], radius)[0]
    assert found == pytest.approx(np.exp(-450.0) / (2 * np.pi * 100) * np.pi * radius**2, rel=1e-4)
    assert found < 1e-200


def test_both_ways_of_integration_agree() -> None:
    """Just above and just below the switch between fixed and sought nodes."""
    found = [disc_probability([[0.7, 0.4]], [np.diag([s**2, 2.0])], 1.0)[0] for s in (0.5 - 1e-9, 0.5 + 1e-9)]
    assert found[0] == pytest.approx(found[1], rel=1e-7)


def test_an_indefinite_covariance_is_not_integrated() -> None:
    with pytest.raises(ValueError, match="mend it"):
        disc_probability([[0.0, 0.0]], [np.diag([1.0, -1.0])], 1.0)


@pytest.mark.data
def test_alfanos_cases(cdm_folder: Path) -> None:
    files = [cdm_folder / "analytic_cases" / f"AlfanoTestCase{n:02d}.cdm" for n in range(1, 12)]
    found = [pc2d(read_cdm(file.read_text()).encounter()).value for file in files]
    np.testing.assert_allclose(found, ALFANO, rtol=1e-3)


@pytest.mark.data
def test_the_real_messages(cdm_folder: Path) -> None:
    """All 42, those included in which two dimensions are wrong: NASA CARA's own two-dimensional number is the measure."""
    rows = list(csv.DictReader((cdm_folder / "reference_pc.csv").read_text().splitlines()))
    assert len(rows) == 42
    for row in rows:
        text = (cdm_folder / "real_events" / row["cdm_file"]).read_text()
        assert pc2d(read_cdm(text).encounter()).value == pytest.approx(float(row["Pc2D"]), rel=1e-6), row["cdm_file"]


def test_the_omitron_case() -> None:
    """The first case of NASA CARA's unit test, position covariances in km^2."""
    first = np.array([378.39559, 4305.721887, 5752.767554, 2.360800244, 5.580331936, -4.322349039])
    second = np.array([374.5180598, 4307.560983, 5751.130418, -5.388125081, -3.946827739, 3.322820358])
    spread1 = _symmetric(
        44.5757544811362, 81.6751751052616, -67.8687662707124, 158.453402956163, -128.616921644857, 105.490542562701
    )
    spread2 = _symmetric(
        2.31067077720423, 1.69905293875632, -1.4170164577661, 1.24957388457206, -1.04174164279599, 0.869260558223714
    )
    states = [
        ObjectState("", "", state[:3], state[3:], np.block([[spread, np.zeros((3, 3))], [np.zeros((3, 3)), np.eye(3)]]))
        for state, spread in ((first, spread1), (second, spread2))
    ]
    assert pc2d(Encounter(0.0, *states, 20.0)).value == pytest.approx(2.70601573490125e-05, rel=1e-5)


def _symmetric(xx: float, xy: float, xz: float, yy: float, yz: float, zz: float) -> np.ndarray:
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


@pytest.mark.data
def test_a_covariance_that_is_none_is_told(cdm_folder: Path) -> None:
    """Omitron case 7: clipped to a sigma of 5 mm beside one of 2,000 km, nothing reaches the sphere."""
    text = (cdm_folder / "analytic_cases" / "OmitronTestCase_Test07_NonPDCovariance.cdm").read_text()
    broken = pc2d(read_cdm(text).encounter())
    assert broken.covariance.clipped == 1
    assert broken.covariance.lowest < 0
    assert broken.value == 0.0
