"""Every command and the Python of docs/passes.md, run in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, blocks
from typer.testing import CliRunner

from orbitloop.cli.main import app

PAGE = ROOT / "docs" / "passes.md"
_FILE = re.compile(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF\n", re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missions").symlink_to(ROOT / "missions")
    said = []
    for block in (b for b in blocks("bash") if b.page == PAGE):
        for name, text in _FILE.findall(block.text):
            (tmp_path / name).write_text(text)
        for line in _FILE.sub("", block.text).splitlines():
            result = CliRunner().invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, (line, result.output)
            said.append(result.stdout)
    assert len(said) == 6
    assert "LOOP-1" in said[3]
    assert "Zurich" in said[4]
    assert "how often" in said[5]
    assert (tmp_path / "sky.png").stat().st_size > 10_000
    assert (tmp_path / "track.png").stat().st_size > 10_000


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [b for b in blocks("python") if b.page == PAGE]
    space: dict[str, Any] = {}
    exec(compile(block.text, block.where, "exec"), space)
    assert len(space["table"]) > 100
    assert capsys.readouterr().out.startswith(str(len(space["table"])))
