"""`orbitloop plan --urgent`: sooner than by the plan that stood, never later, and the plan still holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.orbit.elements import from_orbit
from orbitloop.orbit.formats.tle import write_tle_file

START_S = 1_780_272_000.0
FLEET = [from_orbit(f"SAT {n}", START_S - 3_600.0, 520 + n, 97.4, raan_deg=1.0 * n, norad_id=90001 + n) for n in range(8)]


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    (tmp_path / "fleet.tle").write_text(write_tle_file(FLEET))
    place = {"type": "Point", "coordinates": [15.4, 78.2]}
    feature = {"type": "Feature", "geometry": place, "properties": {"name": "Svalbard"}}
    (tmp_path / "stations.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    files = ["--elements", f"{tmp_path}/fleet.tle", "--stations", f"{tmp_path}/stations.geojson"]
    return [*files, "--start", "2026-06-01", "--hours", "8", "--policy", "first-come", "--quiet"]


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["plan", *words])


def test_urgent_requests_come_sooner_and_the_plan_holds(base: list[str]) -> None:
    words = [w for n in range(8) for w in ("--urgent", f"SAT {n}@+{n % 4}:1e6")]
    result = invoke(*base, *words, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["summary"]["valid"] is True
    told = value["urgent"]
    assert len(told) == 8
    for one in told:
        assert one["without"] is None or one["now"] <= one["without"]
        assert one["served"] == (one["now"] is not None)
        assert one["cpu_ms"] >= 0
        # It comes down at the end of a contact that is in the plan.
        ends = [c["end_s"] for c in value["contacts"] if c["satellite"] == one["satellite"]]
        assert one["now"] is None or any(_iso(end_s) == one["now"] for end_s in ends)
    sooner = [one for one in told if one["now"] and (one["without"] is None or one["now"] < one["without"])]
    assert sooner
    assert all(one["changes"] for one in sooner)


def _iso(time_s: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_failure_and_a_request_in_words(base: list[str]) -> None:
    result = invoke(*base, "--fail", "SAT 3@+4", "--urgent", "SAT 1@2026-06-01T02:00:00Z")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "urgent: 1.00 MB of SAT 1 asked 06-01 02:00:00 UTC, down" in text
    assert "ms of CPU" in text
    assert "repair:" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--urgent", "SAT 99@+1"), 27, "no satellite is called"),
        (("--urgent", "SAT *@+1"), 27, "8 satellites are called"),
        (("--urgent", "SAT 1"), 27, "not a time"),
        (("--urgent", "SAT 1@+nan"), 27, "not a time"),
        (("--urgent", "SAT 1@+99"), 27, "outside"),
        (("--urgent", "SAT 1@+1:many"), 27, "number of bytes"),
        (("--urgent", "SAT 1@+1:-5"), 27, "number of bytes"),
        (("--urgent", "SAT 1@+1:inf"), 27, "number of bytes"),
        (("--urgent", "SAT 1@+1", "--compare"), 2, "neither"),
        (("--fail", "Nowhere@+1"), 27, "no station or satellite is called"),
    ],
)
def test_slips_are_told_before_anything_is_planned(
    base: list[str], words: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("planned before the names were looked at")

    monkeypatch.setattr("orbitloop.apps.plans.posed", never)
    result = invoke(*base, *words)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.replace("│", " ").split())
