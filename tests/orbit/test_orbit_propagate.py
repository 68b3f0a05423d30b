from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from sgp4.io import fix_checksum

from orbitloop.errors import ElementsError
from orbitloop.orbit import engines, propagate
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle, parse_tle_file
from orbitloop.orbit.propagate import FleetPropagator, states, states_since_epoch

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


def _fleet() -> list[Elements]:
    """Low, eccentric, geostationary, one that decays and one that is refused, mixed."""
    low = [from_orbit(f"low{n}", EPOCH_S - 7_000.123 * n, 400 + 20 * n, 10.0 + 3 * n, raan_deg=17 * n) for n in range(40)]
    deep = from_orbit("geo", EPOCH_S + 0.7, 35_786, 0.05)
    molniya = from_orbit("molniya", EPOCH_S, 20_180, 63.4, eccentricity=0.72, arg_perigee_deg=270)
    falling = from_orbit("falling", EPOCH_S, 150, 51.6, bstar=0.5)
    refused = Elements("refused", 0, EPOCH_S, 1e-5, 0.1, 0, 0, 0, 0)
    return [deep, *low[:20], molniya, refused, *low[20:], falling]


@pytest.mark.parametrize("engine", ["sgp4", "astroz"])
def test_a_fleet_is_its_satellites_in_order(engine: propagate.Engine) -> None:
    """Each row is what `states` gives for that satellite: to 0.1 mm by sgp4, to half a metre by astroz."""
    if engine == "astroz":
        pytest.importorskip("astroz")
    fleet = _fleet()
    fast = FleetPropagator(fleet, engine=engine)
    times_s = EPOCH_S + np.array([-5_000.0, 0.0, 1.25, 40_000.0, 86_400.0 * 3])
    r_km, v_km_s, ok = fast.states(times_s)
    assert fast.engine == engine
    assert fast.note == ""
    assert r_km.shape == v_km_s.shape == (len(fleet), 5, 3)
    assert not ok[fleet.index(next(e for e in fleet if e.name == "refused"))].any()
    assert ok[-1].tolist() == [True, True, True, False, False]
    assert np.isnan(r_km[~ok]).all()
    assert np.isnan(v_km_s[~ok]).all()
    for row, one in enumerate(fleet):
        if ok[row].any():
            true_r, true_v = states(one, times_s[ok[row]])
            np.testing.assert_allclose(r_km[row][ok[row]], true_r, rtol=0, atol=5e-4 if engine == "astroz" else 1e-7)
            np.testing.assert_allclose(v_km_s[row][ok[row]], true_v, rtol=0, atol=1e-6 if engine == "astroz" else 1e-9)


@pytest.mark.parametrize("fault", ["order", "place", "speed", "decay"])
def test_a_fast_engine_that_is_wrong_is_dropped_with_a_note(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("astroz")
    real = engines._engine

    class Wrong:
        def __init__(self, records: list[object]) -> None:
            self._engine = real(records)

        def propagate_into(self, times: np.ndarray, r: np.ndarray, v: np.ndarray, **more: object) -> None:
            self._engine.propagate_into(times, r, v, **more)
            if fault == "order":
                r[:], v[:] = r[::-1].copy(), v[::-1].copy()
            elif fault == "place":
                r += 2e-3
            elif fault == "speed":
                v += 2e-5
            else:
                r[5], v[5] = np.nan, np.nan

    monkeypatch.setattr(engines, "_engine", Wrong)
    fleet = FleetPropagator(_fleet())
    assert fleet.engine == "astroz"
    times_s = EPOCH_S + np.arange(3) * 60.0
    got = fleet.states(times_s)
    assert fleet.engine == "sgp4"
    assert "astroz" in fleet.note
    for one, other in zip(got, FleetPropagator(_fleet(), engine="sgp4").states(times_s), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_absent_fast_engine_is_told_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astroz", None)
    assert "astroz cannot be used" in FleetPropagator(_fleet(), engine="astroz").note
    quiet = FleetPropagator(_fleet(), engine="auto")
    assert (quiet.engine, quiet.note) == ("sgp4", "")


def test_blocks_are_the_whole_in_pieces() -> None:
    fleet = FleetPropagator(_fleet()[:10])
    parts = list(fleet.blocks(EPOCH_S, EPOCH_S + 600.0, 60.0, max_bytes=4 * 98 * 10))
    assert [part[0].size for part in parts] == [4, 4, 3]
    times_s = np.concatenate([part[0] for part in parts])
    np.testing.assert_array_equal(times_s, EPOCH_S + np.arange(11) * 60.0)
    r_km, v_km_s, ok = fleet.states(times_s)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts], axis=1), r_km)
    np.testing.assert_array_equal(np.concatenate([part[2] for part in parts], axis=1), v_km_s)
    np.testing.assert_array_equal(np.concatenate([part[3] for part in parts], axis=1), ok)
    assert [part[0].size for part in fleet.blocks(EPOCH_S, EPOCH_S + 90.0, 60.0, max_bytes=1)] == [1, 1]
    assert list(fleet.blocks(EPOCH_S, EPOCH_S - 1.0, 60.0)) == []


def test_a_fleet_of_nobody_and_of_nothing_good() -> None:
    assert FleetPropagator([]).states([EPOCH_S])[0].shape == (0, 1, 3)
    refused = Elements("refused", 0, EPOCH_S, 1e-5, 0.1, 0, 0, 0, 0)
    assert not FleetPropagator([refused]).states([EPOCH_S])[2].any()
    with pytest.raises(ValueError, match="engine"):
        FleetPropagator([], engine="fast")  # type: ignore[arg-type]
