"""Alerts and proposals: files that hold only such are sound without a mission, and say what is wrong as every file does."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.errors import ManifestError
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.manifest import load_standalone, parse_manifests

ALERT = """
kind: ConjunctionAlert
name: 1-2-20260528-202640-red-1
spec:
  event: 1-2-20260528-202640
  level: red
  raised: 2026-05-27T20:26:40Z
  tca: "2026-05-28T20:26:40Z"
  primary: {name: A, designator: "1"}
  secondary: {name: B}
  probability: 1.0e-4
  missKm: 0.2
  speedKmS: 12.1
  covariance: model
"""
OPTION = """
kind: AvoidanceOption
name: 1-2-20260528-202640-option-1
spec:
  event: 1-2-20260528-202640
  rank: 1
  satellite: {name: A}
  secondary: {name: B}
  burn: {at: 2026-05-28T19:00:00Z, alongTrackMS: -0.01, revolutionsBeforeTca: 1.5}
  predicted: {tca: 2026-05-28T20:26:41Z, missKm: 1.5, probability: 1.0e-9}
  cost: {deltaVMS: 0.01, passesLost: 0}
"""


def test_they_stand_alone_and_others_do_not() -> None:
    assert {kind for kind, model in KINDS.items() if model.stands_alone} >= {"ConjunctionAlert", "AvoidanceOption"}
    assert not KINDS["Mission"].stands_alone
    assert not KINDS["Satellite"].stands_alone


def test_a_file_of_both_is_sound_without_a_mission(tmp_path: Path) -> None:
    file = tmp_path / "traffic.yaml"
    file.write_text(ALERT + "---" + OPTION, "utf-8")
    read = load_standalone(file)
    assert read is not None
    assert [one.kind for one in read] == ["ConjunctionAlert", "AvoidanceOption"]
    result = CliRunner().invoke(app, ["validate", str(file)])
    assert result.exit_code == 0
    assert "sound (2 of kind AvoidanceOption, ConjunctionAlert; no mission)" in result.stdout


def test_an_option_is_only_ever_proposed() -> None:
    with pytest.raises(ManifestError, match="proposed"):
        parse_manifests(OPTION.replace("  rank: 1", "  rank: 1\n  state: approved"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("level: red", "level: purple", "level"),
        ("probability: 1.0e-4", "probability: 1.5", "probability"),
        ("missKm: 0.2", "missKm: -1", "missKm"),
        ("covariance: model", "covariance: good", "covariance"),
        ("raised: 2026-05-27T20:26:40Z", "raised: yesterday", "not a time"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "alert.yaml"
    file.write_text(ALERT.replace(old, new), "utf-8")
    result = CliRunner().invoke(app, ["validate", str(file)])
    assert result.exit_code == ManifestError.exit_code
    assert said in result.stderr


def test_doing_nothing_costs_nothing() -> None:
    with pytest.raises(ManifestError, match="delta-v"):
        parse_manifests("\n".join(line for line in OPTION.split("\n") if "burn:" not in line))


def test_one_name_twice_is_told(tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(ALERT + "---" + ALERT, "utf-8")
    with pytest.raises(ManifestError, match="second ConjunctionAlert"):
        load_standalone(file)


def test_with_a_satellite_beside_it_a_mission_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(ALERT + "---\nkind: Satellite\nname: sat-1\n", "utf-8")
    assert load_standalone(file) is None
    assert CliRunner().invoke(app, ["validate", str(file)]).exit_code == ManifestError.exit_code
