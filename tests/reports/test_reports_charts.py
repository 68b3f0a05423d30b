from __future__ import annotations

import json
import math
import re
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.reports.charts import Bar, Level, Mark, Series, Span, bars, gantt, line_chart, share_bar, sparkline
from orbitloop.reports.overlay import boxes_over_picture, found, iou
from orbitloop.reports.svg import MAX_TICKS, log_ticks, num, path, spread, tag, ticks, time_ticks
from orbitloop.reports.worldmap import Site, Track, land_path, world_map

DAY_S = 86400.0
wild = st.floats(-1e18, 1e18) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0])


def well_formed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert "nan" not in re.sub(r">[^<]*<", "><", svg)
    return root


def test_ticks_are_round_and_inside():
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0.65, 0.97) == pytest.approx([0.7, 0.8, 0.9])
    assert ticks(3, 3) == [3]
    assert ticks(math.nan, 1) == []


@given(st.floats(-1e15, 1e15), st.floats(1e-6, 1e15), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_ticks_property(low, span, count):
    found = ticks(low, low + span, count)
    assert len(found) <= MAX_TICKS + 1
    slack = span * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= t <= low + span + slack for t in found)


def test_time_ticks_use_the_calendar():
    start = 20_000 * DAY_S
    assert [label for _, label in time_ticks(start, start + DAY_S, 5)] == ["04 Oct", "06:00", "12:00", "18:00", "05 Oct"]
    assert len(time_ticks(start, start + 3600)) == 7
    assert len(time_ticks(start, start + 400 * DAY_S)) <= 8
    assert len(time_ticks(-1e18, 1e18)) <= MAX_TICKS + 1
    assert time_ticks(math.nan, 1.0) == []


def test_log_ticks():
    assert log_ticks(100, 1e5) == [100, 1000, 10000, 100000]


def test_elements_are_escaped():
    assert tag("a", title='"<&') == '<a title="&#34;&lt;&amp;"/>'
    assert tag("a", class_="b", font_size=2.0) == '<a class="b" font-size="2"/>'
    assert num(-0.001) == "0"
    assert num(1.50) == "1.5"


def test_paths():
    assert path([(0, 0), (10, 5)]) == "M0 0L10 5"
    assert path([(0, 0), (10, 5)], step=True) == "M0 0H10V5"
    assert path([]) == ""


def test_labels_are_moved_apart_in_order():
    assert spread([10, 11, 40], 5, 0, 100) == [10, 15, 40]
    assert spread([99, 98], 5, 0, 100) == [100, 95]
    assert spread([], 5, 0, 10) == []


def test_a_line_is_held_until_the_next_point():
    chart = line_chart([Series("new", ((0, 0.5), (DAY_S, 0.7)), "new")], label="a", show=str, span_s=(0, 2 * DAY_S))
    (drawn,) = [e for e in well_formed(chart).iter("path") if "line" in e.get("class")]
    assert re.fullmatch(r"M[\d. ]+H[\d.]+V[\d.]+H[\d.]+V[\d.]+", drawn.get("d"))


def test_marks_that_would_cover_each_other_lose_their_words_not_their_line():
    marks = [Mark(i * 60.0, f"version {i}") for i in range(200)]
    root = well_formed(line_chart([Series("a", ((0, 0.1), (DAY_S, 0.2)), "new")], label="a", show=str, marks=marks))
    assert sum("mark" in (e.get("class") or "") for e in root.iter("line")) == 200
    assert sum((e.get("class") or "").startswith("flagword") for e in root.iter("text")) < 12


@given(st.lists(st.tuples(wild, wild), max_size=6), st.lists(wild, max_size=3))
@settings(max_examples=50, deadline=None)
def test_charts_take_any_number(pairs, values):
    levels = [Level("l", v, "ceiling") for v in values]
    marks = [Mark(v, "m") for v in values]
    well_formed(line_chart([Series("s", tuple(pairs), "new")], label="x", show=str, levels=levels, marks=marks))
    well_formed(sparkline(pairs, (0, 1), (0, 1), "new"))
    well_formed(bars([Bar("b", v, "down", "n") for v in values], label="x"))
    spans = [Span("r", a, b, a, True, "s1", "t") for a, b in pairs]
    well_formed(gantt(spans, label="x", span_s=(0, 10)))
    well_formed(share_bar(values[0] if values else 0.5, "up"))
    sites = [Site("s", a, b) for a, b in pairs]
    well_formed(world_map([Track("t", tuple((0.0, a, b) for a, b in pairs), "s1")], sites, label="x"))


def test_bars_grow_with_the_logarithm():
    root = well_formed(
        bars([Bar("a", 1e3, "down"), Bar("b", 1e6, "down"), Bar("c", 1e9, "down"), Bar("d", 0, "down")], label="x")
    )
    a, b, c, d = (float(e.get("width")) for e in root.iter("rect"))
    assert c - b == pytest.approx(b - a, abs=0.1)
    assert d == 0


def test_a_pass_is_seen_however_long_the_mission():
    root = well_formed(gantt([Span("r", 0, 600, 0.5, True, "s1", "t")], label="x", span_s=(0, 90 * DAY_S)))
    assert [float(e.get("width")) for e in root.iter("rect")] == [3.0]


def test_a_track_is_cut_at_the_border_of_the_map():
    track = Track("t", ((0, 0, 170.0), (60, 5, 178.0), (120, 10, -174.0), (180, 15, -166.0)), "s1")
    (drawn,) = [e for e in well_formed(world_map([track], [], label="x")).iter("path") if e.get("class") == "track s1"]
    pieces = drawn.get("d").split("M")[1:]
    assert len(pieces) == 2
    assert re.search(r"L1040 [\d.]+$", pieces[0])
    assert pieces[1].startswith("0 ")


def test_the_land_asset():
    raw = files("orbitloop.reports").joinpath("static/land.json").read_bytes()
    land = json.loads(raw)
    assert len(raw) < 60_000
    assert "Natural Earth" in land["source"]
    share = 0.0
    for ring in land["rings"]:
        x, y, points = ring[0], ring[1], [(ring[0], ring[1])]
        for i in range(2, len(ring), 2):
            x, y = x + ring[i], y + ring[i + 1]
            points.append((x, y))
        assert all(-1800 <= px <= 1800 and -900 <= py <= 900 for px, py in points)
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            share += math.radians((x0 - x1) / 10) * math.sin(math.radians((y0 + y1) / 20)) / (4 * math.pi)
    assert abs(share) == pytest.approx(0.29, abs=0.01)  # of the globe is land
    assert re.fullmatch(r"[M\dl z-]+", land_path())


def test_iou_and_found():
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (20, 0, 30, 10)) == 0
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    labels = [(0, 0, 10, 10, 0), (20, 0, 30, 10, 0)]
    assert found(labels, [(0, 0, 10, 10, 0.9, 0), (1, 0, 10, 10, 0.8, 0)]) == 1
    assert found(labels, [(0, 0, 10, 10, 0.9, 1)]) == 0
    assert found(labels, [(0, 0, 10, 10, 0.9, 0), (20, 1, 30, 10, 0.3, 0)]) == 2
    assert found([], [(0, 0, 1, 1, 0.5, 0)]) == 0


def test_boxes_below_the_report_score_and_broken_rows_are_left_out():
    rows = [(0, 0, 10, 10, 0.1, 0), (5, 5, 20, 20, 0.8, 0), (1, 2), (math.nan, 0, 1, 1, 0.9, 0)]
    svg = boxes_over_picture(None, (64, 64), label="x", onboard=rows, labels=[(0, 0, 4, 4, 0)], updated=rows)
    root = well_formed(svg)
    assert sum(e.get("class") == "box" for e in root.iter("rect")) == 3
