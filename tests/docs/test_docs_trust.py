"""Every command of docs/trust.md, run in the order of the page; then a satellite believes what came of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import ROOT, blocks
from test_docs_commands import commands
from typer.testing import CliRunner

from orbitloop.cli.main import app
from orbitloop.delta.bundle import manifest_bytes, pack_bundle, target_path
from orbitloop.delta.make import make_delta
from orbitloop.ground.ceremony import tenants_of
from orbitloop.ground.release import code_update
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import digest_bytes
from orbitloop.records.update import ApplyOutcome, UpdateManifest
from orbitloop.sim.flash import MemoryFlash

PAGE = ROOT / "docs" / "trust.md"
BASE = load_weights(save_weights({"w": np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)}))


def built_update() -> bytes:
    """Return an update as `update build` would leave it, its metadata still empty."""
    target = {"w": BASE["w"] * np.float32(1.1)}
    coded = code_update(BASE, target)
    payload = make_delta(BASE, target)
    gate = {"passed": True, "base": coded.base_digest, "result": coded.result_digest}
    about = (3, "fields", coded.base_digest, coded.result_digest, digest_bytes(payload), len(payload), ("sat-1",), gate)
    manifest = UpdateManifest(*about, (), "farm", "jetson")
    return pack_bundle(b"none yet", target_path(manifest), manifest_bytes(manifest), payload)


def typed() -> list[list[str]]:
    return [words for block in blocks("bash") if block.page == PAGE for words in commands(block)]


def test_every_command_of_the_page_works_and_a_satellite_believes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    (tmp_path / "update-3.bundle").write_bytes(built_update())
    flash = MemoryFlash({})
    slots = SlotStore(flash)
    slots.install_factory(b"graph", save_weights(BASE), version=1)
    updater, told = None, []
    for words in typed():
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, (words, result.output)
        assert "PRIVATE KEY" not in result.output
        if words[1:3] == ["trust", "pack"]:
            if updater is None:
                anchor = (tmp_path / "repository" / "1.root.json").read_bytes()
                updater = Updater("sat-1", "fields", slots, TrustStore(flash, anchor), tenant="farm", hardware="jetson")
            data = (tmp_path / words[words.index("--out") + 1]).read_bytes()
            told.append(updater.receive(data, 0.0) if "--update" in words else updater.take_trust(data, 0.0))
    assert len(told) == 3
    assert isinstance(told[0], Staged)
    assert [t.outcome for t in told[1:]] == [ApplyOutcome.BELIEVED, ApplyOutcome.BELIEVED], told[1:]
    assert "root 3" in told[2].reason
    targets = max((tmp_path / "repository").glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    assert tenants_of(targets.read_bytes()) == {}
