from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ElementsError
from orbitloop.orbit.formats.ndm_kvn import write_kvn
from orbitloop.orbit.formats.ndm_xml import write_xml
from orbitloop.orbit.formats.opm import Manoeuvre, OrbitState, message_of_state, parse_opm
from orbitloop.orbit.formats.states import StateCovariance

# After the example of CCSDS 502.0-B-3, annex G: covariance, two burns.
SAMPLE = """CCSDS_OPM_VERS = 3.0
CREATION_DATE = 2000-06-03T05:33:00.000
ORIGINATOR = GSOC
COMMENT GEOCENTRIC, CARTESIAN, EARTH FIXED
OBJECT_NAME = EUTELSAT W4
OBJECT_ID = 2000-028A
CENTER_NAME = EARTH
REF_FRAME = TOD
TIME_SYSTEM = UTC
EPOCH = 2006-06-03T00:00:00.000
X = 6655.9942 [km]
Y = -40218.5751 [km]
Z = -82.9177 [km]
X_DOT = 3.11548208 [km/s]
Y_DOT = 0.47042605 [km/s]
Z_DOT = -0.00101495 [km/s]
SEMI_MAJOR_AXIS = 41399.5123 [km]
ECCENTRICITY = 0.020842611
INCLINATION = 0.117746 [deg]
RA_OF_ASC_NODE = 17.604721 [deg]
ARG_OF_PERICENTER = 218.242943 [deg]
TRUE_ANOMALY = 41.922339 [deg]
GM = 398600.4415 [km**3/s**2]
MASS = 1913.000 [kg]
SOLAR_RAD_AREA = 10.000 [m**2]
SOLAR_RAD_COEFF = 1.300
DRAG_AREA = 10.000 [m**2]
DRAG_COEFF = 2.300
COMMENT first burn
MAN_EPOCH_IGNITION = 2000-06-03T04:23:00.5
MAN_DURATION = 132.60 [s]
MAN_DELTA_MASS = -18.418 [kg]
MAN_REF_FRAME = EME2000
MAN_DV_1 = -0.02325700 [km/s]
MAN_DV_2 = 0.01683160 [km/s]
MAN_DV_3 = -0.00893444 [km/s]
MAN_EPOCH_IGNITION = 2000-06-05T18:59:21.0
MAN_DURATION = 0.00 [s]
MAN_DELTA_MASS = -1.469 [kg]
MAN_REF_FRAME = RTN
MAN_DV_1 = 0.00101500 [km/s]
MAN_DV_2 = -0.00187300 [km/s]
MAN_DV_3 = 0.00000000 [km/s]
"""


def _same(one: OrbitState, two: OrbitState) -> None:
    plain = {"r_km": None, "v_km_s": None, "covariance": None}
    assert repr(replace(one, **plain)) == repr(replace(two, **plain))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.r_[one.r_km, one.v_km_s], np.r_[two.r_km, two.v_km_s])
    assert (one.covariance is None) == (two.covariance is None)
    if one.covariance and two.covariance:
        np.testing.assert_array_equal(one.covariance.matrix, two.covariance.matrix)
        assert one.covariance.frame == two.covariance.frame


def test_the_standards_example() -> None:
    state = parse_opm(SAMPLE)
    assert (state.name, state.frame, state.mass_kg, state.drag_coefficient) == ("EUTELSAT W4", "TOD", 1913.0, 2.3)
    np.testing.assert_array_equal(state.r_km, [6655.9942, -40218.5751, -82.9177])
    one, two = state.manoeuvres
    assert one == Manoeuvre(960_006_180.5, 132.6, -18.418, "EME2000", (-0.023257, 0.0168316, -0.00893444))
    assert (two.duration_s, two.frame) == (0.0, "RTN")
    assert "first burn" in state.comments


@pytest.mark.parametrize("write", [write_kvn, write_xml])
def test_what_is_written_is_read_again(write: object) -> None:
    state = parse_opm(SAMPLE)
    matrix = np.arange(36.0).reshape(6, 6)
    given = replace(state, covariance=StateCovariance(state.epoch_s, "RTN", matrix + matrix.T), comments=("a",))
    _same(parse_opm(write(message_of_state(given, 0.0))), given)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("X = 6655.9942 [km]", "X = 6655.9942 [m]", "line 11, X"),
        ("X = 6655.9942 [km]\n", "", "line 1, X"),
        ("Y_DOT = 0.47", "Y_DOT = zero", "line 15, Y_DOT"),
        ("MAN_DURATION = 132.60", "MAN_DURATION = -1", "line 31, MAN_DURATION"),
        ("MAN_DV_3 = 0.00000000 [km/s]\n", "", "line 37, MAN_DV_3"),
        ("EPOCH = 2006-06-03T00:00:00.000\nX", "EPOCH = 2006-06-33T00:00:00.000\nX", "line 10, EPOCH"),
        ("MASS = 1913.000", "MASS = -1", "line 24, MASS"),
    ],
)
def test_bad_messages_name_the_place(old: str, new: str, where: str) -> None:
    assert old in SAMPLE
    with pytest.raises(ElementsError) as caught:
        parse_opm(SAMPLE.replace(old, new, 1), "x.opm")
    assert caught.value.where == f"x.opm, {where}"


@settings(max_examples=50, deadline=None)
@given(st.booleans(), st.integers(0, 2000), st.text(max_size=8), st.integers(0, 60))
def test_any_edit_parses_or_raises_the_one_error(xml: bool, at: int, text: str, cut: int) -> None:
    whole = write_xml(message_of_state(parse_opm(SAMPLE), 0.0)) if xml else SAMPLE
    try:
        parse_opm(whole[:at] + text + whole[at + cut :])
    except ElementsError:
        return
