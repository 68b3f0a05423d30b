"""Whole tiny missions, each with one thing changed, and what must then hold of the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from tiny_mission import SATELLITE, merged, tiny_plan

from orbitloop.ground.topology import partition
from orbitloop.records.update import ApplyOutcome
from orbitloop.reports.mission import MissionReport
from orbitloop.reports.write import read_report
from orbitloop.sim.mission import run_mission
from orbitloop.sim.watcher import Watcher

REPORT_KEYS = ("schema", "mission", "seed", "digest", "model", "bytes", "accuracy", "rounds")
ACCURACY_KEYS = ("metric", "new_before", "new_after", "old_before", "old_after", "new_ceiling")


def confirmed(report: MissionReport) -> list[tuple[str, int]]:
    """Return (satellite, version) of every update that was confirmed."""
    return [
        (applied.satellite, applied.report.version)
        for one in report.rounds
        for applied in one.applied
        if applied.report.outcome is ApplyOutcome.CONFIRMED
    ]


def check_books(report: MissionReport) -> None:
    """Bytes and counts that must add up in every run."""
    total = report.bytes
    assert sum(total.downlinked_by_kind.values()) == total.downlinked == sum(p.bytes_down for p in report.passes)
    assert sum(total.uplinked_by_kind.values()) == total.uplinked == sum(p.bytes_up for p in report.passes)
    assert min([*total.downlinked_by_kind.values(), *total.uplinked_by_kind.values()]) >= 0
    assert all(p.bytes_down <= p.downlink_capacity_bytes for p in report.passes)
    assert all(p.bytes_up <= p.uplink_capacity_bytes for p in report.passes)
    counts = report.counts
    assert counts.labelled <= counts.received - counts.duplicates <= counts.sent <= counts.stored <= counts.hard
    assert counts.hard <= counts.tiles_seen
    assert sum(one.bytes_up for one in report.rounds) <= total.uplinked
    assert [one.round for one in report.rounds] == list(range(1, len(report.rounds) + 1))
    times = [point.at_s for point in report.timeline]
    assert times == sorted(times)


def test_the_written_report_has_what_the_format_promises(finished):
    text = finished.paths.json.read_text()
    value = json.loads(text)
    assert [key for key in REPORT_KEYS if key not in value] == []
    assert [key for key in ("name", "parameters", "bytes") if key not in value["model"]] == []
    assert [key for key in ("captured", "downlinked", "uplinked", "full_model") if key not in value["bytes"]] == []
    assert [key for key in ACCURACY_KEYS if key not in value["accuracy"]] == []
    assert list(value)[-1] == "digest"
    assert read_report(finished.paths.json).digest() == finished.report.digest() == value["digest"]


def test_the_loop_turns_twice_and_its_books_balance(finished):
    report = finished.report
    assert report.complete
    check_books(report)
    assert confirmed(report) == [("sat-1", 1), ("sat-1", 2)]
    assert [p.version for p in report.timeline] == [0, 1, 2]
    assert report.counts.scenes == 14
    assert report.bytes.captured == 14 * 128 * 128 * 3
    assert 0 < report.bytes.uplinked < report.bytes.full_model
    assert len(report.gallery) > 0
    assert all((finished.paths.json.parent / item.image).is_file() for item in report.gallery)


def test_losses_on_the_link_cost_bytes_and_nothing_else(run_tiny, finished):
    report = run_tiny(tiny_plan(satellite={"link": {"lossRate": 0.2}})).report
    check_books(report)
    assert confirmed(report)
    assert report.counts.labelled > 0
    assert report.digest() != finished.report.digest()


def test_an_update_takes_as_many_passes_as_the_uplink_needs(run_tiny):
    heard: list[tuple[float, str]] = []

    class Listener(Watcher):
        def event(self, at_s: float, text: str) -> None:
            heard.append((at_s, text))

    plan = tiny_plan(job={"budgets": {"uplinkBytesPerPass": 3000}, "training": {"rounds": 1}})
    report = run_tiny(plan, watcher=Listener()).report
    check_books(report)
    assert confirmed(report) == [("sat-1", 1)]
    used = [p.bytes_up for p in report.passes]
    assert max(used) <= 3000
    size = report.rounds[0].update.bytes
    assert sum(1 for b in used if b > 1000) >= size // 3000


def test_two_satellites_share_the_stream_and_both_fly_the_update(run_tiny):
    other = merged(SATELLITE, {"name": "sat-2", "spec": {"orbit": {"meanAnomalyDeg": 150}}})
    report = run_tiny(tiny_plan(more_satellites=(other,), job={"training": {"rounds": 1}})).report
    check_books(report)
    assert sorted(confirmed(report)) == [("sat-1", 1), ("sat-2", 1)]
    assert report.counts.scenes == 14
    assert {p.satellite for p in report.passes} == {"sat-1", "sat-2"}
    assert [p.version for p in report.timeline] == [0, 1]
    up = [one.bytes_up for one in report.rounds]
    assert up == [2 * report.rounds[0].update.bytes]


def test_the_label_budget_is_kept_and_told(run_tiny):
    report = run_tiny(tiny_plan(job={"budgets": {"labels": 20}})).report
    check_books(report)
    assert report.counts.labelled == 20
    assert any("over the label budget" in note for note in report.notes)


def test_samples_per_pass_are_kept(run_tiny):
    report = run_tiny(tiny_plan(job={"budgets": {"samplesPerPass": 2}, "training": {"rounds": 0}})).report
    check_books(report)
    assert report.counts.sent == 2 * len(report.passes)
    assert report.rounds == ()


def test_a_teacher_labels_what_it_is_sure_of_and_the_oracle_the_rest(run_tiny):
    teacher = {"width": 0.05, "steps": 60, "acceptAbove": 0.2, "rejectBelow": 0.2}
    report = run_tiny(tiny_plan(job={"labelling": {"teacher": teacher, "oracle": {"costPerLabel": 2}}})).report
    check_books(report)
    sources = {note.split()[-1].strip("."): int(note.split()[0]) for note in report.notes if "labels came" in note}
    assert sum(sources.values()) == report.counts.labelled
    assert sources.get("teacher", 0) > 0
    told = sum(one.label_cost for one in report.rounds)
    assert told <= 2 * sources.get("oracle", 0)


def test_a_low_battery_lets_captures_go_and_the_report_says_so(run_tiny):
    power = {"initialSoc": 0.301, "minSoc": 0.3, "panelW": 0}
    report = run_tiny(tiny_plan(satellite={"power": power})).report
    check_books(report)
    assert report.counts.hard == 0
    assert any("captures were let go" in note for note in report.notes)
    assert report.counts.scenes == 14
    assert min(point.wh for point in report.battery) >= 0


def moved_by(names: Iterable[str]) -> frozenset[str]:
    """Return the int8 form's tensors that may change when these float tensors train, beside the activations' ranges.

    A weight moves its integers and, where a channel outgrows its grid, its scale; batch-norm moves scale and bias,
    and turns the integers of a channel whose factor changes its sign.
    """
    moved: set[str] = set()
    for name in names:
        layer, part = name.split(".", 1)
        if layer.startswith("bn"):
            moved |= {f"conv{layer[2:]}.scale", f"conv{layer[2:]}.bias", f"conv{layer[2:]}.weight"}
        else:
            moved |= {name, f"{layer}.scale"} if part == "weight" else {name}
    return frozenset(moved)


@pytest.mark.parametrize("form", ["int8", "float32"])
@pytest.mark.parametrize(
    ("model", "job"),
    [
        ({"trainable": ["head"]}, {}),
        ({"trainable": ["early:2", "bn", "outputs"]}, {}),
        ({"trainable": ["all"]}, {"update": {"codec": "exact"}}),
    ],
    ids=["head", "early and batch-norm", "all, exact"],
)
def test_only_the_chosen_partition_flies(run_tiny, model: dict[str, Any], job: dict[str, Any], form: str):
    report = run_tiny(tiny_plan(model=model | {"form": form}, job=merged(job, {"training": {"rounds": 1}}))).report
    check_books(report)
    assert confirmed(report) == [("sat-1", 1)]
    changed = {tensor.name for tensor in report.rounds[0].update.tensors}
    assert changed
    names = partition(tuple(model["trainable"]))
    ranges = {name for name in changed if name.startswith(("pre", "act"))}
    assert changed - ranges <= (set(names) if form == "float32" else moved_by(names))
    assert not ranges or form == "int8"


def test_the_ceiling_is_reported_where_it_is_asked_for(run_tiny, finished):
    report = run_tiny(tiny_plan(mission={"ceiling": True})).report
    assert report.accuracy.new_ceiling is not None
    assert report.accuracy.ap.new_ceiling is not None
    assert finished.report.accuracy.new_ceiling is None
    assert report.accuracy.new_after == finished.report.accuracy.new_after


def test_a_gate_that_stays_shut_sends_nothing_up(run_tiny):
    report = run_tiny(tiny_plan(job={"gate": {"minGain": 0.99}}), real_gate=True).report
    check_books(report)
    assert len(report.rounds) == 2
    assert all(one.gate is not None and not one.gate.passed and one.update is None for one in report.rounds)
    assert report.bytes.uplinked_by_kind["updates"] == 0
    assert [p.version for p in report.timeline] == [0]


def test_a_mission_that_never_trains_says_why(run_tiny):
    report = run_tiny(tiny_plan(job={"training": {"trigger": {"minSamples": 500}}})).report
    assert report.rounds == ()
    assert any("500 start a round" in note for note in report.notes)


@pytest.mark.slow  # on a machine whose cores are taken, two threads wait for each other at every step
def test_two_threads_give_the_same_digest_twice(run_tiny):
    plan = tiny_plan(mission={"threads": 2})
    assert run_tiny(plan).report.digest() == run_tiny(plan).report.digest()


def test_the_digest_does_not_depend_on_where_the_base_model_came_from(run_tiny, finished, tmp_path):
    """Trained just now or taken from the cache: `finished` may have done either, this one trains."""
    fresh = run_mission(tiny_plan(job={"training": {"rounds": 0}}), tmp_path, tmp_path / "one", cache=tmp_path / "models")
    cached = run_mission(tiny_plan(job={"training": {"rounds": 0}}), tmp_path, tmp_path / "two", cache=tmp_path / "models")
    assert fresh.report.digest() == cached.report.digest()
    assert fresh.report.model == finished.report.model
