"""Walker patterns against facts about real and published constellations."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from orbitloop.errors import ElementsError
from orbitloop.orbit.walker import WalkerPattern, parse_walker


def directions(pattern: WalkerPattern, turned_deg: float = 0.0) -> npt.NDArray[np.float64]:
    """Return unit vectors (N, 3) of the satellites, `turned_deg` of a revolution later, by plain rotations."""
    out = []
    for slot in pattern.slots():
        u, node, i = (math.radians(v) for v in (slot.anomaly_deg + turned_deg, slot.raan_deg, pattern.inclination_deg))
        x, y, z = math.cos(u), math.sin(u) * math.cos(i), math.sin(u) * math.sin(i)
        out.append((math.cos(node) * x - math.sin(node) * y, math.sin(node) * x + math.cos(node) * y, z))
    return np.array(out)


def test_galileo_and_iridium() -> None:
    """56:24/3/1: planes 120 degrees apart, 45 in a plane, 15 from plane to plane. Iridium is a star of six planes."""
    galileo = parse_walker("56:24/3/1").slots()
    assert len(galileo) == 24
    assert {round(s.raan_deg, 9) for s in galileo} == {0.0, 120.0, 240.0}
    assert galileo[1].anomaly_deg - galileo[0].anomaly_deg == pytest.approx(45.0)
    assert galileo[8].anomaly_deg - galileo[0].anomaly_deg == pytest.approx(15.0)
    iridium = parse_walker("86.4:66/6/2", star=True).slots(10.0, 5.0)
    assert sorted({round(s.raan_deg, 9) for s in iridium}) == [10.0, 40.0, 70.0, 100.0, 130.0, 160.0]
    assert iridium[0].anomaly_deg == 5.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data(), st.floats(1, 179))
def test_turned_by_a_plane_and_moved_on_by_its_phase_a_delta_is_itself(
    planes: int, each: int, data: st.DataObject, inclination: float
) -> None:
    pattern = WalkerPattern(inclination, planes * each, planes, data.draw(st.integers(0, planes - 1)))
    turn = 2 * math.pi / planes
    spin = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    moved = directions(pattern, 360.0 * pattern.phasing / pattern.total) @ spin.T
    apart = np.linalg.norm(moved[:, None, :] - directions(pattern)[None, :, :], axis=2)
    assert apart.min(axis=1).max() < 1e-9
    assert apart.min(axis=0).max() < 1e-9


@pytest.mark.parametrize(
    ("notation", "published_deg"),
    [("43.66:5/5/1", 69.15), ("53.13:6/6/4", 66.42), ("55.69:7/7/5", 60.26)],
)
def test_the_optimal_rosettes_cover_the_earth_as_ballard_published(notation: str, published_deg: float) -> None:
    """J. G. Ballard, Rosette constellations of Earth satellites, IEEE Trans. AES-16 (1980): how far any point of the Earth is
    at most from its nearest satellite.
    """
    pattern = parse_walker(notation)
    # The farthest points are the centres of the facets of the satellites' hull: a facet at d from the centre is acos(d) wide.
    nearest = (
        float(np.max(ConvexHull(directions(pattern, turn)).equations[:, 3]))
        for turn in np.arange(0.0, 360.0 / len(pattern.slots()), 0.5)
    )
    assert math.degrees(math.acos(-max(nearest))) == pytest.approx(published_deg, abs=0.05)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("53:72/7/1", "do not share out"),
        ("53:72/6/6", "phasing"),
        ("181:72/6/1", "inclination"),
        ("53:0/1/0", "0 satellites"),
        ("53:2/3/0", "in 3 planes"),
        ("53-72-6-1", "no Walker pattern"),
        ("53:7²/6/1", "no Walker pattern"),
        ("", "no Walker pattern"),
        ("nan:1/1/0", "no Walker pattern"),
        ("53:999999/1/0", "999999 satellites"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_remedy(text: str, what: str) -> None:
    with pytest.raises(ElementsError, match=what) as caught:
        parse_walker(text)
    assert caught.value.remedy


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"[0-9.]{1,5}:[0-9]{1,4}/[0-9]{1,3}/[0-9]{1,3}", fullmatch=True))
def test_any_text_is_a_pattern_or_the_one_error(text: str) -> None:
    try:
        pattern = parse_walker(text)
    except ElementsError:
        return
    assert parse_walker(str(pattern)).total == pattern.total
