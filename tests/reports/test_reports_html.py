from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from orbitloop.records.verdict import GateVerdict
from orbitloop.reports import views
from orbitloop.reports.html import render_html
from orbitloop.reports.mission import MissionReport
from orbitloop.reports.observed import PassSummary, StationSite
from orbitloop.reports.rounds import TensorChange, UpdateSummary
from orbitloop.reports.story import to_markdown

VOID = {"meta", "br", "input", "link", "img", "hr"}
SVG_ONLY_CLOSED = {"path", "line", "circle", "rect", "ellipse", "image", "g", "text", "title", "tspan", "svg"}


class Balanced(HTMLParser):
    """Checks that every element is closed in order, and collects what the page holds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SVG_ONLY_CLOSED
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parse(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def page(outcome):
    return render_html(*outcome)


def test_the_page_is_whole_and_balanced(page):
    parsed = parse(page)
    ids = {a["id"] for _, a in parsed.tags if "id" in a}
    assert {
        "headline",
        "accuracy",
        "rounds",
        "bytes",
        "gallery",
        "gate",
        "updates",
        "passes",
        "map",
        "battery",
        "provenance",
    } <= ids
    for tag, attributes in parsed.tags:
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids


def test_nothing_is_fetched(page):
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert "url(" not in page
    for tag, attributes in parse(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form", "base")
        for name in ("href", "src", "srcset", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/webp;base64,"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_the_policy_allows_our_sheet_and_nothing_else(page):
    policy = next(a["content"] for t, a in parse(page).tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    css = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert page.count("<style>") == 1


def test_pictures_are_inside(page, outcome):
    for webp in outcome[1].values():
        assert base64.b64encode(webp).decode() in page


def test_every_picture_has_words_for_it(page):
    for tag, attributes in parse(page).tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}</title></style>"


def hostile(report: MissionReport) -> MissionReport:
    r = report.rounds[0]
    applied = replace(r.applied[0], satellite=EVIL, report=replace(r.applied[0].report, reason=EVIL, canary={EVIL: 1.0}))
    bad_round = replace(
        r,
        satellite=EVIL,
        station=EVIL,
        gate=GateVerdict(True, (EVIL,), {EVIL: {"champion": 0.1, "candidate": 0.2}}),
        update=UpdateSummary(2, 10, (TensorChange(EVIL, 3, 4),)),
        applied=(applied,),
    )
    point = replace(report.timeline[-1], domains={EVIL: 0.5}, label=EVIL, swap=True)
    return replace(
        report,
        mission=EVIL,
        summary=EVIL,
        notes=(EVIL,),
        rounds=(bad_round,),
        timeline=(*report.timeline, point),
        passes=(PassSummary(EVIL, EVIL, report.started_at_s, report.started_at_s + 600, 45.0, 5),),
        stations=(StationSite(EVIL, 10, 10),),
        ground_track=tuple(replace(p, satellite=EVIL) for p in report.ground_track[:50]),
        battery=tuple(replace(p, satellite=EVIL) for p in report.battery[:5]),
        gallery=tuple(replace(g, sample_id=EVIL + g.sample_id, scene=EVIL, domain=EVIL, reason=EVIL) for g in report.gallery),
        model=replace(report.model, name=EVIL, trainable=(EVIL,), classes=(EVIL,)),
        accuracy=replace(report.accuracy, metric=EVIL),
        bytes=replace(report.bytes, downlinked_by_kind={EVIL: 5}, uplinked_by_kind={EVIL: 5}),
        new_domains=(EVIL,),
        old_domains=(EVIL + "2",),
        battery_capacity_wh={EVIL: 80.0},
        wall={EVIL: 1.0},
        environment={EVIL: EVIL},
    )


def test_names_from_outside_stay_words(outcome):
    page = render_html(hostile(outcome[0]), {})
    parsed = parse(page)
    assert "<script" not in page
    assert "<img" not in page
    assert "49</" not in page
    for tag, attributes in parsed.tags:
        assert tag not in ("script", "img")
        assert not any(name.startswith("on") for name in attributes)
    assert any("<script>alert(1)</script>" in words for words in parsed.words)


def test_names_from_outside_stay_words_in_markdown(outcome):
    story = to_markdown(hostile(outcome[0]))
    assert not re.search(r"(?<!\\)<", story)
    rows = [row for row in story.splitlines() if row.startswith("|")]
    assert rows
    named = to_markdown(replace(outcome[0], mission="a|b\n# c", rounds=()))
    assert named.startswith("# a\\|b \\# c\n")


def test_a_partial_report_says_so(outcome):
    assert "Partial report" not in render_html(outcome[0], {})
    assert "Partial report" in render_html(
        replace(outcome[0], complete=False, accuracy=replace(outcome[0].accuracy, new_after=None)), {}
    )


def test_an_empty_report_renders(empty):
    parsed = parse(render_html(empty, {}))
    words = " ".join(parsed.words)
    for said in (
        "nothing measured yet",
        "No round has finished yet",
        "No sample was kept",
        "no contact windows",
        "No update was built",
    ):
        assert said in words


@pytest.mark.parametrize(
    "name", ["rounds", "timeline", "passes", "ground_track", "stations", "battery", "gallery", "old_domains", "new_domains"]
)
def test_each_list_may_be_empty(outcome, name):
    parse(render_html(replace(outcome[0], **{name: ()}), {}))


def test_a_missing_picture_is_an_empty_frame(outcome):
    page = render_html(outcome[0], {})
    assert page.count("picture not kept") == len(outcome[0].gallery)
    assert "data:image" not in page.replace("img-src data:", "")


def test_many_satellites_and_a_long_gallery(outcome):
    report = outcome[0]
    names = [f"sat-{i}" for i in range(40)]
    way = tuple(replace(p, satellite=names[i % 40]) for i, p in enumerate(report.ground_track))
    passes = tuple(replace(p, satellite=names[i % 40]) for i, p in enumerate(report.passes))
    gallery = tuple(replace(report.gallery[0], sample_id=str(i)) for i in range(60))
    page = render_html(replace(report, ground_track=way, passes=passes, gallery=gallery), {})
    assert "12 more lie in the gallery folder" in page
    assert "sat-39" in page


def test_batteries_of_unlike_sizes_are_shown_as_shares(outcome: tuple[MissionReport, dict[str, bytes]]) -> None:
    report = outcome[0]
    two = tuple(replace(p, satellite="other", wh=p.wh * 5) for p in report.battery)
    many = replace(
        report, battery=report.battery + two, battery_capacity_wh={report.battery[0].satellite: 80.0, "other": 400.0}
    )
    drawn = str(views.battery_chart(many))
    assert "as a share of each capacity" in drawn
    assert " Wh" not in drawn
    alike = replace(many, battery_capacity_wh={report.battery[0].satellite: 400.0, "other": 400.0})
    assert "in watt hours" in str(views.battery_chart(alike))
    unknown = replace(many, battery_capacity_wh={report.battery[0].satellite: 80.0})
    assert "in watt hours" in str(views.battery_chart(unknown)), "a share of nothing is no share"


def test_a_full_model_would_go_up_to_every_satellite(outcome: tuple[MissionReport, dict[str, bytes]]) -> None:
    report = outcome[0]
    updates = sum(r.update is not None for r in report.rounds)
    alone = str(views.bytes_chart(report))
    assert f"full model, {updates} times" in alone
    two = replace(report, battery=(*report.battery, replace(report.battery[0], satellite="other")))
    assert f"full model, {2 * updates} times" in str(views.bytes_chart(two))
    assert f"{updates} to each of 2" in str(views.bytes_chart(two))
