"""Pictures of passes: what must be in them, and what must not break them."""

from __future__ import annotations

import math

import pytest

from orbitloop.reports.plots.sky import SkyArc, draw_sky
from orbitloop.reports.plots.track import GroundTrack, Place, _by_light, _land, _pieces, draw_track


def _arc(label: str = "one") -> SkyArc:
    points = [(60.0 * n, (300 + 12 * n) % 360, 80 - abs(8 * n - 60), n > 6) for n in range(16)]
    return SkyArc(label, tuple(points))


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_sky_gives_the_same_bytes(kind: str) -> None:
    one, again = (draw_sky("SAT over Kiruna", [_arc()], kind, horizon=((0.0, 5.0), (90.0, 30.0)), mask_deg=5.0) for _ in "ab")
    assert one == again
    assert one[:5] in (b"\x89PNG\r", b"<?xml")


def test_what_a_sky_says() -> None:
    text = draw_sky("SAT <over> Kiruna", [_arc("first"), SkyArc("nowhere", ((math.nan, 0.0, 0.0, True),))], "svg").decode()
    for word in ("SAT &lt;over&gt; Kiruna", "first", "NE", "in the Earth's shadow", "00:00"):
        assert word in text
    assert draw_sky("nobody", [], "svg")


def test_what_a_track_says() -> None:
    points = tuple((60.0 * n, 50 * math.sin(n / 5), (n * 14 + 180) % 360 - 180, n % 20 < 12) for n in range(60))
    track = GroundTrack("SAT-1", points, ((120.0, 600.0), (1e9, 2e9)))
    places = [Place("Kiruna", 67.9, 21.0, ((60.0, 170.0), (70.0, -170.0), (80.0, 170.0))), Place("Esrange", 67.9, 21.1)]
    text = draw_track("a title", [track, GroundTrack("gone", ())], places, "svg").decode()
    for word in ("a title", "SAT-1", "Kiruna", "Esrange", "00:00", "00:59", "seen by a station"):
        assert word in text
    assert draw_track("a title", [track], places, "png")[:4] == b"\x89PNG"


def test_a_way_is_cut_at_180_degrees() -> None:
    pieces = _pieces([(0.0, 0.0, 170.0, True), (1.0, 10.0, -170.0, True), (2.0, 20.0, -150.0, True)])
    assert [[p[1:3] for p in piece] for piece in pieces] == [
        [(0.0, 170.0), (5.0, 180.0)],
        [(5.0, -180.0), (10.0, -170.0), (20.0, -150.0)],
    ]
    assert _pieces([]) == []


def test_light_and_shadow_join() -> None:
    parts = _by_light([(0.0, 0.0, 0.0, True), (1.0, 0.0, 1.0, True), (2.0, 0.0, 2.0, False), (3.0, 0.0, 3.0, True)])
    assert [(lit, [p[0] for p in part]) for lit, part in parts] == [(True, [0.0, 1.0]), (False, [1.0, 2.0]), (True, [2.0, 3.0])]


def test_the_land_is_where_it_is() -> None:
    """Every ring stays on the map, and Africa is under 10 N 20 E by the even-odd rule."""
    inside = False
    for ring in _land():
        assert all(-180.01 <= x <= 180.01 and -90.01 <= y <= 90.01 for x, y in ring)
        for (xa, ya), (xb, yb) in zip(ring, ring[1:] + ring[:1], strict=True):
            if (ya > 10.0) != (yb > 10.0) and (xb - xa) * (10.0 - ya) / (yb - ya) + xa > 20.0:
                inside = not inside
    assert inside
