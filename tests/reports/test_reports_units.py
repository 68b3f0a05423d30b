from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitloop.reports import units


@pytest.mark.parametrize(
    ("call", "value", "words"),
    [
        ("human_bytes", 0, "0 B"),
        ("human_bytes", 999, "999 B"),
        ("human_bytes", 1000, "1.00 kB"),
        ("human_bytes", 9996, "10.0 kB"),
        ("human_bytes", 999_900, "1.00 MB"),
        ("human_bytes", 34_700_000, "34.7 MB"),
        ("human_bytes", 4_180_000_000, "4.18 GB"),
        ("human_bytes", -5, "−5 B"),
        ("human_bytes", None, "–"),
        ("round_bytes", 10_000, "10 kB"),
        ("round_bytes", 100, "100 B"),
        ("human_count", 13600, "13\u202f600"),
        ("human_count", 8_669_876, "8.7 M"),
        ("points", 0.8684, "86.8"),
        ("points", None, "–"),
        ("points", math.nan, "–"),
        ("round_points", 0.8, "80"),
        ("round_points", 0.725, "72.5"),
        ("gain", 0.176, "+17.6"),
        ("gain", -0.02, "−2.0"),
        ("gain", 0.0001, "±0.0"),
        ("percent", 0.5, "50 %"),
        ("percent", 0.9996, "99.96 %"),
        ("percent", 0.0129, "1.3 %"),
        ("percent", 1.0, "100 %"),
        ("percent", -0.5, "−50 %"),
        ("times", 329.2, "329×"),
        ("times", 2.5, "2.5×"),
        ("times", 0, "–"),
        ("duration", 42, "42 s"),
        ("duration", 0.4, "0.4 s"),
        ("duration", 59.97, "1 min"),
        ("duration", 5400, "1 h 30 min"),
        ("duration", 3600, "1 h"),
        ("duration", 86400 * 2 + 3600 * 4, "2 d 4 h"),
        ("duration", 86399, "1 d"),
        ("utc", 0, "1970-01-01 00:00 UTC"),
        ("utc", 1e17, "–"),
    ],
)
def test_words(call, value, words):
    assert getattr(units, call)(value) == words


@given(st.none() | st.floats())
def test_no_number_is_an_error(value):
    for call in (
        units.human_bytes,
        units.human_count,
        units.points,
        units.gain,
        units.percent,
        units.times,
        units.duration,
        units.utc,
    ):
        assert isinstance(call(value), str)


@given(st.text())
def test_text_from_outside_is_printable_and_bounded(text):
    clean = units.plain_text(text, 20)
    assert len(clean) <= 20
    assert not any(ord(c) < 32 or ord(c) == 127 for c in clean)
    clean.encode()
