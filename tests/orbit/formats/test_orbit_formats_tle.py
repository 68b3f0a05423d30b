from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import Satrec
from sgp4.exporter import export_tle

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle, parse_tle_file, write_tle, write_tle_file
from orbitloop.orbit.propagate import states_since_epoch

LINE1 = "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991"
LINE2 = "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482"


def _sealed(line: str) -> str:
    """Return the line with the checksum that belongs to it."""
    body = line[:68]
    return body + str(sum(int(c) if c.isdigit() else c == "-" for c in body) % 10)


def _data() -> Path:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits"
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


# --- out -----------------------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count"),
    [("catalog/active.tle", 16069), ("catalog/debris.tle", 2649), ("history_starlink/starlink_2026-05-24T22.tle.gz", 10355)],
)
def test_real_sets_come_back_byte_for_byte(name: str, count: int) -> None:
    path = _data() / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    good, bad = parse_tle_file(text)
    assert (len(good), bad) == (count, [])
    original = [line.rstrip() for line in text.split("\n") if line.startswith(("1 ", "2 "))]
    assert write_tle_file(good, "none").split("\n")[:-1] == original


@pytest.mark.data
def test_alpha5_set_comes_back_but_for_the_spelling_of_zero() -> None:
    good, _ = parse_tle_file((_data() / "catalog" / "extra.tle").read_text())
    one, two = write_tle(good[0])
    assert one == "1 A0080U 26164A   26202.30010601  .00005074  00000+0  13560-3 0  9993"
    assert two == "2 A0080  59.9283 293.4853 0010719 293.3659  66.6300 15.39658893   474"


@pytest.mark.data
def test_the_broken_line_of_a_real_file_is_told_and_skipped() -> None:
    path = _data() / "history_starlink" / "starlink_2026-05-28T23.tle.gz"
    good, bad = parse_tle_file(gzip.decompress(path.read_bytes()).decode(), path.name)
    assert len(good) == 10397
    assert [e.where for e in bad] == [f"{path.name}, line 15197"]


_sets = st.builds(
    Elements,
    name=st.text(max_size=30),
    norad_id=st.integers(1, 339_999),
    epoch_s=st.floats(-410_000_000, 2_700_000_000),
    mean_motion_rev_day=st.floats(0.01, 17.0),
    eccentricity=st.floats(0, 0.99),
    inclination_deg=st.floats(0, 180),
    raan_deg=st.floats(-360, 360),
    arg_perigee_deg=st.floats(0, 360),
    mean_anomaly_deg=st.floats(0, 360, exclude_max=True),
    bstar_per_er=st.floats(-1, 1),
    designator=st.sampled_from(["", "1998-067A", "2026-164AAB", "odd"]),
    classification=st.sampled_from("UCS"),
    element_set=st.integers(0, 9999),
    revolution=st.integers(0, 99999),
    mean_motion_dot_rev_day2=st.floats(-0.9, 0.9),
    mean_motion_ddot_rev_day3=st.floats(-1e-3, 1e-3),
)


@settings(max_examples=60, deadline=None)
@given(_sets)
def test_any_set_is_written_as_what_is_read_again(elements: Elements) -> None:
    lines = write_tle(elements)
    back = parse_tle(*lines, elements.name)
    assert write_tle(back) == lines
    Satrec.twoline2rv(*lines)
    assert back.epoch_s == pytest.approx(elements.epoch_s, abs=0.5e-8 * 86400 * 1.01)
    assert back.bstar_per_er == pytest.approx(elements.bstar_per_er, rel=1e-4, abs=1e-14)
    assert back.eccentricity == pytest.approx(elements.eccentricity, abs=0.51e-7)
    assert (back.norad_id, back.designator) == (elements.norad_id, elements.designator)
    assert parse_tle_file(write_tle_file([elements]))[0][0].norad_id == elements.norad_id


def test_written_set_is_what_sgp4_writes() -> None:
    """The sgp4 package's exporter, on every column that it fills the same way."""
    elements = from_orbit("x", 1_780_000_000.0, 500, 97.4, raan_deg=10, norad_id=12345, bstar=3.2e-5)
    ours, theirs = write_tle(elements), export_tle(elements.satrec())
    assert ours[0][:33] + ours[0][53:61] == theirs[0][:33] + theirs[0][53:61]
    assert ours[1][:63] == theirs[1][:63]


def test_year_turns_with_the_rounding() -> None:
    last_s = 1_798_761_600.0 - 1e-4  # 2027-01-01 less a tenth of a millisecond
    assert write_tle(from_orbit("x", last_s, 500, 97.4))[0][18:32] == "27001.00000000"


@pytest.mark.parametrize(
    "change",
    [
        {"norad_id": 340_000},
        {"norad_id": 799_500_123},
        {"mean_motion_dot_rev_day2": 1.5},
        {"bstar_per_er": float("nan")},
        {"bstar_per_er": 1e10},
        {"eccentricity": 0.99999999},
        {"epoch_s": 4e9},
        {"epoch_s": float("inf")},
        {"mean_motion_rev_day": 123.0},
        {"classification": "\u00fc"},
    ],
)
def test_what_a_tle_cannot_hold_is_refused(change: dict[str, float]) -> None:
    elements = replace(from_orbit("x", 1_780_000_000.0, 500, 97.4), **change)  # type: ignore[arg-type]
    with pytest.raises(ElementsError) as caught:
        write_tle(elements)
    if change.get("norad_id"):
        assert "OMM" in caught.value.remedy


def test_names_in_front() -> None:
    elements = parse_tle(LINE1, LINE2, "1 BIRD\n 2")
    assert write_tle_file([elements]).split("\n")[0] == "0 1 BIRD? 2"
    assert parse_tle_file(write_tle_file([elements], "zero"))[0][0].name == "1 BIRD? 2"
    assert write_tle_file([elements], "none").startswith("1 ")
