from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4 import omm
from sgp4.api import Satrec

from orbitloop.errors import ElementsError
from orbitloop.orbit.formats.omm import parse_omm
from orbitloop.orbit.propagate import states_since_epoch

OMM = {
    "OBJECT_NAME": "VANGUARD 1",
    "OBJECT_ID": "1958-002B",
    "EPOCH": "2025-02-14T14:36:48.662784",
    "MEAN_MOTION": 10.85873516,
    "ECCENTRICITY": 0.1841322,
    "INCLINATION": 34.2493,
    "RA_OF_ASC_NODE": 19.2327,
    "ARG_OF_PERICENTER": 100.1057,
    "MEAN_ANOMALY": 281.1229,
    "EPHEMERIS_TYPE": 0,
    "CLASSIFICATION_TYPE": "U",
    "NORAD_CAT_ID": 5,
    "ELEMENT_SET_NO": 999,
    "REV_AT_EPOCH": 39027,
    "BSTAR": 0.00035436,
    "MEAN_MOTION_DOT": 2.64e-6,
    "MEAN_MOTION_DDOT": 0,
}


def _data() -> Path:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    return root


def test_omm_gives_what_sgp4_reads() -> None:
    theirs = Satrec()
    omm.initialize(theirs, OMM)
    ours = parse_omm(OMM)
    assert (ours.name, ours.norad_id) == ("VANGUARD 1", 5)
    minutes = np.linspace(-3000, 3000, 61)
    _, r_km, _ = theirs.sgp4_array(np.full(61, theirs.jdsatepoch), theirs.jdsatepochF + minutes / 1440)
    np.testing.assert_allclose(states_since_epoch(ours, minutes * 60)[0], r_km, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "epoch", ["2025-02-14T14:36:48.662784Z", "2025-045T14:36:48.662784", "2025-02-14T15:36:48.662784+01:00"]
)
def test_omm_epoch_forms(epoch: str) -> None:
    assert parse_omm(OMM | {"EPOCH": epoch}).epoch_s == parse_omm(OMM).epoch_s


def test_omm_takes_strings_and_nine_digit_numbers() -> None:
    elements = parse_omm({k: str(v) for k, v in OMM.items()} | {"NORAD_CAT_ID": "799500123"})
    assert elements.norad_id == 799_500_123
    assert np.isfinite(states_since_epoch(elements, [0.0])[0]).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("EPOCH", None),
        ("EPOCH", "yesterday"),
        ("EPOCH", "2025-02-30T00:00:00"),
        ("EPOCH", "0001-01-01T00:00:00+14:00"),
        ("EPOCH", 5),
        ("MEAN_MOTION", 0),
        ("MEAN_MOTION", "nan"),
        ("MEAN_MOTION", True),
        ("MEAN_MOTION", [1]),
        ("MEAN_MOTION", 10**400),
        ("ECCENTRICITY", 1.0),
        ("ECCENTRICITY", None),
        ("INCLINATION", -1),
        ("NORAD_CAT_ID", "A0001"),
        ("EPHEMERIS_TYPE", 4),
        ("REF_FRAME", "EME2000"),
        ("TIME_SYSTEM", ["TAI"]),
    ],
)
def test_malformed_omm_names_the_field(field: str, value: object) -> None:
    with pytest.raises(ElementsError) as caught:
        parse_omm(OMM | {field: value}, where="x.json")
    assert caught.value.where == f"x.json, {field}"


_json = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(OMM)), _json, max_size=3))
def test_any_omm_parses_or_raises_the_one_error(change: dict[str, object]) -> None:
    try:
        states_since_epoch(parse_omm(OMM | change), [0.0])
    except ElementsError:
        return


@pytest.mark.parametrize("message", [None, [], "x", {}])
def test_no_omm_at_all(message: object) -> None:
    with pytest.raises(ElementsError):
        parse_omm(message)  # type: ignore[arg-type]
