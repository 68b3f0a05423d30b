from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.formats import ndm
from orbitloop.orbit.formats.ndm import Field, NdmMessage, groups
from orbitloop.orbit.formats.ndm_kvn import parse_kvn, parse_kvn_messages, write_kvn
from orbitloop.orbit.formats.ndm_xml import parse_xml, parse_xml_messages, write_xml

OPM = """CCSDS_OPM_VERS = 2.0
COMMENT of the header
CREATION_DATE = 2026-05-30T00:00:00
ORIGINATOR    = TEST
COMMENT of the metadata
OBJECT_NAME = BIRD
OBJECT_ID = 2026-001A
CENTER_NAME = EARTH
REF_FRAME = TEME
TIME_SYSTEM = UTC
COMMENT of the state
EPOCH = 2026-05-30T00:00:00.000
X = 6655.9942 [km]
Y = -40218.5751 [km]
Z = -82.9177 [km]
X_DOT = 3.11548208 [km/s]
Y_DOT = 0.47042605 [km/s]
Z_DOT = -0.00101495 [km/s]
COMMENT first burn
MAN_EPOCH_IGNITION = 2026-05-30T04:00:00
MAN_DURATION = 132.6 [s]
MAN_EPOCH_IGNITION = 2026-05-31T04:00:00
MAN_DURATION = 13.2 [s]
USER_DEFINED_MOOD = 1 < 2 & more
"""
OEM = """CCSDS_OEM_VERS = 2.0
CREATION_DATE = 2026-05-30T00:00:00
ORIGINATOR = TEST

META_START
OBJECT_NAME = BIRD
TIME_SYSTEM = UTC
COMMENT end of metadata
META_STOP
COMMENT of the states
2026-05-30T00:00:00 1 2 3 4 5 6
2026-05-30T00:01:00 1 2 3 4 5 6
COVARIANCE_START
EPOCH = 2026-05-30T00:00:00
COV_REF_FRAME = RTN
1
2 3
COVARIANCE_STOP
META_START
OBJECT_NAME = BIRD
META_STOP
2026-05-30T00:01:00 1 2 3 4 5 6
"""
CDM = """CCSDS_CDM_VERS = 1.0
MESSAGE_FOR = BIRD
COMMENT SCREENING_OPTION = Covariance
TCA = 2026-05-30T00:00:00
RELATIVE_POSITION_R = -1 [m]
RELATIVE_VELOCITY_N = 2 [m/s]
COLLISION_PROBABILITY = 1e-5
OBJECT = OBJECT1
NEW_KEYWORD = kept
COMMENT OD
OBS_USED = 12
MASS = 250 [kg]
X = 1 [km]
CR_R = 4 [m**2]
CTDOT_RDOT = 5 [m**2/s**2]
OBJECT = OBJECT2
X = 2 [km]
"""


def _root() -> Path:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    return root


def _plain(message: NdmMessage) -> list[tuple[str, str, str, str]]:
    return [(f.keyword, f.value, f.unit, f.group) for f in message.fields()]


def test_opm_sections_groups_units_and_lines() -> None:
    message = parse_kvn(OPM)
    assert (message.kind, message.version, message.line) == ("OPM", "2.0", 1)
    assert [f.keyword for f in message.header] == ["COMMENT", "CREATION_DATE", "ORIGINATOR"]
    (segment,) = message.segments
    assert [f.value for f in segment.metadata][:2] == ["of the metadata", "BIRD"]
    assert [name for name, _ in groups(segment.data)] == [
        "stateVector",
        "maneuverParameters",
        "maneuverParameters",
        "userDefinedParameters",
    ]
    assert segment.data[0] == Field("COMMENT", "of the state", line=11, group="stateVector")
    assert segment.data[2] == Field("X", "6655.9942", "km", 13, "stateVector")


@pytest.mark.parametrize("text", [OPM, CDM])
def test_kvn_to_xml_and_back_is_the_same_message(text: str) -> None:
    message = parse_kvn(text)
    assert _plain(parse_xml(write_xml(message))) == _plain(message)
    assert _plain(parse_kvn(write_kvn(parse_xml(write_xml(message))))) == _plain(message)


def test_oem_lines_stay_in_order_and_come_back() -> None:
    message = parse_kvn(OEM)
    assert [len(segment.data) for segment in message.segments] == [7, 1]
    assert [f.group for f in message.segments[0].data] == ["stateVector"] * 3 + ["covarianceMatrix"] * 4
    assert message.segments[0].metadata[-1].value == "end of metadata"
    assert _plain(parse_kvn(write_kvn(message))) == _plain(message)
    with pytest.raises(ValueError, match="no place in XML"):
        write_xml(message)


def test_cdm_has_a_part_about_both_and_two_objects() -> None:
    message = parse_kvn(CDM)
    assert [f.keyword for f in message.header] == ["MESSAGE_FOR"]
    assert [(f.keyword, f.group) for f in message.relative][1:3] == [
        ("TCA", ""),
        ("RELATIVE_POSITION_R", "relativeStateVector"),
    ]
    one, two = message.segments
    assert [f.keyword for f in one.metadata] == ["OBJECT", "NEW_KEYWORD"]
    assert [name for name, _ in groups(one.data)] == ["odParameters", "additionalParameters", "stateVector", "covarianceMatrix"]
    assert [f.value for f in two.data] == ["2"]
    assert message.comments() == ("SCREENING_OPTION = Covariance", "OD")


def test_several_messages_and_a_bad_one_spoils_no_other() -> None:
    good, bad = parse_kvn_messages(OPM + "\nCCSDS_OPM_VERS = 2.0\nwhat?\n" + OPM, "x.kvn")
    assert [m.line for m in good] == [1, len(OPM.splitlines()) + 4]
    assert [e.where for e in bad] == [f"x.kvn, line {len(OPM.splitlines()) + 3}"]
    both = write_xml(good)
    assert [_plain(m) for m in parse_xml_messages(both)] == [_plain(m) for m in good]
    with pytest.raises(ElementsError, match="2 messages"):
        parse_xml(both)


XML = "<opm id='CCSDS_OPM_VERS' version='2.0'>{}</opm>"
BAD_KVN = [
    "",
    "X = 1",
    "CCSDS_AEM_VERS = 1.0",
    "CCSDS_OPM_VERS = 2.0\nOBJECT_NAME BIRD",
    "CCSDS_OPM_VERS = 2.0\nMETA_START",
    "CCSDS_OEM_VERS = 2.0\nMETA_START\nMETA_START",
    "CCSDS_OEM_VERS = 2.0\nMETA_START\nOBJECT_NAME = X",
    "CCSDS_OEM_VERS = 2.0\nCOVARIANCE_START\nCOVARIANCE_STOP",
    "CCSDS_OEM_VERS = 2.0\nMETA_START\nMETA_STOP\nX = 5",
    "CCSDS_OEM_VERS = 2.0\n2026-05-30T00:00:00 1 2 3 4 5 6",
    "CCSDS_CDM_VERS = 1.0\nTCA = x\nX = 5 [km]",
    "CCSDS_OPM_VERS = 2.0\nOBJECT_NAME = " + "x" * 5000,
]
BAD_XML = [
    "",
    "<",
    "<html/>",
    "<ndm/>",
    "<ndm><aem id='x'><header/></aem></ndm>",
    '<!DOCTYPE opm [<!ENTITY a "b">]>' + XML.format("<header><ORIGINATOR>&a;</ORIGINATOR></header>"),
    "<!DOCTYPE opm SYSTEM 'file:///etc/passwd'>" + XML.format(""),
    XML.format("<header><ORIGINATOR>&unknown;</ORIGINATOR></header>"),
    XML.format("<header><ORIGINATOR>a<X/>b</ORIGINATOR></header>"),
    XML.format("<a>" * 20 + "</a>" * 20),
    XML.format("<header><ORIGINATOR>" + "x" * 5000 + "</ORIGINATOR></header>"),
    XML.format("\x00"),
    XML.format("\ud800"),
]


@pytest.mark.parametrize("text", BAD_KVN)
def test_bad_kvn_is_the_callers_error(text: str) -> None:
    with pytest.raises(ConjunctionError) as caught:
        parse_kvn(text, "m.kvn", error=ConjunctionError)
    assert caught.value.where.startswith("m.kvn")


@pytest.mark.parametrize("text", BAD_XML)
def test_bad_xml_is_the_callers_error(text: str) -> None:
    with pytest.raises(ConjunctionError) as caught:
        parse_xml(text, "m.xml", error=ConjunctionError)
    assert caught.value.where.startswith("m.xml")


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndm, "MAX_CHARACTERS", 1000)
    with pytest.raises(ElementsError, match="characters, over"):
        parse_kvn(OPM * 2)
    monkeypatch.setattr(ndm, "MAX_LINES", 5)
    with pytest.raises(ElementsError, match="lines, over"):
        parse_xml("\n" * 10)


def test_what_xml_cannot_hold_is_replaced() -> None:
    message = NdmMessage("OPM", "2.0", (Field("ORIGINATOR", "a\x07b", 'm"'),))
    assert parse_xml(write_xml(message)).header[0].value == "a?b"


_pieces = st.lists(
    st.one_of(
        st.sampled_from((OPM + OEM + CDM).splitlines()),
        st.text(max_size=30),
        st.sampled_from(["META_START", "CCSDS_OEM_VERS = 2.0"]),
    ),
    max_size=30,
).map("\n".join)


@settings(max_examples=60, deadline=None)
@given(_pieces)
def test_any_kvn_parses_or_raises_the_one_error(text: str) -> None:
    try:
        message = parse_kvn(text)
    except ElementsError:
        return
    assert _plain(parse_kvn(write_kvn(message))) == _plain(message)


_tags = st.sampled_from(
    ["opm", "ndm", "header", "body", "segment", "metadata", "data", "X", "stateVector", "USER_DEFINED", "aem"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.text("ab<&]>\n", max_size=5), lambda inner: st.builds("<{0}>{1}</{0}>{2}".format, _tags, inner, inner), max_leaves=12
    )
)
def test_any_xml_parses_or_raises_the_one_error(text: str) -> None:
    for form in (text, XML.format(text)):
        with contextlib.suppress(ElementsError):
            parse_xml_messages(form)


@pytest.mark.data
def test_real_conjunction_messages_come_back() -> None:
    paths = sorted((_root() / "cdm").glob("*/*.cdm"))
    assert len(paths) > 30
    for path in paths:
        message = parse_kvn(path.read_text(), path.name, error=ConjunctionError)
        assert len(message.segments) == 2
        assert _plain(parse_kvn(write_kvn(message))) == _plain(message)
        assert _plain(parse_xml(write_xml(message))) == _plain(message)
