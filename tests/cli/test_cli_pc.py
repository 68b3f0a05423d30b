from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.conjunction.cdm import read_cdm, to_ndm
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.formats.ndm_kvn import write_kvn

SPEED = float(np.sqrt(MU_KM3_S2 / 7000))


def _message(path: Path, velocity: tuple[float, float, float], sigma_km: float = 0.05, name: str = "DEBRIS") -> Path:
    spread = np.diag([sigma_km**2] * 3 + [1e-12] * 3)
    first = ObjectState("SAT", "1", np.array([7000.0, 0, 0]), np.array([0, SPEED, 0]), spread)
    second = ObjectState(name, "2", np.array([7000.05, 0, 0.05]), np.array(velocity), spread)
    told = to_ndm(Encounter(1.8e9, first, second, 20.0), message_id=path.stem, originator="TEST", created_s=1.79e9)
    path.write_text(write_kvn(told))
    return path


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    return _message(tmp_path / "fast.cdm", (0.0, 0.0, 1.001 * SPEED))


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return _message(tmp_path / "slow.cdm", (0.0, SPEED, 3e-4), name="NEIGHBOUR")


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["pc", *(str(w) for w in words)])


def test_a_violated_plane_is_seen_in_the_table_with_its_reason(fast: Path, slow: Path) -> None:
    result = invoke(fast, slow, "--samples", "4000")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    (of_fast,) = (line for line in lines if "DEBRIS" in line)
    (of_slow,) = (line for line in lines if "NEIGHBOUR" in line)
    assert " 2d " in of_fast
    assert "!" not in of_fast
    assert " !" in of_slow
    assert any("2d does not hold: the passing is slow" in line for line in lines)
    assert "fast.cdm" not in result.stdout


def test_json_of_a_folder_and_its_bad_file(fast: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.cdm").write_text("CCSDS_CDM_VERS = 1.0\nTCA = never\n")
    result = invoke(tmp_path, "--json")
    assert result.exit_code == 26
    bad, good = json.loads(result.stdout)["messages"]
    assert "bad.cdm" in bad["error"]
    assert good["method"] == "2d"
    assert good["plane"]["holds"] is True
    assert good["probability"] == good["plane"]["value"]
    assert invoke(fast, tmp_path / "bad.cdm").exit_code == 26


def test_the_same_seed_counts_the_same_whatever_else_is_named(fast: Path, slow: Path) -> None:
    words = ("--method", "mc", "--samples", "30000", "--seed", "4", "--json")
    alone = json.loads(invoke(fast, *words).stdout)["messages"][0]
    together = json.loads(invoke(slow, fast, *words).stdout)["messages"][1]
    assert alone == together
    assert alone["counted"]["samples"] == 30_000
    other = json.loads(invoke(fast, *words[:-2], "5", "--json").stdout)["messages"][0]
    assert other["counted"]["hits"] != alone["counted"]["hits"]


def test_a_radius_from_the_command_line_goes_first(fast: Path, tmp_path: Path) -> None:
    small, large = (json.loads(invoke(fast, "--hbr", radius, "--json").stdout)["messages"][0] for radius in ("10", "20"))
    assert large["probability"] == pytest.approx(4 * small["probability"], rel=0.1)
    bare = tmp_path / "bare.cdm"
    bare.write_text("".join(line for line in fast.read_text().splitlines(True) if "HBR" not in line))
    refused = invoke(bare)
    assert refused.exit_code == 26
    assert "--hbr METRES" in refused.stderr


def test_sensitivity_and_picture(fast: Path, tmp_path: Path) -> None:
    result = invoke(fast, "--sensitivity", "--plot", tmp_path / "plane.svg")
    assert result.exit_code == 0
    assert "hard-body radius" in result.stdout
    assert "hard-body radius 20 m" in (tmp_path / "plane.svg").read_text()
    told = json.loads(invoke(fast, "--sensitivity", "--json").stdout)["messages"][0]["sensitivity"]
    assert {row["what"] for row in told} == {"radius", "primary", "secondary", "both"}
    assert invoke(fast, "--plot", tmp_path / "plane.jpg").exit_code == 21


def test_messages_are_converted_field_by_field(fast: Path, tmp_path: Path) -> None:
    result = invoke(fast, "--convert", "xml", "--out", tmp_path / "xml")
    assert result.exit_code == 0
    back = invoke(tmp_path / "xml" / "fast.xml", "--convert", "kvn", "--out", tmp_path / "kvn")
    assert back.exit_code == 0
    fields = [
        [(field.keyword, field.value, field.unit) for field in read_cdm(path.read_text()).message.fields()]
        for path in (fast, tmp_path / "xml" / "fast.xml", tmp_path / "kvn" / "fast.kvn")
    ]
    assert fields[0] == fields[1] == fields[2]
    again = invoke(tmp_path / "kvn" / "fast.kvn", "--convert", "kvn")
    assert again.exit_code == 26
    assert "over itself" in again.stderr


@pytest.mark.parametrize("words", [("--method", "guess"), ("--convert", "pdf"), ("--samples", "0")])
def test_a_wrong_command_line(fast: Path, words: tuple[str, str]) -> None:
    assert invoke(fast, *words).exit_code == 2
