"""Command that checks mission files without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orbitloop.cli.options import Json, Overrides
from orbitloop.cli.terminal import note, print_json, show
from orbitloop.errors import ManifestError


def validate(
    missions: Annotated[list[Path], typer.Argument(metavar="MISSION.yaml", help="Mission files.")],
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Check mission files, and say everything that is wrong with them: file, line, field, and what would be right.

    \b
    Example:
      orbitloop validate missions/farmland-demo.yaml missions/ships.yaml

    \b
    Exit codes: 0 all are sound; 10 one is not.
    """
    from orbitloop.apps.missions import open_mission
    from orbitloop.resources.problems import InvalidManifest

    files: list[dict[str, Any]] = []
    for path in missions:
        try:
            plan = open_mission(path, overrides or ())
            files.append({"file": str(path), "sound": True, "mission": plan.name, "digest": plan.digest(), "problems": []})
            if not json_output:
                show(f"{path}: sound ({plan.name})")
        except InvalidManifest as error:
            problems = [
                {"source": p.source, "line": p.line, "field": p.field, "what": p.what, "remedy": p.remedy}
                for p in error.problems
            ]
            files.append({"file": str(path), "sound": False, "mission": None, "digest": None, "problems": problems})
            if not json_output:
                note(f"error: {error}")
    if json_output:
        print_json({"files": files})
    if not all(file["sound"] for file in files):
        raise typer.Exit(ManifestError.exit_code)
