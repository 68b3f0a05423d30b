"""The resident detector as a process: requests, swaps under load, bad and slow clients, signals, and what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from detector_running import SIDE, Running, noise, write_model
from PIL import Image
from swap_load import run_load

from orbitloop.apps.detector import Detector
from orbitloop.apps.detector_client import DetectorClient
from orbitloop.apps.detector_files import load_folder
from orbitloop.errors import BudgetError, BusyError, LinkError, ModelError, OrbitloopError, StateError, WireError
from orbitloop.onboard.budget import Budget
from orbitloop.onboard.service import Handed
from orbitloop.onboard.service_wire import (
    LENGTH,
    AskStatus,
    DetectScene,
    DetectTiles,
    Failed,
    Found,
    Stop,
    answer_from_bytes,
    frame,
    request_to_bytes,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_model(root / "one", 0)
    write_model(root / "two", 1)
    write_model(root / "other", 2, ("a", "b"), 32)
    (root / "empty").mkdir()
    (root / "link").symlink_to("/etc")
    damaged = write_model(root / "damaged", 3) / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    data = bytearray((write_model(root / "nan", 4) / "weights.safetensors").read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    (root / "nan" / "weights.safetensors").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def shared(models: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("run")
    scenes = folder / "scenes"
    scenes.mkdir()
    Image.fromarray(noise(1, 5, 150)[0]).save(scenes / "scene.png")
    (scenes / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    with Running(folder / "s", models / "one", "--models", models, "--scenes", scenes, "--timeout", "0.5") as running:
        yield running


def digest_of(folder: Path) -> str:
    return load_folder(folder, 1)[1]


def test_tiles_are_answered_as_the_engine_answers(shared, models):
    engine, digest = load_folder(models / "one", 1)
    tiles = noise(3)
    with shared.client() as client:
        found = client.detect(tiles, embeddings=True)
        assert found.digest == digest
        assert found.about == {}
        for i, said in enumerate(found.detections):
            own = engine.infer(tiles[i : i + 1])[0]
            assert len(said) > 0
            assert said.boxes_xyxy_px.tobytes() == own.detections.boxes_xyxy_px.tobytes()
            assert said.scores.tobytes() == own.detections.scores.tobytes()
            assert said.classes.tolist() == own.detections.classes.tolist()
            assert found.embeddings[i].tobytes() == own.embedding.tobytes()
        status = client.status()
    assert (status["model"]["digest"], status["tile_px"]) == (digest, SIDE)
    assert status["rss_bytes"] > 0


def test_the_socket_is_for_its_owner_only(shared):
    about = shared.socket.lstat()
    assert stat.S_ISSOCK(about.st_mode)
    assert stat.S_IMODE(about.st_mode) == 0o600


def test_scenes_are_named_below_their_root(shared):
    pytest.importorskip("orbitloop.onboard.adapters.scene_files")
    with shared.client() as client:
        found = client.scene("scene.png")
        assert found.about["tiles"]["seen"] == found.about["tiles"]["tiles"] > 1
        assert len(found.detections[0]) > 0
        with pytest.raises(OrbitloopError, match=r"(?s).+"):
            client.scene("broken.png")
        for name in ("../models", "/etc/passwd", "none.png", ".", ""):
            with pytest.raises(StateError, match=r"nothing of this name|leads out"):
                client.scene(name)
        assert client.status()["waiting"] == 0


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("none", StateError, "nothing of this name"),
        ("..", StateError, "leads out"),
        ("link", StateError, "leads out"),
        ("empty", ModelError, "cannot be read"),
        ("damaged", ModelError, "malformed"),
        ("nan", ModelError, "self-check"),
        ("other", ModelError, "classes are a, b"),
    ],
)
def test_what_may_not_fly_is_not_swapped_in(shared, models, name, kind, why):
    with shared.client() as client:
        before = client.status()["model"]
        with pytest.raises(kind, match=why):
            client.swap(name)
        assert client.status()["model"] == before
        assert len(client.detect(noise(1)).detections) == 1


def test_a_swap_can_name_the_digest_and_ask_for_another_kind_of_model(models, tmp_path):
    with Running(tmp_path / "s", models / "one", "--models", models) as running, running.client() as client:
        with pytest.raises(ModelError, match="not sha256:0"):
            client.swap("two", digest="sha256:0")
        assert client.swap("two", digest=digest_of(models / "two"))["old"] == digest_of(models / "one")
        client.swap("other", another=True)
        with pytest.raises(ModelError, match="32 px"):
            client.detect(noise(1))
        with running.client() as later:
            assert len(later.detect(noise(1, side=32)).detections) == 1
        assert client.status()["model"]["classes"] == ["a", "b"]


def test_swaps_under_load_lose_nothing(models, tmp_path):
    """The small version: 2 clients, 600 requests. The figure with 10,000 is below."""
    with Running(tmp_path / "s", models / "one", "--models", models) as running:
        load = run_load(running.socket, [models / "one", models / "two"], noise(6), tmp_path, clients=2, each=300, gap_s=0.02)
    assert (load.answered, load.wrong, load.stale) == (600, 0, 0)
    assert load.swaps > 1
    assert load.status["swaps"] == load.swaps


@pytest.mark.slow
def test_ten_thousand_requests_under_swaps_lose_nothing(models, tmp_path):
    with Running(tmp_path / "s", models / "one", "--models", models) as running:
        load = run_load(running.socket, [models / "one", models / "two"], noise(20), tmp_path, clients=4, each=2500, gap_s=0.05)
    assert (load.answered, load.wrong, load.stale) == (10_000, 0, 0)
    assert load.swaps > 20


def test_a_budget_is_kept_and_told(models, tmp_path):
    options = ("--tiles", "5", "--joules-per-tile", "2")
    with Running(tmp_path / "s", models / "one", *options) as running, running.client() as client:
        client.detect(noise(4))
        with pytest.raises(BudgetError, match="2 more tiles"):
            client.detect(noise(2))
        client.detect(noise(1))
        report = client.status()["budget"]
        assert (report["tiles"], report["refused_tiles"]) == ({"spent": 5, "left": 0}, 2)
        assert report["joules"]["spent"] == 10.0
        assert client.budget(Budget(joules=4.0))["joules"]["left"] == 4.0
        client.detect(noise(2))
        with pytest.raises(BudgetError):
            client.detect(noise(1))


def raw(running: Running) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(30)
    line.connect(str(running.socket))
    return line


def read(line: socket.socket):
    """Return the next answer; None at the end."""
    head = exactly(line, LENGTH.size)
    return answer_from_bytes(exactly(line, LENGTH.unpack(head)[0])) if head else None


def exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := line.recv(count - len(data))):
        data += chunk
    return data


BAD = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize("data", BAD, ids=["long", "short", "http"])
def test_who_speaks_another_language_is_cut(shared, data):
    with raw(shared) as line:
        line.sendall(data)
        assert line.recv(10) == b""
    with shared.client() as client:
        client.status()


def test_a_malformed_request_is_told_and_the_connection_goes_on(shared):
    with raw(shared) as line:
        line.sendall(frame(b"x" * 40))
        answer = read(line)
        assert isinstance(answer, Failed)
        assert type(answer.error) is WireError
        line.sendall(frame(request_to_bytes(AskStatus(7))))
        assert read(line).request_id == 7


def test_slow_and_dead_clients_are_cut_while_others_are_served(shared):
    """One stops in the middle of a frame, one never reads its answers, one hangs up: nobody else waits for them."""
    request = frame(request_to_bytes(DetectTiles(1, noise(8))))
    with raw(shared) as half, raw(shared) as deaf, shared.client() as client:
        half.sendall(request[: len(request) // 2])
        deaf.setblocking(False)
        dead = raw(shared)
        dead.sendall(request)
        dead.close()
        status = frame(request_to_bytes(AskStatus(1)))
        try:
            for _ in range(20_000):
                deaf.send(status)
        except BlockingIOError:
            pass
        assert len(client.detect(noise(1)).detections) == 1
        half.settimeout(30)
        assert half.recv(10) == b"", "cut after the timeout"
        assert client.status()["clients"] <= 2
        deaf.setblocking(True)
        deaf.settimeout(30)
        try:
            while deaf.recv(1 << 20):
                pass
        except ConnectionError:
            pass


def test_requests_on_one_connection_are_all_answered_even_when_the_queue_is_full(models, tmp_path):
    with Running(tmp_path / "s", models / "one", "--queue", "3") as running, raw(running) as line:
        line.sendall(b"".join(frame(request_to_bytes(DetectTiles(i, noise(1)))) for i in range(1, 41)))
        line.shutdown(socket.SHUT_WR)  # it will say nothing more, but it still listens
        answers = [read(line) for _ in range(40)]
        assert read(line) is None
    assert sorted(a.request_id for a in answers) == list(range(1, 41))
    assert {type(a.error) for a in answers if isinstance(a, Failed)} <= {BusyError}
    assert sum(isinstance(a, Found) for a in answers) >= 3


def test_a_request_that_is_too_large_and_a_client_too_many_are_refused(models, tmp_path):
    options = ("--request-tiles", "2", "--clients", "2")
    with Running(tmp_path / "s", models / "one", *options) as running, running.client() as first, running.client():
        with pytest.raises(WireError, match="malformed"):
            first.detect(noise(3))
        with pytest.raises(BusyError, match="too many clients"), running.client() as third:
            third.status()
        first.detect(noise(2))


def test_stop_answers_what_is_under_way_and_removes_the_socket(models, tmp_path):
    with Running(tmp_path / "s", models / "one") as running:
        with raw(running) as line, running.client() as client:
            line.sendall(b"".join(frame(request_to_bytes(DetectTiles(i, noise(8)))) for i in range(1, 9)))
            first = read(line)
            client.stop()
            answers = [first, *(read(line) for _ in range(7))]
        code, log, err = running.end()
    assert all(isinstance(answer, (Found, Failed)) for answer in answers)
    assert {type(a.error) for a in answers if isinstance(a, Failed)} <= {BusyError}
    assert (code, err, running.socket.exists()) == (0, "", False)
    assert [row["event"] for row in log if row["event"] != "cut"] == ["stopping", "ended"]


def test_a_scene_whose_client_hangs_up_is_left(models, tmp_path):
    (tmp_path / "scenes").mkdir()
    Image.fromarray(noise(1, 5, 4000)[0]).save(tmp_path / "scenes" / "large.png", compress_level=1)
    with Running(tmp_path / "s", models / "one", "--scenes", tmp_path / "scenes") as running, running.client() as other:
        with raw(running) as line:
            line.sendall(frame(request_to_bytes(DetectScene(1, "large.png"))))
            while not other.status()["scenes"]:
                pass
        while (now := other.status())["failed"] == 0:
            assert now["tiles"] < 6889
        assert now["tiles"] < 6889
        code, log, _ = running.end(signal.SIGTERM)
    assert code == 0
    assert any("has gone" in row.get("why", "") for row in log)


def test_a_second_client_that_asks_for_the_end_makes_it_no_hurry():
    detector, said = Detector.__new__(Detector), []
    detector.service = SimpleNamespace(
        receive=lambda *_: Handed(1, Stop(1)), answer=lambda *answer: said.append(answer), waiting=0
    )
    detector._server, detector._options = SimpleNamespace(wake=lambda: None), SimpleNamespace(grace=30.0)
    detector._say, detector._stop_by_s = lambda *_, **__: None, None
    detector.on_frame(1, b"")
    until_s = detector._stop_by_s
    detector.on_frame(2, b"")
    assert (detector._stop_by_s, len(said)) == (until_s, 2)
    detector.request_stop()  # a second signal is one
    assert detector._stop_by_s < until_s


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["term", "int"])
def test_signals_end_it_cleanly(models, tmp_path, number, code):
    with Running(tmp_path / "s", models / "one") as running:
        ended, _, err = running.end(number)
    assert (ended, err, running.socket.exists()) == (code, "", False)


def test_after_a_kill_the_stale_socket_is_replaced_and_a_living_one_is_not(models, tmp_path):
    with Running(tmp_path / "s", models / "one") as running:
        running.end(signal.SIGKILL)
    assert running.socket.exists()
    with Running(tmp_path / "s", models / "one") as again:
        with again.client() as client:
            client.status()
        with Running(tmp_path / "s", models / "one") as second:
            assert second.ready["event"] == "failed"
            code, _, err = second.end()
        assert code == StateError.exit_code
        assert "somebody answers" in err
        with again.client() as client:
            client.status()


def test_a_file_in_the_sockets_place_is_left_alone(models, tmp_path):
    (tmp_path / "s").write_text("mine")
    with Running(tmp_path / "s", models / "one") as running:
        code, _, err = running.end()
    assert (code, (tmp_path / "s").read_text()) == (StateError.exit_code, "mine")
    assert "no socket" in err


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--model", "/nowhere"), ModelError.exit_code, "cannot be read"),
        (("--joules", "5"), StateError.exit_code, "no energy price"),
        (("--tiles", "-5"), 2, "--tiles: needs a whole number of 0 or more"),
        (("--cpus", "4095"), StateError.exit_code, "cannot be set"),
        (("--engine", "nope"), ModelError.exit_code, "no engine"),
        (("--batch", "0"), 2, "--batch: needs a whole number of 1 or more"),
    ],
)
def test_what_cannot_start_says_why(models, tmp_path, options, code, why):
    with Running(tmp_path / "s", models / "one", *options) as running:
        ended, _, err = running.end()
    assert ended == code
    assert why in err
    assert "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_it_tells_systemd_when_it_is_ready(models, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        with Running(tmp_path / "s", models / "one", "--nice", "1", "--threads", "2") as running:
            assert running.ready["event"] == "ready"
            assert manager.recv(100) == b"READY=1"


def test_a_log_that_cannot_be_written_stops_nothing(models, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    words = [sys.executable, "-m", "orbitloop.apps.detector", "--model", models / "one", "--socket", tmp_path / "s"]
    with open("/dev/full", "w") as full, subprocess.Popen([str(w) for w in words], stdout=full) as process:  # noqa: PTH123
        client = connected(tmp_path / "s", process)
        client.detect(noise(1))
        client.stop()
        client.close()
        assert process.wait(60) == 0


def connected(path: Path, process: subprocess.Popen) -> DetectorClient:
    """Connect as soon as it listens."""
    while True:
        try:
            return DetectorClient(path)
        except LinkError:
            assert process.poll() is None
            os.sched_yield()


def test_without_a_detector_the_client_says_so(tmp_path):
    with pytest.raises(LinkError, match="no detector answers here"):
        DetectorClient(tmp_path / "none")


def test_answers_of_a_batch_are_those_of_single_tiles(models, tmp_path):
    """Tiles that wait together are inferred together; that changes no answer by more than rounding."""
    engine, _ = load_folder(models / "one", 1)
    tiles = noise(24, 9)
    with Running(tmp_path / "s", models / "one", "--batch", "8", "--per-client", "64") as running, raw(running) as line:
        line.sendall(b"".join(frame(request_to_bytes(DetectTiles(i + 1, tiles[i : i + 1]))) for i in range(24)))
        answers = {answer.request_id: answer for answer in (read(line) for _ in range(24))}
    for i in range(24):
        own, said = engine.infer(tiles[i : i + 1])[0].detections, answers[i + 1].detections[0]
        np.testing.assert_allclose(said.scores, own.scores, atol=1e-5)


def test_a_log_that_nobody_reads_stops_nothing(models, tmp_path):
    """The pipe fills up; the service goes on, and the first line that fits again says how many were lost."""
    with Running(tmp_path / "s", models / "one", "--models", models) as running, running.client() as client:
        for turn in range(400):
            with pytest.raises(StateError):
                client.swap(f"none-{turn}-" + "x" * 1000)
        client.detect(noise(1))
        client.stop()
        code, log, _ = running.end()
    assert code == 0
    assert 10 < len(log) < 400
