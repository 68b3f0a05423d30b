"""The commands of docs/catalogue.md run as written, on the real week."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from pages import ROOT, blocks
from typer.testing import CliRunner

from orbitloop.cli.main import app


@pytest.mark.slow
@pytest.mark.data
def test_the_pages_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(os.environ.get("ORBITLOOP_DATA", ROOT.parent / "shared" / "data")) / "orbits" / "history_starlink"
    if not data.is_dir():
        pytest.skip("no orbit data: set ORBITLOOP_DATA")
    for path in data.glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    (block,) = [b for b in blocks("console") if b.page.name == "catalogue.md"]
    commands = [line.removeprefix("$ ") for line in block.text.splitlines()]
    assert len(commands) > 5
    for command in commands:
        words = shlex.split(command)[1:]
        words = [p for word in words for p in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert {p.name for p in tmp_path.iterdir()} >= {"catalog.db", "history.png", "states.oem", "corrected.tle", "active.xml"}
