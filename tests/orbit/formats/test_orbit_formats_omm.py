from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4 import omm
from sgp4.api import Satrec

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.omm import FORMS, Form, parse_omm, parse_omm_file, write_omm
from orbitloop.orbit.formats.tle import parse_tle_file, write_tle
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


# --- files and out -------------------------------------------------------------------------------------------------------


SET = Elements(
    "BIRD <1>",
    799_500_123,
    1_780_000_000.472_32,
    15.2,
    0.001,
    97.4,
    1.5,
    2.5,
    3.5,
    1.25e-5,
    "2026-164AB",
    "S",
    12,
    34,
    1e-5,
    -2e-9,
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_back(form: Form) -> None:
    sets = [SET, replace(SET, name="TWO", norad_id=5, designator="")]
    text = write_omm(sets, form, created_s=1_780_000_000.0)
    good, bad = parse_omm_file(text, "f")
    assert (good, bad) == (sets, [])


@pytest.mark.data
@pytest.mark.parametrize("name", ["sample_omm.json", "sample_omm.xml", "sample_omm.csv"])
def test_samples_give_what_sgp4_reads(name: str) -> None:
    path = _data() / "sgp4_vectors" / name
    good, bad = parse_omm_file(path.read_text(), name)
    assert (len(good), bad) == (1, [])
    theirs = Satrec()
    if name.endswith("json"):
        rows = json.loads(path.read_text())
    else:
        reader = omm.parse_xml if name.endswith("xml") else omm.parse_csv
        with path.open() as file:
            rows = list(reader(file))
    omm.initialize(theirs, rows[0])
    minutes = np.linspace(-3000, 3000, 31)
    _, r_km, _ = theirs.sgp4_array(np.full(31, theirs.jdsatepoch), theirs.jdsatepochF + minutes / 1440)
    np.testing.assert_allclose(states_since_epoch(good[0], minutes * 60)[0], r_km, rtol=0, atol=1e-6)
    assert (good[0].revolution, good[0].element_set) == (theirs.revnum, theirs.elnum)


@pytest.mark.data
def test_xml_that_we_write_is_read_by_sgp4s_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(write_omm([replace(SET, norad_id=5)], "xml", created_s=1_780_000_000.0))
    theirs = Satrec()
    omm.initialize(theirs, next(omm.parse_xml(path)))
    _, r_km, _ = theirs.sgp4(theirs.jdsatepoch, theirs.jdsatepochF)
    np.testing.assert_allclose(states_since_epoch(SET, [0.0])[0][0], r_km, rtol=0, atol=1e-6)


@pytest.mark.data
def test_a_whole_catalogue_as_omm_and_back_to_the_same_lines() -> None:
    good, _ = parse_tle_file((_data() / "catalog" / "debris.tle").read_text())
    for form in FORMS:
        back, bad = parse_omm_file(write_omm(good[:400], form, created_s=1_780_000_000.0))
        assert not bad
        assert [write_tle(e) for e in back] == [write_tle(e) for e in good[:400]]


@pytest.mark.parametrize(
    ("form", "old", "new", "where"),
    [
        ("json", '"MEAN_MOTION": 15.2', '"MEAN_MOTION": "x"', "f, object 2, MEAN_MOTION"),
        ("csv", ",15.2,", ",x,", "f, line 3, MEAN_MOTION"),
        ("csv", ",15.2,", ",15.2,5,", "f, line 3"),
        ("xml", 'rev/day">15.2<', 'rev/min">15.2<', "f, line {}, MEAN_MOTION"),
        ("kvn", "= 15.2 [rev/day]", "= fast [rev/day]", "f, line {}, MEAN_MOTION"),
        ("kvn", "MEAN_MOTION          =", "INCLINATION          =", "f, line 36, INCLINATION"),
    ],
)
def test_a_bad_message_is_named_and_spoils_no_other(form: Form, old: str, new: str, where: str) -> None:
    text = write_omm([SET, SET, SET], form, created_s=1_780_000_000.0)
    cut = text.find(old, text.find(old) + 1)
    good, bad = parse_omm_file(text[:cut] + new + text[cut + len(old) :], "f")
    assert good == [SET, SET]
    assert [e.where for e in bad] == [where.format(text[:cut].count("\n") + 1)]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[[[", "[" * 100_000, "<ndm>", "<html/>", "OBJECT_NAME\nx\n", "not elements at all", "EPOCH,EPOCH,MEAN_MOTION\n"],
)
def test_a_file_of_no_form_is_refused(text: str) -> None:
    with pytest.raises(ElementsError) as caught:
        parse_omm_file(text, "f")
    assert caught.value.where.startswith("f")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMS), st.integers(0, 2500), st.text(max_size=6), st.integers(0, 40))
def test_any_edit_of_a_file_gives_elements_or_errors(form: Form, at: int, text: str, cut: int) -> None:
    whole = write_omm([SET, SET], form, created_s=1_780_000_000.0)
    try:
        good, bad = parse_omm_file(whole[:at] + text + whole[at + cut :])
    except ElementsError:
        return
    assert all(isinstance(e, Elements) for e in good)
    assert all(isinstance(e, ElementsError) for e in bad)
