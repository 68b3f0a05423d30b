"""A run that was stopped anywhere, in any way, ends like one that never was. The test that the runner stands on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mission import tiny_plan

from orbitloop.errors import StateError
from orbitloop.reports.mission import NOT_DIGESTED, MissionReport
from orbitloop.reports.write import read_report
from orbitloop.sim.mission import MissionResult
from orbitloop.sim.watcher import Watcher


class Interrupter(Watcher):
    """Stops a run, like Ctrl-C, at each word to the watcher that it has not heard before, or at every n-th such word."""

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.places: list[tuple[Any, ...]] = []

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        self._stop("stage", name, done, detail)

    def event(self, at_s: float, text: str) -> None:
        self._stop("event", at_s, text)

    def _stop(self, *place: Any) -> None:
        if place in self.places:
            return
        self.places.append(place)
        if len(self.places) % self.every == 0:
            raise KeyboardInterrupt


class Counter(Watcher):
    """Stops a run at the `stop_at`-th word; 0 never does."""

    def __init__(self, stop_at: int = 0) -> None:
        self.stop_at, self.heard = stop_at, 0

    def stage(self, name: str, done: int, total: int, detail: str = "") -> None:
        self._count()

    def event(self, at_s: float, text: str) -> None:
        self._count()

    def _count(self) -> None:
        self.heard += 1
        if self.heard == self.stop_at:
            raise KeyboardInterrupt


def differences(one: MissionReport, other: MissionReport) -> list[str]:
    a, b = one.to_json(), other.to_json()
    return [f"{name}: {a[name]} != {b[name]}" for name in a if name not in NOT_DIGESTED and a[name] != b[name]]


def run_to_the_end(run_tiny: Any, plan: Any, out: Path, watcher: Watcher, most: int = 500) -> MissionResult:
    """Run and resume until it ends; a stop before there is anything to report raises."""
    for attempt in range(most):
        try:
            result = run_tiny(plan, out, resume=attempt > 0, watcher=watcher)
        except KeyboardInterrupt:
            continue
        if not result.interrupted:
            return result
        assert not result.report.complete
        assert not read_report(out).complete
    raise AssertionError(f"not at its end after {most} attempts")


@pytest.mark.usefixtures("eager")
def test_a_run_stopped_at_every_stage_and_event_ends_like_one_that_never_was(run_tiny, finished, tmp_path):
    watcher = Interrupter()
    result = run_to_the_end(run_tiny, tiny_plan(), tmp_path, watcher)
    assert differences(result.report, finished.report) == []
    assert result.report.digest() == finished.report.digest()
    for name in ("detections.geojson", "model/graph.onnx", "model/weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (finished.paths.json.parent / name).read_bytes(), name
    names = {place[1] for place in watcher.places if place[0] == "stage"}
    assert names >= {"mission", "on board", "train round 1", "train round 2", "gate", "evaluate"}
    assert len(watcher.places) > 50


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_on_a_lossy_link_with_two_satellites_a_teacher_a_slow_uplink_and_a_ceiling(run_tiny, tmp_path, every):
    plan = rough_plan()
    whole = run_tiny(plan)
    assert any(one.applied for one in whole.report.rounds)
    result = run_to_the_end(run_tiny, plan, tmp_path, Interrupter(every))
    assert differences(result.report, whole.report) == []


def rough_plan() -> Any:
    spec = {"link": {"lossRate": 0.2, "downlinkBps": 2e4}}
    other = {"kind": "Satellite", "name": "sat-2", "spec": {**spec, "orbit": {"meanAnomalyDeg": 120, "ltanHours": 14}}}
    job = {
        "labelling": {"teacher": {"width": 0.1, "steps": 20, "acceptAbove": 0.6, "rejectBelow": 0.3}, "oracle": {}},
        "mining": {"name": "uncertainty", "parameters": {"threshold": 0.05}},
        "budgets": {"uplinkBytesPerPass": 4000},
        "training": {"steps": 3},
    }
    return tiny_plan(mission={"ceiling": True}, satellite=spec, more_satellites=(other,), job=job, model={"trainable": ["all"]})


def test_resuming_a_finished_run_changes_nothing(run_tiny, finished, tmp_path):
    first = run_tiny(tiny_plan(), tmp_path)
    again = run_tiny(tiny_plan(), tmp_path, resume=True)
    assert first.report.digest() == again.report.digest() == finished.report.digest()


def test_a_run_without_resume_starts_afresh_over_an_old_one(run_tiny, finished, tmp_path):
    run_tiny(tiny_plan(), tmp_path, watcher=Counter(stop_at=20))
    assert run_tiny(tiny_plan(), tmp_path).report.digest() == finished.report.digest()


def test_resume_with_nothing_to_resume_runs_from_the_beginning(run_tiny, finished, tmp_path):
    heard: list[str] = []

    class Listener(Watcher):
        def event(self, at_s: float, text: str) -> None:
            heard.append(text)

    result = run_tiny(tiny_plan(), tmp_path / "new", resume=True, watcher=Listener())
    assert result.report.digest() == finished.report.digest()
    assert "no checkpoint" in heard[0]


@pytest.mark.parametrize("change", [{"seed": 1}, {"job": {"training": {"steps": 7}}}, {"mission": {"durationDays": 0.5}}])
def test_a_run_of_another_mission_is_not_resumed(run_tiny, tmp_path, change):
    run_tiny(tiny_plan(), tmp_path, watcher=Counter(stop_at=20))
    with pytest.raises(StateError, match="another mission"):
        run_tiny(tiny_plan(**change), tmp_path, resume=True)


def test_ctrl_c_leaves_a_report_of_what_was_run(run_tiny, finished, tmp_path):
    class AfterFirstSwap(Watcher):
        def event(self, at_s: float, text: str) -> None:
            if "version 1 flies" in text:
                raise KeyboardInterrupt

    result = run_tiny(tiny_plan(), tmp_path, watcher=AfterFirstSwap())
    assert result.interrupted
    report = read_report(tmp_path)
    assert not report.complete
    assert len(report.rounds) == 1
    assert report.rounds[0].update is not None
    assert report.accuracy.new_after is not None
    assert result.paths.html.stat().st_size > 10_000


def test_two_processes_give_the_same_digest_and_another_seed_another(run_process, finished, tmp_path):
    digests = []
    for name, seed in (("one", 0), ("two", 1)):
        done = run_process(tmp_path / name, "--seed", str(seed))
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout)["digest"])
    assert digests[0] == finished.report.digest()
    assert digests[1] != digests[0]


def killed_then_resumed(run_process: Any, out: Path, *options: str, cache: Path | None = None) -> str:
    killed = run_process(out, "--save-each-step", *options, cache=cache)
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    resumed = run_process(out, "--resume", cache=cache)
    assert resumed.returncode == 0, resumed.stderr
    digest: str = json.loads(resumed.stdout)["digest"]
    assert read_report(out).digest() == digest
    return digest


@pytest.mark.parametrize("kill", [("--kill-at", "30"), ("--kill-at-write", "25")], ids=" ".join)
def test_a_killed_process_resumes_to_the_same_digest(run_process, finished, tmp_path, kill):
    assert killed_then_resumed(run_process, tmp_path, *kill) == finished.report.digest()


@pytest.mark.slow
def test_a_process_killed_while_it_trains_the_base_model_goes_on_with_it(run_process, finished, tmp_path):
    for moment in ("3", "20", "41"):
        models = tmp_path / f"models-{moment}"
        digest = killed_then_resumed(run_process, tmp_path / moment, "--kill-at", moment, cache=models)
        assert digest == finished.report.digest()


@pytest.mark.slow
def test_a_process_killed_at_many_moments_resumes_to_the_same_digest(run_process, finished, tmp_path):
    rng = np.random.default_rng(7)
    for option, most in (("--kill-at", 75), ("--kill-at-write", 140)):
        for moment in sorted(rng.choice(np.arange(1, most), size=8, replace=False).tolist()):
            folder = tmp_path / f"{option}-{moment}"
            assert killed_then_resumed(run_process, folder, option, str(moment)) == finished.report.digest(), (option, moment)
