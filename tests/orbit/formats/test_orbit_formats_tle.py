from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import Satrec

from orbitloop.errors import ElementsError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.tle import parse_tle, parse_tle_file
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
