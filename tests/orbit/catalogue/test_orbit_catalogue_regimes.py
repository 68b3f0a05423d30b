from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from orbitloop.orbit.catalogue.regimes import Selection, age_warning, heights_km, kind_of, mean_axis_km, regimes
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle_file

NOW_S = 1_780_000_000.0


def _orbit(perigee_km: float, apogee_km: float, tilt_deg: float = 10.0) -> Elements:
    low, high = perigee_km + 6378.137, apogee_km + 6378.137
    axis = (low + high) / 2
    return from_orbit("x", NOW_S, axis - 6378.137, tilt_deg, eccentricity=(high - low) / (2 * axis), norad_id=1)


@pytest.mark.parametrize(
    ("orbit", "regime"),
    [
        (_orbit(500, 510), "LEO"),
        (_orbit(20180, 20190, 55), "MEO"),
        (_orbit(35780, 35790, 0.1), "GEO"),
        (_orbit(35780, 35790, 40), "IGO"),
        (_orbit(300, 35786, 7), "GTO"),
        (_orbit(600, 39700, 95), "other"),
        (_orbit(1000, 60000, 63), "HEO"),
        (_orbit(500, 5000, 63), "LMO"),
        (_orbit(36500, 36600, 5), "IGO"),
        (_orbit(40500, 40600, 5), "other"),
    ],
)
def test_regimes(orbit: Elements, regime: str) -> None:
    assert regimes([orbit]) == [regime]


def test_axis_is_sgp4s() -> None:
    sets = [_orbit(500, 510, 97), _orbit(300, 35786, 7), _orbit(35780, 35790, 0.1)]
    for one, axis in zip(sets, mean_axis_km(sets), strict=True):
        assert axis == pytest.approx(one.satrec().a * 6378.135, abs=1e-6)
    assert heights_km([])[0].size == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("FENGYUN 1C DEB", "debris"),
        ("SL-16 R/B", "rocket body"),
        ("STARLINK-1008", "payload"),
        ("DEBUT (ORIZURU)", "payload"),
        ("OBJECT A", "unknown"),
        ("TBA - TO BE ASSIGNED", "unknown"),
        ("25544", "unknown"),
    ],
)
def test_kinds(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_ages() -> None:
    assert age_warning(2 * DAY_S, "LEO") == ""
    assert "fetch" in age_warning(4 * DAY_S, "LEO")
    assert "relied" in age_warning(8 * DAY_S, "LEO")
    assert age_warning(6 * DAY_S, "GEO") == ""
    assert "ahead" in age_warning(-3 * DAY_S, "GEO")


def test_selection() -> None:
    sets = [
        Elements("BIRD-1", 1, NOW_S - 5 * DAY_S, 15.2, 0.001, 53, 0, 0, 0),
        Elements("BIRD-2 DEB", 2, NOW_S, 15.2, 0.001, 53, 0, 0, 0),
        Elements("FISH", 3, NOW_S - 2 * DAY_S, 1.0027, 0.0001, 1, 0, 0, 0),
    ]

    def chosen(**asked: object) -> list[int]:
        return [e.norad_id for e, _ in Selection(**asked).apply(sets, NOW_S)]  # type: ignore[arg-type]

    assert chosen() == [1, 2, 3]
    assert chosen(names=("bird",)) == [1, 2]
    assert chosen(names=("*-1",), numbers=(3,)) == [1, 3]
    assert chosen(regimes=("GEO",)) == [3]
    assert chosen(kinds=("debris",)) == [2]
    assert chosen(older_than_d=1, younger_than_d=3) == [3]


@pytest.mark.data
def test_the_real_catalogue_falls_where_it_should() -> None:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    geo, _ = parse_tle_file((root / "constellations_2026-05-30" / "geo.tle").read_text())
    found = Counter(regimes(geo))
    assert found["GEO"] > 0.85 * len(geo)
    assert found["LEO"] == 0
    debris, _ = parse_tle_file((root / "catalog" / "debris.tle").read_text())
    assert Counter(kind_of(e.name) for e in debris)["debris"] > 0.99 * len(debris)
