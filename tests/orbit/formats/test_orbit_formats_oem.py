from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import KroghInterpolator

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.formats.oem import Ephemeris, parse_oem, write_oem
from orbitloop.orbit.formats.states import StateCovariance
from orbitloop.orbit.propagate import states

START_S = 1_780_000_000.0
BIRD = from_orbit("BIRD", START_S, 500, 97.4, eccentricity=0.002)

# After the example of CCSDS 502.0-B-3, annex G (Mars Global Surveyor): several segments, covariances, comments, ordinal dates.
SAMPLE = """CCSDS_OEM_VERS = 3.0
CREATION_DATE = 1996-11-04T17:22:31
ORIGINATOR = NASA/JPL

META_START
OBJECT_NAME = MARS GLOBAL SURVEYOR
OBJECT_ID = 1996-062A
CENTER_NAME = MARS BARYCENTER
REF_FRAME = EME2000
TIME_SYSTEM = TAI
START_TIME = 1996-12-18T12:00:29.331
USEABLE_START_TIME = 1996-12-18T12:00:29.331
USEABLE_STOP_TIME = 1996-12-18T12:02:29.331
STOP_TIME = 1996-12-18T12:03:29.331
INTERPOLATION = HERMITE
INTERPOLATION_DEGREE = 3
META_STOP
COMMENT This file was produced by M.R. Somebody
1996-12-18T12:00:29.331 2789.619 -280.045 -1746.755 4.73372 -2.49586 -1.04195 0.008 0.001 -0.159
1996-353T12:01:29.331 2783.419 -308.143 -1877.071 5.18604 -2.42124 -1.99608
1996-12-18T12:02:29.331 2776.033 -336.859 -2008.682 5.63678 -2.33951 -1.94687

COVARIANCE_START
EPOCH = 1996-12-18T12:00:29.331
COV_REF_FRAME = RTN
3.331349476038534e-04
4.618927349220216e-04 6.782421679971363e-04
-3.070007847730449e-04 -4.221234189514228e-04 3.231931992380369e-04
-3.349365033922630e-07 -4.686084221046758e-07 2.484949578400095e-07 4.296022805587290e-10
-2.211832501084875e-07 -2.864186892102733e-07 1.798098699846038e-07 2.608899201686016e-10 1.767514756338532e-10
-3.0413460507e-07 -4.9894969886e-07 3.5403109045e-07 1.8692631930e-10 1.008862586240695e-10 6.2244443386e-10
EPOCH = 1996-12-18T12:02:29.331
1
0 1
0 0 1
0 0 0 1
0 0 0 0 1
0 0 0 0 0 1
COVARIANCE_STOP
"""


def _ephemeris(step_s: float, count: int, **changes: object) -> Ephemeris:
    times = START_S + step_s * np.arange(count)
    r_km, v_km_s = states(BIRD, times)
    covariance = StateCovariance(times[0], "RTN", np.diag([1.0, 2, 3, 4, 5, 6]) + 0.1)
    fields = {"covariances": (covariance,), "comments": ("made by hand",), "method": "HERMITE", "degree": 7} | changes
    return Ephemeris("BIRD", "2026-001A", times, r_km, v_km_s, **fields)  # type: ignore[arg-type]


def test_the_standards_example() -> None:
    (one,) = parse_oem(SAMPLE, "x.oem")
    assert (one.name, one.center, one.frame, one.method, one.degree) == (
        "MARS GLOBAL SURVEYOR",
        "MARS BARYCENTER",
        "EME2000",
        "HERMITE",
        3,
    )
    np.testing.assert_allclose(np.diff(one.times_s), 60.0, atol=1e-6)
    assert one.times_s[0] == pytest.approx(850_910_429.331 - 30, abs=1e-6)  # TAI was 30 s ahead of UTC
    np.testing.assert_array_equal(one.r_km[2], [2776.033, -336.859, -2008.682])
    first, second = one.covariances
    assert (first.frame, second.frame) == ("RTN", "RTN")
    assert first.matrix[5, 4] == first.matrix[4, 5] == 1.008862586240695e-10
    np.testing.assert_array_equal(second.matrix, np.eye(6))
    with pytest.raises(ElementsError, match="reaches from"):
        one.at([one.times_s[0] - 1])


@pytest.mark.parametrize("form", ["kvn", "xml"])
def test_what_is_written_is_read_again(form: str) -> None:
    two = [_ephemeris(60.0, 10), _ephemeris(30.0, 5, method="", degree=0, covariances=(), comments=())]
    back = parse_oem(write_oem(two, form, START_S))  # type: ignore[arg-type]
    for ours, theirs in zip(two, back, strict=True):
        np.testing.assert_array_equal(theirs.r_km, ours.r_km)
        np.testing.assert_array_equal(theirs.v_km_s, ours.v_km_s)
        np.testing.assert_allclose(theirs.times_s, ours.times_s, rtol=0, atol=1e-6)
        assert (theirs.method, theirs.degree, theirs.comments) == (ours.method, ours.degree, ours.comments)
        for a, b in zip(ours.covariances, theirs.covariances, strict=True):
            np.testing.assert_array_equal(a.matrix, b.matrix)
            assert a.frame == b.frame


@pytest.mark.parametrize(
    ("method", "degree", "step_s", "bound_km"),
    [
        ("HERMITE", 7, 60.0, 1e-3),  # SGP4's velocity is off its position's derivative by 2 cm/s
        ("HERMITE", 3, 60.0, 3e-2),
        ("LAGRANGE", 8, 60.0, 1e-6),
        ("", 0, 120.0, 1e-3),
        ("LINEAR", 1, 1.0, 2e-3),
    ],
)
def test_between_the_states_is_where_sgp4_flies(method: str, degree: int, step_s: float, bound_km: float) -> None:
    made = _ephemeris(step_s, 40, method=method, degree=degree)
    asked = np.sort(
        np.r_[made.times_s[0], made.times_s[-1], np.random.default_rng(1).uniform(made.times_s[0], made.times_s[-1], 200)]
    )
    r_km, v_km_s = made.at(asked)
    true_r, true_v = states(BIRD, asked)
    assert np.abs(r_km - true_r).max() < bound_km
    assert np.abs(v_km_s - true_v).max() < max(bound_km, 3e-5)  # SGP4's velocity is not its position's derivative to 2 cm/s


def test_hermite_is_scipys() -> None:
    made = _ephemeris(60.0, 4)
    seconds = made.times_s - made.times_s[0]
    nodes = np.repeat(seconds, 2)
    values = np.stack([made.r_km, made.v_km_s], axis=1).reshape(-1, 3)
    theirs = KroghInterpolator(nodes, values)
    asked = np.linspace(0, 180, 37)
    r_km, v_km_s = made.at(made.times_s[0] + asked)
    np.testing.assert_allclose(r_km, theirs(asked), atol=1e-7)
    np.testing.assert_allclose(v_km_s, theirs.derivative(asked), atol=1e-8)


def test_too_few_states_for_the_degree() -> None:
    with pytest.raises(ElementsError, match="needs 4"):
        _ephemeris(60.0, 3).at([START_S])
    assert _ephemeris(60.0, 1, method="LAGRANGE", degree=1).times_s.size == 1


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("2783.419 ", "2783.x19 ", "line 20"),
        ("2783.419 ", "", "line 20"),
        ("2783.419 ", "1e200 ", "line 20"),
        ("1996-353T", "1996-367T", "line 20"),
        ("1996-12-18T12:02:29.331 2776", "1996-12-18T12:01:00 2776", "line 21, EPOCH"),
        ("TIME_SYSTEM = TAI", "TIME_SYSTEM = UT1", "line 19"),
        ("REF_FRAME = EME2000\n", "", "line 6, REF_FRAME"),
        ("DEGREE = 3", "DEGREE = 4", "line 16, INTERPOLATION_DEGREE"),
        ("DEGREE = 3", "DEGREE = 300", "line 16, INTERPOLATION_DEGREE"),
        ("HERMITE", "CHEBYSHEV", "line 15, INTERPOLATION"),
        ("\n1\n0 1\n", "\n1 1\n0 1\n", "line 32, EPOCH"),
        ("3.331349476038534e-04", "nan", "line 26, EPOCH"),
        ("CCSDS_OEM_VERS", "CCSDS_OPM_VERS", "line 5"),
    ],
)
def test_bad_messages_name_the_place(old: str, new: str, where: str) -> None:
    assert old in SAMPLE
    with pytest.raises(ElementsError) as caught:
        parse_oem(SAMPLE.replace(old, new, 1), "x.oem")
    assert caught.value.where == f"x.oem, {where}"


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.integers(0, 2400), st.text(max_size=8), st.integers(0, 60))
def test_any_edit_parses_or_raises_the_one_error(xml: bool, at: int, text: str, cut: int) -> None:
    whole = write_oem([_ephemeris(60.0, 5)], "xml", START_S) if xml else SAMPLE
    try:
        for one in parse_oem(whole[:at] + text + whole[at + cut :]):
            one.at([(one.times_s[0] + one.times_s[-1]) / 2])
    except ElementsError:
        return
