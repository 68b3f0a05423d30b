from __future__ import annotations

import gzip
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from catalogue_days import PEERS, START_S, burned, constellation, snapshots

from orbitloop.orbit.catalogue.changes import difference
from orbitloop.orbit.catalogue.detections import CheckLimits, check
from orbitloop.orbit.catalogue.findings import Finding
from orbitloop.orbit.catalogue.noise import own_scale, peer_groups, peer_noise, shortest_half
from orbitloop.orbit.catalogue.predictions import histories, residuals
from orbitloop.orbit.catalogue.presence import decaying, lost_and_found, stale
from orbitloop.orbit.catalogue.snapshots import Skipped, Snapshot, feeds, number_near, time_in_name
from orbitloop.orbit.elements import DAY_S, Elements, from_orbit
from orbitloop.orbit.formats.tle import parse_tle_file
from orbitloop.orbit.propagate import states

FOURTH_S = START_S + 3.5 * DAY_S


def _of(found: list[Finding], number: int) -> list[Finding]:
    return [f for f in found if f.norad_id == number]


def test_quiet_days_give_nothing() -> None:
    assert check(snapshots(constellation())) == []


def test_a_burn_is_found_with_its_size_and_day() -> None:
    days = constellation()
    for day in days[4:]:
        day[7] = burned(day[7], FOURTH_S, axis_km=1.0)
        day[8] = burned(day[8], FOURTH_S, tilt_deg=0.05)
    found = check(snapshots(days))
    assert {f.norad_id for f in found} == {1007, 1008}
    (raised,), (tilted,) = _of(found, 1007), _of(found, 1008)
    assert (raised.kind, raised.figures["sense"], raised.figures["pairs_flagged"]) == ("manoeuvred", "raised once", 1)
    assert raised.figures["along_track_m_s"] == pytest.approx(0.5 * 7584 * 1.0 / 6928, rel=0.15)
    assert raised.when_s == days[4][7].epoch_s
    assert tilted.figures["sense"] == "plane change"
    assert tilted.figures["cross_track_m_s"] == pytest.approx(7584 * np.radians(0.05), rel=0.1)


def test_a_rise_that_the_older_set_had_taken_for_negative_drag_says_by_how_much_it_is_beyond() -> None:
    days = constellation()
    one = replace(days[3][7], bstar_per_er=-0.01)
    record = one.satrec()
    record.sgp4(record.jdsatepoch, record.jdsatepochF)
    before = record.am
    record.sgp4(record.jdsatepoch, record.jdsatepochF + (days[4][7].epoch_s - one.epoch_s) / DAY_S)
    days[3][7] = one
    for day in days[4:]:
        day[7] = burned(day[7], FOURTH_S, axis_km=(record.am - before) * 6378.135)
    (found,) = check(snapshots(days))
    assert found.figures["sense"] == "raised once"
    assert found.figures["sigmas"] > 6


def test_daily_thrust_does_not_hide_behind_itself() -> None:
    days = constellation()
    for day in days:
        one = day[7]
        day[7] = burned(one, START_S, axis_km=2.0 * (one.epoch_s - START_S) / DAY_S)
    (found,) = check(snapshots(days))
    assert (found.norad_id, found.figures["sense"], found.figures["pairs_flagged"]) == (1007, "raising", 6)


def test_one_wrong_set_is_told_as_out_and_back() -> None:
    days = constellation()
    days[3][7] = replace(days[3][7], inclination_deg=days[3][7].inclination_deg + 0.05)
    (found,) = check(snapshots(days))
    assert (found.norad_id, found.figures["sense"]) == (1007, "out and back")


def test_a_wrong_drag_term_is_no_burn() -> None:
    """A fit through a burn leaves a drag term that predicts a fall which never comes."""
    days = constellation()
    days[3][7] = replace(days[3][7], bstar_per_er=0.05)
    assert [f for f in check(snapshots(days)) if f.kind == "manoeuvred"] == []


def test_changed_places_are_found_and_are_no_manoeuvres() -> None:
    days = constellation()
    for day in days[4:]:
        one, two = day[7], day[31]
        day[7] = replace(two, norad_id=one.norad_id, name=one.name)
        day[31] = replace(one, norad_id=two.norad_id, name=two.name)
    found = check(snapshots(days))
    assert {(f.kind, f.norad_id, f.figures["other_id"], f.figures["swap"]) for f in found} == {
        ("cross-tagged", 1007, 1031, 1),
        ("cross-tagged", 1031, 1007, 1),
    }


def test_one_object_under_two_numbers() -> None:
    days = constellation()
    days[6][7] = replace(days[6][31], norad_id=1007, name="BIRD-7", epoch_s=days[6][31].epoch_s)
    found = [f for f in check(snapshots(days)) if f.kind == "cross-tagged"]
    assert [(f.norad_id, f.figures["other_id"], f.figures["swap"]) for f in found] == [(1007, 1031, 0)]


def test_lost_found_unread_and_stale() -> None:
    made = snapshots(constellation())
    cut = [replace(s, sets=tuple(e for e in s.sets if not (e.norad_id == 1001 and n >= 5))) for n, s in enumerate(made)]
    cut = [replace(s, sets=tuple(e for e in s.sets if not (e.norad_id == 1002 and n == 3))) for n, s in enumerate(cut)]
    cut = [replace(s, sets=tuple(e for e in s.sets if not (e.norad_id == 1003 and n == 3))) for n, s in enumerate(cut)]
    cut[3] = replace(cut[3], skipped=(Skipped("x, line 5", "bad", 1003),))
    frozen = next(e for e in made[2].sets if e.norad_id == 1004)
    cut = [replace(s, sets=tuple(frozen if e.norad_id == 1004 and n > 2 else e for e in s.sets)) for n, s in enumerate(cut)]
    found = {(f.kind, f.norad_id) for f in check(cut)}
    assert found == {("lost", 1001), ("found", 1002), ("stale", 1004)}


def test_absence_is_asked_within_a_feed() -> None:
    """Two files a day, of different objects: none is lost for not being in the other; one that moved over is not either."""
    birds = snapshots(constellation(3, 40))
    other = [replace(e, norad_id=e.norad_id + 5000) for e in birds[0].sets]
    fish = [Snapshot(f"fish_2026-05-{20 + n}.tle", s.taken_s + 1, tuple(other)) for n, s in enumerate(birds)]
    assert {f.kind for f in check([*birds, *fish])} <= {"stale"}
    moved = replace(fish[2], sets=(*fish[2].sets, birds[2].sets[3]))
    gone = replace(birds[2], sets=birds[2].sets[:3] + birds[2].sets[5:])
    found = [f for f in check([*birds[:2], gone, *fish[:2], moved]) if f.kind == "lost"]
    assert [f.norad_id for f in found] == [1004]


def test_feeds_by_name_or_by_content() -> None:
    birds = snapshots(constellation(3, 40))
    names = ("yesterday.tle", "today.json", "now.xml.gz")
    renamed = [replace(s, label=name) for s, name in zip(birds, names, strict=True)]
    assert [len(f) for f in feeds(renamed)] == [3]
    part = replace(birds[2], label="few.tle", sets=birds[2].sets[:30])
    assert [len(f) for f in feeds([*birds, part])] == [3, 1]
    assert feeds([]) == []


def test_stale_is_measured_by_the_objects_own_rhythm() -> None:
    one = from_orbit("x", START_S, 550, 53, norad_id=1)
    weekly = [replace(one, epoch_s=START_S + 7 * DAY_S * k) for k in range(5)]
    hourly = [replace(one, norad_id=2, epoch_s=START_S + 28 * DAY_S - 3600.0 * k) for k in range(5)][::-1]
    found = stale({1: weekly, 2: hourly}, START_S + 29 * DAY_S, 3.0)
    assert [f.norad_id for f in found] == [2]


def test_decay_is_told_when_and_how_long() -> None:
    low = from_orbit("low", START_S, 200, 51.6, norad_id=1, bstar=5e-4)
    high = from_orbit("high", START_S, 800, 51.6, norad_id=2, bstar=1e-4)
    (found,) = decaying({1: [low], 2: [high]}, START_S, 30.0)
    falls_s = float(found.figures["down_s"])
    height_km = np.linalg.norm(states(low, [falls_s - DAY_S])[0], axis=1) - 6378.137
    assert START_S < falls_s < START_S + 30 * DAY_S
    assert height_km[0] < 200
    assert [f.norad_id for f in decaying({1: [low]}, falls_s + 1, 1.0)] == [1]
    assert decaying({}, START_S, 1.0) == []


def test_lifetime_is_scale_height_over_rate() -> None:
    sets = [from_orbit("x", START_S + k * DAY_S, 250 - 5 * k, 51.6, norad_id=1) for k in range(4)]
    found = decaying({1: sets}, START_S, 30.0)
    life = [f.figures["life_d"] for f in found if "life_d" in f.figures]
    if found:
        assert life == [pytest.approx(42.5 / 5, rel=0.05)]


def test_difference_measures_with_sgp4s_own_states() -> None:
    before, after = snapshots(constellation(2, 30))
    new = from_orbit("new", START_S, 600, 98, norad_id=5)
    after = replace(after, sets=(*(e for e in after.sets if e.norad_id != 1003), new))
    before = replace(before, sets=tuple(after.sets[0] if e.norad_id == after.sets[0].norad_id else e for e in before.sets))
    found = difference(before, after)
    assert ([e.norad_id for e in found.came], [e.norad_id for e in found.went], found.same) == ([5], [1003], 1)
    change = found.changed[0]
    r_old, r_new = (states(e, [after.taken_s])[0][0] for e in (change.older, change.newer))
    assert change.moved_km == pytest.approx(np.linalg.norm(r_new - r_old), abs=1e-3)
    assert np.linalg.norm(change.rtn_km) == pytest.approx(change.moved_km)
    assert [c.moved_km for c in found.changed] == sorted((c.moved_km for c in found.changed), reverse=True)


def test_difference_keeps_what_has_decayed() -> None:
    low = from_orbit("low", START_S, 160, 51.6, norad_id=1, bstar=0.05)
    later = replace(low, epoch_s=START_S + 60)
    found = difference(Snapshot("a", START_S, (low,)), Snapshot("b", START_S + 60 * DAY_S, (later,)))
    assert found.changed[0].to_json()["moved_km"] is None


def test_shortest_half_stays_with_the_quiet_core() -> None:
    """A third of the values pushed away leave location and scale; median and MAD would follow."""
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(0, 1, 2000), rng.normal(8, 3, 1000)]
    location, scale = shortest_half(values)
    assert abs(location) < 0.25
    assert 0.9 < scale < 1.9
    assert np.median(values) > 2 * abs(location)
    assert np.isnan(shortest_half(np.array([]))[0])
    assert shortest_half(np.array([2.0])) == (2.0, 0.0)


def test_peers_are_joined_until_they_are_enough() -> None:
    height = np.r_[np.full(150, 550.0), np.full(30, 570.0), np.full(30, 700.0), np.full(5, np.nan)]
    groups = peer_groups(height, np.full(height.size, 53.0))
    assert len(set(groups[:150])) == 1
    assert (groups[-5:] == -1).all()
    assert min(Counter(groups[:210]).values()) >= 60
    location, scale = peer_noise(np.ones(215), np.ones(215), groups, 1.0)
    assert np.isnan(scale[-5:]).all()
    np.testing.assert_allclose(location[:210], 1.0)


def test_own_noise_is_leave_one_out_and_bounded() -> None:
    objects = np.repeat([1, 2, 3], 6)
    values = np.r_[np.zeros(5), 100.0, np.full(6, 50.0), np.ones(6) * 2]
    scale = own_scale(values, np.zeros(18), np.ones(18), objects, (1.0, 3.0))
    assert scale[5] == 1.0  # its own step does not widen its own scale
    assert (scale[6:12] == 3.0).all()  # however loud, threefold at most
    np.testing.assert_allclose(scale[12:], 2 / 0.67448975)


def test_residuals_of_a_set_against_itself_are_nothing() -> None:
    one = from_orbit("x", START_S, 550, 53, norad_id=1, bstar=1e-4)
    assert residuals({1: [one, replace(one, epoch_s=START_S + 60)]}).span_d.size == 0
    assert residuals({}).rtn_km.shape == (0, 3)
    assert check([]) == []


def test_an_older_set_that_cannot_reach_is_marked() -> None:
    low = from_orbit("low", START_S, 160, 51.6, norad_id=1, bstar=0.05)
    of = residuals({1: [low, replace(low, epoch_s=START_S + 60 * DAY_S)]})
    assert of.ok.tolist() == [False]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("starlink_2026-05-24T22.tle.gz", "2026-05-24T22:00:00Z"),
        ("20260822.tle", "2026-08-22T00:00:00Z"),
        ("x-2026-13-01-2026-12-01.tle", "2026-12-01T00:00:00Z"),
        ("gp_2026-05-24_2230.json", "2026-05-24T22:30:00Z"),
        ("active.tle", None),
        ("12345678901234.tle", None),
    ],
)
def test_time_in_a_name(name: str, text: str | None) -> None:
    from orbitloop.clock import iso_utc

    when_s = time_in_name(name)
    assert (iso_utc(when_s) if when_s is not None else None) == text


def test_number_of_an_unreadable_set() -> None:
    text = "A\n1 00005U bad\n2 00005 fine\nB\n1 00006U\n2 00007 odds\n"
    assert [number_near(text.split("\n"), n) for n in (2, 3, 5, 1, 99)] == [5, 5, None, None, None]


def _week() -> list[Snapshot]:
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits" / "history_starlink"
    if not root.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    out = []
    for path in sorted(root.glob("*.gz")):
        good, _ = parse_tle_file(gzip.decompress(path.read_bytes()).decode())
        out.append(Snapshot(path.name, time_in_name(path.name) or 0.0, tuple(good)))
    return out


@pytest.mark.slow
@pytest.mark.data
def test_the_real_week() -> None:
    """All that left had been seen coming down; known raisers are raising; the one set that could not be read comes back."""
    week = _week()
    week[4] = replace(week[4], skipped=(Skipped("line 15197", "a bad line", 60069),))
    found = check(week, limits=CheckLimits())
    counts = Counter(f.kind for f in found)
    assert counts["lost"] == 13
    assert all(f.figures["decayed"] for f in found if f.kind == "lost")
    assert counts["found"] == 0
    assert counts["stale"] == 0
    raising = {f.norad_id: f for f in found if f.figures.get("sense") == "raising"}
    assert raising[68730].figures["axis_step_km"] == pytest.approx(122, abs=5)
    assert 1000 < counts["manoeuvred"] < 3000
    assert sum(bool(f.figures["swap"]) for f in found if f.kind == "cross-tagged") == 0
    unread = replace(week[4], skipped=())
    assert [f.norad_id for f in lost_and_found([*week[:4], unread, *week[5:]]) if f.kind == "found"] == [60069]


def test_days_are_what_they_say() -> None:
    of = residuals(histories(snapshots(constellation())))
    assert of.span_d.size == 6 * PEERS
    assert isinstance(of.sets[0], Elements)
    assert np.std(of.axis_km) == pytest.approx(0.02 * np.sqrt(2), rel=0.1)
    assert np.std(of.inclination_deg) == pytest.approx(5e-4 * np.sqrt(2), rel=0.1)
