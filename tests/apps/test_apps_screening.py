from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from orbitloop.apps import screening as app
from orbitloop.clock import iso_utc_ms
from orbitloop.errors import ConjunctionError, ElementsError, StateError
from orbitloop.orbit.conjunction.approach import Volume
from orbitloop.orbit.conjunction.screening import Screening
from orbitloop.orbit.elements import from_orbit, start_after_s
from orbitloop.orbit.formats.tle import write_tle

PAIR = """IRIDIUM 33
1 24946U 97051C   09040.78448243 +.00000153 +00000-0 +47668-4 0  9994
2 24946 086.3994 121.7028 0002288 085.1644 274.9812 14.34219863597336
COSMOS 2251
1 22675U 93036A   09040.49834364 -.00000001  00000-0  95251-5 0  9996
2 22675 074.0355 019.4646 0016027 098.7014 261.5952 14.31135643817415
"""
START_S = 1_234_224_000.0  # 2009-02-10


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "pair.tle"
    path.write_text(PAIR)
    return path


def _screened(pair: Path, **more: Any) -> tuple[app.Objects, Screening]:
    objects = app.read_objects([pair])
    return objects, app.run_screening(objects, START_S, 1.0, volume=Volume.sphere(5.0), **more)


def test_each_object_is_screened_once_with_its_newest_set(tmp_path: Path, pair: Path) -> None:
    older = tmp_path / "older.tle"
    older.write_text(
        "1 24946U 97051C   09039.73848513  .00000141  00000-0  43317-4 0  9999\n"
        "2 24946 086.3994 122.1453 0002289 085.3015 274.8432 14.34219565597180\n"
        "1 24946U broken\n"
    )
    lines = older.read_text().splitlines()
    lines[0] = _with_checksum(lines[0])
    lines[1] = _with_checksum(lines[1])
    older.write_text("\n".join(lines) + "\n")
    for files in ([older, pair], [pair, older]):
        objects = app.read_objects(files)
        assert [one.norad_id for one in objects.elements if one.norad_id == 24946] == [24946]
        newest = max(one.epoch_s for one in objects.elements if one.norad_id == 24946)
        assert newest == pytest.approx(START_S - DAY_OF_SET_S, abs=1.0)
        assert objects.repeated == 1
        assert len(objects.skipped) == 1
        assert objects.primaries is None


DAY_OF_SET_S = 86_400.0 * (41 - 40.78448243)


def _with_checksum(line: str) -> str:
    body = line[:68]
    return body + str(sum(int(c) if c.isdigit() else c == "-" for c in body) % 10)


def test_primaries_go_by_number_name_pattern_and_file(tmp_path: Path, pair: Path) -> None:
    def places(*wanted: str) -> tuple[int, ...] | None:
        return app.read_objects([pair], wanted).primaries

    assert places("24946") == (0,)
    assert places("cosmos 2251") == (1,)
    assert places("*") == (0, 1)
    assert places("IRIDIUM*", "22675") == (0, 1)
    for wrong in ("COSMOS", "99999", "249460", ""):
        with pytest.raises(ConjunctionError, match="no object is called"):
            places(wrong)
    mine = tmp_path / "mine.tle"
    own = from_orbit("MINE", START_S, 780.0, 86.4, norad_id=24946)
    mine.write_text("\n".join(write_tle(own)) + "\n")
    objects = app.read_objects([pair], (), mine)
    assert objects.primaries == (0,)
    assert objects.elements[0].mean_motion_rev_day == pytest.approx(own.mean_motion_rev_day)
    with pytest.raises(ConjunctionError, match="two objects"):
        app.read_objects([mine])
    with pytest.raises(ElementsError):
        app.read_objects([tmp_path / "nowhere.tle"])


def test_json_lines_and_csv_say_the_same(tmp_path: Path, pair: Path) -> None:
    objects, found = _screened(pair)
    lines, table = tmp_path / "found.jsonl", tmp_path / "found.csv"
    app.write_events(lines, found, objects, found.approaches)
    app.write_events(table, found, objects, found.approaches)
    first, *rest = [json.loads(line) for line in lines.read_text().splitlines()]
    assert (first["record"], first["approaches"], first["complete"], first["failures"]) == ("screening", 1, True, [])
    assert [one["record"] for one in rest] == ["approach"]
    assert rest[0]["tca"] == "2009-02-10T16:55:59.796Z"
    assert rest[0]["primary"]["norad_id"] == 24946
    assert math.hypot(*rest[0]["rtn_km"]) == pytest.approx(rest[0]["miss_km"], abs=2e-6)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    # CelesTrak's SOCRATES begins with these, in this order.
    assert list(rows[0])[:11] == [
        *("NORAD_CAT_ID_1", "OBJECT_NAME_1", "DSE_1", "NORAD_CAT_ID_2", "OBJECT_NAME_2", "DSE_2"),
        *("TCA", "TCA_RANGE", "TCA_RELATIVE_SPEED", "MAX_PROB", "DILUTION"),
    ]
    assert float(rows[0]["TCA_RANGE"]) == rest[0]["miss_km"]
    assert rows[0]["TCA"] == rest[0]["tca"]
    assert (rows[0]["OBJECT_NAME_2"], rows[0]["MAX_PROB"]) == ("COSMOS 2251", "")
    assert float(rows[0]["DSE_1"]) == pytest.approx(rest[0]["primary"]["age_d"])
    assert not list(tmp_path.glob("*.part"))


def test_a_file_is_refused_before_the_search_and_never_half_written(tmp_path: Path, pair: Path) -> None:
    for name in ("found.txt", "found", "no/found.csv"):
        with pytest.raises(StateError):
            app.check_events_file(tmp_path / name)
    objects, found = _screened(pair)
    folder = tmp_path / "taken.csv"
    folder.mkdir()
    with pytest.raises(StateError):
        app.write_events(folder, found, objects, found.approaches)
    assert not list(tmp_path.glob("*.part"))


def test_an_interruption_keeps_what_was_found(tmp_path: Path) -> None:
    sets = tmp_path / "crowd.tle"
    made = [
        from_orbit(f"c{n}", START_S, 550.0, 40.0 + n, raan_deg=37.0 * n, mean_anomaly_deg=91.0 * n, norad_id=n + 1)
        for n in range(60)
    ]
    sets.write_text("\n".join("\n".join(write_tle(one)) for one in made) + "\n")
    objects = app.read_objects([sets])
    heard: list[float] = []

    def stop(until_s: float) -> None:
        heard.append(until_s)
        if until_s > START_S + 80_000.0:
            raise KeyboardInterrupt

    found = app.run_screening(objects, START_S, 30.0, volume=Volume.sphere(20.0), tell=stop)
    assert not found.complete
    assert found.end_s == heard[-1]
    assert app.screening_json(found, objects)["complete"] is False
    assert all(one.tca_s <= found.end_s for one in found.approaches)


def test_an_interruption_before_anything_is_one(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitloop.orbit.conjunction.screening import Screener

    def blocks(self: Screener) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Screener, "blocks", blocks)
    with pytest.raises(KeyboardInterrupt):
        _screened(pair)


def test_the_default_start_is_the_newest_epoch_rounded_up(pair: Path) -> None:
    objects = app.read_objects([pair])
    newest = max(one.epoch_s for one in objects.elements)
    start_s = start_after_s(objects.elements)
    assert start_s % 60.0 == 0.0
    assert 0.0 <= start_s - newest < 60.0
    assert objects.stale(newest + 6.0 * 86_400.0) == 0
    assert objects.stale(newest + 8.0 * 86_400.0) == 2


def test_times_are_told_to_the_millisecond() -> None:
    assert iso_utc_ms(START_S) == "2009-02-10T00:00:00.000Z"
    assert iso_utc_ms(START_S + 0.9996) == "2009-02-10T00:00:01.000Z"


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_drawn(pair: Path, kind: str, begins: bytes) -> None:
    objects, found = _screened(pair)
    one = found.approaches.record(0)
    drawn = app.picture(found, objects, one, kind)
    assert drawn.startswith(begins)
    assert drawn == app.picture(found, objects, one, kind)
    if kind == "svg":
        assert b"COSMOS 2251 (22675) seen from IRIDIUM 33 (24946)" in drawn
        assert b"16:55:59.796Z" in drawn
        assert b"by a model of class and age" in drawn
