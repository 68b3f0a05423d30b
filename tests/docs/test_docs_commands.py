"""What a page tells a reader to type is there: `orbitloop` commands with their options, `make` targets, mission files, YAML."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from pages import PAGES, ROOT, Block, blocks, inline_code

from orbitloop.resources.manifest import parse_manifests, parse_mission

TYPED = blocks("bash", "console", "sh")
WITH_KIND = [b for b in blocks("yaml") if re.search(r"^(- )?\{?\s*kind:", b.text, re.MULTILINE)]


def commands(block: Block) -> list[list[str]]:
    """Return the block's commands as words: in `console` the lines after `$ `, in `bash` all; settings before are left out."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            found.append(words)
    return found


def typed(program: str) -> list[tuple[str, list[str]]]:
    """Return (where, words) of each command of this program, in blocks and in running text."""
    inline = [(p.name, shlex.split(code)) for p in PAGES for code in inline_code(p) if code.startswith(f"{program} ")]
    return [(b.where, words) for b in TYPED for words in commands(b) if words[0] == program] + inline


@pytest.mark.parametrize(("where", "words"), typed("make"), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_make_targets_exist(where: str, words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {w for w in words[1:] if "=" not in w} <= targets, where


@pytest.mark.skipif(importlib.util.find_spec("orbitloop.cli.main") is None, reason="the command line is not there yet")
@pytest.mark.parametrize(("where", "words"), typed("orbitloop"), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_orbitloop_commands_and_options_exist(where: str, words: list[str]) -> None:
    import typer

    from orbitloop.cli import main

    command = typer.main.get_command(main.app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"{where}: orbitloop has no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}
    known |= {flags.split()[0] for flags, _ in getattr(command, "further_options", list)()}
    used = {w.partition("=")[0] for w in rest if re.match(r"--?[a-z]", w)}
    assert used <= known, f"{where}: {' '.join(words)}"


@pytest.mark.parametrize(("where", "words"), typed("orbitloop"), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_mission_files_that_are_named_exist(where: str, words: list[str]) -> None:
    assert [w for w in words if w.startswith("missions/") and not (ROOT / w).exists()] == [], where


@pytest.mark.parametrize("block", WITH_KIND, ids=lambda b: b.where)
def test_yaml_examples_are_sound(block: Block) -> None:
    if re.search(r"kind: Mission\b", block.text):
        assert parse_mission(block.text, block.where).satellites
    else:
        assert parse_manifests(block.text, block.where)


def test_the_readme_starts_with_the_two_commands() -> None:
    first = next(b for b in TYPED if b.page == ROOT / "README.md")
    assert {"make demo", "make test"} <= {" ".join(words) for words in commands(first)}


def test_the_benchmark_page_is_the_generated_one() -> None:
    from orbitloop.reports.figures import render_benchmarks

    page = Path(ROOT / "docs" / "benchmarks.md")
    assert page.read_text(encoding="utf-8") == render_benchmarks(ROOT / "bench" / "results"), "regenerate it: make docs"
