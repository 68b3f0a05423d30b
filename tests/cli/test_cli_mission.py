"""One tiny mission through the command line, end to end; then every command that reads what it left."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.apps.models import open_model, store_model
from orbitloop.cli.main import app
from orbitloop.errors import TrainingError
from orbitloop.ground.export_int8 import write_int8_graph
from orbitloop.records.pixels import decode_image, encode_image

TINY = """
kind: Mission
name: tiny
spec: {durationDays: 0.5, threads: 1, captures: {scenesPerHour: 4}}
---
kind: Satellite
name: tiny-1
spec: {orbit: {altitudeKm: 500, sunSynchronous: true}, sensor: {gsdM: 5}}
---
- {kind: GroundStation, name: svalbard, spec: {latitudeDeg: 78.23, longitudeDeg: 15.41}}
- {kind: GroundStation, name: troll, spec: {latitudeDeg: -72.0, longitudeDeg: 2.53}}
---
kind: Dataset
spec:
  format: procedural
  domains: {base: summer, stream: [autumn]}
  procedural:
    scenePx: 128
    scenesPerDomain: 10
    domains:
      summer: {season: summer, field_size_px: 26, field_share: 0.7}
      autumn: {season: autumn, field_size_px: 26, field_share: 0.7}
---
kind: Model
spec:
  {width: 0.05, tilePx: 64, overlapPx: 16, trainable: [head, bn], candidateScore: 0.001, reportScore: 0.002,
   baseTraining: {steps: 4, batch: 4}}
---
kind: IncrementalLearningJob
spec:
  mining: {name: always}
  training: {steps: 2, batch: 4, views: 1, rounds: 1, trigger: {minSamples: 4}}
  gate: {minGain: 0, maxLoss: 1, gateShare: 0.5}
  budgets: {downlinkBytesPerPass: 5e4}
"""


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


def one_object(result: Any) -> dict[str, Any]:
    """Parse stdout, which must be one JSON object and nothing else."""
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The mission, run once: its file, its folder, what the command printed; with a cache of its own."""
    root = tmp_path_factory.mktemp("cli")
    mission, out = root / "tiny.yaml", root / "run"
    mission.write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORBITLOOP_CACHE", str(root / "cache"))
        result = invoke("run", mission, "--out", out, "--json")
        yield SimpleNamespace(root=root, mission=mission, out=out, model=out / "model", result=result)


@pytest.fixture(scope="module")
def scene(world: SimpleNamespace) -> Path:
    file: Path = world.root / "scene.png"
    pixels = np.random.default_rng(0).integers(0, 255, (100, 150, 3), dtype=np.uint8)
    file.write_bytes(encode_image(pixels, format="png"))
    return file


# -- run -----------------------------------------------------------------------------------------------------------------


def test_run_prints_one_object_and_tells_of_its_progress_on_stderr(world: SimpleNamespace) -> None:
    assert world.result.exit_code == 0, world.result.stderr
    value = one_object(world.result)
    assert {"schema", "mission", "seed", "digest", "model", "bytes", "accuracy", "rounds", "files"} <= set(value)
    assert value["mission"] == "tiny"
    assert value["complete"] is True
    assert len(value["rounds"]) == 1
    assert all(Path(file).is_file() for file in value["files"].values())
    assert value["digest"] == json.loads((world.out / "report.json").read_text())["digest"]
    assert "train the base model" in world.result.stderr
    assert "version 0 flies" in world.result.stderr


def test_run_leaves_the_model_that_flies(world: SimpleNamespace) -> None:
    report = json.loads((world.out / "report.json").read_text())
    applied = report["rounds"][0]["applied"]
    digest = one_object(invoke("evaluate", world.model, world.mission, "--json"))["digest"]
    if applied:
        assert digest == applied[0]["report"]["active_digest"]


def test_resume_of_a_finished_run_gives_the_same_digest(world: SimpleNamespace) -> None:
    result = invoke("run", world.mission, "--out", world.out, "--resume", "--json")
    assert result.exit_code == 0, result.stderr
    assert one_object(result)["digest"] == one_object(world.result)["digest"]


def test_resume_of_another_mission_is_refused(world: SimpleNamespace) -> None:
    result = invoke("run", world.mission, "--out", world.out, "--resume", "--set", "Mission.durationDays=0.4")
    assert result.exit_code == 23
    assert "another mission" in result.stderr
    assert result.stdout == ""


def test_results_that_cannot_be_written_are_told_before_any_training(world: SimpleNamespace) -> None:
    for command in ("run", "train"):
        result = invoke(command, world.mission, "--out", world.mission / "below")
        assert (result.exit_code, result.stdout) == (23, "")
        assert "name another --out" in result.stderr
        assert "train the base model" not in result.stderr
    assert invoke("train", world.mission, "--out", world.out).exit_code == 23


def test_a_model_is_open_to_whom_the_umask_lets_in(world: SimpleNamespace) -> None:
    assert (world.model / "weights.safetensors").stat().st_mode == (world.model / "graph.onnx").stat().st_mode
    assert world.model.stat().st_mode == world.out.stat().st_mode


def test_run_tells_the_story_and_what_to_try_next(world: SimpleNamespace) -> None:
    result = invoke(
        "run", world.mission, "--out", world.root / "no-rounds", "--set", "IncrementalLearningJob.training.rounds=0"
    )
    assert result.exit_code == 0, result.stderr
    assert "tiny: AP50 by round" in result.stdout
    assert "Try next:" in result.stdout
    assert f"report: {world.root / 'no-rounds' / 'report.html'}" in result.stdout.replace("\n", "")


def test_ctrl_c_leaves_a_partial_report_and_says_how_to_go_on(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitloop.sim.runner import MissionRun

    save = MissionRun.save

    def interrupted(self: MissionRun) -> None:
        save(self)
        raise KeyboardInterrupt

    out = world.root / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(MissionRun, "save", interrupted)
        patch.delenv("ORBITLOOP_DATA", raising=False)  # it would stand in the command that is proposed
        result = invoke("run", world.mission, "--out", out, "--json")
    assert result.exit_code == 130
    assert one_object(result)["complete"] is False
    assert f"orbitloop run {world.mission} --out {out} --resume" in result.stderr
    assert "partial" in invoke("report", out).stdout
    whole_run = one_object(invoke("run", world.mission, "--out", out, "--resume", "--json"))
    assert whole_run["digest"] == one_object(world.result)["digest"]


def test_a_signal_in_the_middle_of_a_training_ends_with_130_and_no_traceback(world: SimpleNamespace, tmp_path: Path) -> None:
    words = ["run", world.mission, "--out", tmp_path / "out", "--set", "Model.baseTraining.steps=1000000"]
    command = [sys.executable, "-m", "orbitloop", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first.startswith("train the base model")
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "before there was anything to report" in err


def test_ctrl_c_before_anything_is_there_says_so(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orbitloop.sim.mission.open_world", stop)
    result = invoke("run", world.mission, "--out", world.root / "never")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "before there was anything to report" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--set", "Model.widht=1"], 10, "did you mean `width`?"),
        (["--set", "IncrementalLearningJob.selection.name=randm"], 10, "did you mean 'random'?"),
        (["--set", "Dataset={}"], 10, "not of the form"),
    ],
)
def test_run_refuses_with_the_right_code(world: SimpleNamespace, words: list[str], code: int, says: str) -> None:
    result = invoke("run", world.mission, "--out", world.root / "refused", "--quiet", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_a_training_that_diverges_is_an_error_and_no_traceback(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any, **__: Any) -> None:
        raise TrainingError("loss is not finite", remedy="lower the learning rate")

    monkeypatch.setattr("orbitloop.sim.mission.trained_model", diverge)
    result = invoke("train", world.mission, "--out", world.root / "m")
    assert result.exit_code == 22
    assert result.stderr.endswith("error: loss is not finite\n  -> lower the learning rate\n")


def test_a_folder_that_cannot_be_written_is_words(world: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = invoke("run", world.mission, "--out", tmp_path / "file", "--quiet")
    assert (result.exit_code, result.stdout) == (23, "")
    assert "is not a folder" in result.stderr


def test_a_data_set_that_is_not_there_is_named(world: SimpleNamespace, tmp_path: Path) -> None:
    mission = Path(__file__).parents[2] / "missions" / "ships.yaml"
    result = invoke("run", mission, "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 21
    assert "ORBITLOOP_DATA" in result.stderr


# -- report --------------------------------------------------------------------------------------------------------------


def test_report_writes_the_page_again(world: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.out, copy)
    page = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    result = invoke("report", copy)
    assert result.exit_code == 0, result.stderr
    assert "tiny: AP50 by round" in result.stdout
    assert (copy / "report.html").read_bytes() == page
    assert one_object(invoke("report", copy, "--json"))["digest"] == one_object(world.result)["digest"]


def test_report_refuses_what_is_none_or_was_changed(world: SimpleNamespace, tmp_path: Path) -> None:
    assert invoke("report", tmp_path).exit_code == 21
    value = json.loads((world.out / "report.json").read_text())
    value["bytes"]["captured"] += 1
    (tmp_path / "report.json").write_text(json.dumps(value))
    result = invoke("report", tmp_path, "--json")
    assert (result.exit_code, result.stdout) == (23, "")


# -- train, evaluate -----------------------------------------------------------------------------------------------------


def test_train_and_quantise_write_the_model_that_the_run_started_with(world: SimpleNamespace) -> None:
    out = world.root / "base"
    result = invoke("train", world.mission, "--out", out, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    value = one_object(result)
    assert result.stderr == ""
    assert {file.name for file in out.iterdir()} == {"graph.onnx", "weights.safetensors"}
    run = json.loads((world.out / "report.json").read_text())
    made = one_object(invoke("quantise", out, world.mission, "--out", world.root / "flies", "--json", "--quiet"))
    sizes = {"float32": value["bytes"], "int8": run["model"]["bytes"]}
    assert (value["parameters"], made["bytes"]) == (run["model"]["parameters"], sizes)
    found = one_object(invoke("evaluate", out, world.mission, "--json"))
    assert found["digest"] == value["digest"]
    flies = one_object(invoke("evaluate", world.root / "flies", world.mission, "--json"))
    assert flies["new"]["ap50"] == pytest.approx(run["accuracy"]["new_before"])
    assert flies["old"]["ap50"] == pytest.approx(run["accuracy"]["old_before"])
    assert list(found["phases"]) == ["autumn"]
    assert "digest: sha256:" in invoke("train", world.mission, "--out", out, "--quiet").stdout


def test_train_replaces_no_folder_that_holds_other_things(world: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    result = invoke("train", world.mission, "--out", tmp_path, "--quiet")
    assert result.exit_code == 23
    assert (tmp_path / "precious.txt").exists()


def test_evaluate_agrees_with_the_report(world: SimpleNamespace) -> None:
    accuracy = json.loads((world.out / "report.json").read_text())["accuracy"]
    value = one_object(invoke("evaluate", world.model, world.mission, "--json"))
    assert value["new"]["ap50"] == pytest.approx(accuracy["new_after"])
    assert value["old"]["ap50"] == pytest.approx(accuracy["old_after"])
    text = invoke("evaluate", world.model, world.mission).stdout
    assert "new domains" in text
    assert "autumn" in text


def test_evaluate_refuses_a_model_of_other_classes(world: SimpleNamespace, tmp_path: Path) -> None:
    model = open_model(world.model)
    other = replace(model.engine.metadata, classes=("barn",))
    store_model(tmp_path / "other", write_int8_graph(other, model.weights), model.weights)
    result = invoke("evaluate", tmp_path / "other", world.mission)
    assert (result.exit_code, result.stdout) == (13, "")
    assert "the model knows barn" in result.stderr


# -- detect --------------------------------------------------------------------------------------------------------------


def test_detect_gives_boxes_within_the_scene(world: SimpleNamespace, scene: Path) -> None:
    value = one_object(invoke("detect", scene, "--model", world.model, "--json"))
    (row,) = value["scenes"]
    assert (row["width_px"], row["height_px"]) == (150, 100)
    assert row["detections"]
    for one in row["detections"]:
        x0, y0, x1, y1 = one["box_xyxy_px"]
        assert 0 <= x0 < x1 <= 150
        assert 0 <= y0 < y1 <= 100
        assert one["class"] == "field"
    assert "field" in invoke("detect", scene, "--model", world.model).stdout


def test_detect_goes_on_after_a_bad_scene_and_exits_with_its_code(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(scene.read_bytes()[:200])
    result = invoke("detect", bad, tmp_path / "absent.png", scene, "--model", world.model, "--json")
    assert result.exit_code == 12
    value = one_object(result)
    assert [row["scene"] for row in value["scenes"]] == [str(scene)]
    assert [error["where"].split(",")[0] for error in value["errors"]] == [str(bad), str(tmp_path / "absent.png")]
    assert result.stderr.count("error: ") == 2


def test_detect_writes_geojson_to_stdout_and_by_scene(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    result = invoke("detect", scene, scene, "--model", world.model, "--geojson", "--geo", "10,48,5", "--out", out)
    value = one_object(result)
    assert value["type"] == "FeatureCollection"
    assert "orbitloop:coordinates" not in value
    for feature in value["features"]:
        for lon, lat in feature["geometry"]["coordinates"][0]:
            assert 10 <= lon <= 10.011
            assert 47.995 <= lat <= 48
    assert sorted(file.name for file in out.iterdir()) == ["scene-2.geojson", "scene.geojson"]
    alone = json.loads((out / "scene.geojson").read_text())
    assert 2 * len(alone["features"]) == len(value["features"])
    pixels = one_object(invoke("detect", scene, "--model", world.model, "--geojson"))
    assert pixels["orbitloop:coordinates"] == "pixel"


def test_detect_by_another_score(world: SimpleNamespace, scene: Path) -> None:
    value = one_object(invoke("detect", scene, "--model", world.model, "--score", "1", "--json"))
    assert value["scenes"][0]["detections"] == []


@pytest.mark.parametrize("geo", ["10", "10,48,5,6", "x,48", "10,95", "200,0", "10,48,0", "10,48,nan", "10,48,inf"])
def test_a_wrong_place_is_a_wrong_command_line(world: SimpleNamespace, scene: Path, geo: str) -> None:
    assert invoke("detect", scene, "--model", world.model, "--geo", geo).exit_code == 2


def test_geojson_and_json_exclude_each_other(world: SimpleNamespace, scene: Path) -> None:
    assert invoke("detect", scene, "--model", world.model, "--geojson", "--json").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--stac"],
        ["--picture"],
        ["--class", "barn"],
        ["--bands", "3,2"],
        ["--bands", "0,1,2"],
        ["--bands", "r,g,b"],
        ["--stretch", "5"],
        ["--stretch", "9,3"],
        ["--stretch", "0,inf"],
        ["--joules", "3", "--watts", "2", "--joules-per-tile", "1"],
        ["--tiles", "-1"],
    ],
    ids=" ".join,
)
def test_detect_refuses_a_wrong_command_line(world: SimpleNamespace, scene: Path, words: list[str]) -> None:
    assert invoke("detect", scene, "--model", world.model, *words).exit_code == 2


def test_detect_by_an_unknown_screen_or_a_budget_without_a_price(world: SimpleNamespace, scene: Path) -> None:
    assert invoke("detect", scene, "--model", world.model, "--screen", "chaep").exit_code == 20
    result = invoke("detect", scene, "--model", world.model, "--joules", "3")
    assert result.exit_code == 23
    assert "--joules-per-tile or --watts" in result.stderr


def test_detect_tells_joules_where_their_price_is_known(world: SimpleNamespace, scene: Path) -> None:
    value = one_object(invoke("detect", scene, "--model", world.model, "--joules-per-tile", "2", "--json"))
    assert value["budget"]["joules"] == {"spent": 2.0 * value["scenes"][0]["tiles"]["seen"], "left": None}
    assert value["budget"]["period"] == 1


def test_a_scenes_name_does_not_command_the_terminal(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    odd = tmp_path / "\x1b[31mred.png"
    odd.write_bytes(scene.read_bytes())
    for words in ((), ("--out", tmp_path / "found")):
        result = invoke("detect", odd, "--model", world.model, *words)
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "?[31mred.png: " in result.stdout


def test_detect_keeps_within_a_budget_and_says_so(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    words = ("detect", scene, scene, "--model", world.model, "--tiles", "7", "--screen", "cheap", "--stac", "--out", tmp_path)
    value = one_object(invoke(*words, "--json"))
    assert sum(row["tiles"]["seen"] for row in value["scenes"]) == 7
    assert value["scenes"][1]["cut_short"]
    assert value["budget"]["tiles"] == {"spent": 7, "left": 0}
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix != ".png") == [
        "scene-2.geojson",
        "scene-2.stac.json",
        "scene.geojson",
        "scene.stac.json",
    ]
    assert all("detections" not in row and Path(row["out"]).is_file() for row in value["scenes"])
    assert "the budget is spent" in invoke(*words).stdout


def test_detect_takes_the_scenes_of_a_folder_and_draws_them(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", ".hidden.png", "notes.txt", "below/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(scene.read_bytes())
    words = ("detect", tmp_path, "--model", world.model, "--out", tmp_path, "--picture")
    for _ in range(2):  # what the first run drew is no scene to the second
        value = one_object(invoke(*words, "--json"))
        assert [Path(row["scene"]).name for row in value["scenes"]] == ["a.PNG", "b.png"]
        assert [Path(row["picture"]).name for row in value["scenes"]] == ["a.boxes.png", "b.boxes.png"]
    assert decode_image((tmp_path / "a.boxes.png").read_bytes()).shape[1] == 150
    assert "a.geojson" in (told := invoke(*words).stdout)
    assert "a.boxes.png" in told


def test_detect_says_of_an_empty_folder_that_it_is_empty_and_goes_on(
    world: SimpleNamespace, scene: Path, tmp_path: Path
) -> None:
    result = invoke("detect", tmp_path, scene, "--model", world.model, "--json")
    assert result.exit_code == 12
    assert f"error: {tmp_path}: the folder holds no scene" in result.stderr
    value = one_object(result)
    assert len(value["scenes"]) == len(value["errors"]) == 1


def test_detect_keeps_the_classes_that_are_asked_for(world: SimpleNamespace, scene: Path) -> None:
    value = one_object(invoke("detect", scene, "--model", world.model, "--class", "field", "--class", "field", "--json"))
    assert value["classes"] == ["field"]
    assert value["scenes"][0]["detections"]
    unknown = invoke("detect", scene, "--model", world.model, "--class", "field", "--class", "barn")
    assert "no class 'barn'; it has field" in " ".join(unknown.stderr.replace("│", " ").split())


def test_detect_tells_where_centres_lie_if_the_scene_has_a_place(world: SimpleNamespace, scene: Path) -> None:
    found = one_object(invoke("detect", scene, "--model", world.model, "--geo", "10,48,5", "--json"))["scenes"][0]["detections"]
    for one in found:
        x0, y0, x1, y1 = one["box_xyxy_px"]
        lon, lat = one["lonlat_deg"]
        assert lon == pytest.approx(10 + 5 * (x0 + x1) / 2 / 74_630, abs=1e-5)
        assert lat == pytest.approx(48 - 5 * (y0 + y1) / 2 / 111_200, abs=1e-5)
    assert found
    nowhere = one_object(invoke("detect", scene, "--model", world.model, "--json"))["scenes"][0]["detections"]
    assert all("lonlat_deg" not in one for one in nowhere)


def test_detect_stopped_in_the_middle_leaves_whole_collections(
    world: SimpleNamespace, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbitloop.apps import scenes

    whole, calls = scenes.detect_source, []

    def stopping(*words: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(*words, **more)

    monkeypatch.setattr(scenes, "detect_source", stopping)
    result = invoke("detect", scene, scene, "--model", world.model, "--geojson", "--out", tmp_path / "found")
    assert result.exit_code == 130
    value = one_object(result)
    assert value["features"]
    assert [file.name for file in (tmp_path / "found").iterdir()] == ["scene.geojson"]


def test_one_collection_has_one_kind_of_coordinates(world: SimpleNamespace, scene: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    placed = tmp_path / "placed.tif"
    affine = rasterio.Affine(1e-4, 0, 10, 0, -1e-4, 48)
    with rasterio.open(
        placed, "w", "GTiff", 90, 80, 3, dtype="uint8", crs="EPSG:4326", transform=affine, photometric="rgb"
    ) as file:
        file.write(np.full((3, 80, 90), 90, np.uint8))
    result = invoke("detect", placed, scene, "--model", world.model, "--geojson")
    assert result.exit_code == 12
    assert "coordinates are pixels" in result.stderr
    assert "orbitloop:coordinates" not in one_object(result)


@pytest.mark.parametrize("damage", ["absent", "graph", "weights", "other"])
def test_a_damaged_model_is_refused(world: SimpleNamespace, scene: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    if damage != "absent":
        shutil.copytree(world.model, folder)
    if damage == "graph":
        (folder / "graph.onnx").write_bytes(b"no graph")
    if damage == "weights":
        (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-100])
    if damage == "other":
        (folder / "weights.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    result = invoke("detect", scene, "--model", folder, "--json")
    assert (result.exit_code, result.stdout) == (13, "")
    assert "error: " in result.stderr
