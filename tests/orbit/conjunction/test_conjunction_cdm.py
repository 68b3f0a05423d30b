from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.cdm import COVARIANCE_KEYWORDS, from_ndm, read_cdm, to_ndm
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.formats.ndm import NdmMessage
from orbitloop.orbit.formats.ndm_kvn import write_kvn
from orbitloop.orbit.formats.ndm_xml import write_xml


def _object(number: int, x: float) -> list[str]:
    metadata = [
        f"OBJECT = OBJECT{number}", f"OBJECT_DESIGNATOR = {1000 + number}", "CATALOG_NAME = SATCAT",
        f"OBJECT_NAME = SAT {number}",
        "INTERNATIONAL_DESIGNATOR = 2021-059A", "EPHEMERIS_NAME = NONE", "COVARIANCE_METHOD = CALCULATED", "MANEUVERABLE = N/A",
        "REF_FRAME = EME2000",
    ]  # fmt: skip
    state = [f"X = {x} [km]", "Y = 0 [km]", "Z = 0 [km]", "X_DOT = 0 [km/s]", "Y_DOT = 7.5 [km/s]", f"Z_DOT = {number} [km/s]"]
    variances = {f"C{axis}_{axis}" for axis in ("R", "T", "N", "RDOT", "TDOT", "NDOT")}
    covariance = [f"{keyword} = {100.0 if keyword in variances else 0.0}" for keyword in COVARIANCE_KEYWORDS]
    return metadata + state + covariance


def _message() -> list[str]:
    head = [
        "CCSDS_CDM_VERS = 1.0", "CREATION_DATE = 2026-11-20T19:00:00", "ORIGINATOR = US", "MESSAGE_ID = M1",
        "TCA = 2026-325T01:02:03.5", "MISS_DISTANCE = 500 [m]", "COLLISION_PROBABILITY = 1e-5", "COMMENT HBR = 12.5 [m]",
    ]  # fmt: skip
    return [*head, *_object(1, 7000.0), *_object(2, 7000.5)]


def test_a_message_becomes_an_encounter() -> None:
    read = read_cdm("\n".join(_message()))
    encounter = read.encounter()
    assert (read.message_id, read.originator, read.miss_m, read.probability) == ("M1", "US", 500.0, 1e-5)
    assert encounter.tca_s == 1795222923.5
    assert encounter.hard_body_radius_m == 12.5
    assert read.encounter(20.0).hard_body_radius_m == 20.0
    assert encounter.miss_km == pytest.approx(0.5)
    # R is x there; 100 m^2 is 1e-4 km^2, and so for the speeds.
    assert encounter.primary.known_covariance_km[0, 0] == pytest.approx(1e-4)
    assert encounter.primary.known_covariance_km[3, 3] == pytest.approx(1e-4)
    assert read.primary.state.label == "SAT 1 (1001)"
    assert read.notes == ()


def test_units_are_turned() -> None:
    lines = [line.replace("X = 7000.5 [km]", "X = 7000500 [m]") for line in _message()]
    lines = [line.replace("CR_R = 100.0", "CR_R = 1e-4 [km**2]") for line in lines]
    assert read_cdm("\n".join(lines)).encounter().miss_km == pytest.approx(0.5)
    lines = [line.replace("Y_DOT = 7.5 [km/s]", "Y_DOT = 7.5 [ft/s]") for line in lines]
    with pytest.raises(ConjunctionError, match=r"f\.cdm, line 22, Y_DOT: is in \[ft/s\]"):
        read_cdm("\n".join(lines), "f.cdm")


def test_earth_fixed_states_keep_their_distance_and_gain_the_turning() -> None:
    fixed = read_cdm("\n".join(line.replace("EME2000", "ITRF") for line in _message())).encounter()
    assert fixed.miss_km == pytest.approx(0.5)
    assert np.linalg.norm(fixed.primary.r_km) == pytest.approx(7000)
    assert np.linalg.norm(fixed.primary.v_km_s) == pytest.approx(np.hypot(7.5 + 7000 * 7.292115e-5, 1.0), rel=1e-6)


WRONG = {
    "no TCA": ("TCA = 2026-325T01:02:03.5", "", "TCA: is missing"),
    "a time that is none": ("TCA = 2026-325T01:02:03.5", "TCA = tomorrow", "line 5, TCA"),
    "no number": ("X = 7000.5 [km]", "X = NaN [km]", "line 54, X: 'NaN' is not a number"),
    "an element missing": ("CNDOT_NDOT = 100.0", "", "line 9, CNDOT_NDOT: is missing"),
    "a frame that is not read": ("REF_FRAME = EME2000", "REF_FRAME = TEME", "line 17, REF_FRAME"),
    "a method": ("COVARIANCE_METHOD = CALCULATED", "COVARIANCE_METHOD = GUESSED", "COVARIANCE_METHOD"),
    "twice the first object": ("OBJECT = OBJECT2", "OBJECT = OBJECT1", "line 45, OBJECT: is 'OBJECT1'"),
    "one object": ("OBJECT = OBJECT2", "OBJECT_TYPE = X", "speaks of 1 objects"),
    "a radius that is none": ("COMMENT HBR = 12.5 [m]", "COMMENT HBR = big", "line 8, COMMENT HBR"),
    "a radius of nothing": ("COMMENT HBR = 12.5 [m]", "COMMENT HBR = 0", "line 8, COMMENT HBR"),
    "a probability above one": ("COLLISION_PROBABILITY = 1e-5", "COLLISION_PROBABILITY = 2", "COLLISION_PROBABILITY"),
    "a version": ("CCSDS_CDM_VERS = 1.0", "CCSDS_CDM_VERS = 7", "version '7'"),
    "another kind": ("CCSDS_CDM_VERS = 1.0", "CCSDS_OPM_VERS = 2.0", "OPM"),
    "half a row": ("CNDOT_NDOT = 100.0", "CNDOT_NDOT = 100.0\nCDRG_R = 1", "CDRG_T: is missing, though CDRG_R"),
    "a state that falls straight down": ("Y_DOT = 7.5 [km/s]", "Y_DOT = 0\nZ_DOT = 0\nTHRUST_ACCELERATION = 0", "twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_line(name: str) -> None:
    old, new, told = WRONG[name]
    text = "\n".join(_message())
    assert old in text
    spoiled = text.replace(old, new, 1)
    with pytest.raises(ConjunctionError) as caught:
        read_cdm(spoiled, "f.cdm")
    assert told in str(caught.value), str(caught.value)


def test_no_radius_is_told_when_one_is_needed() -> None:
    read = read_cdm("\n".join(line for line in _message() if "HBR" not in line))
    assert read.hard_body_radius_m is None
    with pytest.raises(ConjunctionError, match="--hbr"):
        read.encounter()


def test_a_distance_that_does_not_fit_the_states_is_noted() -> None:
    read = read_cdm("\n".join(_message()).replace("MISS_DISTANCE = 500", "MISS_DISTANCE = 700"))
    assert read.notes == ("MISS_DISTANCE says 700 m, the states are 500 m apart",)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_spoiled_messages_are_read_or_refused(data: st.DataObject) -> None:
    lines = _message()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "value", "text", "swap"]))
        if what == "drop" and len(lines) > 1:
            lines.pop(at)
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "value":
            lines[at] = (
                lines[at].split("=")[0]
                + "= "
                + data.draw(st.sampled_from(["", "1e999", "-1e30", "NaN", "[km]", "0", "\u0000"]))
            )
        elif what == "text":
            lines[at] = data.draw(st.text(max_size=30))
        else:
            lines.reverse()
    for text in ("\n".join(lines), "<cdm>" + "\n".join(lines)):
        try:
            read_cdm(text)
        except ConjunctionError:
            continue


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ConjunctionError):
        read_cdm(text)


def _plain(message: NdmMessage) -> list[tuple[str, str, str]]:
    return [(field.keyword, field.value, field.unit) for field in message.fields()]


def test_an_encounter_goes_out_and_comes_back_exactly() -> None:
    rng = np.random.default_rng(7)
    states = []
    for number in (1, 2):
        root = rng.normal(size=(6, 6)) * np.array([0.1, 1, 0.1, 1e-4, 1e-5, 1e-4])[:, None]
        r, v = np.array([7000.0, 10.0 * number, 5]), np.array([0.1, 7.4, 0.5 * number])
        states.append(ObjectState(f"SAT {number}", str(number), r + rng.normal(size=3), v, root @ root.T))
    encounter = Encounter(1795136523.25, *states, 17.3)
    told = to_ndm(
        encounter, message_id="M", originator="O", created_s=1795000000.0, message_for="OP", probability=1.25e-7,
        probability_method="FOSTER-1992", metadata=({"INTERNATIONAL_DESIGNATOR": "2021-059A"}, {}), comments=("by hand",),
    )  # fmt: skip
    for text in (write_kvn(told), write_xml(told)):
        read = read_cdm(text)
        assert _plain(read.message) == _plain(told)
        back = read.encounter()
        np.testing.assert_array_equal(back.primary.r_km, encounter.primary.r_km)
        np.testing.assert_array_equal(back.secondary.v_km_s, encounter.secondary.v_km_s)
        np.testing.assert_allclose(back.primary.covariance_km, encounter.primary.covariance_km, rtol=1e-9, atol=1e-14)
        assert (back.tca_s, back.hard_body_radius_m, read.probability) == (encounter.tca_s, 17.3, 1.25e-7)
        assert read.primary.international_designator == "2021-059A"
        assert read.message_for == "OP"
    with pytest.raises(ConjunctionError, match="TEME"):
        to_ndm(encounter, message_id="M", originator="O", created_s=0.0, frame="TEME")


@pytest.mark.data
def test_real_messages_come_back_digit_for_digit(cdm_folder: Path) -> None:
    files = sorted(cdm_folder.glob("*/*.cdm"))
    assert len(files) == 76
    for file in files:
        read = read_cdm(file.read_text(), file.name)
        for text in (write_kvn(read.message), write_xml(read.message)):
            again = read_cdm(text)
            assert _plain(again.message) == _plain(read.message), file.name
            np.testing.assert_array_equal(again.primary.state.covariance_km, read.primary.state.covariance_km)
        assert from_ndm(read.message).message_id == read.message_id
