from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4 import omm
from sgp4.api import Satrec
from sgp4.exporter import export_tle

from orbitloop.clock import parse_utc_s
from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements, from_orbit, parse_omm, parse_tle, parse_tle_file, sun_synchronous_inclination_deg
from orbitloop.orbit.frames import gmst_rad
from orbitloop.orbit.propagate import states_since_epoch
from orbitloop.orbit.sun import sun_position_km

LINE1 = "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991"
LINE2 = "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482"
NOON_S = parse_utc_s("2026-06-01T12:00:00Z")
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


def _sealed(line: str) -> str:
    """Return the line with the checksum that belongs to it."""
    body = line[:68]
    return body + str(sum(int(c) if c.isdigit() else c == "-" for c in body) % 10)


def _data() -> Path:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "orbits"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    return root


def test_tle_gives_what_sgp4_reads() -> None:
    elements = parse_tle(LINE1, LINE2, "ISS")
    theirs = Satrec.twoline2rv(LINE1, LINE2)
    assert (elements.name, elements.norad_id) == ("ISS", 25544)
    assert elements.epoch_s == pytest.approx((theirs.jdsatepoch - 2440587.5 + theirs.jdsatepochF) * 86400, abs=1e-4)
    minutes = np.linspace(-2000, 2000, 101)
    _, r_km, _ = theirs.sgp4_array(np.full(101, theirs.jdsatepoch), theirs.jdsatepochF + minutes / 1440)
    np.testing.assert_allclose(states_since_epoch(elements, minutes * 60)[0], r_km, rtol=0, atol=1e-6)


def test_elements_are_a_value() -> None:
    elements = parse_tle(LINE1, LINE2)
    assert pickle.loads(pickle.dumps(elements)) == elements
    assert hash(elements) == hash(parse_tle(LINE1, LINE2))
    assert elements.period_s == pytest.approx(5574, abs=1)


@pytest.mark.parametrize(("text", "number"), [("E8493", 148493), ("A0000", 100000), ("Z9999", 339999)])
def test_alpha5(text: str, number: int) -> None:
    one, two = _sealed(LINE1.replace("25544", text, 1)), _sealed(LINE2.replace("25544", text, 1))
    assert parse_tle(one, two).norad_id == number


def _edit(line: str, column: int, text: str) -> str:
    return _sealed(line[: column - 1] + text + line[column - 1 + len(text) :])


MALFORMED: list[tuple[str, str, str]] = [
    (LINE1[:-1] + "2", LINE2, "line 1, column 69"),
    (LINE1, LINE2[:-1] + "0", "line 2, column 69"),
    (LINE1[:-1], LINE2, "line 1"),
    (LINE1, LINE2 + "0", "line 2"),
    ("", "", "line 1"),
    (LINE2, LINE1, "line 1, columns 1-2"),
    (_edit(LINE1, 3, "25545"), LINE2, "line 2, columns 3-7"),
    (_edit(LINE1, 3, "I5544"), LINE2, "line 1, columns 3-7"),
    (_edit(LINE1, 19, "x9"), LINE2, "line 1, columns 19-20"),
    (_edit(LINE1, 21, "000.50000000"), LINE2, "line 1, columns 21-32"),
    (_edit(LINE1, 21, "        nan "), LINE2, "line 1, columns 21-32"),
    (_edit(LINE1, 54, " 3879x-4"), LINE2, "line 1, columns 54-61"),
    (_edit(LINE1, 63, "4"), LINE2, "line 1, column 63"),
    (LINE1, _edit(LINE2, 9, "181.0000"), "line 2, columns 9-16"),
    (LINE1, _edit(LINE2, 18, "211.20_1"), "line 2, columns 18-25"),
    (LINE1, _edit(LINE2, 27, "00.7417"), "line 2, columns 27-33"),
    (LINE1, _edit(LINE2, 53, " 0.00000000"), "line 2, columns 53-63"),
    (LINE1, _edit(LINE2, 53, "15.5010e472"), "line 2, columns 53-63"),
    (LINE1, LINE2.replace("8", "\uff18"), "line 2"),
    (LINE1.replace("1 ", "1\t", 1), LINE2, "line 1, columns 1-2"),
]


@pytest.mark.parametrize(("one", "two", "place"), MALFORMED)
def test_malformed_tle_says_where(one: str, two: str, place: str) -> None:
    with pytest.raises(ElementsError) as caught:
        parse_tle(one, two, where="x.tle")
    assert caught.value.where == f"x.tle, {place}"


_fields = st.text("0123456789 .+-ABCIZnaeif\u0663", max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([0, 1]), st.integers(1, 68), _fields, st.booleans())
def test_any_edit_parses_or_raises_the_one_error(which: int, column: int, text: str, sealed: bool) -> None:
    lines = [LINE1, LINE2]
    line = lines[which]
    edited = (line[: column - 1] + text + line[column - 1 + len(text) :])[:69]
    lines[which] = _edit(edited.ljust(69), 1, "") if sealed and edited.isascii() else edited
    try:
        elements = parse_tle(*lines)
    except ElementsError:
        return
    try:
        states_since_epoch(elements, [0.0, 1e4])
    except ElementsError:
        return


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from([LINE1, LINE2, "ISS", "", "# note", LINE1[:40], "1 ", "2 x"])).map("\n".join))
)
def test_any_file_gives_elements_and_errors(text: str) -> None:
    good, bad = parse_tle_file(text)
    assert all(isinstance(e, Elements) for e in good)
    assert all(isinstance(e, ElementsError) for e in bad)


def test_file_forms_and_a_bad_set_does_not_spoil_the_others() -> None:
    broken = LINE1[:-1] + "0"
    text = (
        f"# list\r\nISS\r\n{LINE1}\r\n{LINE2}\r\n\n"
        f"0 SECOND\n{LINE1}\n{LINE2}\n{LINE1}\n{LINE2}\nBAD\n{broken}\n{LINE2}\n{LINE2}\n"
    )
    good, bad = parse_tle_file(text, "a.tle")
    assert [e.name for e in good] == ["ISS", "SECOND", "25544"]
    assert [e.where for e in bad] == ["a.tle, line 12, column 69", "a.tle, line 14"]


def test_a_web_page_is_no_element_set() -> None:
    good, bad = parse_tle_file("<html>\n<body>moved</body>\n</html>")
    assert not good
    assert len(bad) == 3


@pytest.mark.data
def test_whole_catalogue_parses() -> None:
    good, bad = parse_tle_file((_data() / "catalog" / "active.tle").read_text())
    assert (len(good), bad) == (16069, [])
    good, bad = parse_tle_file((_data() / "catalog" / "extra.tle").read_text())
    assert [e.norad_id > 99999 for e in good] == [True]


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


@pytest.mark.parametrize("altitude_km", [300.0, 500.0, 1200.0, 35786.0])
def test_from_orbit_flies_at_its_altitude(altitude_km: float) -> None:
    record = from_orbit("x", NOON_S, altitude_km, 55.0).satrec()
    assert record.a * 6378.135 - 6378.137 == pytest.approx(altitude_km, abs=0.02)


@pytest.mark.parametrize("hour", [0.0, 6.0, 10.5, 22.25])
@pytest.mark.parametrize("epoch", ["2026-06-01T12:00:00Z", "2026-01-13T03:20:00Z"])
def test_local_time_of_the_node(hour: float, epoch: str) -> None:
    """At the node's longitude the clock shows the hour; the true sun differs from the mean one by at most 17 minutes."""
    epoch_s = parse_utc_s(epoch)
    elements = from_orbit("x", epoch_s, 500, 97.4, ltan_h=hour)
    longitude_deg = elements.raan_deg - np.degrees(float(gmst_rad(epoch_s)))
    assert ((epoch_s % 86400) / 3600 + longitude_deg / 15) % 24 == pytest.approx(hour, abs=1e-9)
    x, y, _ = sun_position_km(epoch_s)[0]
    apparent_h = (12 + (elements.raan_deg - np.degrees(np.arctan2(y, x))) / 15) % 24
    assert abs((apparent_h - hour + 12) % 24 - 12) < 17 / 60


@pytest.mark.parametrize("true_deg", [0.0, 37.0, 100.0, 179.0, 250.0, -10.0])
def test_true_anomaly_solves_keplers_equation(true_deg: float) -> None:
    elements = from_orbit("x", NOON_S, 20000, 30.0, eccentricity=0.5, true_anomaly_deg=true_deg)
    mean = eccentric = np.radians(elements.mean_anomaly_deg)
    for _ in range(50):
        eccentric -= (eccentric - 0.5 * np.sin(eccentric) - mean) / (1 - 0.5 * np.cos(eccentric))
    solved_deg = np.degrees(np.arctan2(np.sqrt(0.75) * np.sin(eccentric), np.cos(eccentric) - 0.5))
    assert (solved_deg - true_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_sun_synchronous_figures_and_drift() -> None:
    """Textbook: 97.4 degrees at 500 km, 98.6 at 800 km; SGP4 keeps the local time of the node for two months."""
    assert sun_synchronous_inclination_deg(500) == pytest.approx(97.40, abs=0.01)
    assert sun_synchronous_inclination_deg(800) == pytest.approx(98.60, abs=0.02)
    elements = from_orbit("x", NOON_S, 500, sun_synchronous_inclination_deg(500), raan_deg=0.0)
    r_km, v_km_s = states_since_epoch(elements, [0.0, 60 * 86400.0])
    normal = np.cross(r_km, v_km_s)
    node_deg = np.degrees(np.arctan2(normal[:, 0], -normal[:, 1]))
    assert node_deg[1] - node_deg[0] == pytest.approx(60 * 360 / 365.2422, abs=0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: from_orbit("x", NOON_S, 50, 55),
        lambda: from_orbit("x", NOON_S, 500, 181),
        lambda: from_orbit("x", NOON_S, 500, 55, eccentricity=0.5),
        lambda: from_orbit("x", NOON_S, 500, 55, eccentricity=-0.1),
        lambda: from_orbit("x", NOON_S, float("nan"), 55),
        lambda: from_orbit("x", NOON_S, 500, 55, ltan_h=float("inf")),
        lambda: from_orbit("x", NOON_S, 500, 55, raan_deg=0, ltan_h=0),
        lambda: from_orbit("x", NOON_S, 500, 55, mean_anomaly_deg=0, true_anomaly_deg=0),
        lambda: sun_synchronous_inclination_deg(7000),
        lambda: sun_synchronous_inclination_deg(float("nan")),
    ],
)
def test_impossible_orbits_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ElementsError):
        make()


def test_exported_tle_comes_back() -> None:
    elements = from_orbit("x", NOON_S, 500, 97.4, ltan_h=10.5, norad_id=12345)
    back = parse_tle(*export_tle(elements.satrec()))
    assert back.mean_motion_rev_day == pytest.approx(elements.mean_motion_rev_day, abs=1e-8)
    assert back.raan_deg == pytest.approx(elements.raan_deg, abs=1e-4)
    assert back.epoch_s == pytest.approx(elements.epoch_s, abs=1e-3)
