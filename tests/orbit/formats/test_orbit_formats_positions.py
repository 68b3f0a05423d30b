from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ElementsError
from orbitloop.orbit.formats.positions import parse_positions
from orbitloop.orbit.frames import geodetic_to_ecef


def test_kilometres_metres_and_latitudes() -> None:
    rows = "2026-05-30T00:00:00Z,{}\n2026-05-30T00:00:10,{}\n"
    km = "time,x_km,y_km,z_km,note\n" + rows.format("7000,1,2,a", "7001,1,2,b")
    times, r_km, fixed, bad = parse_positions(km)
    assert (list(np.diff(times)), r_km.tolist(), fixed, bad) == ([10.0], [[7000, 1, 2], [7001, 1, 2]], False, [])
    metres = "# fixes\r\ntime_s,x_m,y_m,z_m\r\n5,7000e3,1000,2000\r\n"
    assert parse_positions(metres)[1].tolist() == [[7000, 1, 2]]
    for unit, height in (("m", "500000"), ("km", "500")):
        geodetic = f"time,latitude_deg,longitude_deg,altitude_{unit}\n" + rows.format(f"10,20,{height}", f"-10,200,{height}")
        _, r_km, fixed, _ = parse_positions(geodetic)
        assert fixed
        np.testing.assert_allclose(r_km, geodetic_to_ecef([10, -10], [20, 200], [5e5, 5e5]))


def test_rows_are_sorted_and_bad_ones_named() -> None:
    text = "time_s,x_km,y_km,z_km\n9,1,2,3\n5,4,5,6\n5,7,8,9\nx,1,2,3\n6,1,2\n7,nan,1,2\n8,1e9,0,0\n"
    times, r_km, _, bad = parse_positions(text, "f.csv")
    assert (times.tolist(), r_km.tolist()) == ([5, 9], [[4, 5, 6], [1, 2, 3]])
    assert [e.where for e in bad] == [f"f.csv, line {n}" for n in (5, 6, 7, 8)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time,x_km\n1,2\n",
        "x_km,y_km,z_km\n1,2,3\n",
        "time,x_km,y_km,z_km\n",
        "time,x_km,y_km,z_km\nbad,1,2,3\n",
        'time,"x\n',
    ],
)
def test_no_table(text: str) -> None:
    with pytest.raises(ElementsError):
        parse_positions(text)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["time", "time_s", "x_km", "y_km", "z_km", "latitude_deg", "1", ",", "\n", '"', "-9", "2026-05-30T00:00:00", "é"]
        )
    )
)
def test_any_text_gives_positions_or_the_one_error(pieces: list[str]) -> None:
    for text in ("".join(pieces), "time_s,x_km,y_km,z_km\n" + "".join(pieces)):
        try:
            assert np.isfinite(parse_positions(text)[1]).all()
        except ElementsError:
            continue
