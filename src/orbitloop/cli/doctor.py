"""Command that says whether this machine can do the work, one line for each check with its remedy beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json
from orbitloop.cli.terminal import add_row, only_results_on_stdout, print_json, show, table


def doctor(
    data: DataDir = DEFAULT_DATA,
    missions: Annotated[Path, typer.Option("--missions", metavar="DIR", help="Folder of the mission files to check.")] = Path(
        "missions"
    ),
    json_output: Json = False,
) -> None:
    """Check this machine: versions, memory, disk, caches, data, and that the runtime computes what it should.

    `fail` stands in the way of running; `warn` makes it slow or leaves something out, and says what. Nothing is changed.

    \b
    Examples:
      orbitloop doctor
      orbitloop doctor --data ../data --json

    \b
    Exit codes: 0 nothing stands in the way; 1 something does.
    """
    from orbitloop.cli.diagnosis import Verdict, examine

    with only_results_on_stdout():
        findings = examine(data, missions)
    blocked = [f for f in findings if f.verdict is Verdict.FAIL]
    if json_output:
        print_json({"ok": not blocked, "checks": [f.to_json() for f in findings]})
    else:
        listed = table("", "check", "found", "what to do", wrap=("found", "what to do"))
        for f in findings:
            add_row(listed, f.verdict.value, f.name, f.found, f.remedy)
        show(listed, f"{len(findings)} checks, {len(blocked)} in the way")
    if blocked:
        raise typer.Exit(1)
