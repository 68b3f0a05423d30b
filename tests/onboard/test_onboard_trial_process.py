"""Candidates in a process of their own: whatever they do, the satellite's process gets a finding and goes on.

The limits of seconds are far beyond what a sound candidate takes, or short for one that never ends: time decides nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from candidate_ship import PATIENT, base, behaving, canary, canary_tiles, left_behind, model_bytes, process_trial, truths
from onnx import TensorProto, helper

from orbitloop.onboard.adapters.trial_process import ProcessTrial
from orbitloop.onboard.trial import Findings, ModelBytes, TrialJob, TrialLimits, judge
from orbitloop.onboard.trial_bench import InProcess
from orbitloop.onboard.weights import save_weights

SOON = replace(PATIENT, seconds=3.0)


def job(candidate: ModelBytes, limits: TrialLimits = PATIENT, tiles: int = 3) -> TrialJob:
    names = [case.sample_id for case in canary()][:tiles]
    return TrialJob(model_bytes(base()), candidate, tuple(canary_tiles()[n] for n in names), limits)


def tried(name: str, strength: float = 2.0, limits: TrialLimits = PATIENT) -> Findings:
    return process_trial().run(job(model_bytes(behaving(name, strength)), limits))


def test_a_sound_candidate_is_found_to_be_what_it_is_in_this_process_too():
    import candidate_engines

    asked = job(model_bytes(base()))
    apart, here = process_trial().run(asked), InProcess(candidate_engines.build).run(asked)
    assert apart.failure == here.failure == ""
    assert [t.index for t in apart.tiles] == [t.index for t in here.tiles] == [0, 1, 2]
    for one, other in zip(apart.tiles, here.tiles, strict=True):
        assert one.candidate.scores.tolist() == other.candidate.scores.tolist()
        assert one.running.boxes_xyxy_px.tolist() == other.running.boxes_xyxy_px.tolist()
    assert judge(apart, asked, truths()[:3]).passed
    assert apart.rounds
    assert all(before > 0 and after > 0 for before, after in apart.rounds)
    assert here.rounds == ((0.0, 0.0),)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("abort", "killed by SIGABRT as the candidate looks at a grey tile"),
        ("abort_at_load", "killed by SIGABRT as the candidate loads"),
        ("segfault", "killed by SIGSEGV"),
        ("leave", "ended with code 0"),
        ("odd_error", "RuntimeError an engine that breaks its word in two lines ? as it looks"),
        ("garbage", "cannot be read"),
        ("long_frame", "cannot be read (a frame of 4294967295 bytes"),
        ("strange_tile", "not finite"),
        ("another_tile", "999"),
        ("hog_numpy", "MemoryError"),
        ("nan_in_the_dark", "the network's output is not finite as it looks at a black tile"),
        ("wrong_count", "the candidate: ValueError"),
    ],
)
def test_how_a_candidate_fails_is_told(name, word):
    found = tried(name)
    assert word in found.failure
    assert len(found.failure) < 400
    assert found.failure.isprintable()
    assert not judge(found, job(model_bytes(base())), truths()[:3]).passed


@pytest.mark.parametrize("name", ["sleep", "stop"])
def test_a_candidate_that_hangs_is_ended(name):
    assert tried(name, limits=SOON).failure == "no end within 3 s as the candidate looks at a grey tile"


def test_a_forged_end_proves_nothing():
    found = tried("early_end")
    assert found.failure == ""
    assert "did not look at every tile" in judge(found, job(model_bytes(base())), truths()[:3]).reason
    assert not judge(found, job(model_bytes(base())), []).passed


def test_a_candidate_thirty_times_as_slow_is_slow():
    found = tried("slow", 100.0)
    assert len(found.rounds) == 3
    assert found.slowdown > 3
    assert "times as slow as the running model" in judge(found, job(model_bytes(base())), truths()[:3]).reason


def test_no_process_is_left_whatever_the_candidate_has_started():
    for name in ("fork_and_die", "fork_and_leave"):
        assert tried(name).failure
        assert not left_behind(), name


def test_the_memory_of_a_trial_is_bounded_and_no_core_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = replace(PATIENT, memory_bytes=400_000_000)
    assert "MemoryError" in tried("hog", limits=small).failure
    assert tried("hog_native", limits=small).failure
    assert tried("segfault").failure
    assert list(tmp_path.iterdir()) == []


def test_with_too_little_memory_for_a_sound_candidate_nothing_is_confirmed_and_nothing_breaks():
    found = process_trial().run(job(model_bytes(base()), replace(PATIENT, memory_bytes=30_000_000)))
    assert found.failure


def test_a_process_that_cannot_be_started_is_a_finding(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert tried("sound").failure.startswith("a process cannot be started")
    monkeypatch.undo()
    found = ProcessTrial("nowhere:build").run(job(model_bytes(base())))
    assert found.failure == "ended with code 1, before it had begun"


@pytest.mark.parametrize("part", ["graph", "weights"])
def test_bytes_that_are_no_model_are_a_finding(part):
    sound = model_bytes(base())
    broken = replace(sound, **{part: getattr(sound, part)[:-100]})
    assert process_trial().run(job(broken)).failure.startswith("the candidate: ")
    asked = TrialJob(broken, sound, (), PATIENT)
    assert process_trial().run(asked).failure.startswith("the running model: ")


def test_weights_that_overflow_are_not_finite_in_the_real_runtime():
    weights = base() | {n: np.full_like(a, 1e30) for n, a in base().items() if n.endswith(".weight")}
    found = process_trial().run(job(model_bytes(weights)))
    assert "the network's output is not finite" in found.failure


def _endless() -> bytes:
    """Return a graph that is a loop of 2^62 turns: as valid as any, and refused before ONNX Runtime would run it."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep"], ["kept"]), helper.make_node("Identity", ["value"], ["next"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("keep", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("kept", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["many"], value=helper.make_tensor("m", TensorProto.INT64, [], [1 << 62])),
            helper.make_node("Constant", [], ["on"], value=helper.make_tensor("o", TensorProto.BOOL, [], [True])),
            helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("z", TensorProto.FLOAT, [], [0.0])),
            helper.make_node("Loop", ["many", "on", "zero"], ["pred"], body=body),
        ],
        "endless",
        [],
        [helper.make_tensor_value_info("pred", TensorProto.FLOAT, [])],
    )
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def test_a_graph_that_never_ends_is_ended_in_the_real_runtime():
    broken = ModelBytes(_endless(), save_weights(behaving("raw")))
    found = process_trial().run(job(broken, SOON))
    assert found.failure == "no end within 3 s as the candidate loads"
