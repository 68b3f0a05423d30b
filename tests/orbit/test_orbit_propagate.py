from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sgp4.io import fix_checksum

from orbitloop.errors import ElementsError
from orbitloop.orbit import propagate
from orbitloop.orbit.elements import Elements, from_orbit, parse_tle, parse_tle_file
from orbitloop.orbit.propagate import states, states_since_epoch

EPOCH_S = 1_780_000_000.0


def _root() -> Path:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    return root


def _reference(text: str) -> list[tuple[int, np.ndarray]]:
    """Read tcppver.out: per satellite (number, rows of minutes, r, v)."""
    out: list[tuple[int, list[list[float]]]] = []
    for line in text.splitlines():
        if line.endswith("xx"):
            out.append((int(line.split()[0]), []))
        elif line.strip():
            out[-1][1].append([float(v) for v in line.split()[:7]])
    return [(number, np.array(rows)) for number, rows in out]


@pytest.mark.data
def test_sgp4_verification_states() -> None:
    """Vallado's SGP4-VER, 1 mm and 1 um/s. Three sets were made up to fail and carry wrong checksums, which are put right here;
    33334 (a mean motion of 0.00001) is refused when read. The reference stops where the propagator fails."""
    lines = [
        line[:69] for line in (_root() / "sgp4_vectors" / "SGP4-VER.TLE").read_text().splitlines() if not line.startswith("#")
    ]
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    reference = _reference((_root() / "sgp4_vectors" / "tcppver.out").read_text())
    assert len(pairs) == len(reference) == 33
    checked = 0
    for (one, two), (number, rows) in zip(pairs, reference, strict=True):
        if number == 33334:
            continue
        elements = parse_tle(fix_checksum(one), fix_checksum(two))
        assert elements.norad_id == number
        r_km, v_km_s = states_since_epoch(elements, rows[:, 0] * 60.0)
        np.testing.assert_allclose(r_km, rows[:, 1:4], rtol=0, atol=1e-6, err_msg=str(number))
        np.testing.assert_allclose(v_km_s, rows[:, 4:7], rtol=0, atol=1e-9, err_msg=str(number))
        checked += len(rows)
    assert checked == 666


@pytest.mark.data
def test_the_decayed_one_of_the_catalogue_says_so() -> None:
    good, _ = parse_tle_file((_root() / "catalog" / "active.tle").read_text())
    newest_s = max(e.epoch_s for e in good)
    failed: list[ElementsError] = []
    for elements in good:
        try:
            states(elements, [newest_s])
        except ElementsError as error:
            failed.append(error)
    assert 1 <= len(failed) <= 2
    assert any("to 2026-08-" in e.what and "decayed" in e.what for e in failed)


def test_shapes_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    elements = from_orbit("x", EPOCH_S, 500, 97.4)
    times_s = EPOCH_S + np.arange(0, 7000, 10.0)
    r_km, v_km_s = states(elements, times_s)
    assert r_km.shape == v_km_s.shape == (700, 3)
    monkeypatch.setattr(propagate, "BLOCK", 64)
    np.testing.assert_array_equal(states(elements, times_s)[0], r_km)
    assert states(elements, [])[0].shape == (0, 3)
    with pytest.raises(ValueError, match="one-dimensional"):
        states(elements, np.zeros((2, 2)))


def test_velocity_is_the_derivative() -> None:
    """To 2 cm/s: SGP4 leaves the smallest terms out of its velocity."""
    elements = from_orbit("x", EPOCH_S, 500, 97.4, eccentricity=0.01)
    r_km, v_km_s = states_since_epoch(elements, np.array([-0.5, 0.0, 0.5]) + 1000.0)
    np.testing.assert_allclose(r_km[2] - r_km[0], v_km_s[1], atol=5e-5)


def test_decay_is_told_with_its_time() -> None:
    elements = from_orbit("low", EPOCH_S, 180, 51.6, bstar=0.05)
    with pytest.raises(ElementsError, match=r"cannot propagate 'low' to 2026-.*days from its epoch: the satellite has decayed"):
        states(elements, EPOCH_S + np.arange(0, 60 * 86400, 600.0))


@pytest.mark.parametrize("when_s", [float("nan"), float("inf"), 1e30])
def test_no_time(when_s: float) -> None:
    with pytest.raises(ElementsError):
        states(from_orbit("x", EPOCH_S, 500, 97.4, bstar=1e-4), [when_s])


def test_bad_elements_do_not_propagate() -> None:
    with pytest.raises(ElementsError):
        states(Elements("x", 0, EPOCH_S, 15.0, 0.999, 10.0, 0.0, 0.0, 0.0), [EPOCH_S])
