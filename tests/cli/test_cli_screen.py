from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.apps import screening as app_screening
from orbitloop.cli.main import app

PAIR = """IRIDIUM 33
1 24946U 97051C   09040.78448243 +.00000153 +00000-0 +47668-4 0  9994
2 24946 086.3994 121.7028 0002288 085.1644 274.9812 14.34219863597336
COSMOS 2251
1 22675U 93036A   09040.49834364 -.00000001  00000-0  95251-5 0  9996
2 22675 074.0355 019.4646 0016027 098.7014 261.5952 14.31135643817415
BROKEN
1 22676U 93036A   09040.49834364 -.00000001  00000-0  95251-5 0  9990
2 22676 074.0355 019.4646 0016027 098.7014 261.5952 14.31135643817415
"""
WHEN = ("--start", "2009-02-10T00:00:00")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "pair.tle"
    path.write_text(PAIR)
    return path


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["screen", *(str(w) for w in words)])


def test_screen_tells_the_nearest_and_what_was_left_out(pair: Path, tmp_path: Path) -> None:
    result = invoke(pair, *WHEN, "--out", tmp_path / "found.csv", "--plot", tmp_path / "rtn.svg")
    assert result.exit_code == 0
    assert "2009-02-10T16:55:59.796" in result.stdout
    assert "COSMOS 2251" in result.stdout
    assert "1 crossings, 0 slow, 0 of pairs that stay together" in result.stdout
    assert "skipped: 1 element sets" in result.stdout
    assert (tmp_path / "found.csv").read_text().count("\n") == 2
    assert b"IRIDIUM 33" in (tmp_path / "rtn.svg").read_bytes()


def test_json_is_one_object_and_csv_a_table(pair: Path) -> None:
    value = json.loads(invoke(pair, *WHEN, "--json").stdout)
    assert value["kinds"] == {"crossing": 1, "slow": 0, "co-located": 0}
    assert value["approaches"][0]["secondary"]["name"] == "COSMOS 2251"
    assert value["volume"]["shape"] == "sphere"
    assert len(value["skipped"]) == 1
    rows = list(csv.DictReader(invoke(pair, *WHEN, "--csv", "--primary", "22675").stdout.splitlines()))
    assert [(row["NORAD_CAT_ID_1"], row["NORAD_CAT_ID_2"]) for row in rows] == [("22675", "24946")]


def test_volumes_of_the_command_line(pair: Path) -> None:
    # The secondary passes 0.03 km below and 0.5 km aside.
    inside = json.loads(invoke(pair, *WHEN, "--box-km", "0.1,2,2", "--json").stdout)
    assert [one["kind"] for one in inside["approaches"]] == ["crossing"]
    outside = json.loads(invoke(pair, *WHEN, "--ellipsoid-km", "0.02,2,2", "--json").stdout)
    assert outside["approaches"] == []
    assert outside["volume"] == {"shape": "ellipsoid", "radial_km": 0.02, "intrack_km": 2.0, "crosstrack_km": 2.0}


def test_nothing_found_is_said(pair: Path, tmp_path: Path) -> None:
    result = invoke(pair, *WHEN, "--days", "0.1", "--plot", tmp_path / "none.png")
    assert result.exit_code == 0
    assert "no approach" in result.stdout
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--primary", "NOBODY"), 26, "NOBODY"),
        (("--start", "soon"), 2, "soon"),
        (("--box-km", "1,2"), 2, "three numbers"),
        (("--box-km", "1,2,-3"), 26, "half-axis"),
        (("--box-km", "1,2,3", "--ellipsoid-km", "1,2,3"), 2, "exclude"),
        (("--json", "--csv"), 2, "exclude"),
        (("--engine", "warp"), 2, "auto"),
        (("--out", "found.txt"), 23, "jsonl"),
        (("--plot", "found.gif"), 21, "png"),
    ],
)
def test_what_is_refused(pair: Path, words: tuple[str, ...], code: int, said: str) -> None:
    result = invoke(pair, *WHEN, *words)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_ctrl_c_keeps_what_was_found_and_says_until_when(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = app_screening.Screener.blocks

    def stopped(self: app_screening.Screener) -> Any:
        for until_s in real(self):
            yield until_s
            raise KeyboardInterrupt

    monkeypatch.setattr(app_screening.Screener, "blocks", stopped)
    defaults = app_screening.Screener.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "block_bytes", 4_096)  # 42 nodes of two objects: 84 minutes
    result = invoke(pair, "--start", "2009-02-10T16:00:00", "--out", tmp_path / "part.jsonl")
    assert result.exit_code == 130
    assert "complete until" in result.output
    first = json.loads((tmp_path / "part.jsonl").read_text().splitlines()[0])
    assert first["complete"] is False
    assert first["complete_until"] == "2009-02-10T17:24:00Z"
    assert first["approaches"] == 1
