"""The command of docs/planning.md that needs no files from outside, run as written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pages import ROOT, blocks
from typer.testing import CliRunner

from orbitloop.cli.main import app

PAGE = ROOT / "docs" / "planning.md"


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missions").symlink_to(ROOT / "missions")
    lines = [line for b in blocks("bash") if b.page == PAGE for line in b.text.splitlines()]
    assert lines
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
        assert "urgent: 2.00 MB of tiansuan-1" in result.stdout
