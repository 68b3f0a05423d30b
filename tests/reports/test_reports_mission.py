from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import StateError
from orbitloop.records.ids import digest_json
from orbitloop.reports.html import render_html
from orbitloop.reports.mission import Accuracy, MissionReport
from orbitloop.reports.observed import GalleryItem, gallery_file
from orbitloop.reports.rounds import TensorChange, UpdateSummary
from orbitloop.reports.story import story_table, summary, to_markdown, update_words


def seal(plain: dict) -> None:
    plain["digest"] = digest_json({k: v for k, v in plain.items() if k not in ("digest", "wall", "environment")})


def through_json(report: MissionReport) -> MissionReport:
    return MissionReport.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))


def test_the_keys_that_others_rely_on(outcome):
    plain = outcome[0].to_json()
    assert plain["schema"] == "orbitloop.report/1"
    assert {"mission", "seed", "digest", "complete", "rounds", "timeline", "passes", "ground_track", "stations"} <= plain.keys()
    assert {"battery", "gallery", "counts", "wall", "started_at_s", "finished_at_s"} <= plain.keys()
    assert {"name", "parameters", "bytes", "trainable_parameters", "trainable"} <= plain["model"].keys()
    assert {"captured", "downlinked", "uplinked", "full_model"} <= plain["bytes"].keys()
    keys = {"new_before", "new_after", "old_before", "old_after", "new_ceiling"}
    assert keys | {"metric", "ap"} <= plain["accuracy"].keys()
    assert keys <= plain["accuracy"]["ap"].keys()
    first = plain["rounds"][0]
    assert {"round", "started_at_s", "samples_sent", "bytes_down", "labels", "label_cost", "bytes_up"} <= first.keys()
    assert {"seconds_virtual", "steps", "loss_first", "loss_last"} <= first["training"].keys()
    assert first["gate"]["passed"] is True
    assert first["applied"][0]["report"]["outcome"] == "confirmed"
    assert {"bytes", "version", "tensors"} <= first["update"].keys()
    assert plain["gallery"][0]["image"].startswith("gallery/")
    assert list(plain)[-1] == "digest"


def test_json_round_trip(outcome):
    assert through_json(outcome[0]) == outcome[0]


def test_round_trip_of_an_early_end(empty):
    assert through_json(empty) == empty


def test_the_digest_knows_neither_wall_clock_nor_machine(outcome):
    report = outcome[0]
    elsewhere = replace(report, wall={"train": 1.0}, environment={"folder": "/somewhere/else"})
    assert elsewhere.digest() == report.digest() == report.to_json()["digest"]


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"complete": False}, {"rounds": ()}, {"accuracy": Accuracy()}, {"notes": ("a",)}]
)
def test_the_digest_knows_everything_else(outcome, change):
    assert replace(outcome[0], **change).digest() != outcome[0].digest()


def test_numpy_and_integer_figures_do_not_change_the_digest(outcome):
    report = outcome[0]
    same = replace(
        report,
        seed=np.int64(7),
        accuracy=replace(report.accuracy, new_before=np.float64(0.692)),
        rounds=tuple(replace(r, label_cost=int(r.label_cost)) for r in report.rounds),
    )
    assert same.digest() == report.digest()
    assert through_json(same).digest() == report.digest()


def test_a_figure_that_is_not_finite_is_null_and_still_renders(outcome):
    report = outcome[0]
    first = replace(report.rounds[0], training=replace(report.rounds[0].training, loss_last=math.nan, seconds_virtual=math.inf))
    again = through_json(replace(report, rounds=(first,)))
    assert again.rounds[0].training.loss_last is None
    assert math.isnan(again.rounds[0].training.seconds_virtual)
    render_html(again, {})


def test_fields_of_a_newer_version_are_dropped(outcome):
    plain = outcome[0].to_json()
    plain["later"] = {"a": [1]}
    with pytest.raises(StateError, match="digest differs"):
        MissionReport.from_json(plain)
    seal(plain)
    assert MissionReport.from_json(plain) == outcome[0]


def spoil(path, value):
    def change(plain):
        *way, last = path
        for key in way:
            plain = plain[key]
        if value is KeyError:
            del plain[last]
        else:
            plain[last] = value

    return change


MALFORMED = {
    "other schema": (spoil(["schema"], "orbitloop.report/2"), "not a mission report"),
    "missing": (spoil(["model"], KeyError), "'model' is missing"),
    "text for number": (spoil(["rounds", 0, "bytes_up"], "12"), r"rounds\[0\].bytes_up"),
    "bool for number": (spoil(["seed"], True), "report.seed"),
    "float for integer": (spoil(["model", "bytes"], 1.5), "model.bytes"),
    "huge integer": (spoil(["model", "bytes"], 10**30), "64-bit"),
    "huge float": (spoil(["started_at_s"], 1e300), "started_at_s"),
    "number for bool": (spoil(["complete"], 1), "true or false"),
    "list for object": (spoil(["accuracy"], []), "not an object"),
    "object for list": (spoil(["passes"], {}), "not a list"),
    "text for list": (spoil(["rounds", 0, "gate", "reasons"], "because"), "not a list"),
    "unknown outcome": (spoil(["rounds", 0, "applied", 0, "report", "outcome"], "burnt"), "confirmed, rolled_back, refused"),
    "box of words": (spoil(["gallery", 0, "label_boxes"], [["a"]]), r"label_boxes\[0\]\[0\]"),
    "changed by hand": (spoil(["accuracy", "new_after"], 0.99), "digest differs"),
    "no digest": (spoil(["digest"], KeyError), "digest differs"),
    "lone surrogate": (spoil(["mission"], "\ud800"), "no canonical form"),
    "endless text": (spoil(["mission"], "x" * 100_001), "at most"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_reports_are_refused_by_name_of_the_field(outcome, name):
    change, message = MALFORMED[name]
    plain = json.loads(json.dumps(outcome[0].to_json()))
    change(plain)
    with pytest.raises(StateError, match=message):
        MissionReport.from_json(plain)


leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6
)


@given(junk)
@settings(max_examples=50, deadline=None)
def test_junk_is_refused_with_the_one_error(value):
    with pytest.raises(StateError):
        MissionReport.from_json(value)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_field_of_any_kind_is_read_and_rendered_or_refused(small_plain, data):
    plain = json.loads(small_plain)
    holder, key = plain, data.draw(st.sampled_from(sorted(plain)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = data.draw(leaf | junk)
    with contextlib.suppress(ValueError):
        seal(plain)
    try:
        report = MissionReport.from_json(plain)
    except StateError:
        return
    assert render_html(report, {}).startswith("<!DOCTYPE html>")
    assert to_markdown(report)
    assert summary(report) is not None
    assert story_table(report).row_count == len(report.rounds)


@pytest.fixture(scope="session")
def small_plain(outcome):
    report = outcome[0]
    thin = replace(
        report,
        ground_track=report.ground_track[:20],
        passes=report.passes[:3],
        battery=report.battery[:5],
        rounds=report.rounds[1:3],
    )
    return json.dumps(thin.to_json())


def test_gap_recovered():
    assert Accuracy("AP50", 0.6, 0.7, new_ceiling=0.8).gap_recovered == pytest.approx(0.5)
    assert Accuracy("AP50", 0.6, 0.7).gap_recovered is None
    assert Accuracy("AP50", 0.6, 0.7, new_ceiling=0.6).gap_recovered is None
    assert Accuracy("AP50", None, 0.7, new_ceiling=0.8).gap_recovered is None


def test_shares(outcome, empty):
    report = outcome[0]
    assert report.bytes.not_sent == pytest.approx(1 - 12.7 / 4180)
    assert report.update_share == pytest.approx(449_000 / 34_700_000)
    assert empty.bytes.not_sent is None
    assert empty.update_share is None


def test_a_picture_name_is_safe_and_derived(outcome):
    names = {gallery_file(s) for s in ("../../etc/passwd", "..", "a/b", "a-b", "", "é", "x" * 500, "con\x00", "\ud800")}
    assert len(names) == 9
    for name in names:
        folder, file = name.split("/")
        assert folder == "gallery"
        assert len(file) < 70
        assert set(file) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
        assert not file.startswith(".")
    plain = outcome[0].to_json()
    plain["gallery"][0]["image"] = "../../secret"
    seal(plain)
    assert MissionReport.from_json(plain).gallery[0].image == outcome[0].gallery[0].image


def test_outcomes(outcome):
    assert [r.outcome for r in outcome[0].rounds] == ["confirmed", "confirmed", "held at the gate", "confirmed", "confirmed"]
    first = outcome[0].rounds[0]
    assert replace(first, applied=()).outcome == "on its way up"
    assert replace(first, applied=(), update=None).outcome == "passed the gate"
    assert replace(first, applied=(), update=None, gate=None).outcome == "trained"
    assert replace(first, applied=(), update=None, gate=None, training=None).outcome == "no training"


def test_a_gallery_item_is_plain_to_make():
    item = GalleryItem("s", "scene", "domain", "unsure", 0.7, 320, 320)
    assert item.image == gallery_file("s")


def test_an_update_tells_what_it_takes_and_what_takes_it():
    tensors = (
        TensorChange("conv14.weight", 900, 300),
        TensorChange("conv15.weight", 90, 30),
        TensorChange("conv14.scale", 9, 40),
        TensorChange("act20.zero", 1, 1),
        TensorChange("bn02.mean", 9, 9),
        TensorChange("mystery", 9, 2),
        TensorChange("conv15.bias", 9),
    )
    update = UpdateSummary(3, 900, tensors, payload_bytes=380, seconds=7.2, passes=2)
    kinds = {"weights": 330, "scales": 40, "batch-norm": 9, "others": 2, "ranges": 1}
    assert update.bytes_by_kind == kinds
    assert list(update.bytes_by_kind) == list(kinds)
    assert update_words(update).startswith("7.2 s to send, 2 passes; 380 B are the change")
    assert update_words(update).endswith("weights 330 B, scales 40 B, batch-norm 9 B, others 2 B, ranges 1 B")
    assert "not within the mission" in update_words(replace(update, passes=None))
    assert update_words(UpdateSummary(1, 10)) == ""


def test_the_report_tells_it_of_each_update(outcome):
    first = outcome[0].rounds[0]
    told = replace(first, update=replace(first.update, payload_bytes=400_000, seconds=3.5, passes=1))
    report = replace(outcome[0], rounds=(told, *outcome[0].rounds[1:]))
    for page in (to_markdown(report), render_html(report, {})):
        assert "3.5 s to send, 1 pass; 400 kB are the change" in page
