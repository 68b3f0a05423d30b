"""`orbitloop plan`: what it hands out, by a judge of its own; files, pictures, repair, proof, and what it refuses."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle_file, write_tle_file
from orbitloop.orbit.passes import Station, find_passes

ROOT = Path(__file__).parents[2]
TIANSUAN = ROOT / "missions" / "tiansuan.yaml"
START_S = 1_780_272_000.0
FLEET = [from_orbit(f"SAT {n}", START_S - 3_600.0, 500 + 10 * n, 97.4, raan_deg=6.0 * n, norad_id=90001 + n) for n in range(4)]
SITES = {"Kiruna": (20.96, 67.86), "Svalbard": (15.4, 78.2)}


@pytest.fixture
def base(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "fleet.tle").write_text(write_tle_file(FLEET))
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": list(at)}, "properties": {"name": name}}
        for name, at in SITES.items()
    ]
    (tmp_path / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    files = ["--elements", tmp_path / "fleet.tle", "--stations", tmp_path / "stations.geojson"]
    return [*files, "--start", "2026-06-01", "--hours", "6", "--quiet"]


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["plan", *(str(w) for w in words)])


def one_object(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def judged(contacts: list[dict[str, Any]], setup_s: float = 0.0) -> None:
    """Nobody is in two contacts at a time, and each lies in a pass as SGP4 alone has it."""
    for owner, gap_s in ((("satellite",), 0.0), (("station", "antenna"), setup_s)):
        rows: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
        for one in contacts:
            rows.setdefault(tuple(one[key] for key in owner), []).append((one["start_s"], one["end_s"]))
        for spans in rows.values():
            for (_, end), (start, _) in pairwise(sorted(spans)):
                assert start >= end + gap_s
    stations = [Station(name, lat, lon) for name, (lon, lat) in SITES.items()]
    seen = [p for one in _read_back() for p in find_passes(one, stations, START_S, START_S + 21_600.0)]
    for one in contacts:
        mine = [p for p in seen if (p.satellite, p.station) == (one["satellite"], one["station"])]
        assert any(p.aos_s - 1e-3 <= one["start_s"] < one["end_s"] <= p.los_s + 1e-3 for p in mine)


def _read_back() -> list[Elements]:
    return list(parse_tle_file(write_tle_file(FLEET))[0])


@pytest.mark.parametrize("data", [(), ("--data", "40", "--storage", "30")])
def test_the_plan_keeps_the_rules(base: list[str | Path], data: tuple[str, ...]) -> None:
    value = one_object(invoke(*base, "--setup", "60", *data, "--json"))
    contacts = value["contacts"]
    assert len(contacts) > 5
    judged(contacts, 60.0)
    assert all(one["end_s"] - one["start_s"] >= 60.0 for one in contacts)


def test_the_same_words_give_the_same_plan(base: list[str | Path]) -> None:
    words = (*base, "--data", "40", "--seed", "3", "--json")
    assert invoke(*words).stdout == invoke(*words).stdout


def test_a_bound_lies_above_and_a_proof_between(base: list[str | Path]) -> None:
    words = (*base, "--hours", "3", "--data", "40", "--tick", "60", "--json")  # the later --hours counts
    quick = one_object(invoke(*words, "--bound", "60"))["summary"]
    best = one_object(invoke(*words, "--exact"))
    judged(best["contacts"])
    assert best["summary"]["proven_optimal"]
    assert quick["gain"] <= best["summary"]["gain"] * (1 + 1e-6) <= quick["bound"] * (1 + 2e-6)
    assert not quick["proven_optimal"]


def test_a_station_that_fails_has_no_contact_from_then_on(base: list[str | Path], tmp_path: Path) -> None:
    words = (*base, "--data", "40")
    before = one_object(invoke(*words, "--json"))["contacts"]
    value = one_object(invoke(*words, "--fail", "Svalbard@+2", "--out", tmp_path / "plan.json", "--json"))
    failed_s = START_S + 7_200.0
    assert any(one["station"] == "Svalbard" and one["start_s"] >= failed_s for one in before)
    assert not any(one["station"] == "Svalbard" and one["end_s"] > failed_s for one in value["contacts"])
    judged(value["contacts"])
    assert value["repair"]
    assert json.loads((tmp_path / "plan.json").read_text())["contacts"] == value["contacts"]


def test_tables_and_pictures(base: list[str | Path], tmp_path: Path) -> None:
    result = invoke(*base, "--limit", "2", "--plot", tmp_path / "plan.svg")
    assert result.exit_code == 0, result.output
    assert "0 shows all" in result.stdout
    assert (tmp_path / "plan.svg").read_bytes().startswith(b"<?xml")
    compared = invoke(*base, "--data", "40", "--compare")
    assert compared.exit_code == 0, compared.output
    assert "balanced" in compared.stdout
    assert "first" in compared.stdout.lower()


def test_a_mission_plans_by_its_own_words() -> None:
    value = one_object(invoke(TIANSUAN, "--hours", "6", "--data", "20", "--json", "--quiet"))
    assert value["contacts"]
    assert {one["satellite"].split("-")[0] for one in value["contacts"]} == {"tiansuan"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--policy", "best"), 27, "best"),
        (("--fail", "Nowhere@+2"), 27, "Nowhere"),
        (("--fail", "Kiruna@soon"), 27, "not a time"),
        (("--fail", "Kiruna@+99"), 27, "outside"),
        (("--compare", "--exact"), 2, "neither"),
        (("--hours", "0"), 2, "31 days"),
        (("--start", "soon"), 2, "not a time"),
        (("--start", "9999-12-31T23:00"), 2, "outside 1957 to 2156"),
        (("--start", "0001-01-01"), 2, "outside 1957 to 2156"),
        (("--plot", "plan.pdf"), 21, "png"),
        (("--out", "/dev/null/plan.json"), 23, "cannot be written"),
    ],
)
def test_what_is_refused(base: list[str | Path], words: tuple[str, ...], code: int, said: str) -> None:
    result = invoke(*base, *words)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.replace("│", " ").split())


def test_stations_or_a_mission_are_needed() -> None:
    assert invoke().exit_code == 2
