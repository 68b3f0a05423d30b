"""Intake: what came down is filed once, labelled within the budget, and divided so that what judges never trains."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import DataError, StateError
from orbitloop.ground.labelling import OracleLabeller, PricedLabeller, TeacherLabeller
from orbitloop.ground.segment import GroundSegment, SegmentRules
from orbitloop.records.ids import digest_bytes
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.pixels import encode_image
from orbitloop.records.prediction import Detections
from orbitloop.records.sample import HardSample, Mining
from orbitloop.records.sample_wire import sample_to_bytes
from orbitloop.records.scene import TileWindow

RULES = SegmentRules(min_samples=3, max_rounds=2, gate_share=0.25, min_gate_objects=1)
SCENES = 40
TRUTH = {
    f"scene-{s}": Boxes.from_json([[7.123 * k, 3.3333 * k, 7.123 * k + 6.5, 3.3333 * k + 5.1, k % 2] for k in range(s % 5)])
    for s in range(SCENES)
}
IMAGE = encode_image(np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8))
CHAIN = [PricedLabeller("oracle", OracleLabeller(TRUTH), 0.5)]


def sample(name: str, scene: int, satellite: str = "sat-1", image: bytes = IMAGE) -> bytes:
    return sample_to_bytes(
        HardSample(
            sample_id=name,
            satellite=satellite,
            scene_id=f"scene-{scene}",
            domain="new",
            window=TileWindow(0, 0, 32, 24),
            captured_at_s=1.5e9,
            model_digest="sha256:" + "0" * 64,
            mining=Mining(True, 0.5, "doubt"),
            detections=Detections.empty(),
            embedding=np.ones(4, np.float32) / 2,
            image=image,
        )
    )


def segment(rules: SegmentRules = RULES, **changes: Any) -> GroundSegment:
    return GroundSegment(replace(rules, **changes), CHAIN, {})


def same(one: list[LabelledImage], other: list[LabelledImage]) -> bool:
    """Equal to the bit in all that training and gate look at."""
    return [(i.image_id, i.domain, i.source) for i in one] == [(i.image_id, i.domain, i.source) for i in other] and all(
        np.array_equal(a.pixels, b.pixels)
        and np.array_equal(a.boxes.xyxy_px, b.boxes.xyxy_px)
        and np.array_equal(a.boxes.classes, b.boxes.classes)
        for a, b in zip(one, other, strict=True)
    )


def test_a_sample_is_filed_with_its_label_price_and_bytes() -> None:
    ground = segment()
    payload = sample("a", 3)
    filed = ground.receive(payload)
    assert filed is not None
    assert filed.answer.source == "oracle"
    assert filed.image.pixels.shape == (24, 32, 3)
    assert len(filed.image.boxes) == 3
    assert np.abs(filed.image.boxes.xyxy_px - TRUTH["scene-3"].xyxy_px).max() <= 0.0051
    assert ground.blobs == {digest_bytes(payload): payload}
    assert (ground.counts.received, ground.counts.label_cost, ground.counts.by_source) == (1, 0.5, {"oracle": 1})


def test_the_same_sample_twice_counts_once() -> None:
    ground = segment()
    assert ground.receive(sample("a", 1)) is not None
    assert ground.receive(sample("a", 1)) is None
    assert (len(ground.filed), ground.counts.duplicates, ground.counts.label_cost) == (1, 1, 0.5)


DAMAGED = {
    "nothing": b"",
    "cut": sample("a", 1)[:-5],
    "a bit": sample("a", 1)[:60] + bytes([sample("a", 1)[60] ^ 1]) + sample("a", 1)[61:],
    "no picture": sample("a", 1, image=b"no picture"),
    "half a picture": sample("a", 1, image=IMAGE[: len(IMAGE) // 2]),
    "empty picture": sample("a", 1, image=b""),
    "huge picture": sample("a", 1, image=encode_image(np.zeros((2001, 2000, 3), np.uint8), format="png")),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_damaged_bytes_are_counted_and_leave_no_trace(name: str) -> None:
    ground = segment()
    assert ground.receive(DAMAGED[name]) is None
    assert (ground.counts.received, ground.counts.damaged) == (1, 1)
    assert not ground.filed
    assert not ground.blobs
    assert ground.receive(sample("a", 1)) is not None


@given(st.integers(0, len(sample("a", 1)) - 1), st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_any_damaged_byte_is_damage_and_no_error(place: int, flip: int) -> None:
    payload = bytearray(sample("a", 1))
    payload[place] ^= flip
    ground = segment()
    assert ground.receive(bytes(payload)) is None
    assert ground.counts.damaged == 1


def test_an_unlabelled_sample_is_not_filed_and_may_come_again() -> None:
    doubt = Detections(np.array([[0, 0, 5, 5]], np.float32), np.array([0.5], np.float32), np.zeros(1, np.int32))
    ground = GroundSegment(RULES, [PricedLabeller("teacher", TeacherLabeller(lambda _: doubt), 0.1)], {})
    assert ground.receive(sample("a", 1)) is None
    assert (ground.counts.unlabelled, len(ground.filed), ground.blobs) == (1, 0, {})
    assert ground.counts.label_cost == 0.1, "whoever was asked is paid"
    ground.chain = CHAIN
    assert ground.receive(sample("a", 1)) is not None


def test_a_scene_that_the_oracle_does_not_know_is_the_missions_error() -> None:
    with pytest.raises(DataError, match="scene-99"):
        segment().receive(sample("a", 99))


def test_the_label_budget_holds_and_duplicates_do_not_use_it() -> None:
    ground = segment(max_labels=3)
    for name in ("a", "a", "b", "c", "d", "e", "c"):
        ground.receive(sample(name, 2))
    assert list(ground.filed) == ["a", "b", "c"]
    assert (ground.counts.over_budget, ground.counts.duplicates) == (2, 2)
    assert ground.counts.label_cost == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("share", "gate"), [(0.0, []), (0.1, [8]), (0.25, [2, 6, 10]), (1 / 3, [1, 4, 7, 10]), (0.5, [0, 2, 4, 6, 8, 10])]
)
def test_every_nth_scene_in_order_of_arrival_is_frozen(share: float, gate: list[int]) -> None:
    ground = segment(gate_share=share)
    order = [5, 9, 2, 30, 31, 7, 8, 1, 0, 22, 12, 13]
    filed = [ground.receive(sample(f"s{i}", scene)) for i, scene in enumerate(order)]
    assert [i for i, f in enumerate(filed) if f is not None and f.for_gate] == gate


arrivals = st.lists(st.tuples(st.integers(0, SCENES - 1), st.integers(0, 3), st.sampled_from(["sat-1", "sat-2"])), max_size=40)


@given(arrivals, st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7]))
@settings(max_examples=40, deadline=None)
def test_a_scene_never_changes_sides_and_the_share_is_kept(rows: list[tuple[int, int, str]], share: float) -> None:
    ground = segment(gate_share=share)
    for scene, tile, satellite in rows:
        ground.receive(sample(f"{satellite}/{scene}/{tile}", scene, satellite))
    train = {f.sample.scene_id for f in ground.filed.values() if not f.for_gate}
    frozen = {f.sample.scene_id for f in ground.filed.values() if f.for_gate}
    assert not train & frozen
    assert abs(len(frozen) - share * len(train | frozen)) <= 1
    assert {i.image_id for i in ground.training_set()} | {i.image_id for i in ground.gate_set()} == set(ground.filed)
    assert not {i.image_id for i in ground.training_set()} & {i.image_id for i in ground.gate_set()}


def test_a_round_needs_new_samples_evidence_and_a_round_left() -> None:
    ground = segment(min_gate_objects=3)
    for name, scene in (("a0", 1), ("a1", 2), ("a2", 2)):
        ground.receive(sample(name, scene))
    assert not ground.due()  # three to train on, nothing frozen
    ground.receive(sample("gate", 24))  # the third scene is frozen; it has four objects
    assert [i.image_id for i in ground.gate_set()] == ["gate"]
    assert ground.due()
    assert ground.start_round() == 1
    assert not ground.due()  # nothing new yet
    for i in range(2):
        ground.receive(sample(f"b{i}", 1))
    ground.receive(sample("gate-2", 24))  # frozen, so not new to train on
    assert not ground.due()
    ground.receive(sample("b2", 1))
    assert ground.due()
    assert ground.filed["b2"].round == 1
    assert ground.start_round() == 2
    for i in range(9):
        ground.receive(sample(f"c{i}", 1))
    assert not ground.due()  # no round left


def test_too_few_frozen_objects_are_no_evidence() -> None:
    ground = segment(min_gate_objects=5)
    for i, scene in enumerate((1, 2, 24, 5)):
        ground.receive(sample(f"a{i}", scene))
    assert [len(i.boxes) for i in ground.gate_set()] == [4]
    assert len(ground.training_set()) == 3
    assert not ground.due()


def test_the_canary_prefers_frozen_samples_then_the_fullest() -> None:
    ground = segment()
    for name, scene in (("t2", 2), ("t4", 4), ("g3", 3), ("t1", 1), ("t3", 8)):
        ground.receive(sample(name, scene))
    ground.receive(sample("other", 4, "sat-2"))
    assert ground.filed["g3"].for_gate
    cases = ground.canary_cases(["sat-1"], 3)
    assert [c.sample_id for c in cases] == ["g3", "t4", "t3"]
    assert [len(c.boxes) for c in cases] == [3, 4, 3]
    assert Boxes.from_json(cases[0].boxes).to_json() == ground.filed["g3"].image.boxes.to_json()
    assert [c.sample_id for c in ground.canary_cases(["sat-2", "sat-1", "sat-3"], 1)] == ["other", "g3"]
    assert ground.canary_cases(["sat-1"], 0) == ()


def test_a_sample_without_objects_is_no_canary() -> None:
    ground = segment()
    ground.receive(sample("empty", 0))
    assert ground.canary_cases(["sat-1"], 3) == ()


@given(arrivals, st.floats(0, 1), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_a_restored_segment_goes_on_as_if_nothing_had_happened(
    rows: list[tuple[int, int, str]], cut: float, rounds: int
) -> None:
    through, before = segment(), segment()
    for n, (scene, tile, satellite) in enumerate(rows):
        if n == int(cut * len(rows)):
            for ground in (through, before):
                for _ in range(rounds):
                    ground.start_round()
            after = GroundSegment(RULES, CHAIN, before.blobs)
            after.restore(json.loads(json.dumps(before.to_json())))
            before = after
        payload = sample(f"{satellite}/{scene}/{tile}", scene, satellite)
        assert (through.receive(payload) is None) == (before.receive(payload) is None)
    assert same(through.training_set(), before.training_set())
    assert same(through.gate_set(), before.gate_set())
    assert through.canary_cases(["sat-1", "sat-2"], 4) == before.canary_cases(["sat-1", "sat-2"], 4)
    assert through.to_json() == before.to_json()
    assert (through.due(), through.round) == (before.due(), before.round)


def test_what_is_restored_has_the_very_boxes_and_replaces_all_that_was_there() -> None:
    ground, used = segment(), segment()
    for i, scene in enumerate((4, 3, 2, 9, 8, 7, 6)):
        ground.receive(sample(f"s{i}", scene))
        used.receive(sample(f"u{i}", 10 + i))
    used.blobs.update(ground.blobs)
    used.restore(json.loads(json.dumps(ground.to_json())))
    assert same(used.training_set(), ground.training_set())
    assert same(used.gate_set(), ground.gate_set())
    assert [i.image_id for i in ground.gate_set()] == ["s2", "s6"]
    assert used.to_json() == ground.to_json()
    for next_one in (ground, used):
        next_one.receive(sample("later", 12))
    assert used.filed["later"].for_gate == ground.filed["later"].for_gate


def saved() -> tuple[dict[str, Any], dict[str, bytes]]:
    ground = segment()
    for i in range(3):
        ground.receive(sample(f"s{i}", i + 1))
    return json.loads(json.dumps(ground.to_json())), dict(ground.blobs)


@pytest.mark.parametrize("name", ["round", "fresh", "counts", "samples"])
@pytest.mark.parametrize("value", [..., None, "x", [1], {"a": 1}, [{"blob": 1}], float("inf"), [None]])
def test_malformed_state_is_a_state_error(name: str, value: Any) -> None:
    state, blobs = saved()
    broken = {k: v for k, v in (state | {name: value}).items() if v is not ...}
    with pytest.raises(StateError, match="malformed"):
        GroundSegment(RULES, CHAIN, blobs).restore(broken)


@pytest.mark.parametrize("field", ["blob", "boxes", "source", "cost", "round"])
def test_a_malformed_row_is_a_state_error(field: str) -> None:
    state, blobs = saved()
    del state["samples"][1][field]
    with pytest.raises(StateError, match=field):
        GroundSegment(RULES, CHAIN, blobs).restore(state)


def test_a_lost_or_damaged_blob_is_a_state_error() -> None:
    state, blobs = saved()
    name = state["samples"][0]["blob"]
    with pytest.raises(StateError):
        GroundSegment(RULES, CHAIN, {k: v for k, v in blobs.items() if k != name}).restore(state)
    with pytest.raises(StateError):
        GroundSegment(RULES, CHAIN, blobs | {name: blobs[name][:-1]}).restore(state)
