"""The page on collision probability is true: its example runs as it stands, and its commands on what the example wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks
from test_docs_commands import commands
from typer.testing import CliRunner

from orbitloop.cli.main import app

PAGE = ROOT / "docs" / "collision-probability.md"


def test_the_example_and_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = (block for block in blocks("python") if block.page == PAGE)
    exec(compile(example.text, str(PAGE), "exec"), {"__name__": "example"})
    assert " by 2d: " in capsys.readouterr().out
    (typed,) = (block for block in blocks("bash") if block.page == PAGE)
    for words in commands(typed):
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, (words, result.output)
    assert (tmp_path / "encounter.png").stat().st_size > 10_000
    assert (tmp_path / "warning.xml").read_text().startswith("<?xml")
