"""The commands of `orbitloop health`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A channel that stood still, and jumps for a while."""
    judged = np.full(900, -1.0)
    judged[400:430] = 1.0
    path = tmp_path / "P-9.npz"
    np.savez(path, train_value=np.full(600, -1.0), test_value=judged)
    return path


def test_a_file_is_judged_drawn_and_proposed_on(still: Path, tmp_path: Path) -> None:
    words = ("health", still, "--method", "streaming", "--plot", tmp_path / "p.png", "--proposals", tmp_path / "out", "--json")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found["events"]) == ["P-9"]
    assert found["severity"] == "warning"
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    checked = invoke("validate", found["proposal"])
    assert checked.exit_code == 0
    assert "SafeModeProposal" in checked.stdout
    told = invoke("health", "check", still, "--method", "streaming")
    assert "had stood still" in told.stdout


def test_errors_have_their_codes(still: Path, tmp_path: Path) -> None:
    assert invoke("health", tmp_path / "none.csv").exit_code == 28
    assert invoke("health", still, "--method", "nobody").exit_code == 20
    assert invoke("health", still, "--plot", tmp_path / "p.gif").exit_code == 21
    (tmp_path / "wrong.yaml").write_text("kind: TelemetryLimits\nname: x\nspec: {channels: [{}]}\n")
    assert invoke("health", still, "--config", tmp_path / "wrong.yaml").exit_code == 10
    assert invoke("health", "evaluate", tmp_path).exit_code == 21


def test_a_set_is_scored(still: Path, tmp_path: Path) -> None:
    (tmp_path / "channels").mkdir()
    still.rename(tmp_path / "channels" / "P-9.npz")
    (tmp_path / "labels.csv").write_text("channel,spacecraft,start,end\nP-9,X,395,440\n")
    result = invoke("health", "evaluate", tmp_path, "--method", "streaming", "--json", "--quiet")
    found = json.loads(result.stdout)
    assert (found["corrected"]["found"], found["corrected"]["false_events"]) == (1, 0)
    assert found["median_delay_samples"] >= 5
    assert "ESA-ADB" in invoke("health", "evaluate", tmp_path, "--method", "streaming", "-q").stdout


def test_a_history_and_a_plan(tmp_path: Path) -> None:
    rows = [f"a,{'st'[n % 2]},{n * 6000},45,{int(n < 40)}" for n in range(60)]
    history = tmp_path / "passes.csv"
    history.write_text("satellite,station,time,elevation,heard\n" + "\n".join(rows) + "\n")
    result = invoke("health", "beacons", history, "--json", "--proposals", tmp_path, "--plot", tmp_path / "s.svg")
    found = json.loads(result.stdout)
    assert found["satellites"][0]["verdict"] == "failed"
    assert invoke("validate", found["proposals"][0]).exit_code == 0
    assert b"<svg" in (tmp_path / "s.svg").read_bytes()
    demo = Path(__file__).parents[2] / "missions" / "farmland-demo.yaml"
    planned = invoke("health", "beacons", demo)
    assert "given up after" in planned.stdout
    assert invoke("health", "beacons", history, "--failed-per-year", "9").exit_code == 2
