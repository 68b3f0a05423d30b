"""Telemetry files, examinations, proposals, silence; malformed bytes raise the one typed error."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.algorithms.health.beacons import Verdict
from orbitloop.apps.health import examine, load_limits, proposal_of, write_proposal
from orbitloop.apps.health_beacons import judge_history, parse_history, planned_silence
from orbitloop.apps.health_files import parse_csv, parse_npz, read_telemetry
from orbitloop.apps.health_sets import evaluate_channels, evaluate_devices, read_labels
from orbitloop.errors import DataError, ManifestError, TelemetryError
from orbitloop.ground.health.telemetry import Telemetry
from orbitloop.records.contact import ContactPlan, ContactWindow
from orbitloop.resources.manifest import load_standalone

DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def test_csv_with_times_labels_and_gaps() -> None:
    text = b"\xef\xbb\xbftime,bus_v,label,temp\n2026-06-01T00:00:00Z,28.1,0,20\n2026-06-01T00:00:10Z,,1,nan\n"
    found = parse_csv(text).judged
    assert found.channels == ("bus_v", "temp")
    assert found.timed
    assert np.diff(found.times_s).tolist() == [10.0]
    assert np.isnan(found.values[1]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no header"),
        (b"a,a\n1,2\n", "twice"),
        (b"time\n1\n", "no channel"),
        (b"a,b\n1\n", "line 2"),
        (b"a\nx\n", "'x' is not a number"),
        (b"a\n", "no sample"),
        (b"time,a\n2,1\n1,1\n", "goes back"),
        (b"time,a\nnoon,1\n", "not a time"),
        (b"a\n\xff\n", "UTF-8"),
    ],
)
def test_malformed_csv_is_told(text: bytes, said: str) -> None:
    with pytest.raises(TelemetryError, match=said):
        parse_csv(text)


def test_npz_layouts() -> None:
    plain = parse_npz(npz(times_s=np.arange(4.0), volts=np.ones(4, np.float32), imu=np.ones((4, 2), np.int16))).judged
    assert plain.channels == ("volts", "imu.0", "imu.1")
    assert plain.timed
    parts = parse_npz(npz(train_value=np.zeros(9), test_value=np.ones(5), test_cmd=np.zeros((5, 3))), "A-1")
    assert parts.scaled
    assert parts.nominal is not None
    assert (parts.nominal.channels, len(parts.nominal), len(parts.judged)) == (("A-1",), 9, 5)


def lying(shape: str, dtype: str = "<f8") -> bytes:
    """An .npz whose array says that it is larger than it is."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", raw)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        npz(a=np.array([{}], dtype=object)),
        npz(a=np.ones((2, 2, 2))),
        npz(a=np.ones(3), b=np.ones(4)),
        npz(a=np.array(["x"])),
        npz(train_value=np.ones(3), test_value=np.ones((3, 2))),
        npz(times_s=np.ones(2), a=np.ones(3)),
        lying("(1000000000000,)"),
        lying("(-2,)"),
        lying("(2,)", "|O"),
        lying("__import__('os')"),
        lying("(" * 300),
    ],
)
def test_malformed_npz_is_refused_before_memory_is_taken(data: bytes) -> None:
    with pytest.raises(TelemetryError):
        parse_npz(data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_foreign_bytes_parse_or_raise_the_one_error(data: bytes, at: int, byte: int) -> None:
    good = bytearray(npz(a=np.arange(5.0)))
    good[at % len(good)] = byte
    for raw, parse in ((data, parse_npz), (bytes(good), parse_npz), (data, parse_csv), (b"a,b\n" + data, parse_csv)):
        try:
            parse(raw)
        except TelemetryError:
            continue
    for reader in (parse_history, lambda raw: read_labels(raw, "x")):
        with pytest.raises(TelemetryError):
            reader(data)


LIMITS = """
kind: TelemetryLimits
name: bus
spec:
  channels:
    - {channel: volts, subsystem: power, soft: [26, 30], hard: [24, 32], persistence: 3, hysteresis: 0.2, fullScale: [20, 36]}
    - {channel: temp, subsystem: thermal, maxRatePerS: 0.5}
  detector: {name: streaming, parameters: {window: 16}}
"""


def bus(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    t = np.arange(1500)
    volts = 28 + np.sin(t / 15.0) + 0.05 * rng.normal(size=1500)
    temp = 20 + np.cos(t / 40.0) + 0.05 * rng.normal(size=1500)
    volts[1000:1040] = 23.0
    rows = [f"{1.78e9 + 10 * n},{v:.4f},{w:.4f}" for n, (v, w) in enumerate(zip(volts, temp, strict=True))]
    path = tmp_path / "bus.csv"
    path.write_text("time,volts,temp\n" + "\n".join(rows) + "\n")
    return path


def test_an_examination_from_files_to_a_proposal_that_validates(tmp_path: Path) -> None:
    config = tmp_path / "limits.yaml"
    config.write_text(LIMITS)
    report = examine(read_telemetry(bus(tmp_path)), load_limits(config))
    assert [e.reason for e in report.limit_events if e.level > e.was] == ["hard low"]
    assert {name for name, runs in report.events.items() if runs} == {"volts"}
    (incident,) = report.incidents
    assert report.when(incident.first).startswith("2026-05-2")
    assert "volts (power) fell" in incident.words
    proposal = proposal_of(report, "Bus 1")
    assert proposal is not None
    assert proposal.spec.severity == "critical"
    assert proposal.spec.approval.required
    assert [one.action for one in proposal.spec.actions][-1] == "safe-mode"
    written = write_proposal(tmp_path / "out", proposal)
    assert load_standalone(written) == [proposal]
    assert not list((tmp_path / "out").glob("*.part"))


def test_quiet_telemetry_asks_for_nothing(tmp_path: Path) -> None:
    found = read_telemetry(bus(tmp_path))
    quiet = found.judged.part(0, 950)
    report = examine(type(found)(quiet), load_limits(None), method="streaming")
    assert report.proposal is None
    assert proposal_of(report, "x") is None
    assert report.to_json()["severity"] == "none"


def test_slow_drift_is_told_though_no_event_is() -> None:
    rng = np.random.default_rng(3)
    values = np.sin(np.arange(6000) / 11.0)[:, None] + 0.05 * rng.normal(size=(6000, 1))
    values[2400:, 0] += np.linspace(0, 0.15, 3600)
    report = examine_values(values)
    assert not report.events["x"]
    assert [d.direction for d in report.drifts] == [1]
    assert report.proposal is not None
    assert report.proposal.severity == "watch"


def examine_values(values: np.ndarray):  # type: ignore[no-untyped-def]
    from orbitloop.apps.health_files import TelemetryFile

    telemetry = Telemetry(("x",), np.arange(len(values), dtype=np.float64), values)
    return examine(TelemetryFile(telemetry), load_limits(None), method="streaming")


def test_after_a_gap_a_new_recording_begins_and_what_is_missing_is_not_odd() -> None:
    from orbitloop.apps.health_files import TelemetryFile

    t = np.arange(2000.0)
    values = np.sin(t / 11.0)[:, None]
    values[1200:1260] = np.nan  # not sent: the channel did not stand still
    times_s = 1.78e9 + 10 * t
    jumped = np.concatenate([values[:1500], np.sin((t[1500:] + 17) / 11.0)[:, None]])
    there = examine(TelemetryFile(Telemetry(("x",), times_s, jumped, timed=True)), load_limits(None), method="streaming")
    assert there.events["x"] != ()
    times_s[1500:] += 1e5
    found = examine(TelemetryFile(Telemetry(("x",), times_s, jumped, timed=True)), load_limits(None), method="streaming")
    assert (found.scores[600:660] == 0).all()
    assert not [run for run in found.events["x"] if run[0] >= 860]


def test_wrong_limits_are_told_with_line_and_field(tmp_path: Path) -> None:
    config = tmp_path / "limits.yaml"
    config.write_text(LIMITS.replace("soft: [26, 30]", "soft: [30, 26]"))
    with pytest.raises(ManifestError, match=r"limits.yaml:6.*low, high"):
        load_limits(config)
    config.write_text("kind: GroundStation\nname: x\nspec: {latitudeDeg: 1, longitudeDeg: 2}\n")
    with pytest.raises(ManifestError, match="holds 0 TelemetryLimits"):
        load_limits(config)
    config.write_text(LIMITS.replace("channel: temp", "channel: wheel"))
    with pytest.raises(TelemetryError, match="'wheel'"):
        examine(read_telemetry(bus(tmp_path)), load_limits(config))


def test_a_history_is_judged_and_a_failed_satellite_proposed() -> None:
    rows = ["satellite,station,time,elevation,heard"]
    for n in range(80):
        rows.append(f"a,{'st'[n % 2]},{n * 6000},45,1")
        rows.append(f"b,{'st'[n % 2]},{n * 6000 + 900},45,{int(n < 60)}")
    report = judge_history(parse_history("\n".join(rows).encode()))
    verdicts = {one.satellite: one.verdict for one in report.satellites}
    assert verdicts == {"a": Verdict.ALIVE, "b": Verdict.FAILED}
    assert report.proposal("a") is None
    proposal = report.proposal("b")
    assert proposal is not None
    assert proposal.severity == "critical"
    assert "20 passes in a row" in proposal.reason
    assert [c.verdict for c in report.satellites[1].changes] == [Verdict.SUSPECTED, Verdict.FAILED]


def test_a_plan_says_how_many_passes_may_be_missed() -> None:
    windows = [ContactWindow("a", "st"[n % 2], n * 6000.0, n * 6000.0 + 400, 50.0, 1, 1) for n in range(60)]
    (row,) = planned_silence(ContactPlan(tuple(windows)))
    assert 2 <= row.suspected_after <= row.failed_after <= 20
    assert row.passes_per_day == pytest.approx(14.4, rel=0.05)


def test_a_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labelled telemetry"):
        evaluate_channels(tmp_path, "streaming")


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "telemetry_smap_msl").is_dir(), reason="needs telemetry_smap_msl")
def test_development_channels_of_smap_and_msl() -> None:
    """What flies, on the 20 development channels: its bar was chosen there, so this holds the code and not the method."""
    found = evaluate_channels(DATA / "telemetry_smap_msl", "streaming", "dev")
    assert len(found.channels) == 20
    assert found.corrected.found + found.corrected.missed == 30
    assert found.corrected.f_half > 0.6


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "telemetry_opssat_fdir").is_dir(), reason="needs telemetry_opssat_fdir")
def test_device_states_of_ops_sat_are_learnt_in_flight() -> None:
    rows = evaluate_devices(DATA / "telemetry_opssat_fdir")
    assert [row["samples"] for row in rows] == [4776] * 3
    assert min(row["balanced_accuracy"] for row in rows) > 0.9
