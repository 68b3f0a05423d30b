"""The covariance model: classes, growth, what is said with it; and that the fit finds what was put in."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.rtn import covariance_to_rtn, to_rtn
from orbitloop.orbit.conjunction.uncertainty import (
    KINDS,
    classify,
    kind_of,
    model_covariance,
    parse_table,
    rtn_covariance,
    shipped_table,
)
from orbitloop.orbit.conjunction.uncertainty_fit import (
    Differences,
    arc_difference,
    coverage,
    differences,
    fit_bands,
    fit_curve,
    is_held_out,
    with_fitted,
)
from orbitloop.orbit.elements import DAY_S, from_orbit
from orbitloop.orbit.formats.tle import parse_tle_file
from orbitloop.orbit.propagate import states

EPOCH_S = 1_780_000_000.0
DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "orbits"


def _orbit(name: str, height: float = 550.0, inclination: float = 53.0, eccentricity: float = 0.0):
    return from_orbit(name, EPOCH_S, height, inclination, raan_deg=0.0, eccentricity=eccentricity)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("FENGYUN 1C DEB", "debris"),
        ("COSMOS 1408 DEB", "debris"),
        ("CZ-4B R/B", "rocket body"),
        ("DELTA 2 R/B(1)", "rocket body"),
        ("SL-16 R/B", "rocket body"),
        ("STARLINK-1007", "payload"),
        ("DEBUT (ORIZURU)", "payload"),
        ("OBJECT C", "unknown"),
        ("81234", "unknown"),
        ("", "unknown"),
    ],
)
def test_kinds_from_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("orbit", "sigma_m"),
    [
        # Flohrer, Krag & Klinkrad 2008, table 2, the classes that everyone quotes: (U, V, W) at the epoch.
        (_orbit("X DEB", 600, 20), (67, 118, 75)),
        (_orbit("X DEB", 600, 45), (107, 308, 169)),
        (_orbit("X DEB", 600, 98), (115, 517, 137)),
        (_orbit("X DEB", 1200, 20), (191, 256, 203)),
        (_orbit("X DEB", 1200, 45), (71, 228, 95)),
        (_orbit("X DEB", 1200, 98), (91, 428, 114)),
        (_orbit("GEO R/B", 35_786, 5), (357, 432, 83)),
    ],
)
def test_published_classes_at_the_epoch(orbit, sigma_m: tuple[int, int, int]) -> None:
    row = classify(orbit)
    assert row.source.startswith("published")
    assert row.sigma_km(0.0) * 1000 == pytest.approx(sigma_m)
    assert row.sigma_km(2.0)[1] == pytest.approx(sigma_m[1] / 1000 + 3.0)


def test_starlink_has_fitted_classes_by_shell_and_its_debris_has_not() -> None:
    assert classify(_orbit("STARLINK-1", 480)).label == "starlink 440-510 km"
    assert classify(_orbit("STARLINK-1", 560)).label == "starlink above 552 km"
    assert classify(_orbit("STARLINK-1 DEB", 480)).source.startswith("published")
    assert classify(_orbit("ONEWEB-0001", 1200, 87.9)).source.startswith("published")


def test_every_orbit_has_a_class() -> None:
    for height in (180, 400, 790, 810, 20_200, 35_786, 60_000):
        for inclination in (0.0, 29.9, 30.0, 60.0, 98.0, 179.0):
            for eccentricity in (0.0, 0.09, 0.11, 0.7):
                # Also where the perigee lies in the Earth: a table has no holes.
                assert classify(replace(_orbit("X", height, inclination), eccentricity=eccentricity)).label


def test_statement_says_model_class_and_age() -> None:
    debris = _orbit("COSMOS 2251 DEB", 780, 74)
    when_s = EPOCH_S + 1.3 * DAY_S
    r, v = states(debris, [when_s])
    model = model_covariance(debris, when_s, r[0], v[0])
    assert model.statement == (
        "covariance: model, class circular, perigee below 800 km, inclination above 60 deg (debris), age 1.3 d;"
        " not a measured covariance"
    )
    assert not model.stale
    old = model_covariance(debris, EPOCH_S - 9 * DAY_S, r[0], v[0])
    assert old.stale
    assert "stale and extrapolated" in old.statement
    assert old.sigma_rtn_km[1] > model.sigma_rtn_km[1]  # an age before the epoch counts as one after it


def test_covariance_is_positive_definite_and_has_its_sigmas_in_rtn() -> None:
    one = _orbit("STARLINK-1", 480)
    r, v = states(one, [EPOCH_S + DAY_S])
    model = model_covariance(one, EPOCH_S + DAY_S, r[0], v[0])
    back = covariance_to_rtn(model.covariance_km, r[0], v[0])
    assert np.sqrt(np.diag(back)[:3]) == pytest.approx(model.sigma_rtn_km)
    assert np.linalg.eigvalsh(back / np.outer(np.sqrt(np.diag(back)), np.sqrt(np.diag(back))))[0] > 1e-9
    rate = 2 * np.pi / one.period_s
    assert back[3, 1] / back[1, 1] == pytest.approx(-rate, rel=2e-3)  # an error along the track turns the velocity


def test_velocity_follows_position_as_between_two_real_orbits() -> None:
    """A satellite moved along its orbit differs in radial velocity by -n times the distance: what `rtn_covariance` assumes."""
    one = _orbit("X", 550)
    ahead = replace(one, mean_anomaly_deg=one.mean_anomaly_deg + 0.01)
    (r, v), (r2, v2) = states(one, [EPOCH_S]), states(ahead, [EPOCH_S])
    rate = float(np.linalg.norm(np.cross(r[0], v[0])) / np.dot(r[0], r[0]))
    moved, turned = to_rtn(r2[0] - r[0], r[0], v[0]), to_rtn(v2[0] - v[0], r[0], v[0])
    covariance = rtn_covariance(np.array([0.1, 1.0, 0.1]), rate)
    assert turned[0] / moved[1] == pytest.approx(covariance[3, 1] / covariance[1, 1], rel=5e-3)


def test_arc_difference_is_along_the_arc() -> None:
    one = _orbit("X", 550)
    ahead = replace(one, mean_anomaly_deg=one.mean_anomaly_deg + 1.0)
    (r, v), (r2, _) = states(one, [EPOCH_S]), states(ahead, [EPOCH_S])
    radial, along, normal = arc_difference(r2[0], r[0], v[0])
    assert along == pytest.approx(np.radians(1.0) * np.linalg.norm(r[0]), rel=2e-3)
    assert abs(radial) < 0.6  # the chord would be 1.06 km lower
    assert abs(normal) < 0.1


def test_fit_finds_the_growth_that_was_put_in_and_covers_what_it_has_not_seen() -> None:
    rng = np.random.default_rng(5)
    age = rng.uniform(0.05, 6.5, 40_000)
    error = rng.normal(size=age.size) * (0.4 + 1.5 * age**1.3)
    curve = fit_curve(age[:20_000], error[:20_000])
    assert curve.at([0.1, 1.0, 6.0]) == pytest.approx(0.4 + 1.5 * np.array([0.1, 1.0, 6.0]) ** 1.3, rel=0.06)
    unseen = Differences(
        np.arange(20_000), age[20_000:], np.tile(error[20_000:, None], 3), np.full(20_000, 500.0), np.ones(20_000, bool)
    )
    within = coverage(unseen, (curve, curve, curve))
    assert within[0] == pytest.approx((0.6827, 0.9545, 0.9973), abs=0.012)


def test_robust_against_a_few_that_manoeuvred() -> None:
    rng = np.random.default_rng(6)
    age = rng.uniform(0.05, 6.5, 20_000)
    error = rng.normal(size=age.size) * (0.4 + 1.5 * age)
    clean = fit_curve(age, error)
    error[::50] *= 1000.0
    assert fit_curve(age, error).at(3.0) == pytest.approx(clean.at(3.0), rel=0.1)


def test_split_is_by_object_and_the_same_every_time() -> None:
    held = np.array([is_held_out(n) for n in range(44_000, 48_000)])
    assert 0.26 < held.mean() < 0.34
    assert is_held_out(44_713) == is_held_out(44_713)


def test_too_few_days_are_told() -> None:
    sets = [[_orbit("STARLINK-1", 480)]]
    data = differences(sets)
    assert data.age_d.size == 0
    with pytest.raises(ConjunctionError, match="too few"):
        fit_bands(data)


def test_new_fits_replace_fitted_rows_only() -> None:
    rng = np.random.default_rng(7)
    age = rng.uniform(0.05, 6.5, 4000)
    rtn = rng.normal(size=(4000, 3)) * (0.2 + age)[:, None]
    held = np.arange(4000) % 2 == 0
    fits = fit_bands(Differences(np.arange(4000), age, rtn, np.full(4000, 480.0), held))
    document = {"version": 1, "classes": [{"source": "fitted: old"}, {"source": "published: x"}]}
    made = with_fitted(document, fits)
    assert [row["source"].split(":")[0] for row in made["classes"]] == ["fitted", "published"]
    row = json.loads(json.dumps(made["classes"][0]))
    assert parse_table(json.dumps({"version": 1, "classes": [row]}))[0].label == "starlink 440-510 km"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "classes": []}',
        '{"version": 1, "classes": [1]}',
        '{"version": 1, "classes": [{"label": "x"}]}',
        '{"version": 1, "classes": [{"label": "x", "source": "y", "max_age_d": 1, "sigma_km": {"r": [1], "t": [1]}}]}',
        json.dumps(
            {
                "version": 1,
                "classes": [
                    {"label": "x", "source": "y", "max_age_d": 1, "sigma_km": {axis: [-1.0, 0.0, 1.0] for axis in "rtn"}},
                ],
            }
        ),
        "[" * 100_000,
    ],
)
def test_malformed_tables(text: str) -> None:
    with pytest.raises(ConjunctionError):
        parse_table(text)


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda c: st.lists(c, max_size=4)))
def test_any_row_is_a_class_or_the_one_error(value: object) -> None:
    row = {"label": "x", "source": "y", "max_age_d": 1.0, "sigma_km": {"r": value, "t": value, "n": value}}
    for fields in ({**row}, {**row, "height_km": value}, {**row, "max_age_d": value}, value):
        with contextlib.suppress(ConjunctionError):
            parse_table(json.dumps({"version": 1, "classes": [fields]}))


def test_unknown_kind_is_refused() -> None:
    assert set(KINDS) == {"payload", "rocket body", "debris", "unknown"}
    with pytest.raises(ConjunctionError, match="kind"):
        classify(_orbit("X"), "satellite")


@pytest.mark.data
def test_shipped_table_covers_two_real_days() -> None:
    """Each shell's one-sigma holds on two of the seven days alone, for objects that the fit did not see."""
    files = sorted((DATA / "history_starlink").glob("*.gz"))
    if not files:
        pytest.skip(f"no snapshots in {DATA / 'history_starlink'}")
    snapshots = [parse_tle_file(gzip.decompress(f.read_bytes()).decode())[0] for f in (files[0], files[3])]
    data = differences([one for one in snapshot if is_held_out(one.norad_id)] for snapshot in snapshots)
    for row in shipped_table():
        if row.name_prefix == "STARLINK":
            band = data.where((data.height_km >= row.height_km[0]) & (data.height_km < row.height_km[1]))
            assert band.age_d.size > 50
            for within in coverage(band, row.curves):
                assert 0.5 < within[0] < 0.85
