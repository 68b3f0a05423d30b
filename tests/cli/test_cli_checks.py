"""Commands that only look: validate, passes, plugins, doctor, update inspect, bench --list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import orbitloop.cli.diagnosis as diagnosis
from orbitloop.cli.diagnosis import Finding, Verdict, fits
from orbitloop.cli.main import app
from orbitloop.delta.apply import apply_delta
from orbitloop.delta.bundle import manifest_bytes, target_path
from orbitloop.delta.compact import make_compact
from orbitloop.delta.make import make_delta
from orbitloop.ground.adapters.model_store import save_model
from orbitloop.ground.authority import Authority
from orbitloop.ground.release import pack_release
from orbitloop.records.ids import digest_bytes, digest_json, digest_tensors
from orbitloop.records.update import CanaryCase, UpdateManifest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "missions" / "farmland-demo.yaml"


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


def one_object(result: Any) -> dict[str, Any]:
    """Parse stdout, which must be one JSON object and nothing else."""
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


# -- validate ------------------------------------------------------------------------------------------------------------


def test_validate_says_sound() -> None:
    result = invoke("validate", *sorted((ROOT / "missions").glob("*.yaml")))
    assert result.exit_code == 0
    assert "farmland-demo.yaml: sound (farmland-demo)" in result.stdout


def test_validate_prints_every_problem_of_every_file_and_goes_on(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Mission\nname: x\nspec: {durationDays: -1, sed: 3}\n")
    result = invoke("validate", bad, tmp_path / "absent.yaml", DEMO)
    assert result.exit_code == 10
    assert f"{bad}:3: spec.durationDays" in result.stderr
    assert "did you mean `seed`?" in result.stderr
    assert "absent.yaml: there is no such file" in result.stderr
    assert "sound" in result.stdout
    value = one_object(invoke("validate", bad, DEMO, "--json"))
    assert [file["sound"] for file in value["files"]] == [False, True]
    assert {p["field"] for p in value["files"][0]["problems"]} == {"spec.durationDays", "spec.sed"}
    assert value["files"][0]["problems"][0]["line"] == 3


@pytest.fixture
def twice(tmp_path: Path) -> Path:
    """Lay out a mission on a set of which one image's only object is labelled twice; no picture is more than a name."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    images, notes = [], []
    for number in range(12):
        (tmp_path / "set" / "images" / f"{number}.png").touch()
        row = {"id": number, "file_name": f"{number}.png", "width": 128, "height": 128}
        images.append({**row, "domain": ("near", "far")[number % 2]})
        for shift in (0, 1) if number == 4 else (0,):
            box = [10 + shift, 10, 20, 20]
            notes.append({"id": len(notes) + 1, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0})
    text = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "ship"}]}
    (tmp_path / "set" / "annotations.coco.json").write_text(json.dumps(text))
    ships = (ROOT / "missions" / "ships.yaml").read_text()
    head, _, tail = ships.partition("kind: Dataset\n")
    dataset = "kind: Dataset\nspec: {path: set, domains: {base: near, stream: [far]}}\n---\nkind: Model"
    (tmp_path / "mission.yaml").write_text(head + dataset + tail.partition("kind: Model")[2])
    return tmp_path


def test_validate_warns_of_objects_that_are_labelled_twice(twice: Path) -> None:
    result = invoke("validate", twice / "mission.yaml", "--data", twice)
    assert result.exit_code == 0
    assert f"{twice / 'set' / 'images' / '4.png'}: 1 of 2 boxes lie on an earlier box" in result.stderr
    assert "1 boxes of 1 images, kept" in result.stderr
    assert "duplicateBoxes: drop" in result.stderr
    value = one_object(invoke("validate", twice / "mission.yaml", "--data", twice, "--json"))["files"][0]
    assert value["labels"] == "read"
    assert value["sound"]
    assert [(w["image"], w["repeated"], w["boxes"]) for w in value["warnings"]] == [("4", 1, 2)]
    dropped = invoke("validate", twice / "mission.yaml", "--data", twice, "--set", "Dataset.duplicateBoxes=drop")
    assert "1 boxes of 1 images, left out" in dropped.stderr


def test_validate_reads_labels_only_where_the_set_is(twice: Path) -> None:
    result = invoke("validate", twice / "mission.yaml", "--data", twice / "elsewhere")
    assert result.exit_code == 0
    assert "labels not read" in result.stdout
    value = one_object(invoke("validate", twice / "mission.yaml", "--data", twice / "elsewhere", "--json"))["files"][0]
    assert value["labels"] == "not read"
    assert value["warnings"] == []


def test_validate_tells_malformed_labels_as_a_problem(twice: Path) -> None:
    labels = twice / "set" / "annotations.coco.json"
    labels.write_text(labels.read_text().replace('"category_id": 1', '"category_id": 7', 1))
    result = invoke("validate", twice / "mission.yaml", "--data", twice)
    assert result.exit_code == 10
    assert "category_id 7 is not the id of a category" in result.stderr
    value = one_object(invoke("validate", twice / "mission.yaml", "--data", twice, "--json"))["files"][0]
    assert not value["sound"]
    assert "annotations[0]" in value["problems"][0]["source"]


def test_validate_takes_overrides() -> None:
    assert invoke("validate", DEMO, "--set", "Model.width=9").exit_code == 10
    assert invoke("validate", DEMO, "--set", "Model.width=1").exit_code == 0


def test_validate_names_line_and_field_of_what_only_the_machine_knows(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    text = DEMO.read_text().replace("season: summer", "season: sumer")
    file.write_text(
        text.replace("  gate: {maxLoss", "  mining: {name: alway}\n  selection: {parameters: {x: 1}}\n  gate: {maxLoss")
    )
    result = invoke("validate", file, "--set", "IncrementalLearningJob.update.codec=half-ish")
    assert result.exit_code == 10
    problems = one_object(invoke("validate", file, "--json"))["files"][0]["problems"]
    lines = file.read_text().splitlines()
    shown = {p["field"]: lines[p["line"] - 1] for p in problems}
    assert "season: sumer" in shown["spec.procedural.domains.summer.season"]
    assert "alway" in shown["spec.mining.name"]
    assert "x: 1" in shown["spec.selection.parameters"]
    assert all(p["remedy"] for p in problems)
    assert "--set IncrementalLearningJob.update.codec=half-ish: spec.update.codec" in result.stderr
    # A run says so too, before it trains.
    assert invoke("run", file, "--out", tmp_path / "run").exit_code == 10
    assert not (tmp_path / "run").exists()


def test_validate_refuses_an_orbit_that_falls_down(tmp_path: Path) -> None:
    file = tmp_path / "low.yaml"
    omm = (
        "{OBJECT_NAME: x, EPOCH: '2026-06-01T00:00:00', MEAN_MOTION: 15.2, ECCENTRICITY: 0.9, INCLINATION: 97.4, "
        "RA_OF_ASC_NODE: 10, ARG_OF_PERICENTER: 0, MEAN_ANOMALY: 0, BSTAR: 0.0001}"
    )
    file.write_text(DEMO.read_text().replace("{altitudeKm: 500, sunSynchronous: true, ltanHours: 10.5}", f"{{omm: {omm}}}"))
    result = invoke("validate", file)
    assert result.exit_code == 10
    assert f"{file}:11: spec.orbit" in result.stderr
    assert "decayed" in result.stderr


# -- passes --------------------------------------------------------------------------------------------------------------


def test_passes_lists_windows_and_days() -> None:
    short = ("--set", "Mission.durationDays=0.3")
    value = one_object(invoke("passes", DEMO, *short, "--json"))
    assert value["windows"]
    assert sum(day["passes"] for day in value["days"]) == len(value["windows"])
    assert sum(day["downlink_bytes"] for day in value["days"]) == sum(w["downlink_bytes"] for w in value["windows"])
    assert all(w["aos_s"] < w["los_s"] and w["max_elevation_deg"] > 0 for w in value["windows"])
    result = invoke("passes", DEMO, *short)
    assert result.exit_code == 0
    assert "svalbard" in result.stdout
    assert "2026-06-01" in result.stdout


def test_a_mission_without_contact_is_said_to_have_none(tmp_path: Path) -> None:
    equator = ("--set", "Satellite.orbit={altitudeKm: 500, inclinationDeg: 0}", "--set", "Mission.durationDays=0.3")
    assert "no station sees a satellite" in invoke("passes", DEMO, *equator).stdout
    assert one_object(invoke("passes", DEMO, *equator, "--json"))["windows"] == []
    result = invoke("run", DEMO, *equator, "--out", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (10, "")
    assert "no station sees a satellite" in result.stderr


def test_passes_of_a_mission_that_is_not_there() -> None:
    result = invoke("passes", "nowhere.yaml", "--json")
    assert (result.exit_code, result.stdout) == (10, "")


# -- plugins, bench ------------------------------------------------------------------------------------------------------


def test_plugins_lists_kinds_summaries_and_parameters() -> None:
    value = one_object(invoke("plugins", "--json"))
    found = {(row["kind"], row["name"]): row for row in value["plugins"]}
    assert ("selector", "value-diversity") in found
    assert found["codec", "compact"]["parameters"] == {"step": 0.3, "bits": 10}
    assert all(row["summary"] for row in value["plugins"])
    assert "compact(step=0.3, bits=10)" in invoke("plugins", "codec").stdout
    assert "miner:" not in invoke("plugins", "codec").stdout
    assert "none" in invoke("plugins", "labeller").stdout


def test_an_unknown_kind_of_plugin_is_answered_with_the_known_ones() -> None:
    result = invoke("plugins", "minor")
    assert result.exit_code == 20
    assert "codec, labeller, miner, monitor, screen, selector" in result.stderr


def test_bench_is_mounted() -> None:
    assert {"link", "loop"} <= set(invoke("bench", "--list").stdout.split())
    value = one_object(invoke("bench", "--list", "--json"))
    assert {"link", "loop"} <= set(value["benches"])
    assert list(value["about"]) == value["benches"]
    assert f"link{' ' * 7}{value['about']['link']}\n" in invoke("bench", "--list").stdout
    result = invoke("bench", "nope", "--quick", "--json")
    assert (result.exit_code, result.stdout) == (20, "")


# -- doctor --------------------------------------------------------------------------------------------------------------


def test_doctor_looks_at_everything_promised(tmp_path: Path) -> None:
    result = invoke("doctor", "--json", "--missions", ROOT / "missions", "--data", tmp_path)
    value = one_object(result)
    checks = {check["name"]: check for check in value["checks"]}
    assert len(checks) >= 15
    wanted = {"python", "numpy", "torch", "onnxruntime", "cores", "memory", "disk", "clock", "training", "bf16", "webp"}
    wanted |= {
        "scene files",
        "onnx session",
        "max-pool padding",
        "accuracy measure",
        "signatures",
        "model cache",
        "data sets",
        "missions",
    }
    assert wanted <= set(checks)
    assert all(check["verdict"] in ("ok", "warn", "fail") and check["found"] for check in checks.values())
    assert all(check["remedy"] for check in checks.values() if check["verdict"] != "ok")
    assert checks["data sets"]["verdict"] == "warn"
    for name in ("onnx session", "max-pool padding", "webp", "accuracy measure", "signatures", "missions"):
        assert checks[name]["verdict"] == "ok", checks[name]
    assert result.exit_code == (0 if value["ok"] else 1)


def test_doctor_exits_with_1_when_something_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("a", Verdict.OK, "fine"), Finding("b", Verdict.FAIL, "[broken]", "mend it")]
    monkeypatch.setattr(diagnosis, "examine", lambda *_: findings)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "[broken]" in result.stdout
    assert "2 checks, 1 in the way" in result.stdout


def test_a_check_that_breaks_is_a_finding() -> None:
    def breaks() -> Finding:
        raise ImportError("no such library")

    finding = diagnosis._guarded("x", breaks)
    assert finding.verdict is Verdict.FAIL
    assert "no such library" in finding.found


@pytest.mark.parametrize(
    ("version", "wanted", "good"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("2.4.6", ">=2.0,<3", True),
        ("3.0", ">=2.0,<3", False),
        ("1.9", ">=1.22,<2", False),
        ("2", ">=2.0", True),
        ("0.23.0rc1", ">=0.23,<1", True),
        ("1.0", "", True),
    ],
)
def test_a_version_is_held_against_its_pin(version: str, wanted: str, good: bool) -> None:
    assert fits(version, wanted) is good


def test_a_missing_or_old_dependency_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = diagnosis.dependency("no-such-distribution-at-all", ">=1")
    assert missing.verdict is Verdict.FAIL
    assert missing.remedy
    monkeypatch.setattr(diagnosis.importlib.metadata, "version", lambda _: "0.1")
    assert diagnosis.dependency("numpy", ">=2.0").found == "0.1 (needs >=2.0)"


def test_doctor_knows_all_pins() -> None:
    names = {name for name, _ in diagnosis.requirements()}
    assert {"numpy", "onnxruntime", "torch", "typer", "rich", "pillow", "sgp4"} <= names
    assert "pytest" not in names


def test_doctor_warns_of_a_mission_that_is_not_sound(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: Missio\n")
    assert diagnosis.missions(tmp_path).verdict is Verdict.WARN
    assert diagnosis.missions(tmp_path / "nowhere").verdict is Verdict.WARN


def test_doctor_fails_on_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("ORBITLOOP_CACHE", str(tmp_path))
    monkeypatch.setattr(diagnosis.tempfile, "TemporaryFile", refuse)
    assert diagnosis.cache().verdict is Verdict.FAIL


# -- update inspect ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    base = {"a.weight": rng.normal(size=(4, 8)).astype(np.float32), "b.bias": np.zeros(4, np.float32)}
    payload = make_delta(base, {name: array + np.float32(0.5) for name, array in base.items()})
    digests, case = (digest_json(1), digest_json(2), digest_bytes(payload)), CanaryCase("s", ())
    manifest = UpdateManifest(3, "fields", *digests, len(payload), ("sat-1",), {}, (case,), "farm")
    file = tmp_path / "update.bundle"
    authority = Authority.from_seed(b"test", ("farm",), 0.0)
    repository = authority.release("farm", {target_path(manifest): manifest_bytes(manifest)}, now_s=0.0)
    file.write_bytes(pack_release(repository, manifest, payload))
    return file


def test_update_inspect_tells_bytes_and_seconds(bundle: Path) -> None:
    value = one_object(invoke("update", "inspect", bundle, "--rate", "8000", "--json"))
    assert value["tensors"] == []
    assert value["bundle_bytes"] == bundle.stat().st_size
    assert value["seconds"] == pytest.approx(bundle.stat().st_size / 1000)
    assert (value["version"], value["canary_cases"], len(value["signed_by"])) == (3, 1, 2)
    result = invoke("update", "inspect", bundle)
    assert result.exit_code == 0
    assert "not verified here" in result.stdout


def test_update_inspect_lists_a_coded_update_with_its_base(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = {"a.weight": rng.integers(-9, 9, (4, 8)).astype(np.int8), "b.bias": np.ones(4, np.float32)}
    target = {"a.weight": base["a.weight"] + np.int8(1), "b.bias": base["b.bias"] * np.float32(2)}
    payload = make_compact(base, target)
    result = digest_tensors(apply_delta(base, payload))
    manifest = UpdateManifest(
        3, "fields", digest_tensors(base), result, digest_bytes(payload), len(payload), ("sat-1",), {}, (), "farm"
    )
    file = tmp_path / "update.bundle"
    authority = Authority.from_seed(b"test", ("farm",), 0.0)
    repository = authority.release("farm", {target_path(manifest): manifest_bytes(manifest)}, now_s=0.0)
    file.write_bytes(pack_release(repository, manifest, payload))
    save_model(tmp_path / "held", b"graph", base)
    save_model(tmp_path / "other", b"graph", target)
    value = one_object(invoke("update", "inspect", file, "--base", tmp_path / "held", "--json"))
    assert [(t["name"], t["codec"]) for t in value["tensors"]] == [("a.weight", "integer"), ("b.bias", "stepped")]
    assert 0 <= len(payload) - sum(t["bytes"] for t in value["tensors"]) < 20
    assert "4 x 8" in invoke("update", "inspect", file, "--base", tmp_path / "held").stdout
    alone = invoke("update", "inspect", file)
    assert (alone.exit_code, "--base lists them" in alone.stdout) == (0, True)
    assert invoke("update", "inspect", file, "--base", tmp_path / "other").exit_code == 15
    assert invoke("update", "inspect", file, "--base", tmp_path / "absent").exit_code == 15
    (tmp_path / "held" / "weights.safetensors").write_bytes(b"not tensors")
    assert invoke("update", "inspect", file, "--base", tmp_path / "held").exit_code == 13


def test_update_inspect_refuses_what_is_no_update(bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    for bad in (b"", data[:-1], data[:40] + b"x" + data[41:], b"PK\x03\x04" * 20):
        (tmp_path / "bad").write_bytes(bad)
        result = invoke("update", "inspect", tmp_path / "bad")
        assert (result.exit_code, result.stdout) == (15, "")
    assert invoke("update", "inspect", tmp_path / "absent").exit_code == 15
    assert invoke("update", "inspect", tmp_path).exit_code == 15
