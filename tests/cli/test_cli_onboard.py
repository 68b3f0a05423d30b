"""`orbitloop onboard`: the detector asked over its socket, and the errors that it names become exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orbitloop.apps import detector, detector_options
from orbitloop.apps.detector_client import DetectorClient
from orbitloop.cli.main import app
from orbitloop.errors import ImageError
from orbitloop.onboard.resident import ResidentEngine
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction

METADATA = ModelMetadata("fake", ("ship", "boat"), 1.0, (8,), (((1.0, 1.0),),), Preprocessing(4, 0))


class Fake:
    metadata = METADATA

    def infer(self, tiles: Any) -> list[Prediction]:
        one = Detections(np.ones((1, 4), np.float32), np.array([0.5], np.float32), np.array([1], np.int32))
        return [Prediction(one, np.ones(2, np.float32)) for _ in tiles]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A detector in a thread of this process, whose model is always the same fake one."""
    (tmp_path / "models" / "next").mkdir(parents=True)
    monkeypatch.setattr(detector, "load_folder", lambda folder, *_: (Fake(), f"sha256:{folder.name}"))
    words = ["--model", "first", "--socket", str(tmp_path / "s"), "--models", str(tmp_path / "models"), "--watts", "5"]
    made = detector.Detector(detector_options.read_options(words), lambda *_, **__: None)
    assert isinstance(made.engine, ResidentEngine)
    made.service._scene = lambda engine, name, *_: (
        engine.infer(np.zeros((1, 4, 4, 3), np.uint8))[0].detections,
        {"tiles": {"tiles": 3, "seen": 1, "dropped": {"blank": 2}, "refused": 0}, "cut_short": False},
    )
    thread = threading.Thread(target=made.run)
    thread.start()
    yield tmp_path / "s"
    made.request_stop()
    thread.join(60)
    assert not (tmp_path / "s").exists()


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, ["onboard", *(str(word) for word in words)])


def asked(socket: Path, *words: Any) -> Any:
    result = invoke(*words, "--socket", socket, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_each_command_speaks_to_the_detector(running: Path) -> None:
    assert asked(running, "status")["model"]["digest"] == "sha256:first"
    assert asked(running, "swap", "next")["old"] == "sha256:first"
    assert asked(running, "budget", "--tiles", 3, "--joules", 10)["tiles"] == {"spent": 0, "left": 3}
    (scene,) = asked(running, "detect", "a.tif")["scenes"]
    assert (scene["file"], scene["digest"], scene["tiles"]["dropped"]) == ("a.tif", "sha256:next", {"blank": 2})
    assert scene["detections"] == [{"class": "boat", "score": 0.5, "box_xyxy_px": [1.0, 1.0, 1.0, 1.0]}]
    assert asked(running, "stop")["waiting"] == 0


def test_people_read_tables(running: Path) -> None:
    assert "ship, boat; tiles of 4 px" in invoke("status", "--socket", running).output
    assert "is  sha256:next" in invoke("swap", "next", "--socket", running).output
    assert "no limit" in invoke("budget", "--seconds", 2, "--socket", running).output
    assert "a.tif" in invoke("detect", "a.tif", "--socket", running).output
    assert "stopping" in invoke("stop", "--socket", running).output


@pytest.mark.parametrize(
    ("words", "code"), [(("swap", "none"), 23), (("swap", "next", "--another"), 0), (("budget", "--period", "-1"), 10)]
)
def test_what_the_detector_refuses_has_its_code(running: Path, words: tuple[str, ...], code: int) -> None:
    assert invoke(*words, "--socket", running).exit_code == code


def test_a_scene_that_is_refused_does_not_end_the_others(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(client: DetectorClient, name: str) -> Any:
        if name == "torn.tif":
            raise ImageError("it is torn", where=name)
        return whole(client, name)

    whole = DetectorClient.scene
    monkeypatch.setattr(DetectorClient, "scene", scene)
    result = invoke("detect", "a.tif", "torn.tif", "b.tif", "--socket", running, "--json")
    assert result.exit_code == 12
    told = json.loads(result.stdout)
    assert [one["file"] for one in told["scenes"]] == ["a.tif", "b.tif"]
    assert told["errors"] == [{"what": "it is torn", "where": "torn.tif", "exit_code": 12}]
    assert "torn.tif: it is torn" in result.stderr
    assert invoke("detect", "torn.tif", "--socket", running).stdout == ""


def test_the_file_of_a_scene_is_shown(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(client: DetectorClient, name: str) -> Any:
        found = whole(client, name)
        found.about.update(found=12345, out=f"/found/{name}.geojson")
        return found

    whole = DetectorClient.scene
    monkeypatch.setattr(DetectorClient, "scene", scene)
    (one,) = asked(running, "detect", "a.tif")["scenes"]
    assert (one["found"], one["out"], len(one["detections"])) == (12345, "/found/a.tif.geojson", 1)
    shown = invoke("detect", "a.tif", "--socket", running).output
    assert "12345" in shown.replace(",", "")
    assert "written: /found/a.tif.geojson" in shown


def test_the_help_of_serve_lists_every_option_of_the_detector() -> None:
    shown = invoke("serve", "--help").output
    for action in detector_options.parser()._actions:
        assert shown.count(f"  {action.option_strings[-1]} ") == 1 or action.dest == "help", action.option_strings


@pytest.mark.parametrize("words", [("status",), ("stop",), ("swap", "x"), ("budget",), ("detect", "x")])
def test_where_nobody_answers_it_is_said(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = invoke(*words, "--socket", tmp_path / "s")
    assert result.exit_code == 18
    assert "no detector answers here" in result.stderr


def test_serve_becomes_the_detector_with_all_its_options(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "orbitloop", "onboard", "serve", "--model", tmp_path, "--socket", tmp_path / "s"]
    done = subprocess.run(
        [str(w) for w in [*words, "--json", "--nice", "2"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 13
    assert json.loads(done.stdout)["error"] == "ModelError"
    done = subprocess.run([str(w) for w in [*words, "--nope"]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--nope" in done.stderr
