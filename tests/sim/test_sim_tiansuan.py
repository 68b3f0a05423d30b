"""The shipped constellation of six unlike satellites runs its whole loop, by waves, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_mission import open_gate

from orbitloop.apps.missions import open_mission
from orbitloop.records.update import ApplyOutcome
from orbitloop.reports.write import read_report
from orbitloop.sim import releases
from orbitloop.sim.fleet import contacts
from orbitloop.sim.mission import run_mission

MISSION = Path(__file__).parents[2] / "missions" / "tiansuan.yaml"
SMALL = (
    "Mission.threads=1",
    "Mission.durationDays=1",
    "Mission.captures.scenesPerHour=4",
    "Dataset.procedural.scenesPerDomain=12",
    "Dataset.procedural.scenePx=128",
    "Model.width=0.05",
    "Model.tilePx=96",
    "Model.trainable=[head, bn]",
    "Model.baseTraining={steps: 40, batch: 8, learningRate: 0.01}",
    "Model.quantisation={calibrationTiles: 8, maxLoss: 0.5}",
    "IncrementalLearningJob.mining.name=always",
    "IncrementalLearningJob.training={trigger: {minSamples: 8, patienceHours: 12}, steps: 8, batch: 8, rounds: 1, views: 2}",
    "IncrementalLearningJob.gate={minGain: 0, maxLoss: 1, gateShare: 0.4, minObjects: 2}",
    "IncrementalLearningJob.update={waves: [1, 2], canary: {maxLoss: 1, isolated: false}, probation: {contactsUnproven: 1}}",
    "IncrementalLearningJob.budgets={samplesPerPass: 16}",
)


def test_every_satellite_meets_a_station_in_a_band_that_both_have() -> None:
    plan = open_mission(MISSION)
    windows = contacts(plan).windows
    assert {w.satellite for w in windows} == set(plan.satellites)
    assert {w.station for w in windows} == set(plan.stations)
    ka = [w.downlink_bytes / w.duration_s for w in windows if w.satellite == "tiansuan-6" and w.station == "miyun"]
    x = [w.downlink_bytes / w.duration_s for w in windows if w.satellite == "tiansuan-6" and w.station == "kashi"]
    assert min(ka) > 2 * max(x), "1.4 Gbit/s in Ka where there is Ka, 450 Mbit/s in X elsewhere"


@pytest.mark.slow
def test_the_six_close_their_loop_by_waves(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "judge", open_gate)
    plan = open_mission(MISSION, SMALL)
    result = run_mission(plan, tmp_path, tmp_path / "run", cache=cache)
    report = read_report(tmp_path / "run")
    assert report.digest() == result.report.digest()
    assert set(report.satellites) == set(plan.satellites)
    (one,) = report.rounds
    told = {a.satellite: a.report for a in one.applied}
    assert set(told) == set(plan.satellites)
    assert {r.outcome for r in told.values()} == {ApplyOutcome.CONFIRMED}
    ends = sorted(r.at_s for r in told.values())
    versions = [told[name].version for name in sorted(told, key=lambda name: told[name].at_s)]
    assert sorted(set(versions)) == [1, 2, 3], "three waves, a signature each"
    assert versions.count(1) == 1
    assert versions.count(2) == 2
    assert ends[0] == told[next(name for name in told if told[name].version == 1)].at_s
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(name in page for name in plan.satellites)
