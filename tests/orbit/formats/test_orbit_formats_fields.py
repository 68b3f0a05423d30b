from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ConjunctionError, ElementsError
from orbitloop.orbit.formats.fields import FieldReader, format_time, parse_number, parse_time_s
from orbitloop.orbit.formats.ndm import Field


def _utc_s(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "system", "when_s"),
    [
        ("2026-05-30T04:52:48.5", "UTC", _utc_s(2026, 5, 30, 4, 52, 48) + 0.5),
        ("2026-150T04:52:48Z", "UTC", _utc_s(2026, 5, 30, 4, 52, 48)),
        ("2016-12-31T23:59:60", "UTC", _utc_s(2017, 1, 1)),
        ("2026-05-30T00:00:37", "TAI", _utc_s(2026, 5, 30)),
        ("2026-05-30T00:00:18", "GPS", _utc_s(2026, 5, 30)),
        ("2026-05-30T00:01:09.184", "TT", _utc_s(2026, 5, 30)),
        ("2016-12-31T23:59:35", "TAI", _utc_s(2016, 12, 31, 23, 58, 59)),
        ("2017-01-01T00:00:37", "TAI", _utc_s(2017, 1, 1)),
    ],
)
def test_times(text: str, system: str, when_s: float) -> None:
    assert parse_time_s(text, system) == pytest.approx(when_s, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("yesterday", "UTC"),
        ("2026-02-30T00:00:00", "UTC"),
        ("2025-366T00:00:00", "UTC"),
        ("2025-000T00:00:00", "UTC"),
        ("2026-05-30T24:00:00", "UTC"),
        ("1900-01-01T00:00:00", "UTC"),
        ("2026-05-30T00:00:00", "UT1"),
        ("\u0662026-05-30T00:00:00", "UTC"),
    ],
)
def test_no_times(text: str, system: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_time_s(text, system)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 5_000_000_000_000_000))
def test_a_time_comes_back_to_the_microsecond(micro: int) -> None:
    when_s = micro / 1e6
    assert abs(parse_time_s(format_time(when_s)) - when_s) < 1.1e-6


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_0", "0x1", "1e999", "--1", "1.2.3", "\u0661"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|range"):
        parse_number(text)


def test_fortran_exponent() -> None:
    assert parse_number("-.22483D-4") == -2.2483e-5


def test_reader_names_line_and_keyword() -> None:
    fields = [
        Field("X", "5", "m", 7),
        Field("N", "abc", "", 8),
        Field("E", "", "", 9),
        Field("COMMENT", "x"),
        Field("K", "A", "", 3),
    ]
    reader = FieldReader(fields, "f.cdm", error=ConjunctionError, line=1)
    assert reader.number("X", units={"km": 1.0, "m": 1e-3}) == 0.005
    assert reader.number("E", default=3.0) == 3.0
    assert reader.text("E", "none") == "none"
    assert reader.choice("K", ("A", "B")) == "A"
    assert "N" in reader
    for ask, where in (
        (lambda: reader.number("N"), "f.cdm, line 8, N"),
        (lambda: reader.number("X", units={"km": 1.0}), "f.cdm, line 7, X"),
        (lambda: reader.number("X", 6.0, 7.0), "f.cdm, line 7, X"),
        (lambda: reader.text("GONE"), "f.cdm, line 1, GONE"),
        (lambda: reader.time_s("N"), "f.cdm, line 8, N"),
        (lambda: reader.choice("K", ("B",)), "f.cdm, line 3, K"),
    ):
        with pytest.raises(ConjunctionError) as caught:
            ask()
        assert caught.value.where == where


def test_a_keyword_twice_is_refused() -> None:
    with pytest.raises(ElementsError, match="twice"):
        FieldReader([Field("X", "5", line=1), Field("X", "6", line=2)])
    assert FieldReader([Field("X", "5"), Field("X", "6")], unique=False).number("X") == 5
