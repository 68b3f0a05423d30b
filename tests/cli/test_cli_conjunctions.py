"""The commands on conjunction events, as an operator calls them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.clock import iso_utc
from orbitloop.orbit.conjunction.cdm import to_ndm
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn
from orbitloop.orbit.formats.ndm_kvn import write_kvn

TCA_S = 1_780_000_000.0
EVENT = "50001-50002-20260528-202640"
RADIUS_KM, DAY_S = 6928.0, 86_400.0
SPEED = math.sqrt(MU_KM3_S2 / RADIUS_KM)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two messages of one event: first hardly noticed, then red."""
    folder = tmp_path_factory.mktemp("inbox")
    for n, (miss_km, spread) in enumerate([(1.5, 3.0), (0.05, 1.0)]):
        local = np.diag((spread * np.array([0.03, 0.2, 0.03, 1e-6, 1e-6, 1e-6])) ** 2)
        r1, v1 = np.array([RADIUS_KM, 0, 0]), np.array([0, SPEED, 0.0])
        r2, v2 = np.array([RADIUS_KM + miss_km, 0, 0]), np.array([0, 0, 1.01 * SPEED])
        first = ObjectState("OURS", "50001", r1, v1, covariance_from_rtn(local, r1, v1))
        second = ObjectState("SOME DEB", "50002", r2, v2, covariance_from_rtn(local, r2, v2))
        message = to_ndm(
            Encounter(TCA_S, first, second, 10.0), message_id=f"m{n}", originator="T", created_s=TCA_S - (3 - n) * DAY_S
        )
        (folder / f"m{n}.cdm").write_text(write_kvn(message), "utf-8")
    return folder


@pytest.fixture(scope="module")
def store(inbox: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("store") / "events.db")
    result = run("import", inbox, "--store", path)
    assert result.exit_code == 0, result.output
    assert "2 files: 2 new updates, 0 known, 0 files left out; 1 events began" in result.stdout
    return path


def run(*words: object):
    return CliRunner().invoke(app, ["conjunctions", *map(str, words)])


def answer(*words: object) -> dict:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_import_twice_changes_nothing_and_a_bad_file_is_told(inbox: Path, store: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.cdm"
    bad.write_text("CCSDS_CDM_VERS = 1.0\n", "utf-8")
    result = run("import", inbox, bad, "--store", store, "--json")
    assert result.exit_code == 26
    said = json.loads(result.stdout)
    assert (said["new"], said["known"]) == (0, 2)
    assert "bad.cdm" in said["left_out"][0]["file"]


def test_list_says_status_level_and_probability(store: str) -> None:
    (event,) = answer("list", "--store", store, "--now", "2026-05-28T00:00:00Z")["events"]
    assert (event["id"], event["status"], event["level"], event["messages"]) == (EVENT, "rising", "red", 2)
    assert event["latest"]["probability"] > 1e-4
    assert "encounter" not in event["latest"]
    assert answer("list", "--store", store, "--open")["events"] == [] or event["tca_s"] > 0
    text = run("list", "--store", store, "--now", "2026-05-28T00:00:00Z").stdout
    assert EVENT in text
    assert "rising" in text


def test_a_time_in_the_past_knows_no_message_of_later(store: str) -> None:
    between, before = (iso_utc(TCA_S - days * DAY_S) for days in (2.5, 4.0))
    (event,) = answer("list", "--store", store, "--now", between)["events"]
    assert event["messages"] == 1
    assert [u["message_id"] for u in answer("show", EVENT, "--store", store, "--now", between)["updates"]] == ["m0"]
    assert answer("list", "--store", store, "--now", before)["events"] == []
    refused = run("show", EVENT, "--store", store, "--now", before)
    assert refused.exit_code == 23
    assert "first message" in refused.output


def test_show_with_a_picture(store: str, tmp_path: Path) -> None:
    picture = tmp_path / "event.svg"
    shown = answer("show", "50001", "--store", store, "--now", "2026-05-28T00:00:00Z", "--plot", picture)
    assert [u["message_id"] for u in shown["updates"]] == ["m0", "m1"]
    assert [a["level"] for a in shown["alerts"]] == ["red"]
    assert picture.read_bytes().startswith(b"<?xml")
    assert "collision probability" in picture.read_text("utf-8")
    assert "alert: red" in run("show", EVENT, "--store", store).stdout


def test_alerts_are_written_once_and_are_sound(store: str, tmp_path: Path) -> None:
    now = ("--now", "2026-05-28T00:00:00Z", "--store", store)
    first = answer("alerts", *now, "--out", tmp_path)
    (alert,) = first["alerts"]
    assert alert["spec"]["level"] == "red"
    assert CliRunner().invoke(app, ["validate", str(tmp_path / f"{EVENT}-red-1.yaml")]).exit_code == 0
    assert answer("alerts", *now, "--out", tmp_path) == {"alerts": [], "told_before": 1}
    assert len(answer("alerts", *now, "--all")["alerts"]) == 1
    assert "no alert that was not told before" in run("alerts", *now).stdout


def test_avoid_proposes_ranked_burns(store: str, tmp_path: Path) -> None:
    words = ("avoid", EVENT, "--store", store, "--now", "2026-05-28T00:00:00Z", "--sizes", "5,20", "--revolutions", "0.5,2.5")
    picture = tmp_path / "options.png"
    said = answer(
        *words, "--out", tmp_path / "options", "--plot", picture, "--mass-kg", 22, "--isp-s", 220, "--propellant-kg", 1
    )
    assert said["tried"] == 9
    specs = [one["spec"] for one in said["options"]]
    assert [one["rank"] for one in specs] == list(range(1, 10))
    assert specs[0]["meetsGoal"]
    assert specs[0]["predicted"]["probability"] < 1e-6
    assert all(one["state"] == "proposed" for one in specs)
    assert specs[0]["cost"]["propellantShare"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = sorted((tmp_path / "options").iterdir())
    assert len(written) == 9
    assert CliRunner().invoke(app, ["validate", *map(str, written)]).exit_code == 0
    told = run(*words, "--top", 3)
    assert "proposals, nothing is commanded" in told.stdout
    assert "nothing" in told.stdout


def test_an_event_that_is_over_is_taken_as_of_its_newest_message(store: str) -> None:
    result = run("avoid", EVENT, "--store", store, "--sizes", "20", "--revolutions", "0.5", "--now", "2026-05-29T00:00:00Z")
    assert result.exit_code == 0
    assert "no time is left" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("list", "--by", "size"), 26, "risk, tca, age, miss"),
        (("list", "--now", "later"), 2, "not a time"),
        (("list", "--red", "1e-9"), 26, "yellow"),
        (("show", "77777"), 23, "no event"),
        (("show", EVENT, "--plot", "x.gif"), 21, ".png or .svg"),
        (("avoid", EVENT, "--sizes", "a,b"), 26, "numbers with commas"),
        (("avoid", EVENT, "--sizes", "0"), 26, "positive"),
        (("avoid", EVENT, "--satellite", "99999"), 26, "neither"),
        (("import", "nowhere.cdm"), 26, "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_code(store: str, words: tuple[str, ...], code: int, said: str) -> None:
    result = run(*words, "--store", store)
    assert result.exit_code == code
    assert said in result.output


def test_without_a_store_one_is_told_how_to_begin(tmp_path: Path) -> None:
    result = run("list", "--store", tmp_path / "none.db")
    assert result.exit_code == 23
    assert "orbitloop conjunctions import" in result.stderr


def test_fit_uncertainty_over_made_days(tmp_path: Path) -> None:
    from dataclasses import replace

    from orbitloop.orbit.elements import from_orbit
    from orbitloop.orbit.formats.tle import write_tle

    rng = np.random.default_rng(2)
    for day in range(7):
        lines = []
        for n in range(60):
            when_s = TCA_S + day * DAY_S
            one = from_orbit(f"STARLINK-{n}", when_s, 470.0, 53.0, raan_deg=0.0, norad_id=60_000 + n)
            rate = one.mean_motion_rev_day * 360.0
            one = replace(one, mean_anomaly_deg=(rate * day + rng.normal() * 0.01) % 360)
            lines.append("\n".join((one.name, *write_tle(one))))
        (tmp_path / f"day{day}.tle").write_text("\n".join(lines) + "\n", "utf-8")
    out = tmp_path / "out" / "table.json"
    said = answer("fit-uncertainty", tmp_path, "--out", out)
    assert said["differences"] == 60 * 21
    assert said["classes"][0]["label"] == "starlink 440-510 km"
    assert out.read_text("utf-8").count("published") >= 12
    assert run("fit-uncertainty", tmp_path / "nowhere").exit_code == 17
