"""The catalogue from the command line: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.fields import format_time
from orbitloop.orbit.formats.oem import Ephemeris, parse_oem, write_oem
from orbitloop.orbit.formats.opm import parse_opm
from orbitloop.orbit.formats.tle import parse_tle_file, write_tle_file
from orbitloop.orbit.frames import teme_to_ecef
from orbitloop.orbit.inertial import eme2000_to_teme
from orbitloop.orbit.propagate import states

START_S = 1_780_000_000.0


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["catalog", *(str(w) for w in words)])


def one_object(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def _day(day: int, changed: bool = False) -> list[Elements]:
    sets = []
    for n in range(110):
        one = from_orbit(f"BIRD-{n}", START_S, 550, 53, norad_id=100 + n, mean_anomaly_deg=3.0 * n, raan_deg=30.0 * (n % 12))
        record = one.satrec()
        record.sgp4(record.jdsatepoch, record.jdsatepochF + day)
        wobble = 1 + 1e-7 * ((n * 7 + day * 13) % 11 - 5)
        angles = {"raan_deg": float(np.degrees(record.Om)) % 360, "arg_perigee_deg": float(np.degrees(record.om)) % 360}
        phase = float(np.degrees(record.mm)) % 360
        motion = one.mean_motion_rev_day * wobble
        sets.append(replace(one, epoch_s=START_S + day * DAY_S, mean_anomaly_deg=phase, mean_motion_rev_day=motion, **angles))
    if changed:
        sets[7] = replace(sets[7], mean_motion_rev_day=sets[7].mean_motion_rev_day * 0.999)
        sets = [one for one in sets if one.norad_id != 103]
    return sets


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    for day in range(3):
        (folder / f"birds_2026-05-{28 + day}T23.tle").write_text(write_tle_file(_day(day, changed=day == 2)))
    files = sorted(folder.glob("*.tle"))
    result = one_object(invoke("import", *files, "--catalog", folder / "c.db", "--json"))
    assert [row["new_sets"] for row in result["files"]] == [110, 110, 109]
    return folder


def test_list_filters_and_warns(filled: Path) -> None:
    at = ("--at", "2026-06-01T00:00:00Z", "--catalog", filled / "c.db")
    found = one_object(invoke("list", *at, "--name", "BIRD-10*", "--regime", "LEO", "--json"))
    assert [row["norad_id"] for row in found["objects"]] == [110, *range(200, 210)]
    assert all(row["warning"] == "" for row in found["objects"])
    old = one_object(invoke("list", "--at", "2026-06-20T00:00:00Z", "--catalog", filled / "c.db", "--number", "103", "--json"))
    assert "not to be relied on" in old["objects"][0]["warning"]
    shown = invoke("list", *at, "--limit", "3")
    assert "110 objects, 3 shown" in shown.stdout
    listed = one_object(invoke("list", "--snapshots", "--catalog", filled / "c.db", "--json"))
    assert [s["sets"] for s in listed["snapshots"]] == [110, 110, 109]


def test_diff_by_number_date_and_file(filled: Path) -> None:
    found = one_object(invoke("diff", "1", "newest", "--catalog", filled / "c.db", "--json"))
    assert [e["norad_id"] for e in found["gone"]] == [103]
    assert found["changed"][0]["norad_id"] == 107
    assert found["changed"][0]["axis_km"] == pytest.approx(6928 * 2 / 3 * 1e-3, rel=0.02)
    by_file = one_object(
        invoke("diff", filled / "birds_2026-05-28T23.tle", "2026-05-30", "--catalog", filled / "c.db", "--json")
    )
    assert by_file["changed"] == found["changed"]
    assert "gone: 1: BIRD-3 (103)" in invoke("diff", "1", "3", "--catalog", filled / "c.db").stdout


def test_history_and_its_picture(filled: Path, tmp_path: Path) -> None:
    result = one_object(invoke("history", "BIRD-7", "--catalog", filled / "c.db", "--plot", tmp_path / "h.svg", "--json"))
    assert [row["manoeuvre"] for row in result["sets"]] == [False, False, True]
    assert "BIRD-7" in (tmp_path / "h.svg").read_text()
    assert "burn" in invoke("history", "107", "--catalog", filled / "c.db").stdout
    assert invoke("history", "107", "--catalog", filled / "c.db", "--plot", tmp_path / "h.doc").exit_code == 21
    assert invoke("history", "NOBODY", "--catalog", filled / "c.db").exit_code == 17


def test_check_says_what_it_found(filled: Path) -> None:
    found = one_object(invoke("check", "--catalog", filled / "c.db", "--json"))
    assert {(f["kind"], f["norad_id"]) for f in found["findings"]} == {("manoeuvred", 107), ("lost", 103)}
    from_files = one_object(invoke("check", *sorted(filled.glob("*.tle")), "--kind", "lost", "--json"))
    assert from_files["counts"] == {"lost": 1}
    assert "1 manoeuvred" in invoke("check", "--catalog", filled / "c.db").stdout


def test_export_takes_the_form_from_the_ending(filled: Path, tmp_path: Path) -> None:
    for ending in ("tle", "xml"):
        out = tmp_path / f"out.{ending}"
        assert one_object(invoke("export", out, "--catalog", filled / "c.db", "--number", "105", "--json"))["sets"] == 1
        back = one_object(invoke("list", out, "--at", "2026-05-31", "--json"))
        assert [row["name"] for row in back["objects"]] == ["BIRD-5"]


def _fixes(of: Elements, ahead_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    times = of.epoch_s + np.arange(0, 6 * 3600, 120.0)
    return times, states(of, times + ahead_s)[0]


def test_keep_judges_corrects_and_draws(filled: Path, tmp_path: Path) -> None:
    one = _day(2)[20]
    times, r_km = _fixes(one)
    rows = (f"{format_time(t)},{x},{y},{z}\n" for t, (x, y, z) in zip(times, teme_to_ecef(r_km, times), strict=True))
    table = tmp_path / "gnss.csv"
    table.write_text("time,x_km,y_km,z_km\n" + "".join(rows) + "broken\n")
    db = ("--catalog", filled / "c.db")
    fine = one_object(invoke("keep", "120", "--positions", table, *db, "--json", "--plot", tmp_path / "r.png"))
    assert (fine["flagged"], fine["skipped"]) == (False, 1)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    times, r_km = _fixes(one, ahead_s=60.0)
    message = tmp_path / "late.oem"
    message.write_text(write_oem([Ephemeris("BIRD-20", "X", times, r_km, r_km * 0)], "kvn", START_S))
    late = invoke("keep", "120", "--positions", message, *db, "--save", tmp_path / "new.tle")
    assert late.exit_code == 1
    assert "FLAGGED" in late.stdout
    again = one_object(
        invoke("keep", "120", tmp_path / "new.tle", "--positions", message, "--bounds", "0.05", "0.05", "0.05", "--json")
    )
    assert again["correction"]["rms_km"] < 0.05


def test_refusals_have_their_codes(filled: Path, tmp_path: Path) -> None:
    db = ("--catalog", tmp_path / "absent.db")
    assert invoke("list", *db).exit_code == 23
    assert invoke("import", tmp_path / "absent.tle", *db).exit_code == 17
    assert invoke("list", "--regime", "SEA", *db).exit_code == 2
    assert invoke("check", "--kind", "odd", *db).exit_code == 2
    assert invoke("list", "--at", "tomorrow", *db).exit_code == 2
    assert invoke("export", tmp_path / "x.doc", "--catalog", filled / "c.db").exit_code == 17
    assert invoke("diff", "1", "99", "--catalog", filled / "c.db").exit_code == 23


def test_a_bad_line_is_told_and_the_rest_goes_in(tmp_path: Path) -> None:
    text = write_tle_file(_day(0)[:3])
    lines = text.split("\n")
    lines[4] = lines[4][:-1] + ("0" if lines[4][-1] != "0" else "1")
    (tmp_path / "x.tle").write_text("\n".join(lines))
    result = invoke("import", tmp_path / "x.tle", "--catalog", tmp_path / "c.db")
    assert result.exit_code == 0
    assert "x.tle, line 5, column 69: checksum" in result.stderr
    assert "(object 101)" in result.stderr
    assert "2 sets, 2 new" in result.stdout


def test_ephemeris_is_where_sgp4_flies(filled: Path, tmp_path: Path) -> None:
    db, one = ("--catalog", filled / "c.db"), parse_tle_file((filled / "birds_2026-05-30T23.tle").read_text())[0][7]
    for ending in ("oem", "xml"):
        out = tmp_path / f"x.{ending}"
        told = one_object(invoke("ephemeris", one.norad_id, out, *db, "--hours", "1", "--json"))
        (made,) = parse_oem(out.read_text())
        assert (told["states"], made.times_s.size, made.frame) == (61, 61, "TEME")
        np.testing.assert_allclose(made.r_km, states(one, made.times_s)[0], rtol=0, atol=1e-5)
    assert invoke("ephemeris", one.norad_id, tmp_path / "x.opm", *db, "--frame", "EME2000").exit_code == 0
    state = parse_opm((tmp_path / "x.opm").read_text())
    there = eme2000_to_teme([state.epoch_s])[0] @ state.r_km
    np.testing.assert_allclose(there, states(one, [state.epoch_s])[0][0], atol=1e-5)
    for words in (
        (tmp_path / "x.doc",),
        (tmp_path / "x.oem", "--frame", "MOON"),
        (tmp_path / "x.oem", "--hours", "9000", "--step", "1"),
    ):
        assert invoke("ephemeris", one.norad_id, *words, *db).exit_code == 17
