"""Messages and screenings to events: what is judged, what is said with it, malformed files, and the way to options."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.apps import conjunction_avoidance as avoidance
from orbitloop.apps import conjunctions as work
from orbitloop.apps.conjunction_files import message_files, read_message, read_screening, write_text
from orbitloop.apps.conjunction_store import opened
from orbitloop.apps.files import write_whole
from orbitloop.errors import ConjunctionError, StateError
from orbitloop.orbit.conjunction.alerts import Thresholds
from orbitloop.orbit.conjunction.avoidance import AvoidanceSettings
from orbitloop.orbit.conjunction.cdm import to_ndm
from orbitloop.orbit.conjunction.encounter import MU_KM3_S2, Encounter, ObjectState
from orbitloop.orbit.conjunction.events import Event, Knowledge, gather
from orbitloop.orbit.conjunction.motion import elements_from_state
from orbitloop.orbit.conjunction.pc2d import pc2d
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn
from orbitloop.orbit.conjunction.screening import screen
from orbitloop.orbit.conjunction.uncertainty import parse_table, shipped_table, shipped_text
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.formats.ndm_kvn import write_kvn
from orbitloop.orbit.formats.ndm_xml import write_xml
from orbitloop.orbit.passes import Station, find_passes
from orbitloop.orbit.propagate import states
from orbitloop.resources.manifest import load_standalone, parse_manifests

TCA_S = 1_780_000_000.0
RADIUS_KM = 6928.0
SPEED = math.sqrt(MU_KM3_S2 / RADIUS_KM)
DAY_S = 86_400.0


def encounter(miss_km: float = 0.02, spread: float = 1.0, tca_s: float = TCA_S) -> Encounter:
    """Two orbits that cross at a right angle, of unlike periods: they do not meet again half a revolution later."""
    local = np.diag((spread * np.array([0.03, 0.2, 0.03, 1e-6, 1e-6, 1e-6])) ** 2)
    rows = (
        ("OURS", "00050001", np.array([RADIUS_KM, 0, 0]), np.array([0, SPEED, 0.0])),
        ("SOME DEB", "50002", np.array([RADIUS_KM + miss_km, 0, 0]), np.array([0, 0, 1.01 * SPEED])),
    )
    first, second = (ObjectState(name, number, r, v, covariance_from_rtn(local, r, v)) for name, number, r, v in rows)
    return Encounter(tca_s, first, second, 10.0)


def messages(folder: Path) -> list[Path]:
    """Five messages of one event, a day apart: the miss settles, the covariance shrinks, the probability rises and falls."""
    made = []
    for n, (miss_km, spread) in enumerate([(0.2, 2.0), (0.12, 1.6), (0.06, 1.3), (0.02, 1.1), (0.08, 1.0)]):
        one = encounter(miss_km, spread, TCA_S + 0.3 * n)
        created_s = TCA_S - (5 - n) * DAY_S
        message = to_ndm(one, message_id=f"m{n}", originator="TEST", created_s=created_s, probability=pc2d(one).value)
        path = folder / f"m{n}.{'xml' if n % 2 else 'cdm'}"
        path.write_text(write_xml(message) if n % 2 else write_kvn(message), "utf-8")
        made.append(path)
    return made


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    files = messages(tmp_path_factory.mktemp("cdm"))
    (only,) = gather([work.update_of_message(read_message(path)) for path in files])
    return only


def test_a_series_of_messages_is_one_event_with_its_history(event: Event) -> None:
    assert event.id == "50001-50002-20260528-202640"
    assert [u.message_id for u in event.updates] == ["m0", "m1", "m2", "m3", "m4"]
    for update in event.updates:
        assert update.knowledge is Knowledge.MEASURED
        assert update.two_d_holds
        assert update.method == "2d"
        assert update.given_probability is not None
        assert update.probability == pytest.approx(update.given_probability, rel=1e-3)
        assert update.primary.designator == "50001"
    assert event.latest.sigma_rtn_km is not None
    assert event.latest.sigma_rtn_km[0] == pytest.approx(0.03 * math.sqrt(2), rel=1e-6)
    probabilities = [u.probability or 0.0 for u in event.updates]
    assert max(probabilities) > 3 * probabilities[-1]  # it came, and eased


def test_import_leaves_bad_files_out_and_takes_the_others(tmp_path: Path) -> None:
    files = messages(tmp_path)[:2]
    for extra in tmp_path.glob("m[2-4].*"):
        extra.unlink()
    (tmp_path / "bad.cdm").write_text("CCSDS_CDM_VERS = 1.0\nCREATION_DATE = yesterday\n", "utf-8")
    (tmp_path / "not-text.cdm").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "ignored.md").write_text("not a message")
    found = message_files([tmp_path])
    assert len(found) == 4
    with opened(tmp_path / "e.db", write=True) as store:
        results = list(work.import_messages(store, found))
        assert sorted(r.path.name for r in results if r.error) == ["bad.cdm", "not-text.cdm"]
        assert [len(e.updates) for e in store.events()] == [2]
        again = list(work.import_messages(store, files))
        assert sum(r.stored.new for r in again if r.stored) == 0


def test_an_absent_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConjunctionError, match="cannot be read"):
        read_message(tmp_path / "none.cdm")
    with pytest.raises(ConjunctionError, match="holds no message"):
        message_files([tmp_path])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5000), st.binary(max_size=6))
def test_a_message_cut_or_changed_anywhere_is_read_or_the_one_error(tmp_path_factory, at: int, junk: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = write_kvn(to_ndm(encounter(), message_id="m", originator="T", created_s=TCA_S - DAY_S)).encode()
    at = at % len(text)
    path = folder / "fuzzed.cdm"
    for data in (text[:at], text[:at] + junk + text[at + len(junk) :]):
        path.write_bytes(data)
        with contextlib.suppress(ConjunctionError):
            read_message(path)


# --- screenings --------------------------------------------------------------------------------------------------------


def two_sets() -> tuple[Elements, Elements]:
    """Element sets of the two objects whose SGP4 states are those of their meeting."""
    one = encounter()
    made = []
    for state, number in ((one.primary, 50001), (one.secondary, 50002)):
        like = replace(from_orbit(state.name, TCA_S, 550.0, 50.0, raan_deg=0.0), norad_id=number)
        made.append(elements_from_state(like, TCA_S, state.r_km, state.v_km_s))
    return made[0], made[1]


@pytest.fixture(scope="module")
def sets() -> tuple[Elements, Elements]:
    return two_sets()


def test_an_approach_of_element_sets_gets_modelled_covariances_and_says_so(sets: tuple[Elements, Elements]) -> None:
    found = list(screen(sets, TCA_S - 20_000, TCA_S + 20_000, engine="sgp4").approaches)
    assert found
    update = work.update_of_approach(found[0], sets, TCA_S - 20_000)
    assert update.knowledge is Knowledge.MODEL
    assert sum("not a measured covariance" in text for text in update.statements) == 2
    assert any(text.startswith("with 0.25 to 4 times the model's sigmas: up to") for text in update.statements)
    assert update.miss_km == pytest.approx(found[0].miss_km, abs=1e-3)
    assert update.probability is not None
    assert update.encounter is not None


def screening_lines(sets: tuple[Elements, Elements]) -> list[str]:
    from orbitloop.apps.screening import Objects, json_lines

    found = screen(sets, TCA_S - 20_000, TCA_S + 20_000, engine="sgp4")
    names = {f.name for f in Objects.__dataclass_fields__.values()}
    given = {"elements": tuple(sets), "primaries": None, "repeated": 0, "skipped": ()}
    return list(json_lines(found, Objects(**{k: v for k, v in given.items() if k in names}), found.approaches))


def test_what_screen_writes_is_imported_and_twice_is_once(tmp_path: Path, sets: tuple[Elements, Elements]) -> None:
    path = tmp_path / "found.jsonl"
    lines = screening_lines(sets)
    path.write_text("".join(lines), "utf-8")
    with opened(tmp_path / "e.db", write=True) as store:
        first = work.import_screening(store, path, sets)
        assert first.error is None
        assert first.stored is not None
        assert first.stored.new == len(lines) - 1
        second = work.import_screening(store, path, sets)
        assert second.stored is not None
        assert second.stored.new == 0
        without = work.import_screening(store, path, sets[:1])
        assert without.error is not None
        assert "no element set of object 50002" in str(without.error)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=6),
        lambda c: (
            st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["tca_s", "primary", "kind", "start"]), c, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_screening_file_is_read_or_the_one_error(tmp_path_factory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_text('{"start": "2026-01-01T00:00:00Z"}\n' + json.dumps(value) + "\n", "utf-8")
    with contextlib.suppress(ConjunctionError):
        assert read_screening(path, [])[1] == []  # there are no elements that a sound row could name


@pytest.mark.parametrize("text", ["", "{}\n", "nonsense\n", '{"start": "soon"}\n', '{"start": 5}\n', "[1]\n", "\xff"])
def test_malformed_screenings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConjunctionError):
        read_screening(path, [])


# --- alerts and options ------------------------------------------------------------------------------------------------


def test_alerts_become_resources_that_read_again(event: Event) -> None:
    alerts = work.alerts_for([event], Thresholds(red_probability=1e-4, yellow_probability=1e-6))
    assert alerts
    import yaml

    for alert in alerts:
        resource = work.alert_resource(alert, ("stale: x",))
        (read,) = parse_manifests(yaml.safe_dump(resource.to_json()))
        assert read == resource
        assert resource.spec.remarks[-1] == "stale: x"
    assert work.alerts_for([event], Thresholds(), since_tca_s=TCA_S + 1e6) == []


def stations() -> tuple[Station, ...]:
    return tuple(Station(f"s{n}", lat, lon) for n, (lat, lon) in enumerate([(0, 0), (0, 90), (0, -90), (0, 180), (10, 45)]))


def test_options_with_passes_and_a_catalogue(event: Event, sets: tuple[Elements, Elements]) -> None:
    update = avoidance.seen_from(event, "ours")
    now_s = TCA_S - DAY_S / 4 + 60
    third = replace(sets[1], norad_id=50003, name="THIRD", mean_anomaly_deg=(sets[1].mean_anomaly_deg + 180) % 360)
    around = avoidance.Surroundings(stations(), (), (*sets, third))
    tried = AvoidanceSettings(revolutions=(0.5, 1.5), sizes_m_s=(0.01, 0.05), lead_s=600.0)
    report = avoidance.avoid(event, update, around, now_s, tried)
    assert len(report.options) == 9
    best = report.options[0]
    assert best.meets_goal
    assert best.burn_s is not None
    assert best.passes is not None
    assert best.new_approaches is not None  # looked into
    assert best.probability < 1e-6 < (update.probability or 0.0)
    assert report.passes
    # Passes lost are those that the burn's time leaves no contact of, counted by hand.
    start_s, end_s = best.burn_s - tried.prepare_s, best.burn_s + tried.settle_s
    own = find_passes(sets[0], stations(), now_s, TCA_S + DAY_S)
    gone = [
        p for p in own if max(start_s - p.aos_s, p.los_s - end_s, 0.0) < 120.0 and min(end_s, p.los_s) > max(start_s, p.aos_s)
    ]
    assert best.passes.lost == len(gone)
    by_s = report.command_by_s(best)
    assert by_s is None or by_s <= best.burn_s - tried.prepare_s
    assert any("catalogue" in note for note in report.notes)


def test_options_as_resources_are_sound_and_ranked(event: Event, tmp_path: Path) -> None:
    from orbitloop.apps.conjunction_files import write_resources

    update = avoidance.seen_from(event, "")
    settings_ = AvoidanceSettings(
        revolutions=(0.5, 2.5), sizes_m_s=(0.02,), mass_kg=20, specific_impulse_s=200, propellant_kg=1
    )
    report = avoidance.avoid(event, update, avoidance.Surroundings(), TCA_S - DAY_S, settings_)
    resources = [avoidance.option_resource(report, rank) for rank in range(1, len(report.options) + 1)]
    write_resources(tmp_path, resources)
    for resource in resources:
        read = load_standalone(tmp_path / f"{resource.name}.yaml")
        assert read is not None
        assert read[0].spec == resource.spec
    assert [r.spec.rank for r in resources] == [1, 2, 3, 4, 5]
    assert sum(r.spec.burn is None for r in resources) == 1
    assert resources[0].spec.cost.propellant_share is not None
    notes = " ".join(resources[0].spec.remarks)
    assert "passes lost were not counted" in notes
    assert "new approaches were not looked for" in notes


def test_the_other_side_may_burn_and_a_stranger_may_not(event: Event) -> None:
    other = avoidance.seen_from(event, "50002")
    assert other.primary.name == "SOME DEB"
    assert avoidance.seen_from(event, "some deb").primary.key == "50002"
    with pytest.raises(ConjunctionError, match="neither"):
        avoidance.seen_from(event, "99999")
    with pytest.raises(ConjunctionError, match="no message of the event gives states"):
        avoidance.seen_from(Event("e", tuple(replace(u, encounter=None) for u in event.updates)), "")


def test_with_no_time_left_only_doing_nothing_remains(event: Event) -> None:
    report = avoidance.avoid(event, avoidance.seen_from(event, ""), avoidance.Surroundings(), TCA_S - 600, AvoidanceSettings())
    assert [o.burn_s for o in report.options] == [None]
    assert any("no time is left" in note for note in report.notes)


def test_the_fitted_orbit_has_the_passes_of_the_true_one(event: Event, sets: tuple[Elements, Elements]) -> None:
    """The state of the message, taken as EME2000, is turned into TEME before an element set is fitted to it."""
    from orbitloop.orbit.inertial import eme2000_to_teme

    update = avoidance.seen_from(event, "")
    own, said = avoidance._orbit(update, avoidance.Surroundings(), TCA_S - 1000)
    assert "fitted" in said
    assert update.encounter is not None
    turn = eme2000_to_teme(update.tca_s)[0]
    r, _ = states(own, [update.tca_s])
    assert r[0] == pytest.approx(turn @ update.encounter.primary.r_km, abs=1e-6)


# --- the table and files -----------------------------------------------------------------------------------------------


def test_a_table_written_reads_as_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_text(path, json.loads(shipped_text()))
    assert parse_table(path.read_text("utf-8")) == shipped_table()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="cannot be written"):
        write_whole(tmp_path / "file" / "inside.yaml", b"x")


@pytest.mark.data
def test_every_real_message_is_judged_as_cara_did(tmp_path: Path) -> None:
    import csv
    import os

    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "orbits" / "cdm"
    if not (root / "reference_pc.csv").is_file():
        pytest.skip(f"no messages in {root}")
    with (root / "reference_pc.csv").open(encoding="utf-8") as file:
        reference = {row["cdm_file"]: row for row in csv.DictReader(file)}
    files = message_files([root / "real_events"])[::6]
    for path in files:
        update = work.update_of_message(read_message(path))
        row = reference[path.name]
        assert update.probability == pytest.approx(float(row["PcSDMC"]), rel=0.15)
        assert update.two_d_holds == (row["ViolationsPc2D"] == "0" or not float(row["ViolationsPc2D"]))
