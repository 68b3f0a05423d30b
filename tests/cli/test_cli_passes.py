"""`orbitloop passes` on files: sets, stations, areas, pictures. A mission's windows are in test_cli_checks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.formats.tle import write_tle_file
from orbitloop.orbit.passes import Station, find_passes

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "missions" / "farmland-demo.yaml"
START_S = 1_780_272_000.0
FLEET = [
    from_orbit("ALPHA", START_S - 3_600.0, 500, 97.4, ltan_h=10.5, norad_id=90001),
    from_orbit("BETA", START_S - 9 * 86_400.0, 700, 53.0, raan_deg=40, norad_id=90002),
    from_orbit("GAMMA 1", START_S - 3_600.0, 600, 70.0, raan_deg=80, norad_id=90003),
]
SITES = {"Kiruna": (20.96, 67.86), "Hartebeesthoek": (27.7, -25.9)}


def _geojson(path: Path, features: dict[str, Any]) -> Path:
    listed = [{"type": "Feature", "geometry": g, "properties": {"name": name}} for name, g in features.items()]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": listed}))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "fleet.tle").write_text(write_tle_file(FLEET))
    points = {name: {"type": "Point", "coordinates": list(place)} for name, place in SITES.items()}
    square = [[10.0, 40.0], [20.0, 40.0], [20.0, 50.0], [10.0, 50.0], [10.0, 40.0]]
    return {
        "sets": tmp_path / "fleet.tle",
        "stations": _geojson(tmp_path / "stations.geojson", points),
        "areas": _geojson(tmp_path / "areas.geojson", {"square": {"type": "Polygon", "coordinates": [square]}}),
    }


def _invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["passes", *(str(w) for w in words)])


def _base(files: dict[str, Path], hours: float = 12.0) -> list[str | Path]:
    start = ["--start", "2026-06-01T00:00:00", "--hours", str(hours)]
    return ["--elements", files["sets"], "--stations", files["stations"], *start]


def _read_back(name: str) -> Elements:
    """The set as its TLE has it: seven decimals are not all of it."""
    from orbitloop.orbit.formats.tle import parse_tle_file

    return next(e for e in parse_tle_file(write_tle_file(FLEET))[0] if e.name == name)


def test_json_has_every_pass_of_every_pair(files: dict[str, Path]) -> None:
    result = _invoke(*_base(files), "--doppler", "437.5", "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    stations = [Station(name, lat, lon) for name, (lon, lat) in SITES.items()]
    wanted = [p for e in FLEET for p in find_passes(_read_back(e.name), stations, START_S, START_S + 43_200.0)]
    rows = value["passes"]
    assert len(rows) == len(wanted) > 10
    assert {(r["satellite"], r["station"]) for r in rows} == {(p.satellite, p.station) for p in wanted}
    assert sum(r["duration_s"] for r in rows) == pytest.approx(sum(p.duration_s for p in wanted), abs=0.1)
    assert [r["aos"] for r in rows] == sorted(r["aos"] for r in rows)
    for row in rows:
        if not row["clipped"]:
            assert row["aos_doppler_hz"] > 0 > row["los_doppler_hz"]
        assert row["tca_doppler_hz_s"] < 0
    ages = {s["name"]: s["age_d"] for s in value["satellites"]}
    assert ages["BETA"] == pytest.approx(9.5, abs=0.01)
    assert [w for w in value["warnings"] if "BETA" in w and "9.5 days" in w]


def test_table_with_ages_limit_and_choice(files: dict[str, Path]) -> None:
    result = _invoke(*_base(files), "--satellite", "beta", "--satellite", "90003", "--station", "hart*", "--limit", "2")
    assert result.exit_code == 0, result.output
    assert "2 satellites over 1 station" in result.stdout
    assert "2 shown, --limit 0 shows all" in result.stdout
    assert "elements are 0.5 to 9.5 days from their epochs" in result.stdout
    assert "BETA: 9.5 days old" in result.stderr
    assert "ALPHA" not in result.stdout


def test_csv_is_one_table(files: dict[str, Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(_invoke(*_base(files), "--csv").stdout)))
    assert len(rows) > 10
    assert set(rows[0]) >= {"satellite", "station", "aos", "los", "max_elevation_deg", "sunlit", "age_d"}
    assert all(10.0 <= float(r["max_elevation_deg"]) <= 90.0 for r in rows)


def test_rows_come_in_parts_and_json_has_an_end(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _invoke(*_base(files), "--csv").stdout
    monkeypatch.setattr("orbitloop.apps.passes._ROWS", 3)
    assert _invoke(*_base(files), "--csv").stdout == whole
    monkeypatch.setattr("orbitloop.apps.passes.MAX_JSON_ROWS", 3)
    result = _invoke(*_base(files), "--json")
    assert result.exit_code == 21
    assert "--csv" in result.stderr
    assert result.stdout == ""


def test_a_mask_for_all(files: dict[str, Path]) -> None:
    low, high = (json.loads(_invoke(*_base(files), "--min-elevation", m, "--json").stdout)["passes"] for m in ("10", "40"))
    assert 0 < len(high) < len(low)
    assert sum(r["max_elevation_deg"] > 40 for r in low) == len(high)


def test_access_with_revisit_and_crosslinks(files: dict[str, Path]) -> None:
    words = [
        "--elements",
        files["sets"],
        "--start",
        "2026-06-01",
        "--hours",
        "48",
        "--area",
        files["areas"],
        "--swath-km",
        "300",
    ]
    value = json.loads(_invoke(*words, "--isl", "--json").stdout)
    assert value["passes"] == []
    accesses = value["accesses"]
    assert len(accesses) > 3
    assert value["revisit"]["square"]["count"] <= len(accesses)
    assert all(a["distance_km"] <= 150.001 for a in accesses)
    assert len(value["crosslinks"]) > 3
    told = _invoke(*words, "--isl").stdout
    assert "how often" in told
    assert "crosslinks" in told


def test_pictures(files: dict[str, Path], tmp_path: Path) -> None:
    sky, track = tmp_path / "sky.png", tmp_path / "track.svg"
    result = _invoke(*_base(files), "--satellite", "ALPHA", "--plot", sky, "--plot-track", track)
    assert result.exit_code == 0, result.output
    assert sky.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "ALPHA" in track.read_text()


def test_a_mission_gives_satellites_stations_and_time(tmp_path: Path) -> None:
    whole = json.loads(_invoke(DEMO, "--set", "Mission.durationDays=1", "--json").stdout)
    raw = json.loads(_invoke(DEMO, "--set", "Mission.durationDays=1", "--hours", "24", "--json").stdout)
    assert len(raw["passes"]) >= len(whole["windows"]) > 5
    assert {w["station"] for w in whole["windows"]} <= set(raw["stations"])
    picture = tmp_path / "sky.svg"
    again = _invoke(DEMO, "--set", "Mission.durationDays=1", "--plot", picture)
    assert again.exit_code == 0, again.output
    assert picture.read_text().startswith("<?xml")
    assert "totals" in again.stdout


def test_another_missions_stations(files: dict[str, Path]) -> None:
    words = ["--elements", files["sets"], "--stations", DEMO, "--stations", files["stations"], "--hours", "1", "--json"]
    value = json.loads(_invoke(*words).stdout)
    assert len(value["stations"]) > 2
    assert "Kiruna" in value["stations"]
    assert value["start"] == "2026-05-31T23:00:00.000Z"  # the newest epoch


def test_stations_of_one_name_in_two_files(files: dict[str, Path], tmp_path: Path) -> None:
    _geojson(tmp_path / "ksat.geojson", {"Kiruna": {"type": "Point", "coordinates": [20.9, 67.8]}})
    value = json.loads(_invoke(*_base(files, 1.0), "--stations", tmp_path / "ksat.geojson", "--json").stdout)
    assert value["stations"] == ["Kiruna (stations)", "Hartebeesthoek", "Kiruna (ksat)"]
    twice = _invoke(*_base(files, 1.0), "--stations", files["stations"])
    assert (twice.exit_code, "twice" in twice.stderr) == (21, True)


def test_bad_sets_are_told_and_the_others_listed(files: dict[str, Path]) -> None:
    lines = files["sets"].read_text().splitlines()
    lines[1] = lines[1][:-1] + str((int(lines[1][-1]) + 1) % 10)
    files["sets"].write_text("\n".join(lines))
    result = _invoke(*_base(files), "--json")
    assert result.exit_code == 0
    assert "checksum" in result.stderr
    assert [s["name"] for s in json.loads(result.stdout)["satellites"]] == ["BETA", "GAMMA 1"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "name a mission, or --elements"),
        (["--elements", "SETS"], 2, "--stations, --area or --isl"),
        (["--elements", "SETS", "--area", "AREAS"], 2, "--swath-km or --half-angle"),
        (["--elements", "SETS", "--stations", "STATIONS", "--json", "--csv"], 2, "exclude each other"),
        (["--elements", "SETS", "--stations", "STATIONS", "--start", "soon"], 2, "not a time"),
        (["--elements", "SETS", "--stations", "STATIONS", "--hours", "0"], 2, "--hours"),
        (["--elements", "SETS", "--stations", "STATIONS", "--min-elevation", "90"], 2, "--min-elevation"),
        (["--elements", "SETS", "--stations", "STATIONS", "--satellite", "DELTA"], 17, "no satellite is called 'DELTA'"),
        (["--elements", "SETS", "--stations", "STATIONS", "--station", "Paris"], 21, "there are Kiruna, Hartebeesthoek"),
        (["--elements", "STATIONS", "--stations", "STATIONS"], 17, ""),
        (["--elements", "SETS", "--stations", "SETS"], 21, "is not JSON"),
        (["--elements", "SETS", "--stations", "nowhere.geojson"], 21, "cannot be read"),
        (["--elements", "SETS", "--stations", "STATIONS", "--plot", "sky.pdf"], 21, ".png or .svg"),
        (["--elements", "SETS", "--area", "AREAS", "--swath-km", "-5"], 2, "swath"),
        (["--elements", "SETS", "--area", "AREAS", "--swath-km", "50", "--half-angle", "5"], 2, "one of them"),
    ],
)
def test_what_is_refused(words: list[str], code: int, text: str, files: dict[str, Path]) -> None:
    names = {"SETS": files["sets"], "STATIONS": files["stations"], "AREAS": files["areas"]}
    result = _invoke(*(names.get(w, w) for w in words))
    assert result.exit_code == code, result.output
    assert text in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
