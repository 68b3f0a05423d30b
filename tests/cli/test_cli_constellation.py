"""Commands on constellations and energy: tables, JSON, files, pictures, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.formats.sets import parse_sets

ROOT = Path(__file__).parents[2]
TIANSUAN = ROOT / "missions" / "tiansuan.yaml"


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


def one_object(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


class TestWalker:
    def test_the_table_and_the_json_hold_the_pattern(self) -> None:
        result = invoke("constellation", "walker", "53:72/6/1", "--altitude", "550")
        assert result.exit_code == 0
        assert "walker-1-1" in result.stdout
        assert "and 12 more" in result.stdout
        value = one_object(invoke("constellation", "walker", "56:24/3/1", "--altitude", "23222", "--json"))
        assert len(value["satellites"]) == 24
        assert value["satellites"][0]["period_min"] == pytest.approx(845, abs=1), "Galileo: 14 h 05 min"
        assert value["satellites"][8]["raan_deg"] == pytest.approx(120.0, abs=1e-3)

    @pytest.mark.parametrize("name", ["w.tle", "w.json", "w.xml", "w.kvn", "w.csv"])
    def test_every_form_comes_back_as_the_same_orbits(self, tmp_path: Path, name: str) -> None:
        out = tmp_path / name
        words = ("constellation", "walker", "86.4:6/3/2", "--star", "--altitude", "780", "--name", "star")
        assert invoke(*words, "--out", out).exit_code == 0
        sets, bad = parse_sets(out.read_text())
        assert not bad
        assert [one.name for one in sets][:3] == ["star-1-1", "star-1-2", "star-2-1"]
        assert sets[2].raan_deg == pytest.approx(60.0)
        assert sets[2].mean_anomaly_deg == pytest.approx(120.0)
        assert len({one.norad_id for one in sets}) == 6

    def test_the_yaml_is_a_document_of_a_mission(self, tmp_path: Path) -> None:
        out = tmp_path / "shell.yaml"
        invoke("constellation", "walker", "53:12/3/1", "--altitude", "550", "--name", "shell", "--raan", "15", "--out", out)
        rest = (
            "\n---\nkind: Mission\nname: m\n---\n{kind: GroundStation, name: g, spec: {latitudeDeg: 1, longitudeDeg: 2}}\n---\n"
            "kind: Dataset\nspec: {format: procedural, domains: {base: a, stream: [b]},\n"
            "  procedural: {domains: {a: {}, b: {}}}}\n"
        )
        mission = tmp_path / "mission.yaml"
        mission.write_text(out.read_text() + rest)
        value = one_object(invoke("constellation", "show", mission, "--json"))
        assert [one["name"] for one in value["satellites"]][:2] == ["shell-1-1", "shell-1-2"]
        assert value["satellites"][0]["raan_deg"] == pytest.approx(15.0)

    @pytest.mark.parametrize(
        ("words", "code", "what"),
        [
            (("53:72/7/1", "--altitude", "550"), 17, "do not share out"),
            (("here", "--altitude", "550"), 17, "no Walker pattern"),
            (("53:6/3/1", "--altitude", "550", "--out", "w.bin"), 21, "no form ends in"),
            (("53:6/3/1", "--altitude", "550", "--out", "/dev/null/w.tle"), 23, "cannot be written"),
            (("53:6/3/1", "--altitude", "550", "--plot", "w.gif"), 21, "written as .png or .svg"),
            (("53:6/3/1", "--altitude", "550", "--epoch", "noon"), 2, "not a time"),
            (("53:6/3/1",), 2, "altitude"),
        ],
    )
    def test_what_cannot_be_is_refused(self, words: tuple[str, ...], code: int, what: str) -> None:
        result = invoke("constellation", "walker", *words)
        assert result.exit_code == code
        assert what in result.output + result.stderr


class TestShow:
    def test_the_six_satellites_are_within_the_table_of_the_plan(self) -> None:
        """Altitude, mass, battery, bands, rates, links, processors: each figure inside what was published."""
        value = one_object(invoke("constellation", "show", TIANSUAN, "--json"))
        six = value["satellites"]
        assert [one["name"] for one in six] == [f"tiansuan-{n}" for n in range(1, 7)]
        for one in six[:3]:
            assert 450 <= one["altitude_km"] <= 550
            assert one["mass_kg"] <= 30
            assert 118 <= one["battery_wh"] <= 236
            assert {band["band"] for band in one["bands"]} == {"X"}
            assert 0.1e6 <= one["uplink_bps"] <= 1e6
            assert 100e6 <= one["downlink_bps"] <= 600e6
            assert one["crosslinks"] is None
            assert {p["kind"] for p in one["processors"]} == {"CPU", "NPU"}
        for one in six[3:]:
            assert one["altitude_km"] > 500
            assert one["mass_kg"] > 50
            assert one["battery_wh"] > 360
            assert {band["band"] for band in one["bands"]} == {"X", "Ku", "Ka"}
            assert one["uplink_bps"] >= 200e6
            assert one["downlink_bps"] >= 1e9
            assert one["crosslinks"]["rateBps"] > 0
            assert {p["kind"] for p in one["processors"]} == {"CPU", "NPU", "GPU"}

    def test_the_tables_name_them(self) -> None:
        result = invoke("constellation", "show", TIANSUAN)
        assert result.exit_code == 0
        assert "22:15" in result.stdout
        assert "1.4 Gbit/s" in result.stdout
        assert "CPU, NPU, GPU" in result.stdout

    def test_old_elements_are_warned_of(self, tmp_path: Path) -> None:
        (tmp_path / "m.yaml").write_text(TIANSUAN.read_text())
        result = invoke(
            "constellation", "show", tmp_path / "m.yaml", "--set", "Satellite/tiansuan-1.orbit.epoch=2026-05-01T00:00:00Z"
        )
        assert "older than 14 days at the start: tiansuan-1" in result.stderr


class TestEnergy:
    def test_the_json_tells_of_every_satellite_and_its_books_close(self) -> None:
        value = one_object(invoke("energy", TIANSUAN, "--days", "0.3", "--json", "-q"))
        assert len(value["satellites"]) == 6
        for one in value["satellites"]:
            books = one["ledger_wh"]
            assert books["harvested_wh"] == pytest.approx(books["drawn_wh"] + books["lost_wh"] + books["stored_wh"], abs=1e-3)
            assert len(one["revolutions"]) == 4
            assert len(one["season"]["times"]) == 74
            assert one["temperatures_c"]["bus"]["min"] < one["temperatures_c"]["bus"]["max"]
            assert not [w for w in one["warnings"] if w["kind"] != "temperature"]

    def test_one_satellite_and_a_hunger_that_is_warned_of_with_a_remedy(self) -> None:
        words = ("energy", TIANSUAN, "--days", "0.5", "--satellite", "tiansuan-2", "-q")
        result = invoke(*words, "--set", "Satellite/tiansuan-2.power.idleW=40")
        assert result.exit_code == 0
        assert "tiansuan-1" not in result.stdout
        assert "falls below minSoc" in result.stderr
        assert "W less" in result.stderr

    @pytest.mark.parametrize("name", ["one.png", "one.svg"])
    def test_the_picture_is_drawn(self, tmp_path: Path, name: str) -> None:
        pytest.importorskip("matplotlib")
        file = tmp_path / name
        result = invoke("energy", TIANSUAN, "--days", "0.1", "--satellite", "tiansuan-1", "-q", "--plot", file)
        assert result.exit_code == 0, result.output
        assert file.read_bytes().startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")

    def test_several_satellites_are_drawn_in_rows_and_places_as_a_chart(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        two = ("--satellite", "tiansuan-1", "--satellite", "tiansuan-4")
        assert invoke("energy", TIANSUAN, "--days", "0.1", *two, "-q", "--plot", tmp_path / "two.svg").exit_code == 0
        text = (tmp_path / "two.svg").read_text()
        assert "tiansuan-1" in text
        assert "tiansuan-4" in text
        assert invoke("constellation", "show", TIANSUAN, "--plot", tmp_path / "places.svg").exit_code == 0
        assert "tiansuan-6" in (tmp_path / "places.svg").read_text()

    def test_what_is_not_there_is_refused(self, tmp_path: Path) -> None:
        assert invoke("energy", TIANSUAN, "--satellite", "nobody").exit_code == 10
        assert invoke("energy", tmp_path / "gone.yaml").exit_code == 10
        assert (
            invoke("energy", TIANSUAN, "--days", "0.1", "--satellite", "tiansuan-1", "--plot", tmp_path / "x.pdf").exit_code
            == 21
        )
