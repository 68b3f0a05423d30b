"""The conformance suite's client over loopback: what it keeps, and what a refusal leaves."""

from __future__ import annotations

import hashlib
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf_client import main
from tuf_world import World


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path):
    (tmp_path / "site").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_init_refresh_and_download(served):
    folder, url = served
    site, kept, targets = folder / "site", folder / "kept", folder / "targets"
    world = World(now_s=float(int(time.time())) - 600)
    world.release("farm/fields/1-a", b"manifest 1")
    for name, data in world.repository.files().items():
        (site / name).write_bytes(data)
    (folder / "root.json").write_bytes(world.anchor)
    meta = ["--metadata-dir", str(kept), "--metadata-url", url]
    assert main([*meta, "init", str(folder / "root.json")]) == 0
    assert main([*meta, "refresh"]) == 0
    assert {f.name for f in kept.iterdir()} == {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
    digest = hashlib.sha256(b"manifest 1").hexdigest()
    place = site / "farm" / "fields" / f"{digest}.1-a"
    place.parent.mkdir(parents=True)
    wanted = ["--target-name", "farm/fields/1-a", "--target-base-url", url, "--target-dir", str(targets)]
    place.write_bytes(b"manifest 2")
    assert main([*meta, *wanted, "download"]) == 1
    assert not targets.exists()
    place.write_bytes(b"manifest 1")
    assert main([*meta, *wanted, "download"]) == 0
    place.unlink()
    assert main([*meta, *wanted, "download"]) == 0, "it is kept"
    held = {f.name: f.read_bytes() for f in kept.iterdir()}
    (site / "timestamp.json").write_bytes(held["timestamp.json"][:-1])
    assert main([*meta, "refresh"]) == 1
    assert {f.name: f.read_bytes() for f in kept.iterdir()} == held
